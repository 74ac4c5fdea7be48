// data/demo-prompts/: held-out prompts of every domain and a prompt set to train drafters on, none of which the target was
// trained on, and no held-out one of which a drafter is trained on.
import { join } from 'node:path';
import { writeFileAtomic } from '../../src/files.js';
import { domains, writeConversation, type Domain, type Split } from './index.js';

/** A line of the prompt files. */
export interface DemoPrompt {
  id: string;
  domain: Domain;
  messages: { role: 'user'; content: string }[];
}

/** Training conversations of a domain whose questions no prompt has: more than the demo target's training reads, so that a longer one may follow. */
export const trainedPerDomain = 60_000;

/** Every question of the first `conversationsPerDomain` training conversations. */
export function trainingQuestions(conversationsPerDomain: number): Set<string> {
  const questions = new Set<string>();
  for (const domain of domains) {
    for (let i = 0; i < conversationsPerDomain; i++) questions.add(writeConversation(domain, 'train', i)[0]!.content);
  }
  return questions;
}

/** The first `count` questions of a split that are not in `used`, to which they are added. */
export function newPrompts(domain: Domain, split: Split, count: number, used: Set<string>): DemoPrompt[] {
  const prompts: DemoPrompt[] = [];
  for (let i = 0; prompts.length < count; i++) {
    const content = writeConversation(domain, split, i)[0]!.content;
    if (used.has(content)) continue;
    used.add(content);
    prompts.push({ id: `${domain}-${split}-${i}`, domain, messages: [{ role: 'user', content }] });
  }
  return prompts;
}

/**
 * Writes `maths.jsonl`, `code.jsonl`, `stories.jsonl` (`heldOut` prompts each) and `train.jsonl` (`perDomain` of every domain, in turn)
 * into `folder`. No prompt occurs twice in these files, nor among the training conversations; with more for training, the held-out ones stay the same.
 */
export async function writePrompts(folder: string, { heldOut = 80, perDomain = 1000, trained = trainedPerDomain } = {}): Promise<void> {
  const used = trainingQuestions(trained);
  const lines = (prompts: DemoPrompt[]): string => prompts.map((prompt) => `${JSON.stringify(prompt)}\n`).join('');
  for (const domain of domains) await writeFileAtomic(join(folder, `${domain}.jsonl`), lines(newPrompts(domain, 'prompts', heldOut, used)));
  const sets = domains.map((domain) => newPrompts(domain, 'drafter', perDomain, used));
  const mixed = Array.from({ length: perDomain }, (_, i) => sets.map((set) => set[i]!)).flat();
  await writeFileAtomic(join(folder, 'train.jsonl'), lines(mixed));
}
