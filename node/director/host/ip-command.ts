/**
 * The kernel's addresses, links and routes as ip(8) of iproute2 prints them with -json. Only the fields that are used.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { DirectorError } from '../../../protocol/errors.ts'
import { ownTurn } from '../program-start.ts'

const execute = promisify(execFile)
/**
 * Some 500,000 routes. The main table is read whole: asked for those of an interface, ip(8) leaves out blackholes and routes with several
 * next hops. On a host with the routes of the whole Internet reading fails: this thread has not the time for so many.
 */
const LONGEST_OUTPUT = 64 * 1024 * 1024

export interface IpLink {
  readonly ifindex: number
  readonly ifname: string
  readonly flags: readonly string[]
  readonly mtu: number
  readonly link_type: string
  /** The MAC of an Ethernet interface. */
  readonly address?: string
  readonly master?: string
  readonly linkinfo?: { readonly info_slave_kind?: string }
  readonly addr_info?: readonly IpAddress[]
}

export interface IpAddress {
  readonly family: string
  readonly local: string
  readonly prefixlen: number
  readonly scope: string
  /** Of IPv6: not yet known to be nobody else's (RFC 4862 section 5.4), and so not yet usable. */
  readonly tentative?: boolean
  /** Of IPv6: somebody else's. */
  readonly dadfailed?: boolean
  /** Of IPv6: not for new conversations (RFC 4862 section 5.5.4). */
  readonly deprecated?: boolean
  /** Of IPv6: for the privacy of clients (RFC 8981). */
  readonly temporary?: boolean
}

export interface IpRoute {
  /** Absent: unicast. */
  readonly type?: string
  /** "default", "10.0.0.0/8", or an address alone; of either family. */
  readonly dst: string
  readonly gateway?: string
  readonly dev?: string
  readonly prefsrc?: string
  readonly metric?: number
  readonly table?: string
  readonly flags: readonly string[]
  /** One object of all of them. */
  readonly metrics?: readonly { readonly mtu?: number }[]
  readonly nexthops?: readonly { readonly gateway?: string; readonly dev: string; readonly flags: readonly string[] }[]
}

/** Runs ip(8) with -json. Replaced in tests. */
export type RunIp = (options: readonly string[]) => Promise<unknown[]>

/** @throws DirectorError MODULE_MISSING when there is no ip(8); Error when it fails */
export const runIp: RunIp = async (options) => {
  await ownTurn()
  try {
    const { stdout } = await execute('ip', ['-json', ...options], { maxBuffer: LONGEST_OUTPUT })
    return stdout.trim() === '' ? [] : JSON.parse(stdout)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new DirectorError('MODULE_MISSING', 'ip(8) is not installed: install the package iproute2')
  }
}
