// The thread that reads Parquet (see parquet-rows.ts): asked for a row group, it answers with its rows.
import { parentPort, workerData } from 'node:worker_threads';
import * as zlib from 'node:zlib';
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, type Compressors } from 'hyparquet';

/** What the thread is asked for: a group of rows, by number. */
export interface ParquetRequest {
  group: number;
}

/** Rows of the group, or undefined behind the last one; or why they cannot be read. */
export type ParquetReply = { rows: Record<string, unknown>[] | undefined } | { problem: string };

const mostGroupBytes = 2 ** 30;
const mostGroupRows = 10_000_000;

type Decompress = (input: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;
const { zstdDecompressSync } = zlib as { zstdDecompressSync?: Decompress };

/** Snappy, what most files have, is read by hyparquet itself. Zstandard came to Node with 22.15. */
const compressors: Compressors = {
  GZIP: (input, length) => zlib.gunzipSync(input, { maxOutputLength: length }),
  BROTLI: (input, length) => zlib.brotliDecompressSync(input, { maxOutputLength: length }),
  ...(zstdDecompressSync && { ZSTD: (input: Uint8Array, length: number) => zstdDecompressSync(input, { maxOutputLength: length }) }),
};

const file = await asyncBufferFromFile(workerData as string);
const metadata = parquetMetadataAsync(file);
metadata.catch(() => undefined);

async function readGroup(group: number): Promise<ParquetReply> {
  const { row_groups: groups } = await metadata;
  if (group >= groups.length) return { rows: undefined };
  const { num_rows: count, total_byte_size: bytes } = groups[group]!;
  if (bytes > mostGroupBytes || count > mostGroupRows) {
    return { problem: `row group ${group} takes more than a gigabyte or ${mostGroupRows} rows; write the file with smaller row groups` };
  }
  const rowStart = groups.slice(0, group).reduce((sum, { num_rows }) => sum + Number(num_rows), 0);
  const rows = await parquetReadObjects({ file, metadata: await metadata, rowStart, rowEnd: rowStart + Number(count), compressors });
  return { rows: rows.map((row) => withNumbers(row) as Record<string, unknown>) };
}

/** Parquet's 64-bit integers as numbers, as JSON has them; those that no number holds exactly as text. */
function withNumbers(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (Array.isArray(value)) return value.map(withNumbers);
  if (value === null || typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withNumbers(inner)]));
}

parentPort!.on('message', ({ group }: ParquetRequest) => {
  readGroup(group)
    .catch((error: unknown): ParquetReply => ({ problem: error instanceof Error ? error.message : String(error) }))
    .then((reply) => parentPort!.postMessage(reply))
    .catch(() => parentPort!.postMessage({ problem: 'it holds values that no row can have' } satisfies ParquetReply));
});
