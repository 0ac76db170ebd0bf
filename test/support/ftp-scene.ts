/** FTP through a director on the bench of scene.ts: a client's control connection to the virtual address, and the server that it was given. */
import type { ForwardingMethod, ServiceSpec } from '../../forwarder/service.ts'
import { TCP_ACK, TCP_PSH, TCP_SYN } from '../../protocol/packet/tcp.ts'
import type { DirectorBench } from './director-bench.ts'
import { type TcpFields, tcpFrame } from './frames.ts'
import {
  CLIENT_ADDRESS,
  INSIDE,
  MAC,
  OUTSIDE,
  type SceneOptions,
  SERVER2_ADDRESS,
  scene,
  service,
  VIP,
} from './scene.ts'

export const CONTROL = 3456
export const SYN_ACK = TCP_SYN | TCP_ACK
export const PUSH = TCP_PSH | TCP_ACK

export function ftpService(method: ForwardingMethod, options: SceneOptions = {}): ServiceSpec {
  const specification = service({ weights: [1, 1], ...options, method })
  const servers = specification.servers.map((server) => ({ ...server, port: 21 }))
  return { ...specification, port: 21, servers }
}

/** An FTP service on two servers. Its first control connection goes to server 2, the newest; others in turn. */
export function ftpScene(method: ForwardingMethod, options: SceneOptions = {}): DirectorBench {
  return scene({ ...options, services: [ftpService(method, options)] })
}

export const client = (port: number, virtualPort: number, fields: Partial<TcpFields> = {}) =>
  tcpFrame({
    sourceMac: MAC.router,
    destinationMac: MAC.outside,
    from: `${CLIENT_ADDRESS}:${port}`,
    to: `${VIP}:${virtualPort}`,
    ...fields,
  })
export const server = (port: number, clientPort: number, fields: Partial<TcpFields> = {}) =>
  tcpFrame({
    sourceMac: MAC.server2,
    destinationMac: MAC.inside,
    from: `${SERVER2_ADDRESS}:${port}`,
    to: `${CLIENT_ADDRESS}:${clientPort}`,
    ...fields,
  })
export const text = (frame: Uint8Array) => Buffer.from(frame.subarray(54)).toString('latin1')
export const ends = (frame: Uint8Array) => {
  const address = (at: number) => frame.subarray(at, at + 4).join('.')
  const port = (at: number) => (frame[at] << 8) | frame[at + 1]
  return `${address(26)}:${port(34)} > ${address(30)}:${port(36)}`
}

export function logIn(bench: DirectorBench, clientPort = CONTROL): DirectorBench {
  bench.send(OUTSIDE, client(clientPort, 21, { flags: TCP_SYN }))
  bench.send(OUTSIDE, client(clientPort, 21))
  return bench
}
export const say = (bench: DirectorBench, payload: string, fields: Partial<TcpFields> = {}) =>
  bench.send(OUTSIDE, client(CONTROL, 21, { payload, flags: PUSH, ...fields }))
export const answer = (bench: DirectorBench, payload: string, fields: Partial<TcpFields> = {}) =>
  bench.send(INSIDE, server(21, CONTROL, { payload, flags: PUSH, ...fields }))
export const states = (bench: DirectorBench) =>
  [...bench.reader.connections()].map((each) => `${each.clientPort}>${each.virtualPort} ${each.state}`).sort()

export const REPLY_227 = '227 Entering Passive Mode (10,1,0,2,156,64).\r\n'
