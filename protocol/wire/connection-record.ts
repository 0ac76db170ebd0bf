/**
 * One connection as directors tell each other of it: 72 bytes, big endian, the same in the shared rings and on the wire.
 *
 * ```
 *  0      1         2      3       4        6         8            12     14     16     18
 * +------+---------+------+-------+--------+---------+------------+------+------+------+------+
 * | kind |protocol | state|method | flags  | version | timeout ms | cport| vport| dport|  0   |
 * +------+---------+------+-------+--------+---------+------------+------+------+------+------+
 * 20 client address (16)   36 virtual address (16)   52 server address (16)   68 firewall mark (4)
 * ```
 *
 * IPv4 addresses stand in IPv4-mapped form (::ffff:a.b.c.d, RFC 4291 2.5.5.2). `version` counts the changes of one
 * connection and is compared as a serial number (RFC 1982); 0: the sender counts none, and what it says is newer than what is
 * known (the kernel's sync protocol). `timeout` is what was left when the record was written; of version 0, 0 is what the state
 * asks for.
 *
 * flags, from the lowest bit:
 * ```
 *  0 controlled: the connection was made by a persistence template
 *  1 the virtual service is for every port (its own port is 0)
 *  2 the virtual service is FTP's (port 21), this one of its data connections or its template
 *  3 the real server takes the port that the client asked for (its own port is 0)
 *  7 a data connection of FTP
 * 15 in the rings alone: from this director's own checkpoint
 * ```
 * A persistence template stands under a protocol number of its own (forwarder/engine/templates.ts), with client port 0.
 * With a firewall mark the virtual service is the mark's. The template of a SIP call has, in the place of the client's address,
 * the hash of whom the call is of and of its Call-ID (forwarder/table/call-hash.ts). What it was made from follows in pieces:
 *
 * ```
 *  0      1         2      3       4        6                                              20         36
 * +------+---------+------+-------+--------+-----------------------------------------------+----------+------------+
 * | kind | CALL    | piece|   0   | length |                       0                       | hash (16)| bytes (36) |
 * +------+---------+------+-------+--------+-----------------------------------------------+----------+------------+
 * ```
 *
 * kind is that of a connection, so that a reader who does not know the protocol number passes it over; `length` is that of the
 * whole: the client's address under the service's mask (16 bytes), then the Call-ID.
 * Version rule: later versions add fields at the end, and nowhere else: neither in what is 0 here nor in bits of flags, which whoever does not know them
 * does not pass on. At least these 72 bytes are there for ever.
 */
export const RECORD_LENGTH = 72

/** The longest timeout of a connection or a template, 31 days: the longest of ipvsadm's. Of the 32 bits it needs all, without a sign. */
export const LONGEST_TIMEOUT_MS: number = 31 * 86_400_000

/** kind: the connection is as described. */
export const RECORD_UPSERT = 1
/** kind: the connection has ended; only the identifying fields count. */
export const RECORD_REMOVE = 2

/** In the place of a protocol: no connection, but a piece of what a call's template was made from. */
export const RECORD_CALL = 208
export const CALL = { piece: 2, length: 4, hash: 20, bytes: 36 } as const
export const CALL_PIECE_LENGTH: number = RECORD_LENGTH - CALL.bytes
/** An address and a Call-ID. */
export const CALL_LENGTH_MAX = 16 + 255
/** Records that one place of a connection table can fill. */
export const RECORDS_OF_PLACE_MAX: number = 1 + Math.ceil(CALL_LENGTH_MAX / CALL_PIECE_LENGTH)

export const RECORD_FLAG = { controlled: 1, everyPort: 2, ftpData: 4, serverEveryPort: 8 } as const
/** flags: a data connection of FTP, or one that is expected (state LISTEN); its server is one of the FTP service. */
export const RECORD_FTP_DATA = 0x0080
/** flags: this director knows it from before its restart. It counts only if its server is still configured. */
export const RECORD_RESTORED = 0x8000

export const RECORD = {
  kind: 0,
  protocol: 1,
  state: 2,
  method: 3,
  flags: 4,
  version: 6,
  timeoutMs: 8,
  clientPort: 12,
  virtualPort: 14,
  serverPort: 16,
  clientAddress: 20,
  virtualAddress: 36,
  serverAddress: 52,
  firewallMark: 68,
} as const
