/**
 * The clients' network: VRRP of both families, of version 2, and with authentication, to a director that is active. What the RFC lets anybody say
 * is not tried here. And what peers say over the cluster of having been active.
 */
import { MemoryNetwork } from '../../../node/director/cluster/memory-transport.ts'
import { encodeReigns } from '../../../node/director/vip/ended-reigns.ts'
import { VipService } from '../../../node/director/vip/vip.ts'
import type { VrrpTransport } from '../../../node/director/vip/vrrp-transport.ts'
import { VirtualClock } from '../../../node/director/virtual-clock.ts'
import {
  type Advertisement,
  decodeAdvertisement,
  encodeAdvertisement,
  readVrrpPacket,
  VRRP_HOP_LIMIT,
  type VrrpDatagram,
  vrrpGroupOf,
} from '../../../protocol/packet/vrrp.ts'
import { createVrrpKey, type Stamp, signVrrpMessage } from '../../../protocol/packet/vrrp-trailer.ts'
import { vipConfig } from '../../node/director/vip/pool.ts'
import type { Random } from '../../random.ts'
import { sharedReferences } from '../../support/shared-references.ts'
import { count, demand, mutated, oneOf, randomBytes, type Wire } from './wire.ts'

/** With authentication. */
const SIGNED_VRID = 53
const KEY_FILE = '/directors.key'
const [key, otherKey] = [1, 2].map((byte) => createVrrpKey(new Uint8Array(32).fill(byte)))
const WALL_START_MS = 1_700_000_000_000

const families = [
  { self: '10.0.0.1', peer: '10.0.0.2', address: '10.0.0.100', vrid: 51, version: 3, intervalMs: 50 },
  { self: '10.0.0.1', peer: '10.0.0.2', address: '10.0.0.102', vrid: SIGNED_VRID, version: 3, intervalMs: 50 },
  { self: '10.0.0.1', peer: '10.0.0.2', address: '10.0.0.101', vrid: 52, version: 2, intervalMs: 1000 },
  { self: 'fe80::1', peer: 'fe80::2', address: '2001:db8:1::100', vrid: 51, version: 3, intervalMs: 50 },
] as const
type Family = (typeof families)[number]

const SIGNED_ATTEMPTS = ['stranger', 'signed-bit', 'old', 'replay'] as const
const [PEER_RUN, STRANGE_RUN] = ['1111111111111111', '2222222222222222']

export class VrrpWire implements Wire {
  readonly outcomes = new Map<string, number>()
  readonly #clock = new VirtualClock()
  readonly #handlers = new Map<string, (datagram: VrrpDatagram) => void>()
  readonly #network = new MemoryNetwork({ clock: this.#clock, random: () => 0 })
  readonly #cluster = this.#network.join('d1', ['d2'])
  readonly #service: VipService
  #sequence = 0
  #announced = 0
  #isStarted = false

  constructor() {
    const transport = ({ self }: Family): VrrpTransport => ({
      address: self,
      send: () => true,
      onDatagram: (handler) => this.#handlers.set(self, handler),
      drain: () => {},
      close: () => {},
    })
    this.#service = new VipService(
      {
        vips: families.map(({ vrid, address, version, intervalMs }) =>
          vipConfig({
            vrid,
            addresses: [address],
            version,
            advertisementIntervalMs: intervalMs,
            ...(vrid === SIGNED_VRID && { authentication: { keyFile: KEY_FILE, required: true } }),
          }),
        ),
        outside: 'outside',
        keys: new Map([[KEY_FILE, [key]]]),
      },
      {
        transports: [families[0], families[3]].map(transport),
        clock: this.#clock,
        wallClockMs: () => this.#wallClockMs,
        isInSync: () => true,
        onOvertaken: () => {},
        cluster: this.#cluster,
        forwarder: { mac: () => new Uint8Array(6), setVirtualAddresses: () => {}, transmit: () => this.#announced++ },
      },
    )
  }

  async bring(random: Random): Promise<number> {
    if (!this.#isStarted) {
      this.#isStarted = true
      await this.#cluster.start()
      await this.#network.join('d2', ['d1']).start()
      this.#service.start()
      await this.#clock.advance(5000)
      this.#demandActive()
    }
    for (let message = 0; message < 90; message++) this.#one(random)
    for (let message = 0; message < 10; message++) this.#told(random)
    await this.#clock.advance(10)
    return 100
  }

  async close(): Promise<void> {
    // What a well-formed advertisement of a better router has done is over when it is heard no more, whatever its interval was.
    await this.#clock.advance(200_000)
    this.#demandActive()
  }

  #one(random: Random): void {
    const family = oneOf(random, families)
    const attempt: string = oneOf(random, [
      'bit',
      'cut',
      'longer',
      'far',
      'elsewhere',
      'vrid',
      'own',
      'wild',
      'packet',
      'odd',
      ...(family.vrid === SIGNED_VRID ? SIGNED_ATTEMPTS : []),
    ] as const)
    const datagram = this.#attempt(random, family, attempt)
    count(this.outcomes, attempt)
    if (!datagram) return
    const before = JSON.stringify(this.#service.status)
    const refused = this.#refused()
    this.#handlers.get(family.self)?.(datagram)
    const isSound = ['wild', 'packet', 'odd'].includes(attempt) && decodeAdvertisement(datagram, family.self).ok
    if (isSound && datagram.message[1] !== SIGNED_VRID) {
      count(this.outcomes, 'sound')
      return
    }
    demand(JSON.stringify(this.#service.status) === before, `${attempt} had an effect`, datagram.message)
    demand(this.#refused() === refused + 1, `${attempt} was not counted`, datagram.message)
  }

  /** Sound or not, it changes nothing that anybody sees; what is announced again is announced by the clock. */
  #told(random: Random): void {
    const { vrid, self } = oneOf(random, families)
    const sound = encodeReigns([{ vrid, family: self === families[0].self ? 4 : 6 }])
    const attempt = oneOf(random, ['told', 'told-mutated', 'told-references'] as const)
    const messages = {
      told: () => sound,
      'told-mutated': () => mutated(random, sound),
      'told-references': () => sharedReferences(1 + random.below(200)),
    }
    const before = JSON.stringify(this.#service.status)
    const sent = this.#announced
    this.#network.member('d1')?.deliver('vip', 'd2', messages[attempt]())
    count(this.outcomes, attempt)
    demand(JSON.stringify(this.#service.status) === before && this.#announced === sent, `${attempt} had an effect`)
    demand(this.#cluster.counters.failedHandlers === 0, 'a handler threw')
  }

  /** Undefined: the socket would not have handed it on. */
  #attempt(random: Random, family: Family, attempt: string): VrrpDatagram | undefined {
    const { peer, vrid, address, self, version } = family
    const kind = random.oneIn(2) ? 'message' : 'pseudo-header'
    const encode = (changes: Partial<Advertisement> = {}, from: string = peer) =>
      encodeAdvertisement(
        { version, vrid, priority: 254, intervalMs: family.intervalMs, addresses: [address], ...changes },
        from,
        vrrpGroupOf(from),
        kind,
      )
    const sound = { source: peer, destination: vrrpGroupOf(peer), hopLimit: VRRP_HOP_LIMIT, message: encode() }
    const { message } = sound
    switch (attempt) {
      case 'bit':
        message[random.below(message.length)] ^= 1 << random.below(8)
        return sound
      case 'cut':
        return { ...sound, message: message.subarray(0, random.below(message.length)) }
      case 'longer':
        return { ...sound, message: Buffer.concat([message, randomBytes(random, 1 + random.below(1400))]) }
      case 'far':
        return { ...sound, hopLimit: random.below(VRRP_HOP_LIMIT) }
      case 'elsewhere':
        return { ...sound, destination: oneOf(random, [self, address, peer]) }
      case 'vrid':
        return { ...sound, message: encode({ vrid: oneOf(random, [1, 50, 54, 255]) }) }
      case 'stranger':
        return { ...sound, message: this.#sign(message, sound, { ...otherKey, id: oneOf(random, [otherKey, key]).id }) }
      case 'signed-bit': {
        const signed = this.#sign(message, sound)
        signed[random.below(signed.length)] ^= 1 << random.below(8)
        return { ...sound, message: signed }
      }
      case 'old':
        return {
          ...sound,
          message: this.#sign(message, sound, key, { run: STRANGE_RUN, sentAtMs: this.#wallClockMs - 30_001 }),
        }
      case 'replay': {
        const again = { ...sound, message: this.#sign(encode({ priority: 1 }), sound) }
        this.#handlers.get(self)?.(again)
        return again
      }
      case 'own':
        return { ...sound, source: self, message: encode({}, self) }
      case 'packet': {
        const header = Uint8Array.of(
          0x45,
          0xc0,
          0,
          20 + message.length,
          0,
          0,
          0,
          0,
          255,
          112,
          0,
          0,
          10,
          0,
          0,
          2,
          224,
          0,
          0,
          18,
        )
        const read = readVrrpPacket(Uint8Array.from(mutated(random, Buffer.concat([header, message]))))
        return read.ok ? read.datagram : undefined
      }
      case 'odd': {
        const intervalMs = version === 2 ? 1000 * (1 + random.below(40)) : 10 * (1 + random.below(4095))
        const addresses = Array.from({ length: 1 + random.below(20) }, () => address)
        return { ...sound, message: encode({ priority: random.below(256), intervalMs, addresses }) }
      }
      default:
        return { ...sound, message: mutated(random, message) }
    }
  }

  #sign(
    message: Uint8Array,
    { source, destination }: VrrpDatagram,
    by = key,
    changes: Partial<Stamp> = {},
  ): Uint8Array {
    const stamp = { run: PEER_RUN, sequence: ++this.#sequence, sentAtMs: this.#wallClockMs, ...changes }
    return signVrrpMessage(message, source, destination, by, stamp)
  }

  get #wallClockMs(): number {
    return WALL_START_MS + this.#clock.now()
  }

  #refused(): number {
    return Object.values(this.#service.refusals).reduce((sum, times) => sum + times, 0)
  }

  #demandActive(): void {
    for (const { state, vrid } of this.#service.status) demand(state === 'active', `group ${vrid} is ${state}`)
  }
}
