// One check, worded once: what a tensor is called, what was found, what was expected.
import type { Tensor } from '@tensorflow/tfjs-node-gpu';

/** Throws where `tensor` is not of this shape and dtype; null stands for any size. */
export function checkShape(name: string, tensor: Tensor, shape: readonly (number | null)[], dtype: 'float32' | 'int32'): void {
  const fits = tensor.shape.length === shape.length && shape.every((size, axis) => size === null || tensor.shape[axis] === size);
  if (!fits || tensor.dtype !== dtype) {
    const expected = shape.map((size) => size ?? 'any').join(', ');
    throw new Error(`${name} is ${tensor.dtype} [${tensor.shape.join(', ')}]; expected ${dtype} [${expected}]`);
  }
}
