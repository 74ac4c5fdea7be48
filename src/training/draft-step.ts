// What validation asks of the drafter under training: the context's keys and values once a sequence, then one block a sequence and
// round, as decoding does. Step functions like train-step.ts, over the same variables.
import type { Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs-node-gpu';
import { drafterContextRows, drafterDraft, embedBlocks } from '../models/drafter.js';
import type { DrafterConfig } from '../models/drafter-config.js';
import { tf } from '../tensorflow/ops.js';
import { bestColumns } from '../tensorflow/raw-ops.js';
import { readInputs, variableName, type Tensors, type TrainStepOptions, type Variables } from './train-step.js';

const cacheNames = (config: DrafterConfig) =>
  Array.from({ length: config.numHiddenLayers }, (_, layer) => ({ key: `keys/${layer}`, value: `values/${layer}` }));

/** Shapes of what `contextStep` gives: every layer's keys and values, `[B, Hkv, S, headDim]`. */
export function cacheShapes(config: DrafterConfig, batchSize: number, length: number): Record<string, number[]> {
  const shape = [batchSize, config.numKeyValueHeads, length, config.headDim];
  return Object.fromEntries(cacheNames(config).flatMap(({ key, value }) => [[key, shape], [value, shape]]));
}

/** Keys and values of whole sequences. Inputs as the target's reading wants them (`inputIds`, `features`); outputs as `cacheShapes` names them. */
export function contextStep(options: TrainStepOptions): (variables: Variables, inputs: Tensors) => Tensors {
  const { drafter } = options;
  return (variables, inputs) => {
    const { features } = options.readTarget?.(variables, inputs) ?? readInputs(inputs);
    const rows = drafterContextRows(drafter, readWeights(options, variables), {
      features,
      start: tf.scalar(0, 'int32'),
      capacity: features.shape[1],
    });
    return Object.fromEntries(cacheNames(drafter).flatMap(({ key, value }, layer) => [[key, rows.keys[layer]!], [value, rows.values[layer]!]]));
  };
}

/** The best tokens of one block a sequence. Inputs: `contextStep`'s outputs, `anchors` and `anchorIds` int32 `[B]`. Output: `tokens` int32 `[B, J]`. */
export function draftStep(options: TrainStepOptions): (variables: Variables, inputs: Tensors) => Tensors {
  const { drafter } = options;
  return (variables, inputs) => {
    const names = cacheNames(drafter);
    const cache = { keys: names.map(({ key }) => inputs[key] as Tensor4D), values: names.map(({ value }) => inputs[value] as Tensor4D) };
    const embedding = variables[variableName.embedding]!.read() as Tensor2D;
    const head = (variables[variableName.head]?.read() ?? embedding) as Tensor2D;
    const anchors = inputs['anchors'] as Tensor1D;
    const [batchSize] = anchors.shape;
    const embeddings = embedBlocks(drafter, embedding, tf.reshape(inputs['anchorIds']!, [batchSize, 1]));
    const hidden = drafterDraft(drafter, readWeights(options, variables), { cache, embeddings, anchors });
    const slots = drafter.blockSize - 1;
    const logits = tf.matMul(tf.reshape(hidden, [batchSize * slots, drafter.hiddenSize]) as Tensor2D, head, false, true);
    return { tokens: tf.reshape(bestColumns(logits as Tensor2D), [batchSize, slots]) };
  };
}

function readWeights(options: TrainStepOptions, variables: Variables): Tensors {
  return Object.fromEntries(options.weightNames.map((name) => [name, variables[variableName.weight(name)]!.read()]));
}
