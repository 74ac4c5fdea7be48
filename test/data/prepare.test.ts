import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { openCache } from '../../data/arrow-cache.js';
import { parseInput, prepareTokens } from '../../data/prepare.js';
import { tokenizeCompletion, tokenizeConversation, tokenizeText, type SupervisedTokens } from '../../data/supervision.js';
import { loadTokenizer, type Tokenizer } from '../../data/tokenizer.js';
import { UserError } from '../../src/errors.js';
import { sharedPath } from '../shared-files.js';
import { inFolder } from './cache-fixtures.js';
import { fixtureTokenizer, templates } from './tokenizer-fixtures.js';

const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });

/** The sequence as text, its supervised stretches in brackets. */
function marked(tokenizer: Tokenizer, { inputIds, lossMask }: SupervisedTokens): string {
  let text = '';
  for (let i = 0; i < inputIds.length; i++) {
    if (lossMask[i] === 1 && lossMask[i - 1] !== 1) text += '[';
    text += tokenizer.decode([inputIds[i]!]);
    if (lossMask[i] === 1 && lossMask[i + 1] !== 1) text += ']';
  }
  return text;
}

test("the assistant's tokens are supervised through the end token; what the template adds after it is not", () =>
  inFolder(async (folder) => {
    const tokenizer = await fixtureTokenizer(folder, templates.chatml);
    const { sequences, way, pieced } = tokenizeConversation(tokenizer, [user('hi'), assistant('hello'), user('more'), assistant('ok'), user('left out')]);
    assert.deepEqual([way, pieced, sequences.length], ['whole', false, 1]);
    assert.equal(
      marked(tokenizer, sequences[0]!),
      '<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[hello<|im_end|>]\n<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n[ok<|im_end|>]\n',
    );
    assert.equal(sequences[0]!.promptLength, sequences[0]!.lossMask.indexOf(1));
    assert.deepEqual(sequences[0]!.inputIds, tokenizer.encode(tokenizer.applyChatTemplate([user('hi'), assistant('hello'), user('more'), assistant('ok')]), { addSpecialTokens: false }));
  }));

test('a question without an answer is all prompt and ends where the answer begins', () =>
  inFolder(async (folder) => {
    const tokenizer = await fixtureTokenizer(folder, templates.chatml);
    const { sequences } = tokenizeConversation(tokenizer, [user('hi')]);
    assert.equal(marked(tokenizer, sequences[0]!), '<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n');
    assert.equal(sequences[0]!.promptLength, sequences[0]!.inputIds.length);
  }));

test('a template that renders earlier answers differently gives one sequence an answer', () =>
  inFolder(async (folder) => {
    const tokenizer = await fixtureTokenizer(folder, templates.reasoning);
    const { sequences, way } = tokenizeConversation(tokenizer, [user('a'), assistant('<think>x</think>y'), user('b'), assistant('<think>z</think>w')]);
    assert.equal(way, 'split');
    assert.deepEqual(sequences.map((sequence) => marked(tokenizer, sequence)), [
      '<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[<think>x</think>y<|im_end|>]\n',
      '<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\ny<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n[<think>z</think>w<|im_end|>]\n',
    ]);
  }));

test('where the template hides the place of an answer, the answer and the end token follow the generation prompt', () =>
  inFolder(async (folder) => {
    const tokenizer = await fixtureTokenizer(folder, templates.opened);
    const { sequences, way } = tokenizeConversation(tokenizer, [user('a'), assistant('b')]);
    assert.equal(way, 'appended');
    assert.equal(marked(tokenizer, sequences[0]!), '<s>user: aassistant: <think>\n[b</s>]');
  }));

test('where an answer begins inside a token of the whole text, the prompt stays as it is tokenized when decoding', () =>
  inFolder(async (folder) => {
    const tokenizer = await fixtureTokenizer(folder, templates.strict);
    // ":" and " " of "assistant: b" are one token of the whole text.
    const { sequences, pieced } = tokenizeConversation(tokenizer, [user('a'), assistant(' b')]);
    assert.equal(pieced, true);
    assert.equal(marked(tokenizer, sequences[0]!), 'user:aassistant:[ b</s>]');
    const prompt = tokenizer.encode(tokenizer.applyChatTemplate([user('a')], { addGenerationPrompt: true }), { addSpecialTokens: false });
    assert.deepEqual(sequences[0]!.inputIds.slice(0, prompt.length), prompt);
  }));

test('without a template a completion follows its prompt, and text is cut at paragraphs', () =>
  inFolder(async (folder) => {
    const tokenizer = await fixtureTokenizer(folder);
    assert.equal(marked(tokenizer, tokenizeCompletion(tokenizer, 'hi', ' you').sequence), '<s>hi[ you]');
    assert.equal(tokenizeCompletion(tokenizer, 'a:', ' you').pieced, true);
    const text = `${'abcdefghij'}\n\n${'klmnopqrst'}\n\n${'u'.repeat(30)}\n`;
    const cut = [...tokenizeText(tokenizer, text, 28, 1)];
    assert.deepEqual(cut.map((sequence) => marked(tokenizer, sequence)), ['<s>[abcdefghij\n\nklmnopqrst]', `<s>[${'u'.repeat(27)}]`, `<s>[${'u'.repeat(3)}]`]);
    assert.equal(marked(tokenizer, [...tokenizeText(tokenizer, 'abcdef', 28, 4)][0]!), '<s>abc[def]');
  }));

async function writeRows(folder: string): Promise<string> {
  const file = join(folder, 'chats.jsonl');
  const rows = [
    { messages: [user('one'), assistant('first answer')] },
    { conversations: [{ from: 'human', value: 'two' }, { from: 'gpt', value: 'second' }], domain: 'maths' },
    '{"broken": ',
    { nothing: 1 },
    { messages: [assistant('not'), user('alternating')] },
    { prompt: 'three', completion: 'third one' },
    { turns: ['four', 'five'] },
    { messages: [user('p'.repeat(80)), assistant('x')] },
    { messages: [user('six'), assistant('y'.repeat(100))] },
  ];
  await writeFile(file, rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n'));
  return file;
}

test('prepared rows carry mask, domain and prompt length; every row left out has its line and reason', () =>
  inFolder(async (folder) => {
    const tokenizer = await fixtureTokenizer(join(folder, 'model'), templates.strict);
    const file = await writeRows(folder);
    const out = join(folder, 'tokens');
    const options = { tokenizer, inputs: [{ file, domain: 'chats' }], out, maxTokens: 64 };
    const report = await prepareTokens(options);
    assert.deepEqual([report.rowsRead, report.sequences, report.truncated, report.promptOnly, report.laterTurnsLeft], [9, 5, 1, 1, 1]);
    assert.deepEqual(report.domains, { chats: 4, maths: 1 });
    assert.deepEqual(report.problems.map(({ line }) => line), [3, 4, 5, 8]);
    assert.match(report.problems[2]!.reason, /the chat template refuses it: roles must alternate/);
    assert.match(report.problems[3]!.reason, /its prompt alone has \d+ tokens; --max-tokens is 64/);
    const cache = await openCache(out);
    assert.equal(cache.rowCount, 5);
    assert.equal(cache.metadata.tokenizer_fingerprint, tokenizer.fingerprint);
    const row = await cache.readRow(1);
    assert.equal(row.domain, 'maths');
    assert.equal(row.promptLength, row.lossMask.indexOf(1));
    assert.equal(tokenizer.decode([...row.inputIds]), 'user:twoassistant:second</s>');
    assert.equal((await cache.readRow(4)).inputIds.length, 64);
  }));

test('the same preparation is not done twice; another one into the same folder is refused; a half-made one is made anew', () =>
  inFolder(async (folder) => {
    const tokenizer = await fixtureTokenizer(join(folder, 'model'), templates.chatml);
    const file = await writeRows(folder);
    const out = join(folder, 'tokens');
    const options = { tokenizer, inputs: [{ file, domain: 'chats' }], out, maxTokens: 128 };
    const report = await prepareTokens(options);
    const manifest = await readFile(join(out, 'manifest.json'), 'utf8');
    assert.deepEqual(await prepareTokens(options), report);
    await assert.rejects(prepareTokens({ ...options, maxTokens: 100 }), (error) => error instanceof UserError && /in another way \(source differ\)/.test(error.message));
    await writeFile(join(out, 'manifest.json'), manifest.replace('"complete": true', '"complete": false'));
    await rm(join(out, 'report.json'));
    assert.deepEqual(await prepareTokens(options), report);
    assert.equal(await readFile(join(out, 'manifest.json'), 'utf8'), manifest);
  }));

test('held-out rows are chosen by their content: never on both sides, whatever else is read', () =>
  inFolder(async (folder) => {
    const tokenizer = await fixtureTokenizer(join(folder, 'model'), templates.chatml);
    const file = join(folder, 'rows.jsonl');
    const rows = Array.from({ length: 200 }, (_, i) => JSON.stringify({ prompt: `question ${i % 150}`, completion: `answer ${i % 150}` }));
    await writeFile(file, rows.join('\n'));
    const report = await prepareTokens({ tokenizer, inputs: [{ file, domain: 'x' }], out: join(folder, 'a'), heldOut: 0.25 });
    assert.equal(report.sequences + report.heldOutSequences, 200);
    assert.ok(report.heldOutSequences > 20 && report.heldOutSequences < 80, `${report.heldOutSequences} of 200`);
    const texts = async (path: string): Promise<Set<string>> => {
      const cache = await openCache(path);
      return new Set(await Promise.all(Array.from({ length: cache.rowCount }, async (_, i) => (await cache.readRow(i)).inputIds.join())));
    };
    const kept = await texts(join(folder, 'a'));
    for (const row of await texts(join(folder, 'a', 'held-out'))) assert.ok(!kept.has(row));
  }));

test('nothing usable, no template for conversations, and impossible options are errors that say what to do', () =>
  inFolder(async (folder) => {
    const tokenizer = await fixtureTokenizer(join(folder, 'model'));
    const file = join(folder, 'rows.jsonl');
    await writeFile(file, '{"messages": [{"role": "user", "content": "x"}]}\n');
    const options = { tokenizer, inputs: [{ file, domain: 'x' }], out: join(folder, 'out') };
    await assert.rejects(prepareTokens(options), /no sequence could be made.*\n.*rows\.jsonl:1: is a conversation, but the tokenizer has no chat template/s);
    await assert.rejects(prepareTokens({ ...options, format: 'chat' }), /has no chat template/);
    await assert.rejects(prepareTokens({ ...options, heldOut: 1 }), /--held-out is 1/);
    await assert.rejects(prepareTokens({ ...options, inputs: [] }), /no input file/);
    await assert.rejects(prepareTokens({ ...options, inputs: [{ file: join(folder, 'no'), domain: 'x' }] }), /there is no file .*no$/);
    assert.deepEqual(parseInput('maths=a/b.jsonl'), { domain: 'maths', file: 'a/b.jsonl' });
    assert.deepEqual(parseInput('a/gsm8k_train.jsonl.gz'), { domain: 'gsm8k_train', file: 'a/gsm8k_train.jsonl.gz' });
  }));

test('stories become sequences that fit, and hold all of the text', { skip: sharedPath('text') ? false : 'needs ../shared (test material, absent here)' }, () =>
  inFolder(async (folder) => {
    const tokenizer = await loadTokenizer(sharedPath('models/tinystories-656K')!);
    const file = join(folder, 'stories.txt');
    const text = (await readFile(sharedPath('text/tinystories_197k.txt')!, 'utf8')).slice(0, 20_000);
    await writeFile(file, text);
    const report = await prepareTokens({ tokenizer, inputs: [{ file, domain: 'stories' }], out: join(folder, 'out'), maxTokens: 128 });
    assert.ok(report.longest <= 128 && report.tokens / report.sequences > 80, `${report.tokens} tokens in ${report.sequences} sequences`);
    const cache = await openCache(join(folder, 'out'));
    let read = '';
    for (let i = 0; i < cache.rowCount; i++) read += tokenizer.decode((await cache.readRow(i)).inputIds, { skipSpecialTokens: true });
    assert.equal(read.replace(/\s/g, ''), text.replace(/\s/g, ''));
  }));
