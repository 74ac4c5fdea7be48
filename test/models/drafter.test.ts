// The drafter against the reference PyTorch drafter's values, whole and through a cache, and against itself: whatever the
// blocks around it, the order of anchors or the split of the context, a block's output is the same.
import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import type { Tensor, Tensor1D, Tensor2D, Tensor3D, Tensor4D } from '@tensorflow/tfjs-node-gpu';
import { contextKeyValues, drafterBlocks, drafterContext, drafterContextRows, drafterDraft, embedBlocks, type BlockEmbeddings, type ContextKeyValues } from '../../src/models/drafter.js';
import { loadDrafter, type LoadedDrafter } from '../../src/models/drafter-checkpoint.js';
import type { DrafterConfig } from '../../src/models/drafter-config.js';
import { initDrafterWeights } from '../../src/models/drafter-init.js';
import { openSafetensors } from '../../src/models/safetensors.js';
import { loadTarget, lmHeadWeight, embeddingTable, type Target } from '../../src/models/target.js';
import { Random } from '../../src/random.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { createEagerExecutor, createGraphExecutor } from '../../src/tensorflow/graph.js';
import { tf } from '../../src/tensorflow/ops.js';
import { needsShared, sharedPath } from '../shared-files.js';

const golden = needsShared('golden/drafter-random-qwen3.safetensors', 'models/drafter-random-qwen3', 'models/random-qwen3-untied');

before(async () => {
  await loadTensorflow();
});

interface GoldenCase {
  drafter: LoadedDrafter;
  target: Target;
  read(name: string): Promise<Tensor>;
  inputs: { context: ContextKeyValues; embeddings: BlockEmbeddings; anchors: Tensor2D; features: Tensor3D };
}

async function openGolden(): Promise<GoldenCase> {
  const target = await loadTarget(sharedPath('models/random-qwen3-untied')!);
  const drafter = await loadDrafter(sharedPath('models/drafter-random-qwen3')!, target.config);
  const file = await openSafetensors(sharedPath('golden/drafter-random-qwen3.safetensors')!);
  const read = async (name: string): Promise<Tensor> => {
    const { dtype, shape } = file.entry(name);
    return dtype === 'I32' ? tf.tensor(await file.readInt32(name), shape, 'int32') : tf.tensor(await file.readFloat32(name), shape);
  };
  const features = (await read('target_hidden')) as Tensor3D;
  const anchors = (await read('anchors')) as Tensor2D;
  const ids = (await read('input_ids')).arraySync() as number[][];
  const anchorTokens = (anchors.arraySync() as number[][]).map((row, b) => row.map((anchor) => ids[b]![anchor]!));
  const embeddings = embedBlocks(drafter.config, embeddingTable(target.weights), tf.tensor2d(anchorTokens, undefined, 'int32'));
  const context = contextKeyValues(drafter.config, drafter.weights, drafterContext(drafter.config, drafter.weights, features));
  after(() => file.close());
  return { drafter, target, read, inputs: { context, embeddings, anchors, features } };
}

function assertClose(actual: Tensor, expected: Tensor, tolerance: number, what: string): void {
  assert.deepEqual(actual.shape, expected.shape, what);
  const [a, b] = [actual.dataSync(), expected.dataSync()];
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Number.isNaN(a[i]!) ? Infinity : Math.abs(a[i]! - b[i]!));
  assert.ok(worst <= tolerance, `${what}: greatest difference ${worst}, allowed ${tolerance}`);
}

test('hidden states and logits equal the reference drafter\'s', golden, async () => {
  const { drafter, target, read, inputs } = await openGolden();
  const hidden = drafterBlocks(drafter.config, drafter.weights, inputs);
  const expected = tf.slice(await read('draft_hidden'), [0, 0, 1, 0]);
  assertClose(hidden, expected, 2e-4, 'hidden');
  const logits = tf.matMul(tf.reshape(hidden, [-1, 32]) as Tensor2D, lmHeadWeight(target.config, target.weights), false, true);
  assertClose(tf.reshape(logits, [2, 5, 7, 160]), await read('draft_logits'), 2e-4, 'logits');
});

test('the loss and the gradient of every weight equal the reference\'s', golden, async () => {
  const { drafter, target, read, inputs } = await openGolden();
  const labels = tf.reshape(await read('labels'), [-1]);
  const slotWeights = tf.tensor1d(Array.from({ length: 70 }, (_, i) => Math.exp(-(i % 7) / 4)));
  const names = Object.keys(drafter.weights);
  const head = lmHeadWeight(target.config, target.weights);
  const loss = (...tensors: Tensor[]): Tensor => {
    const weights = Object.fromEntries(names.map((name, i) => [name, tensors[i]!]));
    const hidden = drafterBlocks(drafter.config, weights, { ...inputs, context: contextKeyValues(drafter.config, weights, drafterContext(drafter.config, weights, inputs.features)) });
    const logProbs = tf.logSoftmax(tf.matMul(tf.reshape(hidden, [-1, 32]) as Tensor2D, head, false, true));
    const ofLabels = tf.sum(tf.mul(logProbs, tf.oneHot(labels as Tensor1D, 160)), 1);
    return tf.neg(tf.div(tf.sum(tf.mul(slotWeights, ofLabels)), tf.sum(slotWeights)));
  };
  const { value, grads } = tf.valueAndGrads(loss as never)(names.map((name) => drafter.weights[name]!));
  assertClose(tf.reshape(value, [1]), await read('loss_decay_gamma4'), 2e-4, 'loss');
  for (const [i, name] of names.entries()) assertClose(grads[i]!, await read(`grad.${name}`), 2e-4, `gradient of ${name}`);
});

test('drafting from a cache gives the same, for any split of the context into rounds', golden, async () => {
  const { drafter, read, inputs } = await openGolden();
  const { config, weights } = drafter;
  const expected = (await read('draft_hidden')) as Tensor4D;
  const anchors = inputs.anchors.arraySync();
  const capacity = 64;
  const random = new Random(3);
  for (let trial = 0; trial < 6; trial++) {
    const [b, n] = [random.int(2), random.int(5)];
    const anchor = anchors[b]![n]!;
    // Rows past the context hold another sequence's values: they must not be read.
    let cache = writeRows(emptyCache(config, capacity), drafterContextRows(config, weights, { features: tf.slice(inputs.features, [1 - b, 0, 0], [1, 48, 64]), start: tf.scalar(8, 'int32'), capacity }), 8);
    for (let start = 0; start < anchor; ) {
      const rows = Math.min(anchor - start, 1 + random.int(9));
      const features = tf.slice(inputs.features, [b, start, 0], [1, rows, 64]) as Tensor3D;
      cache = writeRows(cache, drafterContextRows(config, weights, { features, start: tf.scalar(start, 'int32'), capacity }), start);
      start += rows;
    }
    const embeddings = { ...inputs.embeddings, anchor: tf.slice(inputs.embeddings.anchor, [b, n, 0], [1, 1, 32]) };
    const hidden = drafterDraft(config, weights, { cache, embeddings, anchors: tf.tensor1d([anchor], 'int32') });
    assertClose(hidden, tf.reshape(tf.slice(expected, [b, n, 1, 0], [1, 1, 7, 32]), [1, 7, 32]), 2e-4, `block at ${anchor}`);
  }
});

function emptyCache(config: DrafterConfig, capacity: number): ContextKeyValues {
  const make = () => Array.from({ length: config.numHiddenLayers }, () => tf.zeros([1, config.numKeyValueHeads, capacity, config.headDim]) as Tensor4D);
  return { keys: make(), values: make() };
}

function writeRows(cache: ContextKeyValues, rows: ContextKeyValues, start: number): ContextKeyValues {
  const write = (old: Tensor4D, fresh: Tensor4D): Tensor4D => {
    const [batch, heads, capacity, dim] = old.shape;
    const end = start + fresh.shape[2];
    return tf.concat([tf.slice(old, [0, 0, 0, 0], [batch, heads, start, dim]), fresh, tf.slice(old, [0, 0, end, 0], [batch, heads, capacity - end, dim])], 2);
  };
  return { keys: cache.keys.map((old, i) => write(old, rows.keys[i]!)), values: cache.values.map((old, i) => write(old, rows.values[i]!)) };
}

const small: DrafterConfig = {
  blockSize: 4,
  maskTokenId: 0,
  targetLayerIds: [1, 2],
  numTargetLayers: 5,
  hiddenSize: 12,
  intermediateSize: 20,
  numHiddenLayers: 2,
  numAttentionHeads: 6,
  numKeyValueHeads: 2,
  headDim: 4,
  rmsNormEps: 1e-6,
  rope: { type: 'default', theta: 10000 },
  vocabSize: 30,
  maxPositionEmbeddings: 128,
  attentionBias: true,
};

function smallInputs(seed: number, anchorRows: number[][]) {
  const random = new Random(seed);
  const normal = (shape: number[]) => tf.tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal()), shape);
  const [batch, blocks] = [anchorRows.length, anchorRows[0]!.length];
  const embeddings: BlockEmbeddings = { anchor: normal([batch, blocks, 12]) as Tensor3D, mask: normal([1, 12]) as Tensor2D };
  return { context: normal([batch, 9, 12]) as Tensor3D, embeddings, anchors: tf.tensor2d(anchorRows, undefined, 'int32') };
}

/** `drafterBlocks` from the context itself. */
function blocksOf(weights: Record<string, Tensor>, { context, ...inputs }: ReturnType<typeof smallInputs>): Tensor4D {
  return tf.tidy(() => drafterBlocks(small, weights, { ...inputs, context: contextKeyValues(small, weights, context) }));
}

test('a block sees neither other blocks nor the context from its anchor on', () => {
  const weights = initDrafterWeights(small, 1);
  const inputs = smallInputs(2, [[0, 3, 8]]);
  const all = blocksOf(weights, inputs);
  for (const [n, anchor] of [0, 3, 8].entries()) {
    const after = tf.concat([tf.slice(inputs.context, [0, 0, 0], [1, anchor, 12]), tf.fill([1, 9 - anchor, 12], 7)], 1) as Tensor3D;
    const alone = blocksOf(weights, {
      context: after,
      embeddings: { ...inputs.embeddings, anchor: tf.slice(inputs.embeddings.anchor, [0, n, 0], [1, 1, 12]) },
      anchors: tf.tensor2d([[anchor]], undefined, 'int32'),
    });
    assertClose(alone, tf.slice(all, [0, n, 0, 0], [1, 1, 3, 12]), 1e-5, `block at ${anchor}`);
  }
  const changed = tf.tidy(() => blocksOf(weights, { ...inputs, context: tf.add(inputs.context, 1) }));
  assertClose(tf.slice(changed, [0, 0, 0, 0], [1, 1, 3, 12]), tf.slice(all, [0, 0, 0, 0], [1, 1, 3, 12]), 0, 'block without context');
  assert.notDeepEqual(tf.slice(changed, [0, 2, 0, 0], [1, 1, 3, 12]).dataSync(), tf.slice(all, [0, 2, 0, 0], [1, 1, 3, 12]).dataSync());
});

test('blocks in groups give what each gives by itself, whatever their order; in a graph recorded with other anchors too', () => {
  const weights = initDrafterWeights(small, 3);
  const [length, count] = [100, 8];
  const sets = [[0, 1, 5, 13, 14, 60, 88, 99], [99, 2, 50, 0, 7, 98, 13, 26], [40, 40, 40, 40, 41, 42, 43, 44], [0, 0, 0, 0, 0, 0, 0, 0]];
  const random = new Random(9);
  const normal = (shape: number[]) => tf.tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal()), shape);
  const [context, anchor, mask, direction] = [normal([1, length, 12]), normal([1, count, 12]), normal([1, 12]), normal([1, count, 3, 12])];
  const run = (state: Record<string, { read(): Tensor }>, { context, anchor, mask, anchors, direction }: Record<string, Tensor>) => {
    const read = Object.fromEntries(Object.entries(state).map(([name, variable]) => [name, variable.read()]));
    let hidden: Tensor | undefined;
    const gradient = tf.grad((x) => {
      const out = blocksOf(read, { context: x as Tensor3D, embeddings: { anchor: anchor as Tensor3D, mask: mask as Tensor2D }, anchors: anchors as Tensor2D });
      hidden = tf.keep(tf.clone(out));
      return tf.sum(tf.mul(out, direction!));
    })(context!);
    const handedOut = tf.clone(hidden!);
    hidden!.dispose();
    return { hidden: handedOut, gradient };
  };
  const example = (blocks: number) => ({
    context: tf.zeros([1, length, 12]),
    anchor: tf.zeros([1, blocks, 12]),
    mask: tf.zeros([1, 12]),
    anchors: tf.zeros([1, blocks], 'int32'),
    direction: tf.zeros([1, blocks, 3, 12]),
  });
  const program = { variables: weights, functions: { all: { inputs: example(count), run }, one: { inputs: example(1), run } } };
  const [graph, eager] = [createGraphExecutor(program), createEagerExecutor(program)];
  for (const anchors of sets) {
    tf.tidy(() => {
      const one = anchors.map((position, n) =>
        eager.run('one', {
          context,
          anchor: tf.slice(anchor, [0, n, 0], [1, 1, 12]),
          mask,
          anchors: Int32Array.of(position),
          direction: tf.slice(direction, [0, n, 0, 0], [1, 1, 3, 12]),
        }),
      );
      const expected = { hidden: tf.concat(one.map(({ hidden }) => hidden!), 1), gradient: tf.addN(one.map(({ gradient }) => gradient!)) };
      for (const executor of [eager, graph]) {
        const found = executor.run('all', { context, anchor, mask, anchors: Int32Array.from(anchors), direction });
        assertClose(found['hidden']!, expected.hidden, 1e-5, `${executor.kind}, anchors ${anchors.join()}: hidden`);
        assertClose(found['gradient']!, expected.gradient, 2e-5, `${executor.kind}, anchors ${anchors.join()}: gradient of the context`);
      }
    });
  }
  graph.dispose();
  eager.dispose();
});

test('gradients agree with finite differences, attention biases, context and embeddings included', () => {
  const weights = initDrafterWeights(small, 5);
  const inputs = smallInputs(6, [[0, 3, 8], [2, 5, 6]]);
  const names = Object.keys(weights).filter((name) => !name.startsWith('fc') && !name.startsWith('hidden_norm'));
  const random = new Random(7);
  // Larger weights than initial ones, so that attention is far from uniform.
  const values = names.map((name) => tf.tensor(Float32Array.from({ length: weights[name]!.size }, () => 0.5 * random.normal() + (name.includes('norm') ? 1 : 0)), weights[name]!.shape));
  const direction = tf.tensor(Float32Array.from({ length: 2 * 3 * 3 * 12 }, () => random.normal()), [2, 3, 3, 12]);
  const objective = (context: Tensor, anchor: Tensor, mask: Tensor, ...tensors: Tensor[]): Tensor =>
    tf.sum(
      tf.mul(
        direction,
        blocksOf(Object.fromEntries(names.map((name, i) => [name, tensors[i]!])), { ...inputs, context: context as Tensor3D, embeddings: { anchor: anchor as Tensor3D, mask: mask as Tensor2D } }),
      ),
    );
  const all = [inputs.context as Tensor, inputs.embeddings.anchor, inputs.embeddings.mask, ...values];
  const gradients = tf.grads(objective as never)(all as never) as unknown as Tensor[];
  for (const [i, tensor] of all.entries()) {
    const step = tf.tensor(Float32Array.from({ length: tensor.size }, () => 2e-3 * random.normal()), tensor.shape);
    const at = (sign: number) => objective(...(all.map((other, j) => (j === i ? tf.add(other, tf.mul(step, sign)) : other)) as [Tensor, Tensor, Tensor, ...Tensor[]])).dataSync()[0]!;
    const measured = (at(1) - at(-1)) / 2;
    const predicted = tf.sum(tf.mul(gradients[i]!, step)).dataSync()[0]!;
    const name = ['context', 'anchors', 'mask', ...names][i]!;
    assert.ok(Math.abs(measured - predicted) < 0.02 * Math.abs(predicted) + 2e-3, `${name}: measured ${measured}, gradient says ${predicted}`);
  }
});

test('a pass leaves no tensors behind', () => {
  const weights = initDrafterWeights(small, 1);
  const inputs = smallInputs(2, [[0, 3, 8]]);
  const before = tf.memory().numTensors;
  blocksOf(weights, inputs).dispose();
  const { value, grads } = tf.valueAndGrads(((norm: Tensor) => tf.sum(blocksOf({ ...weights, 'norm.weight': norm }, inputs))) as never)([weights['norm.weight']!]);
  tf.dispose([value, ...grads]);
  assert.equal(tf.memory().numTensors, before);
});

test('initial weights depend on the seed alone', () => {
  const [first, again, other] = [1, 1, 2].map((seed) => initDrafterWeights(small, seed)) as [Record<string, Tensor>, Record<string, Tensor>, Record<string, Tensor>];
  for (const name of Object.keys(first)) assert.deepEqual(first[name]!.dataSync(), again[name]!.dataSync());
  const matrix = first['layers.0.mlp.up_proj.weight']!;
  assert.notDeepEqual(matrix.dataSync(), other['layers.0.mlp.up_proj.weight']!.dataSync());
  const deviation = Math.sqrt(tf.mean(tf.square(matrix)).dataSync()[0]!);
  assert.ok(Math.abs(deviation - 0.02) < 0.004, `standard deviation ${deviation}`);
  assert.deepEqual([...new Set(first['layers.1.self_attn.k_norm.weight']!.dataSync())], [1]);
});
