import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { UserError } from '../../src/errors.js';
import { loadDrafter } from '../../src/models/drafter-checkpoint.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { describePlan, planRun, refuseTooLarge } from '../../src/training/estimate.js';
import { train } from '../../src/training/trainer.js';
import { smallConfig, withSmallRun } from './small-run.js';

await loadTensorflow();

test('a plan tells the parameters and steps that the run then has, and allocates nothing', async () => {
  await withSmallRun(async (folder) => {
    const config = smallConfig(folder, 'run', { training: { steps: null, epochs: 2 } });
    const plan = await planRun(config);
    const text = describePlan(plan);
    const result = await train(config);
    const { weights, dispose } = await loadDrafter(result.lastDrafter);
    assert.equal(plan.parameters, Object.values(weights).reduce((sum, { size }) => sum + size, 0));
    dispose();
    assert.equal(plan.totalSteps, result.step);
    assert.match(text, /parameters .* million[^]*memory[^]*steps +\d+[^]*disk/);
  });
});

test('a plan over files that are not there is refused', async () => {
  await withSmallRun(async (folder) => {
    const config = smallConfig(folder, 'run', { data: { tokens: null, prompts: join(folder, 'missing.jsonl'), maxLength: 32 } });
    await assert.rejects(planRun(config), (error) => error instanceof UserError && /there is no file .*missing\.jsonl/.test(error.message));
    await rm(join(folder, 'tokens'), { recursive: true });
    await assert.rejects(planRun(smallConfig(folder, 'run')), UserError);
  });
});

test('a run that cannot fit is refused with what takes the memory and what to lower', async () => {
  await withSmallRun(async (folder) => {
    const { memory } = await planRun(smallConfig(folder, 'run'));
    refuseTooLarge(memory, 2 * memory.total);
    assert.throws(() => refuseTooLarge(memory, memory.total), /would take about .* for a step, .* for weights.*Lower training\.batchSize/);
  });
});
