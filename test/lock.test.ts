import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { acquireLock, isStale, LockHeldError, readLock } from '../src/lock.js';

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'draftalign-lock-'));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('a held lock is refused, naming its process, and is free again after release', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'lock');
    const release = await acquireLock(path);
    await assert.rejects(acquireLock(path), (error) => error instanceof LockHeldError && error.holder.pid === process.pid);
    await release();
    assert.equal(await readLock(path), undefined);
    await (await acquireLock(path))();
    assert.deepEqual(await readdir(folder), []);
  }));

test('the lock of a process that is gone, or of an earlier one with the same number, is taken over', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'lock');
    const gone = { pid: 2 ** 22 + 1, host: hostname(), started: '1', since: 'long ago' };
    const earlier = { ...gone, pid: process.pid };
    for (const holder of process.platform === 'linux' ? [gone, earlier] : [gone]) {
      await writeFile(path, JSON.stringify(holder));
      assert.equal(isStale(holder), true);
      // What such a process leaves when it is killed while it takes the lock goes too.
      await writeFile(`${path}.0abec249-f178-48b6-919b-021edd860f1b`, JSON.stringify(holder));
      await (await acquireLock(path))();
      assert.deepEqual(await readdir(folder), []);
    }
  }));

test("a lock from another machine is never judged stale: its processes can't be seen from here", () => {
  assert.equal(isStale({ pid: 2 ** 22 + 1, host: 'elsewhere.example', started: '1', since: '' }), false);
});

test('of many that find the same stale lock at once, one takes it', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'lock');
    await writeFile(path, JSON.stringify({ pid: 2 ** 22 + 1, host: hostname(), started: '1', since: '' }));
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => acquireLock(path)));
    assert.equal(results.filter((result) => result.status === 'fulfilled').length, 1);
  }));
