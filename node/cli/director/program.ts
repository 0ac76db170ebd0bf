/**
 * The director command from its words to its exit status: 0, 1 for what failed, 2 for what was asked wrongly.
 *
 * Every verb is a file of its own and is loaded only when it is asked for, so that `director status` does not wait for what
 * `director node` needs.
 */
import { Command, CommanderError } from 'commander'
import packageFile from '../../../package.json' with { type: 'json' }
import { DirectorError } from '../../../protocol/errors.ts'

/** What a verb's file exports: it adds arguments, options and the action. */
interface Verb {
  declare(command: Command): void
}

const verbs: Record<string, { summary: string; load: () => Promise<Verb> }> = {
  node: { summary: 'run a director', load: () => import('./node.ts') },
  agent: { summary: "report a real server's load to the directors", load: () => import('./agent.ts') },
  'agent-key': { summary: 'make a key for the agent of a real server', load: () => import('./agent-key.ts') },
  identity: { summary: "print a director's peer id", load: () => import('./identity.ts') },
  status: { summary: 'show who holds what, peers and real servers', load: () => import('./status.ts') },
  events: { summary: 'tell of each change of the virtual addresses', load: () => import('./events.ts') },
  peer: { summary: 'list the directors of the pool, shut one out or let it in', load: () => import('./peer.ts') },
  token: { summary: 'make tokens by which new directors join the pool', load: () => import('./token.ts') },
  settings: { summary: "show or change the pool's settings and timeouts", load: () => import('./settings.ts') },
  mark: { summary: 'rules that mark packets, for services of a firewall mark', load: () => import('./mark.ts') },
  config: { summary: "the pool's configuration: history, difference, whole", load: () => import('./config.ts') },
  import: { summary: "turn keepalived's configuration into the pool's", load: () => import('./import.ts') },
  explain: { summary: 'say what would become of a packet, and why', load: () => import('./explain.ts') },
  lab: { summary: 'build a pool, servers and clients on this machine', load: () => import('./lab.ts') },
  drill: { summary: 'rehearse a failure in a lab and measure it', load: () => import('./drill.ts') },
  setup: { summary: 'install what this machine lacks', load: () => import('./setup.ts') },
}

interface Sink {
  write(text: string): unknown
}

export async function runDirectorCommand(words: readonly string[], output: Sink, errors: Sink): Promise<number> {
  const program = new Command('director')
    .description('A pool of layer-4 directors.')
    .helpCommand(false)
    .helpOption('-h, --help', 'this text')
    .version(packageFile.version, '-v, --version', 'which version this is')
    .showSuggestionAfterError(false)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => output.write(text),
      writeErr: (text) => errors.write(text),
      outputError: (text) => errors.write(text.replace(/^error: (.*)\n$/s, 'director: $1 (INPUT_INVALID)\n')),
    })
  try {
    for (const [name, { summary, load }] of Object.entries(verbs)) {
      const command = program.command(name).description(summary).copyInheritedSettings(program)
      if (words[0] === name) (await load()).declare(command)
    }
    await program.parseAsync(words.length > 0 ? words : ['--help'], { from: 'user' })
    return Number(process.exitCode ?? 0)
  } catch (error) {
    // commander has said what is wrong.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    if (!(error instanceof DirectorError)) throw error
    errors.write(`director: ${error.message} (${error.code})\n`)
    return error.code === 'INPUT_INVALID' ? 2 : 1
  }
}
