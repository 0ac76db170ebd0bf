/** When a lab's pool counts as ready. */
import { test } from 'tap'
import type { DirectorStatus, ServerListing } from '../../../node/director/control/answers.ts'
import { hostsOf, planLab } from '../../../node/drill/lab-plan.ts'
import { whatIsMissing } from '../../../node/drill/lab-ready.ts'

const plan = planLab({ name: 'a', servers: 2 })

/** The statuses of a pool that is ready; `change` may spoil them. */
function statuses(change: (statuses: (DirectorStatus | undefined)[]) => void = () => {}) {
  const names = hostsOf(plan, 'director').map((host) => host.name)
  const ready = names.map((name, index) => ({
    name,
    inSync: true,
    vips: ['10.1.0.100', 'fd00:1::100'].map((address) => ({
      addresses: [address],
      state: index === 0 ? 'active' : 'backup',
    })),
    peers: names.filter((other) => other !== name).map((other) => ({ name: other, connected: true })),
    services: (
      [
        ['10.1.0.100', 80, 8080, '10.2.0.11', '10.2.0.12'],
        ['10.1.0.100', 7000, 7000, '10.2.0.11', '10.2.0.12'],
        ['fd00:1::100', 80, 8080, 'fd00:2::11', 'fd00:2::12'],
        ['fd00:1::100', 7000, 7000, 'fd00:2::11', 'fd00:2::12'],
      ] as const
    ).map(([address, port, serverPort, ...servers]) => ({
      protocol: 'tcp',
      address,
      port,
      servers: servers.map((server) => ({ address: server, port: serverPort, health: 'up', load: 0 })),
    })),
  })) as unknown as DirectorStatus[]
  change(ready)
  return ready
}
const serverOf = (status: DirectorStatus | undefined, service: number, server: number): ServerListing =>
  status!.services[service].servers[server]

test('a pool with one active director, all in sync, and every server up everywhere is ready', (t) => {
  t.equal(whatIsMissing(plan, statuses()), undefined)
  t.end()
})

test('whatever else is named, with the director where it is so', (t) => {
  const cases: [(statuses: (DirectorStatus | undefined)[]) => void, string, RegExp][] = [
    [
      (all) => {
        all[2] = undefined
      },
      'd3',
      /does not answer on its control socket/,
    ],
    [
      (all) => {
        all[1]!.peers[1].connected = false
      },
      'd2',
      /not connected to d3/,
    ],
    [
      (all) => {
        all[1]!.peers.pop()
      },
      'd2',
      /not connected to d3/,
    ],
    [
      (all) => {
        all[2]!.inSync = false
      },
      'd3',
      /not in sync/,
    ],
    [
      (all) => {
        all[1]!.services.shift()
      },
      'd2',
      /does not know the service tcp 10.1.0.100:80/,
    ],
    [
      (all) => {
        all[1]!.services.splice(2, 1)
      },
      'd2',
      /does not know the service tcp \[fd00:1::100\]:80/,
    ],
    [
      (all) => {
        serverOf(all[0], 3, 0).health = 'down'
      },
      'd1',
      /server \[fd00:2::11\]:7000 of tcp \[fd00:1::100\]:7000 is down/,
    ],
    [
      (all) => {
        serverOf(all[2], 0, 1).load = null
      },
      'd3',
      /no agent speaks for server 10.2.0.12:8080/,
    ],
    [
      (all) => {
        serverOf(all[1], 1, 1).health = 'down'
      },
      'd2',
      /10.2.0.12:7000 of tcp 10.1.0.100:7000 is down/,
    ],
    [
      (all) => {
        all[0]!.services[0].servers.pop()
      },
      'd1',
      /10.2.0.12:8080 .* is missing/,
    ],
    [
      (all) => {
        all[0]!.vips[0].state = 'backup'
      },
      'd1',
      /nobody holds 10.1.0.100/,
    ],
    [
      (all) => {
        all[2]!.vips[1].state = 'active'
      },
      'd3',
      /holds fd00:1::100, and so does d1/,
    ],
    [
      (all) => {
        all[0]!.vips[1].state = 'backup'
        all[1]!.vips[1].state = 'active'
      },
      'd2',
      /holds one virtual address, but d1 the other/,
    ],
    [
      (all) => {
        all[1]!.vips[0].state = 'init'
      },
      'd2',
      /VRRP for 10.1.0.100 is in state init/,
    ],
  ]
  for (const [spoil, host, what] of cases) t.match(whatIsMissing(plan, statuses(spoil)), { host, what })
  t.end()
})
