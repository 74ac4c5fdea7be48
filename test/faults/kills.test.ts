// SIGKILL at thirty random moments of capture, train and export. After each, everything under a final name is whole; run again until they
// end, the stages give what they give undisturbed, to the bit. KILL_SEED draws other moments.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { openCache, verifyCache } from '../../data/arrow-cache.js';
import { loadDrafter } from '../../src/models/drafter-checkpoint.js';
import { packageRoot } from '../../src/package-root.js';
import { Random } from '../../src/random.js';
import { readMetrics } from '../../src/reports/metrics.js';
import { readEvents } from '../../src/reports/tensorboard.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { openCheckpoint, readManifest } from '../../src/training/checkpoints.js';
import { runPaths } from '../../src/training/run-folder.js';
import { withSmallRun } from '../training/small-run.js';

const seed = Number(process.env['KILL_SEED'] ?? 20260711);
const killsEach = 10;
await loadTensorflow();

/** Runs a stage; kills it `afterMs` after its work began. Returns whether it had ended by itself, and how long its work took. */
function runStage(stage: string, folder: string, run: string, afterMs?: number): Promise<{ ended: boolean; ms: number; errors: string; code: number | null }> {
  const child = spawn(process.execPath, [join(packageRoot(), 'dist/test/faults/pipeline-worker.js'), stage, folder, run]);
  let started = 0;
  let errors = '';
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
  child.stdout.on('data', (data: Buffer) => {
    if (started > 0 || !data.toString().includes('started')) return;
    started = performance.now();
    if (afterMs !== undefined) setTimeout(() => child.kill('SIGKILL'), afterMs);
  });
  return new Promise((resolve) => child.on('close', (code, signal) => resolve({ ended: signal === null, ms: performance.now() - started, errors, code })));
}

/** Kills a stage again and again, looking at what is left each time; then lets it end. */
async function killAgainAndAgain(stage: string, folder: string, run: string, wholeMs: number, check: () => Promise<void>, restartsAtEnd: boolean): Promise<number> {
  const random = Random.fork(seed, stage);
  let kills = 0;
  for (let i = 0; i < 4 * killsEach && kills < killsEach; i++) {
    // A stage that goes on has less and less to do: its kills come early, so that all find it at work.
    const { ended, errors, code } = await runStage(stage, folder, run, random.next() * wholeMs * (restartsAtEnd ? 1 : 0.35));
    if (ended) assert.equal(code, 0, errors);
    else kills++;
    await check();
    if (ended && !restartsAtEnd) break;
  }
  const last = await runStage(stage, folder, run);
  assert.equal(last.code, 0, last.errors);
  await check();
  return kills;
}

/** Every file of a folder by its path, as a hash; `leave` names what a clock or the machine decides. */
function hashes(folder: string, leave: RegExp): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath, entry.name)).filter((path) => !leave.test(path)).sort();
  return Object.fromEntries(paths.map((path) => [path.slice(folder.length), createHash('sha256').update(readFileSync(path)).digest('hex')]));
}

function trace(runFolder: string): unknown[] {
  return readMetrics(runPaths(runFolder).metrics).map(({ blocksPerSecond: _1, stepMs: _2, residentBytes: _3, tensors: _4, ...rest }) => rest);
}

test(`capture, killed at ${killsEach} moments (seed ${seed}), leaves finished shards whole and ends with the same bytes`, () =>
  withSmallRun(async (folder) => {
    const whole = await runStage('capture', folder, 'whole');
    assert.equal(whole.code, 0, whole.errors);
    const out = join(folder, 'killed');
    const kills = await killAgainAndAgain('capture', folder, 'killed', whole.ms, async () => {
      if (!existsSync(join(out, 'manifest.json'))) return;
      const cache = await openCache(out, { allowIncomplete: true });
      for (let row = 0; row < cache.rowCount; row++) await cache.readRow(row, { features: true, topk: true });
      if ((JSON.parse(readFileSync(join(out, 'manifest.json'), 'utf8')) as { complete: boolean }).complete) assert.deepEqual(await verifyCache(out), []);
    }, false);
    assert.deepEqual(hashes(out, /\.lock/), hashes(join(folder, 'whole'), /\.lock/));
    console.log(`capture: ${kills} kills`);
    assert.ok(kills >= 1);
  }));

test(`train, killed at ${killsEach} moments (seed ${seed}), keeps a whole checkpoint and ends with the same trace and weights`, () =>
  withSmallRun(async (folder) => {
    const whole = await runStage('train', folder, 'whole');
    assert.equal(whole.code, 0, whole.errors);
    const run = join(folder, 'killed');
    const { checkpoints, events, metrics } = runPaths(run);
    let reached = 0;
    const kills = await killAgainAndAgain('train', folder, 'killed', whole.ms, async () => {
      const manifest = await readManifest(checkpoints);
      if (manifest !== undefined) {
        for (const which of ['best', 'last'] as const) {
          const checkpoint = await openCheckpoint(checkpoints, which);
          (await loadDrafter(join(checkpoint.folder, 'drafter'))).dispose();
        }
        const step = manifest.checkpoints[manifest.last]!.step;
        assert.ok(step >= reached, `the last checkpoint is of step ${step}, after one of ${reached}`);
        reached = step;
      }
      if (existsSync(metrics)) readMetrics(metrics);
      if (existsSync(events)) for (const name of readdirSync(events)) readEvents(join(events, name));
    }, false);
    assert.deepEqual(trace(run), trace(join(folder, 'whole')));
    // The log and the events carry times, the config its own folder.
    const leave = /log\.txt|events|metrics\.jsonl|config\.yaml$/;
    assert.deepEqual(hashes(run, leave), hashes(join(folder, 'whole'), leave));
    console.log(`train: ${kills} kills`);
    assert.ok(kills >= 1);
  }));

test(`export, killed at ${killsEach} moments (seed ${seed}), leaves an earlier export or a whole new one`, () =>
  withSmallRun(async (folder) => {
    const trained = await runStage('train', folder, 'trained');
    assert.equal(trained.code, 0, trained.errors);
    const whole = await runStage('export', folder, 'whole');
    assert.equal(whole.code, 0, whole.errors);
    const out = join(folder, 'killed');
    const kills = await killAgainAndAgain('export', folder, 'killed', whole.ms, async () => {
      // Between two renames there is none for a moment; the next export brings the earlier one back.
      if (!existsSync(out)) return;
      (await loadDrafter(out)).dispose();
      const { files } = JSON.parse(readFileSync(join(out, 'draftalign.json'), 'utf8')) as { files: Record<string, { sha256: string }> };
      for (const [name, { sha256 }] of Object.entries(files)) assert.equal(createHash('sha256').update(readFileSync(join(out, name))).digest('hex'), sha256, name);
    }, true);
    assert.deepEqual(readdirSync(folder).filter((name) => name.startsWith('.')), []);
    const leave = /draftalign\.json|README\.md/;
    assert.deepEqual(hashes(out, leave), hashes(join(folder, 'whole'), leave));
    console.log(`export: ${kills} kills`);
    assert.equal(kills, killsEach);
  }));
