// Turns what zod found wrong into lines a person can act on: where, what was found, what is allowed, and the likely
// intention behind a misspelt key or name. What is allowed is read from the JSON Schema, so there is one definition.
import type { z } from 'zod';

/** A JSON Schema node, as far as it is looked at here. */
export interface SchemaNode {
  type?: string | string[];
  description?: string;
  properties?: Record<string, SchemaNode>;
  /** What every key that is not among `properties` leads to; `false` where there may be none. */
  additionalProperties?: SchemaNode | boolean;
  items?: SchemaNode;
  anyOf?: SchemaNode[];
  oneOf?: SchemaNode[];
  enum?: unknown[];
  const?: unknown;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minItems?: number;
  maxItems?: number;
  minLength?: number;
}

type Path = PropertyKey[];

/** One thing that is wrong with a config. */
export interface Problem {
  path: Path;
  /** The whole message, without its place. */
  message: string;
}

/** Writes a path as in `--set`: `training.batchSize`, `losses.1.gamma`. */
export function formatPath(path: Path): string {
  return path.length === 0 ? 'the config' : path.map(String).join('.');
}

/** All problems of one validation, misspellings explained; `schema` is the JSON Schema of the same definition. */
export function describeProblems(issues: readonly z.core.$ZodIssue[], schema: SchemaNode): Problem[] {
  return issues.flatMap((issue) => describeIssue(issue, [], schema));
}

function describeIssue(issue: z.core.$ZodIssue, prefix: Path, schema: SchemaNode): Problem[] {
  const path = [...prefix, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    const node = nodesAt(schema, path, issue.input);
    const known = [...new Set(node.flatMap((one) => Object.keys(one.properties ?? {})))];
    return issue.keys.map((key) => {
      const near = nearest(key, known);
      const hint = near === undefined ? `known here: ${known.join(', ')}` : `did you mean \`${near}\`?`;
      return { path: [...path, key], message: `no such key; ${hint}` };
    });
  }
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    // The branch that was meant is the one that the value enters: its complaints lie inside the value, not on it.
    const entered = issue.errors.find((branch) => branch.every((one) => one.path.length > 0 || one.code === 'unrecognized_keys'));
    if (entered !== undefined) return entered.flatMap((one) => describeIssue(one, path, schema));
  }
  if (issue.code === 'custom') return [{ path, message: issue.message }];
  const allowed = nodesAt(schema, path, undefined);
  // A kind of term that is not known is told on the whole term.
  const input = 'discriminator' in issue ? (issue.input as Record<PropertyKey, unknown>)[path.at(-1)!] : issue.input;
  const found = input === undefined ? 'missing' : `found ${formatValue(input)}`;
  const names = allowed.flatMap(namesOf);
  const near = typeof input === 'string' ? nearest(input, names) : undefined;
  const hint = near === undefined ? '' : `; did you mean \`${near}\`?`;
  const onlyNames = allowed.length > 1 && allowed.every((node) => node.const !== undefined);
  const list = onlyNames ? `one of ${names.join(', ')}` : [...new Set(allowed.map(describeAllowed))].join(', or ');
  return [{ path, message: `${found}; allowed: ${list || issue.message}${hint}` }];
}

/** The schema nodes that a path leads to; several where a union stands on the way. `value` picks none out. */
function nodesAt(schema: SchemaNode, path: Path, value: unknown): SchemaNode[] {
  let nodes = branches(schema);
  for (const key of path) {
    nodes = nodes.flatMap((node) => {
      const others = typeof node.additionalProperties === 'object' ? node.additionalProperties : undefined;
      const next = typeof key === 'number' ? node.items : (node.properties?.[String(key)] ?? others);
      return next === undefined ? [] : branches(next);
    });
  }
  // Among terms of a list, the one whose constant (its kind) the value carries.
  const record = value as Record<string, unknown> | undefined;
  const fitting = nodes.filter((node) =>
    Object.entries(node.properties ?? {}).every(([key, property]) => property.const === undefined || property.const === record?.[key]),
  );
  return value !== undefined && fitting.length > 0 ? fitting : nodes;
}

/** The alternatives of a node; itself where it has none. */
export function branches(node: SchemaNode): SchemaNode[] {
  const inner = node.anyOf ?? node.oneOf;
  return inner === undefined ? [node] : inner.flatMap(branches);
}

function namesOf(node: SchemaNode): string[] {
  return [...(node.enum ?? []), ...(node.const === undefined ? [] : [node.const])].filter((one) => typeof one === 'string');
}

/** What a node allows, in words. */
export function describeAllowed(node: SchemaNode): string {
  if (node.enum !== undefined) return `one of ${node.enum.map((one) => String(one)).join(', ')}`;
  if (node.const !== undefined) return String(node.const);
  const types = Array.isArray(node.type) ? node.type : [node.type ?? 'any value'];
  return types.map((type) => describeType(type, node)).join(' or ');
}

function describeType(type: string, node: SchemaNode): string {
  if (type === 'number' || type === 'integer') {
    const bounds: string[] = [];
    if (node.minimum !== undefined && node.minimum > Number.MIN_SAFE_INTEGER) bounds.push(`at least ${node.minimum}`);
    if (node.exclusiveMinimum !== undefined) bounds.push(`above ${node.exclusiveMinimum}`);
    if (node.maximum !== undefined && node.maximum < Number.MAX_SAFE_INTEGER) bounds.push(`at most ${node.maximum}`);
    if (node.exclusiveMaximum !== undefined) bounds.push(`below ${node.exclusiveMaximum}`);
    return [type === 'integer' ? 'a whole number' : 'a number', bounds.join(' and ')].filter(Boolean).join(' ');
  }
  if (type === 'array') {
    const items = node.items === undefined ? 'values' : [...new Set(branches(node.items).map(describeAllowed))].join(' or ');
    return `a list of ${items}${node.minItems === undefined ? '' : ` (at least ${node.minItems})`}`;
  }
  if (type === 'object') return `a section with ${Object.keys(node.properties ?? {}).join(', ')}`;
  if (type === 'boolean') return 'true or false';
  if (type === 'string') return node.minLength === undefined ? 'text' : 'text that is not empty';
  return type;
}

/** A value as it is shown in a message: short, on one line. */
export function formatValue(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  const short = text.length > 60 ? `${text.slice(0, 57)}…` : text;
  return typeof value === 'object' ? short : `${short} (${typeof value})`;
}

/** The candidate that a misspelt word most likely meant, or undefined where none is near. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(plain(word), plain(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Case and the ways of joining words do not count: `batch_size` is `batchSize`. */
function plain(word: string): string {
  return word.slice(0, 64).toLowerCase().replace(/[-_ ]/g, '');
}

/** Insertions, deletions, changes and swaps of neighbours between two words (Damerau's distance, restricted). */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(previous[j]! + 1, current[j - 1]! + 1, change);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, before[j - 2]! + 1);
      current.push(cost);
    }
    before = previous;
    previous = current;
  }
  return previous[b.length]!;
}
