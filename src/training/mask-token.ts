// Which token stands for a masked slot. The drafter has no vocabulary of its own, so it must be one of the target's that
// the target never emits; which one is kept in the drafter's config, because engines embed it.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TargetConfig } from '../models/target-config.js';
import { UserError } from '../errors.js';

/** The tokens that a tokenizer knows, as far as the choice needs them. */
export interface KnownTokens {
  /** Tokens outside the ordinary vocabulary, such as `<|im_end|>`. */
  added: { id: number; content: string; special: boolean }[];
  /** One more than the highest id in use. */
  size: number;
  /** Contents of the tokens that the tokenizer's own files call end and padding. */
  reserved: string[];
}

/**
 * Chooses, in this order: a token that is called mask; an id of the embedding that the tokenizer leaves unused (as DFlash does for
 * Qwen3); a reserved token (as for Llama 3); the unknown token; the token that begins a text. Never an end or padding token.
 * Throws `UserError` where none of these exists.
 */
export function chooseMaskToken(target: TargetConfig, tokens: KnownTokens | undefined): { id: number; reason: string } {
  const added = (tokens?.added ?? []).filter((token) => token.special && token.id < target.vocabSize).sort((a, b) => a.id - b.id);
  const taken = new Set([...target.eosTokenIds, ...(target.padTokenId === undefined ? [] : [target.padTokenId])]);
  const free = (token: { id: number; content: string }) => !taken.has(token.id) && !tokens?.reserved.includes(token.content);
  const called = (pattern: RegExp) => added.find((token) => free(token) && pattern.test(token.content));
  const named = called(/^\W*mask\W*$/i);
  if (named !== undefined) return { id: named.id, reason: `it is called ${named.content}` };
  if (tokens !== undefined && tokens.size < target.vocabSize && !taken.has(tokens.size)) {
    return { id: tokens.size, reason: `the tokenizer ends at ${tokens.size - 1}, the embedding at ${target.vocabSize - 1}` };
  }
  const spare = called(/reserved|unused|extra_id/i) ?? called(/^\W*unk\W*$/i);
  if (spare !== undefined) return { id: spare.id, reason: `${spare.content} is a token that is not emitted` };
  if (target.bosTokenId !== undefined && !taken.has(target.bosTokenId)) {
    return { id: target.bosTokenId, reason: 'it begins a text and is not emitted within one' };
  }
  throw new UserError(
    `no token of the target can stand for a masked slot: it has no mask, unused, reserved, unknown or begin token apart from its end and padding tokens ` +
      `(${[...taken].join(', ') || 'none'}). Set drafter.maskTokenId to an id below ${target.vocabSize} that the target never emits.`,
  );
}

/** Reads the known tokens from a model folder; undefined where it has no tokenizer.json. */
export async function readKnownTokens(folder: string): Promise<KnownTokens | undefined> {
  const readJson = async (name: string): Promise<unknown> => {
    const text = await readFile(join(folder, name), 'utf8').catch(() => undefined);
    if (text === undefined) return undefined;
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new UserError(`${join(folder, name)} is not JSON: ${(error as Error).message}`);
    }
  };
  const tokenizer = (await readJson('tokenizer.json')) as { added_tokens?: unknown; model?: { vocab?: unknown } } | undefined;
  if (tokenizer === undefined) return undefined;
  const added = (Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens : []).filter(
    (token): token is { id: number; content: string; special: boolean } => Number.isInteger(token?.id) && typeof token?.content === 'string',
  );
  const vocabulary = tokenizer.model?.vocab;
  let highest = -1;
  if (Array.isArray(vocabulary)) highest = vocabulary.length - 1;
  else for (const id of Object.values((vocabulary ?? {}) as Record<string, unknown>)) if (typeof id === 'number' && id > highest) highest = id;
  for (const token of added) highest = Math.max(highest, token.id);
  const settings = [await readJson('tokenizer_config.json'), await readJson('special_tokens_map.json')] as (Record<string, unknown> | undefined)[];
  const contentOf = (value: unknown) => (typeof value === 'string' ? value : (value as { content?: unknown } | null | undefined)?.content);
  const reserved = settings.flatMap((file) => [file?.['eos_token'], file?.['pad_token']].map(contentOf)).filter((value) => typeof value === 'string');
  return { added, size: highest + 1, reserved };
}
