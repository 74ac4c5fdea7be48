// The objective as a list of terms: sums, schedules as numbers and as tensors, what it reports, what it refuses.
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Scalar, Tensor, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import * as losses from '../../losses/index.js';
import type { ObjectiveTerm } from '../../losses/index.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { assertClose, leavesNothing } from './golden.js';
import { scoresOf } from './random-blocks.js';

const makeScores = () =>
  scoresOf({
    logProb: [[-0.2, -1.1, -0.6], [-0.9, -0.4, -2]],
    correct: [[1, 0, 1], [0, 1, 0]],
    valid: [[1, 1, 1], [1, 1, 0]],
    kl: [[0.2, 0.5, 0.1], [0.7, 0.3, 9]],
    overlap: [[0.8, 0.6, 0.9], [0.5, 0.7, 0.1]],
  });

const number = (tensor: Tensor | undefined) => tensor!.dataSync()[0]!;

test('the total is the weighted sum of the terms, with default weights where none is given', async () => {
  await loadTensorflow();
  leavesNothing(() => {
    const scores = makeScores();
    const { loss, metrics } = losses.combine(scores, [{ term: 'positionalWeighting', gamma: 4 }, { term: 'firstErrorFocal' }, { term: 'chain' }, { term: 'acceptanceChain', weight: 2 }]);
    const expected =
      number(losses.positionalWeighting(scores, { gamma: 4 }).loss) +
      0.3 * number(losses.firstErrorFocal(scores).loss) +
      40 * number(losses.chain(scores).loss) +
      2 * number(losses.acceptanceChain(scores).loss);
    assertClose(loss, [expected], 1e-6, 'total');
    assertClose(metrics['chain']!, losses.chain(scores).loss, 1e-6, 'the metric is the unweighted term');
    assertClose(metrics['chain.weight']!, [40], 1e-6, 'weight');
    assertClose(metrics['firstErrorFocal.denominator']!, [2], 1e-6, 'denominator');
  });
});

test('terms of one loss keep apart: by name, or by number', async () => {
  await loadTensorflow();
  const terms: ObjectiveTerm[] = [{ term: 'dpace' }, { term: 'dpace', on: 'kl' }, { term: 'dpace', name: 'on overlap', confidence: 'overlap' }];
  assert.deepEqual(losses.termNames(terms), ['dpace', 'dpace#2', 'on overlap']);
  leavesNothing(() => {
    const scores = makeScores();
    const { metrics } = losses.combine(scores, terms);
    assertClose(metrics['dpace#2']!, losses.dpace(scores, { on: 'kl' }).loss, 1e-6, 'second');
    assertClose(metrics['on overlap']!, losses.dpace(scores, { confidence: 'overlap' }).loss, 1e-6, 'named');
  });
});

test('a schedule is linear until its share of the run is over, and constant after', () => {
  const warmIn = { from: 0, to: 40, over: 0.25 };
  assert.deepEqual([0, 0.125, 0.25, 1].map((progress) => losses.scheduleValue(warmIn, progress)), [0, 20, 40, 40]);
  assert.equal(losses.scheduleValue({ from: 1, to: 2, over: 0 }, 0), 2);
  assert.equal(losses.scheduleValue(7, 0.5), 7);
});

test('scheduled weights, γ and α give the same loss and gradient as numbers and as scalar tensors', async () => {
  await loadTensorflow();
  const terms: ObjectiveTerm[] = [
    { term: 'positionalWeighting', gamma: { from: 4, to: 10, over: 0.5 } },
    { term: 'dpace', on: 'kl', alpha: { from: 1, to: 0.5, over: 1 }, weight: 0.5 },
    { term: 'chain', weight: { from: 0, to: 40, over: 0.25 } },
  ];
  assert.deepEqual(losses.scheduledValues(terms, 0.2), { 'positionalWeighting.gamma': 6.4, 'dpace.alpha': 0.9, 'chain.weight': 32 });
  const constant: ObjectiveTerm[] = [
    { term: 'positionalWeighting', gamma: 6.4 },
    { term: 'dpace', on: 'kl', alpha: 0.9, weight: 0.5 },
    { term: 'chain', weight: 32 },
  ];
  leavesNothing(() => {
    const scores = makeScores();
    const total = (given: ObjectiveTerm[], options: losses.CombineOptions) =>
      tf.valueAndGrad((logProb) => losses.combine({ ...scores, logProb: logProb as Tensor2D }, given, options).loss)(scores.logProb);
    const expected = total(constant, {});
    const scheduled = Object.fromEntries(Object.entries(losses.scheduledValues(terms, 0.2)).map(([name, value]) => [name, tf.scalar(value)]));
    for (const options of [{ progress: 0.2 }, { scheduled }]) {
      const { value, grad } = total(terms, options);
      assertClose(value, expected.value, 1e-6, 'value');
      assertClose(grad, expected.grad, 1e-6, 'gradient');
    }
  });
});

test('gradient shares add up to 1, and are those of the weighted terms', async () => {
  await loadTensorflow();
  leavesNothing(() => {
    const scores = makeScores();
    const terms: ObjectiveTerm[] = [{ term: 'positionalWeighting', gamma: null, weight: 2 }, { term: 'chain' }, { term: 'totalVariation' }, { term: 'distillationBlend' }];
    const report = () => losses.combine(scores, terms, { gradientShares: true }).metrics;
    const shares = losses.termNames(terms).map((name) => number(report()[`${name}.gradientShare`]));
    assert.ok(Math.abs(shares.reduce((a, b) => a + b, 0) - 1) < 1e-5);
    const norm = (f: (logProb: Tensor2D) => Tensor, x: Tensor2D) => number(tf.norm(tf.grad((t) => f(t as Tensor2D))(x)));
    const uniform = norm((logProb) => tf.mul(2, losses.positionalWeighting({ ...scores, logProb }, { gamma: null }).loss), scores.logProb);
    const chain = norm((logProb) => tf.mul(40, losses.chain({ ...scores, logProb }).loss), scores.logProb);
    assert.ok(Math.abs(shares[0]! / shares[1]! / (uniform / chain) - 1) < 1e-4);
    // The report may stand inside a gradient, as it does in a training step, and does not disturb it.
    const gradient = (options: losses.CombineOptions) =>
      tf.grad((logProb) => losses.combine({ ...scores, logProb: logProb as Tensor2D }, terms, options).loss)(scores.logProb);
    assertClose(gradient({ gradientShares: true }), gradient({}), 0, 'gradient');
  });
});

test('nothing is left behind: a loss returns its own tensors only, also outside any scope and under a gradient', async () => {
  await loadTensorflow();
  const scores = makeScores();
  const before = tf.memory().numTensors;
  const singles: (() => losses.LossTerm)[] = [
    () => losses.positionalWeighting(scores),
    () => losses.firstErrorFocal(scores, { focusing: 2 }),
    () => losses.chain(scores),
    () => losses.dpace(scores),
    () => losses.forwardKl(scores),
    () => losses.totalVariation(scores),
    () => losses.distillationBlend(scores),
    () => losses.acceptanceChain(scores),
    () => losses.combine(scores, [{ term: 'dpace' }, { term: 'chain' }], { gradientShares: true }),
  ];
  for (const single of singles) {
    const { loss, metrics } = single();
    const distinct = new Set([loss, ...Object.values(metrics)]);
    assert.equal(tf.memory().numTensors, before + distinct.size);
    tf.dispose([...distinct]);
    tf.dispose(tf.grad((logProb) => tf.add(single().loss, losses.chain({ ...scores, logProb: logProb as Tensor2D }).loss))(scores.logProb));
    assert.equal(tf.memory().numTensors, before);
  }
  tf.dispose(Object.values(scores) as Tensor[]);
});

test('what the terms differentiate is what scoreHidden must prepare; asking for more is an error, not a zero gradient', async () => {
  await loadTensorflow();
  assert.deepEqual(losses.differentiatedScores([{ term: 'dpace', on: 'kl' }]), ['kl']);
  assert.deepEqual(losses.differentiatedScores([{ term: 'acceptanceChain' }, { term: 'positionalWeighting' }]), ['logProb', 'overlap']);
  assert.deepEqual(losses.differentiatedScores([{ term: 'distillationBlend' }]), ['kl', 'overlap']);
  assert.deepEqual(losses.differentiatedScores([{ term: 'firstErrorFocal', on: 'kl', focusing: 1 }]), ['logProb', 'kl']);
  assert.equal(losses.needsTeacher([{ term: 'chain' }, { term: 'dpace' }]), false);
  assert.equal(losses.needsTeacher([{ term: 'dpace', confidence: 'overlap' }]), true);
  const ask = () => {
    const labels = tf.zeros([1, 1], 'int32') as Tensor2D;
    const score = (h: Tensor) => losses.scoreHidden(tf.reshape(h, [1, 1, 2]), tf.eye(2), labels, tf.ones([1, 1]), { differentiate: [] });
    return tf.grad((h) => losses.chain(score(h)).loss)(tf.tensor1d([1, 2]));
  };
  assert.throws(() => tf.tidy(ask), /differentiate \[\] only, but a loss asks for the gradient of logProb/);
});

test('wrong use is told by name: no terms, no teacher, a schedule without progress, shapes, chunks, parameters', async () => {
  await loadTensorflow();
  const scores = makeScores();
  const { logProb, correct, valid } = scores;
  const cases: [() => unknown, RegExp][] = [
    [() => losses.combine(scores, []), /no terms/],
    [() => losses.forwardKl({ logProb, correct, valid }), /needs the target's distribution.*`kl`/],
    [() => losses.combine(scores, [{ term: 'chain', weight: { from: 0, to: 1, over: 1 } }]), /chain\.weight is a schedule/],
    [() => losses.positionalWeighting(scores, { gamma: 0 }), /gamma is 0/],
    [() => losses.dpace(scores, { alpha: 2 }), /alpha is 2/],
    [() => losses.firstErrorFocal(scores, { focusing: -1 }), /focusing is -1/],
    [() => losses.scoreLogits(tf.zeros([2, 3, 4]), tf.zeros([2, 2], 'int32'), valid), /labels is int32 \[2, 2\]; expected int32 \[2, 3\]/],
    [() => losses.scoreHidden(tf.zeros([2, 3, 4]), tf.zeros([9, 5]), tf.zeros([2, 3], 'int32'), valid), /head is float32 \[9, 5\]; expected float32 \[any, 4\]/],
    [() => losses.scoreHidden(tf.zeros([2, 3, 4]), tf.zeros([9, 4]), tf.zeros([2, 3], 'int32'), valid, { chunkRows: 0 }), /chunkRows is 0/],
  ];
  for (const [use, message] of cases) assert.throws(() => tf.tidy(() => void use()), message);
});

test('every loss is described, and its described defaults are the ones it uses', async () => {
  await loadTensorflow();
  leavesNothing(() => {
    const scores = makeScores();
    for (const [term, { options, weight }] of Object.entries(losses.lossDescriptions)) {
      const defaults = Object.fromEntries(Object.entries(options).map(([name, option]) => [name, option.default]));
      const bare = losses.combine(scores, [{ term } as ObjectiveTerm]);
      const spelled = losses.combine(scores, [{ term, weight, ...defaults } as ObjectiveTerm]);
      assert.equal(number(bare.loss as Scalar), number(spelled.loss as Scalar), term);
    }
  });
});
