// float16 and bfloat16 in JavaScript: arrays of their bits, widened exactly and narrowed to nearest, ties to even.
// float16 is widened by a table of all 65,536 values, made at first use.

let widened: Float32Array | undefined;
const word = new Uint32Array(1);
const asFloat = new Float32Array(word.buffer);

function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** float16 bits to float32, exactly. */
export function halfToFloat32(bits: Uint16Array, into = new Float32Array(bits.length)): Float32Array {
  widened ??= Float32Array.from({ length: 65536 }, (_, i) => halfValue(i));
  for (let i = 0; i < bits.length; i++) into[i] = widened[bits[i]!]!;
  return into;
}

/** float32 to float16 bits: nearest, ties to even; what is too large becomes infinity. */
export function float32ToHalf(values: Float32Array): Uint16Array {
  const source = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < source.length; i++) bits[i] = narrowToHalf(source[i]!);
  return bits;
}

function narrowToHalf(float: number): number {
  const sign = (float >>> 16) & 0x8000;
  const magnitude = float & 0x7fffffff;
  if (magnitude >= 0x7f800000) return sign | 0x7c00 | (magnitude > 0x7f800000 ? 0x200 : 0);
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Subnormal: count units of 2^-24. Multiplying is exact, and Math.round would break ties upwards.
    word[0] = magnitude;
    const units = asFloat[0]! * 2 ** 24;
    const below = Math.floor(units);
    const rest = units - below;
    return sign | (below + (rest > 0.5 || (rest === 0.5 && (below & 1) === 1) ? 1 : 0));
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

/** bfloat16 bits to float32, exactly. */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array {
  const result = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) result[i] = bits[i]! << 16;
  return new Float32Array(result.buffer);
}

/** float32 to bfloat16 bits: nearest, ties to even. */
export function float32ToBfloat16(values: Float32Array): Uint16Array {
  const source = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < source.length; i++) {
    const float = source[i]!;
    const isNaN = (float & 0x7fffffff) > 0x7f800000;
    bits[i] = isNaN ? (float >>> 16) | 0x40 : (float + 0x7fff + ((float >>> 16) & 1)) >>> 16;
  }
  return bits;
}
