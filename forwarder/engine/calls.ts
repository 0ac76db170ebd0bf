/**
 * SIP calls as clients (--pe sip): a datagram is of the call that its Call-ID names and of whoever sends it, under the service's mask.
 * The template of a call is found by the hash of the two.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_pe_sip.c ip_vs_sip_fill_param(), ip_vs_sip_ct_match().
 */
import { writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { PROTOCOL_UDP } from '../../protocol/packet/ipv4.ts'
import { ADDRESS_BYTES, writeIPv6Words } from '../../protocol/packet/ipv6-address.ts'
import { findCallId, type Span } from '../../protocol/packet/sip.ts'
import { UDP_HEADER_LENGTH } from '../../protocol/packet/udp.ts'
import { CALL_LENGTH_MAX, CALL_PIECE_LENGTH } from '../../protocol/wire/connection-record.ts'
import type { Frame } from '../link/link.ts'
import type { CallBook } from '../table/call-book.ts'
import { hashCall } from '../table/call-hash.ts'
import type { ConnectionKey } from '../table/connection-key.ts'

export class Calls {
  /** Of the datagram that was read last. */
  readonly hash: Int32Array = new Int32Array(4)
  readonly #description = new Uint8Array(CALL_LENGTH_MAX)
  readonly #client = new Int32Array(4)
  readonly #span: Span = { start: 0, length: 0 }
  #length = 0

  /**
   * Reads which call a datagram is of.
   * @param transport offset of its UDP header
   * @param mask what counts of the sender's address
   * @returns false when it is of none
   */
  read(frame: Frame, transport: number, { protocol, isIPv6, client }: ConnectionKey, mask: Int32Array): boolean {
    if (protocol !== PROTOCOL_UDP) return false
    const { bytes } = frame.memory
    const end = frame.start + frame.length
    if (!findCallId(bytes, transport + UDP_HEADER_LENGTH, end, this.#span)) return false
    const description = this.#description
    const { start, length } = this.#span
    for (let word = 0; word < client.length; word++) this.#client[word] = client[word] & mask[word]
    if (isIPv6) writeIPv6Words(description, 0, this.#client, 0)
    else writeMapped(description, this.#client[0])
    for (let i = 0; i < length; i++) description[ADDRESS_BYTES + i] = bytes[start + i]
    this.#length = ADDRESS_BYTES + length
    hashCall(description, this.#length, this.hash)
    return true
  }

  /** As if a datagram of an unknown call had been read. */
  readUnknown(): void {
    this.hash.fill(0)
    this.#length = 0
  }

  /** Writes down what the hash is of, if it is not known. */
  describe(book: CallBook): void {
    const entry = book.find(this.hash, 0)
    if (book.lengthOf(entry) > 0) return
    for (let piece = 0; piece * CALL_PIECE_LENGTH < this.#length; piece++) {
      book.writePiece(entry, piece, this.#length, this.#description, piece * CALL_PIECE_LENGTH)
    }
  }
}

/** RFC 4291 2.5.5.2 */
function writeMapped(bytes: Uint8Array, address: number): void {
  bytes.fill(0, 0, 10)
  writeUint16(bytes, 10, 0xffff)
  writeInt32(bytes, 12, address)
}
