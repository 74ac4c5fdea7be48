// Is a drafter on disk the one in memory? The two run side by side on the same blocks, and decode the same prompts. The written one
// must do exactly what the one in memory does once its weights are rounded to the stored type; how far rounding itself
// moves the outputs and the accepted lengths is reported.
import { isDeepStrictEqual } from 'node:util';
import type { Tensor, Tensor2D, Tensor3D } from '@tensorflow/tfjs-node-gpu';
import { contextKeyValues, drafterBlocks, drafterContext, type BlockEmbeddings } from '../models/drafter.js';
import type { DrafterDtype } from '../models/drafter-checkpoint.js';
import type { DrafterConfig } from '../models/drafter-config.js';
import { bfloat16ToFloat32, float32ToBfloat16, float32ToHalf, halfToFloat32 } from '../models/half.js';
import type { Target } from '../models/target.js';
import type { Weights } from '../models/weights.js';
import { Random } from '../random.js';
import { tf } from '../tensorflow/ops.js';
import type { Round } from './acceptance.js';
import { simulateModels } from './model-simulation.js';
import { greedySampling } from './sampling.js';
import { firstDifference } from './simulation.js';
import { generateAnswers } from './target-generation.js';

/** Blocks that drafters are compared on. */
export interface ComparisonInputs {
  /** `[B, S, T·D]`. */
  features: Tensor3D;
  /** Of N blocks a sequence. */
  embeddings: BlockEmbeddings;
  /** `[B, N]` int32. */
  anchors: Tensor2D;
}

/** The weights as the file holds them: rounded to the stored type, float32. The caller owns the copies. */
export function roundWeights(weights: Weights, dtype: DrafterDtype): Weights {
  const round = {
    F32: (values: Float32Array) => values,
    F16: (values: Float32Array) => halfToFloat32(float32ToHalf(values)),
    BF16: (values: Float32Array) => bfloat16ToFloat32(float32ToBfloat16(values)),
  }[dtype];
  return Object.fromEntries(Object.entries(weights).map(([name, tensor]) => [name, tf.tensor(round(tensor.dataSync() as Float32Array), tensor.shape)]));
}

/** Features and embeddings of normal random numbers: enough to see whether two drafters compute the same. The caller owns them. */
export function randomComparisonInputs(config: DrafterConfig, seed = 0): ComparisonInputs {
  const random = Random.fork(seed, 'drafter comparison');
  const length = Math.max(2, Math.min(24, config.maxPositionEmbeddings - config.blockSize));
  const normal = (shape: number[]) => tf.tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal()), shape);
  return {
    features: normal([1, length, config.targetLayerIds.length * config.hiddenSize]) as Tensor3D,
    embeddings: { anchor: normal([1, 3, config.hiddenSize]) as Tensor3D, mask: normal([1, config.hiddenSize]) as Tensor2D },
    anchors: tf.tensor2d([[0, length >> 1, length - 1]], [1, 3], 'int32'),
  };
}

/**
 * Greatest difference of two drafters' final hidden states relative to the greatest of the first's, over the given blocks.
 * Infinity where the second has a value that is not finite.
 */
export function compareOutputs(first: { config: DrafterConfig; weights: Weights }, second: { config: DrafterConfig; weights: Weights }, inputs: ComparisonInputs): number {
  const run = ({ config, weights }: { config: DrafterConfig; weights: Weights }): Float32Array =>
    tf.tidy(() => {
      const context = contextKeyValues(config, weights, drafterContext(config, weights, inputs.features));
      const hidden: Tensor = drafterBlocks(config, weights, { context, embeddings: inputs.embeddings, anchors: inputs.anchors });
      return hidden.dataSync() as Float32Array;
    });
  const [a, b] = [run(first), run(second)];
  let greatest = 0;
  let difference = 0;
  for (let i = 0; i < a.length; i++) {
    greatest = Math.max(greatest, Math.abs(a[i]!));
    difference = Number.isFinite(b[i]) ? Math.max(difference, Math.abs(a[i]! - b[i]!)) : Infinity;
  }
  return greatest > 0 ? difference / greatest : difference;
}

/** What a comparison found. */
export interface DrafterComparison {
  verification: {
    /** Greatest relative difference of outputs: written against rounded, and against what is in memory. */
    outputDifference: { toRounded: number; toFloat32: number };
    /** Null without a target. */
    decoding: { texts: number; rounds: number; acceptedLength: number; acceptedLengthFloat32: number; roundsEqual: boolean } | null;
  };
  /** Empty where the written drafter is the one in memory. */
  problems: string[];
}

interface Drafter {
  config: DrafterConfig;
  weights: Weights;
}

/** Two passes over the same numbers may add them up in another order. */
const samePass = 1e-5;

/**
 * Compares a drafter read back from disk with the one in memory that was written in `dtype`: config, every weight, outputs, and with a
 * target the rounds of greedy decoding on texts that the target writes.
 */
export function compareDrafters(original: Drafter, written: Drafter, dtype: DrafterDtype, target?: Target): DrafterComparison {
  const problems: string[] = [];
  if (!isDeepStrictEqual(original.config, written.config)) {
    problems.push(`the config reads back as ${JSON.stringify(written.config)}; it is ${JSON.stringify(original.config)}`);
    return { problems, verification: { outputDifference: { toRounded: Infinity, toFloat32: Infinity }, decoding: null } };
  }
  const rounded: Drafter = { config: original.config, weights: roundWeights(original.weights, dtype) };
  const inputs = randomComparisonInputs(original.config);
  try {
    for (const [name, tensor] of Object.entries(rounded.weights)) {
      const [expected, found] = [tensor.dataSync(), written.weights[name]!.dataSync()];
      const at = expected.findIndex((value, i) => !Object.is(value, found[i]));
      if (at >= 0) problems.push(`${name} reads back with ${found[at]} at ${at}; ${expected[at]} was written`);
      if (expected.some((value) => !Number.isFinite(value))) problems.push(`${name} has values that are not finite in ${dtype}`);
    }
    const outputDifference = { toRounded: compareOutputs(rounded, written, inputs), toFloat32: compareOutputs(original, written, inputs) };
    if (!(outputDifference.toRounded <= samePass)) problems.push(`outputs differ by ${outputDifference.toRounded}, relative to the greatest; ${samePass} is allowed`);
    const decoding = target === undefined ? null : compareDecoding(original, rounded, written, target);
    if (decoding?.roundsEqual === false) problems.push('greedy decoding takes other rounds than with the drafter in memory, rounded to the stored type');
    return { problems, verification: { outputDifference, decoding } };
  } finally {
    tf.dispose([rounded.weights, Object.values(inputs)]);
  }
}

function compareDecoding(original: Drafter, rounded: Drafter, written: Drafter, target: Target): NonNullable<DrafterComparison['verification']['decoding']> {
  const texts = writeTexts(target, original.config.blockSize);
  const [asOriginal, asRounded, asWritten] = [original, rounded, written].map((drafter) => texts.map(({ tokens, promptLength, end }) => simulateModels({ target, drafter }, tokens, { start: promptLength, end }))) as [Round[][], Round[][], Round[][]];
  const mean = (rounds: Round[][]) => rounds.flat().reduce((sum, { accepted }) => sum + accepted, 0) / rounds.flat().length;
  return {
    texts: texts.length,
    rounds: asWritten.flat().length,
    acceptedLength: mean(asWritten),
    acceptedLengthFloat32: mean(asOriginal),
    roundsEqual: texts.every((_, i) => firstDifference(asRounded[i]!, asWritten[i]!) === undefined),
  };
}

/** A text of the target: a prompt that it sampled and its greedy continuation. */
interface WrittenText {
  tokens: Int32Array;
  promptLength: number;
  /** No round starts here or later. */
  end: number;
}

const textCount = 4;
const promptLength = 12;
const newTokens = 32;

function writeTexts(target: Target, blockSize: number): WrittenText[] {
  const { bosTokenId, eosTokenIds, maxPositions } = target.config;
  const first = Int32Array.of(bosTokenId ?? eosTokenIds[0] ?? 0);
  const room = maxPositions - blockSize - 1;
  const options = { stopIds: [], batchSize: textCount };
  const prompts = generateAnswers(
    target,
    Array.from({ length: textCount }, (_, i) => ({ promptIds: first, maxNewTokens: Math.min(promptLength, room >> 1), random: Random.fork(0, 'export prompt', i) })),
    { ...options, sampling: { temperature: 1, topK: 0, topP: 1 } },
  ).map((ids) => Int32Array.of(...first, ...ids));
  const continuations = generateAnswers(
    target,
    prompts.map((promptIds, i) => ({ promptIds, maxNewTokens: Math.min(newTokens + blockSize, maxPositions - promptIds.length), random: Random.fork(0, i) })),
    { ...options, sampling: greedySampling },
  );
  return prompts.map((prompt, i) => {
    const tokens = Int32Array.of(...prompt, ...continuations[i]!);
    return { tokens, promptLength: prompt.length, end: Math.max(prompt.length + 1, tokens.length - blockSize) };
  });
}
