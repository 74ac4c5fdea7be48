// Writes docs/dependencies.md from package.json and the lock file (`npm run dependencies`): what a user installs, under which licences, and why.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../src/files.js';
import { packageRoot } from '../src/package-root.js';

interface LockedPackage {
  version: string;
  license?: string;
  dev?: boolean;
  optional?: boolean;
  hasInstallScript?: boolean;
}

const purposes: Record<string, string> = {
  '@huggingface/hub': 'downloads models by id, uploads drafters',
  '@huggingface/jinja': 'chat templates',
  '@huggingface/tokenizers': 'tokenizers, as `tokenizer.json` describes them',
  '@resvg/resvg-js': 'figures as PNG',
  '@tensorflow/tfjs-node-gpu': 'all tensors, on CPU and CUDA',
  'apache-arrow': 'the cache of target features',
  hyparquet: 'Parquet files',
  'node-api-headers': 'headers to build the TensorFlow addon with, so that nothing is downloaded for it',
  vega: 'figures',
  'vega-lite': 'figures',
  yaml: 'configs, with line numbers for messages',
  yargs: 'the command line',
  zod: 'the definition of configs: types, checks, JSON Schema',
};

/** The text of docs/dependencies.md. Throws where a direct dependency has no purpose above. */
export function dependenciesText(): string {
  const read = (name: string): unknown => JSON.parse(readFileSync(join(packageRoot(), name), 'utf8'));
  const { dependencies, overrides } = read('package.json') as { dependencies: Record<string, string>; overrides: Record<string, string> };
  const { packages } = read('package-lock.json') as { packages: Record<string, LockedPackage> };
  const installed = Object.entries(packages)
    .filter(([path, { dev }]) => path !== '' && dev !== true)
    .map(([path, locked]) => ({ name: path.split('node_modules/').at(-1)!, ...locked }));
  const direct = Object.keys(dependencies).map((name) => {
    const purpose = purposes[name];
    if (purpose === undefined) throw new Error(`scripts/write-dependencies.ts does not say what ${name} is for`);
    const { version, license } = packages[`node_modules/${name}`]!;
    return `| \`${name}\` | ${version} | ${license ?? 'not stated'} | ${purpose} |`;
  });
  const licences = new Map<string, Set<string>>();
  for (const { name, license = 'not stated' } of installed) licences.set(license, (licences.get(license) ?? new Set()).add(name));
  const byLicence = [...licences].sort(([a, x], [b, y]) => y.size - x.size || (a < b ? -1 : 1));
  const listed = (names: Iterable<string>): string => [...new Set(names)].sort().map((name) => `\`${name}\``).join(', ');
  const scripts = listed(installed.filter(({ hasInstallScript }) => hasInstallScript === true).map(({ name }) => name));
  return `# Dependencies

Written by \`npm run dependencies\` from package.json and the lock file. Versions are pinned; the lock file holds the hash of every package.

| package | version | licence | for |
|---|---|---|---|
${direct.join('\n')}

TensorFlow's library itself comes from its official Python wheel (Apache-2.0), at first use.

## Licences of all that a user installs

${new Set(installed.map(({ name }) => name)).size} packages, packages for other platforms among them.

| licence | packages |
|---|---|
${byLicence.map(([licence, names]) => `| ${licence} | ${names.size}: ${listed(names)} |`).join('\n')}

## Lifted and left out

- Lifted by \`overrides\`, since the versions that others ask for have known flaws: ${Object.entries(overrides).map(([name, version]) => `\`${name}\` to ${version}`).join(', ')} (it unpacks what the installer
  of \`@tensorflow/tfjs-node-gpu\` downloads; a test does so with the lifted version).
- \`npm audit\` asks a service of the registry that was out of reach where these versions were chosen; the lifting above is from the published advisories.
- Install scripts are not run (\`.npmrc\`). These packages have one: ${scripts}. What TensorFlow's would do, draftalign does itself at first use.
`;
}

if (process.argv[1]?.endsWith('write-dependencies.js') === true) {
  await writeFileAtomic(join(packageRoot(), 'docs/dependencies.md'), dependenciesText());
  console.log('wrote docs/dependencies.md');
}
