// Chain loss: one minus the share of a block that is expected to be accepted when slots are right independently with
// their label's probability. The only one of the three that sees a block as a whole.
import type { Scalar, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../src/tensorflow/ops.js';
import type { BlockScores, LossTerm } from './block-scores.js';
import { divideOrZero, masked, nonEmptyBlocks } from './weighted-mean.js';

export interface ChainOptions {
  /** A block's expected accepted drafts are divided by its valid slots J_b (default), or by all J slots. */
  denominator?: 'validSlots' | 'slots';
}

/**
 * 1 - mean_b R_b with R_b = (1/J_b) Σ_{k≤J_b} exp(Σ_{j≤k} ln q_j), over blocks with J_b > 0 valid slots; 0 where there are none.
 * Computed in log space, gradient through the whole product. arXiv 2606.11552, chain loss.
 */
export function chain(scores: BlockScores, options: ChainOptions = {}): LossTerm {
  return tf.tidy(() => chainLoss(labelChain(scores), scores.valid, options));
}

/** Π_{j≤k} q_j for every valid slot, 0 elsewhere: float32 `[M, J]`, the chance that the first k drafts are all right. */
export function labelChain(scores: BlockScores): Tensor2D {
  return masked(tf.exp(tf.cumsum(masked(scores.logProb, scores.valid), 1)), scores.valid) as Tensor2D;
}

/** 1 - mean over non-empty blocks of the mean survival; `survival [M, J]` is 0 at invalid slots. */
export function chainLoss(survival: Tensor2D, valid: Tensor2D, { denominator = 'validSlots' }: ChainOptions): LossTerm {
  const nonEmpty = nonEmptyBlocks(valid);
  const slots = denominator === 'slots' ? tf.fill([valid.shape[0]], valid.shape[1]) : tf.sum(valid, 1);
  const expected = tf.sum(survival, 1);
  const blocks = tf.sum(nonEmpty) as Scalar;
  const shortfall = tf.mul(nonEmpty, tf.sub(1, divideOrZero(expected, slots)));
  return {
    loss: divideOrZero(tf.sum(shortfall) as Scalar, blocks),
    metrics: { denominator: blocks, expectedAcceptedDrafts: divideOrZero(tf.sum(expected) as Scalar, blocks) },
  };
}
