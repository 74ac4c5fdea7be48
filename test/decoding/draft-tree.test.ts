import test from 'node:test';
import assert from 'node:assert/strict';
import { Random } from '../../src/random.js';
import { buildDraftTree, treeMask } from '../../src/decoding/draft-tree.js';

/** J rows of `width` candidates with random log-probabilities, most likely first. */
function randomCandidates(random: Random, slots: number, width: number) {
  const logProbs: number[] = [];
  for (let slot = 0; slot < slots; slot++) {
    const row = Array.from({ length: width }, () => Math.exp(2 * random.normal()));
    const sum = row.reduce((a, b) => a + b);
    logProbs.push(...row.sort((a, b) => b - a).map((weight) => Math.log(weight / sum)));
  }
  return { width, tokens: logProbs.map((_, i) => i % width), logProbs };
}

test('the tree holds the n likeliest of all paths, best first', () => {
  const random = new Random(1);
  for (let trial = 0; trial < 50; trial++) {
    const [slots, width] = [3, 4];
    const candidates = randomCandidates(random, slots, width);
    const all: number[] = [];
    const visit = (depth: number, logProb: number): void => {
      if (depth > 0) all.push(logProb);
      if (depth === slots) return;
      for (let rank = 0; rank < width; rank++) visit(depth + 1, logProb + candidates.logProbs[depth * width + rank]!);
    };
    visit(0, 0);
    all.sort((a, b) => b - a);
    const count = 1 + random.int(20);
    const tree = buildDraftTree(9, candidates, count, width);
    assert.equal(tree.tokens.length, count + 1);
    [...tree.logProbs.slice(1)].forEach((logProb, i) => assert.ok(Math.abs(logProb - all[i]!) < 1e-12));
  }
});

test('parents stand before children, depths count from the anchor, no two children of a node share a token', () => {
  const tree = buildDraftTree(9, randomCandidates(new Random(2), 5, 40), 40);
  assert.equal(tree.tokens[0], 9);
  const seen = new Set<string>();
  for (let node = 1; node < tree.tokens.length; node++) {
    const parent = tree.parents[node]!;
    assert.ok(parent < node);
    assert.equal(tree.depths[node], tree.depths[parent]! + 1);
    assert.ok(tree.depths[node]! <= 5);
    assert.ok(!seen.has(`${parent}:${tree.tokens[node]}`));
    seen.add(`${parent}:${tree.tokens[node]}`);
  }
});

test('a block with fewer paths than nodes gives them all; too few candidates are refused', () => {
  assert.equal(buildDraftTree(0, { width: 2, tokens: [0, 1, 0, 1], logProbs: [-0.1, -2, -0.3, -3] }, 100, 2).tokens.length, 1 + 2 + 4);
  assert.equal(buildDraftTree(0, { width: 1, tokens: [], logProbs: [] }, 1).tokens.length, 1);
  assert.throws(() => buildDraftTree(0, { width: 2, tokens: [0, 1], logProbs: [-1, -2] }, 5), /needs 5 candidates a slot, got 2/);
});

test('a node sees itself and its ancestors; padding rows see themselves', () => {
  assert.deepEqual([...treeMask([-1, 0, 0, 1], 5)], [
    1, 0, 0, 0, 0,
    1, 1, 0, 0, 0,
    1, 0, 1, 0, 0,
    1, 1, 0, 1, 0,
    0, 0, 0, 0, 1,
  ]);
});
