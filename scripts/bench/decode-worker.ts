// Decodes demo prompts with the demo target, alone or speculatively, by recorded graphs, greedily. Answers each DecodeRequest, a line, with what that
// text took.
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { loadTokenizer } from '../../data/tokenizer.js';
import { decodingLoadOptions } from '../../src/commands/decoding-models.js';
import { readPromptSets } from '../../src/commands/prompt-sets.js';
import { decodeSpeculative, decodeTarget } from '../../src/decoding/decode.js';
import { createModelSteps } from '../../src/decoding/model-steps.js';
import { loadDrafter } from '../../src/models/drafter-checkpoint.js';
import { loadTarget } from '../../src/models/target.js';
import { packageRoot } from '../../src/package-root.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { findDrafter } from '../../src/training/drafter-source.js';

export interface DecodeReady {
  ready: true;
  prompts: { set: string; id: string }[];
}

export interface DecodeRequest {
  prompt: number;
  speculative: boolean;
  /** Whether decoding goes on past the end of the answer, to the greatest length: for costs at equal lengths, not for speed. */
  pastEnd: boolean;
}

export interface DecodeAnswer {
  tokens: number;
  /** From the first token to the last, on the clock and of all threads' processor time. */
  ms: number;
  cpuMs: number;
  targetPasses: number;
  /** Mean milliseconds of processor time a target pass (with its draft), for each stretch of `stretch` new tokens that the text has whole. */
  stretches: number[];
  outputIds: number[];
}

const { values: flags } = parseArgs({
  options: { drafter: { type: 'string' }, tokens: { type: 'string' }, prompts: { type: 'string' }, threads: { type: 'string' }, stretch: { type: 'string' } },
});
const maxNewTokens = Number(flags.tokens);
const stretch = Number(flags.stretch);
await loadTensorflow(await decodingLoadOptions({ drafter: flags.drafter!, target: 'demo' }, flags.threads === undefined ? undefined : Number(flags.threads)));
const folder = join(packageRoot(), 'data/demo-target');
const target = await loadTarget(folder);
const drafter = await loadDrafter((await findDrafter(flags.drafter!)).drafterFolder, target.config);
const sets = ['stories', 'maths', 'code'].map((name) => ({ name, file: join(packageRoot(), `data/demo-prompts/${name}.jsonl`) }));
const tokenizer = await loadTokenizer(folder);
const stopTokens = new Set([...target.config.eosTokenIds, ...tokenizer.specialIds.stop]);
const read = await readPromptSets(sets, { tokenizer, vocabSize: target.config.vocabSize, limit: Number(flags.prompts), maxPromptTokens: 96, format: 'auto' });
const prompts = read.flatMap(({ name, prompts }) => prompts.map((prompt) => ({ set: name, id: prompt.id, ids: prompt.encode([]) })));
const capacity = Math.max(...prompts.map(({ ids }) => ids.length)) + maxNewTokens + drafter.config.blockSize;
const steps = createModelSteps({ target, drafter, capacity });
const say = (message: DecodeReady | DecodeAnswer): void => console.log(JSON.stringify(message));
say({ ready: true, prompts: prompts.map(({ set, id }) => ({ set, id })) });
for await (const line of createInterface(process.stdin)) {
  say(decode(JSON.parse(line) as DecodeRequest));
}

function decode({ prompt, speculative, pastEnd }: DecodeRequest): DecodeAnswer {
  const promptIds = prompts[prompt]!.ids;
  const cpuMs = (): number => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  };
  // Processor time at every call that a new stretch of the text begins with.
  const marks: { passes: number; cpuMs: number }[] = [];
  let passes = 0;
  const mark = (position: number): void => {
    if (position - promptIds.length >= marks.length * stretch) marks.push({ passes, cpuMs: cpuMs() });
    passes++;
  };
  const watched = {
    ...steps,
    advance: (...args: Parameters<typeof steps.advance>) => (mark(args[1]), steps.advance(...args)),
    draft: (...args: Parameters<typeof steps.draft>) => (mark(args[1]), steps.draft(...args)),
  };
  const { outputIds, times, targetPasses } = (speculative ? decodeSpeculative : decodeTarget)(watched, promptIds, { maxNewTokens, ...(!pastEnd && { stopTokens }) });
  const end = { passes, cpuMs: cpuMs() };
  if (outputIds.length >= marks.length * stretch) marks.push(end);
  const stretches = marks.slice(1).map((to, i) => (to.cpuMs - marks[i]!.cpuMs) / (to.passes - marks[i]!.passes));
  return { tokens: outputIds.length, ms: times.decodeMs, cpuMs: end.cpuMs - marks[0]!.cpuMs, targetPasses, stretches, outputIds };
}
