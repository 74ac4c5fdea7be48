// From the row formats in use to one: messages, a prompt with its completion, or text. Pure; a row that fits no format, or
// only half, comes back as the reason why.

/** A message as chat templates take it; other keys (tool calls, names, reasoning) are handed to the template as they are. */
export interface Message {
  role: string;
  content: string;
  [key: string]: unknown;
}

/** A row as training and evaluation understand it. */
export type Conversation =
  | { kind: 'messages'; messages: Message[] }
  | { kind: 'turns'; turns: string[] }
  | { kind: 'text'; text: string }
  | { kind: 'completion'; prompt: string; completion: string | null };

/** Thrown for a row that fits no format; the message says why and goes into the report. */
export class RowProblem extends Error {
  override readonly name = 'RowProblem';
}

type Fields = Record<string, unknown>;

// ShareGPT and its kin name the speakers freely.
const ROLES: Record<string, string> = {
  human: 'user',
  user: 'user',
  prompter: 'user',
  gpt: 'assistant',
  chatgpt: 'assistant',
  assistant: 'assistant',
  bot: 'assistant',
  bing: 'assistant',
  bard: 'assistant',
  model: 'assistant',
  system: 'system',
  developer: 'developer',
  tool: 'tool',
  function: 'tool',
  observation: 'tool',
};

// Prompt and answer of published sets, tried in this order: the first prompt field that is there decides.
const PAIRS: [prompt: string, answers: string[]][] = [
  ['prompt', ['completion', 'response', 'output', 'chosen', 'canonical_solution', 'code', 'answer']], // generic; HumanEval; MBPP (sanitized)
  ['question', ['answer', 'response', 'solution']], // GSM8K, AIME (some copies)
  ['problem', ['solution', 'answer']], // MATH-500, AIME
  ['Problem', ['Solution', 'Answer']], // AIME 2024
  ['question_content', []], // LiveCodeBench
  ['query', ['response', 'answer']],
];

/** Reads a row. Throws `RowProblem` where it fits no format. */
export function parseConversation(row: unknown): Conversation {
  if (typeof row === 'string') return { kind: 'text', text: nonEmpty(row, 'the row') };
  if (row === null || typeof row !== 'object' || Array.isArray(row)) {
    throw new RowProblem(`is ${row === null ? 'null' : Array.isArray(row) ? 'a list' : `a ${typeof row}`}; expected an object`);
  }
  const fields = row as Fields;
  if (has(fields, 'messages')) return { kind: 'messages', messages: withSystem(fields, readMessages(fields['messages'], 'messages')) };
  if (has(fields, 'conversations')) return { kind: 'messages', messages: withSystem(fields, readMessages(fields['conversations'], 'conversations')) };
  if (has(fields, 'conversation')) return { kind: 'messages', messages: withSystem(fields, readMessages(fields['conversation'], 'conversation')) };
  if (has(fields, 'turns')) return readTurns(fields);
  if (Array.isArray(fields['prompt'])) {
    const messages = readMessages(fields['prompt'], 'prompt');
    if (Array.isArray(fields['completion'])) messages.push(...readMessages(fields['completion'], 'completion'));
    else if (typeof fields['completion'] === 'string') messages.push({ role: 'assistant', content: nonEmpty(fields['completion'], 'completion') });
    return { kind: 'messages', messages: withSystem(fields, messages) };
  }
  if (has(fields, 'instruction')) return readInstruction(fields);
  for (const [prompt, answers] of PAIRS) {
    if (has(fields, prompt)) return readPair(fields, prompt, answers);
  }
  if (has(fields, 'text')) return has(fields, 'code') ? readPair(fields, 'text', ['code']) : { kind: 'text', text: readString(fields, 'text') }; // MBPP
  const names = Object.keys(fields).slice(0, 12).join(', ');
  throw new RowProblem(`has none of the fields messages, conversations, turns, prompt, instruction, question, problem, text; it has: ${names || 'nothing'}`);
}

function has(fields: Fields, name: string): boolean {
  return fields[name] !== undefined && fields[name] !== null;
}

function readString(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string') throw new RowProblem(`${name} is ${Array.isArray(value) ? 'a list' : `a ${typeof value}`}; expected text`);
  return nonEmpty(value, name);
}

function nonEmpty(text: string, name: string): string {
  if (text.trim() === '') throw new RowProblem(`${name} is empty`);
  return text;
}

function readPair(fields: Fields, promptName: string, answers: string[]): Conversation {
  const prompt = readString(fields, promptName);
  const answer = answers.find((name) => typeof fields[name] === 'string' && (fields[name] as string).trim() !== '');
  const completion = answer === undefined ? null : (fields[answer] as string);
  if (typeof fields['system'] === 'string' && fields['system'].trim() !== '') {
    const messages: Message[] = [{ role: 'system', content: fields['system'] }, { role: 'user', content: prompt }];
    if (completion !== null) messages.push({ role: 'assistant', content: completion });
    return { kind: 'messages', messages };
  }
  return { kind: 'completion', prompt, completion };
}

// Alpaca: https://github.com/tatsu-lab/stanford_alpaca; the input belongs to the instruction.
function readInstruction(fields: Fields): Conversation {
  const instruction = readString(fields, 'instruction');
  const input = typeof fields['input'] === 'string' ? fields['input'].trim() : '';
  const pair = readPair({ ...fields, instruction: input === '' ? instruction : `${instruction}\n\n${input}` }, 'instruction', ['output', 'response', 'completion']);
  return pair;
}

// MT-Bench and Spec-Bench list the user's turns as text; others list messages under the same name.
function readTurns(fields: Fields): Conversation {
  const turns = fields['turns'];
  if (!Array.isArray(turns) || turns.length === 0) throw new RowProblem('turns is not a list with at least one entry');
  if (turns.every((turn) => typeof turn === 'string')) return { kind: 'turns', turns: turns.map((turn, i) => nonEmpty(turn as string, `turns[${i}]`)) };
  return { kind: 'messages', messages: withSystem(fields, readMessages(turns, 'turns')) };
}

function withSystem(fields: Fields, messages: Message[]): Message[] {
  const system = fields['system'] ?? fields['system_prompt'];
  if (typeof system !== 'string' || system.trim() === '' || messages[0]?.role === 'system') return messages;
  return [{ role: 'system', content: system }, ...messages];
}

function readMessages(value: unknown, name: string): Message[] {
  if (!Array.isArray(value) || value.length === 0) throw new RowProblem(`${name} is not a list with at least one message`);
  return value.map((entry: unknown, i) => {
    if (entry === null || typeof entry !== 'object') throw new RowProblem(`${name}[${i}] is not an object`);
    const { role, from, content, value: text, ...rest } = entry as Fields;
    const speaker = role ?? from;
    if (typeof speaker !== 'string') throw new RowProblem(`${name}[${i}] has no role (or from)`);
    const known = ROLES[speaker.toLowerCase()];
    if (known === undefined) throw new RowProblem(`${name}[${i}] has the unknown role ${JSON.stringify(speaker)}; known: ${Object.keys(ROLES).join(', ')}`);
    return { ...rest, role: known, content: readContent(content ?? text, `${name}[${i}].content`, 'tool_calls' in rest) };
  });
}

function readContent(content: unknown, name: string, mayBeEmpty: boolean): string {
  if (typeof content === 'string') return content;
  if (content === null || content === undefined) {
    if (mayBeEmpty) return '';
    throw new RowProblem(`${name} is missing`);
  }
  if (!Array.isArray(content)) throw new RowProblem(`${name} is a ${typeof content}; expected text`);
  return content
    .map((part: unknown) => {
      const { type, text } = (part ?? {}) as Fields;
      if (typeof part === 'string') return part;
      if (type === 'text' && typeof text === 'string') return text;
      throw new RowProblem(`${name} has a part of type ${JSON.stringify(type)}; only text is understood`);
    })
    .join('');
}

/** The messages of a conversation that is not plain text; `turns` gives its first turn, as the later ones need the target's answers. */
export function toMessages(conversation: Exclude<Conversation, { kind: 'text' }>): Message[] {
  switch (conversation.kind) {
    case 'messages':
      return conversation.messages;
    case 'turns':
      return [{ role: 'user', content: conversation.turns[0]! }];
    case 'completion': {
      const messages: Message[] = [{ role: 'user', content: conversation.prompt }];
      if (conversation.completion !== null) messages.push({ role: 'assistant', content: conversation.completion });
      return messages;
    }
  }
}

/** The row's own label, if it has one. */
export function rowDomain(row: unknown): string | undefined {
  const domain = row !== null && typeof row === 'object' ? (row as Fields)['domain'] : undefined;
  return typeof domain === 'string' && domain !== '' ? domain : undefined;
}
