// Fills an Arrow cache: the frozen target runs over token sequences, and its features and log-probabilities are written beside them.
// Windows of rows are computed batched by length and written in order while the next one computes; a finished shard is never
// done again, and the same capture always writes the same bytes.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { setImmediate as breathe } from 'node:timers/promises';
import { createCacheWriter, openCache, type Cache, type CacheColumns, type CacheMetadata, type CacheRow, type CacheWriter, type Part } from '../../data/arrow-cache.js';
import { readContents } from '../../data/cache-manifest.js';
import { UserError } from '../errors.js';
import { acquireLock, LockHeldError } from '../lock.js';
import { float32ToHalf } from '../models/half.js';
import type { Target } from '../models/target.js';
import { Random } from '../random.js';
import { batchByLength, countBatches, formatBytes, formatSeconds, freeBytes, planCapture, windowEnd, type CapturePlan } from './capture-plan.js';
import { createCaptureRunner, rowsOfBatch, type CaptureRunner } from './capture-runner.js';
import { regenerateRows, type GenerateAnswers, type GenerationRequest, type GenerationSettings } from './regeneration.js';

export interface CaptureOptions {
  target: Target;
  /** Folder of token sequences (`draftalign prepare`), or a cache that is open already. */
  tokens: string | Cache;
  /** Folder of the cache to write. */
  out: string;
  /** Target layers whose outputs are kept; none writes token sequences only (for online capture of regenerated text). */
  taps: readonly number[];
  /** float16 halves the cache; float32 for targets whose activations exceed 65504. Default float16. */
  featureType?: 'float16' | 'float32';
  /** Log-probabilities kept a position, all where the vocabulary is smaller; default 0. */
  topk?: number;
  /** Sequences in one forward pass; default 8. */
  batchSize?: number;
  /** Longer sequences are cut; default (and at most) the target's positions. */
  maxLength?: number;
  maxRows?: number;
  /** Lets the target write the answers. */
  generate?: GenerationSettings;
  /** Generates answers; needed with `generate`. */
  generateAnswers?: GenerateAnswers;
  /** Which of several captures this is; default the only one. */
  part?: Part;
  /** Fingerprint of the target's tokenizer, to be compared with that of the tokens. */
  tokenizerFingerprint?: string;
  /** Bytes at which a shard is closed; default 1 GiB. */
  shardBytes?: number;
  /** Aborting it ends the capture after the window in progress; what is done stays. */
  signal?: AbortSignal;
  /** Told what a person should know: size, time, what is resumed, what is left out. */
  say?: (message: string) => void;
}

/** Told after every window. */
export interface CaptureProgress {
  /** Rows of this part done, of how many. */
  rows: number;
  totalRows: number;
  /** Tokens captured in this session, and its rate. */
  tokens: number;
  tokensPerSecond: number;
  secondsLeft: number;
}

export interface CaptureResult {
  folder: string;
  /** False where `signal` stopped it early. */
  finished: boolean;
  /** Rows in this part's shards. */
  rows: number;
  /** Shards that an earlier run had finished. */
  resumedShards: number;
  /** Rows left out in this session, and why. */
  skipped: { row: number; reason: string }[];
}

/**
 * Captures, or goes on with a capture that was interrupted.
 * @throws UserError where taps, tokens or folder do not fit, the disk is too small, or activations exceed float16
 */
export async function captureCache(options: CaptureOptions, onProgress: (progress: CaptureProgress) => void = () => undefined): Promise<CaptureResult> {
  const settings = checkOptions(options);
  const source = typeof options.tokens === 'string' ? await openCache(options.tokens) : options.tokens;
  checkSource(source, options);
  const { out, part = { index: 1, count: 1 }, say = () => undefined } = options;
  const plan = planCapture(source, { ...settings, part, maxRows: options.maxRows, generate: options.generate });
  const metadata = await describeCapture(options, source, settings.maxLength);
  const release = await lock(out, part);
  try {
    const writer = await createCacheWriter(out, { metadata, columns: settings.columns, part, firstSourceRow: plan.from });
    const result: CaptureResult = { folder: out, finished: true, rows: writer.rows, resumedShards: writer.resumedShards, skipped: [] };
    if (writer.complete) {
      say(`${out} is complete already (${writer.rows} rows)`);
      return result;
    }
    await announce(options, source, plan, writer, say);
    const runner = createRunner(options, plan, settings);
    try {
      announceTime(runner, options, plan, settings, writer, say);
      await new Capture(options, source, plan, settings, runner, writer, result, onProgress).run();
    } catch (error) {
      await writer.abort();
      throw error;
    } finally {
      runner?.dispose();
    }
    result.rows = writer.rows;
    return result;
  } finally {
    await release();
  }
}

interface Settings {
  columns: CacheColumns;
  maxLength: number;
  batchSize: number;
}

function checkOptions(options: CaptureOptions): Settings {
  const { target, taps, featureType = 'float16', batchSize = 8, generate } = options;
  const { config } = target;
  const outside = taps.filter((tap) => !Number.isInteger(tap) || tap < 0 || tap >= config.numLayers);
  if (outside.length > 0) throw new UserError(`tap ${outside.join(', ')} is not a layer of ${target.name}, which has layers 0 to ${config.numLayers - 1}`);
  if (new Set(taps).size < taps.length) throw new UserError(`taps ${taps.join(', ')} name a layer twice`);
  const asked = options.topk ?? 0;
  if (!Number.isInteger(asked) || asked < 0 || asked > 1024) throw new UserError(`--top-k is ${asked}; expected 0 to 1024`);
  const topk = Math.min(asked, config.vocabSize);
  if (topk > 0 && taps.length === 0) throw new UserError('--top-k needs features: name --taps, or leave it out');
  if (!Number.isInteger(batchSize) || batchSize < 1) throw new UserError(`--batch-size is ${batchSize}; expected at least 1`);
  if (generate && options.generateAnswers === undefined) throw new Error('generate needs generateAnswers');
  const columns: CacheColumns = { featureWidth: taps.length * config.hiddenSize, featureType, topk, labels: true };
  return { columns, maxLength: Math.min(options.maxLength ?? Infinity, config.maxPositions), batchSize };
}

function checkSource(source: Cache, { target, tokenizerFingerprint, taps, generate }: CaptureOptions): void {
  const { metadata, folder } = source;
  if (tokenizerFingerprint !== undefined && metadata.tokenizer_fingerprint !== null && metadata.tokenizer_fingerprint !== tokenizerFingerprint) {
    throw new UserError(`${folder}: its tokens come from another tokenizer or chat template than that of ${target.name}; prepare them again with \`draftalign prepare --target ${target.folder}\``);
  }
  if (metadata.vocab_size !== null && metadata.vocab_size > target.config.vocabSize) {
    throw new UserError(`${folder}: its tokenizer has ${metadata.vocab_size} tokens, the target's embedding ${target.config.vocabSize}; prepare with the target's own tokenizer`);
  }
  if (taps.length === 0 && generate === undefined) throw new UserError('nothing to capture: name --taps, or --regenerate');
}

async function describeCapture(options: CaptureOptions, source: Cache, maxLength: number): Promise<CacheMetadata> {
  const { target, taps, generate } = options;
  const { shards } = await readContents(source.folder);
  const input = { shards: shards.map((shard) => shard.sha256), maxLength, maxRows: options.maxRows ?? null };
  return {
    format_version: 1,
    target: target.name,
    target_fingerprint: target.weightFingerprint,
    tokenizer_fingerprint: source.metadata.tokenizer_fingerprint,
    vocab_size: target.config.vocabSize,
    hidden_size: target.config.hiddenSize,
    taps: [...taps],
    generation: generate
      ? { max_new_tokens: generate.maxNewTokens, temperature: generate.temperature, top_p: generate.topP, seed: generate.seed }
      : source.metadata.generation,
    source: createHash('sha256').update(JSON.stringify(input)).digest('hex'),
  };
}

async function lock(out: string, part: Part): Promise<() => Promise<void>> {
  try {
    return await acquireLock(join(out, part.count === 1 ? '.lock' : `.lock-${part.index}-of-${part.count}`));
  } catch (error) {
    if (!(error instanceof LockHeldError)) throw error;
    throw new UserError(`${out}: another capture writes ${part.count === 1 ? 'this cache' : `part ${part.index}/${part.count}`} (process ${error.holder.pid} on ${error.holder.host}); wait for it, or name another folder. If that process is gone, delete ${error.path}`);
  }
}

/** Says what will be done, how much room it takes and how long it will last; refuses what cannot fit. */
async function announce(options: CaptureOptions, source: Cache, plan: CapturePlan, writer: CacheWriter, say: (message: string) => void): Promise<void> {
  const { out, generate, part } = options;
  const need = plan.bytes * shareLeft(plan, writer);
  const free = await freeBytes(out);
  const most = generate ? 'at most ' : '';
  say(
    `capture ${plan.to - plan.from} of ${source.rowCount} rows${part && part.count > 1 ? ` (part ${part.index}/${part.count})` : ''}: ${most}${plan.tokens} tokens, ` +
      `${most}${formatBytes(plan.bytes)} in ${out}${free === undefined ? '' : ` (${formatBytes(free)} free)`}`,
  );
  if (plan.cut > 0) say(`${plan.cut} rows are longer than allowed and are cut`);
  if (writer.resumedShards > 0) say(`going on after ${writer.resumedShards} finished shards (row ${writer.sourceRows} of ${plan.to})`);
  if (free !== undefined && need > free && !generate) {
    throw new UserError(`${out}: the cache still needs ${formatBytes(need)} and ${formatBytes(free)} are free. Take fewer rows or taps, another disk, or train with capture.mode online, which stores no features`);
  }
  const rows = plan.to - writer.sourceRows;
  if (generate && rows > 0) {
    const rate = await measureGeneration(options, source, plan);
    say(`generating takes at most about ${formatSeconds((rows * generate.maxNewTokens) / rate)} (${rate.toFixed(0)} tokens/s measured; answers that end early make it less)`);
  }
}

/** The share of a part's tokens that finished shards do not cover yet. */
function shareLeft(plan: CapturePlan, writer: CacheWriter): number {
  return plan.tokens === 0 ? 0 : plan.lengths.subarray(writer.sourceRows, plan.to).reduce((sum, length) => sum + length, 0) / plan.tokens;
}

function createRunner(options: CaptureOptions, plan: CapturePlan, { columns, batchSize }: Settings): CaptureRunner | undefined {
  const { target, taps, say, generate } = options;
  if (columns.featureWidth === 0) return undefined;
  const rowsOf = (length: number): number => rowsOfBatch(target.config, length, batchSize);
  // How long generated answers become is not known beforehand, and generating takes most of the time anyway.
  const batchCounts = generate === undefined ? countBatches(plan, columns, batchSize, rowsOf) : undefined;
  return createCaptureRunner(target, { taps, columns, batchSize, say, batchCounts });
}

/** Times one batch of typical length and says how long all of them will take. */
function announceTime(runner: CaptureRunner | undefined, options: CaptureOptions, plan: CapturePlan, settings: Settings, writer: CacheWriter, say: (message: string) => void): void {
  const lengths = plan.lengths.subarray(writer.sourceRows, plan.to).slice().sort();
  if (runner === undefined || lengths.length === 0) return;
  const { length } = batchByLength([lengths[lengths.length >> 1]!], () => 1)[0]!;
  const rows = Math.min(lengths.length, rowsOfBatch(options.target.config, length, settings.batchSize));
  const sequences = Array.from({ length: rows }, () => new Int32Array(length));
  runner.run(sequences, length);
  const start = performance.now();
  runner.run(sequences, length);
  const rate = (1000 * rows * length) / (performance.now() - start);
  say(`the forward passes take ${options.generate ? 'at most ' : ''}about ${formatSeconds((plan.tokens * shareLeft(plan, writer)) / rate)} (${rate.toFixed(0)} tokens/s measured)`);
}

/** New tokens per second of generating, from the first few tokens of one batch of answers. */
async function measureGeneration(options: CaptureOptions, source: Cache, plan: CapturePlan): Promise<number> {
  const { batchSize = 8, generateAnswers } = options;
  const first = await Promise.all(Array.from({ length: Math.min(batchSize, plan.to - plan.from) }, (_, i) => source.readRow(plan.from + i)));
  const requests = (maxNewTokens: number): GenerationRequest[] =>
    first.map(({ inputIds, promptLength }) => ({
      promptIds: inputIds.slice(0, Math.max(1, Math.min(promptLength ?? 1, options.target.config.maxPositions - maxNewTokens))),
      maxNewTokens,
      random: new Random(0),
    }));
  const timed = async (count: number): Promise<{ tokens: number; ms: number }> => {
    const start = performance.now();
    const answers = await generateAnswers!(requests(count));
    return { tokens: answers.reduce((sum, answer) => sum + answer.length, 0), ms: performance.now() - start };
  };
  await timed(2);
  // The difference leaves out the prompts.
  const [few, more] = [await timed(2), await timed(18)];
  const tokens = more.tokens - few.tokens;
  return tokens > 0 && more.ms > few.ms ? (1000 * tokens) / (more.ms - few.ms) : (1000 * more.tokens) / more.ms;
}

/** A capture in progress. */
class Capture {
  #tokens = 0;
  readonly #started = performance.now();

  constructor(
    private readonly options: CaptureOptions,
    private readonly source: Cache,
    private readonly plan: CapturePlan,
    private readonly settings: Settings,
    private readonly runner: CaptureRunner | undefined,
    private readonly writer: CacheWriter,
    private readonly result: CaptureResult,
    private readonly onProgress: (progress: CaptureProgress) => void,
  ) {}

  async run(): Promise<void> {
    const { plan, writer, options, settings } = this;
    const { shardBytes = 2 ** 30 } = options;
    const first = writer.sourceRows;
    let writing: Promise<void> = Promise.resolve();
    let start = first;
    while (start < plan.to && !options.signal?.aborted) {
      const end = windowEnd(plan, start, settings.columns, settings.batchSize);
      const rows = await this.#computeWindow(start, end);
      await writing;
      writing = this.#writeWindow(rows, end, shardBytes);
      // The window after this one computes while this one is written; a failure is thrown at the next await.
      writing.catch(() => undefined);
      this.#report(first, end);
      start = end;
    }
    await writing;
    if (start < plan.to) {
      await writer.finishShard(start);
      this.result.finished = false;
      return;
    }
    if (writer.rows === 0) throw new UserError(`no row of ${this.source.folder} can be used: ${this.result.skipped[0]?.reason ?? 'it is empty'}`);
    await writer.finish(plan.to);
  }

  async #writeWindow(rows: readonly CacheRow[], end: number, shardBytes: number): Promise<void> {
    for (const row of rows) await this.writer.append(row);
    if (this.writer.shardBytes >= shardBytes) await this.writer.finishShard(end);
  }

  #report(first: number, done: number): void {
    const { plan } = this;
    const seconds = (performance.now() - this.#started) / 1000;
    this.onProgress({
      rows: done - plan.from,
      totalRows: plan.to - plan.from,
      tokens: this.#tokens,
      tokensPerSecond: this.#tokens / seconds,
      secondsLeft: (seconds / (done - first)) * (plan.to - done),
    });
  }

  async #computeWindow(start: number, end: number): Promise<CacheRow[]> {
    const { settings, options } = this;
    const numbers = Array.from({ length: end - start }, (_, i) => start + i);
    let rows = await Promise.all(numbers.map(async (number) => cutRow(await this.source.readRow(number), settings.maxLength)));
    if (options.generate && options.generateAnswers) {
      rows = await regenerateRows(rows, numbers, options.generate, options.target.config.eosTokenIds, settings.maxLength, options.generateAnswers);
    }
    const kept: CacheRow[] = [];
    for (const [i, row] of rows.entries()) {
      const reason = uselessness(row, options.generate !== undefined);
      if (reason === undefined) kept.push(row);
      else this.result.skipped.push({ row: numbers[i]!, reason });
    }
    const { runner } = this;
    if (runner === undefined) {
      this.#tokens += kept.reduce((sum, row) => sum + row.inputIds.length, 0);
      return kept;
    }
    const rowsOf = (length: number): number => rowsOfBatch(options.target.config, length, settings.batchSize);
    for (const { items, length } of batchByLength(kept.map((row) => row.inputIds.length), rowsOf)) {
      this.#captureBatch(runner, items.map((item) => kept[item]!), length);
      // Lets writes and signals have their turn.
      await breathe();
    }
    return kept;
  }

  /** Runs the target over rows and puts what it gives into them. */
  #captureBatch(runner: CaptureRunner, rows: CacheRow[], length: number): void {
    const { target, taps } = this.options;
    const { columns } = this.settings;
    const { arrays: outputs, paddedLength } = runner.run(
      rows.map((row) => row.inputIds),
      length,
    );
    const packed = outputs['features']!;
    const features = columns.featureType === 'float16' ? new Uint16Array(packed.buffer, packed.byteOffset, packed.byteLength / 2) : (packed as Float32Array);
    for (const [b, row] of rows.entries()) {
      const count = row.inputIds.length;
      row.features = features.subarray(b * paddedLength * columns.featureWidth, (b * paddedLength + count) * columns.featureWidth);
      refuseInfinite(row.features, columns, target, taps);
      if (columns.topk > 0) {
        const from = b * paddedLength * columns.topk;
        row.topkIds = (outputs['topkIds'] as Int32Array).subarray(from, from + count * columns.topk);
        row.topkLogProbs = float32ToHalf((outputs['topkLogProbs'] as Float32Array).subarray(from, from + count * columns.topk));
      }
      this.#tokens += count;
    }
  }
}

function cutRow(row: CacheRow, length: number): CacheRow {
  if (row.inputIds.length <= length) return row;
  return { ...row, inputIds: row.inputIds.slice(0, length), lossMask: row.lossMask.slice(0, length) };
}

function uselessness({ lossMask }: CacheRow, generated: boolean): string | undefined {
  for (let i = 1; i < lossMask.length; i++) if (lossMask[i - 1] !== 0 && lossMask[i] !== 0) return undefined;
  return generated ? 'the target answers it with fewer than two tokens, or its prompt fills the allowed length' : 'it has no two supervised tokens in a row; prompts without answers need --regenerate';
}

/** float16 ends at 65504; an activation beyond it would be stored as infinity and spoil the training much later. */
function refuseInfinite(features: Float32Array | Uint16Array, columns: CacheColumns, target: Target, taps: readonly number[]): void {
  const at = features instanceof Uint16Array ? features.findIndex((bits) => (bits & 0x7c00) === 0x7c00) : features.findIndex((value) => !Number.isFinite(value));
  if (at === -1) return;
  const tap = taps[Math.floor((at % columns.featureWidth) / target.config.hiddenSize)];
  throw new UserError(
    columns.featureType === 'float16'
      ? `layer ${tap} of ${target.name} gives activations beyond 65504, the largest float16; capture with --dtype float32, or leave this layer out of the taps`
      : `layer ${tap} of ${target.name} gives numbers that are not finite; its weights or tokens are damaged`,
  );
}
