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
import { PROTOCOL_MARK, PROTOCOL_MARK6, type ServerIdentity, type ServiceIdentity } from '../table/server-directory.ts'
import type { ServiceTable } from '../table/service-table.ts'
import { isTemplate, protocolOfTemplate } from './templates.ts'

export class RecordServers {
  readonly #services: ServiceTable
  readonly #key = new ConnectionKey()

  constructor(services: ServiceTable) {
    this.#services = services
  }

  /**
   * As the record says it.
   * @param protocol of the record, a template's own included
   * @param virtual address number of the record's virtual address, or its firewall mark
   * @param address address number of its server
   */
  told(
    bytes: Uint8Array,
    at: number,
    protocol: number,
    isIPv4: boolean,
    virtual: number,
    address: number,
  ): ServerIdentity {
    const flags = readUint16(bytes, at + RECORD.flags)
    const mark = readInt32(bytes, at + RECORD.firewallMark)
    const virtualPort = readUint16(bytes, at + RECORD.virtualPort)
    const isFtpData = (flags & RECORD_FLAG.ftpData) !== 0
    const servicePort = (flags & RECORD_FLAG.everyPort) !== 0 ? 0 : isFtpData ? PORT_FTP : virtualPort
    const markProtocol = isIPv4 ? PROTOCOL_MARK : PROTOCOL_MARK6
    const service: ServiceIdentity =
      mark !== 0
        ? { protocol: markProtocol, virtualAddress: mark, virtualPort: 0 }
        : { protocol: transportOf(protocol), virtualAddress: virtual, virtualPort: servicePort }
    if ((flags & RECORD_FLAG.serverEveryPort) !== 0) return { ...service, address, port: 0 }
    const isDataConnection = isFtpData && !isTemplate(protocol)
    const port = isDataConnection
      ? this.#services.serverPortAt(service, address)
      : readUint16(bytes, at + RECORD.serverPort)
    return { ...service, address, port }
  }

  /**
   * By the services that there are here; undefined when none of them is meant. A server may be known by another port than its
   * connection's: it has none of its own, or the connection is one of FTP's.
   * Source: Linux net/netfilter/ipvs/ip_vs_ctl.c ip_vs_find_dest().
   */
  here(
    bytes: Uint8Array,
    at: number,
    protocol: number,
    isIPv4: boolean,
    virtual: number,
    address: number,
  ): ServerIdentity | undefined {
    const key = this.#key
    key.protocol = transportOf(protocol)
    key.isIPv6 = !isIPv4
    key.virtual = virtual
    key.ports = readUint16(bytes, at + RECORD.virtualPort)
    const service = this.#services.serviceFor(key, readInt32(bytes, at + RECORD.firewallMark))
    if (service === undefined) return undefined
    const port = readUint16(bytes, at + RECORD.serverPort)
    const candidates = service.servers.filter((server) => server.address === address)
    const server =
      candidates.find((each) => each.port === port) ??
      candidates.find((each) => each.port === 0) ??
      (key.ports === service.port ? undefined : candidates[0])
    const { protocol: serviceProtocol, address: virtualAddress, port: virtualPort } = service
    return { protocol: serviceProtocol, virtualAddress, virtualPort, address, port: server?.port ?? port }
  }
}

function transportOf(protocol: number): number {
  return isTemplate(protocol) ? protocolOfTemplate(protocol) : protocol
}
