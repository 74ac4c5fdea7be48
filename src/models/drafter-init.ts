// A new drafter's weights, as a Qwen3 model begins: matrices normal with deviation 0.02, norms one, biases zero. Every tensor
// draws from its own stream, named after it, so the numbers depend on the seed and the shape alone, not on order.
import { tf } from '../tensorflow/ops.js';
import { Random } from '../random.js';
import { drafterWeightShapes } from './drafter-shapes.js';
import type { DrafterConfig } from './drafter-config.js';
import type { Weights } from './weights.js';

/** Standard deviation of a new matrix (Transformers' `initializer_range` for Qwen3). */
const matrixDeviation = 0.02;

/** Initial weights, float32, by checkpoint name. The same seed gives the same weights, bit for bit. The caller owns the tensors. */
export function initDrafterWeights(config: DrafterConfig, seed: number): Weights {
  const shapes = Object.entries(drafterWeightShapes(config));
  return Object.fromEntries(shapes.map(([name, shape]) => [name, tf.tensor(initialValues(name, shape, seed), shape, 'float32')]));
}

function initialValues(name: string, shape: number[], seed: number): Float32Array {
  const size = shape.reduce((product, length) => product * length, 1);
  const values = new Float32Array(size);
  if (name.endsWith('.bias')) return values;
  if (shape.length === 1) return values.fill(1);
  const random = Random.fork(seed, 'drafter', name);
  for (let i = 0; i < size; i++) values[i] = matrixDeviation * random.normal();
  return values;
}
