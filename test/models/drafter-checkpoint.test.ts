// Drafter folders: what is written is read back, and whatever would make an engine draft nonsense is told, all of it at once.
import test, { before } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../../src/errors.js';
import { defaultTaps, formatDrafterConfig, parseDrafterConfig, type DrafterConfig } from '../../src/models/drafter-config.js';
import { loadDrafter, saveDrafter } from '../../src/models/drafter-checkpoint.js';
import { initDrafterWeights } from '../../src/models/drafter-init.js';
import { countDrafterParameters } from '../../src/models/drafter-shapes.js';
import { float32ToBfloat16, bfloat16ToFloat32, float32ToHalf, halfToFloat32 } from '../../src/models/half.js';
import { openSafetensors, writeSafetensors, type TensorToWrite } from '../../src/models/safetensors.js';
import type { RopeParameters } from '../../src/models/rope.js';
import { parseTargetConfig, readTargetConfig } from '../../src/models/target-config.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { needsShared, sharedPath } from '../shared-files.js';

before(async () => {
  await loadTensorflow();
});

const config: DrafterConfig = {
  blockSize: 4,
  maskTokenId: 3,
  targetLayerIds: [1, 2],
  numTargetLayers: 5,
  hiddenSize: 12,
  intermediateSize: 20,
  numHiddenLayers: 2,
  numAttentionHeads: 6,
  numKeyValueHeads: 2,
  headDim: 4,
  rmsNormEps: 1e-6,
  rope: { type: 'default', theta: 50000 },
  vocabSize: 30,
  maxPositionEmbeddings: 128,
  attentionBias: false,
};

const targetJson = {
  architectures: ['Qwen3ForCausalLM'],
  vocab_size: 30,
  hidden_size: 12,
  intermediate_size: 20,
  num_hidden_layers: 5,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 4,
  eos_token_id: 2,
  pad_token_id: 3,
};
const target = parseTargetConfig(targetJson, 'config.json');

const temporaryFolder = () => join(mkdtempSync(join(tmpdir(), 'draftalign-')), 'drafter');

async function rewrite(folder: string, change: (tensors: TensorToWrite[]) => TensorToWrite[]): Promise<void> {
  const path = join(folder, 'model.safetensors');
  const file = await openSafetensors(path);
  const tensors = await Promise.all(file.names().map(async (name) => ({ name, shape: file.entry(name).shape, dtype: 'F32' as const, data: await file.readFloat32(name) })));
  await file.close();
  await writeSafetensors(path, change(tensors));
}

function editConfig(folder: string, change: (json: Record<string, unknown>) => void): void {
  const path = join(folder, 'config.json');
  const json = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  change(json);
  writeFileSync(path, JSON.stringify(json));
}

async function problemsOf(loading: Promise<unknown>): Promise<string> {
  const error = await loading.then(
    () => assert.fail('loaded, though it must not'),
    (error: unknown) => error,
  );
  assert.ok(error instanceof UserError, String(error));
  return error.message;
}

test('drafters trained elsewhere load against their targets', needsShared('models/drafter-random-qwen3', 'models/drafter-trained-stories'), async () => {
  for (const [drafter, target] of [['drafter-random-qwen3', 'random-qwen3-untied'], ['drafter-trained-stories', 'stories-260K']] as const) {
    const loaded = await loadDrafter(sharedPath(`models/${drafter}`)!, await readTargetConfig(sharedPath(`models/${target}`)!));
    assert.equal(loaded.config.blockSize, 8);
    assert.equal(Object.keys(loaded.weights).length, 25);
    loaded.dispose();
  }
  const stories = await loadDrafter(sharedPath('models/drafter-trained-stories')!);
  assert.deepEqual(stories.config.targetLayerIds, [0, 2, 3]);
  assert.deepEqual(stories.config.rope, { type: 'default', theta: 10000 });
  stories.dispose();
});

test('what is saved is loaded: float32 exactly, half types rounded to nearest, in both formats', async () => {
  const weights = initDrafterWeights(config, 1);
  const narrowed = {
    F32: (values: Float32Array) => values,
    F16: (values: Float32Array) => halfToFloat32(float32ToHalf(values)),
    BF16: (values: Float32Array) => bfloat16ToFloat32(float32ToBfloat16(values)),
  };
  const count = tf.memory().numTensors;
  for (const dtype of ['F32', 'F16', 'BF16'] as const) {
    for (const format of ['dflash', 'speculators'] as const) {
      const folder = temporaryFolder();
      await saveDrafter(folder, config, weights, { dtype, format, verifier: { nameOrPath: 'x/y', architectures: ['Qwen3ForCausalLM'] } });
      const loaded = await loadDrafter(folder, target);
      assert.equal(loaded.format, format);
      assert.deepEqual(loaded.config, config);
      for (const [name, tensor] of Object.entries(weights)) {
        assert.deepEqual(loaded.weights[name]!.dataSync(), narrowed[dtype](tensor.dataSync() as Float32Array), `${dtype} ${format} ${name}`);
      }
      loaded.dispose();
      assert.deepEqual(readdirSync(join(folder, '..')), ['drafter'], 'nothing is left beside');
    }
  }
  assert.equal(tf.memory().numTensors, count);
});

test('saving into a folder replaces the drafter in it and nothing else', async () => {
  const folder = temporaryFolder();
  await saveDrafter(folder, config, initDrafterWeights(config, 1), { dtype: 'F32', extra: { target: 'stories' } });
  writeFileSync(join(folder, 'README.md'), 'kept');
  const second = initDrafterWeights(config, 2);
  await saveDrafter(folder, config, second, { dtype: 'F32' });
  const loaded = await loadDrafter(folder);
  assert.deepEqual(loaded.weights['fc.weight']!.dataSync(), second['fc.weight']!.dataSync());
  assert.deepEqual(readdirSync(folder).sort(), ['README.md', 'config.json', 'model.safetensors']);
});

test('every RoPE kind, and biases, survive the config file', () => {
  const kinds: RopeParameters[] = [
    { type: 'default', theta: 1e6 },
    { type: 'linear', theta: 10000, factor: 4 },
    { type: 'llama3', theta: 500000, factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPosition: 8192 },
  ];
  for (const rope of kinds) {
    const json = formatDrafterConfig({ ...config, rope, attentionBias: true }, { dtype: 'float32' });
    assert.deepEqual(parseDrafterConfig(json, 'config.json').config, { ...config, rope, attentionBias: true });
    const { rope_parameters: _, ...older } = json;
    assert.deepEqual(parseDrafterConfig(older, 'config.json').config?.rope, rope);
    const { rope_theta: _theta, rope_scaling: _scaling, ...newer } = json;
    assert.deepEqual(parseDrafterConfig(newer, 'config.json').config?.rope, rope);
  }
});

test('a drafter that does not fit its target is refused with every mismatch', async () => {
  const folder = temporaryFolder();
  await saveDrafter(folder, config, initDrafterWeights(config, 1), { dtype: 'F32' });
  const other = parseTargetConfig({ ...targetJson, vocab_size: 31, hidden_size: 16, num_hidden_layers: 2, eos_token_id: [7, 3], pad_token_id: null }, 'config.json');
  const message = await problemsOf(loadDrafter(folder, other));
  for (const expected of [/vocab_size` is 30; the target's is 31/, /hidden_size` is 12; the target's is 16/, /num_target_layers` is 5; the target's is 2/, /names layer 2; the target has 0\.\.1/, /mask_token_id` is 3, which ends/]) {
    assert.match(message, expected);
  }
});

test('a mask that is the target\'s padding token is told, not refused', async () => {
  const folder = temporaryFolder();
  await saveDrafter(folder, config, initDrafterWeights(config, 1), { dtype: 'F32' });
  const loaded = await loadDrafter(folder, target);
  assert.match(loaded.notes.join(), /padding token/);
  loaded.dispose();
});

test('another RoPE than the target\'s and fewer positions are told, not refused', async () => {
  const folder = temporaryFolder();
  await saveDrafter(folder, config, initDrafterWeights(config, 1), { dtype: 'F32' });
  const other = parseTargetConfig({ ...targetJson, rope_theta: 1e6, max_position_embeddings: 4096 }, 'config.json');
  const loaded = await loadDrafter(folder, other);
  assert.match(loaded.notes.join('\n'), /RoPE differs[^]*50000[^]*1000000[^]*max_position_embeddings` is 128, the target's 4096/);
  loaded.dispose();
  const same = await loadDrafter(folder, parseTargetConfig({ ...targetJson, rope_theta: 50000, max_position_embeddings: 128 }, 'config.json'));
  assert.doesNotMatch(same.notes.join('\n'), /RoPE|positions/);
  same.dispose();
});

test('a config with many faults is refused with all of them', async () => {
  const folder = temporaryFolder();
  await saveDrafter(folder, config, initDrafterWeights(config, 1), { dtype: 'F32' });
  editConfig(folder, (json) => {
    json['dflash_config'] = { mask_token_id: 30, target_layer_ids: [1, 5] };
    json['block_size'] = 1;
    json['layer_types'] = ['full_attention', 'sliding_attention'];
    json['num_key_value_heads'] = 4;
    delete json['rope_theta'];
    json['rope_parameters'] = { rope_type: 'su', rope_theta: 10000 };
  });
  const message = await problemsOf(loadDrafter(folder));
  for (const expected of [/block_size` is 1/, /names layer 5/, /mask_token_id` is 30/, /sliding_attention/, /must divide/, /su/]) assert.match(message, expected);
  editConfig(folder, (json) => delete json['rope_parameters']);
  assert.match(await problemsOf(loadDrafter(folder)), /rope_theta/);
});

test('missing, misshapen and foreign tensors are all named', async () => {
  const folder = temporaryFolder();
  await saveDrafter(folder, config, initDrafterWeights(config, 1), { dtype: 'F32' });
  await rewrite(folder, (tensors) => [
    ...tensors
      .filter(({ name }) => name !== 'layers.1.self_attn.q_norm.weight')
      .map((tensor) => (tensor.name === 'fc.weight' ? { ...tensor, shape: [24, 12] } : tensor)),
    { name: 'layers.2.mlp.up_proj.weight', shape: [1], dtype: 'F32', data: new Float32Array(1) },
    { name: 'd2t', shape: [2], dtype: 'I32', data: Int32Array.of(4, 5) },
  ]);
  const message = await problemsOf(loadDrafter(folder, target));
  for (const expected of [/layers\.1\.self_attn\.q_norm\.weight \[4\] is missing/, /fc\.weight has shape \[24, 12\]; the config makes it \[12, 24\]/, /layers\.2\.mlp\.up_proj\.weight \[1\] does not belong/, /d2t maps a reduced vocabulary/]) {
    assert.match(message, expected);
  }
});

test('fields that make another drafter of it are refused, plain values are not', async () => {
  const folder = temporaryFolder();
  await saveDrafter(folder, config, initDrafterWeights(config, 1), { dtype: 'F32' });
  editConfig(folder, (json) => {
    Object.assign(json, { is_causal: false, draft_vocab_size: 30, target_hidden_size: null, logit_scale: 1, partial_rotary_factor: 1 });
    Object.assign(json['dflash_config'] as object, { causal: false, attention_value_scale: null, conv_kernel_size: 0, use_aux_hidden_state: true });
  });
  (await loadDrafter(folder, target)).dispose();
  editConfig(folder, (json) => {
    Object.assign(json, { is_neox_style: false, draft_vocab_size: 20 });
    Object.assign(json['dflash_config'] as object, { causal: true, attention_value_scale: 0.5, conv_kernel_size: 4, projector_type: 'domino' });
  });
  writeFileSync(join(folder, 'mask_embedding.pt'), '');
  const message = await problemsOf(loadDrafter(folder, target));
  for (const expected of [/is_neox_style/, /draft_vocab_size/, /dflash_config\.causal/, /attention_value_scale/, /conv_kernel_size/, /projector_type/, /mask_embedding\.pt/]) {
    assert.match(message, expected);
  }
});

test('tensors with `model.` in front are the drafter\'s too', async () => {
  const folder = temporaryFolder();
  const weights = initDrafterWeights(config, 1);
  await saveDrafter(folder, config, weights, { dtype: 'F32' });
  await rewrite(folder, (tensors) => tensors.map((tensor) => ({ ...tensor, name: `model.${tensor.name}` })));
  const loaded = await loadDrafter(folder, target);
  assert.deepEqual(loaded.weights['fc.weight']!.dataSync(), weights['fc.weight']!.dataSync());
  loaded.dispose();
});

test('stored copies of the target\'s embedding and head are compared with it', async () => {
  const folder = temporaryFolder();
  await saveDrafter(folder, config, initDrafterWeights(config, 1), { dtype: 'F32' });
  const own = Float32Array.from({ length: 30 * 12 }, (_, i) => Math.sin(i));
  await rewrite(folder, (tensors) => [...tensors, { name: 'embed_tokens.weight', shape: [30, 12], dtype: 'BF16', data: own }, { name: 'lm_head.weight', shape: [30, 12], dtype: 'F32', data: own }]);
  const loaded = await loadDrafter(folder, target, { targetWeights: { embedding: own, head: own } });
  assert.match(loaded.notes.join('\n'), /embed_tokens\.weight is equal[^]*lm_head\.weight is equal/);
  loaded.dispose();
  const message = await problemsOf(loadDrafter(folder, target, { targetWeights: { embedding: own, head: own.map((x) => x + 0.1) } }));
  assert.match(message, /lm_head\.weight differs/);
  assert.doesNotMatch(message, /embed_tokens/);
});

test('speculators drafters of another kind are refused by name', async () => {
  const folder = temporaryFolder();
  await saveDrafter(folder, config, initDrafterWeights(config, 1), { dtype: 'F32', format: 'speculators' });
  editConfig(folder, (json) => {
    json['speculators_model_type'] = 'eagle3';
    json['draft_vocab_size'] = 10;
    json['sample_from_anchor'] = true;
    json['aux_hidden_state_layer_ids'] = [0, 3];
  });
  const message = await problemsOf(loadDrafter(folder, target));
  for (const expected of [/"eagle3"/, /reduced vocabulary/, /sample_from_anchor/, /embedding's output/]) assert.match(message, expected);
});

test('a folder without a drafter is told so', async () => {
  assert.match(await problemsOf(loadDrafter('/nowhere')), /no folder \/nowhere/);
  assert.match(await problemsOf(loadDrafter(tmpdir())), /no config\.json/);
});

test('default taps are the reference\'s', () => {
  assert.deepEqual(defaultTaps(5, 36), [1, 9, 17, 25, 33]);
  assert.deepEqual(defaultTaps(1, 7), [3]);
  assert.deepEqual(defaultTaps(3, 7), [1, 2, 4], 'halves go to the even number, as in Python');
  assert.deepEqual(defaultTaps(3, 6), [1, 2, 3]);
  assert.throws(() => defaultTaps(4, 6), /room for 3/);
});

test('parameters are counted as they are made', () => {
  const weights = initDrafterWeights(config, 1);
  assert.equal(countDrafterParameters(config), Object.values(weights).reduce((sum, { size }) => sum + size, 0));
  assert.equal(Object.keys(weights).length, 11 * 2 + 3);
});
