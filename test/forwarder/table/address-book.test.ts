/** IPv6 addresses as numbers: found again by every thread, told from IPv4, given up when nobody needs them. */
import { test } from 'tap'
import { AddressBook, isIPv6Number, NO_ADDRESS } from '../../../forwarder/table/address-book.ts'
import { parseIPv4 } from '../../../protocol/packet/bytes.ts'

function books(capacity: number): { writer: AddressBook; reader: AddressBook } {
  const shared = new SharedArrayBuffer(AddressBook.bytesFor(capacity))
  return { writer: new AddressBook(shared, 0, capacity, 0x5eed), reader: new AddressBook(shared, 0, capacity, 0x5eed) }
}

test('an address has one number, which another thread finds too', async (t) => {
  const { writer, reader } = books(64)
  const addresses = ['2001:db8::1', '2001:db8::2', '2001:db8:1::1', 'fe80::1', '::']
  const numbers = addresses.map((address) => writer.internText(address))
  t.equal(new Set(numbers).size, addresses.length)
  for (const [index, address] of addresses.entries()) {
    t.equal(writer.internText(address), numbers[index])
    t.equal(reader.numberOf(address), numbers[index])
    t.equal(reader.format(numbers[index]), address)
  }
  t.equal(reader.numberOf('2001:db8::3'), NO_ADDRESS)
})

test('a number tells its family: what IPv4 hosts can have is never one of IPv6', async (t) => {
  const { writer } = books(64)
  t.ok(isIPv6Number(writer.internText('2001:db8::1')))
  for (const address of ['1.0.0.0', '10.0.0.1', '255.255.255.255', '128.0.0.1', '0.0.0.0']) {
    t.equal(writer.internText(address), parseIPv4(address))
    t.notOk(isIPv6Number(parseIPv4(address)), address)
    t.equal(writer.format(parseIPv4(address)), address)
  }
})

test('a full book gives up the numbers that nobody retains, and only those', async (t) => {
  const { writer, reader } = books(64)
  const kept = Array.from({ length: 20 }, (_, index) => `2001:db8::a:${(index + 1).toString(16)}`)
  const numbers = kept.map((address) => {
    const number = writer.internText(address)
    writer.retain(number)
    return number
  })
  for (let index = 0; index < 1000; index++) t.ok(isIPv6Number(writer.intern(1, 2, 3, index)))
  for (const [index, address] of kept.entries()) t.equal(reader.numberOf(address), numbers[index])
  for (let index = 0; index < 100; index++) writer.retain(writer.intern(4, 5, 6, index))
  t.equal(writer.intern(7, 7, 7, 7), NO_ADDRESS, 'everything is retained')
  writer.release(numbers[3])
  t.equal(writer.intern(7, 7, 7, 7), numbers[3])
  t.equal(reader.numberOf(kept[3]), NO_ADDRESS)
})

test('what packets name gets at most half of the numbers', async (t) => {
  const { writer } = books(64)
  for (let index = 0; index < 32; index++) writer.retain(writer.internNamed(1, 2, 3, index))
  t.equal(writer.internNamed(1, 2, 3, 32), NO_ADDRESS)
  t.ok(isIPv6Number(writer.internNamed(1, 2, 3, 31)), 'one that is known is found')
  t.ok(isIPv6Number(writer.intern(1, 2, 3, 32)), 'what is configured has room')
  writer.release(writer.find(1, 2, 3, 0))
  t.ok(isIPv6Number(writer.internNamed(1, 2, 3, 33)))
})
