/**
 * tshark as judge of frames of which no lab can make the whole conversation, since the kernel here speaks no SCTP and no IPsec
 * peer is at hand: SCTP by every method, AH, ESP, and FTP's rewritten reply. tshark computes CRC32c and TCP's sum by itself.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import type { ForwardingMethod } from '../../forwarder/service.ts'
import { SCTP_CHUNK } from '../../protocol/packet/sctp.ts'
import { TCP_ACK, TCP_PSH, TCP_SYN } from '../../protocol/packet/tcp.ts'
import { ipPacketFrame, udpFrame } from '../support/frames.ts'
import {
  CLIENT_ADDRESS,
  clientSctp,
  clientTcp,
  INSIDE,
  OUTSIDE,
  scene,
  serverSctp,
  serverTcp,
  service,
  VIP,
} from '../support/scene.ts'

const skip = spawnSync('tshark', ['--version']).error ? 'tshark is not installed' : false
const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'))

/** Chunks as RFC 9260 section 3.3 lays them out. */
const INIT = { type: SCTP_CHUNK.INIT, value: bytes('00000001 0000ffff 000a 000a 00000001') }
const INIT_ACK = { type: SCTP_CHUNK.INIT_ACK, value: bytes('00000002 0000ffff 000a 000a 00000001 0007 0008 c00c1e00') }
const COOKIE_ECHO = { type: SCTP_CHUNK.COOKIE_ECHO, value: bytes('c00c1e00') }
const COOKIE_ACK = { type: SCTP_CHUNK.COOKIE_ACK }
const DATA = { type: SCTP_CHUNK.DATA, flags: 3, value: bytes('00000001 0000 0000 00000000 6f6464') }

function sctpFrames(method: ForwardingMethod): Uint8Array[] {
  const bench = scene({ protocol: 'sctp', method })
  const sent = [bench.send(OUTSIDE, clientSctp({ chunks: [INIT], verificationTag: 0 }))]
  if (method === 'nat') sent.push(bench.send(INSIDE, serverSctp({ chunks: [INIT_ACK] })))
  sent.push(bench.send(OUTSIDE, clientSctp({ chunks: [COOKIE_ECHO, DATA] })))
  if (method === 'nat') sent.push(bench.send(INSIDE, serverSctp({ chunks: [COOKIE_ACK, DATA] })))
  return sent.flat().map(({ frame }) => frame)
}

function ipsecFrames(): Uint8Array[] {
  const specification = service({ protocol: 'udp' })
  const servers = specification.servers.map((server) => ({ ...server, port: 500 }))
  const bench = scene({ services: [{ ...specification, port: 500, servers }] })
  bench.send(OUTSIDE, udpFrame({ from: `${CLIENT_ADDRESS}:500`, to: `${VIP}:500`, payload: 'keys' }))
  const ends = { from: CLIENT_ADDRESS, to: VIP }
  // Next header, length, parameter index, sequence number, check value; parameter index, sequence number, data.
  const ah = ipPacketFrame({
    ...ends,
    protocol: 51,
    payload: bytes('3b04 0000 00000001 00000001 aaaaaaaaaaaaaaaaaaaaaaaa'),
  })
  const esp = ipPacketFrame({
    ...ends,
    protocol: 50,
    payload: bytes('00000001 00000001 0123456789abcdef0123456789abcdef'),
  })
  return [ah, esp].flatMap((frame) => bench.send(OUTSIDE, frame)).map(({ frame }) => frame)
}

function ftpFrames(): Uint8Array[] {
  const specification = service()
  const servers = specification.servers.map((server) => ({ ...server, port: 21 }))
  const bench = scene({ services: [{ ...specification, port: 21, servers }] })
  bench.send(OUTSIDE, clientTcp({ to: `${VIP}:21`, flags: TCP_SYN }))
  bench.send(OUTSIDE, clientTcp({ to: `${VIP}:21` }))
  const reply = (payload: string, sequence: number) =>
    serverTcp({ from: '10.1.0.1:21', payload, sequence, flags: TCP_PSH | TCP_ACK })
  return ['', '200 Odd.\r\n']
    .flatMap((before, turn) =>
      bench.send(INSIDE, reply(`${before}227 Entering Passive Mode (10,1,0,1,156,64).\r\n`, 1 + turn * 100)),
    )
    .map(({ frame }) => frame)
}

/** What tshark makes of the frames: one row of the fields for each that the filter lets through. */
function judge(frames: readonly Uint8Array[], filter: string, fields: readonly string[]): string[][] {
  const folder = mkdtempSync(join(tmpdir(), 'golden-'))
  try {
    const file = join(folder, 'frames.pcap')
    // pcap(5): Ethernet, no more than 64 KiB a frame, all at the same time.
    const header = Buffer.from('d4c3b2a1020004000000000000000000ffff000001000000', 'hex')
    const records = frames.flatMap((frame) => {
      const record = Buffer.alloc(16)
      record.writeUInt32LE(frame.length, 8)
      record.writeUInt32LE(frame.length, 12)
      return [record, frame]
    })
    writeFileSync(file, Buffer.concat([header, ...records]))
    const checks = ['ip.check_checksum:TRUE', 'tcp.check_checksum:TRUE', 'sctp.checksum:CRC 32c'].flatMap((each) => [
      '-o',
      each,
    ])
    const wanted = fields.flatMap((field) => ['-e', field])
    const text = execFileSync('tshark', ['-r', file, ...checks, '-Y', filter, '-T', 'fields', ...wanted], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split('\t'))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const BAD = '_ws.malformed || ip.checksum.status != 1 || tcp.checksum.status == 0 || sctp.checksum.status == 0'
const cases: [what: string, frames: () => Uint8Array[], good: string, count: number][] = [
  ['SCTP by NAT, both directions', () => sctpFrames('nat'), 'sctp.checksum.status == 1', 4],
  ['SCTP by TUN', () => sctpFrames('tun'), 'sctp.checksum.status == 1', 2],
  ['SCTP by DR', () => sctpFrames('dr'), 'sctp.checksum.status == 1', 2],
  ['AH and ESP', ipsecFrames, 'ah || esp', 2],
  ['FTP reply 227', ftpFrames, 'tcp.checksum.status == 1 && ftp', 2],
]
for (const [what, frames, good, count] of cases) {
  test(`tshark finds nothing wrong with ${what}`, { skip }, async (t) => {
    t.same(judge(frames(), BAD, ['frame.number', '_ws.col.Info']), [])
    t.equal(judge(frames(), good, ['frame.number']).length, count)
  })
}

test('tshark reads the virtual address and the port out of the rewritten reply', { skip }, async (t) => {
  t.same(judge(ftpFrames().slice(0, 1), 'ftp', ['ftp.passive.ip', 'ftp.passive.port']), [[VIP, '40000']])
})

test('and would have said so: a frame with one bit turned is found', { skip }, async (t) => {
  for (const frames of [sctpFrames('nat'), ftpFrames()]) {
    frames[0][60] ^= 1
    t.equal(judge(frames, BAD, ['frame.number']).length, 1)
  }
})
