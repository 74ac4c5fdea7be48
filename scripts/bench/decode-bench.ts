// Decoding with the demo target at batch 1: alone and speculatively in turns, prompt by prompt, each answer to its own end; and, past the ends, what
// a pass costs as the text grows.
import type { DecodeAnswer, DecodeReady, DecodeRequest } from './decode-worker.js';
import { median } from './machine.js';
import { figure, table } from './tables.js';
import { startOwn } from './worker-client.js';

export interface DecodeFigures {
  prompts: number;
  mostNewTokens: number;
  ways: {
    way: 'target alone' | 'speculative';
    tokensPerSecond: number;
    /** Of processor time: hardly depends on what else the machine does. */
    tokensPerCpuSecond: number;
    /** New tokens a target pass. */
    tokensPerPass: number;
    /** Processor milliseconds a target pass (with its draft) over stretches of the text, past the answer's end. */
    stretches: number[];
  }[];
  /** Median over prompts of the speed-up on the clock, and by processor time. */
  speedUp: { clock: number; cpu: number };
  identical: boolean;
}

const stretch = 64;

export async function measureDecoding(options: { drafter: string; tokens: number; promptsPerSet: number; threads?: number }): Promise<DecodeFigures> {
  const { drafter, tokens, promptsPerSet, threads } = options;
  const worker = await startOwn<DecodeReady, DecodeAnswer>('decode-worker.js', [
    '--drafter', drafter, '--tokens', String(tokens), '--prompts', String(promptsPerSet), '--stretch', String(stretch),
    ...(threads === undefined ? [] : ['--threads', String(threads)]),
  ]);
  try {
    const kinds = [false, true];
    const answers: DecodeAnswer[][] = kinds.map(() => []);
    const long: DecodeAnswer[][] = kinds.map(() => []);
    const ask = (request: DecodeRequest): Promise<DecodeAnswer> => worker.ask(request);
    for (const speculative of kinds) await ask({ prompt: 0, speculative, pastEnd: false }); // warms up
    for (let prompt = 0; prompt < worker.ready.prompts.length; prompt++) {
      for (const [index, speculative] of kinds.entries()) {
        answers[index]!.push(await ask({ prompt, speculative, pastEnd: false }));
        long[index]!.push(await ask({ prompt, speculative, pastEnd: true }));
      }
    }
    const [alone, drafted] = answers as [DecodeAnswer[], DecodeAnswer[]];
    return {
      prompts: alone.length,
      mostNewTokens: tokens,
      ways: answers.map((texts, index) => {
        const sum = (value: (text: DecodeAnswer) => number): number => texts.reduce((total, text) => total + value(text), 0);
        const shortest = Math.min(...long[index]!.map(({ stretches }) => stretches.length));
        return {
          way: kinds[index] ? 'speculative' : 'target alone',
          tokensPerSecond: (1000 * sum((text) => text.tokens)) / sum(({ ms }) => ms),
          tokensPerCpuSecond: (1000 * sum((text) => text.tokens)) / sum(({ cpuMs }) => cpuMs),
          tokensPerPass: sum((text) => text.tokens) / sum(({ targetPasses }) => targetPasses),
          stretches: Array.from({ length: shortest }, (_, i) => median(long[index]!.map(({ stretches }) => stretches[i]!))),
        };
      }),
      speedUp: { clock: median(alone.map(({ ms }, i) => ms / drafted[i]!.ms)), cpu: median(alone.map(({ cpuMs }, i) => cpuMs / drafted[i]!.cpuMs)) },
      identical: alone.every(({ outputIds }, i) => outputIds.join() === drafted[i]!.outputIds.join()),
    };
  } finally {
    await worker.stop();
  }
}

export function decodeTable({ ways, speedUp, identical }: DecodeFigures): string {
  const stretches = Math.max(...ways.map((way) => way.stretches.length));
  const head = ['way', 'tokens/s', 'tokens/CPU s', 'tokens a target pass', ...Array.from({ length: stretches }, (_, i) => `CPU ms a pass from ${i * stretch}`)];
  const rows = ways.map((way) => [way.way, figure(way.tokensPerSecond), figure(way.tokensPerCpuSecond), figure(way.tokensPerPass, 2), ...Array.from({ length: stretches }, (_, i) => figure(way.stretches[i], 2))]);
  const verdict = `Speculative decoding: ${speedUp.clock.toFixed(2)} times as fast on the clock, ${speedUp.cpu.toFixed(2)} by processor time (medians over prompts); texts ${identical ? 'identical' : 'DIFFER'}.`;
  return `${table(head, rows)}\n\n${verdict}`;
}
