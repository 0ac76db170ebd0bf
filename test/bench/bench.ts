/** npm run bench [-- --json]: measures everything, in four to five minutes. What is under way goes to standard error. */
import { missingPackages, programFolders } from '../../node/cli/setup/packages.ts'
import { programOptions } from '../support/program-options.ts'
import { measureCommands } from './command-bench.ts'
import { measureInMemory } from './in-memory.ts'
import { measureNetwork } from './network/network-bench.ts'
import { measureReplication } from './replication-bench.ts'
import { toJson, toText } from './report.ts'
import { measureSnapshot } from './snapshot-bench.ts'

/** Debian packages by program. */
const programs = {
  ip: 'iproute2',
  nft: 'nftables',
  iperf3: 'iperf3',
  nsenter: 'util-linux',
  tcpdump: 'tcpdump',
  nginx: 'nginx',
  unshare: 'util-linux',
  setpriv: 'util-linux',
}
const ROUNDS = 3000
const REPLICATION = { records: 300_000, seconds: 10, turns: 3, engineRounds: ROUNDS }
const SNAPSHOT_CONNECTIONS = 1_000_000
const SNAPSHOT_SECONDS = 5
const STARTS = 20
const SERVICES = 5000
const SERVERS_EACH = 20

try {
  const values = programOptions({ json: { type: 'boolean', default: false } })
  const missing = missingPackages(programs, programFolders(process.env.PATH))
  if (missing.length > 0)
    throw new Error(`this machine lacks ${missing.join(', ')}: apt-get install ${missing.join(' ')}`)
  if (process.getuid?.() !== 0) throw new Error('it makes network namespaces, which only root may: run it as root')
  const inMemory = await measureInMemory(ROUNDS, progress)
  progress('replication')
  const replication = await measureReplication(REPLICATION)
  progress('snapshot')
  const snapshot = await measureSnapshot(SNAPSHOT_CONNECTIONS, SNAPSHOT_SECONDS)
  const network = await measureNetwork(progress)
  progress('vsadm')
  const commands = await measureCommands(STARTS, SERVICES, SERVERS_EACH)
  const measurements = { ...inMemory, replication, snapshot, network, commands }
  console.log(values.json ? JSON.stringify(toJson(measurements)) : toText(measurements))
} catch (error) {
  process.stderr.write(`bench: ${(error as Error).message}\n`)
  process.exitCode = 1
}

function progress(what: string): void {
  process.stderr.write(`${what}\n`)
}
