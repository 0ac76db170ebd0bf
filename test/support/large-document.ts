/** A document for vsadm -R with many services, in the words and in the order in which vsadm -Sn prints them. */
import { formatIPv4, parseIPv4 } from '../../protocol/packet/bytes.ts'

const FIRST_PORT = 10_000
const FIRST_SERVER = parseIPv4('10.64.0.0')

/** TCP services at one virtual address, and for each its own real servers, by NAT. */
export function largeDocument(virtualAddress: string, services: number, serversEach: number): string {
  const lines: string[] = []
  for (let service = 0; service < services; service++) {
    const name = `-t ${virtualAddress}:${FIRST_PORT + service}`
    lines.push(`-A ${name} -s wlc`)
    for (let server = 0; server < serversEach; server++) {
      lines.push(`-a ${name} -r ${formatIPv4(FIRST_SERVER + service * serversEach + server)}:80 -m -w 1`)
    }
  }
  return `${lines.join('\n')}\n`
}
