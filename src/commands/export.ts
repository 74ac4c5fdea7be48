// `draftalign export`: a run's drafter becomes a folder that engines load, with a model card and its provenance.
import type { CommandModule } from 'yargs';
import type { ExportRecord } from '../reports/export-record.js';
import type { ExportOptions } from './export-drafter.js';

interface ExportArguments {
  source: string;
  out: string;
  checkpoint: 'best' | 'last';
  format: 'dflash' | 'speculators';
  dtype: NonNullable<ExportOptions['dtype']>;
  target?: string;
  evaluation?: string;
  verify: boolean;
}

export const exportCommand: CommandModule<object, ExportArguments> = {
  command: 'export <source>',
  describe: 'Write a drafter as a folder that vLLM, SGLang and others load',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 export RUN|CHECKPOINT --out DIR\n\nWrites config.json, model.safetensors, a model card (README.md) and draftalign.json (provenance). Then reads them back, ' +
          'runs the written drafter beside the one in memory, compares outputs and decoded accepted lengths, and refuses to finish where ' +
          'they differ by more than rounding to the stored type explains.',
      )
      .positional('source', { type: 'string', demandOption: true, describe: 'Run folder, checkpoint, or any drafter folder' })
      .option('out', { type: 'string', demandOption: true, requiresArg: true, describe: 'Folder to write; an earlier export in it is replaced' })
      .option('checkpoint', { choices: ['best', 'last'] as const, default: 'best' as const, describe: "Which of a run's checkpoints" })
      .option('format', { choices: ['dflash', 'speculators'] as const, default: 'dflash' as const, describe: 'dflash: vLLM, SGLang, llama.cpp, the reference. speculators: vLLM\'s library of that name' })
      .option('dtype', { choices: ['bfloat16', 'float16', 'float32'] as const, default: 'bfloat16' as const, describe: 'Type of the stored weights' })
      .option('target', { type: 'string', requiresArg: true, describe: "The target, a folder or Hugging Face id; default: the run's" })
      .option('evaluation', { type: 'string', requiresArg: true, describe: 'File of `draftalign evaluate --json`, for the model card' })
      .option('verify', { type: 'boolean', default: true, describe: 'Read back and compare; --no-verify leaves it out' })
      .example('$0 export runs/demo --out drafter', 'the best checkpoint, bfloat16')
      .example('$0 export runs/demo --out drafter --evaluation evaluation.json', 'with measured accepted lengths in the model card'),
  async handler(args) {
    const { loadTensorflow } = await import('../tensorflow/load.js');
    const { exportDrafter } = await import('./export-drafter.js');
    await loadTensorflow();
    const record = await exportDrafter({ ...args, say: (line) => console.error(line) });
    console.log(describeResult(args.out, record));
  },
};

function describeResult(out: string, record: ExportRecord): string {
  const { drafter, verification } = record;
  const decoding = verification?.decoding;
  return [
    `exported to ${out}: ${drafter.format} format, ${drafter.dtype}, ${(drafter.parameters / 1e6).toFixed(2)} million parameters`,
    verification === null
      ? '  not verified'
      : `  verified: outputs differ by ${verification.outputDifference.toRounded.toExponential(1)} after rounding, ${verification.outputDifference.toFloat32.toExponential(1)} from float32`,
    ...(decoding == null
      ? []
      : [`  decoded ${decoding.texts} texts, ${decoding.rounds} rounds: accepted length ${decoding.acceptedLength.toFixed(3)}, from float32 weights ${decoding.acceptedLengthFloat32.toFixed(3)}`]),
  ].join('\n');
}
