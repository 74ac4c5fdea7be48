import assert from 'node:assert/strict';
import test from 'node:test';
import type { Scalar, Tensor, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { Random } from '../../src/random.js';
import { createEagerExecutor, createGraphExecutor } from '../../src/tensorflow/graph.js';
import type { Program, StepFunction } from '../../src/tensorflow/graph.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { runAfter } from '../../src/tensorflow/raw-ops.js';
import { adamwAssign, adamwRates, clipByGlobalNorm } from '../../src/training/optimizer.js';

await loadTensorflow();

function values(tensor: Tensor): number[] {
  const result = [...(tensor.dataSync() as Float32Array)];
  tensor.dispose();
  return result;
}

function assertClose(found: number[], expected: number[], tolerance: number, what: string): void {
  assert.equal(found.length, expected.length, what);
  for (const [i, value] of found.entries()) {
    const wanted = expected[i]!;
    if (Number.isNaN(wanted) && Number.isNaN(value)) continue;
    assert.ok(Math.abs(value - wanted) <= tolerance * Math.max(1, Math.abs(wanted)), `${what}[${i}]: graph ${value}, eager ${wanted}`);
  }
}

/** Runs one function both ways on the same inputs and compares every output. */
function assertSame(step: StepFunction, inputs: Record<string, Tensor>, what: string, tolerance = 1e-5): void {
  const eager = createEagerExecutor({ variables: {}, functions: { step } });
  const graph = createGraphExecutor({ variables: {}, functions: { step } });
  const expected = eager.run('step', inputs);
  const found = graph.run('step', inputs);
  for (const name of Object.keys(expected)) {
    assert.deepEqual(found[name]!.shape, expected[name]!.shape, `${what}: shape of ${name}`);
    assert.equal(found[name]!.dtype, expected[name]!.dtype, `${what}: dtype of ${name}`);
    assertClose(values(found[name]!), values(expected[name]!), tolerance, `${what}: ${name}`);
  }
  eager.dispose();
  graph.dispose();
}

const random = (seed: number, shape: number[], scale = 1): Tensor => {
  const source = Random.fork(seed, shape.join());
  return tf.tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => source.normal() * scale), shape);
};

test('50 steps of AdamW with clipping: graph and eager keep the same weights and moments within 1e-5', () => {
  const shapes: Record<string, number[]> = { first: [8, 16], bias: [16], second: [16, 4] };
  const names = Object.keys(shapes);
  const variables: Record<string, Tensor> = { updates: tf.scalar(0) };
  for (const [i, name] of names.entries()) {
    variables[name] = random(i, shapes[name]!, 0.3);
    variables[`m/${name}`] = tf.zeros(shapes[name]!);
    variables[`v/${name}`] = tf.zeros(shapes[name]!);
  }
  const step: StepFunction = {
    inputs: { x: tf.zeros([5, 8]), y: tf.zeros([5], 'int32'), rate: tf.scalar(0) },
    run: (state, { x, y, rate }) => {
      const loss = (...weights: Tensor[]): Scalar => {
        const [first, bias, second] = weights as [Tensor2D, Tensor, Tensor2D];
        const logits = tf.matMul(tf.tanh(tf.add(tf.matMul(x as Tensor2D, first), bias)) as Tensor2D, second);
        return tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), tf.oneHot(y as never, 4)), -1))) as Scalar;
      };
      const { value, grads } = tf.valueAndGrads(loss)(names.map((name) => state[name]!.read()));
      const { gradients, norm } = clipByGlobalNorm(Object.fromEntries(names.map((name, i) => [name, grads[i]!])), 0.5);
      const updates = tf.add(state['updates']!.read(), 1) as Scalar;
      state['updates']!.assign(updates);
      const rates = adamwRates({ betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0.01 }, { learningRate: rate as Scalar, step: updates });
      for (const name of names) {
        adamwAssign({ weight: state[name]!, m: state[`m/${name}`]!, v: state[`v/${name}`]! }, gradients[name]!, rates, true);
      }
      return { loss: value, norm };
    },
  };
  const program: Program = { variables, functions: { step } };
  const eager = createEagerExecutor(program);
  const graph = createGraphExecutor(program);
  for (let i = 0; i < 50; i++) {
    const inputs = { x: random(100 + i, [5, 8]), y: tf.tensor1d([0, 1, 2, 3, i % 4], 'int32'), rate: tf.scalar(0.01 * (1 - i / 60)) };
    const expected = eager.run('step', inputs);
    const found = graph.run('step', inputs);
    for (const name of ['loss', 'norm']) assertClose(values(found[name]!), values(expected[name]!), 1e-5, `step ${i}: ${name}`);
    tf.dispose(inputs);
  }
  for (const name of Object.keys(variables)) assertClose(values(graph.read(name)), values(eager.read(name)), 1e-5, name);
  eager.dispose();
  graph.dispose();
});

test('a unary operation before concat, stack and slice is not lost (two rewrites of Grappler clash there)', () => {
  const step: StepFunction = {
    inputs: { a: tf.zeros([3]), b: tf.zeros([2]), y: tf.zeros([5]) },
    run: (_, { a, b, y }) => {
      const stacked = tf.stack([tf.concat([tf.exp(a!), tf.exp(b!)]), y!]);
      return { row: tf.reshape(tf.slice(stacked, [0, 0], [1, 5]), [5]), last: tf.slice(tf.stack([y!, tf.concat([tf.neg(a!), tf.neg(b!)])], 1), [0, 1], [5, 1]) };
    },
  };
  assertSame(step, { a: random(1, [3]), b: random(2, [2]), y: random(3, [5]) }, 'slice of stack');
});

test('random expressions over float, int and bool inputs, with gradients, equal eager', () => {
  const unary: ((x: Tensor) => Tensor)[] = [tf.exp, tf.tanh, tf.neg, tf.square, tf.sigmoid, tf.relu, tf.abs, (x) => tf.softmax(x), (x) => tf.logSoftmax(x)];
  const binary: ((x: Tensor, y: Tensor) => Tensor)[] = [tf.add, tf.sub, tf.mul, tf.maximum, tf.minimum, (x, y) => tf.div(x, tf.add(tf.abs(y), 1))];
  const shaped: ((x: Tensor) => Tensor)[] = [
    (x) => tf.transpose(tf.transpose(x)),
    (x) => tf.reshape(tf.concat([x, tf.exp(tf.neg(tf.abs(x)))], 0), [2, 3, 4]).sum(0),
    (x) => tf.slice(tf.stack([x, tf.square(x)]), [1, 0, 0], [1, 3, 4]).reshape([3, 4]),
    (x) => tf.split(tf.concat([x, x], 1), 2, 1)[1]!,
    (x) => tf.matMul(x as Tensor2D, tf.matMul(x as Tensor2D, x as Tensor2D, true, false)),
    (x) => tf.mul(x, tf.expandDims(tf.mean(x, 1), 1)),
    (x) => tf.pad(tf.slice(x, [0, 1], [3, 2]) as Tensor2D, [[0, 0], [1, 1]]),
    (x) => tf.cumsum(tf.clipByValue(x, -3, 3), 1),
    (x) => tf.tile(tf.max(x, 1, true), [1, 4]),
  ];
  for (let seed = 0; seed < 25; seed++) {
    const source = Random.fork(seed, 'expression');
    const pick = <T>(list: T[]): T => list[source.int(list.length)]!;
    const plan = Array.from({ length: 6 }, () => ({ kind: source.int(4), unary: pick(unary), binary: pick(binary), shaped: pick(shaped), left: source.next(), right: source.next() }));
    const build = (start: Tensor[], counts: Tensor, flags: Tensor): Tensor => {
      const made = [...start];
      for (const { kind, unary, binary, shaped, left, right } of plan) {
        const x = made[Math.floor(left * made.length)]!;
        const y = made[Math.floor(right * made.length)]!;
        const next = kind === 0 ? unary(x) : kind === 1 ? binary(x, y) : kind === 2 ? shaped(x) : tf.where(tf.logicalAnd(flags, tf.greater(tf.cast(counts, 'float32'), x)), x, y);
        made.push(tf.clipByValue(next, -20, 20));
      }
      return made.at(-1)!;
    };
    const step: StepFunction = {
      inputs: { a: tf.zeros([3, 4]), b: tf.zeros([3, 4]), counts: tf.zeros([3, 4], 'int32'), flags: tf.zeros([3, 4], 'bool') },
      run: (_, { a, b, counts, flags }) => {
        const { value, grads } = tf.valueAndGrads((x: Tensor, y: Tensor) => tf.sum(build([x, y], counts!, flags!)) as Scalar)([a!, b!]);
        return { value, first: grads[0]!, second: grads[1]!, argmax: tf.argMax(build([a!, b!], counts!, flags!), 1), any: tf.any(tf.greater(a!, b!)), counted: tf.add(counts!, tf.scalar(1, 'int32')) };
      },
    };
    const inputs = { a: random(seed, [3, 4]), b: random(seed + 1000, [3, 4]), counts: tf.tensor2d(Array.from({ length: 12 }, () => source.int(3)), [3, 4], 'int32'), flags: tf.tensor2d(Array.from({ length: 12 }, () => source.int(2)), [3, 4], 'bool') };
    try {
      assertSame(step, inputs, `seed ${seed}`, 1e-4);
    } catch (error) {
      // A gradient that does not reach an input is tfjs's own error, the same both ways.
      if (!/Cannot compute gradient/.test((error as Error).message)) throw error;
    }
  }
});

test('functions share their variables; a read after an assignment sees the new value, one before it the old', () => {
  const counter: StepFunction = {
    inputs: { by: tf.scalar(0) },
    run: ({ total }, { by }) => {
      const before = total!.read();
      total!.assign(tf.add(before, by!));
      const between = total!.read();
      total!.assign(tf.mul(between, 2));
      return { before, between, after: total!.read() };
    },
  };
  const look: StepFunction = { inputs: {}, run: ({ total }) => ({ doubled: tf.mul(total!.read(), 2) }) };
  for (const create of [createEagerExecutor, createGraphExecutor]) {
    const executor = create({ variables: { total: tf.scalar(1) }, functions: { counter, look } });
    const { before, between, after } = executor.run('counter', { by: tf.scalar(4) });
    assert.deepEqual([before, between, after].map((tensor) => values(tensor!)[0]), [1, 5, 10], executor.kind);
    assert.deepEqual(values(executor.run('look', {})['doubled']!), [20], executor.kind);
    executor.write('total', tf.scalar(-1));
    assert.deepEqual(values(executor.read('total')), [-1], executor.kind);
    executor.dispose();
  }
});

test('inputs may be arrays; a wrong name, shape or dtype is refused by name', () => {
  const step: StepFunction = { inputs: { x: tf.zeros([2, 2]) }, run: (_, { x }) => ({ sum: tf.sum(x!) }) };
  const graph = createGraphExecutor({ variables: {}, functions: { step } });
  assert.deepEqual(values(graph.run('step', { x: Float32Array.of(1, 2, 3, 4) })['sum']!), [10]);
  assert.throws(() => graph.run('step', { x: tf.zeros([3]) }), /input x of function step is float32 \[3\]; float32 \[2, 2\] was expected/);
  assert.throws(() => graph.run('step', {}), /lacks its input x/);
  assert.throws(() => graph.run('step', { x: tf.zeros([2, 2]), z: tf.scalar(1) }), /has no input z/);
  assert.throws(() => graph.run('other', {}), /no function named other/);
  graph.dispose();
});

test('a step that reads values, or uses a large tensor from outside, is refused with the operation named', () => {
  const reads: StepFunction = { inputs: { x: tf.zeros([2]) }, run: (_, { x }) => ({ y: tf.mul(x!, tf.exp(x!).dataSync()[0]!) }) };
  assert.throws(() => createGraphExecutor({ variables: {}, functions: { reads } }), /the step reads the values of reads\/Exp/);
  const large = tf.add(tf.zeros([200, 200]), 1);
  const captures: StepFunction = { inputs: { x: tf.zeros([200]) }, run: (_, { x }) => ({ y: tf.add(x!, large) }) };
  assert.throws(() => createGraphExecutor({ variables: {}, functions: { captures } }), /Add uses a tensor of shape \[200, 200\]/);
});

test('large variables and inputs that tfjs has not handed over yet are no constants of the graph', () => {
  const size = 9_000_000; // 36 MB: more than a constant may have
  const step: StepFunction = { inputs: { x: tf.zeros([size]) }, run: ({ large }, { x }) => ({ sum: tf.sum(tf.add(large!.read(), x!)) }) };
  const graph = createGraphExecutor({ variables: { large: tf.tensor1d(new Float32Array(size).fill(2)) }, functions: { step } });
  assert.deepEqual(values(graph.run('step', { x: new Float32Array(size).fill(1) })['sum']!), [3 * size]);
  graph.dispose();
});

test('variables keep their values when the arrays that they were given in are changed', () => {
  const step: StepFunction = { inputs: { x: tf.zeros([16]) }, run: ({ taken }, { x }) => {
    taken!.assign(tf.reshape(x!, [4, 4]));
    return {};
  } };
  const graph = createGraphExecutor({ variables: { taken: tf.zeros([4, 4]), written: tf.zeros([16]) }, functions: { step } });
  // TensorFlow takes an array's memory as it is where it happens to lie on a multiple of 64 bytes: one small array in four.
  for (let i = 0; i < 100; i++) {
    const [fed, written] = [new Float32Array(16).fill(1), new Float32Array(16).fill(2)];
    graph.run('step', { x: fed });
    const tensor = tf.tensor1d(written);
    graph.write('written', tensor);
    tensor.dispose();
    fed.fill(-1);
    written.fill(-1);
    assert.deepEqual(values(graph.read('taken')), Array<number>(16).fill(1));
    assert.deepEqual(values(graph.read('written')), Array<number>(16).fill(2));
  }
  graph.dispose();
});

test('what runs after something else has its own value, eagerly and recorded, and large values of a recording are not kept', () => {
  const step: StepFunction = {
    inputs: { x: tf.zeros([64, 128]) },
    run: (_, { x }) => {
      const squared = tf.square(x!);
      const total = tf.sum(squared);
      return { later: tf.add(runAfter([total], squared), runAfter([tf.exp(squared), total], total)), counts: tf.cast(tf.greater(runAfter([total], x!), 0), 'int32') };
    },
  };
  assertSame(step, { x: random(8, [64, 128]) }, 'runAfter');
});

test('recording and running leave no tensor behind', () => {
  const before = tf.memory().numTensors;
  const variables = { w: tf.ones([4]) };
  const step: StepFunction = { inputs: { x: tf.zeros([4]) }, run: ({ w }, { x }) => {
    w!.assign(tf.add(w!.read(), x!));
    return { sum: tf.sum(w!.read()) };
  } };
  for (const create of [createEagerExecutor, createGraphExecutor]) {
    const executor = create({ variables, functions: { step } });
    const running = tf.memory().numTensors;
    for (let i = 0; i < 5; i++) executor.run('step', { x: Float32Array.of(1, 2, 3, 4) })['sum']!.dispose();
    assert.equal(tf.memory().numTensors, running, executor.kind);
    executor.dispose();
  }
  tf.dispose(variables);
  step.inputs['x']!.dispose();
  assert.equal(tf.memory().numTensors, before);
});

test('an update in place changes what is read after it, and nothing that was read before', () => {
  const start = { w: [1, 2, 3], m: [0, 0, 0], v: [0, 0, 0] };
  const graph = createGraphExecutor({
    variables: Object.fromEntries(Object.entries(start).map(([name, value]) => [name, tf.tensor1d(value)])),
    functions: {
      step: {
        inputs: { gradient: tf.zeros([3]) },
        run: ({ w, m, v }, { gradient }) => {
          const before = w!.read();
          const scalars = [0, 0, 0.5, 0.5, 0.5, 1].map((value) => tf.scalar(value));
          w!.updateInPlace!('ResourceApplyAdam', [m!, v!], [...scalars, gradient!]);
          // Computed from the old value, possibly after the update.
          return { before: tf.add(before, 0), after: w!.read(), first: m!.read() };
        },
      },
    },
  });
  const kept = graph.read('w');
  const expected = { ...start };
  for (let step = 0; step < 3; step++) {
    const found = graph.run('step', { gradient: Float32Array.of(1, -2, 4) });
    assert.deepEqual(values(found['before']!), expected.w);
    expected.m = expected.m.map((m, i) => m + ([1, -2, 4][i]! - m) * 0.5);
    expected.v = expected.v.map((v, i) => v + ([1, 4, 16][i]! - v) * 0.5);
    expected.w = expected.w.map((w, i) => w - (0.5 * expected.m[i]!) / (Math.sqrt(expected.v[i]!) + 1));
    const after = values(found['after']!);
    assertClose(after, expected.w, 1e-6, `weight after step ${step}`);
    assertClose(values(found['first']!), expected.m, 1e-6, `first moment after step ${step}`);
    expected.w = after;
  }
  assert.deepEqual(values(kept), start.w, 'a value that was read from the executor');
  graph.dispose();
});
