// A run from its config to its last checkpoint. The loop is here; what it is made of is passed in: the engine computes,
// run-data streams batches, run-record writes down, checkpoints keep. A step's result depends on the config and the step alone.
import { setImmediate as breathe } from 'node:timers/promises';
import type { Batch, BatchOptions } from '../../data/batches.js';
import type { Config } from '../config/load.js';
import { UserError } from '../errors.js';
import { tf } from '../tensorflow/ops.js';
import { drafterFolders, loadLastCheckpoint, saveCheckpoint, tidyCheckpoints, type LoadedCheckpoint } from './checkpoints.js';
import type { EnginePool } from './engine-pool.js';
import type { Engine, UpdateFigures } from './engine.js';
import { prepareRun, type PreparedRun } from './preparation.js';
import { trainingBatches, validationBatches } from './run-data.js';
import { openRunFolder, type RunFolder } from './run-folder.js';
import { addToWindow, emptyWindow, isWindow, openRecord, summarizeWindow, type MetricsWindow, type RunRecord } from './run-record.js';
import { learningRateAt, type LearningRateSchedule } from './schedule.js';
import { validate, type ValidationFigures } from './validation.js';

/** Told after every step. */
export interface TrainProgress {
  step: number;
  totalSteps: number;
  epoch: number;
  loss: number;
  /** Mean over this step's blocks of 1 + accepted drafts. */
  acceptedLength: number;
  blocksPerSecond: number;
  /** The last validation, if there was one. */
  validation?: ValidationFigures;
}

export interface TrainOptions {
  /** Where engines are taken from; default: the run records its own. All runs of a pool have one target. */
  engines?: EnginePool;
  /** Go on with the run that the folder holds. */
  resume?: boolean;
  /** Aborting it saves a checkpoint after the step in progress and returns. */
  signal?: AbortSignal;
  onProgress?: (progress: TrainProgress) => void;
  /** Told what a person should know: what is captured, fallbacks, validations, checkpoints. */
  say?: (message: string) => void;
}

export interface TrainResult {
  runFolder: string;
  step: number;
  totalSteps: number;
  /** False where `signal` stopped the run early. */
  finished: boolean;
  /** Means over the last logged window, and the last validation. */
  finalMetrics: { loss: number | null; validation: ValidationFigures | null };
  /** Folders of the drafter's weights and config. */
  bestDrafter: string;
  lastDrafter: string;
}

/** What a checkpoint carries beside tensors. */
interface Progress {
  step: number;
  /** Batches taken so far, over all epochs: the data position. */
  batches: number;
  skippedInRow: number;
  skippedTotal: number;
  window: MetricsWindow;
  [name: string]: unknown;
}

/**
 * Trains the drafter of a config, or goes on with its run. Throws `UserError` where the config does not fit its target or data, where the
 * run folder is in use, and where too many steps in a row were not finite; the last good checkpoint then stands.
 */
export async function train(config: Config, options: TrainOptions = {}): Promise<TrainResult> {
  const folder = config.output.folder;
  if (folder === null) throw new UserError('the run needs a folder: give output.folder, or --run.');
  const run = await openRunFolder(folder, options.resume ?? false);
  const say = (message: string) => {
    run.log(message);
    options.say?.(message);
  };
  try {
    const prepared = await prepareRun(config, { ...options, say });
    try {
      await run.settle(prepared.config);
      return await trainIn(run, prepared, { ...options, say });
    } finally {
      prepared.dispose();
    }
  } catch (error) {
    run.log(`stopped: ${(error as Error).message}`);
    throw error;
  } finally {
    await run.release();
  }
}

async function trainIn(run: RunFolder, prepared: PreparedRun, options: TrainOptions & { say: (message: string) => void }): Promise<TrainResult> {
  const { say } = options;
  const checkpoint = options.resume ? await loadLastCheckpoint(run.paths.checkpoints, say) : undefined;
  const engine = prepared.createEngine();
  try {
    const progress = checkpoint === undefined ? startOfRun() : readProgress(checkpoint);
    if (checkpoint !== undefined) {
      await engine.restore(checkpoint.folder);
      say(`resumed from ${checkpoint.name} of ${run.folder}`);
    } else if (options.resume) {
      say('the run has no checkpoint yet: starting from its first step');
    }
    await tidyCheckpoints(run.paths.checkpoints, progress.step);
    const record = await openRecord(run.paths, progress.step, prepared.config.output.tensorboard);
    try {
      return await new Loop(run, prepared, engine, record, progress, options).run(checkpoint);
    } finally {
      record.close();
    }
  } finally {
    engine.dispose();
  }
}

function startOfRun(): Progress {
  return { step: 0, batches: 0, skippedInRow: 0, skippedTotal: 0, window: emptyWindow() };
}

function readProgress({ folder, state }: LoadedCheckpoint): Progress {
  const { step, batches, skippedInRow, skippedTotal, window } = state as Progress;
  const areCounts = [step, batches, skippedInRow, skippedTotal].every((count) => Number.isSafeInteger(count) && count >= 0);
  if (areCounts && isWindow(window)) return state as Progress;
  throw new UserError(`${folder}/state.json does not say where the run stood: it was changed, or written by another program. Start the run anew in another folder.`);
}

/** One pass from a step to the end; holds what the steps share. */
class Loop {
  readonly #config: Config;
  readonly #total: number;
  readonly #schedule: LearningRateSchedule;
  readonly #batchOptions: BatchOptions;
  #validation: ValidationFigures | undefined;
  #lastLine: number | null = null;
  #checkpoint: LoadedCheckpoint | undefined;
  #windowStarted = performance.now();
  #windowBlocks = 0;

  constructor(
    private readonly runFolder: RunFolder,
    private readonly prepared: PreparedRun,
    private readonly engine: Engine,
    private readonly record: RunRecord,
    private readonly progress: Progress,
    private readonly options: TrainOptions & { say: (message: string) => void },
  ) {
    this.#config = prepared.config;
    this.#total = prepared.data.totalSteps;
    const { learningRate, schedule, warmup, finalShare } = this.#config.optimizer;
    this.#schedule = { learningRate, shape: schedule, finalShare, totalSteps: this.#total, warmupSteps: Math.round(warmup * this.#total) };
    this.#batchOptions = prepared.batchOptions;
  }

  async run(checkpoint: LoadedCheckpoint | undefined): Promise<TrainResult> {
    const { progress, options } = this;
    const { training, evaluation, output } = this.#config;
    this.#checkpoint = checkpoint;
    const evaluateEvery = evaluation.everySteps ?? Math.max(1, Math.ceil(this.#total / 10));
    const saveEvery = output.checkpointEverySteps ?? evaluateEvery;
    const batches = trainingBatches(this.#config, this.prepared.data, this.#batchOptions, progress.batches);
    try {
      while (progress.step < this.#total && !options.signal?.aborted) {
        await this.#step(batches, training.accumulate);
        const last = progress.step === this.#total;
        if (progress.step % output.logEverySteps === 0 || last) this.#log();
        let score: number | null = null;
        if (progress.step % evaluateEvery === 0 || last) score = await this.#validate();
        if (progress.step % saveEvery === 0 || last || options.signal?.aborted) await this.#save(score);
        // Lets signals, timers and file reads have their turn between two steps that block.
        await breathe();
      }
      if (this.#checkpoint?.state.step !== progress.step) await this.#save(null);
    } finally {
      await batches.return(undefined);
    }
    return this.#result();
  }

  async #step(batches: AsyncGenerator<Batch>, accumulate: number): Promise<void> {
    const { progress, engine } = this;
    const taken: Batch[] = [];
    for (let i = 0; i < accumulate; i++) taken.push((await batches.next()).value as Batch);
    const started = performance.now();
    const figures = engine.update(taken, learningRateAt(this.#schedule, progress.step), progress.step / this.#total);
    const blocks = taken.reduce((sum, batch) => sum + batch.anchors.length, 0);
    this.#windowBlocks += blocks;
    progress.step++;
    progress.batches += accumulate;
    addToWindow(progress.window, figures);
    if (figures.finite) progress.skippedInRow = 0;
    else this.#skipped(figures, taken);
    this.options.onProgress?.({
      step: progress.step,
      totalSteps: this.#total,
      epoch: Math.floor(progress.batches / this.prepared.data.batchesPerEpoch),
      loss: figures.loss,
      acceptedLength: figures.acceptedLength,
      blocksPerSecond: blocks / ((performance.now() - started) / 1000),
      validation: this.#validation,
    });
  }

  /** Notes an update that was left out, and stops the run after several in a row. */
  #skipped(figures: UpdateFigures, batches: Batch[]): void {
    const { progress } = this;
    progress.skippedInRow++;
    progress.skippedTotal++;
    const blamed = figures.culprit >= 0 ? [batches[figures.culprit]!] : batches;
    const identity = blamed.map(({ plan }) => ({ epoch: plan.epoch, batch: plan.index, rows: Array.from(plan.rows).filter((row) => row >= 0) }));
    const what = figures.culprit >= 0 ? `loss ${figures.loss}` : `gradient norm ${figures.gradientNorm}`;
    this.record.event(progress.step, 'skipped', { what, batches: identity });
    const named = identity.map(({ epoch, batch, rows }) => `epoch ${epoch}, batch ${batch} (rows ${rows.join(', ')})`).join('; ');
    this.options.say(`step ${progress.step} was skipped: ${what}, in ${named}`);
    if (progress.skippedInRow < this.#config.training.maxSkippedSteps) return;
    this.record.flush();
    const good = this.#checkpoint === undefined ? 'There is no checkpoint yet.' : `The checkpoint ${this.#checkpoint.folder} stands.`;
    throw new UserError(
      `${progress.skippedInRow} steps in a row were not finite, the last with ${what} in ${named}. ${good} ` +
        'Lower optimizer.learningRate, lengthen optimizer.warmup, or look at these rows.',
    );
  }

  #log(): void {
    const { progress, record } = this;
    const line = summarizeWindow(progress.window);
    const elapsedMs = performance.now() - this.#windowStarted;
    const steps = Math.max(1, progress.window.steps + progress.window.skipped);
    record.training(
      progress.step,
      {
        ...line,
        learningRate: learningRateAt(this.#schedule, progress.step - 1),
        epoch: Math.floor(progress.batches / this.prepared.data.batchesPerEpoch),
      },
      {
        blocksPerSecond: this.#windowBlocks / (elapsedMs / 1000),
        stepMs: elapsedMs / steps,
        residentBytes: process.memoryUsage.rss(),
        tensors: tf.memory().numTensors,
      },
    );
    this.#lastLine = line.loss;
    progress.window = emptyWindow();
    this.#restartClock();
  }

  async #validate(): Promise<number | null> {
    const { prepared, progress } = this;
    if (prepared.data.validationRows.length === 0) return null;
    const batches = validationBatches(this.#config, prepared.data, prepared.validationOptions);
    const figures = await validate(this.engine, batches, prepared.drafter.blockSize, progress.step / this.#total);
    this.#validation = figures;
    this.record.validation(progress.step, figures);
    const { acceptedLength, waste } = figures.acceptance;
    this.options.say(
      `step ${progress.step}: held-out loss ${figures.loss.toFixed(3)}, accepted length ${acceptedLength.toFixed(3)}` +
        (waste === null ? '' : `, waste ${(100 * waste).toFixed(0)}%`),
    );
    this.#restartClock();
    return acceptedLength;
  }

  async #save(score: number | null): Promise<void> {
    this.record.flush();
    const extra = { target: this.prepared.targetName };
    this.#checkpoint = await saveCheckpoint(this.runFolder.paths.checkpoints, this.progress, score, (folder) => this.engine.save(folder, extra));
    this.runFolder.log(`saved ${this.#checkpoint.name}`);
    this.#restartClock();
  }

  #restartClock(): void {
    this.#windowStarted = performance.now();
    this.#windowBlocks = 0;
  }

  async #result(): Promise<TrainResult> {
    const { checkpoints } = this.runFolder.paths;
    const { best, last } = await drafterFolders(checkpoints);
    return {
      runFolder: this.runFolder.folder,
      step: this.progress.step,
      totalSteps: this.#total,
      finished: this.progress.step === this.#total,
      finalMetrics: { loss: this.#lastLine, validation: this.#validation ?? null },
      bestDrafter: best,
      lastDrafter: last,
    };
  }
}
