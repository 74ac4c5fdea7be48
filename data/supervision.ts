// Which tokens of a conversation the assistant wrote. A chat template only renders whole conversations, so the assistant's part is
// found by rendering prefixes: what follows the prompt (rendered with the generation prompt) up to the end of that turn.
import type { Message } from './conversations.js';
import type { TemplateOptions } from './chat-template.js';
import type { Tokenizer } from './tokenizer.js';

/** Tokens with their supervision. */
export interface SupervisedTokens {
  inputIds: number[];
  /** 1 where the assistant wrote the token, as long as `inputIds`. */
  lossMask: number[];
  /** Tokens before the first supervised one. */
  promptLength: number;
}

/** How a conversation had to be taken apart, for the report. */
export interface ConversationTokens {
  sequences: SupervisedTokens[];
  /**
   * `whole`: one sequence. `split`: the template renders a turn differently once another follows (it drops earlier reasoning, say), so
   * every answer is a sequence of its own. `appended`: not even that; the answer and the end token follow the generation prompt.
   */
  way: 'whole' | 'split' | 'appended';
  /** The boundary of an answer fell inside a token of the whole text, so the pieces were tokenized one by one. */
  pieced: boolean;
}

interface Turn {
  prompt: string;
  through: string;
  answer: string;
}

/**
 * Tokenizes a conversation that ends with an answer (later messages are left out), or with a question: then all of it is prompt.
 * Throws `TemplateError` where the template refuses it.
 */
export function tokenizeConversation(tokenizer: Tokenizer, messages: readonly Message[], options: TemplateOptions = {}): ConversationTokens {
  const render = (count: number, addGenerationPrompt: boolean): string => tokenizer.applyChatTemplate(messages.slice(0, count), { ...options, addGenerationPrompt });
  const answers = messages.flatMap((message, i) => (message.role === 'assistant' ? [i] : []));
  if (answers.length === 0) {
    const inputIds = tokenizer.encode(render(messages.length, true), { addSpecialTokens: false });
    return { sequences: [{ inputIds, lossMask: inputIds.map(() => 0), promptLength: inputIds.length }], way: 'whole', pieced: false };
  }
  const turns = answers.map((i): Turn => ({ prompt: render(i, true), through: render(i + 1, false), answer: messages[i]!.content }));
  const whole = turns.at(-1)!.through;
  const isPrefix = (part: string): boolean => whole.startsWith(part);
  if (turns.every((turn) => turn.through.startsWith(turn.prompt) && isPrefix(turn.prompt) && isPrefix(turn.through))) {
    const { sequence, pieced } = tokenizeSpans(tokenizer, whole, turns);
    return { sequences: [sequence], way: 'whole', pieced };
  }
  let pieced = false;
  let way: ConversationTokens['way'] = 'split';
  const sequences = turns.map((turn) => {
    const following = turn.through.startsWith(turn.prompt) ? turn.through : undefined;
    if (following === undefined) way = 'appended';
    const text = following ?? turn.prompt + turn.answer;
    const result = tokenizeSpans(tokenizer, text, [{ prompt: turn.prompt, through: text, answer: turn.answer }]);
    pieced ||= result.pieced;
    const { eos } = tokenizer.specialIds;
    if (following === undefined && eos !== undefined) {
      result.sequence.inputIds.push(eos);
      result.sequence.lossMask.push(1);
    }
    return result.sequence;
  });
  return { sequences, way, pieced };
}

/** Tokenizes a text whose spans `prompt.length .. through.length` the assistant wrote. */
function tokenizeSpans(tokenizer: Tokenizer, whole: string, turns: readonly Turn[]): { sequence: SupervisedTokens; pieced: boolean } {
  const encode = (text: string): number[] => tokenizer.encode(text, { addSpecialTokens: false });
  const ids = encode(whole);
  const boundaries = turns.flatMap(({ prompt, through }) => [prompt, through]).map((part) => (part === whole ? ids : encode(part)));
  const aligned = boundaries.every((part) => part.length <= ids.length && part.every((id, i) => id === ids[i]));
  if (aligned) {
    const lossMask = new Array<number>(ids.length).fill(0);
    for (let t = 0; t < turns.length; t++) superviseSpan(tokenizer, ids, lossMask, boundaries[2 * t]!.length, boundaries[2 * t + 1]!.length);
    return { sequence: finish(ids, lossMask), pieced: false };
  }
  // At decode time the prompt is tokenized without the answer, so tokenizing the pieces alone is what the drafter will meet.
  const pieces: number[] = [];
  const mask: number[] = [];
  let at = 0;
  for (const { prompt, through } of turns) {
    for (const [end, answer] of [[prompt.length, false], [through.length, true]] as const) {
      const piece = encode(whole.slice(at, end));
      const from = pieces.length;
      for (const id of piece) {
        pieces.push(id);
        mask.push(0);
      }
      if (answer) superviseSpan(tokenizer, pieces, mask, from, pieces.length);
      at = end;
    }
  }
  return { sequence: finish(pieces, mask), pieced: true };
}

/** Sets the mask from the answer's first token through the token that ends it; what the template puts after that, the target never writes. */
function superviseSpan(tokenizer: Tokenizer, ids: readonly number[], mask: number[], from: number, to: number): void {
  const { stop } = tokenizer.specialIds;
  const special = new Set(tokenizer.addedTokens.filter((token) => token.special).map((token) => token.id));
  let end = to;
  const stopAt = ids.findIndex((id, i) => i >= from && i < to && stop.includes(id));
  if (stopAt !== -1) end = stopAt + 1;
  else {
    // Templates may end a turn with a token that no config names as an end; white space after it is still not the target's.
    for (let i = to - 1; i >= from; i--) {
      if (special.has(ids[i]!)) {
        const rest = tokenizer.decode(ids.slice(i + 1, to));
        if (rest.trim() === '') end = i + 1;
        break;
      }
    }
  }
  mask.fill(1, from, end);
}

function finish(inputIds: number[], lossMask: number[]): SupervisedTokens {
  const first = lossMask.indexOf(1);
  return { inputIds, lossMask, promptLength: first === -1 ? inputIds.length : first };
}

/**
 * Tokenizes a prompt and its completion without a template: the completion is supervised. With no completion, all is prompt.
 */
export function tokenizeCompletion(tokenizer: Tokenizer, prompt: string, completion: string | null): { sequence: SupervisedTokens; pieced: boolean } {
  const promptIds = tokenizer.encode(prompt);
  if (completion === null) return { sequence: finish(promptIds, promptIds.map(() => 0)), pieced: false };
  const ids = tokenizer.encode(prompt + completion);
  const pieced = !promptIds.every((id, i) => id === ids[i]);
  const inputIds = pieced ? [...promptIds, ...tokenizer.encode(completion, { addSpecialTokens: false })] : ids;
  return { sequence: finish(inputIds, inputIds.map((_, i) => (i < promptIds.length ? 0 : 1))), pieced };
}

/**
 * Cuts plain text into sequences of at most `maxTokens`, at paragraphs where it can. The first `promptTokens` of each (at least
 * its first token, which nothing precedes) are prompt, the rest is supervised.
 */
export function* tokenizeText(tokenizer: Tokenizer, text: string, maxTokens: number, promptTokens: number): Generator<SupervisedTokens> {
  const { bos } = tokenizer.specialIds;
  const opening = bos !== undefined && tokenizer.encode('a')[0] === bos ? [bos] : [];
  const room = maxTokens - opening.length;
  if (room < 2) return;
  const sequence = (inputIds: number[]): SupervisedTokens => {
    const prompt = Math.min(inputIds.length, Math.max(1, opening.length, promptTokens));
    return finish(inputIds, inputIds.map((_, i) => (i < prompt ? 0 : 1)));
  };
  let gathered = '';
  let gatheredTokens = 0;
  const flush = function* (): Generator<SupervisedTokens> {
    if (gathered.trim() !== '') {
      const ids = tokenizer.encode(gathered.trimEnd());
      // Paragraphs put together may take a few tokens more than apart; what is over opens the next sequence.
      for (let start = 0; start < ids.length; start += start === 0 ? maxTokens : room) {
        yield sequence(start === 0 ? ids.slice(0, maxTokens) : [...opening, ...ids.slice(start, start + room)]);
      }
    }
    gathered = '';
    gatheredTokens = 0;
  };
  for (const paragraph of text.replaceAll('\r\n', '\n').split(/(?<=\n\n)(?=[^\n])/)) {
    // A paragraph counts as its tokens and one more for the seam.
    const tokens = tokenizer.encode(paragraph, { addSpecialTokens: false }).length + 1;
    if (gatheredTokens > 0 && gatheredTokens + tokens > room) yield* flush();
    gathered += paragraph;
    gatheredTokens += tokens;
  }
  yield* flush();
}
