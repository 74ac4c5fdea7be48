// The command line: one file a command in src/commands/, listed here.
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { ablateCommand } from './commands/ablate.js';
import { captureCommand } from './commands/capture.js';
import { demoCommand } from './commands/demo.js';
import { doctorCommand } from './commands/doctor.js';
import { evaluateCommand } from './commands/evaluate.js';
import { exportCommand } from './commands/export.js';
import { generateCommand } from './commands/generate.js';
import { prepareCommand } from './commands/prepare.js';
import { pushCommand } from './commands/push.js';
import { reportCommand } from './commands/report.js';
import { setupCommand } from './commands/setup.js';
import { trainCommand } from './commands/train.js';
import { explain } from './errors.js';

// A reader that went away (`| head -1`, a closed terminal) is no reason to end a run that takes days.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
  });
}

const cli = yargs(hideBin(process.argv))
  .scriptName('draftalign')
  .usage('$0 <command>\n\nTrains block-diffusion drafters that autoregressive verifiers accept.')
  .command(demoCommand)
  .command(doctorCommand)
  .command(setupCommand)
  .command(prepareCommand)
  .command(captureCommand)
  .command(trainCommand)
  .command(evaluateCommand)
  .command(generateCommand)
  .command(ablateCommand)
  .command(reportCommand)
  .command(exportCommand)
  .command(pushCommand)
  .demandCommand(1, 'Name a command; `draftalign --help` lists them.')
  .strictCommands()
  .strict()
  .recommendCommands()
  .wrap(Math.min(110, process.stdout.columns ?? 110))
  .fail((message, error, parser) => {
    if (error) console.error(explain(error));
    else console.error(`${parser.help()}\n\ndraftalign: ${message}`);
    process.exit(1);
  });

await cli.parseAsync();
