// `draftalign evaluate`: real speculative decoding over prompt sets, the target alone beside it, a table and a JSON document.
import type { Argv, CommandModule } from 'yargs';
import type { Verifier } from '../decoding/decode.js';
import type { EvaluateOptions } from './evaluate-drafter.js';
import { decodingLoadOptions, samplingOptions, samplingOf } from './decoding-models.js';
import type { NamedPrompts } from './prompt-sets.js';
import { createProgress } from '../reports/progress.js';

interface EvaluateArguments {
  drafter: string;
  target?: string;
  checkpoint: 'best' | 'last';
  prompts: string[];
  limit?: number;
  'max-prompt-tokens'?: number;
  'max-new-tokens': number;
  temperature: number;
  'top-k': number;
  'top-p': number;
  verifier: Verifier;
  'tree-nodes': number;
  'block-size'?: number;
  seed: number;
  check: boolean;
  'target-alone': boolean;
  'prompt-format': 'auto' | 'chat' | 'raw';
  'ignore-eos': boolean;
  json?: string;
  threads?: number;
  eager: boolean;
}

export const evaluateCommand: CommandModule<object, EvaluateArguments> = {
  command: 'evaluate',
  describe: 'Decode prompts for real and report the accepted length',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 evaluate --drafter RUN|DIR --prompts NAME=FILE\n\nDecodes every prompt with the drafter and once more with the target alone, and prints accepted lengths with 95% intervals over prompts, acceptance slot by slot, waste, speed, and whether the two texts are identical. The accepted length counts tokens a target pass: accepted drafts and the target\'s own token.\n\n' +
          'Prompt files are read as published: GSM8K, MATH-500, HumanEval, MBPP, MT-Bench, Spec-Bench, AIME, LiveCodeBench, Alpaca; rows with prompt, messages, turns or prompt_ids; plain text, one prompt a line; JSON lines, JSON or Parquet. ' +
          'gsm8k, math-500, humaneval, mbpp, mt-bench, aime24 and alpaca by name alone are downloaded from the Hugging Face hub.',
      )
      .option('drafter', { type: 'string', demandOption: true, requiresArg: true, describe: 'Run folder, checkpoint, drafter folder (dflash or speculators format), or demo' })
      .option('target', { type: 'string', requiresArg: true, describe: "Folder or Hugging Face id; default: the run's" })
      .option('checkpoint', { choices: ['best', 'last'] as const, default: 'best' as const, describe: "Which of a run's checkpoints" })
      .option('prompts', { type: 'string', array: true, nargs: 1, demandOption: true, describe: 'A prompt set, NAME=FILE, or the name of a benchmark (repeatable)' })
      .option('limit', { type: 'number', requiresArg: true, describe: 'Prompts of each set at most, from its start' })
      .option('max-prompt-tokens', { type: 'number', requiresArg: true, describe: 'Longer prompts are left out, and counted' })
      .option('max-new-tokens', { type: 'number', default: 256, requiresArg: true, describe: 'New tokens of a text at most' })
      .options(samplingOptions)
      .option('tree-nodes', { type: 'number', default: 0, requiresArg: true, describe: 'Draft a tree of this many nodes from each drafter pass; 0 drafts one chain' })
      .option('block-size', { type: 'number', requiresArg: true, describe: 'Slots of a block at inference; default: as trained, fewer are possible' })
      .option('check', { type: 'boolean', default: false, describe: 'Also simulate every round over the target\'s own text, and fail where anything differs' })
      .option('target-alone', { type: 'boolean', default: true, describe: 'Decode with the target alone too; --no-target-alone saves that time, and gives no speed-up nor identity' })
      .option('prompt-format', { choices: ['auto', 'chat', 'raw'] as const, default: 'auto' as const, describe: 'auto: the chat template when the tokenizer has one' })
      .option('ignore-eos', { type: 'boolean', default: false, describe: 'Decode past tokens that would end the text' })
      .option('json', { type: 'string', requiresArg: true, describe: 'Write everything to this file (docs/evaluate-json.md)' })
      .option('threads', { type: 'number', requiresArg: true, describe: 'Threads of TensorFlow; default all cores, or one for a target of less than 32 MiB' })
      .option('eager', { type: 'boolean', default: false, describe: 'Run every operation by itself instead of recorded graphs' }) as Argv<EvaluateArguments>,
  async handler(args) {
    const { loadTensorflow } = await import('../tensorflow/load.js');
    const { describeMismatches, evaluateDrafter } = await import('./evaluate-drafter.js');
    const { formatEvaluation } = await import('../decoding/evaluation-table.js');
    const { promptsOf } = await import('./prompt-sets.js');
    const sets: NamedPrompts[] = [];
    // One after the other: two downloads into one cache would be in each other's way.
    for (const argument of args.prompts) sets.push(await promptsOf(argument));
    const load = await decodingLoadOptions(args, args.threads);
    await loadTensorflow(load);
    const progress = createProgress({ label: 'prompt' });
    const options: EvaluateOptions = {
      drafter: args.drafter,
      target: args.target,
      checkpoint: args.checkpoint,
      sets,
      limit: args.limit,
      maxPromptTokens: args['max-prompt-tokens'],
      maxNewTokens: args['max-new-tokens'],
      sampling: samplingOf(args),
      verifier: args.verifier,
      treeNodes: args['tree-nodes'],
      blockSize: args['block-size'],
      seed: args.seed,
      check: args.check,
      targetAlone: args['target-alone'],
      promptFormat: args['prompt-format'],
      ignoreEos: args['ignore-eos'],
      json: args.json,
      threads: load.threads,
      eager: args.eager,
      say: (line) => progress.say(line),
      onProgress: ({ done, total, acceptedLength }) => progress.update({ done, total, figures: [`accepted ${acceptedLength.toFixed(2)}`] }),
    };
    const document = await evaluateDrafter(options).finally(() => progress.finish());
    console.log(formatEvaluation(document));
    if (args.json !== undefined) console.log(`\nEverything is in ${args.json}`);
    const { mismatches } = document;
    if (mismatches !== null && mismatches.length > 0) {
      console.error(`\n${describeMismatches(mismatches)}`);
      process.exitCode = 1;
    } else if (args.check) {
      console.log('\nChecked: every text is the target\'s own, and every simulated round is the decoded one.');
    }
  },
};
