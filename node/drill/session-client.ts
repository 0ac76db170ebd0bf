/**
 * The client side of a drill, a program of its own that runs in the client's namespace. It does what the drill says over the IPC
 * channel (load-messages.ts), and ends with it.
 */
import { Downloads } from './downloads.ts'
import { type FromClient, type LoadOptions, monotonicMs, type ToClient } from './load-messages.ts'
import { LongSessions } from './long-sessions.ts'
import { NewConnections } from './new-connections.ts'

const PROGRESS_MS = 500

interface Load {
  sessions: LongSessions
  connections: NewConnections
  downloads: Downloads
}

let load: Load | undefined

// The drill is gone, however it went.
process.on('disconnect', () => process.exit(1))
process.on('message', (message: ToClient) => {
  if (message.type === 'open') void open(message.options)
  else if (load) obey(load, message)
})

async function open(options: LoadOptions): Promise<void> {
  const opening: Load = {
    sessions: new LongSessions(options, monotonicMs),
    connections: new NewConnections(options, monotonicMs),
    downloads: new Downloads(options, monotonicMs),
  }
  const opened = await opening.sessions.open()
  opening.connections.start()
  opening.downloads.start()
  load = opening
  say({ type: 'opened', opened, reasons: opening.sessions.refusals() })
  setInterval(() => {
    say({
      type: 'progress',
      ...opening.sessions.progress(),
      ...opening.connections.progress(),
      ...opening.downloads.progress(),
    })
  }, PROGRESS_MS)
}

function obey({ sessions, connections, downloads }: Load, message: ToClient): void {
  switch (message.type) {
    case 'observe':
      sessions.observe()
      break
    case 'census':
      say({ type: 'census', conversations: [...sessions.conversations(), ...downloads.conversations()] })
      break
    case 'fault':
      sessions.fault(message.atMs)
      break
    case 'finish':
      void Promise.all([sessions.finish(), connections.finish(), downloads.finish()]).then(
        ([sessionResult, connectionResult, downloadResult]) => {
          const result = { ...sessionResult, connections: connectionResult, downloads: downloadResult }
          process.send?.({ type: 'result', ...result } satisfies FromClient, () => process.exit(0))
        },
      )
  }
}

function say(message: FromClient): void {
  process.send?.(message)
}
