// `draftalign demo`: the whole story on the built-in target. Objectives are trained at equal data, order, initial weights and steps, then
// decoded for real on held-out prompts of every domain, and the last one's drafter is exported.
import { join } from 'node:path';
import type { Argv, CommandModule } from 'yargs';
import { namedObjectives, type ObjectiveName } from '../config/losses.js';

interface DemoArguments {
  out: string;
  steps?: number;
  objectives: string;
  set: string[];
  'prompts-per-domain': number;
  'max-new-tokens': number;
  threads?: number;
}

export const demoCommand: CommandModule<object, DemoArguments> = {
  command: 'demo',
  describe: 'Train, evaluate and export a drafter for the target that comes with draftalign',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 demo\n\nCaptures the built-in target, trains one drafter for each objective at equal steps (configs/demo.yaml), decodes held-out prompts with each and with an untrained one, and exports the last. An interrupted demo goes on where it stopped.',
      )
      .option('out', { type: 'string', default: 'runs/demo', requiresArg: true, describe: 'Folder of everything it writes' })
      .option('steps', { type: 'number', requiresArg: true, describe: "Training steps of each objective; default: the config's" })
      .option('objectives', { type: 'string', default: 'uniform,paper,best', requiresArg: true, describe: `Objectives to compare, the last of which is exported: ${Object.keys(namedObjectives).join(', ')}` })
      .option('set', { type: 'string', array: true, nargs: 1, default: [], describe: 'Override one value of configs/demo.yaml, such as drafter.layers=3 (repeatable)' })
      .option('prompts-per-domain', { type: 'number', default: 20, requiresArg: true, describe: 'Held-out prompts of each domain, 80 at most' })
      .option('max-new-tokens', { type: 'number', default: 128, requiresArg: true, describe: 'New tokens of a text at most' })
      .option('threads', { type: 'number', requiresArg: true, describe: 'Threads of TensorFlow; default all cores' }) as Argv<DemoArguments>,
  async handler(args) {
    const { loadTensorflow } = await import('../tensorflow/load.js');
    const { runDemo } = await import('./demo-run.js');
    const { withInterrupt } = await import('./interrupt.js');
    const { UserError } = await import('../errors.js');
    const objectives = args.objectives.split(',').map((name) => name.trim());
    const unknown = objectives.filter((name) => !(name in namedObjectives));
    if (unknown.length > 0) throw new UserError(`--objectives names ${unknown.join(', ')}; there are ${Object.keys(namedObjectives).join(', ')}.`);
    await loadTensorflow({ halves: true, ...(args.threads !== undefined && { threads: args.threads }) });
    const result = await withInterrupt((signal) =>
      runDemo({
        out: args.out,
        steps: args.steps,
        objectives: objectives as ObjectiveName[],
        promptsPerDomain: args['prompts-per-domain'],
        set: args.set,
        maxNewTokens: args['max-new-tokens'],
        signal,
      }),
    );
    if (result === undefined) {
      console.error('stopped; the same command goes on from here');
      process.exitCode = 130;
      return;
    }
    console.log(`\n${result.table}\n`);
    const folder = join(args.out, 'drafter');
    console.log(`The exported drafter is in ${folder}. See it at work:`);
    console.log(`  npx draftalign generate --target demo --drafter ${folder} --mark brackets --prompt "Tell me a short story about a brave fox."`);
  },
};
