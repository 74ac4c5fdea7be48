// Which drafts are kept, and which token follows them. All three rules leave the target's distribution as it is:
// matching (greedy or sampled), and speculative sampling (Leviathan et al., arXiv 2211.17192, algorithm 1).
// Pure functions of plain arrays: the decoder calls them, and the losslessness test draws from them by the ten thousand.
import { drawToken } from './sampling.js';

/** What one verification commits. */
export interface Verdict {
  /** Accepted drafts, 0..J. */
  acceptedDrafts: number;
  /** The token after the accepted drafts: the target's correction, or its bonus token when all were accepted. */
  nextToken: number;
}

/**
 * Matches drafts against the target's own choices.
 * @param drafted J draft tokens
 * @param targetTokens J+1 choices of the target; entry `j` follows the first `j` drafts
 */
export function verifyByMatching(drafted: ArrayLike<number>, targetTokens: ArrayLike<number>): Verdict {
  let acceptedDrafts = 0;
  while (acceptedDrafts < drafted.length && drafted[acceptedDrafts] === targetTokens[acceptedDrafts]) acceptedDrafts++;
  return { acceptedDrafts, nextToken: targetTokens[acceptedDrafts]! };
}

/**
 * Matches drafts against tokens that are drawn only as far as they are needed.
 * @param chooseTarget the target's choice after the first `j` drafts
 */
export function verifyByMatchingLazily(drafted: ArrayLike<number>, chooseTarget: (slot: number) => number): Verdict {
  for (let acceptedDrafts = 0; ; acceptedDrafts++) {
    const nextToken = chooseTarget(acceptedDrafts);
    if (acceptedDrafts === drafted.length || drafted[acceptedDrafts] !== nextToken) return { acceptedDrafts, nextToken };
  }
}

/**
 * Speculative sampling: draft `x` drawn from `q` is kept with probability `min(1, p(x)/q(x))`; at the first rejection the
 * next token is drawn from the normalised `max(0, p - q)`; after J acceptances from the target's last distribution.
 * @param drafted J tokens, each drawn from its `draftDistribution`
 * @param draftDistribution q of slot `j`, `[V]`
 * @param targetDistribution p after the first `j` drafts, `[V]`; asked for `j` up to J, no further than needed
 * @param uniform the next random number in [0, 1)
 */
export function verifyBySampling(
  drafted: ArrayLike<number>,
  draftDistribution: (slot: number) => Float64Array,
  targetDistribution: (slot: number) => Float64Array,
  uniform: () => number,
): Verdict {
  for (let slot = 0; slot < drafted.length; slot++) {
    const token = drafted[slot]!;
    const q = draftDistribution(slot);
    const p = targetDistribution(slot);
    if (uniform() * q[token]! < p[token]!) continue;
    const residual = new Float64Array(p.length);
    let sum = 0;
    for (let i = 0; i < p.length; i++) sum += residual[i] = Math.max(0, p[i]! - q[i]!);
    // p = q up to rounding leaves no residual; a rejection is then itself a rounding accident, and p is right.
    return { acceptedDrafts: slot, nextToken: drawToken(sum > 0 ? residual : p, uniform()) };
  }
  return { acceptedDrafts: drafted.length, nextToken: drawToken(targetDistribution(drafted.length), uniform()) };
}

/** A path through a verified tree of drafts. */
export interface TreeVerdict extends Verdict {
  /** Tree nodes kept, root first: `acceptedDrafts + 1` indices. */
  path: number[];
}

/**
 * Walks from the root along the children that equal the target's choice.
 * @param tokens token of every node; node 0 is the anchor
 * @param parents parent of every node (-1 for the root); a parent stands before its children
 * @param chooseTarget the target's choice after node `i`, at `depth` below the anchor
 */
export function verifyTree(
  tokens: ArrayLike<number>,
  parents: ArrayLike<number>,
  chooseTarget: (node: number, depth: number) => number,
): TreeVerdict {
  const path = [0];
  for (let node = 0; ; ) {
    const nextToken = chooseTarget(node, path.length - 1);
    let child = node + 1;
    while (child < tokens.length && !(parents[child] === node && tokens[child] === nextToken)) child++;
    if (child >= tokens.length) return { acceptedDrafts: path.length - 1, nextToken, path };
    path.push(child);
    node = child;
  }
}
