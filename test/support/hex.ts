/** Frames as text, for comparisons whose failure can be read. */
import type { Sent } from './director-bench.ts'

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** What was sent, each as its link and its frame. */
export function sentHex(sent: readonly Sent[]): [link: string, frame: string][] {
  return sent.map(({ link, frame }) => [link, hex(frame)])
}
