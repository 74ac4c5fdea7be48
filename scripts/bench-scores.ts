// Time and memory of `scoreHidden` (in chunks) beside `scoreLogits` on whole logits, value and gradient, at three vocabularies.
// For time all ways run by turns in one process a vocabulary. For memory each has a process of its own: peak of the tensors alive at once,
// and of the process (Linux), above what stood before. The whole-logits side takes as many rows as fit; the ratio is of times a row.
// One thread computes, as it does each half of a training step.
//   node dist/scripts/bench-scores.js [--rows 4096] [--width 256] [--repeats 3] [--vocabularies 2048,32000,151936] [--threads 1] [--json]
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Tensor, Tensor2D, Tensor3D } from '@tensorflow/tfjs-node-gpu';
import * as losses from '../losses/index.js';
import { vocabularyKernelInForce } from '../src/tensorflow/kernels.js';
import { loadTensorflow } from '../src/tensorflow/load.js';
import { tf } from '../src/tensorflow/ops.js';

const { values: flags } = parseArgs({
  options: {
    rows: { type: 'string', default: '4096' },
    width: { type: 'string', default: '256' },
    repeats: { type: 'string', default: '3' },
    vocabularies: { type: 'string', default: '2048,32000,151936' },
    threads: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
    one: { type: 'string' },
    way: { type: 'string' },
  },
});

const slots = 16;
const listed = 16;
const mebibyte = 2 ** 20;

interface Measurement {
  way: string;
  rows: number;
  msPerStep: number;
  peakTensorMebibytes: number;
  peakProcessMebibytes: number | null;
}

/** The most memory that the process has held since the last reset, and its memory now; null where /proc does not tell. */
function processBytes(field: 'VmHWM' | 'VmRSS'): number | null {
  try {
    const line = readFileSync('/proc/self/status', 'utf8').match(new RegExp(`${field}:\\s+(\\d+) kB`));
    return line ? Number(line[1]) * 1024 : null;
  } catch {
    return null;
  }
}

function resetProcessPeak(): void {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // Without it the peak includes what came before; on such systems there is no figure at all.
  }
}

interface Backend {
  executeSingleOutput(...args: unknown[]): { size: number };
}

function measure(way: string, rows: number, step: () => Tensor): Measurement {
  const backend = tf.backend() as unknown as Backend;
  const original = backend.executeSingleOutput;
  const tensorsBefore = tf.memory().numBytes;
  let peak = 0;
  backend.executeSingleOutput = (...args) => {
    const alive = tf.memory().numBytes;
    const result = original.apply(backend, args);
    peak = Math.max(peak, alive + 4 * result.size);
    return result;
  };
  resetProcessPeak();
  const processBefore = processBytes('VmRSS');
  const start = performance.now();
  const gradient = step();
  // Reading one number makes sure that an accelerator has finished.
  tf.tidy(() => tf.sum(gradient).dataSync());
  const msPerStep = performance.now() - start;
  const processPeak = processBytes('VmHWM');
  backend.executeSingleOutput = original;
  gradient.dispose();
  return {
    way,
    rows,
    msPerStep,
    peakTensorMebibytes: (peak - tensorsBefore) / mebibyte,
    peakProcessMebibytes: processBefore === null || processPeak === null ? null : (processPeak - processBefore) / mebibyte,
  };
}

/** One round of one way, or `repeats` rounds of all after one to warm up. */
function runCase(vocabulary: number, mostRows: number, width: number, repeats: number, only?: number): Measurement[] {
  const head = tf.randomNormal([vocabulary, width], 0, 1 / Math.sqrt(width), 'float32', 1) as Tensor2D;
  const batch = (rows: number) => ({
    hidden: tf.randomNormal([rows / slots, slots, width], 0, 1, 'float32', 2) as Tensor3D,
    labels: tf.randomUniform([rows / slots, slots], 0, vocabulary, 'int32', 3) as Tensor2D,
    valid: tf.ones([rows / slots, slots]) as Tensor2D,
    teacher: {
      ids: tf.randomUniform([rows / slots, slots, listed], 0, vocabulary, 'int32', 4) as Tensor3D,
      logProbs: tf.fill([rows / slots, slots, listed], Math.log(0.9 / listed)) as Tensor3D,
    },
  });
  // Whole logits and what their gradient keeps come to about seven times their size.
  const fitting = Math.min(mostRows, Math.floor((0.5 * freemem()) / (7 * 4 * vocabulary) / slots) * slots);
  const full = batch(mostRows);
  const part = batch(fitting);
  const wholeLogits = (hidden: Tensor3D) =>
    tf.reshape(tf.matMul(tf.reshape(hidden, [-1, width]) as Tensor2D, head, false, true), [hidden.shape[0], slots, vocabulary]) as Tensor3D;
  const gradient = (hidden: Tensor3D, score: (hidden: Tensor3D) => losses.BlockScores, on: losses.Payment = 'crossEntropy') =>
    tf.grad((h) => losses.positionalWeighting(score(h as Tensor3D), { on }).loss)(hidden);
  const chunked = (options: losses.ScoreHiddenOptions, on?: losses.Payment) => () =>
    gradient(full.hidden, (h) => losses.scoreHidden(h, head, full.labels, full.valid, options), on);
  type Way = [name: string, rows: number, step: () => Tensor];
  const ways: Way[] = [
    ['scoreHidden', mostRows, chunked({})],
    ['scoreHidden, top 16, KL', mostRows, chunked({ teacher: full.teacher, differentiate: ['kl'] }, 'kl')],
    ...(vocabularyKernelInForce() ? [] : [['scoreHidden, chunkVocab 16384', mostRows, chunked({ chunkVocab: 16384 })] as Way]),
    ['whole logits', fitting, () => gradient(part.hidden, (h) => losses.scoreLogits(wholeLogits(h), part.labels, part.valid))],
  ];
  if (only !== undefined) return [measure(...ways[only]!)];
  const runs = Array.from({ length: repeats + 1 }, () => ways.map((way) => measure(...way)));
  return ways.map((_, index) => {
    const times = runs.slice(1).map((run) => run[index]!.msPerStep);
    return { ...runs[0]![index]!, msPerStep: times.sort((a, b) => a - b)[Math.floor(times.length / 2)]! };
  });
}

/** Runs this script again for one vocabulary, in a fresh process. */
function inProcess(vocabulary: string, ...more: string[]): Measurement[] {
  const given = process.argv.slice(2).filter((flag) => flag !== '--json');
  const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...given, '--one', vocabulary, ...more], { encoding: 'utf8' });
  if (child.status !== 0) throw new Error(`the case of vocabulary ${vocabulary} failed:\n${child.stderr}`);
  return JSON.parse(child.stdout.trim().split('\n').at(-1)!) as Measurement[];
}

const rows = Number(flags.rows);
const width = Number(flags.width);
if (flags.one) {
  await loadTensorflow({ threads: Number(flags.threads) });
  console.log(JSON.stringify(runCase(Number(flags.one), rows, width, Number(flags.repeats), flags.way === undefined ? undefined : Number(flags.way))));
} else {
  const results = flags.vocabularies.split(',').map((vocabulary) => {
    const ways = inProcess(vocabulary).map(({ way, rows, msPerStep }, index) => {
      const { peakTensorMebibytes, peakProcessMebibytes } = inProcess(vocabulary, '--way', String(index))[0]!;
      return { way, rows, msPerStep, peakTensorMebibytes, peakProcessMebibytes };
    });
    return { vocabulary: Number(vocabulary), ways };
  });
  if (flags.json) console.log(JSON.stringify({ rows, width, results }, null, 2));
  else {
    console.log(`value and gradient, ${rows} rows, width ${width}; peaks above what stood before, in MiB`);
    console.log('| vocabulary | way | rows | ms | ms a row, of whole logits | tensors | process |\n|---|---|---|---|---|---|---|');
    for (const { vocabulary, ways } of results) {
      const whole = ways.at(-1)!;
      for (const { way, rows, msPerStep, peakTensorMebibytes, peakProcessMebibytes } of ways) {
        const ratio = msPerStep / rows / (whole.msPerStep / whole.rows);
        console.log(
          `| ${vocabulary} | ${way} | ${rows} | ${msPerStep.toFixed(0)} | ${ratio.toFixed(2)} | ${peakTensorMebibytes.toFixed(0)} | ${peakProcessMebibytes?.toFixed(0) ?? ''} |`,
        );
      }
    }
  }
}
