// Measures the training step of one shape several ways, which take turns: each round gives every way two steps, so whatever else the machine
// does meets all of them alike.
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.js';
import type { BenchCase } from './cases.js';
import { gpuBytes, load, median } from './machine.js';
import type { Ready, Timed } from './step-worker.js';
import { startOwn, startWorker, type Worker } from './worker-client.js';

/** `online` runs the demo target inside the step; `torch` is bench-torch.py. */
export type Way = 'eager' | 'graph' | 'xla' | 'online' | 'torch';

export interface StepBenchOptions {
  /** Timed steps of each way, after two to warm up. */
  steps: number;
  threads?: number;
  /** Interpreter that has torch. */
  python: string;
  /** Whether a GPU may round the factors of products to TensorFloat-32. */
  tf32?: boolean;
}

export interface StepFigures {
  way: Way;
  /** Medians over the timed steps. */
  msPerStep: number;
  fastestMs: number;
  /** Of all threads together: hardly depends on what else the machine does. */
  cpuMsPerStep: number;
  /** Peak resident bytes above the idle process; on a GPU what the process holds of its memory at the end. */
  memoryBytes: number | null;
  /** What only our own ways tell. */
  own?: {
    recordMs: number;
    firstStepMs: number;
    blocksPerSecond: number;
    callsPerStep: number;
    gigaflops: number;
    /** Median of the machine's matmul rate, measured between the steps; GFLOP/s. */
    matmulGigaflops: number;
    /** gigaflops over matmulGigaflops, both by processor time; null on a GPU, whose time that is not. */
    shareOfMatmul: number | null;
  };
}

export interface CaseFigures {
  name: string;
  shape: BenchCase;
  operationsPerStep: number;
  /** Processes that wanted a core while this was measured: mean over the rounds, this benchmark's own included. */
  load: number;
  ways: StepFigures[];
}

const stepsARound = 2;

/** Starts all ways, lets them take turns, and stops them. */
export async function measureCase(name: string, shape: BenchCase, ways: readonly Way[], options: StepBenchOptions): Promise<CaseFigures> {
  const workers: Worker<Ready, Timed>[] = [];
  try {
    // PyTorch last, on the device that TensorFlow was found to use.
    for (const way of ways) workers.push(await startWay(way, name, shape, options, workers[0]?.ready.device ?? 'cpu'));
    const answers: Timed[][] = ways.map(() => []);
    const loads: number[] = [];
    for (let round = 0; round <= Math.ceil(options.steps / stepsARound); round++) {
      for (const [index, worker] of workers.entries()) {
        const answer = await worker.ask({ steps: stepsARound });
        if (round > 0) answers[index]!.push(answer);
      }
      loads.push(load());
    }
    const held = workers.some(({ ready }) => ready.device === 'cuda') ? await gpuBytes() : undefined;
    return {
      name,
      shape,
      operationsPerStep: workers.map(({ ready }) => ready.operations).find((operations) => operations !== undefined) ?? 0,
      load: loads.reduce((sum, value) => sum + value, 0) / loads.length,
      ways: ways.map((way, index) => summarize(way, workers[index]!, answers[index]!, held)),
    };
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
  }
}

function startWay(way: Way, name: string, shape: BenchCase, { threads, python, tf32 }: StepBenchOptions, device: string): Promise<Worker<Ready, Timed>> {
  const common = [...(threads === undefined ? [] : ['--threads', String(threads)]), ...(tf32 === true ? ['--tf32'] : [])];
  if (way === 'torch') return startWorker(python, [join(packageRoot(), 'scripts/bench-torch.py'), '--case', name, '--device', device, ...common]);
  return startOwn('step-worker.js', ['--shape', JSON.stringify(shape), '--way', way, ...common]);
}

function summarize(way: Way, { pid, ready }: Worker<Ready, Timed>, answers: Timed[], held: Map<number, number> | undefined): StepFigures {
  const ms = answers.flatMap((answer) => answer.ms);
  const msPerStep = median(ms);
  const cpuMsPerStep = median(answers.flatMap((answer) => answer.cpuMs));
  const { peakBytes } = answers.at(-1)!;
  const aboveIdle = peakBytes === null || ready.idleBytes === null ? null : peakBytes - ready.idleBytes;
  const memoryBytes = held === undefined ? aboveIdle : (held.get(pid) ?? null);
  const figures = { way, msPerStep, fastestMs: Math.min(...ms), cpuMsPerStep, memoryBytes };
  if (way === 'torch') return figures;
  const { operations, blocks, recordMs, firstStepMs } = ready;
  return {
    ...figures,
    own: {
      recordMs,
      firstStepMs,
      blocksPerSecond: (1000 * blocks) / msPerStep,
      callsPerStep: median(answers.map(({ calls }) => calls)),
      gigaflops: operations / (msPerStep * 1e6),
      matmulGigaflops: median(answers.map(({ matmul }) => matmul.gigaflops)),
      shareOfMatmul: held !== undefined ? null : operations / (cpuMsPerStep * 1e6) / median(answers.map(({ matmul }) => matmul.cpuGigaflops)),
    },
  };
}
