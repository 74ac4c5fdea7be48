import assert from 'node:assert/strict';
import test from 'node:test';
import { anchorCandidates, labelBlocks, sampleAnchors } from '../../data/anchors.js';
import { Random } from '../../src/random.js';

test('an anchor and its first label are both supervised, and the last token is never an anchor', () => {
  assert.deepEqual([...anchorCandidates(Uint8Array.of(0, 1, 1, 0, 1, 0, 1, 1, 1))], [1, 6, 7]);
  assert.deepEqual([...anchorCandidates(Uint8Array.of())], []);
});

test('anchors are different, ascending, of the asked number, and drawn evenly', () => {
  const mask = new Uint8Array(41).fill(1);
  const hits = new Float64Array(41);
  for (let seed = 0; seed < 4000; seed++) {
    const anchors = sampleAnchors(mask, 8, new Random(seed));
    assert.equal(anchors.length, 8);
    for (let i = 1; i < 8; i++) assert.ok(anchors[i]! > anchors[i - 1]!);
    for (const anchor of anchors) hits[anchor]! += 1;
  }
  // 800 expected each, standard deviation 25.
  for (let a = 0; a < 40; a++) assert.ok(Math.abs(hits[a]! - 800) < 130, `position ${a} was drawn ${hits[a]} times`);
  assert.equal(hits[40], 0);
});

test('a sequence with fewer possible anchors gives all of them', () => {
  assert.deepEqual([...sampleAnchors(Uint8Array.of(0, 1, 1, 1), 8, new Random(1))], [1, 2]);
});

test('slot k predicts token a + k; validity ends at the end, and at the first unsupervised token for good', () => {
  const ids = Int32Array.of(10, 11, 12, 13, 14, 15, 16, 17);
  const mask = Uint8Array.of(0, 1, 1, 1, 0, 1, 1, 1);
  const labels = new Int32Array(3 * 4);
  const valid = new Float32Array(3 * 4);
  labelBlocks(Int32Array.of(1, 5), ids, mask, 5, labels, valid, 1);
  assert.deepEqual([...labels], [0, 0, 0, 0, 12, 13, 0, 0, 16, 17, 0, 0]);
  assert.deepEqual([...valid], [0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0]);
});
