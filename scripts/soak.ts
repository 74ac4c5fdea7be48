// Does memory stay flat over a long run? `npm run soak` trains the demo config and writes what the run itself logged every ten steps,
// tensors and resident bytes, as CSV and as a plot; exit code 1 where either grows. Shapes are smaller than the demo's (64 tokens, 8
// blocks a sequence, short answers), so that 2,000 steps take minutes: what could leak is the same, step by step.
//   node dist/scripts/soak.js [--steps 2000] [--out soak]
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadConfig } from '../src/config/load.js';
import { packageRoot } from '../src/package-root.js';
import { drawSvg, withGround } from '../src/reports/draw-figure.js';
import { readMetrics } from '../src/reports/metrics.js';
import { loadTensorflow } from '../src/tensorflow/load.js';
import { runPaths } from '../src/training/run-folder.js';
import { train } from '../src/training/trainer.js';

interface Sample {
  step: number;
  tensors: number;
  mebibytes: number;
}

/** Growth of resident memory that is taken for none. */
const mostGrowth = 0.02;

const { values } = parseArgs({ options: { steps: { type: 'string', default: '2000' }, out: { type: 'string', default: 'soak' } } });
const steps = Number(values.steps);
const samples = await trainDemo(steps);
mkdirSync(values.out, { recursive: true });
await writeFile(join(values.out, 'memory.csv'), `step,tensors,resident_mib\n${samples.map(({ step, tensors, mebibytes }) => `${step},${tensors},${mebibytes.toFixed(1)}`).join('\n')}\n`);
await writeFile(join(values.out, 'memory.svg'), withGround(await draw(samples)));
judge(samples);

async function trainDemo(total: number): Promise<Sample[]> {
  const folder = await mkdtemp(join(tmpdir(), 'draftalign-soak-'));
  try {
    const set = [
      'data.maxRows=300',
      'data.maxLength=64',
      'data.validationRows=8',
      'capture.generate={maxNewTokens: 32, temperature: 1}',
      `training.steps=${total}`,
      'training.batchSize=2',
      'training.anchorsPerSequence=8',
      'evaluation.everySteps=200',
      'output.checkpointEverySteps=100',
      `output.folder=${JSON.stringify(join(folder, 'run'))}`,
    ];
    const config = await loadConfig(join(packageRoot(), 'configs/demo.yaml'), { set });
    await loadTensorflow();
    await train(config, { say: (message) => console.error(message) });
    return readMetrics(runPaths(join(folder, 'run')).metrics)
      .filter((line) => line.kind === 'train')
      .map((line) => ({ step: line.step, tensors: line['tensors'] as number, mebibytes: (line['residentBytes'] as number) / 2 ** 20 }));
  } finally {
    await rm(folder, { recursive: true });
  }
}

function draw(data: Sample[]): Promise<string> {
  const line = (field: string, title: string) => ({
    width: 640,
    height: 150,
    mark: { type: 'line' as const, strokeWidth: 1.5 },
    encoding: { x: { field: 'step', type: 'quantitative' as const, title: 'step' }, y: { field, type: 'quantitative' as const, title, scale: { zero: true } } },
  });
  return drawSvg({
    name: 'memory',
    title: `Memory over ${data.at(-1)!.step} training steps`,
    description: 'Resident memory and the number of tensors, every ten steps.',
    spec: { data: { values: data as unknown as Record<string, unknown>[] }, vconcat: [line('mebibytes', 'resident MiB'), line('tensors', 'tensors')] },
  });
}

/** Compares the last tenth of the run with the tenth after its first, the warm-up. */
function judge(data: Sample[]): void {
  const tenth = Math.max(1, Math.floor(data.length / 10));
  const median = (part: Sample[]): number => part.map((sample) => sample.mebibytes).sort((a, b) => a - b)[part.length >> 1]!;
  const [early, late] = [data.slice(tenth, 2 * tenth), data.slice(-tenth)];
  const growth = median(late) / median(early) - 1;
  const tensors = [...new Set(data.slice(tenth).map((sample) => sample.tensors))];
  const describe = (part: Sample[]): string => `steps ${part[0]!.step} to ${part.at(-1)!.step}`;
  console.log(`resident memory, medians: ${median(early).toFixed(0)} MiB in ${describe(early)}, ${median(late).toFixed(0)} MiB in ${describe(late)}: ${(100 * growth).toFixed(2)}% growth`);
  console.log(`tensors after the warm-up: ${tensors.join(', ')}`);
  if (growth > mostGrowth || tensors.length > 1) {
    console.error(`memory grows: at most ${100 * mostGrowth}% and one number of tensors were expected`);
    process.exitCode = 1;
  }
}
