// One way of running the training step, in a process of its own: XLA is fixed when TensorFlow is loaded, and memory is only told for a whole
// process. It says when it is ready and then answers each line {"steps": n} with the times of n steps, so that several ways (and
// bench-torch.py, which speaks the same) can take turns on one machine.
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { onGpu } from '../../src/tensorflow/device.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { nativeBackend, type Binding } from '../../src/tensorflow/graph-recorder.js';
import { stepOperations, type BenchCase } from './cases.js';
import { matmulProbe, processBytes, type MatmulRate } from './machine.js';
import { createTrainingCase } from './training-case.js';

/** The first line that the process writes. */
export interface Ready {
  ready: true;
  /** What TensorFlow computes on. */
  device: 'cpu' | 'cuda';
  /** Resident bytes before anything of the step was made. */
  idleBytes: number | null;
  /** Milliseconds to make variables and graph, and of the first step. */
  recordMs: number;
  firstStepMs: number;
  blocks: number;
  /** Floating-point operations of one step. */
  operations: number;
  parameters: number;
}

/** The answer to {"steps": n}. */
export interface Timed {
  ms: number[];
  /** Processor time of all threads, a step: hardly depends on what else the machine does. */
  cpuMs: number[];
  /** The machine's matmul rate just before the steps. */
  matmul: MatmulRate;
  /** Calls into TensorFlow of one step: operations, graph runs, tensors made from host data. */
  calls: number;
  peakBytes: number | null;
}

const { values: flags } = parseArgs({ options: { shape: { type: 'string' }, way: { type: 'string' }, threads: { type: 'string' }, tf32: { type: 'boolean', default: false } } });
const shape = JSON.parse(flags.shape!) as BenchCase;
await loadTensorflow({ halves: flags.way === 'graph' || flags.way === 'online', xla: flags.way === 'xla', tf32: flags.tf32, ...(flags.threads !== undefined && { threads: Number(flags.threads) }) });
const callsSoFar = countCalls();
const probe = matmulProbe();
const idleBytes = processBytes('VmRSS');
const started = performance.now();
const training = await createTrainingCase(shape, { eager: flags.way === 'eager', online: flags.way === 'online' });
const recorded = performance.now();
training.run();
const say = (message: Ready | Timed): void => console.log(JSON.stringify(message));
say({
  ready: true,
  device: onGpu() ? 'cuda' : 'cpu',
  idleBytes,
  recordMs: recorded - started,
  firstStepMs: performance.now() - recorded,
  blocks: training.blocks,
  operations: stepOperations(shape, training.anchors),
  parameters: training.engine.parameters,
});
for await (const line of createInterface(process.stdin)) {
  const { steps } = JSON.parse(line) as { steps: number };
  const matmul = probe();
  const before = callsSoFar();
  const cpuMs: number[] = [];
  const ms = Array.from({ length: steps }, () => {
    const cpuBefore = process.cpuUsage();
    const elapsed = training.run();
    const { user, system } = process.cpuUsage(cpuBefore);
    cpuMs.push((user + system) / 1000);
    return elapsed;
  });
  const calls = (callsSoFar() - before) / steps;
  say({ ms, cpuMs, matmul, calls, peakBytes: processBytes('VmHWM') });
}

/** Puts a stand-in in the place of the native binding that counts what passes it; returns how many calls that were so far. */
function countCalls(): () => number {
  const backend = nativeBackend();
  const real = backend.binding;
  let calls = 0;
  // The native object's properties are read-only, so the stand-in is a copy of it.
  const counting: Record<string, unknown> = {};
  for (const name of Object.getOwnPropertyNames(real)) counting[name] = (real as unknown as Record<string, unknown>)[name];
  for (const name of ['executeOp', 'createTensor', 'runSavedModel'] as const) {
    const call = real[name] as (...args: unknown[]) => unknown;
    counting[name] = (...args: unknown[]) => {
      calls++;
      return call.apply(real, args);
    };
  }
  backend.binding = counting as unknown as Binding;
  return () => calls;
}
