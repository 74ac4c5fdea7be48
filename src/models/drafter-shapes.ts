// Names and shapes of a drafter's tensors, as they stand in its checkpoint: 11 a layer and 3 (and 4 biases a layer where it has any).
import type { DrafterConfig } from './drafter-config.js';

/** Shape of every tensor, by name; matrices are `[out, in]`. */
export function drafterWeightShapes(config: DrafterConfig): Record<string, number[]> {
  const { hiddenSize: width, intermediateSize: inner, headDim } = config;
  const queryWidth = config.numAttentionHeads * headDim;
  const keyWidth = config.numKeyValueHeads * headDim;
  const shapes: Record<string, number[]> = {
    'fc.weight': [width, config.targetLayerIds.length * width],
    'hidden_norm.weight': [width],
    'norm.weight': [width],
  };
  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    const prefix = `layers.${layer}`;
    Object.assign(shapes, {
      [`${prefix}.input_layernorm.weight`]: [width],
      [`${prefix}.self_attn.q_proj.weight`]: [queryWidth, width],
      [`${prefix}.self_attn.k_proj.weight`]: [keyWidth, width],
      [`${prefix}.self_attn.v_proj.weight`]: [keyWidth, width],
      [`${prefix}.self_attn.o_proj.weight`]: [width, queryWidth],
      [`${prefix}.self_attn.q_norm.weight`]: [headDim],
      [`${prefix}.self_attn.k_norm.weight`]: [headDim],
      [`${prefix}.post_attention_layernorm.weight`]: [width],
      [`${prefix}.mlp.gate_proj.weight`]: [inner, width],
      [`${prefix}.mlp.up_proj.weight`]: [inner, width],
      [`${prefix}.mlp.down_proj.weight`]: [width, inner],
    });
    if (config.attentionBias) {
      Object.assign(shapes, {
        [`${prefix}.self_attn.q_proj.bias`]: [queryWidth],
        [`${prefix}.self_attn.k_proj.bias`]: [keyWidth],
        [`${prefix}.self_attn.v_proj.bias`]: [keyWidth],
        [`${prefix}.self_attn.o_proj.bias`]: [width],
      });
    }
  }
  return shapes;
}

/** Number of a drafter's trained values. */
export function countDrafterParameters(config: DrafterConfig): number {
  return Object.values(drafterWeightShapes(config)).reduce((sum, shape) => sum + shape.reduce((product, length) => product * length, 1), 0);
}
