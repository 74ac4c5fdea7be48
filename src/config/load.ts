// Reads a config: YAML, overrides from the command line, validation as a whole, paths made absolute.
// Every problem of a file is told at once, each with its line.
import { readFile, stat } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { basename, dirname, extname, isAbsolute, join, resolve } from 'node:path';
import { LineCounter, parse, parseDocument, stringify, type Document } from 'yaml';
import { UserError } from '../errors.js';
import { packageRoot } from '../package-root.js';
import { configJsonSchema } from './json-schema.js';
import type { ObjectiveTerm } from '../../losses/terms.js';
import { distillingTerms, expandObjective } from './losses.js';
import { describeProblems, formatPath, type Problem } from './problems.js';
import { configSchema, type ParsedConfig } from './schema.js';

/** A config that is complete: all defaults, the objective as its terms, all paths absolute. */
export interface Config extends Omit<ParsedConfig, 'losses'> {
  losses: ObjectiveTerm[];
}

export interface LoadConfigOptions {
  /** Overrides as on the command line, `training.batchSize=4`; their values are YAML. */
  set?: readonly string[];
}

const maxConfigBytes = 1 << 20;

/**
 * Loads and validates a config file. Relative paths in the file are taken from the file's folder, those in overrides from
 * the working folder. Throws `UserError` that lists all problems.
 */
export async function loadConfig(file: string, options: LoadConfigOptions = {}): Promise<Config> {
  const info = await stat(file).catch(() => undefined);
  if (info === undefined || !info.isFile()) {
    throw new UserError(`no config file at ${file}. Runnable ones lie in ${join(packageRoot(), 'configs')}.`);
  }
  if (info.size > maxConfigBytes) throw new UserError(`${file} has ${info.size} bytes; a config has at most ${maxConfigBytes}.`);
  const text = await readFile(file, 'utf8');
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    const list = document.errors.map((error) => `  ${file}:${lines.linePos(error.pos[0]).line}: ${error.message}`);
    throw new UserError(`${file} is not valid YAML:\n${list.join('\n')}`);
  }
  const locate = (problem: Problem) => lineOf(document, lines, problem.path);
  return parseConfig(yamlValue(document, file), { ...options, name: file, folder: dirname(resolve(file)), locate });
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
  const overrides = (options.set ?? []).map(parseOverride);
  let merged: unknown = structuredClone(value ?? {});
  for (const override of overrides) merged = applyOverride(merged, override);
  const overridden = new Set(overrides.map((override) => override.path.join('.')));
  const parsed = configSchema.safeParse(merged, { reportInput: true });
  const problems = parsed.success ? [] : describeProblems(parsed.error.issues, configJsonSchema());
  // Contradictions between values can only be seen where the values themselves are right.
  if (parsed.success) problems.push(...contradictions(parsed.data));
  if (problems.length > 0) {
    const list = problems.map((problem) => {
      const place = formatPath(problem.path);
      const fromOverride = [...overridden].some((path) => place === path || place.startsWith(`${path}.`));
      const line = fromOverride ? undefined : options.locate?.(problem);
      return `  ${place}: ${problem.message}${fromOverride ? ' (from --set)' : line === undefined ? '' : ` (line ${line})`}`;
    });
    throw new UserError(`${name} has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}:\n${list.join('\n')}`);
  }
  const config = { ...parsed.data!, losses: expandObjective(parsed.data!.losses, parsed.data!.drafter.blockSize) };
  resolvePaths(config, (path) => (overridden.has(path) ? process.cwd() : (options.folder ?? process.cwd())));
  if (config.output.folder === null && options.name !== undefined) {
    config.output.folder = resolve('runs', basename(options.name, extname(options.name)));
  }
  return config;
}

/** The config as YAML text, as it is saved with a run; reading it back gives the same config. */
export function formatConfig(config: Config): string {
  return stringify(config, { lineWidth: 0 });
}

function yamlValue(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new UserError(`${file} is not valid YAML: ${(error as Error).message}`);
  }
}

/** What is wrong between values that are right by themselves. */
function contradictions(config: ParsedConfig): Problem[] {
  const problems: Problem[] = [];
  const { data, capture, drafter, training } = config;
  const sources = (['cache', 'tokens', 'prompts'] as const).filter((key) => data[key] !== null);
  if (sources.length !== 1) {
    const found = sources.length === 0 ? 'none is given' : `found ${sources.join(' and ')}`;
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

interface Override {
  path: (string | number)[];
  value: unknown;
}

function parseOverride(text: string): Override {
  const equals = text.indexOf('=');
  if (equals < 1) throw new UserError(`--set ${text}: expected key=value, such as --set training.batchSize=4.`);
  const path = text.slice(0, equals).split('.').map((part) => (/^\d+$/.test(part) ? Number(part) : part));
  try {
    return { path, value: parse(text.slice(equals + 1)) ?? null };
  } catch (error) {
    throw new UserError(`--set ${text}: the value is not YAML (${(error as Error).message.split('\n')[0]}).`);
  }
}

/** A copy of `value` with one place set; sections that are missing on the way are made. Own keys only: no prototype is reached. */
function applyOverride(value: unknown, override: Override): unknown {
  const [key, ...rest] = override.path;
  if (key === undefined) return override.value;
  const inner = { path: rest, value: override.value };
  if (Array.isArray(value)) {
    if (typeof key !== 'number' || key >= value.length) {
      throw new UserError(`--set: no entry ${key} in a list of ${value.length}.`);
    }
    return value.map((entry: unknown, index) => (index === key ? applyOverride(entry, inner) : entry));
  }
  const entries = new Map(Object.entries(typeof value === 'object' && value !== null ? value : {}));
  entries.set(String(key), applyOverride(entries.get(String(key)), inner));
  return Object.fromEntries(entries);
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

/** The line of the file where a path stands, or of its nearest parent that is there. */
function lineOf(document: Document, lines: LineCounter, path: PropertyKey[]): number | undefined {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true) as { range?: [number, number, number] } | undefined;
    if (node?.range !== undefined && node.range !== null) return lines.linePos(node.range[0]).line;
  }
  return undefined;
}
