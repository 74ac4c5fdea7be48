// Re-reads a whole cache: hashes first, then every row. Slow on purpose; run it after copying a cache or when in doubt.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { UserError } from '../src/errors.js';
import type { CacheRow } from './cache-layout.js';
import { readContents } from './cache-manifest.js';
import { openCache, openRegular } from './cache-reader.js';

/** What `verifyCache` found wrong, in words; empty where the cache is sound. */
export type Problems = string[];

/**
 * Re-reads every shard from end to end: SHA-256, then every row. Finds exchanged bits, numbers that are not finite, teacher ids outside the
 * vocabulary. `onShard` is told of each shard done. An unfinished cache is checked as far as it goes.
 */
export async function verifyCache(folder: string, onShard: (file: string, problems: Problems) => void = () => undefined): Promise<Problems> {
  const contents = await readContents(folder, true);
  const all: Problems = [];
  for (const shard of contents.shards) {
    const problems: Problems = [];
    const path = join(folder, shard.file);
    try {
      const found = await hashFile(path);
      if (found !== shard.sha256) problems.push(`${path}: SHA-256 is ${found}, the manifest says ${shard.sha256}; the file changed after it was written. Restore it from a copy, or delete the cache folder and capture again`);
    } catch (error) {
      problems.push((error as Error).message);
    }
    all.push(...problems);
    onShard(shard.file, problems);
  }
  if (all.length > 0) return all;
  try {
    const cache = await openCache(folder, { allowIncomplete: true });
    for (let row = 0; row < cache.rowCount; row++) {
      const problem = rowProblem(await cache.readRow(row, { features: true, topk: true }), cache.metadata.vocab_size);
      if (problem !== undefined) all.push(`${folder}: row ${row}: ${problem}`);
      if (all.length >= 20) break;
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    all.push(error.message);
  }
  return all;
}

async function hashFile(path: string): Promise<string> {
  const handle = await openRegular(path);
  try {
    const hash = createHash('sha256');
    const chunk = new Uint8Array(2 ** 20);
    for (;;) {
      const { bytesRead } = await handle.read(chunk, 0, chunk.byteLength);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(chunk.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
}

function rowProblem(row: CacheRow, vocabSize: number | null): string | undefined {
  const isFinite = (values: Float32Array | Uint16Array): boolean =>
    values instanceof Float32Array ? values.every(Number.isFinite) : values.every((bits) => (bits & 0x7c00) !== 0x7c00);
  if (row.lossMask.some((value) => value > 1)) return 'loss_mask holds values other than 0 and 1';
  if (row.features && !isFinite(row.features)) return 'features hold numbers that are not finite; capture with --dtype float32';
  if (row.topkIds && row.topkIds.some((id) => id < 0 || id >= (vocabSize ?? 2 ** 31))) return 'topk_ids hold ids outside the vocabulary';
  if (row.topkLogProbs && !isFinite(row.topkLogProbs)) return 'topk_log_probs hold numbers that are not finite';
  return undefined;
}
