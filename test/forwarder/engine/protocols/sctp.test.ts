/** SCTP through the engine as golden packets, and its state machine: every cell, and whole associations. */
import { test } from 'tap'
import { nextSctpState, sctpProtocol } from '../../../../forwarder/engine/protocols/sctp.ts'
import { VNET_HEADER_LENGTH, VNET_NEEDS_CSUM } from '../../../../forwarder/link/link.ts'
import { defaultSettings } from '../../../../forwarder/settings.ts'
import { PROTOCOL_SCTP } from '../../../../protocol/packet/ipv4.ts'
import { SCTP_CHUNK } from '../../../../protocol/packet/sctp.ts'
import type { DirectorBench } from '../../../support/director-bench.ts'
import { icmpFrame, packetOf } from '../../../support/frames.ts'
import { hex, sentHex } from '../../../support/hex.ts'
import {
  CLIENT,
  CLIENT_ADDRESS,
  clientSctp,
  INSIDE,
  MAC,
  OUTSIDE,
  SERVER1_ADDRESS,
  SERVER2_ADDRESS,
  scene,
  sctpToClient,
  sctpToServer,
  serverSctp,
  tunnelled,
  VIP,
  VIRTUAL,
} from '../../../support/scene.ts'

const DIRECTIONS = { input: 0, output: 1, 'input only': 2 } as const
const shortNames = 'NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL'.split(' ')
// sctp_states[] of net/netfilter/ipvs/ip_vs_proto_sctp.c, Linux 6.1, as what differs from "stays as it is".
const moves: Record<keyof typeof DIRECTIONS, string[]> = {
  input: [
    'DATA NO>ES',
    'INIT NO>I1 I1>IN RJ>IN CL>IN',
    'INIT_ACK NO>CW I1>CW IN>CW CW>CO',
    'COOKIE_ECHO NO>CR I1>IN CS>CR',
    'COOKIE_ACK NO>ES CE>ES',
    'SHUTDOWN NO>SR ES>SR',
    'SHUTDOWN_ACK NO>CL I1>IN SS>CL SA>CL',
    'SHUTDOWN_COMPLETE NO>CL I1>CL IN>CL SA>CL',
    'ERROR NO>CL CE>CL',
    'ABORT NO>CL I1>CL IN>CL CS>CL CR>CL CW>RJ CO>CL CE>CL ES>CL SS>CL SR>CL SA>CL RJ>CL',
  ],
  output: [
    'DATA NO>ES',
    'INIT NO>CW I1>CW IN>CW CS>CW CR>CW CO>CW CE>CW SS>CW SR>CW SA>CW RJ>CW CL>CW',
    'INIT_ACK NO>CS I1>CS IN>CS',
    'COOKIE_ECHO NO>CE I1>CE IN>CE CS>CE CR>CE CW>CE CO>CE',
    'COOKIE_ACK NO>ES I1>ES IN>ES CS>ES CR>ES CW>ES CO>ES CE>ES',
    'SHUTDOWN NO>SS I1>SS IN>SS CS>SS CR>SS CW>SS CO>SS CE>SS ES>SS',
    'SHUTDOWN_ACK NO>SA I1>SA IN>SA CS>SA CR>SA SS>SA SR>SA',
    'SHUTDOWN_COMPLETE NO>CL',
    'ERROR NO>CL I1>CL IN>CL CS>CL CR>CL',
    'ABORT NO>CL I1>RJ IN>CL CS>CL CR>CL CW>CL CO>CL CE>CL ES>CL SS>CL SR>CL SA>CL RJ>CL',
  ],
  'input only': [
    'DATA NO>ES CW>ES',
    'INIT NO>I1 I1>IN CS>IN CR>IN CW>IN RJ>IN CL>IN',
    'INIT_ACK NO>CE I1>CE IN>CE CS>CE CR>CE CW>CE',
    'COOKIE_ECHO NO>ES I1>ES IN>ES CS>ES CR>ES CW>ES',
    'COOKIE_ACK NO>ES CS>ES CR>ES CO>ES CE>ES',
    'SHUTDOWN NO>SR ES>SR',
    'SHUTDOWN_ACK NO>CL I1>IN ES>CL SS>CL SA>CL',
    'SHUTDOWN_COMPLETE NO>CL I1>CL IN>CL CS>CL CR>CL SR>CL SA>CL',
    'ERROR NO>CL',
    'ABORT NO>CL I1>CL IN>CL CS>CL CR>CL CW>RJ CO>CL CE>CL ES>CL SS>CL SR>CL SA>CL RJ>CL',
  ],
}

for (const [direction, rows] of Object.entries(moves)) {
  test(`every state and event of direction ${direction} leads where IPVS's table says`, async (t) => {
    t.equal(rows.length, 10)
    for (const row of rows) {
      const [event, ...changes] = row.split(' ')
      const changed = new Map(changes.map((change) => change.split('>') as [string, string]))
      for (const [state, name] of shortNames.entries()) {
        const after = nextSctpState(
          DIRECTIONS[direction as keyof typeof DIRECTIONS],
          SCTP_CHUNK[event as keyof typeof SCTP_CHUNK],
          state,
        )
        t.equal(shortNames[after], changed.get(name) ?? name, `${event} in ${name}`)
      }
    }
  })
}

test('chunks that carry on, and those that nobody knows, count as data', async (t) => {
  for (const type of [SCTP_CHUNK.SACK, SCTP_CHUNK.HEARTBEAT, SCTP_CHUNK.HEARTBEAT_ACK, 12, 13, 15, 64, 192, 255]) {
    for (let state = 0; state < shortNames.length; state++) {
      t.equal(nextSctpState(2, type, state), nextSctpState(2, SCTP_CHUNK.DATA, state))
    }
  }
})

test('states have the names and timeouts of IPVS', async (t) => {
  t.same(
    sctpProtocol.states.map(({ name, timeoutS }) => `${name} ${timeoutS}`),
    (
      'NONE 2,INIT1 4,INIT 61,C-SENT 61,C-REPLIED 61,C-WAIT 61,COOKIE 61,C-ECHOED 61,' +
      'ESTABLISHED 900,S-SENT 61,S-RECEIVED 61,S-ACK-SENT 61,REJECTED 4,CLOSED 61'
    ).split(','),
  )
})

test('the settings of SCTP set the timeouts of their states, the last one of all others', async (t) => {
  const { engine } = scene({ protocol: 'sctp' })
  const seconds = () => sctpProtocol.states.map((_, state) => engine.connections.timeoutSeconds(PROTOCOL_SCTP, state))
  engine.applySettings(defaultSettings())
  t.same(
    seconds(),
    sctpProtocol.states.map(({ timeoutS }) => timeoutS),
  )
  const changed = { timeoutSctpNoneS: 11, timeoutSctpInitS: 12, timeoutSctpS: 13, timeoutSctpRejectedS: 14 }
  engine.applySettings({ ...defaultSettings(), ...changed, timeoutSctpOtherS: 15 })
  t.same(seconds(), [11, 12, 15, 15, 15, 15, 15, 15, 13, 15, 15, 15, 14, 15])
})

const { ABORT, COOKIE_ACK, COOKIE_ECHO, DATA, INIT, INIT_ACK, SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE } = SCTP_CHUNK
const value = new TextEncoder().encode('sixteen bytes and some')
const chunk = (type: number) => ({ chunks: [{ type, value }] })
const state = (bench: DirectorBench) => [...bench.reader.connections()].map((connection) => connection.state).join()
const counts = (bench: DirectorBench) => {
  const server = [...bench.engine.services.values()][0].servers[0]
  return { active: server.activeConnections, inactive: server.inactiveConnections }
}

test('a whole association by NAT: packets are rewritten with their checksum, and the state follows both sides', async (t) => {
  const bench = scene({ protocol: 'sctp' })
  const conversation: [from: 'client' | 'server', type: number, state: string][] = [
    ['client', INIT, 'INIT1'],
    ['server', INIT_ACK, 'C-SENT'],
    ['client', COOKIE_ECHO, 'C-REPLIED'],
    ['server', COOKIE_ACK, 'ESTABLISHED'],
    ['client', DATA, 'ESTABLISHED'],
    ['server', DATA, 'ESTABLISHED'],
    ['server', SHUTDOWN, 'S-SENT'],
    ['client', SHUTDOWN_ACK, 'CLOSED'],
    ['server', SHUTDOWN_COMPLETE, 'CLOSED'],
  ]
  for (const [from, type, expected] of conversation) {
    if (from === 'client') {
      t.same(sentHex(bench.send(OUTSIDE, clientSctp(chunk(type)))), [[INSIDE, hex(sctpToServer(chunk(type)))]])
    } else {
      t.same(sentHex(bench.send(INSIDE, serverSctp(chunk(type)))), [[OUTSIDE, hex(sctpToClient(chunk(type)))]])
    }
    t.equal(state(bench), expected, `after ${type} of the ${from}`)
    t.same(counts(bench), expected === 'ESTABLISHED' ? { active: 1, inactive: 0 } : { active: 0, inactive: 1 })
  }
})

test('an association is told to the peers when it is established, and at every change from then on', async (t) => {
  const bench = scene({ protocol: 'sctp' })
  bench.send(OUTSIDE, clientSctp(chunk(INIT)))
  bench.send(INSIDE, serverSctp(chunk(INIT_ACK)))
  bench.send(OUTSIDE, clientSctp(chunk(COOKIE_ECHO)))
  t.equal(bench.outgoing.length, 0)
  bench.send(INSIDE, serverSctp(chunk(COOKIE_ACK)))
  t.equal(bench.outgoing.length, 1)

  const standby = scene({ protocol: 'sctp', state: 'standby' })
  t.ok(standby.engine.replication.apply(bench.outgoing.bytes, bench.outgoing.peek()))
  t.equal(state(standby), 'ESTABLISHED')
  t.equal(standby.breathe().length, 1, 'the way to the client is asked for')
  t.same(sentHex(standby.send(OUTSIDE, clientSctp(chunk(DATA)))), [[INSIDE, hex(sctpToServer(chunk(DATA)))]])
  bench.send(OUTSIDE, clientSctp(chunk(SHUTDOWN)))
  t.equal(bench.outgoing.length, 2)
})

test('DR sends the packet on as it is, and the association is followed by the client alone', async (t) => {
  const bench = scene({ protocol: 'sctp', method: 'dr' })
  const passed = (type: number) =>
    clientSctp({ ...chunk(type), sourceMac: MAC.inside, destinationMac: MAC.server1, ttl: 63 })
  t.same(sentHex(bench.send(OUTSIDE, clientSctp(chunk(INIT)))), [[INSIDE, hex(passed(INIT))]])
  t.equal(state(bench), 'INIT1')
  t.same(sentHex(bench.send(OUTSIDE, clientSctp(chunk(COOKIE_ECHO)))), [[INSIDE, hex(passed(COOKIE_ECHO))]])
  t.equal(state(bench), 'ESTABLISHED')
})

test('TUN puts an outer header in front of it', async (t) => {
  const bench = scene({ protocol: 'sctp', method: 'tun' })
  const [sent] = bench.send(OUTSIDE, clientSctp(chunk(INIT)))
  t.equal(hex(sent.frame), hex(tunnelled(clientSctp({ ...chunk(INIT), ttl: 63 }))))
})

for (const method of ['nat', 'dr', 'tun'] as const) {
  test(`by ${method} a checksum left to the card is finished here, since no card is told how SCTP does it`, async (t) => {
    const unfinishedHeader = new Uint8Array(VNET_HEADER_LENGTH)
    unfinishedHeader[0] = VNET_NEEDS_CSUM
    unfinishedHeader[6] = 34
    unfinishedHeader[8] = 8
    const frame = clientSctp(chunk(INIT))
    const unfinished = frame.slice()
    unfinished.fill(0, 34 + 8, 34 + 12)
    const bench = scene({ protocol: 'sctp', method })
    const [sent] = bench.send(OUTSIDE, unfinished, unfinishedHeader)
    const [expected] = scene({ protocol: 'sctp', method }).send(OUTSIDE, frame)
    t.equal(hex(sent.frame), hex(expected.frame))
    t.same(sent.vnetHeader, new Uint8Array(VNET_HEADER_LENGTH))
  })
}

test('a packet with a wrong checksum leaves with a wrong one', async (t) => {
  const bench = scene({ protocol: 'sctp' })
  const frame = clientSctp(chunk(INIT))
  frame[60] ^= 0x10
  const right = sctpToServer(chunk(INIT))
  right[60] ^= 0x10
  t.equal(hex(bench.send(OUTSIDE, frame)[0].frame), hex(right))
})

test('only an INIT begins an association', async (t) => {
  for (const type of [DATA, INIT_ACK, COOKIE_ECHO, ABORT, 255]) {
    const bench = scene({ protocol: 'sctp' })
    t.same(bench.send(OUTSIDE, clientSctp(chunk(type))), [])
    t.equal(bench.drops.toObject()['no-connection'], 1)
    t.equal(bench.table.memory.used, 0)
  }
})

test('an INIT in the place of an association that is over is scheduled anew', async (t) => {
  const bench = scene({ protocol: 'sctp', weights: [1, 1] })
  const server = (frame: Uint8Array) => hex(frame.subarray(30, 34))
  const first = server(bench.send(OUTSIDE, clientSctp(chunk(INIT)))[0].frame)
  t.equal(server(bench.send(OUTSIDE, clientSctp(chunk(INIT)))[0].frame), first, 'a repeated INIT stays with its server')
  bench.send(OUTSIDE, clientSctp(chunk(ABORT)))
  t.equal(state(bench), 'CLOSED')
  const second = server(bench.send(OUTSIDE, clientSctp(chunk(INIT)))[0].frame)
  t.not(second, first)
  t.same([first, second].sort(), [SERVER1_ADDRESS, SERVER2_ADDRESS].map((address) => hex(ip(address))).sort())
})

test('an INIT that nobody answers is given up after 4 s, the second after 61', async (t) => {
  const bench = scene({ protocol: 'sctp' })
  bench.send(OUTSIDE, clientSctp(chunk(INIT)))
  bench.nowMs += 3_800
  bench.breathe()
  t.equal(state(bench), 'INIT1')
  bench.nowMs += 400
  bench.breathe()
  t.equal(state(bench), '')
  bench.send(OUTSIDE, clientSctp(chunk(INIT)))
  bench.send(OUTSIDE, clientSctp(chunk(INIT)))
  t.equal(state(bench), 'INIT')
  bench.nowMs += 60_800
  bench.breathe()
  t.equal(state(bench), 'INIT')
  bench.nowMs += 400
  bench.breathe()
  t.equal(state(bench), '')
})

test('in a full table an association without its cookie makes room, an established one never', async (t) => {
  const bench = scene({ protocol: 'sctp', connections: 4 })
  const from = (port: number) => `${CLIENT_ADDRESS}:${port}`
  for (const port of [1, 2, 3]) bench.send(OUTSIDE, clientSctp({ ...chunk(INIT), from: from(port) }))
  for (const port of [1, 2]) {
    bench.send(INSIDE, serverSctp({ ...chunk(INIT_ACK), to: from(port) }))
    bench.send(INSIDE, serverSctp({ ...chunk(COOKIE_ACK), to: from(port) }))
  }
  bench.send(OUTSIDE, clientSctp({ ...chunk(INIT), from: from(4) }))
  t.same([...bench.reader.connections()].map(({ clientPort }) => clientPort).sort(), [1, 2, 4])
})

test('a packet without room for a chunk is dropped', async (t) => {
  const bench = scene({ protocol: 'sctp' })
  t.same(bench.send(OUTSIDE, clientSctp({ chunks: [] })), [])
  t.equal(bench.drops.toObject().truncated, 1)
})

test('an ICMP error about an association reaches the client with the virtual address in what it quotes', async (t) => {
  const bench = scene({ protocol: 'sctp' })
  bench.send(OUTSIDE, clientSctp(chunk(INIT)))
  const error = icmpFrame({
    destinationMac: MAC.inside,
    from: `${SERVER1_ADDRESS}:0`,
    to: CLIENT,
    type: 3,
    code: 2,
    payload: packetOf(sctpToServer(chunk(INIT))),
  })
  const [sent] = bench.send(INSIDE, error)
  t.equal(sent.link, OUTSIDE)
  const quoted = sent.frame.subarray(14 + 20 + 8)
  t.equal(hex(quoted.subarray(16, 20)), hex(ip(VIP)))
  t.equal((quoted[22] << 8) | quoted[23], Number(VIRTUAL.split(':')[1]))
})

function ip(address: string): Uint8Array {
  return Uint8Array.from(address.split('.'), Number)
}
