// A study as tables of text: what `draftalign ablate` prints, and the Markdown that `draftalign report --markdown` writes.
import type { Estimate } from '../ablation/statistics.js';
import type { Figures, ResultRow, StudyDocument } from '../ablation/study-document.js';

/** The objectives' rows at one budget, in the study's order. */
export function objectiveRows(study: StudyDocument, steps: number): { label: string; row: ResultRow }[] {
  return study.variants
    .filter(({ group }) => group === 'objectives')
    .flatMap(({ id, label }) => study.results.filter((row) => row.variant === id && row.steps === steps).map((row) => ({ label, row })));
}

/** A row's figures in one domain (null: all). */
export function figuresIn(row: ResultRow, domain: string | null): Figures {
  return row.figures.find((figures) => figures.domain === domain)!;
}

/** Plain text for a terminal. */
export function formatStudyTable(study: StudyDocument): string {
  const blocks = study.budgets.map((steps) => {
    const rows = tableRows(study, steps, '-');
    return rows.length === 0 ? '' : `${steps} steps\n${columns([tableHead(study), ...rows])}`;
  });
  return [...blocks, ...sweepBlocks(study), study.statements.map(({ met, text, finding }) => `${mark(met)} ${text}: ${finding}`).join('\n')].filter((block) => block !== '').join('\n\n');
}

/** The same as Markdown. */
export function formatStudyMarkdown(study: StudyDocument): string {
  const lines = [`# ${study.title}`, '', describeStudy(study), ''];
  for (const steps of [...study.budgets].reverse()) {
    const rows = tableRows(study, steps, '·');
    if (rows.length > 0) lines.push(`**${steps} steps**`, '', ...markdownTable([tableHead(study), ...rows]), '');
  }
  for (const sweep of study.sweeps) {
    const rows = sweepRows(study, sweep.name);
    if (rows.length > 0) lines.push(`**${sweep.name}** (\`${sweep.set}\`, from ${sweep.objective})`, '', ...markdownTable([sweepHead, ...rows]), '');
  }
  if (study.statements.length > 0) lines.push('**What the study was to show**', '', ...study.statements.map(({ met, text, finding }) => `- ${mark(met)}: ${text}. Found: ${finding}.`), '');
  lines.push(intervalNote(study), '');
  return lines.join('\n');
}

/** One sentence of what was compared. */
export function describeStudy(study: StudyDocument): string {
  const prompts = Math.max(0, ...study.results.map((row) => figuresIn(row, null).prompts));
  const { drafter } = study;
  return (
    `Target ${study.target.name}; drafter of ${drafter.layers} ${drafter.layers === 1 ? 'layer' : 'layers'}, ${drafter.parameters.toLocaleString('en-GB')} parameters, blocks of ${drafter.blockSize}; ` +
    `seeds ${study.seeds.join(', ')}; ${prompts} held-out prompts (${study.domains.join(', ')}), decoded greedily; ` +
    `${(study.seconds / 60).toFixed(0)} min of training and decoding on ${study.machine.cores} cores (${study.machine.cpu}).`
  );
}

/** What the intervals mean. */
export function intervalNote(study: StudyDocument): string {
  return (
    `Intervals are 95% bootstrap intervals: seeds and prompts are both drawn with replacement, and differences are paired by prompt and seed. ` +
    (study.seeds.length === 1
      ? 'With one seed they do not say how far another run might lie from this one.'
      : `With ${study.seeds.length} seeds the spread between runs is only coarsely known, so they are rather too narrow than too wide.`)
  );
}

function tableHead({ domains, roles }: StudyDocument): string[] {
  return ['objective', ...domains, ...(domains.length > 1 ? ['all'] : []), '95% interval', `drafts against ${roles.baseline}`, ...(roles.stack === null ? [] : [`against ${roles.stack}`]), 'waste'];
}

function tableRows(study: StudyDocument, steps: number, empty: string): string[][] {
  const { domains, roles } = study;
  return objectiveRows(study, steps).map(({ label, row }) => {
    const all = figuresIn(row, null);
    const { interval } = all.acceptedLength;
    return [
      row.seeds.length < study.seeds.length ? `${label} (${row.seeds.length} of ${study.seeds.length} seeds)` : label,
      ...domains.map((domain) => figuresIn(row, domain).acceptedLength.value.toFixed(2)),
      ...(domains.length > 1 ? [all.acceptedLength.value.toFixed(2)] : []),
      interval === null ? empty : `${interval.low.toFixed(2)} to ${interval.high.toFixed(2)}`,
      formatLift(all.againstBaseline?.lift, empty),
      ...(roles.stack === null ? [] : [formatLift(all.againstStack?.lift, empty)]),
      all.waste === null ? empty : `${(100 * all.waste).toFixed(0)}%`,
    ];
  });
}

const sweepHead = ['value', 'steps', 'accepted length', '95% interval', 'waste', 'seeds'];

function sweepRows(study: StudyDocument, sweep: string): string[][] {
  return study.variants
    .filter(({ group }) => group === sweep)
    .flatMap(({ id, label }) =>
      study.results
        .filter((row) => row.variant === id)
        .map((row) => {
          const all = figuresIn(row, null);
          const { interval, value } = all.acceptedLength;
          return [label, String(row.steps), value.toFixed(3), interval === null ? '-' : `${interval.low.toFixed(2)} to ${interval.high.toFixed(2)}`, all.waste === null ? '-' : `${(100 * all.waste).toFixed(0)}%`, String(row.seeds.length)];
        }),
    );
}

function sweepBlocks(study: StudyDocument): string[] {
  return study.sweeps.map(({ name }) => {
    const rows = sweepRows(study, name);
    return rows.length === 0 ? '' : `${name}\n${columns([sweepHead, ...rows])}`;
  });
}

/** `+12% (+5 to +20)`. */
export function formatLift(lift: Estimate | null | undefined, empty: string): string {
  if (lift == null) return empty;
  const { value, interval } = lift;
  return `${signedPercent(value)}%${interval === null ? '' : ` (${signedPercent(interval.low)} to ${signedPercent(interval.high)})`}`;
}

function signedPercent(value: number): string {
  const rounded = Math.round(100 * value);
  return rounded > 0 ? `+${rounded}` : rounded < 0 ? `−${-rounded}` : '0';
}

function mark(met: boolean | null): string {
  return met === null ? 'open' : met ? 'met' : 'not met';
}

function markdownTable(rows: readonly string[][]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replace(/\|/g, '\\|')).join(' | ')} |`;
  return [line(rows[0]!), `|${rows[0]!.map((_, i) => (i === 0 ? '---' : '---:')).join('|')}|`, ...rows.slice(1).map(line)];
}

function columns(rows: readonly string[][]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ').trimEnd()).join('\n');
}
