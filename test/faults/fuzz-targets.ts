// What the fuzzer damages and how each file is then read: by the same functions that the commands call. Every reader either
// takes the file or throws UserError; anything else is a finding.
import { createHash } from 'node:crypto';
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { createCacheWriter, openCache, verifyCache } from '../../data/arrow-cache.js';
import { TemplateError } from '../../data/chat-template.js';
import { parseConversation, RowProblem, toMessages } from '../../data/conversations.js';
import { readParquetRows } from '../../data/parquet-rows.js';
import { readPrompts } from '../../data/prompts.js';
import { readSourceRows } from '../../data/source-rows.js';
import { tokenizeConversation, tokenizeText } from '../../data/supervision.js';
import { loadTokenizer, type Tokenizer } from '../../data/tokenizer.js';
import { loadConfig } from '../../src/config/load.js';
import { readLock } from '../../src/lock.js';
import { loadDrafter, saveDrafter } from '../../src/models/drafter-checkpoint.js';
import type { DrafterConfig } from '../../src/models/drafter-config.js';
import { initDrafterWeights } from '../../src/models/drafter-init.js';
import { openSafetensors, writeSafetensors } from '../../src/models/safetensors.js';
import { loadTarget, saveTarget, targetForward, type Target } from '../../src/models/target.js';
import type { TargetConfig } from '../../src/models/target-config.js';
import { initTargetWeights } from '../../src/models/target-init.js';
import { compareOutputs, randomComparisonInputs } from '../../src/decoding/drafter-comparison.js';
import { packageRoot } from '../../src/package-root.js';
import type { Random } from '../../src/random.js';
import { openMetrics, readMetrics } from '../../src/reports/metrics.js';
import { readEvents } from '../../src/reports/tensorboard.js';
import { tf } from '../../src/tensorflow/ops.js';
import { loadLastCheckpoint, openCheckpoint, saveCheckpoint } from '../../src/training/checkpoints.js';
import { findDrafter } from '../../src/training/drafter-source.js';
import { readRunConfig } from '../../src/training/run-folder.js';
import { columns, exampleRow, metadata } from '../data/cache-fixtures.js';
import { templates, tokenizerJson } from '../data/tokenizer-fixtures.js';
import { smallTarget } from '../training/small-run.js';
import { damageBytes, damageJson, damageJsonText, damageText } from './mutations.js';

/** One kind of file. `folder` is the case's own and holds the whole files; `change` damages them, `read` reads them as a command would. */
export interface FuzzTarget {
  prepare(folder: string): Promise<void>;
  change(folder: string, random: Random): void;
  read(folder: string): Promise<void>;
  /** Files that reading may write (a resumed run cuts its metrics back). */
  mayWrite?: readonly string[];
}

const modelConfig: TargetConfig = { ...smallTarget, numLayers: 2, vocabSize: 110 };
const drafterConfig: DrafterConfig = {
  blockSize: 4,
  maskTokenId: 0,
  targetLayerIds: [0, 1],
  numTargetLayers: 2,
  hiddenSize: 32,
  intermediateSize: 24,
  numHiddenLayers: 1,
  numAttentionHeads: 2,
  numKeyValueHeads: 1,
  headDim: 8,
  rmsNormEps: 1e-6,
  rope: { type: 'default', theta: 10000 },
  vocabSize: 110,
  maxPositionEmbeddings: 64,
  attentionBias: false,
};

const rewrite = (path: string, change: (bytes: Buffer) => Buffer): void => writeFileSync(path, change(readFileSync(path)));
const rewriteJson = (path: string, random: Random): void => rewrite(path, (bytes) => damageJsonText(bytes.toString('utf8'), random));

async function writeTarget(folder: string): Promise<void> {
  const weights = initTargetWeights(modelConfig, 5);
  await saveTarget(folder, modelConfig, weights, 'F16');
  tf.dispose(weights);
}

async function writeDrafterFolder(folder: string): Promise<void> {
  const weights = initDrafterWeights(drafterConfig, 1);
  await saveDrafter(folder, drafterConfig, weights, { dtype: 'F16' });
  tf.dispose(weights);
}

function writeTokenizer(folder: string): void {
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizerJson()));
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({ bos_token: '<s>', eos_token: { content: '</s>' }, unk_token: '<unk>', chat_template: templates.chatml }));
}

function useTokenizer(tokenizer: Tokenizer): void {
  tokenizer.decode(tokenizer.encode('hello world, 12 \u00e9\u2603 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx!'));
  if (!tokenizer.hasChatTemplate) return;
  const messages = [{ role: 'user', content: 'hello' }, { role: 'assistant', content: '<think>a</think>b' }, { role: 'user', content: 'again' }, { role: 'assistant', content: 'ok' }];
  try {
    tokenizeConversation(tokenizer, messages);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
  }
}

/** A forward pass over a few tokens, where a config that is accepted and wrong would hurt the native library. */
function useTarget(target: Target): void {
  tf.tidy(() => {
    const ids = tf.tensor2d([1, 2, 3, 4], [1, 4], 'int32');
    return targetForward(target.config, target.weights, ids, ).logits!.dataSync() as never;
  });
}

async function readTargetFolder(folder: string): Promise<void> {
  const target = await loadTarget(folder);
  try {
    useTarget(target);
  } finally {
    target.dispose();
  }
}

async function readDrafterFolder(folder: string): Promise<void> {
  const drafter = await loadDrafter(folder, modelConfig);
  try {
    tf.tidy(() => {
      compareOutputs(drafter, drafter, randomComparisonInputs(drafter.config));
    });
  } finally {
    drafter.dispose();
  }
}

async function readCache(folder: string): Promise<void> {
  const cache = await openCache(folder);
  for (let row = 0; row < Math.min(cache.rowCount, 20); row++) await cache.readRow(row, { features: true, topk: true });
  await verifyCache(folder);
}

async function writeCache(folder: string): Promise<void> {
  const writer = await createCacheWriter(folder, { metadata, columns, batchBytes: 500 });
  for (let i = 0; i < 10; i++) {
    await writer.append(exampleRow(i, 1 + ((i * 7) % 23)));
    if (i === 4) await writer.finishShard(5);
  }
  await writer.finish(10);
}

/** Enters the damaged shard's size and hash in the manifest, as an attacker would: they shield against accidents only. */
function enterShard(folder: string, name: string): void {
  const bytes = readFileSync(join(folder, name));
  const path = join(folder, 'manifest.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as { shards: { file: string; bytes: number; sha256: string }[] };
  for (const shard of manifest.shards) if (shard.file === name) Object.assign(shard, { bytes: Math.max(1, bytes.length), sha256: createHash('sha256').update(bytes).digest('hex') });
  writeFileSync(path, JSON.stringify(manifest));
}

const rowsOfFormats = [
  { messages: [{ role: 'system', content: 's' }, { role: 'user', content: 'hello' }, { role: 'assistant', content: 'hi', tool_calls: [] }] },
  { conversations: [{ from: 'human', value: 'hello' }, { from: 'gpt', value: 'hi' }] },
  { prompt: 'def f(x):', completion: ' return x', task_id: 'HumanEval/0' },
  { question: '1 + 1?', answer: '2 #### 2', domain: 'maths' },
  { instruction: 'say', input: 'hello', output: 'hello' },
  { turns: ['a', 'b'], question_id: 81, category: 'writing' },
  { prompt: [{ role: 'user', content: [{ type: 'text', text: 'x' }] }], completion: [{ role: 'assistant', content: 'y' }] },
  { text: 'Once upon a time.\n\nThere was a fox.' },
  { prompt_ids: [1, 2, 3], id: 'ids' },
  'plain',
];

const damageRows = (random: Random): Buffer => {
  const rows = rowsOfFormats.map((row) => (random.int(3) === 0 ? damageJson(row, random) : row));
  const text = random.int(3) === 0 ? JSON.stringify(random.int(2) === 0 ? rows : { data: rows }) : rows.map((row) => JSON.stringify(row)).join('\n');
  let bytes: Buffer = Buffer.from(text);
  if (random.int(3) === 0) bytes = damageBytes(bytes, random);
  if (random.int(5) === 0) bytes = damageBytes(gzipSync(bytes), random);
  else if (random.int(8) === 0) bytes = gzipSync(bytes);
  return bytes;
};

const rowFiles = ['rows.jsonl', 'rows.json', 'rows.txt', 'rows.jsonl.gz', 'rows'];

function writeRows(folder: string, random: Random): void {
  for (const name of rowFiles) rmSync(join(folder, name), { recursive: true, force: true });
  const name = rowFiles[random.int(rowFiles.length)]!;
  if (random.int(50) === 0) mkdirSync(join(folder, name));
  else writeFileSync(join(folder, name), damageRows(random));
}

const rowFileIn = (folder: string): string => join(folder, readdirSync(folder).find((name) => rowFiles.includes(name))!);

async function writeRun(folder: string): Promise<void> {
  const checkpoints = join(folder, 'checkpoints');
  for (const step of [4, 8]) {
    await saveCheckpoint(checkpoints, { step, batches: step, window: { steps: 1 } }, step / 10, async (inside) => {
      await writeDrafterFolder(join(inside, 'drafter'));
      await writeSafetensors(join(inside, 'optimizer.safetensors'), [{ name: 'first', shape: [2], dtype: 'F32', data: Float32Array.of(1, 2) }]);
    });
  }
  const metrics = await openMetrics(join(folder, 'metrics.jsonl'), 0);
  for (let step = 1; step < 9; step++) metrics.write({ step, kind: 'train', loss: 1 / step });
  metrics.close();
  copyFileSync(join(packageRoot(), 'configs', 'demo.yaml'), join(folder, 'config.yaml'));
  writeFileSync(join(folder, 'lock'), JSON.stringify({ pid: 1, host: 'elsewhere', started: null, since: '2026-01-01' }));
}

const runFiles = ['checkpoints/manifest.json', 'checkpoints/step-00000008/state.json', 'checkpoints/step-00000004/state.json', 'metrics.jsonl', 'config.yaml', 'lock'];

/** Reads what may be missing or refused by itself, so that one refusal does not shield the next reader. */
async function eachRefusable(...readers: (() => unknown)[]): Promise<void> {
  let refusal: Error | undefined;
  for (const read of readers) {
    try {
      await read();
    } catch (error) {
      if ((error as Error).name !== 'UserError') throw error;
      refusal = error as Error;
    }
  }
  if (refusal !== undefined) throw refusal;
}

export const fuzzTargets: Record<string, FuzzTarget> = {
  safetensors: {
    prepare: (folder) =>
      writeSafetensors(
        join(folder, 'a.safetensors'),
        (['F32', 'F16', 'BF16', 'I32'] as const).map((dtype, i) => ({ name: `t${i}`, shape: [3, 4], dtype, data: dtype === 'I32' ? new Int32Array(12) : new Float32Array(12).fill(i) })),
        { format: 'pt' },
      ),
    change(folder, random) {
      const path = join(folder, 'a.safetensors');
      const bytes = readFileSync(path);
      const headerBytes = Number(bytes.readBigUInt64LE());
      if (random.int(2) === 0) writeFileSync(path, damageBytes(bytes, random, 0, headerBytes + 8));
      else {
        const header = damageJsonText(bytes.subarray(8, 8 + headerBytes).toString('utf8'), random);
        const length = Buffer.alloc(8);
        length.writeBigUInt64LE(BigInt(header.length));
        writeFileSync(path, Buffer.concat([length, header, bytes.subarray(8 + headerBytes)]));
      }
    },
    async read(folder) {
      const file = await openSafetensors(join(folder, 'a.safetensors'));
      try {
        for (const name of file.names()) await eachRefusable(() => file.readFloat32(name), () => file.readInt32(name));
      } finally {
        await file.close();
      }
    },
  },
  'target weights and index': {
    async prepare(folder) {
      await writeTarget(folder);
      const file = await openSafetensors(join(folder, 'model.safetensors'));
      const names = file.names();
      await file.close();
      cpSync(join(folder, 'model.safetensors'), join(folder, 'model-00001-of-00001.safetensors'));
      unlinkSync(join(folder, 'model.safetensors'));
      writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ metadata: { total_size: 1 }, weight_map: Object.fromEntries(names.map((name) => [name, 'model-00001-of-00001.safetensors'])) }));
    },
    change(folder, random) {
      const index = join(folder, 'model.safetensors.index.json');
      if (random.int(3) > 0) rewriteJson(index, random);
      else if (random.int(2) === 0) {
        const file = ['../../../../etc/passwd', '/etc/passwd', '..', '.', '', 'config.json', 'link.safetensors', 'x\0y', '%2e%2e/x', 'C:\\x'][random.int(10)]!;
        rmSync(join(folder, 'link.safetensors'), { force: true });
        symlinkSync('/etc/passwd', join(folder, 'link.safetensors'));
        rewrite(index, (bytes) => Buffer.from(bytes.toString('utf8').replace('model-00001-of-00001.safetensors', JSON.stringify(file).slice(1, -1))));
      } else rewrite(join(folder, 'model-00001-of-00001.safetensors'), (bytes) => damageBytes(bytes, random, 0, 4000));
    },
    read: readTargetFolder,
  },
  'target config': {
    prepare: writeTarget,
    change: (folder, random) => rewriteJson(join(folder, 'config.json'), random),
    read: readTargetFolder,
  },
  'drafter config': {
    prepare: writeDrafterFolder,
    change: (folder, random) => rewriteJson(join(folder, 'config.json'), random),
    read: readDrafterFolder,
  },
  'drafter config, speculators': {
    async prepare(folder) {
      const weights = initDrafterWeights(drafterConfig, 1);
      await saveDrafter(folder, drafterConfig, weights, { dtype: 'F16', format: 'speculators' });
      tf.dispose(weights);
    },
    change: (folder, random) => rewriteJson(join(folder, 'config.json'), random),
    read: readDrafterFolder,
  },
  'Arrow shards': {
    prepare: writeCache,
    change(folder, random) {
      const name = `shard-0000${random.int(2)}.arrow`;
      rewrite(join(folder, name), (bytes) => (random.int(2) === 0 ? damageBytes(bytes, random, 0, 1200) : damageBytes(bytes, random, Math.max(0, bytes.length - 1400))));
      enterShard(folder, name);
    },
    read: readCache,
  },
  'cache manifest': {
    prepare: writeCache,
    change: (folder, random) => rewriteJson(join(folder, 'manifest.json'), random),
    read: readCache,
  },
  tokenizer: {
    prepare: async (folder) => writeTokenizer(folder),
    change: (folder, random) => rewriteJson(join(folder, 'tokenizer.json'), random),
    read: async (folder) => useTokenizer(await loadTokenizer(folder)),
  },
  'tokenizer of the demo target': {
    prepare: async (folder) => cpSync(join(packageRoot(), 'data/demo-target/tokenizer.json'), join(folder, 'tokenizer.json')),
    change: (folder, random) => rewriteJson(join(folder, 'tokenizer.json'), random),
    read: async (folder) => useTokenizer(await loadTokenizer(folder)),
  },
  'tokenizer config': {
    prepare: async (folder) => writeTokenizer(folder),
    change: (folder, random) => rewriteJson(join(folder, 'tokenizer_config.json'), random),
    read: async (folder) => useTokenizer(await loadTokenizer(folder)),
  },
  'chat template': {
    prepare: async (folder) => writeTokenizer(folder),
    change(folder, random) {
      const known = Object.values(templates);
      writeFileSync(join(folder, 'chat_template.jinja'), damageText(known[random.int(known.length)]!, random));
    },
    read: async (folder) => useTokenizer(await loadTokenizer(folder)),
  },
  prompts: {
    prepare: async () => undefined,
    change: writeRows,
    read: async (folder) => void (await readPrompts(rowFileIn(folder))),
  },
  'Parquet rows': {
    async prepare(folder) {
      const texts = Array.from({ length: 40 }, (_, i) => `Prompt ${i % 7}`);
      const bytes = parquetWriteBuffer({ columnData: [{ name: 'id', data: texts.map((_, i) => BigInt(i)), type: 'INT64' }, { name: 'prompt', data: texts, type: 'STRING' }], rowGroupSize: 16 });
      writeFileSync(join(folder, 'rows.parquet'), new Uint8Array(bytes));
    },
    change: (folder, random) => rewrite(join(folder, 'rows.parquet'), (bytes) => damageBytes(bytes, random)),
    async read(folder) {
      // The time limit is shorter than that of commands: many of these files lead into an endless loop, and each waits for it.
      for await (const row of readParquetRows(join(folder, 'rows.parquet'), 500)) if (typeof row !== 'object') throw new Error('a row is no object');
    },
  },
  conversations: {
    prepare: async (folder) => writeTokenizer(folder),
    change: writeRows,
    async read(folder) {
      const tokenizer = await loadTokenizer(folder);
      for await (const row of readSourceRows(rowFileIn(folder))) {
        try {
          if ('problem' in row) continue;
          const conversation = parseConversation(row.value);
          if (conversation.kind === 'text') Array.from(tokenizeText(tokenizer, conversation.text, 64, 1));
          else tokenizeConversation(tokenizer, toMessages(conversation));
        } catch (error) {
          if (!(error instanceof RowProblem) && !(error instanceof TemplateError)) throw error;
        }
      }
    },
  },
  'run config': {
    async prepare(folder) {
      for (const name of readdirSync(join(packageRoot(), 'configs'))) if (name.endsWith('.yaml') && !name.startsWith('ablation')) copyFileSync(join(packageRoot(), 'configs', name), join(folder, name));
    },
    change(folder, random) {
      const names = readdirSync(folder);
      rewrite(join(folder, names[random.int(names.length)]!), (bytes) => {
        if (random.int(3) === 0) return damageBytes(bytes, random);
        const lines = bytes.toString('utf8').split('\n');
        const at = random.int(lines.length);
        const odd = ['&a [*a, *a]', '*a', '!!js/function x', '{a: {b: [', '~', '1e999', '.nan', '.inf', '-1', '0', '"\\u0000"', '__proto__: 1', '<<: *a', '? x', '- x', '"../../etc/passwd"', '2020-01-01', '0x7fffffff', '[1, 2]', '{}'][random.int(20)]!;
        if (random.int(3) === 0) lines.splice(at, 1 + random.int(3));
        else if (random.int(2) === 0) lines.splice(at, 0, ' '.repeat(random.int(6)) + odd);
        else lines[at] = lines[at]!.replace(/:.*$/, `: ${odd}`);
        return Buffer.from(lines.join('\n'));
      });
    },
    async read(folder) {
      await eachRefusable(...readdirSync(folder).map((name) => () => loadConfig(join(folder, name))));
    },
  },
  'run folder': {
    prepare: writeRun,
    change(folder, random) {
      const name = runFiles[random.int(runFiles.length)]!;
      const path = join(folder, name);
      if (name.endsWith('.json') || name === 'lock') rewriteJson(path, random);
      else rewrite(path, (bytes) => damageBytes(bytes, random));
      // Without the manifest's hash, the state itself must be looked at.
      if (name.endsWith('state.json') && random.int(2) === 0) rmSync(join(folder, 'checkpoints/manifest.json'));
    },
    async read(folder) {
      const checkpoints = join(folder, 'checkpoints');
      await eachRefusable(
        () => loadLastCheckpoint(checkpoints, () => undefined),
        () => openCheckpoint(checkpoints, 'best'),
        () => openCheckpoint(checkpoints, 'last'),
        () => findDrafter(folder),
        () => findDrafter(join(checkpoints, 'step-00000008')),
        () => readRunConfig(folder),
        () => readMetrics(join(folder, 'metrics.jsonl')),
        () => readLock(join(folder, 'lock')),
      );
    },
  },
  'TensorBoard events': {
    async prepare(folder) {
      const { openEvents } = await import('../../src/reports/tensorboard.js');
      const events = openEvents(folder, 0);
      for (let step = 0; step < 20; step++) events.scalar('loss', step, step);
      events.close();
    },
    change: (folder, random) => readdirSync(folder).forEach((name) => rewrite(join(folder, name), (bytes) => damageBytes(bytes, random))),
    read: async (folder) => readdirSync(folder).forEach((name) => readEvents(join(folder, name))),
  },
};

/** What lies in a folder, by path: kind, size and time of the last change. */
export function listing(folder: string): string {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const found = statSync(join(folder, name), { throwIfNoEntry: false });
      return `${name} ${found === undefined ? 'link' : `${found.isDirectory() ? 'folder' : found.size} ${found.mtimeMs}`}`;
    })
    .join('\n');
}
