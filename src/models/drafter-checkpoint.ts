// Drafter folders: `config.json` and `model.safetensors`, in the dflash format or that of the speculators library, ours or
// trained elsewhere. Everything that could make a drafter run and be rejected (taps, mask, vocabulary, RoPE, names) is checked on
// loading, and all that is wrong is told at once.
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { sha256File, syncFolder, writeFileAtomic } from '../files.js';
import { tf } from '../tensorflow/ops.js';
import { formatDrafterConfig, parseDrafterConfig, type DrafterConfig } from './drafter-config.js';
import { drafterWeightShapes } from './drafter-shapes.js';
import { openAllSafetensors, writeSafetensors, type SafetensorsFile } from './safetensors.js';
import { formatSpeculatorsConfig, fromSpeculatorsConfig, isSpeculatorsConfig, type NamedVerifier } from './speculators-format.js';
import { weightFiles } from './target-checkpoint.js';
import type { TargetConfig } from './target-config.js';
import type { Weights } from './weights.js';

/** Float types that drafters are stored in. */
export type DrafterDtype = 'F32' | 'F16' | 'BF16';

/** A drafter in memory. */
export interface LoadedDrafter {
  config: DrafterConfig;
  /** Float32, by checkpoint name; owned by this object. */
  weights: Weights;
  folder: string;
  format: 'dflash' | 'speculators';
  /** SHA-256 of the weight files. */
  weightFingerprint: string;
  /** What a user may want to know and nothing is wrong with: tensors that are not used, a mask that is the padding token. */
  notes: string[];
  dispose(): void;
}

/** What loading may check beyond the target's config. */
export interface LoadDrafterOptions {
  /** The target's own embedding and head, to compare with ones that the drafter's file holds. */
  targetWeights?: { embedding: Float32Array; head: Float32Array };
}

const dtypeNames = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;

/** Copies of the target's tensors that some trainers store beside the drafter's; engines give the drafter the target's own. */
const targetCopies: Record<string, 'embedding' | 'head' | undefined> = {
  'embed_tokens.weight': 'embedding',
  'lm_head.weight': 'head',
  'verifier_lm_head.weight': 'head',
};

/**
 * Loads a drafter folder and checks it, against the target's config where one is given.
 * @throws UserError that lists every mismatch: fields, taps, mask id, vocabulary, width, names, shapes and types of tensors
 */
export async function loadDrafter(folder: string, target?: TargetConfig, options: LoadDrafterOptions = {}): Promise<LoadedDrafter> {
  const path = join(folder, 'config.json');
  const json = await readConfigJson(folder, path);
  const format = isSpeculatorsConfig(json) ? 'speculators' : 'dflash';
  const converted = format === 'speculators' ? fromSpeculatorsConfig(json, target?.numLayers) : { json, problems: [] };
  const { config, problems: ownProblems } = parseDrafterConfig(converted.json, path);
  const problems = [...converted.problems, ...ownProblems];
  const notes: string[] = [];
  if (config !== undefined && target !== undefined) {
    const compared = compareWithTarget(config, target);
    problems.push(...compared.problems);
    notes.push(...compared.notes);
  }
  if (existsSync(join(folder, 'mask_embedding.pt'))) {
    problems.push('mask_embedding.pt holds an embedding of its own for masked slots; only drafters that use the target\'s embedding of the mask token are supported');
  }
  const paths = await weightFiles(folder);
  const files = await openAllSafetensors(paths);
  try {
    if (config !== undefined) {
      problems.push(...compareTensors(config, files));
      const extra = await examineExtraTensors(config, files, options.targetWeights);
      problems.push(...extra.problems);
      notes.push(...extra.notes);
    }
    if (config === undefined || problems.length > 0) {
      throw new UserError(`${folder} holds no drafter that can be used${target ? ' with this target' : ''}:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
    }
    const fingerprints = await Promise.all(paths.map(sha256File));
    const weights = await readWeights(config, files);
    return {
      config,
      weights,
      folder,
      format,
      weightFingerprint: fingerprints.join('+'),
      notes,
      dispose: () => tf.dispose(weights),
    };
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}

async function readConfigJson(folder: string, path: string): Promise<Record<string, unknown>> {
  if (!existsSync(folder)) throw new UserError(`there is no folder ${folder}. Give the folder of a drafter: config.json and model.safetensors.`);
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new UserError(missing ? `${folder} has no config.json: a drafter folder holds config.json and model.safetensors.` : `${path} cannot be read: ${(error as Error).message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new UserError(`${path} must hold a JSON object.`);
  return value as Record<string, unknown>;
}

/** What a drafter's config and its target's must agree on. */
export function compareWithTarget(config: DrafterConfig, target: TargetConfig): { problems: string[]; notes: string[] } {
  const problems: string[] = [];
  const notes: string[] = [];
  const equal = (name: string, found: number, expected: number) => {
    if (found !== expected) problems.push(`\`${name}\` is ${found}; the target's is ${expected}`);
  };
  equal('vocab_size', config.vocabSize, target.vocabSize);
  equal('hidden_size', config.hiddenSize, target.hiddenSize);
  equal('num_target_layers', config.numTargetLayers, target.numLayers);
  const outside = config.targetLayerIds.filter((tap) => tap >= target.numLayers);
  if (outside.length > 0) problems.push(`\`target_layer_ids\` names layer ${outside.join(', ')}; the target has 0..${target.numLayers - 1}`);
  const mask = config.maskTokenId;
  if (mask >= target.vocabSize) problems.push(`\`mask_token_id\` is ${mask}; the target's vocabulary ends at ${target.vocabSize - 1}`);
  if (target.eosTokenIds.includes(mask)) problems.push(`\`mask_token_id\` is ${mask}, which ends the target's texts (eos_token_id); it must be a token that the target never emits`);
  if (target.padTokenId === mask && !target.eosTokenIds.includes(mask)) {
    notes.push(`mask_token_id is ${mask}, also the target's padding token; the drafter reads both as a masked slot`);
  }
  // A drafter rotates its own queries and keys, so another RoPE than the target's is legal; a forgotten field looks the same.
  if (JSON.stringify(config.rope) !== JSON.stringify(target.rope)) {
    notes.push(`RoPE differs from the target's: ${JSON.stringify(config.rope)}, the target's ${JSON.stringify(target.rope)}; right only if it was trained so`);
  }
  if (config.maxPositionEmbeddings < target.maxPositions) {
    notes.push(`\`max_position_embeddings\` is ${config.maxPositionEmbeddings}, the target's ${target.maxPositions}; engines may draft no further than that`);
  }
  return { problems, notes };
}

/** A tensor as it is stored: under its own name, or with the `model.` in front that some trainers leave there and engines accept. */
function findTensor(files: SafetensorsFile[], name: string): { file: SafetensorsFile; stored: string } | undefined {
  for (const stored of [name, `model.${name}`]) {
    const file = files.find((file) => file.has(stored));
    if (file !== undefined) return { file, stored };
  }
  return undefined;
}

function compareTensors(config: DrafterConfig, files: SafetensorsFile[]): string[] {
  return Object.entries(drafterWeightShapes(config)).flatMap(([name, shape]) => {
    const place = findTensor(files, name);
    if (place === undefined) return [`tensor ${name} [${shape.join(', ')}] is missing`];
    const found = place.file.entry(place.stored);
    const problems: string[] = [];
    if (found.shape.join() !== shape.join()) problems.push(`tensor ${name} has shape [${found.shape.join(', ')}]; the config makes it [${shape.join(', ')}]`);
    if (!['F64', 'F32', 'F16', 'BF16'].includes(found.dtype)) problems.push(`tensor ${name} is ${found.dtype}; expected a float type`);
    return problems;
  });
}

/** Tensors beyond the drafter's own: copies of the target's are compared with it, identities are passed over, all others are refused. */
async function examineExtraTensors(config: DrafterConfig, files: SafetensorsFile[], target: LoadDrafterOptions['targetWeights']): Promise<{ problems: string[]; notes: string[] }> {
  const expected = drafterWeightShapes(config);
  const problems: string[] = [];
  const notes: string[] = [];
  for (const file of files) {
    for (const stored of file.names()) {
      const name = stored.replace(/^model\./, '');
      if (name in expected && findTensor(files, name)?.stored === stored) continue;
      const copyOf = targetCopies[name];
      if (copyOf !== undefined) {
        const verdict = await compareCopy(file, stored, target?.[copyOf]);
        if (verdict === 'differs') problems.push(`tensor ${name} differs from the target's: a drafter with an embedding or head of its own is not supported`);
        else notes.push(`${name} is ${verdict === 'equal' ? 'equal to the target\'s' : 'not compared with the target\'s'} and not used`);
      } else if (name === 'verifier_norm.weight' || name.endsWith('rotary_emb.inv_freq')) {
        notes.push(`${name} served its trainer and is not used`);
      } else if (name === 't2d' || name === 'd2t') {
        const whole = file.entry(stored).shape[0] === config.vocabSize && (name === 't2d' || (await file.readInt32(stored)).every((shift) => shift === 0));
        if (whole) notes.push(`${name} maps the whole vocabulary onto itself and is not used`);
        else problems.push(`tensor ${name} maps a reduced vocabulary; such drafters are not supported`);
      } else {
        problems.push(`tensor ${stored} [${file.entry(stored).shape.join(', ')}] does not belong to a DFlash drafter of this config`);
      }
    }
  }
  return { problems, notes };
}

/** Equal within what storing in bfloat16 rounds away. */
async function compareCopy(file: SafetensorsFile, name: string, own: Float32Array | undefined): Promise<'equal' | 'differs' | 'unknown'> {
  if (own === undefined) return 'unknown';
  const copy = await file.readFloat32(name);
  if (copy.length !== own.length) return 'differs';
  return copy.every((value, i) => Math.abs(value - own[i]!) <= Math.abs(own[i]!) / 128 + 1e-7) ? 'equal' : 'differs';
}

async function readWeights(config: DrafterConfig, files: SafetensorsFile[]): Promise<Weights> {
  const weights: Weights = {};
  try {
    for (const [name, shape] of Object.entries(drafterWeightShapes(config))) {
      const { file, stored } = findTensor(files, name)!;
      weights[name] = tf.tensor(await file.readFloat32(stored), shape, 'float32');
    }
  } catch (error) {
    tf.dispose(weights);
    throw error;
  }
  return weights;
}

/** How a drafter is written. */
export interface SaveDrafterOptions {
  dtype: DrafterDtype;
  /** Default dflash. */
  format?: 'dflash' | 'speculators';
  /** Wanted by the speculators format. */
  verifier?: NamedVerifier;
  /** Written into the dflash config, for engines that read them there. */
  bosTokenId?: number;
  eosTokenId?: number | number[];
  /** Notes of our own, under `draftalign` in config.json. */
  extra?: Record<string, unknown>;
}

/** Writes `config.json` and `model.safetensors`. A folder that is not there yet appears whole or not at all. */
export async function saveDrafter(folder: string, config: DrafterConfig, weights: Weights, options: SaveDrafterOptions): Promise<void> {
  const { dtype, format = 'dflash', extra } = options;
  const dtypeName = dtypeNames[dtype];
  const shape =
    format === 'speculators'
      ? formatSpeculatorsConfig(config, options.verifier ?? { nameOrPath: null, architectures: [] }, dtypeName)
      : formatDrafterConfig(config, { dtype: dtypeName, bosTokenId: options.bosTokenId, eosTokenId: options.eosTokenId });
  const json = extra === undefined || Object.keys(extra).length === 0 ? shape : { ...shape, draftalign: extra };
  const tensors = Object.entries(drafterWeightShapes(config)).map(([name, shape]) => {
    const tensor = weights[name];
    if (tensor === undefined || tensor.shape.join() !== shape.join()) {
      throw new Error(`saveDrafter: ${name} is ${tensor === undefined ? 'missing' : `[${tensor.shape.join(', ')}]`}; the config makes it [${shape.join(', ')}]`);
    }
    return { name, shape, dtype, data: tensor.dataSync() as Float32Array };
  });
  const parent = dirname(resolve(folder));
  const temporary = join(parent, `.${basename(resolve(folder))}.tmp-${process.pid}`);
  await rm(temporary, { recursive: true, force: true });
  await mkdir(temporary, { recursive: true });
  try {
    await writeSafetensors(join(temporary, 'model.safetensors'), tensors, { format: 'pt' });
    await writeFileAtomic(join(temporary, 'config.json'), `${JSON.stringify(json, null, 2)}\n`);
    if (existsSync(folder)) {
      for (const name of ['model.safetensors', 'config.json']) await rename(join(temporary, name), join(folder, name));
      await syncFolder(folder);
    } else {
      await rename(temporary, folder);
      await syncFolder(parent);
    }
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
