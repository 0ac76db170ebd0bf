/** What ftp.test.ts shows of IPv4, for IPv6: EPRT and EPSV, by every method and across a takeover. */
import { test } from 'tap'
import type { ForwardingMethod } from '../../../forwarder/service.ts'
import { formatMac } from '../../../protocol/packet/bytes.ts'
import { readIPv6Text } from '../../../protocol/packet/ipv6-address.ts'
import { TCP_ACK, TCP_PSH, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { hex } from '../../support/hex.ts'
import { type TcpFields6, tcpFrame6 } from '../../support/ipv6-frames.ts'
import { CLIENT6_ADDRESS, ROUTER6, SERVER2_ADDRESS6, scene6, service6, VIP6 } from '../../support/ipv6-scene.ts'
import { INSIDE, MAC, OUTSIDE } from '../../support/scene.ts'

const CONTROL = 3456
const SYN_ACK = TCP_SYN | TCP_ACK
const PUSH = TCP_PSH | TCP_ACK
const EPRT = `EPRT |2|${CLIENT6_ADDRESS}|4000|\r\n`
const REPLY_229 = '229 Entering Extended Passive Mode (|||40000|)\r\n'

/** An FTP service on two servers. Its first control connection goes to server 2, the newest. */
function ftpScene(method: ForwardingMethod): DirectorBench {
  const specification = service6({ method, weights: [1, 1] })
  const servers = specification.servers.map((server) => ({ ...server, port: 21 }))
  return scene6({ services: [{ ...specification, port: 21, servers }] })
}

const client = (port: number, virtualPort: number, fields: Partial<TcpFields6> = {}) =>
  tcpFrame6({
    sourceMac: MAC.router,
    destinationMac: MAC.outside,
    from: `[${CLIENT6_ADDRESS}]:${port}`,
    to: `[${VIP6}]:${virtualPort}`,
    ...fields,
  })
const server = (port: number, clientPort: number, fields: Partial<TcpFields6> = {}) =>
  tcpFrame6({
    sourceMac: MAC.server2,
    destinationMac: MAC.inside,
    from: `[${SERVER2_ADDRESS6}]:${port}`,
    to: `[${CLIENT6_ADDRESS}]:${clientPort}`,
    ...fields,
  })
const text = (frame: Uint8Array) => Buffer.from(frame.subarray(74)).toString('latin1')
const ends = (frame: Uint8Array) => {
  const port = (at: number) => (frame[at] << 8) | frame[at + 1]
  return `[${readIPv6Text(frame, 22)}]:${port(54)} > [${readIPv6Text(frame, 38)}]:${port(56)}`
}

function logIn(bench: DirectorBench): DirectorBench {
  bench.send(OUTSIDE, client(CONTROL, 21, { flags: TCP_SYN }))
  bench.send(OUTSIDE, client(CONTROL, 21))
  return bench
}
const say = (bench: DirectorBench, payload: string) =>
  bench.send(OUTSIDE, client(CONTROL, 21, { payload, flags: PUSH }))
const answer = (bench: DirectorBench, payload: string) =>
  bench.send(INSIDE, server(21, CONTROL, { payload, flags: PUSH }))
const states = (bench: DirectorBench) =>
  [...bench.reader.connections()].map((each) => `${each.clientPort}>${each.virtualPort} ${each.state}`).sort()

/** What `from` has told so far, taken by a standby, which then becomes active. */
function takeOver(from: DirectorBench, to: DirectorBench): DirectorBench {
  for (let at = from.outgoing.peek(); at >= 0; at = from.outgoing.peek()) {
    to.engine.replication.apply(from.outgoing.bytes, at)
    from.outgoing.advance()
  }
  // The way back to a client that this director has not heard yet is by route.
  to.send(INSIDE, server(21, CONTROL))
  to.resolve({ [ROUTER6]: MAC.router })
  return to
}

test("NAT, active: the command passes as it is, and the server's connection comes from the virtual address", async (t) => {
  const bench = logIn(ftpScene('nat'))
  t.equal(text(say(bench, EPRT)[0].frame), EPRT)
  t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '4000>20 LISTEN'])
  const [syn] = bench.send(INSIDE, server(20, 4000, { flags: TCP_SYN }))
  t.equal(syn.link, OUTSIDE)
  t.equal(ends(syn.frame), `[${VIP6}]:20 > [${CLIENT6_ADDRESS}]:4000`)
  t.equal(formatMac(syn.frame), MAC.router, 'the way the client comes')
  const [synAck] = bench.send(OUTSIDE, client(4000, 20, { flags: SYN_ACK }))
  t.equal(ends(synAck.frame), `[${CLIENT6_ADDRESS}]:4000 > [${SERVER2_ADDRESS6}]:20`)
  bench.send(INSIDE, server(20, 4000))
  t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '4000>20 ESTABLISHED'])
})

test('NAT, passive: the reply names no address and passes as it is, and the data connection finds the server', async (t) => {
  const bench = logIn(ftpScene('nat'))
  say(bench, 'EPSV 2\r\n')
  t.equal(text(answer(bench, REPLY_229)[0].frame), REPLY_229)
  t.same(states(bench), ['0>40000 LISTEN', `${CONTROL}>21 ESTABLISHED`])
  const [syn] = bench.send(OUTSIDE, client(5000, 40_000, { flags: TCP_SYN }))
  t.equal(ends(syn.frame), `[${CLIENT6_ADDRESS}]:5000 > [${SERVER2_ADDRESS6}]:40000`)
  const [synAck] = bench.send(INSIDE, server(40_000, 5000, { flags: SYN_ACK }))
  t.equal(ends(synAck.frame), `[${VIP6}]:40000 > [${CLIENT6_ADDRESS}]:5000`)
  bench.send(OUTSIDE, client(5000, 40_000))
  t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '5000>40000 ESTABLISHED'])
})

test('NAT: a segment that ends within a reply passes as it is, since nothing would be rewritten', async (t) => {
  const bench = logIn(ftpScene('nat'))
  for (const line of ['220 welcome\r\n22', '22', '227 Entering']) t.equal(text(answer(bench, line)[0].frame), line)
})

for (const method of ['dr', 'tun'] as const) {
  const goesToSecond = (frame: Uint8Array) =>
    method === 'dr' ? formatMac(frame) === MAC.server2 : readIPv6Text(frame, 38) === SERVER2_ADDRESS6

  test(`${method}, passive: a connection to any unserved port goes to the control connection's server`, async (t) => {
    const bench = logIn(ftpScene(method))
    say(bench, 'EPSV\r\n')
    t.same(states(bench), ['0>0 LISTEN', `${CONTROL}>21 ESTABLISHED`])
    const [refused] = bench.send(OUTSIDE, client(5000, 1023, { flags: TCP_SYN }))
    t.equal(refused.link, OUTSIDE, 'but to none below 1024')
    for (const flags of [TCP_SYN, TCP_ACK]) {
      const [sent] = bench.send(OUTSIDE, client(5000, 45_678, { flags }))
      t.ok(goesToSecond(sent.frame))
    }
    t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '5000>45678 ESTABLISHED'])
  })

  test(`${method}, active: the client's answer to the server's connection finds its way`, async (t) => {
    const bench = logIn(ftpScene(method))
    say(bench, EPRT)
    for (const flags of [SYN_ACK, TCP_ACK]) {
      const [sent] = bench.send(OUTSIDE, client(4000, 20, { flags }))
      t.ok(goesToSecond(sent.frame))
    }
    t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '4000>20 ESTABLISHED'])
  })
}

test('a command that names another host than the client, or one of IPv4, is not believed', async (t) => {
  const bench = logIn(ftpScene('nat'))
  for (const command of ['EPRT |2|2001:db8:c::8|4000|', 'EPRT |1|203.0.113.7|4000|', 'PORT 203,0,113,7,15,160']) {
    say(bench, `${command}\r\n`)
  }
  const reply = '227 Entering Passive Mode (10,1,0,2,156,64).\r\n'
  t.equal(text(answer(bench, reply)[0].frame), reply)
  t.equal(states(bench).length, 1)
})

test('a takeover between EPSV and the data connection: the next director expects it too', async (t) => {
  for (const method of ['nat', 'dr', 'tun'] as const) {
    const first = logIn(ftpScene(method))
    say(first, 'EPSV\r\n')
    if (method === 'nat') answer(first, REPLY_229)
    const next = takeOver(first, ftpScene(method))
    const [syn] = next.send(OUTSIDE, client(5000, 40_000, { flags: TCP_SYN }))
    const [before] = first.send(OUTSIDE, client(5000, 40_000, { flags: TCP_SYN }))
    t.equal(hex(syn.frame), hex(before.frame), method)
  }
})

test('an active data connection survives a takeover before the server opens it', async (t) => {
  const first = logIn(ftpScene('nat'))
  say(first, EPRT)
  const next = takeOver(first, ftpScene('nat'))
  next.send(INSIDE, server(20, 4000, { flags: TCP_SYN }))
  const [synAck] = next.send(OUTSIDE, client(4000, 20, { flags: SYN_ACK }))
  t.equal(ends(synAck.frame), `[${CLIENT6_ADDRESS}]:4000 > [${SERVER2_ADDRESS6}]:20`)
})
