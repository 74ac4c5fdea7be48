// Makes the demo target's tokenizer folder: byte pairs learned from the corpus, ChatML template, special tokens.
import { join } from 'node:path';
import { writeFileAtomic } from '../../src/files.js';
import { tokenizerJson, trainBytePairs } from '../byte-pair-trainer.js';
import { domains, writeConversation } from './index.js';
import type { Message } from './writer.js';

export const vocabSize = 2048;
export const specialTokens = ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|mask|>'] as const;
/** Ids of the special tokens: they close the vocabulary. */
export const specialIds = { pad: vocabSize - 4, start: vocabSize - 3, end: vocabSize - 2, mask: vocabSize - 1 } as const;

export const chatTemplate =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** The conversation as the chat template writes it. */
export function chatText(messages: readonly Message[]): string {
  return messages.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`).join('');
}

function* trainingTexts(conversationsPerDomain: number): Generator<string> {
  for (const domain of domains) {
    for (let i = 0; i < conversationsPerDomain; i++) {
      // Role names with their line break are seen as the template writes them.
      for (const { role, content } of writeConversation(domain, 'train', i)) yield* [`${role}\n`, content, '\n'];
    }
  }
}

/** Learns the tokenizer from `conversationsPerDomain` training conversations of every domain and writes its files into `folder`. */
export async function writeTokenizer(folder: string, conversationsPerDomain: number): Promise<void> {
  const pairs = trainBytePairs(trainingTexts(conversationsPerDomain), vocabSize - specialTokens.length);
  const json = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;
  await writeFileAtomic(join(folder, 'tokenizer.json'), json(tokenizerJson(pairs, specialTokens)));
  const added = specialTokens.map((content, i) => [
    String(vocabSize - specialTokens.length + i),
    { content, lstrip: false, normalized: false, rstrip: false, single_word: false, special: true },
  ]);
  await writeFileAtomic(
    join(folder, 'tokenizer_config.json'),
    json({
      add_bos_token: false, add_prefix_space: false, added_tokens_decoder: Object.fromEntries(added), additional_special_tokens: ['<|im_start|>', '<|im_end|>', '<|mask|>'],
      bos_token: null, chat_template: chatTemplate, clean_up_tokenization_spaces: false, eos_token: '<|im_end|>', errors: 'replace', mask_token: '<|mask|>',
      model_max_length: 1024, pad_token: '<|endoftext|>', split_special_tokens: false, tokenizer_class: 'PreTrainedTokenizerFast', unk_token: null,
    }),
  );
  await writeFileAtomic(join(folder, 'generation_config.json'), json({ eos_token_id: specialIds.end, pad_token_id: specialIds.pad, do_sample: false }));
}
