// The objective as data: a list of terms, as a config writes it, and a description of each loss from which a config's checks,
// documentation and editor help can be made. Adding a loss means one file and one entry here.
import { acceptanceChain } from './acceptance-chain.js';
import type { BlockScores, DifferentiableScore, LossTerm } from './block-scores.js';
import { chain, type ChainOptions } from './chain.js';
import { distillationBlend, forwardKl, totalVariation } from './distillation.js';
import { dpace, type DpaceOptions } from './dpace.js';
import { firstErrorFocal, type FirstErrorFocalOptions } from './first-error-focal.js';
import { positionalWeighting, type PositionalWeightingOptions } from './positional-weighting.js';
import type { Schedule } from './schedule.js';
import { payments, type Payment } from './slot-payments.js';

/** Options of each loss as a config gives them: as the function takes them, but moving ones as schedules. */
export interface LossOptions {
  positionalWeighting: Omit<PositionalWeightingOptions, 'gamma'> & { gamma?: Schedule | null };
  firstErrorFocal: FirstErrorFocalOptions;
  chain: ChainOptions;
  dpace: Omit<DpaceOptions, 'alpha'> & { alpha?: Schedule };
  forwardKl: object;
  totalVariation: object;
  distillationBlend: { eta?: number };
  acceptanceChain: ChainOptions;
}
export type LossName = keyof LossOptions;

/** One weighted term of an objective. `name` is what its metrics are called; default the loss's own name. */
export type ObjectiveTerm = { [Name in LossName]: { term: Name; weight?: Schedule; name?: string } & LossOptions[Name] }[LossName];

export interface OptionDescription {
  /** `schedule`: a number, or `{from, to, over}`. */
  kind: 'number' | 'schedule' | 'choice';
  default: number | string | null;
  summary: string;
  choices?: readonly string[];
  /** Whether null is allowed. */
  nullable?: boolean;
  /** Lowest allowed value, and whether it is itself left out. */
  minimum?: number;
  exclusiveMinimum?: boolean;
  maximum?: number;
}

export interface LossDescription {
  summary: string;
  source: string;
  /** Default weight of the term. */
  weight: number;
  /** Whether it needs the target's distribution whatever its options; with an option `on`, see `payments`. */
  needsTeacher: boolean;
  options: Record<string, OptionDescription>;
}

const on: OptionDescription = {
  kind: 'choice',
  default: 'crossEntropy',
  choices: payments,
  summary: "What a slot pays; all but crossEntropy need the target's distribution.",
};
const eta: OptionDescription = { kind: 'number', default: 3, minimum: 0, summary: 'η of the blend: λ = exp(-η·overlap) is the share of KL.' };
const slotDenominator: OptionDescription = {
  kind: 'choice',
  default: 'weights',
  choices: ['weights', 'slots', 'blocks'],
  summary: 'What the weighted sum is divided by: the weights, the valid slots, or the blocks that have any.',
};
const chainDenominator: OptionDescription = {
  kind: 'choice',
  default: 'validSlots',
  choices: ['validSlots', 'slots'],
  summary: "What a block's expected accepted drafts are divided by: its valid slots, or all its slots.",
};

/** Every loss by name: what it is, where it comes from, and its options with their defaults. */
export const lossDescriptions: Readonly<Record<LossName, LossDescription>> = {
  positionalWeighting: {
    summary: 'Every slot pays, slot k with weight exp(-(k-1)/gamma).',
    source: 'arXiv 2606.11552; arXiv 2602.06036',
    weight: 1,
    needsTeacher: false,
    options: {
      gamma: { kind: 'schedule', default: 10, nullable: true, minimum: 0, exclusiveMinimum: true, summary: 'Slots over which the weight falls by e; null is uniform.' },
      on,
      eta,
      denominator: slotDenominator,
    },
  },
  firstErrorFocal: {
    summary: "Only each block's first wrong slot pays.",
    source: 'arXiv 2606.11552',
    weight: 0.3,
    needsTeacher: false,
    options: {
      focusing: { kind: 'number', default: 0, minimum: 0, summary: 'Exponent f of the factor (1-p)^f.' },
      on,
      eta,
      denominator: {
        kind: 'choice',
        default: 'blocksWithError',
        choices: ['blocksWithError', 'blocks'],
        summary: 'What the sum is divided by: blocks with an error, or all blocks that have valid slots.',
      },
    },
  },
  chain: {
    summary: 'One minus the share of a block expected to be accepted, from the labels\' probabilities.',
    source: 'arXiv 2606.11552',
    weight: 40,
    needsTeacher: false,
    options: { denominator: chainDenominator },
  },
  dpace: {
    summary: 'Every slot pays, weighted by the expected accepted length that hangs on it.',
    source: 'arXiv 2605.18810',
    weight: 1,
    needsTeacher: false,
    options: {
      alpha: { kind: 'schedule', default: 0.5, minimum: 0, maximum: 1, summary: 'How far probabilities are lifted towards 1.' },
      confidence: { kind: 'choice', default: 'label', choices: ['label', 'overlap'], summary: "What counts as a slot's chance: the label's probability, or the overlap with the target." },
      on,
      eta,
      denominator: slotDenominator,
    },
  },
  forwardKl: { summary: 'Mean KL(p ‖ q) of all slots.', source: 'arXiv 2310.08461', weight: 1, needsTeacher: true, options: {} },
  totalVariation: { summary: 'Mean total variation of all slots.', source: 'arXiv 2310.08461; arXiv 2602.23881', weight: 1, needsTeacher: true, options: {} },
  distillationBlend: {
    summary: 'KL where the distributions are far apart, total variation where they are near.',
    source: 'arXiv 2602.23881',
    weight: 1,
    needsTeacher: true,
    options: { eta },
  },
  acceptanceChain: {
    summary: 'The chain over the chance that lossless sampling accepts each slot.',
    source: 'arXiv 2211.17192; arXiv 2602.23881',
    weight: 5,
    needsTeacher: true,
    options: { denominator: chainDenominator },
  },
};

/** The functions by name; options as the functions take them. */
export const lossFunctions: Readonly<Record<LossName, (scores: BlockScores, options: Record<string, never>) => LossTerm>> = {
  positionalWeighting,
  firstErrorFocal,
  chain,
  dpace,
  forwardKl,
  totalVariation,
  distillationBlend,
  acceptanceChain,
};

const paidWith: Record<Payment, readonly DifferentiableScore[]> = {
  crossEntropy: ['logProb'],
  kl: ['kl'],
  totalVariation: ['overlap'],
  blend: ['kl', 'overlap'],
};

/** The scores that the terms differentiate: what `scoreHidden` must be able to give a gradient for, and no more. */
export function differentiatedScores(terms: readonly ObjectiveTerm[]): DifferentiableScore[] {
  const used = new Set(terms.flatMap(scoresOfTerm));
  return (['logProb', 'kl', 'overlap'] as const).filter((score) => used.has(score));
}

/** Whether any term needs the target's distribution beside the labels. */
export function needsTeacher(terms: readonly ObjectiveTerm[]): boolean {
  return terms.some((term) => scoresOfTerm(term).some((score) => score !== 'logProb') || (term.term === 'dpace' && term.confidence === 'overlap'));
}

function scoresOfTerm(term: ObjectiveTerm): readonly DifferentiableScore[] {
  switch (term.term) {
    case 'chain':
      return ['logProb'];
    case 'acceptanceChain':
    case 'totalVariation':
      return ['overlap'];
    case 'forwardKl':
      return ['kl'];
    case 'distillationBlend':
      return ['kl', 'overlap'];
    case 'firstErrorFocal':
      return [...paidWith[term.on ?? 'crossEntropy'], ...(term.focusing ? (['logProb'] as const) : [])];
    default:
      return paidWith[term.on ?? 'crossEntropy'];
  }
}
