// Reads a cache row by row, at random. Opening reads footers, batch headers and list offsets; a row is read by its byte ranges,
// so memory is bounded by one row, whatever the size of shards and record batches.
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../src/errors.js';
import { readBatchHeader, readBytes, readFooter, type ArrowFooter, type BatchBlock, type ColumnRanges } from './arrow-reader.js';
import { ITEM_BYTES, METADATA_KEY, parseMetadata, type CacheColumns, type CacheMetadata, type CacheRow, type Column, type RowParts } from './cache-layout.js';
import { differences, readContents, type Shard } from './cache-manifest.js';

/** An open cache. It holds no file open between reads. */
export interface Cache {
  readonly folder: string;
  readonly rowCount: number;
  readonly metadata: CacheMetadata;
  readonly columns: CacheColumns;
  /** Bytes of all shards. */
  readonly bytes: number;
  /** Tokens of every row, `[rowCount]`. */
  lengths(): Int32Array;
  /** Reads one row: ids, mask and labels, and what `parts` asks for and the cache has. */
  readRow(row: number, parts?: RowParts): Promise<CacheRow>;
}

interface BatchIndex {
  shard: number;
  block: BatchBlock;
  /** Number of the batch's first row in the cache. */
  firstRow: number;
  rows: number;
}

interface ShardIndex {
  path: string;
  footer: ArrowFooter;
}

const KNOWN: Record<string, string> = {
  input_ids: 'List<Int32>',
  loss_mask: 'List<UInt8>',
  features: 'List<FixedSizeList<Float16, T·D>>',
  topk_ids: 'List<FixedSizeList<Int32, k>>',
  topk_log_probs: 'List<FixedSizeList<Float16, k>>',
  domain: 'Utf8',
  prompt_length: 'Int32',
};
const SMALL = ['input_ids', 'loss_mask', 'domain', 'prompt_length'];

/** Opens a cache folder. Throws UserError where it is damaged, unfinished (unless allowed) or of another layout. */
export async function openCache(folder: string, options: { allowIncomplete?: boolean } = {}): Promise<Cache> {
  const contents = await readContents(folder, options.allowIncomplete);
  const rowCount = contents.shards.reduce((sum, shard) => sum + shard.rows, 0);
  if (rowCount > 2 ** 31) throw new UserError(`${folder}: its manifest claims ${rowCount} rows; at most 2^31 can be read`);
  const shards: ShardIndex[] = [];
  const batches: BatchIndex[] = [];
  const lengths: Int32Array[] = [];
  let columns: CacheColumns | undefined;
  let firstRow = 0;
  for (const shard of contents.shards) {
    const index = await openShard(folder, shard, contents.metadata, shards.length, firstRow);
    if (columns !== undefined && JSON.stringify(columns) !== JSON.stringify(index.columns)) {
      throw new UserError(`${index.shard.path}: its columns ${JSON.stringify(index.columns)} differ from the first shard's ${JSON.stringify(columns)}`);
    }
    columns = index.columns;
    shards.push(index.shard);
    for (const batch of index.batches) batches.push(batch);
    lengths.push(...index.lengths);
    firstRow += shard.rows;
  }
  const allLengths = new Int32Array(rowCount);
  let at = 0;
  for (const piece of lengths) {
    allLengths.set(piece, at);
    at += piece.length;
  }
  return {
    folder,
    rowCount,
    metadata: contents.metadata,
    columns: columns ?? { featureWidth: 0, featureType: 'float16', topk: 0, labels: false },
    bytes: contents.shards.reduce((sum, shard) => sum + shard.bytes, 0),
    lengths: () => allLengths,
    async readRow(row, parts = {}) {
      if (!Number.isInteger(row) || row < 0 || row >= rowCount) throw new RangeError(`row ${row} is not in 0..${rowCount - 1}`);
      const batch = batches[findBatch(batches, row)]!;
      const shard = shards[batch.shard]!;
      const handle = await openRegular(shard.path);
      try {
        return await readBatchRow(handle, shard, batch, row - batch.firstRow, allLengths[row]!, parts, contents.metadata.vocab_size);
      } finally {
        await handle.close();
      }
    },
  };
}

function findBatch(batches: readonly BatchIndex[], row: number): number {
  let low = 0;
  let high = batches.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (batches[middle]!.firstRow <= row) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Opens a shard for reading; throws UserError where it is missing or not a plain file. */
export async function openRegular(path: string): Promise<FileHandle> {
  try {
    // Without O_NONBLOCK, opening a pipe put in a shard's place would wait for ever.
    const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
    throw new UserError(`${path}: is not a regular file`);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${path}: cannot be opened (${(error as NodeJS.ErrnoException).code}), but the manifest names it; restore it, or capture again into an empty folder`);
  }
}

async function openShard(
  folder: string,
  shard: Shard,
  metadata: CacheMetadata,
  number: number,
  firstRow: number,
): Promise<{ shard: ShardIndex; columns: CacheColumns; batches: BatchIndex[]; lengths: Int32Array[] }> {
  const path = join(folder, shard.file);
  const handle = await openRegular(path);
  try {
    const { size } = await handle.stat();
    if (size !== shard.bytes) throw new UserError(`${path}: has ${size} bytes, the manifest says ${shard.bytes}; the file was cut off or exchanged. Capture it again`);
    const footer = await readFooter(handle, size, path);
    checkMetadata(footer, metadata, path);
    const columns = checkColumns(footer, path, metadata);
    const batches: BatchIndex[] = [];
    const lengths: Int32Array[] = [];
    let rows = 0;
    for (const block of footer.blocks) {
      const header = await readBatchHeader(handle, block, footer, new Set(['input_ids']), path);
      if (rows + header.rows > shard.rows) break;
      if (header.rows === 0) continue;
      batches.push({ shard: number, block, firstRow: firstRow + rows, rows: header.rows });
      lengths.push(await readLengths(handle, header.columns.get('input_ids')!, header.rows, path));
      rows += header.rows;
    }
    if (rows !== shard.rows) throw new UserError(`${path}: its record batches do not hold the ${shard.rows} rows that the manifest says; capture it again`);
    return { shard: { path, footer }, columns, batches, lengths };
  } finally {
    await handle.close();
  }
}

function checkMetadata(footer: ArrowFooter, metadata: CacheMetadata, path: string): void {
  const json = footer.metadata.get(METADATA_KEY);
  if (json === undefined) throw new UserError(`${path}: its schema has no metadata "${METADATA_KEY}"; docs/arrow-cache.md says what to write there`);
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw new UserError(`${path}: its schema metadata "${METADATA_KEY}" is not JSON`);
  }
  const different = differences(metadata, parseMetadata(value, path));
  if (different.length > 0) throw new UserError(`${path}: does not belong to this manifest: ${different.join('; ')}`);
}

function checkColumns(footer: ArrowFooter, path: string, metadata: CacheMetadata): CacheColumns {
  const found = new Map<string, Column>();
  for (const field of footer.fields) {
    const expected = KNOWN[field.name];
    if (expected === undefined) continue;
    if (found.has(field.name)) throw new UserError(`${path}: has two columns ${field.name}`);
    if (field.column === undefined || !isRightType(field.column)) throw new UserError(`${path}: column ${field.name} is ${field.described}; expected ${expected}`);
    found.set(field.name, field.column);
  }
  for (const name of ['input_ids', 'loss_mask']) {
    if (!found.has(name)) throw new UserError(`${path}: has no column ${name}; expected ${KNOWN[name]}. Its columns: ${footer.fields.map((field) => field.name).join(', ') || 'none'}`);
  }
  const width = (name: string): number => {
    const type = found.get(name)?.type;
    return type?.kind === 'vectors' ? type.width : 0;
  };
  const featureWidth = width('features');
  if (width('topk_ids') !== width('topk_log_probs')) throw new UserError(`${path}: topk_ids has ${width('topk_ids')} values a position, topk_log_probs ${width('topk_log_probs')}`);
  if (featureWidth > 0 && metadata.taps && metadata.hidden_size && featureWidth !== metadata.taps.length * metadata.hidden_size) {
    throw new UserError(`${path}: features are ${featureWidth} wide; ${metadata.taps.length} taps of ${metadata.hidden_size} make ${metadata.taps.length * metadata.hidden_size}`);
  }
  const features = found.get('features')?.type;
  return {
    featureWidth,
    featureType: features?.kind === 'vectors' && features.item === 'float32' ? 'float32' : 'float16',
    topk: width('topk_ids'),
    labels: found.has('domain') && found.has('prompt_length'),
  };
}

function isRightType({ name, type }: Column): boolean {
  switch (name) {
    case 'input_ids':
      return type.kind === 'list' && type.item === 'int32';
    case 'loss_mask':
      return type.kind === 'list' && type.item === 'uint8';
    case 'topk_ids':
      return type.kind === 'vectors' && type.item === 'int32';
    case 'features':
    case 'topk_log_probs':
      return type.kind === 'vectors' && (type.item === 'float16' || type.item === 'float32');
    case 'domain':
      return type.kind === 'utf8';
    default:
      return type.kind === 'int32';
  }
}

async function readLengths(handle: FileHandle, column: ColumnRanges, rows: number, path: string): Promise<Int32Array> {
  const offsets = new Int32Array((await readBytes(handle, { offset: column.offsets!.offset, bytes: (rows + 1) * 4 }, path)).buffer);
  const lengths = new Int32Array(rows);
  for (let i = 0; i < rows; i++) {
    lengths[i] = offsets[i + 1]! - offsets[i]!;
    if (offsets[i]! < 0 || lengths[i]! < 0 || offsets[i + 1]! > column.count) throw new UserError(`${path}: the offsets of column input_ids run outside its values at row ${i} of the record batch; the file is damaged`);
    if (lengths[i] === 0) throw new UserError(`${path}: holds a row without tokens (row ${i} of the record batch); leave such rows out`);
  }
  return lengths;
}

async function readBatchRow(
  handle: FileHandle,
  shard: ShardIndex,
  batch: BatchIndex,
  row: number,
  length: number,
  parts: RowParts,
  vocabSize: number | null,
): Promise<CacheRow> {
  const wanted = new Set([...SMALL, ...(parts.features ? ['features'] : []), ...(parts.topk ? ['topk_ids', 'topk_log_probs'] : [])]);
  const { columns } = await readBatchHeader(handle, batch.block, shard.footer, wanted, shard.path);
  const values = new Map<string, Uint8Array<ArrayBuffer>>();
  await Promise.all(
    [...columns].map(async ([name, column]) => values.set(name, await readColumnRow(handle, column, row, length, shard.path))),
  );
  const buffer = (name: string): ArrayBuffer | undefined => values.get(name)?.buffer;
  const floats = (name: string): Float32Array | Uint16Array | undefined => {
    const found = buffer(name);
    const type = columns.get(name)?.column.type;
    if (found === undefined || type?.kind !== 'vectors') return undefined;
    return type.item === 'float32' ? new Float32Array(found) : new Uint16Array(found);
  };
  const inputIds = new Int32Array(buffer('input_ids')!);
  const most = vocabSize ?? 2 ** 31;
  for (const id of inputIds) {
    if (id < 0 || id >= most) throw new UserError(`${shard.path}: row ${batch.firstRow + row} holds token ${id}, outside the vocabulary of ${vocabSize ?? 'at most 2^31'}`);
  }
  const result: CacheRow = { inputIds, lossMask: new Uint8Array(buffer('loss_mask')!) };
  const features = floats('features');
  if (features) result.features = features;
  const topkLogProbs = floats('topk_log_probs');
  if (topkLogProbs) {
    result.topkLogProbs = topkLogProbs;
    result.topkIds = new Int32Array(buffer('topk_ids')!);
  }
  if (values.has('domain')) result.domain = Buffer.from(values.get('domain')!).toString('utf8');
  if (values.has('prompt_length')) result.promptLength = new Int32Array(buffer('prompt_length')!)[0]!;
  return result;
}

async function readColumnRow(handle: FileHandle, range: ColumnRanges, row: number, length: number, path: string): Promise<Uint8Array<ArrayBuffer>> {
  const { column, offsets, values, count } = range;
  const { type } = column;
  if (type.kind === 'int32') return readBytes(handle, { offset: values.offset + row * 4, bytes: 4 }, path);
  const pair = new Int32Array((await readBytes(handle, { offset: offsets!.offset + row * 4, bytes: 8 }, path)).buffer);
  const from = pair[0]!;
  const to = pair[1]!;
  const perToken = type.kind === 'vectors' ? type.width : 1;
  if (from < 0 || to < from || to * perToken > count) throw new UserError(`${path}: the offsets of column ${column.name} run outside its values at row ${row} of the record batch; the file is damaged`);
  if (type.kind !== 'utf8' && to - from !== length) throw new UserError(`${path}: column ${column.name} has ${to - from} entries at row ${row} of the record batch, input_ids ${length}; they must be equal`);
  const bytes = perToken * (type.kind === 'utf8' ? 1 : ITEM_BYTES[type.item]);
  return readBytes(handle, { offset: values.offset + from * bytes, bytes: (to - from) * bytes }, path);
}
