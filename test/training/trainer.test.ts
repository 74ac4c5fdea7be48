import test from 'node:test';
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { openCache } from '../../data/arrow-cache.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { acquireLock } from '../../src/lock.js';
import { readMetrics } from '../../src/reports/metrics.js';
import { readEvents } from '../../src/reports/tensorboard.js';
import { loadDrafter, saveDrafter } from '../../src/models/drafter-checkpoint.js';
import { readManifest } from '../../src/training/checkpoints.js';
import { readRunConfig, runPaths } from '../../src/training/run-folder.js';
import { train, type TrainResult } from '../../src/training/trainer.js';
import { tf } from '../../src/tensorflow/ops.js';
import { smallConfig, withSmallRun } from './small-run.js';

await loadTensorflow();

/** A run's trace: every metrics line without what a clock or the machine decides. */
function trace(runFolder: string): unknown[] {
  return readMetrics(runPaths(runFolder).metrics).map(({ blocksPerSecond: _1, stepMs: _2, residentBytes: _3, tensors: _4, ...rest }) => rest);
}

function lastFiles(runFolder: string): Record<string, Buffer> {
  const folder = runPaths(runFolder).checkpoints;
  const last = readdirSync(folder).filter((name) => name.startsWith('step-')).sort().at(-1)!;
  return Object.fromEntries(['drafter/model.safetensors', 'optimizer.safetensors'].map((file) => [file, readFileSync(join(folder, last, file))]));
}

/** Runs until `step` and is interrupted there. */
function trainUntil(config: Parameters<typeof train>[0], step: number, resume = false): Promise<TrainResult> {
  const controller = new AbortController();
  return train(config, { resume, signal: controller.signal, onProgress: (progress) => progress.step === step && controller.abort() });
}

test('a run lowers the loss, raises the accepted length, and leaves what it should and nothing else', async () => {
  await withSmallRun(async (folder) => {
    const before = tf.memory().numTensors;
    const config = smallConfig(folder, 'run', { losses: 'weighting', training: { steps: 120 }, evaluation: { everySteps: 40 } });
    const said: string[] = [];
    const result = await train(config, { say: (message) => said.push(message) });
    assert.equal(tf.memory().numTensors, before);
    const lines = readMetrics(runPaths(result.runFolder).metrics);
    const losses = lines.filter((line) => line.kind === 'train').map((line) => line['loss'] as number);
    assert.equal(losses.length, 40);
    assert.ok(losses.at(-1)! < 0.6 * losses[0]!, `loss went from ${losses[0]} to ${losses.at(-1)}`);
    const accepted = lines.filter((line) => line.kind === 'validation').map((line) => line['acceptedLength'] as number);
    assert.ok(accepted.at(-1)! > 1.5 && accepted.at(-1)! > accepted[0]!, `accepted length went ${accepted}`);
    assert.equal(result.finalMetrics.validation?.acceptance.acceptedLength, accepted.at(-1));
    assert.ok(existsSync(join(result.bestDrafter, 'model.safetensors')));
    const paths = runPaths(result.runFolder);
    assert.deepEqual(readdirSync(result.runFolder).sort(), ['checkpoints', 'config.yaml', 'events', 'log.txt', 'metrics.jsonl']);
    const tags = new Set(readEvents(join(paths.events, readdirSync(paths.events)[0]!)).map((event) => event.tag));
    for (const tag of ['train/loss', 'validation/acceptedLength', 'validation/first error', 'losses/positionalWeighting']) assert.ok(tags.has(tag), tag);
    assert.equal((await openCache(join(folder, 'cache/features'))).columns.topk, 26, 'all log-probabilities of a vocabulary that is smaller than what is asked for');
    const resolved = await readRunConfig(result.runFolder);
    assert.deepEqual(resolved.drafter.taps, [2]);
    assert.equal(resolved.drafter.maskTokenId, 0);
    assert.ok(said.some((message) => /accepted length/.test(message)));
  });
});

test('a run that is stopped and resumed at any step equals the uninterrupted one bit for bit', async () => {
  await withSmallRun(async (folder) => {
    for (const { accumulate, stops } of [{ accumulate: 1, stops: [1, 5, 11] }, { accumulate: 2, stops: [7] }]) {
      const configOf = (run: string) => smallConfig(folder, `${run}-${accumulate}`, { training: { accumulate } });
      const whole = await train(configOf('whole'));
      const config = configOf('stopped');
      for (const [index, stop] of stops.entries()) {
        const part = await trainUntil(config, stop, index > 0);
        assert.equal(part.finished, false);
        assert.equal(part.step, stop);
      }
      const resumed = await train(config, { resume: true });
      assert.equal(resumed.finished, true);
      assert.deepEqual(trace(resumed.runFolder), trace(whole.runFolder));
      assert.deepEqual(lastFiles(resumed.runFolder), lastFiles(whole.runFolder));
    }
  });
});

test('a run whose newest checkpoint is broken goes on from the one before, says so, and ends the same', async () => {
  await withSmallRun(async (folder) => {
    const whole = await train(smallConfig(folder, 'whole'));
    const config = smallConfig(folder, 'broken');
    await trainUntil(config, 7);
    const { checkpoints } = runPaths(join(folder, 'broken'));
    truncateSync(join(checkpoints, 'step-00000007/optimizer.safetensors'), 100);
    const said: string[] = [];
    const resumed = await train(config, { resume: true, say: (message) => said.push(message) });
    assert.ok(said.some((message) => /step-00000007 is broken.*trying step-00000004/.test(message)), said.join('\n'));
    assert.deepEqual(trace(resumed.runFolder), trace(whole.runFolder));
    assert.deepEqual(lastFiles(resumed.runFolder), lastFiles(whole.runFolder));
    assert.equal((await readManifest(checkpoints))?.last, 'step-00000012');
  });
});

test('graph and eager runs have the same trace over 50 steps, with every loss in the objective', async () => {
  await withSmallRun(async (folder) => {
    const losses = [
      { term: 'positionalWeighting', gamma: { from: 20, to: 2, over: 0.5 } },
      { term: 'positionalWeighting', name: 'blend', on: 'blend' },
      { term: 'firstErrorFocal', focusing: 1 },
      { term: 'chain', weight: { from: 0, to: 4, over: 0.5 } },
      { term: 'dpace', on: 'kl' },
      { term: 'dpace', name: 'overlap', on: 'totalVariation', confidence: 'overlap' },
      { term: 'forwardKl' },
      { term: 'totalVariation' },
      { term: 'distillationBlend' },
      { term: 'acceptanceChain', weight: 1 },
    ];
    const runOf = (eager: boolean) =>
      train(smallConfig(folder, `eager-${eager}`, { losses, capture: { topLogProbs: 8 }, training: { steps: 50, eager, accumulate: 1 }, evaluation: { everySteps: 50 }, output: { logEverySteps: 1 } }));
    const [graph, eager] = [trace((await runOf(false)).runFolder), trace((await runOf(true)).runFolder)] as { loss: number }[][];
    assert.equal(graph!.length, 51);
    graph!.forEach(({ loss }, i) => assert.ok(Math.abs(loss - eager![i]!.loss) <= 1e-5 * Math.abs(loss), `line ${i}: ${loss} against ${eager![i]!.loss}`));
  });
});

test('a second process is kept out of a run, a finished run is not overwritten, another config is not resumed', async () => {
  await withSmallRun(async (folder) => {
    const config = smallConfig(folder, 'run', { training: { steps: 2 } });
    const release = await acquireLock(runPaths(join(folder, 'run')).lock);
    await assert.rejects(train(config), /is in use by process \d+/);
    await release();
    await assert.rejects(train(config, { resume: true }), /holds no run to resume/);
    await train(config);
    await assert.rejects(train(config), /already holds a run \(step-00000002\).*--resume.*--run/);
    const other = smallConfig(folder, 'run', { training: { steps: 3 }, optimizer: { learningRate: 0.02 } });
    await assert.rejects(train(other, { resume: true }), /What differs: optimizer\.learningRate, training\.steps/);
    const again = await train(smallConfig(folder, 'run', { training: { steps: 2, threads: 1, tf32: true, xla: true } }), { resume: true });
    assert.equal(again.step, 2, 'how it computes may change');
  });
});

test('numbers that are not finite skip the step, and several in a row stop the run, naming the rows; the last checkpoint stands', async () => {
  await withSmallRun(async (folder) => {
    await train(smallConfig(folder, 'capture', { training: { steps: 1 } }));
    // A learning rate that overflows the weights makes the next losses infinite or NaN.
    const config = smallConfig(folder, 'run', { optimizer: { learningRate: 1, maxGradientNorm: null, weightDecay: 3e38, warmup: 0 }, training: { steps: 30, maxSkippedSteps: 3 }, output: { checkpointEverySteps: 1 } });
    const said: string[] = [];
    await assert.rejects(train(config, { say: (message) => said.push(message) }), /3 steps in a row were not finite.*epoch \d+, batch \d+ \(rows [\d, ]+\).*step-0000000\d stands/s);
    const events = readMetrics(runPaths(join(folder, 'run')).metrics).filter((line) => line.kind === 'event');
    assert.equal(events.length, 3);
    assert.ok(said.some((message) => /was skipped/.test(message)));
  });
});

test('a run starts from another drafter\'s weights, in the speculators format too, and refuses one of another target', async () => {
  await withSmallRun(async (folder) => {
    const first = await train(smallConfig(folder, 'first', { training: { steps: 40 }, losses: 'weighting' }));
    const { config, weights, dispose } = await loadDrafter(first.lastDrafter);
    const [foreign, misfit] = [join(folder, 'foreign'), join(folder, 'misfit')];
    await saveDrafter(foreign, { ...config, maxPositionEmbeddings: 48 }, weights, { dtype: 'F32', format: 'speculators' });
    await saveDrafter(misfit, { ...config, vocabSize: config.vocabSize + 1, numTargetLayers: 9 }, weights, { dtype: 'F32' });
    dispose();
    const from = (initFrom: string) => smallConfig(folder, 'second', { training: { steps: 3 }, losses: 'weighting', optimizer: { learningRate: 1e-5 }, drafter: { initFrom } });
    await assert.rejects(train(from(misfit)), /vocab_size` is 27; the target's is 26[^]*num_target_layers` is 9; the target's is 4/);
    const said: string[] = [];
    const second = await train(from(foreign), { say: (message) => said.push(message) });
    assert.match(said.join('\n'), /foreign: `max_position_embeddings` is 48, the target's 64/);
    await train(smallConfig(folder, 'third', { training: { steps: 1 }, losses: 'weighting', drafter: { initFrom: foreign, blockSize: 3 } }), { say: (message) => said.push(message) });
    assert.match(said.join('\n'), /foreign: trained with blocks of 4; this run uses 3/);
    // The same held-out blocks, before and after three steps too small to matter.
    const heldOut = (result: TrainResult) => readMetrics(runPaths(result.runFolder).metrics).filter((line) => line.kind === 'validation').at(-1)!['loss'] as number;
    assert.ok(Math.abs(heldOut(second) - heldOut(first)) < 0.01 * heldOut(first), `${heldOut(second)} against ${heldOut(first)}`);
  });
});

test('a cache that does not fit is refused before anything starts', async () => {
  await withSmallRun(async (folder) => {
    await train(smallConfig(folder, 'capture', { capture: { topLogProbs: 0 }, training: { steps: 1 } }));
    const cache = join(folder, 'cache/features');
    const withCache = (changes: object) => smallConfig(folder, 'run', { data: { tokens: null, cache, maxLength: 32 }, ...changes });
    await assert.rejects(train(withCache({ drafter: { taps: [0, 1], blockSize: 4 } })), /taps is \[0, 1\], but the cache was captured with \[2\]/);
    await assert.rejects(train(withCache({ losses: 'kl' })), /holds no log-probabilities/);
    await assert.rejects(train(smallConfig(folder, 'run', { data: { tokens: null, cache: join(folder, 'tokens') } })), /without features/);
    rmSync(join(cache, 'manifest.json'));
    await assert.rejects(train(withCache({})), /manifest/);
  });
});
