/**
 * The decapsulator's loop, on its own thread: IPIP packets from a raw socket, their insides to a TUN device.
 *
 * One recvmmsg(2) takes up to 32 packets; a TUN device takes one packet a write(2). Idle, the thread sleeps in poll(2). It
 * never returns to the event loop, so it is stopped through shared memory and an eventfd.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { DirectorError } from '../protocol/errors.ts'
import { PROTOCOL_IPIP } from '../protocol/packet/ipv4.ts'
import { decapsulate } from './decapsulate.ts'
import { COUNTERS, type DecapsulatorData, type DecapsulatorMessage, STOP } from './decapsulator.ts'
import { createFrames, type Frame } from './link/link.ts'
import { LONGEST_WAIT_MS, PollSet } from './sys/poll.ts'
import { openRawIp } from './sys/raw-ip.ts'
import { openTun } from './sys/tun.ts'

const { device, virtualAddresses, counters, control, wakeDescriptor } = workerData as DecapsulatorData

function say(message: DecapsulatorMessage): void {
  parentPort?.postMessage(message)
}

function run(): void {
  const addresses = virtualAddresses && new Set(virtualAddresses)
  const tun = openTun(device)
  const socket = openRawIp(PROTOCOL_IPIP)
  const packets: Frame[] = createFrames(socket.batch)
  const poll = new PollSet([socket.descriptor, wakeDescriptor])
  say({ kind: 'ready' })
  while (Atomics.load(control, STOP) === 0) {
    const count = socket.receive(packets)
    if (count === 0) poll.wait(LONGEST_WAIT_MS)
    for (let index = 0; index < count; index++) {
      const packet = packets[index]
      const refusal = decapsulate(packet, addresses)
      if (refusal) counters[COUNTERS[refusal]]++
      else if (tun.write(packet)) {
        counters[COUNTERS.delivered]++
        counters[COUNTERS.deliveredBytes] += packet.length
      } else counters[COUNTERS['device-refused']]++
    }
  }
  socket.close()
  tun.close()
}

try {
  run()
} catch (error) {
  const code = error instanceof DirectorError ? error.code : 'FORWARDER_FAILED'
  say({ kind: 'failed', code, message: (error as Error).message })
}
