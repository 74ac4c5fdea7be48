// The config of a DFlash drafter as vLLM's `speculators` library (read: 0.9.0) writes it. Tensors are named as in the dflash format;
// the config nests the Qwen3 fields, counts taps from 1 (0 is the embedding's output), and names the verifier.
import type { DrafterConfig } from './drafter-config.js';
import { formatRopeScaling, formatTransformerConfig } from './drafter-config.js';

type Json = Record<string, unknown>;

/** Version of the library whose source this format was read from. */
export const speculatorsVersion = '0.9.0';

/** The verifier as a speculators config names it. */
export interface NamedVerifier {
  /** Hub id or folder; null where it is not known. */
  nameOrPath: string | null;
  architectures: string[];
}

/** True for a config.json in the speculators format. */
export function isSpeculatorsConfig(json: Json): boolean {
  return 'speculators_model_type' in json;
}

/** The `config.json` of a full-vocabulary DFlash drafter. `num_target_layers` is ours: the library asks the verifier. */
export function formatSpeculatorsConfig(config: DrafterConfig, verifier: NamedVerifier, dtype: string): Json {
  return {
    architectures: ['DFlashSpeculator'],
    speculators_model_type: 'dflash',
    speculators_version: speculatorsVersion,
    block_size: config.blockSize,
    mask_token_id: config.maskTokenId,
    aux_hidden_state_layer_ids: config.targetLayerIds.map((tap) => tap + 1),
    num_target_layers: config.numTargetLayers,
    draft_vocab_size: config.vocabSize,
    target_hidden_size: null,
    sample_from_anchor: false,
    // No layer has a sliding window, and still: vLLM (0.32.0, configs/speculators/algos.py) makes all layers causal where this is false.
    sliding_window_non_causal: true,
    tie_word_embeddings: false,
    dtype,
    transformer_layer_config: {
      model_type: 'qwen3',
      ...formatTransformerConfig(config),
      rope_parameters: { rope_theta: config.rope.theta, ...(formatRopeScaling(config.rope) ?? { rope_type: 'default' }) },
    },
    speculators_config: {
      algorithm: 'dflash',
      default_proposal_method: 'greedy',
      proposal_methods: [{ proposal_type: 'greedy', speculative_tokens: config.blockSize - 1, verifier_accept_k: 1, accept_tolerance: 0 }],
      verifier: { name_or_path: verifier.nameOrPath, architectures: verifier.architectures },
    },
  };
}

/**
 * A speculators config as the dflash config that says the same. `targetLayers` fills in the target's depth where the file does
 * not tell it. What cannot be said in a dflash config goes to `problems`.
 */
export function fromSpeculatorsConfig(json: Json, targetLayers?: number): { json: Json; problems: string[] } {
  const problems: string[] = [];
  const type = json['speculators_model_type'];
  if (type !== 'dflash') problems.push(`\`speculators_model_type\` is ${JSON.stringify(type)}; only "dflash" drafters are supported`);
  const layers = (json['transformer_layer_config'] ?? {}) as Json;
  if (json['transformer_layer_config'] == null) problems.push('`transformer_layer_config` is missing');
  if (layers['model_type'] !== undefined && layers['model_type'] !== 'qwen3') {
    problems.push(`\`transformer_layer_config.model_type\` is ${JSON.stringify(layers['model_type'])}; expected "qwen3"`);
  }
  const reduced = json['draft_vocab_size'];
  if (reduced != null && reduced !== layers['vocab_size']) {
    problems.push(`\`draft_vocab_size\` is ${JSON.stringify(reduced)}, the target's vocabulary ${JSON.stringify(layers['vocab_size'])}; drafters with a reduced vocabulary are not supported`);
  }
  const width = json['target_hidden_size'];
  if (width != null && width !== layers['hidden_size']) {
    problems.push(`\`target_hidden_size\` is ${JSON.stringify(width)}, the drafter's ${JSON.stringify(layers['hidden_size'])}; they must be equal`);
  }
  if (json['sample_from_anchor'] === true) problems.push('`sample_from_anchor` is true; only drafters whose slot 0 is the known token are supported');
  const states = json['aux_hidden_state_layer_ids'];
  const counted = Array.isArray(states) ? states.map((state) => (typeof state === 'number' ? state - 1 : state)) : states;
  if (Array.isArray(states) && states.includes(0)) problems.push('`aux_hidden_state_layer_ids` has 0, the embedding\'s output; only outputs of layers can be tapped');
  // A drafter that names no depth is checked against the target's own; without one, its deepest tap is all that is known.
  const deepest = Array.isArray(states) ? Math.max(...states.filter((state): state is number => typeof state === 'number')) : undefined;
  const { model_type: _modelType, ...transformer } = layers;
  return {
    problems,
    json: {
      ...transformer,
      architectures: ['DFlashDraftModel'],
      block_size: json['block_size'],
      dflash_config: { mask_token_id: json['mask_token_id'], target_layer_ids: counted },
      num_target_layers: json['num_target_layers'] ?? targetLayers ?? deepest,
    },
  };
}
