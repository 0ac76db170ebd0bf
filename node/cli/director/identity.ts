/** `director identity`: the peer id by which the others of the pool name this director; made at the first call. */
import type { Command } from 'commander'

export function declare(command: Command): void {
  command
    .option('--store <folder>', 'the store of the director', '/var/lib/linux-director')
    .action(async ({ store: folder }: { store: string }) => {
      const { LevelStore } = await import('../../director/store/level-store.ts')
      const { loadIdentity } = await import('../../director/identity.ts')
      const { peerIdOf } = await import('../../director/cluster/identity.ts')
      const store = new LevelStore(folder)
      await store.open()
      try {
        process.stdout.write(`${peerIdOf(await loadIdentity(store))}\n`)
      } finally {
        await store.close()
      }
    })
}
