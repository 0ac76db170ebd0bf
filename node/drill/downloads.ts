/**
 * The drill's bulk downloads: each loop fetches its file again and again, and compares the SHA-256 of what arrived with that
 * of the file. The web server paces them (nginx limit_rate), so that each lasts for seconds and is under way at the failure.
 */
import { createHash } from 'node:crypto'
import { get, type IncomingMessage } from 'node:http'
import { formatEndpoint } from '../../protocol/packet/ipv6-address.ts'
import type { Conversation, LoadOptions, LoadProgress, LoadResult } from './load-messages.ts'

export class Downloads {
  readonly #options: LoadOptions
  readonly #now: () => number
  readonly #underWay = new Set<Conversation>()
  readonly #failed: LoadResult['downloads']['failed'] = []
  #started = 0
  #intact = 0
  #finishing = false
  #loops: Promise<void>[] = []

  constructor(options: LoadOptions, now: () => number) {
    this.#options = options
    this.#now = now
  }

  start(): void {
    this.#loops = this.#options.downloads.map(async (file) => {
      while (!this.#finishing) await this.#download(file)
    })
  }

  conversations(): Conversation[] {
    return [...this.#underWay]
  }

  progress(): Pick<LoadProgress, 'downloadsIntact'> {
    return { downloadsIntact: this.#intact }
  }

  /** Begins no more, and resolves when those under way have ended. */
  async finish(): Promise<LoadResult['downloads']> {
    this.#finishing = true
    await Promise.all(this.#loops)
    return { started: this.#started, intact: this.#intact, failed: this.#failed }
  }

  async #download(file: LoadOptions['downloads'][number]): Promise<void> {
    const { virtualAddress, webPort, patienceMs } = this.#options
    this.#started++
    const startedMs = this.#now()
    let server = ''
    let conversation: Conversation | undefined
    const { promise, resolve } = Promise.withResolvers<string | undefined>()
    // Without an agent, each download is a connection of its own.
    const request = get({ host: virtualAddress, port: webPort, path: file.path, agent: false })
    request.setTimeout(patienceMs, () => request.destroy(new Error(`no progress for ${patienceMs / 1000} s`)))
    request.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    request.once('response', (response: IncomingMessage) => {
      const { socket } = response
      server = String(response.headers['x-server'] ?? '')
      conversation = {
        kind: 'download',
        client: formatEndpoint(socket.localAddress!, socket.localPort!),
        virtual: formatEndpoint(virtualAddress, webPort),
        server,
      }
      this.#underWay.add(conversation)
      const hash = createHash('sha256')
      response.on('data', (chunk: Buffer) => hash.update(chunk))
      response.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
      response.once('end', () => {
        if (response.statusCode !== 200) resolve(`HTTP status ${response.statusCode}`)
        else resolve(hash.digest('hex') === file.sha256 ? undefined : 'SHA-256 differs')
      })
    })
    const failure = await promise
    if (conversation) this.#underWay.delete(conversation)
    if (failure) this.#failed.push({ server, startedMs, failedMs: this.#now(), reason: failure })
    else this.#intact++
    // A service that refuses at once must not make this loop spin.
    if (failure) await new Promise((wait) => setTimeout(wait, 500))
  }
}
