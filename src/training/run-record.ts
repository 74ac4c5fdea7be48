// What a run writes down as it goes: sums over the steps since the last line, `metrics.jsonl`, TensorBoard. The sums are
// part of a checkpoint, so a resumed run's lines are those of a run that was never stopped.
import { openEvents, type EventWriter } from '../reports/tensorboard.js';
import { openMetrics, type MetricsWriter } from '../reports/metrics.js';
import type { UpdateFigures } from './engine.js';
import type { ValidationFigures } from './validation.js';

/** Sums over the steps since the last line; JSON-able. */
export interface MetricsWindow {
  /** Updates that were made, and those that were skipped. */
  steps: number;
  skipped: number;
  sums: Record<string, number>;
  slotCorrect: number[];
  slotValid: number[];
}

export function emptyWindow(): MetricsWindow {
  return { steps: 0, skipped: 0, sums: {}, slotCorrect: [], slotValid: [] };
}

/** Whether a value read from a checkpoint is such sums. */
export function isWindow(value: unknown): value is MetricsWindow {
  const { steps, skipped, sums, slotCorrect, slotValid } = (value ?? {}) as Partial<Record<keyof MetricsWindow, unknown>>;
  const areNumbers = (values: unknown): boolean => Array.isArray(values) && values.every((one) => typeof one === 'number');
  const isSums = typeof sums === 'object' && sums !== null && !Array.isArray(sums) && areNumbers(Object.values(sums));
  return areNumbers([steps, skipped]) && isSums && areNumbers(slotCorrect) && areNumbers(slotValid);
}

/** Adds an update's figures; of a skipped one, only that it was. */
export function addToWindow(window: MetricsWindow, figures: UpdateFigures): void {
  if (!figures.finite) {
    window.skipped++;
    return;
  }
  window.steps++;
  const { loss, acceptedLength, waste, gradientNorm, losses } = figures;
  const named = { loss, acceptedLength, waste, gradientNorm, ...Object.fromEntries(Object.entries(losses).map(([name, value]) => [`losses/${name}`, value])) };
  for (const [name, value] of Object.entries(named)) window.sums[name] = (window.sums[name] ?? 0) + value;
  figures.slotCorrect.forEach((count, slot) => (window.slotCorrect[slot] = (window.slotCorrect[slot] ?? 0) + count));
  figures.slotValid.forEach((count, slot) => (window.slotValid[slot] = (window.slotValid[slot] ?? 0) + count));
}

/** Means over a window. */
export interface TrainingLine {
  loss: number | null;
  acceptedLength: number | null;
  waste: number | null;
  gradientNorm: number | null;
  losses: Record<string, number>;
  /** Share of correct slots, `[J]`. */
  slotAccuracy: (number | null)[];
  skipped: number;
}

export function summarizeWindow(window: MetricsWindow): TrainingLine {
  const mean = (name: string) => (window.steps > 0 ? window.sums[name]! / window.steps : null);
  const terms = Object.keys(window.sums).filter((name) => name.startsWith('losses/'));
  return {
    loss: mean('loss'),
    acceptedLength: mean('acceptedLength'),
    waste: mean('waste'),
    gradientNorm: mean('gradientNorm'),
    losses: Object.fromEntries(terms.map((name) => [name.slice('losses/'.length), mean(name)!])),
    slotAccuracy: window.slotCorrect.map((count, slot) => (window.slotValid[slot]! > 0 ? count / window.slotValid[slot]! : null)),
    skipped: window.skipped,
  };
}

/** Where a run's figures go. */
export interface RunRecord {
  training(step: number, line: TrainingLine & { learningRate: number; epoch: number }, speed: SpeedFigures): void;
  validation(step: number, figures: ValidationFigures): void;
  /** Something that happened: a skipped step, a fallback. */
  event(step: number, event: string, detail: Record<string, unknown>): void;
  /** Forces everything to the disk. */
  flush(): void;
  close(): void;
}

/** How fast it goes and what it takes; the only figures that differ between two runs that are the same. */
export interface SpeedFigures {
  blocksPerSecond: number;
  stepMs: number;
  residentBytes: number;
  tensors: number;
}

/** Opens a run's record, cut back to what stood at `step`. */
export async function openRecord(paths: { metrics: string; events: string }, step: number, tensorboard: boolean): Promise<RunRecord> {
  const metrics: MetricsWriter = await openMetrics(paths.metrics, step);
  const events: EventWriter | undefined = tensorboard ? openEvents(paths.events, step) : undefined;
  const scalar = (tag: string, value: number | null | undefined, at: number) => {
    if (value !== null && value !== undefined && Number.isFinite(value)) events?.scalar(tag, value, at);
  };
  return {
    training(at, line, speed) {
      metrics.write({ step: at, kind: 'train', ...line, ...speed });
      const { losses, slotAccuracy, epoch: _epoch, skipped, ...figures } = line;
      for (const [name, value] of Object.entries(figures)) scalar(`train/${name}`, value, at);
      for (const [name, value] of Object.entries(losses)) scalar(`losses/${name}`, value, at);
      slotAccuracy.forEach((value, slot) => scalar(`train slots/${String(slot + 1).padStart(2, '0')}`, value, at));
      if (skipped > 0) scalar('train/skipped', skipped, at);
      for (const [name, value] of Object.entries(speed)) scalar(`speed/${name}`, value, at);
    },
    validation(at, { loss, losses, acceptance }) {
      const { slots, histogram, acceptedLength, acceptedDrafts, waste, rounds, texts } = acceptance;
      const slotAccuracy = slots.map((slot) => slot.accuracy);
      const survival = slots.map((slot) => slot.survival);
      // Rounds that commit n tokens made their first error in slot n; those that commit K made none.
      const firstErrors = histogram.slice(1);
      metrics.write({ step: at, kind: 'validation', loss, losses, acceptedLength, acceptedDrafts, waste, slotAccuracy, survival, firstErrors, rounds, texts });
      for (const [name, value] of Object.entries({ loss, acceptedLength, waste })) scalar(`validation/${name}`, value, at);
      slotAccuracy.forEach((value, slot) => scalar(`validation slots/${String(slot + 1).padStart(2, '0')}`, value, at));
      events?.histogram('validation/first error', firstErrors.map((_, index) => index + 1), firstErrors, at);
    },
    event: (at, event, detail) => metrics.write({ step: at, kind: 'event', event, ...detail }),
    flush() {
      metrics.flush();
      events?.flush();
    },
    close() {
      metrics.close();
      events?.close();
    },
  };
}
