// `draftalign capture`: the frozen target's features over token sequences, as an Arrow cache.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Argv, CommandModule } from 'yargs';
import { verifyCache } from '../../data/arrow-cache.js';
import type { Tokenizer } from '../../data/tokenizer.js';
import { UserError } from '../errors.js';
import type { CaptureProgress } from '../training/capture.js';
import { formatSeconds, parsePart } from '../training/capture-plan.js';

interface CaptureArguments {
  target?: string;
  tokens?: string;
  out: string;
  taps?: string;
  'top-k': number;
  dtype: 'float16' | 'float32';
  regenerate: boolean;
  temperature: number;
  'top-p': number;
  'max-new-tokens': number;
  seed: number;
  'batch-size': number;
  'max-length'?: number;
  'max-rows'?: number;
  part?: string;
  verify: boolean;
  threads?: number;
}

export const captureCommand: CommandModule<object, CaptureArguments> = {
  command: 'capture',
  describe: "Run the frozen target over token sequences and store its features in an Arrow cache",
  builder: (yargs) =>
    yargs
      .option('target', { type: 'string', describe: 'The target: a Transformers folder, a Hugging Face id, or demo' })
      .option('tokens', { type: 'string', describe: 'Folder of token sequences made by `draftalign prepare`' })
      .option('out', { type: 'string', demandOption: true, describe: 'Folder of the cache' })
      .option('taps', { type: 'string', describe: 'Target layers whose outputs are stored, such as 1,8,14; or how many to spread evenly (default: as `train` would)' })
      .option('top-k', { type: 'number', default: 32, describe: 'Log-probabilities stored a position, for losses that distil; 0 stores none' })
      .option('dtype', { choices: ['float16', 'float32'] as const, default: 'float16' as const, describe: 'How features are stored' })
      .option('regenerate', { type: 'boolean', default: false, describe: 'Let the target write the answers; drafters trained on them are accepted longer' })
      .option('temperature', { type: 'number', default: 0, describe: 'With --regenerate: 0 is greedy' })
      .option('top-p', { type: 'number', default: 1, describe: 'With --regenerate: nucleus sampling; 1 keeps all tokens' })
      .option('max-new-tokens', { type: 'number', default: 512, describe: 'With --regenerate: tokens of an answer at most' })
      .option('seed', { type: 'number', default: 0, describe: 'With --regenerate: decides what is drawn, row by row' })
      .option('batch-size', { type: 'number', default: 8, describe: 'Sequences in one forward pass' })
      .option('max-length', { type: 'number', describe: "Longer sequences are cut (default: the target's positions)" })
      .option('max-rows', { type: 'number', describe: 'Sequences to capture at most' })
      .option('part', { type: 'string', describe: 'Capture part i of n, such as 1/8; all parts fill one folder' })
      .option('verify', { type: 'boolean', default: false, describe: 'Re-read the cache and check hashes and values, after capturing or (without --tokens) alone' })
      .option('threads', { type: 'number', describe: 'Threads of TensorFlow (default: all cores)' })
      .example('$0 capture --target demo --tokens tokens --out cache', 'The features of given text')
      .example('$0 capture --target demo --tokens tokens --out cache --regenerate --temperature 0.7', "The features of the target's own answers")
      .example('$0 capture --target models/llama --tokens tokens --out /shared/cache --part $((SLURM_ARRAY_TASK_ID + 1))/16', 'One of 16 machines that fill one cache')
      .example('$0 capture --out cache --verify', 'Check a cache')
      .epilogue(
        'Says first how much disk and time it takes. After an interruption, the same command goes on behind the last finished shard. ' +
          'docs/arrow-cache.md specifies the files. Next: `draftalign train` with data.cache.',
      ) as Argv<CaptureArguments>,
  handler: async (argv) => {
    if (argv.tokens === undefined || argv.target === undefined) {
      if (!argv.verify) throw new UserError('name --target and --tokens to capture, or --verify to check the cache in --out');
    } else if (!(await capture(argv as CaptureArguments & { target: string; tokens: string }))) return;
    if (argv.verify) await verify(argv.out);
  },
};

/** Captures; false where it was interrupted. */
async function capture(argv: CaptureArguments & { target: string; tokens: string }): Promise<boolean> {
  const part = argv.part === undefined ? undefined : parsePart(argv.part);
  // Loaded here, so that --help and --verify need no TensorFlow.
  const { loadTensorflow } = await import('../tensorflow/load.js');
  await loadTensorflow({ threads: argv.threads, halves: true });
  const { resolveModelFolder } = await import('../models/hub.js');
  const { loadTarget } = await import('../models/target-checkpoint.js');
  const { captureCache } = await import('../training/capture.js');
  const { defaultTaps } = await import('../models/drafter-config.js');
  const { createAnswerGenerator } = await import('../decoding/target-generation.js');
  const { withInterrupt } = await import('./interrupt.js');
  const folder = await resolveModelFolder(argv.target);
  const tokenizer = await findTokenizer(folder);
  const target = await loadTarget(folder);
  const stopIds = [...new Set([...target.config.eosTokenIds, ...(tokenizer?.specialIds.stop ?? [])])];
  const sampling = { temperature: argv.temperature, topP: argv['top-p'], topK: 0 };
  const generator = argv.regenerate ? createAnswerGenerator(target, { sampling, stopIds, batchSize: argv['batch-size'] }) : undefined;
  try {
    const result = await withInterrupt((signal) => captureCache(
      {
        target,
        tokens: argv.tokens,
        out: argv.out,
        taps: readTaps(argv.taps, target.config.numLayers, defaultTaps),
        featureType: argv.dtype,
        topk: argv['top-k'],
        batchSize: argv['batch-size'],
        maxLength: argv['max-length'],
        maxRows: argv['max-rows'],
        part,
        signal,
        say: console.log,
        tokenizerFingerprint: tokenizer?.fingerprint,
        ...(generator && {
          generate: { maxNewTokens: argv['max-new-tokens'], temperature: argv.temperature, topP: argv['top-p'], seed: argv.seed },
          generateAnswers: (requests) => generator.generate(requests),
        }),
      },
      showProgress,
    ), 'stopping after the rows in progress');
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    for (const { row, reason } of result.skipped.slice(0, 10)) console.log(`left out: row ${row}: ${reason}`);
    if (result.skipped.length > 10) console.log(`left out: ${result.skipped.length} rows altogether`);
    if (result.finished) console.log(`${result.rows} rows in ${argv.out}`);
    else {
      console.log(`stopped; ${result.rows} rows are kept. Run the same command again to go on.`);
      process.exitCode = 130;
    }
    return result.finished;
  } finally {
    generator?.dispose();
    target.dispose();
  }
}

function readTaps(text: string | undefined, layers: number, spread: (count: number, layers: number) => number[]): number[] {
  if (text === undefined) return spread(Math.min(5, Math.max(1, layers - 3)), layers);
  const numbers = text.split(',').map((part) => Number(part.trim()));
  if (numbers.some((number) => !Number.isInteger(number) || number < 0)) throw new UserError(`--taps is ${text}; expected layer numbers such as 1,8,14, or one number: how many to spread evenly`);
  return numbers.length === 1 && !text.includes(',') ? spread(numbers[0]!, layers) : numbers;
}

/** The tokenizer, where the target's folder has one; a target without is captured from token ids alone. */
async function findTokenizer(folder: string): Promise<Tokenizer | undefined> {
  const { loadTokenizer } = await import('../../data/tokenizer.js');
  return existsSync(join(folder, 'tokenizer.json')) ? loadTokenizer(folder) : undefined;
}

let lastShown = 0;

function showProgress({ rows, totalRows, tokensPerSecond, secondsLeft }: CaptureProgress): void {
  const now = performance.now();
  // A terminal is refreshed often, a log gets a line a minute.
  if (now - lastShown < (process.stderr.isTTY ? 200 : 60_000)) return;
  lastShown = now;
  const line = `${rows} of ${totalRows} rows, ${tokensPerSecond.toFixed(0)} tokens/s, ${formatSeconds(secondsLeft)} left`;
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${line}` : `${line}\n`);
}

async function verify(folder: string): Promise<void> {
  const problems = await verifyCache(folder, (file, found) => console.log(`${found.length === 0 ? 'ok     ' : 'BROKEN '} ${file}`));
  if (problems.length > 0) throw new UserError(`the cache is damaged:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
  console.log(`${folder} is sound`);
}
