// Runs the capture pass of the demo target: the runner that `capture` uses, with recorded graphs. Answers each line {"steps": n} with the times of n batches.
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { loadTarget } from '../../src/models/target.js';
import { packageRoot } from '../../src/package-root.js';
import { Random } from '../../src/random.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { createCaptureRunner } from '../../src/training/capture-runner.js';

const { values: flags } = parseArgs({ options: { batch: { type: 'string' }, length: { type: 'string' }, taps: { type: 'string' }, topk: { type: 'string' }, threads: { type: 'string' } } });
const [batchSize, length] = [Number(flags.batch), Number(flags.length)];
await loadTensorflow({ halves: true, ...(flags.threads !== undefined && { threads: Number(flags.threads) }) });
const target = await loadTarget(join(packageRoot(), 'data/demo-target'));
const random = new Random(3);
const sequences = Array.from({ length: batchSize }, () => Int32Array.from({ length }, () => random.int(target.config.vocabSize)));
const taps = flags.taps!.split(',').map(Number);
const runner = createCaptureRunner(target, {
  taps,
  columns: { featureWidth: taps.length * target.config.hiddenSize, featureType: 'float16', topk: Number(flags.topk), labels: true },
  batchSize,
  batchCounts: new Map([[length, 1000]]),
  say: (message) => console.error(message),
});
console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface(process.stdin)) {
  const { steps } = JSON.parse(line) as { steps: number };
  const times = Array.from({ length: steps }, () => {
    const [started, before] = [performance.now(), process.cpuUsage()];
    runner.run(sequences, length);
    const { user, system } = process.cpuUsage(before);
    return { ms: performance.now() - started, cpuMs: (user + system) / 1000 };
  });
  console.log(JSON.stringify({ ms: times.map(({ ms }) => ms), cpuMs: times.map(({ cpuMs }) => cpuMs) }));
}
