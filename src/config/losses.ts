// The objective in a config: a list of weighted terms, or the name of one. Names are shorthands only: they are expanded
// into their list, which is what the run folder's config shows.
import { z } from 'zod';
import { lossDescriptions, needsTeacher, type LossDescription, type LossName, type ObjectiveTerm, type OptionDescription } from '../../losses/terms.js';

/** A number, or one that moves linearly over the first `over` of the run and then stays. */
function scheduleOf(number: z.ZodNumber) {
  const over = z.number().gt(0).max(1).default(0.25).describe('Share of the run after which `to` is reached.');
  return z.union([number, z.strictObject({ from: number, to: number, over })]);
}

function optionSchema(name: string, option: OptionDescription): z.ZodType {
  if (option.kind === 'choice') return z.enum(option.choices as [string, ...string[]]).default(option.default as string).describe(option.summary);
  let number = z.number();
  if (option.minimum !== undefined) number = option.exclusiveMinimum ? number.gt(option.minimum) : number.min(option.minimum);
  if (option.maximum !== undefined) number = number.max(option.maximum);
  // The decay's default follows the block size.
  if (name === 'gamma') {
    const summary = `${option.summary} auto: 10 at block size 16, 5 at 10, 4 at 8.`;
    return z.union([z.literal('auto'), z.null(), scheduleOf(number)]).default('auto').describe(summary);
  }
  const value: z.ZodType = option.kind === 'schedule' ? scheduleOf(number) : number;
  return (option.nullable ? value.nullable() : value).default(option.default as never).describe(option.summary);
}

function termSchemaOf(term: LossName, { summary, source, weight, options }: LossDescription) {
  return z
    .strictObject({
      term: z.literal(term),
      ...Object.fromEntries(Object.entries(options).map(([name, option]) => [name, optionSchema(name, option)])),
      weight: scheduleOf(z.number().min(0)).default(weight).describe('Factor of the term in the total: a number, or a schedule {from, to, over}.'),
      name: z.string().min(1).optional().describe('What its metrics are called; default: the term.'),
    })
    .describe(`${summary} (${source})`);
}

/** A term as a config may hold it: `gamma` still to be filled in. */
type WithAuto<Term> = Term extends { gamma?: infer Gamma } ? Omit<Term, 'gamma'> & { gamma?: Gamma | 'auto' } : Term;
type TermInput = WithAuto<ObjectiveTerm>;

const termSchemas = Object.entries(lossDescriptions).map(([name, description]) => termSchemaOf(name as LossName, description));
const termSchema = z.discriminatedUnion('term', termSchemas as [(typeof termSchemas)[0]]) as unknown as z.ZodType<TermInput, TermInput>;

/**
 * The named objectives. `paper` is the stack of arXiv 2606.11552; `weighting` and `first-error` are its first stages,
 * the `-alone` ones its single losses on a uniform base; `dpace` is arXiv 2605.18810. `best` distils: D-PACE weights on the divergence
 * from the target, and the acceptance chain warmed in over a quarter of the run. It is the default: in both studies of docs/results.md it was
 * accepted longest.
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
  best: [{ term: 'dpace', on: 'kl' }, { term: 'acceptanceChain', weight: { from: 0, to: 5, over: 0.25 } }],
} satisfies Record<string, TermInput[]>;

export type ObjectiveName = keyof typeof namedObjectives;
const objectiveNames = Object.keys(namedObjectives) as [ObjectiveName, ...ObjectiveName[]];

export const lossesSchema = z
  .union([z.enum(objectiveNames), z.array(termSchema).min(1)])
  .default('best')
  .describe('The objective: a named one, or a list of terms.');

/** The terms of an objective: a name expanded, all options in place, `gamma: auto` replaced by the number for the block size. */
export function expandObjective(losses: z.output<typeof lossesSchema>, blockSize: number): ObjectiveTerm[] {
  const terms = typeof losses === 'string' ? z.array(termSchema).parse(namedObjectives[losses]) : losses;
  return terms.map((term) => ('gamma' in term && term.gamma === 'auto' ? { ...term, gamma: defaultGamma(blockSize) } : term) as ObjectiveTerm);
}

/** γ by block size: DFlash's 4 at K=8 and 5 at 10 (arXiv 2602.06036), 10 at 16 (arXiv 2606.11552, its best), linear between, in proportion beyond. */
export function defaultGamma(blockSize: number): number {
  if (blockSize <= 8) return blockSize / 2;
  if (blockSize <= 10) return 4 + (blockSize - 8) / 2;
  if (blockSize <= 16) return 5 + ((blockSize - 10) * 5) / 6;
  return (blockSize * 10) / 16;
}

/** Names of the terms that need the target's distribution beside the labels. */
export function distillingTerms(terms: readonly ObjectiveTerm[]): string[] {
  return [...new Set(terms.filter((term) => needsTeacher([term])).map((term) => term.term))];
}
