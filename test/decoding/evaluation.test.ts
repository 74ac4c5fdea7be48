import test from 'node:test';
import assert from 'node:assert/strict';
import { evaluateAcceptance } from '../../src/decoding/evaluation.js';
import { evaluationDocument, formatDocument, type EvaluationContext } from '../../src/decoding/evaluation-json.js';
import { formatEvaluation } from '../../src/decoding/evaluation-table.js';
import { encodePromptSet, type PromptTokenizer } from '../../src/decoding/prompt-encoding.js';
import { argmax } from '../../src/decoding/sampling.js';
import { simulateWalk } from '../../src/decoding/simulation.js';
import { TableSteps, vocabSize } from './table-steps.js';

const promptSets = () => [
  encodePromptSet('one', Array.from({ length: 6 }, (_, i) => ({ id: `a${i}`, promptIds: [i % vocabSize, 1, 2] })), undefined),
  encodePromptSet('two', Array.from({ length: 4 }, (_, i) => ({ id: `b${i}`, promptIds: [5, i % vocabSize] })), undefined),
];
const options = { maxNewTokens: 25, stopTokens: [0], resamples: 200 };

/** The simulated walk on the table's models. */
const simulate = (steps: TableSteps): NonNullable<Parameters<typeof evaluateAcceptance>[0]['simulate']> => (text, span, stopTokens) =>
  simulateWalk(text, span, (anchor) =>
    Int32Array.from({ length: steps.blockSize - 1 }, (_, j) => argmax(steps.draftLogits([...text.subarray(0, anchor + 1)], j + 1))), stopTokens);

test('sets are summed up apart and together, and the check finds nothing to complain about', async () => {
  const steps = new TableSteps(5, 1, 0.8);
  const progress: number[] = [];
  const result = await evaluateAcceptance({ steps, promptSets: promptSets(), options, simulate: simulate(steps), onProgress: ({ done }) => progress.push(done) });
  assert.deepEqual(progress, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.deepEqual(result.mismatches, []);
  assert.equal(result.totals.identical, true);
  assert.equal(result.totals.prompts, 10);
  const [one, two] = result.sets.map((set) => set.totals);
  assert.equal(one!.rounds + two!.rounds, result.totals.rounds);
  assert.equal(one!.committedTokens + two!.committedTokens, result.totals.committedTokens);
  const lengths = result.texts.flatMap((text) => text.acceptedLengths);
  assert.equal(result.totals.acceptedLength, lengths.reduce((a, b) => a + b) / lengths.length);
  const { speed } = result.totals;
  assert.ok(Math.abs(speed.draftShare + speed.verifyShare + speed.restShare - 1) < 1e-9);
  assert.ok(result.totals.acceptedLengthInterval!.low <= result.totals.acceptedLength);
  assert.ok(result.totals.acceptedLengthInterval!.high >= result.totals.acceptedLength);
});

test('a verifier that lets a wrong token through is caught at its prompt and token', async () => {
  class Careless extends TableSteps {
    override verify(...args: Parameters<TableSteps['verify']>) {
      const answers = super.verify(...args);
      if (this.context.length > 8) answers.best[0] = (answers.best[0]! + 1) % vocabSize;
      return answers;
    }
  }
  const result = await evaluateAcceptance({ steps: new Careless(4, 1, 0.5), promptSets: promptSets(), options: { ...options, stopTokens: [] } });
  assert.equal(result.totals.identical, false);
  assert.ok(result.mismatches!.length > 0);
  const { set, id, kind, index, detail } = result.mismatches![0]!;
  assert.deepEqual([set, id, kind], ['one', 'a0', 'output']);
  assert.ok(index >= 5 && detail.includes(`new token ${index}: speculative decoding writes`), detail);
});

test('a simulation that reads its context one position off is caught at its prompt and round', async () => {
  const steps = new TableSteps(5, 1, 0.8);
  const shifted: ReturnType<typeof simulate> = (text, span, stopTokens) =>
    simulateWalk(text, span, (anchor) =>
      Int32Array.from({ length: 4 }, (_, j) => argmax(steps.draftLogits([...text.subarray(1, anchor + 1)], j + 1))), stopTokens);
  const result = await evaluateAcceptance({ steps, promptSets: promptSets(), options, simulate: shifted });
  assert.equal(result.totals.identical, true);
  assert.ok(result.mismatches!.some(({ kind, detail }) => kind === 'rounds' && /round \d+: simulated anchor/.test(detail)));
});

test('sampled texts are compared when matched, and not when drawn another way', async () => {
  const sampling = { temperature: 1, topK: 0, topP: 1 };
  const run = (verifier: 'match' | 'sample') =>
    evaluateAcceptance({ steps: new TableSteps(4, 2, 0.6), promptSets: promptSets(), options: { ...options, sampling, verifier } });
  assert.equal((await run('match')).totals.identical, true);
  const sampled = await run('sample');
  assert.equal(sampled.totals.identical, null);
  assert.equal(sampled.mismatches, null);
});

test('contradicting options are refused', async () => {
  const run = (more: object, check = false) => {
    const steps = new TableSteps(4, 2, 0.6);
    return evaluateAcceptance({ steps, promptSets: promptSets(), options: { ...options, ...more }, ...(check && { simulate: simulate(steps) }) });
  };
  const sampling = { temperature: 1, topK: 0, topP: 1 };
  await assert.rejects(run({ sampling, verifier: 'sample', treeNodes: 8 }), /--verifier match/);
  await assert.rejects(run({ sampling }, true), /--check/);
  await assert.rejects(run({ maxNewTokens: 0 }), /max-new-tokens is 0/);
});

/** One token a character, code point modulo the vocabulary; a template that brackets every message. */
const tokenizer: PromptTokenizer = {
  encode: (text) => Array.from(text, (character) => character.codePointAt(0)! % vocabSize),
  decode: (ids) => ids.map((id) => String(id)).join(''),
  applyChatTemplate: (messages, { addGenerationPrompt } = {}) =>
    messages.map(({ role, content }) => `[${role}:${content}]`).join('') + (addGenerationPrompt ? '[assistant:' : ''),
  hasChatTemplate: true,
};

test('later turns hold the model\'s own answers, through the chat template or as plain text', () => {
  const rows = [{ id: 'talk', turns: ['Hi', 'More'] }];
  const encode = (text: string) => Int32Array.from(tokenizer.encode(text));
  const [chat] = encodePromptSet('x', rows, tokenizer).prompts;
  assert.equal(chat!.turns, 2);
  assert.deepEqual(chat!.encode([]), encode('[user:Hi][assistant:'));
  assert.deepEqual(chat!.encode([[1, 2]]), encode('[user:Hi][assistant:12][user:More][assistant:'));
  const [raw] = encodePromptSet('x', rows, tokenizer, { format: 'raw' }).prompts;
  assert.deepEqual(raw!.encode([[1, 2]]), encode('Hi12\n\nMore'));
});

test('prompts that cannot be used are told, by set and prompt', () => {
  const rows = [{ id: 'p', promptIds: [1, 2, 9] }];
  assert.throws(() => encodePromptSet('x', rows, undefined, { vocabSize: 6 }), /prompt p of x holds token 9; the target's vocabulary has 6/);
  assert.throws(() => encodePromptSet('x', [{ id: 'p', turns: ['a'] }], undefined), /no tokenizer.json/);
  assert.throws(() => encodePromptSet('x', rows, undefined, { maxPromptTokens: 2 }), /no prompt to decode: all 1 were left out .*3 tokens, more than the 2/);
  assert.throws(() => encodePromptSet('x', [{ id: 'p', turns: ['a'] }], { ...tokenizer, hasChatTemplate: false }, { format: 'chat' }), /no chat template/);
  const set = encodePromptSet('x', [...rows, { id: 'short', promptIds: [1] }], undefined, { maxPromptTokens: 2 });
  assert.deepEqual(set.prompts.map(({ id }) => id), ['short']);
  assert.equal(set.skipped!.length, 1);
});

test('the document is JSON that reads back as it was, and the table shows every set', async () => {
  const steps = new TableSteps(5, 1, 0.8);
  const result = await evaluateAcceptance({ steps, promptSets: promptSets(), options });
  const context = { draftalignVersion: '0', target: { name: 't', folder: 'f' }, settings: { limit: null } } as unknown as EvaluationContext;
  const document = evaluationDocument(result, context);
  const text = formatDocument(document);
  assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(document)));
  assert.equal(document.version, 1);
  assert.ok(text.split('\n').every((line) => !/"outputIds": \[$/.test(line)), 'token ids stand on one line');
  const table = formatEvaluation(result);
  assert.match(table, /^one +6 /m);
  assert.match(table, /^all +10 .* 100%$/m);
});
