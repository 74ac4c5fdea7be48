import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { tableFromIPC } from 'apache-arrow';
import { createCacheWriter, openCache, verifyCache, type CacheRow } from '../../data/arrow-cache.js';
import { UserError } from '../../src/errors.js';
import { Random } from '../../src/random.js';
import { columns, exampleRow, inFolder, metadata } from './cache-fixtures.js';

async function writeCache(folder: string, rows: CacheRow[], options: { shardRows?: number; batchBytes?: number; part?: { index: number; count: number } } = {}): Promise<void> {
  const { shardRows = 5, batchBytes = 500, part } = options;
  const writer = await createCacheWriter(folder, { metadata, columns, batchBytes, part });
  for (const [i, row] of rows.entries()) {
    if (i < writer.sourceRows) continue;
    await writer.append(row);
    if ((i + 1) % shardRows === 0) await writer.finishShard(i + 1);
  }
  await writer.finish(rows.length);
}

const rows = Array.from({ length: 13 }, (_, i) => exampleRow(i, 1 + ((i * 7) % 23)));

test('rows come back as they were written, in any order, over several shards and record batches', () =>
  inFolder(async (folder) => {
    await writeCache(folder, rows);
    const cache = await openCache(folder);
    assert.equal(cache.rowCount, 13);
    assert.deepEqual(cache.metadata, metadata);
    assert.deepEqual(cache.columns, columns);
    assert.deepEqual([...cache.lengths()], rows.map((row) => row.inputIds.length));
    for (const i of [12, 0, 7, 7, 5, 4]) {
      assert.deepEqual(await cache.readRow(i, { features: true, topk: true }), rows[i]);
      const { features: _features, topkIds: _ids, topkLogProbs: _logProbs, ...small } = rows[i]!;
      assert.deepEqual(await cache.readRow(i), small);
    }
    assert.deepEqual(await verifyCache(folder), []);
    await assert.rejects(cache.readRow(13), RangeError);
  }));

test("shards are Arrow files that Arrow's own reader reads alike, as a file and as a stream", () =>
  inFolder(async (folder) => {
    await writeCache(folder, rows, { shardRows: 13 });
    const bytes = await readFile(join(folder, 'shard-00000.arrow'));
    const stream = bytes.subarray(8);
    for (const source of [bytes, stream]) {
      const table = tableFromIPC(source);
      assert.equal(table.numRows, 13);
      assert.equal(JSON.parse(table.schema.metadata.get('draftalign')!).target, 'test-target');
      for (const [i, row] of rows.entries()) {
        const read = table.get(i)!.toJSON() as Record<string, { toArray(): Int32Array; length: number; get(i: number): { toArray(): Uint16Array } }> & { domain: string };
        assert.deepEqual([...read['input_ids']!.toArray()], [...row.inputIds]);
        assert.equal(read['features']!.length, row.inputIds.length);
        assert.deepEqual([...read['features']!.get(0).toArray()], [...row.features!.subarray(0, 6)]);
        assert.equal(read.domain, row.domain);
      }
    }
  }));

test('an interrupted writer goes on after its last finished shard and ends with the same bytes', () =>
  inFolder(async (folder) => {
    await writeCache(join(folder, 'whole'), rows);
    const cut = join(folder, 'cut');
    const writer = await createCacheWriter(cut, { metadata, columns, batchBytes: 500 });
    for (const row of rows.slice(0, 5)) await writer.append(row);
    await writer.finishShard(5);
    await writer.append(rows[5]!);
    await writer.abort();
    await assert.rejects(openCache(cut), /not finished/);
    const before = await readFile(join(cut, 'shard-00000.arrow'));
    const again = await createCacheWriter(cut, { metadata, columns, batchBytes: 500 });
    assert.equal(again.sourceRows, 5);
    assert.equal(again.resumedShards, 1);
    await writeCache(cut, rows);
    assert.deepEqual(await readFile(join(cut, 'shard-00000.arrow')), before);
    assert.deepEqual((await readdir(cut)).sort(), (await readdir(join(folder, 'whole'))).sort());
    assert.equal(await readFile(join(cut, 'manifest.json'), 'utf8'), await readFile(join(folder, 'whole', 'manifest.json'), 'utf8'));
  }));

test('several writers fill one folder, and the rows stand in the order of the parts', () =>
  inFolder(async (folder) => {
    const half = { index: 1, count: 2 };
    await writeCache(folder, rows.slice(0, 6), { part: half });
    await assert.rejects(openCache(folder), /part 2 of 2 is missing/);
    await writeCache(folder, rows.slice(6), { part: { index: 2, count: 2 } });
    const cache = await openCache(folder);
    assert.equal(cache.rowCount, 13);
    assert.deepEqual(await cache.readRow(9, { features: true, topk: true }), rows[9]);
  }));

test('a folder that holds another capture is refused, saying what differs', () =>
  inFolder(async (folder) => {
    await writeCache(folder, rows);
    await assert.rejects(
      createCacheWriter(folder, { metadata: { ...metadata, taps: [1, 2] }, columns }),
      (error) => error instanceof UserError && error.message.includes('taps is [0,2] in one and [1,2] in the other'),
    );
  }));

test('token sequences alone are a cache too, and so is one with float32 features', () =>
  inFolder(async (folder) => {
    const tokens = { featureWidth: 0, featureType: 'float16', topk: 0, labels: false } as const;
    const writer = await createCacheWriter(join(folder, 'tokens'), { metadata, columns: tokens });
    await writer.append({ inputIds: Int32Array.of(5, 6), lossMask: Uint8Array.of(0, 1) });
    await writer.finish(1);
    const cache = await openCache(join(folder, 'tokens'));
    assert.deepEqual(cache.columns, tokens);
    assert.deepEqual(await cache.readRow(0, { features: true, topk: true }), { inputIds: Int32Array.of(5, 6), lossMask: Uint8Array.of(0, 1) });
    const wide = await createCacheWriter(join(folder, 'wide'), { metadata, columns: { ...tokens, featureWidth: 6, featureType: 'float32' } });
    const row = { inputIds: Int32Array.of(5), lossMask: Uint8Array.of(1), features: Float32Array.of(1, 2, 3, 4, 5, 1e30) };
    await wide.append(row);
    await wide.finish(1);
    assert.deepEqual(await (await openCache(join(folder, 'wide'))).readRow(0, { features: true }), row);
  }));

test('an exchanged bit is found by verifying, a cut or missing shard on opening', () =>
  inFolder(async (folder) => {
    await writeCache(folder, rows);
    const path = join(folder, 'shard-00001.arrow');
    const bytes = await readFile(path);
    const changed = Buffer.from(bytes);
    changed[bytes.length >> 1]! ^= 1;
    await writeFile(path, changed);
    assert.match((await verifyCache(folder)).join(), /shard-00001\.arrow: SHA-256/);
    await truncate(path, bytes.length - 1);
    await assert.rejects(openCache(folder), /the manifest says/);
    await rm(path);
    await assert.rejects(openCache(folder), /cannot be opened \(ENOENT\)/);
    await mkdir(path);
    await assert.rejects(openCache(folder), UserError);
  }));

test('a manifest that names files outside its folder is refused', () =>
  inFolder(async (folder) => {
    await writeCache(folder, rows);
    const path = join(folder, 'manifest.json');
    const manifest = await readFile(path, 'utf8');
    for (const file of ['../secret.arrow', '/etc/passwd', 'a/b.arrow', '..', 'C:\\x', '']) {
      await writeFile(path, manifest.replace('shard-00000.arrow', file.replaceAll('\\', '\\\\')));
      await assert.rejects(openCache(folder), (error) => error instanceof UserError && error.message.includes('shards[0].file'));
    }
    await writeFile(path, manifest.slice(0, 100));
    await assert.rejects(openCache(folder), /is not JSON/);
    await writeFile(path, manifest.replace('"format_version": 1', '"format_version": 9'));
    await assert.rejects(openCache(folder), /format_version is 9/);
  }));

test('a damaged shard gives a clear error or wrong numbers, never a crash, a hang or a huge allocation', () =>
  inFolder(async (folder) => {
    await writeCache(folder, rows, { shardRows: 13 });
    const path = join(folder, 'shard-00000.arrow');
    const bytes = await readFile(path);
    const random = new Random(7);
    let refused = 0;
    for (let i = 0; i < 150; i++) {
      const changed = Buffer.from(bytes);
      // Half of the changes go to headers, where they do most harm.
      const low = i % 2 === 0 ? 0 : bytes.length - 1200;
      for (let n = 0; n < 1 + (i % 4); n++) changed[low + random.int(1200)] = random.int(256);
      await writeFile(path, changed);
      try {
        const cache = await openCache(folder);
        for (let row = 0; row < cache.rowCount; row++) await cache.readRow(row, { features: true, topk: true });
      } catch (error) {
        assert.ok(error instanceof UserError, `mutation ${i}: ${String((error as Error).stack)}`);
        refused++;
      }
    }
    assert.ok(refused > 35, `${refused} of 150 damaged files refused`);
  }));
