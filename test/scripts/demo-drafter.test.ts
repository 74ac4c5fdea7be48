// What is shipped: data/demo-drafter is a drafter of the demo target as `export` writes it, of no machine's, and decodes several tokens a pass.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { evaluateDrafter } from '../../src/commands/evaluate-drafter.js';
import { sha256File } from '../../src/files.js';
import { loadTarget } from '../../src/models/target-checkpoint.js';
import { packageRoot } from '../../src/package-root.js';
import type { ExportRecord } from '../../src/reports/export-record.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { findDrafter } from '../../src/training/drafter-source.js';

await loadTensorflow();

test('its record fits its files and the demo target, and names no place on a machine', async () => {
  const { drafterFolder, target } = await findDrafter('demo');
  assert.equal(target, 'demo');
  const text = await readFile(join(drafterFolder, 'draftalign.json'), 'utf8');
  const record = JSON.parse(text) as ExportRecord;
  for (const [name, { sha256 }] of Object.entries(record.files)) assert.equal(await sha256File(join(drafterFolder, name)), sha256, name);
  assert.ok('model.safetensors' in record.files);
  const model = await loadTarget(join(packageRoot(), 'data/demo-target'));
  assert.equal(record.target.weightFingerprint, model.weightFingerprint);
  model.dispose();
  for (const name of ['draftalign.json', 'config.json', 'README.md']) {
    assert.doesNotMatch(await readFile(join(drafterFolder, name), 'utf8'), /["`\s](\/(?!\/)|[A-Z]:\\)\w/, name);
  }
});

test('it is accepted for several tokens a pass on held-out prompts, in rounds that simulation foretells, with the target\'s own texts', async () => {
  const sets = ['maths', 'stories'].map((name) => ({ name, file: join(packageRoot(), `data/demo-prompts/${name}.jsonl`) }));
  const { totals, mismatches } = await evaluateDrafter({ drafter: 'demo', sets, limit: 3, maxNewTokens: 96, check: true });
  assert.equal(totals.identical, true);
  assert.deepEqual(mismatches, []);
  assert.ok(totals.acceptedLength > 4, `${totals.acceptedLength}`);
});
