/** A keepalived.conf, as far as a pool can be that. */
import { LONGEST_TIMEOUT_S } from '../../../forwarder/settings.ts'
import type { VrrpVersion } from '../../../protocol/packet/vrrp.ts'
import type { WholeService } from '../../director/control/api.ts'
import { isVrrpGroup, OTHER_GROUP, type Vip } from './keepalived-instance.ts'
import { type ImportedService, importVirtualServers } from './keepalived-services.ts'
import { parseKeepalived, type Statement, wholeNumber } from './keepalived-syntax.ts'
import { importVrrpInstances } from './keepalived-vips.ts'
import { NO_COUNTERPART, type Omission, Omissions } from './omissions.ts'

export interface Imported {
  readonly services: WholeService[]
  readonly settings: Record<string, number>
  /** For the own file of the director that this keepalived becomes. */
  readonly vips: Vip[]
  readonly omissions: readonly Omission[]
}

interface Globals {
  readonly settings: Record<string, number>
  /** Of VRRP over IPv4, unless an instance says otherwise. */
  vrrpVersion: VrrpVersion
}

const TIMEOUTS: Readonly<Record<string, string>> = { tcp: 'timeoutTcpS', tcpfin: 'timeoutTcpFinS', udp: 'timeoutUdpS' }
const WHY_NOT: Readonly<Record<string, string>> = {
  vrrp_script: 'write it to `track.scripts` of the groups that track it',
  lvs_sync_daemon: 'start it on each director: vsadm --start-daemon',
}

/** @throws DirectorError CONFIG_INVALID for what is no such file at all */
export function importKeepalived(text: string, file: string): Imported {
  const omissions = new Omissions()
  const statements = withoutDirectives(parseKeepalived(text, file, omissions), omissions)
  const globals: Globals = { settings: {}, vrrpVersion: 2 }
  for (const { line, words, block = [] } of statements) {
    if (words[0] === 'global_defs') readGlobals(block, globals, omissions)
    else if (!/^(virtual_server(_group)?|vrrp_instance|vrrp_sync_group)$/.test(words[0])) omit(omissions, line, words)
  }
  const imported = [...importVirtualServers(statements, omissions)]
  const services = imported.map(({ service }) => service)
  const surroundings = { version: globals.vrrpVersion, served: services.map(({ address }) => address) }
  const vips = importVrrpInstances(statements, surroundings, omissions)
  if (vips.length > 0) tellUnheld(imported, vips, omissions)
  return { services, settings: globals.settings, vips, omissions: omissions.list }
}

/** Nobody would answer for an address that no group has; where there are no groups at all, they are in another file. */
function tellUnheld(imported: readonly ImportedService[], vips: readonly Vip[], omissions: Omissions): void {
  const held = new Set(vips.flatMap(({ addresses, gateway }) => [...addresses, gateway]))
  for (const { service, statement } of imported) {
    if (service.protocol === 'fwm' || held.has(service.address)) continue
    const why = `no vrrp_instance here has ${service.address}, so no group would hold it: write it to the \`addresses\` of one`
    omissions.add(statement.line, statement.words, why)
  }
}

/** Without what says how the file itself is to be read. */
function withoutDirectives(statements: readonly Statement[], omissions: Omissions): Statement[] {
  return statements.flatMap(({ line, words, block }) => {
    const [word] = words
    if (/^include[rmwba]?$/.test(word)) {
      omissions.add(line, words, 'not followed: import that file too, or put its text here')
    } else if (/^[@$~]/.test(word)) omissions.add(line, words, 'conditions and definitions are not followed')
    else return [{ line, words, block: block && withoutDirectives(block, omissions) }]
    return []
  })
}

function readGlobals(statements: readonly Statement[], globals: Globals, omissions: Omissions): void {
  for (const { line, words } of statements) {
    const [keyword, value = ''] = words
    if (keyword === 'lvs_timeouts') readTimeouts(line, words, globals.settings, omissions)
    else if (keyword === 'vrrp_version' && /^[23]$/.test(value)) globals.vrrpVersion = value === '2' ? 2 : 3
    else if (/^vrrp_mcast_group[46]$/.test(keyword)) {
      if (!isVrrpGroup(value)) omissions.add(line, words, OTHER_GROUP)
    } else omit(omissions, line, words)
  }
}

function readTimeouts(
  line: number,
  words: readonly string[],
  settings: Record<string, number>,
  omissions: Omissions,
): void {
  for (let at = 1; at === 1 || at < words.length; at += 2) {
    const value = wholeNumber(words[at + 1]) ?? 0
    if (Object.hasOwn(TIMEOUTS, words[at] ?? '') && value > 0 && value <= LONGEST_TIMEOUT_S) {
      settings[TIMEOUTS[words[at]]] = value
    } else omissions.add(line, words, `expected tcp, tcpfin or udp, each with seconds up to ${LONGEST_TIMEOUT_S}`)
  }
}

function omit(omissions: Omissions, line: number, words: readonly string[]): void {
  const [keyword] = words
  omissions.add(line, words, Object.hasOwn(WHY_NOT, keyword) ? WHY_NOT[keyword] : NO_COUNTERPART)
}
