/** Random and damaged datagrams of the kernel's sync protocol. */
import { test } from 'tap'
import { recordOfEntry } from '../../node/director/sync-daemon/sync-entries.ts'
import { RECORD_LENGTH } from '../../protocol/wire/connection-record.ts'
import { parseSyncDatagram, SyncDatagramWriter, type SyncEntry } from '../../protocol/wire/ipvs-sync.ts'
import { type Random, seededRandom, seeds } from '../random.ts'

const ROUNDS = 30_000

function randomBytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256))
}

function randomEntry(random: Random): SyncEntry {
  const length = random.oneIn(3) ? 16 : 4
  const number = () => random.below(2 ** 32)
  const shift = () => ({ initial: number(), delta: number(), previousDelta: number() })
  return {
    protocol: random.below(256),
    flags: random.below(2 ** 13) & 0x1f87,
    state: random.below(2 ** 16),
    clientPort: random.below(2 ** 16),
    virtualPort: random.below(2 ** 16),
    serverPort: random.below(2 ** 16),
    firewallMark: number(),
    timeoutS: number(),
    clientAddress: randomBytes(random, length),
    virtualAddress: randomBytes(random, length),
    serverAddress: randomBytes(random, length),
    ...(random.oneIn(3) && { sequence: { inwards: shift(), outwards: shift() } }),
    ...(random.oneIn(3) && { engineData: randomBytes(random, 1 + random.below(255)) }),
    ...(random.oneIn(3) && { engineName: 'sip'.repeat(1 + random.below(5)) }),
  }
}

function randomEntries(random: Random): SyncEntry[] {
  return Array.from({ length: random.below(20) }, () => randomEntry(random))
}

function written(entries: readonly SyncEntry[]): Uint8Array {
  const writer = new SyncDatagramWriter(7, 65_507)
  for (const entry of entries) if (!writer.add(entry)) throw new Error('does not fit')
  return writer.finish()
}

for (const seed of seeds(1)) {
  test(`what is written is what is read (SEED=${seed})`, async (t) => {
    const random = seededRandom(seed)
    for (let round = 0; round < 300; round++) {
      const entries = randomEntries(random)
      const read = parseSyncDatagram(written(entries))
      if (read?.fault !== undefined || read?.skipped !== 0) t.fail(`round ${round}: ${read?.fault}`)
      t.same(read?.entries, entries)
    }
  })

  test(`${ROUNDS} damaged datagrams are read without harm, and bounded (SEED=${seed})`, async (t) => {
    const random = seededRandom(seed)
    const record = new Uint8Array(RECORD_LENGTH)
    const outcomes = new Map<string, number>()
    for (let round = 0; round < ROUNDS; round++) {
      const bytes = random.oneIn(8) ? randomBytes(random, random.below(200)) : written(randomEntries(random))
      for (let change = random.below(6); change > 0; change--) bytes[random.below(bytes.length)] = random.below(256)
      if (bytes.length >= 4 && !random.oneIn(8)) {
        bytes[2] = bytes.length >> 8
        bytes[3] = bytes.length & 255
      }
      const message = parseSyncDatagram(bytes)
      const outcome = message
        ? `${message.version} ${message.fault ?? (message.skipped > 0 ? 'skipped' : 'whole')}`
        : 'none'
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      if (!message) continue
      if (message.entries.length > 255 || message.entries.length * 24 > bytes.length) t.fail(`too many: round ${round}`)
      for (const entry of message.entries) recordOfEntry(entry, record, 0)
      const again = parseSyncDatagram(written(message.entries))
      if (again?.entries.length !== message.entries.length) t.fail(`not the same again: round ${round}`)
    }
    t.match([...outcomes.keys()].sort(), [
      '0 truncated',
      '0 whole',
      '1 bad-option',
      '1 skipped',
      '1 truncated',
      '1 unknown-entry-type',
      '1 unknown-entry-version',
      '1 whole',
      'none',
    ])
  })
}
