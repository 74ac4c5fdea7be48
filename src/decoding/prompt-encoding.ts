// From prompt rows to token ids, turn by turn: the model's own answers stand in the later turns' prompts. With a chat
// template the conversation is rendered anew for every turn; without one, text simply follows text.
import { UserError } from '../errors.js';

/** The part of a tokenizer that prompts need (data/tokenizer.ts provides it). */
export interface PromptTokenizer {
  encode(text: string, options?: { addSpecialTokens?: boolean }): ArrayLike<number>;
  decode(ids: readonly number[], options?: { skipSpecialTokens?: boolean }): string;
  applyChatTemplate(messages: { role: string; content: string }[], options?: { addGenerationPrompt?: boolean }): string;
  readonly hasChatTemplate: boolean;
}

/** A prompt as files give it: token ids, messages, or the user's turns. */
export interface PromptSource {
  id: string;
  promptIds?: ArrayLike<number>;
  messages?: readonly { role: string; content: string }[];
  turns?: readonly string[];
}

/** A prompt that can be decoded: one text per turn. */
export interface EvaluationPrompt {
  id: string;
  turns: number;
  /** Token ids of the turn that follows these answers (one array of new tokens per earlier turn). */
  encode(answers: readonly (readonly number[])[]): Int32Array;
}

/** Prompts that are reported together. */
export interface PromptSet {
  name: string;
  /** Where they came from, for the record. */
  source?: string;
  prompts: EvaluationPrompt[];
  /** Prompts left out, and why. */
  skipped?: { id: string; reason: string }[];
}

export interface EncodingOptions {
  /** `auto`: the chat template when the tokenizer has one. `chat` insists on it, `raw` does without. */
  format?: 'auto' | 'chat' | 'raw';
  /** Prompts longer than this are left out (first turn) or end the conversation (later turns). */
  maxPromptTokens?: number;
}

/**
 * Prepares one prompt set.
 * @param tokenizer may be undefined where every row carries token ids
 * @throws UserError where text needs a tokenizer or a chat template that is not there, or where no prompt is left
 */
export function encodePromptSet(
  name: string,
  rows: Iterable<PromptSource>,
  tokenizer: PromptTokenizer | undefined,
  options: EncodingOptions & { source?: string; vocabSize?: number } = {},
): PromptSet {
  const { format = 'auto', maxPromptTokens = Infinity, source, vocabSize = Infinity } = options;
  const prompts: EvaluationPrompt[] = [];
  const skipped: { id: string; reason: string }[] = [];
  for (const row of rows) {
    const prompt = encodeRow(name, row, tokenizer, format);
    const first = prompt.encode([]);
    const bad = first.find((id) => id < 0 || id >= vocabSize);
    if (bad !== undefined) {
      throw new UserError(`prompt ${row.id} of ${name} holds token ${bad}; the target's vocabulary has ${vocabSize}. Was it tokenized for another model?`);
    }
    if (first.length === 0) skipped.push({ id: row.id, reason: 'it has no token' });
    else if (first.length > maxPromptTokens) skipped.push({ id: row.id, reason: `it has ${first.length} tokens, more than the ${maxPromptTokens} allowed` });
    else prompts.push(prompt);
  }
  if (prompts.length === 0) {
    const why = skipped.length > 0 ? `all ${skipped.length} were left out (the first because ${skipped[0]!.reason})` : 'it is empty';
    throw new UserError(`prompt set ${name}${source ? ` (${source})` : ''} has no prompt to decode: ${why}`);
  }
  return { name, prompts, skipped, ...(source !== undefined && { source }) };
}

function encodeRow(set: string, row: PromptSource, tokenizer: PromptTokenizer | undefined, format: 'auto' | 'chat' | 'raw'): EvaluationPrompt {
  if (row.promptIds !== undefined) {
    const ids = Int32Array.from(row.promptIds);
    return { id: row.id, turns: 1, encode: () => ids };
  }
  if (tokenizer === undefined) {
    throw new UserError(`prompt ${row.id} of ${set} is text, but the target's folder has no tokenizer.json. Give prompts as token ids (prompt_ids) or add the tokenizer`);
  }
  const chat = format === 'chat' || (format === 'auto' && tokenizer.hasChatTemplate);
  if (chat && !tokenizer.hasChatTemplate) throw new UserError('the tokenizer has no chat template; leave out --chat, or use --raw');
  const opening = row.messages ?? [];
  const turns = row.turns ?? [];
  const first = turns.length === 0 ? [...opening] : [...opening, { role: 'user', content: turns[0]! }];
  const answerText = (ids: readonly number[]): string => tokenizer.decode(ids, { skipSpecialTokens: true });
  return {
    id: row.id,
    turns: Math.max(1, turns.length),
    encode(answers) {
      if (chat) {
        const messages = [...first];
        answers.forEach((ids, i) => {
          messages.push({ role: 'assistant', content: answerText(ids) });
          messages.push({ role: 'user', content: turns[i + 1]! });
        });
        return Int32Array.from(tokenizer.encode(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }), { addSpecialTokens: false }));
      }
      let text = first.map((message) => message.content).join('\n\n');
      answers.forEach((ids, i) => {
        text += `${answerText(ids)}\n\n${turns[i + 1]!}`;
      });
      return Int32Array.from(tokenizer.encode(text, { addSpecialTokens: true }));
    },
  };
}
