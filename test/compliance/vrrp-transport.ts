/** What every VRRP transport must do, whatever carries its messages: node/director/vip/vrrp-transport.ts, as tests. */
import { type Test, test } from 'tap'
import type { VrrpTransport } from '../../node/director/vip/vrrp-transport.ts'
import { VRRP_HOP_LIMIT, type VrrpDatagram, vrrpGroupOf } from '../../protocol/packet/vrrp.ts'

const LONGEST_DRAIN_MS = 5_000

/** Two transports of one network. */
export interface VrrpPair {
  readonly first: VrrpTransport
  readonly second: VrrpTransport
  /** Resolves once it is so; lets time pass meanwhile. */
  until(isSo: () => boolean): Promise<void>
  /** What `send` sends is under way to the second when it resolves, who has had no turn to take it by itself. */
  withoutTurn(send: () => void): Promise<void>
}

/** @param open the transports are closed by the suite; for named peers if `isUnicast` */
export function vrrpTransportCompliance(name: string, open: (isUnicast: boolean) => Promise<VrrpPair>): void {
  const opened = async (t: Test, isUnicast = false) => {
    const pair = await open(isUnicast)
    t.teardown(() => {
      pair.first.close()
      pair.second.close()
    })
    const listen = (transport: VrrpTransport) => {
      const heard: VrrpDatagram[] = []
      transport.onDatagram((datagram) => heard.push(datagram))
      return heard
    }
    return {
      ...pair,
      group: vrrpGroupOf(pair.first.address),
      atFirst: listen(pair.first),
      atSecond: listen(pair.second),
    }
  }

  test(`${name}: a VRRP transport`, async (t) => {
    for (const isUnicast of [false, true]) {
      const whom = isUnicast ? 'a named peer' : 'the group'
      t.test(`what goes to ${whom} arrives in its order, with where it came from, and not at its sender`, async (t) => {
        const { first, second, group, atFirst, atSecond, until } = await opened(t, isUnicast)
        const destination = isUnicast ? second.address : group
        const messages = [1, 2, 3].map(message)
        for (const bytes of messages) t.ok(first.send(bytes, destination))
        await until(() => atSecond.length === messages.length)
        t.same(
          atSecond.map(({ message, ...from }) => ({ ...from, bytes: [...message] })),
          messages.map((bytes) => ({
            source: first.address,
            destination,
            hopLimit: VRRP_HOP_LIMIT,
            bytes: [...bytes],
          })),
        )
        t.same(atFirst, [])
      })
    }

    t.test('what is for another peer is not heard', async (t) => {
      const { first, second, atSecond, until } = await opened(t, true)
      first.send(message(1), first.address)
      first.send(message(2), second.address)
      await until(() => atSecond.length > 0)
      t.same([...atSecond[0].message], [...message(2)])
    })

    t.test('the bytes belong to the sender again when it has sent, and to the handler when it has heard', async (t) => {
      const { first, group, atSecond, until } = await opened(t)
      const bytes = message(1)
      first.send(bytes, group)
      bytes.set(message(2))
      first.send(bytes, group)
      bytes.fill(0)
      await until(() => atSecond.length === 2)
      t.same(
        atSecond.map(({ message }) => [...message]),
        [[...message(1)], [...message(2)]],
      )
    })

    t.test('drain() hands out what waits, before it returns', async (t) => {
      const { first, second, group, atSecond, withoutTurn } = await opened(t)
      await withoutTurn(() => first.send(message(1), group))
      t.same(atSecond, [])
      const deadline = performance.now() + LONGEST_DRAIN_MS
      while (atSecond.length === 0 && performance.now() < deadline) second.drain()
      t.same([...atSecond[0].message], [...message(1)])
      second.drain()
      t.equal(atSecond.length, 1)
    })

    t.test('closed, it hears and sends no more, and may be closed again', async (t) => {
      const { first, second, group, atSecond, withoutTurn } = await opened(t)
      await withoutTurn(() => first.send(message(1), group))
      second.close()
      second.close()
      second.drain()
      t.notOk(second.send(message(2), group))
      const again = await opened(t)
      again.first.send(message(3), group)
      await again.until(() => again.atSecond.length > 0)
      t.same(
        again.atSecond.map(({ message }) => [...message]),
        [[...message(3)]],
        'who opens it again hears what is new',
      )
      t.same(atSecond, [])
    })
  })
}

/** As long as an advertisement of one address, with a number in it; nothing that a transport would look into. */
function message(number: number): Uint8Array {
  return Uint8Array.of(0x31, 51, 100, 1, 0, 50, 0, 0, 10, 0, 0, number)
}
