// A step is a function of variables and inputs, written in plain tfjs operations. An executor holds the variables and runs steps:
// this one operation by operation (eager), the one in graph.ts as one recorded TensorFlow graph. Both give the same numbers.
import type { DataType, Tensor } from '@tensorflow/tfjs-node-gpu';
import { withPlainOperations } from './kernels.js';
import { tf } from './ops.js';

/** A tensor that outlives the steps. Within a step, `read` after `assign` gives the new value. */
export interface StepVariable {
  readonly name: string;
  readonly shape: number[];
  readonly dtype: DataType;
  read(): Tensor;
  /** Replaces the value; shape and dtype stay. */
  assign(value: Tensor): void;
  /**
   * Runs a TensorFlow kernel that changes variables where they lie, such as `ResourceApplyAdam`. Its inputs are this variable, `others`
   * and `inputs`, in this order. Only variables of a recorded graph have it: eager ones are tensors, which nothing changes.
   */
  updateInPlace?(kernel: string, others: readonly StepVariable[], inputs: readonly Tensor[]): void;
}

export type StepVariables = Record<string, StepVariable>;

/** One function of an executor. `inputs` are examples: their names, shapes and dtypes are fixed, their values are not. */
export interface StepFunction {
  inputs: Record<string, Tensor>;
  /** Pure but for `assign`: it may read no tensor's values and branch on none. */
  run(variables: StepVariables, inputs: Record<string, Tensor>): Record<string, Tensor>;
}

/** Variables and the functions that share them. */
export interface Program {
  /** Initial values; the executor copies them. */
  variables: Record<string, Tensor>;
  functions: Record<string, StepFunction>;
}

export type TypedInput = Float32Array | Int32Array;

export interface Executor {
  readonly kind: 'eager' | 'graph';
  /** Runs a function. Inputs are tensors or flat arrays of the example's size; outputs are the caller's to dispose. */
  run(name: string, inputs: Record<string, Tensor | TypedInput>): Record<string, Tensor>;
  /** A variable's value; the caller's to dispose. */
  read(name: string): Tensor;
  write(name: string, value: Tensor): void;
  dispose(): void;
}

/** Runs every operation by itself, and plain ones only: the reference, slow and easy to debug. */
export function createEagerExecutor(program: Program): Executor {
  const values = new Map(Object.entries(program.variables).map(([name, value]) => [name, copy(value)]));
  const variables = Object.fromEntries(
    [...values.keys()].map((name): [string, StepVariable] => {
      const { shape, dtype } = values.get(name)!;
      return [
        name,
        {
          name,
          shape,
          dtype,
          read: () => tf.clone(values.get(name)!),
          assign: (value) => {
            checkLike(`variable ${name}`, value, { shape, dtype });
            values.get(name)!.dispose();
            values.set(name, tf.keep(tf.clone(value)));
          },
        },
      ];
    }),
  );
  return {
    kind: 'eager',
    run: (name, inputs) => {
      const step = functionOf(program, name);
      return withPlainOperations(() => tf.tidy(() => step.run(variables, bindInputs(name, step, inputs))));
    },
    read: (name) => tf.clone(valueOf(values, name)),
    write: (name, value) => {
      const old = valueOf(values, name);
      checkLike(`variable ${name}`, value, old);
      values.set(name, copy(value));
      old.dispose();
    },
    dispose: () => {
      for (const value of values.values()) value.dispose();
      values.clear();
    },
  };
}

/** A tensor of its own, kept until it is disposed. */
export function copy(value: Tensor): Tensor {
  return tf.keep(tf.clone(value));
}

export function functionOf(program: Program, name: string): StepFunction {
  const step = program.functions[name];
  if (step === undefined) throw new Error(`no function named ${name}; there are ${Object.keys(program.functions).join(', ')}`);
  return step;
}

/** Inputs as tensors, each checked against its example. Arrays become tensors that the surrounding scope disposes. */
export function bindInputs(name: string, step: StepFunction, inputs: Record<string, Tensor | TypedInput>): Record<string, Tensor> {
  for (const key of Object.keys(inputs)) {
    if (!(key in step.inputs)) throw new Error(`function ${name} has no input ${key}; its inputs are ${Object.keys(step.inputs).join(', ')}`);
  }
  return Object.fromEntries(
    Object.entries(step.inputs).map(([key, example]) => {
      const given = inputs[key];
      if (given === undefined) throw new Error(`function ${name} lacks its input ${key} (${describe(example)})`);
      const tensor = ArrayBuffer.isView(given) ? tf.tensor(given, example.shape, example.dtype as 'float32') : given;
      checkLike(`input ${key} of function ${name}`, tensor, example);
      return [key, tensor];
    }),
  );
}

function valueOf(values: Map<string, Tensor>, name: string): Tensor {
  const value = values.get(name);
  if (value === undefined) throw new Error(`no variable named ${name}`);
  return value;
}

export function checkLike(what: string, found: { shape: number[]; dtype: string }, expected: { shape: number[]; dtype: string }): void {
  if (found.dtype !== expected.dtype || found.shape.join() !== expected.shape.join()) {
    throw new Error(`${what} is ${describe(found)}; ${describe(expected)} was expected`);
  }
}

function describe({ shape, dtype }: { shape: number[]; dtype: string }): string {
  return `${dtype} [${shape.join(', ')}]`;
}
