// The frozen verifier: Llama, Qwen2 and Qwen3 decoders, read top to bottom like the figure in their papers.
// The forward pass is a pure function of tensors: it reads nothing back and branches on no value, so the same lines run eagerly,
// under gradients, and as a recorded graph. A pass that continues a text reads cached keys and values and
// returns the new rows; whoever holds the cache writes them.
import type { Scalar, Tensor, Tensor1D, Tensor2D, Tensor3D, Tensor4D } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../tensorflow/ops.js';
import { gatherRows } from '../tensorflow/raw-ops.js';
import { embed, linear, rmsNorm, swiglu } from './layers.js';
import { applyRope, ropeTables } from './rope.js';
import type { TargetConfig } from './target-config.js';
import { weight } from './weights.js';
import type { Weights } from './weights.js';

/** Keys and values of every layer, each `[B, Hkv, rows, headDim]`. */
export interface KeyValues {
  keys: Tensor4D[];
  values: Tensor4D[];
}

export interface TargetForwardOptions {
  /** Layers whose outputs are concatenated as features; none by default. */
  taps?: readonly number[];
  /** Which positions get logits; default all. */
  logits?: 'all' | 'last' | 'none';
  /** Also return every hidden state as Transformers does: embedding, each layer's output, the last one after the final norm. */
  allHidden?: boolean;
  /** Keys and values of earlier tokens, `[B, Hkv, C, headDim]`; rows from `start` on are not read, whatever they hold. */
  cache?: KeyValues;
  /** Rows of the cache in use: int32 scalar, or `[B]` where they differ. Also the first new position. Default 0. */
  start?: Scalar | Tensor1D;
  /** RoPE positions `[B, S]` or `[S]` int32; default `start + 0..S-1`. */
  positions?: Tensor;
  /** Cosines and sines of positions, `[P, headDim]`, where they are made once for many passes; default: made from the config. */
  rotation?: { cos: Tensor2D; sin: Tensor2D };
  /** Which new token sees which, `[S, S]` bool or 0/1, rows look at columns; default: each one itself and those before it. */
  visible?: Tensor2D;
}

export interface TargetOutput {
  /** `[B, S, V]`, or `[B, 1, V]`. */
  logits?: Tensor3D;
  /** `[B, S, T·D]`. */
  features?: Tensor3D;
  /** `[B, S, D]` each. */
  hiddenStates?: Tensor3D[];
  /** The new rows, `[B, Hkv, S, headDim]` a layer. */
  keyValues: KeyValues;
}

/** The embedding table, float32 `[V, D]`. */
export function embeddingTable(weights: Weights): Tensor2D {
  return weight(weights, 'model.embed_tokens.weight') as Tensor2D;
}

/** The head, float32 `[V, D]`: the embedding table where the two are tied. */
export function lmHeadWeight(config: TargetConfig, weights: Weights): Tensor2D {
  return config.tieWordEmbeddings ? embeddingTable(weights) : (weight(weights, 'lm_head.weight') as Tensor2D);
}

/** Runs the target over `inputIds`, int32 `[B, S]`. All outputs are float32 and the caller's. */
export function targetForward(config: TargetConfig, weights: Weights, inputIds: Tensor2D, options: TargetForwardOptions = {}): TargetOutput {
  return tf.tidy(() => {
    const [batchSize, length] = inputIds.shape;
    const { taps = [], cache } = options;
    const rows = (cache?.keys[0]?.shape[2] ?? 0) + length;
    const rotation = rotationOf(config, options, rows, length);
    const bias = attentionBias(options, length);
    const keyValues: KeyValues = { keys: [], values: [] };
    const outputs: Tensor[] = [];
    let x: Tensor = tf.reshape(embed(embeddingTable(weights), inputIds), [batchSize * length, config.hiddenSize]);
    const embedded = x;
    for (let layer = 0; layer < config.numLayers; layer++) {
      // A scope a layer: an eager pass holds one layer's scores at a time, not all of them.
      const input = x;
      const [output, key, value] = tf.tidy(() => {
        const own: KeyValues = { keys: [], values: [] };
        const result = decoderLayer(config, weights, layer, input, { batchSize, length, rotation, bias, cache, keyValues: own });
        return [result, own.keys[0]!, own.values[0]!] as never;
      }) as [Tensor, Tensor4D, Tensor4D];
      x = output;
      keyValues.keys.push(key);
      keyValues.values.push(value);
      outputs.push(x);
    }
    const normed = rmsNorm(x, weight(weights, 'model.norm.weight'), config.rmsNormEps);
    const perSequence = (tensor: Tensor): Tensor3D => tf.reshape(tensor, [batchSize, length, -1]) as Tensor3D;
    const output: TargetOutput = { keyValues };
    if (taps.length > 0) output.features = perSequence(taps.length === 1 ? outputs[taps[0]!]! : tf.concat(taps.map((tap) => outputs[tap]!), -1));
    if (options.allHidden === true) output.hiddenStates = [embedded, ...outputs.slice(0, -1), normed].map(perSequence);
    if (options.logits !== 'none') {
      const last = options.logits === 'last';
      const asked = last ? tf.reshape(tf.slice(perSequence(normed), [0, length - 1, 0], [batchSize, 1, config.hiddenSize]), [batchSize, config.hiddenSize]) : normed;
      output.logits = tf.reshape(linear(asked, lmHeadWeight(config, weights)), [batchSize, last ? 1 : length, config.vocabSize]) as Tensor3D;
    }
    return output as never;
  });
}

interface LayerInputs {
  batchSize: number;
  length: number;
  /** Broadcast against `[B, heads, S, headDim]`. */
  rotation: { cos: Tensor; sin: Tensor };
  /** Added to scores; `own [S, S]`, `cached [B or 1, 1, 1, C]`. */
  bias: { own: Tensor; cached?: Tensor };
  cache?: KeyValues;
  keyValues: KeyValues;
}

function decoderLayer(config: TargetConfig, weights: Weights, layer: number, x: Tensor, inputs: LayerInputs): Tensor {
  const prefix = `model.layers.${layer}`;
  const normed = rmsNorm(x, weight(weights, `${prefix}.input_layernorm.weight`), config.rmsNormEps);
  const afterAttention = tf.add(x, attention(config, weights, layer, normed, inputs));
  const normedAgain = rmsNorm(afterAttention, weight(weights, `${prefix}.post_attention_layernorm.weight`), config.rmsNormEps);
  const mlp = (part: string): Tensor => weight(weights, `${prefix}.mlp.${part}_proj.weight`);
  const bias = (part: string): Tensor | undefined => weights[`${prefix}.mlp.${part}_proj.bias`];
  return tf.add(afterAttention, swiglu(normedAgain, mlp('gate'), mlp('up'), mlp('down'), { gate: bias('gate'), up: bias('up'), down: bias('down') }));
}

/** Grouped-query attention; query heads of one group are rows of one product, so keys and values are never repeated. */
function attention(config: TargetConfig, weights: Weights, layer: number, x: Tensor, inputs: LayerInputs): Tensor {
  const { numHeads, numKeyValueHeads, headDim } = config;
  const { batchSize, length, rotation, bias, cache } = inputs;
  const group = numHeads / numKeyValueHeads;
  const prefix = `model.layers.${layer}.self_attn`;
  const project = (part: string, heads: number): Tensor =>
    tf.reshape(linear(x, weight(weights, `${prefix}.${part}_proj.weight`), weights[`${prefix}.${part}_proj.bias`]), [batchSize, length, heads, headDim]);
  const normHeads = (part: string, heads: Tensor): Tensor =>
    config.qkNorm ? rmsNorm(heads, weight(weights, `${prefix}.${part}_norm.weight`), config.rmsNormEps) : heads;
  const turn = (heads: Tensor): Tensor => applyRope(tf.transpose(heads, [0, 2, 1, 3]), rotation.cos, rotation.sin);
  const q = turn(normHeads('q', project('q', numHeads)));
  const k = turn(normHeads('k', project('k', numKeyValueHeads))) as Tensor4D;
  const v = tf.transpose(project('v', numKeyValueHeads), [0, 2, 1, 3]) as Tensor4D;
  inputs.keyValues.keys.push(k);
  inputs.keyValues.values.push(v);

  const grouped = tf.reshape(tf.mul(q, 1 / Math.sqrt(headDim)), [batchSize, numKeyValueHeads, group * length, headDim]);
  const scoresAgainst = (keys: Tensor): Tensor =>
    tf.reshape(tf.matMul(grouped, keys, false, true), [batchSize, numHeads, length, keys.shape[2]!]);
  const own = tf.add(scoresAgainst(k), bias.own);
  const chancesOf = (scores: Tensor): Tensor => tf.reshape(tf.softmax(scores), [batchSize, numKeyValueHeads, group * length, scores.shape[3]!]);
  // Scores are joined for one softmax, values are not: the cache is read where it lies.
  const readWithCache = (keys: Tensor4D, values: Tensor4D): Tensor => {
    const chances = chancesOf(tf.concat([tf.add(scoresAgainst(keys), bias.cached!), own], -1));
    const [cached, added] = tf.split(chances, [keys.shape[2], length], -1) as [Tensor, Tensor];
    return tf.add(tf.matMul(cached, values), tf.matMul(added, v));
  };
  const read = cache === undefined ? tf.matMul(chancesOf(own), v) : readWithCache(cache.keys[layer]!, cache.values[layer]!);
  const merged = tf.reshape(tf.transpose(tf.reshape(read, [batchSize, numHeads, length, headDim]), [0, 2, 1, 3]), [batchSize * length, numHeads * headDim]);
  return linear(merged, weight(weights, `${prefix}.o_proj.weight`), weights[`${prefix}.o_proj.bias`]);
}

const hidden = -1e9;

/** 0 where a token is seen, a large negative number where it is not. */
function attentionBias(options: TargetForwardOptions, length: number): { own: Tensor; cached?: Tensor } {
  const visible = options.visible ?? causal(length);
  const own = tf.mul(tf.sub(1, tf.cast(visible, 'float32')), hidden);
  if (options.cache === undefined) return { own };
  const capacity = options.cache.keys[0]!.shape[2];
  const start = tf.reshape(options.start ?? tf.scalar(0, 'int32'), [-1, 1]);
  const unused = tf.greaterEqual(tf.reshape(tf.range(0, capacity, 1, 'int32'), [1, capacity]), start);
  return { own, cached: tf.reshape(tf.mul(tf.cast(unused, 'float32'), hidden), [-1, 1, 1, capacity]) };
}

function causal(length: number): Tensor2D {
  const values = new Float32Array(length * length);
  for (let row = 0; row < length; row++) values.fill(1, row * length, row * length + row + 1);
  return tf.tensor2d(values, [length, length]);
}

function rotationOf(config: TargetConfig, options: TargetForwardOptions, rows: number, length: number): { cos: Tensor; sin: Tensor } {
  const tables = options.rotation ?? ropeTables(config.rope, config.headDim, rows);
  if (options.positions === undefined && options.start === undefined) {
    return options.rotation === undefined ? tables : { cos: tf.slice(tables.cos, 0, length), sin: tf.slice(tables.sin, 0, length) };
  }
  const positions =
    options.positions ?? tf.add(tf.range(0, length, 1, 'int32'), tf.reshape(options.start!, [-1, 1]));
  const pick = (table: Tensor2D): Tensor => {
    const picked = gatherRows(table, tf.cast(positions, 'int32'));
    return picked.rank === 3 ? tf.expandDims(picked, 1) : picked;
  };
  return { cos: pick(tables.cos), sin: pick(tables.sin) };
}

export { loadTarget, saveTarget } from './target-checkpoint.js';
export type { Target } from './target-checkpoint.js';
