import test from 'node:test';
import assert from 'node:assert/strict';
import { PassThrough, Writable } from 'node:stream';
import { createProgress, formatDuration } from '../../src/reports/progress.js';

test('without a terminal, plain lines come now and then, with the time that is left', () => {
  const stream = new PassThrough();
  let time = 0;
  const progress = createProgress({ label: 'step', stream, now: () => time });
  for (let done = 1; done <= 100; done++) {
    time += 1000;
    progress.update({ done, total: 100, figures: [`loss ${done}`] });
  }
  progress.finish();
  const lines = String(stream.read()).trimEnd().split('\n');
  assert.equal(lines.length, 11);
  assert.equal(lines[1], 'step 11/100  loss 11  11 s, 1:29 left');
  assert.match(lines.at(-1)!, /^step 100\/100 {2}loss 100 {2}1:40$/);
});

test('what came before the first update is not taken for the pace', () => {
  const stream = new PassThrough();
  let time = 0;
  const progress = createProgress({ label: 'step', stream, now: () => time, everyMs: { terminal: 0, plain: 0 } });
  time = 600_000;
  for (const done of [1, 2, 3]) {
    progress.update({ done, total: 13, figures: [] });
    time += 1000;
  }
  assert.deepEqual(String(stream.read()).trimEnd().split('\n'), ['step 1/13  10:00', 'step 2/13  10:01, 11 s left', 'step 3/13  10:02, 10 s left']);
});

test('on a terminal one line is rewritten, never wider than the screen, and messages stand above it', () => {
  const stream = Object.assign(new PassThrough(), { isTTY: true, columns: 30 });
  let time = 0;
  const progress = createProgress({ label: 'step', stream, now: () => (time += 1000) });
  progress.update({ done: 1, total: 9, figures: ['loss 1.234', 'something that is far too long'] });
  progress.say('saved');
  progress.update({ done: 2, total: 9, figures: [] });
  progress.finish();
  const text = String(stream.read());
  assert.ok(text.split('\r\x1b[K').every((line) => line.trimEnd().length < 30));
  assert.match(text, /saved\n/);
  assert.equal(text.split('\n').length, 3);
});

test('a reader that went away does no harm', async () => {
  const stream = new Writable({ write: (_chunk, _encoding, callback) => callback(Object.assign(new Error('gone'), { code: 'EPIPE' })) });
  const progress = createProgress({ label: 'step', stream, everyMs: { terminal: 0, plain: 0 } });
  progress.update({ done: 1, total: 2, figures: [] });
  await new Promise((resolve) => setImmediate(resolve));
  progress.update({ done: 2, total: 2, figures: [] });
  progress.finish();
});

test('durations read well', () => {
  assert.deepEqual([400, 59_000, 185_000, 7_800_000, 273_600_000].map(formatDuration), ['0 s', '59 s', '3:05', '2:10:00', '3 d 4 h']);
});
