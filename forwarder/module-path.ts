/**
 * The URL of a module that is to run in a worker thread: TypeScript in the repository, JavaScript once built. The compiler
 * rewrites the extensions of imports, but not of such URLs.
 * @param importer import.meta.url of the caller
 * @param path relative, without its extension
 */
export function modulePath(importer: string, path: string): URL {
  return new URL(path + (importer.endsWith('.ts') ? '.ts' : '.js'), importer)
}
