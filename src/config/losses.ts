// The objective in a config: a list of weighted terms, or the name of one. Names are shorthands only: they are expanded
// into their list, which is what the run folder's config shows.
import { z } from 'zod';

const share = z.number().gt(0).max(1);

/** A number, or one that moves linearly over the first `over` of the run and then stays. */
function schedule(number: z.ZodNumber) {
  return z.union([
    number,
    z.strictObject({ from: number, to: number, over: share.default(0.25).describe('Share of the run after which `to` is reached.') }),
  ]);
}

const weight = (value: number) =>
  schedule(z.number().min(0)).default(value).describe('Factor of the term in the total; a number, or a schedule {from, to, over}.');
const gamma = z
  .union([z.literal('auto'), z.null(), ...schedule(z.number().gt(0)).options])
  .default('auto')
  .describe('Slot k weighs exp(-(k-1)/gamma); null is uniform; auto follows the block size (10 at 16, 5 at 10, 4 at 8).');
const on = z
  .enum(['crossEntropy', 'kl', 'totalVariation'])
  .default('crossEntropy')
  .describe('What a slot pays. kl and totalVariation need the target\'s log-probabilities (capture.topLogProbs).');

const termSchema = z.discriminatedUnion('term', [
  z.strictObject({ term: z.literal('positionalWeighting'), gamma, on, weight: weight(1) }),
  z.strictObject({
    term: z.literal('firstErrorFocal'),
    focusing: z.number().min(0).default(0).describe('Exponent f of (1-p)^f.'),
    weight: weight(0.3),
  }),
  z.strictObject({ term: z.literal('chain'), weight: weight(40) }),
  z.strictObject({
    term: z.literal('dpace'),
    alpha: z.number().min(0).max(1).default(0.5).describe('How far the slots\' probabilities are lifted towards 1.'),
    on,
    weight: weight(1),
  }),
  z.strictObject({ term: z.literal('forwardKl'), weight: weight(1) }),
  z.strictObject({ term: z.literal('totalVariation'), weight: weight(1) }),
  z.strictObject({ term: z.literal('acceptanceChain'), weight: weight(5) }),
]);

/** One term of the objective, defaults in place. */
export type LossTermConfig = z.output<typeof termSchema>;
type LossTermInput = z.input<typeof termSchema>;
/** A number that may move over the run. */
export type Schedule = number | { from: number; to: number; over: number };

/**
 * The named objectives. `paper` is the stack of arXiv 2606.11552; `weighting` and `first-error` are its first stages,
 * the `-alone` ones its single losses on a uniform base; `dpace` is arXiv 2605.18810.
 */
export const namedObjectives = {
  uniform: [{ term: 'positionalWeighting', gamma: null }],
  weighting: [{ term: 'positionalWeighting' }],
  'first-error': [{ term: 'positionalWeighting' }, { term: 'firstErrorFocal', weight: 0.3 }],
  paper: [{ term: 'positionalWeighting' }, { term: 'firstErrorFocal', weight: 0.3 }, { term: 'chain', weight: 40 }],
  'paper-warmed': [
    { term: 'positionalWeighting' },
    { term: 'firstErrorFocal', weight: 0.3 },
    { term: 'chain', weight: { from: 0, to: 40, over: 0.25 } },
  ],
  'first-error-alone': [{ term: 'positionalWeighting', gamma: null }, { term: 'firstErrorFocal', weight: 0.3 }],
  'chain-alone': [{ term: 'positionalWeighting', gamma: null }, { term: 'chain', weight: 40 }],
  dpace: [{ term: 'dpace' }],
  kl: [{ term: 'positionalWeighting', on: 'kl' }],
  'kl-dpace': [{ term: 'dpace', on: 'kl' }],
  best: [{ term: 'dpace', on: 'kl' }],
} satisfies Record<string, LossTermInput[]>;

export type ObjectiveName = keyof typeof namedObjectives;
const objectiveNames = Object.keys(namedObjectives) as [ObjectiveName, ...ObjectiveName[]];

export const lossesSchema = z
  .union([z.enum(objectiveNames), z.array(termSchema).min(1)])
  .default('paper')
  .describe('The objective: a named one, or a list of terms.');

/** The terms of an objective: a name expanded, `gamma: auto` replaced by the number for the block size. */
export function expandObjective(losses: z.output<typeof lossesSchema>, blockSize: number): LossTermConfig[] {
  const terms = typeof losses === 'string' ? z.array(termSchema).parse(namedObjectives[losses]) : losses;
  return terms.map((term) =>
    term.term === 'positionalWeighting' && term.gamma === 'auto' ? { ...term, gamma: defaultGamma(blockSize) } : term,
  );
}

/** γ by block size: DFlash's 4 at K=8 and 5 at 10 (arXiv 2602.06036), 10 at 16 (arXiv 2606.11552, its best), linear between, in proportion beyond. */
export function defaultGamma(blockSize: number): number {
  if (blockSize <= 8) return blockSize / 2;
  if (blockSize <= 10) return 4 + (blockSize - 8) / 2;
  if (blockSize <= 16) return 5 + ((blockSize - 10) * 5) / 6;
  return (blockSize * 10) / 16;
}

/** Whether a term needs the target's distribution beside the labels. */
export function needsTeacher(term: LossTermConfig): boolean {
  if ('on' in term) return term.on !== 'crossEntropy';
  return term.term === 'forwardKl' || term.term === 'totalVariation' || term.term === 'acceptanceChain';
}
