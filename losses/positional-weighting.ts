// Token positional weighting: every slot pays, earlier slots more, since an error there discards all that follows.
import { tf } from '../src/tensorflow/ops.js';
import type { BlockScores, LossTerm } from './block-scores.js';
import { slotPayments, type PaymentOptions } from './slot-payments.js';
import { decayWeights, type Parameter } from './slot-weights.js';
import { weightedMean, type Denominator } from './weighted-mean.js';

export interface PositionalWeightingOptions extends PaymentOptions {
  /** Slots over which the weight falls by e; null is uniform; default 10. */
  gamma?: Parameter | null;
  /** Default weights: Σ w·payment / Σ w. */
  denominator?: Denominator;
}

/**
 * Σ v·w·payment / Σ v·w over slots k = 1..J with w_k = exp(-(k-1)/γ); 0 where nothing is valid.
 * arXiv 2606.11552, token positional weighting (γ = 10 at block size 16); DFlash, arXiv 2602.06036, used 7 at 16, 5 at 10, 4 at 8.
 */
export function positionalWeighting(
  scores: BlockScores,
  { gamma = 10, denominator = 'weights', ...payment }: PositionalWeightingOptions = {},
): LossTerm {
  return tf.tidy(() => {
    const weights = decayWeights(scores.valid.shape[1], gamma);
    return weightedMean(slotPayments(scores, payment), weights, scores.valid, denominator);
  });
}
