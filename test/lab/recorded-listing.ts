/**
 * What of the recorded listings two runs of the real thing have in common (README of the recordings): the expiry column becomes the
 * timeout that it counts down from, ports that a client's kernel chose and the order of connections are left out, and of TCP's
 * counters the packets, so that the bytes are those of the payload and of the SYNs' options.
 */

/** Seconds: of TCP's states, of UDP, and the persistence of the recordings. */
const TIMEOUTS = [10, 60, 120, 300, 900]
/** Of IP and of TCP with its usual option, the timestamp. */
const HEADER_BYTES = 52
const HEADER_BYTES_6 = 72
/** More than these are cut in several ways: how often anything was sent again counts in the bytes too. */
const BULK_BYTES = 1e8

const CONNECTION = /^(\w+ +)(\d\d):(\d\d)( {2}\w+ +\S+?:)(\d+)( +.*)$/
const COUNTERS = /^((\w+| {2}->) +(\S+))((?: +\d+[KMGT]?){5})$/

/** @param ports of clients that were asked for */
export function stableListing(listing: string, ports: ReadonlySet<number>): string {
  if (listing.startsWith('IPVS connection entries')) return stableConnections(listing, ports)
  if (/ CPS +InPPS /.test(listing))
    return listing.replace(/( +\d+){5}$/gm, (numbers) => columns(numbers).map(blank).join(''))
  return / InPkts +OutPkts /.test(listing) ? stableCounters(listing) : listing
}

function stableConnections(listing: string, ports: ReadonlySet<number>): string {
  return listing
    .split('\n')
    .map((line) =>
      line.replace(CONNECTION, (_, start, minutes, seconds, client, port, rest) => {
        const left = 60 * Number(minutes) + Number(seconds)
        const timeout = TIMEOUTS.find((each) => left <= each)
        const isChosen = port !== '0' && !ports.has(Number(port))
        return `${start}of ${timeout} s${client}${isChosen ? port.replace(/\d/g, '#') : port}${rest}`
      }),
    )
    .sort()
    .join('\n')
}

function stableCounters(listing: string): string {
  let service = ''
  return listing
    .split('\n')
    .map((line) =>
      line.replace(COUNTERS, (row, name, kind, address, numbers) => {
        if (kind !== '  ->') service = kind
        if (service === 'UDP') return row
        const [connections, inPackets, outPackets, ...bytes] = columns(numbers)
        if (bytes.some(isBulk)) return name + connections + [inPackets, outPackets, ...bytes].map(blank).join('')
        const header = address.startsWith('[') ? HEADER_BYTES_6 : HEADER_BYTES
        const payloads = [payload(bytes[0], inPackets, header), payload(bytes[1], outPackets, header)]
        return name + connections + [inPackets, outPackets].map(blankUnless0).join('') + payloads.join('')
      }),
    )
    .join('\n')
}

/** Numbers with the blanks before them. */
function columns(numbers: string): string[] {
  return numbers.match(/ +\S+/g) ?? []
}

function blank(column: string): string {
  return '#'.padStart(column.length)
}

function blankUnless0(column: string): string {
  return Number(column) === 0 ? column : blank(column)
}

function isBulk(column: string): boolean {
  return /[KMGT]$/.test(column) || Number(column) > BULK_BYTES
}

function payload(bytes: string, packets: string, header: number): string {
  return String(Number(bytes) - Number(packets) * header).padStart(bytes.length)
}
