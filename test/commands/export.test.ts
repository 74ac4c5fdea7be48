// Export from a run, from a checkpoint and from a folder trained elsewhere: what is written loads, says where it comes from, and
// is refused where it is not the drafter in memory.
import test, { before } from 'node:test';
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportDrafter } from '../../src/commands/export-drafter.js';
import { formatConfig, parseConfig } from '../../src/config/load.js';
import { compareDrafters } from '../../src/decoding/drafter-comparison.js';
import { UserError } from '../../src/errors.js';
import { loadDrafter, saveDrafter } from '../../src/models/drafter-checkpoint.js';
import type { DrafterConfig } from '../../src/models/drafter-config.js';
import { initDrafterWeights } from '../../src/models/drafter-init.js';
import { loadTarget } from '../../src/models/target.js';
import type { ExportRecord } from '../../src/reports/export-record.js';
import { formatModelCard } from '../../src/reports/model-card.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { saveCheckpoint } from '../../src/training/checkpoints.js';
import { needsShared, sharedPath } from '../shared-files.js';

const shared = needsShared('models/drafter-trained-stories', 'models/stories-260K');

before(async () => {
  await loadTensorflow();
});

const temporaryFolder = () => mkdtempSync(join(tmpdir(), 'draftalign-export-'));

const config: DrafterConfig = {
  blockSize: 4,
  maskTokenId: 3,
  targetLayerIds: [1, 2],
  numTargetLayers: 5,
  hiddenSize: 12,
  intermediateSize: 20,
  numHiddenLayers: 2,
  numAttentionHeads: 6,
  numKeyValueHeads: 2,
  headDim: 4,
  rmsNormEps: 1e-6,
  rope: { type: 'default', theta: 50000 },
  vocabSize: 30,
  maxPositionEmbeddings: 128,
  attentionBias: false,
};

/** A drafter folder on disk, initial weights. */
async function writeDrafter(): Promise<string> {
  const folder = join(temporaryFolder(), 'drafter');
  const weights = initDrafterWeights(config, 1);
  await saveDrafter(folder, config, weights, { dtype: 'F32' });
  tf.dispose(weights);
  return folder;
}

const readRecord = (folder: string) => JSON.parse(readFileSync(join(folder, 'draftalign.json'), 'utf8')) as ExportRecord;

test('a drafter trained elsewhere is exported in every type and format, verified by decoding', shared, async () => {
  const source = sharedPath('models/drafter-trained-stories')!;
  const original = await loadDrafter(source);
  const count = tf.memory().numTensors;
  const lengths = new Set<number>();
  for (const format of ['dflash', 'speculators'] as const) {
    for (const dtype of ['float32', 'bfloat16', 'float16'] as const) {
      const out = join(temporaryFolder(), 'stories-drafter');
      const record = await exportDrafter({ source, out, format, dtype, target: sharedPath('models/stories-260K')! });
      assert.deepEqual(readdirSync(out).sort(), ['README.md', 'config.json', 'draftalign.json', 'model.safetensors']);
      assert.deepEqual(readRecord(out), JSON.parse(JSON.stringify(record)));
      assert.equal(record.target.name, 'stories-260K');
      assert.match(record.target.weightFingerprint ?? '', /^[0-9a-f]{64}$/);
      const { outputDifference, decoding } = record.verification!;
      assert.ok(outputDifference.toRounded <= 1e-5);
      assert.ok(outputDifference.toFloat32 <= { float32: 1e-5, float16: 0.01, bfloat16: 0.08 }[dtype], `${dtype}: ${outputDifference.toFloat32}`);
      // A drafter trained on these texts is accepted far beyond chance.
      assert.ok(decoding !== null && decoding.roundsEqual && decoding.acceptedLength > 3, JSON.stringify(decoding));
      lengths.add(decoding.acceptedLengthFloat32);
      const loaded = await loadDrafter(out);
      assert.deepEqual(loaded.config, original.config);
      loaded.dispose();
    }
  }
  assert.equal(lengths.size, 1, 'the drafter in memory decodes the same each time');
  assert.equal(tf.memory().numTensors, count);
  original.dispose();
});

test('a run is exported from its best or last checkpoint, with its settings and figures', shared, async () => {
  const run = join(temporaryFolder(), 'run');
  const drafter = await loadDrafter(sharedPath('models/drafter-trained-stories')!);
  const settings = parseConfig(
    { target: sharedPath('models/stories-260K')!, losses: 'paper', data: { tokens: '/somewhere/else/tokens' }, training: { steps: 20, seed: 7 } },
    { name: 'test' },
  );
  for (const [step, score] of [[10, 5.5], [20, 5.25]] as const) {
    await saveCheckpoint(join(run, 'checkpoints'), { step, score }, score, (folder) => saveDrafter(join(folder, 'drafter'), drafter.config, drafter.weights, { dtype: 'F32', extra: { target: 'stories-260K' } }));
  }
  writeFileSync(join(run, 'config.yaml'), formatConfig(settings));
  const out = join(temporaryFolder(), 'exported');
  const best = await exportDrafter({ source: run, out });
  assert.deepEqual([best.source.checkpoint, best.source.step], ['step-00000010', 10]);
  assert.match(best.source.weightFingerprint, /^[0-9a-f]{64}$/);
  assert.deepEqual(best.validation, { acceptedLength: 5.5 });
  assert.equal(best.drafter.dtype, 'bfloat16');
  assert.equal((best.training!['training'] as { seed: number }).seed, 7);
  assert.equal((best.training!['data'] as { tokens: string }).tokens, 'tokens', 'no paths of this machine');
  const card = readFileSync(join(out, 'README.md'), 'utf8');
  for (const expected of [/^---\n/, /# exported\n/, /"term": "chain"/, /"num_speculative_tokens": 7/, /speculative-algorithm DFLASH/, /draft-dflash/, /5\.500/]) assert.match(card, expected);
  assert.doesNotMatch(card, /somewhere/);

  // A second export replaces the first, leaves what the user added, and takes a checkpoint as well as a run.
  writeFileSync(join(out, 'LICENSE'), 'mine');
  const last = await exportDrafter({ source: run, out, checkpoint: 'last', dtype: 'float32' });
  assert.equal(last.source.step, 20);
  assert.deepEqual(readdirSync(out).sort(), ['LICENSE', 'README.md', 'config.json', 'draftalign.json', 'model.safetensors']);
  const checkpoint = await exportDrafter({ source: join(run, 'checkpoints', 'step-00000010'), out: join(temporaryFolder(), 'again'), verify: false });
  assert.deepEqual([checkpoint.source.step, checkpoint.target.name, checkpoint.verification], [10, 'stories-260K', null]);
  drafter.dispose();
});

test('an evaluation goes into the card, unless it was of another target', shared, async () => {
  const source = sharedPath('models/drafter-trained-stories')!;
  const target = sharedPath('models/stories-260K')!;
  const { weightFingerprint, dispose } = await loadTarget(target);
  dispose();
  const totals = { prompts: 4, acceptedLength: 6.125, acceptedLengthInterval: { low: 5.9, high: 6.3 }, waste: 0.25, speedup: 2.5, identical: true };
  const document = {
    format: 'draftalign-evaluation',
    version: 1,
    finishedAt: '2026-01-02T03:04:05.000Z',
    target: { name: 'stories', folder: target, weightFingerprint },
    drafter: { folder: source, blockSize: 8, targetLayerIds: [0, 2, 3] },
    settings: { temperature: 0, blockSize: 8, maxNewTokens: 80 },
    totals,
    sets: [{ name: 'tales', skipped: [], totals }],
  };
  const file = join(temporaryFolder(), 'evaluation.json');
  writeFileSync(file, JSON.stringify(document));
  const out = join(temporaryFolder(), 'exported');
  const record = await exportDrafter({ source, out, target, evaluation: file });
  assert.equal(record.evaluation!.sets[0]!.acceptedLength, 6.125);
  assert.match(readFileSync(join(out, 'README.md'), 'utf8'), /\| tales \| 4 \| 6\.125 \| 5\.900 to 6\.300 \| 25\.0% \| 2\.50x \|/);
  writeFileSync(file, JSON.stringify({ ...document, target: { ...document.target, weightFingerprint: 'f'.repeat(64) } }));
  await assert.rejects(exportDrafter({ source, out: join(temporaryFolder(), 'x'), target, evaluation: file }), /measured with another target/);
});

test('without a target, outputs are compared and the user is told what is not', async () => {
  const said: string[] = [];
  const out = join(temporaryFolder(), 'exported');
  const record = await exportDrafter({ source: await writeDrafter(), out, dtype: 'float32', say: (line) => said.push(line) });
  assert.match(said.join('\n'), /target is not known/);
  assert.equal(record.verification!.decoding, null);
  assert.equal(record.verification!.outputDifference.toFloat32, 0);
  assert.match(formatModelCard(record, 'x'), /Trained outside draftalign/);
});

test('a written drafter that differs in a weight or the config is caught', async () => {
  const folder = await writeDrafter();
  const [first, second] = [await loadDrafter(folder), await loadDrafter(folder)];
  const count = tf.memory().numTensors;
  assert.deepEqual(compareDrafters(first, second, 'F32').problems, []);
  const name = 'layers.1.mlp.down_proj.weight';
  const changed = tf.tidy(() => tf.add(second.weights[name]!, 0.5));
  assert.match(compareDrafters(first, { ...second, weights: { ...second.weights, [name]: changed } }, 'F32').problems.join('\n'), /down_proj\.weight reads back with[^]*outputs differ/);
  changed.dispose();
  assert.match(compareDrafters(first, { ...second, config: { ...config, targetLayerIds: [0, 2] } }, 'F32').problems.join(), /config reads back/);
  const large = tf.tidy(() => tf.mul(first.weights[name]!, 1e7));
  const overflowing = { ...first, weights: { ...first.weights, [name]: large } };
  assert.match(compareDrafters(overflowing, overflowing, 'F16').problems.join('\n'), /not finite in F16/);
  large.dispose();
  assert.equal(tf.memory().numTensors, count);
});

test('taps that engines would gather in another order are refused', async () => {
  const folder = join(temporaryFolder(), 'drafter');
  await saveDrafter(folder, { ...config, targetLayerIds: [2, 1] }, initDrafterWeights(config, 1), { dtype: 'F32' });
  const out = join(temporaryFolder(), 'exported');
  await assert.rejects(exportDrafter({ source: folder, out }), /order 2, 1/);
  assert.equal(existsSync(out), false);
});

test('a drafter that does not fit the named target leaves nothing behind', shared, async () => {
  const parent = temporaryFolder();
  await assert.rejects(exportDrafter({ source: await writeDrafter(), out: join(parent, 'out'), target: sharedPath('models/stories-260K')! }), (error: Error) => error instanceof UserError && /vocab_size/.test(error.message));
  assert.deepEqual(readdirSync(parent), []);
});

test('a folder with other files, a run without checkpoints and a missing folder are refused', async () => {
  const source = await writeDrafter();
  const other = temporaryFolder();
  writeFileSync(join(other, 'thesis.txt'), 'precious');
  await assert.rejects(exportDrafter({ source, out: other }), /thesis\.txt/);
  const run = temporaryFolder();
  cpSync(source, join(run, 'unrelated'), { recursive: true });
  writeFileSync(join(run, 'config.yaml'), 'target: demo\n');
  await assert.rejects(exportDrafter({ source: run, out: join(other, 'x') }), /no checkpoint yet/);
  await assert.rejects(exportDrafter({ source: join(run, 'missing'), out: join(other, 'x') }), /there is no folder/);
});
