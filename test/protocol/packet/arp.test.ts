/** ARP messages, written and read. */
import { test } from 'tap'
import { ARP_FRAME_LENGTH, ARP_REQUEST, isIPv4Arp, readArp, writeArpFrame } from '../../../protocol/packet/arp.ts'
import { formatIPv4, parseIPv4, parseMac } from '../../../protocol/packet/bytes.ts'
import { BROADCAST_MAC } from '../../../protocol/packet/ethernet.ts'

const message = {
  operation: ARP_REQUEST,
  senderMac: parseMac('02:00:00:00:00:01'),
  senderAddress: parseIPv4('192.168.1.1'),
  targetMac: new Uint8Array(6),
  targetAddress: parseIPv4('192.168.1.110'),
}

function request(): Uint8Array {
  const bytes = new Uint8Array(ARP_FRAME_LENGTH)
  writeArpFrame(bytes, 0, BROADCAST_MAC, message)
  return bytes
}

test('a request has the bytes of RFC 826', async (t) => {
  const expected = [
    'ffffffffffff 020000000001 0806',
    '0001 0800 06 04 0001',
    '020000000001 c0a80101',
    '000000000000 c0a8016e',
  ].join('')
  t.equal(Buffer.from(request()).toString('hex'), expected.replaceAll(' ', ''))
})

test('what was written is read again', async (t) => {
  const bytes = request()
  t.ok(isIPv4Arp(bytes, 14, 28))
  const read = readArp(bytes, 14)
  t.same({ ...read, senderMac: [...read.senderMac] }, { ...message, senderMac: [...message.senderMac] })
  t.equal(formatIPv4(read.targetAddress), '192.168.1.110')
})

const strangers: [string, number, number][] = [
  ['another hardware type', 15, 6],
  ['another protocol type', 16, 0x86],
  ['another hardware address length', 18, 8],
  ['another protocol address length', 19, 16],
]
for (const [what, at, value] of strangers) {
  test(`${what} is not ARP for IPv4 over Ethernet`, async (t) => {
    const bytes = request()
    bytes[at] = value
    t.notOk(isIPv4Arp(bytes, 14, 28))
  })
}

test('a truncated message is none', async (t) => {
  t.notOk(isIPv4Arp(request(), 14, 27))
})
