import test from 'node:test';
import assert from 'node:assert/strict';
import type { TargetConfig } from '../../src/models/target-config.js';
import { loadTokenizer } from '../../data/tokenizer.js';
import { chooseMaskToken, type KnownTokens } from '../../src/training/mask-token.js';
import { needsShared, sharedPath } from '../shared-files.js';

const target = (partial: Partial<TargetConfig>) => ({ vocabSize: 100, eosTokenIds: [2], bosTokenId: 1, ...partial }) as TargetConfig;
const tokens = (contents: Record<number, string>, size = 100, pad?: number): KnownTokens => ({
  addedTokens: Object.entries(contents).map(([id, content]) => ({ id: Number(id), content, special: true })),
  size,
  specialIds: { stop: [], pad },
});

test('the mask token is the one called so, else an unused id, a reserved token, the unknown token, the begin token', () => {
  const choose = (known: KnownTokens | undefined, partial: Partial<TargetConfig> = {}) => chooseMaskToken(target(partial), known).id;
  assert.equal(choose(tokens({ 0: '<unk>', 7: '<|mask|>', 8: '<|reserved_special_token_0|>' }, 90)), 7);
  assert.equal(choose(tokens({ 0: '<unk>', 8: '<|reserved_special_token_0|>' }, 90)), 90);
  assert.equal(choose(tokens({ 0: '<unk>', 9: '<|reserved_special_token_1|>', 8: '<|reserved_special_token_0|>' })), 8);
  assert.equal(choose(tokens({ 0: '<unk>', 1: '<s>', 2: '</s>' })), 0);
  assert.equal(choose(tokens({ 0: '<unk>', 1: '<s>' }, 100, 0)), 1);
  assert.equal(choose(tokens({ 0: '<unk>' }), { padTokenId: 0 }), 1);
  assert.equal(choose(undefined), 1);
});

test('end and padding tokens are never taken for the mask', () => {
  assert.throws(() => chooseMaskToken(target({ eosTokenIds: [1, 0] }), tokens({ 0: '<unk>' })), /Set drafter\.maskTokenId to an id below 100/);
});

test('real tokenizers give a mask token that is neither end nor padding', needsShared('models/stories-260K', 'models/tinystories-656K'), async () => {
  const stories = await loadTokenizer(sharedPath('models/stories-260K')!);
  assert.equal(chooseMaskToken(target({ vocabSize: 512 }), stories).id, 0);
  const tiny = await loadTokenizer(sharedPath('models/tinystories-656K')!);
  assert.equal(chooseMaskToken(target({ vocabSize: 2048 }), tiny).id, 1);
});
