// float16 numbers in tensors. tfjs knows no 16-bit type, so two of them stand in one int32. (Where a graph has float16 in it, TensorFlow writes a line about
// oneDNN to standard error on processors that cannot compute with it; the kernel does without.)
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import { fusedPackHalf, fusedUnpackHalf } from './fused-ops.js';
import { kernelsInForce } from './kernels.js';
import { tf } from './ops.js';
import { nativeBackend, type Attribute, type NativeBackend } from './raw-ops.js';

/** Numbers of TensorFlow's DataType; the binding does not name float16. */
const [DT_FLOAT, DT_INT32, DT_HALF] = [1, 3, 19];

/**
 * `x [..., n]` (float32, n even) rounded to float16 (nearest, ties to even; too large becomes infinity), as int32 `[..., n/2]` that holds the bits
 * of two values each: `new Uint16Array(packed.dataSync().buffer)` has them in order.
 */
export function packHalf(x: Tensor): Tensor {
  const width = x.shape.at(-1) ?? 0;
  if (x.dtype !== 'float32' || width % 2 !== 0) throw new Error(`packHalf takes float32 with an even last dimension; this is ${x.dtype} [${x.shape.join(', ')}]`);
  if (kernelsInForce()) return fusedPackHalf(x);
  return tf.tidy(() => throughHalf(tf.reshape(x, [...x.shape.slice(0, -1), width / 2, 2]), { op: 'Cast', from: DT_FLOAT }, { op: 'Bitcast', to: DT_INT32 }));
}

/** The other way, exactly: int32 `[..., n]`, each the bits of two float16 values, as float32 `[..., 2n]`. */
export function unpackHalf(packed: Tensor): Tensor {
  if (packed.dtype !== 'int32') throw new Error(`unpackHalf takes pairs of float16 as int32; this is ${packed.dtype}`);
  if (kernelsInForce()) return fusedUnpackHalf(packed);
  return tf.tidy(() => {
    const pairs = throughHalf(packed, { op: 'Bitcast', from: DT_INT32 }, { op: 'Cast', to: DT_FLOAT });
    return tf.reshape(pairs, [...packed.shape.slice(0, -1), 2 * (packed.shape.at(-1) ?? 0)]);
  });
}

type Conversion = 'Cast' | 'Bitcast';

/** Converts to float16 and on from there. */
function throughHalf(x: Tensor, to: { op: Conversion; from: number }, on: { op: Conversion; to: number }): Tensor {
  const backend = nativeBackend() as unknown as {
    binding: NativeBackend['binding'] & {
      executeOp(name: string, attributes: Attribute[], inputs: number[], outputs: number): { id: number }[];
      deleteTensor(id: number): void;
    };
  } & NativeBackend;
  const { binding } = backend;
  const type = (name: string, value: number): Attribute => ({ name, type: binding.TF_ATTR_TYPE, value });
  const convert = (op: Conversion, from: number, to: number, input: number): { id: number } => {
    const truncate = { name: 'Truncate', type: binding.TF_ATTR_BOOL, value: false };
    return binding.executeOp(op, op === 'Cast' ? [type('SrcT', from), type('DstT', to), truncate] : [type('T', from), type('type', to)], [input], 1)[0]!;
  };
  const [input] = backend.getInputTensorIds([x]) as [number];
  const half = convert(to.op, to.from, DT_HALF, input);
  const result = convert(on.op, DT_HALF, on.to, half.id);
  binding.deleteTensor(half.id);
  return backend.createOutputTensor(result);
}
