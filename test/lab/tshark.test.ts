/**
 * tshark as judge of every packet that a director emits: no bad checksum, nothing malformed, whatever the method, and through a
 * 1 GB download by NAT. How it is recorded, and why the checksums in it mean something, is told in emissions.ts.
 *
 * The kinds of packets that are judged are made on purpose, and counted, so that none is missing unnoticed: once from and to
 * hosts whose kernels leave checksums and segmentation to the card (large frames with unfinished checksums reach the
 * directors), and once from and to hosts that finish both themselves.
 *
 * The download is recorded whole, every byte of it (1.1 GB in the temporary folder, for as long as the test lasts): a checksum
 * covers the payload, so a recording of headers could not be judged.
 */
import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import { createWriteStream, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Test, test } from 'tap'
import type { TunnelSpec } from '../../forwarder/service.ts'
import { findActive } from '../../node/drill/drill-fault.ts'
import { type Lab, withLab } from '../../node/drill/lab.ts'
import {
  GUE_PORT,
  hostsOf,
  type LabMethod,
  SESSION_PORT,
  VIRTUAL_ADDRESS,
  WEB_PORT,
} from '../../node/drill/lab-plan.ts'
import { ICMP_CODE_PORT_UNREACHABLE, ICMP_ECHO_REQUEST, ICMP_UNREACHABLE } from '../../protocol/packet/icmp.ts'
import { TCP_SYN } from '../../protocol/packet/tcp.ts'
import { icmpFrame, packetOf, tcpFrame, udpFrame } from '../support/frames.ts'
import {
  type Emissions,
  FAULTS,
  FRAME_MAX_BYTES,
  recordEmissions,
  switchOffloadsOff,
  toolsAreMissing,
} from './emissions.ts'
import { endProcess, eventually, firstProcessOf } from './lab-directors.ts'
import { addService, askByDatagram, inject, macOf, outputOf, runOn, SINK_PORT, startSinks } from './lab-traffic.ts'

const skip =
  process.getuid?.() !== 0
    ? 'network namespaces need root'
    : toolsAreMissing() && 'packets are not judged: tcpdump, tshark or ethtool is not installed'

const GIGABYTE = 2 ** 30
/** The download waits for its recorder after each so many bytes: a slow disk shall not cost a frame. */
const RECORDED_AT_ONCE = 2 ** 25
const REFUSED_PORT = 81
const SERVERLESS_PORT = 82

/** What must have been among the judged packets, for every method. */
const KINDS = {
  'TCP segments to servers': `tcp.dstport == 80 || tcp.dstport == 8080 || tcp.dstport == ${SINK_PORT}`,
  'UDP datagrams to servers': `udp.dstport == ${SINK_PORT} && !icmp`,
  'echo replies': `icmp.type == 0 && ip.src == ${VIRTUAL_ADDRESS}`,
  'port unreachable for a port without a service': `icmp.type == 3 && icmp.code == 3 && tcp.dstport == ${REFUSED_PORT}`,
  'port unreachable for a service without a server': `icmp.type == 3 && icmp.code == 3 && tcp.dstport == ${SERVERLESS_PORT}`,
  'time exceeded': 'icmp.type == 11',
  "a client's ICMP error on its way to a server": `icmp.type == 3 && ip.src == 10.1.0.201 && udp.srcport == ${SINK_PORT}`,
  'first fragments': 'ip.flags.mf == 1 && ip.frag_offset == 0',
  'later fragments': 'ip.flags.mf == 1 && ip.frag_offset > 0',
  'last fragments': 'ip.flags.mf == 0 && ip.frag_offset > 0',
  'ARP requests': 'arp.opcode == 1 && !arp.isgratuitous',
  'ARP replies': 'arp.opcode == 2 && !arp.isgratuitous',
  'gratuitous ARP of the new holder': `arp.isgratuitous && arp.src.proto_ipv4 == ${VIRTUAL_ADDRESS}`,
  'VRRP advertisements': 'vrrp',
  'VRRP resignation': 'vrrp.prio == 0',
}
/** And besides, for one. */
const KINDS_OF: Record<LabMethod, Record<string, string>> = {
  nat: {
    'TCP segments to clients': `(tcp.srcport == ${WEB_PORT} || tcp.srcport == ${SINK_PORT}) && ip.src == ${VIRTUAL_ADDRESS}`,
    'UDP datagrams to clients': `udp.srcport == ${SINK_PORT} && ip.src == ${VIRTUAL_ADDRESS}`,
    "a server's ICMP error on its way to a client": `icmp.type == 3 && icmp.code == 3 && udp.dstport == ${SESSION_PORT}`,
    'gratuitous ARP for the gateway': 'arp.isgratuitous && arp.src.proto_ipv4 == 10.2.0.1',
  },
  tun: { 'fragmentation needed': 'icmp.type == 3 && icmp.code == 4' },
  dr: {},
}
/** tshark looks into IPIP and GRE; GUE is data to it, in a datagram whose checksum covers all. */
const KINDS_OF_TUNNEL: Record<TunnelSpec['type'], Record<string, string>> = {
  ipip: { 'IPIP packets': 'ip.proto == 4' },
  gre: { 'GRE packets with a good checksum': 'gre.proto == 0x0800 && gre.checksum.status == 1' },
  gue: { 'GUE packets with a good checksum': `udp.dstport == ${GUE_PORT} && udp.checksum.status == 1` },
}
const INSIDE_A_TUNNEL = [
  'first fragments',
  'later fragments',
  'last fragments',
  'TCP segments to servers',
  'UDP datagrams to servers',
  "a client's ICMP error on its way to a server",
]

const variants: { name: string; method: LabMethod; tunnel?: TunnelSpec['type'] }[] = [
  { name: 'nat', method: 'nat' },
  { name: 'ipip', method: 'tun', tunnel: 'ipip' },
  { name: 'gre', method: 'tun', tunnel: 'gre' },
  { name: 'gue', method: 'tun', tunnel: 'gue' },
  { name: 'dr', method: 'dr' },
]
for (const { name, method, tunnel } of variants) {
  test(`tshark finds nothing wrong with what directors emit by ${name}`, { skip, timeout: 170_000 }, async (t) => {
    const options = {
      name: `t${process.pid}-${name}`,
      directors: 2,
      servers: 2,
      method,
      tunnel,
      advertisementIntervalMs: 500,
    }
    await withLab(options, new AbortController().signal, async (lab) => {
      for (const { name } of hostsOf(lab.plan, 'director')) await switchOffloadsOff(lab, name)
      const emissions = await recordEmissions(t, lab)
      await prepareServices(lab)
      await runOn(lab, 'c1', ['ip', 'neighbour', 'flush', 'dev', 'outside'])
      await makeTraffic(t, lab)
      await handOver(lab)
      for (const { name, role } of lab.plan.hosts) if (role !== 'director') await switchOffloadsOff(lab, name)
      await makeTraffic(t, lab)
      const kinds = { ...KINDS, ...KINDS_OF[method], ...(tunnel && KINDS_OF_TUNNEL[tunnel]) }
      if (tunnel === 'gue') for (const kind of INSIDE_A_TUNNEL) delete kinds[kind as keyof typeof kinds]
      const counts: Record<string, number> = await emissions.count({ ...FAULTS, all: 'frame', ...kinds })
      await nothingIsWrong(t, emissions, counts)
      for (const kind of Object.keys(kinds)) t.ok(counts[kind] > 0, `${counts[kind]} of ${counts.all}: ${kind}`)
    })
  })
}

test('a download of 1 GB through NAT arrives whole, and tshark finds nothing wrong with any packet of it', {
  skip,
  timeout: 170_000,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'download-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'gigabyte')
  const sha256 = await writeRandomFile(file, GIGABYTE)
  // Nobody shall take over because the machine is busy.
  const options = { name: `t${process.pid}-g`, directors: 2, servers: 1, advertisementIntervalMs: 1000 }
  await withLab(options, new AbortController().signal, async (lab) => {
    symlinkSync(file, join(lab.folder, 'www', 'gigabyte'))
    for (const { name } of hostsOf(lab.plan, 'director')) await switchOffloadsOff(lab, name)
    const emissions = await recordEmissions(t, lab)
    const hash = createHash('sha256')
    let unrecorded = 0
    for await (const piece of outputOf(lab, 'c1', ['curl', '-sSf', `http://${VIRTUAL_ADDRESS}/bulk/gigabyte`])) {
      hash.update(piece)
      unrecorded += piece.length
      if (unrecorded < RECORDED_AT_ONCE) continue
      unrecorded = 0
      await emissions.caughtUp()
    }
    t.equal(hash.digest('hex'), sha256)
    const download = `tcp.srcport == ${WEB_PORT} && ip.src == ${VIRTUAL_ADDRESS}`
    const counts = await emissions.count({ ...FAULTS, download, all: 'frame' })
    await nothingIsWrong(t, emissions, counts)
    t.ok(counts.download >= GIGABYTE / FRAME_MAX_BYTES, `${counts.download} packets of the download were judged`)
  })
})

async function nothingIsWrong(t: Test, emissions: Emissions, counts: Record<keyof typeof FAULTS, number>) {
  for (const [fault, filter] of Object.entries(FAULTS)) {
    const found = counts[fault as keyof typeof FAULTS]
    const examples = found > 0 ? (await emissions.show(filter)).slice(0, 10).join('\n') : ''
    t.equal(found, 0, `frames that are ${fault}${examples && `:\n${examples}`}`)
  }
}

async function prepareServices(lab: Lab): Promise<void> {
  await startSinks(lab)
  await addService(lab, { protocol: 'tcp', port: SINK_PORT })
  await addService(lab, { protocol: 'udp', port: SINK_PORT })
  // The session server listens by TCP alone: these datagrams are refused by the server's kernel.
  await addService(lab, { protocol: 'udp', port: SESSION_PORT })
  // Nobody is there: asked for by ARP in vain, and taken away by the health checks.
  const nobody = hostsOf(lab.plan, 'server')[0].interfaces[0].address.replace(/\d+$/, '99')
  await addService(lab, { protocol: 'tcp', port: SERVERLESS_PORT }, [nobody])
}

/** Every kind of packet that clients can bring a director to emit. */
async function makeTraffic(t: Test, lab: Lab): Promise<void> {
  const [{ name, sha256 }] = lab.bulkFiles
  const url = (port: number, path: string) => `http://${VIRTUAL_ADDRESS}:${port}/${path}`
  const fetch = `curl --silent --fail ${url(WEB_PORT, `bulk/${name}`)} | sha256sum`
  t.equal((await runOn(lab, 'c1', ['sh', '-c', fetch])).split(' ')[0], sha256, 'a download')
  const upload = ['curl', '--silent', '--fail', '-T', join(lab.folder, 'www', name), url(SINK_PORT, '')]
  t.equal(await runOn(lab, 'c1', upload), sha256, 'an upload')
  const questions = Array.from({ length: 350 }, (_, index) => ({
    port: 20_000 + index,
    payload: randomBytes(1 + index * 4),
  }))
  // In fragments.
  for (const length of [1473, 4000, 20_000]) {
    questions.push({ port: 20_000 + questions.length, payload: randomBytes(length) })
  }
  const answers = await askByDatagram(lab, SINK_PORT, questions)
  t.ok(
    answers.every((answer, index) => answer.equals(questions[index].payload)),
    'datagrams of all sizes',
  )
  await inject(lab, await oddPackets(lab))
  // What comes back to these has gone the same ways, after whatever the odd packets have brought about.
  for (let i = 0; i < 2; i++) await askByDatagram(lab, SINK_PORT, questions.slice(0, 2))
}

/** Packets that no well-behaved client sends, or that no tool here sends. */
async function oddPackets(lab: Lab): Promise<Uint8Array[]> {
  const destinationMac = await macOf(lab, await findActive(lab), 'outside')
  const sourceMac = await macOf(lab, 'c1', 'outside')
  const client = hostsOf(lab.plan, 'client')[0].interfaces[0].address
  const from = (port: number, to: number) => ({
    ...{ sourceMac, destinationMac },
    ...{ from: `${client}:${port}`, to: `${VIRTUAL_ADDRESS}:${to}` },
  })
  // Short enough to be quoted whole.
  const payload = randomBytes(401)
  const echoed = udpFrame({ from: `${VIRTUAL_ADDRESS}:${SINK_PORT}`, to: `${client}:4007`, payload })
  return [
    ...[0, 1, 56, 1001, 1472].map((length) =>
      icmpFrame({ ...from(0, 0), type: ICMP_ECHO_REQUEST, rest: length, payload: randomBytes(length) }),
    ),
    tcpFrame({ ...from(4001, REFUSED_PORT), flags: TCP_SYN }),
    udpFrame({ ...from(4002, REFUSED_PORT), payload }),
    tcpFrame({ ...from(4003, SERVERLESS_PORT), flags: TCP_SYN }),
    tcpFrame({ ...from(4004, WEB_PORT), flags: TCP_SYN, ttl: 1 }),
    udpFrame({ ...from(4005, SINK_PORT), payload, ttl: 1 }),
    // The server's kernel refuses it.
    udpFrame({ ...from(4006, SESSION_PORT), payload }),
    // No socket waits for the echo of these: the client's kernel refuses it, and so do we, for methods by which the server's
    // answer does not come from the virtual address.
    udpFrame({ ...from(4007, SINK_PORT), payload }),
    udpFrame({ ...from(4008, SINK_PORT), payload, checksum: false }),
    icmpFrame({ ...from(0, 0), type: ICMP_UNREACHABLE, code: ICMP_CODE_PORT_UNREACHABLE, payload: packetOf(echoed) }),
  ]
}

/** The holder is stopped in order, and serves no more when this resolves. */
async function handOver(lab: Lab): Promise<void> {
  const holder = await findActive(lab)
  await endProcess(firstProcessOf(lab, holder), 'SIGTERM')
  await eventually('another director holds the address', async () => await findActive(lab))
}

/** Bytes that are the same nowhere in the file, so that a piece in the wrong place does not go unnoticed. Returns their SHA-256. */
async function writeRandomFile(file: string, length: number): Promise<string> {
  const cipher = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16))
  const hash = createHash('sha256')
  const zeros = new Uint8Array(2 ** 20)
  const pieces = function* () {
    for (let written = 0; written < length; written += zeros.length) {
      const piece = cipher.update(zeros)
      hash.update(piece)
      yield piece
    }
  }
  await pipeline(Readable.from(pieces()), createWriteStream(file))
  return hash.digest('hex')
}
