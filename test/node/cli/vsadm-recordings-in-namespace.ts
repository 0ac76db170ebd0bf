/**
 * Replays test/reference/cli.jsonl through vsadm, called ipvsadm, against a running director: stdout, stderr and exit status
 * byte for byte. Most lines run inside this process, by the program's own entry; the first of every fourth case runs the program itself, which
 * takes a fifth of a second.
 *
 * Not compared, as the recordings' own notes say: files of the kernel, sysctls, and the order of addresses more than 2^31
 * apart, which is not stable in the original.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tap, { test } from 'tap'
import { vsadm } from './run-vsadm.ts'
import { prepareHost, startRunningDirector } from './running-director.ts'
import { shellCommands } from './shell-line.ts'

interface Recording {
  case: string
  cmd: string
  stdin: string | null
  stdout: string
  stderr: string
  rc: number
  setup?: true
}

interface Answer {
  stdout: string
  stderr: string
  rc: number
}

const recordings = readFileSync(new URL('../../reference/cli.jsonl', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Recording)
const AS_PROGRAM_ONE_IN = 4
const cases = Map.groupBy(recordings, (recording) => recording.case)

prepareHost()
const director = await startRunningDirector()
tap.teardown(() => director.stop())
const programs = mkdtempSync(join(tmpdir(), 'vsadm-bin-'))
tap.teardown(() => rmSync(programs, { recursive: true }))
symlinkSync(join(import.meta.dirname, '../../../node/cli/bin/vsadm'), join(programs, 'ipvsadm'))

const isKernelFile = ({ cmd }: Recording) => /\/proc/.test(cmd)
/** What these scripts of Debian's do is ipvsadm's part, and that is replayed; running as somebody else needs their files. */
const isOtherProgram = ({ cmd }: Recording) => /^(ipvsadm-|setpriv )/.test(cmd)

for (const [index, [name, lines]] of [...cases].entries()) {
  test(`recordings: ${name}`, async (t) => {
    await clear()
    let asProgram = index % AS_PROGRAM_ONE_IN === 0
    for (const line of lines.filter((each) => !isKernelFile(each) && !isOtherProgram(each))) {
      const answer = await replay(line, asProgram)
      if (line.setup) continue
      asProgram = false
      const unstable = hasUnstableOrder(line.stdout)
      t.same(
        ordered(answer, unstable),
        ordered({ stdout: line.stdout, stderr: line.stderr, rc: line.rc }, unstable),
        line.cmd,
      )
    }
  })
}

async function clear(): Promise<void> {
  await director.control('POST', '/clear')
  await director.control('PUT', '/settings', { timeoutTcpS: 900, timeoutTcpFinS: 120, timeoutUdpS: 300 })
}

async function replay({ cmd, stdin }: Recording, asProgram: boolean): Promise<Answer> {
  const commands = shellCommands(cmd)
  if (!commands) throw new Error(`needs a real shell: ${cmd}`)
  const answer: Answer = { stdout: '', stderr: '', rc: 0 }
  for (const { words, filter, silent } of commands) {
    if (words[0] !== 'ipvsadm') continue
    const standardInput = stdin ?? ''
    const got = asProgram
      ? runProgram(words.slice(1), standardInput)
      : await vsadm(words.slice(1), director, { program: 'ipvsadm', standardInput })
    const output = filter(got.stdout)
    answer.stdout += output
    answer.stderr += silent ? '' : got.stderr
    // A pipe's status is its last command's.
    answer.rc = cmd.includes(' | ') ? 0 : got.rc
  }
  if (/; true$/.test(cmd)) answer.rc = 0
  return answer
}

function runProgram(words: readonly string[], input: string): Answer {
  const { stdout, stderr, status } = spawnSync(join(programs, 'ipvsadm'), words, {
    encoding: 'utf8',
    input,
    env: { ...process.env, DIRECTOR_SOCKET: director.socketPath },
  })
  return { stdout, stderr, rc: status as number }
}

/** The first of an address's words are 2^31 or more apart somewhere in the listing. */
function hasUnstableOrder(listing: string): boolean {
  return ['\\w+ ', '->'].some((start) => {
    const version4 = [...listing.matchAll(new RegExp(`^ *${start} *(\\d+)\\.\\d+\\.\\d+\\.\\d+:`, 'gm'))]
    const version6 = [...listing.matchAll(new RegExp(`^ *${start} *\\[([\\da-f]*):`, 'gm'))]
    return (
      spread(version4.map((match) => Number(match[1]))) >= 127 ||
      spread(version6.map((match) => Number.parseInt(match[1] || '0', 16))) >= 0x7fff
    )
  })
}

function spread(numbers: readonly number[]): number {
  return Math.max(...numbers) - Math.min(...numbers)
}

function ordered(answer: Answer, unstable: boolean): Answer {
  return unstable ? { ...answer, stdout: answer.stdout.split('\n').sort().join('\n') } : answer
}
