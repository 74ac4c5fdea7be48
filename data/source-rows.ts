// Rows of the files that users bring: JSON lines, JSON documents and plain text, each possibly gzipped, and Parquet. Read as a stream, so a
// file may be larger than memory; a line that cannot be read is handed on as a problem with its number, never dropped.
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { UserError } from '../src/errors.js';
import { readParquetRows } from './parquet-rows.js';

/** One row of a file: its place and its value, or why it cannot be read. */
export type SourceRow = { line: number; value: unknown } | { line: number; problem: string };

/** What a file holds, judged by its name and first bytes. */
export type SourceKind = 'lines' | 'document' | 'text' | 'parquet';

const MOST_LINE_BYTES = 64 * 2 ** 20;
const MOST_DOCUMENT_BYTES = 2 ** 30;
const PARQUET_MARK = Buffer.from('PAR1');
const LISTS = ['data', 'rows', 'examples', 'instances', 'questions', 'prompts', 'conversations'];

/** Judges a file: JSON lines, one JSON document, plain text, or Parquet. Throws UserError where it cannot be read or is binary. */
export async function sourceKind(file: string): Promise<SourceKind> {
  const name = file.replace(/\.gz$/, '');
  const unreadable = /\.(arrow|csv|tsv|xlsx?|zip|tar|bz2|zst)$/.exec(name);
  if (unreadable) throw new UserError(`${file}: ${unreadable[0]} files are not read; convert it to Parquet or JSON lines (.jsonl), one row a line`);
  const head = await firstBytes(file, 4096);
  if (head.subarray(0, 4).equals(PARQUET_MARK)) return 'parquet';
  if (head.includes(0)) throw new UserError(`${file}: is a binary file; expected JSON lines, JSON or plain text, UTF-8, possibly gzipped, or Parquet`);
  if (/\.(txt|text|md)$/.test(name)) return 'text';
  const start = head.toString('utf8').replace(/^\ufeff/, '').trimStart();
  if (start.startsWith('[')) return 'document';
  // A document printed over several lines has a first line that is not JSON by itself.
  if (start.startsWith('{')) return /\.jsonl?$|\.ndjson$/.test(name) ? (name.endsWith('.json') && !isJson(start.split('\n')[0]!) ? 'document' : 'lines') : 'lines';
  if (/\.(jsonl?|ndjson)$/.test(name)) return 'lines';
  return 'text';
}

/** The rows of a JSON, JSON-lines or Parquet file; `line` counts lines, items of a document, or rows of a table from 1. */
export async function* readSourceRows(file: string): AsyncGenerator<SourceRow> {
  const kind = await sourceKind(file);
  if (kind === 'document' || kind === 'parquet') {
    yield* kind === 'document' ? documentRows(file) : tableRows(file);
    return;
  }
  for await (const { line, text, problem } of readLines(file)) {
    if (problem !== undefined) yield { line, problem };
    else if (text.trim() !== '') yield parseRow(line, text);
  }
}

function parseRow(line: number, text: string): SourceRow {
  try {
    return { line, value: JSON.parse(text) };
  } catch (error) {
    return { line, problem: `is not JSON (${(error as Error).message})` };
  }
}

async function* documentRows(file: string): AsyncGenerator<SourceRow> {
  const text = await readText(file);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${file}: is not a JSON document (${(error as Error).message}); expected a list of rows, or one row a line in a .jsonl file`);
  }
  const list = Array.isArray(value) ? value : LISTS.map((key) => (value as Record<string, unknown>)[key]).find(Array.isArray);
  // A single object without a list in it is one row; {"conversations": [...]} is one too, unless its entries are rows themselves.
  const rows = list === undefined || (!Array.isArray(value) && isRow(value)) ? [value] : list;
  for (const [i, row] of rows.entries()) {
    // The datasets server of Hugging Face wraps rows as {"row_idx": 0, "row": {...}}.
    const inner = row !== null && typeof row === 'object' && 'row_idx' in row ? (row as { row?: unknown }).row : row;
    yield { line: i + 1, value: inner };
  }
}

async function* tableRows(file: string): AsyncGenerator<SourceRow> {
  let line = 1;
  for await (const value of readParquetRows(file)) yield { line: line++, value };
}

function isRow(value: unknown): boolean {
  const conversation = (value as Record<string, unknown>)['conversations'];
  return Array.isArray(conversation) && conversation.some((entry) => entry !== null && typeof entry === 'object' && 'from' in entry);
}

/** The whole of a text file, gunzipped where needed. Throws UserError where it is larger than a gigabyte. */
export async function readText(file: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of contentStream(file)) {
    bytes += chunk.byteLength;
    if (bytes > MOST_DOCUMENT_BYTES) throw new UserError(`${file}: is larger than a gigabyte; split it, or use JSON lines, which are read line by line`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8').replace(/^\ufeff/, '');
}

/** A line of a text file, without its end. */
export interface SourceLine {
  line: number;
  text: string;
  problem?: string;
}

/** The lines of a text file, numbered from 1. A line over 64 MiB is a problem and its text is left out. */
export async function* readLines(file: string): AsyncGenerator<SourceLine> {
  let line = 1;
  let pieces: Uint8Array[] = [];
  let bytes = 0;
  const finished = (): SourceLine => {
    const text = bytes > MOST_LINE_BYTES ? '' : Buffer.concat(pieces).toString('utf8').replace(/\r$/, '');
    const problem = bytes > MOST_LINE_BYTES ? `has ${bytes} bytes, more than the ${MOST_LINE_BYTES} allowed` : undefined;
    pieces = [];
    bytes = 0;
    return { line, text: line++ === 1 ? text.replace(/^\ufeff/, '') : text, ...(problem && { problem }) };
  };
  for await (const chunk of contentStream(file)) {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      bytes += end - start;
      if (bytes <= MOST_LINE_BYTES) pieces.push(chunk.subarray(start, end));
      yield finished();
      start = end + 1;
    }
    bytes += chunk.byteLength - start;
    if (bytes <= MOST_LINE_BYTES) pieces.push(chunk.subarray(start));
    else pieces = [];
  }
  if (bytes > 0) yield finished();
}

async function* contentStream(file: string): AsyncGenerator<Uint8Array> {
  const isGzip = (await rawBytes(file, 2)).equals(Buffer.from([0x1f, 0x8b]));
  const raw = createReadStream(file, { highWaterMark: 2 ** 18 });
  const stream = isGzip ? raw.pipe(createGunzip()) : raw;
  if (isGzip) raw.on('error', (error) => stream.destroy(error));
  try {
    for await (const chunk of stream) yield chunk as Uint8Array;
  } catch (error) {
    throw new UserError(`${file}: cannot be read: ${(error as Error).message}`);
  } finally {
    raw.destroy();
  }
}

async function firstBytes(file: string, count: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of contentStream(file)) {
    chunks.push(chunk);
    bytes += chunk.byteLength;
    if (bytes >= count) break;
  }
  return Buffer.concat(chunks).subarray(0, count);
}

async function rawBytes(file: string, count: number): Promise<Buffer> {
  try {
    const handle = await open(file);
    try {
      if (!(await handle.stat()).isFile()) throw new UserError(`${file}: is not a regular file`);
      const buffer = Buffer.alloc(count);
      const { bytesRead } = await handle.read(buffer, 0, count, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new UserError(code === 'ENOENT' ? `there is no file ${file}` : `${file}: cannot be opened (${code ?? (error as Error).message})`);
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
