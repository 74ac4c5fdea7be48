// Evaluation: decodes prompt sets for real, with the target alone beside it in the same run, and sums everything up with
// the one acceptance metric. It takes models as steps, so it serves the command, the demo, training and the ablation alike.
import { setImmediate as breathe } from 'node:timers/promises';
import { summarizeAcceptance, type AcceptanceSummary, type AcceptanceTrace, type Round } from './acceptance.js';
import { decodeSpeculative, decodeTarget, type Decoded, type DecodeTimes, type Verifier } from './decode.js';
import type { PromptSet } from './prompt-encoding.js';
import { checkSampling, greedySampling, type SamplingOptions } from './sampling.js';
import { firstDifference } from './simulation.js';
import type { DecodingSteps } from './steps.js';
import { UserError } from '../errors.js';

/** What is measured, and how. */
export interface EvaluationOptions {
  maxNewTokens: number;
  /** A conversation ends before a turn whose prompt is longer, and is listed among those left out. */
  maxPromptTokens?: number;
  /** Tokens that end a text. */
  stopTokens?: readonly number[];
  sampling?: SamplingOptions;
  verifier?: Verifier;
  treeNodes?: number;
  seed?: number;
  /** Decode with the target alone too: gives speed-up and identity. Default true. */
  targetAlone?: boolean;
  /** Bootstrap resamples for intervals. Default 2000; 0 = none. */
  resamples?: number;
}

/** Something that `--check` found to differ. */
export interface Mismatch {
  set: string;
  id: string;
  turn: number;
  /** `output`: the ids differ from the target's own, at new token `index`. `rounds`: simulated and decoded rounds differ from round `index` on. */
  kind: 'output' | 'rounds';
  index: number;
  detail: string;
}

/** One decoded text. */
export interface TextResult {
  set: string;
  id: string;
  /** 0 for the first turn of a conversation. */
  turn: number;
  promptIds: number[];
  /** New tokens only. */
  outputIds: number[];
  /** Accepted length of every round. */
  acceptedLengths: number[];
  /** The drafter's choices in every round, slots 1..J. */
  draftedIds: number[][];
  stopped: boolean;
  /** Whether the target alone writes the same; null where it was not asked. */
  identical: boolean | null;
  times: DecodeTimes;
  /** Of the target alone; null where it was not asked. */
  targetTimes: { prefillMs: number; decodeMs: number; tokens: number } | null;
}

/** Where the time went and what it bought. Prompt reading is left out of both sides, drafting is all in. */
export interface SpeedSummary {
  outputTokens: number;
  decodeMs: number;
  draftMs: number;
  verifyMs: number;
  /** Choosing, building trees, book-keeping. */
  restMs: number;
  draftShare: number;
  verifyShare: number;
  restShare: number;
  tokensPerSecond: number;
  targetTokensPerSecond: number | null;
  /** `tokensPerSecond / targetTokensPerSecond`. */
  speedup: number | null;
}

/** Figures over some texts. */
export interface EvaluationTotals extends AcceptanceSummary {
  prompts: number;
  speed: SpeedSummary;
  speedup: number | null;
  /** True where every text equals the target's own; null where the target was not asked, or sampling makes them differ. */
  identical: boolean | null;
  identicalTexts: number;
  comparedTexts: number;
}

export interface SetResult {
  name: string;
  source?: string;
  skipped: { id: string; reason: string }[];
  totals: EvaluationTotals;
}

export interface EvaluationResult {
  totals: EvaluationTotals;
  sets: SetResult[];
  texts: TextResult[];
  /** Null where nothing was checked. */
  mismatches: Mismatch[] | null;
}

/** Told after every text. */
export interface EvaluationProgress {
  set: string;
  /** Prompts finished and to do, over all sets. */
  done: number;
  total: number;
  acceptedLength: number;
}

export interface EvaluationInput {
  /** The models (see model-steps.ts); reused from text to text. */
  steps: DecodingSteps;
  promptSets: readonly PromptSet[];
  options: EvaluationOptions;
  /** Given for `--check`: rounds that the simulated walk takes over a known text (see model-simulation.ts). */
  simulate?: (text: Int32Array, span: { start: number; end: number }, stopTokens: ReadonlySet<number>) => Round[];
  onProgress?: (progress: EvaluationProgress) => void;
}

/**
 * Decodes every prompt of every set, turn by turn, and sums up.
 * @throws UserError for options that contradict each other
 */
export async function evaluateAcceptance(input: EvaluationInput): Promise<EvaluationResult> {
  const { steps, promptSets, options, simulate } = input;
  const { maxNewTokens, maxPromptTokens = Infinity, verifier = 'match', treeNodes = 0, seed = 0, resamples = 2000 } = options;
  const sampling = options.sampling ?? greedySampling;
  checkSampling(sampling);
  const stopTokens = new Set(options.stopTokens ?? []);
  const greedy = sampling.temperature === 0;
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) throw new UserError(`max-new-tokens is ${maxNewTokens}; it must be a whole number from 1`);
  if (treeNodes > 0 && !greedy && verifier === 'sample') {
    throw new UserError('trees of drafts are verified by matching: use --verifier match, or leave out --tree-nodes');
  }
  if (simulate && !greedy) throw new UserError('the check compares with the target\'s greedy text: leave out --temperature, or --check');
  const targetAlone = (options.targetAlone ?? true) || simulate !== undefined;
  // Matching draws every position's token with that position's random number, so even sampled texts must be the same.
  const comparable = greedy || verifier === 'match';

  const texts: TextResult[] = [];
  const traces: (AcceptanceTrace & { set: string })[] = [];
  const mismatches: Mismatch[] = [];
  const cut: { set: string; id: string; reason: string }[] = [];
  const total = promptSets.reduce((sum, set) => sum + set.prompts.length, 0);
  let done = 0;
  let committed = 0;
  for (const set of promptSets) {
    for (const prompt of set.prompts) {
      const answers: number[][] = [];
      for (let turn = 0; turn < prompt.turns; turn++) {
        const promptIds = prompt.encode(answers);
        if (turn > 0 && promptIds.length > maxPromptTokens) {
          cut.push({ set: set.name, id: prompt.id, reason: `turn ${turn + 1} has ${promptIds.length} tokens, more than the ${maxPromptTokens} allowed` });
          break;
        }
        const shared = { maxNewTokens, stopTokens, sampling, seed: [seed, set.name, prompt.id, turn] as [number, ...(string | number)[]] };
        const decoded = decodeSpeculative(steps, promptIds, { ...shared, verifier, treeNodes });
        await breathe();
        const alone = targetAlone ? decodeTarget(steps, promptIds, { ...shared, beyond: simulate ? steps.blockSize : 0 }) : undefined;
        const where = { set: set.name, id: prompt.id, turn };
        const differs = alone && comparable ? firstDifferentToken(decoded.outputIds, alone.outputIds) : undefined;
        if (alone && differs !== undefined) mismatches.push({ ...where, kind: 'output', index: differs, detail: describeOutput(steps, promptIds, decoded, alone, differs, greedy) });
        if (simulate && alone) checkRounds(simulate, promptIds, decoded, alone, maxNewTokens, stopTokens, where, mismatches);
        texts.push({
          ...where,
          promptIds: [...promptIds],
          outputIds: decoded.outputIds,
          acceptedLengths: decoded.rounds.map((round) => round.accepted),
          draftedIds: decoded.rounds.map((round) => Array.from(round.drafted)),
          stopped: decoded.stopped,
          identical: alone && comparable ? differs === undefined : null,
          times: decoded.times,
          targetTimes: alone ? { prefillMs: alone.times.prefillMs, decodeMs: alone.times.decodeMs, tokens: alone.outputIds.length } : null,
        });
        traces.push({ set: set.name, group: `${set.name}/${prompt.id}`, tokens: decoded.committedIds, firstPosition: promptIds.length, rounds: decoded.rounds });
        committed += decoded.rounds.reduce((sum, round) => sum + round.accepted, 0);
        answers.push(decoded.outputIds);
        await breathe();
      }
      done++;
      const rounds = traces.reduce((sum, trace) => sum + trace.rounds.length, 0);
      input.onProgress?.({ set: set.name, done, total, acceptedLength: rounds > 0 ? committed / rounds : 0 });
    }
  }
  const bootstrap = resamples > 0 ? { bootstrap: { resamples, seed } } : {};
  const totalsOf = (belongs: (set: string) => boolean): EvaluationTotals =>
    summarizeTexts(texts.filter((text) => belongs(text.set)), summarizeAcceptance(traces.filter((trace) => belongs(trace.set)), bootstrap));
  return {
    totals: totalsOf(() => true),
    sets: promptSets.map((set) => ({
      name: set.name,
      ...(set.source !== undefined && { source: set.source }),
      skipped: [...(set.skipped ?? []), ...cut.filter((one) => one.set === set.name).map(({ id, reason }) => ({ id, reason }))],
      totals: totalsOf((name) => name === set.name),
    })),
    texts,
    mismatches: targetAlone && comparable ? mismatches : null,
  };
}

function summarizeTexts(texts: readonly TextResult[], summary: AcceptanceSummary): EvaluationTotals {
  const compared = texts.filter((text) => text.identical !== null);
  const identicalTexts = compared.filter((text) => text.identical).length;
  const speed = summarizeSpeed(texts);
  return {
    prompts: new Set(texts.map((text) => JSON.stringify([text.set, text.id]))).size,
    ...summary,
    speed,
    speedup: speed.speedup,
    identical: compared.length > 0 ? identicalTexts === compared.length : null,
    identicalTexts,
    comparedTexts: compared.length,
  };
}

function summarizeSpeed(texts: readonly TextResult[]): SpeedSummary {
  const sum = (figure: (text: TextResult) => number): number => texts.reduce((total, text) => total + figure(text), 0);
  const outputTokens = sum((text) => text.outputIds.length);
  const decodeMs = sum((text) => text.times.decodeMs);
  const draftMs = sum((text) => text.times.draftMs);
  const verifyMs = sum((text) => text.times.verifyMs);
  const restMs = Math.max(0, decodeMs - draftMs - verifyMs);
  const targetMs = sum((text) => text.targetTimes?.decodeMs ?? 0);
  const targetTokens = sum((text) => text.targetTimes?.tokens ?? 0);
  const tokensPerSecond = decodeMs > 0 ? (1000 * outputTokens) / decodeMs : 0;
  const targetTokensPerSecond = targetMs > 0 ? (1000 * targetTokens) / targetMs : null;
  const share = (ms: number): number => (decodeMs > 0 ? ms / decodeMs : 0);
  return {
    outputTokens,
    decodeMs,
    draftMs,
    verifyMs,
    restMs,
    draftShare: share(draftMs),
    verifyShare: share(verifyMs),
    restShare: share(restMs),
    tokensPerSecond,
    targetTokensPerSecond,
    speedup: targetTokensPerSecond === null || decodeMs === 0 ? null : tokensPerSecond / targetTokensPerSecond,
  };
}

function firstDifferentToken(a: readonly number[], b: readonly number[]): number | undefined {
  for (let i = 0; i < Math.max(a.length, b.length); i++) if (a[i] !== b[i]) return i;
  return undefined;
}

/** Says what differs, and how far apart the target's two best tokens are there: rounding decides between near equals. */
function describeOutput(steps: DecodingSteps, promptIds: Int32Array, decoded: Decoded, alone: Decoded, index: number, greedy: boolean): string {
  const said = (ids: readonly number[]): string => (ids[index] === undefined ? 'has ended' : `writes ${ids[index]}`);
  const text = `new token ${index}: speculative decoding ${said(decoded.outputIds)}, the target alone ${said(alone.outputIds)}`;
  if (!greedy) return text;
  const prefix = Int32Array.of(...promptIds, ...alone.outputIds.slice(0, index));
  const logits = Float32Array.from(steps.prefill(prefix, 0, true).logits!(0)).sort();
  const gap = logits.at(-1)! - logits.at(-2)!;
  return `${text}; the target's two largest logits there differ by ${gap.toExponential(1)}${gap < 1e-3 ? ', within rounding' : ''}`;
}

function checkRounds(
  simulate: NonNullable<EvaluationInput['simulate']>,
  promptIds: Int32Array,
  decoded: Decoded,
  alone: Decoded,
  maxNewTokens: number,
  stopTokens: ReadonlySet<number>,
  where: { set: string; id: string; turn: number },
  mismatches: Mismatch[],
): void {
  const text = Int32Array.of(...promptIds, ...alone.committedIds);
  const simulated = simulate(text, { start: promptIds.length, end: promptIds.length + maxNewTokens }, stopTokens);
  const index = firstDifference(simulated, decoded.rounds);
  if (index === undefined) return;
  const said = (round: Round | undefined): string =>
    round ? `anchor ${round.anchor}, accepted length ${round.accepted}, drafts [${Array.from(round.drafted).join(' ')}]` : 'no such round';
  mismatches.push({ ...where, kind: 'rounds', index, detail: `round ${index}: simulated ${said(simulated[index])}; decoded ${said(decoded.rounds[index])}` });
}

