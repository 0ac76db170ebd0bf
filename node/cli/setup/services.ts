/**
 * The services in packages that we want the programs of: they are not started when they are installed, nor at the next boot.
 *
 * A package starts its service through invoke-rc.d(8) or deb-systemd-invoke(1p), and both ask a program that the administrator
 * may have put in place, policy-rc.d; its exit status 101 forbids. Nothing asks before it enables one.
 */
import { rmSync, writeFileSync } from 'node:fs'
import { DirectorError } from '../../../protocol/errors.ts'
import type { Host } from './host.ts'

const POLICY = `#!/bin/sh
# From director setup, which takes it away again when the packages are installed.
exit 101
`

/** While the work lasts, no package starts a service, unless the administrator has a policy: it stays as it is. */
export async function startingNone<T>(policyFile: string, work: () => Promise<T>): Promise<T> {
  const isOurs = forbid(policyFile)
  try {
    return await work()
  } finally {
    if (isOurs) rmSync(policyFile, { force: true })
  }
}

function forbid(policyFile: string): boolean {
  try {
    writeFileSync(policyFile, POLICY, { mode: 0o755, flag: 'wx' })
    return true
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return false
    throw new DirectorError('SETUP_FAILED', `services cannot be kept from starting: ${message}`)
  }
}

/** @returns those of which there is more than the configuration, also if they are installed in part */
export async function packagesThere(host: Host): Promise<Set<string>> {
  const format = `--showformat=\${db:Status-Status} \${binary:Package}\\n`
  const { failed, output } = await host.run('dpkg-query', ['--show', format])
  // Were all packages taken for new ones, all services of the machine would be disabled.
  if (failed || output === '') throw new DirectorError('SETUP_FAILED', `dpkg-query fails (${output.trim()})`)
  return new Set(output.match(/(?<=^(?!not-installed|config-files)\S+ )\S+/gm))
}

/** Disables the services in packages that have just come; one that cannot be disabled is told of, and is no failure. */
export async function disableServices(packages: readonly string[], host: Host): Promise<void> {
  if (packages.length === 0) return
  const { output } = await host.run('dpkg-query', ['--listfiles', ...packages])
  const scripts = output.match(/(?<=^\/etc\/init\.d\/)[^/\n]+$/gm) ?? []
  const units = output.match(/(?<=^(?:\/usr)?\/lib\/systemd\/system\/)[^/@\n]+\.(?:service|socket|timer|path)$/gm) ?? []
  for (const words of disablingCommands(scripts, units, host)) {
    const { failed } = await host.run(words[0], words.slice(1))
    if (failed) host.tell(`setup: a service stays enabled: ${words.join(' ')} failed`)
  }
}

/** systemctl hands on to update-rc.d what has an init script. */
function disablingCommands(scripts: readonly string[], units: readonly string[], host: Host): string[][] {
  if (!host.hasSystemd) return scripts.map((script) => ['update-rc.d', script, 'disable'])
  const names = new Set([...units, ...scripts.map((script) => `${script}.service`)])
  // Now: the administrator's policy may have let it start.
  return [...names].sort().map((name) => ['systemctl', 'disable', '--now', name])
}
