// Accepted length without decoding: the walk that greedy speculative decoding would take over a text that is already
// known. On the target's own greedy text it gives the decoded rounds exactly (DESIGN 1), which is how training figures
// are held to what an engine will show. The walk itself is pure; where drafts come from is the caller's business.
import type { Round } from './acceptance.js';

/** Where a walk starts and ends, in text positions. */
export interface WalkSpan {
  /** Position of the first anchor: the first token after the prompt. */
  start: number;
  /** No round starts here or later. */
  end: number;
}

/**
 * Walks over a known text: draft from the true prefix, accept the matching prefix, jump to the token after it.
 * @param tokens the text from position 0, prompt included. Rounds near the end compare drafts only with what is there:
 *   pass K more tokens than `end` to see every round whole, as decoding does.
 * @param draftAt drafts of slots 1..J at an anchor
 * @param stopTokens the walk ends after a round at which one of these stands among the tokens from `start` on
 */
export function simulateWalk(
  tokens: ArrayLike<number>,
  span: WalkSpan,
  draftAt: (anchor: number) => ArrayLike<number>,
  stopTokens: ReadonlySet<number> = new Set(),
): Round[] {
  const rounds: Round[] = [];
  let seen = span.start;
  for (let anchor = span.start; anchor < Math.min(span.end, tokens.length); ) {
    const drafted = draftAt(anchor);
    let accepted = 1;
    while (accepted <= drafted.length && tokens[anchor + accepted] === drafted[accepted - 1]) accepted++;
    rounds.push({ anchor, drafted, accepted });
    anchor += accepted;
    for (; seen <= anchor && seen < tokens.length; seen++) if (stopTokens.has(tokens[seen]!)) return rounds;
  }
  return rounds;
}

/** Where two lists of rounds part: the first differing round's index, or undefined where they are the same. */
export function firstDifference(simulated: readonly Round[], decoded: readonly Round[]): number | undefined {
  const count = Math.max(simulated.length, decoded.length);
  for (let i = 0; i < count; i++) {
    const a = simulated[i];
    const b = decoded[i];
    if (a === undefined || b === undefined || a.anchor !== b.anchor || a.accepted !== b.accepted) return i;
  }
  return undefined;
}
