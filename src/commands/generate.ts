// `draftalign generate`: one prompt, decoded speculatively and written as it comes, with the accepted drafts marked.
import { readFileSync } from 'node:fs';
import type { Argv, CommandModule } from 'yargs';
import type { Verifier } from '../decoding/decode.js';
import { decodingLoadOptions, loadDecodingModels, roomForPrompts, samplingOf, samplingOptions } from './decoding-models.js';

interface GenerateArguments {
  drafter: string;
  target?: string;
  checkpoint: 'best' | 'last';
  prompt: string;
  'max-new-tokens': number;
  temperature: number;
  'top-k': number;
  'top-p': number;
  verifier: Verifier;
  'tree-nodes': number;
  'block-size'?: number;
  seed: number;
  'prompt-format': 'auto' | 'chat' | 'raw';
  mark?: 'colour' | 'brackets' | 'none';
  threads?: number;
}

export const generateCommand: CommandModule<object, GenerateArguments> = {
  command: 'generate',
  describe: 'Write an answer, showing which tokens were accepted drafts',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 generate --drafter RUN|DIR --prompt TEXT\n\nDecodes one prompt speculatively and writes the answer as it comes. Accepted drafts are marked: what is unmarked, the target had to write itself.',
      )
      .option('drafter', { type: 'string', demandOption: true, requiresArg: true, describe: 'Run folder, checkpoint, drafter folder, or demo' })
      .option('target', { type: 'string', requiresArg: true, describe: "Folder or Hugging Face id; default: the run's" })
      .option('checkpoint', { choices: ['best', 'last'] as const, default: 'best' as const, describe: "Which of a run's checkpoints" })
      .option('prompt', { type: 'string', demandOption: true, requiresArg: true, describe: 'The prompt; - reads it from standard input' })
      .option('max-new-tokens', { type: 'number', default: 256, requiresArg: true, describe: 'New tokens at most' })
      .options(samplingOptions)
      .option('tree-nodes', { type: 'number', default: 0, requiresArg: true, describe: 'Draft a tree of this many nodes from each drafter pass; 0 drafts one chain' })
      .option('block-size', { type: 'number', requiresArg: true, describe: 'Slots of a block at inference; default: as trained' })
      .option('prompt-format', { choices: ['auto', 'chat', 'raw'] as const, default: 'auto' as const, describe: 'auto: the chat template when the tokenizer has one' })
      .option('mark', { choices: ['colour', 'brackets', 'none'] as const, describe: 'How accepted drafts are marked; default: colour on a terminal, else none' })
      .option('threads', { type: 'number', requiresArg: true, describe: 'Threads of TensorFlow; default all cores, or one for a target of less than 32 MiB' })
      .example('$0 generate --drafter demo --prompt "Tell me a short story about a brave fox."', 'with what comes with draftalign') as Argv<GenerateArguments>,
  async handler(args) {
    const { loadTensorflow } = await import('../tensorflow/load.js');
    const { createModelSteps } = await import('../decoding/model-steps.js');
    const { decodeSpeculative } = await import('../decoding/decode.js');
    const { encodePromptSet } = await import('../decoding/prompt-encoding.js');
    const { markedTextWriter } = await import('../reports/marked-text.js');
    const { UserError } = await import('../errors.js');
    const prompt = args.prompt === '-' ? readFileSync(0, 'utf8') : args.prompt;
    if (prompt.trim() === '') throw new UserError('the prompt is empty.');
    await loadTensorflow(await decodingLoadOptions(args, args.threads));
    const models = await loadDecodingModels(args, (line) => console.error(line));
    const { target, drafter, tokenizer, stopTokens } = models;
    if (tokenizer === undefined) throw new UserError(`${target.folder} has no tokenizer.json, so the prompt cannot be tokenized.`);
    const maxNewTokens = args['max-new-tokens'];
    const treeNodes = args['tree-nodes'];
    const set = encodePromptSet('prompt', [{ id: '1', turns: [prompt] }], tokenizer, { format: args['prompt-format'], maxPromptTokens: roomForPrompts(target, maxNewTokens) });
    const promptIds = set.prompts[0]!.encode([]);
    const blockSize = args['block-size'] ?? drafter.config.blockSize;
    const steps = createModelSteps({ target, drafter, capacity: promptIds.length + maxNewTokens + Math.max(blockSize, treeNodes + 1), blockSize, treeNodes });
    const writer = markedTextWriter((ids) => tokenizer.decode(ids, { skipSpecialTokens: true }), (text) => process.stdout.write(text), args.mark ?? (process.stdout.isTTY ? 'colour' : 'none'));
    const decoded = decodeSpeculative(steps, promptIds, {
      maxNewTokens,
      stopTokens: new Set(stopTokens),
      sampling: samplingOf(args),
      verifier: args.verifier,
      treeNodes,
      seed: [args.seed],
      onCommit: (tokens, acceptedDrafts) => writer.write(tokens, acceptedDrafts),
    });
    writer.end();
    const { rounds, outputIds, times } = decoded;
    const mean = rounds.reduce((sum, { accepted }) => sum + accepted, 0) / Math.max(1, rounds.length);
    console.error(
      `\n${outputIds.length} tokens in ${rounds.length} rounds, accepted length ${mean.toFixed(2)}, ${((1000 * outputIds.length) / times.decodeMs).toFixed(0)} tokens/s` +
        (decoded.stopped ? '' : ` (ended by --max-new-tokens ${maxNewTokens})`),
    );
    steps.dispose();
    models.dispose();
  },
};
