/** Waking and waiting: an eventfd in a poll set. */
import { Worker } from 'node:worker_threads'
import { test } from 'tap'
import { createEventFd, drain, wake } from '../../../forwarder/sys/event-fd.ts'
import { PollSet } from '../../../forwarder/sys/poll.ts'
import { closeDescriptor } from '../../../forwarder/sys/socket.ts'
import { until } from '../../until.ts'

test('wakes add up until they are drained', async (t) => {
  const descriptor = createEventFd()
  t.teardown(() => closeDescriptor(descriptor))
  const poll = new PollSet([descriptor])
  t.equal(poll.wait(0), 0)
  t.equal(drain(descriptor), false)
  wake(descriptor)
  wake(descriptor)
  t.equal(poll.wait(0), 1)
  t.ok(poll.isReadable(0))
  t.equal(drain(descriptor), true)
  t.equal(drain(descriptor), false)
  t.equal(poll.wait(0), 0)
  t.notOk(poll.isReadable(0))
})

test('a poll set tells which of its descriptors is readable', async (t) => {
  const descriptors = [createEventFd(), createEventFd(), createEventFd()]
  t.teardown(() => descriptors.forEach(closeDescriptor))
  const poll = new PollSet(descriptors)
  wake(descriptors[1])
  t.equal(poll.wait(50), 1)
  t.same(
    descriptors.map((_, index) => poll.isReadable(index)),
    [false, true, false],
  )
})

test('a wait without end still ends soon', async (t) => {
  const descriptor = createEventFd()
  t.teardown(() => closeDescriptor(descriptor))
  const poll = new PollSet([descriptor])
  t.equal(poll.wait(Number.POSITIVE_INFINITY), 0)
  t.equal(poll.wait(-1), 0, 'and a negative time is not for ever')
})

test('another thread wakes by the number of the descriptor', async (t) => {
  const descriptor = createEventFd()
  t.teardown(() => closeDescriptor(descriptor))
  const module = new URL('../../../forwarder/sys/event-fd.ts', import.meta.url)
  const worker = new Worker(`import('${module}').then(({ wake }) => wake(${descriptor}))`, { eval: true })
  t.teardown(() => worker.terminate())
  const poll = new PollSet([descriptor])
  await until(() => poll.wait(50) > 0)
  t.ok(drain(descriptor))
})

test('waiting for a descriptor that was closed is an error, not a busy loop', async (t) => {
  const descriptor = createEventFd()
  const poll = new PollSet([descriptor])
  closeDescriptor(descriptor)
  t.throws(() => poll.wait(0), { code: 'FORWARDER_FAILED', message: /closed/ })
})
