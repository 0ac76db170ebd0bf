/** The table of settings: IPVS's names and defaults, none twice, none both taken and refused. */
import { test } from 'tap'
import { defaultSettings, REFUSED_SETTINGS, SETTINGS } from '../../forwarder/settings.ts'

/** What a Linux 6.1 kernel shows after its start; those of the sync daemon without values. */
const KERNEL_DEFAULTS: Record<string, number | undefined> = {
  am_droprate: 10,
  amemthresh: 1024,
  backup_only: 0,
  cache_bypass: 0,
  conn_reuse_mode: 1,
  conntrack: 0,
  drop_entry: 0,
  drop_packet: 0,
  expire_nodest_conn: 0,
  expire_quiescent_template: 0,
  ignore_tunneled: 0,
  lblc_expiration: 86400,
  lblcr_expiration: 86400,
  nat_icmp_send: 0,
  pmtu_disc: 1,
  run_estimation: 1,
  schedule_icmp: 0,
  secure_tcp: 0,
  sloppy_sctp: 0,
  sloppy_tcp: 0,
  snat_reroute: 1,
  sync_persist_mode: undefined,
  sync_ports: undefined,
  sync_qlen_max: undefined,
  sync_refresh_period: undefined,
  sync_retries: undefined,
  sync_sock_size: undefined,
  sync_threshold: undefined,
  sync_version: undefined,
}

const isTimeout = (name: string) => name.startsWith('timeout')

test('every sysctl of IPVS is either a setting, with the kernel’s default, or refused with a reason', async (t) => {
  const taken = SETTINGS.filter(({ name }) => !isTimeout(name))
  const names = [...taken, ...REFUSED_SETTINGS].map(({ name }) => name)
  t.strictSame(names.sort(), Object.keys(KERNEL_DEFAULTS).sort())
  for (const { name, default: initial } of taken) t.equal(initial, KERNEL_DEFAULTS[name], name)
})

test('every setting has a field of its own, and every default lies within its bounds', async (t) => {
  const fields = SETTINGS.map(({ field }) => field)
  t.equal(new Set(fields).size, SETTINGS.length)
  for (const { name, minimum, maximum, default: initial } of SETTINGS) {
    t.ok(minimum <= initial && initial <= maximum, name)
  }
})

test('the default timeouts are those of IPVS', async (t) => {
  const { timeoutTcpS, timeoutTcpFinS, timeoutUdpS, timeoutTcpSynRecvS, timeoutTcpCloseS } = defaultSettings()
  t.strictSame(
    [timeoutTcpS, timeoutTcpFinS, timeoutUdpS, timeoutTcpSynRecvS, timeoutTcpCloseS],
    [900, 120, 300, 60, 10],
  )
})
