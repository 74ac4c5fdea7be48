// The manifest of a cache folder: which shards it has, how many rows and bytes each, their SHA-256. Each of several writers
// keeps its own; they are put together when the cache is opened. A manifest names files of its own folder only.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../src/errors.js';
import { writeFileAtomic } from '../src/files.js';
import { parseMetadata, type CacheMetadata } from './cache-layout.js';

/** One of `count` writers of a cache; `index` from 1. */
export interface Part {
  index: number;
  count: number;
}

/** A finished shard. */
export interface Shard {
  /** File name, in the manifest's folder. */
  file: string;
  rows: number;
  bytes: number;
  sha256: string;
  /** Input rows it covers, `[from, to)`; a resumed capture goes on at the last `to`. Optional for other writers. */
  source_rows?: [number, number];
}

export interface Manifest {
  metadata: CacheMetadata;
  part: Part;
  /** false while shards are still to come. */
  complete: boolean;
  shards: Shard[];
}

const FORMAT = 'draftalign-cache';
const MOST_MANIFEST_BYTES = 256 * 2 ** 20;

/** File name of a part's manifest. */
export function manifestName(part: Part): string {
  return part.count === 1 ? 'manifest.json' : `manifest-${partName(part)}.json`;
}

/** File name of a part's shard, by its number from 0. */
export function shardName(part: Part, index: number): string {
  const number = String(index).padStart(5, '0');
  return part.count === 1 ? `shard-${number}.arrow` : `part-${partName(part)}-shard-${number}.arrow`;
}

function partName({ index, count }: Part): string {
  return `${String(index).padStart(5, '0')}-of-${String(count).padStart(5, '0')}`;
}

/** Writes a part's manifest, atomically. */
export async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  const json = JSON.stringify({ format: FORMAT, ...manifest }, null, 1);
  await writeFileAtomic(join(folder, manifestName(manifest.part)), `${json}\n`);
}

/** Reads one manifest; undefined where there is none. Throws UserError where it is damaged or names files elsewhere. */
export async function readManifest(folder: string, name: string): Promise<Manifest | undefined> {
  const path = join(folder, name);
  let text: string;
  try {
    const bytes = await readFile(path);
    if (bytes.byteLength > MOST_MANIFEST_BYTES) throw new UserError(`${path}: ${bytes.byteLength} bytes are too many for a manifest`);
    text = bytes.toString('utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${path}: is not JSON (${(error as Error).message}); write the cache again`);
  }
  return parseManifest(value, path);
}

function parseManifest(value: unknown, path: string): Manifest {
  const object = (value !== null && typeof value === 'object' ? value : {}) as Record<string, unknown>;
  if (object['format'] !== FORMAT) throw new UserError(`${path}: format is ${JSON.stringify(object['format']) ?? 'missing'}; expected "${FORMAT}"`);
  const isCount = (found: unknown, least: number): found is number => Number.isSafeInteger(found) && (found as number) >= least;
  const part = (object['part'] ?? { index: 1, count: 1 }) as Partial<Part>;
  if (!isCount(part.index, 1) || !isCount(part.count, 1) || part.index > part.count) {
    throw new UserError(`${path}: part is ${JSON.stringify(object['part'])}; expected {"index": 1..count, "count": at least 1}`);
  }
  if (!Array.isArray(object['shards'])) throw new UserError(`${path}: shards is ${JSON.stringify(object['shards']) ?? 'missing'}; expected a list`);
  const shards = (object['shards'] as unknown[]).map((entry, i): Shard => {
    const shard = (entry !== null && typeof entry === 'object' ? entry : {}) as Record<string, unknown>;
    const { file, rows, bytes, sha256, source_rows: source } = shard;
    const wrong = (key: string, expected: string): UserError =>
      new UserError(`${path}: shards[${i}].${key} is ${JSON.stringify(shard[key]) ?? 'missing'}; expected ${expected}`);
    if (typeof file !== 'string' || !/^[\w][\w.-]*$/.test(file)) throw wrong('file', 'a plain file name of this folder (letters, digits, ".", "_", "-")');
    if (!isCount(rows, 0)) throw wrong('rows', 'a count');
    if (!isCount(bytes, 1)) throw wrong('bytes', 'a count');
    if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) throw wrong('sha256', '64 hexadecimal digits');
    if (source === undefined) return { file, rows, bytes, sha256 };
    if (!Array.isArray(source) || source.length !== 2 || !isCount(source[0], 0) || !isCount(source[1], source[0])) throw wrong('source_rows', '[from, to]');
    return { file, rows, bytes, sha256, source_rows: [source[0], source[1]] };
  });
  const names = new Set(shards.map((shard) => shard.file));
  if (names.size < shards.length) throw new UserError(`${path}: names a shard twice`);
  return { metadata: parseMetadata(object['metadata'], path), part: { index: part.index, count: part.count }, complete: object['complete'] !== false, shards };
}

/** All of a cache's manifests put together, in the order of their parts. */
export interface CacheContents {
  metadata: CacheMetadata;
  shards: Shard[];
  complete: boolean;
}

/**
 * Reads the manifests of a cache folder and puts them together. Throws UserError where there is none, parts are missing,
 * unfinished (unless `allowIncomplete`) or captured in different ways.
 */
export async function readContents(folder: string, allowIncomplete = false): Promise<CacheContents> {
  let names: string[];
  try {
    names = (await readdir(folder)).filter((name) => /^manifest(-\d+-of-\d+)?\.json$/.test(name)).sort();
  } catch (error) {
    throw new UserError(`${folder}: cannot be read as a cache folder (${(error as NodeJS.ErrnoException).code}); make one with \`draftalign prepare\` or \`draftalign capture\``);
  }
  if (names.length === 0) throw new UserError(`${folder}: has no manifest.json, so it is not a cache folder (or nothing is finished in it yet); make one with \`draftalign prepare\` or \`draftalign capture\``);
  const manifests = (await Promise.all(names.map((name) => readManifest(folder, name)))) as Manifest[];
  const count = manifests[0]!.part.count;
  if (manifests.some((manifest) => manifest.part.count !== count) || new Set(manifests.map(({ part }) => part.index)).size < manifests.length) {
    throw new UserError(`${folder}: its manifests disagree on the number of parts (${names.join(', ')}); keep the files of one capture only`);
  }
  const missing = Array.from({ length: count }, (_, i) => i + 1).filter((index) => !manifests.some(({ part, complete }) => part.index === index && complete));
  if (missing.length > 0 && !allowIncomplete) {
    throw new UserError(`${folder}: not finished: ${count === 1 ? 'shards are still to come' : `part ${missing.join(', ')} of ${count} is missing or unfinished`}; run the same capture command again to go on`);
  }
  manifests.sort((a, b) => a.part.index - b.part.index);
  const [first] = manifests as [Manifest];
  for (const manifest of manifests) {
    const different = differences(first.metadata, manifest.metadata);
    if (different.length > 0) throw new UserError(`${folder}: parts ${first.part.index} and ${manifest.part.index} were captured in different ways: ${different.join('; ')}`);
  }
  return { metadata: first.metadata, shards: manifests.flatMap((manifest) => manifest.shards), complete: missing.length === 0 };
}

/** What differs between two captures' metadata, in words; empty where nothing does. */
export function differences(a: CacheMetadata, b: CacheMetadata): string[] {
  return (Object.keys(a) as (keyof CacheMetadata)[])
    .filter((key) => canonical(a[key]) !== canonical(b[key]))
    .map((key) => `${key} is ${canonical(a[key])} in one and ${canonical(b[key])} in the other`);
}

function canonical(value: unknown): string {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return JSON.stringify(value ?? null);
  const entries = Object.entries(value as Record<string, unknown>).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join(',')}}`;
}
