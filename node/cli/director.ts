/** director: one verb for each task. */
import { runDirectorCommand } from './director/program.ts'
import { endWithReader } from './standard-output.ts'

endWithReader()

process.exitCode = await runDirectorCommand(process.argv.slice(2), process.stdout, process.stderr)
