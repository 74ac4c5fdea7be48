// What a capture will do, before it does it: rows, tokens, bytes, and the windows it works in. A window is a run of rows that
// is computed together and written in order; windows follow from lengths alone, so a resumed capture computes what it would have.
import { statfs } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { sequenceBytes, type Cache, type CacheColumns, type Part } from '../../data/arrow-cache.js';
import { defaultBuckets } from '../../data/batches.js';
import { UserError } from '../errors.js';
import type { GenerationSettings } from './regeneration.js';

/** What a capture will read and write. */
export interface CapturePlan {
  /** Rows of this part, `[from, to)`. */
  from: number;
  to: number;
  /** Tokens of each row of the whole source, cut to what is allowed; with generation, the most it can become. */
  lengths: Int32Array;
  /** Rows that are cut. */
  cut: number;
  /** Tokens of this part; with generation, at most. */
  tokens: number;
  /** Bytes of this part; with generation, at most. */
  bytes: number;
}

/** The rows that belong to part `index` of `count`: contiguous, so that the parts in their order are the source in its order. */
export function partRows(rowCount: number, part: Part): { from: number; to: number } {
  return { from: Math.floor(((part.index - 1) * rowCount) / part.count), to: Math.floor((part.index * rowCount) / part.count) };
}

/** Parses `--part i/n`. */
export function parsePart(text: string): Part {
  const match = /^(\d+)\/(\d+)$/.exec(text);
  const part = match && { index: Number(match[1]), count: Number(match[2]) };
  if (!part || part.index < 1 || part.index > part.count || part.count > 99999) {
    throw new UserError(`--part is ${text}; expected i/n with i from 1 to n, such as 1/8 (a job array that counts from 0 adds 1)`);
  }
  return part;
}

/** Plans the capture of one part of `source`. */
export function planCapture(
  source: Cache,
  options: { columns: CacheColumns; part: Part; maxLength: number; maxRows?: number; generate?: GenerationSettings },
): CapturePlan {
  const { columns, part, maxLength, maxRows = Infinity, generate } = options;
  const given = source.lengths();
  const rowCount = Math.min(given.length, maxRows);
  const { from, to } = partRows(rowCount, part);
  const lengths = given.slice(0, rowCount).map((length) => Math.min(maxLength, generate ? length + generate.maxNewTokens : length));
  let tokens = 0;
  let bytes = 0;
  let cut = 0;
  for (let row = from; row < to; row++) {
    tokens += lengths[row]!;
    bytes += sequenceBytes(lengths[row]!, columns);
    if (given[row]! > maxLength) cut++;
  }
  return { from, to, lengths, cut, tokens, bytes };
}

const WINDOW_BYTES = 64 * 2 ** 20;
const WINDOW_BATCHES = 16;

/** Where the window that begins at row `start` ends: after 16 batches of rows, or 64 MiB of them, but one row at least. */
export function windowEnd(plan: CapturePlan, start: number, columns: CacheColumns, batchSize: number): number {
  let bytes = 0;
  let end = start;
  while (end < plan.to && end - start < WINDOW_BATCHES * batchSize) {
    bytes += sequenceBytes(plan.lengths[end]!, columns);
    if (end > start && bytes > WINDOW_BYTES) break;
    end++;
  }
  return end;
}

/**
 * Groups items into batches of like length, longest first; returns their indices and the padded length of each batch.
 * `rowsOf` says how many sequences of a padded length go into one.
 */
export function batchByLength(lengths: readonly number[], rowsOf: (length: number) => number): { items: number[]; length: number }[] {
  const order = lengths.map((_, i) => i).sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  const batches: { items: number[]; length: number }[] = [];
  for (let start = 0; start < order.length; ) {
    const length = defaultBuckets(lengths[order[start]!]!).at(-1)!;
    const items = order.slice(start, start + rowsOf(length));
    batches.push({ items, length });
    start += items.length;
  }
  return batches;
}

/** Batches of each padded length that the capture of a whole part will have. */
export function countBatches(plan: CapturePlan, columns: CacheColumns, batchSize: number, rowsOf: (length: number) => number): Map<number, number> {
  const counts = new Map<number, number>();
  for (let start = plan.from; start < plan.to; ) {
    const end = windowEnd(plan, start, columns, batchSize);
    for (const { length } of batchByLength([...plan.lengths.subarray(start, end)], rowsOf)) counts.set(length, (counts.get(length) ?? 0) + 1);
    start = end;
  }
  return counts;
}

/** Free bytes where `folder` is or will be; undefined where the system does not tell. */
export async function freeBytes(folder: string): Promise<number | undefined> {
  let existing = folder;
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
  try {
    const { bavail, bsize } = await statfs(existing);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}

/** A number of bytes for reading: `1.2 GiB`. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  const unit = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** unit).toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}

/** A duration for reading: `2 h 5 min`, `3 min 20 s`, `12 s`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(1, Math.round(seconds));
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
  return whole >= 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole} s`;
}
