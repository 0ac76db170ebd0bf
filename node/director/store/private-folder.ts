/**
 * Folders that only the director may enter: its store (which holds its private key) and its control socket.
 */
import { mkdirSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { DirectorError } from '../../../protocol/errors.ts'

const OTHERS = 0o077

/**
 * Makes the folder, with mode 0700, and the folders above it that are missing. A folder that is there keeps its mode.
 * Goes one level at a time: mkdir's `recursive` never returns where a parent refuses with ENOENT, as in /proc.
 * @throws the system's error, with its `code`
 */
export function makePrivateFolder(folder: string): void {
  const missing: string[] = []
  for (let path = resolve(folder); ; path = dirname(path)) {
    try {
      mkdirSync(path, { mode: 0o700 })
      break
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EEXIST') break
      if (code !== 'ENOENT' || path === dirname(path)) throw error
      missing.push(path)
    }
  }
  for (const path of missing.reverse()) mkdirSync(path, { mode: 0o700 })
}

/** @throws DirectorError CONFIG_INVALID for a folder that was made by somebody else, with a mode that lets others in */
export function demandPrivateFolder(folder: string): void {
  const mode = statSync(folder, { throwIfNoEntry: false })?.mode ?? 0
  if ((mode & OTHERS) === 0) return
  const message = `${folder}: others than its owner may enter the store, which holds the private key of the director: chmod 700 it`
  throw new DirectorError('CONFIG_INVALID', message)
}
