/** The server directory: slots and their owners, in this thread and, through shared memory, in others. */
import { test } from 'tap'
import { COUNTER, COUNTERS, NO_SLOT, ServerDirectory } from '../../../forwarder/table/server-directory.ts'
import { seededRandom } from '../../random.ts'

const service = { protocol: 6, virtualAddress: 0x0a000064, virtualPort: 80 }
const server = (number: number) => ({ ...service, address: 0x0a010000 + number, port: 8000 })

function directories(slots = 16): { writer: ServerDirectory; reader: ServerDirectory } {
  const shared = ServerDirectory.allocate(slots)
  return { writer: new ServerDirectory(shared), reader: new ServerDirectory(shared) }
}

test('services and servers are found by what they are, by the writer and by a reader', async (t) => {
  const { writer, reader } = directories()
  const serviceSlot = writer.addService(service)
  const slots = [1, 2].map((number) => writer.addServer(server(number), serviceSlot))
  t.equal(new Set([NO_SLOT, serviceSlot, ...slots]).size, 4)
  for (const directory of [writer, reader]) {
    t.equal(directory.findService(service), serviceSlot)
    t.same(
      [1, 2].map((number) => directory.findServer(server(number))),
      slots,
    )
    t.equal(directory.findServer(server(3)), NO_SLOT)
    t.equal(directory.findService({ ...service, protocol: 17 }), NO_SLOT)
    t.same(directory.serverAt(slots[0]), server(1))
    t.equal(directory.serverAt(serviceSlot), undefined)
    t.equal(directory.describe(slots[1]), '10.1.0.2:8000')
    t.equal(directory.describe(NO_SLOT), 'none')
    t.equal(directory.addresses[slots[1]], 0x0a010002)
    t.same(directory.slotsOf(serviceSlot), [serviceSlot, ...slots.toReversed()])
  }
})

test('a reader notices what is added and freed after its last look', async (t) => {
  const { writer, reader } = directories()
  t.equal(reader.findServer(server(1)), NO_SLOT)
  const slot = writer.addServer(server(1), NO_SLOT)
  t.equal(reader.findServer(server(1)), slot)
  writer.free(slot)
  t.equal(reader.findServer(server(1)), NO_SLOT)
  t.equal(reader.serverAt(slot), undefined)
  const again = writer.addServer(server(2), NO_SLOT)
  t.equal(again, slot, 'the slot is used again')
  t.same([reader.findServer(server(1)), reader.findServer(server(2))], [NO_SLOT, slot])
})

test('a slot that is used again starts with counters at 0, and frees nobody else’s', async (t) => {
  const { writer } = directories()
  const [first, second] = [1, 2].map((number) => writer.addServer(server(number), NO_SLOT))
  writer.counters.fill(7)
  writer.free(first)
  t.equal(writer.addServer(server(3), NO_SLOT), first)
  t.same([...writer.counters.subarray(first * COUNTERS, (first + 1) * COUNTERS)], new Array(COUNTERS).fill(0))
  t.equal(writer.counters[second * COUNTERS + COUNTER.inBytes], 7)
})

test('a full directory gives no slot, and one again when one was freed', async (t) => {
  const { writer } = directories(4)
  const slots = [1, 2, 3, 4].map((number) => writer.addServer(server(number), NO_SLOT))
  t.same(slots, [1, 2, 3, NO_SLOT])
  writer.free(NO_SLOT)
  t.equal(writer.addServer(server(4), NO_SLOT), NO_SLOT, 'nobody’s slot cannot be freed')
  writer.free(2)
  t.equal(writer.addServer(server(4), NO_SLOT), 2)
})

test('a server that is moved to another service counts there', async (t) => {
  const { writer, reader } = directories()
  const one = writer.addService(service)
  const other = writer.addService({ ...service, virtualPort: 443 })
  const slot = writer.addServer(server(1), one)
  writer.setService(slot, other)
  t.same([reader.slotsOf(one), reader.slotsOf(other)], [[one], [other, slot]])
})

test('servers of a service that is freed count for nobody, and least for the next one in its slot', async (t) => {
  const { writer, reader } = directories()
  const one = writer.addService(service)
  const slot = writer.addServer(server(1), one)
  writer.free(one)
  const next = writer.addService({ ...service, virtualPort: 443 })
  t.equal(next, one, 'the slot is used again')
  t.same(reader.slotsOf(next), [next])
  writer.setService(slot, next)
  t.same(reader.slotsOf(next), [next, slot])
})

test('after any history, writer and reader find what there is, and nothing else', async (t) => {
  const { writer, reader } = directories(256)
  const random = seededRandom(3)
  const services = Array.from({ length: 8 }, (_, port) => writer.addService({ ...service, virtualPort: port }))
  const known = new Map<number, { slot: number; service: number }>()
  let wrong = 0
  for (let step = 0; step < 20_000; step++) {
    const number = random.below(400)
    const at = known.get(number)
    const of = random.below(9)
    const target = of === 8 ? NO_SLOT : services[of]
    if (at === undefined) {
      const slot = writer.addServer(server(number), target)
      if ((slot === NO_SLOT) !== (known.size === 256 - 1 - services.length)) wrong++
      if (slot !== NO_SLOT) known.set(number, { slot, service: target })
    } else if (random.below(3) === 0) {
      writer.setService(at.slot, target)
      at.service = target
    } else {
      writer.free(at.slot)
      known.delete(number)
    }
    for (const directory of [writer, reader]) {
      if (directory.findServer(server(number)) !== (known.get(number)?.slot ?? NO_SLOT)) wrong++
    }
    if (step % 100 > 0) continue
    for (const slot of services) {
      const counted = [...known.values()].filter((each) => each.service === slot).map((each) => each.slot)
      if (reader.slotsOf(slot).slice(1).toSorted().join() !== counted.toSorted().join()) wrong++
    }
  }
  t.equal(wrong, 0)
})
