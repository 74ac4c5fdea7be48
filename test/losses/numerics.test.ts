// The edges: probabilities of 0 and 1, logits of minus infinity, nothing valid, rubbish in slots that do not count.
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Tensor, Tensor2D, Tensor3D } from '@tensorflow/tfjs-node-gpu';
import * as losses from '../../losses/index.js';
import type { BlockScores, LossTerm } from '../../losses/index.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { assertClose, leavesNothing } from './golden.js';
import { scoresOf } from './random-blocks.js';

const everyLoss: Record<string, (scores: BlockScores) => LossTerm> = {
  positionalWeighting: (s) => losses.positionalWeighting(s),
  uniform: (s) => losses.positionalWeighting(s, { gamma: null, denominator: 'blocks' }),
  firstErrorFocal: (s) => losses.firstErrorFocal(s, { focusing: 2 }),
  firstErrorOverBlocks: (s) => losses.firstErrorFocal(s, { denominator: 'blocks' }),
  chain: (s) => losses.chain(s),
  dpace: (s) => losses.dpace(s),
  dpaceOverBlocks: (s) => losses.dpace(s, { denominator: 'blocks', confidence: 'overlap' }),
  forwardKl: (s) => losses.forwardKl(s),
  totalVariation: (s) => losses.totalVariation(s),
  distillationBlend: (s) => losses.distillationBlend(s),
  acceptanceChain: (s) => losses.acceptanceChain(s, { denominator: 'slots' }),
};

const scoreNames = ['logProb', 'kl', 'overlap'] as const;

/** Value, and gradients with respect to logProb, kl and overlap (those the loss does not use are 0). */
function valueAndGradients(loss: (scores: BlockScores) => LossTerm, scores: BlockScores) {
  // The zero term ties every score into the result, since tfjs refuses to differentiate what a loss does not use.
  const { value, grads } = tf.valueAndGrads((...inputs: Tensor[]) => {
    const [logProb, kl, overlap] = inputs as Tensor2D[];
    const unused = tf.sum(tf.addN(inputs.map((input) => tf.where(tf.fill(input.shape, 0).toBool(), input, tf.zerosLike(input)))));
    return tf.add(loss({ ...scores, logProb: logProb!, kl: kl!, overlap: overlap! }).loss, unused);
  })(scoreNames.map((name) => scores[name]!));
  return { value: value.dataSync()[0]!, gradients: grads.map((grad) => Array.from(grad.dataSync())) };
}

for (const [name, loss] of Object.entries(everyLoss)) {
  test(`a batch with nothing valid gives zero loss and zero gradient, whatever it holds: ${name}`, async () => {
    await loadTensorflow();
    leavesNothing(() => {
      const zeros = [[0, 0], [0, 0]];
      const scores = scoresOf({ logProb: [[-Infinity, NaN], [-1, 0]], correct: zeros, valid: zeros, kl: [[Infinity, NaN], [1, 2]], overlap: [[NaN, 0], [1, 0.5]] });
      const { value, gradients } = valueAndGradients(loss, scores);
      assert.equal(value, 0);
      assert.ok(gradients.flat().every((g) => g === 0), `gradients ${gradients.join(' ')}`);
    });
  });

  test(`slots that are not valid change neither value nor gradient: ${name}`, async () => {
    await loadTensorflow();
    leavesNothing(() => {
      const withLast = (last: number) =>
        scoresOf({
          logProb: [[-0.5, -1.5, last], [last, last, last]],
          correct: [[1, 0, 0], [0, 0, 0]],
          valid: [[1, 1, 0], [0, 0, 0]],
          kl: [[0.3, 0.2, last], [last, last, last]],
          overlap: [[0.8, 0.7, last], [last, last, last]],
        });
      const [plain, ...others] = [-1, -Infinity, NaN].map((last) => valueAndGradients(loss, withLast(last)));
      assert.ok(plain!.value > 0);
      for (const other of others) assert.deepEqual(other, plain);
    });
  });
}

test('a batch without blocks gives zero', async () => {
  await loadTensorflow();
  leavesNothing(() => {
    const none = () => tf.zeros([0, 3]) as Tensor2D;
    const scores: BlockScores = { logProb: none(), correct: none(), valid: none(), kl: none(), overlap: none() };
    for (const [name, loss] of Object.entries(everyLoss)) assert.equal(loss(scores).loss.dataSync()[0], 0, name);
  });
});

test('the chain is right where a slot has probability 0, and where all have 1', async () => {
  await loadTensorflow();
  leavesNothing(() => {
    const scores = scoresOf({ logProb: [[Math.log(0.5), -Infinity, Math.log(0.5)], [0, 0, 0]], kl: [[0, 0, 0], [0, 0, 0]], overlap: [[1, 1, 1], [1, 1, 1]] });
    const { value, gradients } = valueAndGradients((s) => losses.chain(s), scores);
    assert.ok(Math.abs(value - (1 - (0.5 / 3 + 1) / 2)) < 1e-6);
    // d/dℓ_k of -R_b/2 is -(the products that contain slot k)/6; those past the impossible slot are 0.
    const expected = [0.5, 0, 0, 3, 2, 1].map((products) => -products / 6);
    assertClose(tf.tensor1d(gradients[0]!), expected, 1e-6, 'gradient');
  });
});

test('the acceptance chain gives a slot of overlap 0 the gradient of the product of the others', async () => {
  await loadTensorflow();
  leavesNothing(() => {
    const o = [0.5, 0, 0.25, 0.8];
    const scores = scoresOf({ logProb: [[-1, -1, -1, -1]], kl: [[0, 0, 0, 0]], overlap: [o] });
    const { value, gradients } = valueAndGradients((s) => losses.acceptanceChain(s), scores);
    assert.ok(Math.abs(value - (1 - 0.5 / 4)) < 1e-6);
    const share = (factors: number[]) => factors.reduce((a, b) => a * b, 1);
    const gradient = o.map((_, j) => o.reduce((sum, _, k) => (k < j ? sum : sum - share(o.filter((_, i) => i <= k && i !== j)) / 4), 0));
    assertClose(tf.tensor1d(gradients[2]!), gradient, 1e-6, 'gradient');
  });
});

const labels = () => tf.tensor2d([[0]], [1, 1], 'int32');
const valid = () => tf.ones([1, 1]) as Tensor2D;

test('a probability near 1 keeps its precision: the logarithm and the gradient of the rest', async () => {
  await loadTensorflow();
  for (const gap of [10, 20, 40]) {
    leavesNothing(() => {
      const rest = 2 * Math.exp(-gap);
      const score = {
        logits: (z: Tensor) => losses.scoreLogits(tf.reshape(z, [1, 1, 3]), labels(), valid()),
        hidden: (z: Tensor) => losses.scoreHidden(tf.reshape(z, [1, 1, 3]), tf.eye(3), labels(), valid()),
        byVocabulary: (z: Tensor) => losses.scoreHidden(tf.reshape(z, [1, 1, 3]), tf.eye(3), labels(), valid(), { chunkVocab: 1 }),
      };
      for (const [way, scores] of Object.entries(score)) {
        const { value, grad } = tf.valueAndGrad((z) => tf.sum(scores(z).logProb))(tf.tensor1d([gap, 0, 0]));
        assertClose(value, [-Math.log1p(rest)], 1e-5, `${way}, gap ${gap}`);
        assertClose(grad, [rest, -rest / 2, -rest / 2].map((g) => g / (1 + rest)), 1e-5, `gradient, ${way}, gap ${gap}`);
      }
    });
  }
});

test('a probability of 0 gives minus infinity or a finite large number, and a finite gradient', async () => {
  await loadTensorflow();
  leavesNothing(() => {
    for (const low of [-200, -1e4, -1e30, -Infinity]) {
      const { value, grad } = tf.valueAndGrad((z) => tf.sum(losses.scoreLogits(z as Tensor3D, labels(), valid()).logProb))(tf.tensor3d([[[low, 0, 1]]]));
      assert.ok(low === -Infinity ? value.dataSync()[0] === -Infinity : Math.abs(value.dataSync()[0]! / (low - 1.3132617) - 1) < 1e-6);
      assertClose(grad, [1, -0.26894143, -0.7310586], 1e-6, `gradient at ${low}`);
    }
    const { value, grad } = tf.valueAndGrad((h) => tf.sum(losses.scoreHidden(h as Tensor3D, tf.eye(3), labels(), valid()).logProb))(tf.tensor3d([[[-1e4, 0, 1]]]));
    assertClose(value, [-10001.3132617], 1e-6, 'hidden');
    assertClose(grad, [1, -0.26894143, -0.7310586], 1e-6, 'gradient, hidden');
  });
});

test('distances from a teacher that is sure, or that rules tokens out, are finite with finite gradients', async () => {
  await loadTensorflow();
  leavesNothing(() => {
    const logits = tf.tensor3d([[[0, 2, -Infinity]]]);
    const teacherLogits = tf.tensor3d([[[0, -Infinity, -Infinity]]]);
    for (const name of ['kl', 'overlap'] as const) {
      const { value, grad } = tf.valueAndGrad((z) => tf.sum(losses.scoreLogits(z as Tensor3D, labels(), valid(), { teacherLogits })[name]!))(logits);
      const q = 1 / (1 + Math.exp(2));
      assertClose(value, [name === 'kl' ? -Math.log(q) : q], 1e-5, name);
      assertClose(grad, name === 'kl' ? [q - 1, 1 - q, 0] : [q * (1 - q), -q * (1 - q), 0], 1e-5, `gradient of ${name}`);
    }
    // A tail that the drafter has emptied, while the teacher has not: everything stays finite.
    const teacher = { ids: tf.tensor3d([0, 1], [1, 1, 2], 'int32'), logProbs: tf.tensor3d([[[Math.log(0.6), Math.log(0.3)]]]) };
    const { value, grad } = tf.valueAndGrad((h) => {
      const { kl, overlap } = losses.scoreHidden(h as Tensor3D, tf.eye(3), labels(), valid(), { teacher });
      return tf.add(tf.sum(kl!), tf.sum(overlap!));
    })(tf.tensor3d([[[500, 500, -500]]]));
    assert.ok([...value.dataSync(), ...grad.dataSync()].every(Number.isFinite), `${value.dataSync()} ${grad.dataSync()}`);
  });
});

test('equal logits make the first token the best, in one chunk and in many', async () => {
  await loadTensorflow();
  leavesNothing(() => {
    const hidden = tf.zeros([1, 3, 2]) as Tensor3D;
    const head = tf.ones([5, 2]) as Tensor2D;
    const each = tf.tensor2d([[0, 1, 4]], [1, 3], 'int32');
    const all = tf.ones([1, 3]) as Tensor2D;
    for (const chunks of [{}, { chunkVocab: 2 }]) {
      assert.deepEqual(Array.from(losses.scoreHidden(hidden, head, each, all, chunks).correct.dataSync()), [1, 0, 0]);
    }
    assert.deepEqual(Array.from(losses.scoreLogits(tf.zeros([1, 3, 5]), each, all).correct.dataSync()), [1, 0, 0]);
  });
});
