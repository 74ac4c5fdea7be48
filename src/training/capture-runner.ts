// Runs the capture step over batches of token ids: as a recorded graph for the shapes that a capture meets often enough to pay for the
// recording, operation by operation for the others. Which is which follows from the plan alone, so a resumed capture computes as before.
import { freemem } from 'node:os';
import type { Tensor2D } from '@tensorflow/tfjs-node-gpu';
import type { CacheColumns } from '../../data/arrow-cache.js';
import type { TargetConfig } from '../models/target-config.js';
import type { Target } from '../models/target.js';
import { weightBytes } from '../models/weights.js';
import { createGraphExecutor, type Executor, type StepFunction } from '../tensorflow/graph.js';
import { tf } from '../tensorflow/ops.js';
import { captureStep } from './capture-step.js';

/** What a pass gives, in host memory: see `captureStep`. */
export type CapturedArrays = Record<string, Float32Array | Int32Array>;

export interface CaptureRunner {
  /** Runs sequences; `length` is what they are padded to at least. */
  run(sequences: readonly Int32Array[], length: number): { arrays: CapturedArrays; paddedLength: number };
  /** Padded lengths that run as graphs. */
  readonly graphLengths: readonly number[];
  dispose(): void;
}

export interface RunnerOptions {
  taps: readonly number[];
  columns: CacheColumns;
  batchSize: number;
  /** Batches of each padded length that the whole capture will have; none: no graphs. */
  batchCounts?: ReadonlyMap<number, number>;
  say?: (message: string) => void;
}

/** Recording a shape takes about as long as this many of its batches save. */
const BATCHES_THAT_PAY = 10;
/** A graph is about this much faster than the same operations one by one, so that much padding is no loss. */
const GRAPH_SPEED = 2;
/** Attention scores of this many bytes are in memory at once. */
const SCORE_BYTES = 2 ** 30;

/** Sequences of `length` tokens that one pass takes: `batchSize`, or fewer where their attention scores would fill the memory. */
export function rowsOfBatch(config: TargetConfig, length: number, batchSize: number): number {
  // Scores, their bias, exponentials and sums: about five arrays of one value for each head and pair of positions.
  return Math.max(1, Math.min(batchSize, Math.floor(SCORE_BYTES / (5 * 4 * config.numHeads * length * length))));
}

/** Makes a runner; its graphs hold a copy of the target's weights until it is disposed. */
export function createCaptureRunner(target: Target, options: RunnerOptions): CaptureRunner {
  const { columns, taps, batchSize, say = () => undefined } = options;
  const step = { taps, featureType: columns.featureType, topk: columns.topk };
  const frequent = [...(options.batchCounts ?? [])].filter(([, count]) => count >= BATCHES_THAT_PAY).map(([length]) => length).sort((a, b) => a - b);
  let graphs: ReturnType<typeof recordGraphs> | undefined;
  if (frequent.length > 0 && weightBytes(target.weights) < freemem() / 4) {
    try {
      graphs = recordGraphs(target, options, frequent);
    } catch (error) {
      say(`the pass cannot be recorded as a graph (${(error as Error).message}); it runs operation by operation, which is slower`);
    }
  }
  const rowsOf = (length: number): number => rowsOfBatch(target.config, length, batchSize);
  /** The shortest graph that takes these sequences at no more than an eager pass costs. */
  const graphFor = (rows: number, length: number): number | undefined =>
    frequent.find((candidate) => candidate >= length && rows <= rowsOf(candidate) && rowsOf(candidate) * candidate <= GRAPH_SPEED * rows * length);
  return {
    graphLengths: graphs === undefined ? [] : frequent,
    run(sequences, length) {
      const graphLength = graphs && graphFor(sequences.length, length);
      const paddedLength = graphLength ?? length;
      const rows = graphLength === undefined ? sequences.length : rowsOf(graphLength);
      const ids = new Int32Array(rows * paddedLength);
      for (const [row, sequence] of sequences.entries()) ids.set(sequence, row * paddedLength);
      const arrays =
        graphs === undefined || graphLength === undefined
          ? hostArrays(() => captureStep(target.config, target.weights, tf.tensor2d(ids, [rows, paddedLength], 'int32'), step))
          : hostArrays(() => graphs!.run(`length ${graphLength}`, { ids }));
      return { arrays, paddedLength };
    },
    dispose() {
      graphs?.dispose();
      graphs = undefined;
    },
  };
}

function recordGraphs(target: Target, { columns, taps, batchSize }: RunnerOptions, lengths: readonly number[]): { run: Executor['run']; dispose(): void } {
  const { config, weights } = target;
  const step = { taps, featureType: columns.featureType, topk: columns.topk };
  const functions: Record<string, StepFunction> = {};
  const disposeExamples = (): void => {
    for (const { inputs } of Object.values(functions)) inputs['ids']!.dispose();
  };
  try {
    for (const length of lengths) {
      functions[`length ${length}`] = {
        inputs: { ids: tf.zeros([rowsOfBatch(config, length, batchSize), length], 'int32') },
        run: (variables, inputs) => {
          const read = Object.fromEntries(Object.keys(weights).map((name) => [name, variables[name]!.read()]));
          return captureStep(config, read, inputs['ids'] as Tensor2D, step);
        },
      };
    }
    const executor = createGraphExecutor({ variables: weights, functions });
    return {
      run: executor.run,
      dispose: () => {
        executor.dispose();
        disposeExamples();
      },
    };
  } catch (error) {
    disposeExamples();
    throw error;
  }
}

/** The values of all that `work` gives. They leave by a variable: `tf.tidy` would walk through every element of what it returns, in search of tensors. */
function hostArrays(work: () => Record<string, { dataSync(): unknown }>): CapturedArrays {
  const arrays: CapturedArrays = {};
  tf.tidy(() => {
    for (const [name, tensor] of Object.entries(work())) arrays[name] = tensor.dataSync() as Float32Array | Int32Array;
  });
  return arrays;
}
