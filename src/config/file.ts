// A config file before it is understood: YAML with its lines, overrides from the command line, and the one way in which all problems
// of a file are told at once. Runs and studies are read through it.
import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { LineCounter, parse, parseDocument, type Document } from 'yaml';
import { UserError } from '../errors.js';
import { packageRoot } from '../package-root.js';
import { formatPath, type Problem } from './problems.js';

/** A file's value and where its parts stand. */
export interface ConfigFile {
  value: unknown;
  name: string;
  /** Where its relative paths start. */
  folder: string;
  /** The line of a problem's place, or of its nearest parent that is there. */
  locate: (problem: Problem) => number | undefined;
}

const maxConfigBytes = 1 << 20;

/** Reads a YAML file. Throws `UserError` where it is missing, too large, or no YAML. */
export async function readConfigFile(file: string): Promise<ConfigFile> {
  const info = await stat(file).catch(() => undefined);
  if (info === undefined || !info.isFile()) {
    throw new UserError(`no config file at ${file}. Runnable ones lie in ${join(packageRoot(), 'configs')}.`);
  }
  if (info.size > maxConfigBytes) throw new UserError(`${file} has ${info.size} bytes; a config has at most ${maxConfigBytes}.`);
  const text = await readFile(file, 'utf8');
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    const list = document.errors.slice(0, 20).map((error) => `  ${file}:${lines.linePos(error.pos[0]).line}: ${error.message}`);
    throw new UserError(`${file} is not valid YAML:\n${list.join('\n')}`);
  }
  return { value: yamlValue(document, file), name: file, folder: dirname(resolve(file)), locate: (problem) => lineOf(document, lines, problem.path) };
}

/** A value with overrides in place, and the places that they set. */
export function applyOverrides(value: unknown, set: readonly string[]): { merged: unknown; overridden: ReadonlySet<string> } {
  const overrides = set.map(parseOverride);
  let merged: unknown = structuredClone(value ?? {});
  for (const override of overrides) merged = applyOverride(merged, override);
  return { merged, overridden: new Set(overrides.map((override) => override.path.join('.'))) };
}

/** Throws `UserError` that lists all problems, each with its line or the word that an override made it; returns where there are none. */
export function throwProblems(name: string, problems: readonly Problem[], overridden: ReadonlySet<string>, locate?: (problem: Problem) => number | undefined): void {
  if (problems.length === 0) return;
  const list = problems.map((problem) => {
    const place = formatPath(problem.path);
    const fromOverride = [...overridden].some((path) => place === path || place.startsWith(`${path}.`));
    const line = fromOverride ? undefined : locate?.(problem);
    return `  ${place}: ${problem.message}${fromOverride ? ' (from --set)' : line === undefined ? '' : ` (line ${line})`}`;
  });
  throw new UserError(`${name} has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}:\n${list.join('\n')}`);
}

/** One place of a config and its new value. */
export interface Override {
  path: (string | number)[];
  value: unknown;
}

/** Reads `training.batchSize=4`; the value is YAML. Throws `UserError` where it is not. */
export function parseOverride(text: string): Override {
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
export function applyOverride(value: unknown, override: Override): unknown {
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

function yamlValue(document: Document, file: string): unknown {
  try {
    const value: unknown = document.toJS({ maxAliasCount: 100 });
    // An alias inside its own anchor makes a value that holds itself; JSON finds it.
    JSON.stringify(value);
    return value;
  } catch (error) {
    throw new UserError(`${file} is not valid YAML: ${(error as Error).message}`);
  }
}

/** The line of the file where a path stands, or of its nearest parent that is there. */
function lineOf(document: Document, lines: LineCounter, path: PropertyKey[]): number | undefined {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true) as { range?: [number, number, number] } | undefined;
    if (node?.range !== undefined && node.range !== null) return lines.linePos(node.range[0]).line;
  }
  return undefined;
}
