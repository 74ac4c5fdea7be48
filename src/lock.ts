// A lock file that names its process: at most one holder, and a lock whose process is gone is recognised as stale.
// The file is linked into place with its content already in it, so no reader ever sees half a lock.
import { randomUUID } from 'node:crypto';
import { link, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** Who holds a lock. `started` tells a process from a later one with the same number (Linux; elsewhere null). */
export interface LockHolder {
  pid: number;
  host: string;
  started: string | null;
  since: string;
}

/** Thrown where a lock is held by a live process (or by one on another machine, which cannot be looked at). */
export class LockHeldError extends Error {
  override readonly name = 'LockHeldError';
  constructor(
    readonly path: string,
    readonly holder: LockHolder,
  ) {
    super(`${path} is held by process ${holder.pid} on ${holder.host} since ${holder.since}`);
  }
}

/** Start time of a process in clock ticks since boot, or null where the system does not tell. */
function processStart(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

/** Whether the process that wrote this is gone. Never true for a holder on another machine. */
export function isStale(holder: LockHolder): boolean {
  if (holder.host !== hostname()) return false;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
  return holder.started !== null && processStart(holder.pid) !== holder.started;
}

/** Reads a lock's holder; undefined where there is no lock or its content is not one. */
export async function readLock(path: string): Promise<LockHolder | undefined> {
  try {
    const holder = JSON.parse(await readFile(path, 'utf8')) as LockHolder;
    return typeof holder.pid === 'number' && typeof holder.host === 'string' ? holder : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Takes the lock at `path` and returns the function that gives it back.
 * A stale lock is removed; a live one makes this throw `LockHeldError`.
 */
export async function acquireLock(path: string): Promise<() => Promise<void>> {
  await mkdir(dirname(path), { recursive: true });
  const holder: LockHolder = { pid: process.pid, host: hostname(), started: processStart(process.pid), since: new Date().toISOString() };
  const temporary = `${path}.${randomUUID()}`;
  await writeFile(temporary, JSON.stringify(holder));
  try {
    for (;;) {
      try {
        await link(temporary, path);
        await removeLeftovers(path);
        return async () => {
          const current = await readLock(path);
          if (current?.pid === holder.pid && current.since === holder.since) await rm(path, { force: true });
        };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const current = await readLock(path);
      if (current !== undefined && !isStale(current)) throw new LockHeldError(path, current);
      await removeStale(path);
    }
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Deletes what processes left that were killed while they took the lock. */
async function removeLeftovers(path: string): Promise<void> {
  for (const name of await readdir(dirname(path))) {
    if (!name.startsWith(`${basename(path)}.`) || !/\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(name)) continue;
    const holder = await readLock(join(dirname(path), name));
    if (holder !== undefined && isStale(holder)) await rm(join(dirname(path), name), { force: true });
  }
}

/**
 * Deletes a stale lock. Only the maker of the `.clearing` file may, and it looks again first: so a lock that another
 * process has taken meanwhile is never deleted.
 */
async function removeStale(path: string): Promise<void> {
  const clearing = `${path}.clearing`;
  try {
    await writeFile(clearing, '', { flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    // Held for a moment only; one this old was left by a process killed in that moment.
    const age = await stat(clearing).then((found) => Date.now() - found.mtimeMs, () => 0);
    if (age > 10_000) await rm(clearing, { force: true });
    await new Promise((resolve) => setTimeout(resolve, 5));
    return;
  }
  try {
    const holder = await readLock(path);
    if (holder === undefined || isStale(holder)) await rm(path, { force: true });
  } finally {
    await rm(clearing, { force: true });
  }
}
