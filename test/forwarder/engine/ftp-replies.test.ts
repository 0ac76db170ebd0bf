/** FTP's replies that come in pieces: a director by NAT cannot rewrite what it has let go. */
import { test } from 'tap'
import { readUint16 } from '../../../protocol/packet/bytes.ts'
import { TCP_ACK, TCP_FIN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { checksumsAreRight } from '../../support/frames.ts'
import { answer, CONTROL, ftpScene, logIn, PUSH, REPLY_227, server, states, text } from '../../support/ftp-scene.ts'
import { finish, INSIDE, segmentationHeader, unfinish, unfinishedHeader } from '../../support/scene.ts'

test('a reply whose end is not there yet waits for the server to send it whole', async (t) => {
  const bench = logIn(ftpScene('nat'))
  t.same(answer(bench, REPLY_227.slice(0, 30)), [])
  t.equal(bench.drops.toObject()['ftp-incomplete'], 1)
  t.match(text(answer(bench, REPLY_227)[0].frame), /^227 Passive Mode/)
  t.equal(answer(bench, `227 ${'without an end'.repeat(30)}`).length, 1, 'but not without bound')
})

for (const [sentence, headerFor, size] of [
  ['', undefined, 0],
  [' with an unfinished checksum', unfinishedHeader, 0],
  [' that the card is to cut', segmentationHeader, 1000],
  [' that the card would have had to cut', segmentationHeader, 1447],
] as const) {
  test(`a full segment${sentence} that ends within such a reply passes without that end, as often as it comes`, async (t) => {
    for (const end of ['2', '22', '227', REPLY_227.slice(0, 29)]) {
      const bench = logIn(ftpScene('nat'))
      const whole = '230 welcome\r\n'.padStart(1448 - end.length, '230-of a long banner\r\n')
      const say = (payload: string, sequence: number, flags = PUSH) => {
        const frame = server(21, CONTROL, { payload, sequence, flags })
        if (headerFor === undefined) return bench.send(INSIDE, frame).map((sent) => sent.frame)
        return bench.send(INSIDE, unfinish(frame), headerFor(frame, size)).map(({ frame, vnetHeader }) => {
          t.equal(vnetHeader[1] !== 0, size > 0 && text(frame).length > size, 'the card cuts what is longer')
          return finish(frame, vnetHeader)
        })
      }
      for (let time = 0; time < 2; time++) {
        const [passed] = say(whole + end, 1000, PUSH | TCP_FIN)
        t.equal(text(passed), whole)
        t.equal(readUint16(passed, 16), passed.length - 14)
        t.equal(passed[47], TCP_ACK, 'as if there were more to come')
        t.ok(checksumsAreRight(passed), `without ${end.length} bytes`)
        t.same(say('226 Transfer complete.\r\n', 1000 + whole.length + REPLY_227.length), [], 'what is behind waits')
      }
      if (size > 0) continue
      const [rest] = say(REPLY_227, 1000 + whole.length)
      t.match(text(rest), /^227 Passive Mode \(198,51,100,10,156,64\)/, 'the server goes on where it was cut')
    }
  })
}

test('a reply at the end of what is read of a very long segment is cut off and comes again', async (t) => {
  const bench = logIn(ftpScene('nat'))
  const banner = '230 welcome\r\n'.padStart(4094)
  for (const [line, passes] of [
    [REPLY_227, banner],
    ['214 help\r\n', `${banner}214 help\r\n`],
  ]) {
    const frame = server(21, CONTROL, { payload: banner + line, flags: PUSH })
    const [sent] = bench.send(INSIDE, unfinish(frame), segmentationHeader(frame, 1448))
    t.equal(text(sent.frame), passes)
  }
})

test('a full segment that was damaged on its way is damaged without its end', async (t) => {
  const frame = server(21, CONTROL, { payload: `${'230 welcome\r\n'.padStart(1446)}227 Ent`, flags: PUSH })
  frame[frame.length - 1] ^= 1
  const [sent] = logIn(ftpScene('nat')).send(INSIDE, frame)
  t.equal(text(sent.frame).length, 1446)
  t.notOk(checksumsAreRight(sent.frame))
})

test('what comes behind a dropped piece waits with it, and all passes when the server sends from there again', async (t) => {
  const bench = logIn(ftpScene('nat'))
  const say = (payload: string, sequence: number) =>
    bench.send(INSIDE, server(21, CONTROL, { payload, sequence, flags: PUSH })).map(({ frame }) => text(frame))
  t.same(say(REPLY_227.slice(0, 2), 1000), [], 'it may be the beginning of such a reply')
  t.same(say(REPLY_227.slice(2), 1002), [])
  t.same(say('226 Transfer complete.\r\n', 1002 + REPLY_227.length), [])
  const [whole] = say(REPLY_227, 1000)
  t.match(whole, /^227 Passive Mode \(198,51,100,10,156,64\)/)
  t.equal(say('226 Transfer complete.\r\n', 1000 + REPLY_227.length).length, 1)
})

test('what comes behind waits no longer than a server would take to send it again', async (t) => {
  const bench = logIn(ftpScene('nat'))
  const say = (payload: string, sequence: number) =>
    bench.send(INSIDE, server(21, CONTROL, { payload, sequence, flags: PUSH })).length
  t.equal(say(REPLY_227.slice(0, 2), 1000), 0)
  const behind = Array.from({ length: 40 }, () => say('226 Transfer complete.\r\n', 1002 + REPLY_227.length))
  t.same(behind, [...new Array(32).fill(0), ...new Array(8).fill(1)])
})

/** A server's segment in a session of its own. */
function conversation(): { bench: DirectorBench; say: (payload: string, sequence: number) => string[] } {
  const bench = logIn(ftpScene('nat'))
  const say = (payload: string, sequence: number) =>
    bench.send(INSIDE, server(21, CONTROL, { payload, sequence, flags: PUSH })).map(({ frame }) => {
      if (!checksumsAreRight(frame)) throw new Error(`a wrong checksum: ${text(frame)}`)
      return text(frame)
    })
  return { bench, say }
}

test('a beginning that comes again without more of it passes, and what the server kept back until then behind it', async (t) => {
  for (const [beginning, passes] of [
    ['2', '2'],
    ['227', '227'],
    ['227 E', '425 U'],
    ['227 Entering Passive Mode (10,1,0,2,156,6', `425 Use EPSV${' '.repeat(29)}`],
  ]) {
    const { bench, say } = conversation()
    t.same(say(beginning, 1000), [])
    t.same(say(beginning, 1000), [passes])
    const rest = REPLY_227.slice(beginning.length)
    t.same(say(rest, 1000 + beginning.length), [rest])
    t.same(states(bench), [`${CONTROL}>21 ESTABLISHED`], 'nothing is expected')
    t.match(say(REPLY_227, 1000 + REPLY_227.length)[0], /^227 Passive Mode/, 'the next reply is rewritten')
  }
})

test('a beginning that comes again with more of it, but not all, waits once more', async (t) => {
  const { say } = conversation()
  for (const length of [2, 10, 20]) t.same(say(REPLY_227.slice(0, length), 1000), [])
  t.match(say(REPLY_227, 1000)[0], /^227 Passive Mode/)
})

test('what was cut off a full segment passes when the server sends it alone', async (t) => {
  const { say } = conversation()
  const banner = '230 welcome\r\n'.padStart(1438)
  t.same(say(`${banner}227 Enteri`, 1000), [banner])
  t.same(say('227 Enteri', 1000 + banner.length), ['425 Use EP'])
})

test('a beginning that has all six numbers is rewritten at once, and its port expected', async (t) => {
  for (const length of [43, 44, 45]) {
    for (const before of ['', '200 odd.\r\n']) {
      const { bench, say } = conversation()
      const [passed] = say(before + REPLY_227.slice(0, length), 1000)
      const [rest] = say(REPLY_227.slice(length), 1000 + before.length + length)
      t.match(passed + rest, /^(200 odd\.\r\n)?227 Passive Mode \(198,51,100,10,156,64\)[. ]+\r\n$/)
      t.equal((passed + rest).length, before.length + REPLY_227.length)
      t.same(states(bench)[0], '0>40000 LISTEN')
    }
  }
})
