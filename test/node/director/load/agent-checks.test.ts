/** Which agents are asked when, and what is known of their servers. */
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { NOTHING_SAID } from '../../../../node/director/load/agent-answer.ts'
import { AgentChecks } from '../../../../node/director/load/agent-checks.ts'

/** Agents that answer what `says` has of them, on a clock that moves only when told to. */
function scene(says: Record<string, string | undefined> = {}, isSlow = false) {
  let nowMs = 0
  const asked: string[] = []
  const changes: string[] = []
  const aborted: string[] = []
  const checks = new AgentChecks({
    intervalMs: 2000,
    ask: (address, signal) => {
      asked.push(address)
      signal.addEventListener('abort', () => aborted.push(address))
      return isSlow ? new Promise(() => {}) : Promise.resolve(says[address])
    },
    onChange: (address, state, isNews) =>
      changes.push(`${address} ${state.weightPercent} ${isNews ? 'news' : ''}`.trim()),
    monotonicMs: () => nowMs,
    random: () => 0.5,
  })
  const pass = async (ms: number) => {
    for (const end = nowMs + ms; nowMs < end; ) {
      nowMs += 10
      checks.tick()
      await turn()
    }
  }
  return { checks, asked, changes, aborted, says, pass }
}

test('each server is asked every interval for as long as it is there, however many services have it', async (t) => {
  const { checks, asked, pass } = scene({ '10.0.0.1': '50%' })
  checks.use('10.0.0.1')
  checks.use('10.0.0.1')
  await pass(10)
  t.same(asked, ['10.0.0.1'], 'the first time at once')
  await pass(6000)
  t.equal(asked.length, 4)
  checks.release('10.0.0.1')
  await pass(6000)
  t.equal(asked.length, 4)
  t.same(checks.get('10.0.0.1'), NOTHING_SAID, 'what it said is forgotten')
})

test('a change is told of, and whether it matters to clients', async (t) => {
  const { checks, changes, says, pass } = scene({ '10.0.0.1': '50%' })
  checks.use('10.0.0.1')
  for (const line of ['50%', '50%', '60%', '0%', '10% drain', '10% ready', 'down', 'up']) {
    says['10.0.0.1'] = line
    await pass(2000)
  }
  t.same(
    changes,
    ['50', '60', '0 news', '10', '10 news', '10 news', '10 news'].map((each) => `10.0.0.1 ${each}`),
  )
})

test('no answer changes nothing', async (t) => {
  const { checks, changes, says, pass } = scene({ '10.0.0.1': 'drain' })
  checks.use('10.0.0.1')
  await pass(2000)
  says['10.0.0.1'] = undefined
  await pass(20_000)
  t.equal(checks.get('10.0.0.1').administration, 'drain')
  t.equal(changes.length, 1)
})

test('of many that do not answer so many are waited for, and all others at the end', async (t) => {
  const { checks, asked, aborted, pass } = scene({}, true)
  for (let host = 0; host < 300; host++) checks.use(`10.0.0.${host}`)
  await pass(5000)
  t.equal(asked.length, 128)
  checks.stop()
  t.equal(aborted.length, 128)
})

test('what an agent answers after its server has gone does not count', async (t) => {
  const { checks, changes, pass } = scene({ '10.0.0.1': '50%' })
  checks.use('10.0.0.1')
  // It is asked now, and answers in the next turn.
  const asking = pass(10)
  checks.release('10.0.0.1')
  checks.use('10.0.0.1')
  await asking
  t.same(changes, [])
  t.same(checks.get('10.0.0.1'), NOTHING_SAID)
})
