/** A machine with apt-get that notes what it is asked to do; what it says and does about it is the test's. */
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Host, RunResult } from '../../../../node/cli/setup/host.ts'

/** By the first words of a command line. */
type Answers = Readonly<Record<string, () => string | RunResult>>

export function host(t: Test, properties: Partial<Host> = {}, answers: Answers = {}) {
  const calls: { words: string; quiet: boolean }[] = []
  const told: string[] = []
  const folder = t.testdir({ 'apt-get': '' })
  const allAnswers: Answers = { 'dpkg-query --show': () => 'installed dpkg\n', ...answers }
  const machine: Host = {
    isRoot: true,
    folders: [folder],
    policyFile: join(folder, 'policy-rc.d'),
    hasSystemd: true,
    async run(program, words, { environment } = {}) {
      const line = [program, ...words].join(' ')
      calls.push({ words: line, quiet: environment?.DEBIAN_FRONTEND === 'noninteractive' })
      const answer = Object.entries(allAnswers).find(([start]) => line.startsWith(start))?.[1]() ?? ''
      return typeof answer === 'string' ? { failed: false, output: answer } : answer
    },
    tell: (line) => told.push(line),
    ...properties,
  }
  return { machine, calls, told }
}
