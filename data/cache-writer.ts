// Writes a cache folder shard by shard. A finished shard is in the manifest and stays; an interrupted writer goes on after it.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../src/errors.js';
import { removeAbandoned } from '../src/files.js';
import { openArrowWriter, rowBytes, type ArrowWriter } from './arrow-writer.js';
import { cacheColumns, type CacheColumns, type CacheMetadata, type CacheRow } from './cache-layout.js';
import { differences, manifestName, readManifest, shardName, writeManifest, type Manifest, type Part } from './cache-manifest.js';

export interface CacheWriterOptions {
  metadata: CacheMetadata;
  columns: CacheColumns;
  /** Which of several writers this is; default the only one. */
  part?: Part;
  /** Input row at which this part begins; default 0. */
  firstSourceRow?: number;
  /** Bytes gathered before a record batch is written; default 16 MiB. */
  batchBytes?: number;
}

/** A cache being written by one process. */
export interface CacheWriter {
  /** Input rows that finished shards cover already: where to go on. */
  readonly sourceRows: number;
  /** Rows in finished shards and in the open one. */
  readonly rows: number;
  /** Bytes of the open shard; decide by it when to call `finishShard`. */
  readonly shardBytes: number;
  /** Shards that were there when the writer was opened. */
  readonly resumedShards: number;
  /** Whether there is nothing left to do: an earlier run finished this part. */
  readonly complete: boolean;
  append(row: CacheRow): Promise<void>;
  /** Closes the open shard, if any, and enters it in the manifest; `sourceRows` is where to go on after it. */
  finishShard(sourceRows: number): Promise<void>;
  /** Closes the open shard and marks the part as complete. */
  finish(sourceRows: number): Promise<Manifest>;
  /** Drops the open shard; finished ones stay. */
  abort(): Promise<void>;
}

/**
 * Opens a cache folder for writing, or goes on where an earlier writer of the same part stopped.
 * Throws UserError where the folder holds something captured in another way.
 */
export async function createCacheWriter(folder: string, options: CacheWriterOptions): Promise<CacheWriter> {
  const { metadata, part = { index: 1, count: 1 }, batchBytes = 16 * 2 ** 20, firstSourceRow = 0 } = options;
  const columns = cacheColumns(options.columns);
  await mkdir(folder, { recursive: true });
  const ownShards = shardName(part, 0).replace(/\d+\.arrow$/, '');
  await removeAbandoned(folder, (name) => name.startsWith(ownShards) || name === manifestName(part));
  const found = await readManifest(folder, manifestName(part));
  if (found !== undefined) {
    const different = differences(found.metadata, metadata);
    if (different.length > 0) {
      throw new UserError(`${folder}: holds a cache made in another way (${different.join('; ')}); name another folder, or delete this one to start over`);
    }
  }
  const manifest: Manifest = { metadata, part, complete: found?.complete ?? false, shards: found?.shards ?? [] };
  const resumedShards = manifest.shards.length;
  const covered = (): number => manifest.shards.at(-1)?.source_rows?.[1] ?? firstSourceRow;
  if (manifest.shards.some((shard) => shard.source_rows === undefined)) {
    throw new UserError(`${folder}: its shards do not say which input rows they cover (source_rows), so another program wrote them; name another folder`);
  }
  let open: ArrowWriter | undefined;

  const finishShard = (sourceRows: number): Promise<void> =>
    explainingFullDisk(folder, async () => {
      if (open === undefined) return;
      const from = covered();
      const file = shardName(part, manifest.shards.length);
      const summary = await open.finish();
      open = undefined;
      manifest.shards.push({ file, ...summary, source_rows: [from, sourceRows] });
      await writeManifest(folder, manifest);
    });
  return {
    get sourceRows() {
      return covered();
    },
    get rows() {
      return manifest.shards.reduce((sum, shard) => sum + shard.rows, 0) + (open?.rows ?? 0);
    },
    get shardBytes() {
      return open?.bytes ?? 0;
    },
    get complete() {
      return manifest.complete;
    },
    resumedShards,
    async append(row) {
      if (manifest.complete) throw new Error(`${folder}: the cache is complete; nothing can be appended`);
      await explainingFullDisk(folder, async () => {
        open ??= await openArrowWriter(join(folder, shardName(part, manifest.shards.length)), columns, metadata, batchBytes);
        await open.append(row);
      });
    },
    finishShard,
    async finish(sourceRows) {
      await finishShard(sourceRows);
      manifest.complete = true;
      await explainingFullDisk(folder, () => writeManifest(folder, manifest));
      return manifest;
    },
    async abort() {
      await open?.abort();
      open = undefined;
    },
  };
}

async function explainingFullDisk<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error;
    throw new UserError(`${folder}: the disk is full (${code}). Finished shards are kept; make room and run the same command again to go on`);
  }
}

/** Bytes that a sequence of `tokens` takes in a cache with these columns, without headers; for estimates. */
export function sequenceBytes(tokens: number, options: CacheColumns): number {
  const row = { inputIds: { length: tokens } as Int32Array, lossMask: { length: tokens } as Uint8Array };
  return rowBytes(row, cacheColumns(options));
}
