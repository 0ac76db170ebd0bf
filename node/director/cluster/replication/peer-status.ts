/** What `director status` shows of one peer. */
import type { Epoch } from '../../../../protocol/wire/record-batch.ts'
import type { PeerRecords } from '../../control/answers.ts'
import type { RecordSender } from './record-sender.ts'
import type { SenderView } from './sender-view.ts'

export interface PeerFacts {
  readonly now: number
  /** This director's own. */
  readonly epoch: Epoch
  readonly sender: RecordSender
  /** Ranges of the table that were another at the peer's. */
  readonly rangesDifferent: number | undefined
  /** What was sent until then the peer could have confirmed. */
  readonly confirmableUntil: number
}

export function describePeer(view: SenderView, facts: PeerFacts): PeerRecords {
  const { now, epoch, sender, rangesDifferent, confirmableUntil } = facts
  const since = view.missingSince
  const nothing = { epoch, sequence: 0, records: 0 }
  const confirmed = view.presence?.applied.find((position) => position.epoch === epoch) ?? nothing
  const behind = sender.unconfirmed(confirmed, confirmableUntil)
  return {
    name: view.name,
    connected: view.connected,
    recordsBehind: view.recordsBehind,
    behindMs: since === undefined ? 0 : Math.round(now - since),
    peerRecordsBehind: behind?.records ?? 0,
    peerBehindMs: behind ? Math.round(now - behind.oldestSentAt) : 0,
    rangesDifferent: rangesDifferent ?? null,
    formatVersion: view.formatVersion ?? null,
    unreadableMessages: view.unreadableMessages,
  }
}
