// draftalign's own kernels against the plain operations that they stand for, values and gradients, at sizes that fill no vector and no tile.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Scalar, Tensor, Tensor2D, Tensor3D, Tensor4D } from '@tensorflow/tfjs-node-gpu';
import { scoreHidden } from '../../losses/index.js';
import { blockAttention } from '../../src/models/drafter-attention.js';
import { rmsNorm, swiglu } from '../../src/models/layers.js';
import { applyRope, ropeTables } from '../../src/models/rope.js';
import { packageRoot } from '../../src/package-root.js';
import { fusedBlockAttention, fusedProduct, fusedRmsNorm, fusedThinProduct, fusedVocabularySums, fusedWeightedRows } from '../../src/tensorflow/fused-ops.js';
import { kernelFlags, kernelLevels, kernelsInForce, processorLevels, productsInForce, withPlainOperations } from '../../src/tensorflow/kernels.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { matrixProduct } from '../../src/tensorflow/matrix-product.js';
import { tf } from '../../src/tensorflow/ops.js';
import { compiler, nodeHeaders } from '../../src/tensorflow/wheel.js';

await loadTensorflow({ threads: 1 });

const kernels = { skip: kernelsInForce() ? false : 'the kernels are not in force here (a GPU, or a processor without AVX2)' };
const products = { skip: productsInForce() ? false : 'this processor has no AMX' };

let seed = 1;
const random = (...shape: number[]): Tensor => tf.randomNormal(shape, 0, 1, 'float32', seed++);
const wholeNumbers = (below: number, ...shape: number[]): Tensor => tf.randomUniform(shape, 0, below, 'int32', seed++);

/** ‖a - b‖ / ‖b‖. */
function difference(a: Tensor, b: Tensor): number {
  assert.deepEqual(a.shape, b.shape);
  return tf.tidy(() => tf.div(tf.norm(tf.sub(a, b)), tf.add(tf.norm(b), 1e-30)).dataSync()[0]!);
}

/** Value and every gradient of `compute`, by the kernels and by plain operations. */
function assertAsPlain(compute: (...inputs: Tensor[]) => Tensor, inputs: Tensor[]): void {
  tf.tidy(() => {
    const weighting = random(...compute(...inputs).shape);
    const both = (): Tensor[] => {
      const gradients = tf.grads((...given: Tensor[]) => tf.sum(tf.mul(compute(...given), weighting)) as Scalar)(inputs);
      return [compute(...inputs), ...gradients];
    };
    const expected = withPlainOperations(both);
    both().forEach((tensor, i) => {
      const found = difference(tensor, expected[i]!);
      assert.ok(found < 3e-6, `${i === 0 ? 'value' : `gradient ${i - 1}`} differs by ${found}`);
    });
  });
}

test('norm, gated MLP and rotation give what plain operations give', kernels, () => {
  for (const width of [5, 16, 33, 192]) assertAsPlain((x, weight) => rmsNorm(x, weight, 1e-5), [random(67, 3, width), random(width)]);
  for (const inner of [7, 48]) assertAsPlain((x, gate, up, down) => swiglu(x, gate, up, down), [tf.mul(random(2, 9, 20), 3), random(inner, 20), random(inner, 20), random(20, inner)]);
  const { cos, sin } = ropeTables({ type: 'default', theta: 10000 }, 12, 21);
  assertAsPlain((x) => applyRope(x, tf.expandDims(cos, 1), tf.expandDims(sin, 1)), [random(2, 21, 3, 12)]);
  assertAsPlain((x) => applyRope(x, cos, sin), [random(2, 3, 21, 12)]);
  // A table of its own for each sequence, none for the heads.
  const own = (table: Tensor): Tensor => tf.reshape(tf.slice(table, [0, 0], [20, 12]), [2, 1, 10, 12]);
  assertAsPlain((x) => applyRope(x, own(cos), own(sin)), [random(2, 3, 10, 12)]);
});

test('the gated product stays finite far from zero', kernels, () => {
  const identity = tf.eye(8) as Tensor2D;
  const gates = [-1e4, -200, -88, -1e-3, 1e-3, 88, 200, 1e4];
  const out = swiglu(tf.tensor2d([gates]), identity, tf.eye(8), identity);
  [...out.dataSync()].forEach((value, i) => {
    const gate = Math.fround(gates[i]!);
    const expected = (gate / (1 + Math.exp(-gate))) * gate;
    assert.ok(Math.abs(value - expected) <= 1e-5 * Math.abs(expected) + 1e-30, `${value} for ${expected}`);
  });
});

test('block attention gives what groups of blocks by plain operations give, with short contexts and long ones', kernels, () => {
  // [B, N, Q, H, Hkv, K, S, headDim]; contexts from 64 and 1024 positions on go in groups.
  for (const [b, n, q, h, hkv, k, s, d] of [
    [2, 5, 16, 6, 2, 16, 50, 32],
    [1, 8, 15, 4, 2, 16, 70, 64],
    [3, 8, 7, 4, 4, 8, 64, 16],
    [1, 16, 3, 5, 1, 4, 1024, 48],
  ] as [number, number, number, number, number, number, number, number][]) {
    const anchors = tf.tensor2d((wholeNumbers(s, b, n).arraySync() as number[][]).map((row) => row.sort((left, right) => left - right)), [b, n], 'int32');
    assertAsPlain(
      (queries, blockKeys, blockValues, contextKeys, contextValues) =>
        blockAttention(anchors, { length: s, keyValueHeads: hkv, headDim: d })({ queries, blockKeys, blockValues, contextKeys: contextKeys as Tensor4D, contextValues: contextValues as Tensor4D }),
      [tf.mul(random(b, n, q, h, d), 0.5), random(b, n, k, hkv, d), random(b, n, k, hkv, d), random(b, hkv, s, d), random(b, hkv, s, d)],
    );
  }
});

test('block attention reads no position that does not exist, whatever the anchors', kernels, () => {
  const inputs = [random(1, 2, 4, 2, 16), random(1, 2, 4, 1, 16), random(1, 2, 4, 1, 16), random(1, 1, 6, 16), random(1, 1, 6, 16)] as const;
  const at = (...anchors: number[]): Tensor => fusedBlockAttention([...inputs, tf.tensor2d([anchors], [1, 2], 'int32')]).attended;
  assert.equal(difference(at(-7, 1e9), at(0, 6)), 0);
});

test('scores from hidden states are the same, with and without a teacher, whatever the vocabulary', kernels, () => {
  for (const [blocks, slots, width, vocabulary, k] of [
    [3, 5, 20, 50, 4],
    [9, 7, 40, 1000, 8],
    [2, 3, 33, 33, 33],
    [20, 5, 16, 3001, 5],
  ] as [number, number, number, number, number][]) {
    const head = random(vocabulary, width) as Tensor2D;
    const labels = wholeNumbers(vocabulary, blocks, slots) as Tensor2D;
    const valid = tf.ones([blocks, slots]) as Tensor2D;
    const { values, indices } = tf.topk(tf.logSoftmax(random(blocks, slots, vocabulary)), k);
    const teacher = { ids: indices as Tensor3D, logProbs: values as Tensor3D };
    const scores = (hidden: Tensor) => scoreHidden(hidden as Tensor3D, head, labels, valid, { teacher, ...(vocabulary === 3001 && { chunkVocab: 700 }) });
    const hidden = random(blocks, slots, width);
    for (const name of ['logProb', 'kl', 'overlap'] as const) assertAsPlain((x) => scores(x)[name]!, [hidden]);
    assert.deepEqual(scores(hidden).correct.arraySync(), withPlainOperations(() => scores(hidden)).correct.arraySync());
    assertAsPlain((x) => scoreHidden(x as Tensor3D, head, labels, valid).logProb, [hidden]);
    const undifferentiated = () => scoreHidden(hidden as Tensor3D, head, labels, valid, { teacher, differentiate: [] }).kl!;
    assert.ok(difference(undifferentiated(), withPlainOperations(undifferentiated)) < 3e-6);
  }
});

test('the softmax over a vocabulary gives the first token that has the peak, the sum without listed tokens, and their logits', kernels, () => {
  // Logits: one row is the head's column, the other its opposite. Peaks stand twice, in different tiles, and rise on the way.
  const vocabulary = 700;
  const column = Float32Array.from({ length: vocabulary }, (_, token) => Math.sin(token) * 3);
  column[130] = column[300] = 4;
  column[401] = column[690] = 5;
  column[77] = column[76] = -6;
  const head = tf.tensor2d(column, [vocabulary, 1]);
  const listed = [[401, 0, 401, 699], [76, 5, 690, 130]];
  const { peak, best, listedLogits, sum, sumOfHead } = fusedVocabularySums(tf.tensor2d([[1], [-1]]), head, tf.tensor2d(listed, [2, 4], 'int32'), true);
  assert.deepEqual(peak.arraySync(), [[5], [6]]);
  assert.deepEqual([...best.dataSync()], [401, 76]);
  for (const [row, sign] of [[0, 1], [1, -1]] as const) {
    const top = row === 0 ? 5 : 6;
    const rest = [...column.keys()].filter((token) => !listed[row]!.includes(token));
    const near = (found: number, expected: number): void => assert.ok(Math.abs(found - expected) <= 2e-6 * Math.abs(expected) + 2e-6, `${found} for ${expected}`);
    listed[row]!.forEach((token, i) => near(listedLogits.dataSync()[row * 4 + i]!, sign * column[token]!));
    near(sum.dataSync()[row]!, rest.reduce((total, token) => total + Math.exp(sign * column[token]! - top), 0));
    near(sumOfHead.dataSync()[row]!, rest.reduce((total, token) => total + Math.exp(sign * column[token]! - top) * column[token]!, 0));
  }
});

test('the gradient of a score is as exact over a large vocabulary as over a small one', kernels, () => {
  for (const vocabulary of [1000, 150_000]) {
    const [rows, width] = [4, 16];
    const hidden = tf.mul(random(rows, 1, width), 0.15);
    const head = tf.add(random(vocabulary, width), 0.1) as Tensor2D;
    const found = tf.grad((x) => tf.sum(scoreHidden(x as Tensor3D, head, tf.zeros([rows, 1], 'int32') as Tensor2D, tf.ones([rows, 1]) as Tensor2D).logProb!))(hidden);
    const [h, w] = [hidden.dataSync(), head.dataSync()];
    const exact = new Float64Array(rows * width);
    for (let row = 0; row < rows; row++) {
      const own = exact.subarray(row * width, (row + 1) * width);
      let total = 0;
      for (let token = 0; token < vocabulary; token++) {
        let logit = 0;
        for (let d = 0; d < width; d++) logit += h[row * width + d]! * w[token * width + d]!;
        total += Math.exp(logit);
        for (let d = 0; d < width; d++) own[d] = own[d]! - Math.exp(logit) * w[token * width + d]!;
      }
      for (let d = 0; d < width; d++) own[d] = w[d]! + own[d]! / total;
    }
    const error = errorOf(found, exact);
    assert.ok(error < 3e-7, `${vocabulary} tokens: ${error}`);
  }
});

test('what is not a number stays so: a step that went wrong is seen', kernels, () => {
  const spoilt = (width: number): Tensor => tf.concat([random(1, width - 1), tf.fill([1, 1], NaN)], 1);
  assert.ok(Number.isNaN(fusedRmsNorm(spoilt(20), tf.ones([20]), 1e-6).norm.dataSync()[3]));
  assert.ok(Number.isNaN(fusedVocabularySums(spoilt(40), random(9, 40), tf.zeros([1, 1], 'int32'), true).sum.dataSync()[0]));
  if (productsInForce()) assert.ok(Number.isNaN(fusedProduct(spoilt(40), random(40, 3), false, false).dataSync()[0]));
});

test('shapes that disagree are refused, saying what disagrees', kernels, () => {
  assert.throws(() => fusedRmsNorm(random(3, 8), random(7), 1e-6), /norm's weight is not as wide/);
  assert.throws(() => fusedVocabularySums(random(3, 8), random(9, 8), wholeNumbers(8, 2, 1), true), /hidden states, head and listed tokens have shapes that disagree/);
  assert.throws(() => fusedWeightedRows(random(1, 2), tf.tensor2d([[0, 5]], [1, 2], 'int32'), random(5, 3)), /an id is not a row of the table/);
  assert.throws(() => fusedBlockAttention([random(1, 2, 4, 2, 16), random(1, 2, 4, 1, 16), random(1, 2, 3, 1, 16), random(1, 1, 6, 16), random(1, 1, 6, 16), wholeNumbers(6, 1, 2)]), /disagree/);
});

/** `a · b` in double precision. */
function exactProduct(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Float64Array {
  const rowsOf = (x: Tensor): number[][] => x.arraySync() as number[][];
  const turned = (x: number[][]): number[][] => x[0]!.map((_, column) => x.map((row) => row[column]!));
  const left = transposeA ? turned(rowsOf(a)) : rowsOf(a);
  const right = transposeB ? rowsOf(b) : turned(rowsOf(b));
  return Float64Array.from(left.flatMap((row) => right.map((column) => row.reduce((sum, value, i) => sum + value * column[i]!, 0))));
}

/** ‖found - exact‖ / ‖exact‖. */
function errorOf(found: Tensor, exact: Float64Array): number {
  const values = found.dataSync();
  return Math.sqrt(exact.reduce((sum, value, i) => sum + (values[i]! - value) ** 2, 0) / exact.reduce((sum, value) => sum + value ** 2, 0));
}

test('products of a few rows are as exact as TensorFlow\'s, whatever their sizes, and have the gradients of a product', kernels, () => {
  // Rows that fill a vector and do not, in one panel and two; results that are held in one piece and in more.
  for (const [m, k, n] of [[2, 1, 1], [2, 5, 7], [16, 192, 512], [17, 33, 241], [24, 64, 240], [33, 16, 31], [48, 100, 500], [70, 20, 500], [16, 9000, 20]] as [number, number, number][]) {
    tf.tidy(() => {
      const [rows, matrix] = [random(m, k), random(n, k)];
      const exact = exactProduct(rows, matrix, false, true);
      const own = errorOf(fusedThinProduct(rows, matrix), exact);
      const theirs = errorOf(tf.matMul(rows as Tensor2D, matrix as Tensor2D, false, true), exact);
      assert.ok(own <= Math.max(1.2 * theirs, 1e-7), `${m}·${k}·${n}: ${own}, TensorFlow ${theirs}`);
    });
  }
  assertAsPlain((rows, matrix) => matrixProduct(rows as Tensor2D, matrix as Tensor2D, false, true), [random(16, 40), random(300, 40)]);
  assert.throws(() => fusedThinProduct(random(3, 4), random(5, 6)), /two matrices of one width/);
});

test('products by AMX are at least as exact as TensorFlow\'s, however they lie and whatever their sizes', products, () => {
  // The last two go in groups of lines and in chunks of depth.
  for (const [m, k, n] of [[1, 1, 1], [32, 32, 32], [33, 65, 17], [100, 192, 70], [5, 7, 300], [530, 70, 530], [260, 650, 260]] as [number, number, number][]) {
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        tf.tidy(() => {
          const a = transposeA ? random(k, m) : random(m, k);
          const b = transposeB ? random(n, k) : random(k, n);
          const exact = exactProduct(a, b, transposeA, transposeB);
          const own = errorOf(fusedProduct(a, b, transposeA, transposeB), exact);
          const theirs = errorOf(tf.matMul(a as Tensor2D, b as Tensor2D, transposeA, transposeB), exact);
          assert.ok(own <= Math.max(theirs, 1e-7), `${m}·${k}·${n} ${transposeA} ${transposeB}: ${own}, TensorFlow ${theirs}`);
        });
      }
    }
  }
  assert.throws(() => fusedProduct(random(3, 4), random(5, 6), false, false), /inner dimensions/);
  assert.throws(() => fusedProduct(tf.zeros([3, 0]), tf.zeros([0, 4]), false, false), /or are 0/);
});

test('products by AMX have the gradients of a product', products, () => {
  for (const transposeA of [false, true]) {
    for (const transposeB of [false, true]) {
      const [a, b] = [transposeA ? random(50, 200) : random(200, 50), transposeB ? random(180, 50) : random(50, 180)];
      assertAsPlain((left, right) => matrixProduct(left as Tensor2D, right as Tensor2D, transposeA, transposeB), [a, b]);
    }
  }
});

test('every loop that is marked for vector instructions is compiled to them, for every kind of processor', { skip: process.env['DRAFTALIGN_KERNELS'] ? 'the same for all' : kernels.skip }, () => {
  const folder = join(packageRoot(), 'src/tensorflow/kernels');
  const files = readdirSync(folder);
  for (const { name, flags } of kernelLevels) {
    const reports = files
      .filter((file) => file.endsWith('.cc'))
      .map((file) => spawnSync(compiler, [...kernelFlags.filter((flag) => flag !== '-shared'), ...flags, `-I${nodeHeaders()}`, '-fopt-info-vec-optimized', '-c', file, '-o', '/dev/null'], { cwd: folder, encoding: 'utf8' }));
    for (const { status, stderr } of reports) assert.equal(status, 0, stderr);
    const vectorized = new Set(reports.flatMap(({ stderr }) => [...stderr.matchAll(/([\w.-]+:\d+):\d+: optimized: .*loop vectorized/g)].map(([, place]) => place)));
    let marked = 0;
    for (const file of files.filter((file) => name === 'amx' || !file.startsWith('amx-'))) {
      readFileSync(join(folder, file), 'utf8').split('\n').forEach((line, index) => {
        if (!line.startsWith('#pragma omp simd')) return;
        marked++;
        // The compiler names the line of the loop, or the first of its body.
        assert.ok([index + 2, index + 3].some((number) => vectorized.has(`${file}:${number}`)), `${name}: the loop after ${file}:${index + 1} is not`);
      });
    }
    assert.ok(marked > 15);
  }
});

const lesser = processorLevels().slice(1);
const mayCompareLevels = kernelsInForce() && lesser.length > 0 && !process.env['DRAFTALIGN_KERNELS'];

test('the kernels for processors that can do less pass the tests of this file', { skip: mayCompareLevels ? false : 'no such kernels here, or DRAFTALIGN_KERNELS chooses' }, () => {
  for (const { name } of lesser) {
    const { status, stdout } = spawnSync(process.execPath, ['--test', fileURLToPath(import.meta.url)], { env: { ...environmentOfTests(), DRAFTALIGN_KERNELS: name }, encoding: 'utf8' });
    assert.equal(status, 0, `${name}:\n${stdout}`);
  }
});

/** As this process' own, but that tests run anew rather than report to the runner above. */
function environmentOfTests(): NodeJS.ProcessEnv {
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
  return environment;
}

test('DRAFTALIGN_KERNELS turns them off or chooses some, and nothing else is taken', kernels, () => {
  const doctor = (value: string) => spawnSync(process.execPath, [join(packageRoot(), 'dist/src/cli.js'), 'doctor'], { env: { ...process.env, DRAFTALIGN_KERNELS: value }, encoding: 'utf8' });
  assert.match(doctor('off').stdout, /kernels +none/);
  assert.match(doctor('on').stdout, /kernels +registered/);
  assert.match(doctor('avx2').stdout, /kernels +registered, for avx2/);
  const refused = doctor('maybe');
  assert.notEqual(refused.status, 0);
  assert.match(refused.stdout + refused.stderr, /DRAFTALIGN_KERNELS is "maybe"; it may be "on", "off", or one of amx, avx512, avx2/);
});
