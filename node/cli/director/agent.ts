/** `director agent`: runs on a real server and reports its load; on request it also ends the tunnel there. */
import type { Command } from 'commander'
import type { TunnelEnd } from '../../../forwarder/decapsulator.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import type { Agent } from '../../agent/agent.ts'
import { address, collect, endpoint, tunnelEnd, wholeNumber } from './values.ts'

interface Options {
  director: string[]
  keyFile: string
  address?: string[]
  interval: number
  decapsulate?: string[] | true
  tunnel?: TunnelEnd[]
}

export function declare(command: Command): void {
  command
    .requiredOption(
      '--director <address:port>',
      'where a director listens for agents; once for each',
      collect(endpoint),
    )
    .requiredOption(
      '--key-file <file>',
      'with the key of this server, as `director agent-key` makes it; SIGHUP reads it again',
    )
    .option(
      '--address <address>',
      'by which the directors know this server; those of the key, else every address of it, unless given',
      collect(address),
    )
    .option('--interval <milliseconds>', 'between two reports', wholeNumber(100, 60_000), 1000)
    .option('--decapsulate [vip...]', 'take packets out of their tunnel here, for these VIPs', collect(address))
    .option(
      '--tunnel <type>',
      'that ends here: ipip, gre, gue or gue:PORT, which is 6080 unless given; once for each, ipip unless given',
      collect(tunnelEnd),
    )
    .action(runUntilSignal)
}

async function runUntilSignal(options: Options): Promise<void> {
  const started = Promise.withResolvers<Agent>()
  // From the beginning on: without a handler it ends the process. What came during the start counts after it.
  process.on('SIGHUP', () => void started.promise.then((agent) => reloadKey(agent, options.keyFile)))
  const { runAgent } = await import('../../agent/agent.ts')
  const virtualAddresses = Array.isArray(options.decapsulate) ? options.decapsulate : []
  if (options.tunnel && !options.decapsulate) {
    throw new DirectorError('INPUT_INVALID', '--tunnel says what --decapsulate takes packets out of: give both')
  }
  const decapsulator = options.decapsulate ? await startDecapsulation(virtualAddresses, options.tunnel) : undefined
  const agent = await runAgent({
    directors: options.director,
    keyFile: options.keyFile,
    addresses: options.address,
    virtualAddresses,
    intervalMs: options.interval,
    decapsulator,
    log,
  }).catch(async (error) => {
    await decapsulator?.stop()
    throw error
  })
  started.resolve(agent)
  log(`reporting for ${agent.addresses.join(', ')} to ${options.director.join(', ')}`)
  try {
    await new Promise<void>((resolve, reject) => {
      agent.onFailure(reject)
      process.once('SIGTERM', () => resolve())
      process.once('SIGINT', () => resolve())
    })
  } finally {
    await agent.stop()
  }
}

function reloadKey(agent: Agent, keyFile: string): void {
  try {
    agent.reloadKey()
    log(`has read ${keyFile} again: reporting for ${agent.addresses.join(', ')}`)
  } catch (error) {
    if (!(error instanceof DirectorError)) throw error
    log(`goes on with the key that it has: ${error.message} (${error.code})`)
  }
}

async function startDecapsulation(virtualAddresses: string[], tunnels: TunnelEnd[] | undefined) {
  const { startDecapsulator } = await import('../../../forwarder/decapsulator.ts')
  const decapsulator = await startDecapsulator({ virtualAddresses, tunnels: tunnels && oneOfEach(tunnels) })
  for (const warning of decapsulator.warnings) log(warning)
  return decapsulator
}

function oneOfEach(tunnels: TunnelEnd[]): TunnelEnd[] {
  return [...new Map(tunnels.map((tunnel) => [`${tunnel.type} ${tunnel.port}`, tunnel])).values()]
}

function log(line: string): void {
  process.stderr.write(`agent: ${line}\n`)
}
