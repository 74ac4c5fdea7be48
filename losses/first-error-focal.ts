// First-error focal loss: in each block only the slot where greedy acceptance would stop pays. It moves as training
// goes on: once that slot is right, the next error takes its place.
import type { Scalar } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../src/tensorflow/ops.js';
import type { BlockScores, LossTerm } from './block-scores.js';
import { slotPayments, type PaymentOptions } from './slot-payments.js';
import { firstErrors } from './slot-weights.js';
import { divideOrZero, masked, nonEmptyBlocks } from './weighted-mean.js';

export interface FirstErrorFocalOptions extends PaymentOptions {
  /** Exponent f of (1-p)^f, p the label's probability at the error; default 0, the paper's best. The factor is differentiated too. */
  focusing?: number;
  /** Divide by the blocks that have an error (default), or by all blocks with a valid slot. */
  denominator?: 'blocksWithError' | 'blocks';
}

/**
 * Σ_b has_b·(1-p)^f·payment[b, e] / Σ_b has_b, with e the block's first valid slot whose argmax is not the label. Choosing e carries
 * no gradient; blocks without an error add nothing; 0 where no block has one. arXiv 2606.11552, first-error focal loss.
 */
export function firstErrorFocal(
  scores: BlockScores,
  { focusing = 0, denominator = 'blocksWithError', ...payment }: FirstErrorFocalOptions = {},
): LossTerm {
  if (!(focusing >= 0)) throw new Error(`focusing is ${focusing}; it must be 0 or above`);
  return tf.tidy(() => {
    const selected = firstErrors(scores);
    const paid = masked(slotPayments(scores, payment), selected);
    const focused = focusing === 0 ? paid : tf.mul(paid, tf.pow(missProbability(scores, selected), focusing));
    const blocksWithError = tf.sum(selected) as Scalar;
    const blocks = tf.sum(nonEmptyBlocks(scores.valid)) as Scalar;
    const divisor = denominator === 'blocks' ? blocks : blocksWithError;
    return {
      loss: divideOrZero(tf.sum(focused) as Scalar, divisor),
      metrics: { denominator: divisor, blocksWithError: divideOrZero(blocksWithError, blocks) },
    };
  });
}

/** 1 - p where selected, else 1; -expm1 keeps it exact as p nears 1. */
function missProbability(scores: BlockScores, selected: BlockScores['valid']) {
  const logProb = masked(scores.logProb, selected);
  return tf.add(tf.neg(tf.expm1(logProb)), tf.sub(1, selected));
}
