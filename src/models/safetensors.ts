// Safetensors files: an 8-byte header length, a JSON header, then the tensors' bytes without holes.
// A file is somebody else's until proven: the header is checked as a whole before any tensor is read, and reading a tensor
// takes no more memory than that tensor. Format: https://github.com/huggingface/safetensors, "Format".
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { UserError } from '../errors.js';
import { openAtomic } from '../files.js';
import { bfloat16ToFloat32, float32ToBfloat16, float32ToHalf, halfToFloat32 } from './half.js';

const bytesOf = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1 } as const;
export type SafetensorsDtype = keyof typeof bytesOf;

export interface TensorEntry {
  dtype: SafetensorsDtype;
  shape: number[];
  bytes: number;
}

export interface SafetensorsFile {
  readonly path: string;
  /** The free-form strings of `__metadata__`. */
  readonly metadata: Record<string, string>;
  names(): string[];
  has(name: string): boolean;
  /** Throws UserError where there is no such tensor. */
  entry(name: string): TensorEntry;
  /** Any float dtype, widened or (F64) rounded to float32. Throws UserError for integers. */
  readFloat32(name: string): Promise<Float32Array>;
  /** I32, or I64 whose values fit. Throws UserError for others. */
  readInt32(name: string): Promise<Int32Array>;
  close(): Promise<void>;
}

interface PlacedEntry extends TensorEntry {
  start: number;
}

const maxHeaderBytes = 100_000_000;

/** Opens a file and checks its whole header. Throws UserError that names the file and the defect. */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    throw new UserError(`${path} cannot be opened: ${(error as Error).message}`);
  }
  try {
    const { entries, metadata, dataStart } = await readHeader(path, handle);
    return makeFile(path, handle, entries, metadata, dataStart);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Opens several files, all or none. Throws as `openSafetensors` does. */
export async function openAllSafetensors(paths: readonly string[]): Promise<SafetensorsFile[]> {
  const files: SafetensorsFile[] = [];
  try {
    for (const path of paths) files.push(await openSafetensors(path));
  } catch (error) {
    await Promise.all(files.map((file) => file.close()));
    throw error;
  }
  return files;
}

async function readHeader(path: string, handle: FileHandle): Promise<{ entries: Map<string, PlacedEntry>; metadata: Record<string, string>; dataStart: number }> {
  const bad = (what: string): UserError => new UserError(`${path} is not a valid safetensors file: ${what}.`);
  const information = await handle.stat();
  if (!information.isFile()) throw bad('it is not a regular file');
  const { size } = information;
  if (size < 10) throw bad(`it has ${size} bytes, fewer than a header takes`);
  const headerBytes = Number((await readBytes(path, handle, 0, 8)).readBigUInt64LE());
  if (headerBytes > maxHeaderBytes) throw bad(`its header claims ${headerBytes} bytes; at most ${maxHeaderBytes} are allowed`);
  if (headerBytes + 8 > size) throw bad(`its header claims ${headerBytes} bytes, but the file has ${size}: it is cut short or not safetensors`);
  const text = (await readBytes(path, handle, 8, headerBytes)).toString('utf8');
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (error) {
    throw bad(`its header is not JSON (${(error as Error).message.slice(0, 120)})`);
  }
  if (header === null || typeof header !== 'object' || Array.isArray(header)) throw bad('its header is not a JSON object');
  refuseDuplicateKeys(text, bad);

  const metadata: Record<string, string> = {};
  const entries = new Map<string, PlacedEntry>();
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') {
      if (value === null || typeof value !== 'object' || Object.values(value as object).some((text) => typeof text !== 'string')) throw bad('its __metadata__ is not an object of strings');
      Object.assign(metadata, value);
    } else {
      entries.set(name, placeEntry(name, value, bad));
    }
  }
  const dataStart = 8 + headerBytes;
  checkLayout(entries, size - dataStart, bad);
  return { entries, metadata, dataStart };
}

function placeEntry(name: string, value: unknown, bad: (what: string) => UserError): PlacedEntry {
  const quoted = JSON.stringify(name.length > 100 ? `${name.slice(0, 100)}…` : name);
  if (value === null || typeof value !== 'object') throw bad(`the entry of tensor ${quoted} is not an object`);
  const { dtype, shape, data_offsets: offsets } = value as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
  const width = Object.hasOwn(bytesOf, String(dtype)) ? bytesOf[dtype as SafetensorsDtype] : undefined;
  if (width === undefined) throw bad(`tensor ${quoted} has dtype ${JSON.stringify(dtype)}; known are ${Object.keys(bytesOf).join(', ')}`);
  const isSize = (size: unknown): size is number => typeof size === 'number' && Number.isSafeInteger(size) && size >= 0;
  if (!Array.isArray(shape) || shape.length > 16 || !shape.every(isSize)) throw bad(`tensor ${quoted} has shape ${JSON.stringify(shape)?.slice(0, 100)}`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) throw bad(`tensor ${quoted} has data_offsets ${JSON.stringify(offsets)?.slice(0, 100)}`);
  const [start, end] = offsets as [number, number];
  const bytes = (shape as number[]).reduce((product, size) => product * size, width as number);
  if (!Number.isSafeInteger(bytes) || end - start !== bytes) {
    throw bad(`tensor ${quoted} of ${String(dtype)} and shape [${shape.join(', ')}] takes ${bytes} bytes, but its data_offsets span ${end - start}`);
  }
  return { dtype: dtype as SafetensorsDtype, shape: shape as number[], bytes, start };
}

/** Tensors must fill the data without overlap and without holes, to its last byte. */
function checkLayout(entries: Map<string, PlacedEntry>, dataBytes: number, bad: (what: string) => UserError): void {
  let end = 0;
  for (const [name, entry] of [...entries].sort(([, a], [, b]) => a.start - b.start || a.bytes - b.bytes)) {
    if (entry.start !== end) throw bad(`tensor ${JSON.stringify(name)} starts at byte ${entry.start}, but the one before it ends at ${end}: they ${entry.start < end ? 'overlap' : 'leave a hole'}`);
    end += entry.bytes;
  }
  if (end !== dataBytes) throw bad(`its tensors take ${end} bytes, but ${dataBytes} follow the header: ${end > dataBytes ? 'it is cut short' : 'there are bytes too many'}`);
}

/** JSON.parse keeps the last of two equal keys; a header with two could be read differently by another program. `text` is valid JSON. */
function refuseDuplicateKeys(text: string, bad: (what: string) => UserError): void {
  // Keys seen so far of each object that is open; null for a list.
  const open: (Set<string> | null)[] = [];
  let atKey = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '{' || character === '[') {
      open.push(character === '{' ? new Set() : null);
      atKey = character === '{';
    } else if (character === '}' || character === ']') {
      open.pop();
      atKey = false;
    } else if (character === ',') {
      atKey = open.at(-1) instanceof Set;
    } else if (character === '"') {
      let end = i + 1;
      while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
      const keys = open.at(-1);
      if (atKey && keys instanceof Set) {
        // Parsed, since the same key can be written in several ways.
        const key = JSON.parse(text.slice(i, end + 1)) as string;
        if (keys.has(key)) throw bad(`the key ${JSON.stringify(key.slice(0, 100))} stands twice in its header`);
        keys.add(key);
        atKey = false;
      }
      i = end;
    }
  }
}

async function readBytes(path: string, handle: FileHandle, start: number, length: number): Promise<Buffer> {
  // An own ArrayBuffer at offset 0, so that any typed array can look at it.
  const buffer = Buffer.from(new ArrayBuffer(length));
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(buffer, done, Math.min(length - done, 2 ** 30), start + done);
    if (bytesRead === 0) throw new UserError(`${path} ended at byte ${start + done} while it was read; another program has cut it.`);
    done += bytesRead;
  }
  return buffer;
}

function makeFile(path: string, handle: FileHandle, entries: Map<string, PlacedEntry>, metadata: Record<string, string>, dataStart: number): SafetensorsFile {
  const placed = (name: string): PlacedEntry => {
    const entry = entries.get(name);
    if (entry === undefined) throw new UserError(`${path} holds no tensor named ${JSON.stringify(name)}.`);
    return entry;
  };
  const read = async (name: string): Promise<ArrayBuffer> => {
    const entry = placed(name);
    return (await readBytes(path, handle, dataStart + entry.start, entry.bytes)).buffer as ArrayBuffer;
  };
  const wrong = (name: string, wanted: string): UserError => new UserError(`${path}: tensor ${JSON.stringify(name)} is ${placed(name).dtype}; ${wanted} was expected.`);
  return {
    path,
    metadata,
    names: () => [...entries.keys()],
    has: (name) => entries.has(name),
    entry: (name) => {
      const { dtype, shape, bytes } = placed(name);
      return { dtype, shape: [...shape], bytes };
    },
    async readFloat32(name) {
      switch (placed(name).dtype) {
        case 'F32':
          return new Float32Array(await read(name));
        case 'F16':
          return halfToFloat32(new Uint16Array(await read(name)));
        case 'BF16':
          return bfloat16ToFloat32(new Uint16Array(await read(name)));
        case 'F64':
          return Float32Array.from(new Float64Array(await read(name)));
        default:
          throw wrong(name, 'a float dtype');
      }
    },
    async readInt32(name) {
      const { dtype } = placed(name);
      if (dtype === 'I32') return new Int32Array(await read(name));
      if (dtype !== 'I64') throw wrong(name, 'I32 or I64');
      return Int32Array.from(new BigInt64Array(await read(name)), (value) => {
        if (BigInt.asIntN(32, value) !== value) throw new UserError(`${path}: tensor ${JSON.stringify(name)} holds ${value}, which does not fit in 32 bits.`);
        return Number(value);
      });
    },
    close: () => handle.close(),
  };
}

/** A tensor to write: float32 data is narrowed to the dtype, int32 data is written as I32, bytes as they are. */
export interface TensorToWrite {
  name: string;
  shape: readonly number[];
  dtype: SafetensorsDtype;
  data: Float32Array | Int32Array | Uint8Array;
}

/** Writes a file, atomically, one tensor at a time. Tensors are sorted by name; the data starts at a multiple of 8 bytes. */
export async function writeSafetensors(path: string, tensors: readonly TensorToWrite[], metadata: Record<string, string> = {}): Promise<void> {
  const sorted = [...tensors].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const header: Record<string, unknown> = Object.keys(metadata).length > 0 ? { __metadata__: metadata } : {};
  let offset = 0;
  for (const { name, shape, dtype } of sorted) {
    if (Object.hasOwn(header, name)) throw new Error(`two tensors are named ${name}`);
    const bytes = shape.reduce((product, size) => product * size, bytesOf[dtype] as number);
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json + ' '.repeat((8 - (Buffer.byteLength(json) % 8)) % 8), 'utf8');
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = await openAtomic(path);
  try {
    await file.write(length);
    await file.write(text);
    for (const tensor of sorted) {
      const bytes = encode(tensor);
      const expected = tensor.shape.reduce((product, size) => product * size, bytesOf[tensor.dtype] as number);
      if (bytes.byteLength !== expected) throw new Error(`tensor ${tensor.name} of shape [${tensor.shape.join(', ')}] has ${tensor.data.length} values`);
      await file.write(bytes);
    }
  } catch (error) {
    await file.abort();
    throw error;
  }
  await file.commit();
}

function encode({ name, dtype, data }: TensorToWrite): Uint8Array {
  const view = (array: Float32Array | Int32Array | Uint16Array): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  if (data instanceof Uint8Array) return data;
  if (data instanceof Float32Array && dtype === 'F32') return view(data);
  if (data instanceof Float32Array && dtype === 'F16') return view(float32ToHalf(data));
  if (data instanceof Float32Array && dtype === 'BF16') return view(float32ToBfloat16(data));
  if (data instanceof Int32Array && dtype === 'I32') return view(data);
  throw new Error(`tensor ${name}: ${data.constructor.name} cannot be written as ${dtype}`);
}
