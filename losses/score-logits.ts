// Scores of blocks from whole logits: the reference for `scoreHidden`, and the simple way where `[M, J, V]` fits in memory
// several times over. Gradients are written out, because autodiff through log-softmax gives NaN where a probability is 0.
import type { Tensor, Tensor2D, Tensor3D } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../src/tensorflow/ops.js';
import { bestColumns, tensorScatterMin } from '../src/tensorflow/raw-ops.js';
import type { BlockScores, DifferentiableScore } from './block-scores.js';
import { checkShape } from './shapes.js';
import { untaped, withGradient } from './untaped.js';

export interface ScoreLogitsOptions {
  /** The target's logits, float32 `[M, J, V]`; with them the scores have `kl` and `overlap`. No gradient flows into them. */
  teacherLogits?: Tensor3D;
}

/**
 * Scores `logits` (float32 `[M, J, V]`) against `labels` (int32 `[M, J]`, each from 0 to V-1, also where not valid) with `valid`
 * (float32 0/1 `[M, J]`). Differentiable with respect to `logits`; holds a few tensors of their size for that. Throws on shapes that disagree.
 */
export function scoreLogits(logits: Tensor3D, labels: Tensor2D, valid: Tensor2D, { teacherLogits }: ScoreLogitsOptions = {}): BlockScores {
  const [blocks, slots, vocabulary] = logits.shape;
  checkShape('labels', labels, [blocks, slots], 'int32');
  checkShape('valid', valid, [blocks, slots], 'float32');
  if (teacherLogits) checkShape('teacherLogits', teacherLogits, [blocks, slots, vocabulary], 'float32');
  return tf.tidy(() => {
    const rows = blocks * slots;
    const parts = untaped(() => {
      const z = tf.reshape(logits, [rows, vocabulary]) as Tensor2D;
      const teacher = teacherLogits && (tf.reshape(teacherLogits, [rows, vocabulary]) as Tensor2D);
      return scoreRows(z, tf.reshape(labels, [rows]), teacher);
    });
    const differentiable = (value: Tensor | undefined, gradient: Tensor | undefined) =>
      value &&
      (tf.reshape(
        withGradient(logits, value, [gradient!], (dy, [gradient]) =>
          tf.reshape(tf.mul(tf.expandDims(dy, 1), gradient!), [blocks, slots, vocabulary]),
        ),
        [blocks, slots],
      ) as Tensor2D);
    return {
      logProb: differentiable(parts['logProb'], parts['dLogProb'])!,
      correct: correctSlots(parts['best']!, labels),
      valid,
      ...(teacherLogits && {
        kl: differentiable(parts['kl'], parts['dKl'])!,
        overlap: differentiable(parts['overlap'], parts['dOverlap'])!,
      }),
    } as BlockScores;
  });
}

/** 1 where the best token (int32 `[M·J]`) is the label (int32 `[M, J]`), else 0: float32 `[M, J]`. */
export function correctSlots(best: Tensor, labels: Tensor2D): Tensor2D {
  return untaped(() => tf.cast(tf.equal(tf.reshape(best, labels.shape), labels), 'float32') as Tensor2D);
}

/** Scores of rows, each `[R]`, and their gradients with respect to the logits, each `[R, V]`. */
export type RowScores = Record<string, Tensor> & {
  logProb: Tensor;
  /** First most probable token, int32. */
  best: Tensor;
};

const all: readonly DifferentiableScore[] = ['logProb', 'kl', 'overlap'];

/** Scores logits `z [R, V]` against `labels [R]`, and against the teacher's logits `[R, V]`; gradients only of those in `differentiate`. */
export function scoreRows(z: Tensor2D, labels: Tensor, teacher?: Tensor2D, differentiate: readonly DifferentiableScore[] = all): RowScores {
  const places = pairWithRow(labels);
  const best = bestColumns(z);
  const peak = tf.expandDims(tf.gatherND(z, pairWithRow(best)), 1);
  const shifted = tf.sub(z, peak);
  const weights = tf.exp(shifted);
  // The label is taken out and its rivals summed alone, so that 1 - p keeps its precision as p nears 1.
  const rivals = tensorScatterMin(weights, places, tf.zerosLike(tf.cast(labels, 'float32')));
  weights.dispose();
  const rivalSum = tf.sum(rivals, 1);
  const labelShift = tf.gatherND(shifted, places);
  const total = tf.add(rivalSum, tf.exp(labelShift));
  const columnTotal = tf.expandDims(total, 1);
  const scores: RowScores = { logProb: labelLogProb(labelShift, rivalSum, total), best };
  if (differentiate.includes('logProb')) {
    const others = tf.div(rivals, tf.neg(columnTotal));
    scores['dLogProb'] = tf.tensorScatterUpdate(others, places, tf.div(rivalSum, total));
    others.dispose();
  }
  rivals.dispose();
  if (teacher) Object.assign(scores, compareWithTeacher(tf.sub(shifted, tf.log(columnTotal)), teacher, differentiate));
  return scores;
}

/** ln p of a label whose logit stands `labelShift` ≤ 0 below the peak: -ln(1 + rivals) where it is the peak, exact for small rivals. */
export function labelLogProb(labelShift: Tensor, rivalSum: Tensor, total: Tensor): Tensor {
  return tf.where(tf.equal(labelShift, 0), tf.neg(tf.log1p(rivalSum)), tf.sub(labelShift, tf.log(total)));
}

/** KL and overlap of the drafter's log-probabilities `logQ [R, V]` with a teacher, with their gradients with respect to the drafter's logits. */
function compareWithTeacher(logQ: Tensor, teacher: Tensor2D, differentiate: readonly DifferentiableScore[]): Record<string, Tensor> {
  const logP = tf.logSoftmax(teacher, 1);
  const p = tf.exp(logP);
  const q = tf.exp(logQ);
  const terms = tf.where(tf.greater(p, 0), tf.mul(p, tf.sub(logP, logQ)), tf.zerosLike(p));
  const scores: Record<string, Tensor> = { kl: tf.sum(terms, 1), overlap: tf.sum(tf.minimum(p, q), 1) };
  if (differentiate.includes('kl')) scores['dKl'] = tf.sub(q, p);
  if (differentiate.includes('overlap')) {
    const below = tf.cast(tf.less(q, p), 'float32');
    scores['dOverlap'] = tf.mul(q, tf.sub(below, tf.sum(tf.mul(q, below), 1, true)));
  }
  return scores;
}

/** `[R]` columns to `[R, 2]`, or `[R, n]` columns to `[R, n, 2]`: each with its row's number before it, as gather and scatter want it. */
export function pairWithRow(columns: Tensor): Tensor {
  const rows = columns.shape[0]!;
  const numbers = tf.reshape(tf.range(0, rows, 1, 'int32'), columns.rank === 1 ? [rows] : [rows, 1]);
  return tf.stack([columns.rank === 1 ? numbers : tf.broadcastTo(numbers, columns.shape), columns], -1);
}
