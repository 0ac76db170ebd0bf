/** The options of the programs that npm's scripts start. */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'

/** Their values. With an option that there is none of, or a word that is no option, the program says which there are, and ends. */
export function programOptions<T extends ParseArgsOptionsConfig>(options: T) {
  try {
    return parseArgs({ options }).values
  } catch (error) {
    const [what] = (error as Error).message.split('. ')
    const known = Object.keys(options).map((name) => `--${name}`)
    process.stderr.write(`${what}: expected ${known.join(', ')}\n`)
    process.exit(2)
  }
}
