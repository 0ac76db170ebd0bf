/**
 * The grammar of ipvsadm 1.31 as tables: its commands, its options, and which command takes which option.
 *
 * The whole grammar is here, also what the pool does not do yet, so that a wrong command line gets ipvsadm's own error
 * whatever it is about. Source: ipvsadm(8) and recordings of the real program (test/reference/cli.jsonl).
 */

export type CommandName =
  | 'add-service'
  | 'edit-service'
  | 'delete-service'
  | 'flush'
  | 'list'
  | 'add-server'
  | 'delete-server'
  | 'edit-server'
  | 'set'
  | 'start-daemon'
  | 'stop-daemon'
  | 'restore'
  | 'save'
  | 'zero'

/** In the order in which a command line is checked: the first that is wrong is the one that is reported. */
export const OPTION_NAMES = [
  'numeric',
  'connection',
  'service-address',
  'scheduler',
  'persistent',
  'netmask',
  'real-server',
  'forwarding-method',
  'weight',
  'u-threshold',
  'l-threshold',
  'mcast-interface',
  'timeout',
  'daemon',
  'stats',
  'rate',
  'thresholds',
  'persistent-conn',
  'nosort',
  'syncid',
  'exact',
  'ops',
  'pe',
  'sched-flags',
  'mcast-group',
  'mcast-port',
  'mcast-ttl',
  'sync-maxlen',
  'tun-info',
  'tun-type',
  'tun-port',
  'tun-nocsum',
  'tun-csum',
  'tun-remcsum',
  'mss',
  'sync',
] as const

export type OptionName = (typeof OPTION_NAMES)[number]

/** What a command says of an option it knows; an option that it does not name is illegal with it. */
export type Legality = 'required' | 'optional' | 'exclusive'

const serviceOptions: Partial<Record<OptionName, Legality>> = {
  'service-address': 'required',
  scheduler: 'optional',
  persistent: 'optional',
  netmask: 'optional',
  ops: 'optional',
  pe: 'optional',
  'sched-flags': 'optional',
  mss: 'optional',
  sync: 'optional',
}

const serverOptions: Partial<Record<OptionName, Legality>> = {
  'service-address': 'required',
  'real-server': 'required',
  'forwarding-method': 'optional',
  weight: 'optional',
  'u-threshold': 'optional',
  'l-threshold': 'optional',
  'tun-type': 'optional',
  'tun-port': 'optional',
  'tun-nocsum': 'optional',
  'tun-csum': 'optional',
  'tun-remcsum': 'optional',
}

export const LEGAL_OPTIONS: Record<CommandName, Partial<Record<OptionName, Legality>>> = {
  'add-service': serviceOptions,
  'edit-service': serviceOptions,
  'delete-service': { 'service-address': 'required' },
  flush: {},
  list: {
    numeric: 'optional',
    connection: 'exclusive',
    'service-address': 'exclusive',
    timeout: 'exclusive',
    daemon: 'exclusive',
    stats: 'optional',
    rate: 'optional',
    thresholds: 'optional',
    'persistent-conn': 'optional',
    nosort: 'optional',
    syncid: 'optional',
    exact: 'optional',
    'tun-info': 'optional',
  },
  'add-server': serverOptions,
  'delete-server': { 'service-address': 'required', 'real-server': 'required' },
  'edit-server': serverOptions,
  set: {},
  'start-daemon': {
    'mcast-interface': 'optional',
    syncid: 'optional',
    'mcast-group': 'optional',
    'mcast-port': 'optional',
    'mcast-ttl': 'optional',
    'sync-maxlen': 'optional',
  },
  'stop-daemon': { syncid: 'optional' },
  restore: {},
  save: { numeric: 'optional' },
  zero: { 'service-address': 'optional' },
}

/** In the order in which they are checked. */
export const TUNNEL_OPTIONS = ['tun-port', 'tun-nocsum', 'tun-csum', 'tun-remcsum'] as const

export type TunnelType = 'ipip' | 'gue' | 'gre'

export const LEGAL_TUNNEL_OPTIONS: Record<TunnelType, Partial<Record<OptionName, Legality>>> = {
  ipip: {},
  gue: { 'tun-port': 'required', 'tun-nocsum': 'exclusive', 'tun-csum': 'exclusive', 'tun-remcsum': 'exclusive' },
  gre: { 'tun-nocsum': 'exclusive', 'tun-csum': 'exclusive' },
}

/** One way to write a command or an option. */
export interface Spelling {
  readonly long: string
  readonly short?: string
  readonly argument: 'none' | 'required' | 'optional'
  /** It is a command, which may only stand first. */
  readonly command?: CommandName | 'help' | 'version'
  /** The option it sets; none for what ipvsadm accepts and ignores, and for -6, which only qualifies -f. */
  readonly option?: OptionName
}

const command = (long: string, name: Spelling['command'], short?: string, argument: Spelling['argument'] = 'none') => ({
  long,
  short,
  argument,
  command: name,
})
const flag = (long: string, option?: OptionName, short?: string): Spelling => ({
  long,
  short,
  argument: 'none',
  option,
})
const value = (long: string, option: OptionName, short?: string): Spelling => ({
  long,
  short,
  argument: 'required',
  option,
})

export const SPELLINGS: readonly Spelling[] = [
  command('add-service', 'add-service', 'A'),
  command('edit-service', 'edit-service', 'E'),
  command('delete-service', 'delete-service', 'D'),
  command('clear', 'flush', 'C'),
  command('list', 'list', 'L'),
  command('list', 'list', 'l'),
  command('zero', 'zero', 'Z'),
  command('add-server', 'add-server', 'a'),
  command('edit-server', 'edit-server', 'e'),
  command('delete-server', 'delete-server', 'd'),
  command('set', 'set'),
  command('help', 'help', 'h'),
  command('version', 'version', 'v'),
  command('restore', 'restore', 'R'),
  command('save', 'save', 'S'),
  command('start-daemon', 'start-daemon', undefined, 'required'),
  command('stop-daemon', 'stop-daemon', undefined, 'required'),
  value('tcp-service', 'service-address', 't'),
  value('udp-service', 'service-address', 'u'),
  value('sctp-service', 'service-address'),
  value('fwmark-service', 'service-address', 'f'),
  flag('ipv6', undefined, '6'),
  value('scheduler', 'scheduler', 's'),
  { long: 'persistent', short: 'p', argument: 'optional', option: 'persistent' },
  value('netmask', 'netmask', 'M'),
  value('real-server', 'real-server', 'r'),
  flag('masquerading', 'forwarding-method', 'm'),
  flag('ipip', 'forwarding-method', 'i'),
  flag('gatewaying', 'forwarding-method', 'g'),
  value('weight', 'weight', 'w'),
  value('u-threshold', 'u-threshold', 'x'),
  value('l-threshold', 'l-threshold', 'y'),
  flag('numeric', 'numeric', 'n'),
  flag('connection', 'connection', 'c'),
  value('mcast-interface', 'mcast-interface'),
  value('mcast-group', 'mcast-group'),
  value('mcast-port', 'mcast-port'),
  value('mcast-ttl', 'mcast-ttl'),
  value('sync-maxlen', 'sync-maxlen'),
  value('syncid', 'syncid'),
  flag('timeout', 'timeout'),
  flag('daemon', 'daemon'),
  flag('stats', 'stats'),
  flag('rate', 'rate'),
  flag('thresholds', 'thresholds'),
  flag('persistent-conn', 'persistent-conn'),
  flag('nosort', 'nosort'),
  flag('sort'),
  flag('exact', 'exact', 'X'),
  flag('ops', 'ops', 'o'),
  value('pe', 'pe'),
  value('sched-flags', 'sched-flags', 'b'),
  flag('tun-info', 'tun-info'),
  value('tun-type', 'tun-type'),
  value('tun-port', 'tun-port'),
  flag('tun-nocsum', 'tun-nocsum'),
  flag('tun-csum', 'tun-csum'),
  flag('tun-remcsum', 'tun-remcsum'),
]

/**
 * What vsadm understands beyond ipvsadm, within a command. Until 1999 -R named the real server; now it restores, but a command
 * stands first, so inside another there is no doubt.
 */
export function spellingsBeyond(command: CommandName): readonly Spelling[] {
  if (command === 'add-server' || command === 'edit-server' || command === 'delete-server') return WITH_SERVER_OF_1999
  return command === 'add-service' || command === 'edit-service' ? OF_SERVICES : SPELLINGS
}

const WITH_SERVER_OF_1999 = [value('real-server', 'real-server', 'R'), ...SPELLINGS]
const OF_SERVICES = [value('mss', 'mss'), value('sync', 'sync'), ...SPELLINGS]
