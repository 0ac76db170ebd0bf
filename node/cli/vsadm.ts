/**
 * vsadm: ipvsadm's language for a pool of directors. Called by the name `ipvsadm` (a link), it is that to the letter.
 * Imports only what it needs, because it is run often and starts anew each time.
 */
import { basename } from 'node:path'
import { request, requestChanges } from '../director/control/client.ts'
import { controlAddress } from './control-socket.ts'
import { endWithReader } from './standard-output.ts'
import { systemNames } from './vsadm/names.ts'
import { runVsadm } from './vsadm/program.ts'

const address = controlAddress()

endWithReader()
process.exitCode = await runVsadm(process.argv.slice(2), {
  program: basename(process.env.LINUX_DIRECTOR_CALLED_AS ?? process.argv[1]) === 'ipvsadm' ? 'ipvsadm' : 'vsadm',
  director: {
    control: (method, path, body) => request(address, method, path, body),
    change: (edits) => requestChanges(address, edits),
  },
  names: systemNames(),
  readStandardInput: async () => (await import('./standard-input.ts')).readStandardInput(),
  writeOutput: (text) => process.stdout.write(text),
  writeError: (text) => process.stderr.write(text),
})
