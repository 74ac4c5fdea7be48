// scripts/capture_transformers.py writes what our own capture writes: the same rows, features within half precision, the same log-probabilities.
import test from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createCacheWriter, openCache, verifyCache } from '../../data/arrow-cache.js';
import { halfToFloat32 } from '../../src/models/half.js';
import { loadTarget } from '../../src/models/target-checkpoint.js';
import { packageRoot } from '../../src/package-root.js';
import { Random } from '../../src/random.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { captureCache } from '../../src/training/capture.js';
import { inFolder } from '../data/cache-fixtures.js';
import { sharedPath } from '../shared-files.js';

const folder = sharedPath('models/stories-260K');
const python = [process.env['DRAFTALIGN_PYTHON'], 'python3', 'python'].find((name) => name !== undefined && spawnSync(name, ['-c', 'import torch, transformers, pyarrow, numpy']).status === 0);
const skip =
  folder === undefined
    ? 'needs ../shared (test material, absent here)'
    : python === undefined
      ? 'needs Python with torch, transformers, pyarrow and numpy (DRAFTALIGN_PYTHON names another interpreter)'
      : false;
const script = join(packageRoot(), 'scripts', 'capture_transformers.py');

async function writeTokens(out: string, lengths: number[]): Promise<void> {
  const metadata = { format_version: 1, target: null, target_fingerprint: null, tokenizer_fingerprint: 'a'.repeat(64), vocab_size: 512, hidden_size: null, taps: null, generation: null, source: 'x' };
  const writer = await createCacheWriter(out, { metadata, columns: { featureWidth: 0, featureType: 'float16', topk: 0, labels: true } });
  const random = new Random(3);
  for (const [row, length] of lengths.entries()) {
    const inputIds = Int32Array.from({ length }, (_, i) => (i === 0 ? 1 : 3 + random.int(500)));
    await writer.append({ inputIds, lossMask: Uint8Array.from({ length }, (_, i) => (i < 3 ? 0 : 1)), promptLength: 3, domain: `d${row % 2}` });
  }
  await writer.finish(lengths.length);
}

const asFloats = (values: Float32Array | Uint16Array): Float32Array => (values instanceof Uint16Array ? halfToFloat32(values) : values);

test('a cache captured with Transformers equals our own capture of the same rows', { skip }, () =>
  inFolder(async (work) => {
    await loadTensorflow();
    const [tokens, theirs, ours] = [join(work, 'tokens'), join(work, 'theirs'), join(work, 'ours')];
    const lengths = [9, 40, 23, 6, 31];
    await writeTokens(tokens, lengths);
    const run = (...more: string[]) =>
      execFileSync(python!, [script, '--target', folder!, '--tokens', tokens, '--out', theirs, '--taps', '0,2,4', '--top-k', '4', '--device', 'cpu', '--dtype', 'float32', '--batch-tokens', '90', ...more], { stdio: ['ignore', 'ignore', 'pipe'] });
    run('--part', '1/2');
    run('--part', '2/2');
    const target = await loadTarget(folder!);
    await captureCache({ target, tokens, out: ours, taps: [0, 2, 4], topk: 4 });
    const [cache, own] = [await openCache(theirs), await openCache(ours)];
    assert.deepEqual(await verifyCache(theirs), []);
    assert.deepEqual([...cache.lengths()], lengths);
    assert.deepEqual(cache.columns, own.columns);
    assert.deepEqual({ ...cache.metadata, source: null }, { ...own.metadata, source: null }, 'fingerprints too');
    for (let row = 0; row < lengths.length; row++) {
      const [a, b] = [await cache.readRow(row, { features: true, topk: true }), await own.readRow(row, { features: true, topk: true })];
      assert.deepEqual([a.inputIds, a.lossMask, a.domain, a.promptLength], [b.inputIds, b.lossMask, b.domain, b.promptLength]);
      assert.deepEqual(a.topkIds, b.topkIds, `row ${row}: the same best tokens`);
      for (const name of ['features', 'topkLogProbs'] as const) {
        const [x, y] = [asFloats(a[name]!), asFloats(b[name]!)];
        // Two float32 computations rounded to half: one step of it apart at most.
        x.forEach((value, i) => assert.ok(Math.abs(value - y[i]!) <= Math.abs(y[i]!) * 2 ** -10 + 1e-4, `row ${row}, ${name} ${i}: ${value} and ${y[i]}`));
      }
    }
    target.dispose();
    assert.throws(() => run('--taps', '4,2'), /ascending order/);
  }));
