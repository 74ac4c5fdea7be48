// float16 in tensors against the conversions in JavaScript, for every value there is.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import { float32ToHalf, halfToFloat32 } from '../../src/models/half.js';
import { Random } from '../../src/random.js';
import { kernelsInForce, withPlainOperations } from '../../src/tensorflow/kernels.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { packHalf, unpackHalf } from '../../src/tensorflow/packed-half.js';

await loadTensorflow({ threads: 1 });

test('packHalf rounds as the JavaScript conversion does, by the kernel and by plain operations, also at the edges of float16', () => {
  const random = new Random(4);
  const values = Float32Array.from({ length: 4096 }, (_, i) => [0, -0, 65504, 65519, 65520, -1e9, 6e-8, 2.98e-8, 6.1e-5, NaN][i] ?? random.normal() * 10 ** (random.int(14) - 9));
  const before = tf.memory().numTensors;
  const expected = float32ToHalf(values);
  const pack = () => tf.tidy(() => packHalf(tf.tensor2d(values, [64, 64])).dataSync());
  for (const packed of [pack(), withPlainOperations(pack)]) {
    const found = new Uint16Array(packed.buffer, packed.byteOffset, 4096);
    for (let i = 0; i < 4096; i++) if (!Number.isNaN(values[i])) assert.equal(found[i], expected[i], `value ${values[i]}`);
  }
  assert.equal(tf.memory().numTensors, before);
  const few = tf.tidy(() => packHalf(tf.tensor1d([1, -2, 65504, 1e-7, 3, 4])).dataSync());
  assert.deepEqual([...new Uint16Array(few.buffer, few.byteOffset, 6)], [...float32ToHalf(Float32Array.of(1, -2, 65504, 1e-7, 3, 4))]);
  assert.throws(() => packHalf(tf.zeros([2, 3])), /even last dimension/);
});

test('unpackHalf widens every float16 as JavaScript does, by the kernel and by plain operations, and refuses what holds no pairs', () => {
  const bits = Uint16Array.from({ length: 65_536 }, (_, i) => i);
  const before = tf.memory().numTensors;
  const unpack = () =>
    tf.tidy(() => {
      const widened = unpackHalf(tf.tensor2d(new Int32Array(bits.buffer), [128, 256], 'int32'));
      assert.deepEqual(widened.shape, [128, 512]);
      return widened.dataSync() as Float32Array;
    });
  // As lists: arrays of floats are compared byte by byte, and NaN has many.
  for (const found of [unpack(), withPlainOperations(unpack)]) assert.deepEqual([...found], [...halfToFloat32(bits)]);
  assert.deepEqual([...tf.tidy(() => unpackHalf(tf.tensor1d([0x3c004000, -1, 5], 'int32')).dataSync())], [...halfToFloat32(new Uint16Array(Int32Array.of(0x3c004000, -1, 5).buffer))]);
  assert.equal(tf.memory().numTensors, before);
  assert.throws(() => unpackHalf(tf.zeros([2, 2])), /pairs of float16/);
});

test('a graph that unpacks float16 by the kernel makes TensorFlow warn of nothing', { skip: kernelsInForce() ? false : 'the kernels are not in force here' }, () => {
  const program = `
    import { createGraphExecutor } from '${new URL('../../src/tensorflow/graph.js', import.meta.url).href}';
    import { loadTensorflow } from '${new URL('../../src/tensorflow/load.js', import.meta.url).href}';
    import { packHalf, unpackHalf } from '${new URL('../../src/tensorflow/packed-half.js', import.meta.url).href}';
    const tf = await loadTensorflow({ threads: 1 });
    const run = (_, { packed, floats }) => ({ unpacked: unpackHalf(packed), halves: packHalf(floats) });
    const graph = createGraphExecutor({ variables: { none: tf.zeros([1]) }, functions: { both: { inputs: { packed: tf.zeros([4, 4], 'int32'), floats: tf.zeros([4, 4]) }, run } } });
    graph.run('both', { packed: tf.zeros([4, 4], 'int32'), floats: tf.zeros([4, 4]) });`;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  assert.doesNotMatch(stderr, /DT_HALF/);
});
