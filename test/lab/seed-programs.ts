/**
 * The services that the 1999 documentation names, as programs from Debian on the real servers of a lab: dnsmasq for DNS, exim for
 * smtp, telnetd, fingerd and sn's nntp server behind inetd, tinyproxy for the web proxy. httpd is the lab's own nginx.
 *
 * Each keeps what it writes in its server's folder of the lab. They end with the lab.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Lab } from '../../node/drill/lab.ts'
import { hostsOf, type LabHost, WEB_PORT } from '../../node/drill/lab-plan.ts'
import { eventually } from './lab-directors.ts'
import { runOn, startOnHost } from './lab-traffic.ts'

export const SEED_PORTS = { telnet: 23, smtp: 25, domain: 53, finger: 79, nntp: 119, proxy: 8888 } as const

export const SEED_SERVICES: readonly { protocol: 'tcp' | 'udp'; port: number }[] = [
  ...Object.values(SEED_PORTS).map((port) => ({ protocol: 'tcp', port }) as const),
  { protocol: 'udp', port: SEED_PORTS.domain },
]

/** What a server's own name resolves to, at that server alone. */
export const ASKED_NAME = 'whoami.lab'

/** Starts all of them on every server; resolves when each port is listened on. */
export async function startSeedPrograms(lab: Lab): Promise<void> {
  for (const host of hostsOf(lab.plan, 'server')) {
    const home = join(lab.folder, host.name)
    for (const [name, command] of Object.entries(programsOf(host, home))) startOnHost(lab, host.name, name, command)
    const wanted = Object.values(SEED_PORTS)
    await eventually(`${host.name} listens on ${wanted.join(', ')}`, async () => {
      const sockets = await runOn(lab, host.name, ['ss', '-Htln'])
      return wanted.every((port) => new RegExp(`:${port}\\s`).test(sockets)) || undefined
    })
  }
}

function programsOf(host: LabHost, home: string): Record<string, string[]> {
  const file = (name: string, text: string) => {
    const path = join(home, name)
    writeFileSync(path, text)
    return path
  }
  const news = join(home, 'news')
  mkdirSync(news)
  const { address } = host.interfaces[0]
  return {
    dnsmasq: [
      ...['dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--user=root'],
      ...['--pid-file=', '--bind-interfaces', `--address=/${ASKED_NAME}/${address}`],
    ],
    exim: ['exim4', '-C', file('exim.conf', mailConfig(home, host.name)), '-bdf', '-oX', String(SEED_PORTS.smtp)],
    inetd: ['inetutils-inetd', '-d', `--pidfile=${join(home, 'inetd.pid')}`, file('inetd.conf', inetdConfig(news))],
    tinyproxy: ['tinyproxy', '-d', '-c', file('tinyproxy.conf', proxyConfig())],
  }
}

/** What a user types comes back: a shell that would do more is no better a witness. */
function inetdConfig(news: string): string {
  return `telnet stream tcp nowait root /usr/sbin/telnetd telnetd -h -E /bin/cat
finger stream tcp nowait nobody /usr/sbin/in.fingerd in.fingerd
nntp stream tcp nowait root /usr/sbin/snntpd snntpd ${news}
`
}

/** Takes every message and keeps it in a file. */
function mailConfig(home: string, name: string): string {
  return `primary_hostname = ${name}.lab
spool_directory = ${join(home, 'spool')}
log_file_path = ${join(home, 'exim-%slog')}
pid_file_path = ${join(home, 'exim.pid')}
exim_user = root
exim_group = root
never_users =
keep_environment =
tls_advertise_hosts =
host_lookup =
rfc1413_hosts =
acl_smtp_rcpt = take
acl_smtp_data = take
begin acl
take:
  accept
begin routers
everybody:
  driver = accept
  transport = file
begin transports
file:
  driver = appendfile
  file = ${join(home, 'mail')}
  user = root
`
}

function proxyConfig(): string {
  return `Port ${SEED_PORTS.proxy}
User root
Group root
Timeout 600
MaxClients 20
ConnectPort ${WEB_PORT}
`
}
