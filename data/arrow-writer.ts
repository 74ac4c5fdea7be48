// Writes one Arrow IPC file, batch by batch. Large values go to disk as they came, without a copy into builders; the headers
// are apache-arrow's. Format: https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format
import { createHash } from 'node:crypto';
import { MetadataVersion } from 'apache-arrow';
import { FileBlock, Footer } from 'apache-arrow/ipc/metadata/file';
import { BufferRegion, FieldNode, Message, RecordBatch } from 'apache-arrow/ipc/metadata/message';
import { openAtomic, type AtomicFile } from '../src/files.js';
import { arrowSchema, columnValues, ITEM_BYTES, type CacheMetadata, type CacheRow, type Column } from './cache-layout.js';

const MAGIC = Buffer.from('ARROW1');
const WRITE_BYTES = 8 * 2 ** 20;
const END_OF_STREAM = Buffer.from([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);

/** What a finished file holds. */
export interface ArrowFileSummary {
  rows: number;
  bytes: number;
  /** Of the whole file, hexadecimal. */
  sha256: string;
}

/** An Arrow file being written; nothing is seen under its name before `finish`. */
export interface ArrowWriter {
  /** Bytes written and waiting. */
  readonly bytes: number;
  readonly rows: number;
  append(row: CacheRow): Promise<void>;
  finish(): Promise<ArrowFileSummary>;
  abort(): Promise<void>;
}

/** Opens an Arrow file for writing. A record batch is written whenever `batchBytes` have gathered. */
export async function openArrowWriter(path: string, columns: readonly Column[], metadata: CacheMetadata, batchBytes: number): Promise<ArrowWriter> {
  const schema = arrowSchema(columns, metadata);
  const file = await openAtomic(path);
  const hash = createHash('sha256');
  const blocks: FileBlock[] = [];
  let written = 0;
  let rowCount = 0;
  let waiting: CacheRow[] = [];
  let waitingBytes = 0;

  // Pieces gather to large writes: each write waits for its turn in the event loop, which a busy computation grants rarely.
  let gathered: Uint8Array[] = [];
  let gatheredBytes = 0;
  const put = async (bytes: Uint8Array): Promise<void> => {
    if (bytes.byteLength === 0) return;
    gathered.push(bytes);
    gatheredBytes += bytes.byteLength;
    written += bytes.byteLength;
    if (gatheredBytes >= WRITE_BYTES) await drain();
  };
  const drain = async (): Promise<void> => {
    const bytes = gathered.length === 1 ? gathered[0]! : Buffer.concat(gathered, gatheredBytes);
    gathered = [];
    gatheredBytes = 0;
    hash.update(bytes);
    await file.write(bytes);
  };
  const pad = (): Promise<void> => put(new Uint8Array((8 - (written % 8)) % 8));
  const putMessage = async (message: Message): Promise<number> => {
    const header = Message.encode(message);
    const bytes = Math.ceil((header.byteLength + 8) / 8) * 8;
    await put(new Uint8Array(Int32Array.of(-1, bytes - 8).buffer));
    await put(header);
    await pad();
    return bytes;
  };
  const flush = async (): Promise<void> => {
    if (waiting.length === 0) return;
    const { nodes, buffers } = layOut(waiting, columns);
    let bodyBytes = 0;
    const regions = buffers.map((pieces) => {
      const bytes = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
      const region = new BufferRegion(bodyBytes, bytes);
      bodyBytes += Math.ceil(bytes / 8) * 8;
      return region;
    });
    const offset = written;
    const headerBytes = await putMessage(Message.from(new RecordBatch(waiting.length, nodes, regions, null), bodyBytes));
    for (const pieces of buffers) {
      for (const piece of pieces) await put(piece);
      await pad();
    }
    blocks.push(new FileBlock(headerBytes, bodyBytes, offset));
    await drain();
    waiting = [];
    waitingBytes = 0;
  };

  await guarded(file, async () => {
    await put(MAGIC);
    await pad();
    await putMessage(Message.from(schema));
  });
  return {
    get bytes() {
      return written + waitingBytes;
    },
    get rows() {
      return rowCount;
    },
    async append(row) {
      waiting.push(row);
      rowCount += 1;
      waitingBytes += rowBytes(row, columns);
      if (waitingBytes >= batchBytes) await guarded(file, flush);
    },
    async finish() {
      await guarded(file, async () => {
        await flush();
        await put(END_OF_STREAM);
        const footer = Footer.encode(new Footer(schema, MetadataVersion.V5, blocks, []));
        await put(footer);
        await put(new Uint8Array(Int32Array.of(footer.byteLength).buffer));
        await put(MAGIC);
        await drain();
      });
      await file.commit();
      return { rows: rowCount, bytes: written, sha256: hash.digest('hex') };
    },
    abort: () => file.abort(),
  };
}

async function guarded(file: AtomicFile, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    await file.abort();
    throw error;
  }
}

/** Bytes a row takes in a file, without headers and padding. */
export function rowBytes(row: CacheRow, columns: readonly Column[]): number {
  let bytes = 0;
  for (const { name, type } of columns) {
    if (type.kind === 'int32') bytes += 4;
    else if (type.kind === 'utf8') bytes += 4 + (name === 'domain' ? (row.domain?.length ?? 0) : 0);
    else bytes += 4 + row.inputIds.length * ITEM_BYTES[type.item] * (type.kind === 'vectors' ? type.width : 1);
  }
  return bytes;
}

type Piece = Uint8Array;

const bytesOf = (values: ArrayBufferView): Piece => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
const none: Piece[] = [];

/** Field nodes and buffers of a record batch, depth first; a buffer is the pieces it is put together from. No column has nulls. */
function layOut(rows: readonly CacheRow[], columns: readonly Column[]): { nodes: FieldNode[]; buffers: Piece[][] } {
  const nodes: FieldNode[] = [];
  const buffers: Piece[][] = [];
  for (const column of columns) {
    const { type } = column;
    const values = rows.map((row) => columnValues(row, column));
    nodes.push(new FieldNode(rows.length, 0));
    buffers.push(none);
    if (type.kind === 'int32') {
      buffers.push([bytesOf(Int32Array.from(values as number[]))]);
      continue;
    }
    if (type.kind === 'utf8') {
      const texts = (values as string[]).map((text) => Buffer.from(text, 'utf8'));
      buffers.push([offsets(texts.map((text) => text.byteLength))], texts);
      continue;
    }
    const lengths = rows.map((row) => row.inputIds.length);
    const tokens = lengths.reduce((sum, length) => sum + length, 0);
    buffers.push([offsets(lengths)]);
    if (type.kind === 'vectors') {
      nodes.push(new FieldNode(tokens, 0));
      buffers.push(none);
    }
    nodes.push(new FieldNode(tokens * (type.kind === 'vectors' ? type.width : 1), 0));
    buffers.push(none, (values as ArrayBufferView[]).map(bytesOf));
  }
  return { nodes, buffers };
}

function offsets(lengths: readonly number[]): Piece {
  const result = new Int32Array(lengths.length + 1);
  for (let i = 0; i < lengths.length; i++) result[i + 1] = result[i]! + lengths[i]!;
  return bytesOf(result);
}
