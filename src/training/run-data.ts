// The rows of a run: which are held out, how they fall into batches, and a stream of batches that is read ahead of the step.
// Everything follows from the seed and a position, so a resumed run needs no state but its step.
import { planEpoch, readBatch, type Batch, type BatchOptions, type BatchPlan, type RowSource } from '../../data/batches.js';
import type { Config } from '../config/load.js';
import { UserError } from '../errors.js';
import { Random } from '../random.js';
import { supervisedStretches, type ValidationBatch } from './validation.js';

/** A run's rows and how long it is. */
export interface RunData {
  source: RowSource;
  /** Tokens of every row, cut to `data.maxLength`, by row number. */
  lengths: Int32Array;
  trainingRows: Int32Array;
  validationRows: Int32Array;
  /** Padded lengths, ascending. */
  buckets: number[];
  batchesPerEpoch: number;
  /** Updates of the whole run. */
  totalSteps: number;
}

const defaultEpochs = 3;

/** Splits rows and counts batches. Throws `UserError` where nothing is left to train on. */
export function planData(config: Config, source: RowSource, rowLengths: Int32Array): RunData {
  const { data, training } = config;
  const lengths = rowLengths.map((length) => Math.min(length, data.maxLength));
  const rowCount = Math.min(lengths.length, data.maxRows ?? lengths.length);
  const order = Int32Array.from({ length: rowCount }, (_, row) => row);
  Random.fork(training.seed, 'held out').shuffle(order);
  const heldOut = data.validationRows ?? Math.min(64, Math.floor(rowCount / 20));
  if (heldOut >= rowCount) {
    throw new UserError(`data.validationRows is ${heldOut}, but there are only ${rowCount} rows: nothing would be left to train on.`);
  }
  const validationRows = order.slice(0, heldOut).sort();
  const trainingRows = order.slice(heldOut).sort();
  const buckets = data.buckets === null ? chooseBuckets(lengths.subarray(0, rowCount), data.maxLength) : [...data.buckets].sort((a, b) => a - b);
  const partial = { source, lengths, trainingRows, validationRows, buckets };
  const batchesPerEpoch = planTrainingEpoch(config, partial, 0).length;
  const totalSteps = training.steps ?? Math.max(1, Math.round(((training.epochs ?? defaultEpochs) * batchesPerEpoch) / training.accumulate));
  return { ...partial, batchesPerEpoch, totalSteps };
}

/**
 * At most `count` padded lengths (multiples of 16, or `most`) that together pad the rows least: each is recorded as graphs of its
 * own, so few are better than many. By dynamic programming over the lengths that occur.
 */
export function chooseBuckets(lengths: Int32Array, most: number, count = 4): number[] {
  const rowsOf = new Map<number, number>();
  for (const length of lengths) {
    const size = Math.min(most, Math.ceil(length / 16) * 16);
    rowsOf.set(size, (rowsOf.get(size) ?? 0) + 1);
  }
  const sizes = [...rowsOf.keys()].sort((a, b) => a - b);
  const rowsUpTo = sizes.map(((sum) => (size: number) => (sum += rowsOf.get(size)!))(0));
  // best[n][i]: fewest padded tokens for rows up to sizes[i] in n + 1 buckets, the last of them sizes[i]; `from` is the bucket before.
  const cost = (after: number, i: number) => (rowsUpTo[i]! - (after < 0 ? 0 : rowsUpTo[after]!)) * sizes[i]!;
  const first = sizes.map((_, i) => ({ tokens: cost(-1, i), from: -1 }));
  const best = [first];
  for (let n = 1; n < Math.min(count, sizes.length); n++) {
    best.push(
      sizes.map((_, i) => {
        let chosen = { tokens: Infinity, from: -1 };
        for (let j = n - 1; j < i; j++) {
          const tokens = best[n - 1]![j]!.tokens + cost(j, i);
          if (tokens < chosen.tokens) chosen = { tokens, from: j };
        }
        return chosen;
      }),
    );
  }
  const buckets: number[] = [];
  for (let n = best.length - 1, i = sizes.length - 1; n >= 0; n--) {
    buckets.unshift(sizes[i]!);
    i = best[n]![i]!.from;
  }
  return buckets;
}

type PlannedRows = Pick<RunData, 'lengths' | 'trainingRows' | 'validationRows' | 'buckets'>;

/** The batches of one epoch of training, in order. */
export function planTrainingEpoch(config: Config, rows: PlannedRows, epoch: number): BatchPlan[] {
  const { seed, batchSize } = config.training;
  return planEpoch({ lengths: rows.lengths, rows: rows.trainingRows, batchSize, seed, epoch, buckets: rows.buckets });
}

/** The batches of a validation: always the same rows and the same anchors. */
export function planValidation(config: Config, rows: PlannedRows): BatchPlan[] {
  const { batchSize } = config.evaluation;
  return planEpoch({ lengths: rows.lengths, rows: rows.validationRows, batchSize, seed: config.training.seed, epoch: -1, buckets: rows.buckets, shuffle: false });
}

/** Padded lengths that the batches of a run really have, ascending. */
export function lengthsInUse(plans: readonly BatchPlan[]): number[] {
  return [...new Set(plans.map((plan) => plan.length))].sort((a, b) => a - b);
}

/**
 * Training batches from batch number `from` (counted over all epochs) on, without end. Up to `ahead` batches are being read while
 * the caller works. Row reading errors are thrown where the batch would come.
 */
export async function* trainingBatches(config: Config, rows: RunData, options: BatchOptions, from: number, ahead = 2): AsyncGenerator<Batch> {
  let epoch = -1;
  let plans: BatchPlan[] = [];
  const planOf = (number: number) => {
    const wanted = Math.floor(number / rows.batchesPerEpoch);
    if (wanted !== epoch) {
      plans = planTrainingEpoch(config, rows, wanted);
      epoch = wanted;
    }
    return plans[number % rows.batchesPerEpoch]!;
  };
  const waiting: Promise<Batch>[] = [];
  for (let number = from; ; number++) {
    const next = readBatch(planOf(number), rows.source, options);
    // A failed read is reported when its turn comes, not as an unhandled rejection before.
    next.catch(() => undefined);
    waiting.push(next);
    if (waiting.length > ahead) yield await waiting.shift()!;
  }
}

/** Validation batches with their loss masks. */
export async function* validationBatches(config: Config, rows: RunData, options: BatchOptions): AsyncGenerator<ValidationBatch> {
  for (const plan of planValidation(config, rows)) {
    const lossMasks = await Promise.all(
      Array.from(plan.rows, async (row) => (row < 0 ? new Uint8Array(0) : (await rows.source.readRow(row)).lossMask.subarray(0, plan.length))),
    );
    yield { batch: await readBatch(plan, rows.source, options), lossMasks };
  }
}

/** Throws `UserError` where none of the first rows has a block to train on, which a wrong loss mask would cause. */
export async function checkSupervision(rows: RunData): Promise<void> {
  const looked = rows.trainingRows.subarray(0, 64);
  for (const row of looked) {
    const { lossMask } = await rows.source.readRow(row);
    if (supervisedStretches(lossMask).length > 0) return;
  }
  throw new UserError(
    `none of the first ${looked.length} rows has two supervised tokens in a row, so there is nothing to learn. ` +
      'Look at the loss mask: rows with `messages` supervise what the assistant says, rows with `text` all of it.',
  );
}
