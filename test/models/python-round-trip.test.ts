// An exported folder means the same in Python: a plain PyTorch drafter written from the description, the classes of vLLM's speculators library
// and transformers' config loading read what was written, and compute what is computed here. Needs torch and safetensors (speculators, transformers).
import test, { before } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { contextKeyValues, drafterBlocks, drafterContext, embedBlocks } from '../../src/models/drafter.js';
import { loadDrafter, saveDrafter, type DrafterDtype, type LoadedDrafter } from '../../src/models/drafter-checkpoint.js';
import type { DrafterConfig } from '../../src/models/drafter-config.js';
import { drafterWeightShapes } from '../../src/models/drafter-shapes.js';
import { openSafetensors, writeSafetensors } from '../../src/models/safetensors.js';
import type { Weights } from '../../src/models/weights.js';
import { packageRoot } from '../../src/package-root.js';
import { Random } from '../../src/random.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';

const interpreters = [process.env['DRAFTALIGN_PYTHON'], 'python3', 'python'].filter((name) => name !== undefined);
const python = interpreters.find((name) => spawnSync(name, ['-c', 'import torch, safetensors']).status === 0);
const needs = (modules: string): { skip: string | false } => {
  const found = python !== undefined && spawnSync(python, ['-c', `import ${modules}`]).status === 0;
  return { skip: found ? false : `needs Python with ${modules} (DRAFTALIGN_PYTHON names another interpreter)` };
};
const script = join(packageRoot(), 'test', 'models', 'round_trip.py');

before(async () => {
  await loadTensorflow();
});

/** Biases and llama3 RoPE, so that every tensor and every field that a drafter can have is in it. */
const config: DrafterConfig = {
  blockSize: 5,
  maskTokenId: 38,
  targetLayerIds: [0, 2, 4],
  numTargetLayers: 6,
  hiddenSize: 48,
  intermediateSize: 80,
  numHiddenLayers: 3,
  numAttentionHeads: 6,
  numKeyValueHeads: 2,
  headDim: 16,
  rmsNormEps: 1e-5,
  rope: { type: 'llama3', theta: 10000, factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPosition: 64 },
  vocabSize: 40,
  maxPositionEmbeddings: 256,
  attentionBias: true,
};
const anchors = [0, 7, 23, 30];
const length = 36;

/** Weights far from their initial values, norms too: a norm of ones would hide a norm that was left out or mixed up. */
function variedWeights(shape: DrafterConfig, seed: number): Weights {
  const random = Random.fork(seed, 'round trip');
  return Object.fromEntries(
    Object.entries(drafterWeightShapes(shape)).map(([name, dimensions]) => {
      const isNorm = name.includes('norm');
      const scale = isNorm ? 0.3 : dimensions.length === 1 ? 0.2 : 1 / Math.sqrt(dimensions.at(-1)!);
      const values = Float32Array.from({ length: dimensions.reduce((a, b) => a * b, 1) }, () => (isNorm ? 1 : 0) + scale * random.normal());
      return [name, tf.tensor(values, dimensions)];
    }),
  );
}

interface Inputs {
  features: Float32Array;
  embedding: Float32Array;
  tokens: Int32Array;
}

function randomInputs(shape: DrafterConfig): Inputs {
  const random = Random.fork(0, 'round trip inputs');
  const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal());
  return {
    features: normal(length * shape.targetLayerIds.length * shape.hiddenSize),
    embedding: normal(shape.vocabSize * shape.hiddenSize),
    tokens: Int32Array.from({ length }, () => random.int(shape.vocabSize - 2)),
  };
}

/** Slots 1..K-1 of every block, computed here. */
function runHere({ config: shape, weights }: LoadedDrafter, { features, embedding, tokens }: Inputs): Float32Array {
  return tf.tidy(() => {
    const table = tf.tensor2d(embedding, [shape.vocabSize, shape.hiddenSize]);
    const embeddings = embedBlocks(shape, table, tf.tensor2d(anchors.map((anchor) => tokens[anchor]!), [1, anchors.length], 'int32'));
    const context = contextKeyValues(shape, weights, drafterContext(shape, weights, tf.tensor3d(features, [1, length, shape.targetLayerIds.length * shape.hiddenSize])));
    return drafterBlocks(shape, weights, { context, embeddings, anchors: tf.tensor2d([anchors], [1, anchors.length], 'int32') as Tensor2D }).dataSync() as Float32Array;
  });
}

/** The same slots by `kind` in Python, computed in `dtype`. */
async function runPython(kind: 'plain' | 'speculators', folder: string, shape: DrafterConfig, inputs: Inputs, dtype: string): Promise<Float32Array> {
  const place = mkdtempSync(join(tmpdir(), 'draftalign-python-'));
  const [inputFile, outputFile] = [join(place, 'inputs.safetensors'), join(place, 'outputs.safetensors')];
  await writeSafetensors(inputFile, [
    { name: 'features', shape: [length, shape.targetLayerIds.length * shape.hiddenSize], dtype: 'F32', data: inputs.features },
    { name: 'embedding', shape: [shape.vocabSize, shape.hiddenSize], dtype: 'F32', data: inputs.embedding },
    { name: 'tokens', shape: [length], dtype: 'I32', data: inputs.tokens },
    { name: 'anchors', shape: [anchors.length], dtype: 'I32', data: Int32Array.from(anchors) },
  ]);
  execFileSync(python!, [script, kind, folder, inputFile, outputFile, dtype], { stdio: ['ignore', 'ignore', 'pipe'] });
  const file = await openSafetensors(outputFile);
  const hidden = await file.readFloat32('hidden');
  await file.close();
  // Slot 0 is computed in Python and not here.
  const slots = hidden.length / anchors.length;
  return Float32Array.from(anchors.flatMap((_, n) => [...hidden.subarray(n * slots + shape.hiddenSize, (n + 1) * slots)]));
}

function greatestDifference(a: Float32Array, b: Float32Array): { absolute: number; relative: number } {
  assert.equal(a.length, b.length);
  let absolute = 0;
  let greatest = 0;
  for (let i = 0; i < a.length; i++) {
    assert.ok(Number.isFinite(b[i]), `value ${i} is ${b[i]}`);
    absolute = Math.max(absolute, Math.abs(a[i]! - b[i]!));
    greatest = Math.max(greatest, Math.abs(a[i]!));
  }
  return { absolute, relative: absolute / greatest };
}

async function writeDrafter(shape: DrafterConfig, format: 'dflash' | 'speculators', dtype: DrafterDtype): Promise<LoadedDrafter> {
  const folder = join(mkdtempSync(join(tmpdir(), 'draftalign-export-')), 'drafter');
  const weights = variedWeights(shape, 3);
  await saveDrafter(folder, shape, weights, { dtype, format, verifier: { nameOrPath: null, architectures: [] } });
  tf.dispose(weights);
  return loadDrafter(folder);
}

const typeNames = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;
/** Greatest difference relative to the greatest output where Python computes in the stored type itself; measured are 3e-7, 1.4e-3 and 9e-3. */
const computedInType = { F32: 1e-5, F16: 0.006, BF16: 0.04 } as const;

test('a plain PyTorch drafter computes the same from every exported type', needs('torch, safetensors'), async (context) => {
  const inputs = randomInputs(config);
  for (const dtype of ['F32', 'F16', 'BF16'] as const) {
    const drafter = await writeDrafter(config, dtype === 'F16' ? 'speculators' : 'dflash', dtype);
    const here = runHere(drafter, inputs);
    // The stored weights, computed with in float32 on both sides.
    const { absolute } = greatestDifference(here, await runPython('plain', drafter.folder, config, inputs, 'float32'));
    assert.ok(absolute <= 2e-4, `${dtype}: outputs differ by ${absolute}`);
    const { relative } = greatestDifference(here, await runPython('plain', drafter.folder, config, inputs, typeNames[dtype]));
    context.diagnostic(`stored as ${dtype}: outputs differ by ${absolute.toExponential(1)}; computed in it, by ${relative.toExponential(1)} of the greatest`);
    assert.ok(relative <= computedInType[dtype], `computed in ${dtype}, outputs differ by ${relative} of the greatest`);
    drafter.dispose();
  }
});

test('plain and linear RoPE, and a drafter without biases, compute the same in PyTorch', needs('torch, safetensors'), async () => {
  for (const rope of [{ type: 'default', theta: 500 }, { type: 'linear', theta: 10000, factor: 4 }] as const) {
    const shape: DrafterConfig = { ...config, rope, attentionBias: false };
    const inputs = randomInputs(shape);
    const drafter = await writeDrafter(shape, 'dflash', 'F32');
    const { absolute } = greatestDifference(runHere(drafter, inputs), await runPython('plain', drafter.folder, shape, inputs, 'float32'));
    assert.ok(absolute <= 2e-4, `${rope.type}: outputs differ by ${absolute}`);
    drafter.dispose();
  }
});

test("the speculators library loads its format with its own classes and computes the same", needs('torch, safetensors, speculators.models.dflash'), async (context) => {
  const inputs = randomInputs(config);
  for (const dtype of ['F32', 'BF16'] as const) {
    const drafter = await writeDrafter(config, 'speculators', dtype);
    const { absolute } = greatestDifference(runHere(drafter, inputs), await runPython('speculators', drafter.folder, config, inputs, 'float32'));
    context.diagnostic(`speculators, stored as ${dtype}: outputs differ by ${absolute.toExponential(1)}`);
    assert.ok(absolute <= 2e-4, `${dtype}: outputs differ by ${absolute}`);
    drafter.dispose();
  }
});

test("transformers loads an exported config and keeps every field", needs('torch, safetensors, transformers'), async () => {
  const drafter = await writeDrafter(config, 'dflash', 'BF16');
  const read = JSON.parse(execFileSync(python!, [script, 'config', drafter.folder, '', ''], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })) as Record<string, unknown>;
  const { rope_theta: theta, rope_type: type, factor } = read['rope_parameters'] as Record<string, unknown>;
  assert.deepEqual([read['class'], read['block_size'], read['head_dim'], read['num_target_layers'], theta, type, factor], ['Qwen3Config', 5, 16, 6, 10000, 'llama3', 8]);
  assert.deepEqual(read['dflash_config'], { mask_token_id: 38, target_layer_ids: [0, 2, 4] });
  assert.deepEqual(read['layer_types'], ['full_attention', 'full_attention', 'full_attention']);
  assert.deepEqual([read['vocab_size'], read['tie_word_embeddings'], read['attention_bias']], [40, false, true]);
  drafter.dispose();
});
