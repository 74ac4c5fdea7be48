// A target's shape, read from its Transformers config.json. Every field that is needed is checked; other architectures are refused by name.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { readRopeParameters } from './rope.js';
import type { RopeParameters } from './rope.js';

export interface TargetConfig {
  architecture: 'llama' | 'qwen2' | 'qwen3';
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  numLayers: number;
  numHeads: number;
  numKeyValueHeads: number;
  headDim: number;
  rmsNormEps: number;
  rope: RopeParameters;
  maxPositions: number;
  tieWordEmbeddings: boolean;
  /** Biases of q, k and v. */
  attentionBias: boolean;
  /** Bias of the attention's output. */
  outputBias: boolean;
  mlpBias: boolean;
  /** RMS norm of every head's queries and keys (Qwen3). */
  qkNorm: boolean;
  bosTokenId?: number;
  /** Tokens that end a text; may be empty. */
  eosTokenIds: number[];
  padTokenId?: number;
}

/** Far above any model; beyond it, a list of the tensors alone would fill the memory. */
export const mostLayers = 4096;

const architectures = { LlamaForCausalLM: 'llama', Qwen2ForCausalLM: 'qwen2', Qwen3ForCausalLM: 'qwen3' } as const;

/** Reads `config.json` (and the stop tokens of `generation_config.json`) of a Transformers folder. Throws UserError with every defect at once. */
export async function readTargetConfig(folder: string): Promise<TargetConfig> {
  const file = join(folder, 'config.json');
  const json = await readJson(file);
  if (json === undefined) throw new UserError(`${file} is missing: a target is a folder in Transformers layout (config.json, safetensors, tokenizer.json).`);
  const generation = (await readJson(join(folder, 'generation_config.json'))) ?? {};
  return parseTargetConfig(json, file, generation);
}

async function readJson(file: string): Promise<Record<string, unknown> | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || (error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
    throw new UserError(`${file} cannot be read: ${(error as Error).message}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${file} is not valid JSON: ${(error as Error).message}`);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new UserError(`${file} must hold a JSON object.`);
  return value as Record<string, unknown>;
}

/** As `readTargetConfig`, from parsed JSON. */
export function parseTargetConfig(json: Record<string, unknown>, file: string, generation: Record<string, unknown> = {}): TargetConfig {
  const named = Array.isArray(json['architectures']) ? String(json['architectures'][0]) : undefined;
  const architecture = architectures[named as keyof typeof architectures];
  if (architecture === undefined) {
    throw new UserError(`${file}: the architecture is ${named ?? `not named (model_type "${String(json['model_type'])}")`}; supported are ${Object.keys(architectures).join(', ')}.`);
  }
  const problems: string[] = [];
  const whole = (key: string, fallback?: number, most = 2 ** 31 - 1): number => {
    const value = json[key] ?? fallback;
    if (typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= most) return value;
    problems.push(`"${key}" is ${JSON.stringify(value)}; it must be a positive integer, at most ${most}`);
    return 1;
  };
  const flag = (key: string, fallback: boolean): boolean => {
    const value = json[key] ?? fallback;
    if (typeof value === 'boolean') return value;
    problems.push(`"${key}" is ${JSON.stringify(value)}; it must be true or false`);
    return fallback;
  };
  const numHeads = whole('num_attention_heads');
  const hiddenSize = whole('hidden_size');
  const attentionBias = architecture === 'qwen2' ? true : flag('attention_bias', false);
  const config: TargetConfig = {
    architecture,
    vocabSize: whole('vocab_size'),
    hiddenSize,
    intermediateSize: whole('intermediate_size'),
    numLayers: whole('num_hidden_layers', undefined, mostLayers),
    numHeads,
    numKeyValueHeads: whole('num_key_value_heads', numHeads),
    headDim: whole('head_dim', architecture === 'qwen3' ? 128 : hiddenSize / numHeads),
    rmsNormEps: Number(json['rms_norm_eps'] ?? 1e-6),
    rope: readRopeParameters(json, file),
    maxPositions: whole('max_position_embeddings', 2048),
    tieWordEmbeddings: flag('tie_word_embeddings', false),
    attentionBias,
    outputBias: architecture === 'qwen2' ? false : attentionBias,
    mlpBias: architecture === 'llama' ? flag('mlp_bias', false) : false,
    qkNorm: architecture === 'qwen3',
    bosTokenId: tokenIds(json['bos_token_id'])[0],
    eosTokenIds: [...new Set([...tokenIds(generation['eos_token_id']), ...tokenIds(json['eos_token_id'])])],
    padTokenId: tokenIds(json['pad_token_id'] ?? generation['pad_token_id'])[0],
  };
  if (!(config.rmsNormEps > 0)) problems.push(`"rms_norm_eps" is ${JSON.stringify(json['rms_norm_eps'])}; it must be a positive number`);
  if (config.numHeads % config.numKeyValueHeads !== 0) problems.push(`${config.numHeads} attention heads cannot share ${config.numKeyValueHeads} key-value heads evenly`);
  if (config.headDim % 2 !== 0) problems.push(`"head_dim" is ${config.headDim}; RoPE needs an even number`);
  const activation = json['hidden_act'] ?? 'silu';
  if (activation !== 'silu') problems.push(`"hidden_act" is ${JSON.stringify(activation)}; supported is "silu"`);
  if (json['use_sliding_window'] === true) problems.push('"use_sliding_window" is true; sliding windows are not supported');
  if (json['quantization_config'] != null) problems.push('"quantization_config" is set; quantised weights are not supported, use the unquantised checkpoint');
  if (problems.length > 0) throw new UserError(`${file}:\n  - ${problems.join('\n  - ')}`);
  return config;
}

function tokenIds(value: unknown): number[] {
  return (Array.isArray(value) ? value : [value]).filter((id): id is number => typeof id === 'number' && Number.isInteger(id) && id >= 0);
}
