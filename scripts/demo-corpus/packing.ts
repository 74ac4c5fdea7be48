// Token rows for training the demo target: whole conversations packed into rows of a fixed length.
// A step's rows depend on its number alone, so a resumed training reads what it would have read.
import { chatText, specialIds } from './chat-tokenizer.js';
import { domains, writeConversation, type Domain } from './index.js';
import type { Message } from './writer.js';

export type Encode = (text: string) => number[];

/** Rows in row-major order: `inputs`, `labels` (the next token) and `lossWeights`, each `[count, length]`. */
export interface PackedRows {
  count: number;
  length: number;
  inputs: Int32Array;
  labels: Int32Array;
  lossWeights: Float32Array;
}

export const rowLength = 384;
export const rowsPerStep = 11;
/** Conversations that a step chooses from; what finds no room is left out. */
export const conversationsPerStep = 36;
/** What a token of the question weighs in the loss; a token of the answer weighs 1. */
const questionWeight = 0.2;

interface EncodedConversation {
  ids: number[];
  /** Of the loss at predicting token i. */
  weights: number[];
}

/** Token ids of a conversation and the weight of each in the loss: only the assistant's words and their end mark count in full. */
export function encodeConversation(encode: Encode, messages: readonly Message[], weightOfQuestion = questionWeight): EncodedConversation {
  const ids: number[] = [];
  const weights: number[] = [];
  for (const message of messages) {
    const turn = encode(chatText([message]));
    const head = encode(`<|im_start|>${message.role}\n`).length;
    turn.forEach((id, i) => {
      ids.push(id);
      const answer = message.role === 'assistant' && i >= head && i < turn.length - 1;
      weights.push(answer ? 1 : weightOfQuestion);
    });
  }
  weights[0] = 0;
  return { ids, weights };
}

/** The rows of training step `step` (counted from 0). */
export function packStep(encode: Encode, step: number): PackedRows {
  const conversations: EncodedConversation[] = [];
  for (let i = 0; i < conversationsPerStep; i++) {
    const index = step * conversationsPerStep + i;
    const domain = domains[index % domains.length]!;
    conversations.push(encodeConversation(encode, writeConversation(domain, 'train', Math.floor(index / domains.length))));
  }
  return pack(conversations, rowsPerStep);
}

/** `count` rows a domain of the validation split, of conversations whose question is not in `seen`; only the assistant's tokens count. */
export function packUnseen(encode: Encode, count: number, seen: ReadonlySet<string>): Record<Domain, PackedRows> {
  const rows = domains.map((domain) => {
    const conversations: EncodedConversation[] = [];
    for (let i = 0; conversations.length < count * 3; i++) {
      const messages = writeConversation(domain, 'validation', i);
      if (!seen.has(messages[0]!.content)) conversations.push(encodeConversation(encode, messages, 0));
    }
    return [domain, pack(conversations, count)] as const;
  });
  return Object.fromEntries(rows) as Record<Domain, PackedRows>;
}

/** Puts each conversation into the fullest row that has room for it, longest first. */
export function pack(conversations: readonly EncodedConversation[], count: number, length = rowLength): PackedRows {
  const inputs = new Int32Array(count * length).fill(specialIds.pad);
  const labels = new Int32Array(count * length).fill(specialIds.pad);
  const lossWeights = new Float32Array(count * length);
  const used = new Array<number>(count).fill(0);
  for (const { ids, weights } of [...conversations].sort((a, b) => b.ids.length - a.ids.length)) {
    let best = -1;
    for (let row = 0; row < count; row++) {
      if (used[row]! + ids.length <= length && (best < 0 || used[row]! > used[best]!)) best = row;
    }
    if (best < 0) continue;
    const start = best * length + used[best]!;
    inputs.set(ids, start);
    labels.set(ids.slice(1), start);
    lossWeights.set(weights.slice(1), start);
    used[best]! += ids.length;
  }
  return { count, length, inputs, labels, lossWeights };
}
