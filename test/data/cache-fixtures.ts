// Small caches for tests: deterministic rows of any length, with features and teacher rows that tell where they belong.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CacheMetadata, CacheRow } from '../../data/arrow-cache.js';

export const metadata: CacheMetadata = {
  format_version: 1,
  target: 'test-target',
  target_fingerprint: 'f'.repeat(64),
  tokenizer_fingerprint: 'e'.repeat(64),
  vocab_size: 1000,
  hidden_size: 3,
  taps: [0, 2],
  generation: null,
  source: null,
};

export const columns = { featureWidth: 6, featureType: 'float16', topk: 2, labels: true } as const;

/** Row `number` of `length` tokens: ids count up from `number`, the first half is the prompt. */
export function exampleRow(number: number, length: number): CacheRow {
  return {
    inputIds: Int32Array.from({ length }, (_, i) => (number + i) % 1000),
    lossMask: Uint8Array.from({ length }, (_, i) => (i >= length / 2 ? 1 : 0)),
    features: Uint16Array.from({ length: length * 6 }, (_, i) => (number * 31 + i) % 0x7c00),
    topkIds: Int32Array.from({ length: length * 2 }, (_, i) => (number + i) % 1000),
    topkLogProbs: Uint16Array.from({ length: length * 2 }, (_, i) => 0x8000 + ((number + i) % 1000)),
    domain: number % 2 === 0 ? 'maths' : 'märchen',
    promptLength: Math.ceil(length / 2),
  };
}

export async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'draftalign-data-'));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}
