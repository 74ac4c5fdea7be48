// From files of conversations, prompts and text to token sequences with a loss mask, in the Arrow layout of the cache (without
// features). Every row that cannot be used is reported with its line and the reason.
import { createHash } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { UserError } from '../src/errors.js';
import { sha256File, writeFileAtomic } from '../src/files.js';
import { createCacheWriter, type CacheMetadata } from './arrow-cache.js';
import { differences, readManifest } from './cache-manifest.js';
import { TemplateError } from './chat-template.js';
import { parseConversation, rowDomain, RowProblem, toMessages } from './conversations.js';
import { readSourceRows, readText, sourceKind } from './source-rows.js';
import { tokenizeCompletion, tokenizeConversation, tokenizeText, type SupervisedTokens } from './supervision.js';
import type { Tokenizer } from './tokenizer.js';

/** An input file and the domain of its rows that name none. */
export interface PrepareInput {
  file: string;
  domain: string;
}

export interface PrepareOptions {
  tokenizer: Tokenizer;
  inputs: PrepareInput[];
  /** Folder for the token sequences; `out/held-out` for the held-out ones. */
  out: string;
  /** Longer sequences are cut; default 2048. */
  maxTokens?: number;
  /** Rows to read at most, over all files. */
  maxRows?: number;
  /** Share of rows set apart, 0..1; decided by each row's content, so the same row always falls on the same side. */
  heldOut?: number;
  /** Plain text: tokens at the start of each sequence that are prompt (for `capture --regenerate`); default 1. */
  promptTokens?: number;
  /** `auto`: the chat template when the tokenizer has one. */
  format?: 'auto' | 'chat' | 'raw';
  /** Further template variables. */
  variables?: Record<string, unknown>;
  /** Size of the target's embedding; default the tokenizer's. */
  vocabSize?: number;
}

/** A row left out, or a part of it. */
export interface PrepareProblem {
  file: string;
  line: number;
  reason: string;
}

/** What a preparation did. Kept as `report.json` beside the sequences. */
export interface PrepareReport {
  rowsRead: number;
  sequences: number;
  heldOutSequences: number;
  tokens: number;
  supervisedTokens: number;
  longest: number;
  /** Sequences by domain. */
  domains: Record<string, number>;
  /** Sequences without an answer: of use to `capture --regenerate` only. */
  promptOnly: number;
  /** Sequences cut at `maxTokens`. */
  truncated: number;
  /** Rows whose answers became sequences of their own, as the template changes earlier turns. */
  split: number;
  /** Rows where the template does not show where an answer begins, so that it was put after the generation prompt. */
  appended: number;
  /** Rows tokenized in pieces, as an answer begins inside a token of the whole text. */
  pieced: number;
  /** Rows of several user turns of which only the first was used, as the later ones need answers. */
  laterTurnsLeft: number;
  /** Number of rows left out. */
  problemCount: number;
  /** The first thousand of them. */
  problems: PrepareProblem[];
}

const MOST_PROBLEMS = 1000;

/** Parses `name=file` or `file` (then the file's name is the domain). */
export function parseInput(text: string): PrepareInput {
  const match = /^([\w .-]+)=(.+)$/.exec(text);
  if (match) return { domain: match[1]!, file: match[2]! };
  return { file: text, domain: basename(text).replace(/(\.(jsonl?|ndjson|txt|md))?(\.gz)?$/, '') };
}

/**
 * Prepares token sequences. Where `out` holds the same preparation already, its report is returned and nothing is done.
 * @throws UserError where an input cannot be read, no sequence is left, or `out` holds something else
 */
export async function prepareTokens(options: PrepareOptions, onProgress: (report: Readonly<PrepareReport>) => void = () => undefined): Promise<PrepareReport> {
  const { tokenizer, inputs, out, maxTokens = 2048, heldOut = 0, maxRows = Infinity } = options;
  if (inputs.length === 0) throw new UserError('no input file was named; give conversations, prompts or text with --input');
  if (!(maxTokens >= 4)) throw new UserError(`--max-tokens is ${maxTokens}; expected at least 4`);
  if (!(heldOut >= 0 && heldOut < 1)) throw new UserError(`--held-out is ${heldOut}; expected a share from 0 up to, not including, 1`);
  const raw = options.format === 'raw' || (options.format !== 'chat' && !tokenizer.hasChatTemplate);
  if (options.format === 'chat' && !tokenizer.hasChatTemplate) throw new UserError(`${tokenizer.folder}: has no chat template; leave out --format chat`);
  const metadata = await describeSource(options, raw);
  const earlier = await findEarlier(out, metadata);
  if (earlier !== undefined) return earlier;

  const columns = { featureWidth: 0, featureType: 'float16', topk: 0, labels: true } as const;
  const main = await createCacheWriter(out, { metadata, columns });
  const apart = heldOut > 0 ? await createCacheWriter(join(out, 'held-out'), { metadata: { ...metadata, source: `${metadata.source}-held-out` }, columns }) : undefined;
  const report = emptyReport();
  const problem = (file: string, line: number, reason: string): void => {
    report.problemCount++;
    if (report.problems.length < MOST_PROBLEMS) report.problems.push({ file, line, reason });
  };
  try {
    for (const input of inputs) {
      for await (const { line, ...row } of inputRows(input.file)) {
        if (report.rowsRead >= maxRows) break;
        report.rowsRead++;
        let sequences: SupervisedTokens[];
        try {
          if ('problem' in row) throw new RowProblem(row.problem);
          sequences = tokenizeRow(row.value, options, raw, maxTokens, report);
        } catch (error) {
          if (!(error instanceof RowProblem) && !(error instanceof TemplateError)) throw error;
          problem(input.file, line, error instanceof TemplateError ? `the chat template refuses it: ${error.message}` : error.message);
          continue;
        }
        const domain = rowDomain(row.value) ?? input.domain;
        for (const sequence of sequences) {
          const reason = cut(sequence, maxTokens, report);
          if (reason !== undefined) {
            problem(input.file, line, reason);
            continue;
          }
          const writer = apart !== undefined && isHeldOut(sequence.inputIds, heldOut) ? apart : main;
          await writer.append({ inputIds: Int32Array.from(sequence.inputIds), lossMask: Uint8Array.from(sequence.lossMask), domain, promptLength: sequence.promptLength });
          if (writer.shardBytes > 256 * 2 ** 20) await writer.finishShard(report.rowsRead);
          count(report, sequence, domain, writer === apart);
        }
        if (report.rowsRead % 500 === 0) onProgress(report);
      }
    }
    if (report.sequences === 0) throw new UserError(nothingLeft(report, inputs));
    if (apart !== undefined && report.heldOutSequences === 0) {
      problem(inputs[0]!.file, 0, `no row fell to the held-out side (share ${heldOut}); take more rows or a larger share`);
    }
  } catch (error) {
    await main.abort();
    await apart?.abort();
    throw error;
  }
  await apart?.finish(report.rowsRead);
  await writeFileAtomic(join(out, 'report.json'), `${JSON.stringify(report, null, 1)}\n`);
  // The main manifest comes last: where it says complete, everything else is there.
  await main.finish(report.rowsRead);
  return report;
}

async function* inputRows(file: string): AsyncGenerator<{ line: number; value: unknown } | { line: number; problem: string; value?: undefined }> {
  if ((await sourceKind(file)) === 'text') yield { line: 1, value: { text: await readText(file) } };
  else yield* readSourceRows(file);
}

async function describeSource(options: PrepareOptions, raw: boolean): Promise<CacheMetadata> {
  const { tokenizer, inputs, maxTokens = 2048, maxRows, heldOut = 0, promptTokens = 1, variables = {} } = options;
  const files = await Promise.all(
    inputs.map(async ({ file, domain }) => {
      await sourceKind(file);
      return { domain, sha256: await sha256File(file) };
    }),
  );
  const source = createHash('sha256').update(JSON.stringify({ files, raw, maxTokens, maxRows, heldOut, promptTokens, variables })).digest('hex');
  return {
    format_version: 1,
    target: null,
    target_fingerprint: null,
    tokenizer_fingerprint: tokenizer.fingerprint,
    vocab_size: Math.max(tokenizer.size, options.vocabSize ?? 0),
    hidden_size: null,
    taps: null,
    generation: null,
    source,
  };
}

/** The report of an earlier, equal preparation; an unfinished one is cleared away. */
async function findEarlier(out: string, metadata: CacheMetadata): Promise<PrepareReport | undefined> {
  const manifest = await readManifest(out, 'manifest.json');
  if (manifest === undefined) return undefined;
  const different = differences(manifest.metadata, metadata);
  if (different.length > 0) {
    throw new UserError(`${out}: holds sequences prepared from other input or in another way (${different.map((text) => text.split(' is ')[0]).join(', ')} differ); name another --out, or delete this folder`);
  }
  if (manifest.complete) return JSON.parse(await readFile(join(out, 'report.json'), 'utf8')) as PrepareReport;
  for (const folder of [out, join(out, 'held-out')]) await rm(join(folder, 'manifest.json'), { force: true });
  return undefined;
}

function tokenizeRow(row: unknown, options: PrepareOptions, raw: boolean, maxTokens: number, report: PrepareReport): SupervisedTokens[] {
  const { tokenizer, variables, promptTokens = 1 } = options;
  const conversation = parseConversation(row);
  if (conversation.kind === 'text') return [...tokenizeText(tokenizer, conversation.text, maxTokens, promptTokens)];
  if (conversation.kind === 'turns' && conversation.turns.length > 1) report.laterTurnsLeft++;
  if (raw) {
    if (conversation.kind === 'messages') throw new RowProblem('is a conversation, but the tokenizer has no chat template to put its messages together; give prompt and completion, or text');
    const prompt = conversation.kind === 'turns' ? conversation.turns[0]! : conversation.prompt;
    const { sequence, pieced } = tokenizeCompletion(tokenizer, prompt, conversation.kind === 'turns' ? null : conversation.completion);
    if (pieced) report.pieced++;
    return [sequence];
  }
  const { sequences, way, pieced } = tokenizeConversation(tokenizer, toMessages(conversation), { variables });
  if (way !== 'whole') report[way]++;
  if (pieced) report.pieced++;
  return sequences;
}

/** Cuts a sequence to `maxTokens`; says why where nothing of use is left. */
function cut(sequence: SupervisedTokens, maxTokens: number, report: PrepareReport): string | undefined {
  const { inputIds, promptLength } = sequence;
  const isPrompt = promptLength === inputIds.length;
  if (inputIds.length === 0) return 'has no token';
  if (inputIds.length > maxTokens) {
    if (promptLength + 2 > maxTokens) return `its prompt alone has ${promptLength} tokens; --max-tokens is ${maxTokens}`;
    sequence.inputIds = inputIds.slice(0, maxTokens);
    sequence.lossMask = sequence.lossMask.slice(0, maxTokens);
    report.truncated++;
  }
  if (isPrompt) return undefined;
  const hasAnchor = sequence.lossMask.some((value, i) => value === 1 && sequence.lossMask[i + 1] === 1);
  return hasAnchor ? undefined : 'its answers have no two tokens in a row, so no block can begin in it';
}

function isHeldOut(ids: readonly number[], share: number): boolean {
  const digest = createHash('sha256').update(ids.join()).digest();
  return digest.readUInt32LE(0) / 2 ** 32 < share;
}

function count(report: PrepareReport, { inputIds, lossMask, promptLength }: SupervisedTokens, domain: string, heldOut: boolean): void {
  if (heldOut) {
    report.heldOutSequences++;
    return;
  }
  report.sequences++;
  report.tokens += inputIds.length;
  report.supervisedTokens += lossMask.reduce((sum, value) => sum + value, 0);
  report.longest = Math.max(report.longest, inputIds.length);
  report.domains[domain] = (report.domains[domain] ?? 0) + 1;
  if (promptLength === inputIds.length) report.promptOnly++;
}

function emptyReport(): PrepareReport {
  const zero = { rowsRead: 0, sequences: 0, heldOutSequences: 0, tokens: 0, supervisedTokens: 0, longest: 0 };
  return { ...zero, domains: {}, promptOnly: 0, truncated: 0, split: 0, appended: 0, pieced: 0, laterTurnsLeft: 0, problemCount: 0, problems: [] };
}

function nothingLeft(report: PrepareReport, inputs: readonly PrepareInput[]): string {
  const names = inputs.map((input) => input.file).join(', ');
  const first = report.problems.slice(0, 5).map(({ file, line, reason }) => `\n  ${file}:${line}: ${reason}`);
  return `no sequence could be made from ${names} (${report.rowsRead} rows read)${first.length > 0 ? `; the first problems:${first.join('')}` : ''}`;
}
