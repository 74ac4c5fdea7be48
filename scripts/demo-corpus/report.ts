// Figures and samples of the finished demo target, as Markdown for data/demo-target/README.md: held-out loss of every domain,
// right final answers in maths, and what the model answers, greedily, to the first held-out prompts.
import { join } from 'node:path';
import { readPrompts } from '../../data/prompts.js';
import type { Tokenizer } from '../../data/tokenizer.js';
import { generateAnswers } from '../../src/decoding/target-generation.js';
import type { Target } from '../../src/models/target.js';
import { Random } from '../../src/random.js';
import { domains, writeConversation, type Domain } from './index.js';

/** Greedy answers to the first `count` held-out prompts of a domain. */
export async function answerPrompts(target: Target, tokenizer: Tokenizer, promptFolder: string, domain: Domain, count: number): Promise<{ id: string; question: string; answer: string; tokens: number; ended: boolean }[]> {
  const rows = await readPrompts(join(promptFolder, `${domain}.jsonl`), { limit: count });
  const requests = rows.map(({ messages }, i) => ({
    promptIds: Int32Array.from(tokenizer.encode(tokenizer.applyChatTemplate(messages! as { role: string; content: string }[], { addGenerationPrompt: true }), { addSpecialTokens: false })),
    maxNewTokens: 300,
    random: Random.fork(0, i),
  }));
  const stopIds = target.config.eosTokenIds;
  const answers = generateAnswers(target, requests, { sampling: { temperature: 0, topK: 0, topP: 1 }, stopIds, batchSize: 20 });
  return answers.map((ids, i) => ({
    id: rows[i]!.id,
    question: String(rows[i]!.messages![0]!.content),
    answer: tokenizer.decode(ids, { skipSpecialTokens: true }).trim(),
    tokens: ids.length,
    ended: stopIds.includes(ids.at(-1)!),
  }));
}

/** The last line's answer of a maths solution, without the words around it. */
export function finalAnswer(solution: string): string | undefined {
  return /(?:answer is|Answer:) (.+?)\.?\s*$/.exec(solution)?.[1];
}

/** The corpus's own answer to a held-out maths prompt, by the prompt's id. */
export function knownAnswer(id: string): string | undefined {
  const index = Number(id.split('-').at(-1));
  return finalAnswer(writeConversation('maths', 'prompts', index)[1]!.content);
}

/** The report: a table, then `samples` answers of every domain. */
export async function writeReport(target: Target, tokenizer: Tokenizer, promptFolder: string, losses: Record<string, number>, samples = 3): Promise<string> {
  const table = ['| domain | held-out loss, nats a token | answers that end within 300 tokens | mean length | right final answers |', '|---|---|---|---|---|'];
  const shown: string[] = [];
  for (const domain of domains) {
    const answers = await answerPrompts(target, tokenizer, promptFolder, domain, 80);
    const right = domain === 'maths' ? `${answers.filter(({ id, answer }) => finalAnswer(answer) === knownAnswer(id)).length} of ${answers.length}` : '';
    const mean = answers.reduce((sum, { tokens }) => sum + tokens, 0) / answers.length;
    table.push(`| ${domain} | ${losses[domain]!.toFixed(3)} | ${answers.filter(({ ended }) => ended).length} of ${answers.length} | ${mean.toFixed(0)} | ${right} |`);
    for (const { question, answer } of answers.slice(0, samples)) shown.push(`**${domain}**: ${question}\n\n~~~text\n${answer}\n~~~\n`);
  }
  return `${table.join('\n')}\n\n${shown.join('\n')}`;
}
