// Sums over the slots that count, and the denominators that implementations disagree on: each is an option, and its
// value is logged. Nothing valid gives 0, never 0/0.
import type { Scalar, Tensor, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../src/tensorflow/ops.js';
import type { LossTerm } from './block-scores.js';

/**
 * What a weighted sum over slots is divided by: `weights`, the sum of the weights themselves; `slots`, the number of valid
 * slots; `blocks`, the number of blocks with a valid slot.
 */
export type Denominator = 'weights' | 'slots' | 'blocks';

/** `x` where `mask` (0/1, same shape) is 1, else 0; infinities and NaN of masked entries do not pass, nor does their gradient. */
export function masked<T extends Tensor>(x: T, mask: Tensor): T {
  return tf.where(tf.greater(mask, 0), x, tf.zerosLike(x)) as T;
}

/** `numerator / denominator`, and 0 where the denominator is 0. */
export function divideOrZero<T extends Tensor>(numerator: T, denominator: T): T {
  const isZero = tf.equal(denominator, 0);
  const quotient = tf.div(numerator, tf.where(isZero, tf.onesLike(denominator), denominator));
  return tf.where(isZero, tf.zerosLike(quotient), quotient) as T;
}

/** 1 for every block (row) that has a valid slot, else 0: `[M]`. */
export function nonEmptyBlocks(valid: Tensor2D): Tensor {
  return tf.max(valid, 1);
}

/** Σ weights·payments / denominator over valid slots; all `[M, J]`, payments finite where not valid. */
export function weightedMean(payments: Tensor2D, weights: Tensor2D, valid: Tensor2D, denominator: Denominator): LossTerm {
  const counted = tf.mul(weights, valid);
  const divisor = {
    weights: () => tf.sum(counted),
    slots: () => tf.sum(valid),
    blocks: () => tf.sum(nonEmptyBlocks(valid)),
  }[denominator]() as Scalar;
  const loss = divideOrZero(tf.sum(tf.mul(counted, payments)) as Scalar, divisor);
  return { loss, metrics: { denominator: divisor } };
}
