// The training step, written once: block embeddings, drafter, scores, objective, gradients, clipping, AdamW. It is a function
// of variables and inputs that reads nothing back and branches on no value, so the same lines run eagerly and as one recorded graph.
// Unusual: a step whose loss or gradient is not finite leaves every variable as it was, by a selection inside the graph.
import type { Scalar, Tensor, Tensor2D, Tensor3D, Tensor4D } from '@tensorflow/tfjs-node-gpu';
import { combine, differentiatedScores, scoreHidden, type BlockScores, type HiddenTeacher, type ObjectiveTerm, type TopKTeacher } from '../../losses/index.js';
import { contextKeyValues, drafterBlocks, drafterContext, drafterContextRows, embedBlocks, type ContextKeyValues } from '../models/drafter.js';
import type { DrafterConfig } from '../models/drafter-config.js';
import type { StepVariable } from '../tensorflow/graph.js';
import { tf } from '../tensorflow/ops.js';
import { unpackHalf } from '../tensorflow/packed-half.js';
import { gatherRows, selectWhole } from '../tensorflow/raw-ops.js';
import { joinScores, partsOf, type BatchPart } from './batch-parts.js';
import { adamwAssign, adamwRates, clipByGlobalNorm, takesDecay, type AdamwSettings } from './optimizer.js';

export type Variables = Record<string, StepVariable>;
export type Tensors = Record<string, Tensor>;

/** What a step needs to know beside its tensors. */
export interface TrainStepOptions {
  drafter: DrafterConfig;
  /** Names of the drafter's weights, which are trained. */
  weightNames: readonly string[];
  objective: readonly ObjectiveTerm[];
  optimizer: AdamwSettings & { maxGradientNorm: number | null };
  /** Batches whose gradients one update averages. */
  accumulate: number;
  /** Whether a batch is computed in two halves (batch-parts.ts). */
  halves: boolean;
  /** Features (and teacher) of a batch; default: what the inputs hold, as a cache gives them. */
  readTarget?: (variables: Variables, inputs: Tensors) => TargetReading;
}

/** What the target says about a batch. */
export interface TargetReading {
  /** Concatenated tap outputs, float32 `[B, S, T·D]`. */
  features: Tensor3D;
  teacher?: TopKTeacher | HiddenTeacher;
}

/** Names of the step's variables. */
export const variableName = {
  weight: (name: string) => `drafter/${name}`,
  firstMoment: (name: string) => `moment1/${name}`,
  secondMoment: (name: string) => `moment2/${name}`,
  /** Sum of gradients since the last update; only where gradients are accumulated. */
  gradient: (name: string) => `gradient/${name}`,
  /** Updates made so far, float32 scalar: the `t` of AdamW. Skipped ones do not count. */
  updates: 'updates',
  embedding: 'target/embedding',
  head: 'target/head',
};

/**
 * One batch, one update. Inputs: `inputIds` int32 `[B, S]`, `anchors` int32 `[B, N]`, `labels` int32 and `valid` float32 `[M, J]`,
 * `features` float32 `[B, S, T·D]` (or int32 `[B, S, T·D/2]`, pairs of float16), `learningRate` scalar, the objective's scheduled values by name as scalars, and for a top-k teacher
 * `topkIds` int32 and `topkLogProbs` float32 `[M, J, k]`. Outputs: those of `blockLoss` and `gradientNorm`, `finite` (1 or 0), `updates`.
 */
export function trainStep(options: TrainStepOptions): (variables: Variables, inputs: Tensors) => Tensors {
  return (variables, inputs) => {
    const { gradients, outputs } = lossAndGradients(options, variables, inputs);
    return { ...outputs, ...applyGradients(options, variables, inputs, gradients, outputs['loss'] as Scalar) };
  };
}

/** One batch whose gradients are added to the accumulators; inputs as `trainStep`, without the learning rate. Outputs: those of `blockLoss`. */
export function accumulateStep(options: TrainStepOptions): (variables: Variables, inputs: Tensors) => Tensors {
  return (variables, inputs) => {
    const { gradients, outputs } = lossAndGradients(options, variables, inputs);
    for (const name of options.weightNames) {
      const sum = variables[variableName.gradient(name)]!;
      sum.assign(tf.add(sum.read(), gradients[name]!));
    }
    return outputs;
  };
}

/** The update from accumulated gradients, which it clears. Inputs: `learningRate`. Outputs: `gradientNorm`, `finite`, `updates`. */
export function applyStep(options: TrainStepOptions): (variables: Variables, inputs: Tensors) => Tensors {
  return (variables, inputs) => {
    const sums = options.weightNames.map((name) => [name, variables[variableName.gradient(name)]!] as const);
    const gradients = Object.fromEntries(sums.map(([name, sum]) => [name, tf.div(sum.read(), options.accumulate)]));
    const outputs = applyGradients(options, variables, inputs, gradients);
    for (const [, sum] of sums) sum.assign(tf.zerosLike(sum.read()));
    return outputs;
  };
}

/** The objective of a batch without gradients, for validation. Inputs as `trainStep`, without the learning rate. */
export function lossStep(options: TrainStepOptions): (variables: Variables, inputs: Tensors) => Tensors {
  return (variables, inputs) => {
    const weights = Object.fromEntries(options.weightNames.map((name) => [name, variables[variableName.weight(name)]!.read()]));
    return blockLoss(options, variables, inputs, readParts(options, variables, inputs), weights, false);
  };
}

function lossAndGradients(options: TrainStepOptions, variables: Variables, inputs: Tensors): { gradients: Tensors; outputs: Tensors } {
  const { weightNames } = options;
  const parts = readParts(options, variables, inputs);
  let outputs: Tensors = {};
  // What is reported is made while the gradient's scope is open, which would dispose it: copies are kept (some of it is an
  // input itself), and handed out as copies that belong to the caller's scope again.
  const differentiate = tf.valueAndGrads((...tensors: Tensor[]) => {
    const weights = Object.fromEntries(weightNames.map((name, index) => [name, tensors[index]!]));
    const { loss, ...reported } = blockLoss(options, variables, inputs, parts, weights, true);
    outputs = Object.fromEntries(Object.entries(reported).map(([name, tensor]) => [name, tf.keep(tf.clone(tensor))]));
    return loss as Scalar;
  });
  const { value, grads } = differentiate(weightNames.map((name) => variables[variableName.weight(name)]!.read()));
  const handedOut = Object.fromEntries(
    Object.entries(outputs).map(([name, tensor]) => {
      const copy = tf.clone(tensor);
      tensor.dispose();
      return [name, copy];
    }),
  );
  return {
    gradients: Object.fromEntries(weightNames.map((name, index) => [name, grads[index]!])),
    outputs: { ...handedOut, loss: value },
  };
}

/**
 * The drafter's loss on a batch. Outputs: `loss`; `acceptedLength`, the mean over blocks of 1 + accepted drafts; `waste`; `slotCorrect` and
 * `slotValid` `[J]`, sums over blocks; and the objective's own metrics as `loss/<name>`. Scalars but for the two.
 */
function blockLoss(
  options: TrainStepOptions,
  variables: Variables,
  inputs: Tensors,
  parts: readonly BatchPart[],
  weights: Tensors,
  differentiable: boolean,
): Tensors {
  const { drafter, objective } = options;
  const embedding = variables[variableName.embedding]!.read() as Tensor2D;
  const head = (variables[variableName.head]?.read() ?? embedding) as Tensor2D;
  const differentiate = differentiable ? differentiatedScores(objective) : [];
  const scores = joinScores(
    parts.map(({ inputIds, features, shares }) => {
      const context = contextOfBlocks(drafter, weights, features, shares.length > 1);
      return shares.map(({ anchors, labels, valid, teacher }) => {
        const embeddings = embedBlocks(drafter, embedding, anchorTokens(inputIds, anchors));
        const hidden = drafterBlocks(drafter, weights, { context, embeddings, anchors });
        return scoreHidden(tf.reshape(hidden, [labels.shape[0], labels.shape[1], drafter.hiddenSize]) as Tensor3D, head, labels, valid, { teacher, differentiate });
      });
    }),
  );
  const { loss, metrics } = combine(scores, objective, { scheduled: inputs as Record<string, Scalar> });
  const reported = Object.fromEntries(Object.entries(metrics).map(([name, value]) => [`loss/${name}`, value]));
  return { ...reported, ...blockFigures(scores), loss };
}

/** The tokens of `inputIds [B, S]` at `anchors [B, N]`, int32 `[B, N]`. */
function anchorTokens(inputIds: Tensor2D, anchors: Tensor2D): Tensor {
  const [batchSize, length] = inputIds.shape;
  return tf.tidy(() => {
    const rowStarts = tf.tensor2d(Array.from({ length: batchSize }, (_, b) => [b * length]), [batchSize, 1], 'int32');
    return gatherRows(tf.reshape(inputIds, [batchSize * length]), tf.add(anchors, rowStarts));
  });
}

/** What greedy acceptance would make of the blocks, each taken by itself. */
function blockFigures(scores: BlockScores): Tensors {
  return tf.tidy(() => {
    const right = tf.mul(scores.correct, scores.valid);
    const wrong = tf.sub(1, right);
    const accepted = tf.cast(tf.equal(tf.cumsum(wrong, 1), 0), 'float32');
    const blocks = tf.maximum(tf.sum(tf.max(scores.valid, 1)), 1);
    const correctDrafts = tf.sum(right);
    const acceptedDrafts = tf.sum(accepted);
    return {
      acceptedLength: tf.add(1, tf.div(acceptedDrafts, blocks)),
      waste: tf.div(tf.sub(correctDrafts, acceptedDrafts), tf.maximum(correctDrafts, 1)),
      slotCorrect: tf.sum(right, 0),
      slotValid: tf.sum(scores.valid, 0),
    };
  });
}

/** What blocks read of a part's sequences, `[B, S, T·D]`. Where its blocks come in two shares, its positions are read in two halves, side by side as the shares are. */
function contextOfBlocks(drafter: DrafterConfig, weights: Tensors, features: Tensor3D, halved: boolean): ContextKeyValues {
  const length = features.shape[1];
  if (!halved || length % 2 === 1) return contextKeyValues(drafter, weights, drafterContext(drafter, weights, features));
  const halves = (tf.split(features, 2, 1) as Tensor3D[]).map((half, index) => drafterContextRows(drafter, weights, { features: half, start: tf.scalar((index * length) / 2, 'int32'), capacity: length }));
  const joined = (name: keyof ContextKeyValues): Tensor4D[] => halves[0]![name].map((first, layer) => tf.concat([first, halves[1]![name][layer]!], 2));
  return { keys: joined('keys'), values: joined('values') };
}

function readParts(options: TrainStepOptions, variables: Variables, inputs: Tensors): BatchPart[] {
  return partsOf(inputs, (own) => options.readTarget?.(variables, own) ?? readInputs(own), options.halves);
}

/** What a cached batch holds of the target: its features, and its top log-probabilities where there are any. */
export function readInputs(inputs: Tensors): TargetReading {
  const { features, topkIds, topkLogProbs } = inputs as { features: Tensor3D; topkIds?: Tensor3D; topkLogProbs?: Tensor3D };
  return { features: features.dtype === 'int32' ? (unpackHalf(features) as Tensor3D) : features, teacher: topkIds && topkLogProbs && { ids: topkIds, logProbs: topkLogProbs } };
}

/** Clips, updates weights, moments and count, all or nothing. */
function applyGradients(options: TrainStepOptions, variables: Variables, inputs: Tensors, raw: Tensors, loss?: Scalar): Tensors {
  const { optimizer } = options;
  const { gradients, norm, finite } = clipByGlobalNorm(raw, optimizer.maxGradientNorm, loss);
  const updates = variables[variableName.updates]!;
  const before = updates.read();
  const step = tf.add(before, 1) as Scalar;
  const rates = adamwRates(optimizer, { learningRate: inputs['learningRate'] as Scalar, step, made: finite });
  for (const name of options.weightNames) {
    const weight = variables[variableName.weight(name)]!;
    const state = { weight, m: variables[variableName.firstMoment(name)]!, v: variables[variableName.secondMoment(name)]! };
    adamwAssign(state, gradients[name]!, rates, takesDecay(weight));
  }
  const counted = selectWhole(finite, step, before);
  updates.assign(counted);
  return { gradientNorm: norm, finite: tf.cast(finite, 'float32'), updates: counted };
}
