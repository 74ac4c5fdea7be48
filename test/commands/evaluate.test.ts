// Evaluation with real models: the reference loop's rounds, the identity of simulated and decoded rounds, trees, sampling, and what is said
// where things do not fit.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { before } from 'node:test';
import { decodingLoadOptions } from '../../src/commands/decoding-models.js';
import { evaluateDrafter, type EvaluateOptions } from '../../src/commands/evaluate-drafter.js';
import { promptsOf } from '../../src/commands/prompt-sets.js';
import type { EvaluationDocument } from '../../src/decoding/evaluation-json.js';
import { decodeSpeculative, decodeTarget } from '../../src/decoding/decode.js';
import { simulateModels } from '../../src/decoding/model-simulation.js';
import { createModelSteps } from '../../src/decoding/model-steps.js';
import type { DrafterConfig } from '../../src/models/drafter-config.js';
import { initDrafterWeights } from '../../src/models/drafter-init.js';
import { openSafetensors } from '../../src/models/safetensors.js';
import { initTargetWeights } from '../../src/models/target-init.js';
import type { Target } from '../../src/models/target.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { needsShared, sharedPath } from '../shared-files.js';
import { smallTarget } from '../training/small-run.js';

before(async () => {
  await loadTensorflow();
});

const folder = () => mkdtempSync(join(tmpdir(), 'draftalign-evaluate-'));
const trained = needsShared('models/drafter-trained-stories', 'models/stories-260K', 'golden/drafter-trained-stories.safetensors');

/** The golden prompts as a file, and what the reference loop made of them. */
async function goldenPrompts(): Promise<{ file: string; outputs: number[][]; lengths: number[][] }> {
  const golden = await openSafetensors(sharedPath('golden/drafter-trained-stories.safetensors')!);
  const read = async (name: string) => [...(await golden.readInt32(name))];
  const rows = await Promise.all([0, 1, 2, 3].map(async (i) => ({ prompt: await read(`generate.${i}.prompt`), output: await read(`generate.${i}.output_ids`), lengths: await read(`generate.${i}.acceptance_lengths`) })));
  await golden.close();
  const file = join(folder(), 'prompts.jsonl');
  writeFileSync(file, rows.map(({ prompt }) => JSON.stringify({ prompt_ids: prompt })).join('\n'));
  return { file, outputs: rows.map(({ output }) => output), lengths: rows.map(({ lengths }) => lengths) };
}

const storiesOptions = (file: string, more: Partial<EvaluateOptions> = {}): EvaluateOptions => ({
  drafter: sharedPath('models/drafter-trained-stories')!,
  target: sharedPath('models/stories-260K')!,
  sets: [{ name: 'x', file }],
  maxNewTokens: 80,
  ...more,
});

test('a small target is decoded with one thread, unless threads are asked for or the environment chooses', async () => {
  const chosen = process.env['TF_NUM_INTRAOP_THREADS'];
  assert.deepEqual(await decodingLoadOptions({ drafter: 'demo' }, undefined), {});
  delete process.env['TF_NUM_INTRAOP_THREADS'];
  try {
    assert.deepEqual(await decodingLoadOptions({ drafter: 'demo' }, undefined), { threads: 1 });
    assert.deepEqual(await decodingLoadOptions({ drafter: 'demo' }, 3), { threads: 3 });
    await assert.rejects(decodingLoadOptions({ drafter: 'nowhere' }, undefined), /there is no folder nowhere/);
  } finally {
    process.env['TF_NUM_INTRAOP_THREADS'] = chosen;
  }
});

test('a drafter trained elsewhere decodes as the reference loop does: ids, and the accepted length of every round', trained, async () => {
  const before = tf.memory().numTensors;
  const { file, outputs, lengths } = await goldenPrompts();
  const json = join(folder(), 'evaluation.json');
  const document = await evaluateDrafter(storiesOptions(file, { check: true, json }));
  assert.equal(tf.memory().numTensors, before);
  assert.deepEqual(document.mismatches, []);
  assert.equal(document.totals.identical, true);
  document.prompts.forEach(({ promptIds, outputIds, acceptedLengths }, i) => {
    assert.deepEqual(acceptedLengths, lengths[i]);
    assert.deepEqual([...promptIds, ...outputIds], outputs[i]!.slice(0, promptIds.length + 80));
  });
  assert.deepEqual((JSON.parse(readFileSync(json, 'utf8')) as EvaluationDocument).totals, JSON.parse(JSON.stringify(document.totals)));
});

test('trees of drafts and shorter blocks write the same text; a tree is accepted longer than its chain', trained, async () => {
  const { file } = await goldenPrompts();
  const chain = await evaluateDrafter(storiesOptions(file, { limit: 2, maxNewTokens: 48 }));
  const tree = await evaluateDrafter(storiesOptions(file, { limit: 2, maxNewTokens: 48, treeNodes: 24 }));
  const shorter = await evaluateDrafter(storiesOptions(file, { limit: 2, maxNewTokens: 48, blockSize: 4, check: true }));
  for (const { totals, mismatches } of [chain, tree, shorter]) assert.deepEqual([totals.identical, mismatches], [true, []]);
  assert.ok(tree.totals.acceptedLength >= chain.totals.acceptedLength, `${tree.totals.acceptedLength} against ${chain.totals.acceptedLength}`);
  assert.ok(Math.max(...shorter.prompts.flatMap(({ acceptedLengths }) => acceptedLengths)) <= 4);
});

test('sampled texts that are verified by matching are the target\'s own samples', trained, async () => {
  const { file } = await goldenPrompts();
  const sampling = { temperature: 0.8, topK: 20, topP: 0.95 };
  const document = await evaluateDrafter(storiesOptions(file, { limit: 2, maxNewTokens: 32, sampling, seed: 3 }));
  assert.deepEqual([document.totals.identical, document.mismatches], [true, []]);
  const sampled = await evaluateDrafter(storiesOptions(file, { limit: 2, maxNewTokens: 32, sampling, verifier: 'sample' }));
  assert.equal(sampled.totals.identical, null);
  assert.ok(sampled.totals.acceptedLength > 1.5);
});

const drafterConfig: DrafterConfig = {
  blockSize: 5,
  maskTokenId: 0,
  targetLayerIds: [1, 2],
  numTargetLayers: smallTarget.numLayers,
  hiddenSize: smallTarget.hiddenSize,
  intermediateSize: 24,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  numKeyValueHeads: 1,
  headDim: 8,
  rmsNormEps: 1e-6,
  rope: { type: 'default', theta: 10000 },
  vocabSize: smallTarget.vocabSize,
  maxPositionEmbeddings: smallTarget.maxPositions,
  attentionBias: false,
};

test('recorded and eager steps take the same rounds, and a cache serves one text after another', async () => {
  const weights = initTargetWeights(smallTarget, 5);
  const target: Target = { config: smallTarget, weights, name: 'small', folder: '', weightFingerprint: '', dispose: () => undefined };
  const drafter = { config: drafterConfig, weights: initDrafterWeights(drafterConfig, 2) };
  const before = tf.memory().numTensors;
  for (const treeNodes of [0, 6]) {
    const [graph, eager] = [false, true].map((eager) => createModelSteps({ target, drafter, capacity: 48, treeNodes, eager }));
    assert.deepEqual([graph!.kind, eager!.kind], ['graph', 'eager']);
    for (const prompt of [[3, 4, 5, 6, 7, 8, 9], [2], [9, 3]].map((ids) => Int32Array.from(ids))) {
      const [a, b] = [graph!, eager!].map((steps) => decodeSpeculative(steps, prompt, { maxNewTokens: 24, treeNodes }));
      assert.deepEqual(a!.rounds, b!.rounds);
      assert.deepEqual(a!.outputIds, decodeTarget(graph!, prompt, { maxNewTokens: 24 }).outputIds);
      if (treeNodes > 0) continue;
      const text = Int32Array.of(...prompt, ...decodeTarget(eager!, prompt, { maxNewTokens: 24, beyond: 5 }).committedIds);
      assert.deepEqual(simulateModels({ target, drafter }, text, { start: prompt.length, end: prompt.length + 24 }), a!.rounds.map(({ anchor, drafted, accepted }) => ({ anchor, drafted, accepted })));
    }
    assert.throws(() => graph!.prefill(Int32Array.from({ length: 40 }, () => 3), 20, false), /does not fit the 48 positions/);
    graph!.dispose();
    eager!.dispose();
  }
  assert.equal(tf.memory().numTensors, before);
  tf.dispose([weights, drafter.weights]);
});

test('what does not fit is told before anything is decoded', trained, async () => {
  const { file } = await goldenPrompts();
  await assert.rejects(evaluateDrafter(storiesOptions(file, { maxNewTokens: 600 })), /--max-new-tokens is 600; the target has 512 positions/);
  await assert.rejects(evaluateDrafter(storiesOptions(file, { blockSize: 9 })), /block size is 9; this drafter was trained for 8/);
  await assert.rejects(evaluateDrafter(storiesOptions(file, { sets: [{ name: 'x', file }, { name: 'x', file }] })), /two prompt sets are named x/);
  await assert.rejects(evaluateDrafter(storiesOptions(file, { target: sharedPath('models/tinystories-656K')! })), /holds no drafter that can be used with this target[\s\S]*hidden_size/);
  await assert.rejects(evaluateDrafter(storiesOptions(file, { limit: 0 })), /--limit is 0/);
  for (const name of ['gsm9k', 'constructor']) await assert.rejects(promptsOf(name), /there is no file .* or one of gsm8k/);
  await assert.rejects(promptsOf('gsm8k=missing.jsonl'), /there is no file missing.jsonl/);
});
