/** `director node`: one director in this process, from its configuration file to its last signal. */
import { once } from 'node:events'
import pino from 'pino'
import { loadDirectorConfig } from './config.ts'
import { Director } from './director.ts'

/**
 * Runs until SIGTERM or SIGINT; then the addresses are handed over in order, or the start is broken off in order. SIGHUP reads the files of
 * keys and certificates again.
 * @throws DirectorError when it cannot start
 */
export async function runDirector(configFile: string): Promise<void> {
  // From the beginning on: without a handler it ends the process. What came during the start counts after it.
  const started = Promise.withResolvers<Director>()
  const reload = (director: Director) => director.reload(() => loadDirectorConfig(configFile))
  process.on('SIGHUP', () => void started.promise.then(reload))
  const config = loadDirectorConfig(configFile)
  const log = pino({
    name: config.name,
    level: config.logLevel,
    serializers: { error: pino.stdSerializers.err },
  })
  const ending = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      log.info({ signal }, 'handing over')
      ending.abort()
    })
  }
  const director = new Director(config, log, () => {
    process.exitCode = 1
    ending.abort()
  })
  await director.start(ending.signal)
  if (!ending.signal.aborted) {
    started.resolve(director)
    await once(ending.signal, 'abort')
  }
  await director.stop()
}
