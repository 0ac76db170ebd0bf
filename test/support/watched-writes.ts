/** A level store's database whose durable writes pass through a test's hands. */
import { createLevel, type Database } from '../../node/director/store/level-store.ts'

/** @param watch gets each write of a batch, to be made or not, and the options that it is made with */
export function watchedDatabase(
  folder: string,
  watch: (write: () => Promise<void>, options: object) => Promise<void>,
): Database {
  const database = createLevel(folder)
  const begin = database.batch.bind(database) as () => ReturnType<typeof database.batch>
  database.batch = (() => {
    const batch = begin()
    const write = batch.write.bind(batch)
    batch.write = async (options: object = {}) => watch(async () => write(options), options)
    return batch
  }) as typeof database.batch
  return database
}
