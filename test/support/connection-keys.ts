/** Keys of connections, as tables are given them. */
import { ConnectionKey } from '../../forwarder/table/connection-key.ts'

export function keyOf(protocol: number, client: number, virtual: number, ports: number): ConnectionKey {
  const key = new ConnectionKey()
  key.setIPv4(protocol, client, virtual, ports)
  return key
}
