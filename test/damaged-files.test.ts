// Files that once crashed, hung or were reported by a stack trace, each found by the fuzzer (test/faults/): now refused by name.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { loadTokenizer } from '../data/tokenizer.js';
import { loadConfig } from '../src/config/load.js';
import { UserError } from '../src/errors.js';
import { parseDrafterConfig } from '../src/models/drafter-config.js';
import { openAllSafetensors, openSafetensors, writeSafetensors } from '../src/models/safetensors.js';
import { parseTargetConfig } from '../src/models/target-config.js';
import { parseState } from '../src/training/checkpoints.js';
import { findDrafter } from '../src/training/drafter-source.js';
import { readRunConfig } from '../src/training/run-folder.js';
import { isWindow } from '../src/training/run-record.js';
import { inFolder } from './data/cache-fixtures.js';
import { tokenizerJson } from './data/tokenizer-fixtures.js';

const refused = (pattern: RegExp) => (error: unknown) => error instanceof UserError && pattern.test(error.message);

function writeHeader(path: string, header: string): void {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
  writeFileSync(path, Buffer.concat([length, Buffer.from(header)]));
}

test('brackets and quotes inside the texts of a safetensors header end the search for doubled keys, and doubled keys are found however they are written', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'a.safetensors');
    writeHeader(path, '{"a]": {"shape": ["]", "\\"["]}, "b": 1}');
    await assert.rejects(openSafetensors(path), refused(/tensor "a\]" has dtype undefined/));
    const entry = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}';
    writeHeader(path, `{"w":${entry},"\\u0077":${entry}}`);
    await assert.rejects(openSafetensors(path), refused(/the key "w" stands twice/));
    writeHeader(path, `{"w":${entry},"__metadata__":{"w":"w","x":"]{"}}`);
    const file = await openSafetensors(path);
    assert.deepEqual(file.metadata, { w: 'w', x: ']{' });
    await file.close();
  }));

test('of several files, none stays open where one is broken', { skip: process.platform === 'linux' ? false : 'needs /proc' }, () =>
  inFolder(async (folder) => {
    const [good, bad] = [join(folder, 'good.safetensors'), join(folder, 'bad.safetensors')];
    await writeSafetensors(good, [{ name: 'a', shape: [1], dtype: 'F32', data: Float32Array.of(1) }]);
    writeFileSync(bad, 'too short');
    const before = readdirSync('/proc/self/fd').length;
    await assert.rejects(openAllSafetensors([good, good, bad]), refused(/bad\.safetensors is not a valid/));
    assert.equal(readdirSync('/proc/self/fd').length, before);
  }));

test('configs that claim billions of layers or slots are refused before their tensors are listed', () => {
  const huge = { architectures: ['LlamaForCausalLM'], num_hidden_layers: 2 ** 31 - 1, vocab_size: 8, hidden_size: 8, intermediate_size: 8, num_attention_heads: 1 };
  assert.throws(() => parseTargetConfig(huge, 'config.json'), refused(/"num_hidden_layers" is 2147483647; it must be a positive integer, at most 4096/));
  const { problems } = parseDrafterConfig({ num_hidden_layers: 1e9, block_size: 2 ** 31 }, 'config.json');
  assert.ok(problems.some((problem) => /num_hidden_layers.*1000000000/.test(problem)) && problems.some((problem) => /block_size.*2147483648/.test(problem)), problems.join('\n'));
});

test('a tokenizer of hundreds of steps is refused, since each may double a text', () =>
  inFolder(async (folder) => {
    const steps = Array.from({ length: 300 }, () => ({ type: 'ByteLevel', add_prefix_space: false, use_regex: false }));
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({ ...tokenizerJson(), pre_tokenizer: { type: 'Sequence', pretokenizers: steps } }));
    await assert.rejects(loadTokenizer(folder), refused(/pre_tokenizer is "a sequence of 301 steps"; expected at most 16/));
    const text = JSON.stringify({ ...tokenizerJson(), decoder: { type: 'Sequence', decoders: 'deep' } });
    writeFileSync(join(folder, 'tokenizer.json'), text.replace('"deep"', '['.repeat(50_000) + ']'.repeat(50_000)));
    await assert.rejects(loadTokenizer(folder), UserError);
  }));

test('a run config that holds itself, or is no YAML, is refused with its file', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'config.yaml');
    writeFileSync(path, 'target: &a [*a, *a]\n');
    await assert.rejects(loadConfig(path), refused(/config\.yaml is not valid YAML: .*circular/s));
    writeFileSync(path, 'target: demo\n  data: {\n');
    await assert.rejects(readRunConfig(folder), refused(/config\.yaml is not valid YAML:\n.*config\.yaml:\d+/));
  }));

test("a checkpoint's state that names files elsewhere, or nothing, is refused", () =>
  inFolder(async (folder) => {
    const file = { sha256: 'f'.repeat(64), bytes: 1 };
    for (const [state, message] of [
      ['null', /format version undefined/],
      ['{"formatVersion":1,"step":-1}', /names no step/],
      ['{"formatVersion":1,"step":1,"files":null}', /names no files/],
      [JSON.stringify({ formatVersion: 1, step: 1, files: { '../../secret': file } }), /wrong entry for the file "\.\.\/\.\.\/secret"/],
      [JSON.stringify({ formatVersion: 1, step: 1, files: { '/etc/passwd': file } }), /wrong entry/],
      [JSON.stringify({ formatVersion: 1, step: 1, files: { a: null } }), /wrong entry/],
    ] as const) {
      assert.throws(() => parseState(state), message, state);
    }
    mkdirSync(join(folder, 'drafter'));
    writeFileSync(join(folder, 'drafter/config.json'), '{}');
    writeFileSync(join(folder, 'state.json'), '{"formatVersion": 1,');
    await assert.rejects(findDrafter(folder), refused(/is broken/));
    assert.ok(!isWindow({ steps: 1, skipped: 0, sums: null, slotCorrect: [], slotValid: [] }));
    assert.ok(isWindow({ steps: 1, skipped: 0, sums: { loss: 1 }, slotCorrect: [1], slotValid: [2] }));
  }));

test('a message of megabytes is shown by its beginning and end', () => {
  const { message } = new UserError(`"x" is ${'y'.repeat(1e6)}; expected z\n${'line\n'.repeat(500)}`);
  assert.ok(message.length < 5000 && message.startsWith('"x" is yyy') && message.includes('; expected z\n') && /and \d+ lines more$/.test(message));
});
