/** The thread that starts ip(8) speaks VRRP as well, and stands still while it starts a child. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { test } from 'tap'
import { runIp } from '../../../../node/director/host/ip-command.ts'

test('commands that are given at once are started one a turn of the event loop', async (t) => {
  let turn = 0
  let isOver = false
  const count = () => {
    turn++
    if (!isOver) setImmediate(count)
  }
  count()
  const turns: number[] = []
  const note = () => turns.push(turn)
  subscribe('child_process', note)
  const shown = await Promise.all(Array.from({ length: 3 }, () => runIp(['link', 'show', 'dev', 'lo'])))
  unsubscribe('child_process', note)
  isOver = true
  t.equal(new Set(turns).size, 3, `in turns ${turns}`)
  t.same(shown[0], shown[2])
})
