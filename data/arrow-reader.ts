// Finds values in an Arrow IPC file without reading it: the footer says where record batches lie, a batch's header where its
// buffers lie, and a row is read by byte range. Files come from anywhere, so every size is checked before it is used.
// Format: https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format, Schema.fbs, Message.fbs, File.fbs
import type { FileHandle } from 'node:fs/promises';
import { UserError } from '../src/errors.js';
import type { Column, ColumnType, ItemType } from './cache-layout.js';
import { ITEM_BYTES } from './cache-layout.js';
import { FlatbufferError, FlatTable } from './flatbuffer.js';

/** A record batch's place in its file, from the footer. */
export interface BatchBlock {
  offset: number;
  headerBytes: number;
  bodyBytes: number;
}

/** What a file's footer says. */
export interface ArrowFooter {
  fields: ArrowField[];
  metadata: Map<string, string>;
  blocks: BatchBlock[];
}

/** A field of the schema. `column` is there where its type is one that caches use. */
export interface ArrowField {
  name: string;
  column?: Column;
  /** The type in words, for messages. */
  described: string;
  /** Field nodes and buffers of this field in a record batch, itself and children. */
  shape: FieldShape;
}

interface FieldShape {
  buffers: number;
  children: FieldShape[];
}

/** Bytes of a buffer in the file. */
export interface ByteRange {
  offset: number;
  bytes: number;
}

/** Where a column of one record batch lies; `offsets` for lists and strings. */
export interface ColumnRanges {
  column: Column;
  offsets?: ByteRange;
  values: ByteRange;
  /** Innermost values in the batch. */
  count: number;
}

const MAGIC = 'ARROW1';
const MOST_FIELDS = 64;
const MOST_HEADER_BYTES = 64 * 2 ** 20;
const DEEPEST_TYPE = 6;

/** Reads and checks a file's footer. `path` names it in errors, which are UserErrors. */
export async function readFooter(handle: FileHandle, size: number, path: string): Promise<ArrowFooter> {
  if (size < 26) throw new UserError(`${path}: ${size} bytes are too few for an Arrow file; it was cut off or is something else`);
  const head = await readBytes(handle, { offset: 0, bytes: 8 }, path);
  const tail = await readBytes(handle, { offset: size - 10, bytes: 10 }, path);
  if (text(head.subarray(0, 6)) !== MAGIC) throw new UserError(`${path}: does not begin with "${MAGIC}"; expected the Arrow IPC file format (not the stream format, Feather 1 or Parquet)`);
  if (text(tail.subarray(4)) !== MAGIC) throw new UserError(`${path}: does not end with "${MAGIC}"; the file was cut off. Write it again`);
  const footerBytes = new DataView(tail.buffer, tail.byteOffset).getInt32(0, true);
  if (footerBytes <= 0 || footerBytes > size - 18 || footerBytes > MOST_HEADER_BYTES) {
    throw new UserError(`${path}: its footer claims ${footerBytes} bytes in a file of ${size}; the file is damaged. Write it again`);
  }
  const footerAt = size - 10 - footerBytes;
  const bytes = await readBytes(handle, { offset: footerAt, bytes: footerBytes }, path);
  return explained(path, 'footer', () => {
    const footer = FlatTable.root(bytes);
    const schema = footer.table(1);
    if (schema === undefined) throw new FlatbufferError('it has no schema');
    if (schema.int16(0) !== 0) throw new UserError(`${path}: its numbers are big-endian; expected little-endian`);
    const blocks = footer.structs(3, 24, (at) => ({ offset: at.size(0), headerBytes: at.int32(8), bodyBytes: at.size(16) }));
    for (const [i, block] of blocks.entries()) {
      if (block.offset < 8 || block.headerBytes < 16 || block.headerBytes > MOST_HEADER_BYTES || block.offset + block.headerBytes + block.bodyBytes > footerAt) {
        throw new UserError(`${path}: record batch ${i} lies at bytes ${block.offset} to ${block.offset + block.headerBytes + block.bodyBytes}, outside the file's ${footerAt}; the file is damaged. Write it again`);
      }
    }
    const budget = { fields: 1024 };
    const metadata = new Map(schema.tables(2, 1024).map((entry) => [entry.string(0) ?? '', entry.string(1) ?? '']));
    return { fields: schema.tables(1, MOST_FIELDS).map((field) => readField(field, budget)), metadata, blocks };
  });
}

/** Reads a record batch's header and finds the wanted columns in it. Returns the number of rows and each column's place. */
export async function readBatchHeader(
  handle: FileHandle,
  block: BatchBlock,
  footer: ArrowFooter,
  wanted: ReadonlySet<string>,
  path: string,
): Promise<{ rows: number; columns: Map<string, ColumnRanges> }> {
  const bytes = await readBytes(handle, { offset: block.offset, bytes: block.headerBytes }, path);
  const where = `record batch at byte ${block.offset}`;
  return explained(path, where, () => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const marked = view.getInt32(0, true) === -1;
    const length = view.getInt32(marked ? 4 : 0, true);
    const start = marked ? 8 : 4;
    if (length <= 0 || start + length > bytes.byteLength) throw new FlatbufferError(`its header claims ${length} bytes in a block of ${bytes.byteLength}`);
    const message = FlatTable.root(bytes.subarray(start, start + length));
    const batch = message.table(2);
    if (message.uint8(1) !== 3 || batch === undefined) throw new FlatbufferError('it is not a record batch');
    if (batch.has(3)) throw new UserError(`${path}: its buffers are compressed; rows are read by byte range. Write it with compression=None`);
    const bodyBytes = message.size(3);
    if (bodyBytes > block.bodyBytes) throw new FlatbufferError(`its body claims ${bodyBytes} bytes, the footer ${block.bodyBytes}`);
    const rows = batch.size(0);
    const nodes = batch.structs(1, 16, (at) => ({ length: at.size(0), nulls: at.size(8) }));
    const buffers = batch.structs(2, 16, (at) => ({ offset: at.size(0), bytes: at.size(8) }));
    for (const [i, buffer] of buffers.entries()) {
      if (buffer.offset + buffer.bytes > bodyBytes) throw new FlatbufferError(`buffer ${i} ends at byte ${buffer.offset + buffer.bytes} of a body of ${bodyBytes}`);
    }
    const bodyAt = block.offset + block.headerBytes;
    const columns = new Map<string, ColumnRanges>();
    let node = 0;
    let buffer = 0;
    for (const field of footer.fields) {
      const counts = countShape(field.shape);
      if (node + counts.nodes > nodes.length || buffer + counts.buffers > buffers.length) throw new FlatbufferError(`it has ${nodes.length} nodes and ${buffers.length} buffers, fewer than the schema asks for`);
      if (wanted.has(field.name) && field.column) {
        const own = nodes.slice(node, node + counts.nodes);
        if (own.some(({ nulls }) => nulls > 0)) throw new UserError(`${path}: column ${field.name} holds nulls in the ${where}; every value must be there`);
        if (own[0]!.length !== rows) throw new FlatbufferError(`column ${field.name} has ${own[0]!.length} rows of ${rows}`);
        const ranges = buffers.slice(buffer, buffer + counts.buffers).map((range) => ({ offset: bodyAt + range.offset, bytes: range.bytes }));
        columns.set(field.name, locate(field.column, rows, own.map((one) => one.length), ranges));
      }
      node += counts.nodes;
      buffer += counts.buffers;
    }
    return { rows, columns };
  });
}

function locate(column: Column, rows: number, lengths: number[], ranges: ByteRange[]): ColumnRanges {
  const { type } = column;
  const need = (range: ByteRange, bytes: number, what: string): ByteRange => {
    if (range.bytes < bytes) throw new FlatbufferError(`the ${what} of column ${column.name} need ${bytes} bytes and have ${range.bytes}`);
    return range;
  };
  if (type.kind === 'int32') return { column, values: need(ranges[1]!, rows * 4, 'values'), count: rows };
  const offsets = rows === 0 ? ranges[1]! : need(ranges[1]!, (rows + 1) * 4, 'offsets');
  if (type.kind === 'utf8') return { column, offsets, values: ranges[2]!, count: ranges[2]!.bytes };
  const count = lengths.at(-1)!;
  if (type.kind === 'vectors' && count !== lengths[1]! * type.width) throw new FlatbufferError(`column ${column.name} has ${count} values for ${lengths[1]} vectors of ${type.width}`);
  return { column, offsets, values: need(ranges.at(-1)!, count * ITEM_BYTES[type.item], 'values'), count };
}

/** Reads bytes of a file; throws UserError where it ends before. */
export async function readBytes(handle: FileHandle, range: ByteRange, path: string): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(range.bytes);
  let done = 0;
  while (done < range.bytes) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(range.bytes - done, 2 ** 30), range.offset + done);
    if (bytesRead === 0) throw new UserError(`${path}: ends at byte ${range.offset + done}, ${range.bytes - done} bytes short; it was cut off or is being written`);
    done += bytesRead;
  }
  return bytes;
}

function readField(table: FlatTable, budget: { fields: number }): ArrowField {
  const name = table.string(0) ?? '';
  const { column, described, shape } = readType(table, 0, budget);
  return { name, described, shape, ...(column && { column: { name, type: column } }) };
}

// Numbers of the union Type in Schema.fbs.
const INT = 2;
const FLOAT = 3;
const UTF8 = 5;
const LIST = 12;
const STRUCT = 13;
const FIXED_SIZE_LIST = 16;
const LARGE_LIST = 21;
const THREE_BUFFERS = new Set([4, UTF8, 19, 20]);
const TWO_BUFFERS = new Set([6, 7, 8, 9, 10, 11, 15, 17, 18, LARGE_LIST]);

/** A type as far as caches care: `item` for plain numbers, `vectors` for fixed-size lists of them, `column` for what a column may be. */
interface TypeReading {
  described: string;
  shape: FieldShape;
  item?: ItemType;
  vectors?: ColumnType;
  column?: ColumnType;
}

function readType(field: FlatTable, depth: number, budget: { fields: number }): TypeReading {
  const name = field.string(0) ?? '';
  if (depth > DEEPEST_TYPE || --budget.fields < 0) throw new FlatbufferError(`field ${name} is nested too deeply or among too many`);
  const id = field.uint8(2);
  const children = field.tables(5, MOST_FIELDS).map((child) => readType(child, depth + 1, budget));
  const [child] = children;
  const shape = (buffers: number): FieldShape => ({ buffers, children: children.map((one) => one.shape) });
  // The indices of a dictionary-encoded field stand in the batch like integers.
  if (field.has(4)) return { described: 'Dictionary', shape: { buffers: 2, children: [] } };
  const parameters = field.table(3);
  switch (id) {
    case 1:
      return { described: 'Null', shape: shape(0) };
    case INT: {
      const bits = parameters?.int32(0) ?? 0;
      const signed = (parameters?.uint8(1) ?? 0) !== 0;
      const item = bits === 32 && signed ? 'int32' : bits === 8 && !signed ? 'uint8' : undefined;
      return { described: `${signed ? 'Int' : 'UInt'}${bits}`, shape: shape(2), item, column: item === 'int32' ? { kind: 'int32' } : undefined };
    }
    case FLOAT: {
      const precision = parameters?.int16(0) ?? 0;
      return { described: `Float${[16, 32, 64][precision] ?? '?'}`, shape: shape(2), item: (['float16', 'float32'] as const)[precision] };
    }
    case UTF8:
      return { described: 'Utf8', shape: shape(3), column: { kind: 'utf8' } };
    case FIXED_SIZE_LIST: {
      const width = parameters?.int32(0) ?? 0;
      const vectors: ColumnType | undefined = child?.item && width > 0 ? { kind: 'vectors', item: child.item, width } : undefined;
      return { described: `FixedSizeList<${child?.described ?? '?'}, ${width}>`, shape: shape(1), vectors };
    }
    case LIST:
      return { described: `List<${child?.described ?? '?'}>`, shape: shape(2), column: child?.vectors ?? (child?.item && { kind: 'list', item: child.item }) };
    case STRUCT:
      return { described: 'Struct', shape: shape(1) };
  }
  if (THREE_BUFFERS.has(id)) return { described: `type ${id}`, shape: shape(3) };
  if (TWO_BUFFERS.has(id)) return { described: id === LARGE_LIST ? `LargeList<${child?.described ?? '?'}>` : `type ${id}`, shape: shape(2) };
  throw new UserError(`field ${name} has Arrow type number ${id}, which cannot be skipped over; leave the column out`);
}

function countShape(shape: FieldShape): { nodes: number; buffers: number } {
  let nodes = 1;
  let buffers = shape.buffers;
  for (const child of shape.children) {
    const inner = countShape(child);
    nodes += inner.nodes;
    buffers += inner.buffers;
  }
  return { nodes, buffers };
}

function explained<T>(path: string, what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof UserError) throw error.message.startsWith(path) ? error : new UserError(`${path}: ${error.message}`);
    if (error instanceof FlatbufferError) throw new UserError(`${path}: its ${what} is damaged: ${error.message}. Write the file again`);
    throw error;
  }
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}
