/** tshark as judge of what a master of the kernel's sync protocol sends, in both address families. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { SYNC_GROUP, SYNC_PORT, SyncDatagramWriter, type SyncEntry } from '../../protocol/wire/ipvs-sync.ts'

const isMissing = ['tshark', 'text2pcap'].some((tool) => spawnSync(tool, ['--version']).error)

function entry(length: number, fields: Partial<SyncEntry> = {}): SyncEntry {
  const address = (last: number) => Uint8Array.from({ length }, (_, i) => (i === length - 1 ? last : 32))
  return {
    protocol: 6,
    flags: 0x83,
    state: 1,
    clientPort: 34570,
    virtualPort: 80,
    serverPort: 8080,
    firewallMark: 7,
    timeoutS: 900,
    clientAddress: address(1),
    virtualAddress: address(2),
    serverAddress: address(3),
    ...fields,
  }
}

/** The fields that tshark finds in a datagram with these entries. */
function fieldsOf(t: Test, entries: readonly SyncEntry[], names: readonly string[]): string[] {
  const writer = new SyncDatagramWriter(5, 1472)
  for (const each of entries) writer.add(each)
  const folder = mkdtempSync(join(tmpdir(), 'ipvs-sync-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'sync.pcap')
  const bytes = Array.from(writer.finish(), (byte) => byte.toString(16).padStart(2, '0'))
  const envelope = ['-4', `10.0.0.1,${SYNC_GROUP}`, '-u', `${SYNC_PORT},${SYNC_PORT}`]
  spawnSync('text2pcap', [...envelope, '-', file], { input: `000000 ${bytes.join(' ')}\n` })
  const chosen = names.flatMap((name) => ['-e', name])
  const { stdout } = spawnSync('tshark', ['-r', file, '-T', 'fields', ...chosen], { encoding: 'utf8' })
  return stdout.trimEnd().split('\t')
}

test('tshark reads every field of a datagram as it was meant', {
  skip: isMissing && 'tshark is not installed',
}, (t) => {
  const entries = [entry(4), entry(16), entry(4, { state: 5, flags: 0x100, timeoutS: 120 })]
  const found = (...names: string[]) =>
    fieldsOf(
      t,
      entries,
      names.map((name) => `ipvs.${name}`),
    )
  t.same(found('syncid', 'size', 'conncount', 'version'), ['5', '152', '3', '1'])
  t.same(found('size.v1', 'proto', 'state', 'timeout'), [
    '36,72,36',
    '0x06,0x06,0x06',
    '0x0001,0x0001,0x0005',
    '900,900,120',
  ])
  t.same(found('flags.v1', 'fwmark'), ['0x00000083,0x00000083,0x00000100', '0x00000007,0x00000007,0x00000007'])
  t.same(found('cport', 'vport', 'dport'), ['34570,34570,34570', '80,80,80', '8080,8080,8080'])
  t.same(found('caddr', 'vaddr', 'daddr'), ['32.32.32.1,32.32.32.1', '32.32.32.2,32.32.32.2', '32.32.32.3,32.32.32.3'])
  const prefix = '2020:2020:2020:2020:2020:2020:2020'
  t.same(found('caddr6', 'vaddr6', 'daddr6'), [`${prefix}:2001`, `${prefix}:2002`, `${prefix}:2003`])
  t.end()
})
