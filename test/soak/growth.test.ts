/** When the use of processes counts as growing: made-up hours of a soak. */
import { spawn } from 'node:child_process'
import { test } from 'tap'
import { seededRandom } from '../random.ts'
import { describeTrend, type Sample, trendsOf } from './growth.ts'
import { measure } from './usage.ts'

interface Course {
  readonly minutes?: number
  /** A process ends after so many minutes, and another comes. */
  readonly lifeMinutes?: number
  readonly leakMiB?: number
  readonly leakedDescriptors?: number
  readonly seed?: number
}

/**
 * A director, looked at every 8 s, whose table takes 60 MiB within the first minutes, and whose garbage is collected every four minutes
 * when it has become 30 MiB; besides 20 MiB of noise up and down.
 */
function course({ minutes = 60, lifeMinutes = 60, leakMiB = 0, leakedDescriptors = 0, seed = 1 }: Course): Sample[] {
  const { below } = seededRandom(seed)
  return Array.from({ length: (minutes * 60) / 8 }, (_, index) => {
    const atMinutes = (index * 8) / 60
    const age = atMinutes % lifeMinutes
    const table = 60 * (1 - Math.exp(-age))
    const garbage = (30 * (age % 4)) / 4
    return {
      program: 'director',
      host: 'd3',
      process: String(Math.floor(atMinutes / lifeMinutes)),
      ageMs: age * 60_000,
      used: {
        residentMiB: 120 + table + garbage + (leakMiB * age) / 60 + below(41) - 20,
        descriptors: 40 + below(5) + Math.floor((leakedDescriptors * age) / 60),
        threads: 11,
      },
    }
  })
}
const grown = (samples: readonly Sample[]) => trendsOf(samples).flatMap((trend) => trend.grown)

test('what only goes up and down does not grow, whether or not processes are restarted', async (t) => {
  for (const [minutes, lifeMinutes] of [
    [60, 60],
    [60, 17],
    [60, 11],
    [12, 60],
  ]) {
    const alarms = Array.from({ length: 40 }, (_, seed) => grown(course({ minutes, lifeMinutes, seed })))
    t.strictSame(alarms.flat(), [], `${minutes} minutes, lives of ${lifeMinutes}`)
  }
})

test('a leak of one MiB a minute shows within an hour of one process', async (t) => {
  for (let seed = 1; seed <= 20; seed++) t.strictSame(grown(course({ leakMiB: 60, seed })), ['residentMiB'])
  const [{ minutes, perHour }] = trendsOf(course({ leakMiB: 60 }))
  t.ok(minutes >= 53 && minutes <= 56, `seen for ${minutes} minutes`)
  t.ok(perHour.residentMiB > 50 && perHour.residentMiB < 70, `${perHour.residentMiB} MiB an hour`)
})

test('a leak that begins anew with each process shows over their age', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    t.strictSame(grown(course({ lifeMinutes: 17, leakMiB: 300, seed })), ['residentMiB'])
  }
})

test('descriptors that stay open show', async (t) => {
  t.strictSame(grown(course({ leakedDescriptors: 20 })), ['descriptors'])
})

test('processes that did not live for long enough are named, and not judged', async (t) => {
  const trends = trendsOf(course({ lifeMinutes: 8, leakMiB: 10_000 }))
  t.match(trends, [{ who: 'director on d3', minutes: 0, grown: [] }])
  t.equal(describeTrend(trends[0]), 'director on d3: no process lived for long enough to tell whether it grows')
  t.match(
    describeTrend(trendsOf(course({}))[0]),
    /^director on d3: within 5\d min, growth an hour: residentMiB -?\d\.\d, descriptors -?0\.\d, threads 0\.0$/,
  )
})

test('each program on each host is judged by itself', async (t) => {
  const of = (host: string, samples: Sample[]) => samples.map((each) => ({ ...each, host, process: `${host}` }))
  const trends = trendsOf([...of('d1', course({})), ...of('d2', course({ leakMiB: 100, seed: 2 }))])
  t.match(trends, [
    { who: 'director on d1', grown: [] },
    { who: 'director on d2', grown: ['residentMiB'] },
  ])
})

test('a process that runs is measured, one that has ended or is not ours is not', async (t) => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
  const ended = spawn(process.execPath, ['--version'], { stdio: 'ignore' })
  await new Promise((resolve) => ended.once('exit', resolve))
  const lab = [
    { host: 'd1', program: 'director', logFile: '', child },
    { host: 'd2', program: 'director', logFile: '', child: ended },
    { host: 's1', program: 'nginx', logFile: '', child },
  ]
  const samples = measure({ processes: lab })
  child.kill('SIGKILL')
  t.match(samples, [{ program: 'director', host: 'd1', process: new RegExp(`^${child.pid} since \\d+$`) }])
  const [{ ageMs, used }] = samples
  t.equal(samples.length, 1)
  t.ok(ageMs >= 0 && ageMs < 20_000, `${ageMs} ms old`)
  t.ok(used.residentMiB > 1 && used.descriptors > 2 && used.threads >= 1, JSON.stringify(used))
})
