import test from 'node:test';
import assert from 'node:assert/strict';
import type { Tensor, Tensor2D, Tensor3D } from '@tensorflow/tfjs-node-gpu';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { joinScores, partsOf } from '../../src/training/batch-parts.js';

await loadTensorflow();

const [length, slots] = [6, 3];

/** Every value says where it belongs: labels and teachers to a block and slot, anchors to a block, features and ids to a sequence. */
function numbered(batchSize: number, anchors: number) {
  const count = (shape: number[], dtype: 'int32' | 'float32') => tf.reshape(tf.range(0, shape.reduce((a, b) => a * b), 1, dtype), shape);
  const blocks = batchSize * anchors;
  const inputs = {
    inputIds: count([batchSize, length], 'int32'),
    anchors: count([batchSize, anchors], 'int32'),
    labels: count([blocks, slots], 'int32'),
    valid: count([blocks, slots], 'float32'),
    learningRate: tf.scalar(0.1),
  };
  const read = (own: Record<string, Tensor>) => ({
    features: tf.cast(tf.reshape(own['inputIds']!, [-1, length, 1]), 'float32') as Tensor3D,
    teacher: { ids: tf.expandDims(own['labels']!, 2) as Tensor3D, logProbs: tf.neg(tf.expandDims(own['valid']!, 2)) as Tensor3D },
  });
  return { inputs, read };
}

for (const [batchSize, anchors, shape] of [
  [4, 3, 'two parts of one share'],
  [3, 4, 'one part of two shares'],
  [1, 2, 'one part of two shares'],
  [3, 3, 'one part of one share'],
] as const) {
  test(`${batchSize} sequences of ${anchors} blocks: ${shape}, each block with what belongs to it, joined in order`, () => {
    tf.tidy(() => {
      const { inputs, read } = numbered(batchSize, anchors);
      const parts = partsOf(inputs, read, true);
      const words = ['', 'one', 'two'];
      assert.equal(`${words[parts.length]} part${parts.length > 1 ? 's' : ''} of ${words[parts[0]!.shares.length]} share${parts[0]!.shares.length > 1 ? 's' : ''}`, shape);
      const scores = parts.map(({ inputIds, features, shares }) =>
        shares.map(({ anchors, labels, valid, teacher }) => {
          const values = (tensor: Tensor) => [...tensor.dataSync()];
          const [sequences, own] = anchors.shape;
          assert.deepEqual(values(features), values(inputIds), 'features of the part\'s sequences');
          // Block number = anchor's number = first label / slots, and sequence = block / anchors.
          assert.deepEqual(values(anchors), values(tf.slice(labels, [0, 0], [-1, 1])).map((label) => label / slots));
          assert.deepEqual(values(anchors).map((block, index) => [Math.floor(block / inputs.anchors.shape[1]!), Math.floor(index / own)]).map(([sequence, row]) => sequence! - row!), Array(sequences * own).fill(values(inputIds)[0]! / length));
          assert.ok(teacher && 'ids' in teacher);
          assert.deepEqual([values(teacher.ids), values(teacher.logProbs).map((value) => -value)], [values(labels), values(valid)]);
          return { logProb: tf.neg(tf.cast(labels, 'float32')) as Tensor2D, correct: valid, valid };
        }),
      );
      const joined = joinScores(scores);
      assert.deepEqual([...joined.valid.dataSync()], [...inputs.valid.dataSync()]);
      assert.deepEqual([...joined.logProb.dataSync()], [...inputs.labels.dataSync()].map((label) => -label));
      assert.deepEqual(joined.correct.shape, inputs.labels.shape);
    });
  });
}
