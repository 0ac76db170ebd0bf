/** What -L prints with --timeout and with --daemon, as ipvsadm 1.31 was recorded to. */
import type { SyncDaemon } from './request.ts'

export interface Timeouts {
  readonly timeoutTcpS: number
  readonly timeoutTcpFinS: number
  readonly timeoutUdpS: number
}

export function formatTimeouts({ timeoutTcpS, timeoutTcpFinS, timeoutUdpS }: Timeouts): string {
  return `Timeout (tcp tcpfin udp): ${timeoutTcpS} ${timeoutTcpFinS} ${timeoutUdpS}\n`
}

/** The master first. */
export function formatDaemons(daemons: readonly SyncDaemon[]): string {
  const masterFirst = daemons.toSorted((a, b) => (a.state < b.state ? 1 : -1))
  return masterFirst.map(formatDaemon).join('')
}

function formatDaemon({ state, interface: name, syncId, maxLength, group, port, ttl }: SyncDaemon): string {
  const facts = [`mcast=${name}`, `syncid=${syncId}`]
  if (maxLength) facts.push(`maxlen=${maxLength}`)
  if (group) facts.push(`group=${group}`)
  if (port) facts.push(`port=${port}`)
  if (ttl) facts.push(`ttl=${ttl}`)
  return `${state} sync daemon (${facts.join(', ')})\n`
}
