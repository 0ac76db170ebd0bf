/** One end of a bulk transfer over TCP, in a process of its own: prints how much passed and its hash. */
import { createHash, randomBytes } from 'node:crypto'
import { connect, createServer } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

const PORT = 7000
const [role, address, bytes] = process.argv.slice(2)
const hash = createHash('sha256')
const report = (count: number) => console.log(`${count} bytes, sha256 ${hash.digest('hex')}`)

if (role === 'receive') {
  const server = createServer(async (socket) => {
    let count = 0
    for await (const chunk of socket) {
      hash.update(chunk)
      count += chunk.length
    }
    report(count)
    server.close()
  })
  server.listen(PORT, address, () => console.log('listening'))
} else {
  const piece = randomBytes(1 << 20)
  const pieces = Number(bytes) / piece.length
  const data = function* () {
    for (let index = 0; index < pieces; index++) {
      piece.writeUInt32BE(index)
      hash.update(piece)
      yield Buffer.from(piece)
    }
  }
  await pipeline(Readable.from(data()), connect(PORT, address))
  report(pieces * piece.length)
}
