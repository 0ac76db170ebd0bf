/** The VRRP advertisements of one director, by the kernel's clock, where they enter the lab's switch: the longest silence between two. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { inNamespace, portName } from '../../node/drill/lab-network.ts'
import type { LabHost } from '../../node/drill/lab-plan.ts'

export class AdvertisementWatch {
  longestSilenceMs = 0
  readonly #child: ChildProcess
  #lastSeconds = Number.NaN

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  /** Resolves when the first one has been seen. */
  static async begin(switchNamespace: string, host: LabHost): Promise<AdvertisementWatch> {
    const port = portName(host, host.interfaces[0].name)
    const words = ['tcpdump', '-i', port, '-Q', 'in', '-n', '-tt', '-l', '--immediate-mode', 'ip proto 112']
    const [program, ...args] = inNamespace(switchNamespace, words)
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] })
    const watch = new AdvertisementWatch(child)
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', () => reject(new Error('tcpdump has ended')))
      createInterface(child.stdout!).on('line', (line) => {
        watch.#take(Number(line.split(' ', 1)[0]))
        resolve()
      })
    })
    return watch
  }

  end(): void {
    this.#child.kill()
  }

  #take(seconds: number): void {
    const silenceMs = (seconds - this.#lastSeconds) * 1000
    this.#lastSeconds = seconds
    if (silenceMs > this.longestSilenceMs) this.longestSilenceMs = silenceMs
  }
}
