/**
 * What a service's scheduler flags mean. The kernel has three bits, which each scheduler reads in its own way; ipvsadm has
 * names for what they mean to sh and mh, and takes the bits by number too.
 *
 * Source: IP_VS_SVC_F_SCHED1 to 3 in Linux include/uapi/linux/ip_vs.h.
 */

const FALLBACK: readonly string[] = ['sh-fallback', 'mh-fallback', 'flag-1']
const PORT: readonly string[] = ['sh-port', 'mh-port', 'flag-2']

/** Whether a connection whose server takes none is given to another. */
export function fallsBack(flags: readonly string[]): boolean {
  return flags.some((flag) => FALLBACK.includes(flag))
}

/** Whether the source port is hashed together with the source address. */
export function hashesPort(flags: readonly string[]): boolean {
  return flags.some((flag) => PORT.includes(flag))
}
