// Online capture: the target's pass inside the training step, against features that were captured before.
import assert from 'node:assert/strict';
import test from 'node:test';
import { join } from 'node:path';
import { loadTarget } from '../../src/models/target.js';
import { readMetrics } from '../../src/reports/metrics.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { captureCache } from '../../src/training/capture.js';
import { runPaths } from '../../src/training/run-folder.js';
import { train } from '../../src/training/trainer.js';
import { smallConfig, withSmallRun } from './small-run.js';

await loadTensorflow();

test('a run with online capture has the loss trace of one on a float32 cache, to 1e-4', async () => {
  await withSmallRun(async (folder) => {
    const target = await loadTarget(join(folder, 'target'));
    await captureCache({ target, tokens: join(folder, 'tokens'), out: join(folder, 'float32'), taps: [2], featureType: 'float32' });
    target.dispose();
    const shared = { losses: 'weighting', training: { steps: 30 }, evaluation: { everySteps: 10 }, output: { logEverySteps: 1 } };
    const traceOf = async (run: string, changes: object): Promise<number[]> => {
      const { runFolder } = await train(smallConfig(folder, run, { ...shared, ...changes }));
      return readMetrics(runPaths(runFolder).metrics).map((line) => line['loss'] as number);
    };
    const cached = await traceOf('cached', { data: { tokens: null, cache: join(folder, 'float32') } });
    const online = await traceOf('online', { capture: { mode: 'online' } });
    assert.equal(cached.length, 33); // 30 steps and 3 validations
    assert.equal(online.length, cached.length);
    cached.forEach((loss, i) => assert.ok(Math.abs(online[i]! - loss) <= 1e-4 * Math.abs(loss), `line ${i}: online ${online[i]}, cached ${loss}`));
    assert.ok(cached.at(-1)! < cached[0]!, `the loss went from ${cached[0]} to ${cached.at(-1)}`);
  });
});
