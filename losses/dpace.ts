// D-PACE: every slot pays, weighted by the expected accepted length that hangs on it at the drafter's present confidence,
// so the weight moves to later slots as the early ones are learnt.
import { tf } from '../src/tensorflow/ops.js';
import type { BlockScores, LossTerm } from './block-scores.js';
import { slotPayments, type PaymentOptions } from './slot-payments.js';
import { dpaceWeights, type DpaceWeightOptions } from './slot-weights.js';
import { weightedMean, type Denominator } from './weighted-mean.js';

export interface DpaceOptions extends PaymentOptions, DpaceWeightOptions {
  /** Default weights: Σ w·payment / Σ w. The paper divides by the number of blocks, which lets the loss grow with confidence. */
  denominator?: Denominator;
}

/** Σ v·w·payment / Σ v·w with the detached weights of `dpaceWeights`; 0 where nothing is valid. arXiv 2605.18810, equations 7 to 9. */
export function dpace(
  scores: BlockScores,
  { alpha = 0.5, confidence = 'label', denominator = 'weights', ...payment }: DpaceOptions = {},
): LossTerm {
  return tf.tidy(() => {
    const weights = dpaceWeights(scores, { alpha, confidence });
    return weightedMean(slotPayments(scores, payment), weights, scores.valid, denominator);
  });
}
