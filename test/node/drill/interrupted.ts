/** A test that would never end, and says what it does and undoes: it is started to be interrupted. */
import { writeSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { test } from 'tap'
import { untilInterrupted } from '../../../node/drill/interruption.ts'
import { teardown, unlessAborted } from '../../lab/test-lab.ts'

const UNDOING_MS = 50

function say(what: string): void {
  writeSync(1, `said: ${what}\n`)
}

test('never ends', async (t) => {
  teardown(t, () => say('folder removed'))
  await untilInterrupted(async (signal) => {
    try {
      await unlessAborted(signal, async () => {
        say('works')
        setInterval(() => {}, 1000)
        await new Promise(() => {})
      })
    } finally {
      await wait(UNDOING_MS)
      say('lab taken down')
    }
  })
})
