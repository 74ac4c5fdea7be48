// Weights of a model, by the checkpoint's own tensor names, so that loading needs no table of renames.
import type { Tensor } from '@tensorflow/tfjs-node-gpu';

export type Weights = Record<string, Tensor>;

/** The tensor of that name. Throws where the model's code and its weights do not belong together. */
export function weight(weights: Weights, name: string): Tensor {
  const found = weights[name];
  if (found === undefined) throw new Error(`no weight named ${name}`);
  return found;
}

/** Bytes of memory that weights take as float32; a tensor under two names counts once. */
export function weightBytes(weights: Weights): number {
  return [...new Set(Object.values(weights))].reduce((sum, tensor) => sum + 4 * tensor.size, 0);
}
