/** keepalived.conf files put together at random and damaged: they are read without harm, and what comes out can be applied. */
import { test } from 'tap'
import { importKeepalived } from '../../node/cli/import/keepalived.ts'
import { parsePoolFile, printPoolFile } from '../../node/cli/pool-file.ts'
import { vipsSchema } from '../../node/director/vip/vip-config.ts'
import { DirectorError } from '../../protocol/errors.ts'
import { type Random, seededRandom, seeds } from '../random.ts'

const ROUNDS = 3000
const KEYWORDS =
  'virtual_server virtual_server_group real_server group fwmark vrrp_instance virtual_ipaddress virtual_router_id lb_algo lvs_sched lb_kind lvs_method protocol persistence_timeout persistence_granularity weight TCP_CHECK connect_port uthreshold lthreshold sh-port ops ip_family global_defs lvs_timeouts include advert_int priority interface virtual_ipaddress_excluded vrrp_sync_group version state nopreempt'.split(
    ' ',
  )
const VALUES =
  '10.0.0.1 10.0.0.1-9 fd00::1 fd00::1-f 10.0.0.1/24 80 0 65535 70000 7 TCP UDP rr sh mh best NAT TUN DR type gue port gre csum inet6 A 255.255.255.0 128 tcp 0.5 -1 $X @y ~SEQ eth0 eth1 dev MASTER __proto__ constructor'.split(
    ' ',
  )
const MARKS = [`\${X}`, '\n', '\n', '{', '{\n', '}', '}\n', '"', "'", '\\', '#', '!', '\r', '\t', '\0', 'é']

function randomText({ below, oneIn }: Random): string {
  const words: string[] = []
  for (let count = below(120); count > 0; count--) {
    const from = oneIn(3) ? MARKS : oneIn(2) ? KEYWORDS : VALUES
    words.push(from[below(from.length)])
  }
  return words.join(' ')
}

function randomFile(random: Random): string {
  const { below, oneIn } = random
  const pick = (list: readonly string[]) => list[below(list.length)]
  const lines = ['virtual_server_group A {', ' 10.0.0.1-3 80', ' fwmark 3', '}']
  for (let count = below(4); count > 0; count--) {
    lines.push(`virtual_server ${oneIn(3) ? 'group A' : `${pick(VALUES)} ${pick(VALUES)}`} {`)
    for (let inner = below(6); inner > 0; inner--)
      lines.push(`${pick(KEYWORDS)} ${pick(VALUES)} ${oneIn(3) ? pick(VALUES) : ''}`)
    lines.push('real_server 10.1.0.1 80 {', `${pick(KEYWORDS)} ${pick(VALUES)}`, '}', '}')
  }
  for (const name of ['A', 'B']) {
    lines.push(
      `vrrp_instance ${name} {`,
      `virtual_router_id ${below(300)}`,
      `advert_int ${oneIn(3) ? pick(VALUES) : '0.5'}`,
      `interface ${name === 'A' ? 'eth0' : pick(['eth0', 'eth1'])}`,
      oneIn(2) ? 'virtual_ipaddress {' : 'virtual_ipaddress_excluded {',
      oneIn(3) ? pick(VALUES) : pick(['10.0.0.1', '10.0.0.9', '10.0.0.9 dev eth1', 'fd00::9']),
      oneIn(2) ? 'fd00::1' : '10.0.0.1',
      '}',
      '}',
    )
  }
  lines.push('vrrp_sync_group G {', 'group {', 'A', oneIn(9) ? pick(VALUES) : 'B', '}', '}')
  const text = [...lines.join('\n')]
  for (let change = below(4); change > 0; change--) text.splice(below(text.length), below(5), pick(MARKS))
  return text.join('')
}

for (const seed of seeds(1)) {
  test(`${ROUNDS} files are imported without harm (SEED=${seed})`, async (t) => {
    const random = seededRandom(seed)
    const seen = { services: 0, vips: 0, omissions: 0 }
    for (let round = 0; round < ROUNDS; round++) {
      const text = random.oneIn(3) ? randomText(random) : randomFile(random)
      try {
        const { services, settings, vips, omissions } = importKeepalived(text, 'x')
        const printed = [...printPoolFile({ services, settings, marks: [] })].join('')
        const again = parsePoolFile(printed, 'x').content
        if (again.services.length !== services.length) t.fail(`not the same again: ${JSON.stringify(text)}`)
        vipsSchema.parse(vips)
        const lines = text.split('\n').length
        if (omissions.some(({ line }) => line < 1 || line > lines))
          t.fail(`a line that is none: ${JSON.stringify(text)}`)
        seen.services += services.length
        seen.vips += vips.length
        seen.omissions += omissions.length
      } catch (error) {
        if (!(error instanceof DirectorError))
          throw new Error(`round ${round}: ${JSON.stringify(text)}`, { cause: error })
      }
    }
    t.ok(
      Object.values(seen).every((count) => count > 100),
      `it got somewhere: ${JSON.stringify(seen)}`,
    )
  })
}
