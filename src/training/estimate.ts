// What a run will take before it starts: parameters, memory, disk, time. Arithmetic from shapes; the only thing measured is the
// machine's matrix product. Figures for planning: they are within a factor of two, and said to be.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openCache, sequenceBytes, type Cache } from '../../data/arrow-cache.js';
import { parseInput } from '../../data/prepare.js';
import { sourceKind } from '../../data/source-rows.js';
import { loadTokenizer } from '../../data/tokenizer.js';
import type { Config } from '../config/load.js';
import { UserError } from '../errors.js';
import { availableMemory } from '../memory.js';
import type { DrafterConfig } from '../models/drafter-config.js';
import { drafterWeightShapes } from '../models/drafter-shapes.js';
import { resolveModelFolder } from '../models/hub.js';
import { readTargetConfig, type TargetConfig } from '../models/target-config.js';
import { targetWeightShapes } from '../models/target-init.js';
import { tf } from '../tensorflow/ops.js';
import { formatBytes, formatSeconds, freeBytes } from './capture-plan.js';
import { drafterShape } from './drafter-shape.js';
import { chooseMaskToken } from './mask-token.js';
import { planData, planTrainingEpoch } from './run-data.js';

/** The shapes that decide what a step costs. */
export interface StepShape {
  batchSize: number;
  length: number;
  anchorsPerSequence: number;
  accumulate: number;
  /** Whether embedding and head are one tensor. */
  tied: boolean;
  /** Whether the target runs inside the step. */
  online: boolean;
}

/** Bytes of host or device memory, by what they hold. */
export interface MemoryEstimate {
  weightsAndMoments: number;
  gradients: number;
  /** The target's embedding and head, or all of it. */
  target: number;
  /** What the step keeps for its gradients, at its longest batch. */
  activations: number;
  total: number;
}

export interface RunPlan {
  drafter: DrafterConfig;
  parameters: number;
  memory: MemoryEstimate;
  rows: number | null;
  totalSteps: number | null;
  /** Floating-point operations of the whole run. */
  operations: number | null;
  gigaflops: number;
  seconds: number | null;
  cacheBytes: number | null;
  cacheExists: boolean;
  checkpointBytes: number;
  freeBytes: number | undefined;
}

const count = (shapes: Record<string, number[]>) => Object.values(shapes).reduce((sum, shape) => sum + shape.reduce((product, size) => product * size, 1), 0);

/** Memory that training takes at its longest batch. */
export function estimateMemory(drafter: DrafterConfig, target: TargetConfig, shape: StepShape): MemoryEstimate {
  const parameters = count(drafterWeightShapes(drafter));
  const { batchSize, length, anchorsPerSequence, online } = shape;
  const { hiddenSize: width, intermediateSize: inner, numAttentionHeads: heads, numKeyValueHeads: keyValueHeads, headDim, blockSize: slots } = drafter;
  const blocks = batchSize * anchorsPerSequence;
  const tokens = blocks * slots;
  const positions = batchSize * length;
  const perToken = 8 * width + 6 * (heads + 2 * keyValueHeads) * headDim + 5 * inner;
  const attention = tokens * heads * (length + slots) * 3;
  const perPosition = (drafter.targetLayerIds.length + 4) * width + drafter.numHiddenLayers * 6 * keyValueHeads * headDim;
  const scores = 3 * Math.min(tokens * drafter.vocabSize, 16 * 2 ** 20) + 4 * tokens * width;
  const targetPass = online ? positions * (10 * target.hiddenSize + 3 * target.intermediateSize) + batchSize * target.numHeads * length * length * 3 : 0;
  const frozen = online ? count(targetWeightShapes(target)) : (shape.tied ? 1 : 2) * target.vocabSize * target.hiddenSize;
  const memory = {
    weightsAndMoments: 12 * parameters,
    gradients: (shape.accumulate > 1 ? 8 : 4) * parameters,
    target: 4 * frozen,
    activations: 4 * (drafter.numHiddenLayers * (tokens * perToken + attention) + positions * perPosition + scores + targetPass),
  };
  return { ...memory, total: Object.values(memory).reduce((sum, bytes) => sum + bytes, 0) };
}

/** Floating-point operations of one batch, forward and backward, counting only the products that the mask needs. */
export function stepOperations(drafter: DrafterConfig, target: TargetConfig, shape: Omit<StepShape, 'accumulate' | 'tied'>): number {
  const { hiddenSize: width, intermediateSize: inner, headDim, numHiddenLayers: layers, blockSize, vocabSize } = drafter;
  const queries = drafter.numAttentionHeads * headDim;
  const keys = drafter.numKeyValueHeads * headDim;
  const positions = shape.batchSize * shape.length;
  const tokens = shape.batchSize * shape.anchorsPerSequence * blockSize;
  const context = positions * (drafter.targetLayerIds.length * width * width + layers * 2 * width * keys);
  const perToken = 2 * width * queries + 2 * width * keys + 3 * width * inner;
  const attention = 2 * queries * (shape.length / 2 + blockSize);
  const head = (tokens * (blockSize - 1)) / blockSize * vocabSize * width;
  const targetPass = shape.online ? positions * (count(targetWeightShapes(target)) - target.vocabSize * target.hiddenSize + target.numLayers * shape.length * target.numHeads * target.headDim) : 0;
  // A trained product costs one forward and two backward; the frozen head one forward and one for the hidden states; the target one.
  return 2 * (3 * (context + layers * tokens * (perToken + attention)) + 2 * head + targetPass);
}

/** Throws `UserError` where a run cannot fit into this machine's memory, before anything is allocated. */
export function refuseTooLarge(memory: MemoryEstimate, available = availableMemory()): void {
  if (memory.total <= available * 0.95) return;
  throw new UserError(
    `this run would take about ${formatBytes(memory.total)} of memory, and the machine has ${formatBytes(available)}: ` +
      `${formatBytes(memory.activations)} for a step, ${formatBytes(memory.weightsAndMoments + memory.gradients)} for weights, moments and gradients, ` +
      `${formatBytes(memory.target)} for the target. Lower training.batchSize (with training.accumulate for the same update), anchorsPerSequence or data.maxLength.`,
  );
}

/** Plans a run without starting it: nothing is written, captured or trained. */
export async function planRun(config: Config): Promise<RunPlan> {
  const folder = await resolveModelFolder(config.target);
  const target = await readTargetConfig(folder);
  const tokenizer = existsSync(join(folder, 'tokenizer.json')) ? await loadTokenizer(folder) : undefined;
  const given = config.data.cache ?? config.data.tokens;
  const rows = given === null ? undefined : await openCache(given);
  // Prompts are only prepared in a run, but a plan for files that cannot be read is none.
  for (const { file } of given === null ? [config.data.prompts!].flat().map(parseInput) : []) await sourceKind(file);
  const mask = config.drafter.maskTokenId ?? chooseMaskToken(target, tokenizer).id;
  const drafter = drafterShape(config, target, mask, config.data.cache === null ? null : rows?.metadata.taps);
  const { batchSize, anchorsPerSequence, accumulate } = config.training;
  const online = config.capture.mode === 'online';
  const data = rows === undefined ? undefined : planData(config, rows, rows.lengths());
  const shape = { batchSize, anchorsPerSequence, accumulate, tied: target.tieWordEmbeddings, online, length: data?.buckets.at(-1) ?? config.data.maxLength };
  const totalSteps = data?.totalSteps ?? config.training.steps;
  const perStep = data === undefined
    ? accumulate * stepOperations(drafter, target, shape)
    : accumulate * mean(planTrainingEpoch(config, data, 0).map((plan) => stepOperations(drafter, target, { ...shape, length: plan.length })));
  const gigaflops = measureProducts();
  const parameters = count(drafterWeightShapes(drafter));
  return {
    drafter,
    parameters,
    memory: estimateMemory(drafter, target, shape),
    rows: data === undefined ? null : data.trainingRows.length + data.validationRows.length,
    totalSteps,
    operations: totalSteps === null ? null : totalSteps * perStep,
    gigaflops,
    // Elementwise work and the optimiser take about as long again as the products by themselves would.
    seconds: totalSteps === null ? null : (2 * totalSteps * perStep) / (gigaflops * 1e9),
    cacheBytes: online ? 0 : config.data.cache === null ? captureBytes(rows, drafter, config) : rows!.bytes,
    cacheExists: config.data.cache !== null,
    // Weights and two moments; the last two and the best are kept.
    checkpointBytes: 3 * 12 * parameters,
    freeBytes: config.output.folder === null ? undefined : await freeBytes(config.output.folder),
  };
}

function captureBytes(tokens: Cache | undefined, drafter: DrafterConfig, config: Config): number | null {
  if (tokens === undefined) return null;
  const columns = { featureWidth: drafter.targetLayerIds.length * drafter.hiddenSize, featureType: 'float16', topk: Math.min(config.capture.topLogProbs, drafter.vocabSize), labels: true } as const;
  const extra = config.capture.generate?.maxNewTokens ?? 0;
  return tokens.lengths().reduce((sum, length) => sum + sequenceBytes(Math.min(length + extra, config.data.maxLength), columns), 0);
}

function measureProducts(): number {
  return tf.tidy(() => {
    const size = 768;
    const [a, b] = [tf.randomNormal([size, size]), tf.randomNormal([size, size])];
    let bestMs = Infinity;
    for (let i = 0; i < 6; i++) {
      const started = performance.now();
      tf.sum(tf.matMul(a, b)).dataSync();
      bestMs = Math.min(bestMs, performance.now() - started);
    }
    return (2 * size ** 3) / bestMs / 1e6;
  });
}

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);

/** The plan as a person reads it. */
export function describePlan(plan: RunPlan): string {
  const { drafter, memory } = plan;
  const unknown = 'not known before the data is prepared';
  const lines: [string, string][] = [
    ['drafter', `${drafter.numHiddenLayers} layers of ${drafter.hiddenSize}, ${drafter.numAttentionHeads} heads of ${drafter.headDim}, blocks of ${drafter.blockSize}, taps ${drafter.targetLayerIds.join(', ')}, mask token ${drafter.maskTokenId}`],
    ['parameters', `${(plan.parameters / 1e6).toFixed(2)} million, trained in float32`],
    ['memory', `about ${formatBytes(memory.total)}: weights and moments ${formatBytes(memory.weightsAndMoments)}, gradients ${formatBytes(memory.gradients)}, target ${formatBytes(memory.target)}, a step ${formatBytes(memory.activations)}`],
    ['machine', `${formatBytes(availableMemory())} of memory, ${plan.gigaflops.toFixed(0)} GFLOP/s in matrix products`],
    ['data', plan.rows === null ? unknown : `${plan.rows} sequences`],
    ['steps', plan.totalSteps === null ? unknown : `${plan.totalSteps}`],
    ['time', plan.seconds === null ? unknown : `about ${formatSeconds(plan.seconds)}, within a factor of two, without capture and validation`],
    ['disk', `cache ${plan.cacheBytes === null ? unknown : `${formatBytes(plan.cacheBytes)}${plan.cacheExists ? ' (there already)' : ''}`}, checkpoints ${formatBytes(plan.checkpointBytes)}${plan.freeBytes === undefined ? '' : `; ${formatBytes(plan.freeBytes)} free`}`],
  ];
  return lines.map(([name, text]) => `${name.padEnd(12)}${text}`).join('\n');
}
