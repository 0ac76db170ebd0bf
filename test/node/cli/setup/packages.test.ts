/** What `director setup` finds missing, and how it has it installed. */
import { test } from 'tap'
import { compilerPackages, installPackages, missingPackages } from '../../../../node/cli/setup/packages.ts'
import { host } from './host.ts'

test('a program on the path is not missing, and a package that is missing twice is named once', async (t) => {
  const folder = t.testdir({ one: { python3: '' }, two: { tshark: '' } })
  const folders = [`${folder}/one`, `${folder}/two`]
  t.strictSame(missingPackages(compilerPackages, folders), ['build-essential'])
  t.strictSame(missingPackages({ tshark: 'tshark', python3: 'python3' }, folders), [])
  t.strictSame(missingPackages({ nft: 'nftables', ip: 'iproute2' }, folders), ['iproute2', 'nftables'])
})

test('missing packages are installed in one go, quietly', async (t) => {
  const { machine, calls } = host(t)
  await installPackages(['nginx-light', 'tshark'], machine)
  t.strictSame(
    calls.filter(({ words }) => words.startsWith('apt-get')),
    [
      { words: 'apt-get update', quiet: true },
      { words: 'apt-get install --yes --no-install-recommends nginx-light tshark', quiet: true },
    ],
  )
})

test('without root or without apt nothing is tried, and the packages are named', async (t) => {
  const plainUser = host(t, { isRoot: false })
  await t.rejects(installPackages(['tshark'], plainUser.machine), {
    code: 'SETUP_FAILED',
    message: /^this machine lacks tshark; as root, .*apt-get install tshark$/,
  })
  const otherSystem = host(t, { folders: ['/nonexistent'] })
  await t.rejects(installPackages(['tshark', 'nftables'], otherSystem.machine), {
    code: 'SETUP_FAILED',
    message: /lacks tshark nftables and has no apt-get/,
  })
  t.strictSame([...plainUser.calls, ...otherSystem.calls], [])
})

test('when apt-get fails its own reason is passed on, with what to do by hand', async (t) => {
  const says = 'Reading package lists...\nE: Unable to locate package tshark\n'
  const { machine } = host(t, {}, { 'apt-get install': () => ({ failed: true, output: says }) })
  await t.rejects(installPackages(['tshark'], machine), {
    code: 'SETUP_FAILED',
    message: /^apt-get install failed \(E: Unable to locate package tshark\); .*apt-get install tshark$/,
  })
})
