/** What a failed system call tells the operator. */
import { test } from 'tap'
import { checked, systemError } from '../../../forwarder/sys/errors.ts'
import { close } from '../../../forwarder/sys/libc.ts'
import { MessageBatch } from '../../../forwarder/sys/message-batch.ts'

const cases = [
  [1, 'PRIVILEGE_MISSING', 'eth0: run as root, or grant CAP_NET_RAW and CAP_NET_ADMIN (EPERM)'],
  [19, 'INTERFACE_MISSING', 'eth0: no such network interface; "ip link" lists those there are (ENODEV)'],
  [98, 'SOCKET_BUSY', 'eth0: in use by another process; stop that one first (EADDRINUSE)'],
  [22, 'FORWARDER_FAILED', 'eth0: the kernel refused with EINVAL'],
] as const

test('an errno becomes a code and advice', async (t) => {
  for (const [number, code, message] of cases) t.match(systemError('eth0', number), { code, message })
})

test('a call that failed throws its own errno, one that did not passes its result on', async (t) => {
  t.throws(() => checked(close(-1), 'closing'), { message: 'closing: the kernel refused with EBADF' })
  t.equal(checked(7, 'counting'), 7)
})

test('a batch larger than one call may carry is refused', async (t) => {
  for (const capacity of [0, 1025, Number.NaN]) t.throws(() => new MessageBatch(capacity), RangeError)
})
