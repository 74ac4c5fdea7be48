// Lets the target write the answers of token sequences anew: every supervised stretch is replaced by what the target says there,
// turn after turn, while prompts and template marks between the stretches stay. What it writes depends on the seed and the row
// alone, not on the batch or the machine that the row falls to.
import type { CacheRow } from '../../data/arrow-cache.js';
import { Random } from '../random.js';

/** How answers are generated. */
export interface GenerationSettings {
  /** Tokens of an answer at most. */
  maxNewTokens: number;
  /** 0 is greedy. */
  temperature: number;
  topP: number;
  seed: number;
}

/** One answer to generate. */
export interface GenerationRequest {
  promptIds: Int32Array;
  maxNewTokens: number;
  /** Draws for this answer alone. */
  random: Random;
}

/** Generates one answer a request: new tokens only, the stop token last where one was written. */
export type GenerateAnswers = (requests: readonly GenerationRequest[]) => Promise<Int32Array[]> | Int32Array[];

interface Progress {
  /** Prompt stretches of the given row, each followed by an answer; a stretch after the last answer is left out. */
  stretches: Int32Array[];
  ids: number[];
  mask: number[];
  finished: boolean;
}

/**
 * Regenerates the answers of `rows` (with their row numbers in the source), at most `maxLength` tokens each. A conversation ends early
 * where an answer is cut off: what follows would answer something that was not said.
 */
export async function regenerateRows(
  rows: readonly CacheRow[],
  numbers: readonly number[],
  settings: GenerationSettings,
  stopIds: readonly number[],
  maxLength: number,
  generate: GenerateAnswers,
): Promise<CacheRow[]> {
  const progress = rows.map((row): Progress => ({ stretches: promptStretches(row), ids: [], mask: [], finished: false }));
  const turns = Math.max(0, ...progress.map(({ stretches }) => stretches.length));
  for (let turn = 0; turn < turns; turn++) {
    const asked: { index: number; request: GenerationRequest }[] = [];
    for (const [index, state] of progress.entries()) {
      const stretch = state.stretches[turn];
      if (stretch === undefined || state.finished) continue;
      const room = maxLength - state.ids.length - stretch.length;
      if (room < 2) {
        state.finished = true;
        continue;
      }
      for (const id of stretch) state.ids.push(id);
      while (state.mask.length < state.ids.length) state.mask.push(0);
      asked.push({
        index,
        request: {
          promptIds: Int32Array.from(state.ids),
          maxNewTokens: Math.min(settings.maxNewTokens, room),
          random: Random.fork(settings.seed, 'regenerate', numbers[index]!, turn),
        },
      });
    }
    if (asked.length === 0) break;
    const answers = await generate(asked.map(({ request }) => request));
    for (const [i, { index }] of asked.entries()) {
      const state = progress[index]!;
      const answer = answers[i]!;
      for (const id of answer) {
        state.ids.push(id);
        state.mask.push(1);
      }
      // An answer shorter than allowed ended by itself.
      const { maxNewTokens } = asked[i]!.request;
      if (answer.length === 0 || (answer.length >= maxNewTokens && !stopIds.includes(answer.at(-1)!))) state.finished = true;
    }
  }
  return rows.map((row, i): CacheRow => {
    const { ids, mask } = progress[i]!;
    const first = mask.indexOf(1);
    return { ...row, inputIds: Int32Array.from(ids), lossMask: Uint8Array.from(mask), promptLength: first === -1 ? ids.length : first };
  });
}

/** The unsupervised stretches of a row that an answer follows (a row without answers is one such stretch). */
function promptStretches({ inputIds, lossMask }: CacheRow): Int32Array[] {
  const stretches: Int32Array[] = [];
  let start = 0;
  for (let i = 1; i < inputIds.length; i++) {
    if (lossMask[i] !== 0 && lossMask[i - 1] === 0) stretches.push(inputIds.slice(start, i));
    if (lossMask[i] === 0 && lossMask[i - 1] !== 0) start = i;
  }
  if (stretches.length === 0) {
    const first = lossMask.findIndex((value) => value !== 0);
    stretches.push(inputIds.slice(0, first === -1 ? inputIds.length : Math.max(1, first)));
  }
  return stretches;
}
