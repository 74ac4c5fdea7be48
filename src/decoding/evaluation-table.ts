// The table that `draftalign evaluate` prints: one line a prompt set, then what lies behind the total.
import { formatColumns } from '../reports/columns.js';
import type { EvaluationTotals, SetResult } from './evaluation.js';

/** Plain text, no colours, at most 100 columns for up to 16 slots. */
export function formatEvaluation(result: { totals: EvaluationTotals; sets: readonly SetResult[] }): string {
  const lines: string[] = [];
  const rows = result.sets.map((set) => [set.name, set.totals] as const);
  if (rows.length > 1) rows.push(['all', result.totals]);
  lines.push(...formatColumns([
    ['prompts', 'texts', 'rounds', 'accepted length', '95% interval', 'per-text mean', 'waste', 'tokens/s', 'speed-up', 'identical'],
    ...rows.map(([name, totals]) => [
      name,
      String(totals.texts),
      String(totals.rounds),
      totals.acceptedLength.toFixed(3),
      totals.acceptedLengthInterval ? `${totals.acceptedLengthInterval.low.toFixed(2)}-${totals.acceptedLengthInterval.high.toFixed(2)}` : '-',
      totals.meanOfTextMeans.toFixed(3),
      percent(totals.waste),
      totals.speed.tokensPerSecond.toFixed(1),
      totals.speedup === null ? '-' : `${totals.speedup.toFixed(2)}x`,
      identity(totals),
    ]),
  ]));
  const { totals } = result;
  lines.push('', `Accepted drafts a round, without the target's own token: ${totals.acceptedDrafts.toFixed(3)}`);
  if (totals.slots.length > 0) {
    lines.push('', 'Slot by slot: survived = it and all before it accepted; given = accepted where all before it were; alone = right, whatever came before');
    lines.push(...formatColumns([
      ['slot', ...totals.slots.map((slot) => String(slot.slot))],
      ['survived', ...totals.slots.map((slot) => percent(slot.survival))],
      ['given', ...totals.slots.map((slot) => percent(slot.conditionalAccuracy))],
      ['alone', ...totals.slots.map((slot) => percent(slot.accuracy))],
    ]));
  }
  if (totals.rounds > 0) {
    lines.push('', 'Share of rounds by accepted length');
    lines.push(...formatColumns([
      ['length', ...totals.histogram.slice(1).map((_, i) => String(i + 1))],
      ['rounds', ...totals.histogram.slice(1).map((count) => percent(count / totals.rounds))],
    ]));
  }
  const { speed } = totals;
  lines.push('', `Time: drafting ${percent(speed.draftShare)}, verifying ${percent(speed.verifyShare)}, rest ${percent(speed.restShare)} of ${(speed.decodeMs / 1000).toFixed(2)} s`
    + ` (${(speed.draftMs / Math.max(1, totals.rounds)).toFixed(2)} + ${(speed.verifyMs / Math.max(1, totals.rounds)).toFixed(2)} ms a round)`);
  if (speed.targetTokensPerSecond !== null) lines.push(`Target alone: ${speed.targetTokensPerSecond.toFixed(1)} tokens/s in the same run`);
  for (const set of result.sets) {
    if (set.skipped.length > 0) lines.push(`${set.name}: ${set.skipped.length} prompts left out; ${set.skipped[0]!.id} because ${set.skipped[0]!.reason}`);
  }
  return lines.join('\n');
}

function identity(totals: EvaluationTotals): string {
  return totals.comparedTexts === 0 ? '-' : `${((100 * totals.identicalTexts) / totals.comparedTexts).toFixed(totals.identical ? 0 : 1)}%`;
}

function percent(share: number | null): string {
  return share === null ? '-' : `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)}%`;
}
