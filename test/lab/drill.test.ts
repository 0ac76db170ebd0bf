/** Drills on real labs: their report, their verdict and their exit status. */
import t, { test } from 'tap'
import { namespacesOf } from '../../node/drill/lab-network.ts'
import { isRunning, processCount, processesOf } from './lab-processes.ts'
import { directorCommand, startDirectorCommand } from './run-director.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'

// Eight labs, one after another, on a machine that may be busy.
t.setTimeout(660_000)

// The smallest that still means something; the numbers that the README promises are measured with the defaults.
const SMALL = ['--sessions', '200', '--seconds', '2', '--json']

const cases = [
  // By confirmed sync, which covers what begins while the director dies as well.
  ['crash', 'nat', 'ipv4', 'when the active director is killed, nothing through nat is lost', '--sync', 'confirmed'],
  ['handover', 'dr', 'ipv4', 'when the active director is stopped in order, nothing through direct routing is lost'],
  ['server-death', 'tun', 'ipv4', 'when a real server dies behind tunnels, only its own sessions end'],
  [
    'partition',
    'tun',
    'ipv6',
    'when directors cannot hear each other, no session is lost, and one is active afterwards',
  ],
  ['freeze', 'dr', 'ipv6', 'when the active director stands still and goes on, no session is lost'],
  ['rolling-restart', 'nat', 'ipv4', 'when all directors are restarted one after the other, nothing is lost'],
  ['flap', 'nat', 'ipv6', 'when cables of the active director are pulled time and again, no session is lost'],
  ['join', 'dr', 'ipv4', 'when a director joins and takes over, nothing is lost'],
] as const
/** Takes over from nobody, or from one after the other. */
const UNTIMED: readonly string[] = ['server-death', 'rolling-restart']
/** While nobody hears the active director, what begins may find no answer: the drill's own verdict is on that. */
const DEAF: readonly string[] = ['partition', 'freeze', 'flap']

for (const [drill, method, family, name, ...options] of cases) {
  test(name, { skip: needsRoot, timeout: 120_000 }, async (t) => {
    const words = ['drill', drill, '--method', method, '--family', family, ...options, ...SMALL]
    const { child, outcome } = startDirectorCommand(...words)
    const lab = `drill-${child.pid}`
    const processes = processesOf(lab, processCount({ directors: 3, servers: 3 }), 1000)
    // A drill that comes to nothing says why.
    await Promise.race([processes, outcome])
    const { code, stdout, stderr } = await outcome
    t.equal(code, 0, stderr)
    const result = JSON.parse(stdout)
    t.match(result, {
      drill,
      method,
      family,
      directors: 3,
      servers: 3,
      sessions: { opened: 200 },
      pauseMs: { baseline: Number, baselineP99: Number, p50: Number, p99: Number, max: Number },
      missingRecords: 0,
    })
    t.equal(result.sessions.survived + result.sessions.lost, 200)
    t.ok(result.downloads.started > 0)
    if (UNTIMED.includes(drill)) t.equal(result.takeoverMs, null)
    else t.type(result.takeoverMs, 'number')
    if (drill === 'server-death') {
      t.ok(result.sessions.lost > 0 && result.sessions.lost < 200, 'the dead server had sessions, and others did not')
    } else {
      t.equal(result.sessions.lost, 0)
      if (!DEAF.includes(drill)) t.equal(result.downloads.intact, result.downloads.started)
    }
    t.same(namespacesOf(lab), [], 'nothing is left behind')
    t.same((await processes).filter(isRunning), [], 'nobody runs on')
  })
}

test('a drill that cannot be is refused before anything is built', async (t) => {
  for (const [words, message] of [
    [['crash', '--directors', '1'], /directors 1: crash takes one away, so expected at least 2/],
    [['server-death', '--servers', '1'], /servers 1: server-death takes one away/],
  ] as const) {
    const { code, stderr } = await directorCommand('drill', ...words)
    t.equal(code, 2)
    t.match(stderr, message)
    t.equal(stderr.trimEnd().split('\n').length, 1)
  }
})
