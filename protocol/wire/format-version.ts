/**
 * The first byte of every message of replication (topics connections, presence, sync and digest): the version of these formats that
 * its sender speaks, one for all of them.
 *
 * ```
 *  0        4        8
 * +--------+--------+
 * | series | number |
 * +--------+--------+
 * ```
 *
 * Version rule. Within a series a version only adds: fields at the end of records and entries, which carry their length; fields behind
 * everything that a message had; kinds of messages. So whoever speaks one reads a later one as far as he knows it, and passes over what is behind.
 * A message of another series is not read; a release that begins one speaks both.
 */
const SERIES_SHIFT = 4

/** 2: finer digests (digest-message.ts). */
export const FORMAT_VERSION = 2
const FINER_DIGESTS_VERSION = 2

/** Whether what begins with this byte can be read here, as far as it is known. */
export function isReadable(version: number): boolean {
  return version !== 0 && version >>> SERIES_SHIFT === FORMAT_VERSION >>> SERIES_SHIFT
}

/** Whether there may be more than is known here. */
export function isLater(version: number): boolean {
  return isReadable(version) && version > FORMAT_VERSION
}

/** Whether who speaks it answers questions for finer digests. */
export function knowsFinerDigests(version: number): boolean {
  return isReadable(version) && version >= FINER_DIGESTS_VERSION
}

/** Whether a message ends where it must: at `end`, as far as it is known here. */
export function endsAt(bytes: Uint8Array, end: number): boolean {
  return bytes.length === end || (bytes.length > end && isLater(bytes[0]))
}
