/**
 * What an entry takes in memory, about, in bytes: many times what it takes on its way, where a thousand equal letters are a few bytes, and a
 * list in a list is one.
 */

/** Of a number, a place in a list, a list itself. */
const VALUE_BYTES = 24

/** @param value as MessagePack has it, nested no deeper than entries are */
export function weightOf(value: unknown): number {
  if (typeof value === 'string' || value instanceof Uint8Array) return VALUE_BYTES + value.length
  if (typeof value !== 'object' || value === null) return VALUE_BYTES
  let weight = VALUE_BYTES
  if (Array.isArray(value)) for (const each of value) weight += weightOf(each)
  else for (const [key, each] of Object.entries(value)) weight += key.length + weightOf(each)
  return weight
}
