/** What becomes of the services in packages that `director setup` installs. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { test } from 'tap'
import { thisHost } from '../../../../node/cli/setup/host.ts'
import { installPackages } from '../../../../node/cli/setup/packages.ts'
import { startingNone } from '../../../../node/cli/setup/services.ts'
import { host } from './host.ts'

const LISTED = `/.
/etc
/etc/init.d
/etc/init.d/nginx

/lib/systemd/system
/lib/systemd/system/nginx.service
/usr/lib/systemd/system/vsftpd.socket

/lib/systemd/system/vsftpd@.service
/usr/share/doc/vsftpd/examples/vsftpd.service
`
const BEFORE = 'installed apache2\nconfig-files vsftpd\nnot-installed exim4-base\n'
const AFTER = 'installed apache2\ninstalled vsftpd\nhalf-configured nginx:amd64\nnot-installed exim4-base\n'

/** What the machine is asked about services, when nginx and vsftpd come to it. */
function arrival(): Record<string, () => string> {
  const listings = [BEFORE, AFTER]
  return { 'dpkg-query --show': () => listings.shift()!, 'dpkg-query --listfiles': () => LISTED }
}
const afterwards = (calls: readonly { words: string }[]) =>
  calls.map(({ words }) => words).filter((words) => !/^apt-get|^dpkg-query --show/.test(words))

test('while packages are installed a policy forbids them to start services, and afterwards it is gone', async (t) => {
  const policies: (number | null)[] = []
  const install = () => {
    policies.push(spawnSync(machine.policyFile, ['nginx', 'start']).status)
    return ''
  }
  const { machine } = host(t, {}, { 'apt-get install': install })
  await installPackages(['nginx-light'], machine)
  t.strictSame(policies, [101])
  t.notOk(existsSync(machine.policyFile))
  await t.rejects(
    startingNone(machine.policyFile, () => Promise.reject(new Error('interrupted'))),
    { message: 'interrupted' },
  )
  t.notOk(existsSync(machine.policyFile), 'also when the work fails')
})

test("the administrator's own policy stays as it is", async (t) => {
  const { machine } = host(t)
  writeFileSync(machine.policyFile, 'theirs')
  await installPackages(['nginx-light'], machine)
  t.equal(readFileSync(machine.policyFile, 'utf8'), 'theirs')
})

test('services are disabled that came with packages which were not there before, and no others', async (t) => {
  const { machine, calls, told } = host(t, {}, arrival())
  await installPackages(['nginx-light', 'vsftpd'], machine)
  t.strictSame(afterwards(calls), [
    'dpkg-query --listfiles vsftpd nginx:amd64',
    'systemctl disable --now nginx.service',
    'systemctl disable --now vsftpd.socket',
  ])
  t.strictSame(told, [])
})

test('without systemd init scripts are disabled', async (t) => {
  const { machine, calls } = host(t, { hasSystemd: false }, arrival())
  await installPackages(['nginx-light', 'vsftpd'], machine)
  t.strictSame(afterwards(calls).slice(1), ['update-rc.d nginx disable'])
})

test('they are disabled even if apt-get failed at one of many', async (t) => {
  const failing = { 'apt-get install': () => ({ failed: true, output: 'E: Sub-process dpkg failed' }) }
  const { machine, calls } = host(t, {}, { ...arrival(), ...failing })
  await t.rejects(installPackages(['nginx-light', 'vsftpd'], machine), { message: /Sub-process dpkg failed/ })
  t.equal(afterwards(calls).length, 3)
})

test('one that cannot be disabled is told of', async (t) => {
  const failing = { 'systemctl disable --now nginx': () => ({ failed: true, output: '' }) }
  const { machine, told } = host(t, {}, { ...arrival(), ...failing })
  await installPackages(['nginx-light', 'vsftpd'], machine)
  t.strictSame(told, ['setup: a service stays enabled: systemctl disable --now nginx.service failed'])
})

test('when it cannot be known which packages were there, nothing is installed and nothing is disabled', async (t) => {
  const { machine, calls } = host(t, {}, { 'dpkg-query --show': () => '' })
  await t.rejects(installPackages(['nginx-light'], machine), { code: 'SETUP_FAILED', message: /dpkg-query/ })
  t.strictSame(
    calls.map(({ words }) => words.split(' --showformat')[0]),
    ['apt-get update', 'dpkg-query --show'],
  )
})

test('what is interrupted begins nothing more, and a program is interrupted and waited for', async (t) => {
  const controller = new AbortController()
  const interrupt = () => {
    controller.abort()
    return ''
  }
  const { machine, calls } = host(t, {}, { 'apt-get update': interrupt })
  await t.rejects(installPackages(['nginx-light'], machine, controller.signal), { name: 'AbortError' })
  t.equal(calls.length, 1)

  const again = new AbortController()
  const script = 'trap "sleep 0.1; echo done; exit 3" INT; kill -HUP $PPID; while :; do sleep 0.02; done'
  process.once('SIGHUP', () => again.abort())
  const { failed, output } = await thisHost.run('sh', ['-c', script], { signal: again.signal })
  t.strictSame({ failed, output }, { failed: true, output: 'done\n' })
})
