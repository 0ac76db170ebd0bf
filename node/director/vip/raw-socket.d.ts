/** The parts of raw-socket 1.8 that vrrp-socket.ts uses; the package brings no types. */
declare module 'raw-socket' {
  import type { EventEmitter } from 'node:events'

  /** The native half. Its calls act at once and throw an Error with the text of strerror(3). */
  export interface SocketWrap extends EventEmitter {
    recv(buffer: Buffer, received: (buffer: Buffer, length: number, source: string) => void): void
  }

  export interface Socket extends EventEmitter {
    readonly wrap: SocketWrap
    setOption(level: number, option: number, value: number): void
    setOption(level: number, option: number, value: Buffer, length: number): void
    close(): void
  }

  interface RawSocketModule {
    /** @throws Error with the text of strerror(3) */
    createSocket(options: { protocol: number; addressFamily: 1 | 2; bufferSize?: number }): Socket
  }

  const module: RawSocketModule
  export default module
}
