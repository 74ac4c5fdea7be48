// Watches tfjs run one step and writes down what it asked of TensorFlow.
// All that tfjs does goes through the backend's `binding`: while a step is recorded, a stand-in takes its place that runs every
// operation (so shapes are real; large values are given up at once, see shadow-tensors.ts) and adds a node to the graph. What the recorder
// cannot see is frozen: JavaScript's own branches, loops and random numbers, and values made from host data, become constants of the graph.
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import type { StepFunction, StepVariable } from './executor.js';
import { checkLike } from './executor.js';
import { GraphDefinition } from './graph-definition.js';
import type { AttributeValue, NodeOutput } from './graph-definition.js';
import { tf } from './ops.js';
import { shadowLargeResults } from './shadow-tensors.js';

/** Numbers of TensorFlow's dtypes. */
export const tfType = { float32: 1, int32: 3, bool: 10 } as const;
const resourceType = 20;
/** A tensor from outside the step that is larger than this is not made a constant. */
const maxCapturedBytes = 65_536;
/** A constant made within the step that is larger than this is refused: it would swell the graph. */
const maxConstantBytes = 32 * 2 ** 20;

export interface Attribute {
  name: string;
  type: number;
  value: unknown;
}

export interface TensorMetadata {
  id: number;
  shape: number[];
  dtype: number;
}

export interface Binding {
  createTensor(shape: number[], dtype: number, values: ArrayBufferView): number;
  deleteTensor(id: number): void;
  tensorDataSync(id: number): Float32Array | Int32Array | Uint8Array;
  executeOp(op: string, attributes: Attribute[], inputs: number[], outputs: number): TensorMetadata[];
  loadSavedModel(folder: string, tags: string): number;
  deleteSavedModel(id: number): void;
  runSavedModel(id: number, inputs: number[], inputNames: string, outputNames: string): TensorMetadata[];
  /** Only while a step is recorded: a tensor as `x` that exists once all of `before` do. */
  recordAfter?(before: number[], x: number): TensorMetadata;
  TF_ATTR_STRING: number;
  TF_ATTR_INT: number;
  TF_ATTR_FLOAT: number;
  TF_ATTR_BOOL: number;
  TF_ATTR_TYPE: number;
  TF_ATTR_SHAPE: number;
}

export interface NativeBackend {
  binding: Binding;
  getInputTensorIds(tensors: Tensor[]): number[];
  createOutputTensor(metadata: TensorMetadata): Tensor;
}

/** tfjs-node's backend. Throws where another one is in use. */
export function nativeBackend(): NativeBackend {
  if (tf.getBackend() !== 'tensorflow') throw new Error(`the tfjs backend is ${tf.getBackend()}, not native TensorFlow: call loadTensorflow() first`);
  return tf.backend() as unknown as NativeBackend;
}

export interface RecordedVariable {
  handle: NodeOutput;
  value: Tensor;
}

/** What a recorded function is fed and fetches by. */
export interface RecordedFunction {
  inputNodes: Record<string, string>;
  outputNodes: Record<string, string>;
  /** Fetched to make the assignments happen. */
  doneNode: string;
  /** Outputs of the recording run, good for their shapes only; the caller's to dispose. */
  outputs: Record<string, Tensor>;
  /** What the recording run assigned, by variable, as little good; the caller's to dispose. */
  assigned: Record<string, Tensor>;
}

/** Types that an operation infers from its inputs, where tfjs leaves them out: attribute → index of the input. */
const inferredTypes: Record<string, Record<string, number>> = {
  ExpandDims: { T: 0, Tdim: 1 },
  Squeeze: { T: 0 },
  Reshape: { T: 0, Tshape: 1 },
  Transpose: { T: 0, Tperm: 1 },
  Tile: { T: 0, Tmultiples: 1 },
  Fill: { T: 1, index_type: 0 },
  Slice: { T: 0, Index: 1 },
  StridedSlice: { T: 0, Index: 1 },
  GatherV2: { Tparams: 0, Tindices: 1, Taxis: 2 },
  Select: { T: 1 },
  SelectV2: { T: 1 },
  Range: { Tidx: 0 },
  ArgMax: { T: 0, Tidx: 1 },
  ArgMin: { T: 0, Tidx: 1 },
  BroadcastTo: { T: 0, Tidx: 1 },
  ZerosLike: { T: 0 },
  OnesLike: { T: 0 },
  Cumsum: { T: 0, Tidx: 1 },
  Cumprod: { T: 0, Tidx: 1 },
  Pad: { T: 0, Tpaddings: 1 },
  PadV2: { T: 0, Tpaddings: 1 },
  Split: { T: 1 },
  SplitV: { T: 0, Tlen: 1 },
  Where: { T: 0 },
  TopKV2: { T: 0 },
  UnsortedSegmentSum: { T: 0, Tindices: 1 },
};

/** Runs `step` once on its example inputs, adding its nodes to `graph` under `prefix`. */
export function recordFunction(graph: GraphDefinition, prefix: string, step: StepFunction, variables: Record<string, RecordedVariable>): RecordedFunction {
  const backend = nativeBackend();
  const real = backend.binding;
  const shadowing = shadowLargeResults(real);
  const known = new Map<number, NodeOutput>();
  const constants = new Set<number>();
  const assignNodes: string[] = [];

  const bytesOfTensor = (id: number): Uint8Array => {
    const data = real.tensorDataSync(id);
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  };
  /** The node behind a tensor; one from outside the step becomes a constant. */
  const nodeOf = (id: number, user: string): NodeOutput => {
    const found = known.get(id);
    if (found !== undefined) return found;
    const [metadata] = real.executeOp('Identity', [], [id], 1);
    const { shape, dtype } = metadata!;
    real.deleteTensor(metadata!.id);
    const bytes = shape.reduce((product, size) => product * size, 4);
    if (bytes > maxCapturedBytes) {
      throw new Error(
        `recording "${prefix}": ${user} uses a tensor of shape [${shape.join(', ')}] that was made outside the step. As a constant of the graph it would be ` +
          'written to disk and frozen: hand it to the step as an input or a variable.',
      );
    }
    const constant = graph.constant(dtype, shape, bytesOfTensor(id));
    known.set(id, constant);
    return constant;
  };

  // The native object's properties are read-only, so the stand-in is a copy of it.
  const recording: Binding = {
    ...copyBinding(real),
    deleteTensor: shadowing.deleteTensor,
    createTensor(shape: number[], dtype: number, values: ArrayBufferView): number {
      if (values.byteLength > maxConstantBytes) {
        throw new Error(`recording "${prefix}": the step makes a constant of shape [${shape.join(', ')}], ${values.byteLength} bytes. Hand it in as an input or a variable.`);
      }
      const id = real.createTensor(shape, dtype, values);
      // Copied now: the caller may change its array. Bool values lie one a byte.
      known.set(id, graph.constant(dtype, [...shape], bytesOfTensor(id).slice()));
      constants.add(id);
      return id;
    },
    tensorDataSync(id: number): Float32Array | Int32Array | Uint8Array {
      if (shadowing.isShadow(id) || (known.has(id) && !constants.has(id))) {
        throw new Error(`recording "${prefix}": the step reads the values of ${known.get(id)!.node}, which are not known when the graph is written. A step may compute with tensors only.`);
      }
      return real.tensorDataSync(id);
    },
    executeOp(op: string, attributes: Attribute[], inputs: number[], outputs: number): TensorMetadata[] {
      const sources = inputs.map((id) => nodeOf(id, op));
      const results = shadowing.executeOp(op, attributes, inputs, outputs);
      const alias = op === 'Identity' || (op === 'Cast' && results[0]!.dtype === sources[0]!.dtype);
      if (alias) {
        known.set(results[0]!.id, sources[0]!);
        if (constants.has(inputs[0]!)) constants.add(results[0]!.id);
        return results;
      }
      const node = addOperation(graph, prefix, op, attributes, sources, real);
      results.forEach(({ id, dtype }, index) => known.set(id, { node, index, dtype }));
      return results;
    },
    recordAfter(before: number[], x: number): TensorMetadata {
      const source = nodeOf(x, 'runAfter');
      const type = { kind: 'type', value: source.dtype } as const;
      const node = graph.add('Identity', `${prefix}/after`, [source], { T: type }, before.map((id) => nodeOf(id, 'runAfter').node));
      const [metadata] = shadowing.executeOp('Identity', [{ name: 'T', type: real.TF_ATTR_TYPE, value: source.dtype }], [x], 1);
      known.set(metadata!.id, { node, index: 0, dtype: source.dtype });
      return metadata!;
    },
    runSavedModel(): never {
      throw new Error(`recording "${prefix}": a recorded graph is run inside the step; call its function itself`);
    },
  };

  /** The native tensor behind an input or a variable. tfjs hands values over at their first use: here, so that they do not pass for constants of the step. */
  const idFromOutside = (value: Tensor): number => {
    const current = backend.binding;
    backend.binding = real;
    try {
      return backend.getInputTensorIds([value])[0]!;
    } finally {
      backend.binding = current;
    }
  };

  /** A tensor with an identity of its own and the same values, known as `node`. */
  const tensorAs = (value: Tensor, node: NodeOutput): Tensor => {
    const id = idFromOutside(value);
    const [metadata] = shadowing.executeOp('Identity', [{ name: 'T', type: real.TF_ATTR_TYPE, value: node.dtype }], [id], 1);
    known.set(metadata!.id, node);
    return backend.createOutputTensor(metadata!);
  };

  const current = new Map<string, { value: Tensor; lastWrite: string[]; readsSince: string[] }>();
  const assigned: Record<string, Tensor> = {};
  const stepVariables = Object.fromEntries(
    Object.entries(variables).map(([name, { handle, value }]): [string, StepVariable] => {
      const dtype = tfType[value.dtype as keyof typeof tfType];
      current.set(name, { value, lastWrite: [], readsSince: [] });
      const { shape } = value;
      return [
        name,
        {
          name,
          shape,
          dtype: value.dtype,
          read: () => {
            const state = current.get(name)!;
            const node = graph.add('ReadVariableOp', `${prefix}/read/${name}`, [handle], { dtype: { kind: 'type', value: dtype } }, state.lastWrite);
            state.readsSince.push(node);
            return tensorAs(state.value, { node, index: 0, dtype });
          },
          assign: (next) => {
            checkLike(`variable ${name}`, next, value);
            const state = current.get(name)!;
            const [id] = backend.getInputTensorIds([next]);
            const source = nodeOf(id!, `the assignment to ${name}`);
            const control = [...state.readsSince, ...state.lastWrite].filter((from) => from !== source.node);
            const node = graph.add('AssignVariableOp', `${prefix}/assign/${name}`, [handle, source], { dtype: { kind: 'type', value: dtype } }, control);
            assignNodes.push(node);
            assigned[name]?.dispose();
            assigned[name] = tf.keep(tf.clone(next));
            current.set(name, { value: assigned[name], lastWrite: [node], readsSince: [] });
          },
          updateInPlace: (kernel, others, inputs) => {
            const changed = [name, ...others.map((other) => other.name)];
            const handles = changed.map((one) => variables[one]!.handle);
            const sources = backend.getInputTensorIds([...inputs]).map((id) => nodeOf(id, kernel));
            const control = changed.flatMap((one) => [...current.get(one)!.readsSince, ...current.get(one)!.lastWrite]);
            const node = graph.add(kernel, `${prefix}/${kernel}/${name}`, [...handles, ...sources], { T: { kind: 'type', value: dtype } }, [...new Set(control)]);
            assignNodes.push(node);
            for (const one of changed) current.set(one, { value: current.get(one)!.value, lastWrite: [node], readsSince: [] });
          },
        },
      ];
    }),
  );

  backend.binding = recording;
  try {
    return tf.tidy(() => {
      const inputNodes: Record<string, string> = {};
      const inputs = Object.fromEntries(
        Object.entries(step.inputs).map(([name, example]) => {
          const dtype = tfType[example.dtype as keyof typeof tfType];
          const { feed, copy } = addFeed(graph, `${prefix}/input/${name}`, dtype, example.shape);
          inputNodes[name] = feed;
          return [name, tensorAs(example, copy)];
        }),
      );
      const outputs = step.run(stepVariables, inputs);
      const outputNodes: Record<string, string> = {};
      for (const [name, tensor] of Object.entries(outputs)) {
        const [id] = backend.getInputTensorIds([tensor]);
        const source = nodeOf(id!, `the output ${name}`);
        outputNodes[name] = graph.add('Identity', `${prefix}/output/${name}`, [source], { T: { kind: 'type', value: source.dtype } });
      }
      const done = graph.add('Const', `${prefix}/done`, [], { dtype: { kind: 'type', value: tfType.int32 }, value: { kind: 'tensor', value: { dtype: tfType.int32, shape: [], content: new Uint8Array(4) } } }, assignNodes);
      return { inputNodes, outputNodes, doneNode: done, outputs: outputs as never, assigned: assigned as never } as never;
    }) as RecordedFunction;
  } finally {
    backend.binding = real;
  }
}

function copyBinding(binding: Binding): Binding {
  const copied: Record<string, unknown> = {};
  for (const name of Object.getOwnPropertyNames(binding)) copied[name] = (binding as unknown as Record<string, unknown>)[name];
  return copied as unknown as Binding;
}

/** A variable's handle, shared by all functions of the graph. */
export function addVariable(graph: GraphDefinition, name: string, value: Tensor): NodeOutput {
  const dtype = tfType[value.dtype as keyof typeof tfType];
  if (dtype === undefined) throw new Error(`variable ${name} is ${value.dtype}; a graph holds float32, int32 and bool`);
  const node = graph.add('VarHandleOp', `variable/${name}`, [], {
    dtype: { kind: 'type', value: dtype },
    shape: { kind: 'shape', value: value.shape },
    shared_name: { kind: 'string', value: name },
    container: { kind: 'string', value: '' },
  });
  return { node, index: 0, dtype: resourceType };
}

/**
 * A value from outside, as a copy of its own. What is fed may lie in the memory of a JavaScript array (TensorFlow takes such memory as it
 * is where it happens to be aligned). A variable that was assigned it, or a view of it, would change with the array, and would let go of
 * it on one of TensorFlow's threads, where JavaScript's memory must not be touched: two of them at once crash the process.
 */
export function addFeed(graph: GraphDefinition, name: string, dtype: number, shape: readonly number[]): { feed: string; copy: NodeOutput } {
  const type = { kind: 'type', value: dtype } as const;
  const feed = graph.add('Placeholder', name, [], { dtype: type, shape: { kind: 'shape', value: [...shape] } });
  const copy = graph.add('DeepCopy', `${name}/copy`, [{ node: feed, index: 0, dtype }], { T: type });
  return { feed, copy: { node: copy, index: 0, dtype } };
}

function addOperation(graph: GraphDefinition, prefix: string, op: string, attributes: Attribute[], sources: NodeOutput[], binding: Binding): string {
  const given = Object.fromEntries(attributes.map((attribute) => [attribute.name, convertAttribute(op, attribute, binding)]));
  const inferred = Object.fromEntries(
    Object.entries(inferredTypes[op] ?? {}).flatMap(([name, input]): [string, AttributeValue][] =>
      given[name] === undefined && sources[input] !== undefined ? [[name, { kind: 'type', value: sources[input].dtype }]] : [],
    ),
  );
  if (op === 'Pack') return addPack(graph, prefix, sources, given);
  return graph.add(op, `${prefix}/${op}`, sources, { ...inferred, ...given });
}

/**
 * Stacking, written as concatenation. Grappler has one rewrite that moves a unary operation behind a `ConcatV2`, and another that lets
 * a slice of a `Pack` look through it; where both apply, the unary operation is lost (seen in TensorFlow 2.21). Without
 * `Pack` the second one finds nothing.
 */
function addPack(graph: GraphDefinition, prefix: string, sources: NodeOutput[], attributes: Record<string, AttributeValue>): string {
  const axis = attributes['axis']?.kind === 'int' ? (attributes['axis'].value as number) : 0;
  const type = sources[0]!.dtype;
  const axisConstant = graph.constant(tfType.int32, [], new Uint8Array(Int32Array.of(axis).buffer));
  const parts = sources.map((source): NodeOutput => {
    const node = graph.add('ExpandDims', `${prefix}/ExpandDims`, [source, axisConstant], { T: { kind: 'type', value: type }, Tdim: { kind: 'type', value: tfType.int32 } });
    return { node, index: 0, dtype: type };
  });
  if (parts.length === 1) return parts[0]!.node;
  return graph.add('ConcatV2', `${prefix}/Pack`, [...parts, axisConstant], {
    N: { kind: 'int', value: parts.length },
    T: { kind: 'type', value: type },
    Tidx: { kind: 'type', value: tfType.int32 },
  });
}

function convertAttribute(op: string, { name, type, value }: Attribute, binding: Binding): AttributeValue {
  switch (type) {
    case binding.TF_ATTR_TYPE:
      return Array.isArray(value) ? { kind: 'typeList', value: value as number[] } : { kind: 'type', value: value as number };
    case binding.TF_ATTR_INT:
      return { kind: 'int', value: value as number | number[] };
    case binding.TF_ATTR_FLOAT:
      return { kind: 'float', value: value as number | number[] };
    case binding.TF_ATTR_BOOL:
      return { kind: 'bool', value: Array.isArray(value) ? value.map(Boolean) : Boolean(value) };
    case binding.TF_ATTR_STRING:
      return { kind: 'string', value: value as string | string[] };
    case binding.TF_ATTR_SHAPE:
      return { kind: 'shape', value: value as number[] | number[][] };
    default:
      throw new Error(`operation ${op}: its attribute ${name} is of kind ${type}, which the recorder does not know`);
  }
}
