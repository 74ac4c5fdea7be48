// Where a user points when asked for a drafter: a run folder, one of its checkpoints, any drafter folder, or `demo`, the one that comes with draftalign.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Config } from '../config/load.js';
import { UserError } from '../errors.js';
import { packageRoot } from '../package-root.js';
import { openCheckpoint, parseState } from './checkpoints.js';
import { readRunConfig, runPaths } from './run-folder.js';

/** A drafter folder and what is known of its making. */
export interface DrafterSource {
  /** Holds config.json and the weights. */
  drafterFolder: string;
  /** The target that it is known to be for, where no run says so. */
  target?: string;
  /** The run that made it. */
  run?: { folder: string; config: Config };
  /** The checkpoint that it is part of, and what its state says. */
  checkpoint?: { name: string; step: number; state: Record<string, unknown> };
}

/**
 * Finds the drafter that `path` means: of a run folder, the `which` checkpoint's; of a checkpoint folder, its own; else `path` is
 * the drafter folder; `demo` means the demo target's, where no folder has that name. A run's checkpoint is checked against its hashes. Throws `UserError` where
 * there is none.
 */
export async function findDrafter(path: string, which: 'best' | 'last' = 'best'): Promise<DrafterSource> {
  if (!existsSync(path) && path === 'demo') return { drafterFolder: join(packageRoot(), 'data/demo-drafter'), target: 'demo' };
  if (!existsSync(path)) throw new UserError(`there is no folder ${path}. Give a run folder, a checkpoint or a drafter folder; demo is the demo target's.`);
  const { checkpoints, config } = runPaths(path);
  if (existsSync(checkpoints)) {
    const checkpoint = await openCheckpoint(checkpoints, which);
    return {
      drafterFolder: join(checkpoint.folder, 'drafter'),
      run: { folder: path, config: await readRunConfig(path) },
      checkpoint: { name: checkpoint.name, step: checkpoint.state.step, state: checkpoint.state },
    };
  }
  if (existsSync(config)) throw new UserError(`the run in ${path} has no checkpoint yet: train first.`);
  if (existsSync(join(path, 'drafter', 'config.json'))) return describeCheckpoint(resolve(path), join(path, 'drafter'));
  if (!existsSync(join(path, 'config.json'))) {
    throw new UserError(`${path} is neither a run (checkpoints/), nor a checkpoint (drafter/), nor a drafter folder (config.json).`);
  }
  // A checkpoint's own `drafter` folder is also what `train` and `evaluate` print.
  return basename(resolve(path)) === 'drafter' ? describeCheckpoint(dirname(resolve(path)), path) : { drafterFolder: path };
}

async function describeCheckpoint(folder: string, drafterFolder: string): Promise<DrafterSource> {
  const text = await readFile(join(folder, 'state.json'), 'utf8').catch(() => undefined);
  if (text === undefined) return { drafterFolder };
  let state: Record<string, unknown>;
  try {
    state = parseState(text);
  } catch (error) {
    throw new UserError(`the checkpoint ${folder} is broken: ${(error as Error).message}`);
  }
  const runFolder = dirname(dirname(folder));
  const run = existsSync(runPaths(runFolder).config) ? { folder: runFolder, config: await readRunConfig(runFolder) } : undefined;
  return { drafterFolder, run, checkpoint: { name: basename(folder), step: Number(state['step']), state } };
}
