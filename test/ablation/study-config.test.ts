import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadStudy, parseStudy } from '../../src/ablation/study-config.js';
import { studyJsonSchema } from '../../src/ablation/study-schema.js';
import { captureKey, planStudy } from '../../src/ablation/study-plan.js';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.js';
import { UserError } from '../../src/errors.js';
import { studyValue } from './study-fixture.js';

const messageOf = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof UserError, String(error));
    return error.message;
  }
  return assert.fail('nothing was thrown');
};

test('all that is wrong with the shape of a study is told at once, with its place and what was likely meant', () => {
  const message = messageOf(() => parseStudy(studyValue({ budgets: [2], sedes: [1], objectives: { uniform: 'unifrom' } }), { set: ['base.training.step=5'] }));
  assert.match(message, /4 problems/);
  assert.match(message, /budgets\.0: found 2/);
  assert.match(message, /sedes: no such key; did you mean `seeds`/);
  assert.match(message, /objectives\.uniform: .*did you mean `uniform`/);
  assert.match(message, /base\.training\.step: no such key; did you mean `steps`\? \(from --set\)/);
});

test('names that lead nowhere and settings that are the study\'s own are told together', () => {
  const sweeps = [
    { name: 'a', objective: 'papr', set: 'losses.0.gamma', values: [1] },
    { name: 'a', objective: 'paper', set: 'training.seed', values: [1] },
    { name: 'b', objective: 'paper', set: 'decoding.limit', values: [1] },
  ];
  const message = messageOf(() => parseStudy(studyValue({ sweeps, roles: { baseline: 'uniform', stack: 'paper', challenger: 'bset' } })));
  assert.match(message, /5 problems/);
  assert.match(message, /roles\.challenger: no objective is called "bset"; did you mean `best`/);
  assert.match(message, /sweeps\.0\.objective: .*did you mean `paper`/);
  assert.match(message, /sweeps\.1\.name: "a" is taken/);
  assert.match(message, /sweeps\.1\.set: found training\.seed/);
  assert.match(message, /sweeps\.2\.set: found decoding\.limit/);
});

test('a value that contradicts the run it is put into is told with the variant that it belongs to', () => {
  const sweeps = [{ name: 'heads', objective: 'paper', set: 'drafter.keyValueHeads', values: [1, 3] }];
  const base = { target: '/models/none', data: { prompts: '/text.txt' }, capture: { topLogProbs: 0 }, drafter: { blockSize: 8, heads: 4 }, training: { steps: 400 } };
  const message = messageOf(() => parseStudy(studyValue({ base, sweeps })));
  assert.match(message, /base\.drafter\.keyValueHeads: found 3; it must divide the 4 heads \(for heads: 3\)/);
  assert.match(message, /base\.capture\.topLogProbs: found 0, but dpace needs .* \(for best\)/);
  assert.match(message, /has 2 problems/);
});

test('a sweep reaches into the terms of its objective, and only into the one it names', () => {
  const sweeps = [{ name: 'gamma', objective: 'paper', set: 'losses.0.gamma', values: { none: null, four: 4 } }];
  const study = parseStudy(studyValue({ sweeps }));
  const gammas = study.variants.filter(({ group }) => group === 'gamma').map(({ label, config }) => [label, config.losses]);
  assert.deepEqual(gammas.map(([label]) => label), ['none', 'four']);
  const [none, four] = gammas.map(([, losses]) => losses as { term: string; gamma?: unknown; weight: unknown }[]);
  assert.deepEqual([none![0]!.gamma, four![0]!.gamma], [null, 4]);
  assert.deepEqual(four!.slice(1), study.variants.find(({ id }) => id === 'paper')!.config.losses.slice(1));
  assert.deepEqual(study.variants.find(({ id }) => id === 'gamma.four')!.budgets, [400], 'a sweep runs at the whole budget unless it says otherwise');
});

test('every objective gets every seed and budget, and equal settings are trained and captured once', () => {
  const sweeps = [
    { name: 'gamma', objective: 'paper', set: 'losses.0.gamma', values: ['auto', 2] },
    { name: 'block size', objective: 'paper', set: 'decoding.blockSize', values: [4, 8] },
  ];
  const study = parseStudy(studyValue({ sweeps }));
  const plan = planStudy(study);
  const trainings = new Set(plan.cells.map(({ training }) => training.name));
  assert.deepEqual(study.budgets, [50, 200, 400]);
  // Four objectives in full; of the sweeps only γ = 2 is new, and the smaller block size only decodes.
  assert.equal(trainings.size, 4 * 9 + 3);
  assert.equal(plan.cells.length, 4 * 9 + 3 + 3);
  const swept = study.variants.find(({ id }) => id === 'gamma.auto')!;
  const paper = study.variants.find(({ id }) => id === 'paper')!;
  assert.equal(plan.cellOf(swept, 2, 400), plan.cellOf(paper, 2, 400));
  assert.equal(new Set(study.variants.map(({ config }) => captureKey(config))).size, 1);
  for (const { training } of plan.cells) {
    assert.equal(training.config.training.seed, training.seed);
    assert.equal(training.config.training.steps, training.steps);
  }
});

test('another text is another capture, another number of log-probabilities read is not', () => {
  const sweeps = [
    { name: 'text', objective: 'paper', set: 'capture.generate', values: { dataset: null, own: { maxNewTokens: 32, temperature: 1 } } },
    { name: 'kept', objective: 'best', set: 'data.topLogProbs', values: [1, 8] },
  ];
  const base = { target: '/models/none', data: { prompts: '/text.txt' }, capture: { topLogProbs: 16 }, drafter: { blockSize: 8 }, training: { steps: 400 } };
  const study = parseStudy(studyValue({ base, sweeps }));
  assert.equal(new Set(study.variants.map(({ config }) => captureKey(config))).size, 2);
});

test('configs/study-schema.json is what the definition gives (npm run schema)', async () => {
  assert.deepEqual(JSON.parse(await readFile(join(packageRoot(), 'configs/study-schema.json'), 'utf8')), studyJsonSchema());
});

test('the studies that come with draftalign are whole, and judge what the paper claims', async () => {
  for (const name of ['ablation-demo.yaml', 'ablation-stories.yaml']) {
    const study = await loadStudy(join(packageRoot(), 'configs', name));
    assert.equal(study.seeds.length, 3);
    assert.equal(study.budgets.length, 3);
    assert.ok(study.variants.length >= 10 && study.roles.challenger !== null && study.roles.stack !== null && study.roles.alone.length === 3);
    const byLabel = (label: string | null) => study.variants.find((variant) => variant.group === 'objectives' && variant.label === label)!.config;
    const { losses: _own, ...stack } = byLabel(study.roles.stack);
    const { losses: _other, ...baseline } = byLabel(study.roles.baseline);
    assert.deepEqual(stack, baseline, 'objectives differ in nothing but their losses');
  }
});
