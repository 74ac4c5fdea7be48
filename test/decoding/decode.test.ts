// The loops on table-driven models: a target that hashes its whole prefix, a drafter that is right by chance. Whatever
// the drafts, stops and limits, the output is the target's own.
import test from 'node:test';
import assert from 'node:assert/strict';
import { Random } from '../../src/random.js';
import { argmax } from '../../src/decoding/sampling.js';
import { decodeSpeculative, decodeTarget } from '../../src/decoding/decode.js';
import { summarizeAcceptance } from '../../src/decoding/acceptance.js';
import { simulateWalk } from '../../src/decoding/simulation.js';
import { TableSteps, vocabSize } from './table-steps.js';

const variants = [
  { name: 'greedy chain', options: {} },
  { name: 'greedy tree', options: { treeNodes: 9 } },
  { name: 'sampled, chain matched', options: { sampling: { temperature: 0.9, topK: 5, topP: 0.95 } } },
  { name: 'sampled, tree matched', options: { treeNodes: 7, sampling: { temperature: 1.1, topK: 0, topP: 1 } } },
];

for (const { name, options } of variants) {
  test(`${name}: the output is what the target alone writes, at any length, stop token and block size`, () => {
    for (let trial = 0; trial < 150; trial++) {
      const random = Random.fork(trial, 'trial');
      const steps = new TableSteps(1 + random.int(6), trial, random.next());
      const prompt = Int32Array.from({ length: 1 + random.int(5) }, () => random.int(vocabSize));
      const shared = {
        ...options,
        maxNewTokens: random.int(30),
        stopTokens: new Set(trial % 2 ? [random.int(vocabSize)] : []),
        seed: [trial, 'prompt'] as [number, string],
      };
      const pieces: number[] = [];
      const speculative = decodeSpeculative(steps, prompt, { ...shared, onCommit: (tokens) => pieces.push(...tokens) });
      const alone = decodeTarget(steps, prompt, { ...shared, beyond: steps.blockSize });
      assert.deepEqual(speculative.outputIds, alone.outputIds);
      assert.deepEqual(pieces, speculative.outputIds, 'what was streamed is what was returned');
      assert.equal(speculative.stopped, alone.stopped);
      assert.equal(speculative.committedIds.length, 1 + speculative.rounds.reduce((sum, round) => sum + round.accepted, 0));
      assert.deepEqual(speculative.committedIds.slice(0, alone.committedIds.length), alone.committedIds.slice(0, speculative.committedIds.length));
      for (const round of speculative.rounds) assert.ok(round.accepted >= 1 && round.accepted <= steps.blockSize);
    }
  });
}

test('greedy rounds equal the simulated walk over the target\'s own text, round by round', () => {
  for (let trial = 0; trial < 100; trial++) {
    const random = Random.fork(trial, 'walk');
    const steps = new TableSteps(2 + random.int(5), trial, 0.8);
    const prompt = Int32Array.from({ length: 1 + random.int(5) }, () => random.int(vocabSize));
    const stopTokens = new Set(trial % 2 ? [random.int(vocabSize)] : []);
    const options = { maxNewTokens: 1 + random.int(30), stopTokens };
    const decoded = decodeSpeculative(steps, prompt, options);
    const alone = decodeTarget(steps, prompt, { ...options, beyond: steps.blockSize });
    const text = [...prompt, ...alone.committedIds];
    const simulated = simulateWalk(text, { start: prompt.length, end: prompt.length + options.maxNewTokens }, (anchor) =>
      Int32Array.from({ length: steps.blockSize - 1 }, (_, j) => argmax(steps.draftLogits(text.slice(0, anchor + 1), j + 1))), stopTokens);
    assert.deepEqual(simulated, decoded.rounds);
  }
});

test('the last rounds count whole, and a round runs whenever its anchor stands before the limit', () => {
  const steps = new TableSteps(4, 1, 1); // always right
  const rounds = (maxNewTokens: number) => decodeSpeculative(steps, Int32Array.of(1), { maxNewTokens }).rounds.map((round) => round.accepted);
  assert.deepEqual(rounds(0), []);
  assert.deepEqual(rounds(1), [4]);
  assert.deepEqual(rounds(4), [4]);
  assert.deepEqual(rounds(5), [4, 4]);
});

test('a tree accepts at least what its best chain would, from the same drafter', () => {
  const figures = [0, 12].map((treeNodes) => {
    const traces = Array.from({ length: 40 }, (_, seed) => {
      const steps = new TableSteps(5, seed, 0.3);
      const decoded = decodeSpeculative(steps, Int32Array.of(1, 2), { maxNewTokens: 40, treeNodes });
      return { tokens: decoded.committedIds, firstPosition: 2, rounds: decoded.rounds };
    });
    return summarizeAcceptance(traces).acceptedLength;
  });
  assert.ok(figures[1]! > figures[0]!, `${figures}`);
});

test('speculative sampling keeps its text at equal seeds and refuses trees', () => {
  const steps = new TableSteps(4, 3, 0.7);
  const options = { maxNewTokens: 20, sampling: { temperature: 1, topK: 0, topP: 1 }, verifier: 'sample' as const, seed: [5] as [number] };
  const once = decodeSpeculative(steps, Int32Array.of(1), options).outputIds;
  assert.deepEqual(decodeSpeculative(steps, Int32Array.of(1), options).outputIds, once);
  assert.notDeepEqual(decodeSpeculative(steps, Int32Array.of(1), { ...options, seed: [6] }).outputIds, once);
  assert.throws(() => decodeSpeculative(steps, Int32Array.of(1), { ...options, treeNodes: 4 }), /one chain/);
});
