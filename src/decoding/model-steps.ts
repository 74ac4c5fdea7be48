// The decoding steps of two real models, as recorded functions over caches of fixed capacity: one session call drafts, one verifies.
// A verification writes all its rows into both caches at once; rows that are not accepted are simply overwritten by the next
// one, since whoever reads a cache sees only rows before its anchor. Only a path through a tree has to be moved together.
import type { Scalar, Tensor, Tensor1D, Tensor2D, Tensor3D, Tensor4D } from '@tensorflow/tfjs-node-gpu';
import { UserError } from '../errors.js';
import { drafterContextRows, drafterDraft, embedBlocks } from '../models/drafter.js';
import type { DrafterConfig } from '../models/drafter-config.js';
import { linear } from '../models/layers.js';
import { targetForward } from '../models/target.js';
import type { KeyValues, Target } from '../models/target.js';
import type { Weights } from '../models/weights.js';
import { createEagerExecutor, createGraphExecutor } from '../tensorflow/graph.js';
import type { Executor, StepFunction, StepVariables } from '../tensorflow/graph.js';
import { tf } from '../tensorflow/ops.js';
import { bestColumns, writeRows } from '../tensorflow/raw-ops.js';
import type { DecodingSteps, DraftDetail, DraftRows, TargetRows } from './steps.js';

export interface ModelStepsOptions {
  target: Target;
  drafter: { config: DrafterConfig; weights: Weights };
  /** Positions of the longest text, prompt and answer. */
  capacity: number;
  /** K at inference, at most the drafter's own; default its own. */
  blockSize?: number;
  /** Nodes of a draft tree; 0: chains only. */
  treeNodes?: number;
  /** Run every operation by itself instead of recorded graphs: slower, for checking. */
  eager?: boolean;
}

/** Steps that hold native memory until they are disposed. */
export interface ModelSteps extends DecodingSteps {
  readonly kind: Executor['kind'];
  /** Goes on with other weights of the same shapes, recording nothing again. They must live as long as they are in use. */
  replaceDrafter(weights: Weights): void;
  dispose(): void;
}

/** Prepares both models for texts of at most `capacity` positions. Throws UserError where the sizes do not fit. */
export function createModelSteps(options: ModelStepsOptions): ModelSteps {
  const { target, drafter, capacity, treeNodes = 0 } = options;
  const blockSize = options.blockSize ?? drafter.config.blockSize;
  if (!Number.isInteger(blockSize) || blockSize < 2 || blockSize > drafter.config.blockSize) {
    throw new UserError(`the block size is ${blockSize}; this drafter was trained for ${drafter.config.blockSize}, and fewer (from 2) are possible.`);
  }
  const widest = Math.max(blockSize, treeNodes + 1);
  // The last round may write rows past the end of the text.
  const rows = capacity + widest;
  const names = variableNames(options);
  const functions: Record<string, StepFunction> = {
    draft: draftFunction(options, names, blockSize, 'best'),
    draftLogits: draftFunction(options, names, blockSize, 'logits'),
    verify: verifyFunction(options, names, blockSize, rows, false),
    verifyLogits: verifyFunction(options, names, blockSize, rows, true),
    advance: verifyFunction(options, names, 1, rows, false, false),
    advanceLogits: verifyFunction(options, names, 1, rows, true, false),
  };
  if (treeNodes > 0) {
    functions['draftCandidates'] = draftFunction(options, names, blockSize, 'candidates');
    functions['verifyTree'] = treeFunction(options, names, treeNodes + 1, rows, false);
    functions['verifyTreeLogits'] = treeFunction(options, names, treeNodes + 1, rows, true);
    functions['keepPath'] = keepFunction(options, names, treeNodes + 1, rows);
  }
  const initial = tf.tidy(() => initialValues(options, rows, treeNodes) as never) as Record<string, Tensor>;
  const executor = (options.eager === true ? createEagerExecutor : createGraphExecutor)({
    variables: { ...initial, ...prefixed('target/', target.weights), ...prefixed('drafter/', drafter.weights) },
    functions,
  });
  tf.dispose(initial);
  for (const { inputs } of Object.values(functions)) tf.dispose(inputs);
  return stepsOf(options, executor, { blockSize, treeNodes, capacity, rows });
}

function stepsOf(options: ModelStepsOptions, executor: Executor, sizes: { blockSize: number; treeNodes: number; capacity: number; rows: number }): ModelSteps {
  const { target } = options;
  let { drafter } = options;
  const { blockSize, treeNodes, capacity, rows } = sizes;
  const vocabSize = target.config.vocabSize;
  const run = (name: string, inputs: Record<string, Int32Array>): Record<string, Float32Array | Int32Array> => {
    const outputs = executor.run(name, inputs);
    const read = Object.fromEntries(Object.entries(outputs).map(([key, tensor]) => [key, tensor.dataSync() as Float32Array | Int32Array]));
    tf.dispose(outputs);
    return read;
  };
  const answers = (outputs: Record<string, Float32Array | Int32Array>): TargetRows => {
    const logits = outputs['logits'] as Float32Array | undefined;
    return { best: outputs['best'] as Int32Array, ...(logits !== undefined && { logits: (row: number) => logits.subarray(row * vocabSize, (row + 1) * vocabSize) }) };
  };
  let pending = { anchor: 0, tree: false };
  return {
    kind: executor.kind,
    blockSize,
    vocabSize,
    prefill: (promptIds, reserve, needLogits) => {
      if (promptIds.length + reserve > capacity) throw new UserError(`a text of ${promptIds.length} prompt tokens and ${reserve} more does not fit the ${capacity} positions that were set aside.`);
      const { best, logits } = prefill(target, drafter, executor, promptIds, rows);
      return { best: Int32Array.of(best), ...(needLogits && { logits: () => logits }) };
    },
    draft: (anchorToken: number, anchor: number, detail: DraftDetail): DraftRows => {
      const name = { best: 'draft', logits: 'draftLogits', candidates: 'draftCandidates' }[detail];
      const outputs = run(name, { anchorToken: Int32Array.of(anchorToken), anchor: Int32Array.of(anchor) });
      const best = outputs['best'] as Int32Array;
      const logits = outputs['logits'] as Float32Array | undefined;
      if (logits !== undefined) return { best, logits: (index) => logits.subarray(index * vocabSize, (index + 1) * vocabSize) };
      if (detail !== 'candidates') return { best };
      return { best, candidates: { width: Math.min(treeNodes, vocabSize), tokens: outputs['candidates'] as Int32Array, logProbs: outputs['logProbs'] as Float32Array } };
    },
    verify: (tokens, anchor, needLogits, tree) => {
      pending = { anchor, tree: tree !== undefined };
      const suffix = needLogits ? 'Logits' : '';
      const start = Int32Array.of(anchor);
      if (tree === undefined) return answers(run(`verify${suffix}`, { tokens: padTo(tokens, blockSize), start }));
      const width = treeNodes + 1;
      return answers(run(`verifyTree${suffix}`, { tokens: padTo(tokens, width), start, depths: padTo(tree.depths, width), visible: ancestors(tree.parents, width) }));
    },
    keep: (kept) => {
      if (!pending.tree) return;
      const width = treeNodes + 1;
      run('keepPath', { rows: padTo(Int32Array.from(kept), width), start: Int32Array.of(pending.anchor) });
    },
    advance: (token, position, needLogits) => answers(run(needLogits ? 'advanceLogits' : 'advance', { tokens: Int32Array.of(token), start: Int32Array.of(position) })),
    replaceDrafter: (weights) => {
      for (const [name, tensor] of Object.entries(weights)) executor.write(`drafter/${name}`, tensor);
      drafter = { config: drafter.config, weights };
    },
    dispose: () => executor.dispose(),
  };
}

/** Reads a prompt in one pass of its own length, and fills both caches. */
function prefill(target: Target, drafter: ModelStepsOptions['drafter'], executor: Executor, promptIds: Int32Array, rows: number): { best: number; logits: Float32Array } {
  const length = promptIds.length;
  const written = tf.tidy(() => {
    const pass = targetForward(target.config, target.weights, tf.tensor2d(promptIds, [1, length], 'int32'), { taps: drafter.config.targetLayerIds, logits: 'last' });
    const context = drafterContextRows(drafter.config, drafter.weights, { features: pass.features!, start: tf.scalar(0, 'int32'), capacity: rows });
    const widen = (cached: Tensor4D): Tensor => tf.pad(cached, [[0, 0], [0, 0], [0, rows - length], [0, 0]]);
    return { logits: pass.logits!, ...cacheTensors('target', pass.keyValues, widen), ...cacheTensors('drafter', context, widen) } as never;
  }) as Record<string, Tensor>;
  const { logits: tensor, ...caches } = written;
  for (const [name, value] of Object.entries(caches)) executor.write(name, value);
  const logits = tensor!.dataSync() as Float32Array;
  const best = tf.tidy(() => bestColumns(tf.reshape(tensor!, [1, -1])).dataSync()[0]!);
  tf.dispose(written);
  return { best, logits };
}

/** Names of the variables: weights as `target/…` and `drafter/…`, caches as `target.keys.0` and so on, features of a tree as `features`. */
interface VariableNames {
  target: string[];
  drafter: string[];
}

function variableNames({ target, drafter }: ModelStepsOptions): VariableNames {
  return { target: Object.keys(target.weights), drafter: Object.keys(drafter.weights) };
}

function prefixed(prefix: string, weights: Weights): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(weights).map(([name, tensor]) => [prefix + name, tensor]));
}

function cacheTensors(model: 'target' | 'drafter', cache: KeyValues, change: (rows: Tensor4D) => Tensor): Record<string, Tensor> {
  const named = (part: string, list: Tensor4D[]): [string, Tensor][] => list.map((rows, layer) => [`${model}.${part}.${layer}`, change(rows)]);
  return Object.fromEntries([...named('keys', cache.keys), ...named('values', cache.values)]);
}

function initialValues({ target: { config }, drafter }: ModelStepsOptions, rows: number, treeNodes: number): Record<string, Tensor> {
  const empty = (layers: number, heads: number, headDim: number): KeyValues => {
    const zeros = (): Tensor4D[] => Array.from({ length: layers }, () => tf.zeros([1, heads, rows, headDim]));
    return { keys: zeros(), values: zeros() };
  };
  const same = (tensor: Tensor): Tensor => tensor;
  const width = config.hiddenSize * drafter.config.targetLayerIds.length;
  return {
    ...cacheTensors('target', empty(config.numLayers, config.numKeyValueHeads, config.headDim), same),
    ...cacheTensors('drafter', empty(drafter.config.numHiddenLayers, drafter.config.numKeyValueHeads, drafter.config.headDim), same),
    ...(treeNodes > 0 && { features: tf.zeros([1, treeNodes + 1, width]) }),
  };
}

function readWeights(variables: StepVariables, prefix: string, names: readonly string[]): Weights {
  return Object.fromEntries(names.map((name) => [name, variables[prefix + name]!.read()]));
}

function readCache(variables: StepVariables, model: 'target' | 'drafter', layers: number): KeyValues {
  const list = (part: string): Tensor4D[] => Array.from({ length: layers }, (_, layer) => variables[`${model}.${part}.${layer}`]!.read() as Tensor4D);
  return { keys: list('keys'), values: list('values') };
}

/** Replaces rows `start … start+n-1` of a model's caches by `added`. */
function writeCache(variables: StepVariables, model: 'target' | 'drafter', old: KeyValues, added: KeyValues, start: Tensor): void {
  for (const part of ['keys', 'values'] as const) {
    for (const [layer, rows] of added[part].entries()) variables[`${model}.${part}.${layer}`]!.assign(writeRows(old[part][layer]!, start, rows));
  }
}

function headOf(target: Target, weights: Weights): Tensor2D {
  return weights[target.config.tieWordEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight'] as Tensor2D;
}

function draftFunction({ target, drafter, treeNodes = 0 }: ModelStepsOptions, names: VariableNames, blockSize: number, detail: DraftDetail): StepFunction {
  const { config } = drafter;
  const ends = target.config.tieWordEmbeddings ? ['model.embed_tokens.weight'] : ['model.embed_tokens.weight', 'lm_head.weight'];
  return {
    inputs: { anchorToken: tf.zeros([1], 'int32'), anchor: tf.zeros([1], 'int32') },
    run: (variables, { anchorToken, anchor }): Record<string, Tensor> => {
      const targetWeights = readWeights(variables, 'target/', ends);
      const embeddings = embedBlocks(config, targetWeights['model.embed_tokens.weight'] as Tensor2D, tf.reshape(anchorToken!, [1, 1]));
      const hidden = drafterDraft(config, readWeights(variables, 'drafter/', names.drafter), {
        cache: readCache(variables, 'drafter', config.numHiddenLayers),
        embeddings,
        anchors: anchor as Tensor1D,
        blockSize,
      });
      const logits = linear(tf.reshape(hidden, [blockSize - 1, config.hiddenSize]), headOf(target, targetWeights));
      const best = bestColumns(logits as Tensor2D);
      if (detail === 'best') return { best };
      if (detail === 'logits') return { best, logits };
      const { values, indices } = tf.topk(tf.logSoftmax(logits), Math.min(treeNodes, target.config.vocabSize), true);
      return { best, candidates: indices, logProbs: values };
    },
  };
}

/** Reads `width` rows that follow one another; with a drafter, its context grows by them too. */
function verifyFunction({ target, drafter }: ModelStepsOptions, names: VariableNames, width: number, rows: number, logits: boolean, feedDrafter = true): StepFunction {
  const { config } = target;
  return {
    inputs: { tokens: tf.zeros([width], 'int32'), start: tf.zeros([1], 'int32') },
    run: (variables, { tokens, start }) => {
      const cache = readCache(variables, 'target', config.numLayers);
      const pass = targetForward(config, readWeights(variables, 'target/', names.target), tf.reshape(tokens!, [1, width]) as Tensor2D, {
        taps: feedDrafter ? drafter.config.targetLayerIds : [],
        cache,
        start: start as Tensor1D,
      });
      writeCache(variables, 'target', cache, pass.keyValues, start!);
      if (feedDrafter) writeContext(drafter, names, variables, pass.features!, start!, rows);
      return answersOf(pass.logits!, width, logits);
    },
  };
}

/** Reads the nodes of a tree: each sees its ancestors, at the position of its depth. Features wait until a path is kept. */
function treeFunction({ target, drafter }: ModelStepsOptions, names: VariableNames, width: number, rows: number, logits: boolean): StepFunction {
  const { config } = target;
  return {
    inputs: { tokens: tf.zeros([width], 'int32'), start: tf.zeros([1], 'int32'), depths: tf.zeros([width], 'int32'), visible: tf.zeros([width, width], 'int32') },
    run: (variables, { tokens, start, depths, visible }) => {
      const cache = readCache(variables, 'target', config.numLayers);
      const pass = targetForward(config, readWeights(variables, 'target/', names.target), tf.reshape(tokens!, [1, width]) as Tensor2D, {
        taps: drafter.config.targetLayerIds,
        cache,
        start: start as Tensor1D,
        positions: tf.minimum(tf.add(depths!, start!), tf.scalar(rows - 1, 'int32')),
        visible: visible as Tensor2D,
      });
      writeCache(variables, 'target', cache, pass.keyValues, start!);
      variables['features']!.assign(pass.features!);
      return answersOf(pass.logits!, width, logits);
    },
  };
}

/** Moves a path's rows of the last tree together, row i of the path to `start + i`, and feeds their features to the drafter. */
function keepFunction({ target, drafter }: ModelStepsOptions, names: VariableNames, width: number, rows: number): StepFunction {
  const { config } = target;
  return {
    inputs: { rows: tf.zeros([width], 'int32'), start: tf.zeros([1], 'int32') },
    run: (variables, { rows: path, start }) => {
      const cache = readCache(variables, 'target', config.numLayers);
      const from = tf.add(path!, start!);
      const pick = tf.cast(tf.equal(tf.reshape(from, [width, 1]), tf.range(0, rows, 1, 'int32')), 'float32');
      const take = (cached: Tensor4D): Tensor4D => {
        const [, heads, , headDim] = cached.shape;
        return tf.reshape(tf.matMul(tf.tile(tf.reshape(pick, [1, width, rows]), [heads, 1, 1]), tf.reshape(cached, [heads, rows, headDim])), [1, heads, width, headDim]) as Tensor4D;
      };
      writeCache(variables, 'target', cache, { keys: cache.keys.map(take), values: cache.values.map(take) }, start!);
      const own = tf.cast(tf.equal(tf.reshape(path!, [width, 1]), tf.range(0, width, 1, 'int32')), 'float32');
      const features = variables['features']!.read();
      const kept = tf.reshape(tf.matMul(own as Tensor2D, tf.reshape(features, [width, -1]) as Tensor2D), features.shape as [number, number, number]);
      writeContext(drafter, names, variables, kept as Tensor3D, start!, rows);
      return { done: tf.sum(path!) };
    },
  };
}

function writeContext(drafter: ModelStepsOptions['drafter'], names: VariableNames, variables: StepVariables, features: Tensor3D, start: Tensor, capacity: number): void {
  const added = drafterContextRows(drafter.config, readWeights(variables, 'drafter/', names.drafter), { features, start: tf.reshape(start, []) as Scalar, capacity });
  writeCache(variables, 'drafter', readCache(variables, 'drafter', drafter.config.numHiddenLayers), added, start);
}

function answersOf(logits: Tensor3D, width: number, withLogits: boolean): Record<string, Tensor> {
  const rows = tf.reshape(logits, [width, -1]);
  return { best: bestColumns(rows as Tensor2D), ...(withLogits && { logits: rows }) };
}

/** The array, filled up with its last value: rows beyond it are read but never used. */
function padTo(values: Int32Array, width: number): Int32Array {
  if (values.length === width) return values;
  if (values.length > width) throw new Error(`${values.length} rows were to be verified; ${width} are the most that was prepared for`);
  const padded = new Int32Array(width).fill(values.at(-1) ?? 0);
  padded.set(values);
  return padded;
}

/** Which node sees which, `[width · width]`: itself and its ancestors. Nodes beyond the tree see themselves. */
function ancestors(parents: Int32Array, width: number): Int32Array {
  const visible = new Int32Array(width * width);
  for (let node = 0; node < width; node++) {
    for (let seen = node; seen >= 0; seen = seen < parents.length && seen > 0 ? parents[seen]! : -1) visible[node * width + seen] = 1;
  }
  return visible;
}
