/** What a script is told of a group's states: one run at a time, in order, and the newest rather than all. */
import { test } from 'tap'
import { StatusScript } from '../../../../node/director/vip/status-script.ts'
import { VirtualClock } from '../../../../node/director/virtual-clock.ts'

/** A script whose runs end when the test says so. */
function slowScript() {
  const runs: { words: string; end: (failure?: string) => void }[] = []
  const notes: string[] = []
  const script = new StatusScript(
    ['/notify'],
    (command) => {
      const { promise, resolve } = Promise.withResolvers<string | undefined>()
      runs.push({ words: command.join(' '), end: resolve })
      return { ended: promise, gone: promise.then(() => undefined), kill: () => resolve('was called off') }
    },
    (message) => notes.push(message),
  )
  return { script, runs, notes }
}

test('the next state is told when the run before has ended', async (t) => {
  const { script, runs, notes } = slowScript()
  script.tell('vrid-51', 'backup', 100)
  script.tell('vrid-51', 'active', 100)
  t.same(
    runs.map(({ words }) => words),
    ['/notify INSTANCE vrid-51 BACKUP 100'],
  )
  runs[0].end('exit status 1')
  await new Promise(setImmediate)
  t.equal(runs[1].words, '/notify INSTANCE vrid-51 MASTER 100')
  runs[1].end()
  await script.end(new VirtualClock(), 1000)
  script.tell('vrid-51', 'init', 100)
  t.equal(runs[2].words, '/notify INSTANCE vrid-51 STOP 100')
  t.same(notes, ['/notify INSTANCE vrid-51 BACKUP 100: exit status 1'])
})

test('of more states than may wait the oldest are left out, and that is told', async (t) => {
  const { script, runs, notes } = slowScript()
  for (let priority = 1; priority <= 20; priority++)
    script.tell('vrid-51', priority % 2 ? 'backup' : 'active', priority)
  for (let told = 0; told < runs.length; told++) {
    runs[told].end()
    await new Promise(setImmediate)
  }
  t.same(
    runs.map(({ words }) => Number(words.split(' ')[4])),
    [1, ...Array.from({ length: 16 }, (_, index) => index + 5)],
  )
  t.same(
    notes,
    ['MASTER', 'BACKUP', 'MASTER'].map((state) => `/notify is too slow: it is not told of ${state}`),
  )
})

test('at the end a script has its time, and is then killed; what waits for it is left out', async (t) => {
  const clock = new VirtualClock()
  const { script, runs, notes } = slowScript()
  script.tell('vrid-51', 'active', 100)
  script.tell('vrid-51', 'init', 100)
  let isOver = false
  void script.end(clock, 2000).then(() => {
    isOver = true
  })
  await clock.advance(1999)
  t.notOk(isOver)
  await clock.advance(2)
  t.ok(isOver)
  t.equal(runs.length, 1)
  t.same(notes, ['/notify INSTANCE vrid-51 MASTER 100: was called off'])
})
