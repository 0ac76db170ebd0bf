/** What the kernel has counted: datagrams that reached a real server, and processor time. */
import { readdirSync, readFileSync } from 'node:fs'
import { release } from 'node:os'
import { gunzipSync } from 'node:zlib'

/** Datagrams for the sink's socket in the namespace of process `pid`, those that found it full included. */
export function datagramsReceived(pid: number): number {
  const [names, values] = readFileSync(`/proc/${pid}/net/snmp`, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('Udp:'))
    .map((line) => line.split(' '))
  return Number(values[names.indexOf('InDatagrams')]) + Number(values[names.indexOf('RcvbufErrors')])
}

/**
 * Processor time in microseconds that these processes have taken, all their threads, and with them the work that the kernel does
 * for packets outside of any process: in ksoftirqd, and, where the kernel keeps it apart from the process it interrupts, in
 * interrupts. What other programs on the machine do does not count.
 */
export function processorTimeUs(pids: readonly number[]): number {
  const nanoseconds = [...pids, ...softInterruptThreads].reduce((sum, pid) => sum + runTimeNs(pid), 0)
  return nanoseconds / 1000 + (keepsInterruptTimeApart ? interruptTimeUs() : 0)
}

const softInterruptThreads = readdirSync('/proc')
  .filter((name) => /^\d+$/.test(name) && read(`/proc/${name}/comm`).startsWith('ksoftirqd/'))
  .map(Number)

/** CONFIG_IRQ_TIME_ACCOUNTING: without it the time of a soft interrupt is that of the process in which it ran. */
const keepsInterruptTimeApart = /^CONFIG_IRQ_TIME_ACCOUNTING=y/m.test(kernelConfiguration())

function kernelConfiguration(): string {
  try {
    return gunzipSync(readFileSync('/proc/config.gz')).toString()
  } catch {
    return read(`/boot/config-${release()}`)
  }
}

/** sched-stats: of /proc/PID/task/TID/schedstat the first number is the time on a processor. */
function runTimeNs(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`)
  return threads.reduce((sum, thread) => sum + Number(read(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[0]), 0)
}

/** proc(5): columns irq and softirq of /proc/stat, in hundredths of a second. */
function interruptTimeUs(): number {
  const [, , , , , , irq, softirq] = read('/proc/stat').split('\n')[0].split(/ +/).map(Number)
  return (irq + softirq) * 10_000
}

/** '' when it has gone, as threads do. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
