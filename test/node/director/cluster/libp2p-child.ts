/** A director's transport in a process of its own, which a test can freeze. Says by IPC what it hears, and answers what is sent to it alone. */
import { Libp2pTransport } from '../../../../node/director/cluster/libp2p-transport.ts'

process.once('message', async (options: { privateKey: string }) => {
  const privateKey = new Uint8Array(Buffer.from(options.privateKey, 'hex'))
  const transport = new Libp2pTransport({ ...options, privateKey } as unknown as ConstructorParameters<
    typeof Libp2pTransport
  >[0])
  for (const topic of ['config', 'sync'] as const)
    transport.onMessage(topic, (from, message) => {
      process.send?.({ topic, byte: message[0] })
      if (topic === 'sync') transport.send(from, 'sync', message.subarray(0, 1)).catch(() => {})
    })
  await transport.start()
  process.send?.({ topic: 'started' })
})
process.once('disconnect', () => process.exit())
