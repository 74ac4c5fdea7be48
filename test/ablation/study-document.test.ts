import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseStudy } from '../../src/ablation/study-config.js';
import { formatStudyMarkdown, formatStudyTable } from '../../src/reports/study-table.js';
import { exampleDocument, studyValue } from './study-fixture.js';

test('rows hold what the cells hold: lengths, lifts against both references, survival and first errors', () => {
  const study = exampleDocument();
  assert.equal(study.results.length, 4 * 3);
  const best = study.results.find(({ variant, steps }) => variant === 'best' && steps === 400)!;
  const maths = best.figures.find(({ domain }) => domain === 'maths')!;
  assert.ok(Math.abs(maths.acceptedLength.value - (4 + 1 + 0.5 + 0.1)) < 1e-12);
  assert.ok(Math.abs(maths.againstBaseline!.difference.value - 2) < 1e-12);
  assert.ok(Math.abs(maths.againstBaseline!.lift!.value - 2 / 2.6) < 1e-12);
  assert.ok(Math.abs(maths.againstStack!.difference.value - 1) < 1e-12);
  assert.deepEqual(maths.survival.slice(0, 4), [1, 1, 1, 1]);
  const total = maths.firstErrors.reduce((sum, share) => sum + share, 0);
  assert.ok(Math.abs(total - 1) < 1e-12, 'no round committed all eight');
  assert.equal(maths.firstErrors[4], 0.45, 'rounds of five tokens: an easy half without, nine in ten');
  assert.equal(best.figures.find(({ domain }) => domain === null)!.prompts, 12);
  const baseline = study.results.find(({ variant, steps }) => variant === 'uniform' && steps === 400)!;
  assert.equal(baseline.figures[0]!.againstBaseline, null);
});

test('statements are judged by their figures, met or not', () => {
  const verdicts = Object.fromEntries(exampleDocument().statements.map(({ id, met }) => [id, met]));
  assert.deepEqual(verdicts, { 'stack-above-baseline': true, 'stack-lift': true, 'waste-falls': true, 'alone-not-below': true, 'challenger-beats-stack': true });
  const turned = parseStudy(studyValue({ roles: { baseline: 'best', stack: 'uniform', alone: ['first error alone'], challenger: 'uniform' } }));
  const against = Object.fromEntries(exampleDocument(turned).statements.map(({ id, met }) => [id, met]));
  assert.deepEqual(against, { 'stack-above-baseline': false, 'stack-lift': false, 'waste-falls': false, 'alone-not-below': false, 'challenger-beats-stack': null });
});

test('a study that is not finished says so and leaves its statements open', () => {
  const study = exampleDocument(undefined, (id) => !id.startsWith('paper') || id.includes('steps-50.'));
  assert.equal(study.complete, false);
  const verdicts = Object.fromEntries(study.statements.map(({ id, met }) => [id, met]));
  assert.equal(verdicts['stack-above-baseline'], null);
  assert.equal(verdicts['challenger-beats-stack'], null);
  assert.match(formatStudyTable(study), /open paper accepts more drafts/);
});

test('the tables name every objective, and Markdown stays a table whatever a label holds', () => {
  const markdown = formatStudyMarkdown(exampleDocument(parseStudy(studyValue({ objectives: { uniform: 'uniform', 'a|b': 'paper' }, roles: { baseline: 'uniform' } }))));
  const rows = markdown.split('\n').filter((line) => line.startsWith('|'));
  assert.ok(rows.some((row) => row.includes('a\\|b')));
  assert.equal(new Set(rows.map((row) => row.replaceAll('\\|', '').split('|').length)).size, 1);
});
