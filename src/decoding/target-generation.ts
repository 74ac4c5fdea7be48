// Many answers of the target alone, side by side: a fixed number of slots over caches of fixed capacity, each pass reading one token
// of every answer. Where an answer ends, the next one takes its slot, so the passes stay full. The pass is recorded as a graph where
// there is enough to generate. Each answer draws from its own source of random numbers.
import { freemem } from 'node:os';
import type { Tensor, Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs-node-gpu';
import { UserError } from '../errors.js';
import { linear } from '../models/layers.js';
import { lmHeadWeight, targetForward } from '../models/target.js';
import type { KeyValues, Target } from '../models/target.js';
import { weightBytes, type Weights } from '../models/weights.js';
import type { Random } from '../random.js';
import { createEagerExecutor, createGraphExecutor, type Executor, type Program, type StepVariables } from '../tensorflow/graph.js';
import { tf } from '../tensorflow/ops.js';
import { bestColumns, gatherRows } from '../tensorflow/raw-ops.js';
import { checkSampling, drawToken, warpLogits } from './sampling.js';
import type { SamplingOptions } from './sampling.js';
import type { TargetRows } from './steps.js';

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

/** A generator that keeps its recorded graph from call to call. */
export interface AnswerGenerator {
  /**
   * Generates one answer a request, new tokens only, the stop token last where one was written.
   * @throws UserError where a prompt is empty or does not fit the target's positions.
   */
  generate(requests: readonly AnswerRequest[]): Int32Array[];
  dispose(): void;
}

/** Generates a few answers and forgets everything; see `createAnswerGenerator`. */
export function generateAnswers(target: Target, requests: readonly AnswerRequest[], options: GenerationOptions): Int32Array[] {
  const generator = createAnswerGenerator(target, options);
  try {
    return generator.generate(requests);
  } finally {
    generator.dispose();
  }
}

/** Capacities are multiples of this, so that calls of like length share a graph. */
const CAPACITY_STEP = 128;
/** Fewer answers in one call than this many are not worth a recording. */
const REQUESTS_THAT_PAY = 16;

/** Makes a generator; its graph holds a copy of the target's weights until it is disposed. */
export function createAnswerGenerator(target: Target, options: GenerationOptions): AnswerGenerator {
  checkSampling(options.sampling);
  const { batchSize } = options;
  let recorded: { slots: Slots; capacity: number } | undefined;
  const slotsFor = (count: number, capacity: number): { slots: Slots; own: boolean } => {
    if (count < Math.max(batchSize, REQUESTS_THAT_PAY) || weightBytes(target.weights) > freemem() / 4) {
      return { slots: createSlots(target, options, Math.min(batchSize, count), capacity, createEagerExecutor), own: true };
    }
    if (recorded === undefined || recorded.capacity < capacity) {
      recorded?.slots.dispose();
      recorded = { slots: createSlots(target, options, batchSize, capacity, createGraphExecutor), capacity };
    }
    return { slots: recorded.slots, own: false };
  };
  return {
    generate(requests) {
      const answers = requests.map((request): Answer => ({ request, tokens: [], finished: request.maxNewTokens < 1 }));
      for (const { promptIds, maxNewTokens } of requests) checkRequest(target, promptIds, maxNewTokens);
      // Neighbours of like length waste little padding.
      const order = answers.filter(({ finished }) => !finished).sort((a, b) => a.request.promptIds.length - b.request.promptIds.length);
      if (order.length > 0) {
        const longest = Math.max(...order.map(({ request }) => request.promptIds.length + request.maxNewTokens));
        const { slots, own } = slotsFor(order.length, Math.ceil(longest / CAPACITY_STEP) * CAPACITY_STEP);
        try {
          fillSlots(slots, order, options);
        } finally {
          if (own) slots.dispose();
        }
      }
      return answers.map(({ tokens }) => Int32Array.from(tokens));
    },
    dispose() {
      recorded?.slots.dispose();
      recorded = undefined;
    },
  };
}

function checkRequest({ config }: Target, promptIds: Int32Array, maxNewTokens: number): void {
  if (promptIds.length === 0) throw new UserError('a prompt to generate from is empty; it needs one token at least.');
  if (promptIds.length + maxNewTokens > config.maxPositions) {
    throw new UserError(`a prompt of ${promptIds.length} tokens and ${maxNewTokens} new ones pass the target's ${config.maxPositions} positions.`);
  }
}

interface Answer {
  request: AnswerRequest;
  tokens: number[];
  finished: boolean;
}

/** The target with caches for a fixed number of answers. */
interface Slots {
  readonly count: number;
  /** Prompts that `admit` takes at once, at most. */
  readonly admitted: number;
  /** Reads prompts and puts them into slots; what the target says after each. */
  admit(prompts: readonly Int32Array[], slots: readonly number[]): TargetRows;
  /** Reads a token of every slot, `[count]`, at its position; what the target says after each, slots not in use included. */
  step(tokens: Int32Array, positions: Int32Array): TargetRows;
  dispose(): void;
}

/** Runs answers through slots, in order, until all are finished. */
function fillSlots(slots: Slots, answers: readonly Answer[], options: GenerationOptions): void {
  const inSlot = new Array<Answer | undefined>(slots.count).fill(undefined);
  const positions = new Int32Array(slots.count);
  const tokens = new Int32Array(slots.count);
  let next = 0;
  for (;;) {
    const free = [...inSlot.keys()].filter((slot) => inSlot[slot] === undefined);
    // New answers come in groups: reading their prompts is a pass of its own.
    while (next < answers.length && free.length >= Math.min(slots.admitted, answers.length - next)) {
      const group = answers.slice(next, next + Math.min(slots.admitted, free.length));
      const taken = free.splice(0, group.length);
      const rows = slots.admit(group.map(({ request }) => request.promptIds), taken);
      next += group.length;
      group.forEach((answer, row) => {
        takeToken(answer, rows, row, options);
        const slot = taken[row]!;
        inSlot[slot] = answer.finished ? undefined : answer;
        positions[slot] = answer.request.promptIds.length;
        if (answer.finished) free.push(slot);
      });
    }
    if (inSlot.every((answer) => answer === undefined)) {
      if (next >= answers.length) return;
      continue;
    }
    inSlot.forEach((answer, slot) => (tokens[slot] = answer?.tokens.at(-1) ?? tokens[slot]!));
    const rows = slots.step(tokens, positions);
    inSlot.forEach((answer, slot) => {
      if (answer === undefined) return;
      takeToken(answer, rows, slot, options);
      positions[slot]!++;
      if (answer.finished) inSlot[slot] = undefined;
    });
  }
}

function takeToken(answer: Answer, rows: TargetRows, row: number, { sampling, stopIds }: GenerationOptions): void {
  const { request, tokens } = answer;
  const token = rows.logits === undefined ? rows.best[row]! : drawToken(warpLogits(rows.logits(row), sampling), request.random.next());
  tokens.push(token);
  answer.finished = stopIds.includes(token) || tokens.length >= request.maxNewTokens;
}

function createSlots(target: Target, { sampling }: GenerationOptions, count: number, capacity: number, createExecutor: (program: Program) => Executor): Slots {
  const { config, weights } = target;
  const admitted = Math.max(1, Math.ceil(count / 4));
  const greedy = sampling.temperature === 0;
  const shape = (rows: number): [number, number, number, number] => [rows, config.numKeyValueHeads, capacity, config.headDim];
  const names = cacheNames(config.numLayers);
  const examples = tf.tidy(() => {
    const cache = Object.fromEntries(names.map((name) => [name, tf.zeros(shape(count))]));
    const added = Object.fromEntries(names.map((name) => [name, tf.zeros(shape(admitted))]));
    return { cache, added, index: tf.zeros([count], 'int32'), taken: tf.zeros([count], 'bool'), tokens: tf.zeros([count], 'int32') } as never;
  }) as { cache: Record<string, Tensor>; added: Record<string, Tensor>; index: Tensor; taken: Tensor; tokens: Tensor };
  const executor = createExecutor({
    variables: { ...examples.cache, ...Object.fromEntries(Object.entries(weights).map(([name, tensor]) => [`target/${name}`, tensor])) },
    functions: {
      admit: { inputs: { ...examples.added, index: examples.index, taken: examples.taken }, run: (variables, inputs) => admitStep(names, variables, inputs) },
      step: { inputs: { tokens: examples.tokens, positions: examples.tokens }, run: (variables, inputs) => tokenStep(target, greedy, variables, inputs) },
    },
  });
  tf.dispose(examples);
  const readRows = (said: Tensor): TargetRows => {
    const values = said.dataSync();
    said.dispose();
    if (greedy) return { best: values as Int32Array };
    return { best: new Int32Array(0), logits: (row) => (values as Float32Array).subarray(row * config.vocabSize, (row + 1) * config.vocabSize) };
  };
  return {
    count,
    admitted,
    admit(prompts, slots) {
      const { said, cache } = readPrompts(target, prompts, admitted, capacity, greedy);
      const index = new Int32Array(count);
      const taken = new Uint8Array(count);
      slots.forEach((slot, row) => {
        index[slot] = row;
        taken[slot] = 1;
      });
      const mask = tf.tensor1d(taken, 'bool');
      tf.dispose([executor.run('admit', { ...cache, index, taken: mask }), cache, mask]);
      return readRows(said);
    },
    step: (tokens, positions) => readRows(executor.run('step', { tokens, positions })['said']!),
    dispose: () => executor.dispose(),
  };
}

function cacheNames(layers: number): string[] {
  return Array.from({ length: layers }, (_, layer) => [`keys.${layer}`, `values.${layer}`]).flat();
}

/** Reads prompts, padded on the right: what pads write into the cache is overwritten before it is ever seen. The cache has `rows` rows. */
function readPrompts({ config, weights }: Target, prompts: readonly Int32Array[], rows: number, capacity: number, greedy: boolean): { said: Tensor; cache: Record<string, Tensor> } {
  const length = Math.max(...prompts.map((ids) => ids.length));
  const ids = new Int32Array(prompts.length * length);
  for (const [row, prompt] of prompts.entries()) ids.set(prompt, row * length);
  const lasts = prompts.map((prompt, row) => row * length + prompt.length - 1);
  return tf.tidy(() => {
    const pass = targetForward(config, weights, tf.tensor2d(ids, [prompts.length, length], 'int32'), { logits: 'none', allHidden: true });
    const hidden = gatherRows(tf.reshape(pass.hiddenStates!.at(-1)!, [-1, config.hiddenSize]), tf.tensor1d(lasts, 'int32'));
    const widen = (cached: Tensor4D): Tensor => tf.pad(cached, [[0, rows - prompts.length], [0, 0], [0, capacity - length], [0, 0]]);
    const { keys, values } = pass.keyValues;
    const cache = Object.fromEntries(keys.flatMap((key, layer) => [[`keys.${layer}`, widen(key)], [`values.${layer}`, widen(values[layer]!)]]));
    return { said: say(linear(hidden, lmHeadWeight(config, weights)), greedy), cache } as never;
  });
}

/** Slot i of the caches becomes row `index[i]` of the added ones where `taken[i]`. */
function admitStep(names: readonly string[], variables: StepVariables, inputs: Record<string, Tensor>): Record<string, Tensor> {
  const taken = tf.reshape(inputs['taken']!, [-1, 1, 1, 1]);
  for (const name of names) {
    const variable = variables[name]!;
    variable.assign(tf.where(taken, gatherRows(inputs[name]!, inputs['index']!), variable.read()));
  }
  return { done: tf.scalar(0) };
}

/** Reads one token of every slot at its position and writes its row of the cache. */
function tokenStep({ config, weights }: Target, greedy: boolean, variables: StepVariables, inputs: Record<string, Tensor>): Record<string, Tensor> {
  const positions = inputs['positions'] as Tensor1D;
  const [rows] = positions.shape;
  const own: Weights = Object.fromEntries(Object.keys(weights).map((name) => [name, variables[`target/${name}`]!.read()]));
  const list = (part: string): Tensor4D[] => Array.from({ length: config.numLayers }, (_, layer) => variables[`${part}.${layer}`]!.read() as Tensor4D);
  const cache: KeyValues = { keys: list('keys'), values: list('values') };
  const { logits, keyValues } = targetForward(config, own, tf.reshape(inputs['tokens']!, [rows, 1]) as Tensor2D, { cache, start: positions });
  const capacity = cache.keys[0]!.shape[2];
  const here = tf.reshape(tf.equal(tf.reshape(tf.range(0, capacity, 1, 'int32'), [1, capacity]), tf.reshape(positions, [rows, 1])), [rows, 1, capacity, 1]);
  for (const part of ['keys', 'values'] as const) {
    for (const [layer, row] of keyValues[part].entries()) variables[`${part}.${layer}`]!.assign(tf.where(here, row, cache[part][layer]!));
  }
  return { said: say(tf.reshape(logits!, [rows, config.vocabSize]), greedy) };
}

/** The best token of each row, or the logits where tokens are drawn. */
function say(logits: Tensor, greedy: boolean): Tensor {
  return greedy ? bestColumns(logits as Tensor2D) : logits;
}
