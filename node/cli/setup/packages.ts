/**
 * The programs of other people that we run, the Debian packages that they come in, and how missing ones are installed.
 *
 * A program counts as there when it is found on the path, whoever put it there.
 */
import { existsSync } from 'node:fs'
import { DirectorError } from '../../../protocol/errors.ts'
import type { Host } from './host.ts'
import { disableServices, packagesThere, startingNone } from './services.ts'

/** Debian package by program. */
export type PackageTable = Readonly<Record<string, string>>

/** What a director, the lab and the drills run. */
export const runtimePackages: PackageTable = { ip: 'iproute2', sysctl: 'procps', nginx: 'nginx-light' }

/** What building raw-socket takes. */
export const compilerPackages: PackageTable = { 'g++': 'build-essential', make: 'build-essential', python3: 'python3' }

/** What the tests and benchmarks run besides. */
export const testPackages: PackageTable = {
  tshark: 'tshark',
  tcpdump: 'tcpdump',
  nft: 'nftables',
  ethtool: 'ethtool',
  iperf3: 'iperf3',
  keepalived: 'keepalived',
  curl: 'curl',
  dnsmasq: 'dnsmasq-base',
  dig: 'bind9-dnsutils',
  exim4: 'exim4-daemon-light',
  'inetutils-inetd': 'inetutils-inetd',
  telnetd: 'inetutils-telnetd',
  telnet: 'inetutils-telnet',
  'in.fingerd': 'fingerd',
  finger: 'finger',
  tinyproxy: 'tinyproxy-bin',
  snntpd: 'sn',
  vsftpd: 'vsftpd',
  lftp: 'lftp',
  nc: 'netcat-openbsd',
  openssl: 'openssl',
  haproxy: 'haproxy',
}

/** The folders where programs are looked for; launch.sh has seen to it that the sbin ones are among them. */
export function programFolders(path = ''): string[] {
  return path.split(':').filter(Boolean)
}

/** @returns the packages to install, sorted, without repetition */
export function missingPackages(table: PackageTable, folders: readonly string[]): string[] {
  const missing = Object.entries(table).filter(
    ([program]) => !folders.some((folder) => existsSync(`${folder}/${program}`)),
  )
  return [...new Set(missing.map(([, name]) => name))].sort()
}

/**
 * Installs packages, without questions, without what they merely recommend, and without the services in them: those are neither
 * started nor enabled.
 * @param signal interrupts it: what apt-get has begun to install, it completes
 * @throws DirectorError SETUP_FAILED, which names the packages
 */
export async function installPackages(packages: readonly string[], host: Host, signal?: AbortSignal): Promise<void> {
  const names = packages.join(' ')
  const byHand = `install them and try again: apt-get install ${names}`
  if (!host.folders.some((folder) => existsSync(`${folder}/apt-get`))) {
    throw new DirectorError(
      'SETUP_FAILED',
      `this machine lacks ${names} and has no apt-get; install them and try again`,
    )
  }
  if (!host.isRoot) throw new DirectorError('SETUP_FAILED', `this machine lacks ${names}; as root, ${byHand}`)
  const aptGet = async (...words: string[]) => {
    const environment = { DEBIAN_FRONTEND: 'noninteractive' }
    const { failed, output } = await host.run('apt-get', words, { environment, signal })
    if (!failed) return undefined
    const reason = output.split('\n').findLast((line) => line.startsWith('E: ')) ?? 'see its own messages'
    return new DirectorError('SETUP_FAILED', `apt-get ${words[0]} failed (${reason}); ${byHand}`)
  }
  const notUpdated = await aptGet('update')
  if (notUpdated) throw notUpdated
  signal?.throwIfAborted()
  const before = await packagesThere(host)
  const install = () => aptGet('install', '--yes', '--no-install-recommends', ...packages)
  const notInstalled = await startingNone(host.policyFile, install)
  // Also when it failed: one package of many may have.
  const added = [...(await packagesThere(host))].filter((name) => !before.has(name))
  await disableServices(added, host)
  if (notInstalled) throw notInstalled
}
