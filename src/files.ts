// Files are written beside their final name, flushed and renamed, so that a reader sees the old file or the whole new one.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join, basename } from 'node:path';

/** A file being written beside its final name. */
export interface AtomicFile {
  /** Appends bytes. */
  write(bytes: Uint8Array): Promise<void>;
  /** Flushes to disk and renames into place. */
  commit(): Promise<void>;
  /** Removes what was written; the earlier file, if any, stays as it was. */
  abort(): Promise<void>;
}

let counter = 0;

/** Opens a file for writing; nothing is seen under `path` before `commit()`. Makes missing folders. */
export async function openAtomic(path: string): Promise<AtomicFile> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true });
  const temporary = join(folder, `.${basename(path)}.tmp-${process.pid}-${counter++}`);
  const handle = await open(temporary, 'w');
  return {
    async write(bytes) {
      let offset = 0;
      while (offset < bytes.byteLength) {
        const { bytesWritten } = await handle.write(bytes, offset, bytes.byteLength - offset);
        offset += bytesWritten;
      }
    },
    async commit() {
      try {
        await handle.sync();
        await handle.close();
        await rename(temporary, path);
        await syncFolder(folder);
      } catch (error) {
        await handle.close().catch(() => undefined);
        await rm(temporary, { force: true });
        throw error;
      }
    },
    async abort() {
      await handle.close().catch(() => undefined);
      await rm(temporary, { force: true });
    },
  };
}

/** Removes what killed processes of this machine left half written beside `names` in a folder; a live process's files stay. */
export async function removeAbandoned(folder: string, isOurs: (name: string) => boolean = () => true): Promise<void> {
  for (const entry of await readdir(folder).catch(() => [])) {
    const [, name, pid] = /^\.(.+)\.tmp-(\d+)(?:-\d+)?$/.exec(entry) ?? [];
    if (name === undefined || !isOurs(name) || isAlive(Number(pid))) continue;
    await rm(join(folder, entry), { recursive: true, force: true });
  }
}

/** Whether a process of this number runs on this machine. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** Writes a whole file atomically. */
export async function writeFileAtomic(path: string, data: string | Uint8Array): Promise<void> {
  const file = await openAtomic(path);
  try {
    await file.write(typeof data === 'string' ? Buffer.from(data, 'utf8') : data);
  } catch (error) {
    await file.abort();
    throw error;
  }
  await file.commit();
}

/** Flushes a folder's entries, so that a rename in it survives a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  if (handle === undefined) return;
  try {
    await handle.sync();
  } catch {
    // Some file systems refuse to flush folders; the rename itself has happened.
  } finally {
    await handle.close();
  }
}

/** SHA-256 of a file's bytes, in hexadecimal. */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}
