/**
 * What one side of the control socket's TLS needs: its key, its certificate and the CA that it believes, each in a file of PEM.
 * Read whole and checked before anything of it is used. No error has anything of a key in it.
 *
 * Source: RFC 8446, RFC 7468 (PEM).
 */
import { createPrivateKey, constants as openssl, X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import { DirectorError } from '../../../protocol/errors.ts'
import { readPem } from '../pem-file.ts'

/** Their names. */
export interface TlsFiles {
  readonly keyFile: string
  readonly certificateFile: string
  readonly caFile: string
}

export interface TlsCredentials extends SecureContextOptions {
  readonly ca: string
}

/**
 * @param files their names come from a configuration or an environment
 * @throws DirectorError CONFIG_UNREADABLE or CONFIG_INVALID, with the file
 */
export function readTlsFiles({ keyFile, certificateFile, caFile }: TlsFiles): TlsCredentials {
  const key = readPem(keyFile, 'the key for TLS', true)
  const cert = readPem(certificateFile, 'the certificate for TLS')
  const ca = readPem(caFile, 'the CA for TLS')
  const privateKey = parsed(keyFile, 'no private key (PEM, without a passphrase)', () => createPrivateKey(key))
  const certificate = parsed(certificateFile, 'no certificate (PEM)', () => new X509Certificate(cert))
  parsed(caFile, 'no certificate (PEM)', () => new X509Certificate(ca))
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new DirectorError('CONFIG_INVALID', `${certificateFile}: is not the certificate of the key in ${keyFile}`)
  }
  // Tickets are off: who resumes a session does not show his certificate again.
  const credentials = { key, cert, ca, minVersion: 'TLSv1.3', secureOptions: openssl.SSL_OP_NO_TICKET } as const
  parsed(certificateFile, 'nothing that TLS can be spoken with', () => createSecureContext(credentials))
  return credentials
}

/** @param otherwise what the file has in it when it cannot be parsed */
function parsed<T>(file: string, otherwise: string, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    const reason = (error as Error).message.split('\n')[0]
    throw new DirectorError('CONFIG_INVALID', `${file}: there is ${otherwise} in it: ${reason}`)
  }
}
