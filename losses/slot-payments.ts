// What a slot pays. The other half of a loss, how much the slot weighs, is in slot-weights.ts; any of these goes with any of those.
import type { Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../src/tensorflow/ops.js';
import { teacherScore, type BlockScores } from './block-scores.js';
import { untaped } from './untaped.js';
import { masked } from './weighted-mean.js';

/**
 * `crossEntropy`: -ln q(label). `kl`: KL(p ‖ q). `totalVariation`: 1 - Σ min(p, q). `blend`: λ·kl + (1-λ)·totalVariation with
 * λ = exp(-η·overlap) per slot and without gradient (LK losses, arXiv 2602.23881): KL while the two distributions are far apart, where
 * total variation has almost no gradient, and total variation, which is the acceptance itself, once they are near.
 */
export type Payment = 'crossEntropy' | 'kl' | 'totalVariation' | 'blend';
export const payments: readonly Payment[] = ['crossEntropy', 'kl', 'totalVariation', 'blend'];

export interface PaymentOptions {
  /** What a slot pays; default crossEntropy. */
  on?: Payment;
  /** η of the blend; default 3, the paper's. */
  eta?: number;
}

/** What each slot pays, float32 `[M, J]`, differentiable, finite where not valid. Throws where the scores lack the teacher that `on` needs. */
export function slotPayments(scores: BlockScores, { on = 'crossEntropy', eta = 3 }: PaymentOptions = {}): Tensor2D {
  const fromTeacher = (name: 'kl' | 'overlap') => masked(teacherScore(scores, name, on), scores.valid);
  switch (on) {
    case 'crossEntropy':
      return tf.neg(masked(scores.logProb, scores.valid));
    case 'kl':
      return fromTeacher('kl');
    case 'totalVariation':
      return tf.sub(1, fromTeacher('overlap'));
    case 'blend': {
      const overlap = fromTeacher('overlap');
      const share = untaped(() => tf.exp(tf.mul(overlap, -eta)));
      return tf.add(tf.mul(share, fromTeacher('kl')), tf.mul(tf.sub(1, share), tf.sub(1, overlap)));
    }
  }
}
