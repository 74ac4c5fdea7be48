// The config reference (docs/config.md) as Markdown, written from the same definition that checks a config.
import { configJsonSchema } from './json-schema.js';
import { namedObjectives } from './losses.js';
import { branches, describeAllowed, type SchemaNode } from './problems.js';

/** The text of docs/config.md. */
export function configReferenceText(): string {
  const { properties = {} } = configJsonSchema();
  const sections = Object.entries(properties).filter(([, node]) => node.properties !== undefined);
  const loose = Object.entries(properties).filter(([, node]) => node.properties === undefined);
  return [
    '# The config of a run',
    '',
    'Written by `npm run schema` from the definition that checks a config; `configs/schema.json` is the same for editors. A run is one YAML file.',
    'Every key that is not known is an error, and all that is wrong is told at once. `--set training.steps=500` overrides one value.',
    'Paths are relative to the file.',
    '',
    ...table(loose.map(([name, node]) => [name, name === 'losses' ? { ...node, anyOf: [{ type: 'a name or a list; see below' }] } : node])),
    '',
    ...sections.flatMap(([name, node]) => [`## \`${name}\``, '', node.description ?? '', '', ...table(flatten(Object.entries(node.properties!))), '']),
    ...lossSections(properties['losses']!),
  ].join('\n');
}

function lossSections(losses: SchemaNode): string[] {
  const terms = branches(losses).flatMap((node) => (node.items === undefined ? [] : branches(node.items)));
  return [
    '## `losses`',
    '',
    'A named objective, or a list of weighted terms. `losses/README.md` says what each term rewards and when it fails. A number that may be a schedule is',
    'also written `{ from: 0, to: 40, over: 0.25 }`: linear over that share of the run, then constant.',
    '',
    '| name | stands for |',
    '|---|---|',
    ...Object.entries(namedObjectives).map(([name, list]) => `| \`${name}\` | ${list.map((term) => `\`${JSON.stringify(term).replaceAll('"', '').replaceAll(',', ', ').replaceAll(':', ': ')}\``).join('<br>')} |`),
    '',
    ...terms.flatMap((node) => {
      const { term, ...options } = node.properties!;
      return [`### \`term: ${String(term!.const)}\``, '', node.description ?? '', '', ...table(Object.entries(options)), ''];
    }),
  ];
}

/** Sections within a section become dotted keys. */
function flatten(entries: [string, SchemaNode][]): [string, SchemaNode][] {
  return entries.flatMap(([name, node]) => {
    const inner = branches(node).find((branch) => branch.properties !== undefined);
    return inner === undefined ? [[name, node] as [string, SchemaNode]] : [[name, node] as [string, SchemaNode], ...flatten(Object.entries(inner.properties!)).map(([key, value]): [string, SchemaNode] => [`${name}.${key}`, value])];
  });
}

function table(entries: [string, SchemaNode & { default?: unknown }][]): string[] {
  return [
    '| key | allowed | default | meaning |',
    '|---|---|---|---|',
    ...entries.map(([name, node]) => `| \`${name}\` | ${cell(allowedOf(node))} | ${defaultOf(node)} | ${cell(meaningOf(node))} |`),
  ];
}

function allowedOf(node: SchemaNode): string {
  const parts = branches(node).map((branch) => (branch.properties !== undefined && 'from' in branch.properties ? 'a schedule' : describeAllowed(branch)));
  return [...new Set(parts)].join(', or ');
}

function defaultOf(node: SchemaNode & { default?: unknown }): string {
  return node.default === undefined ? '' : `\`${JSON.stringify(node.default)}\``;
}

function meaningOf(node: SchemaNode): string {
  return node.description ?? branches(node).find((branch) => branch.description !== undefined)?.description ?? '';
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
