// Attention shaped like the drafter's mask: every block reads the context before its anchor, whose keys and values exist once per sequence, and its
// own slots. One kernel does it where draftalign's kernels are in force. By plain operations, scores against the two are made apart and go
// through one softmax, so no block ever meets another.
// Blocks come sorted by anchor: neighbours form a group, which computes with the context only as far as its
// last anchor reaches. That length is known to the step alone, so these tensors have one dimension that is known only when they are computed.
// The gradient is written out: it keeps one tensor of the scores' size and makes two more passes.
import type { Tensor, Tensor2D, Tensor3D, Tensor4D } from '@tensorflow/tfjs-node-gpu';
import { onGpu } from '../tensorflow/device.js';
import { attentionHeadMultiple, fusedBlockAttention, fusedBlockAttentionGradient, type BlockAttentionTensors } from '../tensorflow/fused-ops.js';
import { kernelsInForce } from '../tensorflow/kernels.js';
import { tf } from '../tensorflow/ops.js';
import { firstRows, padRows, reshapeInferring, selectWhole, splitOff } from '../tensorflow/raw-ops.js';

/** Added to the score of a position that must not be read: finite, so that no infinity minus infinity arises. */
const UNSEEN = -1e30;
/** Groups of a sequence's blocks, by the least context that pays for them: every group is a few dozen operations more. On a GPU none pays. */
const groupsFrom = [{ length: 1024, groups: 4 }, { length: 64, groups: 2 }];
const leastBlocks = 4;
/** A group's reach is rounded up to a multiple of an eighth of the context: few different shapes, whose kernels TensorFlow keeps. */
const reachSteps = 8;

/** What one layer's attention reads. Queries and keys have been normed and rotated, queries scaled by 1/√headDim. H = Hkv·G heads. */
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
}

/** Softmax attention of every block's slots over `[context before the anchor | own slots]`; `[B, N, Q, H, headDim]`. */
export type BlockAttention = (inputs: BlockAttentionInputs) => Tensor;

/**
 * The attention of the blocks at `anchors [B, N]` (int32, best sorted along each row), which read a context of `length` positions by `keyValueHeads` heads
 * of `headDim` numbers. What all layers share is made here, once.
 */
export function blockAttention(anchors: Tensor2D, { length, keyValueHeads, headDim }: { length: number; keyValueHeads: number; headDim: number }): BlockAttention {
  if (kernelsInForce() && headDim % attentionHeadMultiple === 0) return (inputs) => attendByKernel(inputs, anchors);
  const groups = prefixGroups(anchors, length, keyValueHeads);
  return (inputs) => attendByGroups(inputs, groups);
}

function attendByKernel({ queries, blockKeys, blockValues, contextKeys, contextValues }: BlockAttentionInputs, anchors: Tensor2D): Tensor {
  const attend = tf.customGrad((...args) => {
    const inputs = args.slice(0, 5) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const save = args[5] as unknown as (tensors: Tensor[]) => void;
    const { attended, logSums } = fusedBlockAttention([...inputs, anchors]);
    save([...inputs, anchors, attended, logSums]);
    const gradFunc = (dy: Tensor, saved: Tensor[]): Tensor[] => {
      const [attended, logSums] = saved.slice(6) as [Tensor, Tensor];
      return fusedBlockAttentionGradient(saved.slice(0, 6) as unknown as BlockAttentionTensors, attended, logSums, dy);
    };
    return { value: attended, gradFunc };
  });
  return attend(queries, blockKeys, blockValues, contextKeys, contextValues);
}

/** Neighbouring blocks of every sequence, and how far they read. */
interface PrefixGroup {
  /** Blocks of one sequence. */
  count: number;
  /** int32 `[1]`: context positions that the group computes with, L; absent where that is all of them. */
  reach?: Tensor;
  /** Added to scores: 0 at positions before a block's anchor, a huge negative number from there on; float32 `[B·Hkv·count, 1, L]`. */
  bias: Tensor;
}

function prefixGroups(anchors: Tensor2D, length: number, keyValueHeads: number): PrefixGroup[] {
  const [batchSize, blockCount] = anchors.shape;
  const groupCount = (onGpu() ? [] : groupsFrom).find((plan) => length >= plan.length && blockCount % plan.groups === 0 && blockCount / plan.groups >= leastBlocks)?.groups ?? 1;
  const count = blockCount / groupCount;
  const step = Math.ceil(length / reachSteps);
  return tf.tidy(() =>
    tf.split(anchors, groupCount, 1).map((own): PrefixGroup => {
      const positions = tf.range(0, length, 1, 'int32');
      const biasOf = (seen: Tensor): Tensor => {
        const hidden = tf.greaterEqual(seen, tf.reshape(own, [batchSize, 1, count, 1]));
        const bias = selectWhole(hidden, tf.scalar(UNSEEN), tf.scalar(0));
        // The same for every head, and small: written out, it has the first dimension of the scores.
        return reshapeInferring(tf.concat(Array<Tensor>(keyValueHeads).fill(bias), 1), [batchSize * keyValueHeads * count, 1, -1]);
      };
      if (groupCount === 1) return { count, bias: biasOf(positions) };
      const steps = tf.floorDiv(tf.add(tf.max(own), tf.scalar(step - 1, 'int32')), tf.scalar(step, 'int32'));
      const reach = tf.reshape(tf.minimum(tf.mul(tf.maximum(steps, tf.scalar(1, 'int32')), tf.scalar(step, 'int32')), tf.scalar(length, 'int32')), [1]);
      return { count, reach, bias: biasOf(firstRows(positions, 0, reach)) };
    }) as never,
  ) as PrefixGroup[];
}

function attendByGroups({ queries, blockKeys, blockValues, contextKeys, contextValues }: BlockAttentionInputs, groups: readonly PrefixGroup[]): Tensor {
  return tf.tidy(() => {
    const counts = groups.map(({ count }) => count);
    const cut = (x: Tensor): Tensor[] => (groups.length === 1 ? [x] : tf.split(x, counts, 1));
    const [ownQueries, ownKeys, ownValues] = [cut(queries), cut(blockKeys), cut(blockValues)];
    const attended = groups.map((group, index) =>
      attendGroup({ queries: ownQueries[index]!, blockKeys: ownKeys[index]!, blockValues: ownValues[index]!, contextKeys, contextValues }, group),
    );
    return attended.length === 1 ? attended[0]! : tf.concat(attended, 1);
  });
}

function attendGroup(inputs: BlockAttentionInputs, group: PrefixGroup): Tensor {
  const [batchSize, blockCount, queryCount, heads, headDim] = inputs.queries.shape as [number, number, number, number, number];
  const [, keyValueHeads, length] = inputs.contextKeys.shape;
  const blockSize = inputs.blockKeys.shape[2]!;
  const perHead = heads / keyValueHeads;
  const sequences = batchSize * keyValueHeads;
  const grouped = tf.reshape(inputs.queries, [batchSize, blockCount, queryCount, keyValueHeads, perHead, headDim]);
  const queries = tf.reshape(tf.transpose(grouped, [0, 3, 1, 4, 2, 5]), [sequences * blockCount, perHead * queryCount, headDim]);
  const ownSlots = (x: Tensor) => tf.reshape(tf.transpose(x, [0, 3, 1, 2, 4]), [sequences * blockCount, blockSize, headDim]);
  const context = (x: Tensor) => tf.reshape(x, [sequences, length, headDim]);
  const attended = softmaxAttention(
    queries,
    context(inputs.contextKeys),
    context(inputs.contextValues),
    ownSlots(inputs.blockKeys),
    ownSlots(inputs.blockValues),
    group,
  );
  const split = tf.reshape(attended, [batchSize, keyValueHeads, blockCount, perHead, queryCount, headDim]);
  return tf.reshape(tf.transpose(split, [0, 2, 4, 1, 3, 5]), [batchSize, blockCount, queryCount, heads, headDim]);
}

/**
 * The softmax itself, with its gradient. P = B·Hkv sequences of keys, n blocks of each, R = G·Q rows of queries a block:
 * queries `[P·n, R, d]` (scaled), context keys and values `[P, S, d]`, own keys and values `[P·n, K, d]`.
 */
function softmaxAttention(queries: Tensor, contextKeys: Tensor, contextValues: Tensor, ownKeys: Tensor, ownValues: Tensor, { count, reach, bias }: PrefixGroup): Tensor {
  const [blocks, rows, headDim] = queries.shape as [number, number, number];
  const [sequences, length] = contextKeys.shape as [number, number];
  const bySequence = (x: Tensor): Tensor3D => reshapeInferring(x, [sequences, count * rows, -1]);
  const byBlock = (x: Tensor): Tensor3D => reshapeInferring(x, [blocks, rows, -1]);

  const attend = tf.customGrad((...args) => {
    const [q, kc, vc, kb, vb] = args.slice(0, 5) as [Tensor3D, Tensor3D, Tensor3D, Tensor3D, Tensor3D];
    const save = args[5] as unknown as (tensors: Tensor[]) => void;
    const contextScores = tf.add(byBlock(tf.matMul(bySequence(q), firstPositions(kc, reach), false, true)), bias);
    const weights = tf.softmax(tf.concat([contextScores, tf.matMul(q, kb, false, true)], 2));
    const [contextWeights, ownWeights] = splitOff(weights, ownKeys.shape[1]!) as [Tensor3D, Tensor3D];
    const value = tf.add(byBlock(tf.matMul(bySequence(contextWeights), firstPositions(vc, reach))), tf.matMul(ownWeights, vb));
    save([q, kc, vc, kb, vb, contextWeights, ownWeights, value, ...(reach === undefined ? [] : [reach])]);
    const gradFunc = (dy: Tensor, saved: Tensor[]): Tensor[] => {
      const [q, kc, vc, kb, vb, contextWeights, ownWeights, value, reach] = saved as Tensor3D[] as [Tensor3D, Tensor3D, Tensor3D, Tensor3D, Tensor3D, Tensor3D, Tensor3D, Tensor3D, Tensor?];
      const restored = (x: Tensor): Tensor => (reach === undefined ? x : padRows(x, 1, reach, length));
      // The softmax's gradient is p·(dp - Σ dy·value).
      const along = tf.sum(tf.mul(dy, value), 2, true);
      const dyRows = bySequence(dy);
      const contextGradient = bySequence(tf.mul(contextWeights, tf.sub(byBlock(tf.matMul(dyRows, firstPositions(vc, reach), false, true)), along)));
      const ownGradient = tf.mul(ownWeights, tf.sub(tf.matMul(dy as Tensor3D, vb, false, true), along)) as Tensor3D;
      return [
        tf.add(byBlock(tf.matMul(contextGradient, firstPositions(kc, reach))), tf.matMul(ownGradient, kb)),
        restored(tf.matMul(contextGradient, bySequence(q), true, false)),
        restored(tf.matMul(bySequence(contextWeights), dyRows, true, false)),
        tf.matMul(ownGradient, q, true, false),
        tf.matMul(ownWeights, dy as Tensor3D, true, false),
      ];
    };
    return { value, gradFunc };
  });
  return tf.reshape(attend(queries, contextKeys, contextValues, ownKeys, ownValues), [blocks, rows, headDim]);
}

/** The rows `[P, L, d]` of the positions that a group reaches, of all `[P, S, d]`. */
function firstPositions(x: Tensor3D, reach: Tensor | undefined): Tensor3D {
  return (reach === undefined ? x : firstRows(x, 1, reach)) as Tensor3D;
}
