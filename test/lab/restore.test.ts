/**
 * vsadm -R of a large document to a pool: all of it comes into force at every director, or none of it; it is kept over a restart; and
 * the director that works on it goes on speaking VRRP meanwhile, so that nobody takes its address.
 */
import { test } from 'tap'
import type { DirectorStatus } from '../../node/director/control/answers.ts'
import { VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { largeDocument } from '../support/large-document.ts'
import { ask, endProcess, eventually, firstProcessOf, restore, startDirector, vsadm } from './lab-directors.ts'
import { withTestLab } from './test-lab.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'
const SERVICES = 1000
const SERVERS_EACH = 20

test('a thousand services with twenty servers each are restored to a pool', {
  skip: needsRoot,
  timeout: 170_000,
}, async (t) => {
  const options = { name: `t${process.pid}-r`, directors: 2, servers: 1, advertisementIntervalMs: 200 } as const
  await withTestLab(options, async (lab) => {
    const rulesOf = async (director: string) => (await vsadm(lab, director, '-Sn')).stdout
    const holder = async () => (await ask<DirectorStatus>(lab, 'd1', '/status')).vips[0].activeSinceMonotonicMs
    const activeSince = await eventually('d1 holds the address', async () => (await holder()) ?? undefined)
    const before = await rulesOf('d1')
    const document = largeDocument(VIRTUAL_ADDRESS, SERVICES, SERVERS_EACH)
    const after = withDocument(before, document)

    const last = `-a -t ${VIRTUAL_ADDRESS}:9999 -r 10.64.0.1:80 -m`
    t.match(await restore(lab, 'd1', `${document}${last}\n`), {
      code: 255,
      stdout: '',
      stderr: `line ${SERVICES * (SERVERS_EACH + 1) + 1}: Service not defined: nothing is changed\n`,
    })
    for (const director of ['d1', 'd2']) t.equal(await rulesOf(director), before, `nothing of it is at ${director}`)

    t.same(await restore(lab, 'd1', document), { code: 0, stdout: '', stderr: '' })
    // Not t.equal(): a difference of a megabyte helps nobody.
    t.ok((await rulesOf('d1')) === after, 'all of it is in force when it is answered')
    await eventually('the peer has all of it', async () => (await rulesOf('d2')) === after || undefined)
    t.equal(await holder(), activeSince, 'd1 has held the address all the time')

    await endProcess(firstProcessOf(lab, 'd1'), 'SIGKILL')
    await endProcess(firstProcessOf(lab, 'd2'), 'SIGKILL')
    startDirector(lab, 'd2')
    await eventually(
      'all of it is there after both were killed',
      async () => (await rulesOf('d2')) === after || undefined,
    )
    t.same(await restore(lab, 'd2', `-C\n${before}`), { code: 0, stdout: '', stderr: '' })
    t.equal(await rulesOf('d2'), before, 'and gone again in one request')
  })
})

/** Services of IPv4 are listed before those of IPv6, and by their ports, of which those of the document are the greatest. */
function withDocument(rules: string, document: string): string {
  const firstOfIPv6 = rules.indexOf('-A -t [')
  return rules.slice(0, firstOfIPv6) + document + rules.slice(firstOfIPv6)
}
