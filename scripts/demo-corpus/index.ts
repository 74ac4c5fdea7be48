// The demo target's corpus: conversations in three domains that behave differently, each made from (seed, domain, split, index)
// alone, so that any of them can be made again without the others. All text is synthetic and was made by this project.
import { Random } from '../../src/random.js';
import { writeCode } from './code.js';
import { writeMaths } from './maths.js';
import { writeStory } from './stories.js';
import { Writer, type Message } from './writer.js';

export const domains = ['maths', 'code', 'stories'] as const;
export type Domain = (typeof domains)[number];
export type Split = 'train' | 'validation' | 'prompts' | 'drafter';
export const corpusSeed = 20261124;

/** The conversation with this index; always the same one. */
export function writeConversation(domain: Domain, split: Split, index: number, seed = corpusSeed): Message[] {
  const writer = new Writer(Random.fork(seed, domain, split, index));
  if (domain === 'maths') return writeMaths(writer);
  if (domain === 'code') return writeCode(writer);
  return writeStory(writer);
}
