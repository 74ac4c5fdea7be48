import test from 'node:test';
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openMetrics, readMetrics } from '../../src/reports/metrics.js';

test('metrics cut back to a step leave no gap, no double line and no half line', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'draftalign-metrics-'));
  try {
    const path = join(folder, 'metrics.jsonl');
    const writer = await openMetrics(path, 0);
    for (const step of [1, 2, 3, 4]) writer.write({ step, kind: 'train', loss: step });
    writer.close();
    appendFileSync(path, '{"step":5,"kind":"tr');
    const again = await openMetrics(path, 2);
    again.write({ step: 3, kind: 'train', loss: 3.5 });
    again.close();
    assert.deepEqual(readMetrics(path).map((line) => [line.step, line['loss']]), [[1, 1], [2, 2], [3, 3.5]]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
