import test from 'node:test';
import assert from 'node:assert/strict';
import { firstDifference, simulateWalk } from '../../src/decoding/simulation.js';

const text = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

test('the walk jumps by accepted drafts plus one', () => {
  const drafts: Record<number, number[]> = { 3: [4, 5, 0], 6: [7, 8, 9], 10: [0, 0, 0] };
  const rounds = simulateWalk(text, { start: 3, end: 11 }, (anchor) => drafts[anchor]!);
  assert.deepEqual(rounds.map(({ anchor, accepted }) => [anchor, accepted]), [[3, 3], [6, 4], [10, 1]]);
});

test('a round whose anchor stands before the limit is walked whole', () => {
  const rounds = simulateWalk(text, { start: 3, end: 4 }, (anchor) => [anchor + 1, anchor + 2, anchor + 3]);
  assert.deepEqual(rounds.map(({ anchor, accepted }) => [anchor, accepted]), [[3, 4]]);
});

test('the walk ends after the round in which a stop token is committed', () => {
  const draft = (anchor: number) => [anchor + 1, 0, 0];
  const stop = (token: number) => simulateWalk(text, { start: 3, end: 12 }, draft, new Set([token])).map(({ anchor }) => anchor);
  assert.deepEqual(stop(3), [3], 'the first token is seen after the first round');
  assert.deepEqual(stop(5), [3], 'the token that the target adds counts');
  assert.deepEqual(stop(6), [3, 5]);
  assert.deepEqual(stop(2), [3, 5, 7, 9, 11], 'a stop token in the prompt does not');
});

test('the first differing round is named', () => {
  const rounds = simulateWalk(text, { start: 3, end: 11 }, () => [0]);
  assert.equal(firstDifference(rounds, rounds), undefined);
  assert.equal(firstDifference(rounds, rounds.slice(0, 4)), 4);
  assert.equal(firstDifference(rounds, rounds.map((round, i) => (i === 2 ? { ...round, accepted: 2 } : round))), 2);
});
