/** Names for addresses and ports that vsadm takes and prints: what is printed can be read back. */
import { type Test, test } from 'tap'
import { testNames, vsadm } from './run-vsadm.ts'
import { type ServedPool, servePool } from './served-pool.ts'

const LINES = [
  '-A -t 127.0.0.1:80 -s rr',
  '-A -t [2001:db8::1]:80 -s rr',
  '-a -t [2001:db8::1]:80 -r [2001:db8::2]:8080 -m -w 1',
  '-a -t [2001:db8::1]:80 -r 127.0.0.1:80 -i -w 1 --tun-type ipip',
]
/** Of a host where IPv6 has names, which lead to IPv4 as well, as those of most hosts do. */
const names = {
  ...testNames,
  addressOf: async (host: string) => (host === 'web.example.net' ? '192.0.2.1' : testNames.addressOf(host)),
  hostOf: async (address: string) => (address.includes(':') ? 'web.example.net' : testNames.hostOf(address)),
}

async function poolOf(t: Test, ...lines: string[]): Promise<ServedPool> {
  const pool = await servePool(t)
  t.match(await vsadm(['-R'], pool, { standardInput: lines.join('\n') }), { stderr: '', rc: 0 })
  return pool
}

test('names go in as well as out: hosts, and services by their aliases', async (t) => {
  const pool = await poolOf(t, '-A -t localhost:www -s rr', '-a -t localhost:http -r 10.2:webcache -m')
  t.match((await vsadm(['-Ln'], pool)).stdout, '\nTCP  127.0.0.1:80 rr\n  -> 10.0.0.2:8080 ')
  t.match((await vsadm(['-L'], pool)).stdout, '\nTCP  localhost:http rr\n  -> 10.0.0.2:http-alt ')
})

test('a name that is too long for its column is cut in listings and whole in rules', async (t) => {
  const pool = await poolOf(t, '-A -t 10.0.0.1:80 -s rr', '-a -t 10.0.0.1:80 -r 10.0.0.2 -m')
  const names = { ...testNames, hostOf: async () => 'a-host-with-a-rather-long-name.example.net' }
  const lines = async (...words: string[]) => (await vsadm(words, pool, { names })).stdout.split('\n').slice(-3)
  t.same(await lines('-L'), [
    'TCP  a-host-with-a-rather-long-na rr',
    '  -> a-host-with-a-rather-long-na Masq    1      0          0         ',
    '',
  ])
  t.same(await lines('-S'), [
    '-A -t a-host-with-a-rather-long-name.example.net:http -s rr',
    '-a -t a-host-with-a-rather-long-name.example.net:http -r a-host-with-a-rather-long-name.example.net:http -m -w 1',
    '',
  ])
})

test('an IPv6 address with nothing but 32 bits at its end is printed as inet_ntop prints it, and read back', async (t) => {
  const pool = await poolOf(t, '-A -t [::102:304]:80 -s rr', '-a -t [::102:304]:80 -r [::1:0]:80 -i', '-A -t [::5]:80')
  const lines = [
    '-A -t [::5]:80 -s wlc',
    '-A -t [::1.2.3.4]:80 -s rr',
    '-a -t [::1.2.3.4]:80 -r [::0.1.0.0]:80 -i -w 1 --tun-type ipip',
    '',
  ]
  t.same((await vsadm(['-Sn'], pool)).stdout.split('\n'), lines)
  t.match((await vsadm(['-Ln'], pool)).stdout, '\nTCP  [::1.2.3.4]:80 rr\n  -> [::0.1.0.0]:80 ')
  await vsadm(['-C'], pool)
  t.match(await vsadm(['-R'], pool, { standardInput: lines.join('\n') }), { stderr: '', rc: 0 })
  t.same((await vsadm(['-Sn'], pool)).stdout.split('\n'), lines)
})

test('what -S prints with names is read back as what it was, though IPv6 has names', async (t) => {
  const pool = await poolOf(t, ...LINES)
  const saved = (await vsadm(['-Sn'], pool)).stdout
  t.same(saved.trimEnd().split('\n'), LINES)
  const named = (await vsadm(['-S'], pool, { names })).stdout
  t.match(named, '-A -t localhost:http -s rr\n-A -t [2001:db8::1]:http -s rr\n')
  await vsadm(['-C'], pool)
  t.same(await vsadm(['-R'], pool, { names, standardInput: named }), { stdout: '', stderr: '', rc: 0 })
  t.equal((await vsadm(['-Sn'], pool)).stdout, saved)
  const strict = (await vsadm(['--strict', '-S'], pool, { names })).stdout
  t.match(strict, '\n-A -t [web.example.net]:http -s rr\n')
  t.match((await vsadm(['-L'], pool, { names })).stdout, '\nTCP  [web.example.net]:http rr\n')
})

test('names are whole in rules, and with --strict cut where ipvsadm cuts them', async (t) => {
  const pool = await poolOf(t, '-A -t 10.0.0.1:80 -s rr')
  const host = `${'a'.repeat(56)}.example.net`
  const save = async (...words: string[]) =>
    (await vsadm(words, pool, { names: { ...testNames, hostOf: async () => host } })).stdout
  t.equal(await save('-S'), `-A -t ${host}:http -s rr\n`)
  t.equal(await save('--strict', '-S'), `-A -t ${host.slice(0, 59)} -s rr\n`)
})
