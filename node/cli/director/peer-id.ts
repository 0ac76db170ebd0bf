/** The check for peer ids. Apart from those of other values, since it loads node:crypto. */
import { InvalidArgumentError } from 'commander'
import { isPeerId } from '../../director/cluster/identity.ts'

export function peerId(text: string): string {
  if (isPeerId(text)) return text
  throw new InvalidArgumentError('Expected a peer id as `director identity` and `director peer list` print it, whole.')
}
