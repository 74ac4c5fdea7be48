// The losses once more, in plain double-precision loops straight from their definitions: what the tensor code is checked against,
// by value and by finite differences.

export interface Slot {
  logits: number[];
  label: number;
  valid: boolean;
  /** The target's probabilities over the vocabulary. */
  target?: number[];
  /** The tokens that are buckets of their own; the others share one. Default: every token is one. */
  listed?: number[];
}
export type Block = Slot[];

export interface SlotScores {
  logProb: number;
  correct: boolean;
  valid: boolean;
  kl: number;
  overlap: number;
}

export function softmax(logits: number[]): number[] {
  const peak = Math.max(...logits);
  const weights = logits.map((z) => Math.exp(z - peak));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / total);
}

export function scoreSlot({ logits, label, valid, target, listed }: Slot): SlotScores {
  const q = softmax(logits);
  const rivals = q.reduce((sum, p, token) => (token === label ? sum : sum + p), 0);
  const logProb = q[label]! > 0.5 ? Math.log1p(-rivals) : Math.log(q[label]!);
  const correct = logits.indexOf(Math.max(...logits)) === label;
  let kl = 0;
  let overlap = 0;
  if (target) {
    const tokens = listed ?? q.map((_, token) => token);
    const tail = (p: number[]) => p.reduce((sum, value, token) => (tokens.includes(token) ? sum : sum + value), 0);
    const buckets = tokens.map((token) => [target[token]!, q[token]!] as const);
    if (tokens.length < q.length) buckets.push([tail(target), tail(q)]);
    for (const [p, q] of buckets) {
      if (p > 0) kl += p * Math.log(p / q);
      overlap += Math.min(p, q);
    }
  }
  return { logProb, correct, valid, kl, overlap };
}

export type Loss = (blocks: SlotScores[][]) => number;
/** What slot `k` of block `b` pays. */
export type Pay = (slot: SlotScores, b: number, k: number) => number;

export const pay = {
  crossEntropy: (slot: SlotScores) => -slot.logProb,
  kl: (slot: SlotScores) => slot.kl,
  totalVariation: (slot: SlotScores) => 1 - slot.overlap,
};

const validSlots = (block: SlotScores[]) => block.filter((slot) => slot.valid);
const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
const ratio = (a: number, b: number) => (b === 0 ? 0 : a / b);

export function weighting(gamma: number, payment: Pay = pay.crossEntropy): Loss {
  return (blocks) => {
    const weight = (k: number) => Math.exp(-k / gamma);
    const paid = blocks.map((block, b) => sum(block.map((slot, k) => (slot.valid ? weight(k) * payment(slot, b, k) : 0))));
    const weights = blocks.map((block) => sum(block.map((slot, k) => (slot.valid ? weight(k) : 0))));
    return ratio(sum(paid), sum(weights));
  };
}

export function firstError(focusing: number, payment: Pay = pay.crossEntropy): Loss {
  return (blocks) => {
    const errors = blocks.flatMap((block, b) => {
      const k = block.findIndex((slot) => slot.valid && !slot.correct);
      return k < 0 ? [] : (1 - Math.exp(block[k]!.logProb)) ** focusing * payment(block[k]!, b, k);
    });
    return ratio(sum(errors), errors.length);
  };
}

export function chainOf(chance: (slot: SlotScores) => number): Loss {
  return (blocks) => {
    const shares = blocks
      .map(validSlots)
      .filter((slots) => slots.length > 0)
      .map((slots) => sum(slots.map((_, k) => slots.slice(0, k + 1).reduce((product, slot) => product * chance(slot), 1))) / slots.length);
    return shares.length === 0 ? 0 : 1 - sum(shares) / shares.length;
  };
}
export const chain = chainOf((slot) => Math.exp(slot.logProb));
export const acceptanceChain = chainOf((slot) => slot.overlap);

/** Weights are those of `at`, so that finite differences see them as constants. */
export function dpace(alpha: number, at: SlotScores[][], payment: Pay = pay.crossEntropy): Loss {
  const weights = at.map((block) => {
    const reached = block.map((_, m) =>
      block.slice(0, m + 1).reduce((product, slot) => product * (slot.valid ? (1 - alpha) * Math.exp(slot.logProb) + alpha : 1), 1),
    );
    return block.map((slot, k) => (slot.valid ? sum(reached.filter((_, m) => m >= k && block[m]!.valid)) : 0));
  });
  return (blocks) =>
    ratio(sum(blocks.map((block, b) => sum(block.map((slot, k) => (slot.valid ? weights[b]![k]! * payment(slot, b, k) : 0))))), sum(weights.flat()));
}

/** Central differences of `f` at `x`. */
export function finiteDifferences(f: (x: number[]) => number, x: number[], step = 1e-5): number[] {
  return x.map((value, i) => {
    const at = (moved: number) => f(x.map((old, j) => (j === i ? moved : old)));
    return (at(value + step) - at(value - step)) / (2 * step);
  });
}
