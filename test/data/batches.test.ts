import assert from 'node:assert/strict';
import test from 'node:test';
import type { CacheRow } from '../../data/arrow-cache.js';
import { defaultBuckets, planEpoch, readBatch, type RowSource } from '../../data/batches.js';
import { halfToFloat32 } from '../../src/models/half.js';
import { Random } from '../../src/random.js';
import { exampleRow } from './cache-fixtures.js';

const random = new Random(3);
const lengths = Int32Array.from({ length: 101 }, () => 2 + random.int(200));
const options = { lengths, batchSize: 8, seed: 5, epoch: 0 };

test('default buckets are powers of two and the values halfway, up to what the longest row needs', () => {
  assert.deepEqual(defaultBuckets(100), [16, 24, 32, 48, 64, 96, 128]);
  assert.deepEqual(defaultBuckets(96), [16, 24, 32, 48, 64, 96]);
  assert.deepEqual(defaultBuckets(3), [16]);
});

test('an epoch holds every row once, in batches of one size that fit their bucket', () => {
  const plans = planEpoch(options);
  const seen = plans.flatMap((plan) => [...plan.rows]).filter((row) => row >= 0);
  assert.deepEqual(seen.sort((a, b) => a - b), [...lengths.keys()]);
  assert.equal(plans.length, Math.ceil(101 / 8));
  for (const [i, plan] of plans.entries()) {
    assert.equal(plan.index, i);
    assert.equal(plan.rows.length, 8);
    for (const row of plan.rows) assert.ok(row < 0 || lengths[row]! <= plan.length);
  }
  assert.equal(plans.flatMap((plan) => [...plan.rows]).filter((row) => row < 0).length, plans.length * 8 - 101);
});

test('a plan depends on seed and epoch alone', () => {
  assert.deepEqual(planEpoch(options), planEpoch(options));
  assert.notDeepEqual(planEpoch(options), planEpoch({ ...options, epoch: 1 }));
  assert.notDeepEqual(planEpoch(options), planEpoch({ ...options, seed: 6 }));
});

test('a subset of rows, given buckets and no shuffling: rows longer than the last bucket go there', () => {
  const plans = planEpoch({ ...options, rows: Int32Array.of(3, 9, 27, 81, 2), batchSize: 2, buckets: [64, 32], shuffle: false });
  assert.deepEqual(plans.flatMap((plan) => [...plan.rows]).filter((row) => row >= 0).sort((a, b) => a - b), [2, 3, 9, 27, 81]);
  assert.ok(plans.every((plan) => plan.length === 32 || plan.length === 64));
  assert.deepEqual(planEpoch({ ...options, rows: new Int32Array() }), []);
});

const rows: CacheRow[] = [exampleRow(0, 12), exampleRow(1, 30), exampleRow(2, 2)];
const source: RowSource = { readRow: (row) => Promise.resolve(rows[row]!) };
const plan = { seed: 1, epoch: 0, index: 0, rows: Int32Array.of(0, 1, 2, -1), length: 16 };

test('a batch pads short rows, cuts long ones, and places anchors, labels and teacher rows as the definitions say', async () => {
  const J = 3;
  const N = 4;
  const batch = await readBatch(plan, source, { blockSize: J + 1, anchorsPerSequence: N, features: 'float32', topk: 2 });
  assert.deepEqual([...batch.lengths], [12, 16, 2, 0]);
  assert.equal(batch.inputIds.length, 4 * 16);
  assert.deepEqual([...batch.inputIds.subarray(0, 16)], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 0, 0, 0]);
  assert.equal(batch.featureWidth, 6);
  assert.deepEqual(batch.features!.subarray(16 * 6, 32 * 6), halfToFloat32((rows[1]!.features as Uint16Array).subarray(0, 16 * 6)));
  assert.ok(batch.features!.subarray(12 * 6, 16 * 6).every((value) => value === 0));
  let validSlots = 0;
  for (let b = 0; b < 4; b++) {
    const row = rows[b];
    for (let n = 0; n < N; n++) {
      const anchor = batch.anchors[b * N + n]!;
      if (n > 0) assert.ok(anchor >= batch.anchors[b * N + n - 1]!);
      for (let k = 1; k <= J; k++) {
        const slot = (b * N + n) * J + k - 1;
        if (batch.valid[slot] === 0) {
          assert.equal(batch.labels[slot], 0);
          assert.deepEqual([...batch.topkIds!.subarray(slot * 2, slot * 2 + 2)], [0, 1]);
          continue;
        }
        validSlots++;
        assert.equal(batch.labels[slot], row!.inputIds[anchor + k]);
        assert.ok(row!.lossMask[anchor] === 1 && anchor + k < batch.lengths[b]!);
        const teacher = (anchor + k - 1) * 2;
        assert.deepEqual([...batch.topkIds!.subarray(slot * 2, slot * 2 + 2)], [...row!.topkIds!.subarray(teacher, teacher + 2)]);
        assert.deepEqual(batch.topkLogProbs!.subarray(slot * 2, slot * 2 + 2), halfToFloat32((row!.topkLogProbs as Uint16Array).subarray(teacher, teacher + 2)));
      }
    }
  }
  // Row 0 supervises tokens 6..11: four of the anchors 6..10. Row 1 is cut to 16 and has token 15 alone; row 2 has token 1 alone.
  assert.ok(validSlots >= 1 + 2 + 3 + 3 && validSlots <= 12);
});

test("a row's anchors depend on seed, epoch and row, not on the batch it is in", async () => {
  const read = { blockSize: 4, anchorsPerSequence: 3, features: 'none' } as const;
  const alone = await readBatch({ ...plan, rows: Int32Array.of(0) }, source, read);
  const together = await readBatch({ ...plan, rows: Int32Array.of(2, 0) }, source, read);
  assert.deepEqual(alone.anchors, together.anchors.subarray(3));
  const epochs = await Promise.all(Array.from({ length: 8 }, (_, epoch) => readBatch({ ...plan, epoch, rows: Int32Array.of(0) }, source, read)));
  assert.ok(new Set(epochs.map((batch) => batch.anchors.join())).size > 1);
  assert.equal(alone.features, undefined);
});

test('stored float16 bits are handed on as they are when asked for', async () => {
  const batch = await readBatch({ ...plan, rows: Int32Array.of(0) }, source, { blockSize: 4, anchorsPerSequence: 2, features: 'stored' });
  assert.deepEqual(batch.features!.subarray(0, 72), rows[0]!.features);
});

test('a cache without what is asked for is named as such', async () => {
  const bare: RowSource = { readRow: () => Promise.resolve({ inputIds: Int32Array.of(1, 2, 3), lossMask: Uint8Array.of(0, 1, 1) }) };
  const read = { blockSize: 4, anchorsPerSequence: 2, features: 'float32' } as const;
  await assert.rejects(readBatch(plan, bare, read), /row 0 has no features/);
  await assert.rejects(readBatch(plan, bare, { ...read, features: 'none', topk: 2 }), /--top-k/);
});

test('fewer log-probabilities than are stored are the largest of each slot, and nothing else of a batch changes', async () => {
  const read = { blockSize: 4, anchorsPerSequence: 4, features: 'none' } as const;
  const whole = await readBatch(plan, source, { ...read, topk: 2 });
  const fewer = await readBatch(plan, source, { ...read, topk: 1 });
  assert.equal(fewer.topkCount, 1);
  for (let slot = 0; slot < whole.valid.length; slot++) {
    assert.equal(fewer.topkIds![slot], whole.topkIds![2 * slot]);
    assert.equal(fewer.topkLogProbs![slot], whole.topkLogProbs![2 * slot]);
  }
  assert.deepEqual([fewer.labels, fewer.valid, fewer.anchors], [whole.labels, whole.valid, whole.anchors]);
  assert.equal((await readBatch(plan, source, { ...read, topk: 50 })).topkCount, 2);
});
