import assert from 'node:assert/strict';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import type { Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { createCacheWriter, openCache, verifyCache, type Cache, type CacheRow } from '../../data/arrow-cache.js';
import { UserError } from '../../src/errors.js';
import { float32ToHalf, halfToFloat32 } from '../../src/models/half.js';
import { openSafetensors } from '../../src/models/safetensors.js';
import { loadTarget } from '../../src/models/target-checkpoint.js';
import { createGraphExecutor } from '../../src/tensorflow/graph.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { captureCache, type CaptureOptions } from '../../src/training/capture.js';
import { batchByLength, formatBytes, formatSeconds, parsePart, partRows } from '../../src/training/capture-plan.js';
import { createCaptureRunner, rowsOfBatch } from '../../src/training/capture-runner.js';
import { largest, topLogProbs } from '../../src/training/capture-step.js';
import { regenerateRows, type GenerationRequest } from '../../src/training/regeneration.js';
import { Random } from '../../src/random.js';
import { inFolder } from '../data/cache-fixtures.js';
import { sharedPath } from '../shared-files.js';

await loadTensorflow({ threads: 2 });
const folder = sharedPath('models/stories-260K');
const skip = folder ? false : 'needs ../shared (test material, absent here)';

/** Token sequences of the stories model: `count` rows of different lengths, the first third of each is prompt. */
async function writeTokens(out: string, count: number): Promise<Cache> {
  const metadata = { format_version: 1, target: null, target_fingerprint: null, tokenizer_fingerprint: 'a'.repeat(64), vocab_size: 512, hidden_size: null, taps: null, generation: null, source: 'x' };
  const writer = await createCacheWriter(out, { metadata, columns: { featureWidth: 0, featureType: 'float16', topk: 0, labels: true } });
  const random = new Random(9);
  for (let row = 0; row < count; row++) {
    const length = 6 + random.int(40);
    const promptLength = Math.ceil(length / 3);
    const inputIds = Int32Array.from({ length }, (_, i) => (i === 0 ? 1 : 3 + random.int(500)));
    await writer.append({ inputIds, lossMask: Uint8Array.from({ length }, (_, i) => (i < promptLength ? 0 : 1)), promptLength, domain: `d${row % 2}` });
  }
  await writer.finish(count);
  return openCache(out);
}

const allRows = async (cache: Cache): Promise<CacheRow[]> => Promise.all(Array.from({ length: cache.rowCount }, (_, row) => cache.readRow(row, { features: true, topk: true })));

test('the best log-probabilities equal those of the whole softmax, in chunks too', () => {
  const hidden = tf.randomNormal([70, 8], 0, 1, 'float32', 3) as never;
  const head = tf.randomNormal([600_000, 8], 0, 1, 'float32', 4) as never;
  tf.tidy(() => {
    const { topkIds, topkLogProbs } = topLogProbs(hidden, head, 4);
    const all = tf.topk(tf.logSoftmax(tf.matMul(hidden, head, false, true)), 4);
    assert.deepEqual([...topkIds.dataSync()], [...all.indices.dataSync()]);
    const difference = tf.max(tf.abs(tf.sub(topkLogProbs, all.values))).dataSync()[0]!;
    assert.ok(difference < 1e-5, `they differ by ${difference}`);
  });
  tf.dispose([hidden, head]);
});

test('the largest of a row are found through groups, the first of equals first', () => {
  const random = new Random(11);
  for (const [columns, k] of [[8192, 32], [2048, 1], [1024, 4], [1000, 3], [999, 5], [64, 64]] as const) {
    tf.tidy(() => {
      // Few different values: most places have equals.
      const x = tf.tensor2d(Float32Array.from({ length: 6 * columns }, () => random.int(40) / 8), [6, columns]);
      const [found, expected] = [largest(x, k), tf.topk(x, k, true)];
      assert.deepEqual([...found.indices.dataSync()], [...expected.indices.dataSync()], `${columns} columns, best ${k}`);
      assert.deepEqual([...found.values.dataSync()], [...expected.values.dataSync()]);
    });
  }
});

test('the largest of a row are found in a recorded graph too, where no index may come of values that are not there yet', () => {
  // Rows enough that the recording gives up values: it keeps small ones.
  const x = tf.randomNormal([256, 8192], 0, 1, 'float32', 5) as Tensor2D;
  const graph = createGraphExecutor({ variables: { x }, functions: { best: { inputs: {}, run: (state) => largest(state['x']!.read() as Tensor2D, 32) } } });
  tf.tidy(() => {
    const [found, expected] = [graph.run('best', {}), tf.topk(x, 32, true)];
    assert.deepEqual([...found['indices']!.dataSync()], [...expected.indices.dataSync()]);
    assert.deepEqual([...found['values']!.dataSync()], [...expected.values.dataSync()]);
  });
  graph.dispose();
  x.dispose();
});

test('captured features are the hidden states that Transformers gives, and log-probabilities those of its logits', { skip }, () =>
  inFolder(async (work) => {
    const golden = await openSafetensors(sharedPath('golden/target-stories-260K.safetensors')!);
    const ids = await golden.readInt32('input_ids');
    const metadata = { format_version: 1, target: null, target_fingerprint: null, tokenizer_fingerprint: null, vocab_size: 512, hidden_size: null, taps: null, generation: null, source: null };
    const writer = await createCacheWriter(join(work, 'tokens'), { metadata, columns: { featureWidth: 0, featureType: 'float16', topk: 0, labels: false } });
    for (let b = 0; b < 2; b++) await writer.append({ inputIds: ids.slice(b * 24, b * 24 + 24), lossMask: new Uint8Array(24).fill(1) });
    await writer.finish(2);
    const target = await loadTarget(folder!);
    await captureCache({ target, tokens: join(work, 'tokens'), out: join(work, 'cache'), taps: [0, 3], topk: 8, featureType: 'float32' });
    const cache = await openCache(join(work, 'cache'));
    const [first, fourth, logits] = await Promise.all(['hidden_states.1', 'hidden_states.4', 'logits'].map((name) => golden.readFloat32(name)));
    for (let b = 0; b < 2; b++) {
      const row = await cache.readRow(b, { features: true, topk: true });
      const features = row.features as Float32Array;
      const logProbs = halfToFloat32(row.topkLogProbs as Uint16Array);
      for (let s = 0; s < 24; s++) {
        const at = (b * 24 + s) * 64;
        for (let d = 0; d < 64; d++) {
          assert.ok(Math.abs(features[s * 128 + d]! - first![at + d]!) < 2e-4);
          assert.ok(Math.abs(features[s * 128 + 64 + d]! - fourth![at + d]!) < 2e-4);
        }
        const own = logits!.subarray((b * 24 + s) * 512, (b * 24 + s + 1) * 512);
        const logSum = Math.log(own.reduce((sum, value) => sum + Math.exp(value), 0));
        const best = [...own.keys()].sort((a, c) => own[c]! - own[a]!);
        for (let k = 0; k < 8; k++) {
          const expected = own[best[k]!]! - logSum;
          assert.ok(Math.abs(logProbs[s * 8 + k]! - expected) < 1e-3 * Math.max(1, Math.abs(expected)), `row ${b}, position ${s}, rank ${k}`);
        }
        assert.equal(row.topkIds![s * 8], best[0]);
      }
    }
    await golden.close();
    target.dispose();
  }));

test('an interrupted capture goes on, parts fill one folder, and both end as one uninterrupted capture', { skip }, () =>
  inFolder(async (work) => {
    const tokens = await writeTokens(join(work, 'tokens'), 30);
    const target = await loadTarget(folder!);
    const before = tf.memory().numTensors;
    const options: CaptureOptions = { target, tokens, out: join(work, 'whole'), taps: [1, 3], topk: 4, batchSize: 2, shardBytes: 1 };
    const progress: number[] = [];
    const said: string[] = [];
    const done = await captureCache({ ...options, say: (message) => said.push(message) }, ({ rows }) => progress.push(rows));
    assert.deepEqual([done.finished, done.rows, done.skipped, done.resumedShards], [true, 30, [], 0]);
    assert.deepEqual(progress, [30]);
    assert.match(said[0]!, /^capture 30 of 30 rows: \d+ tokens, .* (KiB|MiB) in .* free\)$/);
    assert.match(said[1]!, /^the forward passes take about \d+ s \(\d+ tokens\/s measured\)$/);
    assert.equal(tf.memory().numTensors, before);
    const whole = await allRows(await openCache(join(work, 'whole')));
    for (const [i, row] of whole.entries()) {
      const given = await tokens.readRow(i);
      assert.deepEqual([row.inputIds, row.lossMask, row.domain, row.promptLength], [given.inputIds, given.lossMask, given.domain, given.promptLength]);
      assert.deepEqual([row.features!.length, row.topkIds!.length], [given.inputIds.length * 128, given.inputIds.length * 4]);
    }

    const again = await captureCache(options);
    assert.deepEqual([again.finished, again.rows, again.resumedShards], [true, 30, 1]);
    await assert.rejects(captureCache({ ...options, taps: [0, 3] }), /taps is \[1,3\] in one and \[0,3\] in the other/);

    const parts = { ...options, out: join(work, 'parts') };
    for (const index of [3, 1, 2]) await captureCache({ ...parts, part: { index, count: 3 } });
    assertNear(await allRows(await openCache(parts.out)), whole);
    assert.deepEqual(await verifyCache(parts.out), []);
    assert.deepEqual((await readdir(parts.out)).filter((name) => name.startsWith('.')), []);
    target.dispose();
  }));

/** Rows are equal but for what other batches do to the last bits. */
function assertNear(found: CacheRow[], expected: CacheRow[]): void {
  assert.equal(found.length, expected.length);
  for (const [i, row] of found.entries()) {
    assert.deepEqual([row.inputIds, row.lossMask], [expected[i]!.inputIds, expected[i]!.lossMask]);
    const [a, b] = [row, expected[i]!].map(({ features }) => halfToFloat32(features as Uint16Array));
    for (let j = 0; j < a!.length; j++) assert.ok(Math.abs(a![j]! - b![j]!) <= 2e-3 * Math.max(1, Math.abs(b![j]!)), `row ${i}, value ${j}: ${a![j]} and ${b![j]}`);
  }
}

test('a capture stopped by a signal keeps what is done and ends with the bytes of an uninterrupted one', { skip }, () =>
  inFolder(async (work) => {
    const tokens = await writeTokens(join(work, 'tokens'), 40);
    const target = await loadTarget(folder!);
    const options: CaptureOptions = { target, tokens, out: join(work, 'whole'), taps: [2], batchSize: 1, shardBytes: 1 };
    await captureCache(options);
    const stop = new AbortController();
    const cut = { ...options, out: join(work, 'cut') };
    const first = await captureCache({ ...cut, signal: stop.signal }, () => stop.abort());
    assert.deepEqual([first.finished, first.rows], [false, 16]);
    await assert.rejects(openCache(cut.out), /not finished/);
    const second = await captureCache(cut);
    assert.deepEqual([second.finished, second.rows, second.resumedShards], [true, 40, 1]);
    for (const name of await readdir(options.out)) {
      assert.deepEqual(await readFile(join(cut.out, name)), await readFile(join(options.out, name)), name);
    }
    target.dispose();
  }));

test('recorded graphs give what eager passes give, also for a batch that is not full, and leave nothing behind', { skip }, async () => {
  const target = await loadTarget(folder!);
  const before = tf.memory().numTensors;
  const columns = { featureWidth: 128, featureType: 'float16', topk: 4, labels: true } as const;
  const common = { taps: [1, 3], columns, batchSize: 4 };
  const graphs = createCaptureRunner(target, { ...common, batchCounts: new Map([[16, 10], [24, 9], [32, 100]]), say: (message) => assert.fail(message) });
  const eager = createCaptureRunner(target, common);
  assert.deepEqual([graphs.graphLengths, eager.graphLengths], [[16, 32], []]);
  const random = new Random(2);
  // Rows, their padded length, and the one they run at: the rare length borrows the next graph, a batch too small for that runs by itself.
  for (const [rows, length, at] of [[4, 16, 16], [3, 16, 16], [4, 24, 32], [1, 32, 32], [1, 24, 24], [4, 48, 48]] as const) {
    const sequences = Array.from({ length: rows }, () => Int32Array.from({ length: length - 3 }, () => random.int(512)));
    const [found, expected] = [graphs.run(sequences, length), eager.run(sequences, length)];
    assert.deepEqual([found.paddedLength, expected.paddedLength], [at, length]);
    for (let row = 0; row < rows; row++) {
      const part = ({ arrays, paddedLength }: typeof found): Float32Array =>
        halfToFloat32(new Uint16Array(arrays['features']!.buffer, arrays['features']!.byteOffset + row * paddedLength * 256, (length - 3) * 128));
      const [a, b] = [part(found), part(expected)];
      for (let i = 0; i < b.length; i++) assert.ok(Math.abs(a[i]! - b[i]!) <= 2e-3 * Math.max(1, Math.abs(b[i]!)), `row ${row}, value ${i}: ${a[i]} and ${b[i]}`);
      for (let i = 0; i < (length - 3) * 4; i++) {
        assert.ok(Math.abs(found.arrays['topkLogProbs']![row * found.paddedLength * 4 + i]! - expected.arrays['topkLogProbs']![row * length * 4 + i]!) < 1e-4);
      }
    }
  }
  graphs.dispose();
  eager.dispose();
  assert.equal(tf.memory().numTensors, before);
  target.dispose();
});

test('batches of long sequences have fewer rows, so that attention scores fit the memory', { skip }, async () => {
  const { config } = await loadTarget(folder!);
  assert.equal(rowsOfBatch({ ...config, numHeads: 32 }, 2048, 8), 1);
  assert.equal(rowsOfBatch({ ...config, numHeads: 8 }, 256, 8), 8);
});

test('float32 features, rows cut to a length, and rows without supervision', { skip }, () =>
  inFolder(async (work) => {
    const tokens = await writeTokens(join(work, 'tokens'), 6);
    const target = await loadTarget(folder!);
    const bare: Cache = { ...tokens, readRow: async (row) => (row === 2 ? { ...(await tokens.readRow(row)), lossMask: new Uint8Array(tokens.lengths()[row]!) } : tokens.readRow(row)) };
    const result = await captureCache({ target, tokens: bare, out: join(work, 'out'), taps: [0, 4], featureType: 'float32', maxLength: 20 });
    assert.deepEqual(result.skipped.map(({ row }) => row), [2]);
    const cache = await openCache(join(work, 'out'));
    assert.equal(cache.rowCount, 5);
    assert.ok((await cache.readRow(0, { features: true })).features instanceof Float32Array);
    assert.ok(cache.lengths().every((length) => length <= 20));
    const half = await captureCache({ target, tokens: bare, out: join(work, 'half'), taps: [0, 4], maxLength: 20 });
    assert.equal(half.rows, 5);
    const [wide, narrow] = await Promise.all([cache.readRow(1, { features: true }), (await openCache(join(work, 'half'))).readRow(1, { features: true })]);
    assert.deepEqual(narrow.features, float32ToHalf(wide.features as Float32Array));
    target.dispose();
  }));

test('what does not fit is refused before anything is written', { skip }, () =>
  inFolder(async (work) => {
    const tokens = await writeTokens(join(work, 'tokens'), 4);
    const target = await loadTarget(folder!);
    const options: CaptureOptions = { target, tokens, out: join(work, 'out'), taps: [1] };
    const cases: [Partial<CaptureOptions>, RegExp][] = [
      [{ taps: [5] }, /tap 5 is not a layer of stories-260K, which has layers 0 to 4/],
      [{ taps: [1, 1] }, /name a layer twice/],
      [{ taps: [] }, /nothing to capture/],
      [{ topk: 1025 }, /--top-k is 1025; expected 0 to 1024/],
      [{ tokenizerFingerprint: 'b'.repeat(64) }, /another tokenizer or chat template/],
      [{ tokens: { ...tokens, metadata: { ...tokens.metadata, vocab_size: 513 } } }, /its tokenizer has 513 tokens/],
    ];
    for (const [change, message] of cases) await assert.rejects(captureCache({ ...options, ...change }), (error) => error instanceof UserError && message.test(error.message), String(message));
    assert.deepEqual((await readdir(work)).sort(), ['tokens']);
    await rm(join(work, 'tokens'), { recursive: true });
    await assert.rejects(captureCache({ ...options, tokens: join(work, 'tokens') }), UserError);
    target.dispose();
  }));

test('activations beyond float16 stop the capture, naming the layer and the remedy', { skip }, () =>
  inFolder(async (work) => {
    const tokens = await writeTokens(join(work, 'tokens'), 2);
    const target = await loadTarget(folder!);
    const name = 'model.layers.2.mlp.down_proj.weight';
    const large = { ...target, weights: { ...target.weights, [name]: tf.mul(target.weights[name]!, 1e6) } };
    await assert.rejects(captureCache({ target: large, tokens, out: join(work, 'out'), taps: [1, 2, 4] }), /layer 2 of stories-260K gives activations beyond 65504.*--dtype float32/);
    assert.equal((await captureCache({ target: large, tokens, out: join(work, 'wide'), taps: [1, 2, 4], featureType: 'float32' })).finished, true);
    large.weights[name]!.dispose();
    target.dispose();
  }));

test('every answer is written anew, turn after turn, by row alone; what follows a cut answer is left out', async () => {
  const row = (ids: number[], mask: number[]): CacheRow => ({ inputIds: Int32Array.from(ids), lossMask: Uint8Array.from(mask), domain: 'x' });
  const asked: GenerationRequest[][] = [];
  // Answers with the last prompt token and the stop token 2; a prompt that ends with 9 is answered without end.
  const generate = (requests: readonly GenerationRequest[]): Int32Array[] => {
    asked.push([...requests]);
    return requests.map(({ promptIds, maxNewTokens }) => (promptIds.at(-1) === 9 ? new Int32Array(maxNewTokens).fill(7) : Int32Array.of(promptIds.at(-1)!, 2)));
  };
  const rows = [row([1, 5, 8, 8, 6, 4, 8], [0, 0, 1, 1, 0, 0, 1]), row([1, 9, 8, 6, 8], [0, 0, 1, 0, 1]), row([1, 3], [0, 0])];
  const settings = { maxNewTokens: 3, temperature: 1, topP: 1, seed: 3 };
  const result = await regenerateRows(rows, [10, 11, 12], settings, [2], 100, generate);
  assert.deepEqual(result.map(({ inputIds }) => [...inputIds]), [[1, 5, 5, 2, 6, 4, 4, 2], [1, 9, 7, 7, 7], [1, 3, 3, 2]]);
  assert.deepEqual(result.map(({ lossMask }) => [...lossMask]), [[0, 0, 1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1]]);
  assert.deepEqual(result.map(({ promptLength }) => promptLength), [2, 2, 2]);
  assert.deepEqual(asked.map((requests) => requests.length), [3, 1]);
  const draws = asked[0]!.map(({ random }) => random.next());
  asked.length = 0;
  await regenerateRows(rows.slice(1), [11, 12], settings, [2], 100, generate);
  assert.deepEqual(asked[0]!.map(({ random }) => random.next()), draws.slice(1));
  const full = await regenerateRows([row([1, 3, 4, 5], [0, 0, 0, 0])], [0], settings, [2], 5, generate);
  assert.deepEqual([...full[0]!.lossMask], []);
});

test('parts are contiguous and cover everything; batches go by length; sizes and times read well', () => {
  for (const count of [1, 3, 7]) {
    const ranges = Array.from({ length: count }, (_, i) => partRows(20, { index: i + 1, count }));
    assert.deepEqual(ranges.map(({ from }) => from), [0, ...ranges.slice(0, -1).map(({ to }) => to)]);
    assert.equal(ranges.at(-1)!.to, 20);
  }
  assert.deepEqual(parsePart('2/8'), { index: 2, count: 8 });
  for (const text of ['0/8', '9/8', '1', '1/0', 'a/b', '-1/2']) assert.throws(() => parsePart(text), UserError);
  assert.deepEqual(batchByLength([5, 40, 17], () => 2), [{ items: [1, 2], length: 48 }, { items: [0], length: 16 }]);
  assert.deepEqual([0, 1023, 1536, 3 * 2 ** 30].map(formatBytes), ['0 bytes', '1023 bytes', '1.5 KiB', '3.0 GiB']);
  assert.deepEqual([0.2, 75, 7500].map(formatSeconds), ['1 s', '1 min 15 s', '2 h 5 min']);
});
