// TensorFlow kernels that tfjs does not offer, or offers with a read back to JavaScript, typed. They act at once, also inside
// a recorded graph, and have no gradient: call them where none is wanted, or inside a custom gradient.
import type { Scalar, Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { onGpu } from './device.js';
import { tf } from './ops.js';

/** An attribute of a TensorFlow operation. */
export interface Attribute {
  name: string;
  type: number;
  value: unknown;
}

/** The part of tfjs-node's backend that runs kernels by name. */
export interface NativeBackend {
  binding: {
    TF_ATTR_TYPE: number;
    TF_ATTR_INT: number;
    TF_ATTR_BOOL: number;
    TF_ATTR_FLOAT: number;
    TF_FLOAT: number;
    TF_INT32: number;
    TF_BOOL: number;
    /** Only while a step is recorded (graph-recorder.ts). */
    recordAfter?(before: number[], x: number): { id: number };
  };
  executeSingleOutput(name: string, attributes: Attribute[], inputs: Tensor[]): Tensor;
  executeMultipleOutputs(name: string, attributes: Attribute[], inputs: Tensor[], outputs: number): Tensor[];
  getInputTensorIds(tensors: Tensor[]): number[];
  createOutputTensor(metadata: { id: number }): Tensor;
}

/** tfjs-node's backend. Throws where another one is in use. */
export function nativeBackend(): NativeBackend {
  const backend = tf.backend() as unknown as Partial<NativeBackend>;
  if (backend.binding === undefined || backend.executeSingleOutput === undefined) {
    throw new Error(`the tfjs backend is ${tf.getBackend()}, which runs no TensorFlow kernels: call loadTensorflow() first`);
  }
  return backend as NativeBackend;
}

function typeAttribute(backend: NativeBackend, name: string, dtype: string): Attribute {
  const types: Record<string, number> = { float32: backend.binding.TF_FLOAT, int32: backend.binding.TF_INT32, bool: backend.binding.TF_BOOL };
  return { name, type: backend.binding.TF_ATTR_TYPE, value: types[dtype] };
}

/**
 * Rows of `x [N, …]` at `indices` (int32, any shape): `[…indices.shape, …x.shape[1:]]`. tfjs's own gather reads the indices back to
 * JavaScript to check them, which costs a round trip and cannot be recorded; here TensorFlow checks them (on a CPU it
 * throws where one is out of range, on a GPU it gives zeros).
 */
export function gatherRows(x: Tensor, indices: Tensor): Tensor {
  return gather(x, indices, 0);
}

/** Of each row of `x [R, N, …]` the entries at that row's indices `[R, n]` (int32): `[R, n, …]`. */
export function gatherOfRow(x: Tensor, indices: Tensor): Tensor {
  return gather(x, indices, 1);
}

/** Along the axis that follows the `batchAxes` first ones, which `x` and `indices` share. */
function gather(x: Tensor, indices: Tensor, batchAxes: 0 | 1): Tensor {
  const backend = nativeBackend();
  return tf.tidy(() =>
    backend.executeSingleOutput(
      'GatherV2',
      [
        { name: 'batch_dims', type: backend.binding.TF_ATTR_INT, value: batchAxes },
        typeAttribute(backend, 'Tparams', x.dtype),
        typeAttribute(backend, 'Tindices', 'int32'),
        typeAttribute(backend, 'Taxis', 'int32'),
      ],
      [x, indices, tf.scalar(batchAxes, 'int32')],
    ),
  );
}

/** A copy of `x` with the minimum of old value and `updates [n]` at `indices [n, x.rank]` (int32). */
export function tensorScatterMin(x: Tensor, indices: Tensor, updates: Tensor): Tensor {
  const backend = nativeBackend();
  return backend.executeSingleOutput(
    'TensorScatterMin',
    [typeAttribute(backend, 'T', x.dtype), typeAttribute(backend, 'Tindices', 'int32')],
    [x, indices, updates],
  );
}

/**
 * `x` itself, given out only once all of `before` have been computed; nothing is copied. In a recorded graph TensorFlow starts whatever its
 * inputs allow: this asks it not to start what should have memory only after something else has given it back. An aid to memory, never to
 * correctness: TensorFlow's rewrites of a graph may drop the order.
 */
export function runAfter<T extends Tensor>(before: readonly Tensor[], x: T): T {
  const backend = nativeBackend();
  const { recordAfter } = backend.binding;
  // Run one by one, operations are in order already.
  if (recordAfter === undefined) return tf.clone(x);
  const [id, ...beforeIds] = backend.getInputTensorIds([x, ...before]) as [number, ...number[]];
  return backend.createOutputTensor(recordAfter(beforeIds, id)) as T;
}

/** Σ x²/2 over all elements, a scalar, in one pass and without a tensor of squares. */
export function halfSumOfSquares(x: Tensor): Scalar {
  const backend = nativeBackend();
  return backend.executeSingleOutput('L2Loss', [typeAttribute(backend, 'T', x.dtype)], [x]) as Scalar;
}

/** `x · scale`, but 0 wherever `scale` is 0, even if `x` is infinite or not a number. */
export function multiplyNoNan<T extends Tensor>(x: T, scale: Tensor): T {
  const backend = nativeBackend();
  return backend.executeSingleOutput('MulNoNan', [typeAttribute(backend, 'T', x.dtype)], [x, scale]) as T;
}

/** `whenTrue` where the bool scalar `flag` is true, else `whenFalse` (same shape). tfjs's `where` would make a mask of the full shape first. */
export function selectWhole<T extends Tensor>(flag: Tensor, whenTrue: T, whenFalse: T): T {
  const backend = nativeBackend();
  return backend.executeSingleOutput('SelectV2', [typeAttribute(backend, 'T', whenTrue.dtype)], [flag, whenTrue, whenFalse]) as T;
}

/** `tf.reshape` that leaves one dimension, -1, to TensorFlow even where a recorded graph will know it only when it runs. */
export function reshapeInferring<T extends Tensor>(x: Tensor, shape: readonly number[]): T {
  const backend = nativeBackend();
  return tf.tidy(() =>
    backend.executeSingleOutput('Reshape', [typeAttribute(backend, 'T', x.dtype), typeAttribute(backend, 'Tshape', 'int32')], [x, tf.tensor1d([...shape], 'int32')]),
  ) as T;
}

/** The first `count` (int32 `[1]`) rows of an axis. The result's shape holds for this call only: a recorded graph takes the count of each run. */
export function firstRows(x: Tensor, axis: number, count: Tensor): Tensor {
  const backend = nativeBackend();
  return tf.tidy(() => {
    // -1 stands for a whole axis.
    const size = besides(x.rank, axis, -1, count);
    return backend.executeSingleOutput('Slice', [typeAttribute(backend, 'T', x.dtype), typeAttribute(backend, 'Index', 'int32')], [x, tf.zeros([x.rank], 'int32'), size]);
  });
}

/** What `firstRows` cut, filled up with zeros to `total` rows again. */
export function padRows(x: Tensor, axis: number, count: Tensor, total: number): Tensor {
  const backend = nativeBackend();
  return tf.tidy(() => {
    const after = besides(x.rank, axis, 0, tf.sub(tf.scalar(total, 'int32'), count));
    const paddings = tf.stack([tf.zeros([x.rank], 'int32'), after], 1);
    return backend.executeSingleOutput('Pad', [typeAttribute(backend, 'T', x.dtype), typeAttribute(backend, 'Tpaddings', 'int32')], [x, paddings]);
  });
}

/** All but the last `count` columns of `x`, and those; the first may be so many as only a recorded graph's run will tell. */
export function splitOff(x: Tensor, count: number): [Tensor, Tensor] {
  const backend = nativeBackend();
  const attributes = [{ name: 'num_split', type: backend.binding.TF_ATTR_INT, value: 2 }, typeAttribute(backend, 'T', x.dtype), typeAttribute(backend, 'Tlen', 'int32')];
  return tf.tidy(() => backend.executeMultipleOutputs('SplitV', attributes, [x, tf.tensor1d([-1, count], 'int32'), tf.scalar(x.rank - 1, 'int32')], 2)) as [Tensor, Tensor];
}

/** int32 `[rank]`: `value` (int32 `[1]`) at `axis`, `others` elsewhere. */
function besides(rank: number, axis: number, others: number, value: Tensor): Tensor {
  const fill = (count: number): Tensor[] => (count === 0 ? [] : [tf.fill([count], others, 'int32')]);
  const parts = [...fill(axis), value, ...fill(rank - axis - 1)];
  return parts.length === 1 ? value : tf.concat(parts);
}

/** `cache [B, H, C, d]` with `rows [B, H, n, d]` in the places `start … start + n - 1` of its third axis; `start` int32 `[1]`. Nothing but those rows is computed. */
export function writeRows<T extends Tensor>(cache: T, start: Tensor, rows: Tensor): T {
  const backend = nativeBackend();
  const count = rows.shape[2]!;
  return tf.tidy(() => {
    const zeros = (size: number): Tensor => tf.zeros([size], 'int32');
    const begin = tf.concat([zeros(2), start, zeros(1)]);
    const end = tf.add(begin, tf.tensor1d([0, 0, count, 0], 'int32'));
    const wholeAxes = 0b1011; // all but the third
    const flag = (name: string, value: number): Attribute => ({ name, type: backend.binding.TF_ATTR_INT, value });
    return backend.executeSingleOutput(
      'TensorStridedSliceUpdate',
      [
        typeAttribute(backend, 'T', cache.dtype),
        typeAttribute(backend, 'Index', 'int32'),
        flag('begin_mask', wholeAxes),
        flag('end_mask', wholeAxes),
        ...['ellipsis_mask', 'new_axis_mask', 'shrink_axis_mask'].map((name) => flag(name, 0)),
      ],
      [cache, begin, end, tf.ones([4], 'int32'), rows],
    );
  }) as T;
}

/** int32 `[R]`: the first column that holds the largest value of each row of `x [R, n]`; any column of a row that holds what is not a number. No gradient. */
export function bestColumns(x: Tensor2D): Tensor1D {
  // On a GPU one thread would go through each row for ArgMax; TopKV2 shares a row among many, and takes the first of equals too.
  if (onGpu()) return tf.tidy(() => tf.reshape(tf.topk(x, 1, true).indices, [-1])) as Tensor1D;
  return tf.argMax(x, 1);
}
