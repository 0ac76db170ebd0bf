/** Certificates for tests of TLS, made by openssl(1) as docs/security.md says. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'

/** Names of files. */
export interface Certificate {
  readonly key: string
  readonly certificate: string
}

export interface CertificateOptions {
  /** As in subjectAltName. */
  names?: string
  usage?: 'serverAuth' | 'clientAuth'
  /** Below 0: it is over already. */
  days?: number
}

export class CertificateAuthority implements Certificate {
  readonly key: string
  readonly certificate: string
  readonly #folder: string

  constructor(folder: string, name: string) {
    this.#folder = folder
    this.key = join(folder, `${name}.key`)
    this.certificate = join(folder, `${name}.crt`)
    openssl(`req -x509 -newkey ed25519 -noenc -days 30 -subj /CN=${name} -keyout ${this.key} -out ${this.certificate}`)
  }

  issue(name: string, { names, usage = 'clientAuth', days = 1 }: CertificateOptions = {}): Certificate {
    const path = join(this.#folder, `${name}${days}`)
    const [key, request, certificate] = ['key', 'csr', 'crt'].map((end) => `${path}.${end}`)
    const more = names === undefined ? '' : `-addext subjectAltName=${names}`
    const wanted = `-subj /CN=${name} -addext extendedKeyUsage=${usage} ${more}`
    openssl(`req -newkey ed25519 -noenc ${wanted} -keyout ${key} -out ${request}`)
    const by = `-CA ${this.certificate} -CAkey ${this.key} -CAcreateserial -copy_extensions copyall`
    openssl(`x509 -req -in ${request} ${by} -days ${days} -out ${certificate}`)
    return { key, certificate }
  }
}

function openssl(words: string): void {
  execFileSync('openssl', words.split(' ').filter(Boolean), { stdio: 'pipe' })
}
