// The drafter while it is trained: weights, moments and the frozen embedding as variables of an executor (recorded graph or eager), and
// the few things a trainer asks of them. One signature a padded length; all signatures share the variables.
import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import type { Batch } from '../../data/batches.js';
import type { ObjectiveTerm } from '../../losses/index.js';
import { scheduledValues } from '../../losses/index.js';
import { UserError } from '../errors.js';
import { saveDrafter } from '../models/drafter-checkpoint.js';
import type { DrafterConfig } from '../models/drafter-config.js';
import { openSafetensors, writeSafetensors } from '../models/safetensors.js';
import type { Weights } from '../models/weights.js';
import { onGpu } from '../tensorflow/device.js';
import { createEagerExecutor, createGraphExecutor, type Executor, type Program, type StepFunction, type TypedInput } from '../tensorflow/graph.js';
import { tf } from '../tensorflow/ops.js';
import { cacheShapes, contextStep, draftStep } from './draft-step.js';
import { verifyFirstStep } from './first-step.js';
import {
  accumulateStep,
  applyStep,
  lossStep,
  trainStep,
  variableName,
  type Tensors,
  type TrainStepOptions,
} from './train-step.js';

/** The shapes of a batch, apart from its length S. */
export interface BatchShape {
  batchSize: number;
  anchorsPerSequence: number;
  /** T·D, or 0 where the target runs inside the step. */
  featureWidth: number;
  /** What features come as: `Float32Array`, the default, or `Uint16Array` of float16 bits (`featureWidth` even), which the step widens. */
  featureType?: 'float16' | 'float32';
  /** Log-probabilities of the target a slot, or 0. */
  topk: number;
}

export interface EngineOptions {
  drafter: DrafterConfig;
  objective: readonly ObjectiveTerm[];
  optimizer: TrainStepOptions['optimizer'];
  accumulate: number;
  /** Initial weights; the engine copies them. */
  weights: Weights;
  /** The target's embedding `[V, D]`, and its head where the two are not tied; the engine copies them. */
  embedding: Tensor;
  head?: Tensor;
  /** Other frozen tensors that `readTarget` reads, by variable name. */
  frozen?: Tensors;
  readTarget?: TrainStepOptions['readTarget'];
  training: BatchShape & { lengths: readonly number[] };
  validation: BatchShape & { lengths: readonly number[] };
  eager: boolean;
  /** Compare the first step with an eager one; of no use where `eager` is set. */
  verifyFirstStep: boolean;
}

/** Figures of one update or one validation batch, on the host. */
export interface StepFigures {
  loss: number;
  /** Terms and their own metrics, by the names that `combine` gives. */
  losses: Record<string, number>;
  acceptedLength: number;
  waste: number;
  /** `[J]`, correct and valid slots over blocks. */
  slotCorrect: number[];
  slotValid: number[];
}

export interface UpdateFigures extends StepFigures {
  gradientNorm: number;
  /** Whether the update was made; not where the loss or a gradient was not finite. */
  finite: boolean;
  /** Updates made so far. */
  updates: number;
  /** Which of the batches had a loss that was not finite; -1 where none had. */
  culprit: number;
}

/** Sequences that were read once, to draft any blocks of them. */
export interface DraftContext {
  /** The best tokens `[B, J]` of the blocks at `anchors [B]`, one a sequence. */
  draft(anchors: Int32Array): Int32Array;
  dispose(): void;
}

export interface Engine {
  readonly kind: Executor['kind'];
  readonly parameters: number;
  /** One update from `accumulate` batches. `progress` is the share of the run that is done, for scheduled values. */
  update(batches: readonly Batch[], learningRate: number, progress: number): UpdateFigures;
  /** The objective of a validation batch. */
  evaluateLoss(batch: Batch, progress: number): StepFigures;
  /** Reads the sequences of a validation batch, to draft blocks of them. */
  readContext(batch: Batch): DraftContext;
  /** Writes `drafter/` and `optimizer.safetensors` into a folder. */
  save(folder: string, extra?: Record<string, unknown>): Promise<void>;
  /** Starts over from other weights: moments, accumulated gradients and the count of updates are zero again. */
  reset(weights: Weights): void;
  /** Takes over what `save` wrote. Throws `UserError` where it does not fit. */
  restore(folder: string): Promise<void>;
  dispose(): void;
}

/** Makes the variables and records all functions; `weights` and the target's tensors may be disposed afterwards. */
export function createEngine(options: EngineOptions): Engine {
  const { drafter, objective, accumulate } = options;
  const weightNames = Object.keys(options.weights);
  // A GPU is filled by one operation, and operations one by one gain nothing.
  const step: TrainStepOptions = { ...options, weightNames, halves: !options.eager && !onGpu() };
  const variables: Tensors = { [variableName.embedding]: options.embedding, ...(options.head && { [variableName.head]: options.head }), ...options.frozen };
  const zeros: Tensor[] = [];
  const zero = (shape: number[]) => {
    const tensor = tf.zeros(shape);
    zeros.push(tensor);
    return tensor;
  };
  for (const [name, weight] of Object.entries(options.weights)) {
    variables[variableName.weight(name)] = weight;
    variables[variableName.firstMoment(name)] = zero(weight.shape);
    variables[variableName.secondMoment(name)] = zero(weight.shape);
    if (accumulate > 1) variables[variableName.gradient(name)] = zero(weight.shape);
  }
  variables[variableName.updates] = zero([]);
  const functions: Record<string, StepFunction> = {};
  const scheduled = Object.keys(scheduledValues(objective, 0));
  const scalars = Object.fromEntries(scheduled.map((name) => [name, zero([])]));
  const learningRate = zero([]);
  const examples: Tensor[] = [];
  const example = (shape: number[], dtype: 'int32' | 'float32') => {
    const tensor = tf.zeros(shape, dtype);
    examples.push(tensor);
    return tensor;
  };
  const batchInputs = (shape: BatchShape, length: number): Tensors => {
    const { batchSize, anchorsPerSequence, featureWidth, featureType, topk } = shape;
    const slots = drafter.blockSize - 1;
    const blocks = batchSize * anchorsPerSequence;
    return {
      inputIds: example([batchSize, length], 'int32'),
      anchors: example([batchSize, anchorsPerSequence], 'int32'),
      labels: example([blocks, slots], 'int32'),
      valid: example([blocks, slots], 'float32'),
      ...(featureWidth > 0 && { features: featureType === 'float16' ? example([batchSize, length, featureWidth / 2], 'int32') : example([batchSize, length, featureWidth], 'float32') }),
      ...(topk > 0 && { topkIds: example([blocks, slots, topk], 'int32'), topkLogProbs: example([blocks, slots, topk], 'float32') }),
    };
  };
  for (const length of options.training.lengths) {
    const inputs = { ...batchInputs(options.training, length), ...scalars };
    if (accumulate > 1) functions[`accumulate/${length}`] = { inputs, run: accumulateStep(step) };
    else functions[`step/${length}`] = { inputs: { ...inputs, learningRate }, run: trainStep(step) };
  }
  if (accumulate > 1) functions['apply'] = { inputs: { learningRate }, run: applyStep(step) };
  for (const length of options.validation.lengths) {
    const inputs = batchInputs(options.validation, length);
    functions[`loss/${length}`] = { inputs: { ...inputs, ...scalars }, run: lossStep(step) };
    const { inputIds, features } = inputs;
    functions[`context/${length}`] = { inputs: features === undefined ? { inputIds: inputIds! } : { features }, run: contextStep(step) };
    const { batchSize } = options.validation;
    const cache = Object.entries(cacheShapes(drafter, batchSize, length)).map(([name, shape]) => [name, example(shape, 'float32')]);
    const perSequence = example([batchSize], 'int32');
    functions[`draft/${length}`] = { inputs: { ...Object.fromEntries(cache), anchors: perSequence, anchorIds: perSequence }, run: draftStep(step) };
  }
  const program: Program = { variables, functions };
  const executor = (options.eager ? createEagerExecutor : createGraphExecutor)(program);
  tf.dispose([...zeros, ...examples]);
  const compared = weightNames.map((name) => (accumulate > 1 ? variableName.gradient(name) : variableName.firstMoment(name)));
  let unverified = options.verifyFirstStep && executor.kind === 'graph';
  const runFirst = (name: string, inputs: Record<string, TypedInput>) => {
    if (!unverified) return executor.run(name, inputs);
    unverified = false;
    return verifyFirstStep(executor, program, name, inputs, compared);
  };

  const inputsOf = (batch: Batch, progress: number): Record<string, TypedInput> => ({
    inputIds: batch.inputIds,
    anchors: batch.anchors,
    labels: batch.labels,
    valid: batch.valid,
    ...(batch.features && { features: featureInput(batch.features) }),
    ...(batch.topkIds && { topkIds: batch.topkIds, topkLogProbs: batch.topkLogProbs! }),
    ...Object.fromEntries(Object.entries(scheduledValues(objective, progress)).map(([name, value]) => [name, Float32Array.of(value)])),
  });

  return {
    kind: executor.kind,
    parameters: Object.values(options.weights).reduce((sum, weight) => sum + weight.size, 0),
    update(batches, rate, progress) {
      const rateInput = { learningRate: Float32Array.of(rate) };
      if (accumulate === 1) {
        const batch = batches[0]!;
        const outputs = readOutputs(runFirst(`step/${batch.plan.length}`, { ...inputsOf(batch, progress), ...rateInput }));
        return updateFigures([stepFigures(outputs)], outputs);
      }
      const figures = batches.map((batch) => stepFigures(readOutputs(runFirst(`accumulate/${batch.plan.length}`, inputsOf(batch, progress)))));
      return updateFigures(figures, readOutputs(executor.run('apply', rateInput)));
    },
    evaluateLoss: (batch, progress) => stepFigures(readOutputs(executor.run(`loss/${batch.plan.length}`, inputsOf(batch, progress)))),
    readContext(batch) {
      const { length } = batch.plan;
      const input: Record<string, TypedInput> = batch.features === undefined ? { inputIds: batch.inputIds } : { features: featureInput(batch.features) };
      const cache = executor.run(`context/${length}`, input);
      return {
        draft(anchors) {
          const anchorIds = anchors.map((anchor, row) => batch.inputIds[row * length + anchor]!);
          const { tokens } = executor.run(`draft/${length}`, { ...cache, anchors, anchorIds });
          const values = tokens!.dataSync() as Int32Array;
          tokens!.dispose();
          return values;
        },
        dispose: () => tf.dispose(cache),
      };
    },
    async save(folder, extra = {}) {
      const weights = Object.fromEntries(weightNames.map((name) => [name, executor.read(variableName.weight(name))]));
      try {
        await saveDrafter(join(folder, 'drafter'), drafter, weights, { dtype: 'F32', extra });
      } finally {
        tf.dispose(weights);
      }
      const names = [variableName.updates, ...weightNames.flatMap((name) => [variableName.firstMoment(name), variableName.secondMoment(name)])];
      const tensors = names.map((name) => {
        const tensor = executor.read(name);
        const data = tensor.dataSync() as Float32Array;
        const { shape } = tensor;
        tensor.dispose();
        return { name, shape, dtype: 'F32' as const, data };
      });
      await writeSafetensors(join(folder, 'optimizer.safetensors'), tensors);
    },
    reset(initial) {
      tf.tidy(() => {
        for (const name of weightNames) {
          const weight = initial[name]!;
          executor.write(variableName.weight(name), weight);
          const zero = tf.zeros(weight.shape);
          executor.write(variableName.firstMoment(name), zero);
          executor.write(variableName.secondMoment(name), zero);
          if (accumulate > 1) executor.write(variableName.gradient(name), zero);
        }
        executor.write(variableName.updates, tf.scalar(0));
      });
    },
    async restore(folder) {
      await restoreVariables(executor, join(folder, 'drafter/model.safetensors'), weightNames.map((name) => [name, variableName.weight(name)]));
      const moments = weightNames.flatMap((name) => [variableName.firstMoment(name), variableName.secondMoment(name)]);
      await restoreVariables(executor, join(folder, 'optimizer.safetensors'), [variableName.updates, ...moments].map((name) => [name, name]));
    },
    dispose: () => executor.dispose(),
  };
}

/** float16 bits go in by pairs, as int32: tfjs knows no 16-bit type, and half as much is copied. */
function featureInput(features: Float32Array | Uint16Array): Float32Array | Int32Array {
  return features instanceof Uint16Array ? new Int32Array(features.buffer, features.byteOffset, features.length / 2) : features;
}

async function restoreVariables(executor: Executor, path: string, names: readonly (readonly [inFile: string, variable: string])[]): Promise<void> {
  const file = await openSafetensors(path);
  try {
    for (const [inFile, variable] of names) {
      const current = executor.read(variable);
      const { shape } = current;
      current.dispose();
      if (!file.has(inFile)) throw new UserError(`${path} has no tensor ${inFile}: it belongs to another drafter.`);
      const found = file.entry(inFile).shape;
      if (found.join() !== shape.join()) throw new UserError(`${path}: ${inFile} has shape [${found.join(', ')}], expected [${shape.join(', ')}].`);
      const tensor = tf.tensor(await file.readFloat32(inFile), shape, 'float32');
      executor.write(variable, tensor);
      tensor.dispose();
    }
  } finally {
    await file.close();
  }
}

function readOutputs(outputs: Tensors): Record<string, Float32Array> {
  const values = Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.dataSync() as Float32Array]));
  tf.dispose(outputs);
  return values;
}

function stepFigures(outputs: Record<string, Float32Array>): StepFigures {
  const scalar = (name: string) => outputs[name]![0]!;
  const losses = Object.keys(outputs).filter((name) => name.startsWith('loss/')).sort();
  return {
    loss: scalar('loss'),
    losses: Object.fromEntries(losses.map((name) => [name.slice('loss/'.length), scalar(name)])),
    acceptedLength: scalar('acceptedLength'),
    waste: scalar('waste'),
    slotCorrect: Array.from(outputs['slotCorrect']!),
    slotValid: Array.from(outputs['slotValid']!),
  };
}

function updateFigures(batches: StepFigures[], outputs: Record<string, Float32Array>): UpdateFigures {
  return {
    ...averageFigures(batches),
    gradientNorm: outputs['gradientNorm']![0]!,
    finite: outputs['finite']![0] === 1,
    updates: outputs['updates']![0]!,
    culprit: batches.findIndex((figures) => !Number.isFinite(figures.loss)),
  };
}

/** The mean of several batches' figures; slot counts are summed. */
export function averageFigures(batches: readonly StepFigures[]): StepFigures {
  const mean = (value: (figures: StepFigures) => number) => batches.reduce((sum, figures) => sum + value(figures), 0) / batches.length;
  const sums = (value: (figures: StepFigures) => number[]) =>
    batches[0]!.slotCorrect.map((_, slot) => batches.reduce((sum, figures) => sum + value(figures)[slot]!, 0));
  return {
    loss: mean((figures) => figures.loss),
    losses: Object.fromEntries(Object.keys(batches[0]!.losses).map((name) => [name, mean((figures) => figures.losses[name]!)])),
    acceptedLength: mean((figures) => figures.acceptedLength),
    waste: mean((figures) => figures.waste),
    slotCorrect: sums((figures) => figures.slotCorrect),
    slotValid: sums((figures) => figures.slotValid),
  };
}
