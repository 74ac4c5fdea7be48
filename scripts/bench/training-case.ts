// A training step of a benchmark's shape: the engine that `train` uses, on random weights, features and anchors.
import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import type { Batch } from '../../data/batches.js';
import { createEngine, type Engine } from '../../src/training/engine.js';
import type { DrafterConfig } from '../../src/models/drafter-config.js';
import { drafterWeightShapes } from '../../src/models/drafter-shapes.js';
import { float32ToHalf } from '../../src/models/half.js';
import { loadTarget } from '../../src/models/target.js';
import { packageRoot } from '../../src/package-root.js';
import { Random } from '../../src/random.js';
import { tf } from '../../src/tensorflow/ops.js';
import { onlineTarget } from '../../src/training/online-target.js';
import type { BenchCase } from './cases.js';

export interface TrainingCase {
  engine: Engine;
  /** One training step; milliseconds. */
  run(): number;
  anchors: Int32Array;
  blocks: number;
}

/**
 * Prepares the engine and one batch. The objective is weighted cross-entropy, as in the PyTorch step. `online` reads the demo target inside the
 * step in place of features, which takes a shape of its width and vocabulary.
 */
export async function createTrainingCase(shape: BenchCase, { eager, online }: { eager: boolean; online: boolean }): Promise<TrainingCase> {
  const drafter = drafterOf(shape);
  const { batch: batchSize, context, anchors: anchorsPerSequence, taps, width, blockSize } = shape;
  const weights = Object.fromEntries(Object.entries(drafterWeightShapes(drafter)).map(([name, dims]) => [name, dims.length === 1 ? tf.ones(dims) : likeRandom(dims[0]!, dims[1]!)]));
  const target = online ? await loadTarget(join(packageRoot(), 'data/demo-target')) : undefined;
  const frozen = target === undefined ? { embedding: likeRandom(shape.vocabulary, shape.width) } : onlineTarget(target, drafter, false);
  const shapes = { batchSize, anchorsPerSequence, featureWidth: online ? 0 : taps * width, featureType: 'float16', topk: 0, lengths: [context] } as const;
  const engine = createEngine({
    drafter,
    objective: [{ term: 'positionalWeighting', gamma: 10 }],
    optimizer: { betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0.01, maxGradientNorm: 1 },
    accumulate: 1,
    weights,
    ...frozen,
    training: shapes,
    validation: { ...shapes, lengths: [] },
    eager,
    verifyFirstStep: false,
  });
  tf.dispose([...Object.values(weights), ...(target === undefined ? [frozen.embedding] : [])]);
  target?.dispose();
  const batch = randomBatch(shape, !online);
  return {
    engine,
    anchors: batch.anchors,
    blocks: batchSize * anchorsPerSequence,
    run: () => {
      const started = performance.now();
      const { finite, loss } = engine.update([batch], 1e-3, 0);
      if (!finite) throw new Error(`the step of shape ${JSON.stringify({ ...shape, blockSize })} gives the loss ${loss}`);
      return performance.now() - started;
    },
  };
}

/** A matrix made by TensorFlow itself: an array of JavaScript's would stand beside it until it is collected. */
function likeRandom(height: number, width: number): Tensor {
  return tf.tidy(() => {
    const rows = tf.mul(tf.reshape(tf.range(1, height + 1, 1, 'float32'), [height, 1]), 0.7548776662);
    const columns = tf.mul(tf.reshape(tf.range(1, width + 1, 1, 'float32'), [1, width]), 0.569840291);
    return tf.mul(tf.sin(tf.mul(rows, columns)), 0.028);
  });
}

function drafterOf(shape: BenchCase): DrafterConfig {
  return {
    blockSize: shape.blockSize,
    maskTokenId: 0,
    targetLayerIds: Array.from({ length: shape.taps }, (_, tap) => tap + 1),
    numTargetLayers: shape.taps + 3,
    hiddenSize: shape.width,
    intermediateSize: shape.mlp,
    numHiddenLayers: shape.layers,
    numAttentionHeads: shape.heads,
    numKeyValueHeads: shape.keyValueHeads,
    headDim: shape.headDim,
    rmsNormEps: 1e-6,
    rope: { type: 'default', theta: 1e6 },
    vocabSize: shape.vocabulary,
    maxPositionEmbeddings: shape.context + shape.blockSize,
    attentionBias: false,
  };
}

/** Normally distributed float16 bits, as a cache stores features. */
function randomHalves(random: Random, count: number): Uint16Array {
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = random.normal();
  return float32ToHalf(values);
}

/** Features from a normal distribution, anchors uniform over the context and sorted, every slot valid. */
function randomBatch(shape: BenchCase, withFeatures: boolean): Batch {
  const { batch, context, anchors, taps, width, vocabulary, blockSize } = shape;
  const random = new Random(7);
  const ints = (count: number, below: number): Int32Array => Int32Array.from({ length: count }, () => random.int(below));
  const blocks = batch * anchors;
  const slots = blockSize - 1;
  const sorted = Array.from({ length: batch }, () => Array.from({ length: anchors }, () => 1 + random.int(context - blockSize - 1)).sort((a, b) => a - b));
  return {
    plan: { seed: 0, epoch: 0, index: 0, rows: new Int32Array(batch), length: context },
    inputIds: ints(batch * context, vocabulary),
    lengths: new Int32Array(batch).fill(context),
    featureWidth: taps * width,
    topkCount: 0,
    anchors: Int32Array.from(sorted.flat()),
    labels: ints(blocks * slots, vocabulary),
    valid: new Float32Array(blocks * slots).fill(1),
    ...(withFeatures && { features: randomHalves(random, batch * context * taps * width) }),
  };
}
