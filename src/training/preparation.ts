// From a config to everything that a run needs: target, tokenizer, cache (captured now where there is none), the drafter's shape and
// first weights, the plan of its data. What the config left open is filled in, so that the run folder shows what really ran.
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import { openCache, type Cache } from '../../data/arrow-cache.js';
import type { BatchOptions } from '../../data/batches.js';
import { parseInput, prepareTokens } from '../../data/prepare.js';
import { loadTokenizer, type Tokenizer } from '../../data/tokenizer.js';
import { needsTeacher } from '../../losses/index.js';
import type { Config } from '../config/load.js';
import { UserError } from '../errors.js';
import { loadDrafter } from '../models/drafter-checkpoint.js';
import type { DrafterConfig } from '../models/drafter-config.js';
import { initDrafterWeights } from '../models/drafter-init.js';
import { resolveModelFolder } from '../models/hub.js';
import { loadTarget, loadTargetEnds, type Target } from '../models/target-checkpoint.js';
import { readTargetConfig, type TargetConfig } from '../models/target-config.js';
import { tf } from '../tensorflow/ops.js';
import { createAnswerGenerator, type AnswerGenerator } from '../decoding/target-generation.js';
import { captureCache, type CaptureProgress } from './capture.js';
import { formatSeconds } from './capture-plan.js';
import { drafterShape, resolveTaps } from './drafter-shape.js';
import { createEngine, type Engine, type EngineOptions } from './engine.js';
import type { EnginePool } from './engine-pool.js';
import { estimateMemory, refuseTooLarge } from './estimate.js';
import { chooseMaskToken } from './mask-token.js';
import { onlineTarget } from './online-target.js';
import type { GenerateAnswers, GenerationSettings } from './regeneration.js';
import { checkSupervision, lengthsInUse, planData, planTrainingEpoch, planValidation, type RunData } from './run-data.js';
import { runPaths } from './run-folder.js';

/** A run that can start. */
export interface PreparedRun {
  /** With everything filled in that was left open. */
  config: Config;
  target: TargetConfig;
  targetName: string;
  drafter: DrafterConfig;
  data: RunData;
  /** How training and validation batches are read. */
  batchOptions: BatchOptions;
  validationOptions: BatchOptions;
  createEngine(): Engine;
  dispose(): void;
}

export interface PrepareOptions {
  /** Runs that differ in seed or length only take their engine from here; without it, every run records its own. */
  engines?: EnginePool;
  signal?: AbortSignal;
  say?: (message: string) => void;
}

/** Checks target, data and drafter against each other and loads what the run needs. Throws `UserError` where they do not fit. */
export async function prepareRun(config: Config, options: PrepareOptions = {}): Promise<PreparedRun> {
  const folder = await resolveModelFolder(config.target);
  const target = await readTargetConfig(folder);
  const tokenizer = existsSync(join(folder, 'tokenizer.json')) ? await loadTokenizer(folder) : undefined;
  const cache = await openRows(config, folder, target, tokenizer, options);
  const online = config.capture.mode === 'online';
  checkCache(cache, config, target, tokenizer, online);
  const say = options.say ?? (() => undefined);

  const initial = config.drafter.initFrom === null ? undefined : await loadDrafter(config.drafter.initFrom, target);
  for (const note of initial?.notes ?? []) say(`${config.drafter.initFrom!}: ${note}`);
  if (initial !== undefined && initial.config.blockSize !== config.drafter.blockSize) say(`${config.drafter.initFrom!}: trained with blocks of ${initial.config.blockSize}; this run uses ${config.drafter.blockSize}`);
  const drafter = initial === undefined ? newShape(config, target, tokenizer, cache, say) : { ...initial.config, blockSize: config.drafter.blockSize };
  if (initial !== undefined && !online) resolveTaps(drafter.targetLayerIds, target.numLayers, cache.metadata.taps);
  const resolved = fillIn(config, drafter, cache);

  const data = planData(resolved, cache, cache.lengths());
  if (resolved.training.steps === null) resolved.training = { ...resolved.training, steps: data.totalSteps, epochs: null };
  await checkSupervision(data);
  checkPositions(data, drafter);
  const { batchSize, anchorsPerSequence, accumulate } = resolved.training;
  refuseTooLarge(estimateMemory(drafter, target, { batchSize, anchorsPerSequence, accumulate, tied: target.tieWordEmbeddings, online, length: data.buckets.at(-1)! }));
  const topk = !online && needsTeacher(config.losses) ? Math.min(cache.columns.topk, config.data.topLogProbs ?? Infinity) : 0;
  const { featureWidth } = cache.columns;
  const featureType = cache.columns.featureType === 'float16' && featureWidth % 2 === 0 ? 'float16' : 'float32';
  const features = online ? 'none' : featureType === 'float16' ? 'stored' : 'float32';
  const read = { blockSize: drafter.blockSize, anchorsPerSequence: resolved.training.anchorsPerSequence, features, topk } as const;

  const weights = initial?.weights ?? initDrafterWeights(drafter, resolved.training.seed);
  let full: Target | undefined;
  let ends: { embedding: Tensor; head?: Tensor } | undefined;
  if (online) full = await loadTarget(folder);
  else ends = await loadTargetEnds(folder, target);
  return {
    config: resolved,
    target,
    targetName: basename(folder),
    drafter,
    data,
    batchOptions: read,
    validationOptions: read,
    createEngine: () => {
      const { training, evaluation } = resolved;
      const shape = { anchorsPerSequence: training.anchorsPerSequence, featureWidth: online ? 0 : featureWidth, featureType, topk } as const;
      const { betas, epsilon, weightDecay, maxGradientNorm } = resolved.optimizer;
      const make = (settings: EngineOptions) => options.engines?.take(settings) ?? createEngine(settings);
      return make({
        drafter,
        objective: resolved.losses,
        optimizer: { betas, epsilon, weightDecay, maxGradientNorm },
        accumulate: training.accumulate,
        weights,
        ...(full === undefined ? ends! : onlineTarget(full, drafter, needsTeacher(resolved.losses))),
        training: { ...shape, batchSize: training.batchSize, lengths: lengthsInUse(planTrainingEpoch(resolved, data, 0)) },
        validation: { ...shape, batchSize: evaluation.batchSize, lengths: lengthsInUse(planValidation(resolved, data)) },
        eager: training.eager,
        verifyFirstStep: training.verifyFirstStep,
      });
    },
    dispose() {
      tf.dispose(weights);
      full?.dispose();
      ends?.embedding.dispose();
      ends?.head?.dispose();
    },
  };
}

function newShape(config: Config, target: TargetConfig, tokenizer: Tokenizer | undefined, cache: Cache, say: (message: string) => void): DrafterConfig {
  let mask = config.drafter.maskTokenId;
  if (mask === null) {
    const chosen = chooseMaskToken(target, tokenizer);
    mask = chosen.id;
    say(`mask token ${mask}: ${chosen.reason}`);
  }
  return drafterShape(config, target, mask, cache.metadata.taps);
}

/** The config with what was left open: the run folder's copy says what really ran. */
function fillIn(config: Config, drafter: DrafterConfig, cache: Cache): Config {
  const resolved = structuredClone(config);
  resolved.drafter = {
    ...resolved.drafter,
    layers: drafter.numHiddenLayers,
    taps: [...drafter.targetLayerIds],
    intermediateSize: drafter.intermediateSize,
    heads: drafter.numAttentionHeads,
    keyValueHeads: drafter.numKeyValueHeads,
    headDim: drafter.headDim,
    maskTokenId: drafter.maskTokenId,
  };
  // Captured rows are a cache like any other from now on; a resumed run must not capture again.
  const captured = config.capture.mode === 'cached';
  resolved.data = { ...resolved.data, prompts: null, tokens: captured ? null : cache.folder, cache: captured ? cache.folder : null };
  return resolved;
}

/** The cache (or, for online capture, the token sequences) that the config names, made first where it names only what to make it from. */
async function openRows(config: Config, folder: string, target: TargetConfig, tokenizer: Tokenizer | undefined, options: PrepareOptions): Promise<Cache> {
  const { data, capture, output } = config;
  if (data.cache !== null) return openCache(data.cache);
  const base = capture.folder ?? (output.folder === null ? undefined : runPaths(output.folder).cache);
  if (base === undefined) throw new UserError('the captured cache needs a folder: give capture.folder, output.folder or --run.');
  let tokens = data.tokens;
  if (tokens === null) {
    if (tokenizer === undefined) throw new UserError(`${folder} has no tokenizer.json, so data.prompts cannot be tokenized: give data.tokens or data.cache.`);
    tokens = join(base, 'tokens');
    const inputs = [data.prompts!].flat().map(parseInput);
    options.say?.(`preparing ${inputs.map((input) => basename(input.file)).join(', ')}`);
    const report = await prepareTokens({
      tokenizer,
      inputs,
      out: tokens,
      maxTokens: data.maxLength,
      ...(data.maxRows !== null && { maxRows: data.maxRows }),
      promptTokens: data.promptTokens,
      vocabSize: target.vocabSize,
    });
    options.say?.(`prepared ${report.sequences} sequences, ${report.tokens} tokens${report.problemCount > 0 ? `; ${report.problemCount} rows were left out (${join(tokens, 'report.json')})` : ''}`);
  }
  const online = capture.mode === 'online';
  if (online && capture.generate === null) return openCache(tokens);
  const out = join(base, online ? 'generated' : 'features');
  const loaded = await loadTarget(folder);
  const generator = capture.generate === null ? undefined : answerGenerator(loaded, capture.generate, tokenizer, capture.batchSize);
  try {
    const result = await captureCache({
      target: loaded,
      tokens,
      out,
      taps: online ? [] : resolveTaps(config.drafter.taps, target.numLayers),
      topk: online ? 0 : capture.topLogProbs,
      batchSize: capture.batchSize,
      maxLength: data.maxLength,
      ...(data.maxRows !== null && { maxRows: data.maxRows }),
      ...(capture.generate !== null && { generate: capture.generate }),
      ...(generator && { generateAnswers: (requests: Parameters<GenerateAnswers>[0]) => generator.generate(requests) }),
      ...(tokenizer !== undefined && { tokenizerFingerprint: tokenizer.fingerprint }),
      ...(options.signal !== undefined && { signal: options.signal }),
      ...(options.say !== undefined && { say: options.say }),
    }, captureTeller(options.say));
    if (!result.finished) throw new UserError(`the capture was interrupted after ${result.rows} rows; the same command goes on with it.`);
  } finally {
    generator?.dispose();
    loaded.dispose();
  }
  return openCache(out);
}

/** Says how a capture goes, every ten seconds at most. */
function captureTeller(say: (message: string) => void = () => undefined): (progress: CaptureProgress) => void {
  let told = performance.now();
  return ({ rows, totalRows, secondsLeft }) => {
    if (performance.now() - told < 10_000 || rows === totalRows) return;
    told = performance.now();
    say(`captured ${rows} of ${totalRows} rows, about ${formatSeconds(secondsLeft)} left`);
  };
}

/** Lets the target write answers as `capture.generate` says. */
function answerGenerator(target: Target, { temperature, topP }: GenerationSettings, tokenizer: Tokenizer | undefined, batchSize: number): AnswerGenerator {
  const stopIds = [...new Set([...target.config.eosTokenIds, ...(tokenizer?.specialIds.stop ?? [])])];
  return createAnswerGenerator(target, { sampling: { temperature, topP, topK: 0 }, stopIds, batchSize });
}

/** A cache belongs to a target; one of another would train without complaint and be accepted by no one. */
function checkCache(cache: Cache, config: Config, target: TargetConfig, tokenizer: Tokenizer | undefined, online: boolean): void {
  const { metadata, columns, folder } = cache;
  const problems: string[] = [];
  if (!online && columns.featureWidth === 0) problems.push('it holds token sequences without features: name it as data.tokens');
  if (metadata.hidden_size !== null && metadata.hidden_size !== target.hiddenSize) problems.push(`its features are ${metadata.hidden_size} wide, the target ${target.hiddenSize}`);
  if (metadata.vocab_size !== null && metadata.vocab_size > target.vocabSize) problems.push(`its vocabulary has ${metadata.vocab_size} tokens, the target's ${target.vocabSize}`);
  if (metadata.tokenizer_fingerprint !== null && tokenizer !== undefined && metadata.tokenizer_fingerprint !== tokenizer.fingerprint) {
    problems.push('it was made with another tokenizer or chat template');
  }
  if (!online && needsTeacher(config.losses) && columns.topk === 0) {
    problems.push('it holds no log-probabilities of the target, which the losses need: capture with capture.topLogProbs, or choose losses on crossEntropy');
  }
  if (problems.length > 0) throw new UserError(`${folder} does not fit this run:\n  - ${problems.join('\n  - ')}`);
}

function checkPositions(data: RunData, drafter: DrafterConfig): void {
  const longest = data.buckets.at(-1)!;
  if (longest > drafter.maxPositionEmbeddings) {
    throw new UserError(`sequences of up to ${longest} tokens are longer than the target's ${drafter.maxPositionEmbeddings} positions. Lower data.maxLength.`);
  }
}
