/** `GET /events`: what happens to a director as lines of JSON, from the state of things now on, for as long as somebody reads. */
import { Readable } from 'node:stream'
import type { DirectorEvent } from './answers.ts'
import type { ControlledDirector } from './controlled-director.ts'

/** Who leaves more than this unread is cut off: a reader that sleeps must not fill the memory. */
const UNREAD_BYTES_MAX = 1024 * 1024

export class EventStreams {
  readonly #director: Pick<ControlledDirector, 'followEvents'>
  readonly #open = new Set<Readable>()

  constructor(director: Pick<ControlledDirector, 'followEvents'>) {
    this.#director = director
  }

  open(): Readable {
    let unfollow = () => {}
    const stream = new Readable({
      encoding: 'utf8',
      read: () => {},
      destroy: (error, done) => {
        unfollow()
        this.#open.delete(stream)
        done(error)
      },
    })
    this.#open.add(stream)
    unfollow = this.#director.followEvents((event: DirectorEvent) => {
      stream.push(`${JSON.stringify(event)}\n`)
      if (stream.readableLength > UNREAD_BYTES_MAX) stream.destroy()
    })
    return stream
  }

  /** Every reader sees its end. */
  end(): void {
    for (const stream of this.#open) stream.push(null)
  }
}
