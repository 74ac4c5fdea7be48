// Scores one chunk of rows: a softmax in one pass over the vocabulary, with the tokens that matter by name (the label, the teacher's top k)
// taken out of the sum and dealt with one by one. So every quantity is a sum of positive numbers, and neither 1 - p nor the tail is ever the
// small difference of two large ones.
import type { Tensor, Tensor2D, Tensor3D } from '@tensorflow/tfjs-node-gpu';
import { fusedVocabularySums, fusedWeightedRows } from '../src/tensorflow/fused-ops.js';
import { kernelsInForce, vocabularyKernelInForce } from '../src/tensorflow/kernels.js';
import { tf } from '../src/tensorflow/ops.js';
import { bestColumns, gatherRows, runAfter, tensorScatterMin } from '../src/tensorflow/raw-ops.js';
import type { DifferentiableScore } from './block-scores.js';
import { labelLogProb, pairWithRow, type RowScores } from './score-logits.js';
import { divideOrZero } from './weighted-mean.js';

/** Scores `[R]` (`logProb`, `best`, `kl`, `overlap`) and their gradients with respect to the hidden rows, `[R, D]` (`dLogProb`, `dKl`, `dOverlap`). */
export type ChunkScores = RowScores;

export interface ChunkRows {
  /** `[R, D]` */
  hidden: Tensor2D;
  /** int32 `[R]` */
  labels: Tensor;
  /** int32 and float32 `[R, k]`: the teacher's top tokens, and ln p of each. */
  ids?: Tensor2D;
  logProbs?: Tensor2D;
}

/** The softmax's raw material after the whole vocabulary has gone by: weights are exp(logit - peak). */
interface Softmax {
  /** int32 `[R]` first most probable token */
  best: Tensor;
  /** logit - peak of the listed tokens `[R, L]` */
  listedShift: Tensor;
  /** Σ weights over the tokens not listed `[R, 1]` */
  restSum: Tensor;
  /** Σ weight·head over the tokens not listed `[R, D]`; absent where no gradient is wanted */
  restHead?: Tensor;
}

const smallest = 2 ** -126;

/** Scores rows against labels and, where given, the teacher's top k with one bucket for the rest; `chunkVocab` tokens at a time. */
export function scoreRowsByVocabulary(rows: ChunkRows, head: Tensor2D, chunkVocab: number, differentiate: readonly DifferentiableScore[]): ChunkScores {
  const labelColumn = tf.expandDims(rows.labels, 1) as Tensor2D;
  const listed = rows.ids ? tf.concat([labelColumn, rows.ids], 1) : labelColumn;
  const softmax = softmaxOverVocabulary(rows.hidden, head, listed, chunkVocab, differentiate.length > 0);
  return rows.ids && rows.logProbs
    ? scoreWithTopK(rows as Required<ChunkRows>, labelColumn, head, softmax, differentiate)
    : scoreLabels(rows.labels, head, softmax);
}

function softmaxOverVocabulary(hidden: Tensor2D, head: Tensor2D, listed: Tensor2D, chunkVocab: number, withHead: boolean): Softmax {
  const [vocabulary, width] = head.shape;
  if (vocabularyKernelInForce()) {
    const { peak, best, listedLogits, sum, sumOfHead } = fusedVocabularySums(hidden, head, listed, withHead);
    return { best, listedShift: tf.sub(listedLogits, peak), restSum: sum, ...(withHead && { restHead: sumOfHead }) };
  }
  if (chunkVocab >= vocabulary) {
    const { peak, best, listedLogits, restSum, restHead } = vocabularyChunk(hidden, head, listed, undefined, undefined, withHead);
    return { best, listedShift: tf.sub(listedLogits, peak), restSum, restHead };
  }
  let state: VocabularyChunk | undefined;
  for (let start = 0; start < vocabulary; start += chunkVocab) {
    const before = state;
    state = tf.tidy(() => {
      const size = Math.min(chunkVocab, vocabulary - start);
      // One tile after the other: TensorFlow would cut all parts of the head at once, and start on all logits. (Its rewrites seem to drop this order at
      // times, which costs memory and changes no value: scripts/README.md.)
      const part = tf.slice(before ? runAfter([before.restHead ?? before.restSum], head) : head, [start, 0], [size, width]);
      const local = tf.sub(listed, tf.scalar(start, 'int32')) as Tensor2D;
      const inside = tf.logicalAnd(tf.greaterEqual(local, tf.scalar(0, 'int32')), tf.less(local, tf.scalar(size, 'int32')));
      const chunk = vocabularyChunk(hidden, part, local, inside, before?.peak, withHead);
      const best = tf.add(chunk.best, tf.scalar(start, 'int32'));
      if (!before) return { ...chunk, best };
      const better = tf.reshape(tf.greater(chunk.ownPeak, before.peak), [-1]);
      const shrink = tf.exp(tf.sub(before.peak, chunk.peak));
      return {
        peak: chunk.peak,
        ownPeak: chunk.ownPeak,
        best: tf.where(better, best, before.best),
        listedLogits: tf.where(inside, chunk.listedLogits, before.listedLogits),
        restSum: tf.add(tf.mul(before.restSum, shrink), chunk.restSum),
        ...(chunk.restHead && before.restHead && { restHead: tf.add(tf.mul(before.restHead, shrink), chunk.restHead) }),
      };
    });
    if (before) tf.dispose(before as unknown as Record<string, Tensor>);
  }
  const { peak, best, listedLogits, restSum, restHead } = state!;
  return { best, listedShift: tf.sub(listedLogits, peak), restSum, restHead };
}

interface VocabularyChunk {
  /** largest logit so far `[R, 1]`, and of this chunk */
  peak: Tensor;
  ownPeak: Tensor;
  best: Tensor;
  listedLogits: Tensor;
  restSum: Tensor;
  restHead?: Tensor;
}

/** One tile of logits `[R, v]`, from which all is taken that is wanted of it. `listed` are columns of the tile; those not `inside` (where it is given) belong to others. */
function vocabularyChunk(hidden: Tensor2D, head: Tensor2D, listed: Tensor2D, inside: Tensor | undefined, peakBefore: Tensor | undefined, withHead: boolean): VocabularyChunk {
  const logits = tf.matMul<Tensor2D>(hidden, head, false, true);
  const tile = vocabularyTile(logits, listed, inside);
  logits.dispose();
  const { best, peak: ownPeak, listedLogits, total } = tile;
  const peak = peakBefore ? tf.maximum(peakBefore, ownPeak) : ownPeak;
  const factor = peakBefore ? tf.mul(total, tf.exp(tf.sub(ownPeak, peak))) : total;
  const scaled = (sum: Tensor): Tensor => tf.mul(sum, factor);
  const restHead = withHead ? scaled(tf.matMul(tile.weights as Tensor2D, head)) : undefined;
  tile.weights.dispose();
  return { peak, ownPeak, best, listedLogits, restSum: scaled(tile.sum), ...(restHead && { restHead }) };
}

interface VocabularyTile {
  /** `exp(logit - peak) / total`, 0 for listed tokens, `[R, v]`. */
  weights: Tensor;
  /** Their sum `[R, 1]`. */
  sum: Tensor;
  /** Σ exp(logit - peak) over all tokens of the tile `[R, 1]`. */
  total: Tensor;
  /** The largest logit `[R, 1]`, and the first token that has it, int32 `[R]`. */
  peak: Tensor;
  best: Tensor;
  /** The logits of listed tokens `[R, L]`; of tokens of other tiles, some number. */
  listedLogits: Tensor;
}

function vocabularyTile(logits: Tensor2D, listed: Tensor2D, inside: Tensor | undefined): VocabularyTile {
  const columns = inside ? (tf.where(inside, listed, tf.zerosLike(listed)) as Tensor2D) : listed;
  const places = pairWithRow(columns);
  const count = columns.size;
  const best = bestColumns(logits);
  const bestPlaces = pairWithRow(best);
  const peak = tf.expandDims(tf.gatherND(logits, bestPlaces), 1);
  const listedLogits = tf.gatherND(logits, places);
  // Each tile is read by one operation after the other, so that each may write where the one before it wrote, and the tile's memory is free for the next.
  const read = runAfter([peak, listedLogits], logits);
  const shares = tf.softmax(read);
  read.dispose();
  // A share is exp(logit - peak) / total, and the best token's is 1 / total.
  const total = tf.reciprocal(tf.expandDims(tf.gatherND(shares, bestPlaces), 1));
  // min(share, 0) takes a listed token out; min(share, ∞) leaves one that only stands in for a token of another chunk.
  const taken = inside ? tf.where(inside, tf.zerosLike(listedLogits), tf.fill(columns.shape, Infinity)) : tf.zerosLike(listedLogits);
  const rest = tensorScatterMin(shares, tf.reshape(places, [count, 2]), tf.reshape(taken, [count]));
  shares.dispose();
  const sum = tf.sum(rest, 1, true);
  const weights = runAfter([sum], rest);
  rest.dispose();
  return { weights, sum, peak, best, listedLogits, total };
}

/** Without a teacher: the label's log-probability and its gradient (1-q)·head[label] - Σ_{others} q·head. */
function scoreLabels(labels: Tensor, head: Tensor2D, { best, listedShift, restSum, restHead }: Softmax): ChunkScores {
  const total = tf.add(restSum, tf.exp(listedShift));
  const scores: ChunkScores = { best, logProb: tf.reshape(labelLogProb(listedShift, restSum, total), [-1]) };
  if (restHead) scores['dLogProb'] = tf.div(tf.sub(tf.mul(gatherRows(head, labels), restSum), restHead), total);
  return scores;
}

/** With the teacher's top k: one bucket a listed token and one for the rest; KL and overlap are sums over buckets. */
function scoreWithTopK(rows: Required<ChunkRows>, labelColumn: Tensor2D, head: Tensor2D, softmax: Softmax, differentiate: readonly DifferentiableScore[]): ChunkScores {
  const { listedShift, restSum, restHead, best } = softmax;
  const count = rows.ids.shape[1];
  const wholeVocabulary = count === head.shape[0];
  const labelShift = tf.slice(listedShift, [0, 0], [-1, 1]);
  const topShift = tf.slice(listedShift, [0, 1], [-1, count]);
  const labelWeight = tf.exp(labelShift);
  const topWeights = tf.exp(topShift);
  const isLabel = tf.cast(tf.equal(rows.ids, labelColumn), 'float32');
  const labelInTail = tf.sub(1, tf.max(isLabel, 1, true));
  const rivalTop = tf.mul(topWeights, tf.sub(1, isLabel));
  const rivalSum = tf.add(restSum, tf.sum(rivalTop, 1, true));
  const total = tf.add(rivalSum, labelWeight);

  const p = tf.exp(rows.logProbs);
  const pSum = tf.sum(p, 1, true);
  const pTail = wholeVocabulary ? tf.zerosLike(pSum) : tf.relu(tf.sub(1, pSum));
  const q = tf.div(topWeights, total);
  const tailSum = tf.add(restSum, tf.mul(labelWeight, labelInTail));
  const qTail = tf.div(tailSum, total);
  const listedKl = tf.mul(p, tf.sub(rows.logProbs, tf.sub(topShift, tf.log(total))));
  const tailKl = tf.mul(pTail, tf.sub(tf.log(tf.maximum(pTail, smallest)), tf.log(tf.maximum(qTail, smallest))));
  const kl = tf.add(tf.sum(tf.where(tf.greater(p, 0), listedKl, tf.zerosLike(p)), 1, true), tailKl);
  const overlap = tf.add(tf.sum(tf.minimum(p, q), 1, true), tf.minimum(pTail, qTail));
  const scores: ChunkScores = {
    best,
    logProb: tf.reshape(labelLogProb(labelShift, rivalSum, total), [-1]),
    kl: tf.reshape(kl, [-1]),
    overlap: tf.reshape(overlap, [-1]),
  };
  if (!restHead) return scores;

  const labelHead = gatherRows(head, rows.labels);
  const topSum = weightedSums(head, rows.ids);
  if (differentiate.includes('logProb')) {
    const rivalHead = tf.add(restHead, topSum(rivalTop));
    scores['dLogProb'] = tf.div(tf.sub(tf.mul(labelHead, rivalSum), rivalHead), total);
  }
  // Within the tail each token takes part in proportion to its weight, so the tail acts through its mean head row.
  const tailHead = tf.add(restHead, tf.mul(labelHead, tf.mul(labelWeight, labelInTail)));
  const tailMean = divideOrZero(tailHead, tf.broadcastTo(tailSum, tailHead.shape));
  if (differentiate.includes('kl')) {
    const pAll = tf.add(pSum, pTail);
    scores['dKl'] = tf.add(topSum(tf.sub(tf.mul(pAll, q), p)), tf.mul(tf.sub(tf.mul(pAll, qTail), pTail), tailMean));
  }
  if (differentiate.includes('overlap')) {
    const below = tf.cast(tf.less(q, p), 'float32');
    const tailBelow = tf.cast(tf.less(qTail, pTail), 'float32');
    const share = tf.add(tf.sum(tf.mul(below, q), 1, true), tf.mul(tailBelow, qTail));
    scores['dOverlap'] = tf.add(
      topSum(tf.mul(q, tf.sub(below, share))),
      tf.mul(tf.mul(qTail, tf.sub(tailBelow, share)), tailMean),
    );
  }
  return scores;
}

/** For weights `[R, k]`, the sums Σ weight·head row over a row's tokens `ids`, `[R, D]`. */
function weightedSums(head: Tensor2D, ids: Tensor2D): (weights: Tensor) => Tensor {
  if (kernelsInForce()) return (weights) => fusedWeightedRows(weights, ids, head);
  const rows = gatherRows(head, ids) as Tensor3D;
  return (weights) => tf.squeeze(tf.matMul(tf.expandDims(weights, 1) as Tensor3D, rows), [1]);
}
