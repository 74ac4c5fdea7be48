// Losslessness by statistics: over tens of thousands of decodings of a small random language model, the joint
// distribution of the first tokens is the model's own, whatever the drafter says. Fixed seeds.
import test from 'node:test';
import assert from 'node:assert/strict';
import { Random } from '../../src/random.js';
import { drawToken, warpLogits, type SamplingOptions } from '../../src/decoding/sampling.js';
import { buildDraftTree } from '../../src/decoding/draft-tree.js';
import { verifyByMatching, verifyByMatchingLazily, verifyBySampling, verifyTree } from '../../src/decoding/verification.js';

const vocabulary = 5;
const slots = 3;
const length = 3;

/** A language model that depends on the whole prefix, and a block drafter that knows only where the block starts. */
function makeModels(seed: number, options: SamplingOptions) {
  const logitsOf = (...labels: (string | number)[]): Float64Array => {
    const random = Random.fork(seed, ...labels);
    return Float64Array.from({ length: vocabulary }, () => 1.5 * random.normal());
  };
  const memo = new Map<string, Float64Array>();
  const remember = (key: string, make: () => Float64Array): Float64Array => {
    let value = memo.get(key);
    if (value === undefined) memo.set(key, (value = make()));
    return value;
  };
  return {
    target: (prefix: number[]) => remember(`t${prefix}`, () => warpLogits(logitsOf('target', ...prefix), options)),
    // Half the target's own taste, half noise: drafts are right often enough that every branch is taken.
    drafter: (prefix: number[], slot: number) =>
      remember(`d${prefix}/${slot}`, () => {
        const own = logitsOf('target', ...prefix);
        return warpLogits(logitsOf('drafter', slot, ...prefix).map((noise, i) => 0.5 * noise + 0.5 * own[i]!), options);
      }),
  };
}

/** The probability of every text of `length` tokens. */
function jointDistribution(target: (prefix: number[]) => Float64Array): Map<string, number> {
  let texts: { prefix: number[]; p: number }[] = [{ prefix: [], p: 1 }];
  for (let i = 0; i < length; i++) {
    texts = texts.flatMap(({ prefix, p }) => [...target(prefix)].map((q, token) => ({ prefix: [...prefix, token], p: p * q })));
  }
  return new Map(texts.filter(({ p }) => p > 0).map(({ prefix, p }) => [prefix.join(), p]));
}

/** Pearson's statistic as a standard normal deviate (Wilson and Hilferty); cells expected below 5 are pooled. */
function chiSquareDeviate(counts: Map<string, number>, expected: Map<string, number>, draws: number): number {
  for (const text of counts.keys()) assert.ok(expected.has(text), `the target never writes ${text}`);
  let statistic = 0;
  let cells = 0;
  let rest = { observed: 0, expected: 0 };
  for (const [text, p] of expected) {
    const cell = { observed: counts.get(text) ?? 0, expected: p * draws };
    if (cell.expected < 5) {
      rest = { observed: rest.observed + cell.observed, expected: rest.expected + cell.expected };
    } else {
      statistic += (cell.observed - cell.expected) ** 2 / cell.expected;
      cells++;
    }
  }
  if (rest.expected >= 5) {
    statistic += (rest.observed - rest.expected) ** 2 / rest.expected;
    cells++;
  }
  const freedom = cells - 1;
  return (Math.cbrt(statistic / freedom) - (1 - 2 / (9 * freedom))) / Math.sqrt(2 / (9 * freedom));
}

type Models = ReturnType<typeof makeModels>;
const rules: Record<string, (models: Models, prefix: number[], random: Random) => { accepted: number[]; next: number }> = {
  'matching the drafter\'s best tokens': (models, prefix, random) => {
    const drafted = Array.from({ length: slots }, (_, slot) => {
      const q = models.drafter(prefix, slot);
      return q.indexOf(Math.max(...q));
    });
    const verdict = verifyByMatchingLazily(drafted, (slot) =>
      drawToken(models.target([...prefix, ...drafted.slice(0, slot)]), random.next()));
    return { accepted: drafted.slice(0, verdict.acceptedDrafts), next: verdict.nextToken };
  },
  'speculative sampling': (models, prefix, random) => {
    const q = (slot: number) => models.drafter(prefix, slot);
    const drafted = Array.from({ length: slots }, (_, slot) => drawToken(q(slot), random.next()));
    const p = (slot: number) => models.target([...prefix, ...drafted.slice(0, slot)]);
    const verdict = verifyBySampling(drafted, q, p, () => random.next());
    return { accepted: drafted.slice(0, verdict.acceptedDrafts), next: verdict.nextToken };
  },
  'matching along a tree': (models, prefix, random) => {
    const rows = Array.from({ length: slots }, (_, slot) => {
      const q = models.drafter(prefix, slot);
      return [...q.keys()].sort((a, b) => q[b]! - q[a]!).map((token) => [token, Math.log(q[token]!)] as const);
    });
    const tree = buildDraftTree(0, {
      width: vocabulary,
      tokens: rows.flat().map(([token]) => token),
      logProbs: rows.flat().map(([, logProb]) => logProb),
    }, 6, vocabulary);
    const pathOf = (node: number): number[] => (node === 0 ? [] : [...pathOf(tree.parents[node]!), tree.tokens[node]!]);
    const verdict = verifyTree(tree.tokens, tree.parents, (node) => drawToken(models.target([...prefix, ...pathOf(node)]), random.next()));
    return { accepted: pathOf(verdict.path.at(-1)!), next: verdict.nextToken };
  },
};

for (const [name, rule] of Object.entries(rules)) {
  for (const options of [
    { temperature: 1, topK: 0, topP: 1 },
    { temperature: 0.7, topK: 4, topP: 0.9 },
  ]) {
    test(`${name} leaves the joint distribution of the first ${length} tokens as it is (${JSON.stringify(options)})`, () => {
      const models = makeModels(11, options);
      const random = new Random(2024);
      const draws = 40_000;
      const counts = new Map<string, number>();
      let drafts = 0;
      for (let draw = 0; draw < draws; draw++) {
        const text: number[] = [];
        while (text.length < length) {
          const { accepted, next } = rule(models, text, random);
          drafts += accepted.length;
          text.push(...accepted, next);
        }
        const key = text.slice(0, length).join();
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      const deviate = chiSquareDeviate(counts, jointDistribution(models.target), draws);
      assert.ok(drafts > draws / 4, `only ${drafts} drafts were accepted: the test would show little`);
      assert.ok(deviate < 3, `chi-square lies ${deviate.toFixed(2)} standard deviations above its mean`);
    });
  }
}

test('the chi-square test sees a verifier that accepts a little too much', () => {
  const models = makeModels(11, { temperature: 1, topK: 0, topP: 1 });
  const random = new Random(2024);
  const counts = new Map<string, number>();
  const draws = 40_000;
  for (let draw = 0; draw < draws; draw++) {
    const text: number[] = [];
    while (text.length < length) {
      const prefix = [...text];
      const q = (slot: number) => models.drafter(prefix, slot);
      const drafted = Array.from({ length: slots }, (_, slot) => drawToken(q(slot), random.next()));
      const p = (slot: number) => models.target([...prefix, ...drafted.slice(0, slot)]);
      const { acceptedDrafts, nextToken } = verifyBySampling(drafted, q, p, () => 0.9 * random.next());
      text.push(...drafted.slice(0, acceptedDrafts), nextToken);
    }
    const key = text.slice(0, length).join();
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  assert.ok(chiSquareDeviate(counts, jointDistribution(models.target), draws) > 10);
});

test('matching keeps the prefix that agrees and adds the target\'s token', () => {
  assert.deepEqual(verifyByMatching([4, 5, 6], [4, 5, 7, 8]), { acceptedDrafts: 2, nextToken: 7 });
  assert.deepEqual(verifyByMatching([4, 5, 6], [4, 5, 6, 8]), { acceptedDrafts: 3, nextToken: 8 });
  assert.deepEqual(verifyByMatching([], [9]), { acceptedDrafts: 0, nextToken: 9 });
  assert.deepEqual(verifyByMatchingLazily([4, 5, 6], (slot) => [4, 9, 6, 8][slot]!), { acceptedDrafts: 1, nextToken: 9 });
});

test('equal distributions accept every draft, disjoint ones none', () => {
  const random = new Random(5);
  const p = Float64Array.of(0.5, 0.5, 0);
  for (let i = 0; i < 100; i++) {
    assert.equal(verifyBySampling([0, 1], () => p, () => p, () => random.next()).acceptedDrafts, 2);
    const verdict = verifyBySampling([2], () => Float64Array.of(0, 0, 1), () => p, () => random.next());
    assert.equal(verdict.acceptedDrafts, 0);
    assert.ok(verdict.nextToken < 2);
  }
});
