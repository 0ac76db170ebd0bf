/** vsadm in the spelling of 1999, as the documentation of LVS of that year has it. */
import { test } from 'tap'
import { poolAfter, vsadm } from './run-vsadm.ts'

test('the examples of the 1999 documentation build the tables that it shows', async (t) => {
  const pool = await poolAfter(
    t,
    '-A -t202.103.106.5:80 -s ip_vs_wlc.o',
    '-A -t202.103.106.5:21 -s ip_vs_wrr.o',
    '-a -t 202.103.106.5:80 -R 172.16.0.2:80 -m',
    '-a -t 202.103.106.5:80 -R 172.16.0.3:8000 -m -w 2',
    '-a -t 202.103.106.5:21 -R 172.16.0.2:21 -m',
    '-A -t192.168.1.110:80 -s ip_vs_rr.o',
    '-a -t 192.168.1.110:80 -R 192.168.1.2 -i',
  )
  t.equal(
    (await vsadm(['-Ln'], pool)).stdout,
    `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.168.1.110:80 rr
  -> 192.168.1.2:80               Tunnel  1      0          0         
TCP  202.103.106.5:21 wrr
  -> 172.16.0.2:21                Masq    1      0          0         
TCP  202.103.106.5:80 wlc
  -> 172.16.0.2:80                Masq    1      0          0         
  -> 172.16.0.3:8000              Masq    2      0          0         
`,
  )
})

test('called ipvsadm, it does not take the spelling of 1999', async (t) => {
  const pool = await poolAfter(t, '-A -t 10.0.0.1:80')
  const words = '-a -t 10.0.0.1:80 -R 172.16.0.2:80 -m'.split(' ')
  t.same(await vsadm(words, pool, { program: 'ipvsadm' }), { stdout: '', stderr: "invalid option `-R'\n", rc: 2 })
})

test('the local node of 1999 is two commands now', async (t) => {
  const pool = await poolAfter(t, '-A -t 192.168.1.110:80', '-a -t 192.168.1.110:80 -r 127.0.0.1')
  t.match((await vsadm(['-Ln'], pool)).stdout, 'TCP  192.168.1.110:80 wlc\n  -> 127.0.0.1:80                 Local ')
  const written = '-A -t 192.168.1.110 -R 127.0.0.1'.split(' ')
  t.same(await vsadm(written, pool), { stdout: '', stderr: "invalid option `-R'\n", rc: 2 })
})
