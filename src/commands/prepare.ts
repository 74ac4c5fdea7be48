// `draftalign prepare`: conversations, prompts and text become token sequences with a loss mask.
import type { CommandModule } from 'yargs';
import { parseInput, prepareTokens, type PrepareReport } from '../../data/prepare.js';
import { loadTokenizer } from '../../data/tokenizer.js';
import { UserError } from '../errors.js';

interface PrepareArguments {
  target: string;
  input: string[];
  out: string;
  'max-tokens': number;
  'max-rows'?: number;
  'held-out': number;
  'prompt-tokens': number;
  format: 'auto' | 'chat' | 'raw';
  'template-variables'?: string;
  json: boolean;
}

export const prepareCommand: CommandModule<object, PrepareArguments> = {
  command: 'prepare',
  describe: 'Turn conversations, prompts or text into token sequences with a loss mask',
  builder: (yargs) =>
    yargs
      .option('target', { type: 'string', demandOption: true, describe: "Folder with the target's tokenizer (tokenizer.json)" })
      .option('input', { type: 'string', array: true, demandOption: true, describe: 'Files, each FILE or DOMAIN=FILE: JSON lines, JSON, plain text, possibly .gz' })
      .option('out', { type: 'string', demandOption: true, describe: 'Folder to write; held-out rows go to its sub-folder held-out' })
      .option('max-tokens', { type: 'number', default: 2048, describe: 'Tokens of a sequence at most; longer ones are cut' })
      .option('max-rows', { type: 'number', describe: 'Rows to read at most' })
      .option('held-out', { type: 'number', default: 0, describe: 'Share of rows set apart, decided by their content' })
      .option('prompt-tokens', { type: 'number', default: 1, describe: 'Plain text: tokens of each sequence that are prompt' })
      .option('format', { choices: ['auto', 'chat', 'raw'] as const, default: 'auto' as const, describe: 'auto: the chat template when the tokenizer has one' })
      .option('template-variables', { type: 'string', describe: 'More variables for the chat template, as JSON' })
      .option('json', { type: 'boolean', default: false, describe: 'Print the report as JSON' })
      .example('$0 prepare --target models/llama --input chats.jsonl --out tokens', 'Conversations through the chat template; answers are supervised')
      .example('$0 prepare --target demo --input maths=gsm8k.jsonl code=code.jsonl --out tokens --held-out 0.05', 'Two domains, a twentieth set apart')
      .epilogue(
        'Rows may hold messages, conversations (ShareGPT), turns, prompt with completion, instruction with output, question with answer, or text. ' +
          'Rows that cannot be used are listed with line and reason, and in report.json. Next: `draftalign capture`.',
      ),
  handler: async (argv) => {
    // Kept apart from the folder's weights: preparing needs the tokenizer only, and no TensorFlow.
    const folder = await tokenizerFolder(argv.target);
    const tokenizer = await loadTokenizer(folder);
    const report = await prepareTokens(
      {
        tokenizer,
        inputs: argv.input.map(parseInput),
        out: argv.out,
        maxTokens: argv['max-tokens'],
        maxRows: argv['max-rows'],
        heldOut: argv['held-out'],
        promptTokens: argv['prompt-tokens'],
        format: argv.format,
        variables: parseVariables(argv['template-variables']),
      },
      ({ rowsRead, sequences }) => {
        if (process.stderr.isTTY) process.stderr.write(`\r${rowsRead} rows read, ${sequences} sequences`);
      },
    );
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    if (argv.json) console.log(JSON.stringify(report, null, 2));
    else for (const line of describeReport(report, argv.out)) console.log(line);
  },
};

async function tokenizerFolder(target: string): Promise<string> {
  const { resolveModelFolder } = await import('../models/hub.js');
  return resolveModelFolder(target);
}

function parseVariables(json: string | undefined): Record<string, unknown> | undefined {
  if (json === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(json);
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // The message below serves both.
  }
  throw new UserError(`--template-variables is ${json}; expected a JSON object such as '{"enable_thinking": false}'`);
}

/** The report in lines. */
export function describeReport(report: PrepareReport, out: string): string[] {
  const lines = [`${report.sequences} sequences, ${report.tokens} tokens (${report.supervisedTokens} supervised, longest ${report.longest}) in ${out}`];
  lines.push(`domains: ${Object.entries(report.domains).map(([name, count]) => `${name} ${count}`).join(', ')}`);
  if (report.heldOutSequences > 0) lines.push(`held out: ${report.heldOutSequences} sequences in ${out}/held-out`);
  const notes: [number, string][] = [
    [report.truncated, 'sequences were cut at --max-tokens'],
    [report.promptOnly, 'sequences are prompts without an answer: capture them with --regenerate'],
    [report.laterTurnsLeft, 'rows list several user turns without answers; their first turn was used'],
    [report.split, 'conversations became one sequence an answer, because the chat template renders earlier turns differently once others follow'],
    [report.appended, 'conversations have answers whose place the chat template does not show; they follow the generation prompt, closed by the end token'],
    [report.pieced, 'rows were tokenized in pieces, because an answer begins inside a token'],
  ];
  for (const [count, text] of notes) if (count > 0) lines.push(`note: ${count} ${text}`);
  if (report.problemCount > 0) {
    lines.push(`left out: ${report.problemCount}`);
    for (const { file, line, reason } of report.problems.slice(0, 10)) lines.push(`  ${file}:${line}: ${reason}`);
    if (report.problemCount > 10) lines.push(`  … the first ${report.problems.length} are in ${out}/report.json`);
  }
  return lines;
}
