// A target's folder in Transformers layout, read and written: one safetensors file or shards named by an index.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { basename, join, resolve, sep } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import { UserError } from '../errors.js';
import { sha256File, writeFileAtomic } from '../files.js';
import { availableMemory } from '../memory.js';
import { tf } from '../tensorflow/ops.js';
import { openAllSafetensors, writeSafetensors } from './safetensors.js';
import type { SafetensorsDtype } from './safetensors.js';
import { readTargetConfig } from './target-config.js';
import type { TargetConfig } from './target-config.js';
import { targetWeightShapes } from './target-init.js';
import type { Weights } from './weights.js';

/** A frozen target in memory, float32. */
export interface Target {
  config: TargetConfig;
  weights: Weights;
  name: string;
  folder: string;
  /** SHA-256 over the hashes of its safetensors files, in the order of their names. */
  weightFingerprint: string;
  dispose(): void;
}

/** Reads the target in a Transformers folder. Throws UserError that names every missing or misshapen tensor. */
export async function loadTarget(folder: string, name = basename(resolve(folder))): Promise<Target> {
  if (!(await stat(folder).then((found) => found.isDirectory(), () => false))) throw new UserError(`${folder} is not a folder; a target is a folder in Transformers layout.`);
  const config = await readTargetConfig(folder);
  const files = await weightFiles(folder);
  refuseTooLarge(config, folder);
  const weights = await readWeights(config, folder, files);
  return {
    config,
    weights,
    name,
    folder: resolve(folder),
    weightFingerprint: await fingerprint(files),
    dispose: () => {
      for (const tensor of new Set(Object.values(weights))) tensor.dispose();
    },
  };
}

/** Absolute paths of the folder's safetensors files. An index may name files of its own folder only. */
export async function weightFiles(folder: string): Promise<string[]> {
  const single = join(folder, 'model.safetensors');
  if (existsSync(single)) return [single];
  const indexFile = join(folder, 'model.safetensors.index.json');
  if (!existsSync(indexFile)) throw new UserError(`${folder} holds neither model.safetensors nor model.safetensors.index.json. Weights in other formats (.bin, .gguf) are not read.`);
  let map: unknown;
  try {
    map = (JSON.parse(await readFile(indexFile, 'utf8')) as { weight_map?: unknown }).weight_map;
  } catch (error) {
    throw new UserError(`${indexFile} is not valid JSON: ${(error as Error).message}`);
  }
  if (map === null || typeof map !== 'object' || Array.isArray(map)) throw new UserError(`${indexFile} has no "weight_map" object.`);
  const root = resolve(folder) + sep;
  return [...new Set(Object.values(map as Record<string, unknown>))].sort().map((file) => {
    if (typeof file !== 'string' || file.includes('\0')) throw new UserError(`${indexFile} names a file that is not a string.`);
    const path = resolve(folder, file);
    if (!path.startsWith(root)) throw new UserError(`${indexFile} names ${JSON.stringify(file)}, which lies outside its folder; it is not read.`);
    if (!existsSync(path)) throw new UserError(`${indexFile} names ${file}, which is missing.`);
    return path;
  });
}

async function fingerprint(files: string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const file of files) hash.update(await sha256File(file));
  return hash.digest('hex');
}

/** A clear message before an allocation that cannot fit, rather than a killed process. */
function refuseTooLarge(config: TargetConfig, folder: string): void {
  const values = Object.values(targetWeightShapes(config)).reduce((sum, shape) => sum + shape.reduce((product, size) => product * size, 1), 0);
  const gib = (values * 4) / 2 ** 30;
  const have = availableMemory() / 2 ** 30;
  if (gib > have * 0.9) {
    throw new UserError(
      `${folder}: its ${(values / 1e9).toFixed(1)} billion weights take ${gib.toFixed(0)} GiB in float32, and this machine has ${have.toFixed(0)} GiB. ` +
        'Capture its features with another engine (docs/arrow-cache.md) and train from that cache.',
    );
  }
}

/** Only what a drafter borrows: the embedding `[V, D]` and, where it is not the same tensor, the head `[V, D]`. The rest is not read. */
export async function loadTargetEnds(folder: string, config: TargetConfig): Promise<{ embedding: Tensor; head?: Tensor }> {
  const shapes = targetWeightShapes(config);
  const names = ['model.embed_tokens.weight', ...(config.tieWordEmbeddings ? [] : ['lm_head.weight'])];
  const weights = await readWeights(config, folder, await weightFiles(folder), Object.fromEntries(names.map((name) => [name, shapes[name]!])));
  return { embedding: weights['model.embed_tokens.weight']!, ...(!config.tieWordEmbeddings && { head: weights['lm_head.weight']! }) };
}

async function readWeights(config: TargetConfig, folder: string, files: string[], shapes = targetWeightShapes(config)): Promise<Weights> {
  const opened = await openAllSafetensors(files);
  const weights: Weights = {};
  try {
    const problems: string[] = [];
    for (const [name, shape] of Object.entries(shapes)) {
      // A tied checkpoint may store the shared table under either name.
      const stored = config.tieWordEmbeddings && name === 'model.embed_tokens.weight' ? [name, 'lm_head.weight'] : [name];
      const found = stored.flatMap((name) => opened.filter((file) => file.has(name)).map((file) => ({ file, name })))[0];
      if (found === undefined) problems.push(`${name} [${shape.join(', ')}] is missing`);
      else {
        const entry = found.file.entry(found.name);
        if (entry.shape.join() === shape.join()) weights[name] = tf.tensor(await found.file.readFloat32(found.name), shape);
        else problems.push(`${found.name} has shape [${entry.shape.join(', ')}]; config.json makes it [${shape.join(', ')}]`);
      }
    }
    if (problems.length > 0) {
      const shown = problems.slice(0, 20);
      throw new UserError(`${folder}: its weights do not fit its config.json:\n  - ${shown.join('\n  - ')}${problems.length > 20 ? `\n  - and ${problems.length - 20} more` : ''}`);
    }
    return weights;
  } catch (error) {
    for (const tensor of Object.values(weights)) tensor.dispose();
    throw error;
  } finally {
    await Promise.all(opened.map((file) => file.close()));
  }
}

const architectureNames = { llama: 'LlamaForCausalLM', qwen2: 'Qwen2ForCausalLM', qwen3: 'Qwen3ForCausalLM' } as const;
const dtypeNames: Partial<Record<SafetensorsDtype, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };

/** Writes config.json and model.safetensors in Transformers layout, each atomically. */
export async function saveTarget(folder: string, config: TargetConfig, weights: Weights, dtype: 'F32' | 'F16' | 'BF16'): Promise<void> {
  const json = {
    architectures: [architectureNames[config.architecture]],
    attention_bias: config.attentionBias,
    bos_token_id: config.bosTokenId ?? null,
    dtype: dtypeNames[dtype],
    eos_token_id: config.eosTokenIds.length === 1 ? config.eosTokenIds[0] : config.eosTokenIds,
    head_dim: config.headDim,
    hidden_act: 'silu',
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    max_position_embeddings: config.maxPositions,
    model_type: config.architecture,
    num_attention_heads: config.numHeads,
    num_hidden_layers: config.numLayers,
    num_key_value_heads: config.numKeyValueHeads,
    pad_token_id: config.padTokenId ?? null,
    rms_norm_eps: config.rmsNormEps,
    ...ropeFields(config),
    tie_word_embeddings: config.tieWordEmbeddings,
    vocab_size: config.vocabSize,
  };
  const names = Object.keys(targetWeightShapes(config));
  const read = (tensor: Tensor): Float32Array => tensor.dataSync() as Float32Array;
  await writeSafetensors(
    join(folder, 'model.safetensors'),
    names.map((name) => ({ name, shape: weights[name]!.shape, dtype, data: read(weights[name]!) })),
    { format: 'pt' },
  );
  await writeFileAtomic(join(folder, 'config.json'), `${JSON.stringify(json, null, 2)}\n`);
}

/** RoPE in both spellings: `rope_parameters` for newer readers, `rope_theta` with `rope_scaling` for older ones. */
function ropeFields({ rope }: TargetConfig): Record<string, unknown> {
  const scaling =
    rope.type === 'default'
      ? null
      : rope.type === 'linear'
        ? { rope_type: 'linear', factor: rope.factor }
        : {
            rope_type: 'llama3',
            factor: rope.factor,
            low_freq_factor: rope.lowFreqFactor,
            high_freq_factor: rope.highFreqFactor,
            original_max_position_embeddings: rope.originalMaxPosition,
          };
  return { rope_parameters: { rope_theta: rope.theta, rope_type: 'default', ...scaling }, rope_theta: rope.theta, rope_scaling: scaling };
}
