/** `director status`: what one director knows of the pool. */
import { setTimeout as wait } from 'node:timers/promises'
import type { Command } from 'commander'
import type { DirectorStatus } from '../../director/control/answers.ts'
import { request } from '../../director/control/client.ts'
import { socketOption } from './socket-verbs.ts'
import { renderStatus } from './status-table.ts'

const WATCH_INTERVAL_MS = 1000
const CLEAR_SCREEN = '\u001b[H\u001b[2J'

interface Options {
  json?: true
  watch?: true
  socket: string
}

export function declare(command: Command): void {
  command
    .option('--json', 'print the status as one JSON object a line')
    .option('--watch', 'print it again every second')
    .addOption(socketOption())
    .action(show)
}

async function show({ json, watch, socket }: Options): Promise<void> {
  const redraw = watch && !json && process.stdout.isTTY ? CLEAR_SCREEN : ''
  do {
    const status = (await request(socket, 'GET', '/status')) as DirectorStatus
    process.stdout.write(`${redraw}${json ? JSON.stringify(status) : renderStatus(status)}\n`)
    if (watch) await wait(WATCH_INTERVAL_MS)
  } while (watch)
}
