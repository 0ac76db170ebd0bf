/** vrrp-peer.ts as a child process, in the namespace of this process or in another. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { VipStatus, VrrpSocketStatus } from '../../../../node/director/control/answers.ts'
import type { VipConfig } from '../../../../node/director/vip/vip-config.ts'
import type { Namespace } from '../../../forwarder/namespace.ts'

const PROGRAM = fileURLToPath(new URL('./vrrp-peer.ts', import.meta.url))

export interface PeerStatus extends VipStatus {
  readonly refusals: Record<string, number>
  readonly socket: VrrpSocketStatus
}

export interface Peer {
  readonly process: ChildProcess
  /** The last status printed. */
  status(): PeerStatus | undefined
  /** Ends it and waits until it has ended. */
  end(signal: NodeJS.Signals): Promise<void>
}

export function startPeer(interfaceName: string, vip: Partial<VipConfig>, namespace?: Namespace): Peer {
  const [command, ...rest] = [
    ...(namespace?.enter ?? []),
    process.execPath,
    PROGRAM,
    interfaceName,
    JSON.stringify(vip),
  ]
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'inherit'] })
  let status: PeerStatus | undefined
  createInterface(child.stdout).on('line', (line) => {
    status = JSON.parse(line)
  })
  return {
    process: child,
    status: () => status,
    end: async (signal) => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill(signal)
      await ended
    },
  }
}
