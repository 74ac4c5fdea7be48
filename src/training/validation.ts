// Validation on held-out rows: the objective's value, and the accepted length that greedy decoding would reach on them. All rows
// of a batch walk side by side, one block each a round; rounds are made by the same code as everywhere else.
import type { Batch } from '../../data/batches.js';
import { summarizeAcceptance, type AcceptanceSummary, type AcceptanceTrace, type Round } from '../decoding/acceptance.js';
import { simulateWalk } from '../decoding/simulation.js';
import { averageFigures, type Engine, type StepFigures } from './engine.js';

/** Figures of one validation. */
export interface ValidationFigures {
  /** The objective on blocks drawn as in training, always the same ones. */
  loss: number;
  losses: Record<string, number>;
  acceptance: AcceptanceSummary;
}

/** Validates on batches that carry their loss masks. `progress` sets scheduled values of the objective. */
export async function validate(engine: Engine, batches: AsyncIterable<ValidationBatch>, blockSize: number, progress: number): Promise<ValidationFigures> {
  const figures: StepFigures[] = [];
  const traces: AcceptanceTrace[] = [];
  for await (const { batch, lossMasks } of batches) {
    figures.push(engine.evaluateLoss(batch, progress));
    traces.push(...walkRows(engine, batch, lossMasks, blockSize));
  }
  const average = averageFigures(figures);
  return { loss: average.loss, losses: average.losses, acceptance: summarizeAcceptance(traces) };
}

export interface ValidationBatch {
  batch: Batch;
  /** Of each row, without padding. */
  lossMasks: Uint8Array[];
}

/** Walks over every supervised stretch of every row; one trace a stretch. */
function walkRows(engine: Engine, batch: Batch, lossMasks: readonly Uint8Array[], blockSize: number): AcceptanceTrace[] {
  const { length, rows } = batch.plan;
  const slots = blockSize - 1;
  const walks = lossMasks.map((mask, row) =>
    supervisedStretches(mask).map(({ start, end }) => ({
      tokens: batch.inputIds.subarray(row * length, row * length + end),
      anchor: start,
      // The last blocks must see all their labels, where the stretch is long enough for one that does.
      end: Math.max(start + 1, end - slots),
      rounds: [] as Round[],
    })),
  );
  const context = engine.readContext(batch);
  try {
    for (;;) {
      const current = walks.map((stretches) => stretches.find((walk) => walk.anchor < walk.end));
      if (current.every((walk) => walk === undefined)) break;
      const drafted = context.draft(Int32Array.from({ length: rows.length }, (_, row) => current[row]?.anchor ?? 0));
      current.forEach((walk, row) => {
        if (walk === undefined) return;
        const own = drafted.slice(row * slots, (row + 1) * slots);
        const [round] = simulateWalk(walk.tokens, { start: walk.anchor, end: walk.anchor + 1 }, () => own);
        walk.rounds.push(round!);
        walk.anchor += round!.accepted;
      });
    }
  } finally {
    context.dispose();
  }
  return walks.flat().map(({ tokens, rounds }) => ({ tokens, firstPosition: 0, rounds }));
}

/** Stretches `[start, end)` of supervised tokens that hold an anchor and a label. */
export function supervisedStretches(mask: Uint8Array): { start: number; end: number }[] {
  const stretches: { start: number; end: number }[] = [];
  for (let start = 0; start < mask.length; start++) {
    if (mask[start] === 0) continue;
    let end = start;
    while (end < mask.length && mask[end] !== 0) end++;
    if (end - start >= 2) stretches.push({ start, end });
    start = end;
  }
  return stretches;
}
