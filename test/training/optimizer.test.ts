import test from 'node:test';
import assert from 'node:assert/strict';
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { createEagerExecutor, createGraphExecutor, type StepVariable } from '../../src/tensorflow/graph.js';
import { adamwAssign, adamwRates, adamwUpdate, clipByGlobalNorm, takesDecay, type AdamwState } from '../../src/training/optimizer.js';
import { learningRateAt } from '../../src/training/schedule.js';

await loadTensorflow();

const settings = { betas: [0.9, 0.999] as const, epsilon: 1e-8, weightDecay: 0.1 };

/** The same update in float64, written independently. */
function reference(weight: number[], gradients: number[][], rate: number): number[] {
  const m = weight.map(() => 0);
  const v = weight.map(() => 0);
  const result = [...weight];
  gradients.forEach((gradient, index) => {
    const t = index + 1;
    gradient.forEach((g, i) => {
      m[i] = 0.9 * m[i]! + 0.1 * g;
      v[i] = 0.999 * v[i]! + 0.001 * g * g;
      const mHat = m[i]! / (1 - 0.9 ** t);
      const vHat = v[i]! / (1 - 0.999 ** t);
      result[i] = result[i]! - rate * 0.1 * result[i]! - (rate * mHat) / (Math.sqrt(vHat) + 1e-8);
    });
  });
  return result;
}

function update(weight: number[], gradients: number[][], rate: number): number[] {
  return tf.tidy(() => {
    let state: AdamwState<Tensor> = { weight: tf.tensor1d(weight), m: tf.zeros([weight.length]), v: tf.zeros([weight.length]) };
    gradients.forEach((gradient, index) => {
      const rates = adamwRates(settings, { learningRate: tf.scalar(rate), step: tf.scalar(index + 1) });
      state = adamwUpdate(state, tf.tensor1d(gradient), rates, true);
    });
    return Array.from(state.weight.dataSync());
  });
}

test('AdamW follows the float64 reference over five updates', () => {
  const weight = [0.5, -1.25, 2, 1e-3];
  const gradients = [0, 1, 2, 3, 4].map((t) => weight.map((w, i) => Math.sin(3 * t + i) * 0.1 + w * 0.01));
  const got = update(weight, gradients, 0.01);
  reference(weight, gradients, 0.01).forEach((want, i) => {
    assert.ok(Math.abs(got[i]! - want) < 5e-7, `element ${i}: ${got[i]} against ${want}`);
  });
});

test('AdamW leaves no tensors behind but its results', () => {
  const inputs = { weight: tf.ones([3]), m: tf.zeros([3]), v: tf.zeros([3]) };
  const [gradient, learningRate, step] = [tf.ones([3]), tf.scalar(0.1), tf.scalar(1)];
  const before = tf.memory().numTensors;
  const rates = adamwRates(settings, { learningRate, step });
  assert.equal(tf.memory().numTensors, before + 5);
  const result = adamwUpdate(inputs, gradient, rates, true);
  assert.equal(tf.memory().numTensors, before + 8);
  tf.dispose([inputs, gradient, learningRate, step, rates, result] as never);
});

for (const make of [createEagerExecutor, createGraphExecutor]) {
  test(`an update that is not made changes no bit of weight or moments (${make.name})`, () => {
    const tensors = { weight: tf.tensor1d([0.3, -2, 1e-9]), m: tf.tensor1d([0.1, 1e-8, -3]), v: tf.tensor1d([0.2, 1e-30, 0]) };
    const executor = make({
      variables: tensors,
      functions: {
        step: {
          inputs: { gradient: tf.zeros([3]) },
          run: (state, { gradient }) => {
            const { gradients, finite } = clipByGlobalNorm({ gradient: gradient! }, 1);
            const rates = adamwRates(settings, { learningRate: tf.scalar(0.1), step: tf.scalar(3), made: finite });
            adamwAssign(state as unknown as AdamwState<StepVariable>, gradients['gradient']!, rates, true);
            return { finite: tf.cast(finite, 'float32') };
          },
        },
      },
    });
    for (const bad of [NaN, Infinity]) {
      const { finite } = executor.run('step', { gradient: Float32Array.of(1, bad, -1) });
      assert.equal(finite!.dataSync()[0], 0);
      for (const [name, value] of Object.entries(tensors)) assert.deepEqual(executor.read(name).dataSync(), value.dataSync(), `${name} after a gradient with ${bad}`);
    }
    const { finite } = executor.run('step', { gradient: Float32Array.of(1, 2, -1) });
    assert.equal(finite!.dataSync()[0], 1);
    for (const [name, value] of Object.entries(tensors)) assert.notDeepEqual(executor.read(name).dataSync(), value.dataSync(), `${name} after a good gradient`);
    executor.dispose();
    tf.dispose(tensors);
  });
}

test('clipping scales all gradients by one factor and reports the norm before it', () => {
  tf.tidy(() => {
    const { gradients, norm } = clipByGlobalNorm({ a: tf.tensor1d([3, 0]), b: tf.tensor2d([[4]]) }, 1);
    assert.ok(Math.abs(norm.dataSync()[0]! - 5) < 1e-6);
    assert.ok(Math.abs(gradients['a']!.dataSync()[0]! - 0.6) < 1e-5);
    assert.ok(Math.abs(gradients['b']!.dataSync()[0]! - 0.8) < 1e-5);
    const small = clipByGlobalNorm({ a: tf.tensor1d([0.3, 0.4]) }, 1);
    assert.deepEqual(Array.from(small.gradients['a']!.dataSync()), Array.from(Float32Array.from([0.3, 0.4])));
    const unclipped = clipByGlobalNorm({ a: tf.tensor1d([3, 4]) }, null);
    assert.deepEqual(Array.from(unclipped.gradients['a']!.dataSync()), [3, 4]);
  });
});

test('decay is for matrices only', () => {
  assert.equal(takesDecay({ shape: [4, 4] }), true);
  assert.equal(takesDecay({ shape: [4] }), false);
});

test('the learning rate warms up linearly, peaks at the end of the warm-up and ends at its final share', () => {
  const schedule = { learningRate: 1, warmupSteps: 4, totalSteps: 20, shape: 'cosine' as const, finalShare: 0.1 };
  assert.deepEqual([0, 1, 2, 3, 4].map((step) => learningRateAt(schedule, step)), [0.25, 0.5, 0.75, 1, 1]);
  assert.ok(Math.abs(learningRateAt(schedule, 19) - 0.1) < 1e-12);
  assert.ok(Math.abs(learningRateAt(schedule, 25) - 0.1) < 1e-12);
  for (let step = 5; step < 20; step++) assert.ok(learningRateAt(schedule, step) < learningRateAt(schedule, step - 1));
  assert.equal(learningRateAt({ ...schedule, shape: 'constant' }, 15), 1);
  assert.equal(learningRateAt({ ...schedule, warmupSteps: 0 }, 0), 1);
});
