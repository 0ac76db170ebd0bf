/** Runs vsadm inside the test's process, against a pool that the test serves, and names that do not depend on the machine. */
import type { Test } from 'tap'
import type { Director } from '../../../node/cli/vsadm/execute.ts'
import { type NameDatabase, parseServices } from '../../../node/cli/vsadm/names.ts'
import { runVsadm } from '../../../node/cli/vsadm/program.ts'
import { type ServedPool, servePool } from './served-pool.ts'

const services = parseServices(`
ftp 21/tcp
domain 53/tcp
domain 53/udp
http 80/tcp www # WorldWideWeb HTTP
https 443/tcp
https 443/udp
mdns 5353/udp
http-alt 8080/tcp webcache
http-alt 8080/udp
`)

/** Of a host without DNS, like that of the recordings. */
export const testNames: NameDatabase = {
  addressOf: async (host) => (host === 'localhost' ? '127.0.0.1' : undefined),
  hostOf: async (address) => (address === '127.0.0.1' ? 'localhost' : undefined),
  portOf: (name, protocol) => services.find((each) => each.protocol === protocol && each.names.includes(name))?.port,
  serviceOf: (port, protocol) => services.find((each) => each.protocol === protocol && each.port === port)?.names[0],
}

export async function vsadm(
  words: readonly string[],
  director: Director,
  { program = 'vsadm', standardInput = '', names = testNames } = {},
): Promise<{ stdout: string; stderr: string; rc: number }> {
  let stdout = ''
  let stderr = ''
  const rc = await runVsadm(words, {
    program,
    director,
    names,
    readStandardInput: async () => standardInput,
    writeOutput: (text) => {
      stdout += text
    },
    writeError: (text) => {
      stderr += text
    },
  })
  return { stdout, stderr, rc }
}

/** A pool after these command lines, each of which must succeed silently. */
export async function poolAfter(t: Test, ...lines: string[]): Promise<ServedPool> {
  const pool = await servePool(t)
  for (const line of lines) t.same(await vsadm(line.split(/\s+/), pool), { stdout: '', stderr: '', rc: 0 }, line)
  return pool
}
