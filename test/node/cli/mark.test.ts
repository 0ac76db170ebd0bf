/** `director mark` against a pool that is served: what it shows, what it changes, what it refuses. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Test, test } from 'tap'
import { servePool } from './served-pool.ts'

const run = promisify(execFile)
const program = fileURLToPath(new URL('../../../node/cli/director.ts', import.meta.url))

test('director mark', async (t) => {
  const pool = await servePool(t)
  const mark = async (words: string) => {
    const { stdout } = await run(process.execPath, [program, 'mark', ...words.split(' '), '--socket', pool.socketPath])
    return stdout
  }
  const refused = (t: Test, words: string, expected: { code: number; stderr: RegExp }) =>
    t.rejects(mark(words), expected, words)

  await t.test('rules are added, listed in their order, and deleted by what they say', async (t) => {
    t.equal(await mark('list'), '', 'nothing at first')
    t.equal(await mark('add 8 --protocol udp --source 10.9.9.9/8'), '', 'silent')
    await mark('add 7 --destination 10.3.0.1 --port 80 --at 1')
    await mark('add 4294967295 --port 8000-8999 --interface eth1')
    t.equal(
      await mark('list'),
      [
        'Place        Mark  Protocol  Source      Destination  Port       Interface',
        '    1           7  any       any         10.3.0.1/32  80         any',
        '    2           8  udp       10.0.0.0/8  any          any        any',
        '    3  4294967295  any       any         any          8000-8999  eth1',
        '',
      ].join('\n'),
    )
    await mark('delete 8 --protocol udp --source 10.0.0.0/8')
    await mark('add 9 --source 2001:DB8:0::1/48 --destination 2001:db8:5::1 --at 1')
    t.match(await mark('list'), / {4}1 {11}9 {2}any {7}2001:db8::\/48 {2}2001:db8:5::1\/128 {2}any/)
    await mark('delete 9 --source 2001:db8::/48 --destination 2001:db8:5::1/128')
    t.same(
      JSON.parse(await mark('list --json')).map((rule: { mark: number }) => rule.mark),
      [7, 4294967295],
    )
  })

  await t.test('what is wrong is refused in one line, and nothing is changed', async (t) => {
    const before = await mark('list')
    await refused(t, 'add 0', { code: 2, stderr: /^director: .*1 to 4294967295\. \(INPUT_INVALID\)\n$/ })
    await refused(t, 'add 1 --source 10.0.0.0/33', {
      code: 2,
      stderr: /^director: .*prefix such as 10\.3\.0\.0\/24 or 2001:db8::\/32\. \(INPUT_INVALID\)\n$/,
    })
    await refused(t, 'add 1 --source 10.0.0.0/8 --destination 2001:db8::/32', {
      code: 2,
      stderr: /^director: rule\.destination: expected a prefix of the same IP version.*\(INPUT_INVALID\)\n$/,
    })
    await refused(t, 'add 1 --port 90-80', {
      code: 2,
      stderr: /^director: .*range such as 8000-8999\. \(INPUT_INVALID\)\n$/,
    })
    await refused(t, 'add 1 --protocol icmp', { code: 2, stderr: /^director: .*tcp, udp, sctp\. \(INPUT_INVALID\)\n$/ })
    await refused(t, 'add 7 --destination 10.3.0.1/32 --port 80', {
      code: 1,
      stderr: /is there already.*\(MARK_EXISTS\)\n$/,
    })
    await refused(t, 'delete 7', { code: 1, stderr: /^director: there is no rule "7".*\(MARK_MISSING\)\n$/ })
    t.equal(await mark('list'), before)
  })

  await t.test('the control API holds rules to the same bounds', async (t) => {
    const post = (rule: object) => pool.control('POST', '/marks', { rule })
    await t.rejects(post({ mark: 1, lastPort: 80 }), { code: 'INPUT_INVALID', message: /^rule\.lastPort: / })
    await t.rejects(post({ mark: 1, firstPort: 81, lastPort: 80 }), { code: 'INPUT_INVALID' })
    await t.rejects(post({ mark: 1, source: '10.0.0.256/8' }), { message: /^rule\.source: expected a prefix such as/ })
    await t.rejects(post({ mark: 4294967296 }), { code: 'INPUT_INVALID', message: /^rule\.mark: / })
    await t.rejects(post({ mark: 1, colour: 'red' }), { code: 'INPUT_INVALID' })
    await post({ mark: 1, source: '172.16.3.4/12' })
    t.match(await pool.control('GET', '/marks'), [{}, {}, { mark: 1, source: '172.16.0.0/12' }])
  })
})
