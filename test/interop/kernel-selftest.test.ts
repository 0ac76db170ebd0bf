/**
 * The topology of the kernel project's own IPVS selftest (Linux tools/testing/selftests/net/netfilter/ipvs.sh), with `vsadm` in
 * ipvsadm's place: a file goes from a client through the director to a server, by NAT, DR and TUN.
 */
import { test } from 'tap'
import { missingPackages, programFolders } from '../../node/cli/setup/packages.ts'
import { runInNamespace } from '../forwarder/namespace.ts'

test("the kernel project's selftest passes", { timeout: 120_000 }, async (t) => {
  const missing = missingPackages({ nc: 'netcat-openbsd' }, programFolders(process.env.PATH))
  if (missing.length > 0) t.pass(`not run: ${missing.join(', ')} is not installed`, { skip: true })
  else runInNamespace(t, new URL('./kernel-selftest-in-namespace.ts', import.meta.url))
})
