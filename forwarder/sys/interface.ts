/**
 * Network interfaces as the kernel of this namespace knows them: netdevice(7).
 *
 * struct ifreq (linux/if.h) is 40 bytes: the name in 16, then a union whose member depends on the request.
 */
import { DirectorError } from '../../protocol/errors.ts'
import { checked, ENODEV, systemError } from './errors.ts'
import * as libc from './libc.ts'
import { AF_INET, closeDescriptor, openSocket, SOCK_DGRAM } from './socket.ts'

// linux/sockios.h
const SIOCGIFFLAGS = 0x8913
const SIOCSIFFLAGS = 0x8914
const SIOCGIFMTU = 0x8921
const SIOCGIFHWADDR = 0x8927
const IFF_UP = 1 // linux/if.h
const ARPHRD_ETHER = 1 // linux/if_arp.h

const IFREQ_BYTES = 40
const NAME_BYTES = 16

export interface InterfaceFacts {
  readonly index: number
  /** 6 bytes. */
  readonly mac: Uint8Array
  readonly mtu: number
}

/** An ifreq that carries the interface's name and nothing else. */
export function interfaceRequest(name: string): DataView<ArrayBuffer> {
  const request = new DataView(new ArrayBuffer(IFREQ_BYTES))
  const { written } = new TextEncoder().encodeInto(name, new Uint8Array(request.buffer, 0, NAME_BYTES))
  if (name === '' || written < name.length || written === NAME_BYTES)
    throw new DirectorError('INTERFACE_MISSING', `"${name}" cannot be an interface: names have 1 to 15 bytes`)
  return request
}

function withSocket<T>(use: (descriptor: number) => T): T {
  const descriptor = openSocket(AF_INET, SOCK_DGRAM, 0, 'cannot open a socket to ask for interfaces')
  try {
    return use(descriptor)
  } finally {
    closeDescriptor(descriptor)
  }
}

/** Index, hardware address and MTU of an Ethernet interface; DirectorError INTERFACE_MISSING if it is none. */
export function interfaceFacts(name: string): InterfaceFacts {
  const request = interfaceRequest(name)
  const index = libc.interfaceIndex(name)
  if (index === 0) throw systemError(name, ENODEV)
  return withSocket((descriptor) => {
    checked(libc.ioctl(descriptor, SIOCGIFHWADDR, request), `${name}: cannot read its hardware address`)
    if (request.getUint16(NAME_BYTES, true) !== ARPHRD_ETHER)
      throw new DirectorError('INTERFACE_MISSING', `${name}: not an Ethernet interface; name one that is`)
    const mac = new Uint8Array(request.buffer.slice(NAME_BYTES + 2, NAME_BYTES + 8))
    checked(libc.ioctl(descriptor, SIOCGIFMTU, request), `${name}: cannot read its MTU`)
    return { index, mac, mtu: request.getInt32(NAME_BYTES, true) }
  })
}

export function bringUp(name: string): void {
  const request = interfaceRequest(name)
  withSocket((descriptor) => {
    checked(libc.ioctl(descriptor, SIOCGIFFLAGS, request), `${name}: cannot read its flags`)
    request.setInt16(NAME_BYTES, request.getInt16(NAME_BYTES, true) | IFF_UP, true)
    checked(libc.ioctl(descriptor, SIOCSIFFLAGS, request), `${name}: cannot bring it up`)
  })
}
