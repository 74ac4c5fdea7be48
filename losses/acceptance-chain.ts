// Acceptance chain: the chain loss over the overlap with the target, which is the chance that lossless sampling accepts a
// slot, in place of the label's probability. Its product has a gradient of its own, because an overlap may be exactly 0.
import type { Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../src/tensorflow/ops.js';
import { teacherScore, type BlockScores, type LossTerm } from './block-scores.js';
import { chainLoss, type ChainOptions } from './chain.js';
import { untaped, withGradient } from './untaped.js';
import { masked } from './weighted-mean.js';

/**
 * 1 - mean_b (1/J_b) Σ_{k≤J_b} Π_{j≤k} o[b, j] with o = Σ min(p, q), over blocks with valid slots; 0 where there are none. Throws
 * where the scores have no teacher. Overlap as acceptance chance: arXiv 2211.17192, section 3; overlap losses: arXiv 2602.23881.
 */
export function acceptanceChain(scores: BlockScores, options: ChainOptions = {}): LossTerm {
  const overlap = teacherScore(scores, 'overlap', 'acceptanceChain');
  return tf.tidy(() => {
    const factors = tf.add(masked(overlap, scores.valid), tf.sub(1, scores.valid)) as Tensor2D;
    return chainLoss(masked(prefixProducts(factors), scores.valid), scores.valid, options);
  });
}

/**
 * Π_{j≤k} x_j along the rows of `x [M, J]`, 0 ≤ x, in log space. The gradient is the product of the others, exact where a factor is 0:
 * d/dx_j Σ_k g_k·Π_{i≤k} x_i = Π_{i<j} x_i · Σ_{k≥j} g_k·Π_{j<i≤k} x_i, the last product from a `[M, J, J]` table.
 */
export function prefixProducts(x: Tensor2D): Tensor2D {
  const slots = x.shape[1];
  const triangle = (holds: (j: number, i: number) => boolean) =>
    tf.tensor2d(Array.from({ length: slots }, (_, j) => Array.from({ length: slots }, (_, i) => (holds(j, i) ? 1 : 0))), [slots, slots]);
  const { value, before, between } = untaped(() => {
    const logs = tf.log(x);
    const later = triangle((j, i) => i > j);
    const laterFactors = tf.add(tf.mul(tf.expandDims(x, 1), later), tf.sub(1, later));
    return {
      value: tf.exp(tf.cumsum(logs, 1)),
      before: tf.exp(tf.cumsum(logs, 1, true)),
      between: tf.mul(tf.exp(tf.cumsum(tf.log(laterFactors), 2)), triangle((j, k) => k >= j)),
    };
  });
  return withGradient(x, value as Tensor2D, [before, between], (dy, [before, between]) =>
    tf.mul(before!, tf.sum(tf.mul(tf.expandDims(dy, 1), between!), 2)),
  );
}
