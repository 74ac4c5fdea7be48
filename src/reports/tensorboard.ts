// TensorBoard event files: TFRecord framing (length, masked CRC-32C, data, masked CRC-32C) around Event protobufs,
// written by hand. Ours rather than TensorFlow's summary writer, because a resumed run has to cut the file back to its step.
// Formats: tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto.
import { closeSync, fsyncSync, openSync, readFileSync, readdirSync, mkdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { truncateFile } from './metrics.js';

export interface EventWriter {
  /** One point of the curve `tag`. */
  scalar(tag: string, value: number, step: number): void;
  /** A histogram from its buckets: `counts[i]` values lie up to `limits[i]` (and above the limit before). */
  histogram(tag: string, limits: readonly number[], counts: readonly number[], step: number): void;
  flush(): void;
  close(): void;
}

const fileName = 'events.out.tfevents.0000000000.draftalign';

/** Opens the event file in `folder`, dropping every event of a step above `keepUpToStep` and anything unreadable after it. */
export function openEvents(folder: string, keepUpToStep: number): EventWriter {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, fileName);
  const isNew = !readdirSync(folder).includes(fileName);
  if (!isNew) truncateFile(path, keptBytes(path, keepUpToStep));
  const descriptor = openSync(path, 'a');
  const append = (event: Buffer) => writeAll(descriptor, frame(event));
  const now = () => Date.now() / 1000;
  if (isNew || readFileSync(path).length === 0) append(Buffer.concat([double(1, now()), text(3, 'brain.Event:2')]));
  const write = (step: number, value: Buffer) => append(Buffer.concat([double(1, now()), integer(2, step), bytes(5, bytes(1, value))]));
  return {
    scalar: (tag, value, step) => write(step, Buffer.concat([text(1, tag), float(2, value)])),
    histogram: (tag, limits, counts, step) => write(step, Buffer.concat([text(1, tag), bytes(5, histogramMessage(limits, counts))])),
    flush: () => fsyncSync(descriptor),
    close() {
      fsyncSync(descriptor);
      closeSync(descriptor);
    },
  };
}

/** One value read back from an event file. */
export interface EventValue {
  step: number;
  tag: string;
  /** The scalar, or null for a histogram. */
  value: number | null;
}

/** Reads the scalars and histogram tags of an event file; stops at the first record that is not whole. */
export function readEvents(path: string): EventValue[] {
  return [...records(readFileSync(path))].flatMap(({ data }) => {
    const event = fields(data);
    const step = Number(event.find((field) => field.number === 2)?.value ?? 0);
    const summaries = event.filter((field) => field.number === 5).map((field) => fields(field.value as Buffer));
    return summaries.flat().flatMap((entry) => {
      if (entry.number !== 1) return [];
      const value = fields(entry.value as Buffer);
      const tag = String(value.find((field) => field.number === 1)?.value ?? '');
      const scalar = value.find((field) => field.number === 2)?.value;
      return [{ step, tag, value: Buffer.isBuffer(scalar) ? scalar.readFloatLE(0) : null }];
    });
  });
}

function keptBytes(path: string, keepUpToStep: number): number {
  let end = 0;
  for (const record of records(readFileSync(path))) {
    const step = Number(fields(record.data).find((field) => field.number === 2)?.value ?? 0);
    if (step > keepUpToStep) break;
    end = record.end;
  }
  return end;
}

function writeAll(descriptor: number, data: Buffer): void {
  let offset = 0;
  while (offset < data.length) offset += writeSync(descriptor, data, offset);
}

// Framing.

function frame(data: Buffer): Buffer {
  const header = Buffer.alloc(12);
  header.writeBigUInt64LE(BigInt(data.length), 0);
  header.writeUInt32LE(maskedCrc32c(header.subarray(0, 8)), 8);
  const footer = Buffer.alloc(4);
  footer.writeUInt32LE(maskedCrc32c(data), 0);
  return Buffer.concat([header, data, footer]);
}

function* records(file: Buffer): Generator<{ data: Buffer; end: number }> {
  let offset = 0;
  while (offset + 16 <= file.length) {
    const length = Number(file.readBigUInt64LE(offset));
    const end = offset + 16 + length;
    if (end > file.length || file.readUInt32LE(offset + 8) !== maskedCrc32c(file.subarray(offset, offset + 8))) return;
    const data = file.subarray(offset + 12, offset + 12 + length);
    if (file.readUInt32LE(end - 4) !== maskedCrc32c(data)) return;
    yield { data, end };
    offset = end;
  }
}

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32C (Castagnoli), rotated and offset as TFRecord wants it. */
export function maskedCrc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = crcTable[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  crc = (crc ^ 0xffffffff) >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

// Protobuf wire format.

function varint(value: number): Buffer {
  const out: number[] = [];
  let rest = BigInt(value);
  do {
    const byte = Number(rest & 0x7fn);
    rest >>= 7n;
    out.push(rest > 0n ? byte | 0x80 : byte);
  } while (rest > 0n);
  return Buffer.from(out);
}

const key = (field: number, wireType: number) => varint((field << 3) | wireType);
const integer = (field: number, value: number) => Buffer.concat([key(field, 0), varint(value)]);
const bytes = (field: number, value: Buffer) => Buffer.concat([key(field, 2), varint(value.length), value]);
const text = (field: number, value: string) => bytes(field, Buffer.from(value, 'utf8'));

function double(field: number, value: number): Buffer {
  return Buffer.concat([key(field, 1), doubles([value])]);
}

function float(field: number, value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeFloatLE(value);
  return Buffer.concat([key(field, 5), data]);
}

function doubles(values: readonly number[]): Buffer {
  const data = Buffer.alloc(8 * values.length);
  values.forEach((value, i) => data.writeDoubleLE(value, 8 * i));
  return data;
}

function histogramMessage(limits: readonly number[], counts: readonly number[]): Buffer {
  const filled = limits.filter((_, i) => counts[i]! > 0);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const sum = counts.reduce((all, count, i) => all + count * limits[i]!, 0);
  const squares = counts.reduce((all, count, i) => all + count * limits[i]! ** 2, 0);
  const stats = [filled[0] ?? 0, filled.at(-1) ?? 0, total, sum, squares];
  return Buffer.concat([...stats.map((value, i) => double(i + 1, value)), bytes(6, doubles(limits)), bytes(7, doubles(counts))]);
}

interface Field {
  number: number;
  value: bigint | Buffer;
}

function fields(message: Buffer): Field[] {
  const out: Field[] = [];
  let offset = 0;
  const readVarint = () => {
    let value = 0n;
    for (let shift = 0n; offset < message.length; shift += 7n) {
      const byte = message[offset++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return value;
  };
  const take = (length: number) => message.subarray(offset, (offset += length));
  while (offset < message.length) {
    const tag = Number(readVarint());
    const wireType = tag & 7;
    const value = wireType === 0 ? readVarint() : take(wireType === 1 ? 8 : wireType === 5 ? 4 : Number(readVarint()));
    out.push({ number: tag >>> 3, value });
  }
  return out;
}
