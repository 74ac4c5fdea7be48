// A run's config from its file: validation as a whole, the objective as its terms, paths made absolute.
// Every problem of a file is told at once, each with its line.
import { existsSync } from 'node:fs';
import { basename, extname, isAbsolute, join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { packageRoot } from '../package-root.js';
import { applyOverrides, readConfigFile, throwProblems } from './file.js';
import { configJsonSchema } from './json-schema.js';
import type { ObjectiveTerm } from '../../losses/terms.js';
import { distillingTerms, expandObjective } from './losses.js';
import { describeProblems, type Problem } from './problems.js';
import { configSchema, type ParsedConfig } from './schema.js';

/** A config that is complete: all defaults, the objective as its terms, all paths absolute. */
export interface Config extends Omit<ParsedConfig, 'losses'> {
  losses: ObjectiveTerm[];
}

export interface LoadConfigOptions {
  /** Overrides as on the command line, `training.batchSize=4`; their values are YAML. */
  set?: readonly string[];
}

/**
 * Loads and validates a config file. Relative paths in the file are taken from the file's folder, those in overrides from
 * the working folder. Throws `UserError` that lists all problems.
 */
export async function loadConfig(file: string, options: LoadConfigOptions = {}): Promise<Config> {
  const { value, ...place } = await readConfigFile(file);
  return parseConfig(value, { ...options, ...place });
}

interface ParseOptions extends LoadConfigOptions {
  /** What the messages call the config. */
  name?: string;
  /** Where its relative paths start; default: the working folder. */
  folder?: string;
  locate?: (problem: Problem) => number | undefined;
}

/** Validates a config given as a value (as `loadConfig` does after reading). Throws `UserError` that lists all problems. */
export function parseConfig(value: unknown, options: ParseOptions = {}): Config {
  const name = options.name ?? 'the config';
  const { merged, overridden } = applyOverrides(value, options.set ?? []);
  const checked = checkConfig(merged);
  throwProblems(name, checked.problems, overridden, options.locate);
  const config = completeConfig(checked.parsed!, (path) => (overridden.has(path) ? process.cwd() : (options.folder ?? process.cwd())));
  if (config.output.folder === null && options.name !== undefined) {
    config.output.folder = resolve('runs', basename(options.name, extname(options.name)));
  }
  return config;
}

/** A config with its defaults, or what is wrong with it. */
export function checkConfig(value: unknown): { parsed?: ParsedConfig; problems: Problem[] } {
  const parsed = configSchema.safeParse(value, { reportInput: true });
  if (!parsed.success) return { problems: describeProblems(parsed.error.issues, configJsonSchema()) };
  // Contradictions between values can only be seen where the values themselves are right.
  return { parsed: parsed.data, problems: contradictions(parsed.data) };
}

/** The objective as its terms, paths absolute. `base` gives the folder that a path starts from, by its place in the config. */
export function completeConfig(parsed: ParsedConfig, base: (path: string) => string): Config {
  const config = { ...structuredClone(parsed), losses: expandObjective(parsed.losses, parsed.drafter.blockSize) };
  resolvePaths(config, base);
  return config;
}

/** The config as YAML text, as it is saved with a run; reading it back gives the same config. */
export function formatConfig(config: Config): string {
  return stringify(config, { lineWidth: 0 });
}

/** What is wrong between values that are right by themselves. */
function contradictions(config: ParsedConfig): Problem[] {
  const problems: Problem[] = [];
  const { data, capture, drafter, training } = config;
  const sources = (['cache', 'tokens', 'prompts'] as const).filter((key) => data[key] !== null);
  if (sources.length !== 1) {
    const found = sources.length === 0 ? 'none is given' : `found ${sources.join(' and ')} (null takes one out, as in --set data.${sources.at(-1)}=null)`;
    problems.push({ path: ['data'], message: `exactly one of cache, tokens and prompts is needed; ${found}` });
  }
  if (capture.mode === 'online' && data.cache !== null) {
    problems.push({ path: ['capture', 'mode'], message: 'online capture reads token sequences: give data.tokens or data.prompts in place of data.cache' });
  }
  if (training.steps !== null && training.epochs !== null) {
    problems.push({ path: ['training', 'epochs'], message: `steps (${training.steps}) and epochs (${training.epochs}) contradict each other: set one to null` });
  }
  if (data.maxLength <= drafter.blockSize) {
    problems.push({ path: ['data', 'maxLength'], message: `found ${data.maxLength}; it must be above the block size, ${drafter.blockSize}` });
  }
  if (Array.isArray(drafter.taps) && new Set(drafter.taps).size !== drafter.taps.length) {
    problems.push({ path: ['drafter', 'taps'], message: `found ${JSON.stringify(drafter.taps)}; a layer can be tapped once` });
  }
  if (drafter.heads !== null && drafter.keyValueHeads !== null && drafter.heads % drafter.keyValueHeads !== 0) {
    problems.push({
      path: ['drafter', 'keyValueHeads'],
      message: `found ${drafter.keyValueHeads}; it must divide the ${drafter.heads} heads`,
    });
  }
  const distilling = distillingTerms(expandObjective(config.losses, drafter.blockSize));
  if (distilling.length > 0 && data.cache === null && capture.mode === 'cached' && capture.topLogProbs === 0) {
    problems.push({
      path: ['capture', 'topLogProbs'],
      message: `found 0, but ${distilling.join(' and ')} needs the target's log-probabilities: 32 is a good start`,
    });
  }
  return problems;
}

function resolvePaths(config: Config, base: (path: string) => string): void {
  const absolute = (path: string, value: string) => (isAbsolute(value) ? value : resolve(base(path), value));
  config.target = resolveTarget(config.target, base('target'));
  for (const key of ['cache', 'tokens'] as const) {
    if (config.data[key] !== null) config.data[key] = absolute(`data.${key}`, config.data[key]);
  }
  const { prompts } = config.data;
  const input = (text: string) => {
    const [, domain = '', file = text] = /^([\w .-]+=)?(.+)$/.exec(text) ?? [];
    return `${domain}${absolute('data.prompts', file)}`;
  };
  if (typeof prompts === 'string') config.data.prompts = input(prompts);
  else if (prompts !== null) config.data.prompts = prompts.map(input);
  if (config.capture.folder !== null) config.capture.folder = absolute('capture.folder', config.capture.folder);
  if (config.drafter.initFrom !== null) config.drafter.initFrom = absolute('drafter.initFrom', config.drafter.initFrom);
  if (config.output.folder !== null) config.output.folder = absolute('output.folder', config.output.folder);
}

/** A target is a folder where it looks like a path or is one; `demo` is the built-in one; anything else is a Hugging Face id. */
export function resolveTarget(target: string, folder: string): string {
  if (target === 'demo') return join(packageRoot(), 'data/demo-target');
  if (isAbsolute(target)) return target;
  const local = resolve(folder, target);
  return /^\.\.?(\/|$)/.test(target) || existsSync(local) ? local : target;
}
