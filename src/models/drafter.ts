// The DFlash drafter (arXiv 2602.06036): Qwen3 decoder layers that are not causal. Every layer's keys and values come from the
// target's features (once per sequence, whatever the number of blocks) and from the block itself; queries only from the block.
// Training reads all blocks of a batch at once; decoding reads one block against keys and values kept in a cache. Both run the
// same layer. Slot 0 is never predicted, so the last layer computes nothing but its keys and values. All other slots hold the same mask token, so the first
// layer projects it once for all of them.
import type { Tensor, Tensor1D, Tensor2D, Tensor3D, Tensor4D } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../tensorflow/ops.js';
import { gatherRows } from '../tensorflow/raw-ops.js';
import { blockAttention } from './drafter-attention.js';
import type { DrafterConfig } from './drafter-config.js';
import { linear, rmsNorm, swiglu } from './layers.js';
import { applyRope, ropeTables } from './rope.js';
import type { Weights } from './weights.js';

/** Keys (after norm and RoPE) and values of context positions, one of each per layer, float32 `[B, Hkv, rows, headDim]`. A type alias, because tf.tidy takes no interfaces. */
export type ContextKeyValues = {
  keys: Tensor4D[];
  values: Tensor4D[];
};

/** What stands in the slots of blocks before the first layer, from the target's embeddings: float32. */
export type BlockEmbeddings = {
  /** Of slot 0, `[B, N, D]`. */
  anchor: Tensor3D;
  /** Of the mask token, which fills the other slots, `[1, D]`. */
  mask: Tensor2D;
};

/** Embeddings of blocks `[token, MASK, …]` from the target's table `[V, D]` and the anchors' tokens, int32 `[B, N]`. */
export function embedBlocks(config: DrafterConfig, table: Tensor2D, anchorTokens: Tensor): BlockEmbeddings {
  return { anchor: gatherRows(table, anchorTokens) as Tensor3D, mask: gatherRows(table, tf.tensor1d([config.maskTokenId], 'int32')) as Tensor2D };
}

/** Rows of the RoPE tables for some positions, float32 `[…, headDim]`. */
interface Rotation {
  cos: Tensor;
  sin: Tensor;
}

/**
 * What the layers read of the target: `hidden_norm(fc(features))`, float32 `[B, S, D]` from features `[B, S, T·D]`
 * (the tapped layers' outputs side by side).
 */
export function drafterContext(config: DrafterConfig, weights: Weights, features: Tensor3D): Tensor3D {
  const [batchSize, length, width] = features.shape;
  const taps = config.targetLayerIds.length;
  if (width !== weights['fc.weight']!.shape[1]) {
    throw new Error(`drafterContext: features are ${width} wide; fc.weight reads ${taps} taps, ${weights['fc.weight']!.shape[1]}`);
  }
  return tf.tidy(() => {
    const flat = tf.reshape(features, [batchSize * length, width]);
    const context = rmsNorm(linear(flat, weights['fc.weight']!), weights['hidden_norm.weight']!, config.rmsNormEps);
    return tf.reshape(context, [batchSize, length, config.hiddenSize]) as Tensor3D;
  });
}

/** Every layer's keys and values of the context `[B, S, D]` of `drafterContext`, at positions 0..S-1. Differentiable in weights and context. */
export function contextKeyValues(config: DrafterConfig, weights: Weights, context: Tensor3D): ContextKeyValues {
  return tf.tidy(() => everyLayer(config, weights, context, ropeTables(config.rope, config.headDim, context.shape[1]))) as ContextKeyValues;
}

/**
 * The drafter on N blocks of every sequence: final-normed hidden states of slots 1..K-1, float32 `[B, N, J, D]`, ready
 * for the target's head.
 *
 * `context` is `contextKeyValues`', `embeddings` `embedBlocks`', `anchors [B, N]` int32 the positions of slot 0; `blockSize` is K where it is not the
 * drafter's own. A block sees context positions before its anchor and its own slots. Differentiable in weights, context and embeddings.
 */
export function drafterBlocks(
  config: DrafterConfig,
  weights: Weights,
  { context, embeddings, anchors, blockSize = config.blockSize }: { context: ContextKeyValues; embeddings: BlockEmbeddings; anchors: Tensor2D; blockSize?: number },
): Tensor4D {
  const [sequences, , length] = context.keys[0]!.shape;
  const [batchSize, blockCount, width] = embeddings.anchor.shape;
  if (anchors.shape[0] !== batchSize || anchors.shape[1] !== blockCount || sequences !== batchSize) {
    throw new Error(`drafterBlocks: context of ${sequences} sequences, embeddings [${embeddings.anchor.shape}] and anchors [${anchors.shape}] disagree`);
  }
  return tf.tidy(() => {
    const rotation = slotRotation(ropeTables(config.rope, config.headDim, length + blockSize), anchors, blockSize);
    const hidden = runLayers(config, weights, { embeddings, blockSize, anchors, rotation, context });
    return tf.reshape(hidden, [batchSize, blockCount, blockSize - 1, width]) as Tensor4D;
  });
}

/**
 * What a cache holds of new context positions: every layer's keys and values, `[B, Hkv, n, headDim]`, of features
 * `[B, n, T·D]` at positions `start … start + n - 1`. `start` is an int32 scalar tensor, so that one recorded graph serves every position;
 * `capacity` is the cache's number of rows, which no position may reach.
 */
export function drafterContextRows(
  config: DrafterConfig,
  weights: Weights,
  { features, start, capacity }: { features: Tensor3D; start: Tensor; capacity: number },
): ContextKeyValues {
  const rows = features.shape[1];
  return tf.tidy(() => {
    const tables = ropeTables(config.rope, config.headDim, capacity);
    const positions = tf.add(tf.range(0, rows, 1, 'int32'), start);
    const rotation = { cos: gatherRows(tables.cos, positions), sin: gatherRows(tables.sin, positions) };
    return everyLayer(config, weights, drafterContext(config, weights, features), rotation);
  }) as ContextKeyValues;
}

/**
 * Drafts one block of each sequence from a cache: final-normed hidden states of slots 1..K-1, float32 `[B, J, D]`.
 *
 * `cache` holds rows of `drafterContextRows`, `[B, Hkv, C, headDim]` a layer; `embeddings` are `embedBlocks`' with one anchor a sequence; `anchors [B]`
 * int32, a tensor, so that one recorded graph serves every position. Rows from the anchor on are not read,
 * whatever they hold, so a cache is cropped by moving the anchor.
 */
export function drafterDraft(
  config: DrafterConfig,
  weights: Weights,
  { cache, embeddings, anchors, blockSize = config.blockSize }: { cache: ContextKeyValues; embeddings: BlockEmbeddings; anchors: Tensor1D; blockSize?: number },
): Tensor3D {
  const [batchSize, , width] = embeddings.anchor.shape;
  const capacity = cache.keys[0]!.shape[2];
  return tf.tidy(() => {
    const tables = ropeTables(config.rope, config.headDim, capacity + blockSize);
    const blockAnchors = tf.reshape(anchors, [batchSize, 1]) as Tensor2D;
    const rotation = slotRotation(tables, blockAnchors, blockSize);
    const hidden = runLayers(config, weights, { embeddings, blockSize, anchors: blockAnchors, rotation, context: cache });
    return tf.reshape(hidden, [batchSize, blockSize - 1, width]) as Tensor3D;
  });
}

interface BlockInputs {
  embeddings: BlockEmbeddings;
  /** K. */
  blockSize: number;
  /** `[B, N]` int32. */
  anchors: Tensor2D;
  /** Of the slots, `[B, N, K, headDim]`. */
  rotation: Rotation;
  context: ContextKeyValues;
}

/** All layers and the final norm; `[M·J, D]`. */
function runLayers(config: DrafterConfig, weights: Weights, { embeddings, blockSize, anchors, rotation, context }: BlockInputs): Tensor2D {
  const [batchSize, blockCount, width] = embeddings.anchor.shape;
  const blockTotal = batchSize * blockCount;
  const { numAttentionHeads: heads, numKeyValueHeads: keyValueHeads, headDim, rmsNormEps: eps } = config;
  const slots = blockSize - 1;
  const attend = blockAttention(anchors, { length: context.keys[0]!.shape[2], keyValueHeads, headDim });
  // Rows of blocks come as `[M·K, …]`; before the first layer's attention as the M anchors' and one for all masks, `[M+1, …]`.
  const shared = tf.concat([tf.reshape(embeddings.anchor, [blockTotal, width]), embeddings.mask], 0) as Tensor2D;
  const everySlot = (rows: Tensor): Tensor => spread(rows, blockTotal, slots, true);
  const masksOnly = (rows: Tensor): Tensor => spread(rows, blockTotal, slots, false);
  const same = (rows: Tensor): Tensor => rows;
  const withoutAnchor = (rows: Tensor): Tensor => tf.reshape(tf.slice(tf.reshape(rows, [blockTotal, blockSize, width]), [0, 1, 0], [blockTotal, slots, width]), [blockTotal * slots, width]);
  let x = everySlot(shared);
  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    const name = (part: string) => `layers.${layer}.${part}`;
    const weight = (part: string) => weights[name(part)]!;
    const project = (input: Tensor, part: string) => linear(input, weight(`${part}.weight`), weights[name(`${part}.bias`)]);
    const [first, last] = [layer === 0, layer === config.numHiddenLayers - 1];
    const queryCount = last ? slots : blockSize;
    const ofQueries = last ? withoutAnchor : same;
    const [spreadQueries, spreadKeys] = first ? [last ? masksOnly : everySlot, everySlot] : [same, same];
    const normed = rmsNorm(first ? shared : x, weight('input_layernorm.weight'), eps);
    const normedQueries = headNorm(
      project(first ? normed : ofQueries(normed), 'self_attn.q_proj'),
      // The scores' scale, where it costs nothing.
      tf.mul(weight('self_attn.q_norm.weight'), 1 / Math.sqrt(headDim)),
      eps,
    );
    const normedKeys = headNorm(project(normed, 'self_attn.k_proj'), weight('self_attn.k_norm.weight'), eps);
    const queries = rotate(tf.reshape(spreadQueries(normedQueries), [batchSize, blockCount, queryCount, heads, headDim]), last ? dropAnchorRotation(rotation) : rotation);
    const blockKeys = rotate(tf.reshape(spreadKeys(normedKeys), [batchSize, blockCount, blockSize, keyValueHeads, headDim]), rotation);
    const blockValues = tf.reshape(spreadKeys(project(normed, 'self_attn.v_proj')), [batchSize, blockCount, blockSize, keyValueHeads, headDim]);
    const attended = attend({ queries, blockKeys, blockValues, contextKeys: context.keys[layer]!, contextValues: context.values[layer]! });
    const afterAttention = tf.add(
      ofQueries(x),
      project(tf.reshape(attended, [blockTotal * queryCount, heads * headDim]), 'self_attn.o_proj'),
    );
    const normedAgain = rmsNorm(afterAttention, weight('post_attention_layernorm.weight'), eps);
    const mlp = swiglu(normedAgain, weight('mlp.gate_proj.weight'), weight('mlp.up_proj.weight'), weight('mlp.down_proj.weight'));
    x = tf.add(afterAttention, mlp);
  }
  return rmsNorm(x, weights['norm.weight']!, eps) as Tensor2D;
}

/**
 * Rows `[M+1, …]`, of M anchors and of the mask, written out for the slots of M blocks: `[M·K, C]` with the anchor's row before the mask's `slots`, or
 * without it `[M·J, C]`. (A gradient of its own: tfjs' for a repetition is a slice for every copy.)
 */
function spread(rows: Tensor, blocks: number, slots: number, withAnchor: boolean): Tensor {
  const columns = rows.size / (blocks + 1);
  const lead = withAnchor ? 1 : 0;
  const repeat = tf.customGrad((...args) => {
    const [anchors, mask] = tf.split(args[0] as Tensor, [blocks, 1]) as [Tensor, Tensor];
    const masks = tf.broadcastTo(tf.reshape(mask, [1, 1, columns]), [blocks, slots, columns]);
    const value = withAnchor ? tf.concat([tf.reshape(anchors, [blocks, 1, columns]), masks], 1) : masks;
    const gradFunc = (dy: Tensor): Tensor => {
      const byBlock = tf.reshape(dy, [blocks, lead + slots, columns]);
      const ofMask = tf.sum(tf.reshape(tf.slice(byBlock, [0, lead, 0], [blocks, slots, columns]), [blocks * slots, columns]), 0, true);
      const ofAnchors = withAnchor ? tf.reshape(tf.slice(byBlock, [0, 0, 0], [blocks, 1, columns]), [blocks, columns]) : tf.zeros([blocks, columns]);
      return tf.concat([ofAnchors, ofMask], 0);
    };
    return { value: tf.reshape(value, [blocks * (lead + slots), columns]), gradFunc };
  });
  return repeat(tf.reshape(rows, [blocks + 1, columns]));
}

/** The layers' keys and values of a context `[B, S, D]` whose positions are turned by `rotation`. */
function everyLayer(config: DrafterConfig, weights: Weights, context: Tensor3D, rotation: Rotation): ContextKeyValues {
  const layers = Array.from({ length: config.numHiddenLayers }, (_, layer) => contextLayerKeyValues(config, weights, layer, context, rotation));
  return { keys: layers.map(({ keys }) => keys), values: layers.map(({ values }) => values) };
}

/** One layer's keys and values of the context `[B, S, D]`, `[B, Hkv, S, headDim]`; the context is not normed again. */
function contextLayerKeyValues(
  config: DrafterConfig,
  weights: Weights,
  layer: number,
  context: Tensor3D,
  rotation: Rotation,
): { keys: Tensor4D; values: Tensor4D } {
  const [batchSize, length, width] = context.shape;
  const { numKeyValueHeads: heads, headDim, rmsNormEps } = config;
  const flat = tf.reshape(context, [batchSize * length, width]);
  const project = (part: string) => {
    const prefix = `layers.${layer}.self_attn.${part}`;
    return tf.reshape(linear(flat, weights[`${prefix}.weight`]!, weights[`${prefix}.bias`]), [batchSize, length, heads, headDim]);
  };
  const keys = rotate(rmsNorm(project('k_proj'), weights[`layers.${layer}.self_attn.k_norm.weight`]!, rmsNormEps), rotation);
  return {
    keys: tf.transpose(keys, [0, 2, 1, 3]) as Tensor4D,
    values: tf.transpose(project('v_proj'), [0, 2, 1, 3]) as Tensor4D,
  };
}

/** RMS norm of every head of projected rows `[…, heads·headDim]`: `[rows·heads, headDim]`. */
function headNorm(rows: Tensor, weight: Tensor, eps: number): Tensor {
  return rmsNorm(tf.reshape(rows, [-1, weight.size]), weight, eps);
}

/** RoPE of `x [..., positions, heads, headDim]` with a rotation `[..., positions, headDim]`. */
function rotate(x: Tensor, { cos, sin }: Rotation): Tensor {
  return applyRope(x, tf.expandDims(cos, -2), tf.expandDims(sin, -2));
}

/** Rotations of the slots of blocks at `anchors [B, N]`: `[B, N, K, headDim]`, slot k at position a+k. */
function slotRotation(tables: { cos: Tensor2D; sin: Tensor2D }, anchors: Tensor2D, blockSize: number): Rotation {
  const positions = tf.add(tf.expandDims(anchors, 2), tf.range(0, blockSize, 1, 'int32'));
  return { cos: gatherRows(tables.cos, positions), sin: gatherRows(tables.sin, positions) };
}

function dropAnchorRotation({ cos, sin }: Rotation): Rotation {
  const [batchSize, blockCount, blockSize, headDim] = cos.shape as [number, number, number, number];
  const cut = (table: Tensor) => tf.slice(table, [0, 0, 1, 0], [batchSize, blockCount, blockSize - 1, headDim]);
  return { cos: cut(cos), sin: cut(sin) };
}
