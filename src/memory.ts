// How much memory this process may take: the machine's, or less where a container sets a limit.
import { totalmem } from 'node:os';

/** Bytes of memory that this process can have at most. */
export function availableMemory(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}
