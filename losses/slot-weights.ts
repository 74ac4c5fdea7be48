// How much a slot weighs: by its place, by the chance of getting there, or only if it is the block's first error. The
// weights carry no gradient. What the slot pays is in slot-payments.ts.
import type { Scalar, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../src/tensorflow/ops.js';
import { teacherScore, type BlockScores } from './block-scores.js';
import { untaped } from './untaped.js';
import { masked } from './weighted-mean.js';

/** A constant, or a scalar tensor that a recorded step takes as an input. */
export type Parameter = number | Scalar;

/** exp(-(k-1)/γ) for slots k = 1..J, float32 `[1, J]`; γ null is uniform. Throws on a γ that is not above 0. */
export function decayWeights(slots: number, gamma: Parameter | null): Tensor2D {
  if (gamma === null) return tf.ones([1, slots]) as Tensor2D;
  if (typeof gamma === 'number' && !(gamma > 0)) {
    throw new Error(`gamma is ${gamma}; it must be above 0 (null means uniform weights)`);
  }
  const steps = tf.tensor2d([Array.from({ length: slots }, (_, k) => -k)], [1, slots], 'float32');
  return tf.exp(tf.div(steps, gamma)) as Tensor2D;
}

export interface DpaceWeightOptions {
  /** How far probabilities are lifted towards 1: c = (1-α)·p + α; default 0.5. */
  alpha?: Parameter;
  /** What counts as the chance that a slot is accepted: the label's probability, or the overlap with the target. Default label. */
  confidence?: 'label' | 'overlap';
}

/**
 * D-PACE weights (arXiv 2605.18810): Σ_{m≥k} Π_{j≤m} c_j with c = (1-α)·p + α, float32 `[M, J]`, without gradient. Invalid slots count 1
 * in the product and are left out of the sum; their own weight is 0.
 */
export function dpaceWeights(scores: BlockScores, { alpha = 0.5, confidence = 'label' }: DpaceWeightOptions = {}): Tensor2D {
  if (typeof alpha === 'number' && !(alpha >= 0 && alpha <= 1)) throw new Error(`alpha is ${alpha}; it must be from 0 to 1`);
  return untaped(() => {
    const p = confidence === 'label' ? tf.exp(masked(scores.logProb, scores.valid)) : masked(teacherScore(scores, 'overlap', 'dpace'), scores.valid);
    const lifted = tf.add(tf.mul(tf.sub(1, alpha), p), alpha);
    const reached = tf.exp(tf.cumsum(masked(tf.log(lifted), scores.valid), 1));
    return tf.mul(tf.cumsum(tf.mul(reached, scores.valid), 1, false, true), scores.valid) as Tensor2D;
  });
}

/** 1 at each block's first valid slot that is not correct, else 0: float32 `[M, J]`, without gradient. At most one a row. */
export function firstErrors(scores: BlockScores): Tensor2D {
  return untaped(() => {
    const wrong = tf.mul(scores.valid, tf.sub(1, scores.correct));
    const wrongBefore = tf.cumsum(wrong, 1, true);
    return tf.mul(wrong, tf.cast(tf.equal(wrongBefore, 0), 'float32')) as Tensor2D;
  });
}
