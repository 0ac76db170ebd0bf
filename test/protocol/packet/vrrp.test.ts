/** The VRRP codec, against bytes worked out by hand from RFC 9568 section 5, and against damage. */
import { type Test, test } from 'tap'
import { parseIPv4 } from '../../../protocol/packet/bytes.ts'
import { refreshIPv4Checksum, writeIPv4 } from '../../../protocol/packet/ipv4.ts'
import {
  type Advertisement,
  decodeAdvertisement,
  encodeAdvertisement,
  MOST_IPV6_ADDRESSES,
  PROTOCOL_VRRP,
  readVrrpPacket,
  VRRP_REFUSALS,
  type VrrpChecksum,
  type VrrpDatagram,
} from '../../../protocol/packet/vrrp.ts'
import { seededRandom, seeds } from '../../random.ts'

const ADVERTISEMENT: Advertisement = {
  version: 3,
  vrid: 51,
  priority: 100,
  intervalMs: 500,
  addresses: ['10.0.0.100'],
}
/** Version 3 type 1, VRID 51, priority 100, one address, 50 centiseconds, checksum, 10.0.0.100. */
const FIELDS = '31336401' + '0032'
const ADDRESS = '0a000064'
/** 3133 + 6401 + 0032 + 0a00 + 0064 = 9fca; its complement. */
const MESSAGE_ONLY = `${FIELDS}6035${ADDRESS}`
/** The same plus 10.0.0.2 (0a02), 224.0.0.18 (e012), protocol 112 (0070), length 12 (000c): 9fca + ea90 = 18a5a, folded 8a5b. */
const WITH_PSEUDO_HEADER = `${FIELDS}75a4${ADDRESS}`

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'))
const hex = (data: Uint8Array) => Buffer.from(data).toString('hex')

function datagram(message: Uint8Array, changes: Partial<VrrpDatagram> = {}): VrrpDatagram {
  return { source: '10.0.0.2', destination: '224.0.0.18', hopLimit: 255, message, ...changes }
}

/** As 10.0.0.9 and fe80::9 receive it. */
function decode(received: VrrpDatagram) {
  return decodeAdvertisement(received, received.source.includes(':') ? 'fe80::9' : '10.0.0.9')
}

/** As a raw IPv4 socket hands it out. */
function packetOf({ source, destination, hopLimit, message }: VrrpDatagram): Uint8Array {
  const packet = new Uint8Array(20 + message.length)
  packet.set(message, 20)
  writeIPv4(packet, 0, {
    tos: 0xc0,
    totalLength: packet.length,
    identification: 0,
    fragment: 0x4000,
    ttl: hopLimit,
    protocol: PROTOCOL_VRRP,
    source: parseIPv4(source),
    destination: parseIPv4(destination),
  })
  return packet
}

/** The same message with its checksum over the message made right again. */
function resummed(message: Uint8Array): Uint8Array {
  const copy = message.slice()
  copy[6] = 0
  copy[7] = 0
  let sum = 0
  for (let at = 0; at < copy.length; at++) sum += at & 1 ? copy[at] : copy[at] << 8
  sum = (sum & 0xffff) + (sum >>> 16)
  sum = ~((sum & 0xffff) + (sum >>> 16)) & 0xffff
  copy[6] = sum >> 8
  copy[7] = sum & 255
  return copy
}

/** MESSAGE_ONLY with one byte changed, and a checksum that fits. */
function altered(at: number, value: number): Uint8Array {
  const message = bytes(MESSAGE_ONLY)
  message[at] = value
  return resummed(message)
}

test('an advertisement is encoded with the checksum of RFC 9568', async (t) => {
  t.equal(hex(encodeAdvertisement(ADVERTISEMENT, '10.0.0.2', '224.0.0.18', 'message')), MESSAGE_ONLY)
})

test('an advertisement is encoded with the checksum that keepalived expects', async (t) => {
  t.equal(hex(encodeAdvertisement(ADVERTISEMENT, '10.0.0.2', '224.0.0.18', 'pseudo-header')), WITH_PSEUDO_HEADER)
})

/**
 * The same fields with 2001:db8:1::100: 3133 + 6401 + 0032 + 2001 + 0db8 + 0001 + 0100 = c420. From fe80::2 (fe80 + 0002) to
 * ff02::12 (ff02 + 0012), length 24 (0018), protocol 112 (0070): 1fe1e more, c420 + 1fe1e = 2c23e, folded c240.
 */
const ADDRESS_IPV6 = '20010db8000100000000000000000100'
const OVER_IPV6 = `${FIELDS}3dbf${ADDRESS_IPV6}`
const ADVERTISEMENT_IPV6: Advertisement = { ...ADVERTISEMENT, addresses: ['2001:db8:1::100'] }

function datagram6(message: Uint8Array, changes: Partial<VrrpDatagram> = {}): VrrpDatagram {
  return { source: 'fe80::2', destination: 'ff02::12', hopLimit: 255, message, ...changes }
}

/** Where the protocol leaves no choice. */
function demandOneChecksum(
  t: Test,
  advertisement: Advertisement,
  { source, destination, message }: VrrpDatagram,
  checksum: VrrpChecksum,
): void {
  for (const asked of ['message', 'pseudo-header', 'group-pseudo-header'] as const) {
    t.equal(hex(encodeAdvertisement(advertisement, source, destination, asked)), hex(message))
  }
  t.same(decode({ source, destination, hopLimit: 255, message }), {
    ok: true,
    advertisement,
    checksum,
    isSigned: false,
  })
}

test('over IPv6 an advertisement has the checksum with the pseudo-header, whatever is asked for', async (t) => {
  demandOneChecksum(t, ADVERTISEMENT_IPV6, datagram6(bytes(OVER_IPV6)), 'pseudo-header')
})

test('as many addresses as IPv6 allows survive the way there and back, in one packet of 1280 bytes', async (t) => {
  const addresses = Array.from(
    { length: MOST_IPV6_ADDRESSES },
    (_, index) => `2001:db8:ffff::${(index + 1).toString(16)}`,
  )
  const advertisement = { version: 3 as const, vrid: 255, priority: 255, intervalMs: 40_950, addresses }
  const message = encodeAdvertisement(advertisement, 'fe80::2', 'ff02::12', 'pseudo-header')
  t.ok(message.length + 40 <= 1280 && message.length + 40 + 16 > 1280)
  t.match(decode(datagram6(message)), { ok: true, advertisement })
})

test('both checksums are accepted and told apart', async (t) => {
  for (const [message, checksum] of [
    [MESSAGE_ONLY, 'message'],
    [WITH_PSEUDO_HEADER, 'pseudo-header'],
  ]) {
    t.same(decode(datagram(bytes(message))), { ok: true, advertisement: ADVERTISEMENT, checksum, isSigned: false })
  }
})

test('the extremes of every field survive the way there and back', async (t) => {
  const addresses = Array.from({ length: 255 }, (_, index) => `192.0.2.${index}`)
  for (const advertisement of [
    { version: 3, vrid: 1, priority: 0, intervalMs: 10, addresses: ['0.0.0.0'] },
    { version: 3, vrid: 255, priority: 255, intervalMs: 40_950, addresses },
  ] as const) {
    for (const checksum of ['message', 'pseudo-header'] as const) {
      const message = encodeAdvertisement(advertisement, '10.0.0.2', '224.0.0.18', checksum)
      t.same(decode(datagram(message)), { ok: true, advertisement, checksum, isSigned: false })
    }
  }
})

/**
 * Version 2 type 1, VRID 51, priority 100, one address, no authentication, one second, checksum, 10.0.0.100, nothing.
 * 2133 + 6401 + 0001 + 0a00 + 0064 = 8f99; its complement.
 */
const VERSION_2 = `2133640100017066${ADDRESS}0000000000000000`
const ADVERTISEMENT_2: Advertisement = { ...ADVERTISEMENT, version: 2, intervalMs: 1000 }

/** VERSION_2 with one byte changed, and a checksum that fits. */
function altered2(at: number, value: number): Uint8Array {
  const message = bytes(VERSION_2)
  message[at] = value
  return resummed(message)
}

test('in version 2 an advertisement has its checksum over the message, whatever is asked for', async (t) => {
  demandOneChecksum(t, ADVERTISEMENT_2, datagram(bytes(VERSION_2)), 'message')
})

test('in version 2 the extremes of every field survive the way there and back', async (t) => {
  const addresses = Array.from({ length: 255 }, (_, index) => `192.0.2.${index}`)
  for (const advertisement of [
    { version: 2, vrid: 1, priority: 0, intervalMs: 1000, addresses: ['0.0.0.0'] },
    { version: 2, vrid: 255, priority: 255, intervalMs: 255_000, addresses },
  ] as const) {
    const message = encodeAdvertisement(advertisement, '10.0.0.2', '224.0.0.18', 'pseudo-header')
    t.same(decode(datagram(message)), { ok: true, advertisement, checksum: 'message', isSigned: false })
  }
})

test('in version 2 the authentication data is not looked at, beyond its checksum', async (t) => {
  t.match(decode(datagram(altered2(19, 7))), { ok: true, advertisement: ADVERTISEMENT_2 })
})

/** To 10.0.0.9: 9fca + 0a02 (10.0.0.2) + 0a09 (10.0.0.9) + 0070 + 000c = b451; its complement. */
const TO_A_PEER = `${FIELDS}4bae${ADDRESS}`

test('to a peer, the checksum of version 3 counts its address, and the message may have been routed', async (t) => {
  t.equal(hex(encodeAdvertisement(ADVERTISEMENT, '10.0.0.2', '10.0.0.9', 'pseudo-header')), TO_A_PEER)
  const received = datagram(bytes(TO_A_PEER), { destination: '10.0.0.9', hopLimit: 63 })
  t.same(decode(received), { ok: true, advertisement: ADVERTISEMENT, checksum: 'pseudo-header', isSigned: false })
  t.same(decode(datagram(bytes(TO_A_PEER))), { ok: false, reason: 'checksum' }, 'to the group it does not')
})

test('to a peer, the checksum may count the group all the same, as that of keepalived 1.3.6 does', async (t) => {
  const message = encodeAdvertisement(ADVERTISEMENT, '10.0.0.2', '10.0.0.9', 'group-pseudo-header')
  t.equal(hex(message), WITH_PSEUDO_HEADER)
  const received = datagram(message, { destination: '10.0.0.9' })
  const checksum = 'group-pseudo-header'
  t.same(decode(received), { ok: true, advertisement: ADVERTISEMENT, checksum, isSigned: false })
})

test('to a peer over IPv6, the sender may have any address', async (t) => {
  const source = '2001:db8:1::2'
  const message = encodeAdvertisement(ADVERTISEMENT_IPV6, source, 'fe80::9', 'pseudo-header')
  t.match(decode({ source, destination: 'fe80::9', hopLimit: 64, message }), { ok: true })
})

const refusals2: readonly [sentence: string, received: VrrpDatagram, reason: string][] = [
  ['version 2 with a password', datagram(altered2(4, 1)), 'authentication'],
  ['version 2 with an interval of 0', datagram(altered2(5, 0)), 'interval'],
  ['version 2 without its authentication data', datagram(bytes(VERSION_2).subarray(0, 12)), 'length'],
  ['version 2 with a checksum of version 3', datagram(bytes(VERSION_2.replace('7066', '85cd'))), 'checksum'],
  ['version 2 over IPv6', datagram6(bytes(VERSION_2)), 'version'],
  ['version 4', datagram(altered2(0, 0x41)), 'version'],
]

const refusals: readonly [sentence: string, received: VrrpDatagram, reason: string][] = [
  ['a packet that was routed', datagram(bytes(MESSAGE_ONLY), { hopLimit: 254 }), 'hop-limit'],
  ['a packet not to the group', datagram(bytes(MESSAGE_ONLY), { destination: '10.0.0.1' }), 'destination'],
  ['nothing', datagram(new Uint8Array()), 'length'],
  ['half a header', datagram(bytes('31336401')), 'length'],
  ['a missing address', datagram(bytes(MESSAGE_ONLY).subarray(0, 8)), 'length'],
  ['more than was announced', datagram(bytes(`${MESSAGE_ONLY}00000000`)), 'length'],
  ['version 2 that is no longer than version 3', datagram(altered(0, 0x21)), 'length'],
  ['another type', datagram(altered(0, 0x32)), 'type'],
  ['no address at all', datagram(altered(3, 0)), 'count'],
  ['virtual router 0', datagram(altered(1, 0)), 'vrid'],
  ['an interval of 0', datagram(altered(5, 0)), 'interval'],
  ['a checksum over neither reading', datagram(bytes(MESSAGE_ONLY.replace('6035', '6036'))), 'checksum'],
  ["a checksum over another sender's address", datagram(bytes(WITH_PSEUDO_HEADER), { source: '10.0.0.3' }), 'checksum'],
]
const refusals6: typeof refusals = [
  ['over IPv6, a packet that was routed', datagram6(bytes(OVER_IPV6), { hopLimit: 254 }), 'hop-limit'],
  ["over IPv6, a packet to IPv4's group", datagram6(bytes(OVER_IPV6), { destination: '224.0.0.18' }), 'destination'],
  ['over IPv6, a sender that is not link-local', datagram6(bytes(OVER_IPV6), { source: '2001:db8:1::2' }), 'source'],
  ['over IPv6, an address of IPv4', datagram6(bytes(MESSAGE_ONLY)), 'length'],
  ['over IPv6, a checksum over the message alone', datagram6(resummed(bytes(OVER_IPV6))), 'checksum'],
  [
    'over IPv6, to a peer, the checksum of the group',
    datagram6(bytes(OVER_IPV6), { destination: 'fe80::9' }),
    'checksum',
  ],
  [
    "over IPv6, a checksum over another sender's address",
    datagram6(bytes(OVER_IPV6), { source: 'fe80::3' }),
    'checksum',
  ],
]
for (const [sentence, received, reason] of [...refusals, ...refusals2, ...refusals6]) {
  test(`refused: ${sentence}`, async (t) => {
    t.same(decode(received), { ok: false, reason })
  })
}

test('the reserved bits above the interval are ignored', async (t) => {
  const decoded = decode(datagram(altered(4, 0xf0)))
  t.match(decoded, { ok: true, advertisement: { intervalMs: 500 } })
})

test('a datagram is found in its IP packet, whatever follows the packet', async (t) => {
  const packet = packetOf(datagram(bytes(MESSAGE_ONLY)))
  const padded = new Uint8Array(60)
  padded.set(packet)
  t.same(readVrrpPacket(padded), { ok: true, datagram: datagram(bytes(MESSAGE_ONLY)) })
})

test('a packet that is not sound, or not VRRP, holds no datagram', async (t) => {
  const packet = packetOf(datagram(bytes(MESSAGE_ONLY)))
  t.same(readVrrpPacket(packet.subarray(0, 19)), { ok: false, reason: 'ip-header' })
  packet[9] = 17
  t.same(readVrrpPacket(packet), { ok: false, reason: 'ip-header' }, 'the header checksum no longer fits')
  refreshIPv4Checksum(packet, 0, 20)
  t.same(readVrrpPacket(packet), { ok: false, reason: 'protocol' })
})

for (const seed of seeds(1)) {
  test(`damaged packets are refused by a known reason and never throw (SEED=${seed})`, async (t) => {
    const random = seededRandom(seed)
    const versions = [WITH_PSEUDO_HEADER, VERSION_2].map((message) => packetOf(datagram(bytes(message))))
    let accepted = 0
    for (let round = 0; round < 20_000; round++) {
      const intact = versions[random.below(2)]
      const packet = intact.slice(0, random.oneIn(4) ? random.below(intact.length + 1) : intact.length)
      const changes = 1 + random.below(4)
      for (let change = 0; change < changes && packet.length > 0; change++) {
        packet[random.below(packet.length)] = random.below(256)
      }
      const read = readVrrpPacket(packet)
      const outcome = read.ok ? decode(read.datagram) : read
      const outcome6 = decode(datagram6(packet.subarray(Math.min(20, packet.length))))
      if (!outcome6.ok && !VRRP_REFUSALS.includes(outcome6.reason)) t.fail(`${hex(packet)}: ${outcome6.reason}`)
      if (outcome.ok) accepted++
      else if (!VRRP_REFUSALS.includes(outcome.reason)) t.fail(`${hex(packet)}: ${outcome.reason}`)
    }
    t.ok(accepted < 1000, `${accepted} of 20,000 passed two checksums`)
  })
}
