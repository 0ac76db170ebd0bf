/** IPv4 prefixes as text, "10.0.0.0/8" (RFC 4632 section 3.1). An address alone stands for itself. */
import { formatIPv4, parseIPv4 } from './bytes.ts'

export interface Prefix {
  /** Without bits behind the prefix. */
  readonly network: number
  readonly mask: number
}

/** The text must be an IPv4 address, or one with a length from 0 to 32. */
export function parsePrefix(text: string): Prefix {
  const [address, length = '32'] = text.split('/')
  const mask = Number(length) === 0 ? 0 : -1 << (32 - Number(length))
  return { network: parseIPv4(address) & mask, mask }
}

/** The prefix as it is compared and shown: without bits behind it, and with its length. */
export function canonicalPrefix(text: string): string {
  const [, length = '32'] = text.split('/')
  return `${formatIPv4(parsePrefix(text).network)}/${Number(length)}`
}
