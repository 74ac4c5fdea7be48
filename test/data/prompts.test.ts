import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { parseConversation, RowProblem, toMessages } from '../../data/conversations.js';
import { readParquetRows } from '../../data/parquet-rows.js';
import { readPrompts } from '../../data/prompts.js';
import { readSourceRows, type SourceRow } from '../../data/source-rows.js';
import { UserError } from '../../src/errors.js';
import { Random } from '../../src/random.js';
import { sharedPath } from '../shared-files.js';
import { damageBytes } from '../faults/mutations.js';
import { inFolder } from './cache-fixtures.js';

const skip = sharedPath('prompts') ? false : 'needs ../shared (test material, absent here)';
const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });

test('published files are read as they are: GSM8K, HumanEval (gzipped), MT-Bench', { skip }, async () => {
  const gsm = await readPrompts(sharedPath('prompts/gsm8k_test.jsonl')!);
  assert.equal(gsm.length, 1319);
  assert.match(gsm[0]!.turns![0]!, /^Janet’s ducks lay 16 eggs per day\..*farmers' market\?$/);
  assert.equal(gsm[1]!.id, 'line 2');
  const human = await readPrompts(sharedPath('prompts/HumanEval.jsonl.gz')!, { limit: 164 });
  assert.equal(human.length, 164);
  assert.equal(human[0]!.id, 'HumanEval/0');
  assert.match(human[0]!.turns![0]!, /^from typing import List\n\n\ndef has_close_elements/);
  const bench = await readPrompts(sharedPath('prompts/mt_bench_question.jsonl')!);
  assert.equal(bench.length, 80);
  assert.deepEqual([bench[0]!.id, bench[0]!.turns!.length], ['81', 2]);
});

test('rows of the other published sets give their question and nothing else', async () => {
  const cases: [row: unknown, id: string, turns: string[]][] = [
    [{ problem: 'P', solution: 'S', answer: '3', subject: 'Algebra', level: 2, unique_id: 'test/algebra/1.json' }, 'test/algebra/1.json', ['P']], // MATH-500
    [{ task_id: 11, text: 'Write a function', code: 'def f(): pass', test_list: [], test_setup_code: '' }, '11', ['Write a function']], // MBPP
    [{ source_file: 'x', task_id: 2, prompt: 'Write it', code: 'def', test_imports: [] }, '2', ['Write it']], // MBPP, sanitized
    [{ question_id: 1, category: 'qa', turns: ['a', 'b'] }, '1', ['a', 'b']], // Spec-Bench
    [{ ID: '2024-I-1', Problem: 'Find x', Solution: 'x', Answer: 3 }, '2024-I-1', ['Find x']], // AIME 2024
    [{ question: 'Find y', answer: '70' }, 'line 1', ['Find y']], // AIME 2025
    [{ question_title: 'T', question_content: 'Given n', question_id: 'abc301_a', starter_code: '', difficulty: 'easy' }, 'abc301_a', ['Given n']], // LiveCodeBench
    [{ instruction: 'Sum up', input: 'a text', output: 'x' }, 'line 1', ['Sum up\n\na text']], // Alpaca
    [{ dataset: 'helpful_base', instruction: 'Name three', output: 'o', generator: 'g' }, 'line 1', ['Name three']], // AlpacaEval
    [{ id: 'a', prompt: 'Hi' }, 'a', ['Hi']],
  ];
  await inFolder(async (folder) => {
    for (const [row, id, turns] of cases) {
      const file = join(folder, 'rows.jsonl');
      await writeFile(file, JSON.stringify(row));
      assert.deepEqual(await readPrompts(file), [{ id, turns }]);
    }
  });
});

test('Parquet is read row group by row group, 64-bit integers as numbers', () =>
  inFolder(async (folder) => {
    const file = join(folder, 'rows.parquet');
    const count = 2500;
    const columns = [
      { name: 'question_id', data: Array.from({ length: count }, (_, i) => BigInt(i)), type: 'INT64' as const },
      { name: 'prompt', data: Array.from({ length: count }, (_, i) => `Prompt ${i} é`), type: 'STRING' as const },
    ];
    await writeFile(file, new Uint8Array(parquetWriteBuffer({ columnData: columns, rowGroupSize: 1000 })));
    const prompts = await readPrompts(file);
    assert.equal(prompts.length, count);
    assert.deepEqual(prompts.at(-1), { id: '2499', turns: ['Prompt 2499 é'] });
    assert.equal((await readPrompts(file, { limit: 3 })).length, 3);
    const bytes = await readFile(file);
    await writeFile(file, bytes.subarray(0, bytes.length - 100));
    await assert.rejects(readPrompts(file), (error) => error instanceof UserError && /rows\.parquet: cannot be read as Parquet/.test(error.message));
  }));

test('a Parquet file that leads its reader into an endless loop is given up', () =>
  inFolder(async (folder) => {
    const texts = Array.from({ length: 40 }, (_, i) => `Prompt ${i % 7}`);
    const whole = parquetWriteBuffer({ columnData: [{ name: 'id', data: texts.map((_, i) => BigInt(i)), type: 'INT64' }, { name: 'prompt', data: texts, type: 'STRING' }], rowGroupSize: 16 });
    const file = join(folder, 'rows.parquet');
    await writeFile(file, damageBytes(Buffer.from(whole), Random.fork(20260711, 'Parquet rows', 11)));
    await assert.rejects(async () => {
      for await (const row of readParquetRows(file, 2000)) assert.equal(typeof row, 'object');
    }, /row group \d took more than 2 s; it is damaged/);
  }));

test('messages end with what is to be answered; token ids and text need no more', () =>
  inFolder(async (folder) => {
    const file = join(folder, 'rows.jsonl');
    const rows = [
      { messages: [{ role: 'system', content: 's' }, user('q'), assistant('a')], domain: 'chat' },
      { conversations: [{ from: 'human', value: 'q' }, { from: 'gpt', value: 'a' }, { from: 'human', value: 'r' }] },
      { prompt_ids: [5, 6, 7] },
      { prompt: [user('q')] },
      'just text',
    ];
    await writeFile(file, rows.map((row) => JSON.stringify(row)).join('\r\n'));
    assert.deepEqual(await readPrompts(file), [
      { id: 'line 1', domain: 'chat', messages: [{ role: 'system', content: 's' }, user('q')] },
      { id: 'line 2', messages: [user('q'), assistant('a'), user('r')] },
      { id: 'line 3', promptIds: [5, 6, 7] },
      { id: 'line 4', messages: [user('q')] },
      { id: 'line 5', turns: ['just text'] },
    ]);
    assert.equal((await readPrompts(file, { limit: 2 })).length, 2);
    const text = join(folder, 'prompts.txt');
    await writeFile(text, 'Once upon a time\n\n{"not": "json here"}\n');
    assert.deepEqual(await readPrompts(text), [
      { id: 'line 1', turns: ['Once upon a time'] },
      { id: 'line 3', turns: ['{"not": "json here"}'] },
    ]);
  }));

test('rows that are no prompt are told with line and reason, all or none', () =>
  inFolder(async (folder) => {
    const file = join(folder, 'rows.jsonl');
    await writeFile(file, '{"prompt": "good"}\n{"prompt": \n{"prompt_ids": [1, -2]}\n{"x": 1}\n[1]\n{"messages": [{"role": "alien", "content": ""}]}\n{"prompt": "  "}\n');
    const problems: [number, string][] = [];
    const rows = await readPrompts(file, { onProblem: ({ line, reason }) => problems.push([line, reason]) });
    assert.deepEqual(rows, [{ id: 'line 1', turns: ['good'] }]);
    assert.deepEqual(problems.map(([line]) => line), [2, 3, 4, 5, 6, 7]);
    assert.match(problems[1]![1], /prompt_ids\[1\] is -2/);
    assert.match(problems[4]![1], /unknown role "alien"/);
    await assert.rejects(readPrompts(file), (error) => error instanceof UserError && error.message.includes('6 rows are no prompt') && error.message.includes('line 5: is a list'));
    await writeFile(file, '\n');
    await assert.rejects(readPrompts(file), /holds no prompt/);
    await assert.rejects(readPrompts(join(folder, 'absent.jsonl')), /there is no file .*absent\.jsonl$/);
    await writeFile(join(folder, 'x.parquet'), 'PAR1');
    await assert.rejects(readPrompts(join(folder, 'x.parquet')), /x\.parquet: cannot be read as Parquet/);
    await writeFile(join(folder, 'x.csv'), 'a,b');
    await assert.rejects(readPrompts(join(folder, 'x.csv')), /convert it to Parquet or JSON lines/);
    await writeFile(join(folder, 'x.jsonl.gz'), gzipSync('{"prompt": "p"}').subarray(0, 20));
    await assert.rejects(readPrompts(join(folder, 'x.jsonl.gz')), /cannot be read/);
  }));

async function rowsOf(file: string): Promise<SourceRow[]> {
  const rows: SourceRow[] = [];
  for await (const row of readSourceRows(file)) rows.push(row);
  return rows;
}

test('a JSON document gives its list of rows, whatever it is wrapped in', () =>
  inFolder(async (folder) => {
    const file = join(folder, 'rows.json');
    const expected = [{ line: 1, value: { prompt: 'a' } }, { line: 2, value: { prompt: 'b' } }];
    const list = [{ prompt: 'a' }, { prompt: 'b' }];
    for (const document of [list, { data: list }, { rows: list.map((row, i) => ({ row_idx: i, row })) }]) {
      await writeFile(file, JSON.stringify(document, null, 2));
      assert.deepEqual(await rowsOf(file), expected);
    }
    await writeFile(file, list.map((row) => JSON.stringify(row)).join('\n'));
    assert.deepEqual(await rowsOf(file), expected);
    const single = { conversations: [{ from: 'human', value: 'x' }] };
    await writeFile(file, JSON.stringify(single, null, 2));
    assert.deepEqual(await rowsOf(file), [{ line: 1, value: single }]);
    await writeFile(file, '[{"a": 1}, ');
    await assert.rejects(rowsOf(file), /not a JSON document/);
  }));

test('lines are numbered over blank ones and joined over the chunks of a large file', () =>
  inFolder(async (folder) => {
    const file = join(folder, 'rows.jsonl.gz');
    const long = 'ä'.repeat(300_000);
    await writeFile(file, gzipSync(`\ufeff"one"\n\n${JSON.stringify(long)}\nnonsense\n"last"`));
    const rows = await rowsOf(file);
    assert.deepEqual(rows.map((row) => row.line), [1, 3, 4, 5]);
    assert.equal((rows[1] as { value: string }).value, long);
    assert.ok('problem' in rows[2]!);
  }));

test('every row format comes out as messages with the roles of chat templates', () => {
  const messages = (row: unknown) => toMessages(parseConversation(row) as Exclude<ReturnType<typeof parseConversation>, { kind: 'text' }>);
  assert.deepEqual(messages({ conversations: [{ from: 'system', value: 's' }, { from: 'human', value: 'q' }, { from: 'gpt', value: 'a' }] }), [{ role: 'system', content: 's' }, user('q'), assistant('a')]);
  assert.deepEqual(messages({ system: 's', messages: [user('q')] }), [{ role: 'system', content: 's' }, user('q')]);
  assert.deepEqual(messages({ messages: [{ role: 'user', content: [{ type: 'text', text: 'a' }, { type: 'text', text: 'b' }] }] }), [user('ab')]);
  assert.deepEqual(messages({ prompt: 'q', completion: 'a' }), [user('q'), assistant('a')]);
  assert.deepEqual(messages({ prompt: [user('q')], completion: [assistant('a')] }), [user('q'), assistant('a')]);
  assert.deepEqual(messages({ question: 'q', answer: 'a' }), [user('q'), assistant('a')]);
  assert.deepEqual(messages({ turns: ['q', 'r'] }), [user('q')]);
  assert.deepEqual(messages({ turns: [user('q'), assistant('a')] }), [user('q'), assistant('a')]);
  const call = { messages: [{ role: 'assistant', content: null, tool_calls: [{ name: 'f' }] }] };
  assert.deepEqual(messages(call), [{ role: 'assistant', content: '', tool_calls: [{ name: 'f' }] }]);
  for (const row of [null, 3, [], {}, { messages: [] }, { messages: [3] }, { messages: [{ content: 'x' }] }, { messages: [{ role: 'user' }] }, { turns: [] }, { prompt: 4 }, { text: '' }, { messages: [{ role: 'user', content: [{ type: 'image' }] }] }]) {
    assert.throws(() => parseConversation(row), RowProblem, JSON.stringify(row));
  }
});

test('a damaged prompt file is refused or read in part, but never crashes', () =>
  inFolder(async (folder) => {
    const text = [{ prompt: 'a' }, { messages: [user('q')] }, { turns: ['a', 'b'] }, { prompt_ids: [1, 2] }].map((row) => JSON.stringify(row)).join('\n');
    const random = new Random(5);
    for (const name of ['rows.jsonl', 'rows.json', 'rows.jsonl.gz', 'rows']) {
      for (let i = 0; i < 60; i++) {
        const bytes = Buffer.from(name.endsWith('.gz') ? gzipSync(text) : text);
        for (let n = 0; n < 1 + (i % 3); n++) bytes[random.int(bytes.length)] = random.int(256);
        await writeFile(join(folder, name), bytes);
        try {
          await readPrompts(join(folder, name), { onProblem: () => undefined });
        } catch (error) {
          assert.ok(error instanceof UserError, `${name} ${i}: ${String((error as Error).stack)}`);
        }
      }
    }
  }));
