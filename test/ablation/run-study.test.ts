import assert from 'node:assert/strict';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { stringify } from 'yaml';
import { readCell } from '../../src/ablation/cell-result.js';
import { runStudy } from '../../src/ablation/run-study.js';
import { loadStudy, type Study } from '../../src/ablation/study-config.js';
import type { StudyDocument } from '../../src/ablation/study-document.js';
import { studyPaths } from '../../src/ablation/study-folder.js';
import { formatPage } from '../../src/reports/page.js';
import { readReport } from '../../src/reports/report-data.js';
import { openSafetensors } from '../../src/models/safetensors.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';
import { withSmallRun } from '../training/small-run.js';

await loadTensorflow();

/** Writes a small study of one domain into the folder and reads it. */
async function smallStudy(folder: string, out: string, changes: Record<string, unknown> = {}): Promise<Study> {
  const prompts = Array.from({ length: 4 }, (_, id) => JSON.stringify({ id: `p${id}`, prompt_ids: [2 + id, 3 + id, 4 + id] }));
  await writeFile(join(folder, 'prompts.jsonl'), prompts.join('\n'));
  const file = join(folder, 'study.yaml');
  await writeFile(
    file,
    stringify({
      base: {
        target: './target',
        data: { tokens: './tokens', maxLength: 32, validationRows: 4, buckets: [32] },
        capture: { topLogProbs: 6 },
        drafter: { blockSize: 4, layers: 1, intermediateSize: 32 },
        optimizer: { learningRate: 0.01 },
        training: { steps: 8, batchSize: 4, anchorsPerSequence: 6 },
        evaluation: { everySteps: 4, batchSize: 4 },
        output: { logEverySteps: 2 },
      },
      objectives: { uniform: 'uniform', distilled: 'kl-dpace' },
      seeds: [1, 2],
      budgets: [0.5, 1],
      roles: { baseline: 'uniform', challenger: 'distilled' },
      sweeps: [
        { name: 'block size', objective: 'uniform', set: 'decoding.blockSize', values: [2, 4], seeds: [1] },
      ],
      decoding: { prompts: { counting: './prompts.jsonl' }, maxNewTokens: 12, resamples: 100 },
      ...changes,
    }),
  );
  return loadStudy(file, { set: [`folder=${JSON.stringify(join(folder, out))}`] });
}

/** What of a document does not depend on when and how fast it was made. */
function timeless({ updatedAt: _updatedAt, seconds: _seconds, config: _config, ...document }: StudyDocument): unknown {
  return { ...document, results: document.results.map(({ trainingSeconds: _trainingSeconds, ...row }) => row) };
}

test('a study stopped in the middle of a training goes on where it was, and ends as one that never stopped', async () => {
  await withSmallRun(async (folder) => {
    const whole = await smallStudy(folder, 'whole');
    const tensors = tf.memory().numTensors;
    const uninterrupted = await runStudy(whole, { draftalignVersion: '0' });
    assert.equal(tf.memory().numTensors, tensors, 'a study leaves no tensors behind');
    assert.equal(uninterrupted.finished, true);
    // Two objectives, seeds and budgets; one more decoding by the sweep.
    assert.equal(uninterrupted.document.cellsTotal, 2 * 2 * 2 + 1);

    const study = await smallStudy(folder, 'stopped');
    const stop = new AbortController();
    const first = await runStudy(study, { draftalignVersion: '0', signal: stop.signal, onProgress: ({ done, steps }) => void (done === 2 && steps > 18 && stop.abort()) });
    assert.equal(first.finished, false);
    assert.equal(first.document.cellsDone, 2);
    const paths = studyPaths(study.folder);
    const cells = (await readdir(join(study.folder, 'cells'))).filter((name) => name.endsWith('.json'));
    assert.equal(cells.length, 2);
    const before = await Promise.all(cells.map((name) => readFile(join(study.folder, 'cells', name), 'utf8')));
    const second = await runStudy(await smallStudy(folder, 'stopped'), { draftalignVersion: '0' });
    assert.equal(second.finished, true);
    assert.deepEqual(await Promise.all(cells.map((name) => readFile(join(study.folder, 'cells', name), 'utf8'))), before, 'finished cells are never done again');
    assert.deepEqual(timeless(second.document), timeless(uninterrupted.document));

    // A run keeps its drafter, curves and events, not its checkpoints.
    const run = paths.run('uniform.steps-8.seed-1');
    assert.deepEqual((await readdir(run)).sort(), ['config.yaml', 'drafter', 'events', 'log.txt', 'metrics.jsonl']);

    const page = await formatPage(await readReport([study.folder]), 'draftalign report stopped');
    assert.match(page, /distilled/);
    assert.match(page, /block size/);
    const runPage = await formatPage(await readReport([run]), 'draftalign report run');
    assert.match(runPage, /positionalWeighting/);
    await assert.rejects(readReport([join(folder, 'tokens')]), /neither a study .* nor a run/);

    // The same folder with other settings is refused before anything runs.
    await assert.rejects(async () => runStudy({ ...study, decoding: { ...study.decoding, maxNewTokens: 5 } }, { draftalignVersion: '0' }), /made with other settings/);
    // A document of a version that is not known is not guessed at.
    await writeFile(paths.document, JSON.stringify({ ...second.document, version: 2 }));
    await assert.rejects(readReport([study.folder]), /version 2; this program reads draftalign-study, version 1/);
  });
});

test('objectives of one seed begin with the same weights and see the same batches', async () => {
  await withSmallRun(async (folder) => {
    const study = await smallStudy(folder, 'study', { budgets: [1], sweeps: [] });
    for (const variant of study.variants) variant.config.optimizer.learningRate = 1e-30;
    const { document } = await runStudy(study, { draftalignVersion: '0' });
    const paths = studyPaths(study.folder);
    const weightsOf = async (objective: string, seed: number) => {
      const file = await openSafetensors(join(paths.run(`${objective}.steps-8.seed-${seed}`), 'drafter/model.safetensors'));
      try {
        return Array.from(await file.readFloat32('layers.0.mlp.up_proj.weight'));
      } finally {
        file.close();
      }
    };
    // Nothing is learned at that rate, so what is left is what the runs began with.
    assert.deepEqual(await weightsOf('uniform', 1), await weightsOf('distilled', 1));
    assert.notDeepEqual(await weightsOf('uniform', 1), await weightsOf('uniform', 2));
    const slots = async (objective: string) => (await readFile(join(paths.run(`${objective}.steps-8.seed-1`), 'metrics.jsonl'), 'utf8')).split('\n').flatMap((line) => /"slotAccuracy":\[[^\]]*\]/.exec(line) ?? []);
    assert.deepEqual(await slots('uniform'), await slots('distilled'));
    const cell = await readCell(paths.cell(document.results[0]!.cells[0]!));
    assert.equal(cell!.sets[0]!.texts.length, 4);
  });
});
