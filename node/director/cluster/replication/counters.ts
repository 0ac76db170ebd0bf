/** What a replicator counts, for an operator. */
export function createCounters() {
  return {
    batchesSent: 0,
    recordsSent: 0,
    batchesApplied: 0,
    recordsApplied: 0,
    duplicateBatches: 0,
    resendRequests: 0,
    snapshotsTaken: 0,
    snapshotRecords: 0,
    deferredBatches: 0,
    malformedMessages: 0,
    unreadableMessages: 0,
    passedOverMessages: 0,
  }
}

export type ReplicationCounters = ReturnType<typeof createCounters>
