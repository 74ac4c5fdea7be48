// The demo target's corpus: reproducible, free of template remains, and right where right and wrong exist (sums, Python).
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import { Random } from '../../src/random.js';
import { domains, writeConversation } from '../../scripts/demo-corpus/index.js';
import { Writer, withArticle } from '../../scripts/demo-corpus/writer.js';

test('a conversation depends on seed, domain, split and index alone, and differs between them', () => {
  for (const domain of domains) {
    const once = writeConversation(domain, 'train', 7);
    writeConversation(domain, 'train', 8);
    assert.deepEqual(writeConversation(domain, 'train', 7), once);
    assert.notDeepEqual(writeConversation(domain, 'validation', 7), once);
    assert.notDeepEqual(writeConversation(domain, 'train', 7, 1), once);
  }
});

test('no template syntax, missing value or doubled mark is left in the text', () => {
  for (const domain of domains) {
    for (let i = 0; i < 1500; i++) {
      const [question, answer] = writeConversation(domain, 'train', i);
      assert.deepEqual([question!.role, answer!.role], ['user', 'assistant']);
      const text = `${question!.content}\n${answer!.content}`;
      assert.doesNotMatch(text, /[«»]|undefined|NaN|\$[A-Za-z]/, text);
      if (domain !== 'code') assert.doesNotMatch(text, / [.,?!]|,,|\.\.| {2}|[a-z]\.[A-Z]/, text);
    }
  }
});

test('every worked step of the maths domain is right, and the answer is the last result', () => {
  let steps = 0;
  for (let i = 0; i < 2000; i++) {
    const answer = writeConversation('maths', 'train', i)[1]!.content;
    for (const [, left, right] of answer.matchAll(/(\d+(?: [-+*/] \d+)+) = \$?(\d+)/g)) {
      assert.equal(evaluate(left!), Number(right), answer);
      steps++;
    }
  }
  assert.ok(steps > 4000, `only ${steps} steps were found`);
});

/** Products and quotients before sums and differences, from the left. */
function evaluate(expression: string): number {
  const terms = expression.replaceAll(' - ', ' + -').split(' + ');
  return terms.reduce((sum, term) => {
    const [first, ...rest] = term.split(' ');
    let value = Number(first);
    for (let i = 0; i < rest.length; i += 2) value = rest[i] === '*' ? value * Number(rest[i + 1]) : value / Number(rest[i + 1]);
    return sum + value;
  }, 0);
}

const python = ['python3', 'python'].find((name) => spawnSync(name, ['-c', 'pass']).status === 0);
const runner = `
import contextlib, io, json, re, sys
for text in json.load(sys.stdin):
    source = re.search(r'\`\`\`python\\n(.*?)\\n\`\`\`', text, re.S).group(1)
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, 'corpus', 'exec'), names)
    shown = re.search(r'\\nprint\\((.*)\\)  # (.*)$', source) or re.search(r'\`([^\`]+)\` (?:returns|gives) \`([^\`]*)\`\\.', text)
    if shown and eval(shown.group(1), names) != eval(shown.group(2)):
        sys.exit('wrong result in:\\n' + text)
`;

test('every program of the code domain runs, and its examples are what Python computes', { skip: python === undefined && 'needs a python3 on the path' }, () => {
  const answers = Array.from({ length: 1000 }, (_, i) => writeConversation('code', 'train', i)[1]!.content);
  const result = spawnSync(python!, ['-c', runner], { input: JSON.stringify(answers), encoding: 'utf8' });
  assert.equal(result.status, 0, result.stderr);
});

test('templates nest, take slots with and without a capital, and refuse a slot without a value', () => {
  const writer = new Writer(new Random(1));
  assert.equal(writer.fill('«$Name «sat|sat» .|$Name sat.»', { name: 'ann' }), 'Ann sat.');
  assert.throws(() => writer.fill('$nobody', {}), /no value for \$nobody/);
  const seen = new Set(Array.from({ length: 100 }, () => writer.fill('«a|b|c»')));
  assert.deepEqual([...seen].sort(), ['a', 'b', 'c']);
  assert.deepEqual(['owl', 'lamp', 'umbrella', 'honest fox'].map(withArticle), ['an owl', 'a lamp', 'an umbrella', 'an honest fox']);
});
