// Intervals of a study. Seeds and prompts are both drawn with replacement, crossed: a resample takes some seeds and, in every domain, some
// prompts, and every drafter is seen through the same draws. So a difference between two drafters is paired by prompt and seed, and an interval
// covers both which prompts were asked and which runs were made. With three seeds the second part is coarse: read it as a lower bound.
import type { Interval } from '../decoding/acceptance.js';
import { Random } from '../random.js';

/** What a drafter committed on one prompt. */
export interface PromptTotals {
  committed: number;
  rounds: number;
}

/** One objective at one budget: by seed, by domain, by prompt. Every seed has the same prompts. */
export type Sample = Map<number, Map<string, Map<string, PromptTotals>>>;

/** A figure with its 95% interval; the interval is null where there is only one prompt. */
export interface Estimate {
  value: number;
  interval: Interval | null;
}

/** How one drafter stands to another. */
export interface Comparison {
  /** Difference in accepted drafts a round, `a - b`. */
  difference: Estimate;
  /** `acceptedDrafts(a) / acceptedDrafts(b) - 1`; null where b accepts nothing. */
  lift: Estimate | null;
}

interface Table {
  seeds: number[];
  /** By domain: names of its prompts, and `[seed][prompt]` totals. */
  domains: { prompts: string[]; totals: PromptTotals[][] }[];
}

/** Accepted length, all rounds of all seeds and the given domains pooled, with its interval. */
export function estimateAcceptedLength(sample: Sample, domains: readonly string[], resamples: number): Estimate {
  const table = tabulate(sample, domains);
  return estimate([table], resamples, ([pooled]) => pooled! + 1);
}

/** Compares two drafters over the seeds and prompts that both have. Null where they share none. */
export function compareSamples(a: Sample, b: Sample, domains: readonly string[], resamples: number): Comparison | null {
  const shared = new Map([...a].filter(([seed]) => b.has(seed)));
  const other = new Map([...b].filter(([seed]) => a.has(seed)));
  if (shared.size === 0) return null;
  const tables = [tabulate(shared, domains), tabulate(new Map([...shared.keys()].map((seed) => [seed, other.get(seed)!])), domains)];
  const difference = estimate(tables, resamples, ([ofA, ofB]) => ofA! - ofB!);
  const lift = estimate(tables, resamples, ([ofA, ofB]) => ofA! / ofB! - 1);
  return { difference, lift: Number.isFinite(lift.value) ? lift : null };
}

/** Each seed's own pooled accepted length. */
export function acceptedLengthBySeed(sample: Sample, domains: readonly string[]): number[] {
  return [...sample.keys()].map((seed) => 1 + acceptedDrafts(tabulate(new Map([[seed, sample.get(seed)!]]), domains), [0]));
}

function tabulate(sample: Sample, domains: readonly string[]): Table {
  const seeds = [...sample.keys()];
  return {
    seeds,
    domains: domains.map((domain) => {
      const prompts = [...(sample.get(seeds[0]!)!.get(domain)?.keys() ?? [])];
      const totals = seeds.map((seed) =>
        prompts.map((prompt) => {
          const found = sample.get(seed)!.get(domain)?.get(prompt);
          if (found === undefined) throw new Error(`seed ${seed} has no prompt ${prompt} of ${domain}: its cells were decoded with other prompts`);
          return found;
        }),
      );
      return { prompts, totals };
    }),
  };
}

/** Accepted drafts a round over drawn seeds and prompts; all prompts where none are drawn. */
function acceptedDrafts(table: Table, seeds: readonly number[], draws?: readonly Int32Array[]): number {
  let committed = 0;
  let rounds = 0;
  table.domains.forEach(({ totals }, domain) => {
    for (const seed of seeds) {
      const row = totals[seed]!;
      const add = ({ committed: tokens, rounds: count }: PromptTotals): void => {
        committed += tokens;
        rounds += count;
      };
      const drawn = draws?.[domain];
      if (drawn === undefined) row.forEach(add);
      else for (const prompt of drawn) add(row[prompt]!);
    }
  });
  return rounds > 0 ? committed / rounds - 1 : 0;
}

function estimate(tables: readonly Table[], resamples: number, figure: (drafts: number[]) => number): Estimate {
  const [first] = tables as [Table];
  const all = first.seeds.map((_, seed) => seed);
  const value = figure(tables.map((table) => acceptedDrafts(table, all)));
  if (first.domains.every(({ prompts }) => prompts.length < 2)) return { value, interval: null };
  const random = Random.fork(0, 'study bootstrap');
  const figures: number[] = [];
  for (let resample = 0; resample < resamples; resample++) {
    const seeds = all.map(() => random.int(all.length));
    const draws = first.domains.map(({ prompts }) => Int32Array.from(prompts, () => random.int(prompts.length)));
    figures.push(figure(tables.map((table) => acceptedDrafts(table, seeds, draws))));
  }
  figures.sort((x, y) => x - y);
  return { value, interval: { low: quantile(figures, 0.025), high: quantile(figures, 0.975) } };
}

function quantile(sorted: readonly number[], share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below]! + (place - below) * (sorted[above]! - sorted[below]!);
}
