// The whole pipeline on the built-in target, in small: captured, trained twice, decoded for real, exported; a second call finds it all made.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { before } from 'node:test';
import { runDemo, type DemoOptions } from '../../src/commands/demo-run.js';
import type { ExportRecord } from '../../src/reports/export-record.js';
import { readMetrics } from '../../src/reports/metrics.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';

before(async () => {
  await loadTensorflow();
});

test('training lowers the loss and raises the decoded accepted length on every objective; texts stay the target\'s own; the export is the drafter', async () => {
  const out = mkdtempSync(join(tmpdir(), 'draftalign-demo-'));
  const said: string[] = [];
  const options: DemoOptions = {
    out,
    steps: 120,
    objectives: ['uniform', 'weighting'],
    promptsPerDomain: 2,
    maxNewTokens: 32,
    set: ['data.maxRows=96', 'data.validationRows=8', 'capture.generate.maxNewTokens=64', 'capture.topLogProbs=0', 'drafter.blockSize=4', 'drafter.layers=1', 'optimizer.learningRate=0.006', 'training.batchSize=4', 'training.anchorsPerSequence=16', 'output.logEverySteps=10'],
    say: (line) => said.push(line),
  };
  const before = tf.memory().numTensors;
  const result = (await runDemo(options))!;
  assert.equal(tf.memory().numTensors, before);
  const totals = result.evaluations.map(({ document }) => document.totals);
  const [untrained, trained, long] = [totals[0]!, totals.slice(1, -1), totals.at(-1)!];
  assert.equal(trained.length, 2);
  for (const { identical } of totals) assert.equal(identical, true);
  for (const { acceptedLength } of trained) assert.ok(acceptedLength > untrained.acceptedLength + 0.05, `${acceptedLength} against ${untrained.acceptedLength}`);
  assert.ok(long.acceptedLength > 4, `${long.acceptedLength} of the drafter that comes with draftalign`);
  for (const objective of options.objectives) {
    const losses = readMetrics(join(out, objective, 'metrics.jsonl')).filter((line) => line.kind === 'train').map((line) => line['loss'] as number);
    assert.ok(losses.at(-1)! < 0.8 * losses[0]!, `${objective}: ${losses}`);
  }
  const record = JSON.parse(readFileSync(join(out, 'drafter/draftalign.json'), 'utf8')) as ExportRecord;
  assert.equal(record.evaluation?.total.acceptedLength, trained.at(-1)!.acceptedLength);
  assert.equal(record.verification?.decoding?.roundsEqual, true);
  assert.match(result.table, /untrained[\s\S]*uniform cross-entropy[\s\S]*weighting[\s\S]*--drafter demo.*the best recipe for \d+ steps/);
  assert.ok(existsSync(join(out, 'cache/features/manifest.json')));
  const stopped = new AbortController();
  stopped.abort();
  assert.equal(await runDemo({ ...options, signal: stopped.signal }), undefined);
});
