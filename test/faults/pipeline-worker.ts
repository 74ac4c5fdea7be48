// One stage of the pipeline in a process of its own, to be killed: node pipeline-worker.js STAGE FOLDER RUN, where FOLDER is that of
// `withSmallRun`. It says "started" when its work begins. A stage that is run again goes on where it stopped.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadTarget } from '../../src/models/target.js';
import { exportDrafter } from '../../src/commands/export-drafter.js';
import { explain } from '../../src/errors.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { captureCache } from '../../src/training/capture.js';
import { train } from '../../src/training/trainer.js';
import { smallConfig } from '../training/small-run.js';

/** The run that is killed: everything is written often, so that a kill mostly meets a write. */
export const killedRun = { training: { steps: 60 }, evaluation: { everySteps: 5 }, output: { checkpointEverySteps: 2, logEverySteps: 1 } };

const stages: Record<string, (folder: string, run: string) => Promise<void>> = {
  async train(folder, run) {
    const config = smallConfig(folder, run, killedRun);
    await train(config, { resume: existsSync(join(folder, run, 'config.yaml')) });
  },
  async capture(folder, run) {
    const target = await loadTarget(join(folder, 'target'));
    await captureCache({ target, tokens: join(folder, 'tokens'), out: join(folder, run), taps: [0, 1, 2], featureType: 'float32', topk: 8, batchSize: 1, shardBytes: 1 });
    target.dispose();
  },
  async export(folder, run) {
    await exportDrafter({ source: join(folder, 'trained'), out: join(folder, run), dtype: 'float32' });
  },
};

if (process.argv[1]?.endsWith('pipeline-worker.js')) {
  const [stage = '', folder = '', run = ''] = process.argv.slice(2);
  await loadTensorflow({ threads: 1 });
  console.log('started');
  try {
    await stages[stage]!(folder, run);
    console.log('finished');
  } catch (error) {
    console.error(explain(error as Error));
    process.exitCode = 1;
  }
}
