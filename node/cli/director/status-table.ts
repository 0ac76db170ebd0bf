/** A DirectorStatus as tables for people. Pure. */
import { formatEndpoint, isIPv6Text } from '../../../protocol/packet/ipv6-address.ts'
import { DIGEST_RANGES } from '../../../protocol/wire/table-digest.ts'
import type {
  AgentCheckListing,
  DirectorStatus,
  PeerStatus,
  ServerListing,
  ServiceListing,
  VipStatus,
  VrrpSocketStatus,
} from '../../director/control/answers.ts'
import { table } from './table.ts'

export function renderStatus(status: DirectorStatus): string {
  const { name, version, peerId, uptimeMs, connections } = status
  const sync = status.inSync ? 'in sync' : `NOT in sync: ${status.syncReason}`
  const sections = [
    [
      `Director ${name} (${version}), up ${duration(uptimeMs)}, ${sync}`,
      `Peer id ${peerId}`,
      `Connections ${connections.used} of ${connections.capacity}${checkpointWords(status.checkpoint)}`,
      ...(status.frames.kept > 0 ? [`Frames that wait: ${status.frames.kept} of ${status.frames.capacity}`] : []),
      ...status.interference.map((interference) => `HOST INTERFERES: ${interference}`),
      ...defenceLines(status.defences),
      ...(status.refusedClients > 0 ? [`Not let in at controlTls: ${status.refusedClients} connections`] : []),
      ...(status.refusedStrangers > 0
        ? [`Strangers refused at the cluster port: ${status.refusedStrangers} times`]
        : []),
      ...(status.failedHandshakes > 0
        ? [`Handshakes that failed at the cluster port: ${status.failedHandshakes}`]
        : []),
      ...(status.droppedMessages > 0
        ? [`Messages of peers that came faster than they could be taken: ${status.droppedMessages} dropped`]
        : []),
    ].join('\n'),
    table(
      ['VIP', 'Held by', 'State here', 'Priority', 'VRID', 'MAC', 'Gateway', 'Waiting for'],
      status.vips.flatMap(vipRows),
    ),
    table(['Tracked', 'VRID', 'State', 'Weight', 'Reason'], status.vips.flatMap(trackedRows)),
    table(
      ['Peer', 'Connected', 'We are behind it', 'It is behind us', 'Tables', 'Configuration', 'Formats'],
      status.peers.map(peerRow),
    ),
    ...status.services.map(serviceSection),
    table(
      ['Link', 'Received', 'Transmitted', 'Errors', 'Overruns'],
      status.links.map((link) => [
        link.name,
        link.receivedFrames,
        link.transmittedFrames,
        link.transmitErrors,
        link.overruns,
      ]),
    ),
    table(
      ['VRRP from', 'Send errors', 'Receive errors', 'Unsound packets', 'Last error'],
      status.vrrpSockets.flatMap(troubleRows),
    ),
    table(['VRRP not believed because of', 'Packets'], Object.entries(status.refusedAdvertisements)),
    table(['Configuration not taken from peers', 'Entries'], refusedRows(status.refusedEntries)),
    table(['Trouble between directors', 'Times'], aboveZero(status.peerTroubles)),
    table(['Agents not believed because of', 'Reports'], aboveZero(status.refusedReports)),
    table(['Tokens that did not let in because of', 'Times'], aboveZero(status.refusedTokens)),
    table(['Dropped because of', 'Packets'], aboveZero(status.drops)),
  ]
  return sections.filter((section) => section !== '').join('\n\n')
}

function vipRows(vip: VipStatus): (string | number)[][] {
  const holder = vip.state === 'active' ? 'this director' : (vip.holder ?? 'nobody heard')
  return vip.addresses.map((address) => [
    address,
    holder,
    vip.state,
    vip.effectivePriority === vip.priority ? vip.priority : `${vip.effectivePriority} of ${vip.priority}`,
    vip.vrid,
    vip.virtualMac ?? 'own',
    vip.gateway ?? '-',
    vip.waiting ?? '-',
  ])
}

function trackedRows({ vrid, tracked }: VipStatus): (string | number)[][] {
  return tracked.map(({ name, state, weight, reason }) => [
    name,
    vrid,
    state,
    weight === 0 ? 'fault' : weight,
    reason ?? '-',
  ])
}

/** Nothing of a socket that has had no trouble. */
function troubleRows({
  address,
  sendErrors,
  receiveErrors,
  unsoundPackets,
  lastError,
}: VrrpSocketStatus): (string | number)[][] {
  if (sendErrors + receiveErrors + unsoundPackets === 0) return []
  return [[address, sendErrors, receiveErrors, unsoundPackets, lastError ?? '-']]
}

function peerRow(peer: PeerStatus): string[] {
  return [
    peer.name,
    peer.connected ? 'yes' : 'NO',
    lag(peer.recordsBehind, peer.behindMs),
    lag(peer.peerRecordsBehind, peer.peerBehindMs),
    alikeness(peer.rangesDifferent),
    agreement(peer.configurationDiffersMs),
    peer.unreadableMessages > 0
      ? `${peer.formatVersion}, ${peer.unreadableMessages} NOT READ`
      : `${peer.formatVersion ?? '-'}`,
  ]
}

function alikeness(rangesDifferent: number | null): string {
  if (rangesDifferent === null) return '-'
  return rangesDifferent === 0 ? 'alike' : `${rangesDifferent} of ${DIGEST_RANGES} parts differ`
}

function agreement(differsMs: number | null): string {
  if (differsMs === null) return '-'
  return differsMs === 0 ? 'the same' : `differs for ${duration(differsMs)}`
}

function serviceSection({ protocol, address, port, mark, scheduler, servers }: ServiceListing): string {
  // A firewall mark's has an address for its family alone.
  const name = mark === undefined ? formatEndpoint(address, port) : `${mark}${isIPv6Text(address) ? ' IPv6' : ''}`
  const title = `${protocol.toUpperCase()} ${name} ${scheduler}`
  if (servers.length === 0) return `${title}\nno real servers`
  const agents = servers.flatMap(({ address, agentCheck }) =>
    agentCheck ? [[address, ...agentCells(agentCheck)]] : [],
  )
  const said = agents.length > 0 ? `\n${table(AGENT_COLUMNS, agents)}` : ''
  return `${title}\n${table(SERVER_COLUMNS, servers.map(serverRow))}${said}`
}

const SERVER_COLUMNS = [
  'Server',
  'Method',
  'Weight',
  'Effective',
  'Load',
  'Factor',
  'Health',
  'Active',
  'Inactive',
  'Persistent',
]

const AGENT_COLUMNS = ['Agent of', 'Says', 'Weight', 'Connections', 'Because']

function agentCells(agent: AgentCheckListing): string[] {
  const { weightPercent, maxConnections, administration, isDown, description } = agent
  return [
    isDown ? 'DOWN' : administration,
    weightPercent === null ? '-' : `${weightPercent} %`,
    maxConnections === null ? '-' : String(maxConnections),
    description || '-',
  ]
}

function serverRow(server: ServerListing): (string | number)[] {
  return [
    formatEndpoint(server.address, server.port),
    server.method,
    server.weight,
    server.effectiveWeight,
    server.load === null ? 'no agent' : `${Math.round(server.load * 100)} %`,
    server.loadFactor.toFixed(2),
    server.health === 'down' ? 'DOWN' : server.health,
    server.activeConnections,
    server.inactiveConnections,
    server.persistentConnections,
  ]
}

function checkpointWords(checkpoint: DirectorStatus['checkpoint']): string {
  return checkpoint ? `; checkpoint of ${checkpoint.records}, ${duration(checkpoint.ageMs)} ago` : ''
}

/** Nothing while no defence is, or was, at work. */
function defenceLines(defences: DirectorStatus['defences']): string[] {
  const { packetDropRate, droppedEntries, evicted } = defences
  const atWork = [
    ...(defences.isDroppingEntries ? ['drop_entry'] : []),
    ...(packetDropRate > 0 ? [`drop_packet (one in ${packetDropRate})`] : []),
    ...(defences.isSecureTcp ? ['secure_tcp'] : []),
  ]
  return [
    ...(defences.isMemoryShort ? ['Memory is short'] : []),
    ...(atWork.length > 0 ? [`Defences at work: ${atWork.join(', ')}`] : []),
    ...(droppedEntries > 0 ? [`Ended by drop_entry: ${droppedEntries}`] : []),
    ...(evicted > 0 ? [`Entries that made room in the full table: ${evicted}`] : []),
  ]
}

function refusedRows({
  stamps,
  invalid,
  surplus,
  revocations,
  admissions,
}: DirectorStatus['refusedEntries']): (string | number)[][] {
  const rows = [
    ['stamped too far ahead: compare the clocks', stamps],
    ['not understood: compare the versions', invalid],
    ['more than a pool holds', surplus],
    ['a revoked director wants to be let in again', revocations],
    ["a token that the pool's key has not signed", admissions],
  ] as const
  return rows.filter(([, entries]) => entries > 0).map((row) => [...row])
}

function aboveZero(counters: Record<string, number>): [string, number][] {
  return Object.entries(counters).filter(([, count]) => count > 0)
}

function lag(records: number, ms: number): string {
  return records === 0 ? 'no' : `${records} records, ${Math.round(ms)} ms`
}

/** "3 d 4 h", "12 min 5 s": the two largest units. */
function duration(ms: number): string {
  const seconds = Math.floor(ms / 1000)
  const parts = [
    [Math.floor(seconds / 86400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ] as const
  const first = parts.findIndex(([amount]) => amount > 0)
  if (first < 0) return '0 s'
  return parts
    .slice(first, first + 2)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(' ')
}
