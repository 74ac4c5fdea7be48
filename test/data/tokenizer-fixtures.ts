// A small tokenizer for tests: printable ASCII, newline, a few merges, ChatML's special tokens; and templates that behave as published ones do.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadTokenizer, type Tokenizer } from '../../data/tokenizer.js';

const SPECIAL = ['<unk>', '<s>', '</s>', '<|im_start|>', '<|im_end|>'];
const MERGES = ['h e', 'l l', 'he ll', 'hell o', '. .', ': \u2581'];

export function tokenizerJson(): Record<string, unknown> & { model: Record<string, unknown>; added_tokens: Record<string, unknown>[] } {
  const characters = ['\u2581', '\n', ...Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i))];
  const pieces = [...SPECIAL, ...characters, ...MERGES.map((merge) => merge.replace(' ', ''))];
  return {
    version: '1.0',
    added_tokens: SPECIAL.map((content, id) => ({ id, content, special: true, normalized: false, single_word: false, lstrip: false, rstrip: false })),
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' },
    pre_tokenizer: null,
    post_processor: { type: 'TemplateProcessing', single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }], pair: [], special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } } },
    decoder: { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { String: '\u2581' }, content: ' ' }, { type: 'Fuse' }] },
    model: { type: 'BPE', unk_token: '<unk>', fuse_unk: true, byte_fallback: false, vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])), merges: [...MERGES] },
  };
}

export const templates = {
  chatml: "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
  /** As Qwen3: the reasoning of earlier answers is dropped. */
  reasoning:
    "{% for m in messages %}{% set text = m.content %}{% if m.role == 'assistant' and not loop.last and '</think>' in text %}{% set text = text.split('</think>')[-1] %}{% endif %}{{ '<|im_start|>' + m.role + '\\n' + text + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
  /** As DeepSeek-R1: the generation prompt opens a reasoning that finished answers do not show. */
  opened: "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content + (eos_token if m.role == 'assistant' else '') }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: <think>\\n' }}{% endif %}",
  /** As Mistral: refuses conversations that do not alternate. */
  strict: "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate user/assistant') }}{% endif %}{{ m.role + ':' + m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
};

/** Writes the tokenizer into a folder and loads it. */
export async function fixtureTokenizer(folder: string, template?: string, config: Record<string, unknown> = {}): Promise<Tokenizer> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizerJson()));
  const settings = { bos_token: '<s>', eos_token: { content: '</s>' }, unk_token: '<unk>', ...(template !== undefined && { chat_template: template }), ...config };
  await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(settings));
  return loadTokenizer(folder);
}
