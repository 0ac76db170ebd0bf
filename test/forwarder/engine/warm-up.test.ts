/** In a large table batches are warmed up before they are handled; what comes out is the same. */
import { test } from 'tap'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { hex, sentHex } from '../../support/hex.ts'
import { clientTcp6, scene6, serverTcp6, tcpToClient6, tcpToServer6 } from '../../support/ipv6-scene.ts'
import { clientTcp, INSIDE, OUTSIDE, scene, serverTcp, tcpToClient, tcpToServer } from '../../support/scene.ts'

const CONNECTIONS = 20_000
const families = [
  {
    name: 'IPv4',
    open: () => scene({ connections: 2 ** 15 }),
    client: (number: number) => `203.0.${100 + Math.floor(number / 250)}.${number % 250}:${1024 + number}`,
    frames: { request: clientTcp, reply: serverTcp, toServer: tcpToServer, toClient: tcpToClient },
    shortest: 38,
  },
  {
    name: 'IPv6',
    open: () => scene6({ connections: 2 ** 15 }),
    // Many addresses, few ports: what they differ in is the last word.
    client: (number: number) => `[2001:db8:c::${(number >> 2).toString(16)}]:${1024 + (number & 3)}`,
    frames: { request: clientTcp6, reply: serverTcp6, toServer: tcpToServer6, toClient: tcpToClient6 },
    shortest: 58,
  },
]

for (const { name, open, client, frames, shortest } of families) {
  test(`with twenty thousand connections of ${name}, each packet of a mixed batch finds its own`, async (t) => {
    const bench = open()
    for (let number = 0; number < CONNECTIONS; number++) {
      bench.send(OUTSIDE, frames.request({ from: client(number), flags: TCP_SYN }))
    }
    t.equal(bench.table.memory.used, CONNECTIONS)
    const readings = bench.engine.warmUp.readings
    const numbers = Array.from({ length: 20 }, (_, index) => (index * 997) % CONNECTIONS)
    const noise = [
      new Uint8Array(1),
      new Uint8Array(37),
      new Uint8Array(60).fill(0xff),
      frames.request().subarray(0, shortest - 1),
      frames.request().subarray(0, shortest),
    ]
    for (const number of numbers) bench.link(OUTSIDE).inject(frames.request({ from: client(number) }))
    for (const frame of noise) for (const link of bench.links) link.inject(frame)
    for (const number of numbers) bench.link(INSIDE).inject(frames.reply({ to: client(number) }))
    const sent = sentHex(bench.breathe())
    t.same(
      sent.filter(([link]) => link === INSIDE),
      numbers.map((number) => [INSIDE, hex(frames.toServer({ from: client(number) }))]),
    )
    t.same(
      sent.filter(([link]) => link === OUTSIDE),
      numbers.map((number) => [OUTSIDE, hex(frames.toClient({ to: client(number) }))]),
    )
    t.not(bench.engine.warmUp.readings, readings, 'the table was read ahead')
  })
}
