// Which token stands for a masked slot. The drafter has no vocabulary of its own, so it must be one of the target's that
// the target never emits; which one is kept in the drafter's config, because engines embed it.
import type { Tokenizer } from '../../data/tokenizer.js';
import { UserError } from '../errors.js';
import type { TargetConfig } from '../models/target-config.js';

/** What the choice reads of a tokenizer. */
export type KnownTokens = Pick<Tokenizer, 'addedTokens' | 'size' | 'specialIds'>;

/**
 * Chooses, in this order: a token that is called mask; an id of the embedding that the tokenizer leaves unused (as DFlash does for
 * Qwen3); a reserved token (as for Llama 3); the unknown token; the token that begins a text. Never an end or padding token.
 * Throws `UserError` where none of these exists.
 */
export function chooseMaskToken(target: TargetConfig, tokens: KnownTokens | undefined): { id: number; reason: string } {
  const { pad, eos, stop = [] } = tokens?.specialIds ?? {};
  const taken = new Set([...target.eosTokenIds, ...stop, target.padTokenId, pad, eos].filter((id) => id !== undefined));
  const added = (tokens?.addedTokens ?? []).filter((token) => token.special && token.id < target.vocabSize && !taken.has(token.id));
  const called = (pattern: RegExp) => [...added].sort((a, b) => a.id - b.id).find((token) => pattern.test(token.content));
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
