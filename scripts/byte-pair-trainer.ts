// Byte-level byte-pair encoding: learns merges from text and writes Hugging Face's tokenizer.json.
// Pre-tokenization is Qwen2's pattern (digits alone, a word with its leading space), so engines that know that family read it.
// Trained on word counts; ties go to the pair that comes first in code-unit order, so the same text gives the same file.

/** Qwen2's pre-tokenization pattern, as tokenizer.json states it. */
export const pretokenPattern =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
/** The same for engines whose regular expressions have no inline flags. */
const pretoken =
  /'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+/gu;

/** The printable stand-in of every byte (GPT-2's table): printable Latin-1 stands for itself, the rest moves up from U+0100. */
export function byteAlphabet(): string[] {
  const alphabet: string[] = [];
  let moved = 0;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    alphabet.push(String.fromCharCode(printable ? byte : 256 + moved++));
  }
  return alphabet;
}

export interface BytePairs {
  /** Tokens in order of their ids: the byte alphabet, then one token a merge. */
  tokens: string[];
  merges: [string, string][];
}

/** Learns `size - 256` merges from the texts. Throws when the texts hold too few pairs for that many. */
export function trainBytePairs(texts: Iterable<string>, size: number): BytePairs {
  const alphabet = byteAlphabet();
  const counts = new Map<string, number>();
  for (const text of texts) for (const [word] of text.matchAll(pretoken)) counts.set(word, (counts.get(word) ?? 0) + 1);
  const words = [...counts].map(([word, count]) => ({ parts: [...Buffer.from(word, 'utf8')].map((byte) => alphabet[byte]!), count }));
  const pairCounts = new Map<string, number>();
  const pairWords = new Map<string, Set<number>>();
  const add = (index: number, sign: 1 | -1): void => {
    const { parts, count } = words[index]!;
    for (let i = 0; i + 1 < parts.length; i++) {
      const pair = `${parts[i]!} ${parts[i + 1]!}`;
      pairCounts.set(pair, (pairCounts.get(pair) ?? 0) + sign * count);
      if (sign === 1) {
        const where = pairWords.get(pair);
        if (where === undefined) pairWords.set(pair, new Set([index]));
        else where.add(index);
      }
    }
  };
  words.forEach((_, index) => add(index, 1));
  const tokens = [...alphabet].sort((a, b) => a.charCodeAt(0) - b.charCodeAt(0));
  const merges: [string, string][] = [];
  const known = new Set(tokens);
  while (tokens.length < size) {
    let best: string | undefined;
    let bestCount = 1;
    for (const [pair, count] of pairCounts) {
      if (count > bestCount || (count === bestCount && best !== undefined && pair < best)) [best, bestCount] = [pair, count];
    }
    if (best === undefined) throw new Error(`the text gives only ${tokens.length} tokens, ${size} were asked for`);
    const [left, right] = best.split(' ') as [string, string];
    const merged = left + right;
    merges.push([left, right]);
    if (!known.has(merged)) tokens.push(merged);
    known.add(merged);
    for (const index of pairWords.get(best) ?? []) {
      add(index, -1);
      const { parts } = words[index]!;
      const joined: string[] = [];
      for (let i = 0; i < parts.length; i++) {
        if (parts[i] === left && parts[i + 1] === right) {
          joined.push(merged);
          i++;
        } else joined.push(parts[i]!);
      }
      words[index]!.parts = joined;
      add(index, 1);
    }
    pairCounts.delete(best);
    pairWords.delete(best);
  }
  return { tokens, merges };
}

/** tokenizer.json: the byte pairs, then the special tokens with the ids that follow. */
export function tokenizerJson(pairs: BytePairs, specialTokens: readonly string[]): Record<string, unknown> {
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, i) => ({
      id: pairs.tokens.length + i, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true,
    })),
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: pretokenPattern }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
    model: {
      type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '', fuse_unk: false, byte_fallback: false, ignore_merges: false,
      vocab: Object.fromEntries(pairs.tokens.map((token, id) => [token, id])),
      merges: pairs.merges.map(([left, right]) => `${left} ${right}`),
    },
  };
}
