/** Parts of keepalived.conf for tests, and what an import makes of them. */
import { importKeepalived } from '../../../../node/cli/import/keepalived.ts'

export const imported = (text: string) => importKeepalived(text, 'keepalived.conf')
/** What is told of the rest, with its lines. */
export const told = (text: string) => imported(text).omissions.map(({ line, message }) => `${line}: ${message}`)

/** @param more lines, in braces that are closed in the last one */
export const instance = (name: string, vrid: number, more = '', addresses = `10.0.0.${vrid}`) =>
  `vrrp_instance ${name} {\n virtual_router_id ${vrid}\n virtual_ipaddress {\n ${addresses}\n }\n ${more}\n}\n`
/** A service, so that 10.0.0.1 is outside. */
export const OUTSIDE = 'virtual_server 10.0.0.1 80 {\n protocol TCP\n}\n'
