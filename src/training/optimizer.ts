// AdamW and global-norm clipping as pure functions of tensors, so that the same lines run eagerly and inside a recorded graph.
// Unusual: the step count and the learning rate may be scalar tensors. Then the bias corrections are taken by `expm1`, because
// `1 - 0.999^t` loses four digits in float32.
import type { Scalar, Tensor } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../tensorflow/ops.js';

/** The settings of AdamW (Loshchilov and Hutter, arXiv 1711.05101). */
export interface AdamwSettings {
  /** Decay rates of the two moments. */
  betas: readonly [number, number];
  epsilon: number;
  /** Decoupled: `weight -= learningRate * weightDecay * weight`, outside the moments. */
  weightDecay: number;
}

export interface AdamwInput extends AdamwSettings {
  weight: Tensor;
  /** Same shape as `weight`. */
  gradient: Tensor;
  /** First and second moment, same shape; zeros before the first update. */
  m: Tensor;
  v: Tensor;
  learningRate: number | Scalar;
  /** Which update this is, counted from 1. */
  step: number | Scalar;
}

/**
 * One AdamW update of one tensor: decoupled decay, both moments bias-corrected, `epsilon` outside the root (as PyTorch).
 * Pure: nothing is changed in place; the caller owns the three results.
 */
export function adamwUpdate(input: AdamwInput): { weight: Tensor; m: Tensor; v: Tensor } {
  const { gradient, learningRate, step, epsilon, weightDecay } = input;
  const [beta1, beta2] = input.betas;
  const [weight, m, v] = tf.tidy(() => {
    const m = tf.add(tf.mul(input.m, beta1), tf.mul(gradient, 1 - beta1));
    const v = tf.add(tf.mul(input.v, beta2), tf.mul(tf.square(gradient), 1 - beta2));
    const rate = typeof learningRate === 'number' ? tf.scalar(learningRate) : learningRate;
    const rootCorrection = tf.sqrt(biasCorrection(beta2, step));
    const denominator = tf.add(tf.div(tf.sqrt(v), rootCorrection), epsilon);
    const stepSize = tf.div(rate, biasCorrection(beta1, step));
    const kept = weightDecay === 0 ? input.weight : tf.mul(input.weight, tf.sub(1, tf.mul(rate, weightDecay)));
    return [tf.sub(kept, tf.mul(stepSize, tf.div(m, denominator))), m, v];
  }) as [Tensor, Tensor, Tensor];
  return { weight, m, v };
}

/** `1 - beta^step`, exact in float32 for a step given as a tensor too. */
function biasCorrection(beta: number, step: number | Scalar): Scalar {
  if (typeof step === 'number') return tf.scalar(-Math.expm1(step * Math.log(beta)));
  return tf.neg(tf.expm1(tf.mul(step, Math.log(beta)))) as Scalar;
}

/** Whether weight decay belongs on a tensor: on matrices only, never on norms or biases. */
export function takesDecay(weight: { shape: readonly number[] }): boolean {
  return weight.shape.length >= 2;
}

/** The Euclidean norm over all tensors together; a scalar. */
export function globalNorm(gradients: Record<string, Tensor>): Scalar {
  return tf.tidy(() => tf.sqrt(tf.addN(Object.values(gradients).map((gradient) => tf.sum(tf.square(gradient)))))) as Scalar;
}

/**
 * Scales all gradients by `min(1, maxNorm / norm)`, `norm` being taken over all of them together (Pascanu et al., arXiv 1211.5063).
 * `maxNorm` null leaves them as they are. Returns new tensors and the norm before clipping. A norm that is not finite
 * makes every result not finite: the caller decides to skip the update.
 */
export function clipByGlobalNorm(
  gradients: Record<string, Tensor>,
  maxNorm: number | null,
): { gradients: Record<string, Tensor>; norm: Scalar } {
  return tf.tidy(() => {
    const norm = globalNorm(gradients);
    const scale = maxNorm === null ? tf.scalar(1) : tf.minimum(1, tf.div(maxNorm, tf.add(norm, 1e-6)));
    const clipped = Object.fromEntries(Object.entries(gradients).map(([name, gradient]) => [name, tf.mul(gradient, scale)]));
    return { gradients: clipped, norm } as never;
  });
}
