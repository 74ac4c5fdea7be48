// Where blocks begin. An anchor is a supervised token whose next token is supervised too, so that its block has at least one
// label the target itself wrote. What a block runs into beyond that (the end, an unsupervised token) is masked, not avoided.
import type { Random } from '../src/random.js';

/** Positions that may be anchors, ascending: `lossMask[a]` and `lossMask[a + 1]` both set. `lossMask` is `[S]`, 0 or 1. */
export function anchorCandidates(lossMask: Uint8Array): Int32Array {
  const candidates = new Int32Array(lossMask.length);
  let count = 0;
  for (let a = 0; a + 1 < lossMask.length; a++) {
    if (lossMask[a] !== 0 && lossMask[a + 1] !== 0) candidates[count++] = a;
  }
  return candidates.slice(0, count);
}

/**
 * Draws `count` different anchors of a sequence, uniformly, and returns them ascending; where the sequence has fewer
 * possible anchors, all of them. `lossMask` is `[S]`, 0 or 1.
 */
export function sampleAnchors(lossMask: Uint8Array, count: number, random: Random): Int32Array {
  const candidates = anchorCandidates(lossMask);
  if (candidates.length <= count) return candidates;
  for (let i = 0; i < count; i++) {
    const j = i + random.int(candidates.length - i);
    const drawn = candidates[j]!;
    candidates[j] = candidates[i]!;
    candidates[i] = drawn;
  }
  return candidates.slice(0, count).sort();
}

/**
 * Labels and validity of the blocks at `anchors`: slot `k` (1..K-1) of anchor `a` predicts token `a + k` and is valid while
 * every token from `a + 1` to `a + k` exists and is supervised. Writes `labels` (invalid slots: 0) and `valid` (0 or 1), both
 * `[anchors, K-1]` starting at block `offset`.
 */
export function labelBlocks(
  anchors: Int32Array,
  inputIds: Int32Array,
  lossMask: Uint8Array,
  blockSize: number,
  labels: Int32Array,
  valid: Float32Array,
  offset: number,
): void {
  const slots = blockSize - 1;
  for (let n = 0; n < anchors.length; n++) {
    const anchor = anchors[n]!;
    const start = (offset + n) * slots;
    for (let k = 1; k <= slots; k++) {
      const position = anchor + k;
      if (position >= inputIds.length || lossMask[position] === 0) break;
      labels[start + k - 1] = inputIds[position]!;
      valid[start + k - 1] = 1;
    }
  }
}
