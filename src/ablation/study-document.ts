// `study.json`: a study's figures, made from its cells. Versioned and described in docs/study-json.md: change a field's meaning or
// remove one, and raise the version; add one, and document it there.
import type { ObjectiveTerm } from '../../losses/terms.js';
import { acceptedLengthBySeed, compareSamples, estimateAcceptedLength, type Comparison, type Estimate, type Sample } from './statistics.js';
import { judgeStudy, type Statement } from './statements.js';
import type { CellResult } from './cell-result.js';
import type { Study, Variant } from './study-config.js';
import type { StudyPlan } from './study-plan.js';

export const studyFormat = 'draftalign-study';
export const studyVersion = 1;

/** One variant at one budget in one domain, or in all. */
export interface Figures {
  /** Null: all domains, rounds pooled. */
  domain: string | null;
  acceptedLength: Estimate;
  /** Of each seed, in the order of `seeds`. */
  bySeed: number[];
  acceptedDrafts: number;
  /** Against the baseline and the stack at the same budget; null for these themselves, where there is none, and in sweeps. */
  againstBaseline: Comparison | null;
  againstStack: Comparison | null;
  /** Correct drafts thrown away, of all correct drafts. */
  waste: number | null;
  /** Share of rounds in which slot k = 1..K-1 and all before it were accepted. */
  survival: number[];
  /** Share of rounds whose first wrong slot is k = 1..K-1; what is missing to 1 had none. */
  firstErrors: number[];
  rounds: number;
  prompts: number;
}

/** One variant at one budget. */
export interface ResultRow {
  variant: string;
  steps: number;
  /** Seeds that are finished. */
  seeds: number[];
  /** Cells it rests on. */
  cells: string[];
  /** Finished runs' seconds of training, mean. */
  trainingSeconds: number;
  figures: Figures[];
}

export interface StudyDocument {
  format: typeof studyFormat;
  version: typeof studyVersion;
  draftalignVersion: string;
  title: string;
  updatedAt: string;
  complete: boolean;
  cellsDone: number;
  cellsTotal: number;
  /** Seconds of training and decoding in all finished cells. */
  seconds: number;
  target: { name: string; weightFingerprint: string };
  drafter: { parameters: number; blockSize: number; layers: number };
  machine: { cpu: string; cores: number };
  seeds: number[];
  budgets: number[];
  domains: string[];
  roles: Study['roles'];
  sweeps: Study['sweeps'];
  /** The study's config as it was read. */
  config: unknown;
  variants: { id: string; group: string; label: string; value?: unknown; objective: ObjectiveTerm[] }[];
  results: ResultRow[];
  statements: Statement[];
}

/** What the document takes from its surroundings. */
export interface DocumentContext {
  draftalignVersion: string;
  target: StudyDocument['target'];
  machine: StudyDocument['machine'];
}

/** Puts a study's document together from the cells that are finished. */
export function studyDocument(study: Study, plan: StudyPlan, cells: ReadonlyMap<string, CellResult>, context: DocumentContext): StudyDocument {
  const domains = Object.keys(study.decoding.prompts);
  const rowCells = (variant: Variant, steps: number): CellResult[] =>
    variant.seeds.flatMap((seed) => cells.get(plan.cellOf(variant, seed, steps).id) ?? []);
  const objective = (name: string | null) => study.variants.find((variant) => variant.group === 'objectives' && variant.label === name);
  const baseline = objective(study.roles.baseline);
  const stack = objective(study.roles.stack);
  const results = study.variants.flatMap((variant) =>
    variant.budgets.flatMap((steps): ResultRow[] => {
      const found = rowCells(variant, steps);
      if (found.length === 0) return [];
      const reference = (other: Variant | undefined) => (variant.group !== 'objectives' || other === undefined || other === variant ? [] : rowCells(other, steps));
      return [
        {
          variant: variant.id,
          steps,
          seeds: found.map((cell) => cell.seed),
          cells: found.map((cell) => cell.id),
          trainingSeconds: mean(found.map((cell) => cell.seconds.training)),
          figures: [null, ...domains].map((domain) => figuresOf(found, reference(baseline), reference(stack), domain, domains, study.decoding.resamples)),
        },
      ];
    }),
  );
  const finished = [...cells.values()];
  const first = study.variants[0]!.config;
  const partial = {
    format: studyFormat,
    version: studyVersion,
    draftalignVersion: context.draftalignVersion,
    title: study.title,
    updatedAt: new Date().toISOString(),
    complete: cells.size === plan.cells.length,
    cellsDone: cells.size,
    cellsTotal: plan.cells.length,
    seconds: finished.reduce((sum, { seconds }) => sum + seconds.training + seconds.decoding, 0),
    target: context.target,
    drafter: { parameters: finished[0]?.parameters ?? 0, blockSize: first.drafter.blockSize, layers: first.drafter.layers },
    machine: context.machine,
    seeds: study.seeds,
    budgets: study.budgets,
    domains,
    roles: study.roles,
    sweeps: study.sweeps,
    config: study.source,
    variants: study.variants.map(({ id, group, label, value, config }) => ({ id, group, label, ...(value !== undefined && { value }), objective: config.losses })),
    results,
  } as const;
  return { ...partial, statements: judgeStudy(partial) };
}

function figuresOf(cells: CellResult[], baseline: CellResult[], stack: CellResult[], domain: string | null, domains: string[], resamples: number): Figures {
  const names = domain === null ? domains : [domain];
  const sample = sampleOf(cells);
  const sets = cells.flatMap((cell) => cell.sets.filter((set) => names.includes(set.name)));
  const sum = (figure: (set: (typeof sets)[0]) => number): number => sets.reduce((total, set) => total + figure(set), 0);
  const rounds = sum((set) => set.rounds);
  const slots = sets[0]?.slots.length ?? 0;
  const perSlot = (figure: (set: (typeof sets)[0], slot: number) => number): number[] =>
    Array.from({ length: slots }, (_, index) => (rounds > 0 ? sum((set) => figure(set, index + 1)) / rounds : 0));
  const correct = sum((set) => set.correctDrafts);
  const acceptedLength = estimateAcceptedLength(sample, names, resamples);
  const compare = (other: CellResult[]) => (other.length === 0 ? null : compareSamples(sample, sampleOf(other), names, resamples));
  return {
    domain,
    acceptedLength,
    bySeed: acceptedLengthBySeed(sample, names),
    acceptedDrafts: acceptedLength.value - 1,
    againstBaseline: compare(baseline),
    againstStack: compare(stack),
    waste: correct > 0 ? sum((set) => set.wastedDrafts) / correct : null,
    survival: perSlot((set, slot) => set.slots[slot - 1]!.survival * set.slots[slot - 1]!.offered),
    firstErrors: perSlot((set, slot) => set.histogram[slot] ?? 0),
    rounds,
    prompts: new Set(sets.flatMap((set) => set.texts.map((text) => `${set.name}/${text.id}`))).size,
  };
}

function sampleOf(cells: readonly CellResult[]): Sample {
  return new Map(
    cells.map((cell) => [
      cell.seed,
      new Map(
        cell.sets.map((set) => {
          const prompts = new Map<string, { committed: number; rounds: number }>();
          for (const { id, acceptedLengths } of set.texts) {
            const total = prompts.get(id) ?? { committed: 0, rounds: 0 };
            total.committed += acceptedLengths.reduce((a, b) => a + b, 0);
            total.rounds += acceptedLengths.length;
            prompts.set(id, total);
          }
          return [set.name, prompts] as const;
        }),
      ),
    ]),
  );
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}
