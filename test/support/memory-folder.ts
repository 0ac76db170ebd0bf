/** A folder in memory, for tests that write a lot to a disk that need not be one: each durable write waits for a real one. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

const SHARED_MEMORY = '/dev/shm'

/** Removed at the end of the test. */
export function memoryFolder(t: Test): string {
  const folder = mkdtempSync(join(existsSync(SHARED_MEMORY) ? SHARED_MEMORY : tmpdir(), 'linux-director-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
