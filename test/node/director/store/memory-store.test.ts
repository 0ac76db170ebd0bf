/** The memory store: the compliance suite. */
import { MemoryStore } from '../../../../node/director/store/memory-store.ts'
import { storeCompliance } from '../../../compliance/store.ts'

storeCompliance('memory', () => new MemoryStore())
