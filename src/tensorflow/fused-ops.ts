// draftalign's own kernels (kernels/*.cc), typed. Call them where `kernelsInForce()`, and inside a custom gradient: they have none of their own.
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import { nativeBackend } from './raw-ops.js';

function run(name: string, inputs: Tensor[], outputs: number, attributes: Record<string, number | boolean> = {}): Tensor[] {
  const backend = nativeBackend();
  const { TF_ATTR_FLOAT, TF_ATTR_BOOL } = backend.binding;
  const typed = Object.entries(attributes).map(([attribute, value]) => ({ name: attribute, type: typeof value === 'number' ? TF_ATTR_FLOAT : TF_ATTR_BOOL, value }));
  return backend.executeMultipleOutputs(`Draftalign${name}`, typed, inputs, outputs);
}

/** Root-mean-square norm of `x [..., D]`, `weight [D]`: the norm `[..., D]`, and `1 / sqrt(mean(x²) + epsilon)` of each row, `[rows]`, for the gradient. */
export function fusedRmsNorm(x: Tensor, weight: Tensor, epsilon: number): { norm: Tensor; inverse: Tensor } {
  const [norm, inverse] = run('RmsNorm', [x, weight], 2, { epsilon }) as [Tensor, Tensor];
  return { norm, inverse };
}

/** The gradients of `x` and `weight` from that of the norm. */
export function fusedRmsNormGradient(x: Tensor, weight: Tensor, inverse: Tensor, dy: Tensor): [Tensor, Tensor] {
  return run('RmsNormGradient', [x, weight, inverse, dy], 2) as [Tensor, Tensor];
}

/** `gate · sigmoid(gate) · up`, all of one shape. */
export function fusedGatedProduct(gate: Tensor, up: Tensor): Tensor {
  return run('GatedProduct', [gate, up], 1)[0]!;
}

/** The gradients of `gate` and `up` from that of their product, and the product once more. */
export function fusedGatedProductGradient(gate: Tensor, up: Tensor, dProduct: Tensor): [Tensor, Tensor, Tensor] {
  return run('GatedProductGradient', [gate, up, dProduct], 3) as [Tensor, Tensor, Tensor];
}

/** `x [..., headDim]` turned (or turned back) by `cos` and `sin [..., headDim]`, which broadcast against it on all axes but the last. */
export function fusedRotation(x: Tensor, cos: Tensor, sin: Tensor, backward: boolean): Tensor {
  return run('Rotate', [x, cos, sin], 1, { backward })[0]!;
}

/** The softmax over a whole vocabulary; shapes with R rows, L listed tokens, width D. */
export interface VocabularySums {
  /** The largest logit `[R, 1]`. */
  peak: Tensor;
  /** int32 `[R]`: the first token that has it. */
  best: Tensor;
  /** The logits of listed tokens `[R, L]`. */
  listedLogits: Tensor;
  /** Σ exp(logit - peak) over the tokens not listed `[R, 1]`. */
  sum: Tensor;
  /** Σ exp(logit - peak)·head row over them `[R, D]`; none, `[0, D]`, where it was not asked for. */
  sumOfHead: Tensor;
}

/** From `hidden [R, D]`, `head [V, D]` and `listed` int32 `[R, L]`; logits exist in the cache only. */
export function fusedVocabularySums(hidden: Tensor, head: Tensor, listed: Tensor, withHead: boolean): VocabularySums {
  const [peak, best, listedLogits, sum, sumOfHead] = run('SoftmaxOverVocabulary', [hidden, head, listed], 5, { with_head: withHead }) as [Tensor, Tensor, Tensor, Tensor, Tensor];
  return { peak, best, listedLogits, sum, sumOfHead };
}

/** Σ weight·row over the rows `ids` (int32 `[R, k]`) of `table [V, D]`, with `weights [R, k]`: `[R, D]`. Throws on an id that is no row. */
export function fusedWeightedRows(weights: Tensor, ids: Tensor, table: Tensor): Tensor {
  return run('WeightedRows', [weights, ids, table], 1)[0]!;
}

/** `numbers [..., 2n]` rounded to float16, two in each int32: `[..., n]`. */
export function fusedPackHalf(numbers: Tensor): Tensor {
  return run('PackHalf', [numbers], 1)[0]!;
}

/** float16 numbers, two in each int32 of `packed [..., n]`, as float32 `[..., 2n]`. */
export function fusedUnpackHalf(packed: Tensor): Tensor {
  return run('UnpackHalf', [packed], 1)[0]!;
}

/** `rows [m, k] · matrix [n, k]ᵀ` of a few rows: `[m, n]`. */
export function fusedThinProduct(rows: Tensor, matrix: Tensor): Tensor {
  return run('ThinProduct', [rows, matrix], 1)[0]!;
}

/** `a · b` of matrices, each transposed first where asked. Where `productsInForce()`. */
export function fusedProduct(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor {
  return run('Product', [a, b], 1, { transpose_a: transposeA, transpose_b: transposeB })[0]!;
}

/** Inputs of block attention: queries `[B, N, Q, H, d]` (scaled), block keys and values `[B, N, K, Hkv, d]`, context keys and values `[B, Hkv, S, d]`, anchors int32 `[B, N]`. */
export type BlockAttentionTensors = readonly [queries: Tensor, blockKeys: Tensor, blockValues: Tensor, contextKeys: Tensor, contextValues: Tensor, anchors: Tensor];

/** The head dimensions that the attention kernel takes: multiples of this. */
export const attentionHeadMultiple = 16;

/** Softmax attention over `[context before the anchor | own slots]`: `attended [B, N, Q, H, d]`, and the logarithm of each softmax's sum, `[B, N, Q, H]`, for the gradient. */
export function fusedBlockAttention(inputs: BlockAttentionTensors): { attended: Tensor; logSums: Tensor } {
  const [attended, logSums] = run('BlockAttention', [...inputs], 2) as [Tensor, Tensor];
  return { attended, logSums };
}

/** The gradients of queries, block keys, block values, context keys and context values from that of what was attended. */
export function fusedBlockAttentionGradient(inputs: BlockAttentionTensors, attended: Tensor, logSums: Tensor, dy: Tensor): Tensor[] {
  return run('BlockAttentionGradient', [...inputs, attended, logSums, dy], 5);
}
