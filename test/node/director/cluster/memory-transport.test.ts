/** The memory transport: the compliance suite, and its network's faults. */
import { systemClock } from '../../../../node/director/clock.ts'
import { MemoryNetwork } from '../../../../node/director/cluster/memory-transport.ts'
import { transportCompliance } from '../../../compliance/transport.ts'

transportCompliance('memory', async () => {
  const network = new MemoryNetwork({ clock: systemClock, random: Math.random, delayMs: 1 })
  const create = network.join.bind(network)
  return { create, recreate: create, peers: (names) => names.map((name) => ({ name, id: name, address: '' })) }
})
