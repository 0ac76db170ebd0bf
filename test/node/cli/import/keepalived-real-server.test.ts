/** keepalived's real servers in each of the services that a virtual server becomes: their ports, checks, and faults. */
import { test } from 'tap'
import { imported, told } from './keepalived-text.ts'

const virtual = (target: string, lines: string) => `virtual_server ${target} {\n protocol TCP\n ${lines}\n}\n`
const real = (target: string, lines = '') => `real_server ${target} {\n ${lines}\n }`
const check = (lines = '') => `TCP_CHECK {\n ${lines}\n }`
/** Addresses and ports of all servers. */
const servers = (text: string) =>
  imported(text).services.map((service) => service.servers.map(({ address, port }) => `${address} ${port}`))

test('a server of DR or TUN has the port of its service, and it is told what becomes of its check', async (t) => {
  const everyPort = virtual(
    '10.0.0.1',
    `lb_kind DR\n persistence_timeout 300\n ${real('10.1.0.1 80', check('connect_port 80'))}`,
  )
  t.same(servers(everyPort), [['10.1.0.1 0']])
  t.match(told(everyPort), [/^5: real_server .*: with DR and TUN .*port/, /^6: TCP_CHECK: .*every port/])
  t.equal(told(everyPort).length, 2)
  const other = virtual('10.0.0.1 80', `lb_kind TUN\n ${real('10.1.0.1 8080', check())}`)
  t.same(servers(other), [['10.1.0.1 80']])
  t.match(told(other), [/^4: real_server .*: with DR/, /^5: TCP_CHECK: a server is checked at its own/])
  t.equal(told(other).length, 2)
  const asWritten = virtual('10.0.0.1 80', `lb_kind DR\n ${real('10.1.0.1 8080', check('connect_port 8080'))}`)
  t.match(told(asWritten), [/^4: /, /^6: connect_port 8080: a server is checked at its own/])
  t.equal(told(asWritten).length, 2)
})

test('a check of the port that the server has is not told', async (t) => {
  for (const text of [
    virtual('10.0.0.1 80', real('10.1.0.1', check('connect_port 80'))),
    virtual('10.0.0.1 80', `lb_kind DR\n ${real('10.1.0.1', check())}`),
    virtual('10.0.0.1 80', real('10.1.0.1 8080', check('connect_port 8080'))),
    virtual('10.0.0.1', `persistence_timeout 9\n ${real('10.1.0.1 80', check())}`),
  ])
    t.same(told(text), [], text)
})

test('the check of a server of a firewall mark is told, in a group too', async (t) => {
  const text = `virtual_server_group A {\n 10.0.0.1 80\n fwmark 7\n}\n${virtual('group A', real('10.1.0.1 80', check()))}`
  t.same(servers(text), [['10.1.0.1 80'], ['10.1.0.1 80']])
  t.match(
    told(text).filter((line) => line.includes('CHECK')),
    [/^8: TCP_CHECK: only servers of TCP services with an address are checked/],
  )
})

test('a server that cannot be there is left out, by its own line, and the others stay', async (t) => {
  const wrong: [server: string, told: RegExp][] = [
    [real('fd00::9 80'), /^3: real_server fd00::9 80: .*IP version/],
    [real('10.1.0.9 80', 'uthreshold 1\n lthreshold 2'), /^3: real_server 10\.1\.0\.9 80: lower threshold 2/],
    [real('10.1.0.9 80', 'weight 3000000000'), /^3: real_server 10\.1\.0\.9 80: weight: /],
    [real('web1 80'), /^3: real_server web1 80: expected an address/],
    [real('10.1.0.9 80', 'lvs_method TUN type gue'), /^3: real_server 10\.1\.0\.9 80: tunnel\.port: /],
    ...['0.0.0.0', '224.0.0.5'].map((address): [string, RegExp] => [
      real(`${address} 80`),
      new RegExp(`^3: real_server ${address} 80: .*the address of one host`),
    ]),
    ...['fe80::10', '::ffff:10.1.0.1'].map((address): [string, RegExp] => [
      real(`${address} 80`, 'lvs_method TUN'),
      new RegExp(`^3: real_server ${address} 80: .*the address of one host`),
    ]),
  ]
  for (const [server, why] of wrong) {
    const text = virtual('10.0.0.1 80', `${server}\n ${real('10.1.0.1 80')}`)
    t.same(servers(text), [['10.1.0.1 80']])
    t.match(told(text), [why])
    t.equal(told(text).length, 1)
    const alone = virtual('10.0.0.1 80', server)
    t.same(servers(alone), [])
    t.match(told(alone), [/^1: virtual_server 10\.0\.0\.1 80: none of its servers/, why])
  }
  const twice = virtual('10.0.0.1 80', `lb_kind DR\n ${real('10.1.0.1 80')}\n ${real('10.1.0.1 81')}`)
  t.same(servers(twice), [['10.1.0.1 80']])
  t.match(told(twice), [/^7: real_server 10\.1\.0\.1 81: this server is there already$/])
})

test('the first server says of which family a firewall mark is', async (t) => {
  const addresses = (lines: string) =>
    imported(`virtual_server fwmark 7 {\n ${lines}\n}\n`).services.map(({ address }) => address)
  t.same(addresses(`${real('10.1.0.1')}\n ${real('fd00::1')}`), ['0.0.0.0'])
  t.same(addresses(`${real('fd00::1')}\n ${real('10.1.0.1')}`), ['::'])
  t.same(addresses(`${real('fd00::1', 'lvs_method TUN')}\n ${real('10.1.0.1')}`), ['0.0.0.0'])
})
