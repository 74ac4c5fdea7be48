// The folder of a run: resolved config, metrics, events, log, checkpoints; held by one process at a time.
//   config.yaml  metrics.jsonl  events/  log.txt  checkpoints/{manifest.json, step-NNNNNNNN/…}  cache/ (where the run captured)
import { appendFileSync, existsSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { join } from 'node:path';
import { readConfigFile } from '../config/file.js';
import { formatConfig, parseConfig, type Config } from '../config/load.js';
import { UserError } from '../errors.js';
import { removeAbandoned, writeFileAtomic } from '../files.js';
import { LockHeldError, acquireLock } from '../lock.js';

/** Paths of a run's parts. */
export function runPaths(folder: string) {
  return {
    config: join(folder, 'config.yaml'),
    metrics: join(folder, 'metrics.jsonl'),
    events: join(folder, 'events'),
    log: join(folder, 'log.txt'),
    checkpoints: join(folder, 'checkpoints'),
    cache: join(folder, 'cache'),
    lock: join(folder, 'lock'),
  };
}

/** A run folder that this process holds. */
export interface RunFolder {
  folder: string;
  paths: ReturnType<typeof runPaths>;
  /** Appends a line to the log, with the time. */
  log(message: string): void;
  /** Saves the resolved config of a new run; of a resumed one, throws `UserError` where it differs from the saved one. */
  settle(config: Config): Promise<void>;
  /** Gives the folder back. */
  release(): Promise<void>;
}

/**
 * Takes a run folder. A new run wants one that holds no run yet; `resume` wants one that does.
 * Throws `UserError` where that is not so, or where another process holds it.
 */
export async function openRunFolder(folder: string, resume: boolean): Promise<RunFolder> {
  const paths = runPaths(folder);
  if (resume && !existsSync(paths.config)) throw new UserError(`${folder} holds no run to resume (no config.yaml). Leave out --resume to start one.`);
  await mkdir(folder, { recursive: true });
  const release = await acquireLock(paths.lock).catch((error: Error) => {
    if (!(error instanceof LockHeldError)) throw error;
    const { pid, host, since } = error.holder;
    throw new UserError(
      `${folder} is in use by process ${pid} on ${host} since ${since}. Wait for it or stop it; if that machine is gone for good, delete ${paths.lock}.`,
    );
  });
  try {
    await removeAbandoned(folder);
    if (!resume) await refuseOldRun(folder, paths.checkpoints);
  } catch (error) {
    await release();
    throw error;
  }
  const log = (message: string) => {
    try {
      appendFileSync(paths.log, `${new Date().toISOString()} ${message}\n`);
    } catch {
      // A full disk shows where it matters, at the next metrics line or checkpoint.
    }
  };
  const settle = (config: Config) =>
    resume ? compareConfig(paths.config, config) : writeFileAtomic(paths.config, `# The resolved config of this run, written by draftalign.\n${formatConfig(config)}`);
  return { folder, paths, log, settle, release };
}

/** The config that a run was started with, with overrides. Throws `UserError` where the folder holds none. */
export async function readRunConfig(folder: string, set: readonly string[] = []): Promise<Config> {
  const { config: path } = runPaths(folder);
  if (!existsSync(path)) throw new UserError(`${folder} holds no run (no config.yaml in it).`);
  return parseConfig((await readConfigFile(path)).value, { name: path, set });
}

async function refuseOldRun(folder: string, checkpoints: string): Promise<void> {
  const steps = (await readdir(checkpoints).catch(() => [])).filter((name) => name.startsWith('step-'));
  if (steps.length === 0) return;
  throw new UserError(`${folder} already holds a run (${steps.sort().at(-1)}). Go on with it by --resume, or give another folder by --run.`);
}

/** How a run computes what it computes; a resumed one may do otherwise. */
const meansOfComputing = new Set(['training.threads', 'training.eager', 'training.tf32', 'training.xla']);

/** A resumed run goes on as it began: a config that differs anywhere but in its output or its means of computing is refused. */
async function compareConfig(path: string, config: Config): Promise<void> {
  const before = parseConfig((await readConfigFile(path)).value, { name: path });
  const differing = differences(before, config).filter((key) => !key.startsWith('output.') && !meansOfComputing.has(key));
  if (differing.length === 0) return;
  throw new UserError(
    `this run was started with another config; a resumed run must go on as it began. What differs: ${differing.join(', ')}. ` +
      `Leave --config and --set out to resume with ${path}, or start a new run in another folder.`,
  );
}

function differences(a: unknown, b: unknown, path = ''): string[] {
  if (isDeepStrictEqual(a, b)) return [];
  if (!isSection(a) || !isSection(b)) return [path];
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key) => differences(a[key], b[key], path === '' ? key : `${path}.${key}`));
}

function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
