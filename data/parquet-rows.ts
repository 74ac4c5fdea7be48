// Rows of Parquet files, read by hyparquet in a thread of its own: a damaged file can send it into an endless loop, which only
// ending the thread ends.
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { UserError } from '../src/errors.js';
import type { ParquetReply, ParquetRequest } from './parquet-worker.js';

/** Time for one row group: far beyond what a whole file of this size takes. */
const timeLimit = (fileBytes: number): number => 10_000 + fileBytes / 2000;

/**
 * The rows of a Parquet file, a row group at a time, so that memory holds one of them. 64-bit integers come as numbers.
 * Throws UserError where the file is damaged or a group takes too long.
 */
export async function* readParquetRows(file: string, timeLimitMs = timeLimit(statSync(file).size)): AsyncGenerator<Record<string, unknown>> {
  const worker = new Worker(new URL('./parquet-worker.js', import.meta.url), { workerData: file, resourceLimits: { maxOldGenerationSizeMb: 4096 } });
  try {
    for (let group = 0; ; group++) {
      const reply = await ask(worker, { group }, timeLimitMs);
      if ('problem' in reply) throw new UserError(`${file}: cannot be read as Parquet: ${reply.problem}`);
      if (reply.rows === undefined) return;
      yield* reply.rows;
    }
  } finally {
    await worker.terminate();
  }
}

async function ask(worker: Worker, request: ParquetRequest, timeLimitMs: number): Promise<ParquetReply> {
  const ended = new AbortController();
  const timer = setTimeout(() => ended.abort(), timeLimitMs);
  try {
    // An error event of the thread (out of memory, say) rejects this.
    const reply = once(worker, 'message', { signal: ended.signal }) as Promise<[ParquetReply]>;
    worker.postMessage(request);
    return (await reply)[0];
  } catch (error) {
    return { problem: ended.signal.aborted ? `row group ${request.group} took more than ${Math.round(timeLimitMs / 1000)} s; it is damaged` : (error as Error).message };
  } finally {
    clearTimeout(timer);
  }
}
