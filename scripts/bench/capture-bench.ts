// Capture: tokens a second of the demo target's pass (taps as float16, top 16 log-probabilities), beside Transformers doing the same where Python has it.
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.js';
import { median } from './machine.js';
import { figure, table } from './tables.js';
import { startOwn, startWorker, type Worker } from './worker-client.js';

export interface CaptureFigures {
  batch: number;
  length: number;
  ways: { way: 'draftalign' | 'Transformers'; tokensPerSecond: number; tokensPerCpuSecond: number }[];
  /** Why Transformers could not be measured. */
  without?: string;
}

interface Times {
  ms: number[];
  cpuMs: number[];
}

const [batch, length, topk] = [8, 256, 16];
const taps = '1,2,3';

export async function measureCapture(options: { steps: number; threads?: number; python: string }): Promise<CaptureFigures> {
  const args = ['--batch', String(batch), '--length', String(length), '--taps', taps, '--topk', String(topk), ...(options.threads === undefined ? [] : ['--threads', String(options.threads)])];
  const workers: Worker<object, Times>[] = [await startOwn<object, Times>('capture-worker.js', args)];
  let without: string | undefined;
  try {
    workers.push(await startWorker<object, Times>(options.python, [join(packageRoot(), 'scripts/bench-transformers.py'), ...args]));
  } catch (error) {
    without = (error as Error).message.trim().split('\n').at(-1);
  }
  try {
    const answers: Times[][] = workers.map(() => []);
    for (let round = 0; round <= options.steps; round++) {
      for (const [index, worker] of workers.entries()) {
        const answer = await worker.ask({ steps: 1 });
        if (round > 0) answers[index]!.push(answer);
      }
    }
    const rate = (values: number[]): number => (1000 * batch * length) / median(values);
    const ways = answers.map((times, index) => ({
      way: index === 0 ? ('draftalign' as const) : ('Transformers' as const),
      tokensPerSecond: rate(times.flatMap(({ ms }) => ms)),
      tokensPerCpuSecond: rate(times.flatMap(({ cpuMs }) => cpuMs)),
    }));
    return { batch, length, ways, ...(without !== undefined && { without }) };
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
  }
}

export function captureTable({ ways, without }: CaptureFigures): string {
  const rows = ways.map(({ way, tokensPerSecond, tokensPerCpuSecond }) => [way, figure(tokensPerSecond), figure(tokensPerCpuSecond)]);
  return table(['capture', 'tokens/s', 'tokens/CPU s'], rows) + (without === undefined ? '' : `\n\nTransformers was not measured: ${without}`);
}
