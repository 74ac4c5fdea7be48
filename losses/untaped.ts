// Computes values that no gradient may flow through, and keeps nothing of their making. tfjs has no stop-gradient, and
// while a gradient is being taken it holds the inputs and outputs of every operation until the end; inside the forward
// pass of a custom gradient it records nothing, which is what this uses.
import type { Scalar, Tensor } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../src/tensorflow/ops.js';

/** Runs `compute` off the gradient tape. Its tensors come back as constants; all others that it made are freed. */
export function untaped<T extends Tensor>(compute: () => T): T;
export function untaped<T extends Record<string, Tensor>>(compute: () => T): T;
export function untaped(compute: () => Tensor | Record<string, Tensor>): Tensor | Record<string, Tensor> {
  let kept: Record<string, Tensor> = {};
  let single = false;
  const run = tf.customGrad((carrier) => {
    const result = compute();
    single = result instanceof tf.Tensor;
    kept = single ? { result: result as Tensor } : (result as Record<string, Tensor>);
    for (const tensor of Object.values(kept)) tf.keep(tensor);
    return { value: (carrier as Scalar).clone(), gradFunc: (dy) => tf.zerosLike(dy as Scalar) };
  });
  tf.tidy(() => {
    run(tf.scalar(0));
  });
  // Clones belong to the caller's scope; kept tensors would belong to nobody.
  const owned = Object.fromEntries(
    Object.entries(kept).map(([name, tensor]) => {
      const clone = tensor.clone();
      tensor.dispose();
      return [name, clone];
    }),
  );
  return single ? owned['result']! : owned;
}

/**
 * `value` (any shape) with the gradient `backward(dy, saved)` with respect to `x`. `value` and `saved` are constants that
 * were computed before; `saved` lives until the gradient has been taken, and no longer where none is.
 */
export function withGradient<T extends Tensor>(
  x: Tensor,
  value: T,
  saved: Tensor[],
  backward: (dy: T, saved: Tensor[]) => Tensor,
): T {
  const attach = tf.customGrad((_x, save) => {
    (save as (tensors: Tensor[]) => void)(saved);
    return { value: value.clone(), gradFunc: (dy, tensors) => backward(dy as T, tensors as Tensor[]) };
  });
  return attach(x) as T;
}
