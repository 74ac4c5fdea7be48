// The statements that a study was made to test, fixed before it ran (by its roles), each judged by its figures: met or not, and by which
// number. They are worked out the same way whatever comes out.
import type { StudyDocument } from './study-document.js';

/** One statement and what the study says of it. */
export interface Statement {
  id: 'stack-above-baseline' | 'stack-lift' | 'alone-not-below' | 'waste-falls' | 'challenger-beats-stack';
  text: string;
  /** Null where the study has not come far enough to tell. */
  met: boolean | null;
  /** What was found, with numbers. */
  finding: string;
}

/** The paper's least lift, in accepted drafts of the stack over uniform, that one budget should reach. */
export const expectedStackLift = 0.21;
/** What a recipe must win over the stack to be called better. */
export const expectedChallengerLift = 0.1;

/** Judges all statements that the study's roles give. */
export function judgeStudy(study: Omit<StudyDocument, 'statements'>): Statement[] {
  const { roles, budgets, domains } = study;
  const idOf = (label: string | null) => study.variants.find((variant) => variant.group === 'objectives' && variant.label === label)?.id;
  const figures = (label: string | null, steps: number, domain: string | null) =>
    study.results.find((row) => row.variant === idOf(label) && row.steps === steps)?.figures.find((one) => one.domain === domain);
  const whole = budgets.at(-1)!;
  const statements: Statement[] = [];

  if (roles.stack !== null) {
    const cases = budgets.flatMap((steps) => domains.map((domain) => ({ steps, domain, lift: figures(roles.stack, steps, domain)?.againstBaseline })));
    const below = cases.filter(({ lift }) => lift != null && lift.difference.value <= 0);
    const open = cases.some(({ lift }) => lift == null);
    statements.push({
      id: 'stack-above-baseline',
      text: `${roles.stack} accepts more drafts than ${roles.baseline} in every domain at every budget`,
      met: below.length > 0 ? false : open ? null : true,
      finding:
        below.length > 0
          ? `not so: ${below.map(({ steps, domain, lift }) => `${domain} at ${steps} steps (${signed(lift!.difference.value)} drafts a round)`).join('; ')}`
          : open ? 'not all cells are finished' : `so in ${cases.length === 1 ? 'the one case' : `all ${cases.length} cases`}; the least is ${least(cases.map(({ lift }) => lift!.lift?.value ?? 0))}`,
    });
    const lifts = budgets.flatMap((steps) => {
      const lift = figures(roles.stack, steps, null)?.againstBaseline?.lift;
      return lift == null ? [] : [{ steps, lift }];
    });
    const highest = lifts.reduce<(typeof lifts)[0] | undefined>((best, one) => (best === undefined || one.lift.value > best.lift.value ? one : best), undefined);
    statements.push({
      id: 'stack-lift',
      text: `${roles.stack} accepts at least ${share(expectedStackLift)} more drafts than ${roles.baseline} at one budget`,
      met: highest === undefined ? null : highest.lift.value >= expectedStackLift ? true : lifts.length === budgets.length ? false : null,
      finding: lifts.map(({ steps, lift }) => `${percent(lift.value)}${range(lift.interval)} at ${steps} steps`).join('; ') || 'not all cells are finished',
    });
    const wastes = budgets.flatMap((steps) => {
      const pair = [figures(roles.baseline, steps, null)?.waste, figures(roles.stack, steps, null)?.waste];
      return pair.every((value) => value != null) ? [{ steps, before: pair[0]!, after: pair[1]! }] : [];
    });
    statements.push({
      id: 'waste-falls',
      text: `${roles.stack} wastes a smaller share of correct drafts than ${roles.baseline}`,
      met: wastes.length === 0 ? null : wastes.every(({ before, after }) => after < before) ? (wastes.length === budgets.length ? true : null) : false,
      finding: wastes.map(({ steps, before, after }) => `${share(before)} → ${share(after)} at ${steps} steps`).join('; ') || 'not all cells are finished',
    });
  }

  if (roles.alone.length > 0) {
    const found = roles.alone.map((label) => ({ label, lift: figures(label, whole, null)?.againstBaseline }));
    // Below means surely below: an interval that reaches zero is not.
    const below = found.filter(({ lift }) => lift != null && (lift.difference.interval?.high ?? lift.difference.value) < 0);
    const open = found.some(({ lift }) => lift == null);
    statements.push({
      id: 'alone-not-below',
      text: `Each loss alone is not below ${roles.baseline} at the whole budget (its interval reaches or passes zero)`,
      met: below.length > 0 ? false : open ? null : true,
      finding: found.filter(({ lift }) => lift != null).map(({ label, lift }) => `${label} ${percent(lift!.lift?.value ?? 0)}${range(lift!.lift?.interval ?? null)}`).join('; ') || 'not all cells are finished',
    });
  }

  if (roles.challenger !== null && roles.stack !== null) {
    const comparison = figures(roles.challenger, whole, null)?.againstStack;
    const lift = comparison?.lift;
    statements.push({
      id: 'challenger-beats-stack',
      text: `${roles.challenger} accepts at least ${share(expectedChallengerLift)} more drafts than ${roles.stack} at the whole budget, and the interval of the difference lies above zero`,
      met: lift == null ? null : lift.value >= expectedChallengerLift && (comparison!.difference.interval?.low ?? -1) > 0,
      finding: lift == null ? 'not all cells are finished' : `${percent(lift.value)}${range(lift.interval)}`,
    });
  }
  return statements;
}

function percent(value: number): string {
  return `${value >= 0 ? '+' : '−'}${Math.abs(100 * value).toFixed(0)}%`;
}

function share(value: number): string {
  return `${(100 * value).toFixed(0)}%`;
}

function range(interval: { low: number; high: number } | null): string {
  return interval === null ? '' : ` (${percent(interval.low)} to ${percent(interval.high)})`;
}

function signed(value: number): string {
  return `${value >= 0 ? '+' : '−'}${Math.abs(value).toFixed(3)}`;
}

function least(values: readonly number[]): string {
  return percent(Math.min(...values));
}
