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
 * ```
 * A persistence template stands under a protocol number of its own (forwarder/engine/templates.ts), with client port 0.
 * With a firewall mark the virtual service is the mark's.
 * Version rule: the batch header names the record's length; a reader takes the 72 bytes it knows and skips the rest.
 */
export const RECORD_LENGTH = 72

/** kind: the connection is as described. */
export const RECORD_UPSERT = 1
/** kind: the connection has ended; only the identifying fields count. */
export const RECORD_REMOVE = 2

export const RECORD_FLAG = { controlled: 1, everyPort: 2, ftpData: 4, serverEveryPort: 8 } as const
/** flags: a data connection of FTP, or one that is expected (state LISTEN); its server is one of the FTP service. */
export const RECORD_FTP_DATA = 0x0080

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
