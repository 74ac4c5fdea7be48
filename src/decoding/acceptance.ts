// The one acceptance metric. Decoding, simulation and train-time validation all hand their rounds to these functions, so
// that their figures mean the same: accepted length is accepted drafts plus the target's own token (DESIGN 1).
import { Random } from '../random.js';

/** One draft and its verification. */
export interface Round {
  /** Position of slot 0, the last committed token. */
  anchor: number;
  /** The drafter's first choice for slots 1..J, `[J]`. */
  drafted: ArrayLike<number>;
  /** Tokens committed: accepted drafts + 1. Not cut at stop tokens or length limits, as in the reference loop. */
  accepted: number;
}

/** The rounds over one text. */
export interface AcceptanceTrace {
  /** Traces of one group are drawn together by the bootstrap: the turns of one conversation. */
  group?: string | number;
  /** The text that the target wrote or would write: `tokens[i]` is the token at position `firstPosition + i`. */
  tokens: ArrayLike<number>;
  firstPosition: number;
  rounds: readonly Round[];
}

/** Acceptance at one slot of the block. */
export interface SlotAcceptance {
  /** 1..J */
  slot: number;
  /** Rounds that drafted this slot. */
  offered: number;
  /** Share of those rounds in which this slot and all before it were accepted. */
  survival: number;
  /** Share accepted among the rounds whose earlier slots were all accepted; null where there were none. */
  conditionalAccuracy: number | null;
  /** Share of drafts equal to the target's text, whatever came before, among rounds where the text is known; null where none. */
  accuracy: number | null;
}

/** A 95% interval by bootstrap over prompts. */
export interface Interval {
  low: number;
  high: number;
}

/** Acceptance over any number of texts. */
export interface AcceptanceSummary {
  texts: number;
  rounds: number;
  /** Tokens committed by all rounds. */
  committedTokens: number;
  /** Committed tokens per round, all rounds pooled. */
  acceptedLength: number;
  acceptedLengthInterval: Interval | null;
  /** `acceptedLength - 1`. */
  acceptedDrafts: number;
  /** Mean over texts of each text's own mean, which is what the reference implementation prints. */
  meanOfTextMeans: number;
  slots: SlotAcceptance[];
  /** `histogram[n]` rounds committed exactly n tokens, n from 0 (never) to the block size. */
  histogram: number[];
  /** Drafts that equal the target's text, where it is known. */
  correctDrafts: number;
  /** Of those, the ones thrown away because an earlier slot was wrong. */
  wastedDrafts: number;
  /** `wastedDrafts / correctDrafts`; null without a correct draft. */
  waste: number | null;
}

/**
 * Summarises rounds. An empty input gives zeros and nulls, no NaN.
 * @param options.bootstrap resamples for the interval (0 = none) and the seed they are drawn with
 */
export function summarizeAcceptance(
  traces: readonly AcceptanceTrace[],
  options: { bootstrap?: { resamples: number; seed: number } } = {},
): AcceptanceSummary {
  const offered: number[] = [];
  const survived: number[] = [];
  const known: number[] = [];
  const right: number[] = [];
  const histogram: number[] = [0];
  let rounds = 0;
  let committed = 0;
  let correct = 0;
  let wasted = 0;
  const means: number[] = [];
  for (const trace of traces) {
    let committedHere = 0;
    for (const round of trace.rounds) {
      const acceptedDrafts = round.accepted - 1;
      committedHere += round.accepted;
      increment(histogram, round.accepted);
      for (let slot = 1; slot <= round.drafted.length; slot++) {
        increment(offered, slot);
        if (slot <= acceptedDrafts) {
          increment(survived, slot);
          correct++;
        }
        const text = trace.tokens[round.anchor + slot - trace.firstPosition];
        if (text === undefined) continue;
        increment(known, slot);
        if (round.drafted[slot - 1] !== text) continue;
        increment(right, slot);
        if (slot > acceptedDrafts) {
          correct++;
          wasted++;
        }
      }
    }
    rounds += trace.rounds.length;
    committed += committedHere;
    if (trace.rounds.length > 0) means.push(committedHere / trace.rounds.length);
  }
  const slots: SlotAcceptance[] = [];
  for (let slot = 1; slot < offered.length; slot++) {
    const reached = slot === 1 ? offered[1]! : (survived[slot - 1] ?? 0);
    slots.push({
      slot,
      offered: offered[slot] ?? 0,
      survival: offered[slot] ? (survived[slot] ?? 0) / offered[slot]! : 0,
      conditionalAccuracy: reached > 0 ? (survived[slot] ?? 0) / reached : null,
      accuracy: known[slot] ? (right[slot] ?? 0) / known[slot]! : null,
    });
  }
  const acceptedLength = rounds > 0 ? committed / rounds : 0;
  return {
    texts: traces.length,
    rounds,
    committedTokens: committed,
    acceptedLength,
    acceptedLengthInterval: options.bootstrap ? bootstrapAcceptedLength(traces, options.bootstrap) : null,
    acceptedDrafts: rounds > 0 ? acceptedLength - 1 : 0,
    meanOfTextMeans: means.length > 0 ? means.reduce((a, b) => a + b, 0) / means.length : 0,
    slots,
    histogram: Array.from({ length: Math.max(histogram.length, offered.length + 1) }, (_, n) => histogram[n] ?? 0),
    correctDrafts: correct,
    wastedDrafts: wasted,
    waste: correct > 0 ? wasted / correct : null,
  };
}

/**
 * 95% percentile interval of the pooled accepted length when whole groups (prompts) are drawn with replacement.
 * Null where there are fewer than two groups with rounds.
 */
export function bootstrapAcceptedLength(
  traces: readonly AcceptanceTrace[],
  { resamples, seed }: { resamples: number; seed: number },
): Interval | null {
  const groups = [...groupTotals(traces).values()];
  if (groups.length < 2 || resamples < 1) return null;
  const random = Random.fork(seed, 'bootstrap');
  const figures = new Float64Array(resamples);
  for (let resample = 0; resample < resamples; resample++) {
    let committed = 0;
    let rounds = 0;
    for (let draw = 0; draw < groups.length; draw++) {
      const group = groups[random.int(groups.length)]!;
      committed += group.committed;
      rounds += group.rounds;
    }
    figures[resample] = committed / rounds;
  }
  figures.sort();
  return { low: quantile(figures, 0.025), high: quantile(figures, 0.975) };
}

/**
 * 95% interval of the difference in pooled accepted length, `a - b`, over the groups that both have, drawn in pairs.
 * Null where they share fewer than two groups.
 */
export function bootstrapDifference(
  a: readonly AcceptanceTrace[],
  b: readonly AcceptanceTrace[],
  { resamples, seed }: { resamples: number; seed: number },
): Interval | null {
  const totalsB = groupTotals(b);
  const pairs = [...groupTotals(a)].filter(([group]) => totalsB.has(group)).map(([group, total]) => [total, totalsB.get(group)!] as const);
  if (pairs.length < 2 || resamples < 1) return null;
  const random = Random.fork(seed, 'bootstrap');
  const figures = new Float64Array(resamples);
  for (let resample = 0; resample < resamples; resample++) {
    const sums = [0, 0, 0, 0] as [number, number, number, number];
    for (let draw = 0; draw < pairs.length; draw++) {
      const [ofA, ofB] = pairs[random.int(pairs.length)]!;
      sums[0] += ofA.committed;
      sums[1] += ofA.rounds;
      sums[2] += ofB.committed;
      sums[3] += ofB.rounds;
    }
    figures[resample] = sums[0] / sums[1] - sums[2] / sums[3];
  }
  figures.sort();
  return { low: quantile(figures, 0.025), high: quantile(figures, 0.975) };
}

function groupTotals(traces: readonly AcceptanceTrace[]): Map<string | number | symbol, { committed: number; rounds: number }> {
  const totals = new Map<string | number | symbol, { committed: number; rounds: number }>();
  for (const trace of traces) {
    if (trace.rounds.length === 0) continue;
    const key = trace.group ?? Symbol('text of its own');
    const total = totals.get(key) ?? { committed: 0, rounds: 0 };
    for (const round of trace.rounds) total.committed += round.accepted;
    total.rounds += trace.rounds.length;
    totals.set(key, total);
  }
  return totals;
}

function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below]! + (place - below) * (sorted[above]! - sorted[below]!);
}

function increment(counts: number[], index: number): void {
  while (counts.length <= index) counts.push(0);
  counts[index]!++;
}
