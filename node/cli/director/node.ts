/** `director node`: runs one director of the pool, until it is told to stop. */
import type { Command } from 'commander'

export function declare(command: Command): void {
  command
    .requiredOption('--config <file>', "the director's own configuration, YAML")
    .action(async ({ config }: { config: string }) => {
      const { runDirector } = await import('../../director/run.ts')
      await runDirector(config)
    })
}
