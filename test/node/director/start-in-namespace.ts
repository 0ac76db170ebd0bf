/** Started by start.test.ts inside a network namespace of its own. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { createAgentKey } from '../../../protocol/wire/agent-key.ts'
import { ip } from '../../forwarder/namespace.ts'
import { untilPrograms } from '../../until.ts'
import { launchDirector, prepareHost } from '../cli/running-director.ts'

prepareHost()

const contentOf = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8') : '')

test('with its cable out a director is never active, SIGHUP does not end its start, and its scripts get none of its files', async (t) => {
  ip('link set d1 down')
  const director = launchDirector((folder) => {
    const keyFile = join(folder, 'agents.key')
    const secret = Buffer.from(createAgentKey(new Uint8Array(32).fill(7)).secret).toString('hex')
    writeFileSync(keyFile, `${secret}\n`, { mode: 0o600 })
    const script = `ls -l /proc/self/fd > ${folder}/open; echo "$3" >> ${folder}/states`
    return {
      agents: { listen: '127.0.0.1:7947', keyFile },
      vips: [
        {
          vrid: 51,
          addresses: ['192.0.2.100'],
          advertisementIntervalMs: 10,
          onStatus: ['/bin/sh', '-c', script, 'sh'],
        },
      ],
      logLevel: 'info',
    }
  })
  t.teardown(() => director.stop())
  const states = () => contentOf(join(director.folder, 'states')).split('\n').filter(Boolean)
  const untilIt = (isSo: () => boolean) =>
    untilPrograms(() => {
      const { exitCode, signalCode } = director.child
      if (exitCode !== null || signalCode !== null) throw new Error(`ended (${signalCode}): ${director.said()}`)
      return isSo()
    })
  const says = (text: string) => untilIt(() => director.said().includes(text))

  // One of the first things that it does.
  await untilIt(() => existsSync(join(director.folder, 'store')))
  director.child.kill('SIGHUP')
  await says('director runs')
  await says("has read the agents' keys again")

  await untilIt(() => states().length > 0)
  const open = contentOf(join(director.folder, 'open'))
  // The last one is what ls(1) reads the list from.
  const descriptors = Array.from(open.matchAll(/ (\d+) -> /g), ([, descriptor]) => descriptor)
  t.same(descriptors, ['0', '1', '2', '3'], open)
  ip('link set d1 up')
  await untilIt(() => states().includes('MASTER'))
  t.same(states(), ['FAULT', 'BACKUP', 'MASTER'])
})

test('told to end during its start, a director ends in order, and leaves nothing behind', async (t) => {
  const director = launchDirector(() => ({ logLevel: 'error' }))
  t.teardown(() => director.stop())
  const { child, socketPath, said } = director

  // It has opened nearly everything by then, and has yet to start the thread that speaks to the pool.
  await untilPrograms(() => existsSync(socketPath) || child.exitCode !== null)
  child.kill('SIGTERM')
  await untilPrograms(() => child.exitCode !== null || child.signalCode !== null)
  t.same(
    { exitCode: child.exitCode, signalCode: child.signalCode, said: said() },
    { exitCode: 0, signalCode: null, said: '' },
  )
  t.notOk(existsSync(socketPath), 'its control socket is gone')
})
