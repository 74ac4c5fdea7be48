// The disk runs full in the middle of prepare, capture, train, export, evaluate and report: a clear message and no stack, nothing broken under a final name, and with
// room again the stage ends as it would have. Needs the right to mount a small file system (root on Linux).
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { openCache } from '../../data/arrow-cache.js';
import { writeFileAtomic } from '../../src/files.js';
import { loadDrafter } from '../../src/models/drafter-checkpoint.js';
import { packageRoot } from '../../src/package-root.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { openCheckpoint, readManifest } from '../../src/training/checkpoints.js';
import { withSmallRun } from '../training/small-run.js';

await loadTensorflow();
const diskBytes = 64 * 2 ** 20;
const skip = canMount() ? false : 'needs the right to mount a tmpfs (root on Linux)';

function canMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'draftalign-mount-'));
  const mounted = process.platform === 'linux' && spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'draftalign-test', folder]).status === 0;
  if (mounted) spawnSync('umount', [folder]);
  rmSync(folder, { recursive: true });
  return mounted;
}

async function withDisk(folder: string, body: (disk: string) => Promise<void>): Promise<void> {
  const disk = join(folder, 'disk');
  mkdirSync(disk);
  assert.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes}`, 'draftalign-test', disk]).status, 0);
  try {
    await body(disk);
  } finally {
    spawnSync('umount', [disk]);
  }
}

const runStage = (stage: string, folder: string, run: string) =>
  spawnSync(process.execPath, [join(packageRoot(), 'dist/test/faults/pipeline-worker.js'), stage, folder, run], { encoding: 'utf8' });

function bytesOf(folder: string): number {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

/** What must be whole whenever it is there. */
const looks: Record<string, (out: string) => Promise<void>> = {
  async capture(out) {
    if (!readdirSync(out).includes('manifest.json')) return;
    const cache = await openCache(out, { allowIncomplete: true });
    for (let row = 0; row < cache.rowCount; row++) await cache.readRow(row, { features: true, topk: true });
  },
  async train(out) {
    const checkpoints = join(out, 'checkpoints');
    if ((await readManifest(checkpoints)) === undefined) return;
    for (const which of ['best', 'last'] as const) (await loadDrafter(join((await openCheckpoint(checkpoints, which)).folder, 'drafter'))).dispose();
  },
  async export(out) {
    if (readdirSync(join(out, '..')).includes('out')) (await loadDrafter(out)).dispose();
  },
};

for (const stage of ['capture', 'train', 'export']) {
  test(`${stage}: a full disk is named, what is finished stays whole, and with room again it goes on to its end`, { skip }, () =>
    withSmallRun((folder) =>
      withDisk(folder, async (disk) => {
        if (stage === 'export') assert.equal(runStage('train', folder, 'trained').status, 0);
        assert.equal(runStage(stage, folder, 'whole').status, 0);
        const whole = bytesOf(join(folder, 'whole'));
        let refused = 0;
        for (const share of [0, 0.2, 0.5, 0.8]) {
          rmSync(join(disk, 'out'), { recursive: true, force: true });
          const filler = join(disk, 'filler');
          writeFileSync(filler, Buffer.alloc(Math.max(0, diskBytes - Math.floor(share * whole) - 2 * 4096)));
          const full = runStage(stage, folder, 'disk/out');
          if (full.status !== 0) {
            refused++;
            assert.match(full.stderr, /draftalign: .*(the disk is full|ENOSPC|no space left|bytes are free|iB are free)/, full.stderr);
            assert.doesNotMatch(full.stderr, /\n {4}at /);
          }
          if (readdirSync(disk).includes('out')) await looks[stage]!(join(disk, 'out'));
          rmSync(filler);
          const again = runStage(stage, folder, 'disk/out');
          assert.equal(again.status, 0, again.stderr);
          await looks[stage]!(join(disk, 'out'));
        }
        console.log(`${stage}: ${refused} of 4 met the full disk`);
        assert.ok(refused >= 2);
      }),
    ),
  );
}

/** Commands that write one result, by the file that must be whole or as it was. */
const commands: Record<string, { result: string; args(folder: string, disk: string): string[] }> = {
  prepare: {
    result: 'out/manifest.json',
    args: (folder, disk) => ['prepare', '--target', join(packageRoot(), 'data/demo-target'), '--input', join(folder, 'chats.jsonl'), '--out', join(disk, 'out')],
  },
  evaluate: {
    result: 'result.json',
    args: (folder, disk) => ['evaluate', '--drafter', join(folder, 'trained'), '--prompts', `few=${join(folder, 'prompts.jsonl')}`, '--max-new-tokens', '8', '--json', join(disk, 'result.json')],
  },
  report: { result: 'report.html', args: (folder, disk) => ['report', join(folder, 'trained'), '--out', join(disk, 'report.html')] },
};

for (const [name, { result, args }] of Object.entries(commands)) {
  test(`${name}: a full disk is named, the result from before stays, and with room again there is a new one`, { skip }, () =>
    withSmallRun((folder) =>
      withDisk(folder, async (disk) => {
        writeFileSync(join(folder, 'chats.jsonl'), Array.from({ length: 300 }, (_, i) => JSON.stringify({ prompt: `Count to ${i}.`, completion: 'One, two, three. '.repeat(20) })).join('\n'));
        writeFileSync(join(folder, 'prompts.jsonl'), [3, 7].map((start) => JSON.stringify({ prompt_ids: [start, start + 1, start + 2] })).join('\n'));
        if (name !== 'prepare') assert.equal(runStage('train', folder, 'trained').status, 0);
        const run = () => spawnSync(process.execPath, [join(packageRoot(), 'dist/src/cli.js'), ...args(folder, disk)], { encoding: 'utf8' });
        const fill = () => assert.throws(() => writeFileSync(join(disk, 'filler'), Buffer.alloc(diskBytes + 1)), /ENOSPC/);
        const path = join(disk, result);
        const refuse = () => {
          const full = run();
          assert.notEqual(full.status, 0, full.stdout);
          assert.match(full.stderr, /draftalign: .*(the disk is full|ENOSPC|no space left|bytes are free|iB are free)/);
          assert.doesNotMatch(full.stderr, /\n {4}at /);
          rmSync(join(disk, 'filler'));
        };
        fill();
        refuse();
        assert.ok(!existsSync(path), `${result} was written to a full disk`);
        const made = run();
        assert.equal(made.status, 0, made.stderr);
        if (name === 'prepare') return void assert.equal((await openCache(join(disk, 'out'))).rowCount, 300);
        const before = readFileSync(path);
        fill();
        refuse();
        assert.deepEqual(readFileSync(path), before);
        assert.deepEqual(readdirSync(disk), [result]);
      }),
    ));
}

test('a file that does not fit leaves the one before it, and nothing beside it', { skip }, () =>
  withSmallRun((folder) =>
    withDisk(folder, async (disk) => {
      const path = join(disk, 'report.json');
      await writeFileAtomic(path, 'before');
      await assert.rejects(writeFileAtomic(path, Buffer.alloc(diskBytes + 1)), /ENOSPC/);
      assert.equal(readFileSync(path, 'utf8'), 'before');
      assert.deepEqual(readdirSync(disk), ['report.json']);
    }),
  ));
