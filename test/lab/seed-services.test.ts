/**
 * The services that the 1999 documentation lists as known to work (httpd, DNS, smtp, telnet, finger, proxy, nntp), with programs
 * from Debian at both ends, through a pool by every method. Those with long sessions go on when the active director is killed.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { missingPackages, programFolders, testPackages } from '../../node/cli/setup/packages.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { findActive } from '../../node/drill/lab-directors.ts'
import { hostsOf, VIRTUAL_ADDRESS, WEB_PORT } from '../../node/drill/lab-plan.ts'
import { Conversation } from './conversation.ts'
import { endProcess, eventually, firstProcessOf, UNHURRIED } from './lab-directors.ts'
import { addService, runOn } from './lab-traffic.ts'
import { ASKED_NAME, SEED_PORTS, SEED_SERVICES, startSeedPrograms } from './seed-programs.ts'
import { withTestLab } from './test-lab.ts'

const missing = missingPackages(testPackages, programFolders(process.env.PATH))
const skip =
  process.getuid?.() !== 0
    ? 'network namespaces need root'
    : missing.length > 0 && `not installed: ${missing.join(', ')}`

for (const method of ['nat', 'tun', 'dr'] as const) {
  test(`the services of the 1999 documentation work by ${method}, and survive the active director`, {
    skip,
    timeout: 120_000,
  }, async (t) => {
    const options = {
      name: `t${process.pid}-s${method}`,
      directors: 2,
      servers: 2,
      method,
      ...UNHURRIED,
      scheduler: 'rr',
    }
    await withTestLab(options, async (lab) => {
      await startSeedPrograms(lab)
      for (const service of SEED_SERVICES) await addService(lab, service)
      await shortOnes(t, lab)
      const lines = await longOnes(t, lab)
      t.teardown(() => Promise.all(Object.values(lines).map((line) => line.end())))
      const active = await findActive(lab)
      await endProcess(firstProcessOf(lab, active), 'SIGKILL')
      await goOn(t, lines)
      t.not(await findActive(lab), active, 'another director holds the address')
      await shortOnes(t, lab)
    })
  })
}

/** A question and an answer each; both servers answer, in turns. */
async function shortOnes(t: Test, lab: Lab): Promise<void> {
  const servers = hostsOf(lab.plan, 'server')
  const addresses = servers.map((server) => server.interfaces[0].address).sort()
  for (const transport of ['+notcp', '+tcp']) {
    const ask = ['dig', transport, '+short', '+tries=1', `@${VIRTUAL_ADDRESS}`, ASKED_NAME, 'A']
    const answers = [await runOn(lab, 'c1', ask), await runOn(lab, 'c1', ask)].map((answer) => answer.trim())
    t.same(answers.sort(), addresses, `DNS ${transport}: each server in its turn`)
  }
  const mail = join(lab.folder, 'message')
  writeFileSync(mail, 'Subject: one of many\r\n\r\nHello.\r\n')
  const send = ['curl', '-sS', `smtp://${VIRTUAL_ADDRESS}:${SEED_PORTS.smtp}/c1.lab`, '--mail-from', 'a@lab']
  t.equal(await runOn(lab, 'c1', [...send, '--mail-rcpt', 'b@lab', '-T', mail]), '', 'smtp takes a message')
  t.match(await runOn(lab, 'c1', ['finger', `root@${VIRTUAL_ADDRESS}`]), /Login: root/, 'finger')
  const hello = (...words: string[]) => runOn(lab, 'c1', ['curl', '-sSf', ...words])
  t.equal(await hello(`http://${VIRTUAL_ADDRESS}:${WEB_PORT}/hello`), 'hello\n', 'httpd')
  const proxy = `http://${VIRTUAL_ADDRESS}:${SEED_PORTS.proxy}`
  t.equal(await hello('-x', proxy, `http://127.0.0.1:${WEB_PORT}/hello`), 'hello\n', 'proxy')
}

/** Opens a session of each kind that lasts, and brings it to somewhere in its middle. */
async function longOnes(t: Test, lab: Lab) {
  const begin = (port: number) => Conversation.begin(lab, port)
  const telnet = await begin(SEED_PORTS.telnet)
  await telnet.say('before', /before\s+before/)
  const smtp = await begin(SEED_PORTS.smtp)
  await smtp.hear(/^220 s\d\.lab/m)
  await smtp.say('EHLO c1.lab', /^250 HELP/m)
  await smtp.say('MAIL FROM:<a@lab>', /^250 OK/m)
  const nntp = await begin(SEED_PORTS.nntp)
  await nntp.hear(/^20[01] /m)
  await nntp.say('LIST', /^215 /m)
  const proxy = await begin(SEED_PORTS.proxy)
  await proxy.say(`CONNECT 127.0.0.1:${WEB_PORT} HTTP/1.0\n`, /^HTTP\/1\.0 200/m)
  const lines = { telnet, smtp, nntp, proxy }
  const closed = Object.entries(lines).flatMap(([name, { isOver }]) => (isOver ? name : []))
  t.same(closed, [], 'telnet, smtp, nntp and a tunnel through the proxy are open')
  return lines
}

async function goOn(t: Test, lines: Awaited<ReturnType<typeof longOnes>>): Promise<void> {
  t.match(await lines.telnet.say('after', /after\s+after/), /after/, 'telnet goes on')
  await lines.smtp.say('RCPT TO:<b@lab>', /^250 Accepted/m)
  await lines.smtp.say('DATA', /^354 /m)
  const taken = await lines.smtp.say('Subject: over the failure\n\nHello.\n.', /^250 OK id=/m)
  t.match(taken, /OK id=/, 'smtp takes the message that was begun before')
  t.match(await lines.nntp.say('LIST', /^215 /m), /^215 /m, 'nntp goes on')
  t.match(await lines.proxy.say('GET /hello HTTP/1.0\n', /\n\nhello/), /hello/, 'the tunnel through the proxy goes on')
  await eventually('the proxied answer ends the line', async () => lines.proxy.isOver || undefined)
}
