/** What a command is given to read. Waited for, whatever standard input is: a file, a pipe whose writer takes its time, a socket. */
import { text } from 'node:stream/consumers'

export function readStandardInput(): Promise<string> {
  return text(process.stdin)
}

/** @param file or "-", for standard input. @throws DirectorError CONFIG_UNREADABLE */
export async function readInput(file: string): Promise<string> {
  if (file === '-') return readStandardInput()
  const { readText } = await import('../director/yaml-file.ts')
  return readText(file)
}
