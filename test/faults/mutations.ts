// Damage to files, all of it drawn from a seeded generator: bytes exchanged, cut, doubled; numbers that overflow; JSON whose values,
// keys and nesting are not what they were; template text put together anew from its own pieces.
import type { Random } from '../../src/random.js';

const edgeNumbers = [0, 1, 2, 7, 127, 128, 255, 256, 32767, 65535, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32];

/** Exchanges, cuts, inserts, doubles or moves bytes, one to four times. `from` and `to` bound where most of the damage goes. */
export function damageBytes(bytes: Buffer, random: Random, from = 0, to = bytes.length): Buffer {
  let result = Buffer.from(bytes);
  const place = (): number => (random.int(8) === 0 || to <= from ? random.int(Math.max(1, result.length)) : Math.min(result.length, from + random.int(to - from)));
  for (let n = 1 + random.int(4); n > 0; n--) {
    const at = place();
    const length = 1 + random.int(random.int(4) === 0 ? 4096 : 16);
    switch (random.int(9)) {
      case 0:
        if (at < result.length) result[at]! ^= 1 << random.int(8);
        break;
      case 1:
        for (let i = 0; i < length && at + i < result.length; i++) result[at + i] = random.int(256);
        break;
      case 2:
        result = result.subarray(0, at);
        break;
      case 3:
        result = Buffer.concat([result.subarray(0, at), result.subarray(Math.min(result.length, at + length))]);
        break;
      case 4:
        result = Buffer.concat([result.subarray(0, at + length), result.subarray(at)]);
        break;
      case 5:
        result = Buffer.concat([result.subarray(0, at), Buffer.from(Array.from({ length }, () => random.int(256))), result.subarray(at)]);
        break;
      case 6: {
        const value = edgeNumbers[random.int(edgeNumbers.length)]!;
        if (at + 8 <= result.length) result.writeBigUInt64LE(BigInt(value), at);
        break;
      }
      case 7: {
        const value = edgeNumbers[random.int(edgeNumbers.length)]!;
        if (at + 4 <= result.length) result.writeUInt32LE(value % 2 ** 32, at);
        break;
      }
      default: {
        const source = place();
        result.copy(result, at, source, source + length);
      }
    }
    if (result.length === 0) return result;
  }
  return result;
}

/** Values that stand in a JSON file where something else was expected. */
const oddValues: ((random: Random) => unknown)[] = [
  () => null,
  () => true,
  () => false,
  () => 0,
  () => -1,
  () => 1,
  () => 0.5,
  () => 1e308,
  () => 2 ** 31,
  () => 2 ** 53,
  () => '',
  () => 'x',
  () => '../../../etc/passwd',
  () => '/etc/passwd',
  () => 'model.safetensors\0',
  () => '\ud800',
  () => '(a+)+$',
  () => 'constructor',
  () => 'x'.repeat(100_000),
  () => [],
  () => {},
  () => ({}),
  () => [null],
  () => ({ content: 5 }),
  () => ({ Regex: '([a-z]+)*!' }),
  () => JSON.parse('{"__proto__": {"polluted": 1}}') as unknown,
  (random) => nest(50 + random.int(3000)),
  (random) => Array.from({ length: 1 + random.int(2000) }, (_, i) => i),
];

function nest(depth: number): unknown {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = i % 2 === 0 ? [value] : { a: value };
  return value;
}

/** A copy of a JSON value with one to three places changed: another value, another key, doubled, moved or left out. */
export function damageJson(value: unknown, random: Random): unknown {
  let result = structuredClone(value);
  for (let n = 1 + random.int(3); n > 0; n--) result = damageOnce(result, random);
  return result;
}

function damageOnce(value: unknown, random: Random): unknown {
  const replaced = (): unknown => oddValues[random.int(oddValues.length)]!(random);
  if (value === null || typeof value !== 'object') return damageScalar(value, random, replaced);
  const keys = Object.keys(value);
  if (keys.length === 0 || random.int(40) === 0) return replaced();
  const key = keys[random.int(keys.length)]!;
  const holder = value as Record<string, unknown>;
  // Deeper places are as likely as this one: a file's damage is rarely at its root.
  if (holder[key] !== null && typeof holder[key] === 'object' ? random.int(5) > 0 : random.int(3) > 0) {
    holder[key] = damageOnce(holder[key], random);
    return value;
  }
  switch (random.int(6)) {
    case 0:
      if (Array.isArray(value)) value.splice(Number(key), 1);
      else Reflect.deleteProperty(holder, key);
      break;
    case 1:
      if (Array.isArray(value)) value.push(...Array.from({ length: 1 + random.int(300) }, () => holder[key]));
      else holder[`${key}_`] = holder[key];
      break;
    case 2: {
      const other = keys[random.int(keys.length)]!;
      [holder[key], holder[other]] = [holder[other], holder[key]];
      break;
    }
    case 3:
      if (!Array.isArray(value)) Object.defineProperty(holder, '__proto__', { value: holder[key], enumerable: true, configurable: true, writable: true });
      break;
    default:
      holder[key] = replaced();
  }
  return value;
}

function damageScalar(value: unknown, random: Random, replaced: () => unknown): unknown {
  if (typeof value === 'number' && random.int(2) === 0) return [value + 1, value - 1, -value, value * 2, value * 2 ** 20, value / 2, value + 0.5][random.int(7)];
  if (typeof value === 'string' && random.int(2) === 0) return damageText(value, random);
  return replaced();
}

/** Text with pieces of itself exchanged, doubled or left out. */
export function damageText(text: string, random: Random): string {
  const pieces = text.split(/(\s+|\{%-?|-?%\}|\{\{|\}\}|[()[\]|.,'"=+~*])/).filter((piece) => piece !== '');
  if (pieces.length === 0) return 'x';
  for (let n = 1 + random.int(4); n > 0; n--) {
    const at = random.int(pieces.length);
    const other = pieces[random.int(pieces.length)]!;
    switch (random.int(5)) {
      case 0:
        pieces.splice(at, 1);
        break;
      case 1:
        pieces.splice(at, 0, other);
        break;
      case 2:
        pieces[at] = other;
        break;
      case 3:
        pieces.splice(at, 0, ...pieces.slice(at, at + 1 + random.int(12)));
        break;
      default:
        pieces[at] = ['999999999', '-1', "'x'", 'none', 'messages', 'range(99999)', '{% for q in range(9999) %}', '{% endfor %}', '\\', '*', '\u0000'][random.int(11)]!;
    }
    if (pieces.length === 0) return '';
  }
  return pieces.join('');
}

/** Damages the text of a JSON file: half of the time as JSON, else as bytes, and now and then a key is written twice. */
export function damageJsonText(text: string, random: Random): Buffer {
  const kind = random.int(8);
  if (kind === 0) return damageBytes(Buffer.from(text), random);
  if (kind === 1) return Buffer.from(text.replace(/"(\w+)":/, (whole, key: string) => `"${key}":null,${whole}`));
  if (kind === 2) return Buffer.from(damageText(text, random));
  const json = JSON.stringify(damageJson(JSON.parse(text), random));
  return Buffer.from(json ?? '');
}
