/**
 * The pool's configuration with real directors: changed anywhere, known everywhere, there after all of them were down; and what is
 * wrong is refused in one line with nothing changed and nothing taken over.
 *
 * The directors that must not start are given the highest priority of the pool: one that got as far as VRRP would take the
 * address, which the last test shows by starting the same file with nothing wrong.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { parse, stringify } from 'yaml'
import type { DirectorStatus, ServiceListing } from '../../node/director/control/answers.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { controlSocketOf } from '../../node/drill/lab-programs.ts'
import { formatEndpoint } from '../../protocol/packet/ipv6-address.ts'
import {
  ask,
  configFileOf,
  directorNames,
  endProcess,
  eventually,
  firstProcessOf,
  onHost,
  startDirector,
  vsadm,
} from './lab-directors.ts'
import { startSession } from './lab-session.ts'
import { directorCommand } from './run-director.ts'
import { withTestLab } from './test-lab.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'

const SERVICE = `${VIRTUAL_ADDRESS}:443`
/** What the lab itself has made. */
const OF_THE_LAB = [
  'tcp 10.1.0.100:80 wlc 10.1.0.21:80 dr 1',
  'tcp 10.1.0.100:7000 wlc 10.1.0.21:7000 dr 1',
  'tcp [fd00:1::100]:80 wlc [fd00:1::21]:80 dr 1',
  'tcp [fd00:1::100]:7000 wlc [fd00:1::21]:7000 dr 1',
]

/** Each change is made at another director than the one before, and rests upon what was made there. */
const CHANGES = [
  ['d1', `-A -t ${SERVICE} -s wrr`, ['tcp 10.1.0.100:443 wrr']],
  ['d2', `-a -t ${SERVICE} -r 10.1.0.21 -g -w 3`, ['tcp 10.1.0.100:443 wrr 10.1.0.21:443 dr 3']],
  ['d3', `-a -t ${SERVICE} -r 10.1.0.22 -i`, ['tcp 10.1.0.100:443 wrr 10.1.0.21:443 dr 3 10.1.0.22:443 tun 1']],
  ['d1', `-e -t ${SERVICE} -r 10.1.0.22 -m -w 7`, ['tcp 10.1.0.100:443 wrr 10.1.0.21:443 dr 3 10.1.0.22:443 nat 7']],
  ['d2', `-E -t ${SERVICE} -s rr`, ['tcp 10.1.0.100:443 rr 10.1.0.21:443 dr 3 10.1.0.22:443 nat 7']],
  ['d3', `-d -t ${SERVICE} -r 10.1.0.21`, ['tcp 10.1.0.100:443 rr 10.1.0.22:443 nat 7']],
  ['d1', '-A -u 10.1.0.100:53 -s lc', ['tcp 10.1.0.100:443 rr 10.1.0.22:443 nat 7', 'udp 10.1.0.100:53 lc']],
  ['d2', `-D -t ${SERVICE}`, ['udp 10.1.0.100:53 lc']],
] as const

const WRONG_INPUTS = [
  ['a service that is there', `-A -t ${VIRTUAL_ADDRESS}:80 -s rr`, /^Service already exists\n$/],
  ['a service that is not there', `-E -t ${VIRTUAL_ADDRESS}:81 -s rr`, /^No such service\n$/],
  ['a server that is there', `-a -t ${VIRTUAL_ADDRESS}:80 -r 10.1.0.21:80 -g`, /^Destination already exists\n$/],
  ['a server that is not there', `-d -t ${VIRTUAL_ADDRESS}:80 -r 10.1.0.29:80`, /^No such destination\n$/],
  ['a server for no service', `-a -t ${VIRTUAL_ADDRESS}:81 -r 10.1.0.21 -g`, /^Service not defined\n$/],
  ['a port out of range', `-A -t ${VIRTUAL_ADDRESS}:65536 -s rr`, /^illegal virtual server address\S* specified\n$/],
  ['a wrong address', '-A -t 10.1.0.256:80 -s rr', /^illegal virtual server address\S* specified\n$/],
  ['a scheduler that nobody knows', `-A -t ${VIRTUAL_ADDRESS}:82 -s fastest`, /^Scheduler .*not found\n$/],
  ['a weight below 0', `-e -t ${VIRTUAL_ADDRESS}:80 -r 10.1.0.21:80 -w -1`, /^illegal weight specified\n$/],
  ['an unknown option', `-A -t ${VIRTUAL_ADDRESS}:83 --frobnicate`, /^.*--frobnicate.*\n$/],
] as const

test('the configuration of a pool of three directors', { skip: needsRoot, timeout: 170_000 }, async (t) => {
  const options = {
    name: `t${process.pid}-p`,
    directors: 3,
    servers: 1,
    method: 'dr',
    // No subject here; nobody shall take over because the machine is busy.
    advertisementIntervalMs: 1000,
  } as const
  await withTestLab(options, async (lab) => {
    const running = new Map(directorNames(lab).map((name) => [name, firstProcessOf(lab, name)]))

    await t.test('what is changed at one director is the same at all', async (t) => {
      for (const [director, words, rules] of CHANGES) {
        t.same(await vsadm(lab, director, ...words.split(' ')), { code: 0, stdout: '', stderr: '' }, words)
        await agreement(lab, [...OF_THE_LAB, ...rules])
      }
      await sameListings(t, lab)
    })

    await t.test(
      'connections go on while another configuration is applied, if their service is in it as it was',
      async (t) => {
        const config = (director: string, ...words: string[]) =>
          directorCommand('config', ...words, '--socket', controlSocketOf(lab.folder, director))
        const shown = await config('d2', 'show')
        const wanted = parse(shown.stdout) as { services: { protocol: string; address: string; port: number }[] }
        const web = wanted.services.find(({ port, address }) => port === 80 && address === VIRTUAL_ADDRESS)
        Object.assign(web ?? {}, { scheduler: 'wrr' })
        wanted.services = wanted.services.filter(({ protocol }) => protocol === 'tcp')
        const file = join(lab.folder, 'pool.yaml')
        writeFileSync(file, stringify(wanted))
        const session = startSession(lab)
        t.equal(await session.ask(), 's1')
        t.match(await config('d2', 'apply', file), { code: 0, stderr: '' })
        const applied = OF_THE_LAB.map((rule) => rule.replace(/^(tcp 10\.1\.0\.100:80) wlc/, '$1 wrr'))
        await agreement(lab, applied)
        t.equal(await session.ask(), 's1', 'the session was not touched')
        writeFileSync(file, shown.stdout.replace(/^revision:.*\n/m, ''))
        t.match(await config('d3', 'apply', file), { code: 0, stderr: '' })
        await agreement(lab, [...OF_THE_LAB, 'udp 10.1.0.100:53 lc'])
        t.equal(await session.ask(), 's1')
        await endProcess(session.child, 'SIGTERM')
      },
    )

    await t.test('it is still there after all of them were down, and who comes late catches up', async (t) => {
      for (const [name, child] of running) {
        await endProcess(child, 'SIGTERM')
        t.equal(child.exitCode, 0, `${name} ends in order`)
      }
      for (const name of ['d1', 'd2']) running.set(name, startDirector(lab, name).child)
      await agreement(lab, [...OF_THE_LAB, 'udp 10.1.0.100:53 lc'], ['d1', 'd2'])
      t.equal((await vsadm(lab, 'd2', '-a', '-u', '10.1.0.100:53', '-r', '10.1.0.21', '-g')).code, 0)
      running.set('d3', startDirector(lab, 'd3').child)
      await agreement(lab, [...OF_THE_LAB, 'udp 10.1.0.100:53 lc 10.1.0.21:53 dr 1'])
      await sameListings(t, lab)
    })

    await t.test('wrong input is refused in one line, and changes nothing', async (t) => {
      const before = await vsadm(lab, 'd1', '-Ln')
      for (const [what, words, message] of WRONG_INPUTS) {
        const { code, stdout, stderr } = await vsadm(lab, 'd1', ...words.split(' '))
        t.ok(code !== 0, `${what}: exit code ${code}`)
        t.equal(stdout, '')
        t.match(stderr, message, what)
      }
      t.same(await vsadm(lab, 'd1', '-Ln'), before)
      await agreement(lab, [...OF_THE_LAB, 'udp 10.1.0.100:53 lc 10.1.0.21:53 dr 1'])
    })

    await t.test('a director that cannot run says why in one line, and takes nothing over', async (t) => {
      await endProcess(running.get('d3')!, 'SIGTERM')
      const since = await heldSince(lab)
      for (const [what, fault] of Object.entries(faultsOf(lab))) {
        const { file, message, restore, by } = fault()
        const { code, stdout, stderr } = await startDirector(lab, 'd3', file, by).outcome
        restore?.()
        t.equal(code, 1, what)
        t.equal(stdout, '', 'nothing was logged, so nothing had begun')
        t.equal(stderr.trimEnd().split('\n').length, 1, 'one line')
        t.ok(stderr.startsWith(`director: ${message}`), `${what}: ${stderr}`)
      }
      t.equal(await heldSince(lab), since, 'd1 has held the address all the time')
      const unknown = await directorCommand('node', '--config', configFileOf(lab, 'd3'), '--frobnicate')
      t.match(unknown, { code: 2, stdout: '', stderr: /^director: unknown option '--frobnicate' \(INPUT_INVALID\)\n$/ })

      const { child } = startDirector(
        lab,
        'd3',
        variant(lab, 'sound', () => {}),
      )
      await eventually('d3 takes over', async () => {
        const { vips } = await ask<DirectorStatus>(lab, 'd3', '/status')
        return vips[0].state === 'active' || undefined
      })
      await endProcess(child, 'SIGTERM')
    })
  })
})

/** When d1 became active; it has to be. */
async function heldSince(lab: Lab): Promise<number> {
  return await eventually('d1 holds the address', async () => {
    const { vips } = await ask<DirectorStatus>(lab, 'd1', '/status')
    return vips[0].activeSinceMonotonicMs ?? undefined
  })
}

interface Fault {
  readonly file: string
  readonly message: string
  readonly restore?: () => void
  /** Command to start the director by. */
  readonly by?: string[]
}

// biome-ignore lint/suspicious/noExplicitAny: a configuration file that is about to be made wrong
type AnyConfig = any

/** d3's configuration with the pool's highest priority, changed. */
function variant(lab: Lab, name: string, change: (config: AnyConfig) => void): string {
  const config = parse(readFileSync(configFileOf(lab, 'd3'), 'utf8'))
  config.vips[0].priority = 254
  change(config)
  const file = join(lab.folder, 'd3', `${name}.yaml`)
  writeFileSync(file, stringify(config))
  return file
}

function lineOf(file: string, text: string): number {
  return readFileSync(file, 'utf8').slice(0, readFileSync(file, 'utf8').indexOf(text)).split('\n').length
}

function faultsOf(lab: Lab): Record<string, () => Fault> {
  const sound = variant(lab, 'faulty', () => {})
  const inD3 = (...command: string[]) => {
    const [program, ...args] = onHost(lab, 'd3', ...command)
    execFileSync(program, args)
  }
  const forwarding = (value: number) => inD3('sh', '-c', `echo ${value} > /proc/sys/net/ipv4/ip_forward`)
  return {
    'a VIP on a kernel interface': () => {
      const address = `${VIRTUAL_ADDRESS}/32`
      inD3('ip', 'address', 'add', address, 'dev', 'outside')
      return {
        file: sound,
        message: `the host's own network stack would interfere: ${address} on outside: `,
        restore: () => inD3('ip', 'address', 'del', address, 'dev', 'outside'),
      }
    },
    'a host that forwards': () => {
      forwarding(1)
      return {
        file: sound,
        message: `the host's own network stack would interfere: net.ipv4.conf.outside.forwarding = 1: `,
        restore: () => forwarding(0),
      }
    },
    'an interface that is not there': () => ({
      file: variant(lab, 'interface', (config) => {
        config.interfaces.outside = 'eth9'
      }),
      message: 'eth9: no such network interface; this host has ',
    }),
    'a value out of range': () => {
      const file = variant(lab, 'value', (config) => {
        config.vips[0].priority = 256
      })
      return { file, message: `${file}:${lineOf(file, 'priority:')}: vips.0.priority: ` }
    },
    'an unknown field': () => {
      const file = variant(lab, 'field', (config) => {
        config.cluster.lisen = config.cluster.listen
      })
      return { file, message: `${file}:${lineOf(file, 'lisen:')}: cluster.lisen: is not a known field` }
    },
    'a file that is not there': () => {
      const file = join(lab.folder, 'd3', 'nowhere.yaml')
      return { file, message: `${file}: cannot be read: ` }
    },
    'a store that another process has open': () => {
      const store = join(lab.folder, 'd2', 'store')
      const file = variant(lab, 'store', (config) => {
        config.store = store
      })
      return { file, message: `${store}: the store is held by process ` }
    },
    'a store that cannot be read': () => {
      const store = join(lab.folder, 'd3', 'broken-store')
      mkdirSync(store, { mode: 0o700 })
      writeFileSync(join(store, 'CURRENT'), 'nonsense')
      const file = variant(lab, 'broken', (config) => {
        config.store = store
      })
      return { file, message: `${store}: ` }
    },
    'a process without the right to raw sockets': () => ({
      file: sound,
      message: 'VRRP needs a raw socket (Operation not permitted): ',
      by: ['setpriv', '--bounding-set=-net_raw'],
    }),
    'a control socket on which another director answers': () => {
      const control = controlSocketOf(lab.folder, 'd2')
      const file = variant(lab, 'control', (config) => {
        config.control = control
      })
      return { file, message: `${control}: another director answers on this control socket: ` }
    },
  }
}

/** "PROTOCOL ADDRESS:PORT SCHEDULER" and the servers, oldest first. */
function toRule({ protocol, address, port, scheduler, servers }: ServiceListing): string {
  const listed = servers.map((server) => {
    return `${formatEndpoint(server.address, server.port)} ${server.method} ${server.weight}`
  })
  return [`${protocol} ${formatEndpoint(address, port)} ${scheduler}`, ...listed].join(' ')
}

/** Waits until directors have these rules and no others. */
async function agreement(lab: Lab, rules: readonly string[], directors = directorNames(lab)): Promise<void> {
  const wanted = rules.toSorted().join('\n')
  await eventually(`${directors.join(', ')} all have ${wanted}`, async () => {
    for (const director of directors) {
      const services = await ask<ServiceListing[]>(lab, director, '/services')
      const had = services.map(toRule).toSorted().join('\n')
      if (had !== wanted) throw new Error(`${director} has ${had}`)
    }
    return true
  })
}

/** What `vsadm -Ln` prints is the same everywhere, but for the connections that each has seen. */
async function sameListings(t: Test, lab: Lab): Promise<void> {
  const listings = await Promise.all(directorNames(lab).map((director) => vsadm(lab, director, '-Ln')))
  const [first, ...others] = listings.map(({ stdout }) => stdout.replaceAll(/ +\d+ +\d+ *$/gm, ''))
  t.match(first, `TCP  ${VIRTUAL_ADDRESS}:80 wlc\n`)
  for (const other of others) t.equal(other, first)
}
