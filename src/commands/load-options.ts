// How TensorFlow is to be loaded for a training run: fixed for the process, so before anything is computed.
import type { Config } from '../config/load.js';
import type { LoadOptions } from '../tensorflow/load.js';

export function loadOptionsOf({ eager, threads, tf32, xla }: Config['training']): LoadOptions {
  return { halves: !eager, tf32, xla, ...(threads !== null && { threads }) };
}
