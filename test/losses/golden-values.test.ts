// Values and gradients of every loss against golden/losses.safetensors (computed in float64), through whole logits and through chunks.
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Scalar, Tensor, Tensor2D, Tensor3D } from '@tensorflow/tfjs-node-gpu';
import * as losses from '../../losses/index.js';
import { type BlockScores, type LossTerm } from '../../losses/index.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { needsShared } from '../shared-files.js';
import { assertClose, leavesNothing, readGolden } from './golden.js';

const rows: Record<string, (scores: BlockScores) => LossTerm> = {
  uniform: (s) => losses.positionalWeighting(s, { gamma: null }),
  decay_gamma10: (s) => losses.positionalWeighting(s, { gamma: 10 }),
  decay_gamma4: (s) => losses.positionalWeighting(s, { gamma: 4 }),
  first_error: (s) => losses.firstErrorFocal(s),
  first_error_focusing2: (s) => losses.firstErrorFocal(s, { focusing: 2 }),
  chain: (s) => losses.chain(s),
  'dpace_alpha0.5': (s) => losses.dpace(s),
  kl_forward: (s) => losses.forwardKl(s),
  total_variation: (s) => losses.totalVariation(s),
  'kl_dpace_alpha0.5': (s) => losses.dpace(s, { on: 'kl' }),
  acceptance_chain: (s) => losses.acceptanceChain(s),
  'stack_10_0.3_40': (s) => losses.combine(s, [{ term: 'positionalWeighting' }, { term: 'firstErrorFocal' }, { term: 'chain' }]),
};

const labelRows = ['uniform', 'decay_gamma10', 'decay_gamma4', 'first_error', 'first_error_focusing2', 'chain', 'dpace_alpha0.5', 'stack_10_0.3_40'];

type Golden = (name: string) => Tensor;
type Score = (logits: Tensor3D, golden: Golden) => BlockScores;

const labels = (golden: Golden) => golden('labels') as Tensor2D;
const valid = (golden: Golden) => golden('valid') as Tensor2D;
const identity = () => tf.eye(23);

/** The teacher's k most probable tokens; with k = 23 the whole distribution, in order of probability. */
function topK(golden: Golden, k: number) {
  const { values, indices } = tf.topk(tf.logSoftmax(golden('teacher_logits'), 2), k);
  return { ids: indices as Tensor3D, logProbs: values as Tensor3D };
}

const ways: Record<string, Score> = {
  scoreLogits: (logits, golden) => losses.scoreLogits(logits, labels(golden), valid(golden), { teacherLogits: golden('teacher_logits') as Tensor3D }),
};
for (const chunk of [{}, { chunkRows: 5 }, { chunkRows: 83 }, { chunkVocab: 1 }, { chunkVocab: 7 }, { chunkRows: 10, chunkVocab: 12 }]) {
  ways[`scoreHidden, whole top k, ${JSON.stringify(chunk)}`] = (logits, golden) =>
    losses.scoreHidden(logits, identity(), labels(golden), valid(golden), { teacher: topK(golden, 23), ...chunk });
}
for (const chunk of [{}, { chunkRows: 9 }]) {
  ways[`scoreHidden, hidden teacher, ${JSON.stringify(chunk)}`] = (logits, golden) =>
    losses.scoreHidden(logits, identity(), labels(golden), valid(golden), {
      teacher: { hidden: golden('teacher_logits') as Tensor3D, head: identity() },
      ...chunk,
    });
}
for (const chunk of [{}, { chunkRows: 1 }, { chunkRows: 11 }, { chunkVocab: 5 }, { chunkRows: 50, chunkVocab: 20 }]) {
  ways[`scoreHidden, labels only, ${JSON.stringify(chunk)}`] = (logits, golden) =>
    losses.scoreHidden(logits, identity(), labels(golden), valid(golden), chunk);
}

for (const [way, score] of Object.entries(ways)) {
  test(`every loss and gradient has its golden value: ${way}`, needsShared('golden/losses.safetensors'), async () => {
    await loadTensorflow();
    const golden = readGolden();
    const labelsOnly = way.includes('labels only');
    for (const [name, loss] of Object.entries(rows).filter(([name]) => !labelsOnly || labelRows.includes(name))) {
      leavesNothing(() => {
        const { value, grad } = tf.valueAndGrad((logits) => loss(score(logits as Tensor3D, golden)).loss)(golden('logits'));
        assert.ok(Math.abs((value as Scalar).dataSync()[0]! / golden(name).dataSync()[0]! - 1) <= 1e-5, `${name}: ${value.dataSync()[0]}`);
        assertClose(grad, golden(`grad.${name}`), 1e-4, `gradient of ${name}`);
      });
    }
    leavesNothing(() => {
      const scores = score(golden('logits') as Tensor3D, golden);
      if (!labelsOnly) assertClose(tf.mul(scores.overlap!, scores.valid), tf.mul(golden('overlap'), scores.valid), 1e-5, 'overlap');
      assertClose(losses.dpaceWeights(scores), golden('dpace_weights'), 1e-5, 'D-PACE weights');
      assertClose(tf.sum(losses.labelChain(scores), 1), golden('expected_length_per_block'), 1e-5, 'expected length');
    });
  });
}
