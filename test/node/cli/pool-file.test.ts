/** The file of the pool's configuration as it is printed: whatever it was made from, it can be read and edited. */
import { test } from 'tap'
import { atLine, parsePoolFile, printComment, printPoolFile } from '../../../node/cli/pool-file.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { imported, instance } from './import/keepalived-text.ts'

const ALIAS = /[&*]a\d/

test('what servers have in common is printed with each, and so can be read however many there are', async (t) => {
  const servers = Array.from({ length: 150 }, (_, n) => ` real_server 10.1.0.${n + 1} 80 {\n }\n`).join('')
  const { services } = imported(
    `virtual_server 10.0.0.1 80 {\n protocol TCP\n lvs_method TUN type gue port 6080\n${servers}}\n`,
  )
  const text = [...printPoolFile({ services, settings: {}, marks: [] })].join('')
  t.notMatch(text, ALIAS)
  t.same(parsePoolFile(text, 'x').content.services, services)
})

test('a file that the director refuses as a whole is what is wrong, and not the command', async (t) => {
  const file = parsePoolFile('services: []\n', 'pool.yaml')
  const message = 'a pool holds 256 MiB: remove some of it first'
  t.match(atLine(new DirectorError('INPUT_INVALID', message), file), {
    code: 'CONFIG_INVALID',
    message: `pool.yaml:1: document: ${message}`,
  })
  const unreachable = new DirectorError('DIRECTOR_UNREACHABLE', 'nobody there')
  t.equal(atLine(unreachable, file), unreachable)
})

test('what the groups of one instance have in common is printed with each', async (t) => {
  const { vips } = imported(instance('A', 1, 'track_interface {\n eth1\n }', '10.0.0.1\n fd00::1'))
  t.equal(vips.length, 2)
  const text = printComment({ vips })
  t.equal(text.match(/name: eth1/g)?.length, 2)
  t.notMatch(text, ALIAS)
})
