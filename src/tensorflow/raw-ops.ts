// TensorFlow kernels that tfjs does not offer, or offers with a read back to JavaScript, typed. They act at once, also inside
// a recorded graph, and have no gradient: call them where none is wanted, or inside a custom gradient.
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import { tf } from './ops.js';

interface Attribute {
  name: string;
  type: number;
  value: unknown;
}

/** The part of tfjs-node's backend that runs kernels by name. */
interface NativeBackend {
  binding: { TF_ATTR_TYPE: number; TF_ATTR_INT: number; TF_ATTR_BOOL: number; TF_FLOAT: number; TF_INT32: number; TF_BOOL: number };
  executeSingleOutput(name: string, attributes: Attribute[], inputs: Tensor[]): Tensor;
}

function nativeBackend(): NativeBackend {
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
  const backend = nativeBackend();
  return tf.tidy(() =>
    backend.executeSingleOutput(
      'GatherV2',
      [
        { name: 'batch_dims', type: backend.binding.TF_ATTR_INT, value: 0 },
        typeAttribute(backend, 'Tparams', x.dtype),
        typeAttribute(backend, 'Tindices', 'int32'),
        typeAttribute(backend, 'Taxis', 'int32'),
      ],
      [x, indices, tf.scalar(0, 'int32')],
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

/** `whenTrue` where the bool scalar `flag` is true, else `whenFalse` (same shape). tfjs's `where` would make a mask of the full shape first. */
export function selectWhole<T extends Tensor>(flag: Tensor, whenTrue: T, whenFalse: T): T {
  const backend = nativeBackend();
  return backend.executeSingleOutput('SelectV2', [typeAttribute(backend, 'T', whenTrue.dtype)], [flag, whenTrue, whenFalse]) as T;
}
