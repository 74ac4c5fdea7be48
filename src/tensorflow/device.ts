// What TensorFlow computes on, as far as the shape of our work depends on it.
import { availableParallelism } from 'node:os';
import { tf } from './ops.js';

/** Whether TensorFlow computes on a GPU. */
export function onGpu(): boolean {
  return (tf.backend() as { isUsingGpuDevice?: boolean }).isUsingGpuDevice === true;
}

/** Whether products of float32 round their factors to TensorFloat-32, as `loadTensorflow` or the user's environment has set it. */
export function roundsFactors(): boolean {
  return onGpu() && process.env['NVIDIA_TF32_OVERRIDE'] !== '0';
}

/** Threads that share one operation on a CPU, as `loadTensorflow` or the user's environment has set it. */
export function threadsPerOperation(): number {
  return Number(process.env['TF_NUM_INTRAOP_THREADS'] ?? availableParallelism());
}
