// The kernels that are called by name: right values, and indices out of range are refused rather than read.
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { bestColumns, gatherRows, tensorScatterMin } from '../../src/tensorflow/raw-ops.js';

test('gatherRows takes rows by indices of any shape, and leaves no tensor but its result', async () => {
  await loadTensorflow();
  const x = tf.tensor2d([[0, 1], [2, 3], [4, 5]]);
  const indices = tf.tensor2d([[2, 0], [1, 1]], [2, 2], 'int32');
  const before = tf.memory().numTensors;
  const rows = gatherRows(x, indices);
  assert.equal(tf.memory().numTensors, before + 1);
  assert.deepEqual(rows.arraySync(), [[[4, 5], [0, 1]], [[2, 3], [2, 3]]]);
  assert.deepEqual(gatherRows(tf.tensor1d([7, 8, 9], 'int32'), tf.tensor1d([2], 'int32')).arraySync(), [9]);
  tf.dispose([x, indices, rows]);
});

test('tensorScatterMin lowers the named entries, takes repeated ones, and leaves the input as it was', async () => {
  await loadTensorflow();
  const x = tf.tensor2d([[5, 6], [7, 8]]);
  const result = tensorScatterMin(x, tf.tensor2d([[0, 1], [1, 0], [1, 0]], [3, 2], 'int32'), tf.tensor1d([0, Infinity, 2]));
  assert.deepEqual(result.arraySync(), [[5, 0], [2, 8]]);
  assert.deepEqual(x.arraySync(), [[5, 6], [7, 8]]);
});

test('bestColumns names the largest of each row, the first of equals', async () => {
  await loadTensorflow();
  const rows = [[1, 3, 3, 2], [-1, -4, -1, -1], [-Infinity, -Infinity, -2, 0], [5, 5, 5, 5]];
  assert.deepEqual(bestColumns(tf.tensor2d(rows)).arraySync(), [1, 0, 3, 0]);
  const wide = tf.randomUniform([7, 40_000], 0, 1, 'float32', 3) as Tensor2D;
  const best = bestColumns(wide);
  assert.deepEqual([best.shape, best.dtype], [[7], 'int32']);
  assert.deepEqual(best.arraySync(), (wide.arraySync() as number[][]).map((row) => row.indexOf(row.reduce((a, b) => Math.max(a, b)))));
});
