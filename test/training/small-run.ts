// A complete small setting for training tests, made from nothing in a temporary folder: a random target, token sequences that a
// drafter can learn (each row counts upwards from its own start), a config. No test material from outside is needed.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCacheWriter } from '../../data/arrow-cache.js';
import { parseConfig, type Config } from '../../src/config/load.js';
import { saveTarget } from '../../src/models/target-checkpoint.js';
import { initTargetWeights } from '../../src/models/target-init.js';
import type { TargetConfig } from '../../src/models/target-config.js';
import { Random } from '../../src/random.js';
import { tf } from '../../src/tensorflow/ops.js';

const vocabSize = 26;

export const smallTarget: TargetConfig = {
  architecture: 'qwen3',
  vocabSize,
  hiddenSize: 32,
  intermediateSize: 24,
  numLayers: 4,
  numHeads: 2,
  numKeyValueHeads: 1,
  headDim: 8,
  rmsNormEps: 1e-6,
  rope: { type: 'default', theta: 10000 },
  maxPositions: 64,
  tieWordEmbeddings: true,
  attentionBias: false,
  outputBias: false,
  mlpBias: false,
  qkNorm: true,
  bosTokenId: 0,
  eosTokenIds: [1],
};

/** Writes target and tokens, runs `body` with the folder, and removes it. */
export async function withSmallRun(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'draftalign-train-'));
  try {
    const weights = initTargetWeights(smallTarget, 5);
    // With the small numbers that weights begin with, no hidden state could make the frozen head sure of a token.
    const embedding = tf.mul(weights['model.embed_tokens.weight']!, 40);
    await saveTarget(join(folder, 'target'), smallTarget, { ...weights, 'model.embed_tokens.weight': embedding }, 'F32');
    tf.dispose([embedding, ...Object.values(weights)]);
    await writeTokens(join(folder, 'tokens'));
    await body(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function writeTokens(out: string): Promise<void> {
  const metadata = {
    format_version: 1,
    target: null,
    target_fingerprint: null,
    tokenizer_fingerprint: null,
    vocab_size: vocabSize,
    hidden_size: null,
    taps: null,
    generation: null,
    source: 'rows that count upwards',
  };
  const writer = await createCacheWriter(out, { metadata, columns: { featureWidth: 0, featureType: 'float16', topk: 0, labels: true } });
  const random = new Random(3);
  const rows = 40;
  for (let row = 0; row < rows; row++) {
    const length = 16 + random.int(16);
    const start = random.int(vocabSize - 2);
    const inputIds = Int32Array.from({ length }, (_, i) => 2 + ((start + i) % (vocabSize - 2)));
    const lossMask = new Uint8Array(length).fill(1).fill(0, 0, 2);
    await writer.append({ inputIds, lossMask, domain: 'counting', promptLength: 2 });
  }
  await writer.finish(rows);
}

/** A config over that folder; `changes` are merged by section. */
export function smallConfig(folder: string, run: string, changes: Record<string, unknown> = {}): Config {
  const base: Record<string, Record<string, unknown> | string> = {
    target: join(folder, 'target'),
    data: { tokens: join(folder, 'tokens'), maxLength: 32, validationRows: 6 },
    capture: { folder: join(folder, 'cache') },
    drafter: { blockSize: 4, layers: 1, intermediateSize: 32 },
    losses: 'paper-warmed',
    optimizer: { learningRate: 0.01 },
    training: { steps: 12, batchSize: 4, anchorsPerSequence: 6, seed: 1 },
    evaluation: { everySteps: 5, batchSize: 3 },
    output: { folder: join(folder, run), checkpointEverySteps: 4, logEverySteps: 3 },
  };
  for (const [key, change] of Object.entries(changes)) {
    const old = base[key];
    base[key] = typeof old === 'object' && typeof change === 'object' && !Array.isArray(change) ? { ...old, ...change } : (change as string);
  }
  return parseConfig(base);
}
