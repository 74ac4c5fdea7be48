// One capture pass: what the frozen target makes of a batch of sequences, as small as it is stored. Pure, like all forward
// passes here, so that it runs eagerly or as a recorded graph.
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { linear } from '../models/layers.js';
import type { TargetConfig } from '../models/target-config.js';
import { lmHeadWeight, targetForward } from '../models/target.js';
import type { Weights } from '../models/weights.js';
import { onGpu } from '../tensorflow/device.js';
import { tf } from '../tensorflow/ops.js';
import { packHalf } from '../tensorflow/packed-half.js';
import { gatherOfRow } from '../tensorflow/raw-ops.js';

export interface CaptureStepOptions {
  /** Layers whose outputs are kept, in this order; none: no features. */
  taps: readonly number[];
  /** `float16` packs two values into one int32. */
  featureType: 'float16' | 'float32';
  /** Log-probabilities kept a position; 0: none. */
  topk: number;
}

/** Logits of this many bytes are in memory at once. */
const LOGIT_BYTES = 128 * 2 ** 20;

/**
 * Runs the target over `inputIds`, int32 `[B, S]`. Returns, as asked: `features` `[B, S, T·D]` float32 or `[B, S, T·D/2]` int32 (pairs of float16),
 * `topkIds` int32 and `topkLogProbs` float32 `[B·S, k]`, best first, normalised over the whole vocabulary.
 */
export function captureStep(config: TargetConfig, weights: Weights, inputIds: Tensor2D, options: CaptureStepOptions): Record<string, Tensor> {
  return tf.tidy(() => {
    if (onGpu() || inputIds.shape[0] % 2 === 1) return captureRows(config, weights, inputIds, options);
    // Two halves side by side, each operation on one thread: see batch-parts.ts.
    const [first, second] = (tf.split(inputIds, 2, 0) as Tensor2D[]).map((half) => captureRows(config, weights, half, options)) as [Record<string, Tensor>, Record<string, Tensor>];
    return Object.fromEntries(Object.keys(first).map((name) => [name, tf.concat([first[name]!, second[name]!], 0)]));
  });
}

function captureRows(config: TargetConfig, weights: Weights, inputIds: Tensor2D, { taps, featureType, topk }: CaptureStepOptions): Record<string, Tensor> {
  const pass = targetForward(config, weights, inputIds, { taps, logits: 'none', allHidden: topk > 0 });
  const outputs: Record<string, Tensor> = {};
  if (pass.features !== undefined) outputs['features'] = featureType === 'float16' ? packHalf(pass.features) : pass.features;
  if (pass.hiddenStates !== undefined) {
    const last = tf.reshape(pass.hiddenStates.at(-1)!, [-1, config.hiddenSize]) as Tensor2D;
    Object.assign(outputs, topLogProbs(last, lmHeadWeight(config, weights), topk));
  }
  return outputs;
}

/** The best `k` log-probabilities of each row of `hidden [M, D]` under `head [V, D]`, with only a slice of the logits in memory. */
export function topLogProbs(hidden: Tensor2D, head: Tensor2D, k: number): { topkIds: Tensor2D; topkLogProbs: Tensor2D } {
  return tf.tidy(() => {
    const rows = hidden.shape[0];
    const chunk = Math.max(1, Math.floor(LOGIT_BYTES / (4 * head.shape[0])));
    const ids: Tensor2D[] = [];
    const logProbs: Tensor2D[] = [];
    for (let start = 0; start < rows; start += chunk) {
      const part = tf.tidy(() => {
        const logits = linear(tf.slice(hidden, [start, 0], [Math.min(chunk, rows - start), -1]), head);
        const { values, indices } = largest(logits as Tensor2D, k);
        // The best token's share is 1 / Σ exp(logit - best).
        const logShare = tf.log(tf.max(tf.softmax(logits), 1, true));
        const best = tf.slice(values, [0, 0], [-1, 1]);
        return { ids: indices as Tensor2D, logProbs: tf.add(tf.sub(values, best), logShare) as Tensor2D };
      });
      ids.push(part.ids);
      logProbs.push(part.logProbs);
    }
    return ids.length === 1 ? { topkIds: ids[0]!, topkLogProbs: logProbs[0]! } : { topkIds: tf.concat(ids), topkLogProbs: tf.concat(logProbs) };
  });
}

/**
 * `tf.topk` of each row, best first and the first of equals before the others, at a fraction of its cost in a large vocabulary: the k largest values are in
 * the k groups of neighbours with the largest maxima.
 */
export function largest(x: Tensor2D, k: number): { values: Tensor2D; indices: Tensor2D } {
  const [rows, columns] = x.shape;
  const size = groupSize(columns, k);
  if (size === 1) return tf.topk(x, k, true) as { values: Tensor2D; indices: Tensor2D };
  return tf.tidy(() => {
    const groups = tf.reshape(x, [rows, columns / size, size]);
    const best = tf.topk(tf.max(groups, 2), k, true).indices;
    // In the order of their places, so that equal values keep theirs.
    const chosen = tf.neg(tf.topk(tf.neg(best), k, true).values);
    const { values, indices } = tf.topk(tf.reshape(gatherOfRow(groups, chosen), [rows, k * size]) as Tensor2D, k, true);
    const places = tf.add(tf.mul(tf.expandDims(chosen, 2), tf.scalar(size, 'int32')), tf.range(0, size, 1, 'int32'));
    return { values, indices: gatherOfRow(tf.reshape(places, [rows, k * size]), indices) } as { values: Tensor2D; indices: Tensor2D };
  });
}

/**
 * Neighbours in a group: about √(columns / k), where looking through groups and through members costs alike; a power of two that divides the columns. Groups of
 * less than 16 do not pay (2048 columns, the best 32: 1.3 times the time; 32000: 0.62; 151936: 0.28).
 */
function groupSize(columns: number, k: number): number {
  let size = 1;
  while (columns % (2 * size) === 0 && (2 * size) ** 2 * k <= columns) size *= 2;
  return size < 16 ? 1 : size;
}
