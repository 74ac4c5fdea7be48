// AdamW and global-norm clipping. What all weights share (rates, corrections, whether the update is made at all) is worked out once, as scalar
// tensors, so that the same lines run eagerly and inside a recorded graph. There TensorFlow's Adam kernel changes weight and moments in place, in
// one pass over memory; `adamwUpdate` says the same in plain operations, and is what eager steps and tests run.
import type { Scalar, Tensor } from '@tensorflow/tfjs-node-gpu';
import type { StepVariable } from '../tensorflow/executor.js';
import { tf } from '../tensorflow/ops.js';
import { halfSumOfSquares, multiplyNoNan, runAfter, selectWhole } from '../tensorflow/raw-ops.js';

/** The settings of AdamW (Loshchilov and Hutter, arXiv 1711.05101). */
export interface AdamwSettings {
  /** Decay rates of the two moments. */
  betas: readonly [number, number];
  epsilon: number;
  /** Decoupled: `weight -= learningRate * weightDecay * weight`, outside the moments. */
  weightDecay: number;
}

/** One update's scalars, the same for all weights. */
export interface AdamwRates {
  beta1: Scalar;
  beta2: Scalar;
  /** `learningRate · √(1 - beta2^step) / (1 - beta1^step)`: the bias corrections of both moments, moved out of the fraction. */
  stepSize: Scalar;
  /** `epsilon · √(1 - beta2^step)`, for the same reason. */
  epsilon: Scalar;
  /** What decay leaves of a weight: `1 - learningRate · weightDecay`. */
  kept: Scalar;
}

/** A weight's tensors or variables, all of one shape; the moments are zeros before the first update. */
export interface AdamwState<T> {
  weight: T;
  /** First and second moment. */
  m: T;
  v: T;
}

/**
 * `step` counts updates from 1. Where the bool scalar `made` is false the rates change nothing: betas 1, step size 0, nothing decays (the gradient must be
 * finite, as `clipByGlobalNorm` makes it). Corrections are taken by `expm1`, because `1 - 0.999^t` loses four digits in float32, and from
 * the betas as float32 holds them, so that the first step's moments, corrected, are the gradient and its square.
 */
export function adamwRates(settings: AdamwSettings, { learningRate, step, made }: { learningRate: Scalar; step: Scalar; made?: Tensor }): AdamwRates {
  const [beta1, beta2] = settings.betas;
  return tf.tidy(() => {
    const correction = (beta: number): Tensor => tf.neg(tf.expm1(tf.mul(step, Math.log(Math.fround(beta)))));
    const rootCorrection = tf.sqrt(correction(beta2));
    const when = (value: Tensor, otherwise: number): Scalar => (made === undefined ? value : selectWhole(made, value, tf.scalar(otherwise))) as Scalar;
    return {
      beta1: when(tf.scalar(beta1), 1),
      beta2: when(tf.scalar(beta2), 1),
      stepSize: when(tf.div(tf.mul(learningRate, rootCorrection), correction(beta1)), 0),
      epsilon: tf.mul(settings.epsilon, rootCorrection) as Scalar,
      kept: when(tf.sub(1, tf.mul(learningRate, settings.weightDecay)), 1),
    };
  }) as unknown as AdamwRates;
}

/**
 * One AdamW update of one tensor: decoupled decay where it `decays`, both moments bias-corrected, epsilon outside the root (as PyTorch).
 * Pure: nothing is changed in place; the caller owns the three results.
 */
export function adamwUpdate(before: AdamwState<Tensor>, gradient: Tensor, rates: AdamwRates, decays: boolean): AdamwState<Tensor> {
  return tf.tidy(() => {
    const m = tf.add(before.m, tf.mul(tf.sub(gradient, before.m), tf.sub(1, rates.beta1)));
    const v = tf.add(before.v, tf.mul(tf.sub(tf.square(gradient), before.v), tf.sub(1, rates.beta2)));
    const kept = decays ? tf.mul(before.weight, rates.kept) : before.weight;
    return { weight: tf.sub(kept, tf.div(tf.mul(m, rates.stepSize), tf.add(tf.sqrt(v), rates.epsilon))), m, v } as never;
  });
}

/** `adamwUpdate` of three variables: in place by TensorFlow's kernel where they are a recorded graph's. */
export function adamwAssign({ weight, m, v }: AdamwState<StepVariable>, gradient: Tensor, rates: AdamwRates, decays: boolean): void {
  tf.tidy(() => {
    if (weight.updateInPlace === undefined) {
      const after = adamwUpdate({ weight: weight.read(), m: m.read(), v: v.read() }, gradient, rates, decays);
      weight.assign(after.weight);
      m.assign(after.m);
      v.assign(after.v);
      return;
    }
    // Read once the gradient is known: what needs nothing but a weight would be computed at the step's start, and wait.
    if (decays) weight.assign(tf.mul(runAfter([gradient], weight.read()), rates.kept));
    // The kernel would correct the step size by powers of the betas; it is corrected already, so they are zero.
    weight.updateInPlace('ResourceApplyAdam', [m, v], [tf.scalar(0), tf.scalar(0), rates.stepSize, rates.beta1, rates.beta2, rates.epsilon, gradient]);
  });
}

/** Whether weight decay belongs on a tensor: on matrices only, never on norms or biases. */
export function takesDecay(weight: { shape: readonly number[] }): boolean {
  return weight.shape.length >= 2;
}

/** The Euclidean norm over all tensors together; a scalar. */
export function globalNorm(gradients: Record<string, Tensor>): Scalar {
  return tf.tidy(() => tf.sqrt(tf.mul(tf.addN(Object.values(gradients).map(halfSumOfSquares)), 2))) as Scalar;
}

/**
 * Scales all gradients by `min(1, maxNorm / norm)`, `norm` being taken over all of them together (Pascanu et al., arXiv 1211.5063).
 * `maxNorm` null leaves them as they are. Returns new tensors, the norm before clipping, and whether the norm (and `loss`, where given) is
 * finite; where it is not, all gradients are zero.
 */
export function clipByGlobalNorm(
  gradients: Record<string, Tensor>,
  maxNorm: number | null,
  loss?: Scalar,
): { gradients: Record<string, Tensor>; norm: Scalar; finite: Tensor } {
  return tf.tidy(() => {
    const norm = globalNorm(gradients);
    const finite = loss === undefined ? tf.isFinite(norm) : tf.logicalAnd(tf.isFinite(norm), tf.isFinite(loss));
    const scale = maxNorm === null ? tf.scalar(1) : tf.minimum(1, tf.div(maxNorm, tf.add(norm, 1e-6)));
    const used = selectWhole(finite, scale, tf.scalar(0));
    const clipped = Object.fromEntries(Object.entries(gradients).map(([name, gradient]) => [name, multiplyNoNan(gradient, used)]));
    return { gradients: clipped, norm, finite } as never;
  });
}
