// A drafter's shape, read from and written as the `config.json` that engines load (architecture DFlashDraftModel).
// Everything is in the file: taps are read, never worked out again from the number of layers.
import { UserError } from '../errors.js';
import { readRopeParameters, type RopeParameters } from './rope.js';
import { mostLayers } from './target-config.js';

/** The shape of a drafter. Field names say what `config.json` calls them. */
export interface DrafterConfig {
  /** `block_size`, K: slot 0 is the anchor. */
  blockSize: number;
  /** `dflash_config.mask_token_id`. */
  maskTokenId: number;
  /** `dflash_config.target_layer_ids`, the taps: tap i is the output of target layer i. */
  targetLayerIds: number[];
  /** `num_target_layers`, the target's depth. */
  numTargetLayers: number;
  /** `hidden_size`, D; the target's too. */
  hiddenSize: number;
  intermediateSize: number;
  /** `num_hidden_layers`, the drafter's depth. */
  numHiddenLayers: number;
  numAttentionHeads: number;
  numKeyValueHeads: number;
  headDim: number;
  rmsNormEps: number;
  rope: RopeParameters;
  vocabSize: number;
  maxPositionEmbeddings: number;
  /** Biases on q, k, v and o. */
  attentionBias: boolean;
}

type Json = Record<string, unknown>;

/** Slots of a block at most; drafters in use have up to 32. */
const mostSlots = 1024;

/**
 * The default taps for `count` of them (DFlash): `[L div 2]` for one, else `round(1 + i·(L-4)/(count-1))`, halves to even.
 * Throws `UserError` where the target is too shallow to give as many different ones.
 */
export function defaultTaps(count: number, targetLayers: number): number[] {
  if (count === 1 && targetLayers >= 1) return [Math.floor(targetLayers / 2)];
  const taps = Array.from({ length: count }, (_, i) => roundHalfToEven(1 + (i * (targetLayers - 4)) / (count - 1)));
  if (taps.some((tap, i) => (i > 0 && tap <= taps[i - 1]!) || tap < 0 || tap >= targetLayers) || taps.length === 0) {
    throw new UserError(
      `${count} default taps do not fit a target of ${targetLayers} layers; there is room for ${Math.max(1, targetLayers - 3)}. Ask for fewer, or name the layers.`,
    );
  }
  return taps;
}

function roundHalfToEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

/**
 * Reads a drafter's `config.json`. What is wrong is told in `problems`, all of it; `config` is there when nothing is.
 * `file` names the file in messages about RoPE.
 */
export function parseDrafterConfig(json: Json, file: string): { config?: DrafterConfig; problems: string[] } {
  const problems: string[] = [];
  const dflash = (isObject(json['dflash_config']) ? json['dflash_config'] : {}) as Json;
  if (!isObject(json['dflash_config'])) problems.push('`dflash_config` is missing: this is not the config of a DFlash drafter');
  const integer = (name: string, value: unknown, least: number, most = 2 ** 31 - 1): number => {
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return value;
    problems.push(`\`${name}\` is ${JSON.stringify(value)}; expected a whole number from ${least} to ${most}`);
    return Number.NaN;
  };
  const taps = dflash['target_layer_ids'];
  const tapsAreNumbers = Array.isArray(taps) && taps.length > 0 && taps.every((tap) => Number.isSafeInteger(tap) && tap >= 0);
  if (!tapsAreNumbers) problems.push(`\`dflash_config.target_layer_ids\` is ${JSON.stringify(taps)}; expected a list of target layers, counted from 0`);
  const numAttentionHeads = integer('num_attention_heads', json['num_attention_heads'], 1);
  const hiddenSize = integer('hidden_size', json['hidden_size'], 1);
  const config: DrafterConfig = {
    // Drafters of Qwen3.5 and later keep the block size beside the mask id.
    blockSize: integer('block_size', json['block_size'] ?? dflash['block_size'], 2, mostSlots),
    maskTokenId: integer('dflash_config.mask_token_id', dflash['mask_token_id'] ?? json['mask_token_id'], 0),
    targetLayerIds: tapsAreNumbers ? (taps as number[]) : [],
    numTargetLayers: integer('num_target_layers', json['num_target_layers'], 1, mostLayers),
    hiddenSize,
    intermediateSize: integer('intermediate_size', json['intermediate_size'], 1),
    numHiddenLayers: integer('num_hidden_layers', json['num_hidden_layers'], 1, mostLayers),
    numAttentionHeads,
    numKeyValueHeads: integer('num_key_value_heads', json['num_key_value_heads'] ?? numAttentionHeads, 1),
    headDim: integer('head_dim', json['head_dim'] ?? hiddenSize / numAttentionHeads, 2),
    rmsNormEps: Number(json['rms_norm_eps'] ?? 1e-6),
    rope: { type: 'default', theta: 10000 },
    vocabSize: integer('vocab_size', json['vocab_size'], 1),
    maxPositionEmbeddings: integer('max_position_embeddings', json['max_position_embeddings'] ?? 32768, 1),
    attentionBias: json['attention_bias'] === true,
  };
  const nestedRope = json['rope_parameters'] ?? json['rope_scaling'];
  if (json['rope_theta'] === undefined && !(isObject(nestedRope) && 'rope_theta' in nestedRope)) {
    problems.push('neither `rope_theta` nor `rope_parameters.rope_theta` is given; engines take different defaults, so it must be');
  }
  try {
    config.rope = readRopeParameters(json, file);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    problems.push(error.message);
  }
  problems.push(...unsupportedFields(json), ...findContradictions(config));
  return problems.length === 0 ? { config, problems } : { problems };
}

/** Fields of Qwen3 configs whose other values would make another drafter than the one that is computed here. */
function unsupportedFields(json: Json): string[] {
  const problems: string[] = [];
  const architectures = json['architectures'];
  if (Array.isArray(architectures) && !architectures.includes('DFlashDraftModel')) {
    problems.push(`\`architectures\` is ${JSON.stringify(architectures)}; expected ["DFlashDraftModel"]`);
  }
  const layerTypes = json['layer_types'];
  if (Array.isArray(layerTypes) && layerTypes.some((type) => type !== 'full_attention')) {
    problems.push(`\`layer_types\` is ${JSON.stringify(layerTypes)}; only "full_attention" layers are supported`);
  }
  if (Array.isArray(layerTypes) && layerTypes.length !== json['num_hidden_layers']) {
    problems.push(`\`layer_types\` names ${layerTypes.length} layers; \`num_hidden_layers\` is ${JSON.stringify(json['num_hidden_layers'])}`);
  }
  if (json['quantization_config'] != null) problems.push('`quantization_config` is set: quantised drafters are not supported');
  const plain: Record<string, unknown> = { ...plainFields, draft_vocab_size: json['vocab_size'], target_hidden_size: json['hidden_size'] };
  const check = (fields: Json, plain: Record<string, unknown>, prefix: string) => {
    for (const [name, expected] of Object.entries(plain)) {
      const found = fields[name];
      // Leaving a number out, or nothing in its place, means what 0 and false mean.
      if (found == null || found === expected || (!found && !expected)) continue;
      problems.push(`\`${prefix}${name}\` is ${JSON.stringify(found)}; supported is ${JSON.stringify(expected)} alone`);
    }
  };
  check(json, plain, '');
  if (isObject(json['dflash_config'])) check(json['dflash_config'], plainDflashFields, 'dflash_config.');
  return problems;
}

/** Fields that some drafters have and engines obey, with the values that leave the plain DFlash drafter as it is. */
const plainFields: Record<string, unknown> = {
  hidden_act: 'silu',
  use_sliding_window: false,
  is_causal: false,
  is_neox_style: true,
  rope_is_neox_style: true,
  partial_rotary_factor: 1,
  use_gemma_norm: false,
  add_swa_attention_sink_bias: false,
  use_aux_hidden_state: true,
  sample_from_anchor: false,
  logit_scale: 1,
  input_embedding_scale: 1,
  output_multiplier: 1,
  final_logit_softcapping: 0,
};
const plainDflashFields: Record<string, unknown> = {
  causal: false,
  use_swa: false,
  use_aux_hidden_state: true,
  sample_from_anchor: false,
  attention_sink_bias: false,
  attention_value_scale: 1,
  conv_kernel_size: 0,
  conv_group_size: 0,
  selector_rank: 0,
  selector_top_k: 0,
  output_multiplier: 1,
  final_logit_softcapping: 0,
  input_embedding_scale: 1,
  projector_type: null,
};

/** What a drafter's numbers say against each other; empty where all is well. Numbers that are NaN were complained of already. */
export function findContradictions(config: DrafterConfig): string[] {
  const problems: string[] = [];
  const { numAttentionHeads: heads, numKeyValueHeads: keyValueHeads, headDim, targetLayerIds: taps, numTargetLayers, maskTokenId, vocabSize } = config;
  if (heads % keyValueHeads > 0) problems.push(`\`num_key_value_heads\` is ${keyValueHeads}; it must divide \`num_attention_heads\`, ${heads}`);
  if (headDim % 2 !== 0 && !Number.isNaN(headDim)) problems.push(`\`head_dim\` is ${headDim}; RoPE needs an even number`);
  if (!(config.rmsNormEps > 0 && config.rmsNormEps < 1)) problems.push(`\`rms_norm_eps\` is ${config.rmsNormEps}; expected a small positive number`);
  const outside = taps.filter((tap) => tap >= numTargetLayers);
  if (outside.length > 0) {
    problems.push(`\`dflash_config.target_layer_ids\` names layer ${outside.join(', ')}; \`num_target_layers\` is ${numTargetLayers}, so 0..${numTargetLayers - 1} exist`);
  }
  if (new Set(taps).size !== taps.length) problems.push(`\`dflash_config.target_layer_ids\` is [${taps.join(', ')}]; a layer can be tapped once`);
  if (maskTokenId >= vocabSize) problems.push(`\`dflash_config.mask_token_id\` is ${maskTokenId}; \`vocab_size\` is ${vocabSize}, so 0..${vocabSize - 1} exist`);
  return problems;
}

/** What `config.json` says beside the drafter's shape. */
export interface DrafterConfigExtra {
  /** Of the stored tensors. */
  dtype: 'float32' | 'float16' | 'bfloat16';
  bosTokenId?: number;
  eosTokenId?: number | number[];
}

/**
 * The `config.json` of a drafter. RoPE stands there twice, as `rope_theta` with `rope_scaling` (what readers before
 * Transformers 5 look for) and as `rope_parameters`; the two say the same.
 */
export function formatDrafterConfig(config: DrafterConfig, extra: DrafterConfigExtra): Json {
  const scaling = formatRopeScaling(config.rope);
  return {
    architectures: ['DFlashDraftModel'],
    model_type: 'qwen3',
    block_size: config.blockSize,
    dflash_config: { mask_token_id: config.maskTokenId, target_layer_ids: config.targetLayerIds },
    num_target_layers: config.numTargetLayers,
    ...formatTransformerConfig(config),
    rope_theta: config.rope.theta,
    rope_scaling: scaling,
    rope_parameters: { rope_theta: config.rope.theta, ...(scaling ?? { rope_type: 'default' }) },
    dtype: extra.dtype,
    ...(extra.bosTokenId === undefined ? {} : { bos_token_id: extra.bosTokenId }),
    ...(extra.eosTokenId === undefined ? {} : { eos_token_id: extra.eosTokenId }),
  };
}

/** The fields of a Qwen3 config, RoPE apart. */
export function formatTransformerConfig(config: DrafterConfig): Json {
  return {
    num_hidden_layers: config.numHiddenLayers,
    layer_types: Array.from({ length: config.numHiddenLayers }, () => 'full_attention'),
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_attention_heads: config.numAttentionHeads,
    num_key_value_heads: config.numKeyValueHeads,
    head_dim: config.headDim,
    hidden_act: 'silu',
    rms_norm_eps: config.rmsNormEps,
    max_position_embeddings: config.maxPositionEmbeddings,
    vocab_size: config.vocabSize,
    tie_word_embeddings: false,
    attention_bias: config.attentionBias,
    attention_dropout: 0,
    use_cache: true,
    use_sliding_window: false,
    sliding_window: null,
    max_window_layers: config.numHiddenLayers,
    initializer_range: 0.02,
  };
}

/** RoPE scaling in Transformers' words; null for plain RoPE. */
export function formatRopeScaling(rope: RopeParameters): Json | null {
  switch (rope.type) {
    case 'default':
      return null;
    case 'linear':
      return { rope_type: 'linear', factor: rope.factor };
    case 'llama3':
      return {
        rope_type: 'llama3',
        factor: rope.factor,
        low_freq_factor: rope.lowFreqFactor,
        high_freq_factor: rope.highFreqFactor,
        original_max_position_embeddings: rope.originalMaxPosition,
      };
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
