// The pieces that decoder layers are made of, as pure functions: every model here composes these.
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../tensorflow/ops.js';
import { gatherRows } from '../tensorflow/raw-ops.js';

/** `x · weightᵀ (+ bias)` over the last axis: `[…, in]` and `[out, in]` give `[…, out]`. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  return tf.tidy(() => {
    const [outWidth, inWidth] = weight.shape as [number, number];
    const flat = x.rank === 2 ? x : tf.reshape(x, [-1, inWidth]);
    const product = tf.matMul(flat as never, weight as never, false, true) as Tensor;
    const sum = bias === undefined ? product : tf.add(product, bias);
    return x.rank === 2 ? sum : tf.reshape(sum, [...x.shape.slice(0, -1), outWidth]);
  });
}

/** Root-mean-square norm over the last axis: `x / sqrt(mean(x²) + epsilon) · weight` (arXiv 1910.07467). */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  return tf.tidy(() => {
    const meanSquare = tf.mean(tf.square(x), -1, true);
    return tf.mul(tf.mul(x, tf.rsqrt(tf.add(meanSquare, epsilon))), weight);
  });
}

/** `x · sigmoid(x)`. */
export function silu(x: Tensor): Tensor {
  return tf.tidy(() => tf.mul(x, tf.sigmoid(x)));
}

/** The gated MLP: `down(silu(gate(x)) · up(x))` (arXiv 2002.05202). */
export function swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor, biases: { gate?: Tensor; up?: Tensor; down?: Tensor } = {}): Tensor {
  return tf.tidy(() => linear(tf.mul(silu(linear(x, gate, biases.gate)), linear(x, up, biases.up)), down, biases.down));
}

/** Rows of `table [V, D]` at `ids` (int32, any shape): `[…ids.shape, D]`. Differentiable in the table, and recordable. */
export function embed(table: Tensor2D, ids: Tensor): Tensor {
  const [count, width] = table.shape;
  return tf.customGrad((rows: unknown) => ({
    value: gatherRows(rows as Tensor, ids),
    gradFunc: (gradient: Tensor) => tf.unsortedSegmentSum(tf.reshape(gradient, [-1, width]), tf.reshape(ids, [-1]) as never, count),
  }))(table);
}
