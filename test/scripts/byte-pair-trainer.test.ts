// The tokenizer trainer: what it learns, and that the files it writes are read by the tokenizer library as meant.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Tokenizer } from '@huggingface/tokenizers';
import { byteAlphabet, tokenizerJson, trainBytePairs } from '../../scripts/byte-pair-trainer.js';

test('the most frequent pair is merged first, ties by code-unit order, and no merge crosses a word', () => {
  const { merges } = trainBytePairs(['ab ab ab cd cd', ' ab'], 256 + 4);
  assert.deepEqual(merges[0], ['a', 'b']);
  assert.deepEqual(merges.slice(1, 4), [['Ġ', 'ab'], ['c', 'd'], ['Ġ', 'cd']]);
});

test('too little text for the vocabulary is an error that says how far it got', () => {
  assert.throws(() => trainBytePairs(['ab ab'], 400), /gives only 25\d tokens, 400 were asked for/);
});

test('the byte alphabet is a bijection onto printable characters', () => {
  const alphabet = byteAlphabet();
  assert.equal(new Set(alphabet).size, 256);
  assert.equal(alphabet[32], 'Ġ');
  assert.equal(alphabet[10], 'Ċ');
  assert.equal(alphabet['A'.charCodeAt(0)], 'A');
});

test('any text comes back from its tokens, digits stay single, special tokens get the last ids', () => {
  const pairs = trainBytePairs(['one two three 1234 1234 and "quotes" and\nlines\n\n and lines'], 256 + 6);
  const tokenizer = new Tokenizer(tokenizerJson(pairs, ['<|end|>']), { eos_token: '<|end|>' });
  for (const text of ['one two 12345', 'naïve café 日本 🦊\t\n  x', '<|end|>and lines', "it's WE'LL"]) {
    const ids = tokenizer.encode(text).ids as number[];
    assert.equal(tokenizer.decode(ids, { skip_special_tokens: false, clean_up_tokenization_spaces: false }), text);
    assert.ok(ids.every((id) => id >= 0 && id <= 256 + 6));
  }
  assert.equal(tokenizer.encode('1234').ids.length, 4);
  assert.equal(tokenizer.encode('<|end|>').ids[0], 256 + 6);
});
