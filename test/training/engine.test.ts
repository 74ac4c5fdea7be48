// The engine's recorded step computes a batch in halves; its eager one, which is the reference, in one piece. Both must learn the same, whatever can be halved.
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import type { Batch } from '../../data/batches.js';
import { initDrafterWeights } from '../../src/models/drafter-init.js';
import { float32ToHalf, halfToFloat32 } from '../../src/models/half.js';
import type { DrafterConfig } from '../../src/models/drafter-config.js';
import { Random } from '../../src/random.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { createEngine, type UpdateFigures } from '../../src/training/engine.js';

await loadTensorflow({ halves: true, threads: 2 });

const drafter: DrafterConfig = {
  blockSize: 4,
  maskTokenId: 0,
  targetLayerIds: [1, 2],
  numTargetLayers: 4,
  hiddenSize: 16,
  intermediateSize: 24,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  numKeyValueHeads: 1,
  headDim: 16,
  rmsNormEps: 1e-6,
  rope: { type: 'default', theta: 10_000 },
  vocabSize: 40,
  maxPositionEmbeddings: 64,
  attentionBias: false,
};
const length = 20;
const slots = drafter.blockSize - 1;
const featureWidth = 2 * drafter.hiddenSize;

function randomBatch(batchSize: number, anchorsPerSequence: number): Batch & { features: Uint16Array } {
  const random = new Random(batchSize);
  const ints = (count: number, below: number) => Int32Array.from({ length: count }, () => random.int(below));
  const blocks = batchSize * anchorsPerSequence;
  const anchors = Array.from({ length: batchSize }, () => [...ints(anchorsPerSequence, length - drafter.blockSize)].sort((a, b) => a - b));
  return {
    plan: { seed: 0, epoch: 0, index: 0, rows: new Int32Array(batchSize), length },
    inputIds: ints(batchSize * length, drafter.vocabSize),
    lengths: new Int32Array(batchSize).fill(length),
    features: float32ToHalf(Float32Array.from({ length: batchSize * length * featureWidth }, () => random.normal())),
    featureWidth,
    anchors: Int32Array.from(anchors.flat()),
    labels: ints(blocks * slots, drafter.vocabSize),
    valid: Float32Array.from({ length: blocks * slots }, (_, i) => (i % 7 === 5 ? 0 : 1)),
    topkCount: 0,
  };
}

/** Three updates on one batch. */
function updates(batch: Batch, anchorsPerSequence: number, eager: boolean): UpdateFigures[] {
  const weights = initDrafterWeights(drafter, 3);
  const embedding = tf.randomNormal([drafter.vocabSize, drafter.hiddenSize], 0, 1, 'float32', 4);
  const shape = { batchSize: batch.plan.rows.length, anchorsPerSequence, featureWidth, featureType: batch.features instanceof Uint16Array ? 'float16' : 'float32', topk: 0 } as const;
  const engine = createEngine({
    drafter,
    objective: [{ term: 'positionalWeighting', gamma: 4 }, { term: 'chain', weight: 2 }],
    optimizer: { betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0.01, maxGradientNorm: 1 },
    accumulate: 1,
    weights,
    embedding,
    training: { ...shape, lengths: [length] },
    validation: { ...shape, lengths: [] },
    eager,
    verifyFirstStep: false,
  });
  tf.dispose([...Object.values(weights), embedding] as Tensor[]);
  try {
    return [1, 2, 3].map(() => engine.update([batch], 1e-2, 0));
  } finally {
    engine.dispose();
  }
}

for (const [batchSize, anchorsPerSequence, how] of [
  [4, 3, 'sequences are halved'],
  [1, 6, 'blocks and positions are halved'],
  [3, 4, 'blocks and positions are halved'],
  [3, 3, 'nothing is halved'],
] as const) {
  test(`${batchSize} sequences of ${anchorsPerSequence} blocks: ${how}, and the recorded step learns what the eager one does`, () => {
    const batch = randomBatch(batchSize, anchorsPerSequence);
    const [recorded, eager] = [false, true].map((way) => updates(batch, anchorsPerSequence, way)) as [UpdateFigures[], UpdateFigures[]];
    recorded.forEach((found, step) => {
      const expected = eager[step]!;
      for (const figure of ['loss', 'gradientNorm', 'acceptedLength'] as const) {
        assert.ok(Math.abs(found[figure] - expected[figure]) < 1e-5 * Math.abs(expected[figure]), `step ${step}, ${figure}: ${found[figure]}, eagerly ${expected[figure]}`);
      }
      assert.deepEqual(found.slotCorrect, expected.slotCorrect);
    });
    assert.ok(recorded[2]!.loss < recorded[0]!.loss);
  });
}

test('features learn the same as float16 bits and widened before', () => {
  const batch = randomBatch(3, 4);
  assert.deepEqual(updates({ ...batch, features: halfToFloat32(batch.features) }, 4, false), updates(batch, 4, false));
});
