// Online capture: the frozen target's forward pass inside the training step. Its weights are variables of the step like the
// drafter's, features never leave the graph, and a teacher needs no top-k: its last hidden states give the whole distribution.
import type { Tensor, Tensor2D, Tensor3D } from '@tensorflow/tfjs-node-gpu';
import type { DrafterConfig } from '../models/drafter-config.js';
import { embeddingTable, lmHeadWeight, targetForward } from '../models/target.js';
import type { Target } from '../models/target-checkpoint.js';
import { tf } from '../tensorflow/ops.js';
import { gatherRows } from '../tensorflow/raw-ops.js';
import type { EngineOptions } from './engine.js';
import { variableName, type Tensors, type TrainStepOptions } from './train-step.js';

type OnlineParts = Pick<EngineOptions, 'embedding' | 'head' | 'frozen' | 'readTarget'>;

/** The parts of an engine that reads the target in the step. The engine copies the target's tensors. */
export function onlineTarget(target: Target, drafter: DrafterConfig, teach: boolean): OnlineParts {
  const { config, weights } = target;
  const embedding = embeddingTable(weights);
  const head = lmHeadWeight(config, weights);
  const shared = new Map<Tensor, string>([[embedding, variableName.embedding], ...(head === embedding ? [] : ([[head, variableName.head]] as const))]);
  const variableOf = Object.fromEntries(Object.entries(weights).map(([name, tensor]) => [name, shared.get(tensor) ?? `target/${name}`]));
  const frozen = Object.fromEntries(Object.entries(weights).filter(([, tensor]) => !shared.has(tensor)).map(([name, tensor]) => [`target/${name}`, tensor]));
  const readTarget: NonNullable<TrainStepOptions['readTarget']> = (variables, inputs) => {
    const read = Object.fromEntries(Object.entries(variableOf).map(([name, variable]) => [name, variables[variable]!.read()]));
    const { features, hiddenStates } = targetForward(config, read, inputs['inputIds'] as Tensor2D, {
      taps: drafter.targetLayerIds,
      logits: 'none',
      allHidden: teach,
    });
    if (!teach || inputs['anchors'] === undefined) return { features: features! };
    return {
      features: features!,
      teacher: { hidden: beforeSlots(hiddenStates!.at(-1)!, inputs, drafter.blockSize - 1), head: lmHeadWeight(config, read) },
    };
  };
  return { embedding, ...(head !== embedding && { head }), frozen, readTarget };
}

/** The hidden states that speak of slots 1..J: slot k of anchor a is what the target says after token a+k-1. `[M, J, D]` from `[B, S, D]`. */
function beforeSlots(hidden: Tensor3D, inputs: Tensors, slots: number): Tensor3D {
  const anchors = inputs['anchors'] as Tensor2D;
  const [batchSize, anchorCount] = anchors.shape;
  const [, length, width] = hidden.shape;
  return tf.tidy(() => {
    const offsets = tf.range(0, slots, 1, 'int32');
    // Slots past the end are not valid; any row serves them.
    const positions = tf.minimum(tf.add(tf.expandDims(anchors, 2), offsets), length - 1);
    const rowStarts = tf.tensor3d(Array.from({ length: batchSize }, (_, b) => [[b * length]]), [batchSize, 1, 1], 'int32');
    const rows = gatherRows(tf.reshape(hidden, [batchSize * length, width]), tf.add(positions, rowStarts));
    return tf.reshape(rows, [batchSize * anchorCount, slots, width]) as Tensor3D;
  });
}
