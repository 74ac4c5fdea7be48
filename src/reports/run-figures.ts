// The figures of single training runs: accepted length and loss over the steps, the objective's terms, and what the last validation found.
import type { TopLevelSpec } from 'vega-lite';
import { colour } from './palette.js';
import type { RunReport } from './report-data.js';
import type { Figure } from './study-figures.js';

const width = 262;
const height = 190;

/** All figures of a run. */
export function runFigures(run: RunReport): Figure[] {
  const { curve, terms, last } = run;
  const x = { field: 'step', type: 'quantitative', title: 'step', axis: { grid: false, tickCount: 5 } };
  const y = (title: string) => ({ field: 'value', type: 'quantitative', title, scale: { zero: false }, axis: { tickCount: 5 } });
  const panel = (name: string, title: string, description: string, spec: unknown) => ({ name: `${run.name}-${name}`, title, description, spec: spec as TopLevelSpec });
  const series = [
    ...curve.training.map((point) => ({ ...point, of: 'training blocks' })),
    ...curve.heldOut.map((point) => ({ ...point, of: 'held-out walk' })),
  ];
  const scale = { domain: ['training blocks', 'held-out walk'], range: [colour.soft, colour.accent] };
  const figures: Figure[] = [
    {
      id: `${run.name}-curves`,
      title: 'Training',
      caption: 'Accepted length: the mean over training blocks, smoothed, and the walk that greedy decoding would take over held-out rows. Loss: the whole objective.',
      panels: [
        ...(series.length === 0
          ? []
          : [
              panel('accepted-length', 'accepted length', 'Accepted length over the steps of training.', {
                width,
                height,
                data: { values: series },
                mark: { type: 'line', strokeWidth: 2, point: curve.heldOut.length < 2 },
                encoding: { x, y: y('accepted length'), color: { field: 'of', type: 'nominal', scale, legend: { symbolType: 'stroke' } } },
              }),
            ]),
        ...(curve.loss.length === 0
          ? []
          : [panel('loss', 'loss', 'The loss over the steps of training.', { width, height, data: { values: curve.loss }, mark: { type: 'line', strokeWidth: 2, color: colour.ink }, encoding: { x, y: y('loss') } })]),
      ],
    },
    {
      id: `${run.name}-terms`,
      title: 'Terms of the objective',
      caption: 'Each term before it is weighted.',
      panels: [...new Set(terms.map(({ term }) => term))].map((term) =>
        panel(`term-${term.toLowerCase()}`, term, `The term ${term} over the steps of training.`, {
          width,
          height: 130,
          data: { values: terms.filter((one) => one.term === term) },
          mark: { type: 'line', strokeWidth: 1.6, color: colour.ink },
          encoding: { x, y: y(term) },
        }),
      ),
    },
  ];
  if (last !== null) {
    const rounds = Math.max(1, last.rounds);
    const bars = (name: string, title: string, yTitle: string, values: number[]) =>
      panel(name, title, `${yTitle} by slot.`, {
        width,
        height,
        data: { values: values.map((value, index) => ({ slot: index + 1, value })) },
        mark: { type: 'bar', color: colour.ink, width: { band: 0.6 } },
        encoding: {
          x: { field: 'slot', type: 'ordinal', title: 'slot', axis: { labelAngle: 0, grid: false, labelOverlap: true } },
          y: { field: 'value', type: 'quantitative', title: yTitle, axis: { format: '.0%', tickCount: 5 } },
        },
      });
    figures.push({
      id: `${run.name}-slots`,
      title: 'The last validation, slot by slot',
      caption: `At step ${last.step}, over ${last.rounds} rounds. Left: rounds in which a slot and all before it were accepted. Right: rounds whose first wrong draft stands there.`,
      panels: [
        bars('survival', 'survival', 'rounds that reach it', last.survival),
        bars('first-errors', 'first errors', 'rounds that end there', last.firstErrors.slice(0, last.survival.length).map((count) => count / rounds)),
      ],
    });
  }
  return figures.filter(({ panels }) => panels.length > 0);
}
