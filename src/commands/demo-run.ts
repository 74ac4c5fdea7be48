// The stages of the demo. Every stage leaves what it made in the demo's folder, and a stage that finds it made is passed over.
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadConfig, type Config } from '../config/load.js';
import type { ObjectiveName } from '../config/losses.js';
import type { EvaluationDocument } from '../decoding/evaluation-json.js';
import { loadDrafter, saveDrafter } from '../models/drafter-checkpoint.js';
import { initDrafterWeights } from '../models/drafter-init.js';
import { packageRoot } from '../package-root.js';
import { formatColumns } from '../reports/columns.js';
import type { ExportRecord } from '../reports/export-record.js';
import { createProgress, formatDuration } from '../reports/progress.js';
import { tf } from '../tensorflow/ops.js';
import { findDrafter } from '../training/drafter-source.js';
import { runPaths } from '../training/run-folder.js';
import { train, type TrainResult } from '../training/trainer.js';
import { evaluateDrafter } from './evaluate-drafter.js';
import { exportDrafter } from './export-drafter.js';

export interface DemoOptions {
  out: string;
  /** Default: the config's. */
  steps?: number;
  /** Trained in this order; the last is exported. */
  objectives: readonly ObjectiveName[];
  promptsPerDomain: number;
  maxNewTokens: number;
  /** Overrides of configs/demo.yaml, `key=value`. */
  set?: readonly string[];
  signal?: AbortSignal;
  /** Told every line; default: standard error. */
  say?: (line: string) => void;
}

export interface DemoResult {
  /** Accepted lengths by drafter and domain, as text. */
  table: string;
  evaluations: { drafter: string; document: EvaluationDocument }[];
}

const domains = ['maths', 'code', 'stories'] as const;
const titles: Partial<Record<ObjectiveName, string>> = {
  uniform: 'uniform cross-entropy',
  paper: 'the three losses',
  'paper-warmed': 'the three losses, chain warmed in',
  best: 'the best recipe',
};

/** Runs the demo; TensorFlow must be loaded. Undefined where `signal` stopped it. Throws UserError as `train`, `evaluate` and `export` do. */
export async function runDemo(options: DemoOptions): Promise<DemoResult | undefined> {
  const { out, objectives, signal, say = (line) => console.error(line) } = options;
  const started = performance.now();
  const stages = 2 * objectives.length + 3;
  let stage = 0;
  const announce = (text: string): void => say(`\n[${++stage}/${stages}] ${text} (${formatDuration(performance.now() - started)} so far)`);
  await mkdir(out, { recursive: true });
  const drafters: { name: string; title: string; folder: string }[] = [];
  let config: Config | undefined;
  for (const objective of objectives) {
    announce(`${stage === 0 ? 'The target answers the training prompts, then a' : 'A'} drafter is trained: ${titles[objective] ?? objective}`);
    config = await demoConfig(options, objective);
    const result = await trainOne(config, signal, say);
    if (!result.finished) return undefined;
    drafters.push({ name: objective, title: titles[objective] ?? objective, folder: result.lastDrafter });
  }
  const last = drafters.at(-1)!;
  const shipped = await findDrafter('demo');
  drafters.push({ name: 'shipped', title: 'trained long (see below)', folder: shipped.drafterFolder });
  drafters.unshift({ name: 'untrained', title: 'untrained', folder: await saveUntrained(out, drafters[0]!.folder, config!.training.seed) });
  const evaluations: DemoResult['evaluations'] = [];
  for (const { name, title, folder } of drafters) {
    if (signal?.aborted === true) return undefined;
    announce(`Held-out prompts are decoded: ${title}`);
    const progress = createProgress({ label: 'prompt' });
    const document = await evaluateDrafter({
      drafter: folder,
      target: 'demo',
      sets: domains.map((domain) => ({ name: domain, file: join(packageRoot(), 'data/demo-prompts', `${domain}.jsonl`) })),
      limit: options.promptsPerDomain,
      maxNewTokens: options.maxNewTokens,
      json: join(out, `evaluation-${name}.json`),
      onProgress: ({ done, total, acceptedLength }) => progress.update({ done, total, figures: [`accepted ${acceptedLength.toFixed(2)}`] }),
    }).finally(() => progress.finish());
    evaluations.push({ drafter: title, document });
  }
  announce(`A drafter is exported, read back and compared: ${last.title}`);
  await exportDrafter({ source: last.folder, out: join(out, 'drafter'), target: 'demo', evaluation: join(out, `evaluation-${last.name}.json`), say });
  const { source } = JSON.parse(await readFile(join(shipped.drafterFolder, 'draftalign.json'), 'utf8')) as ExportRecord;
  const note = `The last row is the drafter that comes with draftalign (--drafter demo): the best recipe for ${source.step} steps, on greedy answers to more prompts.`;
  return { table: `${formatTable(evaluations, config!.training.steps!)}\n\n${note}`, evaluations };
}

async function demoConfig({ out, steps, objectives, set: overrides = [] }: DemoOptions, objective: ObjectiveName): Promise<Config> {
  const set = [
    `losses=${objective}`,
    `output.folder=${JSON.stringify(join(out, objective))}`,
    `capture.folder=${JSON.stringify(join(out, 'cache'))}`,
    // One cache serves all: with log-probabilities where any of them distils.
    ...(objectives.some((name) => distils.has(name)) ? [] : ['capture.topLogProbs=0']),
    ...(steps === undefined ? [] : [`training.steps=${steps}`]),
    ...overrides,
  ];
  return loadConfig(join(packageRoot(), 'configs/demo.yaml'), { set });
}

const distils: ReadonlySet<ObjectiveName> = new Set<ObjectiveName>(['kl', 'kl-dpace', 'best']);

async function trainOne(config: Config, signal: AbortSignal | undefined, say: (line: string) => void): Promise<TrainResult> {
  const folder = config.output.folder!;
  const progress = createProgress({ label: 'step' });
  try {
    return await train(config, {
      resume: existsSync(runPaths(folder).config),
      ...(signal && { signal }),
      say: (line) => progress.say(line),
      onProgress: ({ step, totalSteps, loss, acceptedLength, blocksPerSecond }) =>
        progress.update({ done: step, total: totalSteps, figures: [`loss ${loss.toFixed(3)}`, `accepted ${acceptedLength.toFixed(2)}`, `${Math.round(blocksPerSecond)} blocks/s`] }),
    });
  } finally {
    progress.finish();
    say(`the run is in ${folder}`);
  }
}

/** The drafter that every objective started from. */
async function saveUntrained(out: string, trained: string, seed: number): Promise<string> {
  const folder = join(out, 'untrained');
  const { config, dispose } = await loadDrafter(trained);
  dispose();
  const weights = initDrafterWeights(config, seed);
  await saveDrafter(folder, config, weights, { dtype: 'F32', extra: { target: 'demo' } });
  tf.dispose(weights);
  return folder;
}

function formatTable(evaluations: DemoResult['evaluations'], steps: number): string {
  const first = evaluations[0]!.document;
  const names = first.sets.map(({ name }) => name);
  const cell = ({ acceptedLength, acceptedLengthInterval: interval }: EvaluationDocument['totals']): string =>
    `${acceptedLength.toFixed(2)}${interval === null ? '' : ` (${interval.low.toFixed(2)}-${interval.high.toFixed(2)})`}`;
  const percent = (share: number | null): string => (share === null ? '-' : `${(100 * share).toFixed(0)}%`);
  const rows = evaluations.map(({ drafter, document: { sets, totals } }) => [
    drafter,
    ...sets.map((set) => cell(set.totals)),
    cell(totals),
    percent(totals.waste),
    totals.speedup === null ? '-' : `${totals.speedup.toFixed(2)}x`,
    totals.identical === true ? 'yes' : 'NO',
  ]);
  return [
    `Accepted length, tokens a target pass (95% interval over prompts): decoded greedily, ${first.totals.prompts} held-out prompts, ${steps} steps each`,
    '',
    ...formatColumns([['drafter', ...names, 'all', 'waste', 'speed-up', 'identical'], ...rows]),
  ].join('\n');
}
