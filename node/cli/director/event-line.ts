/** A DirectorEvent as a line for people. Pure. */
import type { DirectorEvent } from '../../director/control/answers.ts'

export function eventLine({ timeMs, vip }: DirectorEvent): string {
  const { addresses, vrid, state, effectivePriority, holder, waiting } = vip
  const more = addresses.length > 1 ? ` and ${addresses.length - 1} more` : ''
  const held = state === 'active' ? '' : `, held by ${holder ?? 'nobody heard'}`
  const reason = waiting === null ? '' : `: ${waiting}`
  return `${new Date(timeMs).toISOString()} ${addresses[0]}${more} (vrid ${vrid}) ${state}, priority ${effectivePriority}${held}${reason}`
}
