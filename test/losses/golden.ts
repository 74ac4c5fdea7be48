// Reads the golden losses, and compares tensors with them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../../src/tensorflow/ops.js';
import { sharedPath } from '../shared-files.js';

/** The tensors of golden/losses.safetensors as tfjs tensors, made anew for each call. */
export function readGolden(): (name: string) => Tensor {
  const bytes = readFileSync(sharedPath('golden/losses.safetensors')!);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
  return (name) => {
    const { dtype, shape, data_offsets } = header[name]!;
    const data = bytes.subarray(8 + headerBytes + data_offsets[0], 8 + headerBytes + data_offsets[1]);
    const buffer = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
    return dtype === 'I32' ? tf.tensor(new Int32Array(buffer), shape, 'int32') : tf.tensor(new Float32Array(buffer), shape, 'float32');
  };
}

/** Largest difference, as a share of the largest expected magnitude, is at most `tolerance`. */
export function assertClose(actual: Tensor, expected: Tensor | number[], tolerance: number, what: string): void {
  const found = actual.dataSync();
  const wanted = Array.isArray(expected) ? expected : expected.dataSync();
  assert.equal(found.length, wanted.length, `${what}: size`);
  let scale = 1e-30;
  for (const value of wanted) scale = Math.max(scale, Math.abs(value));
  let worst = 0;
  for (let i = 0; i < wanted.length; i++) {
    const difference = Object.is(found[i], wanted[i]) ? 0 : Math.abs(found[i]! - wanted[i]!);
    if (!(difference <= worst)) worst = difference;
  }
  assert.ok(worst <= tolerance * scale, `${what}: off by ${worst} where the largest value is ${scale}`);
}

/** Runs `body` in a scope and asserts that it left no tensors. */
export function leavesNothing(body: () => void): void {
  const before = tf.memory().numTensors;
  tf.tidy(body);
  assert.equal(tf.memory().numTensors, before, 'tensors left behind');
}
