// Many answers of the target alone, side by side: one padded prefill, then one token of every answer a pass, from a cache of
// fixed capacity. Each answer draws from its own source of random numbers, so it does not depend on its neighbours.
import type { Tensor, Tensor2D, Tensor4D } from '@tensorflow/tfjs-node-gpu';
import { UserError } from '../errors.js';
import { linear } from '../models/layers.js';
import { lmHeadWeight, targetForward } from '../models/target.js';
import type { KeyValues, Target } from '../models/target.js';
import type { Random } from '../random.js';
import { tf } from '../tensorflow/ops.js';
import { gatherRows } from '../tensorflow/raw-ops.js';
import { argmax, checkSampling, drawToken, warpLogits } from './sampling.js';
import type { SamplingOptions } from './sampling.js';

/** One answer to generate. */
export interface AnswerRequest {
  promptIds: Int32Array;
  maxNewTokens: number;
  /** Draws for this answer alone; not used by greedy decoding. */
  random: Random;
}

export interface GenerationOptions {
  sampling: SamplingOptions;
  /** Tokens that end an answer; they are its last token. */
  stopIds: readonly number[];
  /** Answers generated side by side. */
  batchSize: number;
}

/** A generator with these settings that ends answers at the target's own end tokens. */
export function createAnswerGenerator(
  target: Target,
  { temperature, topP, batchSize }: { temperature: number; topP: number; batchSize: number },
): (requests: readonly AnswerRequest[]) => Int32Array[] {
  const options = { sampling: { temperature, topP, topK: 0 }, stopIds: target.config.eosTokenIds, batchSize };
  return (requests) => generateAnswers(target, requests, options);
}

interface Answer {
  request: AnswerRequest;
  tokens: number[];
  finished: boolean;
}

/**
 * Generates one answer a request, new tokens only, the stop token last where one was written.
 * @throws UserError where a prompt is empty or does not fit the target's positions.
 */
export function generateAnswers(target: Target, requests: readonly AnswerRequest[], options: GenerationOptions): Int32Array[] {
  checkSampling(options.sampling);
  const answers = requests.map((request): Answer => ({ request, tokens: [], finished: request.maxNewTokens < 1 }));
  for (const { promptIds, maxNewTokens } of requests) {
    if (promptIds.length === 0) throw new UserError('a prompt to generate from is empty; it needs one token at least.');
    if (promptIds.length + maxNewTokens > target.config.maxPositions) {
      throw new UserError(`a prompt of ${promptIds.length} tokens and ${maxNewTokens} new ones pass the target's ${target.config.maxPositions} positions.`);
    }
  }
  // Neighbours of like length waste little padding.
  const order = answers.filter(({ finished }) => !finished).sort((a, b) => a.request.promptIds.length - b.request.promptIds.length);
  for (let first = 0; first < order.length; first += options.batchSize) generateBatch(target, order.slice(first, first + options.batchSize), options);
  return answers.map(({ tokens }) => Int32Array.from(tokens));
}

function generateBatch(target: Target, answers: Answer[], options: GenerationOptions): void {
  const lengths = answers.map(({ request }) => request.promptIds.length);
  const capacity = Math.max(...answers.map(({ request }) => request.promptIds.length + request.maxNewTokens));
  let active = answers;
  let positions = Int32Array.from(lengths);
  let { logits, cache } = prefill(target, answers, capacity);
  for (;;) {
    takeTokens(active, logits, options);
    logits.dispose();
    const going = active.flatMap(({ finished }, row) => (finished ? [] : [row]));
    if (going.length === 0) break;
    // Finished rows are dropped once they are half of the batch: each copy of the cache then pays for itself.
    if (going.length <= active.length / 2) {
      cache = replace(cache, (rows) => gatherRows(rows, tf.tensor1d(going, 'int32')) as Tensor4D);
      active = going.map((row) => active[row]!);
      positions = Int32Array.from(going, (row) => positions[row]!);
    }
    const tokens = Int32Array.from(active, (answer) => answer.tokens.at(-1)!);
    const next = step(target, tokens, positions, cache);
    disposeCache(cache);
    ({ logits, cache } = next);
    positions = positions.map((position, row) => (active[row]!.finished ? position : position + 1));
  }
  disposeCache(cache);
}

interface Pass {
  /** `[B, V]`. */
  logits: Tensor2D;
  /** `[B, Hkv, C, headDim]` a layer. */
  cache: KeyValues;
}

/** Reads all prompts, padded on the right: what pads write into the cache is overwritten before it is ever seen. */
function prefill({ config, weights }: Target, answers: Answer[], capacity: number): Pass {
  const length = Math.max(...answers.map(({ request }) => request.promptIds.length));
  const ids = new Int32Array(answers.length * length);
  for (const [row, { request }] of answers.entries()) ids.set(request.promptIds, row * length);
  const lasts = answers.map(({ request }, row) => row * length + request.promptIds.length - 1);
  return tf.tidy(() => {
    const pass = targetForward(config, weights, tf.tensor2d(ids, [answers.length, length], 'int32'), { logits: 'none', allHidden: true });
    const hidden = gatherRows(tf.reshape(pass.hiddenStates!.at(-1)!, [-1, config.hiddenSize]), tf.tensor1d(lasts, 'int32'));
    const widen = (rows: Tensor4D): Tensor4D => tf.pad(rows, [[0, 0], [0, 0], [0, capacity - length], [0, 0]]);
    const cache = { keys: pass.keyValues.keys.map(widen), values: pass.keyValues.values.map(widen) };
    return { logits: linear(hidden, lmHeadWeight(config, weights)), cache } as never;
  });
}

/** Reads one token of every answer at its position, and writes its row of the cache. */
function step({ config, weights }: Target, tokens: Int32Array, positions: Int32Array, cache: KeyValues): Pass {
  const rows = tokens.length;
  const capacity = cache.keys[0]!.shape[2];
  return tf.tidy(() => {
    const start = tf.tensor1d(positions, 'int32');
    const { logits, keyValues } = targetForward(config, weights, tf.tensor2d(tokens, [rows, 1], 'int32'), { cache, start });
    const here = tf.reshape(tf.equal(tf.reshape(tf.range(0, capacity, 1, 'int32'), [1, capacity]), tf.reshape(start, [rows, 1])), [rows, 1, capacity, 1]);
    const write = (old: Tensor4D, row: Tensor): Tensor4D => tf.where(here, row, old) as Tensor4D;
    return {
      logits: tf.reshape(logits!, [rows, config.vocabSize]),
      cache: {
        keys: cache.keys.map((old, layer) => write(old, keyValues.keys[layer]!)),
        values: cache.values.map((old, layer) => write(old, keyValues.values[layer]!)),
      },
    } as never;
  });
}

function takeTokens(answers: Answer[], logits: Tensor2D, { sampling, stopIds }: GenerationOptions): void {
  const greedy = sampling.temperature === 0;
  const best = greedy ? (tf.tidy(() => tf.argMax(logits, 1).dataSync()) as Int32Array) : undefined;
  const values = greedy ? undefined : (logits.dataSync() as Float32Array);
  const vocabSize = logits.shape[1];
  for (const [row, answer] of answers.entries()) {
    if (answer.finished) continue;
    const token = best?.[row] ?? draw(values!.subarray(row * vocabSize, (row + 1) * vocabSize), sampling, answer.request.random);
    answer.tokens.push(token);
    answer.finished = stopIds.includes(token) || answer.tokens.length >= answer.request.maxNewTokens;
  }
}

function draw(logits: Float32Array, sampling: SamplingOptions, random: Random): number {
  if (sampling.topK === 1) return argmax(logits);
  return drawToken(warpLogits(logits, sampling), random.next());
}

function replace(cache: KeyValues, change: (rows: Tensor4D) => Tensor4D): KeyValues {
  const changed = tf.tidy(() => ({ keys: cache.keys.map(change), values: cache.values.map(change) }) as never) as KeyValues;
  disposeCache(cache);
  return changed;
}

function disposeCache(cache: KeyValues): void {
  tf.dispose([...cache.keys, ...cache.values]);
}
