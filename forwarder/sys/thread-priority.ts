/** The calling thread's priority among the others of its process, which it may not be alone with on a processor. */
import { readlinkSync } from 'node:fs'
import { setPriority } from 'node:os'
import { basename } from 'node:path'

const HIGHEST = -20

/** Puts this thread before all that were not raised as far, if the process may do so. */
export function raiseThread(): void {
  try {
    setPriority(Number(basename(readlinkSync('/proc/thread-self'))), HIGHEST)
  } catch {
    // Without the privilege it runs with the priority of the others.
  }
}
