/** An explanation for people. */
import { test } from 'tap'
import type { Explanation, Question } from '../../../forwarder/engine/explain.ts'
import { renderExplanation } from '../../../node/cli/director/explain.ts'
import { endpoint } from '../../../node/cli/director/values.ts'

const question: Question = {
  protocol: 'tcp',
  client: '203.0.113.7',
  clientPort: 3456,
  virtual: '198.51.100.10',
  virtualPort: 80,
}
const candidate = { port: 80, method: 'tun', activeConnections: 2, inactiveConnections: 10, overloaded: false } as const

test('every fact has its line, and every candidate its row', async (t) => {
  const explanation: Explanation = {
    outcome: 'forwarded',
    reason: 'wlc chooses its server',
    address: 'active',
    decision: 'scheduler',
    service: { address: '198.51.100.10', port: 80, scheduler: 'wlc', flags: ['flag-1', 'flag-2'] },
    candidates: [
      { ...candidate, address: '10.1.0.2', weight: 1, isChosen: false },
      { ...candidate, address: '10.1.0.1', weight: 3, isChosen: true },
    ],
    server: { address: '10.1.0.1', port: 80, method: 'tun' },
    before: {
      link: 'eth0',
      destinationMac: '02:00:00:00:00:01',
      source: '203.0.113.7:3456',
      destination: '198.51.100.10:80',
      ttl: 64,
    },
    after: {
      link: 'eth1',
      sourceMac: '02:00:00:00:00:02',
      destinationMac: '02:00:00:00:02:01',
      outer: { source: '10.1.0.254', destination: '10.1.0.1', protocol: 4, ttl: 63 },
      source: '203.0.113.7:3456',
      destination: '198.51.100.10:80',
      ttl: 63,
    },
  }
  t.same(renderExplanation(question, explanation).split('\n'), [
    'Outcome     forwarded: wlc chooses its server',
    'Address     198.51.100.10 is active here',
    'Service     tcp 198.51.100.10:80 wlc (flag-1,flag-2)',
    'Server      10.1.0.1:80 by tun',
    'Before      eth0: ? -> 02:00:00:00:00:01, 203.0.113.7:3456 -> 198.51.100.10:80 ttl 64',
    'After       eth1: 02:00:00:00:00:02 -> 02:00:00:00:02:01, ' +
      '[10.1.0.254 -> 10.1.0.1 protocol 4 ttl 63] 203.0.113.7:3456 -> 198.51.100.10:80 ttl 63',
    '',
    '    Candidate    Method  Weight  Active  Inactive  Overloaded',
    '    10.1.0.2:80  tun          1       2        10  no',
    '->  10.1.0.1:80  tun          3       2        10  no',
  ])
})

test('a packet that goes nowhere has few lines', async (t) => {
  const reason = '198.51.100.10 is no virtual address of this director'
  t.same(renderExplanation(question, { outcome: 'host', reason, address: 'unknown', candidates: [] }).split('\n'), [
    `Outcome     host: ${reason}`,
    'Address     198.51.100.10 is unknown here',
  ])
})

test('firewall marks, templates and IPv6 have their words', async (t) => {
  const explanation: Explanation = {
    outcome: 'forwarded',
    reason: 'its persistence template chooses its server',
    address: 'active',
    decision: 'template',
    mark: 9,
    service: { mark: 9, address: '::', port: 0, scheduler: 'rr', flags: [] },
    template: { client: '2001:db8:c::', state: 'ASSURED', expiresMs: 59_600 },
    candidates: [],
    server: { address: '2001:db8:2::1', port: 80, method: 'nat' },
  }
  const asked = { ...question, client: '2001:db8:c::7', virtual: '2001:db8:1::10' }
  t.same(renderExplanation(asked, explanation).split('\n'), [
    'Outcome     forwarded: its persistence template chooses its server',
    'Address     2001:db8:1::10 is active here',
    'Mark        firewall mark 9, by a rule of `director mark list`',
    'Service     firewall mark 9 of IPv6 rr',
    'Template    of 2001:db8:c::, ASSURED, expires in 60 s',
    'Server      [2001:db8:2::1]:80 by nat',
  ])
})

const endpoints: [text: string, expected: string | undefined][] = [
  ['192.0.2.1:80', '192.0.2.1:80'],
  ['[2001:DB8:0::1]:80', '[2001:db8::1]:80'],
  ['2001:db8::1:80', undefined],
  ['[192.0.2.1]:80', undefined],
  ['[fe80::1%eth0]:80', undefined],
  ['192.0.2.1', undefined],
  ['192.0.2.1:0', undefined],
  ['[::1]:65536', undefined],
]
for (const [text, expected] of endpoints) {
  test(`${text} is ${expected ? 'an endpoint' : 'none'}`, async (t) => {
    if (expected) t.equal(endpoint(text), expected)
    else t.throws(() => endpoint(text), /ADDRESS:PORT/)
  })
}
