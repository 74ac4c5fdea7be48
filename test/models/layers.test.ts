// The gradients that layers and RoPE carry written out, against those that tfjs derives operation by operation.
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Scalar, Tensor } from '@tensorflow/tfjs-node-gpu';
import { rmsNorm, swiglu } from '../../src/models/layers.js';
import { applyRope, ropeTables } from '../../src/models/rope.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';

await loadTensorflow();

const random = (shape: number[], seed: number): Tensor => tf.randomNormal(shape, 0, 1, 'float32', seed);

/** Value and every gradient of both, each weighted by the same random numbers. */
function assertSameGradients(written: (...inputs: Tensor[]) => Tensor, derived: (...inputs: Tensor[]) => Tensor, inputs: Tensor[]): void {
  const tensorsBefore = tf.memory().numTensors;
  tf.tidy(() => {
    const of = (compute: (...inputs: Tensor[]) => Tensor) => {
      const { value, grads } = tf.valueAndGrads((...given: Tensor[]) => {
        const result = compute(...given);
        return tf.sum(tf.mul(result, random(result.shape, 99))) as Scalar;
      })(inputs);
      return [value as Tensor, ...grads];
    };
    const [found, expected] = [of(written), of(derived)];
    found.forEach((tensor, i) => {
      assert.deepEqual(tensor.shape, expected[i]!.shape);
      const difference = tf.max(tf.abs(tf.sub(tensor, expected[i]!))).dataSync()[0]!;
      assert.ok(difference < 2e-5 * (1 + tf.max(tf.abs(expected[i]!)).dataSync()[0]!), `${i === 0 ? 'value' : `gradient ${i - 1}`} differs by ${difference}`);
    });
  });
  assert.equal(tf.memory().numTensors, tensorsBefore);
  tf.dispose(inputs);
}

test('the gradient of the RMS norm, of rows and of heads, is the derivative of its definition', () => {
  const plain = (x: Tensor, weight: Tensor) => tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), 1e-5))), weight);
  for (const shape of [[7, 12], [2, 3, 4, 8]]) {
    assertSameGradients((x, weight) => rmsNorm(x, weight, 1e-5), plain, [random(shape, 1), random([shape.at(-1)!], 2)]);
  }
});

test('the gradient of the gated MLP, of its input and all three weights, is the derivative of its definition', () => {
  const plain = (x: Tensor, gate: Tensor, up: Tensor, down: Tensor) => {
    const apply = (input: Tensor, weight: Tensor) => tf.matMul(input as never, weight as never, false, true) as Tensor;
    const open = apply(x, gate);
    return apply(tf.mul(tf.mul(open, tf.sigmoid(open)), apply(x, up)), down);
  };
  assertSameGradients((x, gate, up, down) => swiglu(x, gate, up, down), plain, [random([5, 6], 1), random([9, 6], 2), random([9, 6], 3), random([6, 9], 4)]);
});

test('the gradient of RoPE turns back, with tables that broadcast over heads', () => {
  const { cos, sin } = ropeTables({ type: 'default', theta: 100 }, 8, 5);
  const tables = [cos, sin].map((table) => tf.reshape(table, [5, 1, 8])) as [Tensor, Tensor];
  const plain = (x: Tensor) => {
    const [first, second] = tf.split(x, 2, -1) as [Tensor, Tensor];
    return tf.add(tf.mul(x, tables[0]), tf.mul(tf.concat([tf.neg(second), first], -1), tables[1]));
  };
  assertSameGradients((x) => applyRope(x, ...tables), plain, [random([2, 5, 3, 8], 1)]);
  tf.dispose([cos, sin, ...tables]);
});
