import test from 'node:test';
import assert from 'node:assert/strict';
import { bootstrapAcceptedLength, bootstrapDifference, summarizeAcceptance, type AcceptanceTrace } from '../../src/decoding/acceptance.js';

// Text 10..19 from position 5 on. Round 1 at 5: drafts 11 (right), 99, 13 (right, wasted). Round 2 at 7: all right.
// Round 3 at 11: first wrong, then right, then right.
const trace: AcceptanceTrace = {
  tokens: [10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
  firstPosition: 5,
  rounds: [
    { anchor: 5, drafted: [11, 99, 13], accepted: 2 },
    { anchor: 7, drafted: [13, 14, 15], accepted: 4 },
    { anchor: 11, drafted: [99, 18, 19], accepted: 1 },
  ],
};

test('figures of a trace worked out by hand', () => {
  const summary = summarizeAcceptance([trace]);
  assert.equal(summary.rounds, 3);
  assert.equal(summary.committedTokens, 7);
  assert.equal(summary.acceptedLength, 7 / 3);
  assert.equal(summary.acceptedDrafts, 7 / 3 - 1);
  assert.deepEqual(summary.histogram, [0, 1, 1, 0, 1]);
  assert.equal(summary.correctDrafts, 1 + 1 + 3 + 2);
  assert.equal(summary.wastedDrafts, 3);
  assert.equal(summary.waste, 3 / 7);
  assert.deepEqual(summary.slots.map((slot) => slot.survival), [2 / 3, 1 / 3, 1 / 3]);
  assert.deepEqual(summary.slots.map((slot) => slot.conditionalAccuracy), [2 / 3, 1 / 2, 1]);
  assert.deepEqual(summary.slots.map((slot) => slot.accuracy), [2 / 3, 2 / 3, 1]);
  const sum = summary.slots.reduce((total, slot) => total + slot.survival, 1);
  assert.ok(Math.abs(sum - summary.acceptedLength) < 1e-12, 'accepted length is one plus the survival of every slot');
});

test('drafts beyond the known text count neither as right nor as wrong', () => {
  const summary = summarizeAcceptance([{ ...trace, tokens: [10, 11, 12], rounds: [trace.rounds[0]!] }]);
  assert.equal(summary.correctDrafts, 1);
  assert.deepEqual(summary.slots.map((slot) => slot.accuracy), [1, 0, null]);
});

test('pooled accepted length weighs rounds, the mean of text means weighs texts', () => {
  const one = { tokens: [], firstPosition: 0, rounds: [{ anchor: 0, drafted: [1, 2, 3], accepted: 4 }] };
  const summary = summarizeAcceptance([trace, one]);
  assert.equal(summary.acceptedLength, 11 / 4);
  assert.equal(summary.meanOfTextMeans, (7 / 3 + 4) / 2);
});

test('nothing measured gives zeros and nulls, no NaN', () => {
  const summary = summarizeAcceptance([], { bootstrap: { resamples: 10, seed: 0 } });
  assert.equal(summary.acceptedLength, 0);
  assert.equal(summary.waste, null);
  assert.equal(summary.acceptedLengthInterval, null);
  assert.ok(!JSON.stringify(summary).includes('NaN'));
});

const texts = (count: number, extra: number): AcceptanceTrace[] =>
  Array.from({ length: count }, (_, group) => ({
    group,
    tokens: [],
    firstPosition: 0,
    rounds: Array.from({ length: 5 }, (_, i) => ({ anchor: i, drafted: [0, 0, 0, 0, 0, 0, 0], accepted: 1 + ((group * 7 + i) % 5) + extra })),
  }));

test('the interval holds the figure, is the same at equal seeds, and narrows with more prompts', () => {
  const options = { resamples: 2000, seed: 4 };
  const few = bootstrapAcceptedLength(texts(8, 0).map((text, i) => ({ ...text, rounds: text.rounds.slice(0, 1 + (i % 5)) })), options)!;
  const many = bootstrapAcceptedLength(texts(200, 0).map((text, i) => ({ ...text, rounds: text.rounds.slice(0, 1 + (i % 5)) })), options)!;
  assert.ok(many.high - many.low < few.high - few.low);
  assert.ok(few.low < few.high);
  assert.deepEqual(bootstrapAcceptedLength(texts(8, 0), options), bootstrapAcceptedLength(texts(8, 0), options));
  assert.equal(bootstrapAcceptedLength(texts(1, 0), options), null);
});

test('a paired difference is sharp where the two differ by the same on every prompt', () => {
  const interval = bootstrapDifference(texts(20, 1), texts(20, 0), { resamples: 500, seed: 1 })!;
  assert.ok(Math.abs(interval.low - 1) < 1e-9 && Math.abs(interval.high - 1) < 1e-9);
});
