/**
 * Replays what the real ipvsadm 1.31 was recorded to answer (test/reference/cli.jsonl): stdout, stderr and exit status
 * byte for byte. The pool is a real one behind its control socket.
 *
 * Which recordings are replayed is a rule, not a list:
 * - every command line that ipvsadm refuses as such, whatever it is about, because the whole grammar is understood;
 * - from each empty table on, everything up to the first command that puts into the table what the pool has not got.
 * Listings with addresses more than 2^31 apart are compared without their order, which is not stable in the original.
 */
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { vsadm } from './run-vsadm.ts'
import { servePool } from './served-pool.ts'

interface Recording {
  case: string
  cmd: string
  stdin: string | null
  stdout: string
  stderr: string
  rc: number
  setup?: true
}

const recordings = readFileSync(new URL('../../reference/cli.jsonl', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Recording)

const notBuilt: Record<string, RegExp> = {
  persistence: /\s(-p\d*|--persistent\S*|-M|--netmask|--pe)(\s|$)/,
  'one-packet scheduling': /\s(-o|--ops)(\s|$)/,
  'scheduler flags': /\s(-b|--sched-flags)(\s|$)/,
  thresholds: /\s(-x|-y|--[ul]-threshold)(\s|$)/,
  'firewall marks': /-A.*\s-f/,
  SCTP: /-A --sctp-service/,
  IPv6: /\[|::/,
  'timeouts and sync daemons': /--(set|timeout|daemon|start-daemon|stop-daemon)/,
  'real servers without a port': /-r\s*\S+ -t.* -m|-m -t.* -r/,
  'help, which is our own': /\s(-h|--help)(\s|$)/,
  'kernel files, other programs': /\/proc|setpriv|ipvsadm-/,
}

/** ipvsadm refused the line itself: nothing was changed, and no table was asked. */
function isUsageError({ cmd, rc, stderr, stdin }: Recording): boolean {
  return (
    cmd.startsWith('ipvsadm ') &&
    stdin === null &&
    (rc === 2 || (rc === 255 && /^Try `|: missing argument$/.test(stderr.trimEnd())))
  )
}

/** The command lines of one line of shell, or undefined if it needs a real shell. */
function shellCommands(line: string): string[][] | undefined {
  const loop = /^for (\w) in (.*?); do (.*?); done$/.exec(line)
  if (loop) {
    const [, variable, values, body] = loop
    return values.split(' ').map((value) => shellWords(body.replaceAll(`$${variable}`, value)))
  }
  const simple = line.replaceAll(' 2>/dev/null', '').replace(' </dev/null', '')
  if (/[|<>&$()]/.test(simple)) return undefined
  return simple
    .split('; ')
    .map(shellWords)
    .filter(([name]) => name !== 'true')
}

function shellWords(text: string): string[] {
  return (text.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replace(/^"(.*)"$/, '$1'))
}

/** Sequences that start with an empty table. */
function* sequences(): Generator<Recording[]> {
  let sequence: Recording[] = []
  for (const recording of recordings) {
    const previous = sequence.at(-1)
    if (previous && (previous.case !== recording.case || (recording.setup && recording.cmd.startsWith('ipvsadm -C')))) {
      yield sequence
      sequence = []
    }
    sequence.push(recording)
  }
  yield sequence
}

/** Whether the pool can do it, or it needs something that is not built, or a real shell. */
function isBuilt({ cmd }: Recording): boolean {
  const line = cmd.replace('ipvsadm --stop-daemon master 2>/dev/null; ', '')
  return shellCommands(line) !== undefined && !Object.values(notBuilt).some((pattern) => pattern.test(line))
}

function onlyReads({ cmd }: Recording): boolean {
  return /^cat |^ipvsadm(-save|$| -[hnLlS]| --(list|save))/.test(cmd)
}

/** The recordings of a sequence that are replayed, and the setup that they need. */
function selected(sequence: readonly Recording[]): Recording[] {
  const stop = sequence.findIndex((each) => !isBuilt(each) && !onlyReads(each) && !isUsageError(each))
  const chosen = sequence.filter((each, index) => isUsageError(each) || (isBuilt(each) && (stop < 0 || index < stop)))
  // What is wrong in itself needs no table.
  const needsTable = chosen.some((each) => !each.setup && !isUsageError(each))
  return needsTable ? chosen : chosen.filter(isUsageError)
}

function hasUnstableOrder(listing: string): boolean {
  return ['\\w+ ', '->'].some((start) => {
    const pattern = new RegExp(`^ *${start} *(\\d+)\\.\\d+\\.\\d+\\.\\d+:`, 'gm')
    const first = [...listing.matchAll(pattern)].map((match) => Number(match[1]))
    return Math.max(...first) - Math.min(...first) >= 127
  })
}

const inStableOrder = (text: string, unstable: boolean) => (unstable ? text.split('\n').sort().join('\n') : text)

test('vsadm, called ipvsadm, answers as ipvsadm was recorded to', async (t) => {
  const pool = await servePool(t)
  let replayed = 0
  for (const sequence of sequences()) {
    const chosen = selected(sequence)
    if (chosen.some((recording) => !isUsageError(recording))) await pool.control('POST', '/clear')
    for (const recording of chosen) {
      const got = { stdout: '', stderr: '', rc: 0 }
      for (const [name, ...words] of shellCommands(recording.cmd) ?? []) {
        if (name !== 'ipvsadm' || (recording.setup && words[0] === '--stop-daemon')) continue
        const result = await vsadm(words, pool, { program: 'ipvsadm', standardInput: recording.stdin ?? '' })
        got.stdout += result.stdout
        got.stderr += result.stderr
        got.rc = result.rc
      }
      if (recording.setup) continue
      const unstable = hasUnstableOrder(recording.stdout)
      const { stdout, stderr, rc } = recording
      t.same(
        { ...got, stdout: inStableOrder(got.stdout, unstable) },
        { stdout: inStableOrder(stdout, unstable), stderr, rc },
        `${recording.case}: ${recording.cmd}`,
      )
      replayed++
    }
  }
  t.ok(replayed >= 500, `${replayed} of ${recordings.length} recordings were replayed`)
})
