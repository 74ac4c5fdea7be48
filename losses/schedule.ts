// Numbers that move over training. A recorded step is built once, so it takes them as scalar inputs; this file turns a
// share of the run into their values.

/** A constant, or linear from `from` to `to` over the first `over` (0 to 1) of the run and `to` from there on. */
export type Schedule = number | { from: number; to: number; over: number };

/** Value of a schedule at `progress`, the share of the run that is done (0 to 1). */
export function scheduleValue(schedule: Schedule, progress: number): number {
  if (typeof schedule === 'number') return schedule;
  const { from, to, over } = schedule;
  if (progress >= over) return to;
  return from + (to - from) * Math.max(0, progress / over);
}

/** Whether the value changes, so that a recorded step must take it as an input. */
export function isMoving(schedule: Schedule | null | undefined): schedule is Exclude<Schedule, number> {
  return typeof schedule === 'object' && schedule !== null;
}
