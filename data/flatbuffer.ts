// Reads FlatBuffers tables, the encoding of Arrow's headers, checking every access against the buffer's end. Files come from
// anywhere, and a generated accessor that trusts its offsets would loop or read nonsense on a damaged one.
// Format: https://flatbuffers.dev/internals/

/** Thrown where an offset or length points outside the buffer. */
export class FlatbufferError extends Error {
  override readonly name = 'FlatbufferError';
}

/** A table in a buffer; fields are named by their index in the schema. */
export class FlatTable {
  readonly #view: DataView;
  readonly #position: number;
  readonly #vtable: number;
  readonly #vtableBytes: number;

  private constructor(view: DataView, position: number) {
    this.#view = view;
    this.#position = check(view, position, 4);
    this.#vtable = check(view, position - view.getInt32(position, true), 4);
    this.#vtableBytes = view.getUint16(this.#vtable, true);
    check(view, this.#vtable, this.#vtableBytes);
  }

  /** The table at a buffer's root. */
  static root(bytes: Uint8Array): FlatTable {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    check(view, 0, 4);
    return new FlatTable(view, view.getUint32(0, true));
  }

  int16(field: number, absent = 0): number {
    const at = this.#field(field, 2);
    return at === undefined ? absent : this.#view.getInt16(at, true);
  }

  int32(field: number, absent = 0): number {
    const at = this.#field(field, 4);
    return at === undefined ? absent : this.#view.getInt32(at, true);
  }

  uint8(field: number, absent = 0): number {
    const at = this.#field(field, 1);
    return at === undefined ? absent : this.#view.getUint8(at);
  }

  /** A 64-bit integer that must be a plain count or offset: 0..2^53-1. */
  size(field: number): number {
    const at = this.#field(field, 8);
    return at === undefined ? 0 : readSize(this.#view, at);
  }

  has(field: number): boolean {
    return this.#field(field, 1) !== undefined;
  }

  string(field: number): string | undefined {
    const at = this.#field(field, 4);
    if (at === undefined) return undefined;
    const start = check(this.#view, at + this.#view.getUint32(at, true), 4);
    const length = this.#view.getUint32(start, true);
    check(this.#view, start + 4, length);
    return new TextDecoder().decode(new Uint8Array(this.#view.buffer, this.#view.byteOffset + start + 4, length));
  }

  table(field: number): FlatTable | undefined {
    const at = this.#field(field, 4);
    return at === undefined ? undefined : new FlatTable(this.#view, at + this.#view.getUint32(at, true));
  }

  /** A vector of tables. */
  tables(field: number, most: number): FlatTable[] {
    const { start, count } = this.#vector(field, 4);
    if (count > most) throw new FlatbufferError(`${count} entries where ${most} are the most allowed`);
    return Array.from({ length: count }, (_, i) => {
      const at = start + 4 * i;
      return new FlatTable(this.#view, at + this.#view.getUint32(at, true));
    });
  }

  /** A vector of structs, handed to `read` as functions of the byte offset inside the struct. */
  structs<T>(field: number, structBytes: number, read: (at: { size(offset: number): number; int32(offset: number): number }) => T): T[] {
    const { start, count } = this.#vector(field, structBytes);
    return Array.from({ length: count }, (_, i) => {
      const base = start + structBytes * i;
      return read({
        size: (offset) => readSize(this.#view, base + offset),
        int32: (offset) => this.#view.getInt32(base + offset, true),
      });
    });
  }

  #vector(field: number, itemBytes: number): { start: number; count: number } {
    const at = this.#field(field, 4);
    if (at === undefined) return { start: 0, count: 0 };
    const start = check(this.#view, at + this.#view.getUint32(at, true), 4);
    const count = this.#view.getUint32(start, true);
    check(this.#view, start + 4, count * itemBytes);
    return { start: start + 4, count };
  }

  #field(field: number, bytes: number): number | undefined {
    const slot = 4 + 2 * field;
    if (slot + 2 > this.#vtableBytes) return undefined;
    const offset = this.#view.getUint16(this.#vtable + slot, true);
    return offset === 0 ? undefined : check(this.#view, this.#position + offset, bytes);
  }
}

function check(view: DataView, position: number, bytes: number): number {
  if (position < 0 || position + bytes > view.byteLength) {
    throw new FlatbufferError(`an offset points to byte ${position + bytes} of a header of ${view.byteLength} bytes`);
  }
  return position;
}

function readSize(view: DataView, at: number): number {
  const value = view.getBigInt64(at, true);
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) throw new FlatbufferError(`a size of ${value} is out of range`);
  return Number(value);
}
