// A training batch in two halves that nothing connects but the weights. In a recorded graph they run side by side, each operation on one thread:
// threads that share every operation wait for one another at the end of each. Between the two stand only sums of weight gradients.
import type { Tensor, Tensor2D, Tensor3D } from '@tensorflow/tfjs-node-gpu';
import type { BlockScores, HiddenTeacher, TopKTeacher } from '../../losses/index.js';
import { tf } from '../tensorflow/ops.js';
import type { TargetReading, Tensors } from './train-step.js';

/** Some sequences of a batch, and their blocks in one or two shares. */
export interface BatchPart {
  /** int32 `[B, S]`. */
  inputIds: Tensor2D;
  /** float32 `[B, S, T·D]`. */
  features: Tensor3D;
  shares: BlockShare[];
}

/** All anchors of every sequence of a part, or every other one; M blocks. */
export interface BlockShare {
  /** int32 `[B, N]`. */
  anchors: Tensor2D;
  /** int32 `[M, J]`. */
  labels: Tensor2D;
  /** float32 `[M, J]`. */
  valid: Tensor2D;
  teacher?: TopKTeacher | HiddenTeacher;
}

/**
 * Half the sequences and the other half, each with one share; or, where their number is odd, all sequences with two shares, of every other anchor each; or, where neither can be
 * halved or is to be, all in one. `read` asks the target about a part's inputs.
 */
export function partsOf(inputs: Tensors, read: (inputs: Tensors) => TargetReading, halved: boolean): BatchPart[] {
  const [batchSize, anchorCount] = inputs['anchors']!.shape as [number, number];
  if (halved && batchSize % 2 === 0) {
    return halves((half) => Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, tensor.rank === 0 ? tensor : half(tensor, 0)]))).map((own) => wholePart(own, read(own)));
  }
  const whole = wholePart(inputs, read(inputs));
  if (!halved || anchorCount % 2 === 1) return [whole];
  const [{ anchors, labels, valid, teacher }] = whole.shares as [BlockShare];
  const shares = halves((half): BlockShare => {
    // Every other block: anchors ascend, and later ones read more of the context.
    const blocks = <T extends Tensor>(tensor: T): T => {
      const some = half(tf.reshape(tensor, [(batchSize * anchorCount) / 2, 2, ...tensor.shape.slice(1)]), 1);
      return tf.reshape(some, [-1, ...tensor.shape.slice(1)]) as T;
    };
    const own = tf.reshape(blocks(tf.reshape(anchors, [-1])), [batchSize, anchorCount / 2]) as Tensor2D;
    return { anchors: own, labels: blocks(labels), valid: blocks(valid), ...(teacher && { teacher: shareOf(teacher, blocks) }) };
  });
  return [{ ...whole, shares }];
}

/** The scores of all parts' shares, in the order of the batch's blocks. */
export function joinScores(scores: readonly (readonly BlockScores[])[]): BlockScores {
  const names = Object.keys(scores[0]![0]!) as (keyof BlockScores)[];
  const ofPart = (own: readonly BlockScores[], name: keyof BlockScores): Tensor =>
    own.length === 1 ? own[0]![name]! : tf.reshape(tf.stack(own.map((score) => score[name]!), 1), [-1, own[0]![name]!.shape[1]!]);
  const all = (name: keyof BlockScores): Tensor => {
    const tensors = scores.map((own) => ofPart(own, name));
    return tensors.length === 1 ? tensors[0]! : tf.concat(tensors, 0);
  };
  return Object.fromEntries(names.map((name) => [name, all(name)])) as unknown as BlockScores;
}

type Half = <T extends Tensor>(tensor: T, axis: number) => T;

/** What `make` makes of the first half of tensors along an axis of even length, and of the second. */
function halves<R>(make: (half: Half) => R): R[] {
  return [0, 1].map((index) => make((tensor, axis) => tf.split(tensor, 2, axis)[index] as typeof tensor));
}

function wholePart(inputs: Tensors, { features, teacher }: TargetReading): BatchPart {
  const { inputIds, anchors, labels, valid } = inputs as { inputIds: Tensor2D; anchors: Tensor2D; labels: Tensor2D; valid: Tensor2D };
  return { inputIds, features, shares: [{ anchors, labels, valid, ...(teacher && { teacher }) }] };
}

function shareOf(teacher: TopKTeacher | HiddenTeacher, blocks: <T extends Tensor>(tensor: T) => T): TopKTeacher | HiddenTeacher {
  return 'ids' in teacher ? { ids: blocks(teacher.ids), logProbs: blocks(teacher.logProbs) } : { hidden: blocks(teacher.hidden), head: teacher.head };
}
