/**
 * FTP through a pool, with Debian's vsftpd on the real servers and two clients that have nothing in common: curl and lftp. Active
 * and passive, in the old way and the extended one, by every method; and a download in whose middle the active director is killed.
 * By NAT the directors have virtual router MACs: nobody sees another one than before.
 */
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { missingPackages, programFolders, testPackages } from '../../node/cli/setup/packages.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { findActive } from '../../node/drill/lab-directors.ts'
import { GATEWAY_ADDRESS, hostsOf, VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { seededRandom } from '../random.ts'
import { endProcess, eventually, firstProcessOf, UNHURRIED } from './lab-directors.ts'
import { addService, neighbourOf, runOn, startOnHost } from './lab-traffic.ts'
import { withTestLab } from './test-lab.ts'

const missing = missingPackages(testPackages, programFolders(process.env.PATH))
const skip =
  process.getuid?.() !== 0
    ? 'network namespaces need root'
    : missing.length > 0 && `not installed: ${missing.join(', ')}`

const PORT = 21
const URL = `ftp://${VIRTUAL_ADDRESS}`
/** Bytes a second that a server gives: a download of LARGE then lasts long enough to lose a director in its middle. */
const RATE = 4_000_000
const LARGE = 12_000_000
/** Of the lab's group of IPv4, where directors have it. */
const VIRTUAL_MAC = '00:00:5e:00:01:33'

/** Anonymous FTP of a folder whose file "who" says which server it is. */
async function startServers(lab: Lab, large: Buffer): Promise<void> {
  chmodSync(lab.folder, 0o711)
  for (const host of hostsOf(lab.plan, 'server')) {
    const home = join(lab.folder, host.name)
    const root = join(home, 'ftp')
    const empty = join(home, 'empty')
    chmodSync(home, 0o711)
    for (const folder of [root, empty]) mkdirSync(folder, { mode: 0o755 })
    writeFileSync(join(root, 'who'), `${host.name}\n`)
    writeFileSync(join(root, 'large'), large)
    const config = join(home, 'vsftpd.conf')
    writeFileSync(
      config,
      `listen=YES
background=NO
anonymous_enable=YES
local_enable=NO
no_anon_password=YES
anon_root=${root}
anon_max_rate=${RATE}
secure_chroot_dir=${empty}
connect_from_port_20=YES
pasv_min_port=30000
pasv_max_port=39999
seccomp_sandbox=NO
xferlog_enable=NO
`,
    )
    startOnHost(lab, host.name, 'vsftpd', ['vsftpd', config])
    await eventually(
      `${host.name} listens on ${PORT}`,
      async () => new RegExp(`:${PORT}\\s`).test(await runOn(lab, host.name, ['ss', '-Htln'])) || undefined,
    )
  }
}

const curl = (...options: string[]) => ['curl', '--silent', '--show-error', '--max-time', '30', ...options]
// By itself curl does not believe the address in reply 227, and lftp corrects it: here they shall take what they are told.
const ways: [way: string, curlOptions: string[], lftpSettings: string][] = [
  ['passive (EPSV)', ['--ftp-pasv'], 'ftp:passive-mode yes; set ftp:prefer-epsv yes'],
  [
    'passive (PASV)',
    ['--disable-epsv', '--no-ftp-skip-pasv-ip'],
    'ftp:passive-mode yes; set ftp:prefer-epsv no; set ftp:fix-pasv-address no',
  ],
  ['active (EPRT)', ['--ftp-port', '-'], ''],
  ['active (PORT)', ['--ftp-port', '-', '--disable-eprt'], 'ftp:passive-mode no'],
]

/** Every way with both clients, on both servers. */
async function everyWay(t: Test, lab: Lab, only: RegExp): Promise<void> {
  const servers = hostsOf(lab.plan, 'server').map(({ name }) => `${name}\n`)
  for (const [way, options, settings] of ways) {
    if (!only.test(way)) continue
    const answers = []
    const active = await findActive(lab)
    for (let turn = 0; turn < servers.length; turn++) {
      answers.push(await runOn(lab, 'c1', curl(...options, `${URL}/who`)))
    }
    // Each director has turns of its own.
    const seen = { answers: answers.sort(), active: await findActive(lab) }
    t.same(seen, { answers: servers, active }, `curl, ${way}: each server in its turn`)
    if (settings === '') continue
    const script = `set net:timeout 10; set net:max-retries 1; set cmd:fail-exit yes; set ftp:use-feat no; set ${settings}; cat who; cat who`
    const answer = await runOn(lab, 'c1', ['lftp', '-c', `open ${URL}; ${script}`])
    const [first, second] = answer.trim().split('\n')
    t.ok(first === second && servers.includes(`${first}\n`), `lftp, ${way}: twice in one session, from ${first}`)
  }
}

async function interrupted(t: Test, lab: Lab, way: string, options: string[], large: Buffer): Promise<void> {
  const target = join(lab.folder, 'download')
  const download = runOn(lab, 'c1', curl(...options, '--output', target, `${URL}/large`))
  download.catch(() => {})
  await eventually('the download is under way', async () => statSync(target).size > RATE / 4 || undefined)
  const active = await findActive(lab)
  await endProcess(firstProcessOf(lab, active), 'SIGKILL')
  t.ok(statSync(target).size < LARGE, `${way}: the active director is killed in the middle of a download`)
  await download
  t.ok(readFileSync(target).equals(large), 'which goes on, whole, and ends as FTP wants it')
  t.not(await findActive(lab), active)
}

/** For the virtual address, and for the gateway. */
async function seenMacs(lab: Lab): Promise<(string | undefined)[]> {
  return [
    await neighbourOf(lab, 'c1', 'outside', VIRTUAL_ADDRESS),
    await neighbourOf(lab, 's1', 'inside', GATEWAY_ADDRESS),
  ]
}

for (const method of ['nat', 'tun', 'dr'] as const) {
  test(`FTP by ${method}`, { skip, timeout: 180_000 }, async (t) => {
    const random = seededRandom(21)
    const large = Buffer.from(Uint8Array.from({ length: LARGE }, () => random.below(256)))
    const virtualMac = method === 'nat'
    const options = {
      name: `t${process.pid}-f${method}`,
      directors: 2,
      servers: 2,
      method,
      ...UNHURRIED,
      scheduler: 'rr',
      virtualMac,
    }
    await withTestLab(options, async (lab) => {
      await startServers(lab, large)
      await addService(lab, { protocol: 'tcp', port: PORT })
      await everyWay(t, lab, /./)
      const [way, words] = method === 'nat' ? ways[1] : ways[0]
      if (virtualMac) t.same(await seenMacs(lab), [VIRTUAL_MAC, VIRTUAL_MAC], 'client and server see the virtual MAC')
      await interrupted(t, lab, way, words, large)
      if (virtualMac) t.same(await seenMacs(lab), [VIRTUAL_MAC, VIRTUAL_MAC], 'which the next director has too')
      await everyWay(t, lab, /PASV|PORT/)
    })
  })
}
