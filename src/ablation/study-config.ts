// Reads a study's config and lays out what it asks for: variants (one objective or one value of a sweep), each with its complete run
// config. Everything that is wrong, in the file or between any variant's values, is told at once before anything is computed.
import { basename, extname, isAbsolute, resolve } from 'node:path';
import { applyOverride, applyOverrides, readConfigFile, throwProblems } from '../config/file.js';
import { checkConfig, completeConfig, type Config } from '../config/load.js';
import { describeProblems, nearest, type Problem } from '../config/problems.js';
import type { ParsedConfig } from '../config/schema.js';
import { studyJsonSchema, studySchema, type ParsedStudy } from './study-schema.js';

/** One row of the study: an objective, or one value of a sweep. */
export interface Variant {
  /** Unique in the study; letters, digits and hyphens. */
  id: string;
  /** `objectives`, or the sweep's name. */
  group: string;
  label: string;
  /** What a sweep set, as JSON; empty for objectives. */
  value?: unknown;
  config: Config;
  /** K at inference; null: as trained. */
  blockSize: number | null;
  seeds: number[];
  /** Steps of each budget, ascending. */
  budgets: number[];
}

/** A study that can be run. */
export interface Study {
  title: string;
  folder: string;
  seeds: number[];
  /** Steps, ascending; the last is the whole. */
  budgets: number[];
  roles: ParsedStudy['roles'];
  sweeps: { name: string; set: string; objective: string }[];
  decoding: ParsedStudy['decoding'];
  variants: Variant[];
  /** The config as it was read, overrides in place. */
  source: unknown;
}

/** Reads and validates a study. Relative paths start from the file's folder, those in `set` from the working folder. Throws `UserError` that lists all problems. */
export async function loadStudy(file: string, options: { set?: readonly string[] } = {}): Promise<Study> {
  const { value, folder, locate } = await readConfigFile(file);
  return parseStudy(value, { ...options, name: file, folder, locate });
}

interface ParseStudyOptions {
  set?: readonly string[];
  name?: string;
  folder?: string;
  locate?: (problem: Problem) => number | undefined;
}

/** As `loadStudy`, of a value. */
export function parseStudy(value: unknown, options: ParseStudyOptions = {}): Study {
  const name = options.name ?? 'the study';
  const { merged, overridden } = applyOverrides(value, options.set ?? []);
  const parsed = studySchema.safeParse(merged, { reportInput: true });
  if (!parsed.success) throwProblems(name, describeProblems(parsed.error.issues, studyJsonSchema()), overridden, options.locate);
  const study = parsed.data!;
  const problems = checkReferences(study);
  const home = options.folder ?? process.cwd();
  const base = (path: string) => (overridden.has(path) ? process.cwd() : home);
  const whole = study.base.training.steps ?? 0;
  const stepsOf = (share: number) => Math.max(1, Math.round(share * whole));
  const budgets = [...new Set(study.budgets.map(stepsOf))].sort((a, b) => a - b);
  const variants: Variant[] = [];
  for (const planned of problems.length === 0 ? planVariants(study, (merged as { base: unknown }).base) : []) {
    const checked = checkConfig(planned.value);
    problems.push(...checked.problems.map(({ path, message }) => ({ path: ['base', ...path], message: `${message} (for ${planned.group === 'objectives' ? '' : `${planned.group}: `}${planned.label})` })));
    if (checked.parsed === undefined || checked.problems.length > 0) continue;
    variants.push({
      id: uniqueId(planned, variants),
      group: planned.group,
      label: planned.label,
      ...(planned.setting !== undefined && { value: planned.setting }),
      config: completeConfig(checked.parsed, (path) => base(`base.${path}`)),
      blockSize: planned.blockSize,
      seeds: planned.seeds,
      budgets: planned.budgets === null ? budgets : [...new Set(planned.budgets.map(stepsOf))].sort((a, b) => a - b),
    });
  }
  throwProblems(name, problems, overridden, options.locate);
  const absolute = (path: string, place: string) => (isAbsolute(path) ? path : resolve(base(place), path));
  return {
    title: study.title,
    folder: study.folder === null ? resolve('studies', basename(name, extname(name))) : absolute(study.folder, 'folder'),
    seeds: study.seeds,
    budgets,
    roles: study.roles,
    sweeps: study.sweeps.map(({ name: sweep, set, objective }) => ({ name: sweep, set, objective })),
    decoding: {
      ...study.decoding,
      prompts: Object.fromEntries(Object.entries(study.decoding.prompts).map(([domain, path]) => [domain, absolute(path, `decoding.prompts.${domain}`)])),
    },
    variants,
    source: merged,
  };
}

/** What names something that is not there, or asks for what cannot be. */
function checkReferences(study: ParsedStudy): Problem[] {
  const problems: Problem[] = [];
  const names = Object.keys(study.objectives);
  const refer = (path: PropertyKey[], name: string | null) => {
    if (name === null || names.includes(name)) return;
    const near = nearest(name, names);
    problems.push({ path, message: `no objective is called ${JSON.stringify(name)}; ${near === undefined ? `there are ${names.join(', ')}` : `did you mean \`${near}\`?`}` });
  };
  const { roles, base, decoding } = study;
  if (names.length === 0) problems.push({ path: ['objectives'], message: 'found none; at least one is needed' });
  refer(['roles', 'baseline'], roles.baseline);
  refer(['roles', 'stack'], roles.stack);
  refer(['roles', 'challenger'], roles.challenger);
  roles.alone.forEach((name, index) => refer(['roles', 'alone', index], name));
  study.sweeps.forEach((sweep, index) => {
    refer(['sweeps', index, 'objective'], sweep.objective);
    if (study.sweeps.findIndex(({ name }) => name === sweep.name) < index || sweep.name === 'objectives') {
      problems.push({ path: ['sweeps', index, 'name'], message: `${JSON.stringify(sweep.name)} is taken; every sweep needs a name of its own` });
    }
    if (/^(training\.(seed|steps|epochs)|output)\b/.test(sweep.set)) problems.push({ path: ['sweeps', index, 'set'], message: `found ${sweep.set}; seeds and lengths are the study's own: use seeds and budgets` });
    if (sweep.set.startsWith('decoding.') && sweep.set !== 'decoding.blockSize') problems.push({ path: ['sweeps', index, 'set'], message: `found ${sweep.set}; of decoding, only decoding.blockSize can vary` });
  });
  if (base.training.steps === null) problems.push({ path: ['base', 'training', 'steps'], message: 'missing; a study counts its budgets in steps' });
  if (Object.keys(decoding.prompts).length === 0) problems.push({ path: ['decoding', 'prompts'], message: 'found none; at least one domain with a file is needed' });
  if (decoding.blockSize !== null && decoding.blockSize > base.drafter.blockSize) {
    problems.push({ path: ['decoding', 'blockSize'], message: `found ${decoding.blockSize}; a drafter trained with blocks of ${base.drafter.blockSize} drafts no more than that` });
  }
  return problems;
}

interface PlannedVariant {
  group: string;
  label: string;
  setting?: unknown;
  /** A run config, not checked yet. */
  value: unknown;
  blockSize: number | null;
  seeds: number[];
  /** Shares. */
  budgets: number[] | null;
}

function planVariants(study: ParsedStudy, base: unknown): PlannedVariant[] {
  const withObjective = (name: string): unknown => ({ ...(base as object), losses: study.objectives[name] });
  const { seeds, decoding } = study;
  const objectives = Object.keys(study.objectives).map((label): PlannedVariant => ({ group: 'objectives', label, value: withObjective(label), blockSize: decoding.blockSize, seeds, budgets: null }));
  const sweeps = study.sweeps.flatMap((sweep): PlannedVariant[] => {
    const values = Array.isArray(sweep.values) ? sweep.values.map((value) => [labelOf(value), value] as const) : Object.entries(sweep.values);
    return values.map(([label, setting]) => {
      const common = { group: sweep.name, label, setting, seeds: sweep.seeds ?? seeds, budgets: sweep.budgets ?? [Math.max(...study.budgets)] };
      if (sweep.set === 'decoding.blockSize') return { ...common, value: withObjective(sweep.objective), blockSize: setting as number };
      const path = sweep.set.split('.').map((part) => (/^\d+$/.test(part) ? Number(part) : part));
      return { ...common, value: applyOverride(expanded(withObjective(sweep.objective)), { path, value: setting }), blockSize: decoding.blockSize };
    });
  });
  return [...objectives, ...sweeps];
}

/** With the objective as its list of terms, so that a sweep can reach into it; unchanged where something else is wrong with it. */
function expanded(value: unknown): unknown {
  const { parsed, problems } = checkConfig(value);
  if (parsed === undefined || problems.length > 0) return value;
  return { ...(value as object), losses: completeConfig(parsed as ParsedConfig, () => process.cwd()).losses };
}

function labelOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function uniqueId({ group, label }: PlannedVariant, others: readonly Variant[]): string {
  const slug = (text: string) => text.toLowerCase().replace(/[^a-z0-9.]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 40) || 'variant';
  const base = group === 'objectives' ? slug(label) : `${slug(group)}.${slug(label)}`;
  for (let n = 1; ; n++) {
    const id = n === 1 ? base : `${base}-${n}`;
    if (!others.some((other) => other.id === id)) return id;
  }
}
