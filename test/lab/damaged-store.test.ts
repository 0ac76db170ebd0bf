/** A director whose store was damaged while it was down: it begins with what is sound, says so, and has the rest from the pool. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import type { DirectorStatus } from '../../node/director/control/answers.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { controlSocketOf } from '../../node/drill/lab-programs.ts'
import { ask, endProcess, eventually, firstProcessOf, startDirector, UNHURRIED, vsadm } from './lab-directors.ts'
import { directorCommand } from './run-director.ts'
import { withTestLab } from './test-lab.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'

const damages: [what: string, damage: (store: string) => void, isTold: boolean][] = [
  // As after a loss of power, when its end had not been written yet.
  [
    'whose newest file is cut short',
    (store) => change(store, /\.log$/, (bytes) => bytes.subarray(0, bytes.length >>> 1)),
    false,
  ],
  [
    'whose newest file begins with zeros',
    (store) => change(store, /\.log$/, (bytes) => bytes.fill(0, 0, bytes.length >>> 1)),
    true,
  ],
  [
    'without its newest file and its table of contents',
    (store) => {
      for (const name of filesOf(store, /\.log$|^CURRENT$/)) rmSync(join(store, name))
    },
    true,
  ],
]

test('a director with a store', { skip: needsRoot, timeout: 170_000 }, async (t) => {
  const options = { name: `t${process.pid}-d`, directors: 2, servers: 1, ...UNHURRIED } as const
  await withTestLab(options, async (lab) => {
    const store = join(lab.folder, 'd2', 'store')
    let running = firstProcessOf(lab, 'd2')
    let putAside = 0
    for (const [index, [what, damage, isTold]] of damages.entries()) {
      await t.test(`${what} has the rest from the pool`, async (t) => {
        const port = 1000 + index
        const service = ['-t', `${VIRTUAL_ADDRESS}:${port}`]
        // Each is a record of its own in the newest file.
        for (const words of [
          ['-A', ...service, '-s', 'sh'],
          ['-a', ...service, '-r', '10.1.0.21'],
          ['-e', ...service, '-r', '10.1.0.21', '-w', '3'],
          ['-d', ...service, '-r', '10.1.0.21'],
        ])
          t.equal((await vsadm(lab, 'd2', ...words)).code, 0)
        await isSame(lab)
        await endProcess(running, 'SIGKILL')
        damage(store)
        t.equal((await vsadm(lab, 'd1', '-A', '-u', `${VIRTUAL_ADDRESS}:${port}`, '-s', 'rr')).code, 0)

        const { child, outcome } = startDirector(lab, 'd2')
        running = child
        const before = await isSame(lab)
        t.match(
          before,
          new RegExp(`-A -t ${VIRTUAL_ADDRESS}:${port} -s sh\n[^]*-A -u ${VIRTUAL_ADDRESS}:${port} -s rr\n`),
        )

        // Killed again, it finds a store that is whole.
        await endProcess(running, 'SIGKILL')
        t.equal(/damaged/.test((await outcome).stdout), isTold)
        if (isTold) putAside++
        t.equal(filesOf(join(lab.folder, 'd2'), /^store\.damaged-/).length, putAside)
        const again = startDirector(lab, 'd2')
        running = again.child
        t.equal(await isSame(lab), before)
        t.equal(filesOf(join(lab.folder, 'd2'), /^store\.damaged-/).length, putAside)
      })
    }
  })
})

/** Waits until d2 has d1's configuration and history, and is in sync. Returns the configuration. */
async function isSame(lab: Lab): Promise<string> {
  return await eventually('both directors have the same configuration and history', async () => {
    const { inSync } = await ask<DirectorStatus>(lab, 'd2', '/status')
    const [rules, otherRules] = [(await vsadm(lab, 'd1', '-Sn')).stdout, (await vsadm(lab, 'd2', '-Sn')).stdout]
    const [history, otherHistory] = [await historyOf(lab, 'd1'), await historyOf(lab, 'd2')]
    return inSync && rules === otherRules && history === otherHistory ? rules : undefined
  })
}

async function historyOf(lab: Lab, director: string): Promise<string> {
  const socket = controlSocketOf(lab.folder, director)
  return (await directorCommand('config', 'history', '--socket', socket)).stdout
}

function filesOf(folder: string, pattern: RegExp): string[] {
  return readdirSync(folder).filter((name) => pattern.test(name))
}

function change(folder: string, pattern: RegExp, changed: (bytes: Buffer) => Uint8Array): void {
  for (const name of filesOf(folder, pattern)) {
    const file = join(folder, name)
    writeFileSync(file, changed(readFileSync(file)))
  }
}
