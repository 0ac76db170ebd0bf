/** `director setup`: installs what this machine lacks to run a director or a lab; with --tests, for the tests as well. */
import type { Command } from 'commander'
import { untilInterrupted } from '../../drill/interruption.ts'
import { thisHost } from '../setup/host.ts'
import { compilerPackages, installPackages, missingPackages, runtimePackages, testPackages } from '../setup/packages.ts'
import { buildRawSocket, packageFolder, rawSocketLoads } from '../setup/raw-socket.ts'

export function declare(command: Command): void {
  command.option('--tests', 'also what the tests and benchmarks need', false).action(setUp)
}

/** Says nothing and changes nothing when nothing is missing: `npm start` and `npm test` begin with it. */
async function setUp({ tests }: { tests: boolean }): Promise<void> {
  const folder = packageFolder()
  const mustBuild = !rawSocketLoads(folder)
  const needed = {
    ...runtimePackages,
    ...(mustBuild ? compilerPackages : {}),
    ...(tests ? testPackages : {}),
  }
  const missing = missingPackages(needed, thisHost.folders)
  if (missing.length > 0) {
    console.log(`setup: installing ${missing.join(', ')}`)
    await untilInterrupted((signal) => installPackages(missing, thisHost, signal))
  }
  if (mustBuild) {
    console.log('setup: building raw-socket')
    buildRawSocket(folder)
  }
}
