// The cache is an interchange format: what pyarrow writes is read here, and what is written here pyarrow reads.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { createCacheWriter, openCache, verifyCache } from '../../data/arrow-cache.js';
import { columns, exampleRow, inFolder, metadata } from './cache-fixtures.js';

const python = [process.env['DRAFTALIGN_PYTHON'], 'python3', 'python'].find(
  (name) => name !== undefined && spawnSync(name, ['-c', 'import pyarrow, numpy']).status === 0,
);
const skip = python === undefined ? 'needs Python with pyarrow and numpy (DRAFTALIGN_PYTHON names another interpreter)' : false;

const WRITE = `
import json, sys
import numpy as np, pyarrow as pa
path, metadata, compression = sys.argv[1], sys.argv[2], sys.argv[3]
halves = lambda n: np.arange(n, dtype=np.uint16).view(np.float16)
schema = pa.schema([
    ('note', pa.string()),
    ('input_ids', pa.list_(pa.int32())),
    ('loss_mask', pa.list_(pa.uint8())),
    ('features', pa.list_(pa.list_(pa.float16(), 6))),
    ('topk_ids', pa.list_(pa.list_(pa.int32(), 2))),
    ('topk_log_probs', pa.list_(pa.list_(pa.float16(), 2))),
], metadata={'draftalign': metadata})
def row_arrays(lengths):
    offsets = np.cumsum([0] + lengths).astype(np.int32); n = int(offsets[-1])
    lists = lambda values: pa.ListArray.from_arrays(pa.array(offsets), values)
    vectors = lambda values, width: pa.FixedSizeListArray.from_arrays(values, width)
    return [pa.array([f'row of {l}' for l in lengths]), lists(pa.array(np.arange(n, dtype=np.int32))), lists(pa.array(np.ones(n, dtype=np.uint8))),
        lists(vectors(pa.array(halves(n * 6)), 6)), lists(vectors(pa.array(np.arange(n * 2, dtype=np.int32)), 2)), lists(vectors(pa.array(halves(n * 2)), 2))]
options = pa.ipc.IpcWriteOptions(compression=None if compression == 'none' else compression)
with pa.OSFile(path, 'wb') as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
    writer.write_batch(pa.record_batch(row_arrays([3, 1, 4]), schema=schema))
    # A slice: its offsets do not begin at 0 in memory.
    writer.write_batch(pa.record_batch(row_arrays([2, 5, 6, 1]), schema=schema).slice(1, 2))
`;

async function writeWithPyarrow(folder: string, compression: string): Promise<void> {
  const path = join(folder, 'from-python.arrow');
  execFileSync(python!, ['-c', WRITE, path, JSON.stringify(metadata), compression]);
  const bytes = await readFile(path);
  const shard = { file: 'from-python.arrow', rows: 5, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
  await writeFile(join(folder, 'manifest.json'), JSON.stringify({ format: 'draftalign-cache', metadata, shards: [shard] }));
}

test('a cache written by pyarrow is read, whatever the order of columns and with columns of its own', { skip }, () =>
  inFolder(async (folder) => {
    await writeWithPyarrow(folder, 'none');
    const cache = await openCache(folder);
    assert.deepEqual([...cache.lengths()], [3, 1, 4, 5, 6]);
    assert.deepEqual(cache.columns, { ...columns, labels: false });
    const row = await cache.readRow(2, { features: true, topk: true });
    assert.deepEqual([...row.inputIds], [4, 5, 6, 7]);
    assert.deepEqual([...row.features!], Array.from({ length: 24 }, (_, i) => 24 + i));
    const sliced = await cache.readRow(3, { features: true, topk: true });
    assert.deepEqual([...sliced.inputIds], [2, 3, 4, 5, 6]);
    assert.deepEqual([...sliced.features!], Array.from({ length: 30 }, (_, i) => 12 + i));
    assert.deepEqual([...sliced.topkIds!], Array.from({ length: 10 }, (_, i) => 4 + i));
    assert.deepEqual(await verifyCache(folder), []);
  }));

test('a compressed file is refused with what to do about it', { skip }, () =>
  inFolder(async (folder) => {
    await writeWithPyarrow(folder, 'zstd');
    await assert.rejects(openCache(folder), /compression=None/);
  }));

test('pyarrow reads what is written here, value by value', { skip }, () =>
  inFolder(async (folder) => {
    const rows = [exampleRow(0, 5), exampleRow(1, 9), exampleRow(2, 1)];
    const writer = await createCacheWriter(folder, { metadata, columns, batchBytes: 200 });
    for (const row of rows) await writer.append(row);
    await writer.finish(3);
    const script = `
import json, sys, pyarrow as pa
table = pa.ipc.open_file(sys.argv[1]).read_all(); table.validate(full=True)
rows = [{name: table[name][i].as_py() for name in ('input_ids', 'loss_mask', 'topk_ids', 'domain', 'prompt_length')} for i in range(table.num_rows)]
for i, row in enumerate(rows):
    row['features'] = table['features'][i].values.flatten().to_numpy(zero_copy_only=False).view('uint16').tolist()
print(json.dumps({'rows': rows, 'metadata': json.loads(table.schema.metadata[b'draftalign'])}))`;
    const read = JSON.parse(execFileSync(python!, ['-c', script, join(folder, 'shard-00000.arrow')], { encoding: 'utf8' })) as {
      rows: Record<string, unknown>[];
      metadata: unknown;
    };
    assert.deepEqual(read.metadata, metadata);
    for (const [i, row] of rows.entries()) {
      const found = read.rows[i]!;
      assert.deepEqual(found['input_ids'], [...row.inputIds]);
      assert.deepEqual(found['loss_mask'], [...row.lossMask]);
      assert.deepEqual((found['topk_ids'] as number[][]).flat(), [...row.topkIds!]);
      assert.deepEqual(found['features'], [...row.features!]);
      assert.equal(found['domain'], row.domain);
      assert.equal(found['prompt_length'], row.promptLength);
    }
  }));
