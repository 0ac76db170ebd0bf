/**
 * Files and datagrams of every length arrive whole by every method and every kind of tunnel, in both address families and between
 * them; and tshark judges every packet that a director emits meanwhile: no bad checksum, nothing malformed. So it does through a
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
import { basename, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import t, { type Test, test } from 'tap'
import type { TunnelSpec } from '../../forwarder/service.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { findActive } from '../../node/drill/lab-directors.ts'
import {
  FAMILIES,
  type Family,
  hostsOf,
  type LabMethod,
  SESSION_PORT,
  VIRTUAL_ADDRESS,
  VIRTUAL_ADDRESSES,
  WEB_PORT,
  WEB_PORT_INSIDE,
} from '../../node/drill/lab-plan.ts'
import { formatEndpoint } from '../../protocol/packet/ipv6-address.ts'
import { kindsFor } from './emission-kinds.ts'
import {
  type Emissions,
  FAULTS,
  FRAME_MAX_BYTES,
  recordEmissions,
  switchOffloadsOff,
  toolsAreMissing,
} from './emissions.ts'
import { endProcess, eventually, firstProcessOf } from './lab-directors.ts'
import {
  ACROSS_PORT,
  addService,
  askByDatagram,
  inject,
  outputOf,
  runOn,
  SINK_PORT,
  serverAddresses,
  startSinks,
} from './lab-traffic.ts'
import { oddPackets, SERVERLESS_PORT } from './odd-packets.ts'
import { teardown, withTestLab } from './test-lab.ts'

const skip =
  process.getuid?.() !== 0
    ? 'network namespaces need root'
    : toolsAreMissing() && 'packets are not judged: tcpdump, tshark or ethtool is not installed'

// Six labs, one after another, on a machine that may be busy.
t.setTimeout(500_000)

const GIGABYTE = 2 ** 30
/** Of the file that is loaded up and down in every way: long enough for large frames, since every packet of it is judged. */
const FILE_BYTES = 2 ** 21
/** Datagrams that fit into one packet; the longest of them no longer in a tunnel. */
const AROUND_FULL = [1, 1400, 1440, 1452, 1453, 1472]
/** Datagrams in fragments: the last is the longest that UDP has. */
const FRAGMENTED = [1473, 4000, 20_000, 65_507]
/** The download waits for its recorder after each so many bytes: a slow disk shall not cost a frame. */
const RECORDED_AT_ONCE = 2 ** 25

const variants: { name: string; method: LabMethod; tunnel?: TunnelSpec['type']; virtualMac?: boolean }[] = [
  // By way of virtual MACs, so that what comes from them is judged too.
  { name: 'nat', method: 'nat', virtualMac: true },
  { name: 'ipip', method: 'tun', tunnel: 'ipip' },
  { name: 'gre', method: 'tun', tunnel: 'gre' },
  { name: 'gue', method: 'tun', tunnel: 'gue' },
  { name: 'dr', method: 'dr' },
]
for (const { name, method, tunnel, virtualMac } of variants) {
  test(`everything arrives whole by ${name}, and tshark finds nothing wrong with what directors emit`, {
    skip,
    timeout: 170_000,
  }, async (t) => {
    const options = {
      name: `t${process.pid}-${name}`,
      directors: 2,
      servers: 2,
      method,
      tunnel,
      virtualMac,
      advertisementIntervalMs: 500,
    }
    await withTestLab(options, async (lab) => {
      for (const { name } of hostsOf(lab.plan, 'director')) await switchOffloadsOff(lab, name)
      const emissions = await recordEmissions(t, lab)
      const file = join(lab.folder, 'www', 'file')
      const sha256 = await writeRandomFile(file, FILE_BYTES)
      await prepareServices(lab)
      await runOn(lab, 'c1', ['ip', 'neighbour', 'flush', 'dev', 'outside'])
      for (const family of FAMILIES) await makeTraffic(t, lab, family, file, sha256)
      await handOver(lab)
      for (const { name, role } of lab.plan.hosts) if (role !== 'director') await switchOffloadsOff(lab, name)
      for (const family of FAMILIES) await makeTraffic(t, lab, family, file, sha256)
      const kinds = kindsFor(method, tunnel)
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
  teardown(t, () => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'gigabyte')
  const sha256 = await writeRandomFile(file, GIGABYTE)
  // Nobody shall take over because the machine is busy.
  const options = { name: `t${process.pid}-g`, directors: 2, servers: 1, advertisementIntervalMs: 1000 }
  await withTestLab(options, async (lab) => {
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
  for (const [family, other] of [FAMILIES, FAMILIES.toReversed()]) {
    await addService(lab, { protocol: 'tcp', port: SINK_PORT, family })
    await addService(lab, { protocol: 'udp', port: SINK_PORT, family })
    // The session server listens by TCP alone: these datagrams are refused by the server's kernel.
    await addService(lab, { protocol: 'udp', port: SESSION_PORT, family })
    // Nobody is there: asked for in vain, and taken away by the health checks.
    const [first] = serverAddresses(lab, family)
    await addService(lab, { protocol: 'tcp', port: SERVERLESS_PORT, family }, [first.replace(/\d+$/, '99')])
    if (lab.plan.method !== 'tun') continue
    await addService(lab, { protocol: 'tcp', port: WEB_PORT_INSIDE, family }, serverAddresses(lab, other))
    for (const protocol of ['tcp', 'udp'] as const)
      await addService(lab, { protocol, port: ACROSS_PORT, family }, serverAddresses(lab, other))
  }
  if (lab.plan.method === 'tun') await startSinks(lab, ACROSS_PORT)
}

/** Every kind of packet that clients can bring a director to emit. */
async function makeTraffic(t: Test, lab: Lab, family: Family, file: string, sha256: string): Promise<void> {
  const url = (port: number, path: string) => `http://${formatEndpoint(VIRTUAL_ADDRESSES[family], port)}/${path}`
  const fetch = `curl --silent --fail '${url(WEB_PORT, `bulk/${basename(file)}`)}' | sha256sum`
  t.equal((await runOn(lab, 'c1', ['sh', '-c', fetch])).split(' ')[0], sha256, `${family}: a download`)
  if (lab.plan.method === 'tun') {
    const hello = ['curl', '--silent', '--fail', url(WEB_PORT_INSIDE, 'hello')]
    t.equal(await runOn(lab, 'c1', hello), 'hello\n', `${family}: by a tunnel of the other family`)
  }
  for (const port of lab.plan.method === 'tun' ? [SINK_PORT, ACROSS_PORT] : [SINK_PORT]) {
    const upload = ['curl', '--silent', '--fail', '-T', file, url(port, '')]
    t.equal(await runOn(lab, 'c1', upload), sha256, `${family}: an upload to port ${port}`)
    const whole = port === SINK_PORT ? Array.from({ length: 350 }, (_, index) => 1 + index * 4) : AROUND_FULL
    const lengths = [...whole, ...FRAGMENTED]
    const questions = lengths.map((length, index) => ({ port: 20_000 + index, payload: randomBytes(length) }))
    const answers = await askByDatagram(lab, port, questions, family)
    for (const [index, { payload }] of questions.entries()) {
      if (!answers[index].equals(payload)) t.fail(`${family}: a datagram of ${payload.length} bytes to port ${port}`)
    }
  }
  await inject(lab, await oddPackets(lab, family))
  // What comes back to these has gone the same ways, after whatever the odd packets have brought about.
  const questions = [20_000, 20_001].map((port) => ({ port, payload: randomBytes(100) }))
  for (let i = 0; i < 2; i++) await askByDatagram(lab, SINK_PORT, questions, family)
}

/** The holder is stopped in order, and serves no more when this resolves. */
async function handOver(lab: Lab): Promise<void> {
  const holder = await findActive(lab)
  await endProcess(firstProcessOf(lab, holder), 'SIGTERM')
  for (const family of FAMILIES) {
    await eventually(`another director holds the address, ${family}`, async () => await findActive(lab, family))
  }
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
