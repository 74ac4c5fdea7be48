// What `evaluate` and `generate` decode with: a drafter from wherever the user points, its target by name or from the run, the tokenizer.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadTokenizer, type Tokenizer } from '../../data/tokenizer.js';
import type { SamplingOptions } from '../decoding/sampling.js';
import { UserError } from '../errors.js';
import { loadDrafter, type LoadedDrafter } from '../models/drafter-checkpoint.js';
import { resolveModelFolder } from '../models/hub.js';
import { embeddingTable, lmHeadWeight, loadTarget, type Target } from '../models/target.js';
import { readTargetConfig } from '../models/target-config.js';
import { targetWeightShapes } from '../models/target-init.js';
import type { LoadOptions } from '../tensorflow/load.js';
import { findDrafter } from '../training/drafter-source.js';
import { nameOfTarget } from './export-target.js';

export interface DecodingModels {
  /** As the user or the run named it. */
  targetName: string;
  target: Target;
  drafter: LoadedDrafter;
  /** Undefined where the target's folder has no tokenizer.json. */
  tokenizer?: Tokenizer;
  /** Tokens that end a text: of config.json, generation_config.json and the tokenizer. */
  stopTokens: number[];
  dispose(): void;
}

/** Which models a user means. */
export interface ModelNames {
  /** Run folder, checkpoint, drafter folder, or `demo`. */
  drafter: string;
  /** Folder or Hugging Face id; default: the run's. */
  target?: string;
  checkpoint?: 'best' | 'last';
}

/** Float32 weights below which one thread decodes faster than two that share every operation: with 8 MiB in 0.4 of the time, with 45 MiB alike, with 154 MiB in 1.3. */
const oneThreadBytes = 32 * 2 ** 20;

/** How TensorFlow is to be loaded to decode: with the threads that the user asks for, else one for a small target and all cores for others. */
export async function decodingLoadOptions(models: ModelNames, threads: number | undefined): Promise<LoadOptions> {
  if (threads !== undefined) return { threads };
  const name = models.target ?? (await nameOfTarget(await findDrafter(models.drafter, models.checkpoint)));
  if (name === undefined || process.env['TF_NUM_INTRAOP_THREADS'] !== undefined) return {};
  const shapes = targetWeightShapes(await readTargetConfig(await resolveModelFolder(name)));
  const bytes = 4 * Object.values(shapes).reduce((sum, shape) => sum + shape.reduce((product, length) => product * length, 1), 0);
  return bytes < oneThreadBytes ? { threads: 1 } : {};
}

/**
 * Loads both models; TensorFlow must be loaded.
 * @throws UserError where one cannot be had, or the two do not fit; all that does not fit is listed
 */
export async function loadDecodingModels(options: ModelNames, say: (line: string) => void): Promise<DecodingModels> {
  const source = await findDrafter(options.drafter, options.checkpoint);
  const targetName = options.target ?? (await nameOfTarget(source));
  if (targetName === undefined) throw new UserError(`which target ${options.drafter} was trained for is not known: name its folder or Hugging Face id by --target.`);
  const folder = await resolveModelFolder(targetName, say);
  const target = await loadTarget(folder);
  try {
    const read = (tensor: ReturnType<typeof embeddingTable>) => tensor.dataSync() as Float32Array;
    const drafter = await loadDrafter(source.drafterFolder, target.config, {
      targetWeights: { embedding: read(embeddingTable(target.weights)), head: read(lmHeadWeight(target.config, target.weights)) },
    });
    for (const note of drafter.notes) say(note);
    const tokenizer = existsSync(join(folder, 'tokenizer.json')) ? await loadTokenizer(folder) : undefined;
    const stopTokens = [...new Set([...target.config.eosTokenIds, ...(tokenizer?.specialIds.stop ?? [])])];
    return {
      targetName,
      target,
      drafter,
      ...(tokenizer && { tokenizer }),
      stopTokens,
      dispose() {
        target.dispose();
        drafter.dispose();
      },
    };
  } catch (error) {
    target.dispose();
    throw error;
  }
}

/** The longest prompt that leaves room for `maxNewTokens`. Throws UserError where none does. */
export function roomForPrompts(target: Target, maxNewTokens: number): number {
  const { maxPositions } = target.config;
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) throw new UserError(`--max-new-tokens is ${maxNewTokens}; it must be a whole number from 1.`);
  if (maxNewTokens >= maxPositions) throw new UserError(`--max-new-tokens is ${maxNewTokens}; the target has ${maxPositions} positions, and the prompt needs some of them.`);
  return maxPositions - maxNewTokens;
}

/** The options that choose tokens, the same for both commands. */
export const samplingOptions = {
  temperature: { type: 'number', default: 0, requiresArg: true, describe: '0 decodes greedily; above, tokens are drawn from the target\'s distribution' },
  'top-k': { type: 'number', default: 0, requiresArg: true, describe: 'Sampling keeps the k most likely tokens; 0 keeps all' },
  'top-p': { type: 'number', default: 1, requiresArg: true, describe: 'Sampling keeps the most likely tokens that reach this probability together; 1 keeps all' },
  verifier: {
    choices: ['match', 'sample'] as const,
    default: 'match' as const,
    describe: 'With sampling: match the best drafts with the target\'s sample, or sample drafts and accept by min(1, p/q). Both are lossless',
  },
  seed: { type: 'number', default: 0, requiresArg: true, describe: 'Seed of everything random' },
} as const;

export function samplingOf(args: { temperature: number; 'top-k': number; 'top-p': number }): SamplingOptions {
  return { temperature: args.temperature, topK: args['top-k'], topP: args['top-p'] };
}
