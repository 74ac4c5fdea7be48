// From variants to work: trainings (a run config with its seed and length) and cells (a training decoded at one block size). What several
// variants share is done once; everything is named by what it is, so a study that was interrupted finds what is finished.
import { createHash } from 'node:crypto';
import type { Config } from '../config/load.js';
import type { Study, Variant } from './study-config.js';

/** One training. */
export interface Training {
  /** Its folder's name under `runs/`. */
  name: string;
  config: Config;
  seed: number;
  steps: number;
}

/** One training, decoded at one block size. */
export interface Cell {
  /** Its file's name under `cells/`, without the ending. */
  id: string;
  /** Hash of everything that decides its result, apart from the program. */
  key: string;
  training: Training;
  blockSize: number;
}

/** A study as work to do. */
export interface StudyPlan {
  /** In the order in which they are done: variant by variant, so that one recorded step serves all its seeds and lengths. */
  cells: Cell[];
  /** The cell of a variant at a seed and number of steps. */
  cellOf(variant: Variant, seed: number, steps: number): Cell;
}

/** Lays out all cells of a study. */
export function planStudy(study: Study): StudyPlan {
  const cells = new Map<string, Cell>();
  const names = new Map<string, string>();
  const prompts = { ...study.decoding, blockSize: undefined, resamples: undefined };
  const find = (variant: Variant, seed: number, steps: number): Cell => {
    const blockSize = variant.blockSize ?? variant.config.drafter.blockSize;
    const config = runConfig(variant.config, seed, steps);
    const run = hash(identity(config));
    const key = hash({ run, blockSize, prompts });
    let cell = cells.get(key);
    if (cell === undefined) {
      const name = names.get(run) ?? `${variant.id}.steps-${steps}.seed-${seed}`;
      names.set(run, name);
      cell = { id: `${name}.k-${blockSize}`, key, training: { name, config, seed, steps }, blockSize };
      cells.set(key, cell);
    }
    return cell;
  };
  for (const variant of study.variants) {
    for (const steps of [...variant.budgets].reverse()) for (const seed of variant.seeds) find(variant, seed, steps);
  }
  return { cells: [...cells.values()], cellOf: find };
}

/** What decides what a capture holds; trainings with the same share one cache. */
export function captureKey({ target, data, capture, drafter }: Config): string {
  const { prompts, tokens, cache, promptTokens, maxLength, maxRows } = data;
  return hash({ target, data: { prompts, tokens, cache, promptTokens, maxLength, maxRows }, capture: { ...capture, folder: null }, taps: drafter.taps });
}

function runConfig(base: Config, seed: number, steps: number): Config {
  const config = structuredClone(base);
  config.training = { ...config.training, seed, steps, epochs: null };
  return config;
}

/** The parts of a run config that decide the trained weights. */
function identity({ output: _output, evaluation: _evaluation, training, ...rest }: Config): unknown {
  return { ...rest, training: { ...training, threads: null, verifyFirstStep: null } };
}

function hash(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}
