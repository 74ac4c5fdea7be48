// The pieces that decoder layers are made of, as pure functions: every model here composes these. Norm and activation carry their gradient
// written out: derived operation by operation, it would make twice the passes over memory and keep every intermediate until the end.
// Where draftalign's kernels are in force, they compute both ways in one operation each.
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { fusedGatedProduct, fusedGatedProductGradient, fusedRmsNorm, fusedRmsNormGradient } from '../tensorflow/fused-ops.js';
import { kernelsInForce } from '../tensorflow/kernels.js';
import { matrixProduct } from '../tensorflow/matrix-product.js';
import { tf } from '../tensorflow/ops.js';
import { gatherRows, runAfter } from '../tensorflow/raw-ops.js';

/** `x · weightᵀ (+ bias)` over the last axis: `[…, in]` and `[out, in]` give `[…, out]`. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  return tf.tidy(() => {
    const [outWidth, inWidth] = weight.shape as [number, number];
    const flat = x.rank === 2 ? x : tf.reshape(x, [-1, inWidth]);
    const product = matrixProduct(flat as Tensor2D, weight as Tensor2D, false, true);
    const sum = bias === undefined ? product : tf.add(product, bias);
    return x.rank === 2 ? sum : tf.reshape(sum, [...x.shape.slice(0, -1), outWidth]);
  });
}

/** Root-mean-square norm over the last axis: `x / sqrt(mean(x²) + epsilon) · weight` (arXiv 1910.07467). */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  const width = weight.size;
  const asRows = (tensor: Tensor): Tensor2D => tf.reshape(tensor, [-1, width]) as Tensor2D;
  const norm = tf.customGrad((...args) => {
    const [x, weight] = args as [Tensor, Tensor];
    const save = args[2] as unknown as (tensors: Tensor[]) => void;
    if (kernelsInForce()) {
      const { norm, inverse } = fusedRmsNorm(x, weight, epsilon);
      save([x, weight, inverse]);
      return { value: norm, gradFunc: (dy: Tensor, saved: Tensor[]) => fusedRmsNormGradient(...(saved as [Tensor, Tensor, Tensor]), dy) };
    }
    const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon));
    save([x, weight, inverse]);
    const gradFunc = (dy: Tensor, saved: Tensor[]): Tensor[] => {
      const [x, weight, inverse] = saved as [Tensor, Tensor, Tensor];
      // Both gradients sum products of dy and x: over rows for the weight, over columns for x.
      const along = asRows(tf.mul(dy, x));
      const column = tf.reshape(inverse, [-1, 1]) as Tensor2D;
      const projected = tf.mul(tf.matMul(along, tf.reshape(weight, [width, 1]) as Tensor2D), tf.mul(tf.square(column), 1 / width));
      const dx = tf.mul(tf.sub(tf.mul(dy, weight), tf.mul(x, tf.reshape(projected, inverse.shape))), inverse);
      return [dx, tf.reshape(tf.matMul(column, along, true, false), weight.shape)];
    };
    return { value: tf.mul(tf.mul(x, inverse), weight), gradFunc };
  });
  return norm(x, weight);
}

/** The gated MLP: `down(silu(gate(x)) · up(x))`, `silu(g) = g · sigmoid(g)` (arXiv 2002.05202). */
export function swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor, biases: { gate?: Tensor; up?: Tensor; down?: Tensor } = {}): Tensor {
  return tf.tidy(() => {
    const flat = tf.reshape(x, [-1, x.shape.at(-1)!]);
    const product = gatedProduct(linear(flat, gate, biases.gate), linear(flat, up, biases.up), down);
    return tf.reshape(biases.down === undefined ? product : tf.add(product, biases.down), [...x.shape.slice(0, -1), down.shape[0]!]);
  });
}

/** `(silu(gate) · up) · downᵀ`, `[R, out]` from `[R, inner]` twice and `[out, inner]`. Only the two inputs are kept for the gradient; the rest is made anew. */
function gatedProduct(gate: Tensor, up: Tensor, down: Tensor): Tensor {
  const multiply = tf.customGrad((...args) => {
    const [gate, up, down] = args as [Tensor2D, Tensor2D, Tensor2D];
    const save = args[3] as unknown as (tensors: Tensor[]) => void;
    save([gate, up, down]);
    if (kernelsInForce()) {
      const gradFunc = (dy: Tensor, saved: Tensor[]): Tensor[] => {
        const [gate, up, down] = saved as [Tensor2D, Tensor2D, Tensor2D];
        const [dGate, dUp, product] = fusedGatedProductGradient(gate, up, matrixProduct(dy as Tensor2D, down));
        return [dGate, dUp, matrixProduct(dy as Tensor2D, product as Tensor2D, true)];
      };
      return { value: matrixProduct(fusedGatedProduct(gate, up) as Tensor2D, down, false, true), gradFunc };
    }
    const gradFunc = (dy: Tensor, saved: Tensor[]): Tensor[] => {
      const [, up, down] = saved as [Tensor2D, Tensor2D, Tensor2D];
      // TensorFlow keeps what two places compute alike: without this the sigmoid would wait here from the forward pass on.
      const gate = runAfter([dy], saved[0]!);
      const open = tf.sigmoid(gate);
      const active = tf.mul(gate, open);
      const dProduct = tf.matMul(dy as Tensor2D, down);
      // silu' = sigmoid + silu · (1 - sigmoid)
      const slope = tf.add(open, tf.mul(active, tf.sub(1, open)));
      return [tf.mul(tf.mul(dProduct, up), slope), tf.mul(dProduct, active), tf.matMul(dy as Tensor2D, tf.mul(active, up) as Tensor2D, true, false)];
    };
    return { value: tf.matMul(tf.mul(tf.mul(gate, tf.sigmoid(gate)), up) as Tensor2D, down, false, true), gradFunc };
  });
  return multiply(gate, up, down);
}

/** Rows of `table [V, D]` at `ids` (int32, any shape): `[…ids.shape, D]`. Differentiable in the table, and recordable. */
export function embed(table: Tensor2D, ids: Tensor): Tensor {
  const [count, width] = table.shape;
  return tf.customGrad((rows: unknown) => ({
    value: gatherRows(rows as Tensor, ids),
    gradFunc: (gradient: Tensor) => tf.unsortedSegmentSum(tf.reshape(gradient, [-1, width]), tf.reshape(ids, [-1]) as never, count),
  }))(table);
}
