/** The name of today for the kernel module's file name that ipvsadm took in 1999: `ip_vs_wlc.o` is `wlc`. */
export function modernSchedulerName(name: string): string {
  return /^ip_vs_(\w+)\.o$/.exec(name)?.[1] ?? name
}
