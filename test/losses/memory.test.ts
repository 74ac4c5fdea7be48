// The memory that scoring takes is the chunk's, not that of all logits; and no tensor is read back to JavaScript, so that a step can be recorded.
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Tensor2D, Tensor3D } from '@tensorflow/tfjs-node-gpu';
import * as losses from '../../losses/index.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { leavesNothing } from './golden.js';
import { randomBlocks, toTensors } from './random-blocks.js';

interface Backend {
  executeSingleOutput: (...args: unknown[]) => { size: number };
  readSync: (...args: unknown[]) => unknown;
}

/** Most bytes of tensors alive at once during `body`, above those before it, and how often a tensor was read back. */
function watch(body: () => void): { peakBytes: number; reads: number } {
  const backend = tf.backend() as unknown as Backend;
  const { executeSingleOutput, readSync } = backend;
  const before = tf.memory().numBytes;
  let peak = before;
  let reads = 0;
  backend.executeSingleOutput = (...args) => {
    const alive = tf.memory().numBytes;
    const result = executeSingleOutput.apply(backend, args);
    peak = Math.max(peak, alive + 4 * result.size);
    return result;
  };
  backend.readSync = (...args) => {
    reads += 1;
    return readSync.apply(backend, args);
  };
  try {
    body();
  } finally {
    Object.assign(backend, { executeSingleOutput, readSync });
  }
  return { peakBytes: peak - before, reads };
}

test('scoreHidden never holds all logits: its peak is a few chunks', async () => {
  await loadTensorflow();
  leavesNothing(() => {
    const [blocks, slots, width, vocabulary] = [32, 8, 8, 4096];
    const hidden = tf.randomNormal([blocks, slots, width], 0, 1, 'float32', 1) as Tensor3D;
    const head = tf.randomNormal([vocabulary, width], 0, 1, 'float32', 2) as Tensor2D;
    const labels = tf.randomUniform([blocks, slots], 0, vocabulary, 'int32', 3) as Tensor2D;
    const valid = tf.ones([blocks, slots]) as Tensor2D;
    const wholeBytes = 4 * blocks * slots * vocabulary;
    const step = (options: losses.ScoreHiddenOptions) =>
      watch(() => tf.dispose(tf.grad((h) => losses.chain(losses.scoreHidden(h as Tensor3D, head, labels, valid, options)).loss)(hidden))).peakBytes;
    for (const options of [{ chunkRows: 16 }, { chunkVocab: 256 }]) {
      const peak = step(options);
      // What stands for the head in the order of tiles counts as a tensor here, but has no memory of its own.
      assert.ok(peak < 3.5 * (wholeBytes / 16) + 4 * head.size, `${JSON.stringify(options)}: ${peak} bytes, whole logits are ${wholeBytes}`);
    }
  });
});

test('scores, every loss, and their gradients read nothing back to JavaScript', async () => {
  await loadTensorflow();
  const input = randomBlocks({ blocks: 3, slots: 4, vocabulary: 17, width: 5, listed: 4 }, 1);
  leavesNothing(() => {
    const { hidden, head, labels, valid, teacher } = toTensors(input);
    const terms = Object.keys(losses.lossDescriptions).map((term) => ({ term })) as losses.ObjectiveTerm[];
    for (const options of [{ chunkRows: 5 }, { chunkVocab: 6 }, { teacher }, { teacher, chunkRows: 5, chunkVocab: 6 }, { teacher: { hidden, head } }]) {
      const { reads } = watch(() => {
        tf.grad((h) => {
          const scores = losses.scoreHidden(h as Tensor3D, head, labels, valid, options);
          return losses.combine(scores, scores.kl ? terms : [{ term: 'chain' }, { term: 'firstErrorFocal', focusing: 2 }, { term: 'dpace' }], { gradientShares: true }).loss;
        })(hidden);
      });
      assert.equal(reads, 0);
    }
  });
});
