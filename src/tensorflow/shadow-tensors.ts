// Stand-ins for the tensors of a step that is being recorded. A recording needs shapes, not values, and a step with gradients would hold every
// tensor that it makes until its end. So the values of large float32 results are given up as soon as their shape is known; where an
// operation reads one later, it gets memory of that shape with whatever happens to be in it. Integers and bools stay real:
// shapes and indices may depend on them.
import type { Attribute, Binding, TensorMetadata } from './graph-recorder.js';

const float32 = 1;
const int32 = 3;
/** Results smaller than this are kept: they cost nothing. */
const smallBytes = 16_384;

/** The part of a binding that makes and frees results, with shadows (ids below -1) in the place of large ones. */
export type ShadowingBinding = Pick<Binding, 'executeOp' | 'deleteTensor'> & { isShadow(id: number): boolean };

/** Wraps `real`. Shadows are never freed natively; tfjs frees no id below 0. */
export function shadowLargeResults(real: Binding): ShadowingBinding {
  const shapes = new Map<number, number[]>();
  let nextId = -2;
  const shadow = ({ shape, dtype }: TensorMetadata): TensorMetadata => {
    const id = nextId--;
    shapes.set(id, shape);
    return { id, shape, dtype };
  };
  const memoryOf = (shape: number[]): number => {
    const size = real.createTensor([shape.length], int32, Int32Array.from(shape));
    const attributes = [
      { name: 'dtype', type: real.TF_ATTR_TYPE, value: float32 },
      { name: 'init', type: real.TF_ATTR_BOOL, value: false },
    ];
    const [empty] = real.executeOp('Empty', attributes, [size], 1);
    real.deleteTensor(size);
    return empty!.id;
  };
  return {
    isShadow: (id) => shapes.has(id),
    deleteTensor: (id) => {
      if (!shapes.delete(id)) real.deleteTensor(id);
    },
    executeOp: (op: string, attributes: Attribute[], inputs: number[], outputs: number) => {
      if (op === 'Identity' && shapes.has(inputs[0]!)) return [shadow({ id: 0, shape: shapes.get(inputs[0]!)!, dtype: float32 })];
      const borrowed: number[] = [];
      try {
        const given = inputs.map((id) => {
          const shape = shapes.get(id);
          if (shape === undefined) return id;
          borrowed.push(memoryOf(shape));
          return borrowed.at(-1)!;
        });
        return real.executeOp(op, attributes, given, outputs).map((result) => {
          const { id, shape, dtype } = result;
          if (dtype !== float32 || shape.reduce((bytes, size) => bytes * size, 4) < smallBytes) return result;
          real.deleteTensor(id);
          return shadow(result);
        });
      } finally {
        for (const id of borrowed) real.deleteTensor(id);
      }
    },
  };
}
