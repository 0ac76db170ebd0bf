/** FTP through the director: data connections find the control connection's server, by every method and across a takeover. */
import { test } from 'tap'
import { MAX_EXPECTED } from '../../../forwarder/engine/ftp/expected-connections.ts'
import { readUint16 } from '../../../protocol/packet/bytes.ts'
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD, RECORD_REMOVE, RECORD_UPSERT } from '../../../protocol/wire/connection-record.ts'
import { type DirectorBench, tell, told } from '../../support/director-bench.ts'
import { checksumsAreRight } from '../../support/frames.ts'
import {
  answer,
  CONTROL,
  client,
  ends,
  ftpScene,
  ftpService,
  logIn,
  PUSH,
  REPLY_227,
  SYN_ACK,
  say,
  server,
  states,
  text,
} from '../../support/ftp-scene.ts'
import { hex } from '../../support/hex.ts'
import {
  CLIENT_ADDRESS,
  finish,
  INSIDE,
  MAC,
  OUTSIDE,
  ROUTER,
  SERVER2_ADDRESS,
  scene,
  unfinish,
  unfinishedHeader,
  VIP,
} from '../../support/scene.ts'

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

const activeMode = (port: number) => `PORT 203,0,113,7,${port >> 8},${port & 255}\r\n`
/** What the peers have been told: which kind, and of which client port. */
const records = (bench: DirectorBench) =>
  told(bench).map((record) => [record[RECORD.kind], readUint16(record, RECORD.clientPort)])

test('what a control connection announces takes the place of what it announced before, with the peers too', async (t) => {
  const bench = logIn(ftpScene('nat'))
  say(bench, activeMode(4000))
  records(bench)
  say(bench, activeMode(4001))
  t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '4001>20 LISTEN'])
  t.same(records(bench), [
    [RECORD_REMOVE, 4000],
    [RECORD_UPSERT, 4001],
  ])
  say(bench, activeMode(4001))
  t.same(records(bench), [[RECORD_UPSERT, 4001]], 'the same one again only goes on')
  answer(bench, REPLY_227)
  t.same(states(bench), ['0>40000 LISTEN', `${CONTROL}>21 ESTABLISHED`])
})

test('another session of the same client keeps what it has announced', async (t) => {
  const bench = logIn(logIn(ftpScene('nat')), 3457)
  say(bench, activeMode(4000))
  bench.send(OUTSIDE, client(3457, 21, { payload: activeMode(4001), flags: PUSH }))
  t.same(states(bench).slice(2), ['4000>20 LISTEN', '4001>20 LISTEN'])
})

test('a client that does not wait for replies transfers one file after the other, and each has its connection', async (t) => {
  const bench = logIn(ftpScene('nat'))
  for (const port of [4000, 4001, 4002]) {
    say(bench, `TYPE I\r\n${activeMode(port)}SIZE one\r\nMDTM one\r\nRETR one\r\n`)
    bench.send(INSIDE, server(20, port, { flags: TCP_SYN }))
    bench.send(OUTSIDE, client(port, 20, { flags: SYN_ACK }))
    bench.send(INSIDE, server(20, port))
  }
  const open = [4000, 4001, 4002].map((port) => `${port}>20 ESTABLISHED`)
  t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, ...open])
})

test('a segment full of commands announces one data connection, and what is behind many lines is not read', async (t) => {
  for (const lines of [16, 400]) {
    const bench = logIn(ftpScene('nat'))
    records(bench)
    say(bench, Array.from({ length: lines }, (_, line) => activeMode(4000 + line)).join(''))
    t.same(records(bench), [[RECORD_UPSERT, 4015]], 'of those that are read the last')
    say(bench, `${'\n'.repeat(lines)}${activeMode(5000)}`)
    t.same(records(bench), [])
  }
})

test('what comes with a SYN announces nothing, and takes no place in a full table from its own connection', async (t) => {
  const bench = logIn(logIn(ftpScene('nat', { connections: 4 })), 3457)
  const [passed] = bench.send(OUTSIDE, client(3458, 21, { flags: TCP_SYN, payload: activeMode(4000) }))
  t.equal(ends(passed.frame), `${CLIENT_ADDRESS}:3458 > ${SERVER2_ADDRESS}:21`)
  t.same(states(bench), ['3456>21 ESTABLISHED', '3457>21 ESTABLISHED', '3458>21 SYN_RECV'])
})

test('no number of clients makes the director expect more than a bounded number of connections', async (t) => {
  const bench = ftpScene('nat', { connections: 16_384 })
  const announce = (session: number) => {
    bench.send(OUTSIDE, client(2000 + session, 21, { flags: TCP_SYN }))
    bench.send(OUTSIDE, client(2000 + session, 21, { payload: activeMode(10_000 + session), flags: PUSH }))
  }
  const sessions = MAX_EXPECTED + 10
  for (let session = 0; session < sessions; session++) announce(session)
  t.equal(bench.table.memory.used, MAX_EXPECTED + sessions)
  const [oldest] = states(bench)
  t.equal(oldest, '10010>20 LISTEN', 'the oldest have been given up')
  records(bench)
  announce(sessions)
  t.same(
    records(bench).slice(1),
    [
      [RECORD_UPSERT, 10_000 + sessions],
      [RECORD_REMOVE, 10_010],
    ],
    'and the peers are told',
  )
})

test('an expected connection is not given up for one that was made in the same place of the table before', async (t) => {
  const bench = logIn(logIn(ftpScene('nat')), 3457)
  say(bench, activeMode(4000))
  bench.nowMs += 121_000
  bench.send(OUTSIDE, client(3457, 21, { payload: activeMode(4001), flags: PUSH }))
  say(bench, activeMode(4002))
  t.same(states(bench).slice(2), ['4001>20 LISTEN', '4002>20 LISTEN'])
})

test('a control connection that ends leaves its data connection alone', async (t) => {
  const bench = logIn(ftpScene('nat'))
  answer(bench, REPLY_227)
  bench.send(OUTSIDE, client(5000, 40_000, { flags: TCP_SYN }))
  say(bench, '', { flags: TCP_FIN | TCP_ACK })
  const [data] = bench.send(OUTSIDE, client(5000, 40_000))
  t.equal(ends(data.frame), `${CLIENT_ADDRESS}:5000 > ${SERVER2_ADDRESS}:40000`)
})

/** A data connection of the client's port 4000. */
function transferring(bench: DirectorBench): DirectorBench {
  say(bench, activeMode(4000))
  bench.send(INSIDE, server(20, 4000, { flags: TCP_SYN }))
  bench.send(OUTSIDE, client(4000, 20, { flags: SYN_ACK }))
  bench.send(INSIDE, server(20, 4000))
  return bench
}

/** Minutes in which nothing is said, and a file passes. */
function transfer(bench: DirectorBench, minutes: number, eachMinute: (minute: number) => void = () => {}): void {
  for (let minute = 1; minute <= minutes; minute++) {
    bench.nowMs += 60_000
    bench.send(OUTSIDE, client(4000, 20))
    eachMinute(minute)
  }
}

test('a control connection outlives a transfer that takes longer than its timeout, and not by much', async (t) => {
  const bench = transferring(logIn(ftpScene('nat')))
  transfer(bench, 40)
  t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '4000>20 ESTABLISHED'])
  t.equal(ends(answer(bench, '226 Transfer complete.\r\n')[0].frame), `${VIP}:21 > ${CLIENT_ADDRESS}:${CONTROL}`)
  transfer(bench, 40)
  bench.send(OUTSIDE, client(4000, 20, { flags: TCP_RST }))
  for (let step = 0; step < 15; step++) {
    bench.nowMs += 5000
    bench.breathe()
  }
  t.same(states(bench), [])
})

test('a passive data connection, by methods whose replies do not pass here, keeps its control connection too', async (t) => {
  const bench = logIn(ftpScene('dr'))
  say(bench, 'PASV\r\n')
  bench.send(OUTSIDE, client(4000, 45_678, { flags: TCP_SYN }))
  for (let minute = 0; minute < 20; minute++) {
    bench.send(OUTSIDE, client(4000, 45_678))
    bench.nowMs += 60_000
    bench.breathe()
  }
  t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '4000>45678 ESTABLISHED'])
})

test('a transfer keeps no session of another client, with another server, or that is over', async (t) => {
  const bench = logIn(ftpScene('nat'))
  const ofClient = [3457, 3458, 3459].map((port) => `${CLIENT_ADDRESS}:${port}`)
  // The servers take turns: 3458 and the other client are given the same as the first session.
  for (const from of [...ofClient, '203.0.113.8:3460']) {
    for (const flags of [TCP_SYN, TCP_ACK]) bench.send(OUTSIDE, client(0, 21, { from, flags }))
  }
  bench.send(OUTSIDE, client(3458, 21, { flags: TCP_RST }))
  transfer(transferring(bench), 20)
  t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`, '4000>20 ESTABLISHED'])
})

test('a peer keeps the control connection as well, told of it every half an hour, and answers on it after a takeover', async (t) => {
  const first = transferring(logIn(ftpScene('nat')))
  const next = ftpScene('nat', { state: 'standby' })
  const minutes: number[] = []
  const follow = (minute: number) => {
    next.nowMs = first.nowMs
    for (const record of told(first)) {
      tell(next, record)
      if (readUint16(record, RECORD.clientPort) === CONTROL) minutes.push(minute)
    }
    next.breathe()
  }
  follow(0)
  minutes.length = 0
  transfer(first, 100, follow)
  t.same(minutes, [32, 64, 96])
  t.same(states(next), states(first))
  t.same(told(next), [])
  next.engine.placeAddresses([{ address: VIP, link: OUTSIDE, state: 'active' }], [OUTSIDE, INSIDE])
  answer(next, '226 Transfer complete.\r\n')
  next.resolve({ [ROUTER]: MAC.router })
  t.equal(ends(answer(next, '221 Goodbye.\r\n')[0].frame), `${VIP}:21 > ${CLIENT_ADDRESS}:${CONTROL}`)
})
