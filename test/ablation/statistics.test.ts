import assert from 'node:assert/strict';
import { test } from 'node:test';
import { acceptedLengthBySeed, compareSamples, estimateAcceptedLength, type PromptTotals, type Sample } from '../../src/ablation/statistics.js';
import { Random } from '../../src/random.js';

/** A sample from a rule: tokens committed in ten rounds on a prompt. */
function sampleOf(seeds: number[], prompts: number, committed: (seed: number, prompt: number) => number): Sample {
  const totals = (seed: number) => new Map(Array.from({ length: prompts }, (_, prompt): [string, PromptTotals] => [`p${prompt}`, { committed: committed(seed, prompt), rounds: 10 }]));
  return new Map(seeds.map((seed) => [seed, new Map([['only', totals(seed)]])]));
}

test('the accepted length pools rounds, over seeds and prompts, and each seed has its own', () => {
  const sample: Sample = new Map([
    [1, new Map([['a', new Map([['x', { committed: 30, rounds: 10 }], ['y', { committed: 10, rounds: 10 }]])]])],
    [2, new Map([['a', new Map([['x', { committed: 20, rounds: 20 }], ['y', { committed: 40, rounds: 20 }]])]])],
  ]);
  assert.equal(estimateAcceptedLength(sample, ['a'], 100).value, 100 / 60);
  assert.deepEqual(acceptedLengthBySeed(sample, ['a']), [2, 1.5]);
});

test('a difference is paired: what prompts and seeds add to both sides does not widen it', () => {
  const noise = (seed: number, prompt: number) => 15 + 7 * (prompt % 5) + 3 * seed;
  const a = sampleOf([1, 2, 3], 20, (seed, prompt) => noise(seed, prompt) + 5);
  const b = sampleOf([1, 2, 3], 20, noise);
  const { difference } = compareSamples(a, b, ['only'], 300)!;
  assert.ok(Math.abs(difference.value - 0.5) < 1e-12);
  assert.ok(Math.abs(difference.interval!.low - 0.5) < 1e-12 && Math.abs(difference.interval!.high - 0.5) < 1e-12);
  const alone = estimateAcceptedLength(a, ['only'], 300).interval!;
  assert.ok(alone.high - alone.low > 0.5, 'the figure itself does vary');
  assert.deepEqual(compareSamples(a, a, ['only'], 100)!.lift, { value: 0, interval: { low: 0, high: 0 } });
});

test('intervals widen with seeds that disagree, even where all prompts agree', () => {
  const agreeing = estimateAcceptedLength(sampleOf([1, 2, 3], 30, () => 20), ['only'], 500).interval!;
  const disagreeing = estimateAcceptedLength(sampleOf([1, 2, 3], 30, (seed) => 10 + 10 * seed), ['only'], 500).interval!;
  assert.deepEqual(agreeing, { low: 2, high: 2 });
  // Three seeds can all be the lowest, or all but one the highest.
  assert.ok(disagreeing.low === 2 && disagreeing.high > 3.6, JSON.stringify(disagreeing));
});

test('intervals cover the truth about as often as they say', () => {
  let covered = 0;
  const studies = 120;
  for (let study = 0; study < studies; study++) {
    const random = Random.fork(study, 'coverage');
    const sample = sampleOf([1, 2, 3, 4, 5, 6], 40, () => 20 + random.int(21));
    const { low, high } = estimateAcceptedLength(sample, ['only'], 200).interval!;
    if (low <= 3 && 3 <= high) covered++;
  }
  // Crossed resampling is cautious where seeds and prompts add nothing of their own: at least 95%, not all.
  assert.ok(covered >= 0.93 * studies, `${covered} of ${studies}`);
});

test('only shared seeds are compared, a missing prompt is an error, and nothing accepted gives no lift', () => {
  const a = sampleOf([1, 2], 4, () => 20);
  const b = sampleOf([2, 3], 4, () => 10);
  const comparison = compareSamples(a, b, ['only'], 100)!;
  assert.equal(comparison.difference.value, 1);
  assert.equal(comparison.lift, null);
  assert.equal(compareSamples(sampleOf([1], 2, () => 20), sampleOf([2], 2, () => 20), ['only'], 100), null);
  const other: Sample = new Map([[1, new Map([['only', new Map([['p0', { committed: 1, rounds: 1 }]])]])], [2, new Map([['only', new Map()]])]]);
  assert.throws(() => estimateAcceptedLength(other, ['only'], 100), /seed 2 has no prompt p0 of only/);
});
