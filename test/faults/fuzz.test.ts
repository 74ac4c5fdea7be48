// The mutation fuzzer: damaged files of every kind that the commands read, by the thousand, in processes of their own that are
// watched. A case is named by kind, seed and number, and `node dist/test/faults/fuzz-worker.js KIND SEED NUMBER` runs it again.
//   FUZZ_SEED (default below) draws other cases; FUZZ_CASES sets how many of each kind.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { packageRoot } from '../../src/package-root.js';
import type { FuzzReport } from './fuzz-worker.js';

const seed = Number(process.env['FUZZ_SEED'] ?? 20260711);
const casesPerKind = Number(process.env['FUZZ_CASES'] ?? 1300);
/** No case is over in this time only where it hangs: its own CPU time is bounded far below. */
const hangMs = 60_000;
const mostPeakBytes = 2 * 2 ** 30;

const kinds = [
  'safetensors',
  'target weights and index',
  'target config',
  'drafter config',
  'drafter config, speculators',
  'Arrow shards',
  'cache manifest',
  'tokenizer',
  'tokenizer of the demo target',
  'tokenizer config',
  'chat template',
  'prompts',
  'Parquet rows',
  'conversations',
  'run config',
  'run folder',
  'TensorBoard events',
];

/** Runs cases in a process of their own; where it dies or hangs, that is a finding, and the next process goes on behind that case. */
async function fuzz(kind: string): Promise<FuzzReport> {
  const total: FuzzReport = { cases: 0, refused: 0, accepted: 0, findings: [], slowestMs: 0, startBytes: 0, peakBytes: 0 };
  let next = 0;
  while (next < casesPerKind && total.findings.length < 20) {
    const { report, death, lastCase } = await runWorker(kind, next);
    if (report !== undefined) {
      total.cases += report.cases;
      total.refused += report.refused;
      total.accepted += report.accepted;
      total.findings.push(...report.findings);
      total.slowestMs = Math.max(total.slowestMs, report.slowestMs);
      total.startBytes = Math.max(total.startBytes, report.startBytes);
      total.peakBytes = Math.max(total.peakBytes, report.peakBytes);
      next += Math.max(1, report.cases);
    } else {
      total.findings.push({ case: lastCase, what: death });
      next = lastCase + 1;
    }
  }
  return total;
}

async function runWorker(kind: string, first: number): Promise<{ report?: FuzzReport; death: string; lastCase: number }> {
  const worker = join(packageRoot(), 'dist/test/faults/fuzz-worker.js');
  const child = spawn(process.execPath, [worker, kind, String(seed), String(first), String(casesPerKind)], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let errors = '';
  child.stdout.on('data', (data: Buffer) => (output += data.toString()));
  child.stderr.on('data', (data: Buffer) => (errors = (errors + data.toString()).slice(-2000)));
  const progress = (): string => {
    try {
      return readFileSync(join((JSON.parse(output.split('\n')[0]!) as { root: string }).root, 'progress'), 'utf8').trim();
    } catch {
      return '';
    }
  };
  let lastCase = '';
  let since = Date.now();
  let hung = false;
  const watch = setInterval(() => {
    const now = progress();
    if (now !== lastCase) {
      lastCase = now;
      since = Date.now();
    } else if (Date.now() - since > hangMs) {
      hung = true;
      child.kill('SIGKILL');
    }
  }, 250);
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => child.on('close', (code, signal) => resolve([code, signal])));
  clearInterval(watch);
  const line = output.split('\n').find((text) => text.startsWith('{"cases"'));
  if (code === 0 && line !== undefined) return { report: JSON.parse(line) as FuzzReport, death: '', lastCase: 0 };
  const death = hung ? `hung for ${hangMs} ms` : `the process died (code ${code}, signal ${signal}): ${errors}`;
  return { death, lastCase: Math.max(first, Number(lastCase)) };
}

const waiting: (() => void)[] = [];
let running = 0;
/** As many kinds side by side as there are cores. */
async function oneOfMany<T>(work: () => Promise<T>): Promise<T> {
  if (running >= availableParallelism()) await new Promise<void>((resolve) => waiting.push(resolve));
  running++;
  try {
    return await work();
  } finally {
    running--;
    waiting.shift()?.();
  }
}

test(`${kinds.length * casesPerKind} damaged files (seed ${seed}): each is refused with a message or read, and nothing crashes, hangs, is written or grows`, { concurrency: true }, async (t) => {
  let cases = 0;
  await Promise.all(
    kinds.map((kind) =>
      t.test(kind, () =>
        oneOfMany(async () => {
          const report = await fuzz(kind);
          cases += report.cases;
          console.log(
            `${kind.padEnd(30)}${String(report.cases).padStart(6)} cases, ${report.refused} refused, ${report.accepted} read; slowest ${report.slowestMs.toFixed(0)} ms of CPU, ` +
              `memory ${(report.startBytes / 2 ** 20).toFixed(0)} MiB at first, ${(report.peakBytes / 2 ** 20).toFixed(0)} MiB at most`,
          );
          assert.deepEqual(report.findings, [], `seed ${seed}`);
          assert.ok(report.peakBytes < mostPeakBytes, `${report.peakBytes} bytes of memory`);
          assert.equal(report.cases, casesPerKind);
        }),
      ),
    ),
  );
  console.log(`${cases} cases, seed ${seed}`);
});
