import test from 'node:test';
import assert from 'node:assert/strict';
import { PositionUniforms, argmax, checkSampling, drawToken, warpLogits } from '../../src/decoding/sampling.js';
import { Random } from '../../src/random.js';

const close = (actual: ArrayLike<number>, expected: number[], tolerance = 1e-9): void => {
  assert.equal(actual.length, expected.length);
  expected.forEach((value, i) => assert.ok(Math.abs(actual[i]! - value) < tolerance, `[${i}] ${actual[i]} instead of ${value}`));
};

test('temperature divides the logits before the softmax', () => {
  const weights = [1, 2, 3].map((logit) => Math.exp(logit / 0.5));
  const sum = weights.reduce((a, b) => a + b);
  close(warpLogits([1, 2, 3], { temperature: 0.5, topK: 0, topP: 1 }), weights.map((weight) => weight / sum));
});

test('temperature 0 is one-hot at the first of the largest logits', () => {
  assert.deepEqual([...warpLogits([1, 5, 5, 2], { temperature: 0, topK: 3, topP: 0.1 })], [0, 1, 0, 0]);
  assert.equal(argmax([3, 7, 7]), 1);
});

test('top-k keeps the k largest and their equals', () => {
  const warped = warpLogits([0, 2, 1, 2, 1, -3], { temperature: 1, topK: 3, topP: 1 });
  assert.deepEqual([...warped].map((p) => p > 0), [false, true, true, true, true, false]);
});

test('top-p keeps the smallest set that reaches p, after top-k, and never less than one token', () => {
  const logits = [0.5, 0.2, 0.15, 0.1, 0.05].map(Math.log);
  close(warpLogits(logits, { temperature: 1, topK: 0, topP: 0.72 }), [0.5 / 0.85, 0.2 / 0.85, 0.15 / 0.85, 0, 0]);
  // Exactly reached: the tail's mass is not above 1 - p, so it goes.
  close(warpLogits(logits, { temperature: 1, topK: 0, topP: 0.8 }), [0.5 / 0.85, 0.2 / 0.85, 0.15 / 0.85, 0, 0]);
  close(warpLogits(logits, { temperature: 1, topK: 0, topP: 1e-6 }), [1, 0, 0, 0, 0]);
  // Top-k first: of the two kept (5/7 and 2/7), the first alone reaches 0.7.
  close(warpLogits(logits, { temperature: 1, topK: 2, topP: 0.7 }), [1, 0, 0, 0, 0]);
});

test('top-p over random rows equals sorting all of them', () => {
  const random = new Random(3);
  for (let trial = 0; trial < 200; trial++) {
    const logits = Float64Array.from({ length: 50 }, () => 3 * random.normal());
    const topP = 0.05 + 0.94 * random.next();
    const all = warpLogits(logits, { temperature: 1, topK: 0, topP: 1 });
    const order = [...all.keys()].sort((a, b) => all[a]! - all[b]!);
    let cumulative = 0;
    const kept = new Set(order.filter((token, rank) => (cumulative += all[token]!) > 1 - topP || rank === order.length - 1));
    let mass = 0;
    for (const token of kept) mass += all[token]!;
    close(warpLogits(logits, { temperature: 1, topK: 0, topP }), [...all].map((p, token) => (kept.has(token) ? p / mass : 0)));
  }
});

test('drawing follows the cumulative weights and never returns a token of weight zero', () => {
  const weights = [0, 1, 0, 3, 0];
  assert.equal(drawToken(weights, 0), 1);
  assert.equal(drawToken(weights, 0.2499), 1);
  assert.equal(drawToken(weights, 0.25), 3);
  assert.equal(drawToken(weights, 1 - 2 ** -53), 3);
  assert.throws(() => drawToken([0, 0], 0.5), /sum is 0/);
});

test('position uniforms do not depend on the order of asking', () => {
  const forward = new PositionUniforms(7, 'set', 2);
  const backward = new PositionUniforms(7, 'set', 2);
  const last = backward.at(9);
  assert.deepEqual(Array.from({ length: 10 }, (_, i) => forward.at(i)), Array.from({ length: 10 }, (_, i) => backward.at(i)));
  assert.equal(forward.at(9), last);
  assert.notEqual(new PositionUniforms(7, 'set', 3).at(0), forward.at(0));
});

test('bad sampling options are named', () => {
  assert.throws(() => checkSampling({ temperature: -1, topK: 0, topP: 1 }), /temperature is -1/);
  assert.throws(() => checkSampling({ temperature: NaN, topK: 0, topP: 1 }), /temperature is NaN/);
  assert.throws(() => checkSampling({ temperature: 1, topK: 1.5, topP: 1 }), /top-k is 1.5/);
  assert.throws(() => checkSampling({ temperature: 1, topK: 0, topP: 0 }), /top-p is 0/);
});
