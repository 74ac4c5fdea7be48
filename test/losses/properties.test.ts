// What must hold for any scores: bounds, monotonicity, invariances, and expected length by counting every outcome.
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Tensor2D } from '@tensorflow/tfjs-node-gpu';
import * as losses from '../../losses/index.js';
import { Random } from '../../src/random.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { assertClose, leavesNothing } from './golden.js';
import { scoresOf } from './random-blocks.js';

const seeds = Array.from({ length: 20 }, (_, seed) => seed);

/** Rows of plain numbers for scores with valid prefixes; at least one block has a valid slot. */
function randomRows(seed: number, blocks = 6, slots = 5) {
  const random = new Random(seed);
  const rows = (value: (b: number, k: number) => number) => Array.from({ length: blocks }, (_, b) => Array.from({ length: slots }, (_, k) => value(b, k)));
  const lengths = Array.from({ length: blocks }, (_, b) => (b === 0 ? slots : random.int(slots + 1)));
  return {
    logProb: rows(() => Math.log(random.next() + 1e-9)),
    correct: rows(() => (random.next() < 0.6 ? 1 : 0)),
    valid: rows((b, k) => (k < lengths[b]! ? 1 : 0)),
    kl: rows(() => 2 * random.next()),
    overlap: rows(() => random.next()),
  };
}

const value = (term: losses.LossTerm) => term.loss.dataSync()[0]!;

for (const { name, inverted, check } of [
  { name: 'chain', inverted: 'logProb', check: (s: losses.BlockScores) => losses.chain(s) },
  { name: 'acceptance chain', inverted: 'overlap', check: (s: losses.BlockScores) => losses.acceptanceChain(s) },
] as const) {
  test(`the ${name} lies between 0 and 1, is no better than its first slots, and falls as any slot gets better`, async () => {
    await loadTensorflow();
    for (const seed of seeds) {
      leavesNothing(() => {
        const rows = randomRows(seed);
        const before = value(check(scoresOf(rows)));
        const counted = rows.valid.flatMap((row, b) => (row[0] === 1 ? [b] : []));
        const chance = (b: number) => (inverted === 'logProb' ? Math.exp(rows.logProb[b]![0]!) : rows.overlap[b]![0]!);
        const bound = 1 - counted.reduce((sum, b) => sum + chance(b), 0) / counted.length;
        assert.ok(before >= bound - 1e-6 && before <= 1 + 1e-6, `${before}, bound ${bound}`);
        rows.valid.forEach((row, b) =>
          row.forEach((counts, k) => {
            const better = structuredClone(rows);
            better[inverted][b]![k] = inverted === 'logProb' ? rows.logProb[b]![k]! / 2 : (rows.overlap[b]![k]! + 1) / 2;
            const after = value(check(scoresOf(better)));
            assert.ok(counts === 1 ? after <= before + 1e-7 : after === before, `slot ${b}, ${k}: ${before} to ${after}`);
          }),
        );
      });
    }
  });
}

test('the expected length equals the mean over every outcome of accepting or rejecting each slot', async () => {
  await loadTensorflow();
  for (const slots of [1, 2, 3, 6]) {
    leavesNothing(() => {
      const random = new Random(slots);
      const p = Array.from({ length: slots }, () => random.next());
      let expected = 0;
      for (let outcome = 0; outcome < 2 ** slots; outcome++) {
        const accepts = p.map((_, k) => (outcome >> k) & 1);
        const chance = p.reduce((product, chance, k) => product * (accepts[k] === 1 ? chance : 1 - chance), 1);
        const firstReject = accepts.indexOf(0);
        expected += chance * (firstReject < 0 ? slots : firstReject);
      }
      const scores = scoresOf({ logProb: [p.map(Math.log)], overlap: [p] });
      for (const { loss, metrics } of [losses.chain(scores), losses.acceptanceChain(scores)]) {
        assertClose(metrics['expectedAcceptedDrafts']!, [expected], 1e-5, 'expected accepted drafts');
        assertClose(loss, [1 - expected / slots], 1e-5, 'chain');
      }
    });
  }
});

test('the first-error loss sees nothing after the first error', async () => {
  await loadTensorflow();
  for (const seed of seeds) {
    leavesNothing(() => {
      const rows = randomRows(seed);
      const changed = structuredClone(rows);
      const random = new Random(seed, );
      rows.correct.forEach((row, b) => {
        const error = row.findIndex((correct, k) => correct === 0 && rows.valid[b]![k] === 1);
        if (error < 0) return;
        for (let k = error + 1; k < row.length; k++) {
          changed.correct[b]![k] = random.int(2);
          changed.logProb[b]![k] = -5 * random.next();
        }
        // A correct slot before it pays nothing either.
        for (let k = 0; k < error; k++) changed.logProb[b]![k] = -5 * random.next();
      });
      for (const focusing of [0, 2]) {
        assert.equal(value(losses.firstErrorFocal(scoresOf(changed), { focusing })), value(losses.firstErrorFocal(scoresOf(rows), { focusing })));
      }
    });
  }
});

test('positional weighting with γ infinite is uniform, and with γ tiny is the first slot alone', async () => {
  await loadTensorflow();
  for (const seed of seeds) {
    leavesNothing(() => {
      const rows = randomRows(seed);
      const scores = scoresOf(rows);
      assertClose(losses.positionalWeighting(scores, { gamma: Infinity }).loss, losses.positionalWeighting(scores, { gamma: null }).loss, 1e-6, 'infinite');
      const first = rows.logProb.flatMap((row, b) => (rows.valid[b]![0] === 1 ? [-row[0]!] : []));
      const mean = first.reduce((a, b) => a + b, 0) / first.length;
      assertClose(losses.positionalWeighting(scores, { gamma: 1e-3 }).loss, [mean], 1e-5, 'tiny');
    });
  }
});

test('D-PACE weights fall along a block, are linear at α = 1, and its loss is uniform where all slots of a block weigh alike', async () => {
  await loadTensorflow();
  for (const seed of seeds) {
    leavesNothing(() => {
      const rows = randomRows(seed);
      const scores = scoresOf(rows);
      for (const alpha of [0, 0.5, 1]) {
        const weights = losses.dpaceWeights(scores, { alpha }).arraySync();
        weights.forEach((row, b) =>
          row.forEach((weight, k) => {
            assert.ok(k === 0 || weight <= row[k - 1]! + 1e-6);
            assert.ok(rows.valid[b]![k] === 1 || weight === 0);
            if (alpha === 1 && rows.valid[b]![k] === 1) assert.ok(Math.abs(weight - rows.valid[b]!.slice(k).reduce((a, c) => a + c, 0)) < 1e-5);
          }),
        );
      }
      const short = { ...scores, logProb: scores.logProb.slice([0, 0], [-1, 1]) as Tensor2D, valid: scores.valid.slice([0, 0], [-1, 1]) as Tensor2D };
      assertClose(losses.dpace(short, { alpha: 1 }).loss, losses.positionalWeighting(short, { gamma: null }).loss, 1e-6, 'one slot');
    });
  }
});

test('the blend is KL at η = 0 and total variation at a large η', async () => {
  await loadTensorflow();
  leavesNothing(() => {
    const scores = scoresOf(randomRows(3));
    assertClose(losses.distillationBlend(scores, { eta: 0 }).loss, losses.forwardKl(scores).loss, 1e-6, 'KL');
    assertClose(losses.distillationBlend(scores, { eta: 1e6 }).loss, losses.totalVariation(scores).loss, 1e-4, 'total variation');
  });
});

test('a teacher equal to the drafter is at distance 0, and total variation respects its bounds', async () => {
  await loadTensorflow();
  for (const seed of seeds.slice(0, 5)) {
    leavesNothing(() => {
      const logits = tf.randomNormal([4, 3, 11], 0, 2, 'float32', seed) as import('@tensorflow/tfjs-node-gpu').Tensor3D;
      const other = tf.randomNormal([4, 3, 11], 0, 2, 'float32', seed + 100) as typeof logits;
      const labels = tf.randomUniform([4, 3], 0, 11, 'int32', seed) as Tensor2D;
      const valid = tf.ones([4, 3]) as Tensor2D;
      const same = losses.scoreLogits(logits, labels, valid, { teacherLogits: logits });
      assert.ok(tf.abs(same.kl!).max().dataSync()[0]! < 1e-6);
      assertClose(same.overlap!, tf.onesLike(valid), 1e-6, 'overlap');
      const { kl, overlap } = losses.scoreLogits(logits, labels, valid, { teacherLogits: other });
      // Pinsker: TV ≤ √(KL/2).
      assert.ok(tf.sub(tf.sqrt(tf.div(kl!, 2)), tf.sub(1, overlap!)).min().dataSync()[0]! > -1e-6);
    });
  }
});

test('denominators: slots and blocks divide the same weighted sum', async () => {
  await loadTensorflow();
  leavesNothing(() => {
    const rows = randomRows(11);
    const scores = scoresOf(rows);
    const slots = rows.valid.flat().reduce((a, b) => a + b, 0);
    const blocks = rows.valid.filter((row) => row[0] === 1).length;
    for (const loss of [losses.positionalWeighting, losses.dpace]) {
      const byWeights = loss(scores);
      const sum = value(byWeights) * byWeights.metrics['denominator']!.dataSync()[0]!;
      assertClose(loss(scores, { denominator: 'slots' }).loss, [sum / slots], 1e-5, 'slots');
      assertClose(loss(scores, { denominator: 'blocks' }).loss, [sum / blocks], 1e-5, 'blocks');
    }
    const withError = rows.correct.filter((row, b) => row.some((correct, k) => correct === 0 && rows.valid[b]![k] === 1)).length;
    assertClose(losses.firstErrorFocal(scores, { denominator: 'blocks' }).loss, [(value(losses.firstErrorFocal(scores)) * withError) / blocks], 1e-5, 'first error');
  });
});
