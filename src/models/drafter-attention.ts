// Attention shaped like the drafter's mask: every block reads the context before its anchor, whose keys and values exist once per
// sequence, and its own slots. Scores against the two are made apart, `[B, Hkv, N·G·Q, S]` and `[B·Hkv·N, G·Q, K]`, and
// share one softmax by a common maximum and sum, so no block ever meets another and nothing is joined. The gradient is written out
// (as in FlashAttention, arXiv 2205.14135, section 3.1): it keeps one tensor of the scores' size and makes two more passes.
import type { Tensor, Tensor2D, Tensor3D, Tensor4D } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../tensorflow/ops.js';

/** Added to the score of a position that must not be read: finite, so that no infinity minus infinity arises. */
const UNSEEN = -1e30;

/** What one layer's attention reads. Queries and keys have been normed and rotated. H = Hkv·G heads. */
export interface BlockAttentionInputs {
  /** `[B, N, Q, H, headDim]`. */
  queries: Tensor;
  /** `[B, N, K, Hkv, headDim]`. */
  blockKeys: Tensor;
  /** `[B, N, K, Hkv, headDim]`. */
  blockValues: Tensor;
  /** `[B, Hkv, S, headDim]`. */
  contextKeys: Tensor4D;
  /** `[B, Hkv, S, headDim]`. */
  contextValues: Tensor4D;
  /** `prefixBias` of the blocks' anchors. */
  bias: Tensor;
}

/**
 * What is added to scores against the context: 0 at positions before the anchor, a huge negative number from there on. Float32
 * `[B, 1, N, 1, S]` for anchors `[B, N]` int32; the same for all heads and slots, so it is made once a pass.
 */
export function prefixBias(anchors: Tensor2D, length: number): Tensor {
  const [batchSize, blockCount] = anchors.shape;
  return tf.tidy(() => {
    const hidden = tf.greaterEqual(tf.range(0, length, 1, 'int32'), tf.expandDims(anchors, 2));
    return tf.reshape(tf.mul(tf.cast(hidden, 'float32'), UNSEEN), [batchSize, 1, blockCount, 1, length]);
  });
}

/** Softmax attention of every block's slots over `[context before the anchor | own slots]`; `[B, N, Q, H, headDim]`. */
export function attendPrefixAndBlock(inputs: BlockAttentionInputs): Tensor {
  const [batchSize, blockCount, queryCount, heads, headDim] = inputs.queries.shape as [number, number, number, number, number];
  const [, keyValueHeads, length] = inputs.contextKeys.shape;
  const blockSize = inputs.blockKeys.shape[2]!;
  const groups = heads / keyValueHeads;
  const sequences = batchSize * keyValueHeads;
  const rows = groups * queryCount;
  return tf.tidy(() => {
    const grouped = tf.reshape(tf.mul(inputs.queries, 1 / Math.sqrt(headDim)), [batchSize, blockCount, queryCount, keyValueHeads, groups, headDim]);
    const queries = tf.reshape(tf.transpose(grouped, [0, 3, 1, 4, 2, 5]), [sequences * blockCount, rows, headDim]);
    const ownSlots = (x: Tensor) => tf.reshape(tf.transpose(x, [0, 3, 1, 2, 4]), [sequences * blockCount, blockSize, headDim]);
    const attended = mergedAttention(
      queries,
      tf.reshape(inputs.contextKeys, [sequences, length, headDim]),
      tf.reshape(inputs.contextValues, [sequences, length, headDim]),
      ownSlots(inputs.blockKeys),
      ownSlots(inputs.blockValues),
      inputs.bias,
    );
    const split = tf.reshape(attended, [batchSize, keyValueHeads, blockCount, groups, queryCount, headDim]);
    return tf.reshape(tf.transpose(split, [0, 2, 4, 1, 3, 5]), [batchSize, blockCount, queryCount, heads, headDim]);
  });
}

/**
 * The two-part softmax itself, with its gradient. P = B·Hkv sequences of keys, R = G·Q rows of queries a block:
 * queries `[P·N, R, d]` (scaled), context keys and values `[P, S, d]`, own keys and values `[P·N, K, d]`, bias `[B, 1, N, 1, S]`.
 */
function mergedAttention(queries: Tensor, contextKeys: Tensor, contextValues: Tensor, ownKeys: Tensor, ownValues: Tensor, bias: Tensor): Tensor {
  const [blocks, rows, headDim] = queries.shape as [number, number, number];
  const [sequences, length] = contextKeys.shape as [number, number];
  const [batchSize, , blockCount] = bias.shape as [number, number, number];
  const bySequence = (x: Tensor): Tensor3D => tf.reshape(x, [sequences, blockCount * rows, x.shape[2]!]) as Tensor3D;
  const byBlock = (x: Tensor): Tensor3D => tf.reshape(x, [blocks, rows, x.shape[2]!]) as Tensor3D;

  const attend = tf.customGrad((...args) => {
    const [q, kc, vc, kb, vb] = args.slice(0, 5) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const save = args[5] as unknown as (tensors: Tensor[]) => void;
    const ownScores = tf.matMul(q, kb, false, true);
    const openScores = tf.reshape(tf.matMul(bySequence(q), kc, false, true), [batchSize, sequences / batchSize, blockCount, rows, length]);
    const contextScores = byBlock(tf.reshape(tf.add(openScores, bias), [blocks, rows, length]));
    const highest = tf.maximum(tf.max(contextScores, 2, true), tf.max(ownScores, 2, true));
    const contextWeights = tf.exp(tf.sub(contextScores, highest));
    const ownWeights = tf.exp(tf.sub(ownScores, highest));
    const total = tf.add(tf.sum(contextWeights, 2, true), tf.sum(ownWeights, 2, true));
    const read = tf.add(byBlock(tf.matMul(bySequence(contextWeights), vc)), tf.matMul(ownWeights, vb));
    const value = tf.div(read, total);
    save([q, kc, vc, kb, vb, contextWeights, ownWeights, total, value]);
    const gradFunc = (dy: Tensor, saved: Tensor[]): Tensor[] => {
      const [q, kc, vc, kb, vb, contextWeights, ownWeights, total, value] = saved as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
      // With p = weights / total, the softmax's gradient is p·(dp - Σ dy·value); the division is done on the small dy.
      const scaled = tf.div(dy, total);
      const shared = tf.sum(tf.mul(scaled, value), 2, true);
      const scaledRows = bySequence(scaled);
      const contextGradient = tf.mul(contextWeights, tf.sub(byBlock(tf.matMul(scaledRows, vc, false, true)), shared));
      const ownGradient = tf.mul(ownWeights, tf.sub(tf.matMul(scaled, vb, false, true), shared));
      const contextRows = bySequence(contextGradient);
      return [
        tf.add(byBlock(tf.matMul(contextRows, kc)), tf.matMul(ownGradient, kb)),
        tf.matMul(contextRows, bySequence(q), true, false),
        tf.matMul(bySequence(contextWeights), scaledRows, true, false),
        tf.matMul(ownGradient, q, true, false),
        tf.matMul(ownWeights, scaled, true, false),
      ];
    };
    return { value, gradFunc };
  });
  return tf.reshape(attend(queries, contextKeys, contextValues, ownKeys, ownValues), [blocks, rows, headDim]);
}
