import test from 'node:test';
import assert from 'node:assert/strict';
import type { CacheRow } from '../../data/arrow-cache.js';
import { parseConfig } from '../../src/config/load.js';
import { Random } from '../../src/random.js';
import { checkSupervision, chooseBuckets, lengthsInUse, planData, planTrainingEpoch, trainingBatches } from '../../src/training/run-data.js';
import { supervisedStretches } from '../../src/training/validation.js';

const lengthsOf = (count: number, most = 60) => {
  const random = new Random(7);
  return Int32Array.from({ length: count }, () => 4 + random.int(most - 4));
};
const sourceOf = (lengths: Int32Array, supervised = 1) => ({
  readRow: (row: number): Promise<CacheRow> =>
    Promise.resolve({
      inputIds: Int32Array.from({ length: lengths[row]! }, (_, i) => row * 100 + i),
      lossMask: new Uint8Array(lengths[row]!).fill(supervised),
    }),
});
const config = (training: object, data: object = {}) => parseConfig({ target: 'demo', data: { tokens: 'x', ...data }, drafter: { blockSize: 4 }, training });

test('held-out rows are drawn by the seed and never trained on; a run is counted in whole batches', () => {
  const lengths = lengthsOf(100);
  const rows = planData(config({ epochs: 2, batchSize: 8, accumulate: 2 }, { validationRows: 10 }), sourceOf(lengths), lengths);
  assert.equal(rows.validationRows.length, 10);
  assert.equal(rows.trainingRows.length, 90);
  assert.equal(new Set([...rows.trainingRows, ...rows.validationRows]).size, 100);
  assert.equal(rows.totalSteps, Math.round((2 * rows.batchesPerEpoch) / 2));
  const again = planData(config({ seed: 1 }, { validationRows: 10 }), sourceOf(lengths), lengths);
  assert.notDeepEqual(again.validationRows, rows.validationRows);
  assert.throws(() => planData(config({}, { validationRows: 100 }), sourceOf(lengths), lengths), /nothing would be left to train on/);
});

test('the same padded lengths are in use in every epoch, so every graph is recorded at the start', () => {
  const lengths = lengthsOf(100);
  const settings = config({ batchSize: 8 });
  const rows = planData(settings, sourceOf(lengths), lengths);
  const first = lengthsInUse(planTrainingEpoch(settings, rows, 0));
  assert.ok(first.length > 1);
  for (const epoch of [1, 2, 3]) assert.deepEqual(lengthsInUse(planTrainingEpoch(settings, rows, epoch)), first);
});

test('a stream begun in the middle goes on with exactly the batches of one begun at the start', async () => {
  const lengths = lengthsOf(30);
  const settings = config({ batchSize: 4, anchorsPerSequence: 3 }, { validationRows: 2 });
  const rows = planData(settings, sourceOf(lengths), lengths);
  const options = { blockSize: 4, anchorsPerSequence: 3, features: 'none' } as const;
  const take = async (from: number, count: number) => {
    const taken = [];
    for await (const batch of trainingBatches(settings, rows, options, from)) {
      taken.push(batch);
      if (taken.length === count) break;
    }
    return taken;
  };
  const whole = await take(0, 20);
  assert.deepEqual(await take(9, 11), whole.slice(9));
  assert.ok(whole.length > rows.batchesPerEpoch, 'more than one epoch is covered');
  const epochRows = (epoch: number) => whole.slice(epoch * rows.batchesPerEpoch, (epoch + 1) * rows.batchesPerEpoch).flatMap((batch) => [...batch.plan.rows]);
  assert.deepEqual(epochRows(0).filter((row) => row >= 0).sort((a, b) => a - b), [...rows.trainingRows]);
  assert.notDeepEqual(epochRows(0), epochRows(1));
});

test('a row that cannot be read is an error where its batch would come, not before', async () => {
  const lengths = lengthsOf(8);
  const settings = config({ batchSize: 1, anchorsPerSequence: 2 }, { validationRows: 0 });
  const source = { readRow: (row: number) => (row === 3 ? Promise.reject(new Error('row 3 is broken')) : sourceOf(lengths).readRow(row)) };
  const rows = planData(settings, source, lengths);
  const place = planTrainingEpoch(settings, rows, 0).findIndex((plan) => plan.rows[0] === 3);
  const stream = trainingBatches(settings, rows, { blockSize: 4, anchorsPerSequence: 2, features: 'none' }, 0);
  for (let i = 0; i < place; i++) await stream.next();
  await assert.rejects(stream.next(), /row 3 is broken/);
});

test('padded lengths are the ones that pad least, found by brute force', () => {
  const lengths = lengthsOf(40, 150);
  const padding = (buckets: number[]) => lengths.reduce((sum, length) => sum + buckets.find((size) => size >= length)!, 0);
  const chosen = chooseBuckets(lengths, 200, 3);
  const sizes = Array.from({ length: 10 }, (_, i) => 16 * (i + 1));
  let least = Infinity;
  for (const a of sizes) for (const b of sizes) for (const c of sizes) if (a < b && b < c && c >= Math.max(...lengths)) least = Math.min(least, padding([a, b, c]));
  assert.equal(padding(chosen), least);
  assert.deepEqual(chooseBuckets(Int32Array.of(100, 100), 100), [100]);
  assert.deepEqual(chooseBuckets(Int32Array.of(3, 20), 100), [16, 32]);
});

test('rows without supervised tokens stop a run before it starts', async () => {
  const lengths = lengthsOf(5);
  const rows = planData(config({}, { validationRows: 0 }), sourceOf(lengths, 0), lengths);
  await assert.rejects(checkSupervision(rows), /nothing to learn.*loss mask/);
  await checkSupervision(planData(config({}, { validationRows: 0 }), sourceOf(lengths), lengths));
});

test('supervised stretches hold an anchor and a label', () => {
  assert.deepEqual(supervisedStretches(Uint8Array.of(0, 1, 1, 1, 0, 1, 0, 1, 1)), [{ start: 1, end: 4 }, { start: 7, end: 9 }]);
  assert.deepEqual(supervisedStretches(new Uint8Array(4)), []);
});
