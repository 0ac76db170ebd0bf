/** FTP through the director: data connections find the control connection's server, by every method and across a takeover. */
import { test } from 'tap'
import { MAX_EXPECTED } from '../../../forwarder/engine/ftp/expected-connections.ts'
import type { ForwardingMethod, ServiceSpec } from '../../../forwarder/service.ts'
import { readUint16 } from '../../../protocol/packet/bytes.ts'
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD, RECORD_REMOVE, RECORD_UPSERT } from '../../../protocol/wire/connection-record.ts'
import { type DirectorBench, told } from '../../support/director-bench.ts'
import { checksumsAreRight, type TcpFields, tcpFrame } from '../../support/frames.ts'
import { hex } from '../../support/hex.ts'
import {
  CLIENT_ADDRESS,
  finish,
  INSIDE,
  MAC,
  OUTSIDE,
  ROUTER,
  type SceneOptions,
  SERVER2_ADDRESS,
  scene,
  segmentationHeader,
  service,
  unfinish,
  unfinishedHeader,
  VIP,
} from '../../support/scene.ts'

const CONTROL = 3456
const SYN_ACK = TCP_SYN | TCP_ACK
const PUSH = TCP_PSH | TCP_ACK

function ftpService(method: ForwardingMethod, options: SceneOptions = {}): ServiceSpec {
  const specification = service({ weights: [1, 1], ...options, method })
  const servers = specification.servers.map((server) => ({ ...server, port: 21 }))
  return { ...specification, port: 21, servers }
}

/** An FTP service on two servers. Its first control connection goes to server 2, the newest; others in turn. */
function ftpScene(method: ForwardingMethod, options: SceneOptions = {}): DirectorBench {
  return scene({ ...options, services: [ftpService(method, options)] })
}

const client = (port: number, virtualPort: number, fields: Partial<TcpFields> = {}) =>
  tcpFrame({
    sourceMac: MAC.router,
    destinationMac: MAC.outside,
    from: `${CLIENT_ADDRESS}:${port}`,
    to: `${VIP}:${virtualPort}`,
    ...fields,
  })
const server = (port: number, clientPort: number, fields: Partial<TcpFields> = {}) =>
  tcpFrame({
    sourceMac: MAC.server2,
    destinationMac: MAC.inside,
    from: `${SERVER2_ADDRESS}:${port}`,
    to: `${CLIENT_ADDRESS}:${clientPort}`,
    ...fields,
  })
const text = (frame: Uint8Array) => Buffer.from(frame.subarray(54)).toString('latin1')
const ends = (frame: Uint8Array) => {
  const address = (at: number) => frame.subarray(at, at + 4).join('.')
  const port = (at: number) => (frame[at] << 8) | frame[at + 1]
  return `${address(26)}:${port(34)} > ${address(30)}:${port(36)}`
}

function logIn(bench: DirectorBench, clientPort = CONTROL): DirectorBench {
  bench.send(OUTSIDE, client(clientPort, 21, { flags: TCP_SYN }))
  bench.send(OUTSIDE, client(clientPort, 21))
  return bench
}
const say = (bench: DirectorBench, payload: string, fields: Partial<TcpFields> = {}) =>
  bench.send(OUTSIDE, client(CONTROL, 21, { payload, flags: PUSH, ...fields }))
const answer = (bench: DirectorBench, payload: string, fields: Partial<TcpFields> = {}) =>
  bench.send(INSIDE, server(21, CONTROL, { payload, flags: PUSH, ...fields }))
const states = (bench: DirectorBench) =>
  [...bench.reader.connections()].map((each) => `${each.clientPort}>${each.virtualPort} ${each.state}`).sort()

const REPLY_227 = '227 Entering Passive Mode (10,1,0,2,156,64).\r\n'

for (const [verb, command] of [
  ['PORT', 'PORT 203,0,113,7,15,160\r\n'],
  ['EPRT', 'EPRT |1|203.0.113.7|4000|\r\n'],
]) {
  test(`NAT, active (${verb}): the command passes as it is, and the server's connection comes from the virtual address`, async (t) => {
    const bench = logIn(ftpScene('nat'))
    const [passed] = say(bench, command)
    t.equal(text(passed.frame), command)
    t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '4000>20 LISTEN'])
    const [syn] = bench.send(INSIDE, server(20, 4000, { flags: TCP_SYN }))
    t.equal(syn.link, OUTSIDE)
    t.equal(ends(syn.frame), `${VIP}:20 > ${CLIENT_ADDRESS}:4000`)
    t.equal(hex(syn.frame.subarray(0, 6)), MAC.router.replaceAll(':', ''), 'the way the client comes')
    const [synAck] = bench.send(OUTSIDE, client(4000, 20, { flags: SYN_ACK }))
    t.equal(ends(synAck.frame), `${CLIENT_ADDRESS}:4000 > ${SERVER2_ADDRESS}:20`)
    bench.send(INSIDE, server(20, 4000))
    t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '4000>20 ESTABLISHED'])
  })
}

test('NAT, passive (PASV): the reply names the virtual address, and the data connection finds the server that replied', async (t) => {
  const bench = logIn(ftpScene('nat'))
  say(bench, 'PASV\r\n')
  const [reply] = answer(bench, REPLY_227)
  t.equal(text(reply.frame), '227 Passive Mode (198,51,100,10,156,64).    \r\n')
  t.ok(checksumsAreRight(reply.frame))
  t.same(states(bench), ['0>40000 LISTEN', `${CONTROL}>21 ESTABLISHED`])
  const [syn] = bench.send(OUTSIDE, client(5000, 40_000, { flags: TCP_SYN }))
  t.equal(ends(syn.frame), `${CLIENT_ADDRESS}:5000 > ${SERVER2_ADDRESS}:40000`)
  const [synAck] = bench.send(INSIDE, server(40_000, 5000, { flags: SYN_ACK }))
  t.equal(ends(synAck.frame), `${VIP}:40000 > ${CLIENT_ADDRESS}:5000`)
  bench.send(OUTSIDE, client(5000, 40_000))
  t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '5000>40000 ESTABLISHED'])
})

test('NAT, passive (EPSV): the reply names no address and passes as it is', async (t) => {
  const bench = logIn(ftpScene('nat'))
  const line = '229 Entering Extended Passive Mode (|||40000|)\r\n'
  t.equal(text(answer(bench, line)[0].frame), line)
  const [syn] = bench.send(OUTSIDE, client(5000, 40_000, { flags: TCP_SYN }))
  t.equal(ends(syn.frame), `${CLIENT_ADDRESS}:5000 > ${SERVER2_ADDRESS}:40000`)
})

for (const method of ['nat', 'dr'] as const) {
  test(`the data connections of a server that takes no new sessions any more go on (${method})`, async (t) => {
    for (const expireNodestConn of [0, 1]) {
      const bench = logIn(ftpScene(method))
      bench.set({ expireNodestConn })
      bench.engine.services.set(ftpService(method, { weights: [1, 0] }))
      const isToServer = (frame: Uint8Array) =>
        hex(bench.send(OUTSIDE, frame)[0].frame.subarray(0, 6)) === MAC.server2.replaceAll(':', '')
      say(bench, 'PORT 203,0,113,7,15,160\r\n')
      bench.send(INSIDE, server(20, 4000, { flags: TCP_SYN }))
      t.ok(isToServer(client(4000, 20, { flags: SYN_ACK })), 'active')
      say(bench, 'PASV\r\n')
      answer(bench, REPLY_227)
      for (let time = 0; time < 2; time++) t.ok(isToServer(client(5000, 40_000, { flags: TCP_SYN })), 'passive')
    }
  })
}

test('a reply that is sent again, at an odd place, or behind other lines is rewritten each time', async (t) => {
  const bench = logIn(ftpScene('nat'))
  for (const before of ['', '150 Ok\r\n', '226 Odd.\r\n', '200 one\r\n226 two\r\n']) {
    for (let round = 0; round < 2; round++) {
      const [{ frame }] = answer(bench, before + REPLY_227)
      t.equal(text(frame), `${before}227 Passive Mode (198,51,100,10,156,64).    \r\n`)
      t.ok(checksumsAreRight(frame))
    }
  }
})

test('a reply with an unfinished checksum is finished right by the card', async (t) => {
  const bench = logIn(ftpScene('nat'))
  const frame = server(21, CONTROL, { payload: REPLY_227, flags: PUSH })
  const [sent] = bench.send(INSIDE, unfinish(frame), unfinishedHeader(frame))
  t.ok(checksumsAreRight(finish(sent.frame, sent.vnetHeader)))
  t.match(text(sent.frame), /198,51,100,10,156,64/)
})

test('a reply that was damaged on its way leaves damaged', async (t) => {
  const frame = server(21, CONTROL, { payload: REPLY_227, flags: PUSH })
  frame[60] ^= 0x20
  const [sent] = logIn(ftpScene('nat')).send(INSIDE, frame)
  t.notOk(checksumsAreRight(sent.frame))
})

test('a reply whose end is not there yet waits for the server to send it whole', async (t) => {
  const bench = logIn(ftpScene('nat'))
  t.same(answer(bench, REPLY_227.slice(0, 30)), [])
  t.equal(bench.drops.toObject()['ftp-incomplete'], 1)
  t.match(text(answer(bench, REPLY_227)[0].frame), /^227 Passive Mode/)
  t.equal(answer(bench, `227 ${'without an end'.repeat(30)}`).length, 1, 'but not without bound')
})

for (const [sentence, headerFor, size] of [
  ['', undefined, 0],
  [' with an unfinished checksum', unfinishedHeader, 0],
  [' that the card is to cut', segmentationHeader, 1000],
  [' that the card would have had to cut', segmentationHeader, 1447],
] as const) {
  test(`a full segment${sentence} that ends within such a reply passes without that end, as often as it comes`, async (t) => {
    for (const end of ['2', '22', '227', REPLY_227.slice(0, 29)]) {
      const bench = logIn(ftpScene('nat'))
      const whole = '230 welcome\r\n'.padStart(1448 - end.length, '230-of a long banner\r\n')
      const say = (payload: string, sequence: number, flags = PUSH) => {
        const frame = server(21, CONTROL, { payload, sequence, flags })
        if (headerFor === undefined) return bench.send(INSIDE, frame).map((sent) => sent.frame)
        return bench.send(INSIDE, unfinish(frame), headerFor(frame, size)).map(({ frame, vnetHeader }) => {
          t.equal(vnetHeader[1] !== 0, size > 0 && text(frame).length > size, 'the card cuts what is longer')
          return finish(frame, vnetHeader)
        })
      }
      for (let time = 0; time < 2; time++) {
        const [passed] = say(whole + end, 1000, PUSH | TCP_FIN)
        t.equal(text(passed), whole)
        t.equal(readUint16(passed, 16), passed.length - 14)
        t.equal(passed[47], TCP_ACK, 'as if there were more to come')
        t.ok(checksumsAreRight(passed), `without ${end.length} bytes`)
        t.same(say('226 Transfer complete.\r\n', 1000 + whole.length + REPLY_227.length), [], 'what is behind waits')
      }
      if (size > 0) continue
      const [rest] = say(REPLY_227, 1000 + whole.length)
      t.match(text(rest), /^227 Passive Mode \(198,51,100,10,156,64\)/, 'the server goes on where it was cut')
    }
  })
}

test('a reply at the end of what is read of a very long segment is cut off and comes again', async (t) => {
  const bench = logIn(ftpScene('nat'))
  const banner = '230 welcome\r\n'.padStart(4094)
  for (const [line, passes] of [
    [REPLY_227, banner],
    ['214 help\r\n', `${banner}214 help\r\n`],
  ]) {
    const frame = server(21, CONTROL, { payload: banner + line, flags: PUSH })
    const [sent] = bench.send(INSIDE, unfinish(frame), segmentationHeader(frame, 1448))
    t.equal(text(sent.frame), passes)
  }
})

test('a full segment that was damaged on its way is damaged without its end', async (t) => {
  const frame = server(21, CONTROL, { payload: `${'230 welcome\r\n'.padStart(1446)}227 Ent`, flags: PUSH })
  frame[frame.length - 1] ^= 1
  const [sent] = logIn(ftpScene('nat')).send(INSIDE, frame)
  t.equal(text(sent.frame).length, 1446)
  t.notOk(checksumsAreRight(sent.frame))
})

test('what comes behind a dropped piece waits with it, and all passes when the server sends from there again', async (t) => {
  const bench = logIn(ftpScene('nat'))
  const say = (payload: string, sequence: number) =>
    bench.send(INSIDE, server(21, CONTROL, { payload, sequence, flags: PUSH })).map(({ frame }) => text(frame))
  t.same(say(REPLY_227.slice(0, 2), 1000), [], 'it may be the beginning of such a reply')
  t.same(say(REPLY_227.slice(2), 1002), [])
  t.same(say('226 Transfer complete.\r\n', 1002 + REPLY_227.length), [])
  const [whole] = say(REPLY_227, 1000)
  t.match(whole, /^227 Passive Mode \(198,51,100,10,156,64\)/)
  t.equal(say('226 Transfer complete.\r\n', 1000 + REPLY_227.length).length, 1)
})

test('what comes behind waits no longer than a server would take to send it again', async (t) => {
  const bench = logIn(ftpScene('nat'))
  const say = (payload: string, sequence: number) =>
    bench.send(INSIDE, server(21, CONTROL, { payload, sequence, flags: PUSH })).length
  t.equal(say(REPLY_227.slice(0, 2), 1000), 0)
  const behind = Array.from({ length: 40 }, () => say('226 Transfer complete.\r\n', 1002 + REPLY_227.length))
  t.same(behind, [...new Array(32).fill(0), ...new Array(8).fill(1)])
})

test('other replies, and a reply that names neither the server nor the virtual address, pass untouched', async (t) => {
  for (const line of ['220 (vsFTPd 3.0.3)\r\n', '230 Login', '227 Entering Passive Mode (9,9,9,9,156,64).\r\n']) {
    const bench = logIn(ftpScene('nat'))
    t.equal(text(answer(bench, line)[0].frame), line)
    t.equal(states(bench).length, 1)
  }
})

test('a server that knows the virtual address says so itself', async (t) => {
  const bench = logIn(ftpScene('nat'))
  const line = '227 Entering Passive Mode (198,51,100,10,156,64).\r\n'
  t.equal(text(answer(bench, line)[0].frame), line)
  t.equal(states(bench)[0], '0>40000 LISTEN')
})

for (const method of ['dr', 'tun'] as const) {
  const destination = (frame: Uint8Array) =>
    method === 'dr' ? hex(frame.subarray(0, 6)) : frame.subarray(30, 34).join('.')
  const second = method === 'dr' ? MAC.server2.replaceAll(':', '') : SERVER2_ADDRESS

  for (const command of ['PASV\r\n', 'EPSV\r\n']) {
    test(`${method}, passive (${command.trim()}): a connection to any unserved port goes to the control connection's server`, async (t) => {
      const bench = logIn(ftpScene(method))
      say(bench, command)
      t.same(states(bench), ['0>0 LISTEN', `${CONTROL}>21 ESTABLISHED`])
      const [syn] = bench.send(OUTSIDE, client(5000, 45_678, { flags: TCP_SYN }))
      t.equal(destination(syn.frame), second)
      const [data] = bench.send(OUTSIDE, client(5000, 45_678))
      t.equal(destination(data.frame), second)
      t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '5000>45678 ESTABLISHED'])
    })
  }

  test(`${method}, passive: ports below 1024 and other clients are not expected, nor is a second connection`, async (t) => {
    const bench = logIn(ftpScene(method))
    say(bench, 'PASV\r\n')
    bench.send(OUTSIDE, client(5000, 1023, { flags: TCP_SYN }))
    bench.send(OUTSIDE, client(5000, 45_678, { flags: TCP_SYN, from: '203.0.113.8:5000' }))
    t.equal(bench.drops.toObject()['no-service'], 2)
    bench.send(OUTSIDE, client(5000, 45_678, { flags: TCP_SYN }))
    bench.send(OUTSIDE, client(5001, 45_679, { flags: TCP_SYN }))
    t.equal(bench.drops.toObject()['no-service'], 3)
  })

  test(`${method}, active: the client's answer to the server's connection finds its way`, async (t) => {
    const bench = logIn(ftpScene(method))
    say(bench, 'PORT 203,0,113,7,15,160\r\n')
    const [synAck] = bench.send(OUTSIDE, client(4000, 20, { flags: SYN_ACK }))
    t.equal(destination(synAck.frame), second)
    bench.send(OUTSIDE, client(4000, 20))
    t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '4000>20 ESTABLISHED'])
  })
}

test('a command that comes in pieces is put together, one that skips bytes is not', async (t) => {
  const bench = logIn(ftpScene('nat'))
  say(bench, 'PORT 203,0,', { sequence: 100 })
  say(bench, '113,7,15,', { sequence: 111 })
  say(bench, '160\r\n', { sequence: 120 })
  t.equal(states(bench)[1], '4000>20 LISTEN')
  say(bench, 'PORT 203,0,', { sequence: 200 })
  say(bench, '113,7,15,161\r\n', { sequence: 212 })
  t.equal(states(bench).length, 2)
})

test('a command that names another host than the client is not believed', async (t) => {
  const bench = logIn(ftpScene('nat'))
  say(bench, 'PORT 203,0,113,8,15,160\r\n')
  t.equal(states(bench).length, 1)
})

test('FTP lines on another port mean nothing', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, client(CONTROL, 80, { flags: TCP_SYN }))
  bench.send(OUTSIDE, client(CONTROL, 80, { payload: 'PORT 203,0,113,7,15,160\r\n' }))
  t.equal(bench.table.memory.used, 1)
})

/** What `from` has told so far, taken by a standby, which then becomes active. */
function takeOver(from: DirectorBench, to: DirectorBench): DirectorBench {
  for (let at = from.outgoing.peek(); at >= 0; at = from.outgoing.peek()) {
    to.engine.replication.apply(from.outgoing.bytes, at)
    from.outgoing.advance()
  }
  // The way back to a client that this director has not heard yet is by route.
  to.send(INSIDE, server(21, CONTROL))
  to.resolve({ [ROUTER]: MAC.router })
  return to
}

test('a takeover between PASV and the data connection: the next director expects it too', async (t) => {
  for (const method of ['nat', 'dr', 'tun'] as const) {
    const first = logIn(ftpScene(method))
    say(first, 'PASV\r\n')
    if (method === 'nat') answer(first, REPLY_227)
    const next = takeOver(first, ftpScene(method))
    const [syn] = next.send(OUTSIDE, client(5000, 40_000, { flags: TCP_SYN }))
    const [before] = first.send(OUTSIDE, client(5000, 40_000, { flags: TCP_SYN }))
    t.equal(hex(syn.frame), hex(before.frame), method)
  }
})

test('a takeover in the middle of a transfer: both connections go on, and the next reply is rewritten', async (t) => {
  const first = logIn(ftpScene('nat'))
  answer(first, REPLY_227)
  first.send(OUTSIDE, client(5000, 40_000, { flags: TCP_SYN }))
  first.send(INSIDE, server(40_000, 5000, { flags: SYN_ACK }))
  first.send(OUTSIDE, client(5000, 40_000))
  const next = takeOver(first, ftpScene('nat'))
  const [data] = next.send(INSIDE, server(40_000, 5000, { payload: 'contents', sequence: 9 }))
  t.equal(ends(data.frame), `${VIP}:40000 > ${CLIENT_ADDRESS}:5000`)
  t.match(text(answer(next, REPLY_227)[0].frame), /198,51,100,10/)
  const names = [...next.engine.services.values()][0].servers.map(({ activeConnections }) => activeConnections)
  t.same(names, [2, 0], 'both count on the one server')
})

test('an active data connection survives a takeover before the server opens it', async (t) => {
  const first = logIn(ftpScene('nat'))
  say(first, 'PORT 203,0,113,7,15,160\r\n')
  const next = takeOver(first, ftpScene('nat'))
  next.send(INSIDE, server(20, 4000, { flags: TCP_SYN }))
  const [synAck] = next.send(OUTSIDE, client(4000, 20, { flags: SYN_ACK }))
  t.equal(ends(synAck.frame), `${CLIENT_ADDRESS}:4000 > ${SERVER2_ADDRESS}:20`)
})

for (const method of ['nat', 'dr', 'tun'] as const) {
  test(`what was expected and has come is expected nowhere any more, and its handshake goes on after a takeover (${method})`, async (t) => {
    const first = logIn(ftpScene(method))
    say(first, 'PASV\r\n')
    if (method === 'nat') answer(first, REPLY_227)
    const syn = client(5000, 40_000, { flags: TCP_SYN })
    const next = takeOver(first, ftpScene(method))
    const [before] = first.send(OUTSIDE, syn)
    takeOver(first, next)
    t.same(states(next), [`${CONTROL}>21 ESTABLISHED`, '5000>40000 SYN_RECV'])
    t.equal(hex(next.send(OUTSIDE, syn)[0].frame), hex(before.frame), 'a SYN that comes again')
    next.send(OUTSIDE, client(5001, 40_000, { flags: TCP_SYN }))
    t.equal(next.drops.toObject()['no-service'], 1, 'no second one is let in')
  })
}

test('a data connection of a server that the FTP service does not have is not taken', async (t) => {
  const first = logIn(ftpScene('nat'))
  answer(first, REPLY_227)
  const next = ftpScene('nat')
  next.engine.services.remove({ protocol: 'tcp', address: VIP, port: 21 })
  takeOver(first, next)
  t.notOk(states(next).some((each) => each.startsWith('0>')))
})

test('what is expected and does not come is forgotten after two minutes', async (t) => {
  const bench = logIn(ftpScene('nat'))
  answer(bench, REPLY_227)
  bench.nowMs += 119_000
  bench.breathe()
  t.equal(states(bench)[0], '0>40000 LISTEN')
  bench.nowMs += 2_000
  bench.breathe()
  t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`])
})

test('no client makes the director expect more than a bounded number of connections', async (t) => {
  const bench = logIn(ftpScene('nat', { connections: 8192 }))
  for (let port = 10_000; port < 10_000 + MAX_EXPECTED + 100; port++) {
    say(bench, `PORT 203,0,113,7,${port >> 8},${port & 255}\r\n`)
  }
  t.equal(bench.table.memory.used, MAX_EXPECTED + 1)
  const [oldest] = states(bench)
  t.equal(oldest, '10100>20 LISTEN', 'the oldest have been given up')
  told(bench)
  say(bench, 'PORT 203,0,113,7,78,32\r\n')
  t.same(
    told(bench).map((record) => [record[RECORD.kind], readUint16(record, RECORD.clientPort)]),
    [
      [RECORD_UPSERT, 20_000],
      [RECORD_REMOVE, 10_100],
    ],
    'and the peers are told',
  )
})

test('an expected connection is not given up for one that was made in the same place of the table long ago', async (t) => {
  const bench = logIn(ftpScene('nat'))
  const port = (number: number) => say(bench, `PORT 203,0,113,7,${number >> 8},${number & 255}\r\n`)
  for (let made = 0; made < MAX_EXPECTED; made++) {
    port(4000)
    bench.nowMs += 121_000
  }
  port(4001)
  port(4002)
  t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '4001>20 LISTEN', '4002>20 LISTEN'])
})

test('a control connection that ends leaves its data connection alone', async (t) => {
  const bench = logIn(ftpScene('nat'))
  answer(bench, REPLY_227)
  bench.send(OUTSIDE, client(5000, 40_000, { flags: TCP_SYN }))
  say(bench, '', { flags: TCP_FIN | TCP_ACK })
  const [data] = bench.send(OUTSIDE, client(5000, 40_000))
  t.equal(ends(data.frame), `${CLIENT_ADDRESS}:5000 > ${SERVER2_ADDRESS}:40000`)
})
