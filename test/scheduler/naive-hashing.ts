/** The hashing schedulers as the words of their definition, with 64-bit numbers where the kernel has them. */
import type { Flow } from '../../scheduler/scheduler.ts'
import type { ModelledServer } from './modelled-service.ts'
import { isFree, RingModel } from './naive-models.ts'

const WORD = 2n ** 32n
const LONG = 2n ** 64n

const fold = (words: Int32Array) => words.reduce((folded, word) => folded ^ BigInt.asUintN(32, BigInt(word)), 0n)
const hash8 = (value: bigint) => Number(((value * 0x61c8_8647n) % WORD) >> 24n)

export class NaiveDestinationHashing extends RingModel {
  pick({ destination }: Flow): ModelledServer | undefined {
    const servers = this.servers()
    const table = Array.from({ length: 256 }, (_, slot) => servers[slot % servers.length])
    const server = table[hash8(fold(destination))]
    return server && isFree(server) ? server : undefined
  }
}

export class NaiveSourceHashing extends RingModel {
  readonly #fallback: boolean
  readonly #port: boolean

  constructor(flags: readonly string[]) {
    super()
    this.#fallback = flags.includes('sh-fallback')
    this.#port = flags.includes('sh-port')
  }

  pick({ source, sourcePort }: Flow): ModelledServer | undefined {
    const round = this.servers().flatMap((server) => Array<ModelledServer>(Math.max(1, server.weight)).fill(server))
    if (round.length === 0) return undefined
    const table = Array.from({ length: 256 }, (_, slot) => round[slot % round.length])
    const first = hash8(fold(source) + (this.#port ? BigInt(sourcePort) : 0n))
    const tried = [first]
    if (this.#fallback) {
      for (let offset = 0; offset < 256; offset++) {
        const turned = (offset + first) % 256
        tried.push((turned + first) % 256)
      }
    }
    return tried.map((slot) => table[slot]).find(isFree)
  }
}

export class NaiveMaglev extends RingModel {
  readonly #fallback: boolean
  readonly #port: boolean
  #table: ModelledServer[] = []

  constructor(flags: readonly string[]) {
    super()
    this.#fallback = flags.includes('mh-fallback')
    this.#port = flags.includes('mh-port')
  }

  override edited(): void {
    this.#table = maglevTable(this.servers())
  }

  pick({ source, sourcePort }: Flow): ModelledServer | undefined {
    const table = this.#table
    if (table.length === 0) return undefined
    const key = fold(source) + (this.#port ? BigInt(sourcePort) : 0n)
    const slotOf = (offset: number) => hashed(key + BigInt(offset), 2654435761n) % 4093
    const first = slotOf(0)
    if (isFree(table[first])) return table[first]
    if (!this.#fallback || !this.servers().some(isFree)) return undefined
    for (let offset = 0; offset < 4093; offset++) {
      const server = table[slotOf((offset + first) % 4093)]
      if (isFree(server)) return server
    }
    return undefined
  }
}

/** The paper's figure, with turns for weights: each server takes the next free slots of its permutation. */
function maglevTable(servers: ModelledServer[]): ModelledServer[] {
  const turns = turnsOf(servers.map((server) => server.lastWeight))
  const permutations = servers.map((server) => {
    const word = fold(server.addressWords) + BigInt(server.port)
    return { next: hashed(word, 2654435761n) % 4093, skip: (hashed(word, 2654446892n) % 4092) + 1 }
  })
  const order = servers.flatMap((server, index) => {
    return Array.from({ length: turns[index] }, () => ({ server, permutation: permutations[index] }))
  })
  if (order.length === 0) return []
  const table = new Array<ModelledServer | undefined>(4093).fill(undefined)
  for (let filled = 0; filled < 4093; filled++) {
    const { server, permutation } = order[filled % order.length]
    while (table[permutation.next]) permutation.next = (permutation.next + permutation.skip) % 4093
    table[permutation.next] = server
  }
  return table as ModelledServer[]
}

/** Weights without their common divisor, cut to their six highest bits, and at least 1. */
function turnsOf(weights: number[]): number[] {
  const heavy = weights.filter((weight) => weight > 0)
  let divisor = Math.min(...heavy)
  while (heavy.some((weight) => weight % divisor !== 0)) divisor--
  const bits = (Math.max(...heavy) / divisor).toString(2).length
  const dropped = 2 ** Math.max(0, bits - 6)
  return weights.map((weight) => (weight > 0 ? Math.max(1, Math.floor(weight / divisor / dropped)) : 0))
}

const known = new Map<bigint, number>()

/** sip13(), remembered: it is slow. */
function hashed(word: bigint, key: bigint): number {
  const question = word * LONG + key
  const hash = known.get(question) ?? Number(sip13(word, key))
  known.set(question, hash)
  return hash
}

/** SipHash-1-3 of a 32-bit word, both words of the key the same; the low 32 bits. */
export function sip13(word: bigint, key: bigint): bigint {
  const message = (4n << 56n) | (word % WORD)
  const turn = (value: bigint, bits: bigint) => ((value << bits) | (value >> (64n - bits))) % LONG
  let [v0, v1, v2, v3] = ['somepseu', 'dorandom', 'lygenera', 'tedbytes'].map(
    (text) => BigInt(`0x${Buffer.from(text).toString('hex')}`) ^ key,
  )
  const round = () => {
    v0 = (v0 + v1) % LONG
    v1 = turn(v1, 13n) ^ v0
    v0 = turn(v0, 32n)
    v2 = (v2 + v3) % LONG
    v3 = turn(v3, 16n) ^ v2
    v0 = (v0 + v3) % LONG
    v3 = turn(v3, 21n) ^ v0
    v2 = (v2 + v1) % LONG
    v1 = turn(v1, 17n) ^ v2
    v2 = turn(v2, 32n)
  }
  v3 ^= message
  round()
  v0 ^= message
  v2 ^= 0xffn
  for (let last = 0; last < 3; last++) round()
  return (v0 ^ v1 ^ v2 ^ v3) % WORD
}
