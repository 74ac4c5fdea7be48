// Fresh weights of a target, for training one from nothing (the demo target is made so).
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import { Random } from '../random.js';
import { tf } from '../tensorflow/ops.js';
import type { TargetConfig } from './target-config.js';
import type { Weights } from './weights.js';

/**
 * Normal weights of standard deviation 0.02; projections back into the residual stream are divided by sqrt(2 · layers) (GPT-2's rule);
 * norms are 1, biases 0. The same seed gives the same weights.
 */
export function initTargetWeights(config: TargetConfig, seed: number): Weights {
  const weights: Weights = {};
  for (const [name, shape] of Object.entries(targetWeightShapes(config))) weights[name] = initial(name, shape, config, seed);
  return weights;
}

function initial(name: string, shape: number[], config: TargetConfig, seed: number): Tensor {
  if (name.endsWith('norm.weight')) return tf.ones(shape);
  if (name.endsWith('.bias')) return tf.zeros(shape);
  const backToResidual = name.endsWith('o_proj.weight') || name.endsWith('down_proj.weight');
  const deviation = backToResidual ? 0.02 / Math.sqrt(2 * config.numLayers) : 0.02;
  const random = Random.fork(seed, name);
  return tf.tensor(
    Float32Array.from({ length: shape.reduce((product, size) => product * size, 1) }, () => random.normal() * deviation),
    shape,
  );
}

/** Every tensor that a checkpoint of this shape holds, `[out, in]`. */
export function targetWeightShapes(config: TargetConfig): Record<string, number[]> {
  const { hiddenSize, intermediateSize, headDim, vocabSize } = config;
  const queries = config.numHeads * headDim;
  const keys = config.numKeyValueHeads * headDim;
  const shapes: Record<string, number[]> = { 'model.embed_tokens.weight': [vocabSize, hiddenSize], 'model.norm.weight': [hiddenSize] };
  if (!config.tieWordEmbeddings) shapes['lm_head.weight'] = [vocabSize, hiddenSize];
  for (let layer = 0; layer < config.numLayers; layer++) {
    const put = (name: string, shape: number[], bias = false): void => {
      shapes[`model.layers.${layer}.${name}.weight`] = shape;
      if (bias) shapes[`model.layers.${layer}.${name}.bias`] = [shape[0]!];
    };
    put('input_layernorm', [hiddenSize]);
    put('post_attention_layernorm', [hiddenSize]);
    put('self_attn.q_proj', [queries, hiddenSize], config.attentionBias);
    put('self_attn.k_proj', [keys, hiddenSize], config.attentionBias);
    put('self_attn.v_proj', [keys, hiddenSize], config.attentionBias);
    put('self_attn.o_proj', [hiddenSize, queries], config.outputBias);
    if (config.qkNorm) {
      put('self_attn.q_norm', [headDim]);
      put('self_attn.k_norm', [headDim]);
    }
    put('mlp.gate_proj', [intermediateSize, hiddenSize], config.mlpBias);
    put('mlp.up_proj', [intermediateSize, hiddenSize], config.mlpBias);
    put('mlp.down_proj', [hiddenSize, intermediateSize], config.mlpBias);
  }
  return shapes;
}
