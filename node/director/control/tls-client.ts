/**
 * How the commands reach a director of another machine: TLS 1.3, with certificates of both sides. Loaded only for an address that
 * asks for it, because node:tls takes time to load.
 */
import type { Socket } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import { DirectorError } from '../../../protocol/errors.ts'
import { readTlsFiles } from './tls-files.ts'

const HANDSHAKE_MAX_MS = 10_000

/** What the environment has to name, each a file. */
const VARIABLES = ['DIRECTOR_TLS_KEY', 'DIRECTOR_TLS_CERT', 'DIRECTOR_TLS_CA'] as const

/**
 * A connection that can be made, and what its failure means.
 * @param address "https://HOST:PORT"
 * @throws DirectorError INPUT_INVALID, CONFIG_UNREADABLE or CONFIG_INVALID
 */
export function tlsTransport(address: string): { connect(): Socket; explain(error: NodeJS.ErrnoException): string } {
  const { host, port } = parseAddress(address)
  const [keyFile, certificateFile, caFile] = VARIABLES.map(fileOf)
  const credentials = readTlsFiles({ keyFile, certificateFile, caFile })
  let socket: TLSSocket | undefined
  return {
    connect() {
      // Else NODE_TLS_REJECT_UNAUTHORIZED, set for some other program, would let anybody be the director.
      const opened = connect({ host, port, ...credentials, rejectUnauthorized: true })
      const giveUp = () => opened.destroy(new Error(`no answer for ${HANDSHAKE_MAX_MS / 1000} s`))
      const late = setTimeout(giveUp, HANDSHAKE_MAX_MS)
      for (const event of ['secureConnect', 'close']) opened.once(event, () => clearTimeout(late))
      // What is written before would fail in place of the handshake, and with another error.
      opened.cork()
      opened.once('secureConnect', () => opened.uncork())
      socket = opened
      return opened
    },
    explain({ code = '', message }) {
      if (socket?.authorizationError) {
        return `its certificate is not good here (${message}): see DIRECTOR_TLS_CA, and the names in that certificate`
      }
      if (code === 'ECONNREFUSED') return 'no director answers here: start it, with `controlTls` in its configuration'
      if (code === 'ECONNRESET' || code === 'EPIPE' || code.includes('_ALERT_')) {
        return 'it has ended the connection: perhaps it does not take the certificate of DIRECTOR_TLS_CERT: see its log'
      }
      if (code.startsWith('ERR_SSL_')) return `what answers there speaks no TLS 1.3 (${code})`
      return `the director cannot be reached (${message})`
    },
  }
}

function parseAddress(address: string): { host: string; port: number } {
  const [, name, literal, port] = /^https:\/\/(?:([^[\]/:@\s]+)|\[([0-9a-f:.]+)\]):(\d{1,5})\/?$/i.exec(address) ?? []
  const host = name ?? literal
  if (host !== undefined && Number(port) > 0 && Number(port) < 65536) return { host, port: Number(port) }
  // It is not repeated: people write passwords into addresses.
  throw new DirectorError('INPUT_INVALID', 'expected the path of a control socket, or https://HOST:PORT')
}

function fileOf(variable: (typeof VARIABLES)[number]): string {
  const file = process.env[variable]
  if (file) return file
  throw new DirectorError(
    'INPUT_INVALID',
    `${variable} is not set: over TLS it names a file (see docs/commands/node.md)`,
  )
}
