// The objective of draftalign: scores of drafted blocks, the losses over them, and their combination.
// `const tf = await loadTensorflow()` from `draftalign` must have run before any of it is called.
export type { BlockScores, DifferentiableScore, LossTerm } from './block-scores.js';
export { scoreLogits, type ScoreLogitsOptions } from './score-logits.js';
export { scoreHidden, type HiddenTeacher, type ScoreHiddenOptions, type TopKTeacher } from './score-hidden.js';
export { slotPayments, payments, type Payment, type PaymentOptions } from './slot-payments.js';
export { decayWeights, dpaceWeights, firstErrors, type DpaceWeightOptions, type Parameter } from './slot-weights.js';
export type { Denominator } from './weighted-mean.js';
export { positionalWeighting, type PositionalWeightingOptions } from './positional-weighting.js';
export { firstErrorFocal, type FirstErrorFocalOptions } from './first-error-focal.js';
export { chain, labelChain, type ChainOptions } from './chain.js';
export { dpace, type DpaceOptions } from './dpace.js';
export { distillationBlend, forwardKl, totalVariation } from './distillation.js';
export { acceptanceChain } from './acceptance-chain.js';
export { scheduleValue, type Schedule } from './schedule.js';
export {
  differentiatedScores,
  lossDescriptions,
  needsTeacher,
  type LossDescription,
  type LossName,
  type LossOptions,
  type ObjectiveTerm,
  type OptionDescription,
} from './terms.js';
export { combine, scheduledValues, termNames, type CombineOptions } from './combine.js';
