// The decoding loops: speculative, and the target alone. Rounds, stops and limits are those of the reference DFlash loop
// (github.com/z-lab/dflash, `dflash_generate`): a round runs whenever its anchor stands before the length limit, its
// accepted length is recorded whole, and a stop token ends decoding after the round that committed it. What is returned
// as output is cut exactly where the target alone would have stopped.
import type { Round } from './acceptance.js';
import { buildDraftTree } from './draft-tree.js';
import { PositionUniforms, checkSampling, drawToken, greedySampling, warpLogits, type SamplingOptions } from './sampling.js';
import type { DecodingSteps, TargetRows } from './steps.js';
import { verifyByMatching, verifyByMatchingLazily, verifyBySampling, verifyTree } from './verification.js';
import { Random } from '../random.js';

/** How drafts are checked when tokens are sampled; with greedy decoding both come to the same. */
export type Verifier = 'match' | 'sample';

/** Options of both loops. */
export interface DecodeOptions {
  maxNewTokens: number;
  /** Decoding ends with the first of these, which is kept in the output. */
  stopTokens?: ReadonlySet<number>;
  sampling?: SamplingOptions;
  /** Seed and labels of the text's random numbers; equal ones give equal texts. */
  seed?: readonly [number, ...(string | number)[]];
}

export interface SpeculativeOptions extends DecodeOptions {
  /** `match` (default): drafts are the drafter's best tokens, kept while the target's own choice agrees. `sample`: speculative sampling. */
  verifier?: Verifier;
  /** Draft a tree of this many nodes instead of one chain; 0 = chain. */
  treeNodes?: number;
  /** Called with the tokens that each round adds to the output, and how many of them (the first ones) were accepted drafts. */
  onCommit?: (tokens: number[], acceptedDrafts: number) => void;
}

/** Milliseconds on the clock. */
export interface DecodeTimes {
  prefillMs: number;
  /** Drafter passes. */
  draftMs: number;
  /** Target passes after the prompt. */
  verifyMs: number;
  /** From the first token to the end of the output, everything included. */
  decodeMs: number;
}

/** A decoded text. */
export interface Decoded {
  /** New tokens, cut at the first stop token (kept) or the length limit. */
  outputIds: number[];
  /** New tokens as committed: at least `outputIds`, and what the last round added beyond it. */
  committedIds: number[];
  /** Empty for the target alone. */
  rounds: Round[];
  /** Target passes after the prompt. */
  targetPasses: number;
  stopped: boolean;
  times: DecodeTimes;
}

/** Speculative decoding of one text. The output is distributed as the target's own; greedily, it is the target's own. */
export function decodeSpeculative(steps: DecodingSteps, promptIds: Int32Array, options: SpeculativeOptions): Decoded {
  const { maxNewTokens, stopTokens = new Set<number>(), verifier = 'match', treeNodes = 0, onCommit } = options;
  const sampling = options.sampling ?? greedySampling;
  checkSampling(sampling);
  const seed = options.seed ?? [0];
  const greedy = sampling.temperature === 0;
  const bySampling = !greedy && verifier === 'sample';
  if (bySampling && treeNodes > 0) throw new RangeError('a tree of drafts is verified by matching; speculative sampling takes one chain');
  const uniforms = new PositionUniforms(...seed);
  const draftRandom = Random.fork(seed[0], ...seed.slice(1), 'drafter');
  const promptLength = promptIds.length;
  const width = treeNodes > 0 ? treeNodes + 1 : steps.blockSize;

  const times: DecodeTimes = { prefillMs: 0, draftMs: 0, verifyMs: 0, decodeMs: 0 };
  const started = performance.now();
  const committed: number[] = [];
  const rounds: Round[] = [];
  const output = outputCutter(maxNewTokens, stopTokens);
  committed.push(chooseToken(steps.prefill(promptIds, maxNewTokens + width, !greedy), 0, 0, sampling, uniforms));
  const decodeStarted = performance.now();
  times.prefillMs = decodeStarted - started;
  report(output.take(committed), 0, onCommit);

  let stopSeen = false;
  for (let anchor = promptLength; anchor < promptLength + maxNewTokens && !stopSeen; ) {
    const anchorToken = committed.at(-1)!;
    const index = anchor - promptLength; // of the anchor in `committed`
    const draftStarted = performance.now();
    const detail = treeNodes > 0 ? 'candidates' : bySampling ? 'logits' : 'best';
    const drafts = steps.blockSize > 1 ? steps.draft(anchorToken, anchor, detail) : { best: new Int32Array(0) };
    const tree = treeNodes > 0
      ? buildDraftTree(anchorToken, drafts.candidates ?? { width: treeNodes, tokens: [], logProbs: [] }, treeNodes, steps.vocabSize)
      : undefined;
    const draftDistributions = bySampling ? Array.from(drafts.best, (_, slot) => warpLogits(drafts.logits!(slot), sampling)) : [];
    const drafted = bySampling ? Int32Array.from(draftDistributions, (q) => drawToken(q, draftRandom.next())) : drafts.best;
    const verifyStarted = performance.now();
    times.draftMs += verifyStarted - draftStarted;

    const tokens = tree?.tokens ?? Int32Array.of(anchorToken, ...drafted);
    const answers = steps.verify(tokens, anchor, !greedy, tree);
    times.verifyMs += performance.now() - verifyStarted;

    let kept: number[];
    let nextToken: number;
    if (tree) {
      const verdict = verifyTree(tree.tokens, tree.parents, (node, depth) =>
        chooseToken(answers, node, index + 1 + depth, sampling, uniforms));
      kept = verdict.path;
      nextToken = verdict.nextToken;
    } else {
      const verdict = greedy
        ? verifyByMatching(drafted, answers.best)
        : bySampling
          ? verifyBySampling(drafted, (slot) => draftDistributions[slot]!, (slot) => warpLogits(answers.logits!(slot), sampling), () => draftRandom.next())
          : verifyByMatchingLazily(drafted, (slot) => chooseToken(answers, slot, index + 1 + slot, sampling, uniforms));
      kept = Array.from({ length: verdict.acceptedDrafts + 1 }, (_, row) => row);
      nextToken = verdict.nextToken;
    }
    steps.keep(kept);
    const added = [...kept.slice(1).map((row) => tokens[row]!), nextToken];
    committed.push(...added);
    rounds.push({ anchor, drafted, accepted: added.length });
    anchor += added.length;
    // The first token is looked at here too, not before the first round, as in the reference.
    stopSeen = added.some((token) => stopTokens.has(token)) || (rounds.length === 1 && stopTokens.has(committed[0]!));
    report(output.take(committed), added.length - 1, onCommit);
  }
  times.decodeMs = performance.now() - decodeStarted;
  return {
    outputIds: output.ids,
    committedIds: committed,
    rounds,
    targetPasses: rounds.length,
    stopped: output.stopped(),
    times,
  };
}

/**
 * The target alone, one token a pass, with the same cache, sampling and cuts.
 * @param options.beyond tokens to go on for after the output's end (not timed): what a simulated walk needs to see its last round whole
 */
export function decodeTarget(steps: DecodingSteps, promptIds: Int32Array, options: DecodeOptions & { beyond?: number }): Decoded {
  const { maxNewTokens, stopTokens = new Set<number>(), beyond = 0 } = options;
  const sampling = options.sampling ?? greedySampling;
  checkSampling(sampling);
  const greedy = sampling.temperature === 0;
  const uniforms = new PositionUniforms(...(options.seed ?? [0]));
  const started = performance.now();
  const output = outputCutter(maxNewTokens, stopTokens);
  const committed = [chooseToken(steps.prefill(promptIds, maxNewTokens + beyond, !greedy), 0, 0, sampling, uniforms)];
  output.take(committed);
  const decodeStarted = performance.now();
  const next = (): void => {
    const answer = steps.advance(committed.at(-1)!, promptIds.length + committed.length - 1, !greedy);
    committed.push(chooseToken(answer, 0, committed.length, sampling, uniforms));
  };
  while (!output.complete()) {
    next();
    output.take(committed);
  }
  const times = {
    prefillMs: decodeStarted - started,
    draftMs: 0,
    verifyMs: performance.now() - decodeStarted,
    decodeMs: performance.now() - decodeStarted,
  };
  const targetPasses = committed.length - 1;
  for (let i = 0; i < beyond; i++) next();
  return { outputIds: output.ids, committedIds: committed, rounds: [], targetPasses, stopped: output.stopped(), times };
}

/** The target's choice after a row: its best token, or a draw with the random number that belongs to the text position. */
function chooseToken(answers: TargetRows, row: number, index: number, sampling: SamplingOptions, uniforms: PositionUniforms): number {
  if (sampling.temperature === 0) return answers.best[row]!;
  return drawToken(warpLogits(answers.logits!(row), sampling), uniforms.at(index));
}

/** Collects the output from what is committed, up to a stop token or the limit. */
function outputCutter(maxNewTokens: number, stopTokens: ReadonlySet<number>) {
  const ids: number[] = [];
  const stopped = (): boolean => ids.length > 0 && stopTokens.has(ids.at(-1)!);
  const complete = (): boolean => ids.length >= maxNewTokens || stopped();
  return {
    ids,
    stopped,
    complete,
    /** Adds what is new in `committed`; returns what was added. */
    take(committed: readonly number[]): number[] {
      const before = ids.length;
      while (!complete() && ids.length < committed.length) ids.push(committed[ids.length]!);
      return ids.slice(before);
    },
  };
}

function report(tokens: number[], acceptedDrafts: number, onCommit: SpeculativeOptions['onCommit']): void {
  if (onCommit && tokens.length > 0) onCommit(tokens, Math.min(acceptedDrafts, tokens.length));
}
