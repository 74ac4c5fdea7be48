// Training of the demo target: loss, gradients, clipping and AdamW for one batch of packed rows, recorded as one graph, and the
// checkpoint that a training goes on from.
import type { Scalar, Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { openSafetensors, writeSafetensors, type TensorToWrite } from '../../src/models/safetensors.js';
import { targetForward } from '../../src/models/target.js';
import type { TargetConfig } from '../../src/models/target-config.js';
import { initTargetWeights } from '../../src/models/target-init.js';
import type { Weights } from '../../src/models/weights.js';
import { createGraphExecutor, type StepVariables } from '../../src/tensorflow/graph.js';
import { tf } from '../../src/tensorflow/ops.js';
import { adamwAssign, adamwRates, clipByGlobalNorm, takesDecay } from '../../src/training/optimizer.js';
import { rowLength, rowsPerStep, type PackedRows } from './packing.js';

/** Everything that a training goes on from. */
export interface TrainingState {
  weights: Weights;
  firstMoments: Weights;
  secondMoments: Weights;
  /** Updates made. */
  step: number;
}

const groups = [['', 'weights'], ['first_moment.', 'firstMoments'], ['second_moment.', 'secondMoments']] as const;

/** Fresh weights: as `initTargetWeights`, with projections 2.5 times as wide (deviation 0.05), which suits a width of 192 better. */
export function initState(config: TargetConfig, seed: number): TrainingState {
  const weights = initTargetWeights(config, seed);
  const state: TrainingState = { weights, firstMoments: {}, secondMoments: {}, step: 0 };
  for (const [name, fresh] of Object.entries(weights)) {
    state.firstMoments[name] = tf.zeros(fresh.shape);
    state.secondMoments[name] = tf.zeros(fresh.shape);
    if (fresh.rank !== 2 || name.includes('embed_tokens')) continue;
    weights[name] = tf.mul(fresh, 2.5);
    fresh.dispose();
  }
  return state;
}

/** Writes the state as one safetensors file, float32. */
export async function saveState(path: string, state: TrainingState): Promise<void> {
  const tensors: TensorToWrite[] = [];
  for (const [prefix, group] of groups) {
    for (const [name, tensor] of Object.entries(state[group])) tensors.push({ name: prefix + name, shape: tensor.shape, dtype: 'F32', data: (await tensor.data()) as Float32Array });
  }
  await writeSafetensors(path, tensors, { step: String(state.step) });
}

/** Reads what `saveState` wrote. */
export async function loadState(path: string, names: readonly string[]): Promise<TrainingState> {
  const file = await openSafetensors(path);
  const state: TrainingState = { weights: {}, firstMoments: {}, secondMoments: {}, step: Number(file.metadata['step']) };
  for (const [prefix, group] of groups) {
    for (const name of names) state[group][name] = tf.tensor(await file.readFloat32(prefix + name), file.entry(prefix + name).shape);
  }
  await file.close();
  return state;
}

export interface RowTensors {
  /** `[rows, length]` int32. */
  inputs: Tensor2D;
  /** `[rows · length]` int32. */
  labels: Tensor1D;
  lossWeights: Tensor1D;
}

/** Rows as tensors, the caller's. */
export function rowTensors(rows: PackedRows): RowTensors {
  return {
    inputs: tf.tensor2d(rows.inputs, [rows.count, rows.length], 'int32'),
    labels: tf.tensor1d(rows.labels, 'int32'),
    lossWeights: tf.tensor1d(rows.lossWeights),
  };
}

/** Mean cross-entropy in nats over the rows' tokens, weighted by `lossWeights`; differentiable in `weights`. */
export function languageModelLoss(config: TargetConfig, weights: Weights, rows: RowTensors): Scalar {
  return tf.tidy(() => {
    const logits = tf.reshape(targetForward(config, weights, rows.inputs).logits!, [-1, config.vocabSize]) as Tensor2D;
    return tf.div(tf.sum(tf.mul(crossEntropy(logits, rows.labels), rows.lossWeights)), tf.sum(rows.lossWeights)) as Scalar;
  });
}

interface KernelBackend {
  binding: { TF_ATTR_TYPE: number; TF_FLOAT: number; TF_INT32: number };
  executeMultipleOutputs(name: string, attributes: { name: string; type: number; value: number }[], inputs: Tensor[], outputs: number): Tensor[];
}

/** `-log softmax(logits)[label]` for logits `[R, V]` and labels `[R]`: `[R]`. TensorFlow's fused kernel gives the gradient with the value. */
function crossEntropy(logits: Tensor2D, labels: Tensor1D): Tensor1D {
  const { binding, executeMultipleOutputs } = bound(tf.backend() as unknown as KernelBackend);
  const attributes = [{ name: 'T', type: binding.TF_ATTR_TYPE, value: binding.TF_FLOAT }, { name: 'Tlabels', type: binding.TF_ATTR_TYPE, value: binding.TF_INT32 }];
  return tf.customGrad((...[x, save]: unknown[]) => {
    const [value, gradient] = executeMultipleOutputs('SparseSoftmaxCrossEntropyWithLogits', attributes, [x as Tensor, labels], 2) as [Tensor1D, Tensor2D];
    (save as (tensors: Tensor[]) => void)([gradient]);
    return { value, gradFunc: (dy: Tensor, saved: Tensor[]) => tf.mul(saved[0]!, tf.expandDims(dy, 1)) };
  })(logits) as Tensor1D;
}

function bound(backend: KernelBackend): KernelBackend {
  return { binding: backend.binding, executeMultipleOutputs: backend.executeMultipleOutputs.bind(backend) };
}

export const optimizer = { betas: [0.9, 0.95], epsilon: 1e-8, weightDecay: 0.1, maxGradientNorm: 1 } as const;

/** The training under way: all of its state lives in the variables of one recorded graph. */
export interface TargetTrainer {
  /** One update on one batch; gives back the loss before it and the gradient's norm before clipping. */
  update(rows: PackedRows, learningRate: number): { loss: number; norm: number };
  /** A copy of the state as it stands; the caller's. */
  state(): TrainingState;
  dispose(): void;
}

/** Goes on from `state`, which it copies; every batch has `rowsPerStep` rows of `rowLength` tokens. */
export function createTargetTrainer(config: TargetConfig, state: TrainingState): TargetTrainer {
  const names = Object.keys(state.weights);
  const variables: Record<string, Tensor> = { updates: tf.scalar(state.step) };
  for (const [prefix, group] of groups) for (const name of names) variables[prefix + name] = state[group][name]!;
  const tokens = rowsPerStep * rowLength;
  const examples = { inputs: tf.zeros([rowsPerStep, rowLength], 'int32'), labels: tf.zeros([tokens], 'int32'), lossWeights: tf.zeros([tokens]), learningRate: tf.scalar(0) };
  const executor = createGraphExecutor({ variables, functions: { update: { inputs: examples, run: (own, inputs) => updateStep(config, names, own, inputs) } } });
  tf.dispose([variables['updates']!, ...Object.values(examples)]);
  let { step } = state;
  return {
    update({ inputs, labels, lossWeights }, learningRate) {
      const outputs = executor.run('update', { inputs, labels, lossWeights, learningRate: Float32Array.of(learningRate) });
      const figures = { loss: outputs['loss']!.dataSync()[0]!, norm: outputs['norm']!.dataSync()[0]! };
      tf.dispose(outputs);
      step++;
      return figures;
    },
    state() {
      const group = (prefix: string): Weights => Object.fromEntries(names.map((name) => [name, executor.read(prefix + name)]));
      return { weights: group(''), firstMoments: group('first_moment.'), secondMoments: group('second_moment.'), step };
    },
    dispose: () => executor.dispose(),
  };
}

function updateStep(config: TargetConfig, names: readonly string[], variables: StepVariables, inputs: Record<string, Tensor>): Record<string, Tensor> {
  const read = (name: string): Tensor => variables[name]!.read();
  const lossOf = (...list: Tensor[]): Scalar => languageModelLoss(config, Object.fromEntries(names.map((name, i) => [name, list[i]!])), inputs as unknown as RowTensors);
  const { value, grads } = tf.valueAndGrads(lossOf)(names.map(read));
  const { gradients, norm } = clipByGlobalNorm(Object.fromEntries(names.map((name, i) => [name, grads[i]!])), optimizer.maxGradientNorm);
  const step = tf.add(read('updates'), 1) as Scalar;
  const rates = adamwRates(optimizer, { learningRate: inputs['learningRate'] as Scalar, step });
  for (const name of names) {
    const weight = variables[name]!;
    adamwAssign({ weight, m: variables[`first_moment.${name}`]!, v: variables[`second_moment.${name}`]! }, gradients[name]!, rates, takesDecay(weight));
  }
  variables['updates']!.assign(step);
  return { loss: value, norm };
}
