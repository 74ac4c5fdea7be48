// What the machine can do and what a process takes of it, measured beside the step: matmul rate, memory, load.
import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { createGraphExecutor } from '../../src/tensorflow/graph.js';
import { tf } from '../../src/tensorflow/ops.js';
import { runProgram } from '../../src/tensorflow/run-program.js';

const size = 1024;

/** The rate of a matrix product, GFLOP/s: on the clock, and over all threads' processor time (so of one core). */
export interface MatmulRate {
  gigaflops: number;
  cpuGigaflops: number;
}

/** Times eight products of two 1024 × 1024 float32 matrices at each call, two side by side, as the halves of a step are. */
export function matmulProbe(): () => MatmulRate {
  const [a, b] = [1, 2].map((seed) => tf.randomNormal([size, size], 0, 1, 'float32', seed)) as [Tensor, Tensor];
  const corner = (product: Tensor) => tf.slice(product, [0, 0], [1, 1]);
  const executor = createGraphExecutor({
    variables: { a, b },
    functions: {
      products: {
        inputs: {},
        run: (matrices) => {
          const [a, b] = [matrices['a']!.read() as Tensor2D, matrices['b']!.read() as Tensor2D];
          return { ab: corner(tf.matMul(a, b)), ba: corner(tf.matMul(b, a)) };
        },
      },
    },
  });
  tf.dispose([a, b]);
  const multiply = (): void => {
    const outputs = executor.run('products', {});
    // Numbers read back: an accelerator has finished by then.
    for (const output of Object.values(outputs)) output.dataSync();
    tf.dispose(outputs);
  };
  const calls = 4;
  const operations = calls * 2 * 2 * size ** 3;
  multiply();
  return () => {
    const [started, before] = [performance.now(), process.cpuUsage()];
    for (let i = 0; i < calls; i++) multiply();
    const { user, system } = process.cpuUsage(before);
    return { gigaflops: operations / ((performance.now() - started) * 1e6), cpuGigaflops: operations / ((user + system) * 1e3) };
  };
}

/** This process's memory now (`VmRSS`), or the most it has held (`VmHWM`), in bytes; null where /proc does not tell. */
export function processBytes(field: 'VmHWM' | 'VmRSS'): number | null {
  try {
    const line = new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync('/proc/self/status', 'utf8'));
    return line === null ? null : Number(line[1]) * 1024;
  } catch {
    return null;
  }
}

/** Bytes of GPU memory that each process holds, its CUDA context included, by process number; none where nvidia-smi does not tell. */
export async function gpuBytes(): Promise<Map<number, number>> {
  const lines = await runProgram('nvidia-smi', ['--query-compute-apps=pid,used_memory', '--format=csv,noheader,nounits']).catch(() => '');
  return new Map(lines.split('\n').filter((line) => line !== '').map((line) => line.split(',').map(Number) as [number, number]).map(([pid, mebibytes]) => [pid, mebibytes * 2 ** 20]));
}

/** Processes that want a core, averaged over the last minute. */
export function load(): number {
  return loadavg()[0]!;
}

export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
