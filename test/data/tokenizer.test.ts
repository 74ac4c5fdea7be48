import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { compileChatTemplate, strftime, TemplateError } from '../../data/chat-template.js';
import { loadTokenizer, type Tokenizer } from '../../data/tokenizer.js';
import { UserError } from '../../src/errors.js';
import { Random } from '../../src/random.js';
import { sharedPath } from '../shared-files.js';
import { inFolder } from './cache-fixtures.js';
import { fixtureTokenizer, templates, tokenizerJson } from './tokenizer-fixtures.js';

// From the Rust library (tokenizers 0.23.3), Tokenizer.from_file(…).encode(text).ids.
const EXPECTED: [model: string, text: string, ids: number[]][] = [
  ['stories-260K', 'Once upon a time', [1, 403, 407, 261, 378]],
  ['stories-260K', ' two  spaces', [1, 410, 259, 424, 414, 410, 262, 427, 412, 331, 419]],
  ['stories-260K', 'a\n\nb', [1, 261, 13, 13, 430]],
  ['stories-260K', 'na\u00efve \u2603', [1, 297, 412, 198, 178, 360, 410, 229, 155, 134]],
  ['stories-260K', '<s>hi</s> there', [1, 1, 270, 417, 2, 410, 383]],
  ['stories-260K', '<|start_story|>a <|end_story|> b', [1, 410, 504, 506, 356, 295, 413, 98, 356, 304, 422, 506, 505, 412, 410, 504, 506, 367, 98, 356, 304, 422, 506, 505, 268]],
  ['stories-260K', '', [1]],
  ['tinystories-656K', 'Once upon a time', [1, 80, 147, 201, 282, 57]],
  ['tinystories-656K', ' two  spaces', [1, 80, 80, 1209, 80, 415, 53, 1499]],
  ['tinystories-656K', 'a\n\nb', [1, 85, 3, 3, 54]],
  ['tinystories-656K', 'na\u00efve \u2603', [1, 80, 557, 0, 218, 0]],
  ['tinystories-656K', '<s>hi</s> there', [1, 80, 23, 71, 24, 60, 61, 23, 0, 71, 24, 80, 249, 57]],
  ['tinystories-656K', '<|start_story|>a <|end_story|> b', [1, 1, 53, 2, 80, 54]],
  ['tinystories-656K', '', [1]],
  ['babyllama-105', 'Once upon a time', [1, 3, 34, 9, 22, 4, 3, 18, 20, 7, 9, 3, 5, 3, 6, 10, 16, 4]],
  ['babyllama-105', ' two  spaces', [1, 3, 3, 6, 17, 7, 3, 3, 12, 20, 5, 22, 4, 12]],
  ['babyllama-105', 'a\n\nb', [1, 3, 5, 0, 23]],
  ['babyllama-105', 'na\u00efve \u2603', [1, 3, 9, 5, 0, 28, 4, 3, 0]],
  ['babyllama-105', '<s>hi</s> there', [1, 1, 3, 8, 10, 2, 3, 3, 6, 8, 4, 13, 4]],
  ['babyllama-105', '<|start_story|>a <|end_story|> b', [1, 3, 97, 99, 12, 6, 5, 13, 6, 0, 12, 6, 7, 13, 15, 99, 98, 5, 3, 97, 99, 4, 9, 11, 0, 12, 6, 7, 13, 15, 99, 98, 3, 23]],
  ['babyllama-105', '', [1]],
];

for (const model of ['stories-260K', 'tinystories-656K', 'babyllama-105']) {
  const folder = sharedPath(`models/${model}`);
  test(`${model}: ids equal those of the Rust tokenizers, and decode to the text`, { skip: folder ? false : 'needs ../shared (test material, absent here)' }, async () => {
    const tokenizer = await loadTokenizer(folder!);
    for (const [, text, ids] of EXPECTED.filter(([name]) => name === model)) {
      assert.deepEqual(tokenizer.encode(text), ids, text);
    }
    const text = 'Once upon a time, there was a little girl.';
    assert.equal(tokenizer.decode(tokenizer.encode(text), { skipSpecialTokens: true }), text);
    assert.equal(tokenizer.hasChatTemplate, false);
    assert.throws(() => tokenizer.applyChatTemplate([{ role: 'user', content: 'hi' }]), UserError);
    assert.deepEqual(tokenizer.specialIds.stop, [2]);
    assert.equal(tokenizer.specialIds.bos, 1);
  });
}

test('special tokens, roles and the fingerprint', () =>
  inFolder(async (folder) => {
    const plain = await fixtureTokenizer(join(folder, 'a'));
    assert.deepEqual(plain.encode('hello'), [1, plain.encode('hello', { addSpecialTokens: false })[0]]);
    assert.equal(plain.encode('a<|im_end|>b', { addSpecialTokens: false })[1], 4);
    assert.equal(plain.decode([1, 4]), '<s><|im_end|>');
    assert.equal(plain.decode([1, 4], { skipSpecialTokens: true }), '');
    assert.equal(plain.decode([]), '');
    assert.deepEqual(plain.specialIds, { bos: 1, eos: 2, pad: undefined, unk: 0, stop: [2] });
    const chat = await fixtureTokenizer(join(folder, 'b'), templates.chatml);
    assert.notEqual(chat.fingerprint, plain.fingerprint);
    await writeFile(join(folder, 'b', 'generation_config.json'), '{"eos_token_id": [2, 4]}');
    const again = await loadTokenizer(join(folder, 'b'));
    assert.deepEqual(again.specialIds.stop, [2, 4]);
    assert.equal(again.fingerprint, chat.fingerprint);
  }));

test('the template is taken from chat_template.jinja before the config, and by its name "default" from a list', () =>
  inFolder(async (folder) => {
    const render = async (): Promise<string> => (await loadTokenizer(folder)).applyChatTemplate([{ role: 'user', content: 'x' }]);
    await fixtureTokenizer(folder, undefined, { chat_template: [{ name: 'tool_use', template: 'T' }, { name: 'default', template: 'D{{ bos_token }}' }] });
    assert.equal(await render(), 'D<s>');
    await writeFile(join(folder, 'chat_template.json'), '{"chat_template": "J"}');
    assert.equal(await render(), 'J');
    await writeFile(join(folder, 'chat_template.jinja'), 'F{{ messages[0].content }}');
    assert.equal(await render(), 'Fx');
  }));

test("templates see what Transformers gives them and their own errors come through", () => {
  const render = (source: string, variables = {}): string => compileChatTemplate(source, { eos_token: '</s>' }, 'x').render([{ role: 'user', content: 'é' }], { addGenerationPrompt: true, variables });
  assert.equal(render('{{ messages | tojson }}'), '[{"role": "user", "content": "é"}]');
  assert.equal(render('{% if tools %}t{% endif %}{{ eos_token }}{% if add_generation_prompt %}g{% endif %}'), '</s>g');
  assert.equal(render('{% if enable_thinking is defined %}{{ "on" if enable_thinking else "off" }}{% endif %}', { enable_thinking: false }), 'off');
  assert.match(render("{{ strftime_now('%Y') }}"), /^20\d\d$/);
  assert.equal(strftime(new Date(2026, 6, 5, 14, 3, 9), '%d %b %Y, %A %B %I:%M %p %% %Q %F %T %y %a %m'), '05 Jul 2026, Sunday July 02:03 PM % %Q 2026-07-05 14:03:09 26 Sun 07');
  assert.equal(render('{% generation %}x{% endgeneration %}'), 'x');
  assert.equal(render('{% for i in range(3) %}{{ i }}{% endfor %}\n\n  {% if true %}\ny\n  {% endif %}\n'), '012\ny\n');
  assert.throws(() => render("{{ raise_exception('no') }}"), (error) => error instanceof TemplateError && error.message === 'no');
  assert.throws(() => compileChatTemplate('{% for %}', {}, 'folder/chat_template.jinja'), /folder\/chat_template\.jinja: the chat template is not valid Jinja/);
});

test('a folder without a tokenizer, and malformed files, are named with file and field', () =>
  inFolder(async (folder) => {
    await assert.rejects(loadTokenizer(folder), /has no tokenizer\.json/);
    const write = async (change: (json: ReturnType<typeof tokenizerJson>) => void): Promise<void> => {
      const json = tokenizerJson();
      change(json);
      await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(json));
    };
    const cases: [RegExp, (json: ReturnType<typeof tokenizerJson>) => void][] = [
      [/model is "x"/, (json) => (json.model = 'x' as never)],
      [/model\.vocab is missing/, (json) => delete json.model['vocab']],
      [/model\.vocab\["a"\] is -1/, (json) => ((json.model['vocab'] as Record<string, number>)['a'] = -1)],
      [/model\.vocab\["a"\] is 100000000000/, (json) => ((json.model['vocab'] as Record<string, number>)['a'] = 1e11)],
      [/model\.merges\[0\] is 3/, (json) => ((json.model['merges'] as unknown[])[0] = 3)],
      [/added_tokens\[1\]/, (json) => (json.added_tokens[1] = {})],
      [/decoder is 5/, (json) => (json['decoder'] = 5)],
      [/cannot be used/, (json) => (json.model['type'] = 'Nonsense')],
    ];
    for (const [message, change] of cases) {
      await write(change);
      await assert.rejects(loadTokenizer(folder), (error) => error instanceof UserError && error.message.includes('tokenizer.json') && message.test(error.message), String(message));
    }
    await writeFile(join(folder, 'tokenizer.json'), '{"model": ');
    await assert.rejects(loadTokenizer(folder), /tokenizer\.json: is not JSON/);
    await rm(join(folder, 'tokenizer.json'));
    await mkdir(join(folder, 'tokenizer.json'));
    await assert.rejects(loadTokenizer(folder), /cannot be read \(EISDIR\)/);
  }));

test('patterns that backtrack without end and normalizers that multiply text are refused, not waited for', () =>
  inFolder(async (folder) => {
    const load = async (change: object): Promise<Tokenizer> => {
      await writeFile(join(folder, 'tokenizer.json'), JSON.stringify({ ...tokenizerJson(), ...change }));
      return loadTokenizer(folder);
    };
    const backtracking = await load({ pre_tokenizer: { type: 'Split', pattern: { Regex: '(x+x+)+y' }, behavior: 'Isolated' } });
    assert.throws(() => backtracking.encode('x'.repeat(60)), (error) => error instanceof UserError && /tokenizer\.json: cannot be used: it ran for more than \d+ ms on a text of 60 characters/.test(error.message));
    const double = { type: 'Replace', pattern: { String: 'z' }, content: 'zz' };
    const growing = await load({ normalizer: { type: 'Sequence', normalizers: Array.from({ length: 12 }, () => double) } });
    assert.throws(() => growing.encode('zz'), (error) => error instanceof UserError && /its normalizer makes 8192 characters of 2/.test(error.message));
  }));

test('a damaged tokenizer.json is refused or works, but never crashes or hangs', () =>
  inFolder(async (folder) => {
    const json = JSON.stringify(tokenizerJson());
    const random = new Random(11);
    await mkdir(folder, { recursive: true });
    for (let i = 0; i < 200; i++) {
      const bytes = Buffer.from(json);
      for (let n = 0; n < 1 + (i % 3); n++) bytes[random.int(bytes.length)] = 32 + random.int(95);
      await writeFile(join(folder, 'tokenizer.json'), bytes);
      try {
        const tokenizer = await loadTokenizer(folder);
        tokenizer.encode('hello world');
      } catch (error) {
        assert.ok(error instanceof UserError, `mutation ${i}: ${String((error as Error).stack)}`);
      }
    }
  }));
