// Checkpoints of a run. Each is a folder, written beside, flushed and renamed, whose `state.json` carries the SHA-256 of
// every other file; `manifest.json` names the last and the best and carries the SHA-256 of each state. So a broken checkpoint is
// recognised before it is used, and a lost manifest can be made again from the folders.
import { createHash } from 'node:crypto';
import { mkdir, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { UserError } from '../errors.js';
import { sha256File, syncFolder, writeFileAtomic } from '../files.js';

/** What a checkpoint knows beside its tensors. */
export interface CheckpointState {
  /** Updates done, skipped ones among them. */
  step: number;
  [name: string]: unknown;
}

interface StoredState extends CheckpointState {
  formatVersion: 1;
  /** SHA-256 and size of every other file of the checkpoint, by path in its folder. */
  files: Record<string, { sha256: string; bytes: number }>;
}

/** `checkpoints/manifest.json`. */
export interface CheckpointManifest {
  formatVersion: 1;
  /** Folder names. `best` is the one with the highest score. */
  last: string;
  best: string;
  checkpoints: Record<string, { step: number; score: number | null; stateSha256: string }>;
}

/** A checkpoint that was read and found whole. */
export interface LoadedCheckpoint {
  name: string;
  folder: string;
  state: CheckpointState;
}

const keepLast = 2;
const folderName = (step: number) => `step-${String(step).padStart(8, '0')}`;
const folderPattern = /^step-\d{8,}$/;

/**
 * Writes the checkpoint of `state.step` and removes those that are neither among the last two nor the best. Nothing is removed before
 * the new one is whole. `score` decides the best (higher is better; null never beats a number).
 * @param write puts the checkpoint's files into the folder it is given
 */
export async function saveCheckpoint(
  checkpointsFolder: string,
  state: CheckpointState,
  score: number | null,
  write: (folder: string) => Promise<void>,
): Promise<LoadedCheckpoint> {
  const name = folderName(state.step);
  const temporary = join(checkpointsFolder, `.${name}.tmp-${process.pid}`);
  const folder = join(checkpointsFolder, name);
  try {
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary, { recursive: true });
    await write(temporary);
    const stored: StoredState = { formatVersion: 1, ...state, score, files: await hashFiles(temporary) };
    const text = `${JSON.stringify(stored, null, 2)}\n`;
    await writeFileAtomic(join(temporary, 'state.json'), text);
    await syncFolder(temporary);
    await rm(folder, { recursive: true, force: true });
    await rename(temporary, folder);
    await syncFolder(checkpointsFolder);
    const manifest = await readManifest(checkpointsFolder);
    const checkpoints = { ...manifest?.checkpoints, [name]: { step: state.step, score, stateSha256: sha256(text) } };
    await keepNeeded(checkpointsFolder, checkpoints);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    const manifest = await readManifest(checkpointsFolder).catch(() => undefined);
    const good = manifest === undefined ? 'There is no earlier checkpoint.' : `The checkpoint ${manifest.last} stands.`;
    throw new UserError(`the checkpoint of step ${state.step} could not be written to ${checkpointsFolder}: ${(error as Error).message}. ${good}`);
  }
  return { name, folder, state };
}

/**
 * The newest checkpoint that is whole, or undefined where there is none at all. Broken ones are passed over, each with a
 * word to `say`. Throws `UserError` where there are checkpoints and none is whole.
 */
export async function loadLastCheckpoint(checkpointsFolder: string, say: (message: string) => void): Promise<LoadedCheckpoint | undefined> {
  const manifest = await readManifest(checkpointsFolder).catch((error: Error) => void say(error.message));
  const names = (await folderNames(checkpointsFolder)).sort().reverse();
  for (const [index, name] of names.entries()) {
    try {
      return await verifyCheckpoint(join(checkpointsFolder, name), manifest?.checkpoints[name]?.stateSha256);
    } catch (error) {
      const next = names[index + 1];
      say(`checkpoint ${name} is broken (${(error as Error).message}); ${next === undefined ? 'there is none before it' : `trying ${next}`}`);
    }
  }
  if (names.length === 0) return undefined;
  throw new UserError(`none of the ${names.length} checkpoints in ${checkpointsFolder} is whole. Start the run anew in another folder.`);
}

/** The folder of a run's best or last checkpoint, verified. Throws `UserError` where it is missing or broken. */
export async function openCheckpoint(checkpointsFolder: string, which: 'best' | 'last'): Promise<LoadedCheckpoint> {
  const manifest = await readManifest(checkpointsFolder);
  if (manifest === undefined) throw new UserError(`${checkpointsFolder} holds no checkpoint yet: train first.`);
  const name = manifest[which];
  const folder = join(checkpointsFolder, name);
  return verifyCheckpoint(folder, manifest.checkpoints[name]?.stateSha256).catch((error: Error) => {
    throw new UserError(`the ${which} checkpoint, ${folder}, is broken: ${error.message}`);
  });
}

/** Folders of the drafter in the best and in the last checkpoint. Throws `UserError` where there is none. */
export async function drafterFolders(checkpointsFolder: string): Promise<{ best: string; last: string }> {
  const manifest = await readManifest(checkpointsFolder);
  if (manifest === undefined) throw new UserError(`${checkpointsFolder} holds no checkpoint yet: train first.`);
  return { best: join(checkpointsFolder, manifest.best, 'drafter'), last: join(checkpointsFolder, manifest.last, 'drafter') };
}

/** Removes what killed processes left half written, and from the manifest what is no longer there. Call it under the run's lock. */
export async function tidyCheckpoints(checkpointsFolder: string, upToStep: number): Promise<void> {
  for (const name of await readdir(checkpointsFolder).catch(() => [])) {
    if (name.startsWith('.')) await rm(join(checkpointsFolder, name), { recursive: true, force: true });
  }
  const manifest = await readManifest(checkpointsFolder).catch(() => undefined);
  const known: CheckpointManifest['checkpoints'] = {};
  for (const name of await folderNames(checkpointsFolder)) {
    const folder = join(checkpointsFolder, name);
    const step = Number(name.slice('step-'.length));
    if (step > upToStep) {
      await rm(folder, { recursive: true, force: true });
      continue;
    }
    const text = await readFile(join(folder, 'state.json'), 'utf8').catch(() => undefined);
    if (text === undefined) continue;
    known[name] = manifest?.checkpoints[name] ?? { step, score: scoreOf(text), stateSha256: sha256(text) };
  }
  if (Object.keys(known).length > 0) await keepNeeded(checkpointsFolder, known);
}

/** The manifest, or undefined where there is none. Throws `UserError` where it cannot be understood. */
export async function readManifest(checkpointsFolder: string): Promise<CheckpointManifest | undefined> {
  const path = join(checkpointsFolder, 'manifest.json');
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  try {
    const manifest = JSON.parse(text) as CheckpointManifest;
    if (!Object.values(manifest.checkpoints).every((entry) => typeof entry?.stateSha256 === 'string' && Number.isSafeInteger(entry.step))) throw new Error('an entry of it is damaged');
    const names = [manifest.last, manifest.best, ...Object.keys(manifest.checkpoints)];
    if (!names.every((name) => folderPattern.test(name))) throw new Error('it names something that is no checkpoint');
    return manifest;
  } catch (error) {
    throw new UserError(`${path} cannot be understood: ${(error as Error).message}`);
  }
}

async function keepNeeded(checkpointsFolder: string, all: CheckpointManifest['checkpoints']): Promise<void> {
  const names = Object.keys(all).sort((a, b) => all[a]!.step - all[b]!.step);
  const better = (a: string, b: string) => ((all[b]!.score ?? -Infinity) >= (all[a]!.score ?? -Infinity) ? b : a);
  const best = names.reduce(better);
  const kept = new Set([...names.slice(-keepLast), best]);
  const manifest: CheckpointManifest = {
    formatVersion: 1,
    last: names.at(-1)!,
    best,
    checkpoints: Object.fromEntries(names.filter((name) => kept.has(name)).map((name) => [name, all[name]!])),
  };
  await writeFileAtomic(join(checkpointsFolder, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  for (const name of names) {
    if (!kept.has(name)) await rm(join(checkpointsFolder, name), { recursive: true, force: true });
  }
}

async function verifyCheckpoint(folder: string, stateSha256: string | undefined): Promise<LoadedCheckpoint> {
  const text = await readFile(join(folder, 'state.json'), 'utf8');
  if (stateSha256 !== undefined && sha256(text) !== stateSha256) throw new Error('state.json is not the one that was written');
  const stored = parseState(text);
  for (const [path, { sha256: expected, bytes }] of Object.entries(stored.files)) {
    const file = join(folder, path);
    const size = (await stat(file)).size;
    if (size !== bytes) throw new Error(`${path} has ${size} bytes, expected ${bytes}`);
    if ((await sha256File(file)) !== expected) throw new Error(`${path} is not what was written (SHA-256)`);
  }
  const { formatVersion: _version, files: _files, ...state } = stored;
  return { name: basename(folder), folder, state };
}

/** Parses `state.json`; throws where it is not one. Only plain files of the checkpoint's own folder can be named. */
export function parseState(text: string): CheckpointState & Pick<StoredState, 'files'> {
  const stored = JSON.parse(text) as Partial<StoredState> | null;
  if (stored?.formatVersion !== 1) throw new Error(`state.json has format version ${String(stored?.formatVersion)}, expected 1`);
  if (!Number.isSafeInteger(stored.step) || stored.step! < 0) throw new Error('state.json names no step');
  const files: unknown = stored.files;
  if (files === null || typeof files !== 'object') throw new Error('state.json names no files');
  for (const [path, file] of Object.entries(files as Record<string, Partial<StoredState['files'][string]> | null>)) {
    const isPlain = path.split('/').every((part) => /^[\w][\w.-]*$/.test(part));
    if (!isPlain || typeof file?.sha256 !== 'string' || typeof file.bytes !== 'number') throw new Error(`state.json has a wrong entry for the file ${JSON.stringify(path)}`);
  }
  return stored as StoredState;
}

async function hashFiles(folder: string, inner = ''): Promise<StoredState['files']> {
  const files: StoredState['files'] = {};
  for (const entry of await readdir(join(folder, inner), { withFileTypes: true })) {
    const path = inner === '' ? entry.name : `${inner}/${entry.name}`;
    if (entry.isDirectory()) Object.assign(files, await hashFiles(folder, path));
    else files[path] = { sha256: await sha256File(join(folder, path)), bytes: (await stat(join(folder, path))).size };
  }
  return files;
}

async function folderNames(checkpointsFolder: string): Promise<string[]> {
  const names = await readdir(checkpointsFolder).catch(() => []);
  return names.filter((name) => folderPattern.test(name));
}

function scoreOf(stateText: string): number | null {
  try {
    const { score } = JSON.parse(stateText) as { score?: unknown };
    return typeof score === 'number' ? score : null;
  } catch {
    return null;
  }
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
