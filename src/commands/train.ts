// `draftalign train`: a config becomes a run folder with a trained drafter.
import { join } from 'node:path';
import type { CommandModule } from 'yargs';
import { loadConfig, type Config } from '../config/load.js';
import { UserError } from '../errors.js';
import { createProgress } from '../reports/progress.js';
import { loadTensorflow } from '../tensorflow/load.js';
import { describePlan, planRun } from '../training/estimate.js';
import { readRunConfig } from '../training/run-folder.js';
import { withInterrupt } from './interrupt.js';
import { loadOptionsOf } from './load-options.js';
import { train, type TrainProgress, type TrainResult } from '../training/trainer.js';

interface TrainArguments {
  config?: string;
  set: string[];
  run?: string;
  resume: boolean;
  plan: boolean;
  'init-from'?: string;
  threads?: number;
  eager: boolean;
}

export const trainCommand: CommandModule<object, TrainArguments> = {
  command: 'train',
  describe: 'Train a drafter for a target, as a config says',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 train --config FILE\n\nTrains a drafter and writes a run folder: resolved config, metrics.jsonl, TensorBoard events, a log, and ' +
          'checkpoints (the last two and the best by held-out accepted length). Where the config names prompts or ' +
          'tokens but no cache, the target\'s features are captured first.\n\n' +
          'Ctrl-C saves a checkpoint and stops; a second one stops at once.',
      )
      .option('config', { type: 'string', describe: 'YAML file of the run; configs/schema.json describes it', requiresArg: true })
      .option('set', { type: 'string', array: true, nargs: 1, default: [], describe: 'Override one value, such as training.steps=500 (repeatable; values are YAML)' })
      .option('run', { type: 'string', describe: 'Run folder; default output.folder, or runs/ and the config\'s name', requiresArg: true })
      .option('resume', { type: 'boolean', default: false, describe: 'Go on with the run in that folder; --config may then be left out' })
      .option('plan', { type: 'boolean', default: false, describe: 'Print parameters, memory, disk and time, and stop' })
      .option('init-from', { type: 'string', describe: 'Start from the weights of a drafter folder', requiresArg: true })
      .option('threads', { type: 'number', describe: 'Threads of TensorFlow; default all cores' })
      .option('eager', { type: 'boolean', default: false, describe: 'Run every operation by itself instead of one recorded graph' })
      .example('$0 train --config configs/demo.yaml', 'train on the built-in target')
      .example('$0 train --config configs/demo.yaml --set losses=uniform --run runs/uniform', 'with another objective')
      .example('$0 train --resume --run runs/demo', 'go on after an interruption'),
  async handler(args) {
    const config = await readConfig(args);
    await loadTensorflow(loadOptionsOf(config.training));
    if (args.plan) {
      console.log(describePlan(await planRun(config)));
      return;
    }
    const result = await withInterrupt((signal) => runWithProgress(config, args.resume, signal));
    console.log(describeResult(result));
    if (!result.finished) process.exitCode = 130;
  },
};

async function readConfig(args: TrainArguments): Promise<Config> {
  const quote = (value: string) => JSON.stringify(value);
  const set = [
    ...args.set,
    ...(args.run === undefined ? [] : [`output.folder=${quote(args.run)}`]),
    ...(args['init-from'] === undefined ? [] : [`drafter.initFrom=${quote(args['init-from'])}`]),
    ...(args.threads === undefined ? [] : [`training.threads=${args.threads}`]),
    ...(args.eager ? ['training.eager=true'] : []),
  ];
  if (args.config !== undefined) return loadConfig(args.config, { set });
  if (!args.resume || args.run === undefined) throw new UserError('name a config by --config FILE, or a run to go on with by --resume --run FOLDER.');
  return readRunConfig(args.run, set);
}

async function runWithProgress(config: Config, resume: boolean, signal: AbortSignal): Promise<TrainResult> {
  const progress = createProgress({ label: 'step' });
  try {
    return await train(config, {
      resume,
      signal,
      say: (message) => progress.say(message),
      onProgress: (state) => progress.update({ done: state.step, total: state.totalSteps, figures: figuresOf(state) }),
    });
  } finally {
    progress.finish();
  }
}

function figuresOf({ loss, acceptedLength, blocksPerSecond, validation }: TrainProgress): string[] {
  const heldOut = validation === undefined ? [] : [`held-out ${validation.acceptance.acceptedLength.toFixed(2)}`];
  return [`loss ${loss.toFixed(3)}`, `accepted ${acceptedLength.toFixed(2)}`, ...heldOut, `${Math.round(blocksPerSecond)} blocks/s`];
}

function describeResult(result: TrainResult): string {
  if (!result.finished) {
    return `stopped at step ${result.step} of ${result.totalSteps}; go on with\n  draftalign train --resume --run ${result.runFolder}`;
  }
  const { validation } = result.finalMetrics;
  const figures = validation === null ? '' : `, held-out accepted length ${validation.acceptance.acceptedLength.toFixed(3)}`;
  return [
    `trained ${result.totalSteps} steps${figures}`,
    `  best drafter: ${result.bestDrafter}`,
    `  next: draftalign evaluate, or draftalign export ${result.runFolder} --out ${join(result.runFolder, 'export')}`,
  ].join('\n');
}
