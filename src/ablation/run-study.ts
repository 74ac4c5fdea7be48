// Runs a study: caches first, then cell by cell: train, keep the drafter, decode, write the cell's file. What is finished is never done
// again, so a study goes on after any interruption; several processes may work on one folder, each on cells that no other holds.
import { cpus } from 'node:os';
import { appendFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { stringify } from 'yaml';
import type { Config } from '../config/load.js';
import { UserError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import { acquireLock, LockHeldError } from '../lock.js';
import { formatDocument } from '../decoding/evaluation-json.js';
import { EnginePool } from '../training/engine-pool.js';
import { prepareRun } from '../training/preparation.js';
import { runPaths } from '../training/run-folder.js';
import { train } from '../training/trainer.js';
import { readMetrics } from '../reports/metrics.js';
import { cellExample, cellSets, readCell, writeCell, type CellResult } from './cell-result.js';
import { StudyDecoder } from './decode-cell.js';
import type { Study } from './study-config.js';
import { studyDocument, type DocumentContext, type StudyDocument } from './study-document.js';
import { drafterOf, isKept, keepDrafter, studyPaths } from './study-folder.js';
import { captureKey, planStudy, type Cell, type StudyPlan, type Training } from './study-plan.js';

/** Told while a study runs. */
export interface StudyProgress {
  /** Cells finished and in all. */
  done: number;
  total: number;
  cell: string;
  /** Steps trained and to train in this session, over all trainings that were not finished when it began. */
  steps: number;
  totalSteps: number;
}

export interface RunStudyOptions {
  draftalignVersion: string;
  /** Aborting it saves a checkpoint of the training in progress and returns. */
  signal?: AbortSignal;
  onProgress?: (progress: StudyProgress) => void;
  say?: (message: string) => void;
}

export interface StudyOutcome {
  document: StudyDocument;
  finished: boolean;
  /** Cells that another process was at. */
  elsewhere: number;
}

/** Texts of each domain that a cell keeps for reading. */
const examplesPerSet = 2;

/** Runs what is left of a study. Throws `UserError` where the folder holds another study's cells, and whatever a run throws. */
export async function runStudy(study: Study, options: RunStudyOptions): Promise<StudyOutcome> {
  const paths = studyPaths(study.folder);
  const plan = planStudy(study);
  const cells = await readFinished(study.folder, plan);
  await mkdir(study.folder, { recursive: true });
  await writeFileAtomic(paths.config, `# The study's config with its overrides, written by draftalign.\n${stringify(study.source, { lineWidth: 0 })}`);
  const say = (message: string) => {
    appendFileSync(paths.log, `${new Date().toISOString()} ${message}\n`);
    options.say?.(message);
  };
  const decoder = await StudyDecoder.open(study);
  const engines = new EnginePool();
  const [cpu] = cpus();
  const context: DocumentContext = {
    draftalignVersion: options.draftalignVersion,
    target: { name: decoder.target.name, weightFingerprint: decoder.target.weightFingerprint },
    machine: { cpu: cpu?.model.trim() ?? 'unknown', cores: cpus().length },
  };
  const sources = new Map<string, Config['data']>();
  let elsewhere = 0;
  try {
    const left = plan.cells.filter((cell) => !cells.has(cell.id));
    const trainings = new Map(left.filter(({ training }) => !isKept(paths.run(training.name))).map(({ training }) => [training.name, training.steps]));
    const counter = { steps: 0, totalSteps: [...trainings.values()].reduce((sum, steps) => sum + steps, 0) };
    say(`${plan.cells.length} cells, ${cells.size} finished; ${trainings.size} trainings of ${counter.totalSteps} steps in all to go`);
    for (const cell of left) {
      if (options.signal?.aborted) break;
      const release = await lockCell(paths.cellLock(cell.training.name));
      if (release === undefined) {
        elsewhere++;
        continue;
      }
      try {
        const known = await readCell(paths.cell(cell.id));
        const result = known ?? (await runCell(cell, { study, decoder, engines, sources, options, say, counter, done: cells.size, total: plan.cells.length }));
        if (result === undefined) break;
        cells.set(cell.id, result);
      } finally {
        await release();
      }
      for (const other of plan.cells) {
        if (cells.has(other.id)) continue;
        const found = await readCell(paths.cell(other.id));
        if (found !== undefined) cells.set(other.id, found);
      }
      await writeDocument(paths.document, studyDocument(study, plan, cells, context));
    }
    const document = studyDocument(study, plan, cells, context);
    await writeDocument(paths.document, document);
    return { document, finished: document.complete, elsewhere };
  } finally {
    engines.dispose();
    decoder.dispose();
  }
}

/** Cells that are finished. Throws `UserError` where one was made with other settings. */
async function readFinished(folder: string, plan: StudyPlan): Promise<Map<string, CellResult>> {
  const paths = studyPaths(folder);
  const cells = new Map<string, CellResult>();
  const foreign: string[] = [];
  for (const { id, key } of plan.cells) {
    const cell = await readCell(paths.cell(id));
    if (cell === undefined) continue;
    if (cell.key === key) cells.set(id, cell);
    else foreign.push(id);
  }
  if (foreign.length > 0) {
    throw new UserError(
      `${folder} holds cells that were made with other settings (${foreign.slice(0, 3).join(', ')}${foreign.length > 3 ? ` and ${foreign.length - 3} more` : ''}). ` +
        'Name another folder with --out, or delete these under cells/ and runs/ to make them again.',
    );
  }
  return cells;
}

interface CellSurroundings {
  study: Study;
  decoder: StudyDecoder;
  engines: EnginePool;
  /** Where trainings read their rows, by capture key. */
  sources: Map<string, Config['data']>;
  options: RunStudyOptions;
  say: (message: string) => void;
  counter: { steps: number; totalSteps: number };
  done: number;
  total: number;
}

/** Trains where need be, decodes, writes the cell. Undefined where it was interrupted. */
async function runCell(cell: Cell, surroundings: CellSurroundings): Promise<CellResult | undefined> {
  const { study, decoder, say, done, total } = surroundings;
  const paths = studyPaths(study.folder);
  const runFolder = paths.run(cell.training.name);
  if (!isKept(runFolder) && !(await trainCell(cell, runFolder, surroundings))) return undefined;
  const started = performance.now();
  const { result, parameters } = await decoder.decode(drafterOf(runFolder), cell.blockSize);
  const lines = readMetrics(runPaths(runFolder).metrics);
  const validation = lines.findLast((line) => line.kind === 'validation') as (Record<string, unknown> & { acceptedLength: number; waste: number | null }) | undefined;
  const lastTrain = lines.findLast((line) => line.kind === 'train') as { loss: number | null } | undefined;
  const { tokenizer } = decoder;
  const finished: CellResult = {
    format: 'draftalign-study-cell',
    version: 1,
    id: cell.id,
    key: cell.key,
    seed: cell.training.seed,
    steps: cell.training.steps,
    blockSize: cell.blockSize,
    training: {
      run: cell.training.name,
      loss: lastTrain?.loss ?? null,
      validation: validation === undefined ? null : { acceptedLength: validation.acceptedLength, waste: validation.waste },
    },
    parameters,
    finishedAt: new Date().toISOString(),
    seconds: { training: trainingSeconds(lines), decoding: (performance.now() - started) / 1000 },
    sets: cellSets(result),
    examples:
      tokenizer === undefined
        ? []
        : decoder.promptSets.flatMap(({ name }) =>
            result.texts.filter((text) => text.set === name).slice(0, examplesPerSet).map((text) => cellExample(text, (ids) => tokenizer.decode(ids, { skipSpecialTokens: true }))),
          ),
  };
  await writeCell(paths.cell(cell.id), finished);
  say(`${done + 1} of ${total}: ${cell.id}: accepted length ${finished.sets.map(({ name, acceptedLength }) => `${name} ${acceptedLength.toFixed(3)}`).join(', ')}`);
  return finished;
}

async function trainCell(cell: Cell, runFolder: string, { study, engines, sources, options, say, counter, done, total }: CellSurroundings): Promise<boolean> {
  const data = await captureFor(cell.training, study.folder, sources, options, say);
  const config = structuredClone(cell.training.config);
  config.data = data;
  config.capture = { ...config.capture, folder: null };
  config.output = { ...config.output, folder: runFolder };
  const result = await train(config, {
    engines,
    resume: existsSync(runPaths(runFolder).config),
    signal: options.signal,
    onProgress: () => options.onProgress?.({ done, total, cell: cell.id, steps: ++counter.steps, totalSteps: counter.totalSteps }),
  });
  if (!result.finished) {
    say(`${cell.id} stopped at step ${result.step} of ${result.totalSteps}`);
    return false;
  }
  await keepDrafter(runFolder);
  return true;
}

/** The rows of a training: captured now where no earlier one did. */
async function captureFor({ config }: Training, folder: string, sources: Map<string, Config['data']>, options: RunStudyOptions, say: (message: string) => void): Promise<Config['data']> {
  const key = captureKey(config);
  let rows = sources.get(key);
  if (rows === undefined) {
    const cache = config.data.cache !== null && config.capture.mode === 'cached' ? null : studyPaths(folder).cache(key);
    const prepared = await prepareRun({ ...config, capture: { ...config.capture, folder: cache } }, { say, signal: options.signal });
    rows = prepared.config.data;
    prepared.dispose();
    sources.set(key, rows);
  }
  const { cache, tokens, prompts } = rows;
  return { ...config.data, cache, tokens, prompts };
}

async function lockCell(path: string): Promise<(() => Promise<void>) | undefined> {
  try {
    return await acquireLock(path);
  } catch (error) {
    if (error instanceof LockHeldError) return undefined;
    throw error;
  }
}

/** Time spent in steps, from the run's own lines: an interruption in between does not count. */
function trainingSeconds(lines: ReturnType<typeof readMetrics>): number {
  let before = 0;
  let ms = 0;
  for (const line of lines) {
    if (line.kind !== 'train') continue;
    ms += (line.step - before) * Number(line['stepMs']);
    before = line.step;
  }
  return ms / 1000;
}

async function writeDocument(path: string, document: StudyDocument): Promise<void> {
  await writeFileAtomic(path, `${formatDocument(document)}\n`);
}

