/** Tables for people, as the verbs print them. Pure. */
import Table from 'cli-table3'

/** Columns without borders; numbers to the right. Empty without rows. */
export function table(head: string[], rows: (string | number)[][]): string {
  if (rows.length === 0) return ''
  const blank = Object.fromEntries(
    ['top', 'bottom', 'mid', 'left', 'right'].flatMap((edge) => [
      [edge, ''],
      ...['mid', 'left', 'right'].map((end) => [`${edge}-${end}`, '']),
    ]),
  )
  const printed = new Table({
    head,
    chars: { ...blank, middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: head.map((_, column) => (typeof rows[0][column] === 'number' ? 'right' : 'left')),
  })
  printed.push(...rows)
  return printed
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}
