/** A drill's client process as the drill sees it: whoever asks it something hears of its end. */
import { existsSync } from 'node:fs'
import { test } from 'tap'
import { LoadClient } from '../../../node/drill/load-client.ts'
import { until } from '../../until.ts'

/** A client that does this with each message of the drill. */
function clientThat(does: string, signal = new AbortController().signal): LoadClient {
  const command = [process.execPath, '-e', `process.on('message', (message) => { ${does} })`]
  return new LoadClient(
    command,
    signal,
    () => {},
    () => {},
  )
}

test('a result that is asked for comes, though the client ends with it', async (t) => {
  const client = clientThat("process.send({ type: 'result', opened: 7 }, () => process.exit(0))")
  t.match(await client.finish(), { opened: 7 })
})

test('a client that dies is no result, however late that is', async (t) => {
  await t.rejects(clientThat("process.kill(process.pid, 'SIGKILL')").census(), {
    message: 'the client of the drill has ended: SIGKILL',
  })
  await t.rejects(clientThat("process.kill(process.pid, 'SIGKILL')").finish(), {
    message: 'the client of the drill has ended: SIGKILL',
  })
  await t.rejects(clientThat('process.exit(3)').finish(), {
    message: 'the client of the drill has ended: exit code 3',
  })
})

test('who waits for a client is let go when the drill is interrupted, and the client ends', async (t) => {
  const interruption = new AbortController()
  const client = clientThat("process.send({ type: 'census', conversations: [process.pid] })", interruption.signal)
  const [pid] = (await client.census()) as unknown as number[]
  const answer = client.finish()
  interruption.abort(new Error('interrupted by SIGINT'))
  await t.rejects(answer, { message: 'interrupted by SIGINT' })
  await until(() => !existsSync(`/proc/${pid}`))
})
