/** New connections: what is told of those that wait in vain, while there is still something to see of them. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type Test, test } from 'tap'
import { type FailedBeginning, monotonicMs } from '../../../node/drill/load-messages.ts'
import { NewConnections } from '../../../node/drill/new-connections.ts'
import { until } from '../../until.ts'

const SYN_SENT = '02'

/** The port of a server that stands still: it answers nobody, and its kernel connects two clients and no more. */
async function serverThatStandsStill(t: Test): Promise<number> {
  const listen = "server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => process.send(server.address().port))"
  const program = `const server = require('node:net').createServer(); ${listen}`
  const server = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  t.teardown(() => server.kill('SIGKILL'))
  const [port] = await once(server, 'message')
  server.kill('SIGSTOP')
  return port
}

/** As the kernel lists it; undefined: it has no such socket. */
function stateOfSocket(fromPort: number, toPort: number): string | undefined {
  const [from, to] = [fromPort, toPort].map((port) => port.toString(16).toUpperCase().padStart(4, '0'))
  return new RegExp(`: 0100007F:${from} 0100007F:${to} (\\w\\w) `).exec(readFileSync('/proc/net/tcp', 'latin1'))?.[1]
}

test('a connection that waits in vain is told of once, at half of its patience, when its socket still tries', async (t) => {
  const webPort = await serverThatStandsStill(t)
  const options = { sessionPort: 0, sessions: 0, messageIntervalMs: 0, downloads: [] }
  const connections = new NewConnections(
    { ...options, virtualAddress: '127.0.0.1', webPort, connectionsPerSecond: 100, patienceMs: 200 },
    monotonicMs,
  )
  connections.start()
  const told: FailedBeginning[] = []
  const isTold = (reason: string) => told.some((one) => one.reason === reason)
  await until(() => {
    told.push(...connections.progress().overdue)
    return isTold('not connected within 0.1 s')
  })
  t.equal(stateOfSocket(told.at(-1)!.port!, webPort), SYN_SENT)
  t.ok(isTold('no answer within 0.1 s'), 'and so is one that is connected')

  const { failed } = await connections.finish()
  told.push(...connections.progress().overdue)
  const ports = (those: readonly FailedBeginning[]) => those.map(({ port }) => port).toSorted()
  t.strictSame(ports(told), ports(failed))
  t.ok(failed.every(({ reason }) => reason.endsWith(' within 0.2 s')))
})
