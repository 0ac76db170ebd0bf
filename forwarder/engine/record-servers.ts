/**
 * Which real server a record is of: its service's address and port may be others than its connection's.
 *
 * Peers say of which kind the service is (RECORD_FLAG); the kernel's sync protocol does not, so that its service is sought among those
 * that there are here.
 */
import { readInt32, readUint16 } from '../../protocol/packet/bytes.ts'
import { PORT_FTP } from '../../protocol/packet/ftp.ts'
import { RECORD, RECORD_FLAG } from '../../protocol/wire/connection-record.ts'
import { ConnectionKey } from '../table/connection-key.ts'
import { recordVersion } from '../table/record-codec.ts'
import { PROTOCOL_MARK, PROTOCOL_MARK6, type ServerIdentity, type ServiceIdentity } from '../table/server-directory.ts'
import type { ServiceTable } from '../table/service-table.ts'
import { isTemplate, protocolOfTemplate } from './templates.ts'

/** What a record says that tells its server. */
interface Naming {
  readonly isTemplate: boolean
  /** Of a template that of its connections. */
  readonly transport: number
  readonly isIPv4: boolean
  readonly mark: number
  /** Address number of the virtual address, or the mark of a mark's template. */
  readonly virtual: number
  readonly virtualPort: number
  /** Address number of the server. */
  readonly address: number
  readonly port: number
  readonly flags: number
}

export class RecordServers {
  readonly #services: ServiceTable
  readonly #key = new ConnectionKey()

  constructor(services: ServiceTable) {
    this.#services = services
  }

  /**
   * @param virtual address number of the record's virtual address, or its firewall mark
   * @param address address number of its server
   */
  identity(bytes: Uint8Array, at: number, isIPv4: boolean, virtual: number, address: number): ServerIdentity {
    const protocol = bytes[at + RECORD.protocol]
    const naming: Naming = {
      isTemplate: isTemplate(protocol),
      transport: isTemplate(protocol) ? protocolOfTemplate(protocol) : protocol,
      isIPv4,
      mark: readInt32(bytes, at + RECORD.firewallMark),
      virtual,
      virtualPort: readUint16(bytes, at + RECORD.virtualPort),
      address,
      port: readUint16(bytes, at + RECORD.serverPort),
      flags: readUint16(bytes, at + RECORD.flags),
    }
    return (recordVersion(bytes, at) === 0 ? this.#here(naming) : undefined) ?? this.#told(naming)
  }

  /** As a peer says it. */
  #told(naming: Naming): ServerIdentity {
    const { flags, mark, isIPv4, transport, virtual, virtualPort, address, port } = naming
    const isFtpData = (flags & RECORD_FLAG.ftpData) !== 0
    const servicePort = (flags & RECORD_FLAG.everyPort) !== 0 ? 0 : isFtpData ? PORT_FTP : virtualPort
    const service: ServiceIdentity =
      mark !== 0
        ? { protocol: isIPv4 ? PROTOCOL_MARK : PROTOCOL_MARK6, virtualAddress: mark, virtualPort: 0 }
        : { protocol: transport, virtualAddress: virtual, virtualPort: servicePort }
    if ((flags & RECORD_FLAG.serverEveryPort) !== 0) return { ...service, address, port: 0 }
    const isDataConnection = isFtpData && !naming.isTemplate
    return { ...service, address, port: isDataConnection ? this.#services.serverPortAt(service, address) : port }
  }

  /**
   * By the services that there are here; undefined when none of them is meant. A server may be known by another port than its
   * connection's: it has none of its own, or the connection is one of FTP's. A template for several ports has none.
   * Source: Linux net/netfilter/ipvs/ip_vs_ctl.c ip_vs_find_dest().
   */
  #here({ transport, isIPv4, mark, virtual, virtualPort, address, port }: Naming): ServerIdentity | undefined {
    const key = this.#key
    key.protocol = transport
    key.isIPv6 = !isIPv4
    key.virtual = virtual
    key.ports = virtualPort
    const service = this.#services.serviceFor(key, mark)
    if (service === undefined) return undefined
    const candidates = service.servers.filter((server) => server.address === address)
    const server =
      candidates.find((each) => each.port === port) ??
      candidates.find((each) => each.port === 0) ??
      (virtualPort === service.port && virtualPort !== 0 ? undefined : candidates[0])
    return {
      protocol: service.protocol,
      virtualAddress: service.address,
      virtualPort: service.port,
      address,
      port: server?.port ?? port,
    }
  }
}
