/**
 * What a real server's kernel says of its load: proc(5), and nothing that costs more on a busier server.
 *
 * Established connections are tcpCurrEstab (RFC 4022) from /proc/net/snmp: the kernel keeps it as a counter, so reading it
 * costs the same with 5 connections and with 50,000. /proc/net/tcp would list every socket, and "inuse" in /proc/net/sockstat
 * counts listening sockets too. It counts ESTABLISHED and CLOSE-WAIT, of the network namespace the agent runs in.
 *
 * The files stay open and are read again from their start; opening them would cost more than reading them.
 */
import { closeSync, openSync, readSync } from 'node:fs'

/** Jiffies since boot, over all cores. */
export interface CpuTimes {
  busy: number
  total: number
}

export interface Measurements {
  /** 0 to 1, since the last measurement; the first one says 0. */
  cpu: number
  memory: number
  loadPerCore: number
  establishedConnections: number
}

/** What is read of one file at most: /proc/stat can have a thousand lines of interrupts after the one we need. */
const READ_BYTES = 4096

/** From the "cpu" line of /proc/stat. Waiting for a disk is not being busy; time a hypervisor stole is, for it cannot be had. */
export function parseCpuTimes(stat: string): CpuTimes {
  // user nice system idle iowait irq softirq steal; guest time is within user already.
  const [user, nice, system, idle, iowait, irq, softirq, steal] = words(stat, 'cpu').slice(0, 8).map(Number)
  const busy = user + nice + system + irq + softirq + steal
  return { busy, total: busy + idle + iowait }
}

/** Busy share, 0 to 1, between two readings. */
export function cpuShare(before: CpuTimes, after: CpuTimes): number {
  const total = after.total - before.total
  return total > 0 ? clampShare((after.busy - before.busy) / total) : 0
}

/** Share of memory that new work could not have without swapping, from /proc/meminfo. Page cache counts as available. */
export function parseMemoryShare(meminfo: string): number {
  const total = Number(words(meminfo, 'MemTotal:')[0])
  const available = Number(words(meminfo, 'MemAvailable:')[0])
  return clampShare(1 - available / total)
}

/** One-minute load average, from /proc/loadavg. */
export function parseLoadAverage(loadavg: string): number {
  return Number(loadavg.split(' ', 1)[0])
}

/** tcpCurrEstab from /proc/net/snmp, where a line of names stands above each line of values. */
export function parseEstablishedConnections(snmp: string): number {
  const values = words(snmp, 'Tcp:', 1)
  return Number(values[words(snmp, 'Tcp:').indexOf('CurrEstab')])
}

/** The words after `label` on the line that begins with it; `skip` such lines are passed over. */
function words(text: string, label: string, skip = 0): string[] {
  const lines = text.split('\n').filter((line) => line.startsWith(`${label} `))
  return (lines[skip] ?? '').slice(label.length).trim().split(/\s+/)
}

function clampShare(value: number): number {
  return Math.min(1, Math.max(0, value))
}

/** Measures this machine. `cores` divides the load average; `root` is where proc is mounted. */
export class Meter {
  readonly #buffer = Buffer.allocUnsafe(READ_BYTES)
  readonly #descriptors = new Map<string, number>()
  readonly #cores: number
  readonly #root: string
  #previous: CpuTimes

  constructor(cores: number, root = '/proc') {
    this.#cores = cores
    this.#root = root
    this.#previous = parseCpuTimes(this.#read('stat'))
  }

  measure(): Measurements {
    const times = parseCpuTimes(this.#read('stat'))
    const cpu = cpuShare(this.#previous, times)
    this.#previous = times
    return {
      cpu,
      memory: parseMemoryShare(this.#read('meminfo')),
      loadPerCore: parseLoadAverage(this.#read('loadavg')) / this.#cores,
      establishedConnections: parseEstablishedConnections(this.#read('net/snmp')),
    }
  }

  close(): void {
    for (const descriptor of this.#descriptors.values()) closeSync(descriptor)
    this.#descriptors.clear()
  }

  #read(name: string): string {
    let descriptor = this.#descriptors.get(name)
    if (descriptor === undefined) {
      descriptor = openSync(`${this.#root}/${name}`, 'r')
      this.#descriptors.set(name, descriptor)
    }
    const length = readSync(descriptor, this.#buffer, 0, READ_BYTES, 0)
    return this.#buffer.toString('latin1', 0, length)
  }
}
