/** In a large table batches are warmed up before they are handled; what comes out is the same. */
import { test } from 'tap'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { hex, sentHex } from '../../support/hex.ts'
import { clientTcp, INSIDE, OUTSIDE, scene, serverTcp, tcpToClient, tcpToServer } from '../../support/scene.ts'

const CONNECTIONS = 20_000
const client = (number: number) => `203.0.${100 + Math.floor(number / 250)}.${number % 250}:${1024 + number}`

test('with twenty thousand connections, each packet of a mixed batch finds its own', async (t) => {
  const bench = scene({ connections: 2 ** 15 })
  for (let number = 0; number < CONNECTIONS; number++) {
    bench.send(OUTSIDE, clientTcp({ from: client(number), flags: TCP_SYN }))
  }
  t.equal(bench.table.memory.used, CONNECTIONS)
  const readings = bench.engine.warmUp.readings
  const numbers = Array.from({ length: 20 }, (_, index) => (index * 997) % CONNECTIONS)
  const noise = [new Uint8Array(1), new Uint8Array(37), new Uint8Array(60).fill(0xff), clientTcp().subarray(0, 40)]
  for (const number of numbers) bench.link(OUTSIDE).inject(clientTcp({ from: client(number) }))
  for (const frame of noise) for (const link of bench.links) link.inject(frame)
  for (const number of numbers) bench.link(INSIDE).inject(serverTcp({ to: client(number) }))
  const sent = sentHex(bench.breathe())
  t.same(
    sent.filter(([link]) => link === INSIDE),
    numbers.map((number) => [INSIDE, hex(tcpToServer({ from: client(number) }))]),
  )
  t.same(
    sent.filter(([link]) => link === OUTSIDE),
    numbers.map((number) => [OUTSIDE, hex(tcpToClient({ to: client(number) }))]),
  )
  t.not(bench.engine.warmUp.readings, readings, 'the table was read ahead')
})
