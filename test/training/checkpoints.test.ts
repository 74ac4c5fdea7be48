import test from 'node:test';
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadLastCheckpoint, openCheckpoint, readManifest, saveCheckpoint, tidyCheckpoints } from '../../src/training/checkpoints.js';

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'draftalign-checkpoints-'));
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const save = (folder: string, step: number, score: number | null) =>
  saveCheckpoint(folder, { step, note: `at ${step}` }, score, async (inside) => {
    mkdirSync(join(inside, 'drafter'));
    writeFileSync(join(inside, 'drafter/model.safetensors'), `weights ${step}`);
  });

test('the last two checkpoints and the best are kept', async () => {
  await withFolder(async (folder) => {
    for (const [step, score] of [[1, 2], [2, 5], [3, 1], [4, 3], [5, 4]] as const) await save(folder, step, score);
    assert.deepEqual(readdirSync(folder).sort(), ['manifest.json', 'step-00000002', 'step-00000004', 'step-00000005']);
    const manifest = await readManifest(folder);
    assert.equal(manifest?.best, 'step-00000002');
    assert.equal(manifest?.last, 'step-00000005');
    assert.equal((await openCheckpoint(folder, 'best')).state['note'], 'at 2');
  });
});

for (const [how, damage] of Object.entries({
  'cut short': (folder: string) => truncateSync(join(folder, 'drafter/model.safetensors'), 3),
  altered: (folder: string) => writeFileSync(join(folder, 'drafter/model.safetensors'), 'wEights 2'),
  'without its state': (folder: string) => rmSync(join(folder, 'state.json')),
  'with another state': (folder: string) => writeFileSync(join(folder, 'state.json'), readFileSync(join(folder, 'state.json'), 'utf8').replace('at 2', 'at 3')),
})) {
  test(`a newest checkpoint that is ${how} is passed over, with a word, for the one before`, async () => {
    await withFolder(async (folder) => {
      await save(folder, 1, null);
      await save(folder, 2, null);
      damage(join(folder, 'step-00000002'));
      const said: string[] = [];
      const loaded = await loadLastCheckpoint(folder, (message) => said.push(message));
      assert.equal(loaded?.state.step, 1);
      assert.match(said[0]!, /step-00000002 is broken .*trying step-00000001/);
      await tidyCheckpoints(folder, 1);
      assert.equal((await readManifest(folder))?.last, 'step-00000001');
      await save(folder, 2, null);
      assert.equal((await loadLastCheckpoint(folder, assert.fail))?.state.step, 2);
    });
  });
}

test('a failed write leaves the earlier checkpoint, names it, and leaves nothing half made', async () => {
  await withFolder(async (folder) => {
    await save(folder, 1, null);
    await assert.rejects(
      saveCheckpoint(folder, { step: 2 }, null, async () => {
        throw new Error('ENOSPC: no space left on device');
      }),
      /checkpoint of step 2 could not be written.*no space left.*step-00000001 stands/,
    );
    assert.deepEqual(readdirSync(folder).sort(), ['manifest.json', 'step-00000001']);
  });
});

test('a lost or broken manifest is made again from the folders, and leftovers of a kill are removed', async () => {
  await withFolder(async (folder) => {
    await save(folder, 1, 7);
    await save(folder, 2, 3);
    for (const text of [undefined, '{"last": "../../etc"', '{"formatVersion":1,"last":"../x","best":"../x","checkpoints":{}}']) {
      rmSync(join(folder, 'manifest.json'));
      if (text !== undefined) writeFileSync(join(folder, 'manifest.json'), text);
      mkdirSync(join(folder, '.step-00000003.tmp-1'));
      const loaded = await loadLastCheckpoint(folder, () => undefined);
      assert.equal(loaded?.state.step, 2);
      await tidyCheckpoints(folder, 2);
      const manifest = await readManifest(folder);
      assert.equal(manifest?.best, 'step-00000001');
      assert.ok(!existsSync(join(folder, '.step-00000003.tmp-1')));
    }
  });
});

test('no checkpoint at all is not an error; only broken ones are', async () => {
  await withFolder(async (folder) => {
    assert.equal(await loadLastCheckpoint(folder, assert.fail), undefined);
    await assert.rejects(openCheckpoint(folder, 'last'), /holds no checkpoint yet/);
    await save(folder, 1, null);
    rmSync(join(folder, 'step-00000001/state.json'));
    await assert.rejects(loadLastCheckpoint(folder, () => undefined), /none of the 1 checkpoints/);
  });
});
