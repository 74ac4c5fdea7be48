// Batches: first planned, from lengths alone, then read. A plan is a pure function of lengths, options, seed and epoch, and the
// anchors of a row depend on seed, epoch and row only, so a resumed run skips to its batch and reads what it would have read.
import { halfToFloat32 } from '../src/models/half.js';
import { Random } from '../src/random.js';
import { UserError } from '../src/errors.js';
import { labelBlocks, sampleAnchors } from './anchors.js';
import type { CacheRow, RowParts } from './cache-layout.js';

/** Which rows go into one batch, and the length they are padded or cut to. */
export interface BatchPlan {
  seed: number;
  epoch: number;
  /** Place in the epoch's order, from 0. */
  index: number;
  /** Row numbers `[B]`; -1 stands for an empty sequence that fills the epoch's last batch. */
  rows: Int32Array;
  /** Padded length S, one of the buckets. */
  length: number;
}

/** What a plan depends on. */
export interface EpochOptions {
  /** Tokens of every row, by row number. */
  lengths: Int32Array;
  batchSize: number;
  seed: number;
  epoch: number;
  /** Padded lengths, ascending; rows longer than the last are cut to it. Default: `defaultBuckets`. */
  buckets?: readonly number[] | null;
  /** Row numbers to use; default all. */
  rows?: Int32Array;
  /** false keeps rows in the order of their lengths, for validation. Default true. */
  shuffle?: boolean;
}

/** Padded lengths that cost at most a third of padding: powers of two and the values halfway, up to what `longest` needs. */
export function defaultBuckets(longest: number): number[] {
  const buckets: number[] = [];
  for (let size = 16; ; size *= 2) {
    buckets.push(size);
    if (size >= longest) return buckets;
    buckets.push(size + size / 2);
    if (size + size / 2 >= longest) return buckets;
  }
}

/**
 * Plans one epoch: every row exactly once, rows of like length together, the order of rows and of batches drawn from seed and
 * epoch. What does not fill a batch of its bucket moves up to the next; the epoch's last batch is filled with empty sequences.
 */
export function planEpoch(options: EpochOptions): BatchPlan[] {
  const { lengths, batchSize, seed, epoch } = options;
  const shuffle = options.shuffle ?? true;
  const rows = options.rows ? options.rows.slice() : Int32Array.from(lengths.keys());
  if (rows.length === 0) return [];
  let longest = 0;
  for (const row of rows) longest = Math.max(longest, lengths[row]!);
  const buckets = options.buckets?.length ? [...options.buckets].sort((a, b) => a - b) : defaultBuckets(longest);
  const random = Random.fork(seed, 'order', epoch);
  if (shuffle) random.shuffle(rows);
  else rows.sort((a, b) => lengths[a]! - lengths[b]! || a - b);

  const waiting: number[][] = buckets.map(() => []);
  for (const row of rows) {
    const fitting = buckets.findIndex((size) => lengths[row]! <= size);
    waiting[fitting === -1 ? buckets.length - 1 : fitting]!.push(row);
  }
  const plans: BatchPlan[] = [];
  const last = waiting.reduce((found, list, i) => (list.length > 0 ? i : found), 0);
  let carried: number[] = [];
  for (let i = 0; i <= last; i++) {
    const list = [...carried, ...waiting[i]!];
    const full = i === last ? list.length : list.length - (list.length % batchSize);
    for (let start = 0; start < full; start += batchSize) {
      const chosen = new Int32Array(batchSize).fill(-1);
      chosen.set(list.slice(start, start + batchSize));
      plans.push({ seed, epoch, index: 0, rows: chosen, length: buckets[i]! });
    }
    carried = list.slice(full);
  }
  if (shuffle) random.shuffle(plans);
  plans.forEach((plan, index) => (plan.index = index));
  return plans;
}

/** Where rows come from: an open cache, or anything that reads like one. */
export interface RowSource {
  readRow(row: number, parts?: RowParts): Promise<CacheRow>;
}

/** How a planned batch is read. */
export interface BatchOptions {
  blockSize: number;
  anchorsPerSequence: number;
  /** `float32` widens what is stored, `stored` hands it on as it is (float16 bits), `none` leaves features out. */
  features: 'float32' | 'stored' | 'none';
  /** How many of the target's top log-probabilities to read a slot, the largest first; default 0. Not more than there are. */
  topk?: number;
}

/** A batch in host memory, row-major. `M = B·N`, `J = K - 1`. */
export interface Batch {
  plan: BatchPlan;
  /** `[B, S]`, padded with 0. */
  inputIds: Int32Array;
  /** Tokens of each sequence without padding, `[B]`. */
  lengths: Int32Array;
  /** `[B, S, width]`, padded with 0; float16 bits where stored so and asked for as stored. */
  features?: Float32Array | Uint16Array;
  /** Features of one position, T·D. */
  featureWidth: number;
  /** `[B, N]`, ascending in each sequence; surplus places repeat the last anchor and have no valid slot. */
  anchors: Int32Array;
  /** `[M, J]`; 0 where not valid. */
  labels: Int32Array;
  /** `[M, J]`, 0 or 1; a prefix of each block. */
  valid: Float32Array;
  /** What the target says for each slot, `[M, J, k]`: ids and log-probabilities over the whole vocabulary. */
  topkIds?: Int32Array;
  topkLogProbs?: Float32Array;
  topkCount: number;
}

// An invalid slot's teacher row: different ids and a probability that is next to nothing, so no arithmetic on it overflows.
const ABSENT_LOG_PROB = -30;

/**
 * Reads a planned batch: rows, anchors drawn anew for this epoch, labels, validity and teacher rows.
 * Throws UserError where a row lacks what is asked for.
 */
export async function readBatch(plan: BatchPlan, source: RowSource, options: BatchOptions): Promise<Batch> {
  const { blockSize, anchorsPerSequence } = options;
  const batchSize = plan.rows.length;
  const length = plan.length;
  const slots = blockSize - 1;
  const blocks = batchSize * anchorsPerSequence;
  const parts: RowParts = { features: options.features !== 'none', topk: (options.topk ?? 0) > 0 };
  const rows = await Promise.all(Array.from(plan.rows, (row) => (row < 0 ? undefined : source.readRow(row, parts))));
  const batch: Batch = {
    plan,
    inputIds: new Int32Array(batchSize * length),
    lengths: new Int32Array(batchSize),
    featureWidth: 0,
    anchors: new Int32Array(blocks),
    labels: new Int32Array(blocks * slots),
    valid: new Float32Array(blocks * slots),
    topkCount: 0,
  };
  for (const [b, whole] of rows.entries()) {
    if (whole === undefined) continue;
    const row = cutRow(whole, length);
    const number = plan.rows[b]!;
    batch.inputIds.set(row.inputIds, b * length);
    batch.lengths[b] = row.inputIds.length;
    const random = Random.fork(plan.seed, 'anchors', plan.epoch, number);
    const anchors = sampleAnchors(row.lossMask, anchorsPerSequence, random);
    const offset = b * anchorsPerSequence;
    batch.anchors.fill(anchors[anchors.length - 1] ?? 0, offset, offset + anchorsPerSequence);
    batch.anchors.set(anchors, offset);
    labelBlocks(anchors, row.inputIds, row.lossMask, blockSize, batch.labels, batch.valid, offset);
    if (parts.features) addFeatures(batch, b, row, number, options.features === 'float32');
    if (parts.topk) addTeacherRows(batch, b, row, number, anchors, { anchorsPerSequence, slots, topk: options.topk! });
  }
  if (batch.topkIds && batch.topkLogProbs) maskTeacherRows(batch.topkIds, batch.topkLogProbs, batch.valid, batch.topkCount);
  return batch;
}

function cutRow(row: CacheRow, length: number): CacheRow {
  if (row.inputIds.length <= length) return row;
  const share = <T extends Int32Array | Uint16Array | Float32Array>(values: T | undefined): T | undefined =>
    values && (values.subarray(0, (values.length / row.inputIds.length) * length) as T);
  return {
    ...row,
    inputIds: row.inputIds.subarray(0, length),
    lossMask: row.lossMask.subarray(0, length),
    features: share(row.features),
    topkIds: share(row.topkIds),
    topkLogProbs: share(row.topkLogProbs),
  };
}

function addFeatures(batch: Batch, b: number, row: CacheRow, number: number, widen: boolean): void {
  if (row.features === undefined) throw new UserError(`row ${number} has no features: this cache holds tokens only; run \`draftalign capture\`, or train with capture.mode online`);
  const width = row.features.length / row.inputIds.length;
  if (batch.features === undefined) {
    batch.featureWidth = width;
    const size = batch.plan.rows.length * batch.plan.length * width;
    batch.features = widen || row.features instanceof Float32Array ? new Float32Array(size) : new Uint16Array(size);
  }
  const start = b * batch.plan.length * width;
  if (widen && row.features instanceof Uint16Array) halfToFloat32(row.features, batch.features.subarray(start, start + row.features.length) as Float32Array<ArrayBuffer>);
  else batch.features.set(row.features, start);
}

function addTeacherRows(batch: Batch, b: number, row: CacheRow, number: number, anchors: Int32Array, sizes: { anchorsPerSequence: number; slots: number; topk: number }): void {
  const { anchorsPerSequence, slots } = sizes;
  if (row.topkIds === undefined || row.topkLogProbs === undefined) {
    throw new UserError(`row ${number} has no log-probabilities of the target: capture with \`--top-k 16\` (config: capture.topLogProbs), or leave out the losses that distil`);
  }
  const stored = row.topkIds.length / row.inputIds.length;
  const k = Math.min(stored, sizes.topk);
  if (batch.topkIds === undefined || batch.topkLogProbs === undefined) {
    batch.topkCount = k;
    batch.topkIds = new Int32Array(batch.valid.length * k);
    batch.topkLogProbs = new Float32Array(batch.valid.length * k);
  }
  const logProbs = row.topkLogProbs instanceof Uint16Array ? halfToFloat32(row.topkLogProbs) : row.topkLogProbs;
  for (let n = 0; n < anchors.length; n++) {
    // Slot j sits at a + j; what the target says for it stands in the row of the token before, a + j - 1.
    const last = Math.min(slots, row.inputIds.length - anchors[n]!);
    for (let j = 0; j < last; j++) {
      const from = (anchors[n]! + j) * stored;
      const to = ((b * anchorsPerSequence + n) * slots + j) * k;
      batch.topkIds.set(row.topkIds.subarray(from, from + k), to);
      batch.topkLogProbs.set(logProbs.subarray(from, from + k), to);
    }
  }
}

function maskTeacherRows(ids: Int32Array, logProbs: Float32Array, valid: Float32Array, k: number): void {
  for (let slot = 0; slot < valid.length; slot++) {
    if (valid[slot] !== 0) continue;
    for (let i = 0; i < k; i++) ids[slot * k + i] = i;
    logProbs.fill(ABSENT_LOG_PROB, slot * k, (slot + 1) * k);
  }
}
