// Runs the test files of test/ with node's own runner, on any supported Node version, and ends with `N passed, N failed`.
// `npm test -- PART` runs the files whose path holds PART.
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { packageRoot } from '../src/package-root.js';
import { ensureTensorflow } from '../src/tensorflow/setup.js';

const folder = join(packageRoot(), 'dist', 'test');
const part = process.argv[2] ?? '';
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.test.js') && (name.startsWith('faults/') ? part.startsWith('faults') : true))
  .map((name) => join(folder, name))
  .filter((path) => relative(folder, path).includes(part))
  .sort();
if (files.length === 0) {
  console.error(`no test file has "${part}" in its path below ${folder}`);
  process.exit(1);
}

await ensureTensorflow();

const counts = { passed: 0, failed: 0, skipped: 0 };
const stream = run({ files, concurrency: Math.max(2, Math.ceil(availableParallelism() / 2)) });
const isSuite = (event: { details: object }): boolean => (event.details as { type?: string }).type === 'suite';
// A file that dies outside its tests is reported as a failed test of its own.
stream.on('test:pass', (event) => {
  if (isSuite(event)) return;
  if (event.skip !== undefined && event.skip !== false) counts.skipped++;
  else counts.passed++;
});
const deaths: string[] = [];
stream.on('test:fail', (event) => {
  if (isSuite(event)) return;
  counts.failed++;
  const { signal } = event.details.error as { signal?: string | null };
  if (signal) deaths.push(`${event.name}: its process was ended by ${signal}`);
});
const report = stream.compose(new spec());
// Behind the reporter's own summary, so that the counts are the last line.
report.on('end', () => {
  for (const death of deaths) console.log(death);
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  if (counts.failed > 0 || counts.passed === 0) process.exitCode = 1;
});
report.pipe(process.stdout);
