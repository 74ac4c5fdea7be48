// Prompt sets as the command line names them: `NAME=FILE`, a file alone, or the name of a published benchmark; read and encoded for a target.
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { readPrompts } from '../../data/prompts.js';
import type { Tokenizer } from '../../data/tokenizer.js';
import { encodePromptSet, type PromptSet, type PromptSource } from '../decoding/prompt-encoding.js';
import { UserError } from '../errors.js';
import { resolveDatasetFile } from '../models/hub.js';
import { benchmarks } from './benchmarks.js';

/** A prompt set before it is read. */
export interface NamedPrompts {
  name: string;
  file: string;
}

/**
 * Parses `NAME=FILE`; a file alone is named for itself, a benchmark (benchmarks.ts) is downloaded where it is not in the cache yet.
 * Throws UserError where there is no such file, or it cannot be had.
 */
export async function promptsOf(argument: string): Promise<NamedPrompts> {
  const [, named, path] = /^([\w .-]+)=(.+)$/.exec(argument) ?? [];
  const file = path ?? argument;
  if (!existsSync(file)) {
    const benchmark = Object.hasOwn(benchmarks, file) ? benchmarks[file] : undefined;
    if (benchmark !== undefined) return { name: named ?? file, file: await resolveDatasetFile(benchmark.dataset, benchmark.file) };
    throw new UserError(`--prompts ${argument}: there is no file ${file}. Give NAME=FILE, or one of ${Object.keys(benchmarks).join(', ')}, which are downloaded.`);
  }
  return { name: named ?? basename(file).replace(/(\.(jsonl?|ndjson|parquet|txt|md))?(\.gz)?$/, ''), file };
}

export interface ReadPromptSetsOptions {
  tokenizer?: Tokenizer;
  vocabSize: number;
  /** Prompts of a set at most. */
  limit?: number;
  maxPromptTokens: number;
  format: 'auto' | 'chat' | 'raw';
}

/** Reads and encodes prompt sets. Throws UserError where a name is given twice, a file cannot be read, or nothing is left to decode. */
export async function readPromptSets(sets: readonly NamedPrompts[], options: ReadPromptSetsOptions): Promise<PromptSet[]> {
  const { tokenizer, vocabSize, limit, maxPromptTokens, format } = options;
  const twice = sets.find(({ name }, i) => sets.findIndex((other) => other.name === name) !== i);
  if (twice !== undefined) throw new UserError(`two prompt sets are named ${twice.name}: give each its own name, NAME=FILE.`);
  const encoded: PromptSet[] = [];
  for (const { name, file } of sets) {
    const rows = await readPrompts(file, limit === undefined ? {} : { limit });
    const prompts = rows.map((row): PromptSource => ({
      id: row.id,
      ...(row.promptIds !== undefined && { promptIds: row.promptIds }),
      ...(row.turns !== undefined && { turns: row.turns }),
      ...(row.messages !== undefined && { messages: row.messages as { role: string; content: string }[] }),
    }));
    encoded.push(encodePromptSet(name, prompts, tokenizer, { source: file, vocabSize, maxPromptTokens, format }));
  }
  return encoded;
}
