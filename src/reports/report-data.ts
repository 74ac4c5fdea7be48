// What a report shows, read from study folders and run folders. Nothing is computed anew: figures are those of study.json, curves those of
// each run's metrics, texts those of the cells.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { readCell, type CellExample } from '../ablation/cell-result.js';
import { studyFormat, studyVersion, type StudyDocument } from '../ablation/study-document.js';
import { studyPaths } from '../ablation/study-folder.js';
import { UserError } from '../errors.js';
import { runPaths } from '../training/run-folder.js';
import { readMetrics, type MetricsLine } from './metrics.js';

/** A figure over the steps of one or several runs. */
export interface Curve {
  label: string;
  /** Accepted length on training blocks. */
  training: { step: number; value: number }[];
  /** Accepted length of the walk over held-out rows. */
  heldOut: { step: number; value: number }[];
  loss: { step: number; value: number }[];
}

export interface StudyReport {
  folder: string;
  document: StudyDocument;
  /** Of every objective at the largest budget, mean over seeds. */
  curves: Curve[];
  /** By objective: texts of the largest budget's first seed. */
  examples: { label: string; steps: number; seed: number; texts: CellExample[] }[];
}

export interface RunReport {
  folder: string;
  name: string;
  /** The resolved config, as its file says. */
  config: string;
  curve: Curve;
  /** Unweighted terms of the objective by step. */
  terms: { term: string; step: number; value: number }[];
  /** Of the last validation; null where none was made. */
  last: { step: number; acceptedLength: number; waste: number | null; survival: number[]; firstErrors: number[]; rounds: number } | null;
}

/** All that one page shows. */
export interface ReportData {
  studies: StudyReport[];
  runs: RunReport[];
}

/** Reads what the folders hold. Throws `UserError` where one is neither a study nor a run, or holds nothing yet. */
export async function readReport(folders: readonly string[]): Promise<ReportData> {
  const data: ReportData = { studies: [], runs: [] };
  for (const folder of folders) {
    if (existsSync(studyPaths(folder).document)) data.studies.push(await readStudy(folder));
    else if (existsSync(runPaths(folder).metrics)) data.runs.push(await readRun(folder));
    else if (existsSync(studyPaths(folder).config)) throw new UserError(`the study in ${folder} has no finished cell yet: let \`draftalign ablate\` go on.`);
    else throw new UserError(`${folder} is neither a study (study.json) nor a run (metrics.jsonl). Give a folder that \`draftalign ablate\` or \`draftalign train\` wrote.`);
  }
  return data;
}

async function readStudy(folder: string): Promise<StudyReport> {
  const paths = studyPaths(folder);
  const document = JSON.parse(await readFile(paths.document, 'utf8')) as StudyDocument;
  if (document.format !== studyFormat || document.version !== studyVersion) {
    throw new UserError(`${paths.document} has format ${String(document.format)}, version ${String(document.version)}; this program reads ${studyFormat}, version ${studyVersion}.`);
  }
  const curves: Curve[] = [];
  const examples: StudyReport['examples'] = [];
  for (const { id, group, label } of document.variants) {
    const row = group === 'objectives' ? document.results.filter((one) => one.variant === id).sort((a, b) => a.steps - b.steps).at(-1) : undefined;
    if (row === undefined) continue;
    const cells = (await Promise.all(row.cells.map((cell) => readCell(paths.cell(cell))))).filter((cell) => cell !== undefined);
    const lines = cells.map((cell) => runPaths(paths.run(cell.training.run)).metrics).filter((path) => existsSync(path)).map(readMetrics);
    if (lines.length > 0) curves.push(curveOf(label, lines));
    const [first] = cells;
    if (first !== undefined && first.examples.length > 0) examples.push({ label, steps: first.steps, seed: first.seed, texts: first.examples });
  }
  return { folder, document, curves, examples };
}

async function readRun(folder: string): Promise<RunReport> {
  const paths = runPaths(folder);
  const lines = readMetrics(paths.metrics);
  if (lines.length === 0) throw new UserError(`${paths.metrics} has no line yet: the run has just begun.`);
  const name = basename(resolve(folder));
  const validation = lines.findLast((line) => line.kind === 'validation') as (MetricsLine & NonNullable<RunReport['last']>) | undefined;
  const terms = lines
    .filter((line) => line.kind === 'train')
    .flatMap((line) =>
      Object.entries((line['losses'] ?? {}) as Record<string, number>)
        .filter(([term]) => !term.includes('.'))
        .map(([term, value]) => ({ term, step: line.step, value })),
    );
  const config = existsSync(join(folder, 'config.yaml')) ? await readFile(join(folder, 'config.yaml'), 'utf8') : '';
  return { folder, name, config, curve: curveOf(name, [lines]), terms, last: validation ?? null };
}

/** Means over runs, step by step; training figures are averaged over neighbouring lines, so that a curve shows its course. */
function curveOf(label: string, runs: readonly MetricsLine[][]): Curve {
  const meanOf = (kind: MetricsLine['kind'], field: string) => {
    const found = new Map<number, number[]>();
    for (const line of runs.flat()) {
      const value = line[field];
      if (line.kind === kind && typeof value === 'number') found.set(line.step, [...(found.get(line.step) ?? []), value]);
    }
    return [...found].sort(([a], [b]) => a - b).map(([step, values]) => ({ step, value: values.reduce((sum, value) => sum + value, 0) / values.length }));
  };
  return { label, training: smooth(meanOf('train', 'acceptedLength')), heldOut: meanOf('validation', 'acceptedLength'), loss: smooth(meanOf('train', 'loss')) };
}

/** A running mean over a twentieth of the points. */
function smooth(points: { step: number; value: number }[]): { step: number; value: number }[] {
  const reach = Math.floor(points.length / 40);
  return points.map(({ step }, index) => {
    const near = points.slice(Math.max(0, index - reach), index + reach + 1);
    return { step, value: near.reduce((sum, { value }) => sum + value, 0) / near.length };
  });
}
