/** `director config` against a pool that is served: the whole configuration out and in, its history, and the way back. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type Test, test } from 'tap'
import { renderHistory } from '../../../node/cli/director/history-table.ts'
import { runDirectorCommand } from '../../../node/cli/director/program.ts'
import type { PoolDocument, RevisionListing } from '../../../node/director/control/answers.ts'
import { requestRollback } from '../../../node/director/control/client.ts'
import { servePool } from './served-pool.ts'

interface Outcome {
  stdout: string
  stderr: string
  rc: number
}

const FILE = `services:
  - protocol: fwm
    address: "::"
    port: 0
    mark: 7
    scheduler: sh
    schedulerFlags: [ sh-port, sh-fallback ]
    servers:
      - { address: fd00::1, port: 0, method: tun, weight: 1, tunnel: { type: gue, port: 6080, checksum: none } }
  - protocol: tcp
    address: 10.0.0.100
    port: 80
    scheduler: wrr
    persistence: { timeoutS: 300, netmask: 255.255.255.255 }
    servers:
      - { address: 10.1.0.1, port: 8000, method: nat, weight: 3 }
      - { address: 10.1.0.2, port: 8000, method: nat, weight: 0, upperThreshold: 9, lowerThreshold: 2 }
settings:
  drop_entry: 1
marks:
  - { mark: 7, protocol: tcp, destination: fd00:9::/64, firstPort: 80, lastPort: 90 }
`

async function serve(t: Test) {
  const pool = await servePool(t)
  const path = join(t.testdir(), 'pool.yaml')
  /** The word FILE is a file with this content. */
  const config = async (words: string, content = ''): Promise<Outcome> => {
    writeFileSync(path, content)
    const outcome = { stdout: '', stderr: '', rc: 0 }
    outcome.rc = await runDirectorCommand(
      ['config', ...words.replace('FILE', path).split(' '), '--socket', pool.socketPath],
      { write: (text) => (outcome.stdout += text) },
      { write: (text) => (outcome.stderr += text.replaceAll(path, 'FILE')) },
    )
    return outcome
  }
  const document = () => pool.control('GET', '/configuration') as Promise<PoolDocument>
  return { ...pool, config, document }
}

test('a file is shown as a difference, applied as a whole, and printed in the same form again', async (t) => {
  const { config, document } = await serve(t)
  await t.test('nothing is there at first', async (t) => {
    const { stdout } = await config('show')
    t.equal(stdout, 'revision: "000000000000"\nservices: []\nsettings: {}\nmarks: []\n')
    t.equal((await config('apply FILE', stdout)).stdout, 'nothing to change: revision 000000000000\n')
  })
  const difference = [
    '+ fwm 7 of [::]:0 scheduler sh schedulerFlags ["sh-port","sh-fallback"]',
    '+ fwm 7 of [::]:0 server [fd00::1]:0 method tun weight 1 tunnel {"type":"gue","port":6080,"checksum":"none"}',
    '+ tcp 10.0.0.100:80 scheduler wrr persistence {"timeoutS":300,"netmask":"255.255.255.255"}',
    '+ tcp 10.0.0.100:80 server 10.1.0.1:8000 method nat weight 3',
    '+ tcp 10.0.0.100:80 server 10.1.0.2:8000 method nat weight 0 upperThreshold 9 lowerThreshold 2',
    '~ setting drop_entry 0 -> 1',
    '+ mark 7 --protocol tcp --destination fd00:9::/64 --port 80-90, in place 1',
    '',
  ].join('\n')
  t.same(await config('apply FILE --dry-run', FILE), { stdout: difference, stderr: '', rc: 0 })
  t.equal((await document()).services.length, 0, 'a dry run changes nothing')
  const applied = await config('apply FILE', FILE)
  const { revision } = await document()
  t.same(applied, { stdout: `${difference}revision ${revision}\n`, stderr: '', rc: 0 })
  const { stdout: shown } = await config('show')
  const [head, ...rest] = shown.split('\n')
  t.match(head, new RegExp(`^revision: "?${revision}"?$`))
  t.equal(rest.join('\n'), FILE)
  t.equal((await config('apply FILE', shown)).stdout, `nothing to change: revision ${revision}\n`, 'show | apply')
  t.equal((await config('apply FILE', FILE)).stdout, `nothing to change: revision ${revision}\n`, 'and twice is once')
})

test('a default that a file names is no change', async (t) => {
  const { config } = await serve(t)
  await config('apply FILE', FILE)
  const { stdout: shown } = await config('show')
  const said = shown.replace('scheduler: wrr', '$&\n    sync: established')
  t.match(await config('apply FILE', said), { stdout: /^nothing to change: revision/, stderr: '' })
})

test('only what differs is changed; what is not in the file goes', async (t) => {
  const { config, control, document } = await serve(t)
  await config('apply FILE', FILE)
  await control('POST', '/services', { protocol: 'udp', address: '10.0.0.100', port: 53, scheduler: 'rr' })
  const changed = FILE.replace('weight: 3', 'weight: 4')
    .replace(/settings:.*/s, '')
    .replace(
      '      - { address: 10.1.0.2',
      '      - { address: 10.1.0.9, port: 8000, method: dr }\n      - { address: 10.1.0.2',
    )
  const { stdout } = await config('apply FILE', changed)
  t.match(stdout.split('\n'), [
    '~ tcp 10.0.0.100:80 server 10.1.0.1:8000 weight 3 -> 4',
    '+ tcp 10.0.0.100:80 server 10.1.0.9:80 method dr weight 1',
    '- udp 10.0.0.100:53 scheduler rr, 0 servers',
    '~ setting drop_entry 1 -> 0',
    '- mark 7 --protocol tcp --destination fd00:9::/64 --port 80-90',
    /^revision/,
  ])
  t.match(await document(), { settings: {}, marks: [], services: { length: 2 } })
  const revisions = (await control('GET', '/revisions')) as RevisionListing[]
  t.equal(revisions[0].change?.summary, '1 service changed, 1 service removed, settings, mark rules')
})

const refusals: [sentence: string, content: string, stderr: RegExp][] = [
  ['no YAML', 'services: [', /^director: FILE:1: not valid YAML: .*\(CONFIG_INVALID\)\n$/],
  ['a list of services that is missing', 'settings: {}', /^director: FILE:1: services: .*\(CONFIG_INVALID\)\n$/],
  [
    'an unknown field',
    FILE.replace('weight: 3', 'wait: 3'),
    /^director: FILE:16: services\.1\.servers\.0\.wait: is not a/,
  ],
  ['a port that is none', FILE.replace('port: 80\n', 'port: 70000\n'), /^director: FILE:12: services\.1\.port: /],
  [
    'a service twice',
    FILE.replace('settings:', '  - { protocol: tcp, address: 10.0.0.100, port: 80 }\nsettings:'),
    /^director: FILE:18: services\.2: expected each service once/,
  ],
  [
    'an unknown scheduler',
    FILE.replace('scheduler: sh\n', 'scheduler: fair\n'),
    /^director: FILE:2: services\.0: there is no scheduler fair.*\(SCHEDULER_UNKNOWN\)\n$/,
  ],
  [
    'a server twice',
    FILE.replace('10.1.0.2', '10.1.0.1'),
    /^director: FILE:10: services\.1: .*10\.1\.0\.1:8000 already.*\(SERVER_EXISTS\)\n$/,
  ],
  [
    'a setting that is not one',
    FILE.replace('drop_entry', 'speed'),
    /^director: FILE:18: settings: there is no setting "speed".*\n$/,
  ],
  [
    'a mark rule twice',
    `${FILE}  - { mark: 7, protocol: tcp, destination: fd00:9::/64, firstPort: 80, lastPort: 90 }\n`,
    /^director: FILE:20: marks: .*\(MARK_EXISTS\)\n$/,
  ],
  [
    'a revision without quotes',
    `revision: 123456789012\n${FILE}`,
    /^director: FILE:1: revision: expected a revision, in quotes/,
  ],
]
test('a file that is wrong is refused with its line and field, and nothing is changed', async (t) => {
  const { config, document } = await serve(t)
  for (const [sentence, content, stderr] of refusals) {
    const outcome = await config('apply FILE', content)
    t.match(outcome, { stdout: '', stderr, rc: 1 }, sentence)
  }
  t.match(await config('apply /nonexistent.yaml'), {
    stderr: /^director: \/nonexistent\.yaml: .*\(CONFIG_UNREADABLE\)/,
    rc: 1,
  })
  t.equal((await document()).revision, '000000000000')
})

test('a file that was made from a revision is refused when the configuration has changed since', async (t) => {
  const { config, control, document } = await serve(t)
  await config('apply FILE', FILE)
  const { stdout: shown } = await config('show')
  await control('PUT', '/settings', { drop_packet: 1 })
  const before = await document()
  const edited = shown.replace('weight: 3', 'weight: 5')
  for (const words of ['apply FILE --dry-run', 'apply FILE']) {
    t.match(await config(words, edited), {
      stdout: '',
      stderr:
        /^director: the configuration is at revision .* ~ setting drop_packet 0 -> 1 \(by a, .*\(REVISION_CONFLICT\)\n$/,
      rc: 1,
    })
  }
  t.same(await document(), before)
  t.equal((await config('apply FILE', edited.replace(/^revision.*\n/, ''))).rc, 0, 'without the line it is overwritten')
})

test('history, differences and the way back', async (t) => {
  const { config, document } = await serve(t)
  await config('apply FILE', FILE)
  const first = await document()
  await config('apply FILE', FILE.replace('weight: 3', 'weight: 4'))
  const second = await document()
  const { stdout: table } = await config('history')
  t.match(table.split('\n'), [
    /^Revision +When +Director +Change$/,
    new RegExp(`^${second.revision} +2026-01-01T.*Z +a +~ tcp 10.0.0.100:80 server 10.1.0.1:8000 weight 3 -> 4$`),
    new RegExp(`^${first.revision} +2026-01-01T.*Z +a +2 services added, settings, mark rules$`),
    /^000000000000 +what there was before$/,
  ])
  t.match(JSON.parse((await config('history --json')).stdout), [{ revision: second.revision }, {}, { change: null }])
  t.equal((await config('diff')).stdout, '~ tcp 10.0.0.100:80 server 10.1.0.1:8000 weight 3 -> 4\n', 'the last change')
  t.equal(
    (await config(`diff ${second.revision} ${first.revision}`)).stdout,
    '~ tcp 10.0.0.100:80 server 10.1.0.1:8000 weight 4 -> 3\n',
  )
  t.equal((await config(`diff ${second.revision}`)).stdout, '')
  t.equal(
    (await config(`show --revision ${first.revision}`)).stdout.split('\n')[0].replaceAll('"', ''),
    `revision: ${first.revision}`,
  )
  const { stdout } = await config(`rollback ${first.revision}`)
  const { revision, ...restored } = await document()
  t.equal(stdout, `~ tcp 10.0.0.100:80 server 10.1.0.1:8000 weight 4 -> 3\nrevision ${revision}\n`)
  t.same(restored, { services: first.services, settings: first.settings, marks: first.marks })
  t.match(await config('rollback dddddddddddd'), {
    stderr: /has no revision dddddddddddd.*\(REVISION_MISSING\)\n$/,
    rc: 1,
  })
  t.match(await config(`rollback ${first.revision}`), { stdout: `nothing to change: revision ${revision}\n` })
  t.match(await config('rollback there'), {
    stderr: /[Ee]xpected a revision as `director config history` lists them/,
    rc: 2,
  })
})

test('the way back is taken only from what the difference was shown of', async (t) => {
  const asked: string[] = []
  const revisions = JSON.stringify([{ revision: 'aaaaaaaaaaaa' }, { revision: 'bbbbbbbbbbbb' }])
  const server = createServer(({ method, url, headers }, response) => {
    asked.push(`${method} ${url} ${headers['if-match'] ?? ''}`.trim())
    response.setHeader('content-type', 'application/json')
    if (url === '/revisions') response.end(revisions)
    else if (method === 'GET') response.end('["- something"]')
    else response.writeHead(412).end(JSON.stringify({ code: 'REVISION_CONFLICT', message: 'it is another by now' }))
  })
  const path = join(mkdtempSync(join(tmpdir(), 'config-')), 'socket')
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.teardown(() => {
    server.close()
    rmSync(dirname(path), { recursive: true })
  })
  await t.rejects(requestRollback(path, 'bbbb'), { code: 'REVISION_CONFLICT' })
  t.same(asked, ['GET /revisions', 'GET /difference?from=aaaaaaaaaaaa&to=bbbb', 'POST /rollback "aaaaaaaaaaaa"'])
})

test('what a change of a peer has overridden stands below it, and what was made at the same time', async (t) => {
  const table = renderHistory([
    {
      revision: 'abcdabcdabcd',
      change: {
        madeMs: 0,
        director: 'd2',
        summary: '~ setting drop_entry 0 -> 1',
        overridden: ['settings by d1, then'],
        beside: ['aaaaaaaaaaaa by d1, then: mark rules'],
      },
    },
    { revision: '000000000000', change: null },
  ])
  t.same(table.split('\n').slice(1), [
    'abcdabcdabcd  1970-01-01T00:00:00.000Z  d2        ~ setting drop_entry 0 -> 1',
    '                                                  overrides settings by d1, then',
    '                                                  beside aaaaaaaaaaaa by d1, then: mark rules',
    '000000000000                                      what there was before',
  ])
})

test('a change over the control socket may be based on a revision, and only on the one in force', async (t) => {
  const { control, socketPath, document } = await serve(t)
  const { request } = await import('../../../node/director/control/client.ts')
  const { revision: base } = await document()
  const service = { protocol: 'tcp', address: '10.0.0.100', port: 80 }
  const { revision } = (await control('POST', '/services', service)) as { revision: string }
  t.equal(revision, (await document()).revision)
  const changes: [method: string, path: string, body: unknown][] = [
    ['PUT', '/services', service],
    ['DELETE', '/services', service],
    ['POST', '/clear', {}],
    ['POST', '/servers', { service, address: '10.1.0.1', port: 80 }],
    ['PUT', '/settings', { drop_entry: 1 }],
    ['POST', '/marks', { rule: { mark: 7 } }],
    ['POST', '/rollback', { revision: base }],
  ]
  for (const [method, path, body] of changes) {
    await t.rejects(request(socketPath, method, path, body, base), { code: 'REVISION_CONFLICT' }, `${method} ${path}`)
  }
  await t.rejects(request(socketPath, 'POST', '/clear', {}, 'newest'), {
    code: 'INPUT_INVALID',
    message: /^If-Match: /,
  })
  t.equal((await document()).revision, revision)
  await t.resolves(request(socketPath, 'POST', '/clear', {}, revision))
})
