/** Groups with authentication: among directors that share a key, with strangers on the wire, and while keys or directors change. */
import { chmodSync } from 'node:fs'
import { test } from 'tap'
import { Authentication } from '../../../../node/director/vip/authentication.ts'
import type { VipConfig } from '../../../../node/director/vip/vip-config.ts'
import { readVrrpKeys } from '../../../../node/director/vip/vrrp-key-files.ts'
import { encodeAdvertisement, vrrpGroupOf } from '../../../../protocol/packet/vrrp.ts'
import { createVrrpKey, signVrrpMessage } from '../../../../protocol/packet/vrrp-trailer.ts'
import type { SharedKey } from '../../../../protocol/shared-key.ts'
import { KEY_FILE, Pool, type PoolMember, states, VIP, VIP6, WALL_START_MS, watch } from './pool.ts'

const SIGNED = { authentication: { keyFile: KEY_FILE, required: true } }
const TOLERANT = { authentication: { keyFile: KEY_FILE, required: false } }
const [key, newKey] = [1, 2].map((byte) => createVrrpKey(new Uint8Array(32).fill(byte)))
const keysOf = (...keys: SharedKey[]) => new Map([[KEY_FILE, keys]])

interface Message {
  readonly atMs: number
  readonly from: string
  readonly message: Uint8Array
}

/** A pool whose every message is recorded: once for each that may hear it. */
function recordedPool(): { pool: Pool; recorded: Message[] } {
  const recorded: Message[] = []
  const pool = new Pool((from, _, message) => {
    recorded.push({ atMs: pool.clock.now(), from, message: message.slice() })
    return [0.1]
  })
  return { pool, recorded }
}

/** Best and second, the best active. */
async function pair(pool: Pool, changes: Partial<VipConfig> = SIGNED): Promise<[PoolMember, PoolMember]> {
  const best = pool.add(1, { priority: 150, ...changes })
  const second = pool.add(2, changes)
  pool.start()
  await pool.clock.advance(1000)
  return [best, second]
}

for (const [what, changes, downMs] of [
  ['over IPv4', {}, 300],
  ['over IPv6', { addresses: [VIP6] }, 300],
  ['of version 2', { version: 2, advertisementIntervalMs: 1000 }, 4000],
  ['that name each other', { unicastPeers: ['10.0.0.1', '10.0.0.2'] }, 300],
] as const) {
  test(`directors ${what} with one key elect one, and hand over by crash and in order`, async (t) => {
    const pool = new Pool()
    const group = { ...SIGNED, ...changes } as Partial<VipConfig>
    const [best, second] = await pair(pool, group)
    await pool.clock.advance(3 * downMs)
    t.equal(states([best, second]), 'active backup')
    best.crash()
    await pool.clock.advance(downMs)
    t.equal(second.state, 'active')
    const back = pool.add(1, { ...group, priority: 150 })
    back.service.start()
    await pool.clock.advance(3 * downMs)
    t.equal(states([back, second]), 'active backup')
    void back.service.stop()
    await pool.clock.advance(downMs / 3)
    t.equal(second.state, 'active', 'a resignation is believed')
    t.same(
      [back, second].map(({ service }) => service.refusals),
      [{}, {}],
    )
  })
}

test('without authentication nothing is added to a message', async (t) => {
  const { pool, recorded } = recordedPool()
  await pair(pool, {})
  const lengths = [...new Set(recorded.map(({ message }) => message.length))]
  t.same(lengths, [12])
})

const CLAIM = { version: 3, vrid: 51, priority: 255, intervalMs: 50, addresses: [VIP] } as const
const PEER = '10.0.0.1'
const GROUP = vrrpGroupOf(PEER)
const STRANGER_RUN = '5555555555555555'

/** As a stranger on the wire sends it. */
function claim(priority = 255): Uint8Array {
  return encodeAdvertisement({ ...CLAIM, priority }, PEER, GROUP, 'pseudo-header')
}
const forgeries: readonly [what: string, reason: string, note: RegExp, forge: (genuine: Uint8Array) => Uint8Array][] = [
  ['that is not signed', 'unsigned', /10\.0\.0\.1 does not sign/, () => claim()],
  [
    'under a key of his own',
    'key',
    /10\.0\.0\.1 signs with a key that is not in the key file here/,
    () => signVrrpMessage(claim(), PEER, GROUP, newKey, { run: STRANGER_RUN, sequence: 1, sentAtMs: WALL_START_MS }),
  ],
  [
    'under a key of his own, with the id of the right one',
    'signature',
    /not signed under the key which it names/,
    () =>
      signVrrpMessage(
        claim(),
        PEER,
        GROUP,
        { ...newKey, id: key.id },
        {
          run: STRANGER_RUN,
          sequence: 1,
          sentAtMs: WALL_START_MS,
        },
      ),
  ],
  [
    'with the trailer of a genuine one',
    'signature',
    /not signed under the key which it names/,
    (genuine) => Buffer.concat([claim(), genuine.subarray(-64)]),
  ],
  ['that is a genuine one once more', 'replay', /heard before/, (genuine) => genuine],
]
for (const [what, reason, note, forge] of forgeries) {
  test(`a stranger's advertisement ${what} has no effect; it is counted, and logged once`, async (t) => {
    const { pool, recorded } = recordedPool()
    const [best, second] = await pair(pool)
    best.crash()
    await pool.clock.advance(300)
    t.equal(second.state, 'active')
    const stranger = pool.network.join(PEER)
    const genuine = recorded.filter(({ from }) => from === PEER)
    t.ok(genuine.length > 10)
    for (const { message } of genuine) stranger.send(forge(message), GROUP)
    await pool.clock.advance(1000)
    t.equal(second.state, 'active')
    t.same(second.service.refusals, { [reason]: genuine.length })
    t.equal(second.notes.filter((line) => note.test(line)).length, 1)
  })
}

test('what is not believed is logged once in ten minutes for each reason', async (t) => {
  const notes: string[] = []
  let nowMs = 0
  const authentication = new Authentication([key], true, {
    clock: { now: () => nowMs, schedule: () => () => {} },
    wallClockMs: () => WALL_START_MS,
    note: (message) => notes.push(message),
  })
  const datagram = { source: PEER, destination: GROUP, hopLimit: 255, message: claim() }
  for (nowMs = 0; nowMs <= 1_200_000; nowMs += 1000) authentication.refusalOf(datagram, false)
  t.equal(notes.length, 3)
})

test('a stranger’s resignation in the name of the active director brings nobody forward', async (t) => {
  const pool = new Pool()
  const [best, second] = await pair(pool)
  const stranger = pool.network.join(PEER)
  for (let round = 0; round < 20; round++) {
    stranger.send(claim(0), GROUP)
    await pool.clock.advance(10)
  }
  t.equal(states([best, second]), 'active backup')
  t.same(second.service.refusals, { unsigned: 20 })
})

test('what a director sent before its restart is worth nothing after it, its resignation included', async (t) => {
  const { pool, recorded } = recordedPool()
  const [best, second] = await pair(pool)
  void best.service.stop()
  await pool.clock.advance(1000)
  const resignations = recorded.filter(({ from, message }) => from === PEER && message[2] === 0)
  t.equal(resignations.length, 1)
  const back = pool.add(1, { ...SIGNED, priority: 150 })
  back.service.start()
  await pool.clock.advance(1000)
  t.equal(states([back, second]), 'active backup')
  const stranger = pool.network.join(PEER)
  const before = recorded.filter(({ from }) => from === PEER)
  for (const { message } of [...resignations, ...before]) stranger.send(message, GROUP)
  await pool.clock.advance(30)
  t.equal(states([back, second]), 'active backup')
  t.same(second.service.refusals, { replay: before.length + 1 })
})

test('a director that has been restarted believes what was recorded up to 30 s ago, and nothing older', async (t) => {
  for (const [ageMs, state] of [
    [20_000, 'backup'],
    [31_000, 'active'],
  ] as const) {
    const { pool, recorded } = recordedPool()
    const [best, second] = await pair(pool)
    const genuine = recorded.filter(({ from }) => from === PEER)
    best.crash()
    second.crash()
    await pool.clock.advance(ageMs)
    const stranger = pool.network.join(PEER)
    const restarted = pool.add(2, SIGNED)
    restarted.service.start()
    for (const { message } of genuine.slice(0, 10)) {
      stranger.send(message, GROUP)
      await pool.clock.advance(50)
    }
    t.equal(restarted.state, state, `${ageMs} ms`)
    t.same(restarted.service.refusals, state === 'active' ? { clock: 10 } : {})
    await pool.clock.advance(1000)
    t.equal(restarted.state, 'active', 'each of them once')
  }
})

test('a step of a wall clock by a day leaves a pool as it is; who starts with it off is not believed until it is right', async (t) => {
  const pool = new Pool()
  const [best, second] = await pair(pool)
  best.wallAheadMs = 86_400_000
  t.same(await watch(pool, pool.members, 1000), { 1: 1000 })
  t.equal(states([best, second]), 'active backup')
  const third = pool.add(3, { ...SIGNED, priority: 50 })
  third.service.start()
  await pool.clock.advance(1000)
  t.equal(third.state, 'active')
  t.ok(third.service.refusals.clock! > 10)
  t.match(third.notes.join('\n'), /10\.0\.0\.1 is heard with an advertisement that is not of the last 30 s/)
  best.wallAheadMs = 29_000
  await pool.clock.advance(1000)
  t.equal(states([best, second, third]), 'active backup backup')
})

test('keys are exchanged without a gap: beside the old one, then to sign, then alone', async (t) => {
  const pool = new Pool()
  const [best, second] = await pair(pool)
  for (const keys of [keysOf(key, newKey), keysOf(newKey, key), keysOf(newKey)]) {
    for (const member of [best, second]) {
      member.service.setKeys(keys)
      t.same(await watch(pool, pool.members, 500), { 1: 500 })
    }
  }
  t.equal(states([best, second]), 'active backup')
  t.same([best.service.refusals, second.service.refusals], [{}, {}])
  best.service.setKeys(keysOf(key))
  await pool.clock.advance(1000)
  t.equal(states([best, second]), 'active active', 'and the old one is worth nothing')
  t.ok(second.service.refusals.key! > 10)
})

test('a director with authentication does not believe one without, which believes it', async (t) => {
  const pairs: [Partial<VipConfig>, Partial<VipConfig>, string][] = [
    [SIGNED, {}, 'active backup'],
    [{}, SIGNED, 'active active'],
  ]
  for (const [first, second, expected] of pairs) {
    const pool = new Pool()
    const members = [pool.add(1, { priority: 150, ...first }), pool.add(2, second)]
    pool.start()
    await pool.clock.advance(1000)
    t.equal(states(members), expected)
    const [plain, signing] = first === SIGNED ? [members[1], members[0]] : members
    t.same(plain.service.refusals, {})
    if (expected === 'active active') t.ok(signing.service.refusals.unsigned! > 10)
  }
})

test('key files are read once each; one that is missing or open to others is named, and a key in place of one is not shown', async (t) => {
  const folder = t.testdir({ a: `${'01'.repeat(32)}\n`, b: `${'02'.repeat(32)}\n${'01'.repeat(32)}\n` })
  const group = (keyFile: string) => ({ authentication: { keyFile, required: true } })
  const [a, b] = [`${folder}/a`, `${folder}/b`]
  chmodSync(a, 0o600)
  t.throws(() => readVrrpKeys([group(a), group(b)]), {
    code: 'CONFIG_INVALID',
    message: `${b}: others than its owner may use this key: chmod 600 it`,
  })
  chmodSync(b, 0o600)
  const read = [...readVrrpKeys([group(a), {}, group(b), group(a)])]
  t.same(
    read.map(([file, keys]) => [file, ...keys.map(({ id }) => id)]),
    [
      [a, key.id],
      [b, newKey.id, key.id],
    ],
  )
  t.throws(() => readVrrpKeys([group(a), group(`${folder}/c`)]), {
    code: 'CONFIG_UNREADABLE',
    message: /\/c: the directors' key cannot be read/,
  })
  t.throws(() => readVrrpKeys([group('01'.repeat(32))]), {
    code: 'CONFIG_INVALID',
    message:
      "expected the name of a file with the directors' key, not a key: a key on a command line or in a configuration is seen by others",
  })
})

test('a pool is changed over one director after another, in two rounds, and always one is active', async (t) => {
  const pool = new Pool()
  let members = await pair(pool, {})
  for (const changes of [TOLERANT, SIGNED]) {
    for (const [index, priority] of [
      [1, 100],
      [0, 150],
    ]) {
      void members[index].service.stop()
      await pool.clock.advance(3000)
      const restarted = pool.add(index + 1, { ...changes, priority })
      members = index === 0 ? [restarted, members[1]] : [members[0], restarted]
      restarted.service.start()
      const counts = await watch(pool, members, 1000)
      t.notOk(counts[0], 'never nobody')
      t.ok((counts[2] ?? 0) <= 1, 'two only while one is hearing of the other')
      t.equal(states(members), 'active backup')
      t.same(
        members.map(({ service }) => service.refusals),
        [{}, {}],
      )
    }
  }
  const stranger = pool.network.join('10.0.0.9')
  stranger.send(encodeAdvertisement(CLAIM, '10.0.0.9', GROUP, 'pseudo-header'), GROUP)
  await pool.clock.advance(10)
  t.equal(states(members), 'active backup')
})

test('while authentication is not required, who does not sign is believed and told of; a wrong signature is not', async (t) => {
  const pool = new Pool()
  const member = pool.add(2, TOLERANT)
  pool.start()
  await pool.clock.advance(1000)
  const stranger = pool.network.join(PEER)
  stranger.send(signVrrpMessage(claim(), PEER, GROUP, newKey, { run: STRANGER_RUN, sequence: 1, sentAtMs: 0 }), GROUP)
  await pool.clock.advance(10)
  t.equal(member.state, 'active')
  t.same(member.service.refusals, { key: 1 })
  stranger.send(claim(), GROUP)
  await pool.clock.advance(10)
  t.equal(member.state, 'backup')
  t.match(member.notes.join('\n'), /10\.0\.0\.1 does not sign its advertisements: they are believed, since/)
})
