// What an Arrow cache holds: its columns, its metadata, a row in memory. docs/arrow-cache.md specifies it for other engines.
import { Field, FixedSizeList, Float16, Float32, Int32, List, Schema, Uint8, Utf8, type DataType } from 'apache-arrow';
import { UserError } from '../src/errors.js';

/** Version of the layout; readers refuse a higher one. */
export const CACHE_VERSION = 1;
/** Key of the schema metadata that holds `CacheMetadata` as JSON. */
export const METADATA_KEY = 'draftalign';

/** Where a cache comes from; `null` where it does not apply. Field names are those of the JSON. */
export interface CacheMetadata {
  format_version: number;
  /** Name or path of the target; null for token sequences alone. */
  target: string | null;
  /** SHA-256 of the target's weights. */
  target_fingerprint: string | null;
  /** SHA-256 of tokenizer.json and the chat template. */
  tokenizer_fingerprint: string | null;
  vocab_size: number | null;
  /** Width of one tap, D. */
  hidden_size: number | null;
  /** Target layers whose outputs are concatenated in `features`, in that order. */
  taps: number[] | null;
  /** How responses were generated; null where they were given. */
  generation: Record<string, unknown> | null;
  /** SHA-256 of what the rows were made from, so that a resumed capture notices other input. */
  source: string | null;
}

/** Which columns a cache has beside `input_ids` and `loss_mask`. */
export interface CacheColumns {
  /** Values of one position, T·D; 0: no features. */
  featureWidth: number;
  featureType: 'float16' | 'float32';
  /** Log-probabilities kept a position, k; 0: none. */
  topk: number;
  /** `domain` and `prompt_length` columns. */
  labels: boolean;
}

/** One sequence of S tokens. */
export interface CacheRow {
  /** `[S]` */
  inputIds: Int32Array;
  /** `[S]`, 1 where the token is one that the drafter shall learn to predict. */
  lossMask: Uint8Array;
  /** `[S, T·D]`, float16 bits or float32. */
  features?: Float32Array | Uint16Array;
  /** `[S, k]`: row s is what the target says after token s, best first. */
  topkIds?: Int32Array;
  /** `[S, k]`, float16 bits or float32, normalised over the whole vocabulary. */
  topkLogProbs?: Float32Array | Uint16Array;
  /** Where the text is from, for figures by domain. */
  domain?: string;
  /** Tokens before the first supervised one. */
  promptLength?: number;
}

/** Which of the large columns to read; default none. */
export interface RowParts {
  features?: boolean;
  topk?: boolean;
}

/** Type of a column's innermost values. */
export type ItemType = 'int32' | 'uint8' | 'float16' | 'float32';

/** A column: one value a row (`int32`, `utf8`), one value a token (`list`), or `width` values a token (`vectors`). */
export type ColumnType =
  | { kind: 'int32' }
  | { kind: 'utf8' }
  | { kind: 'list'; item: ItemType }
  | { kind: 'vectors'; item: ItemType; width: number };

export interface Column {
  name: string;
  type: ColumnType;
}

/** Bytes of one value. */
export const ITEM_BYTES: Record<ItemType, number> = { int32: 4, uint8: 1, float16: 2, float32: 4 };

/** The columns of a cache, in the order they are written. */
export function cacheColumns(options: CacheColumns): Column[] {
  const columns: Column[] = [
    { name: 'input_ids', type: { kind: 'list', item: 'int32' } },
    { name: 'loss_mask', type: { kind: 'list', item: 'uint8' } },
  ];
  if (options.featureWidth > 0) columns.push({ name: 'features', type: { kind: 'vectors', item: options.featureType, width: options.featureWidth } });
  if (options.topk > 0) {
    columns.push({ name: 'topk_ids', type: { kind: 'vectors', item: 'int32', width: options.topk } });
    columns.push({ name: 'topk_log_probs', type: { kind: 'vectors', item: 'float16', width: options.topk } });
  }
  if (options.labels) {
    columns.push({ name: 'domain', type: { kind: 'utf8' } });
    columns.push({ name: 'prompt_length', type: { kind: 'int32' } });
  }
  return columns;
}

/** A row's values for a column; throws where the row lacks them or has another type or length. */
export function columnValues(row: CacheRow, column: Column): Int32Array | Uint8Array | Uint16Array | Float32Array | string | number {
  const value = {
    input_ids: row.inputIds,
    loss_mask: row.lossMask,
    features: row.features,
    topk_ids: row.topkIds,
    topk_log_probs: row.topkLogProbs,
    domain: row.domain ?? '',
    prompt_length: row.promptLength ?? 0,
  }[column.name];
  const { type } = column;
  if (type.kind === 'utf8' || type.kind === 'int32') return value as string | number;
  const expected = row.inputIds.length * (type.kind === 'vectors' ? type.width : 1);
  const wanted = { int32: Int32Array, uint8: Uint8Array, float16: Uint16Array, float32: Float32Array }[type.item];
  if (!(value instanceof wanted) || value.length !== expected) {
    const found = ArrayBuffer.isView(value) ? `${value.constructor.name} of ${(value as Uint8Array).length}` : typeof value;
    throw new TypeError(`a cache row of ${row.inputIds.length} tokens has ${column.name} = ${found}; expected ${wanted.name} of ${expected}`);
  }
  return value;
}

/** The Arrow schema of these columns with the metadata that goes with every shard. */
export function arrowSchema(columns: readonly Column[], metadata: CacheMetadata): Schema {
  const items: Record<ItemType, () => DataType> = { int32: () => new Int32(), uint8: () => new Uint8(), float16: () => new Float16(), float32: () => new Float32() };
  const type = (column: ColumnType): DataType => {
    if (column.kind === 'int32') return new Int32();
    if (column.kind === 'utf8') return new Utf8();
    const item = new Field('item', items[column.item](), false);
    return new List(column.kind === 'list' ? item : new Field('item', new FixedSizeList(column.width, item), false));
  };
  return new Schema(
    columns.map((column) => new Field(column.name, type(column.type), false)),
    new Map([[METADATA_KEY, JSON.stringify(metadata)]]),
  );
}

/** Checks metadata read from a file; `where` names it in errors. */
export function parseMetadata(value: unknown, where: string): CacheMetadata {
  const object = value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  if (object === undefined) throw new UserError(`${where}: metadata is ${value === null ? 'null' : typeof value}; expected an object (docs/arrow-cache.md)`);
  const version = object['format_version'];
  if (version !== CACHE_VERSION) {
    throw new UserError(`${where}: format_version is ${JSON.stringify(version) ?? 'missing'}; this draftalign reads version ${CACHE_VERSION}. Capture again, or use the release that wrote it`);
  }
  const text = (key: string): string | null => {
    const found = object[key] ?? null;
    if (found !== null && typeof found !== 'string') throw new UserError(`${where}: metadata ${key} is ${JSON.stringify(found)}; expected a string or null`);
    return found;
  };
  const count = (key: string): number | null => {
    const found = object[key] ?? null;
    if (found !== null && !(Number.isSafeInteger(found) && (found as number) > 0)) throw new UserError(`${where}: metadata ${key} is ${JSON.stringify(found)}; expected a positive integer or null`);
    return found as number | null;
  };
  const taps = object['taps'] ?? null;
  if (taps !== null && !(Array.isArray(taps) && taps.every((tap) => Number.isSafeInteger(tap) && tap >= 0))) {
    throw new UserError(`${where}: metadata taps is ${JSON.stringify(taps)}; expected a list of layer numbers or null`);
  }
  const generation = object['generation'] ?? null;
  if (generation !== null && (typeof generation !== 'object' || Array.isArray(generation))) {
    throw new UserError(`${where}: metadata generation is ${JSON.stringify(generation)}; expected an object or null`);
  }
  return {
    format_version: CACHE_VERSION,
    target: text('target'),
    target_fingerprint: text('target_fingerprint'),
    tokenizer_fingerprint: text('tokenizer_fingerprint'),
    vocab_size: count('vocab_size'),
    hidden_size: count('hidden_size'),
    taps: taps as number[] | null,
    generation: generation as Record<string, unknown> | null,
    source: text('source'),
  };
}
