// `draftalign ablate`: a grid of objectives, seeds and lengths, trained on one cache and decoded for real.
import { join } from 'node:path';
import type { CommandModule } from 'yargs';
import { loadStudy, type Study } from '../ablation/study-config.js';
import { planStudy } from '../ablation/study-plan.js';
import { packageVersion } from '../package-root.js';
import { createProgress } from '../reports/progress.js';
import { formatStudyTable } from '../reports/study-table.js';
import { loadTensorflow } from '../tensorflow/load.js';
import { withInterrupt } from './interrupt.js';
import { loadOptionsOf } from './load-options.js';

interface AblateArguments {
  config: string;
  set: string[];
  out?: string;
  threads?: number;
  plan: boolean;
}

export const ablateCommand: CommandModule<object, AblateArguments> = {
  command: 'ablate',
  describe: 'Compare objectives on your target: train each, decode for real, with intervals',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 ablate --config FILE\n\nTrains every objective of a study at every seed and length, with equal data, order, initial weights and steps, and\n' +
          'decodes held-out prompts with each drafter. Writes one study folder (docs/study-json.md); `draftalign report` makes\n' +
          'a page of it.\n\nCtrl-C saves; the same command goes on where it stopped, and finished parts are never done again. Several\n' +
          'processes with the same command share the work.',
      )
      .option('config', { type: 'string', demandOption: true, describe: 'YAML file of the study; configs/study-schema.json describes it', requiresArg: true })
      .option('set', { type: 'string', array: true, nargs: 1, default: [], describe: 'Override one value, such as base.training.steps=500 (repeatable; values are YAML)' })
      .option('out', { type: 'string', describe: 'Study folder; default `folder` in the config, or studies/ and the config\'s name', requiresArg: true })
      .option('threads', { type: 'number', describe: 'Threads of TensorFlow; default all cores' })
      .option('plan', { type: 'boolean', default: false, describe: 'Print what would be trained and decoded, and stop' })
      .example('$0 ablate --config configs/ablation-demo.yaml', 'the built-in target')
      .example('$0 ablate --config configs/ablation-stories.yaml --set base.target=models/stories-260K', 'a checkpoint of your own'),
  async handler(args) {
    const study = await loadStudy(args.config, { set: [...args.set, ...(args.out === undefined ? [] : [`folder=${JSON.stringify(args.out)}`])] });
    if (args.plan) {
      console.log(describeStudy(study));
      return;
    }
    const { training } = study.variants[0]!.config;
    await loadTensorflow(loadOptionsOf({ ...training, threads: args.threads ?? training.threads }));
    const { runStudy } = await import('../ablation/run-study.js');
    const outcome = await withInterrupt(async (signal) => {
      const progress = createProgress({ label: 'step' });
      try {
        return await runStudy(study, {
          draftalignVersion: packageVersion(),
          signal,
          say: (message) => progress.say(message),
          onProgress: ({ done, total, cell, steps, totalSteps }) => progress.update({ done: steps, total: totalSteps, figures: [`cell ${done + 1} of ${total}`, cell] }),
        });
      } finally {
        progress.finish();
      }
    }, 'saving the run in progress');
    console.log(formatStudyTable(outcome.document));
    const { cellsDone, cellsTotal } = outcome.document;
    if (outcome.finished) {
      console.log(`\nall ${cellsTotal} cells: ${join(study.folder, 'study.json')}\n  next: draftalign report ${study.folder}`);
      return;
    }
    console.log(`\n${cellsDone} of ${cellsTotal} cells are finished${outcome.elsewhere > 0 ? `; another process is at ${outcome.elsewhere} of them` : ''}; the same command goes on`);
    process.exitCode = 130;
  },
};

function describeStudy(study: Study): string {
  const { cells } = planStudy(study);
  const trainings = new Map(cells.map(({ training }) => [training.name, training]));
  const steps = [...trainings.values()].reduce((sum, training) => sum + training.steps, 0);
  const groups = [...new Set(study.variants.map(({ group }) => group))];
  return [
    ...groups.map((group) => `${group}: ${study.variants.filter((variant) => variant.group === group).map(({ label }) => label).join(', ')}`),
    `seeds ${study.seeds.join(', ')}; budgets ${study.budgets.join(', ')} steps`,
    `${trainings.size} trainings, ${steps} steps in all; ${cells.length} decodings of ${study.decoding.limit} prompts at most in each of ${Object.keys(study.decoding.prompts).join(', ')}`,
    `study folder ${study.folder}`,
  ].join('\n');
}
