import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { Scalar, Tensor2D, Tensor4D } from '@tensorflow/tfjs-node-gpu';
import { bfloat16ToFloat32, float32ToBfloat16 } from '../../src/models/half.js';
import { ropeFrequencies, tablesOfFrequencies } from '../../src/models/rope.js';
import { openSafetensors } from '../../src/models/safetensors.js';
import { loadTarget, targetForward } from '../../src/models/target.js';
import type { KeyValues, Target, TargetOutput } from '../../src/models/target.js';
import { packageRoot } from '../../src/package-root.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { needsShared, sharedPath } from '../shared-files.js';
import { withSmallRun } from '../training/small-run.js';

await loadTensorflow();

/**
 * The golden values of this bfloat16 target were made by a model whose RoPE frequencies had been through bfloat16 too. Transformers
 * keeps them in float32 when it loads the same folder, and so do we; to compare with these values they are rounded here.
 */
function goldenRotation(target: Target, positions: number): { cos: Tensor2D; sin: Tensor2D } | undefined {
  if (target.name !== 'random-qwen3-untied') return undefined;
  const exact = Float32Array.from(ropeFrequencies(target.config.rope, target.config.headDim));
  return tablesOfFrequencies(Float64Array.from(bfloat16ToFloat32(float32ToBfloat16(exact))), positions);
}

const names = ['stories-260K', 'tinystories-656K', 'babyllama-105', 'random-llama3-scaled', 'random-qwen2-bias-tied', 'random-qwen3-untied'];

/** Largest difference, in units of the tolerance: 2e-4, relative where values are above 1. */
function distance(found: Float32Array, expected: Float32Array): number {
  assert.equal(found.length, expected.length);
  let worst = 0;
  for (let i = 0; i < found.length; i++) worst = Math.max(worst, Math.abs(found[i]! - expected[i]!) / Math.max(1, Math.abs(expected[i]!)));
  return worst / 2e-4;
}

interface Golden {
  ids: Tensor2D;
  tensor(name: string): Promise<Float32Array>;
  greedyIds: Int32Array;
}

async function withGolden(name: string, work: (target: Target, golden: Golden) => Promise<void>): Promise<void> {
  const target = await loadTarget(sharedPath(`models/${name}`)!);
  const file = await openSafetensors(sharedPath(`golden/target-${name}.safetensors`)!);
  const shape = file.entry('input_ids').shape as [number, number];
  const ids = tf.tensor2d(await file.readInt32('input_ids'), shape, 'int32');
  await work(target, { ids, tensor: (tensorName) => file.readFloat32(tensorName), greedyIds: await file.readInt32('greedy_ids') });
  ids.dispose();
  await file.close();
  target.dispose();
}

for (const name of names) {
  const shared = needsShared(`models/${name}`, `golden/target-${name}.safetensors`);

  test(`${name}: logits and every hidden state equal Transformers' within 2e-4`, shared, () =>
    withGolden(name, async (target, golden) => {
      const output = tf.tidy(() => targetForward(target.config, target.weights, golden.ids, { allHidden: true, rotation: goldenRotation(target, 128) }) as never) as TargetOutput;
      assert.ok(distance(output.logits!.dataSync() as Float32Array, await golden.tensor('logits')) < 1, 'logits');
      for (const [index, hidden] of output.hiddenStates!.entries()) {
        assert.ok(distance(hidden.dataSync() as Float32Array, await golden.tensor(`hidden_states.${index}`)) < 1, `hidden state ${index}`);
      }
      tf.dispose(output as never);
    }));

  test(`${name}: a text read in pieces from a cache gives the logits of one pass`, shared, () =>
    withGolden(name, async (target, golden) => {
      const [batchSize, length] = golden.ids.shape;
      const expected = await golden.tensor('logits');
      for (const cut of [1, 7, length - 1]) {
        tf.tidy(() => {
          const first = targetForward(target.config, target.weights, tf.slice(golden.ids, [0, 0], [batchSize, cut]), { logits: 'none', rotation: goldenRotation(target, 128) });
          // Rows beyond the text hold values that must never be seen.
          const widen = (rows: Tensor4D): Tensor4D => tf.concat([rows, tf.fill([batchSize, rows.shape[1], 3, rows.shape[3]], 77)], 2);
          const cache: KeyValues = { keys: first.keyValues.keys.map(widen), values: first.keyValues.values.map(widen) };
          const rest = targetForward(target.config, target.weights, tf.slice(golden.ids, [0, cut], [batchSize, length - cut]), {
            cache,
            start: tf.scalar(cut, 'int32') as Scalar,
            rotation: goldenRotation(target, 128),
          });
          const vocab = target.config.vocabSize;
          const wanted = tf.slice(tf.tensor3d(expected, [batchSize, length, vocab]), [0, cut, 0], [batchSize, length - cut, vocab]);
          assert.ok(distance(rest.logits!.dataSync() as Float32Array, wanted.dataSync() as Float32Array) < 1, `cut at ${cut}`);
        });
      }
    }));

  test(`${name}: greedy ids equal Transformers'`, shared, () =>
    withGolden(name, async (target, golden) => {
      const ids = [...golden.greedyIds];
      const logits = tf.tidy(() => tf.argMax(targetForward(target.config, target.weights, tf.tensor2d([ids], [1, ids.length], 'int32')).logits!, -1).dataSync());
      const prompt = golden.ids.shape[1] < ids.length ? golden.ids.shape[1] : 1;
      for (let i = prompt; i < ids.length; i++) assert.equal(logits[i - 1], ids[i], `token ${i}`);
    }));
}

test('loading and running a target leaves no tensor behind', needsShared(`models/${names[0]!}`), async () => {
  const before = tf.memory().numTensors;
  const target = await loadTarget(sharedPath(`models/${names[0]!}`)!);
  tf.dispose(tf.tidy(() => targetForward(target.config, target.weights, tf.tensor2d([[1, 2, 3]], [1, 3], 'int32'), { taps: [0, 2] }) as never));
  target.dispose();
  assert.equal(tf.memory().numTensors, before);
});

test('a target that no memory holds is refused before anything is allocated', () =>
  withSmallRun(async (folder) => {
    const file = join(folder, 'target/config.json');
    const config = JSON.parse(readFileSync(file, 'utf8')) as object;
    writeFileSync(file, JSON.stringify({ ...config, hidden_size: 65_536, intermediate_size: 262_144, num_hidden_layers: 400 }));
    await assert.rejects(loadTarget(join(folder, 'target')), /target: its 2\d{4}\.\d billion weights take \d+ GiB in float32, and this machine has \d+ GiB/);
    const run = spawnSync(process.execPath, [join(packageRoot(), 'dist/src/cli.js'), 'capture', '--target', join(folder, 'target'), '--tokens', join(folder, 'tokens'), '--out', join(folder, 'cache')], { encoding: 'utf8' });
    assert.notEqual(run.status, 0);
    assert.match(run.stderr, /draftalign: .*billion weights take/);
    assert.ok(!existsSync(join(folder, 'cache')));
  }));
