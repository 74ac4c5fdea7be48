// Scores of blocks from hidden states and the frozen head: the one place that meets the vocabulary. It goes through rows (and, if
// asked, the vocabulary) in chunks and never holds all logits. The gradient costs no second pass: for a row,
// d score/d hidden = (d score/d logits)·head depends on the loss only through one factor, so the forward pass makes that one vector
// of width D a row while it holds the row's probabilities, and the backward pass multiplies.
import type { Tensor, Tensor2D, Tensor3D } from '@tensorflow/tfjs-node-gpu';
import { onGpu, threadsPerOperation } from '../src/tensorflow/device.js';
import { matrixProduct } from '../src/tensorflow/matrix-product.js';
import { tf } from '../src/tensorflow/ops.js';
import type { BlockScores, DifferentiableScore } from './block-scores.js';
import { correctSlots, scoreRows } from './score-logits.js';
import { checkShape } from './shapes.js';
import { scoreRowsByVocabulary, type ChunkScores } from './score-chunk.js';
import { untaped, withGradient } from './untaped.js';

/** The target's k most probable tokens of each slot; what they leave of the probability is one bucket, on both sides. */
export interface TopKTeacher {
  /** int32 `[M, J, k]`, no token twice in a slot that is valid. */
  ids: Tensor3D;
  /** ln p, normalised over the whole vocabulary, float32 `[M, J, k]`. */
  logProbs: Tensor3D;
}

/** The target's own last hidden states (after its final norm) and head, from which its whole distribution is made in chunks. */
export interface HiddenTeacher {
  /** float32 `[M, J, D′]`. */
  hidden: Tensor3D;
  /** float32 `[V, D′]`. */
  head: Tensor2D;
}

export interface ScoreHiddenOptions {
  teacher?: TopKTeacher | HiddenTeacher;
  /** Rows (slots) a chunk; default up to 1024, or with a HiddenTeacher as many as keep two `[rows, V]` tensors at 64 MiB. */
  chunkRows?: number;
  /** Tokens a chunk; default as many as keep a `[chunkRows, chunkVocab]` tensor at 4 MiB (8 where threads share an operation, 256 on a GPU). Without effect where one kernel goes through the whole vocabulary (one thread an operation, or AMX); not with a HiddenTeacher. */
  chunkVocab?: number;
  /** Scores that a loss will differentiate; default all. Those left out throw when a gradient asks for them; `[]` suits evaluation. */
  differentiate?: readonly DifferentiableScore[];
}

const chunkBytes = 64 * 2 ** 20;
/** On a CPU a tile of logits stays in the cache from the product that makes it to the one that uses it up: this much for one thread, twice for more. */
const cachedBytes = 4 * 2 ** 20;
/** A GPU is slowed by many small operations, and has memory. */
const gpuTileBytes = 256 * 2 ** 20;
const mostRows = 1024;

/**
 * The scores that `scoreLogits(hidden·headᵀ)` gives, without the logits. `hidden` float32 `[M, J, D]`, `head` float32 `[V, D]` and
 * frozen (no gradient flows into it or the teacher), `labels` int32 `[M, J]` from 0 to V-1, `valid` float32 0/1 `[M, J]`. Extra memory: two to three tensors of
 * `[chunkRows, chunkVocab]` (six with a HiddenTeacher) and up to three of `[M, J, D]`. Rows that are not valid are computed too, since shapes stay fixed.
 * Throws on shapes that disagree.
 */
export function scoreHidden(hidden: Tensor3D, head: Tensor2D, labels: Tensor2D, valid: Tensor2D, options: ScoreHiddenOptions = {}): BlockScores {
  const { teacher } = options;
  const [blocks, slots, width] = hidden.shape;
  const [vocabulary] = head.shape;
  checkShape('head', head, [null, width], 'float32');
  checkShape('labels', labels, [blocks, slots], 'int32');
  checkShape('valid', valid, [blocks, slots], 'float32');
  checkTeacher(teacher, blocks, slots, vocabulary);
  if (teacher && 'head' in teacher && options.chunkVocab !== undefined && options.chunkVocab < vocabulary) {
    throw new Error('chunkVocab does not go with a teacher of hidden states, whose overlap needs whole rows: give chunkRows');
  }
  const differentiate = options.differentiate ?? (teacher ? ['logProb', 'kl', 'overlap'] : ['logProb']);
  return tf.tidy(() => {
    const rows = blocks * slots;
    const { rowCounts: plan, chunkVocab } = planChunks(rows, options, vocabulary, width);
    const parts = untaped(() => {
      const flat = (tensor: Tensor) => tf.reshape(tensor, [rows, ...tensor.shape.slice(2)]);
      const inputs = {
        hidden: flat(hidden),
        labels: flat(labels),
        ...(teacher && 'ids' in teacher && { ids: flat(teacher.ids), logProbs: flat(teacher.logProbs) }),
        ...(teacher && 'head' in teacher && { teacherHidden: flat(teacher.hidden) }),
      };
      const teacherHead = teacher && 'head' in teacher ? teacher.head : undefined;
      return inRowChunks(inputs, plan, (chunk) =>
        teacherHead
          ? scoreRowsByHiddenTeacher(chunk, head, teacherHead, differentiate)
          : scoreRowsByVocabulary(chunk as never, head, chunkVocab, differentiate),
      );
    });
    const score = (name: DifferentiableScore, gradientName: string): Tensor2D =>
      withGradient(hidden, tf.reshape(parts[name]!, [blocks, slots]) as Tensor2D, parts[gradientName] ? [parts[gradientName]] : [], (dy, [gradient]) => {
        if (gradient === undefined) throw new Error(`scoreHidden was told to differentiate [${differentiate.join(', ')}] only, but a loss asks for the gradient of ${name}`);
        return tf.mul(tf.expandDims(dy, 2), tf.reshape(gradient, [blocks, slots, width]));
      });
    return {
      logProb: score('logProb', 'dLogProb'),
      correct: correctSlots(parts['best']!, labels),
      valid,
      ...(teacher && { kl: score('kl', 'dKl'), overlap: score('overlap', 'dOverlap') }),
    };
  });
}

function checkTeacher(teacher: ScoreHiddenOptions['teacher'], blocks: number, slots: number, vocabulary: number): void {
  if (teacher === undefined) return;
  if ('ids' in teacher) {
    checkShape('teacher.ids', teacher.ids, [blocks, slots, null], 'int32');
    checkShape('teacher.logProbs', teacher.logProbs, teacher.ids.shape, 'float32');
    if (teacher.ids.shape[2] > vocabulary) throw new Error(`teacher.ids lists ${teacher.ids.shape[2]} tokens a slot, but the vocabulary has ${vocabulary}`);
    return;
  }
  checkShape('teacher.hidden', teacher.hidden, [blocks, slots, null], 'float32');
  checkShape('teacher.head', teacher.head, [vocabulary, teacher.hidden.shape[2]], 'float32');
}

/** Row counts of the chunks and the tokens of one: as even as they come, none above what was asked or what the memory for a chunk allows. */
function planChunks(rows: number, { teacher, chunkRows, chunkVocab }: ScoreHiddenOptions, vocabulary: number, width: number): { rowCounts: number[]; chunkVocab: number } {
  for (const [name, size] of Object.entries({ chunkRows, chunkVocab })) {
    if (size !== undefined && !(Number.isInteger(size) && size > 0)) throw new Error(`${name} is ${size}; it must be a whole number above 0`);
  }
  const even = (total: number, most: number): number => Math.ceil(total / Math.ceil(total / Math.max(1, Math.floor(most))));
  const byHiddenTeacher = teacher && 'head' in teacher;
  const tileBytes = onGpu() ? gpuTileBytes : cachedBytes * Math.min(2, threadsPerOperation());
  const listedBytes = teacher && 'ids' in teacher ? 4 * teacher.ids.shape[2] * width : 1;
  const most = Math.min(byHiddenTeacher ? chunkBytes / (8 * vocabulary) : mostRows, chunkBytes / listedBytes);
  const count = Math.ceil(rows / Math.max(1, Math.floor(chunkRows ?? most)));
  const rowCounts = Array.from({ length: count }, (_, chunk) => Math.floor(((chunk + 1) * rows) / count) - Math.floor((chunk * rows) / count));
  if (byHiddenTeacher) return { rowCounts, chunkVocab: vocabulary };
  return { rowCounts, chunkVocab: Math.min(chunkVocab ?? even(vocabulary, tileBytes / (4 * Math.max(...rowCounts))), vocabulary) };
}

/** Runs `score` on each chunk of rows of the inputs (each `[R, …]`), freeing what a chunk made before the next, and joins the results. */
function inRowChunks(inputs: Record<string, Tensor>, plan: number[], score: (chunk: Record<string, Tensor>) => ChunkScores): ChunkScores {
  const results: ChunkScores[] = [];
  let start = 0;
  for (const rows of plan) {
    const previous = results.at(-1);
    results.push(
      tf.tidy(() => {
        const chunk = Object.fromEntries(
          Object.entries(inputs).map(([name, tensor]) => [name, plan.length === 1 ? tensor : tf.slice(tensor, [start], [rows])]),
        );
        if (previous) chunk['hidden'] = after(previous, chunk['hidden'] as Tensor2D);
        return score(chunk);
      }),
    );
    start += rows;
  }
  const names = Object.keys(results[0]!);
  return Object.fromEntries(names.map((name) => [name, results.length === 1 ? results[0]![name]! : tf.concat(results.map((result) => result[name]!), 0)])) as ChunkScores;
}

/**
 * `hidden [R, D]`, made to wait for the previous chunk, or TensorFlow would start all chunks at once and hold all their logits: one row that
 * depends on the last thing the chunk computed is appended and taken off again. (Grappler drops a mere edge of control.)
 */
function after(previous: ChunkScores, hidden: Tensor2D): Tensor2D {
  const [rows, width] = hidden.shape;
  const last = previous['dOverlap'] ?? previous['dKl'] ?? previous['dLogProb'] ?? tf.expandDims(previous.logProb, 1);
  const row = tf.broadcastTo(tf.slice(last, [0, 0], [1, 1]), [1, width]) as Tensor2D;
  return tf.slice(tf.concat([hidden, row], 0), [0, 0], [rows, width]);
}

/** Scores of a chunk of rows against the teacher's whole distribution, with gradients `[R, D]` with respect to the hidden rows. */
function scoreRowsByHiddenTeacher(chunk: Record<string, Tensor>, head: Tensor2D, teacherHead: Tensor2D, differentiate: readonly DifferentiableScore[]): ChunkScores {
  const logits = matrixProduct(chunk['hidden'] as Tensor2D, head, false, true);
  const teacherLogits = matrixProduct(chunk['teacherHidden'] as Tensor2D, teacherHead, false, true);
  const scores = scoreRows(logits, chunk['labels']!, teacherLogits, differentiate);
  return Object.fromEntries(
    Object.entries(scores).map(([name, tensor]) => [name, tensor.rank === 2 ? matrixProduct(tensor as Tensor2D, head) : tensor]),
  ) as ChunkScores;
}
