/**
 * No scheduler: new connections are refused, while servers keep their weights, so that what is known goes on: connections, and with
 * persistence the clients of templates.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_ctl.c ip_vs_add_service(), ip_vs_core.c ip_vs_schedule(), ip_vs_sched_persist().
 */
import type { Scheduler } from './scheduler.ts'

export const nobody: Scheduler = {
  name: 'none',
  select: () => undefined,
}
