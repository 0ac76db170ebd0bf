/** What the director command says to wrong command lines: one line, exit status 2, nothing done. */
import { test } from 'tap'
import { runDirectorCommand } from '../../../node/cli/director/program.ts'
import { peerIdOfPublicKey } from '../../../node/director/cluster/identity.ts'
import packageFile from '../../../package.json' with { type: 'json' }

const PEER = peerIdOfPublicKey(Buffer.alloc(32, 'b'))
const NO_PEER_ID = /Expected a peer id as `director identity` and `director peer list` print it, whole/

async function director(line: string): Promise<{ stdout: string; stderr: string; rc: number }> {
  let stdout = ''
  let stderr = ''
  const words = line.split(' ').filter(Boolean)
  const rc = await runDirectorCommand(
    words,
    { write: (text) => (stdout += text) },
    { write: (text) => (stderr += text) },
  )
  return { stdout, stderr, rc }
}

const wrong: [line: string, stderr: string | RegExp][] = [
  ['fly', "unknown command 'fly'"],
  ['--fast', "unknown option '--fast'"],
  ['node', "required option '--config <file>' not specified"],
  ['node --config x.yaml --fast', "unknown option '--fast'"],
  ['agent --key-file k', "required option '--director <address:port>' not specified"],
  [
    'agent --key-file k --director 10.0.0.1',
    /^option '--director .* argument '10\.0\.0\.1' is invalid\. Expected ADDRESS:PORT/,
  ],
  ['agent --key-file k --director 10.0.0.1:70000', /Expected ADDRESS:PORT/],
  ['agent --key-file k --director 10.0.0.1:7947 --address 10.0.0.300', /Expected an address such as/],
  ['agent --key-file k --director 10.0.0.1:7947 --interval 99', /Expected a number from 100 to 60000/],
  ['agent --key-file k --director 10.0.0.1:7947 --decapsulate there', /Expected an address such as/],
  ['agent --key-file k --director 10.0.0.1:7947 --decapsulate fe80::1%eth0', /Expected an address such as/],
  ['agent-key web1', /Expected an address such as/],
  ['explain --from 10.0.0.1:1', "required option '--to <address:port>' not specified"],
  ['explain --from 10.0.0.1 --to 10.0.0.2:80', /Expected ADDRESS:PORT/],
  ['explain --from 10.0.0.1:1 --to 10.0.0.2:80 --proto icmp', /Allowed choices are tcp, udp, sctp/],
  ['lab', /^Usage: director lab/],
  ['lab sideways', "unknown command 'sideways'"],
  ['lab up', "missing required argument 'name'"],
  ['lab up x --directors 9', /Expected a number from 1 to 8/],
  ['lab up x --directors two', /Expected a number from 1 to 8/],
  ['lab up x --method pigeon', /Allowed choices are nat, tun, dr/],
  ['lab up x --scheduler best', /Allowed choices are rr, wrr, lc, wlc/],
  ['lab up x --advertisement-interval-ms 55', /Expected a multiple of 10/],
  ['lab up UP', /^lab name "UP": expected/],
  ['lab down x y', /too many arguments/],
  ['lab exec x d1', "missing required argument 'command'"],
  ['drill', "missing required argument 'drill'"],
  ['drill earthquake', /Allowed choices are crash, handover, server-death/],
  ['drill crash --sessions 0', /Expected a number from 1 to 20000/],
  ['drill crash --sessions 1e3', /Expected a number from 1 to 20000/],
  ['import', "missing required argument 'file'"],
  ['config', /^Usage: director config/],
  ['config fly', "unknown command 'fly'"],
  ['config apply', "missing required argument 'file'"],
  ['config apply a b', /too many arguments/],
  ['config rollback', "missing required argument 'revision'"],
  ['settings', /^Usage: director settings/],
  ['settings fly', "unknown command 'fly'"],
  ['settings get', "missing required argument 'name'"],
  ['settings get sync_version', /^sync_version would do nothing here: the pool has a protocol of its own/],
  ['settings get speed', /^there is no setting "speed": `director settings list` shows all/],
  ['settings set', "missing required argument 'assignments'"],
  ['settings set drop_entry', /^"drop_entry": expected NAME=VALUE such as drop_entry=1/],
  ['settings set drop_entry=4', /^drop_entry: 4: expected a whole number from 0 to 3/],
  ['settings set drop_entry=1e0', /^drop_entry: "1e0": expected a whole number from 0 to 3/],
  ['settings set drop_entry=', /^drop_entry: "": expected/],
  ['settings set timeoutTcpS=0', /^timeoutTcpS: 0: expected a whole number from 1 to 2678400/],
  ['settings set conntrack=1', /^conntrack would do nothing here/],
  ['settings set drop_entry=1 drop_entry=2', /^drop_entry is given twice/],
  ['peer', /^Usage: director peer/],
  ['peer revoke', "missing required argument 'peer-id'"],
  ['peer revoke d2', NO_PEER_ID],
  // One character too few, one too many.
  [`peer revoke ${PEER.slice(1)}`, NO_PEER_ID],
  [`peer revoke ${PEER}1`, NO_PEER_ID],
  [`peer restore ${PEER.slice(0, -1)}`, NO_PEER_ID],
  ['token', /^Usage: director token/],
  ['token key', "required option '--out <file>' not specified"],
  ['token create --key k --peer d2', NO_PEER_ID],
  [`token create --key k --peer 12D3KooW${'1'.repeat(44)}`, NO_PEER_ID],
  [
    'token create --key k --name D3',
    /Expected a name of at most 63 lower-case letters, digits and dashes, beginning with a letter or digit/,
  ],
  ['token create --key k --address 10.0.0.1', /Expected ADDRESS:PORT/],
  ['token create --key k --expires 25', /Expected a time such as 30m, 24h or 7d/],
  ['token create --key k --expires 367d', /Expected a time such as 30m, 24h or 7d/],
  ['token show ldt_AAAA', /Expected a token as `director token create` prints it, whole/],
  ['status --verbose', "unknown option '--verbose'"],
]

for (const [line, expected] of wrong) {
  test(`director ${line}: is refused`, async (t) => {
    const { stdout, stderr, rc } = await director(line)
    t.equal(rc, 2)
    t.equal(stdout, '')
    if (['lab', 'settings', 'peer', 'token', 'config'].includes(line)) return t.match(stderr, expected)
    const [, said] = /^director: ([^\n]+) \(INPUT_INVALID\)\n$/.exec(stderr) ?? []
    t.ok(said, `one line, with its code at the end: ${stderr}`)
    if (typeof expected === 'string') t.equal(said, expected)
    else t.match(said, expected)
  })
}

for (const verb of [
  '',
  'node',
  'agent',
  'agent-key',
  'identity',
  'status',
  'peer',
  'token create',
  'settings',
  'settings set',
  'config',
  'config apply',
  'lab',
  'lab up',
  'drill',
  'setup',
]) {
  test(`director ${verb} --help fits on a screen`, async (t) => {
    const { stdout, stderr, rc } = await director(`${verb} --help`)
    t.equal(rc, 0)
    t.equal(stderr, '')
    t.match(stdout, `Usage: director${verb ? ` ${verb}` : ''}`)
    t.ok(stdout.split('\n').length <= 32)
  })
}

for (const option of ['--version', '-v']) {
  test(`director ${option} is the package's`, async (t) => {
    t.same(await director(option), { stdout: `${packageFile.version}\n`, stderr: '', rc: 0 })
  })
}

test('a missing director is one line with what to do, and exit status 1', async (t) => {
  const { stderr, rc } = await director('status --socket /nonexistent/control.sock')
  t.equal(rc, 1)
  t.match(stderr, /^director: .*control\.sock.*\(DIRECTOR_UNREACHABLE\)\n$/)
})
