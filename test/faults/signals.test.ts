// What reaches a running command from outside: Ctrl-C once and twice, a closed terminal, a reader that goes away, a second process,
// a clock that is set back.
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { formatConfig } from '../../src/config/load.js';
import { packageRoot } from '../../src/package-root.js';
import { readMetrics } from '../../src/reports/metrics.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { openCheckpoint } from '../../src/training/checkpoints.js';
import { runPaths } from '../../src/training/run-folder.js';
import { smallConfig, withSmallRun } from '../training/small-run.js';

await loadTensorflow();

interface Command {
  child: ChildProcess;
  /** Resolves when metrics of `step` are written. */
  reached(step: number): Promise<void>;
  ended: Promise<{ code: number | null; signal: string | null; output: string }>;
}

function startTraining(folder: string, run: string, extra: string[] = [], steps = 2000): Command {
  const config = join(folder, `${run}.yaml`);
  writeFileSync(config, formatConfig(smallConfig(folder, run, { training: { steps }, evaluation: { everySteps: 500 }, output: { logEverySteps: 1, checkpointEverySteps: 1000 } })));
  const child = spawn(process.execPath, [join(packageRoot(), 'dist/src/cli.js'), 'train', '--config', config, ...extra]);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (output += data.toString()));
  const ended = new Promise<{ code: number | null; signal: string | null; output: string }>((resolve) => child.on('close', (code, signal) => resolve({ code, signal, output })));
  return { child, ended, reached: (step) => reached(runPaths(join(folder, run)).metrics, step, child) };
}

async function reached(metrics: string, step: number, child: ChildProcess): Promise<void> {
  for (;;) {
    try {
      if (readMetrics(metrics).some((line) => line.step >= step)) return;
    } catch {
      // It is not there yet.
    }
    assert.equal(child.exitCode, null, 'the command ended too early');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM'] as const) {
  test(`${signal} saves the step in progress and stops, and the run can be resumed`, () =>
    withSmallRun(async (folder) => {
      const { child, reached, ended } = startTraining(folder, 'run');
      await reached(5);
      child.kill(signal);
      const { code, output } = await ended;
      assert.equal(code, 130, output);
      const stopped = Number(/stopped at step (\d+) of 2000; go on with\n {2}draftalign train --resume/.exec(output)?.[1]);
      assert.equal((await openCheckpoint(runPaths(join(folder, 'run')).checkpoints, 'last')).state.step, stopped, output);
      assert.doesNotMatch(output, /\n {4}at /);
    }));
}

test('a second Ctrl-C stops at once, and what is on disk is whole', () =>
  withSmallRun(async (folder) => {
    const { child, reached, ended } = startTraining(folder, 'run');
    await reached(1001);
    child.kill('SIGINT');
    child.kill('SIGINT');
    await new Promise((resolve) => setTimeout(resolve, 1));
    child.kill('SIGINT');
    const { code } = await ended;
    assert.equal(code, 130);
    await openCheckpoint(runPaths(join(folder, 'run')).checkpoints, 'last');
  }));

test('a reader that goes away does not end a run', () =>
  withSmallRun(async (folder) => {
    const { child, reached, ended } = startTraining(folder, 'run', [], 60);
    await reached(1);
    child.stdout!.destroy();
    child.stderr!.destroy();
    assert.equal((await ended).code, 0);
    assert.equal((await openCheckpoint(runPaths(join(folder, 'run')).checkpoints, 'last')).state.step, 60);
  }));

test('a second process on the same run is refused, naming the first', () =>
  withSmallRun(async (folder) => {
    const first = startTraining(folder, 'run');
    await first.reached(2);
    const second = await startTraining(folder, 'run', ['--resume']).ended;
    assert.equal(second.code, 1);
    assert.match(second.output, new RegExp(`is in use by process ${first.child.pid} on `));
    first.child.kill('SIGINT');
    assert.equal((await first.ended).code, 130);
  }));

test('files from the future, as after a clock was set back, are no harm', () =>
  withSmallRun(async (folder) => {
    const first = startTraining(folder, 'run', [], 60);
    await first.reached(10);
    first.child.kill('SIGINT');
    await first.ended;
    const { metrics, log } = runPaths(join(folder, 'run'));
    const future = new Date(Date.now() + 1e10);
    for (const path of [metrics, log]) utimesSync(path, future, future);
    const { code, output } = await startTraining(folder, 'run', ['--resume'], 60).ended;
    assert.equal(code, 0, output);
    const steps = readMetrics(metrics).filter((line) => line.kind === 'train').map((line) => line.step);
    assert.deepEqual(steps, Array.from({ length: 60 }, (_, i) => i + 1), readFileSync(metrics, 'utf8').slice(0, 200));
  }));
