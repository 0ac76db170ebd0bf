/** `director identity`: the peer id by which the others of the pool name this director; made at the first call. */
import type { Command } from 'commander'

export function declare(command: Command): void {
  command
    .option('--store <folder>', 'the store of the director', '/var/lib/linux-director')
    .action(async ({ store: folder }: { store: string }) => {
      const { openStore } = await import('../../director/store/salvage.ts')
      const { IDENTITY_KEY, loadIdentity } = await import('../../director/identity.ts')
      const { peerIdOf } = await import('../../director/cluster/identity.ts')
      const store = await openStore(folder, {
        mustHave: IDENTITY_KEY,
        onSalvage: ({ damagedFolder }) =>
          process.stderr.write(`the store was damaged: what was sound is kept, the damaged one is ${damagedFolder}\n`),
      })
      try {
        process.stdout.write(`${peerIdOf(await loadIdentity(store))}\n`)
      } finally {
        await store.close()
      }
    })
}
