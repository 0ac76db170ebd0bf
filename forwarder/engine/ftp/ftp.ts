/**
 * What passes on FTP's control connections: commands and replies that announce a data connection are noted, and reply 227
 * names the virtual address in the place of the server's. Over IPv6 data connections are announced by EPRT and EPSV, whose reply
 * names no address.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_ftp.c. A client's PORT and EPRT name the client, whose address no method changes; so
 * only a server's reply 227 is ever rewritten, and in a way that keeps its length: see docs/decisions/ftp.md.
 */
import { formatIPv4, readInt32, readUint16, writeUint16 } from '../../../protocol/packet/bytes.ts'
import { addBytes, fold, updateChecksum } from '../../../protocol/packet/checksum.ts'
import {
  FTP_LINE_LENGTH,
  type FtpCommand,
  hasWholeNumbers,
  PORT_FTP_DATA,
  parseFtpCommand,
  parsePassiveReply,
  refusePassiveReply,
  rewritePassiveReply,
} from '../../../protocol/packet/ftp.ts'
import { PROTOCOL_TCP } from '../../../protocol/packet/ipv4.ts'
import { formatIPv6 } from '../../../protocol/packet/ipv6-address.ts'
import { TCP, TCP_HEADER_LENGTH, tcpHeaderLength } from '../../../protocol/packet/tcp.ts'
import type { Frame } from '../../link/link.ts'
import { hasUnfinishedChecksum } from '../../method/offload.ts'
import { shortenSegment } from '../../method/shortening.ts'
import { ConnectionKey } from '../../table/connection-key.ts'
import { type ConnectionIndex, FLAG_IPV6, FLAG_ONE_WAY, KEY, KEY_WORDS } from '../../table/connection-layout.ts'
import type { ConnectionTable } from '../../table/connection-table.ts'
import type { ServiceTable } from '../../table/service-table.ts'
import { NOT_HALF_OPEN } from '../protocols/protocol.ts'
import { halfOpenQueueOf } from '../protocols/registry.ts'
import type { ExpectedConnections } from './expected-connections.ts'
import { BEHIND, HeldReplies } from './held-replies.ts'
import { PartialLines } from './partial-lines.ts'

/** Of a segment no more is read: commands that matter come alone or with those of the same transfer, replies alone. */
const COMMANDS_LENGTH = 1024
const REPLIES_LENGTH = 4096
const REPLY_227 = '227 '

export class Ftp {
  readonly #table: ConnectionTable
  readonly #services: ServiceTable
  readonly #expected: ExpectedConnections
  readonly #commands = new PartialLines()
  readonly #held = new HeldReplies()
  readonly #key = new ConnectionKey()

  constructor(table: ConnectionTable, services: ServiceTable, expected: ExpectedConnections) {
    this.#table = table
    this.#services = services
    this.#expected = expected
  }

  /** Sees a client's segment. Of several announcements in it the last counts. @param transport offset of the TCP header */
  command(frame: Frame, transport: number, index: ConnectionIndex): void {
    if (!this.#isPastHandshake(index)) return
    const bytes = frame.memory.bytes
    const from = transport + tcpHeaderLength(bytes, transport)
    const text = readText(frame, transport, from, COMMANDS_LENGTH)
    if (text === '') return
    const command = lastCommand(this.#commands.take(index, readInt32(bytes, transport + TCP.sequence), text))
    if (command?.kind === 'active' && command.endpoint.address === this.#clientOf(index)) {
      this.#expected.expect(index, command.endpoint.port, PORT_FTP_DATA, this.#table.serverPort(index) - 1)
    } else if (command?.kind === 'passive' && (this.#table.flags(index) & FLAG_ONE_WAY) !== 0) {
      this.#expected.expect(index, 0, 0, 0)
    }
  }

  /** Before, a single segment in anybody's name would announce something; and the connection may be the next to be given up. */
  #isPastHandshake(index: ConnectionIndex): boolean {
    return halfOpenQueueOf(PROTOCOL_TCP, this.#table.state(index)) === NOT_HALF_OPEN
  }

  #clientOf(index: ConnectionIndex): string {
    this.#table.readKey(index, this.#key)
    const { client, isIPv6 } = this.#key
    return isIPv6 ? formatIPv6(client) : formatIPv4(client[0])
  }

  /**
   * Sees a server's segment, and writes the virtual address into reply 227. A segment that ends within a reply that would have to be
   * rewritten is cut before it.
   * @returns false when the segment must not go on: it has nothing else in it, or comes behind such a beginning. The server sends that
   * again, together with what follows. If it sends again just that, what follows waits for its acknowledgement (RFC 896), and it goes on.
   * Over IPv6 every segment goes on.
   */
  reply(frame: Frame, transport: number, index: ConnectionIndex): boolean {
    const { bytes } = frame.memory
    const from = transport + tcpHeaderLength(bytes, transport)
    const text = readText(frame, transport, from, REPLIES_LENGTH)
    if (text === '') return true
    const sequence = readInt32(bytes, transport + TCP.sequence)
    const isRewritten = (this.#table.flags(index) & FLAG_IPV6) === 0
    const held = isRewritten ? this.#held.release(index, sequence) : 0
    if (held === BEHIND) return false
    let at = 0
    while (at < text.length) {
      const end = text.indexOf('\n', at)
      if (end < 0) {
        const beginning = text.slice(at)
        if (!isRewritten || !mayBecome227(beginning)) return true
        if (hasWholeNumbers(beginning)) {
          this.#passiveReply(frame, transport, from + at, beginning, index)
          return true
        }
        if (at === 0 && beginning.length <= held) {
          if (beginning.startsWith(REPLY_227)) overwrite(frame, transport, from, refusePassiveReply(beginning))
          return true
        }
        // Not the whole segment: one that is full would be sent again with the same end, for ever.
        this.#held.hold(index, sequence + at, beginning.length)
        return at > 0 && shortenSegment(frame, transport, at)
      }
      this.#passiveReply(frame, transport, from + at, text.slice(at, end), index)
      at = end + 1
    }
    return true
  }

  /** @param text a line, or as much of one as matters, with what there is of its end */
  #passiveReply(frame: Frame, transport: number, at: number, text: string, index: ConnectionIndex): void {
    const line = text.replace(/\r$/, '')
    const endpoint = parsePassiveReply(line)
    if (endpoint === undefined) return
    const { book, addresses } = this.#services.directory
    const virtual = book.format(this.#table.memory.keys[index * KEY_WORDS + KEY.virtualAddress])
    const { address, port } = endpoint
    const server = book.format(addresses[this.#table.server(index)])
    // An address of IPv4 in a conversation over IPv6 is none of these.
    if (address !== undefined && address !== virtual && address !== server) return
    if (this.#isPastHandshake(index)) this.#expected.expect(index, 0, port, port)
    if (address !== undefined && address !== virtual)
      overwrite(frame, transport, at, rewritePassiveReply(line, virtual))
  }
}

/** What the last of a client's lines that announces a data connection says. */
function lastCommand(lines: readonly string[]): FtpCommand | undefined {
  for (let at = lines.length - 1; at >= 0; at--) {
    const command = parseFtpCommand(lines[at])
    if (command !== undefined) return command
  }
  return undefined
}

/** Of a line without its end. */
function mayBecome227(beginning: string): boolean {
  if (beginning.length < REPLY_227.length) return REPLY_227.startsWith(beginning)
  return beginning.startsWith(REPLY_227) && beginning.length <= FTP_LINE_LENGTH
}

/** What the segment carries, one character a byte; empty when its header makes no sense. */
function readText(frame: Frame, transport: number, from: number, length: number): string {
  const end = Math.min(frame.start + frame.length, from + length)
  return from >= end || from < transport + TCP_HEADER_LENGTH
    ? ''
    : String.fromCharCode(...frame.memory.bytes.subarray(from, end))
}

/** Writes text over what stands at `at`, which is as long, and brings the TCP checksum up to date. */
function overwrite(frame: Frame, transport: number, at: number, text: string): void {
  const bytes = frame.memory.bytes
  // Words of the checksum begin at even distances from the header.
  const from = at - ((at - transport) & 1)
  const length = at + text.length - from
  const before = fold(addBytes(0, bytes, from, length))
  for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i)
  // An unfinished checksum is only the pseudo-header's.
  if (hasUnfinishedChecksum(frame)) return
  const after = fold(addBytes(0, bytes, from, length))
  const field = transport + TCP.checksum
  writeUint16(bytes, field, updateChecksum(readUint16(bytes, field), (~before & 0xffff) + after))
}
