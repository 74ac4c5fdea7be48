import assert from 'node:assert/strict';
import test from 'node:test';
import { compileChatTemplate, TemplateError } from '../../data/chat-template.js';
import { UserError } from '../../src/errors.js';

function render(source: string, content = 'hi'): string {
  return compileChatTemplate(source, {}, 'folder/chat_template.jinja').render([{ role: 'user', content }]);
}

const endless: Record<string, [source: string, message: RegExp]> = {
  'a list doubled sixty times': ['{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}', /a list of more than 20000 entries/],
  'a text doubled sixty times': ["{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}", /a value of more than \d+ characters/],
  'a list that holds itself twice, sixty deep': ['{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}', /a value of more than \d+ characters/],
  'a huge range': ['{% for i in range(1000000000) %}{% endfor %}', /range\(\) of 1000000000 numbers/],
  'loops in loops': ['{% for a in range(20000) %}{% for b in range(20000) %}{{ b }}{% endfor %}{% endfor %}', /evaluates more than \d+ expressions/],
  'empty loops in loops': ['{% set r = range(20000) %}{% for a in r %}{% for b in r if true %}{% endfor %}{% endfor %}', /evaluates more than \d+ expressions/],
  'many middling texts kept': ["{% set ns = namespace(x=[]) %}{% for i in range(20000) %}{% set ns.x = ns.x + ['%10000s' ~ i] %}{% endfor %}", /altogether|expressions/],
};

for (const [name, [source, message]] of Object.entries(endless)) {
  test(`a chat template is ended that makes ${name}, and the file is named`, () => {
    assert.throws(() => render(source), (error) => error instanceof UserError && error.message.startsWith('folder/chat_template.jinja: the chat template cannot be used: ') && message.test(error.message));
  });
}

test('a template that recurses without end or nests too deeply is an error, not a crash', () => {
  assert.throws(() => render('{% set ns = namespace() %}{% set ns.x = ns %}{{ ns | tojson }}'), TemplateError);
  assert.throws(() => render(`{{ ${'('.repeat(100_000)}1${')'.repeat(100_000)} }}`), /is not valid Jinja/);
});

test('a long conversation is within the limits, and one that is not is the row\'s fault', () => {
  const source = '{% for m in messages %}{{ m.content | trim }}{% endfor %}';
  assert.equal(render(source, 'x'.repeat(2 ** 22)).length, 2 ** 22);
  assert.throws(() => render(source, 'x'.repeat(2 ** 24 + 1)), TemplateError);
});
