// Values and gradients with respect to the hidden states on random blocks, against double-precision loops and their finite differences:
// through whole logits, and through chunks with the teacher's whole distribution and with its top k and a tail.
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Tensor3D } from '@tensorflow/tfjs-node-gpu';
import * as losses from '../../losses/index.js';
import { type BlockScores, type LossTerm, type ScoreHiddenOptions } from '../../losses/index.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { assertClose, leavesNothing } from './golden.js';
import { randomBlocks, toReference, toTensors, wholeLogits } from './random-blocks.js';
import * as reference from './reference.js';

type MakeReference = (at: reference.SlotScores[][]) => reference.Loss;
const cases: Record<string, [(scores: BlockScores) => LossTerm, MakeReference]> = {
  'weighting, γ 3': [(s) => losses.positionalWeighting(s, { gamma: 3 }), () => reference.weighting(3)],
  'weighting on KL': [(s) => losses.positionalWeighting(s, { gamma: 3, on: 'kl' }), () => reference.weighting(3, reference.pay.kl)],
  'first error, f 0.7': [(s) => losses.firstErrorFocal(s, { focusing: 0.7 }), () => reference.firstError(0.7)],
  'first error on total variation': [
    (s) => losses.firstErrorFocal(s, { on: 'totalVariation' }),
    () => reference.firstError(0, reference.pay.totalVariation),
  ],
  chain: [(s) => losses.chain(s), () => reference.chain],
  'D-PACE, α 0.3': [(s) => losses.dpace(s, { alpha: 0.3 }), (at) => reference.dpace(0.3, at)],
  'D-PACE on KL': [(s) => losses.dpace(s, { on: 'kl' }), (at) => reference.dpace(0.5, at, reference.pay.kl)],
  'total variation': [(s) => losses.totalVariation(s), () => reference.weighting(Infinity, reference.pay.totalVariation)],
  blend: [
    (s) => losses.distillationBlend(s, { eta: 2 }),
    (at) =>
      reference.weighting(Infinity, (slot, b, k) => {
        const share = Math.exp(-2 * at[b]![k]!.overlap);
        return share * slot.kl + (1 - share) * (1 - slot.overlap);
      }),
  ],
  'acceptance chain': [(s) => losses.acceptanceChain(s), () => reference.acceptanceChain],
};

const chunkings: ScoreHiddenOptions[] = [{}, { chunkRows: 4 }, { chunkVocab: 5 }, { chunkRows: 7, chunkVocab: 4 }];

for (const [name, [loss, makeReference]] of Object.entries(cases)) {
  test(`value and gradient equal the definition's: ${name}`, async () => {
    await loadTensorflow();
    for (const [seed, listed] of [[1, 13], [2, 3], [3, 1]] as const) {
      const input = randomBlocks({ blocks: 5, slots: 3, vocabulary: 13, width: 4, listed }, seed);
      const withTail = listed < 13;
      const at = toReference(input, input.hidden, withTail).map((block) => block.map(reference.scoreSlot));
      const definition = makeReference(at);
      const valueAt = (hidden: number[]) => definition(toReference(input, hidden, withTail).map((block) => block.map(reference.scoreSlot)));
      const expected = valueAt(input.hidden);
      const expectedGradient = reference.finiteDifferences(valueAt, input.hidden);
      leavesNothing(() => {
        const { hidden, head, labels, valid, teacher, teacherLogits } = toTensors(input);
        const ways: ((hidden: Tensor3D) => BlockScores)[] = chunkings.map((chunks) => (h) => losses.scoreHidden(h, head, labels, valid, { teacher, ...chunks }));
        if (!withTail) ways.push((h) => losses.scoreLogits(wholeLogits(h, head), labels, valid, { teacherLogits }));
        ways.forEach((score, way) => {
          const { value, grad } = tf.valueAndGrad((h) => loss(score(h as Tensor3D)).loss)(hidden);
          assertClose(value, [expected], 1e-5, `${name}, seed ${seed}, way ${way}`);
          assertClose(grad, expectedGradient, 1e-4, `gradient of ${name}, seed ${seed}, way ${way}`);
        });
      });
    }
  });
}

test('chunks give the scores of whole logits when the vocabulary is not a multiple of the chunk', async () => {
  await loadTensorflow();
  const input = randomBlocks({ blocks: 6, slots: 5, vocabulary: 101, width: 8, listed: 101 }, 7);
  leavesNothing(() => {
    const { hidden, head, labels, valid, teacher, teacherLogits } = toTensors(input);
    const whole = losses.scoreLogits(wholeLogits(hidden, head), labels, valid, { teacherLogits });
    for (const chunks of [...chunkings, { chunkRows: 29 }, { chunkVocab: 100 }, { chunkVocab: 1000 }]) {
      const scores = losses.scoreHidden(hidden, head, labels, valid, { teacher, ...chunks });
      for (const name of ['logProb', 'correct', 'kl', 'overlap'] as const) assertClose(scores[name]!, whole[name]!, 1e-5, `${name}, ${JSON.stringify(chunks)}`);
      const labelsOnly = losses.scoreHidden(hidden, head, labels, valid, chunks);
      assertClose(labelsOnly.logProb, whole.logProb, 1e-5, 'logProb without teacher');
      assert.equal(labelsOnly.kl, undefined);
    }
  });
});
