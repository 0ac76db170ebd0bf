/** Which threads a process puts before others. */
import { getPriority } from 'node:os'
import { Worker } from 'node:worker_threads'
import { test } from 'tap'
import { putAmongOthers, putFirst } from '../../node/processor-share.ts'

const SHARE = new URL('../../node/processor-share.ts', import.meta.url)

test('a process is put first with the threads that it has by now, but for one that stays behind', async (t) => {
  if (process.getuid?.() !== 0) {
    t.pass('not run: only root may put a process first', { skip: true })
    return
  }
  const program = `
    import { readlinkSync } from 'node:fs'
    import { basename } from 'node:path'
    import { parentPort, workerData } from 'node:worker_threads'
    import { putThreadBehind } from ${JSON.stringify(SHARE.href)}
    if (workerData.isBehind) putThreadBehind()
    parentPort.postMessage(Number(basename(readlinkSync('/proc/thread-self'))))
    parentPort.on('message', () => {})`
  const begin = async (isBehind: boolean) => {
    const url = new URL(`data:text/javascript,${encodeURIComponent(program)}`)
    const worker = new Worker(url, { workerData: { isBehind } })
    t.teardown(() => worker.terminate())
    return new Promise<number>((resolve, reject) => worker.once('message', resolve).once('error', reject))
  }
  const before = getPriority()
  const behind = await begin(true)
  const other = await begin(false)
  t.ok(getPriority(behind) > getPriority(other))
  t.teardown(() => putAmongOthers(process.pid))
  t.equal(putFirst(), undefined)
  t.ok(getPriority() < before)
  t.equal(getPriority(other), getPriority())
  t.equal(getPriority(behind), 1)
})
