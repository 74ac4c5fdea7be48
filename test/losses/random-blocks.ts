// Random blocks for the loss tests: as plain numbers for the reference, and as tensors for the code.
import type { Tensor2D, Tensor3D } from '@tensorflow/tfjs-node-gpu';
import type { BlockScores } from '../../losses/index.js';
import { Random } from '../../src/random.js';
import { tf } from '../../src/tensorflow/ops.js';
import { softmax, type Block } from './reference.js';

export interface Shape {
  blocks: number;
  slots: number;
  vocabulary: number;
  width: number;
  /** Tokens that the teacher lists. */
  listed: number;
}

export interface RandomBlocks extends Shape {
  hidden: number[];
  head: number[];
  labels: number[];
  valid: number[];
  /** The target's probabilities `[M·J][V]`, and the tokens it lists. */
  target: number[][];
  ids: number[][];
}

/** Blocks whose valid lengths run over 0..J, with labels that the drafter gets right about as often as not. */
export function randomBlocks(shape: Shape, seed: number): RandomBlocks {
  const random = new Random(seed);
  const normals = (count: number, scale: number) => Array.from({ length: count }, () => scale * random.normal());
  const { blocks, slots, vocabulary, width, listed } = shape;
  const hidden = normals(blocks * slots * width, 1);
  const head = normals(vocabulary * width, 1.5);
  const rows = Array.from({ length: blocks * slots }, (_, row) => hidden.slice(row * width, (row + 1) * width));
  const target = rows.map((row) => softmax(logitsOf(row, head, width).map((z) => z + 1.5 * random.normal())));
  const ids = target.map((p) =>
    p
      .map((value, token) => [value, token] as const)
      .sort((a, b) => b[0] - a[0])
      .slice(0, listed)
      .map(([, token]) => token),
  );
  const labels = ids.map((tokens) => (random.next() < 0.7 ? tokens[0]! : random.int(vocabulary)));
  const valid = Array.from({ length: blocks }, (_, b) => {
    const length = b === 0 ? 0 : b === 1 ? slots : random.int(slots + 1);
    return Array.from({ length: slots }, (_, k) => (k < length ? 1 : 0));
  }).flat();
  return { ...shape, hidden, head, labels, valid, target, ids };
}

export function logitsOf(row: number[], head: number[], width: number): number[] {
  return Array.from({ length: head.length / width }, (_, token) => row.reduce((sum, value, d) => sum + value * head[token * width + d]!, 0));
}

/** The same as slots for the reference, at these hidden states; `withTail`: unlisted tokens share a bucket. */
export function toReference(input: RandomBlocks, hidden: number[], withTail: boolean): Block[] {
  return Array.from({ length: input.blocks }, (_, b) =>
    Array.from({ length: input.slots }, (_, k) => {
      const row = b * input.slots + k;
      return {
        logits: logitsOf(hidden.slice(row * input.width, (row + 1) * input.width), input.head, input.width),
        label: input.labels[row]!,
        valid: input.valid[row] === 1,
        target: input.target[row]!,
        ...(withTail && { listed: input.ids[row]! }),
      };
    }),
  );
}

export function toTensors(input: RandomBlocks) {
  const { blocks, slots, width, vocabulary, listed } = input;
  return {
    hidden: tf.tensor3d(input.hidden, [blocks, slots, width]),
    head: tf.tensor2d(input.head, [vocabulary, width]),
    labels: tf.tensor2d(input.labels, [blocks, slots], 'int32'),
    valid: tf.tensor2d(input.valid, [blocks, slots]),
    teacherLogits: tf.tensor3d(input.target.flat().map(Math.log), [blocks, slots, vocabulary]),
    teacher: {
      ids: tf.tensor3d(input.ids.flat(), [blocks, slots, listed], 'int32'),
      logProbs: tf.tensor3d(input.ids.flatMap((ids, row) => ids.map((token) => Math.log(input.target[row]![token]!))), [blocks, slots, listed]),
    },
  };
}

/** hidden·headᵀ `[M, J, V]`. */
export function wholeLogits(hidden: Tensor3D, head: Tensor2D): Tensor3D {
  const [blocks, slots, width] = hidden.shape;
  const flat = tf.reshape(hidden, [blocks * slots, width]) as Tensor2D;
  return tf.reshape(tf.matMul(flat, head, false, true), [blocks, slots, head.shape[0]]) as Tensor3D;
}

/** Scores made by hand, each `[M][J]`; what is left out is 1 everywhere. */
export function scoresOf(rows: { logProb: number[][]; correct?: number[][]; valid?: number[][]; kl?: number[][]; overlap?: number[][] }): BlockScores {
  const ones = rows.logProb.map((row) => row.map(() => 1));
  const tensor = (values: number[][]) => tf.tensor2d(values, [values.length, values[0]!.length]);
  return {
    logProb: tensor(rows.logProb),
    correct: tensor(rows.correct ?? ones),
    valid: tensor(rows.valid ?? ones),
    ...(rows.kl && { kl: tensor(rows.kl) }),
    ...(rows.overlap && { overlap: tensor(rows.overlap) }),
  };
}
