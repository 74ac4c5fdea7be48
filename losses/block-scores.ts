// What every loss reads: a handful of [M, J] tensors, one entry a predicted slot. The vocabulary is gone by the time
// they exist (`scoreLogits`, `scoreHidden`), so losses cost nothing and compose freely. These are type aliases, because tf.tidy
// takes no interfaces.
import type { Scalar, Tensor2D } from '@tensorflow/tfjs-node-gpu';

/**
 * Scores of `M` blocks of `J` predicted slots, all float32 `[M, J]`. Slots that are not valid hold finite or infinite
 * values of no meaning; losses never let them through. Validity is a prefix: after the first invalid slot, all are.
 */
export type BlockScores = {
  /** ln q(label), the drafter's log-probability of the label, at most 0. Differentiable. */
  logProb: Tensor2D;
  /** 1 where the drafter's first most probable token is the label, else 0. No gradient. */
  correct: Tensor2D;
  /** 1 where the slot counts, else 0. No gradient. */
  valid: Tensor2D;
  /** KL(p ‖ q) in nats, from the target's distribution p to the drafter's q. Differentiable; only with a teacher. */
  kl?: Tensor2D;
  /** Σ min(p, q) = 1 - total variation: the chance that lossless sampling accepts the slot. Differentiable; only with a teacher. */
  overlap?: Tensor2D;
};

/** The scores that carry a gradient. */
export type DifferentiableScore = 'logProb' | 'kl' | 'overlap';

/** What a loss returns: the term itself, unweighted, and scalars worth logging. All are tensors; nothing is read back. */
export type LossTerm = {
  loss: Scalar;
  metrics: Record<string, Scalar>;
};

/** `scores.kl` or `scores.overlap`; throws where the scores were made without a teacher. */
export function teacherScore(scores: BlockScores, name: 'kl' | 'overlap', wantedBy: string): Tensor2D {
  const score = scores[name];
  if (score === undefined) {
    throw new Error(
      `${wantedBy} needs the target's distribution, but the scores have no \`${name}\`: give scoreLogits or scoreHidden a teacher, ` +
        'or choose a loss on crossEntropy',
    );
  }
  return score;
}
