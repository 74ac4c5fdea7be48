import test from 'node:test';
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { maskedCrc32c, openEvents, readEvents } from '../../src/reports/tensorboard.js';

function withFolder(run: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'draftalign-events-'));
  try {
    run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
const fileIn = (folder: string) => join(folder, readdirSync(folder)[0]!);

test('the masked CRC-32C is that of the published check value', () => {
  const crc = 0xe3069283; // CRC-32C of "123456789" (RFC 3720)
  assert.equal(maskedCrc32c(Buffer.from('123456789')), ((((crc >>> 15) | (crc << 17)) >>> 0) + 0xa282ead8) % 2 ** 32);
});

test('events come back as they were written, histograms among them', () => {
  withFolder((folder) => {
    const writer = openEvents(folder, 0);
    writer.scalar('train/loss', 1.5, 1);
    writer.scalar('train/loss', -0.25, 300);
    writer.histogram('validation/first error', [1, 2, 3], [4, 0, 2], 300);
    writer.close();
    assert.deepEqual(readEvents(fileIn(folder)), [
      { step: 1, tag: 'train/loss', value: 1.5 },
      { step: 300, tag: 'train/loss', value: -0.25 },
      { step: 300, tag: 'validation/first error', value: null },
    ]);
  });
});

test('reopening cuts the file back to a step, and drops a record that a kill left half written', () => {
  withFolder((folder) => {
    const writer = openEvents(folder, 0);
    for (const step of [1, 2, 3]) writer.scalar('loss', step, step);
    writer.close();
    appendFileSync(fileIn(folder), Buffer.from([40, 0, 0, 0, 0]));
    const again = openEvents(folder, 2);
    again.scalar('loss', 30, 3);
    again.close();
    assert.deepEqual(readEvents(fileIn(folder)).map((event) => event.value), [1, 2, 30]);
  });
});

test('the reader, and so the framing, agrees with a file that TensorFlow wrote', async () => {
  const tf = await loadTensorflow();
  const folder = mkdtempSync(join(tmpdir(), 'draftalign-events-'));
  try {
    const writer = tf.node.summaryFileWriter(folder);
    writer.scalar('native', 2.5, 7);
    writer.flush();
    assert.deepEqual(readEvents(fileIn(folder)).map(({ step, tag }) => ({ step, tag })), [{ step: 7, tag: 'native' }]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
