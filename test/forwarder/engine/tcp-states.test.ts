/** The TCP state machine, cell by cell against IPVS's tables, and its timeouts in virtual time. */
import { test } from 'tap'
import {
  DIRECTION_INPUT,
  DIRECTION_INPUT_ONLY,
  DIRECTION_OUTPUT,
  isActiveTcpState,
  nextTcpState,
  SECURE_DIRECTIONS,
  TCP_STATE_NAMES,
} from '../../../forwarder/engine/tcp-states.ts'
import { TICK_MS } from '../../../forwarder/table/connection-layout.ts'
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../../../protocol/packet/ipv4.ts'
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { clientTcp, clientUdp, INSIDE, OUTSIDE, scene, serverTcp, serverUdp } from '../../support/scene.ts'

// tcp_states[] and tcp_states_dos[] of net/netfilter/ipvs/ip_vs_proto_tcp.c, Linux 6.1.
const kernelTables = `
INPUT                           NO ES SS SR FW TW CL CW LA LI SA
  syn                           SR ES ES SR SR SR SR SR SR SR SR
  fin                           CL CW SS TW TW TW CL CW LA LI TW
  ack                           ES ES SS ES FW TW CL CW CL LI ES
  rst                           CL CL CL SR CL CL CL CL LA LI SR
OUTPUT
  syn                           SS ES SS SR SS SS SS SS SS LI SR
  fin                           TW FW SS TW FW TW CL TW LA LI TW
  ack                           ES ES SS ES FW TW CL CW LA ES ES
  rst                           CL CL SS CL CL TW CL CL CL CL CL
INPUT-ONLY
  syn                           SR ES ES SR SR SR SR SR SR SR SR
  fin                           CL FW SS TW FW TW CL CW LA LI TW
  ack                           ES ES SS ES FW TW CL CW CL LI ES
  rst                           CL CL CL SR CL CL CL CL LA LI CL
SECURE-INPUT
  syn                           SR ES ES SR SR SR SR SR SR SR SA
  fin                           CL CW SS TW TW TW CL CW LA LI SA
  ack                           ES ES SS SR FW TW CL CW CL LI SA
  rst                           CL CL CL SR CL CL CL CL LA LI CL
SECURE-OUTPUT
  syn                           SS ES SS SA SS SS SS SS SS LI SA
  fin                           TW FW SS TW FW TW CL TW LA LI TW
  ack                           ES ES SS ES FW TW CL CW LA ES ES
  rst                           CL CL SS CL CL TW CL CL CL CL CL
SECURE-INPUT-ONLY
  syn                           SA ES ES SR SA SA SA SA SA SA SA
  fin                           CL FW SS TW FW TW CL CW LA LI TW
  ack                           ES ES SS ES FW TW CL CW CL LI ES
  rst                           CL CL CL SR CL CL CL CL LA LI CL
`
const abbreviations: Record<string, string> = {
  NO: 'NONE',
  ES: 'ESTABLISHED',
  SS: 'SYN_SENT',
  SR: 'SYN_RECV',
  FW: 'FIN_WAIT',
  TW: 'TIME_WAIT',
  CL: 'CLOSE',
  CW: 'CLOSE_WAIT',
  LA: 'LAST_ACK',
  LI: 'LISTEN',
  SA: 'SYNACK',
}
const flagsOf: Record<string, number> = { syn: TCP_SYN, fin: TCP_FIN, ack: TCP_ACK, rst: TCP_RST }
const directionOf: Record<string, number> = {
  INPUT: DIRECTION_INPUT,
  OUTPUT: DIRECTION_OUTPUT,
  'INPUT-ONLY': DIRECTION_INPUT_ONLY,
  'SECURE-INPUT': SECURE_DIRECTIONS + DIRECTION_INPUT,
  'SECURE-OUTPUT': SECURE_DIRECTIONS + DIRECTION_OUTPUT,
  'SECURE-INPUT-ONLY': SECURE_DIRECTIONS + DIRECTION_INPUT_ONLY,
}

/** Event, state and what follows, by direction. */
function* cells(): Generator<{ direction: string; event: string; before: string; after: string }> {
  let direction = ''
  let columns: string[] = []
  for (const line of kernelTables.trim().split('\n')) {
    const [first, ...rest] = line.trim().split(/\s+/)
    if (!line.startsWith(' ')) {
      direction = first
      if (rest.length > 0) columns = rest
      continue
    }
    for (const [column, after] of rest.entries()) {
      yield { direction, event: first, before: abbreviations[columns[column]], after: abbreviations[after] }
    }
  }
}

const stateNumber = (name: string) => (TCP_STATE_NAMES as readonly string[]).indexOf(name)

for (const direction of Object.keys(directionOf)) {
  test(`every cell of the ${direction} table is IPVS’s`, async (t) => {
    let count = 0
    for (const cell of cells()) {
      if (cell.direction !== direction) continue
      const after = nextTcpState(directionOf[direction], flagsOf[cell.event], stateNumber(cell.before))
      t.equal(TCP_STATE_NAMES[after], cell.after, `${cell.event} in ${cell.before}`)
      count++
    }
    t.equal(count, 44)
  })
}

test('of several flags RST counts before SYN before FIN before ACK, and the others not at all', async (t) => {
  const wrong: string[] = []
  for (const direction of Object.values(directionOf)) {
    for (let flags = 0; flags < 256; flags++) {
      const strongest = [TCP_RST, TCP_SYN, TCP_FIN, TCP_ACK].find((flag) => flags & flag)
      for (let state = 0; state < TCP_STATE_NAMES.length; state++) {
        const expected = strongest === undefined ? state : nextTcpState(direction, strongest, state)
        if (nextTcpState(direction, flags, state) !== expected)
          wrong.push(`flags ${flags} in ${TCP_STATE_NAMES[state]}`)
      }
    }
  }
  t.same(wrong, [])
})

test('established and connecting states count as active, all others as inactive', async (t) => {
  const active = TCP_STATE_NAMES.filter((_, state) => isActiveTcpState(state))
  t.same(active, ['ESTABLISHED', 'SYN_SENT', 'SYN_RECV', 'SYNACK'])
})

const timeoutsS: Record<string, number> = {
  NONE: 2,
  ESTABLISHED: 900,
  SYN_SENT: 120,
  SYN_RECV: 60,
  FIN_WAIT: 120,
  TIME_WAIT: 120,
  CLOSE: 10,
  CLOSE_WAIT: 60,
  LAST_ACK: 30,
  LISTEN: 120,
  SYNACK: 120,
}
test('every state has IPVS’s timeout', async (t) => {
  const { connections } = scene().engine
  for (const [state, name] of TCP_STATE_NAMES.entries()) {
    t.equal(connections.timeoutSeconds(PROTOCOL_TCP, state), timeoutsS[name], name)
  }
  t.equal(connections.timeoutSeconds(PROTOCOL_UDP, 0), 300)
})

type Packet = [from: 'client' | 'server', flags: number]
const SYN: Packet = ['client', TCP_SYN]
const SYN_ACK: Packet = ['server', TCP_SYN | TCP_ACK]
const ACK: Packet = ['client', TCP_ACK]
const handshake = [SYN, SYN_ACK, ACK]
const clientFin: Packet = ['client', TCP_FIN | TCP_ACK]
const serverFin: Packet = ['server', TCP_FIN | TCP_ACK]
const conversations: [sentence: string, packets: Packet[], states: string[]][] = [
  ['a SYN that is not answered', [SYN], ['SYN_RECV']],
  ['a SYN that is sent again', [SYN, SYN], ['SYN_RECV', 'SYN_RECV']],
  ['a handshake', handshake, ['SYN_RECV', 'SYN_RECV', 'ESTABLISHED']],
  ['data', [...handshake, ['server', TCP_ACK | TCP_PSH]], ['SYN_RECV', 'SYN_RECV', 'ESTABLISHED', 'ESTABLISHED']],
  [
    'a client that ends first',
    [...handshake, clientFin, serverFin, ACK],
    ['SYN_RECV', 'SYN_RECV', 'ESTABLISHED', 'CLOSE_WAIT', 'TIME_WAIT', 'TIME_WAIT'],
  ],
  [
    'a server that ends first',
    [...handshake, serverFin, clientFin],
    ['SYN_RECV', 'SYN_RECV', 'ESTABLISHED', 'FIN_WAIT', 'TIME_WAIT'],
  ],
  ['a client that resets', [...handshake, ['client', TCP_RST]], ['SYN_RECV', 'SYN_RECV', 'ESTABLISHED', 'CLOSE']],
  ['a server that refuses', [SYN, ['server', TCP_RST | TCP_ACK]], ['SYN_RECV', 'CLOSE']],
]
for (const [sentence, packets, states] of conversations) {
  test(`${sentence}: ${states.at(-1)}, until its timeout has gone by to the tick`, async (t) => {
    const bench = scene()
    const seen = packets.map(([from, flags]) => {
      bench.nowMs += 500
      if (from === 'client') bench.send(OUTSIDE, clientTcp({ flags }))
      else bench.send(INSIDE, serverTcp({ flags }))
      return [...bench.reader.connections()].map((connection) => connection.state).join()
    })
    t.same(seen, states)
    expiresAfter(t, bench, timeoutsS[states.at(-1) as string])
  })
}

const oneWay: [sentence: string, flags: number[], states: string[]][] = [
  ['a handshake seen from one side', [TCP_SYN, TCP_ACK], ['SYN_RECV', 'ESTABLISHED']],
  [
    'an end seen from one side',
    [TCP_SYN, TCP_ACK, TCP_FIN | TCP_ACK, TCP_ACK],
    ['SYN_RECV', 'ESTABLISHED', 'FIN_WAIT', 'FIN_WAIT'],
  ],
  ['a reset seen from one side', [TCP_SYN, TCP_ACK, TCP_RST], ['SYN_RECV', 'ESTABLISHED', 'CLOSE']],
]
for (const method of ['dr', 'tun'] as const) {
  for (const [sentence, packets, states] of oneWay) {
    test(`${sentence} (${method}): ${states.at(-1)}`, async (t) => {
      const bench = scene({ method })
      const seen = packets.map((flags) => {
        bench.send(OUTSIDE, clientTcp({ flags }))
        return [...bench.reader.connections()].map((connection) => connection.state).join()
      })
      t.same(seen, states)
      expiresAfter(t, bench, timeoutsS[states.at(-1) as string])
    })
  }
}

const secure: [sentence: string, packets: Packet[], states: string[]][] = [
  ['a SYN that is not answered', [SYN], ['SYN_RECV']],
  ['a SYN that is answered', [SYN, SYN_ACK], ['SYN_RECV', 'SYNACK']],
  ['a client that sends an ACK and nothing else', [...handshake, ACK], ['SYN_RECV', 'SYNACK', 'SYNACK', 'SYNACK']],
  [
    'a server that has acknowledged what the client sent',
    [...handshake, ['server', TCP_ACK]],
    ['SYN_RECV', 'SYNACK', 'SYNACK', 'ESTABLISHED'],
  ],
]
test('with secure_tcp on since the SYN-ACK, a server that acknowledges what the client sent: ESTABLISHED', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  bench.send(INSIDE, serverTcp({ flags: TCP_SYN | TCP_ACK }))
  bench.set({ secureTcp: 3 })
  bench.send(OUTSIDE, clientTcp())
  bench.send(INSIDE, serverTcp({ flags: TCP_ACK }))
  t.same(
    [...bench.reader.connections()].map(({ state }) => state),
    ['ESTABLISHED'],
  )
})

for (const [sentence, packets, states] of secure) {
  test(`with secure_tcp, ${sentence}: ${states.at(-1)}`, async (t) => {
    const bench = scene()
    bench.set({ secureTcp: 3 })
    const seen = packets.map(([from, flags]) => {
      if (from === 'client') bench.send(OUTSIDE, clientTcp({ flags }))
      else bench.send(INSIDE, serverTcp({ flags }))
      return [...bench.reader.connections()].map((connection) => connection.state).join()
    })
    t.same(seen, states)
    expiresAfter(t, bench, timeoutsS[states.at(-1) as string])
  })
}

test('with secure_tcp a full table gives up who waits in SYNACK, and what is established stays', async (t) => {
  const bench = scene({ connections: 4 })
  bench.set({ secureTcp: 3 })
  const from = (port: number) => `203.0.113.7:${port}`
  for (const port of [1, 2, 3]) {
    bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN, from: from(port) }))
    bench.send(INSIDE, serverTcp({ flags: TCP_SYN | TCP_ACK, to: from(port) }))
  }
  for (const port of [1, 2]) bench.send(INSIDE, serverTcp({ flags: TCP_ACK, to: from(port) }))
  bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN, from: from(4) }))
  t.same([...bench.reader.connections()].map(({ clientPort }) => clientPort).sort(), [1, 2, 4])
})

test('secure_tcp can be taken back', async (t) => {
  const bench = scene()
  bench.set({ secureTcp: 3 })
  bench.set({ secureTcp: 0 })
  for (const [, flags] of [SYN, ACK]) bench.send(OUTSIDE, clientTcp({ flags }))
  t.equal([...bench.reader.connections()][0].state, 'ESTABLISHED')
})

test('every packet of a datagram conversation, in either direction, puts its end off', async (t) => {
  const bench = scene({ protocol: 'udp' })
  bench.send(OUTSIDE, clientUdp())
  bench.nowMs += 299_000
  bench.send(INSIDE, serverUdp())
  bench.nowMs += 299_000
  bench.send(OUTSIDE, clientUdp())
  expiresAfter(t, bench, 300)
})

test('traffic keeps an established connection for hours', async (t) => {
  const bench = scene()
  for (const [, flags] of [SYN, ACK]) bench.send(OUTSIDE, clientTcp({ flags }))
  for (let quarter = 0; quarter < 12; quarter++) {
    bench.nowMs += 899_000
    bench.send(quarter % 2 ? OUTSIDE : INSIDE, quarter % 2 ? clientTcp() : serverTcp())
  }
  expiresAfter(t, bench, 900)
})

test('a timeout that is set counts from the next packet on, shorter or longer', async (t) => {
  for (const seconds of [5, 3000]) {
    const bench = scene()
    for (const [, flags] of [SYN, ACK]) bench.send(OUTSIDE, clientTcp({ flags }))
    bench.set({ timeoutTcpS: seconds })
    bench.nowMs += 1000
    bench.send(OUTSIDE, clientTcp())
    expiresAfter(t, bench, seconds)
  }
})

test('a connection that says nothing any more keeps the timeout it had', async (t) => {
  const bench = scene()
  for (const [, flags] of [SYN, ACK]) bench.send(OUTSIDE, clientTcp({ flags }))
  bench.set({ timeoutTcpS: 5 })
  expiresAfter(t, bench, 900)
})

test('every TCP state and UDP take the timeout that is set for them', async (t) => {
  const half = scene()
  half.set({ timeoutTcpSynRecvS: 7 })
  half.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  expiresAfter(t, half, 7)
  const over = scene()
  over.set({ timeoutTcpCloseS: 3 })
  for (const flags of [TCP_SYN, TCP_ACK, TCP_RST]) over.send(OUTSIDE, clientTcp({ flags }))
  expiresAfter(t, over, 3)
  const datagrams = scene({ protocol: 'udp' })
  datagrams.set({ timeoutUdpS: 20 })
  datagrams.send(OUTSIDE, clientUdp())
  expiresAfter(t, datagrams, 20)
})

function expiresAfter(t: Tap, bench: DirectorBench, seconds: number): void {
  const started = bench.nowMs
  bench.nowMs = started + seconds * 1000 - TICK_MS
  bench.breathe()
  t.equal(bench.table.memory.used, 1, `${seconds} s, less a tick: it is still there`)
  bench.nowMs = started + seconds * 1000 + 2 * TICK_MS
  bench.breathe()
  t.equal(bench.table.memory.used, 0, `${seconds} s: it has ended`)
}

type Tap = { equal(found: unknown, wanted: unknown, message: string): unknown }
