// The figures of a study, as small panels that stand side by side on a wide page and below one another on a phone. Ink is the stack, the accent
// is the challenger, dashes are the baseline; all other objectives are grey, to be compared with these three.
import type { TopLevelSpec } from 'vega-lite';
import type { ResultRow, StudyDocument } from '../ablation/study-document.js';
import type { Panel } from './draw-figure.js';
import { colour } from './palette.js';
import type { StudyReport } from './report-data.js';
import { figuresIn, objectiveRows } from './study-table.js';

/** Panels that belong together under one heading. */
export interface Figure {
  id: string;
  title: string;
  caption: string;
  panels: Panel[];
}

type Values = Record<string, unknown>[];

const width = 262;
const height = 190;
/** Width of the objectives' names beside a plot. */
const nameWidth = 156;

/** All figures that the study has figures for. */
export function studyFigures({ document, curves }: StudyReport): Figure[] {
  return [acceptedLength(document), lifts(document), survival(document), firstErrors(document), waste(document), training(document, curves), ...sweeps(document)].filter(
    (figure) => figure.panels.length > 0,
  );
}

/** Role of an objective in the drawing; its name where it has one. */
function roleOf({ roles }: StudyDocument, label: string): string {
  return [roles.baseline, roles.stack, roles.challenger].includes(label) ? label : 'others';
}

/** Colours and dashes by role; the last drawn lies on top. */
function roleScales({ roles }: StudyDocument, present: readonly string[]) {
  const known = [
    ['others', colour.faint, [1, 0]],
    [roles.baseline, colour.soft, [5, 3]],
    [roles.stack, colour.ink, [1, 0]],
    [roles.challenger, colour.accent, [1, 0]],
  ] as const;
  const used = known.filter(([name]) => name !== null && present.includes(name));
  const domain = used.map(([name]) => name as string);
  const legend = { symbolType: 'stroke' };
  return {
    color: { field: 'role', type: 'nominal', scale: { domain, range: used.map(([, stroke]) => stroke) }, legend },
    strokeDash: { field: 'role', type: 'nominal', scale: { domain, range: used.map(([, , dash]) => dash) }, legend },
  };
}

/** Lines of all objectives over something. */
function lines(study: StudyDocument, values: Values, x: Record<string, unknown>, y: Record<string, unknown>): TopLevelSpec {
  const order = ['others', study.roles.baseline, study.roles.stack, study.roles.challenger];
  const sorted = [...values].sort((a, b) => order.indexOf(a['role'] as string) - order.indexOf(b['role'] as string));
  const layer = (role: (role: string) => boolean, strokeWidth: number) => ({
    data: { values: sorted.filter((value) => role(value['role'] as string)) },
    mark: { type: 'line', strokeWidth },
    encoding: { x, y, detail: { field: 'objective', type: 'nominal' }, ...roleScales(study, values.map((value) => value['role'] as string)) },
  });
  return { width, height, layer: [layer((role) => role === 'others', 1.2), layer((role) => role !== 'others', 2.2)] } as unknown as TopLevelSpec;
}

function acceptedLength(study: StudyDocument): Figure {
  const domains: (string | null)[] = study.domains.length > 1 ? [...study.domains, null] : [...study.domains];
  const labels = study.variants.filter(({ group }) => group === 'objectives').map(({ label }) => label);
  const whole = study.budgets.at(-1)!;
  const panels = domains.flatMap((domain): Panel[] => {
    const values = study.budgets.flatMap((steps) =>
      objectiveRows(study, steps).map(({ label, row }) => {
        const { value, interval } = figuresIn(row, domain).acceptedLength;
        return { objective: label, steps, value, low: interval?.low ?? value, high: interval?.high ?? value, role: roleOf(study, label), budget: steps === whole ? 'whole' : 'earlier' };
      }),
    );
    if (values.length === 0) return [];
    const y = { field: 'objective', type: 'nominal', sort: labels, title: null, axis: { grid: true, labelLimit: nameWidth, minExtent: nameWidth, maxExtent: nameWidth, labelColor: colour.ink } };
    const x = (field: string) => ({ field, type: 'quantitative', title: 'accepted length', scale: { zero: false, nice: true }, axis: { tickCount: 3, labelOverlap: true, labelSeparation: 6, grid: false } });
    const accent = { condition: { test: `datum.role === ${JSON.stringify(study.roles.challenger)}`, value: colour.accent }, value: colour.ink };
    const baseline = values.find((value) => value.objective === study.roles.baseline && value.steps === whole);
    return [
      {
        name: `accepted-length-${domain ?? 'all'}`,
        title: domain ?? 'all domains',
        description: `Accepted length of every objective at ${study.budgets.join(', ')} steps; the whole budget with its interval.`,
        spec: {
          width: width - nameWidth + 58,
          height: { step: 20 },
          layer: [
            ...(baseline === undefined ? [] : [{ data: { values: [baseline] }, mark: { type: 'rule', strokeDash: [3, 3], color: colour.soft }, encoding: { x: x('value') } }]),
            { data: { values: values.filter(({ budget }) => budget === 'whole') }, mark: { type: 'rule', strokeWidth: 1.6 }, encoding: { y, x: x('low'), x2: { field: 'high' }, color: accent } },
            { data: { values: values.filter(({ budget }) => budget === 'earlier') }, mark: { type: 'point', size: 26, color: colour.faint, filled: true, opacity: 1 }, encoding: { y, x: x('value') } },
            { data: { values: values.filter(({ budget }) => budget === 'whole') }, mark: { type: 'point', filled: true, size: 52, opacity: 1 }, encoding: { y, x: x('value'), color: accent } },
          ],
        } as unknown as TopLevelSpec,
      },
    ];
  });
  return {
    id: 'accepted-length',
    title: 'Accepted length',
    caption: `Tokens committed for each pass of the target: accepted drafts plus the target's own. Dark points with intervals: the whole budget (${whole} steps).${earlierNote(study)} The dashed line is ${study.roles.baseline} at the whole budget.`,
    panels,
  };
}

/** What grey points are, where there are any. */
function earlierNote({ budgets }: StudyDocument): string {
  return budgets.length < 2 ? '' : ` Grey points: ${budgets.slice(0, -1).join(' and ')} steps.`;
}

function lifts(study: StudyDocument): Figure {
  const values = study.budgets.flatMap((steps) =>
    objectiveRows(study, steps).flatMap(({ label, row }) => {
      const lift = figuresIn(row, null).againstBaseline?.lift;
      return lift == null ? [] : [{ objective: label, steps: String(steps), value: lift.value, low: lift.interval?.low ?? lift.value, high: lift.interval?.high ?? lift.value, role: roleOf(study, label) }];
    }),
  );
  const shown = values.filter(({ role }) => role !== 'others');
  if (values.length === 0 || study.budgets.length < 2) return { id: 'lift', title: '', caption: '', panels: [] };
  const x = { field: 'steps', type: 'ordinal', sort: study.budgets.map(String), title: 'steps of training', axis: { labelAngle: 0, grid: false }, scale: { padding: 0.3 } };
  const y = (field: string) => ({ field, type: 'quantitative', title: `accepted drafts against ${study.roles.baseline}`, axis: { format: '+.0%', tickCount: 5, tickMinStep: 0.01 } });
  const base = lines(study, values, x, y('value')) as unknown as { layer: unknown[] };
  const { color } = roleScales(study, values.map(({ role }) => role));
  return {
    id: 'lift',
    title: 'The gain as training goes on',
    caption: `Accepted drafts a round against ${study.roles.baseline} at the same budget, all domains. Bars are 95% intervals, paired by prompt and seed.`,
    panels: [
      {
        name: 'lift',
        title: `gain over ${study.roles.baseline}`,
        description: 'Relative gain in accepted drafts at every budget.',
        spec: {
          width,
          height,
          layer: [
            ...base.layer,
            { data: { values: shown }, mark: { type: 'rule', strokeWidth: 1.4 }, encoding: { x, y: y('low'), y2: { field: 'high' }, color } },
            { data: { values: shown }, mark: { type: 'point', filled: true, size: 46, opacity: 1 }, encoding: { x, y: y('value'), color } },
          ],
        } as unknown as TopLevelSpec,
      },
    ],
  };
}

/** One panel a domain, of lines over slots at the whole budget. */
function bySlot(study: StudyDocument, name: string, yTitle: string, pick: (row: ResultRow, domain: string | null) => number[]): Panel[] {
  const domains: (string | null)[] = study.domains.length > 1 ? [...study.domains, null] : [...study.domains];
  return domains.flatMap((domain) => {
    const values = objectiveRows(study, study.budgets.at(-1)!).flatMap(({ label, row }) =>
      pick(row, domain).map((value, index) => ({ objective: label, role: roleOf(study, label), slot: index + 1, value })),
    );
    if (values.length === 0) return [];
    // Slots that almost no round reaches would only be empty room.
    const slots = Math.max(4, ...values.filter(({ value }) => value >= 0.005).map(({ slot }) => slot));
    return [
      {
        name: `${name}-${domain ?? 'all'}`,
        title: domain ?? 'all domains',
        description: `${yTitle} by slot, at the whole budget.`,
        spec: lines(
          study,
          values.filter(({ slot }) => slot <= slots),
          { field: 'slot', type: 'quantitative', title: 'slot', scale: { domain: [1, slots], nice: false }, axis: { grid: false, tickMinStep: 1, tickCount: 7, format: 'd' } },
          { field: 'value', type: 'quantitative', title: yTitle, axis: { format: '.0%', tickCount: 5, tickMinStep: 0.01 }, scale: { zero: true } },
        ),
      },
    ];
  });
}

function survival(study: StudyDocument): Figure {
  return {
    id: 'survival',
    title: 'How far drafts survive',
    caption: 'Share of rounds in which a slot and all before it were accepted, at the whole budget. Slots that fewer than one round in 200 reaches are left out.',
    panels: bySlot(study, 'survival', 'rounds that reach it', (row, domain) => figuresIn(row, domain).survival),
  };
}

function firstErrors(study: StudyDocument): Figure {
  return {
    id: 'first-errors',
    title: 'Where the first error falls',
    caption: 'Share of rounds whose first wrong draft stands in a slot, at the whole budget. What is missing to 100% had no error.',
    panels: bySlot(study, 'first-errors', 'rounds that end there', (row, domain) => figuresIn(row, domain).firstErrors),
  };
}

function waste(study: StudyDocument): Figure {
  const labels = study.variants.filter(({ group }) => group === 'objectives').map(({ label }) => label);
  const whole = study.budgets.at(-1)!;
  const values = study.budgets.flatMap((steps) =>
    objectiveRows(study, steps).flatMap(({ label, row }) => {
      const { waste: value } = figuresIn(row, null);
      return value === null ? [] : [{ objective: label, value, role: roleOf(study, label), budget: steps === whole ? 'whole' : 'earlier' }];
    }),
  );
  const y = { field: 'objective', type: 'nominal', sort: labels, title: null, axis: { grid: true, labelLimit: nameWidth, minExtent: nameWidth, maxExtent: nameWidth, labelColor: colour.ink } };
  const x = { field: 'value', type: 'quantitative', title: 'wasted share of correct drafts', axis: { format: '.0%', tickCount: 4, tickMinStep: 0.01, grid: false }, scale: { zero: false } };
  const accent = { condition: { test: `datum.role === ${JSON.stringify(study.roles.challenger)}`, value: colour.accent }, value: colour.ink };
  return {
    id: 'waste',
    title: 'Waste',
    caption: `Correct drafts that were thrown away because an earlier slot was wrong, of all correct drafts, all domains, at the whole budget.${earlierNote(study)}`,
    panels:
      values.length === 0
        ? []
        : [
            {
              name: 'waste',
              title: 'waste',
              description: 'Wasted share of correct drafts of every objective at every budget.',
              spec: {
                width: width - nameWidth + 58,
                height: { step: 20 },
                layer: [
                  { data: { values: values.filter(({ budget }) => budget === 'earlier') }, mark: { type: 'point', size: 26, color: colour.faint, filled: true, opacity: 1 }, encoding: { y, x } },
                  { data: { values: values.filter(({ budget }) => budget === 'whole') }, mark: { type: 'point', filled: true, size: 52, opacity: 1 }, encoding: { y, x, color: accent } },
                ],
              } as unknown as TopLevelSpec,
            },
          ],
  };
}

function training(study: StudyDocument, curves: StudyReport['curves']): Figure {
  const values = curves.flatMap(({ label, training: points }) => points.map(({ step, value }) => ({ objective: label, role: roleOf(study, label), step, value })));
  return {
    id: 'training',
    title: 'Training',
    caption: 'Accepted length on the training blocks of the whole budget, mean over seeds, smoothed. Every block counts alike here and the text was drawn at random, so these are not the decoded figures.',
    panels:
      values.length === 0
        ? []
        : [
            {
              name: 'training',
              title: 'training blocks',
              description: 'Accepted length over the steps of training.',
              spec: lines(
                study,
                values,
                { field: 'step', type: 'quantitative', title: 'step', axis: { grid: false, tickCount: 5 } },
                { field: 'value', type: 'quantitative', title: 'accepted length', scale: { zero: false }, axis: { tickCount: 5 } },
              ),
            },
          ],
  };
}

function sweeps(study: StudyDocument): Figure[] {
  const panels = study.sweeps.flatMap(({ name, set, objective }): Panel[] => {
    const variants = study.variants.filter(({ group }) => group === name);
    const values = variants.flatMap(({ id, label }) =>
      study.results
        .filter((row) => row.variant === id && row.steps === study.budgets.at(-1))
        .map((row) => {
          const { value, interval } = figuresIn(row, null).acceptedLength;
          return { label, value, low: interval?.low ?? value, high: interval?.high ?? value };
        }),
    );
    if (values.length === 0) return [];
    const x = { field: 'label', type: 'ordinal', sort: variants.map(({ label }) => label), title: set, axis: { grid: false, labelAngle: 0, labelLimit: 90 }, scale: { padding: 0.3 } };
    const y = (field: string) => ({ field, type: 'quantitative', title: 'accepted length', scale: { zero: false }, axis: { tickCount: 5 } });
    return [
      {
        name: `sweep-${name.toLowerCase().replace(/[^a-z0-9]+/g, '-')}`,
        title: `${name} (from ${objective})`,
        description: `Accepted length by ${set}.`,
        spec: {
          width,
          height: 150,
          data: { values },
          layer: [
            { mark: { type: 'line', color: colour.faint, strokeWidth: 1.2 }, encoding: { x, y: y('value') } },
            { mark: { type: 'rule', color: colour.ink, strokeWidth: 1.4 }, encoding: { x, y: y('low'), y2: { field: 'high' } } },
            { mark: { type: 'point', filled: true, size: 46, color: colour.ink, opacity: 1 }, encoding: { x, y: y('value') } },
          ],
        } as unknown as TopLevelSpec,
      },
    ];
  });
  return [{ id: 'sweeps', title: 'Sweeps', caption: 'One setting varied, all else equal; all domains, the whole budget, 95% intervals.', panels }];
}
