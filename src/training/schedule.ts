// What changes over a run as a plain function of the step: the learning rate (warm-up, then cosine) and any number in
// the config that may be a schedule (loss weights, γ). Nothing here holds state, so a resumed run needs none.

/** The settings of the learning rate over a run. */
export interface LearningRateSchedule {
  /** The rate at the end of the warm-up. */
  learningRate: number;
  /** Steps of linear warm-up; 0 for none. */
  warmupSteps: number;
  /** All steps of the run. */
  totalSteps: number;
  shape: 'cosine' | 'linear' | 'constant';
  /** Where the decay ends, as a share of `learningRate`. */
  finalShare: number;
}

/** Learning rate of update `step` (counted from 0): `(step+1)/warmupSteps` of the peak in the warm-up, then the decay, `finalShare` of it at the last step. */
export function learningRateAt(schedule: LearningRateSchedule, step: number): number {
  const { learningRate, warmupSteps, totalSteps, shape, finalShare } = schedule;
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  if (shape === 'constant') return learningRate;
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, totalSteps - 1 - warmupSteps));
  const fallen = shape === 'cosine' ? 0.5 * (1 + Math.cos(Math.PI * progress)) : 1 - progress;
  return learningRate * (finalShare + (1 - finalShare) * fallen);
}
