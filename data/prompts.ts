// Prompts for evaluation, from the published benchmark files as they are. The text is handed on untouched: no instruction is
// added, so figures depend on the file and the chat template alone.
import { UserError } from '../src/errors.js';
import { parseConversation, rowDomain, RowProblem, toMessages, type Message } from './conversations.js';
import { readLines, readSourceRows, sourceKind } from './source-rows.js';

/** One prompt: token ids, messages to answer, or the user's turns. Exactly one of the three is there. */
export interface PromptRow {
  /** From the file (`id`, `task_id`, `question_id`, …), else `line N`. */
  id: string;
  turns?: string[];
  messages?: Message[];
  promptIds?: number[];
  domain?: string;
}

/** A row that is no prompt. */
export interface PromptProblem {
  line: number;
  reason: string;
}

export interface PromptOptions {
  /** Prompts to read at most, from the file's start. */
  limit?: number;
  /** Told of rows that are no prompt; without it, the first such rows are an error. */
  onProblem?: (problem: PromptProblem) => void;
}

const ID_FIELDS = ['id', 'prompt_id', 'task_id', 'question_id', 'unique_id', 'ID', 'name'];

/**
 * Reads a prompt file: GSM8K, MATH-500, HumanEval, MBPP, MT-Bench, Spec-Bench, AIME, LiveCodeBench, Alpaca; rows with `prompt`,
 * `messages`, `turns` or `prompt_ids`; plain text, one prompt a line. JSON lines or a JSON document, possibly gzipped.
 * Throws UserError where the file cannot be read, a row is no prompt (see `onProblem`), or none is left.
 */
export async function readPrompts(file: string, options: PromptOptions = {}): Promise<PromptRow[]> {
  const { limit = Infinity, onProblem } = options;
  const prompts: PromptRow[] = [];
  const problems: PromptProblem[] = [];
  const rows = (await sourceKind(file)) === 'text' ? textRows(file) : readSourceRows(file);
  for await (const row of rows) {
    if (prompts.length >= limit) break;
    try {
      if ('problem' in row) throw new RowProblem(row.problem);
      prompts.push(parsePrompt(row.value, row.line));
    } catch (error) {
      if (!(error instanceof RowProblem)) throw error;
      const problem = { line: row.line, reason: error.message };
      problems.push(problem);
      onProblem?.(problem);
      if (onProblem === undefined && problems.length >= 10) break;
    }
  }
  if (problems.length > 0 && onProblem === undefined) {
    const listed = problems.map(({ line, reason }) => `  line ${line}: ${reason}`).join('\n');
    throw new UserError(`${file}: ${problems.length} ${problems.length === 1 ? 'row is' : 'rows are'} no prompt:\n${listed}`);
  }
  if (prompts.length === 0) throw new UserError(`${file}: holds no prompt${problems.length > 0 ? ` (line ${problems[0]!.line}: ${problems[0]!.reason})` : '; it is empty'}`);
  return prompts;
}

async function* textRows(file: string): AsyncGenerator<{ line: number; value: unknown } | { line: number; problem: string }> {
  for await (const { line, text, problem } of readLines(file)) {
    if (problem !== undefined) yield { line, problem };
    else if (text.trim() !== '') yield { line, value: text };
  }
}

function parsePrompt(row: unknown, line: number): PromptRow {
  const fields = (row !== null && typeof row === 'object' ? row : {}) as Record<string, unknown>;
  const named = ID_FIELDS.map((name) => fields[name]).find((value) => typeof value === 'string' || typeof value === 'number');
  const id = named === undefined ? `line ${line}` : String(named);
  const domain = rowDomain(row);
  const common = { id, ...(domain !== undefined && { domain }) };
  const ids = fields['prompt_ids'] ?? fields['input_ids'];
  if (ids !== undefined) return { ...common, promptIds: readIds(ids, 'prompt_ids' in fields ? 'prompt_ids' : 'input_ids') };
  const conversation = parseConversation(row);
  if (conversation.kind === 'text') return { ...common, turns: [conversation.text] };
  if (conversation.kind === 'turns') return { ...common, turns: conversation.turns };
  if (conversation.kind === 'completion') return { ...common, turns: [conversation.prompt] };
  const messages = toMessages(conversation);
  const lastUser = messages.findLastIndex((message) => message.role !== 'assistant');
  if (lastUser === -1) throw new RowProblem('has no message to answer: all are from the assistant');
  return { ...common, messages: messages.slice(0, lastUser + 1) };
}

function readIds(value: unknown, name: string): number[] {
  if (!Array.isArray(value) || value.length === 0) throw new RowProblem(`${name} is not a list of token ids`);
  const wrong = value.findIndex((id) => !Number.isSafeInteger(id) || (id as number) < 0 || (id as number) >= 2 ** 31);
  if (wrong !== -1) throw new RowProblem(`${name}[${wrong}] is ${JSON.stringify(value[wrong])}; expected a token id`);
  return value as number[];
}
