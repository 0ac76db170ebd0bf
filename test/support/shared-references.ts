/**
 * MessagePack with the extensions of msgpackr by which values refer to each other: so many lists of two, each of which has the next one
 * twice. Six bytes and a few more a level stand for twice as many lists as those of the level below.
 *
 * Source: msgpackr, "structuredClone": 0x69 gives what follows a number, 0x70 is what has that number.
 */
const FIXEXT4 = 0xd6
const LIST_OF_NONE = 0x90
const LIST_OF_TWO = 0x92

function numbered(kind: 'i' | 'p', number: number): Buffer {
  const bytes = Buffer.from([FIXEXT4, kind.charCodeAt(0), 0, 0, 0, 0])
  bytes.writeUInt32BE(number, 2)
  return bytes
}

/** With a byte behind it, so that it is not one value and nothing else. */
export function sharedReferences(levels: number): Buffer {
  const beginnings: Buffer[] = []
  const ends: Buffer[] = []
  for (let level = levels; level > 0; level--) {
    beginnings.push(numbered('i', level), Buffer.of(LIST_OF_TWO))
    ends.unshift(numbered('p', level - 1))
  }
  return Buffer.concat([...beginnings, numbered('i', 0), Buffer.of(LIST_OF_NONE), ...ends, Buffer.of(0xc0)])
}
