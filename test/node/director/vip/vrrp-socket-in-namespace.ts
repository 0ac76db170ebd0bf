/** Started by vrrp-socket.test.ts inside a network namespace of its own. */
import { spawnSync } from 'node:child_process'
import tap, { test } from 'tap'
import { createNamespace, createVethPair, ip, waitUntilUp } from '../../../forwarder/namespace.ts'
import { capture } from '../../../interop/capture.ts'
import { until } from '../../../until.ts'
import { startPeer } from './peer-process.ts'

const other = await createNamespace()
tap.teardown(() => other.close())
createVethPair('vip0', 'vip1')
ip(`link set vip1 netns ${other.pid}`)
ip('address add 10.0.0.1/24 dev vip0')
ip('link set lo up\naddress add 10.0.0.2/24 dev vip1\nlink set vip1 up', other)
waitUntilUp('vip0')

test('two processes elect one holder, and hand over by crash and in order', async (t) => {
  const traffic = await capture(t, 'vip0', 'ip proto 112')
  const best = startPeer('vip0', { priority: 150 })
  const second = startPeer('vip1', { priority: 100 }, other)
  t.teardown(() => Promise.all([best.end('SIGKILL'), second.end('SIGKILL')]))
  await until(() => best.status()?.state === 'active' && second.status()?.holder === '10.0.0.1')
  t.equal(second.status()?.state, 'backup')

  await best.end('SIGKILL')
  await until(() => second.status()?.state === 'active')

  const back = startPeer('vip0', { priority: 150 })
  t.teardown(() => back.end('SIGKILL'))
  await until(() => back.status()?.state === 'active' && second.status()?.state === 'backup')
  await back.end('SIGTERM')
  await until(() => second.status()?.state === 'active')
  t.same(second.status()?.refusals, {}, 'nothing that was sent was refused')
  t.same(second.status()?.counters, { sendErrors: 0, receiveErrors: 0, unsoundPackets: 0 })

  if (!traffic) return
  const packets = await traffic.read(['ip.src', 'ip.ttl', 'ip.dsfield.dscp', 'vrrp.prio', 'vrrp.checksum.status'])
  t.ok(packets.length > 10)
  for (const [, ttl, dscp, , checksum] of packets) t.strictSame([ttl, dscp, checksum], ['255', '48', '1'])
  t.ok(
    packets.some(([source, , , priority]) => source === '10.0.0.1' && priority === '0'),
    'the orderly stop was told',
  )
  t.same(await traffic.complaints(), [], 'tshark finds nothing malformed')
})

test('a director at 10 ms keeps its rhythm', async (t) => {
  const traffic = await capture(t, 'vip0', 'ip proto 112')
  if (!traffic) return
  const only = startPeer('vip0', { advertisementIntervalMs: 10 })
  t.teardown(() => only.end('SIGKILL'))
  await until(() => only.status()?.state === 'active')
  const first = only.status()!.activeSinceMonotonicMs!
  await until(() => process.hrtime()[0] * 1000 + process.hrtime()[1] / 1e6 > first + 1000)
  await only.end('SIGKILL')
  const times = (await traffic.read(['frame.time_epoch'])).map(([seconds]) => Number(seconds) * 1000)
  // The sum is what drift would show in. A stall longer than an interval may leave some out, but never adds one.
  const mean = (times[times.length - 1] - times[0]) / (times.length - 1)
  t.ok(times.length > 20, `${times.length} advertisements`)
  t.ok(mean > 9.5, `${mean} ms between two`)
})

test('an interface that is missing, and a missing privilege, are named', async (t) => {
  const open = (prefix: string[], name: string) => {
    const program = `
      import { openVrrpSocket } from '${new URL('../../../../node/director/vip/vrrp-socket.ts', import.meta.url)}'
      const options = { interfaceName: '${name}', interfaceIndex: 99, sourceAddress: '10.0.0.1' }
      await openVrrpSocket(options).catch(({ code, message }) => console.log(code, message))
      process.exit()`
    const [command, ...rest] = [...prefix, process.execPath, '--input-type=module', '-e', program]
    return spawnSync(command, rest, { encoding: 'utf8' }).stdout
  }
  t.match(open([], 'nix0'), /^INTERFACE_MISSING nix0: /)
  t.match(open(['setpriv', '--bounding-set', '-net_raw'], 'vip0'), /^PRIVILEGE_MISSING .*CAP_NET_RAW/)
})
