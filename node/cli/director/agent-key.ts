/** `director agent-key`: a line for the key files of the directors and of the agent that the key is for. */
import { randomBytes } from 'node:crypto'
import type { Command } from 'commander'
import { address, collect } from './values.ts'

export function declare(command: Command): void {
  command
    .argument(
      '[address...]',
      'of the real server, as in its services; a key without one may speak for any server',
      collect(address),
    )
    .action((addresses: string[] = []) => {
      process.stdout.write(`${[randomBytes(32).toString('hex'), ...new Set(addresses)].join(' ')}\n`)
    })
}
