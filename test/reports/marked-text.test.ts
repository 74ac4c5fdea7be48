import assert from 'node:assert/strict';
import test from 'node:test';
import { markedTextWriter } from '../../src/reports/marked-text.js';

/** Tokens are bytes, so that a character may be spread over several. */
const decode = (ids: readonly number[]): string => Buffer.from(ids).toString('utf8');
const bytes = (text: string): number[] => [...Buffer.from(text)];

test('accepted drafts are marked, the target\'s own tokens are not, and a character spread over tokens is written once it is whole', () => {
  let written = '';
  const writer = markedTextWriter(decode, (text) => (written += text), 'brackets');
  writer.write(bytes('a'), 0);
  writer.write(bytes('bcd'), 2);
  const [first, second] = bytes('é');
  writer.write([...bytes('e'), first!], 1);
  assert.equal(written, 'a[bc]d[e]');
  writer.write([second!, ...bytes('f')], 1);
  writer.write([first!], 0);
  writer.end();
  assert.equal(written, 'a[bc]d[e][é]f\ufffd');
});
