/** The forms in which a secret might be shown, each cut to a part that is long enough to be no accident. */

/** Of a text that has the secret, in hexadecimal, base64, as bytes, or as a list of numbers, at least one of these is a part. */
export function formsOf(secret: Uint8Array): string[] {
  const bytes = Buffer.from(secret)
  const numbers = [...bytes.subarray(0, 8)]
  const hex = bytes.toString('hex')
  return [
    ...[hex, hex.toUpperCase()].map((text) => text.slice(0, 16)),
    // Wherever it begins within three bytes, and without the characters that its neighbours have a part in.
    ...[0, 1, 2].flatMap((skip) => {
      const text = bytes.subarray(skip)
      return [text.toString('base64').slice(0, 16), text.toString('base64url').slice(0, 16)]
    }),
    bytes.toString('latin1'),
    numbers.join(','),
    numbers.join(', '),
    numbers.map((number, index) => `"${index}":${number}`).join(','),
  ]
}
