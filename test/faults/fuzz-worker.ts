// One process of the fuzzer: damages one kind of file, case by case, and reads each. By hand, for one case of a report:
//   node dist/test/faults/fuzz-worker.js KIND SEED FIRST [PAST-LAST] [--keep]
import { cpSync, existsSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from '../../src/random.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { fuzzTargets, listing } from './fuzz-targets.js';

/** What a range of cases gave. */
export interface FuzzReport {
  cases: number;
  refused: number;
  accepted: number;
  /** Cases that broke a promise, each with why. */
  findings: { case: number; what: string }[];
  /** Greatest CPU time of one case. */
  slowestMs: number;
  /** Memory before the first case, and the most there ever was. */
  startBytes: number;
  peakBytes: number;
}

/** A case's bounds. CPU time, which a busy machine does not lengthen; the limits for templates and patterns are a few seconds. */
const mostCpuMs = 5000;
const mostGrowthBytes = 768 * 2 ** 20;

async function main(kind: string, seed: number, first: number, end: number, keep: boolean): Promise<FuzzReport> {
  await loadTensorflow({ threads: 1 });
  const target = fuzzTargets[kind];
  if (target === undefined) throw new Error(`no kind "${kind}"; there are ${Object.keys(fuzzTargets).join(', ')}`);
  const root = mkdtempSync(join(process.env['FUZZ_FOLDER'] ?? tmpdir(), 'draftalign-fuzz-'));
  const progress = openSync(join(root, 'progress'), 'w');
  const whole = join(root, 'whole');
  // Whatever is written by a relative path, or to the home folder, shows here.
  const elsewhere = join(root, 'elsewhere');
  for (const folder of [whole, elsewhere]) mkdirSync(folder);
  await target.prepare(whole);
  process.chdir(elsewhere);
  process.env['HOME'] = elsewhere;
  console.log(JSON.stringify({ root }));
  const report: FuzzReport = { cases: 0, refused: 0, accepted: 0, findings: [], slowestMs: 0, startBytes: process.memoryUsage.rss(), peakBytes: 0 };
  const tensors = tf.memory().numTensors;
  try {
    for (let number = first; number < end; number++) {
      writeSync(progress, String(number).padEnd(12), 0);
      const folder = join(root, 'case');
      rmSync(folder, { recursive: true, force: true });
      cpSync(whole, folder, { recursive: true });
      target.change(folder, Random.fork(seed, kind, number));
      const before = listing(folder);
      const residentBytes = process.memoryUsage.rss();
      const started = process.cpuUsage();
      const find = (what: string): number => report.findings.push({ case: number, what });
      try {
        await target.read(folder);
        report.accepted++;
      } catch (error) {
        report.refused++;
        const { name, message, stack } = error as Error;
        if (name !== 'UserError') find(String(stack).slice(0, 1500));
        else if (message.length > 20_000) find(`a message of ${message.length} characters: ${message.slice(0, 300)}`);
      }
      const { user, system } = process.cpuUsage(started);
      const cpuMs = (user + system) / 1000;
      report.cases++;
      report.slowestMs = Math.max(report.slowestMs, cpuMs);
      if (cpuMs > mostCpuMs) find(`took ${cpuMs.toFixed(0)} ms`);
      if (process.memoryUsage.rss() - residentBytes > mostGrowthBytes) find(`memory grew by ${process.memoryUsage.rss() - residentBytes} bytes`);
      if (listing(folder) !== before) find(`files were written: ${difference(before, listing(folder))}`);
      if (readdirSync(elsewhere).length > 0) find(`files were written outside: ${readdirSync(elsewhere).join()}`);
      if (tf.memory().numTensors !== tensors) {
        find(`${tf.memory().numTensors - tensors} tensors are left`);
        break;
      }
      if (({} as { polluted?: unknown }).polluted !== undefined) find('Object.prototype was changed');
      if (report.findings.length > 20) break;
    }
    const descriptors = existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0;
    if (descriptors > 200) report.findings.push({ case: end, what: `${descriptors} files are left open` });
  } finally {
    process.chdir('/');
    if (!keep) rmSync(root, { recursive: true, force: true });
  }
  report.peakBytes = process.resourceUsage().maxRSS * 1024;
  return report;
}

function difference(before: string, after: string): string {
  const known = new Set(before.split('\n'));
  return after.split('\n').filter((line) => !known.has(line)).join('; ');
}

const [kind = '', seed, first, end] = process.argv.slice(2).filter((argument) => argument !== '--keep');
const report = await main(kind, Number(seed), Number(first), end === undefined ? Number(first) + 1 : Number(end), process.argv.includes('--keep'));
console.log(JSON.stringify(report));
