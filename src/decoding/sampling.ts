// Sampling from logits: temperature, then top-k, then top-p, in the order and with the tie rules of Transformers' logits
// processors, so that a setting means here what it means there. Temperature 0 is greedy and is never warped.
// All of it runs on plain arrays: one row of logits at a time, only for the positions that are really drawn.
import { Random } from '../random.js';
import { UserError } from '../errors.js';

/** How the next token is chosen from the target's logits. */
export interface SamplingOptions {
  /** 0 = greedy (the largest logit, the lowest id among equals). */
  temperature: number;
  /** Keep the k largest logits and their equals; 0 = all. */
  topK: number;
  /** Keep the smallest set of most likely tokens whose probability reaches this; 1 = all. */
  topP: number;
}

/** Greedy choice: what `evaluate` does by default. */
export const greedySampling: SamplingOptions = { temperature: 0, topK: 0, topP: 1 };

/** Throws a `UserError` that names the option, its value and what is allowed. */
export function checkSampling(options: SamplingOptions): void {
  const { temperature, topK, topP } = options;
  if (!(temperature >= 0 && Number.isFinite(temperature))) {
    throw new UserError(`temperature is ${temperature}; it must be 0 (greedy) or a positive number`);
  }
  if (!Number.isInteger(topK) || topK < 0) throw new UserError(`top-k is ${topK}; it must be 0 (off) or a whole number of tokens`);
  if (!(topP > 0 && topP <= 1)) throw new UserError(`top-p is ${topP}; it must be above 0 and at most 1 (off)`);
}

/** Index of the largest value; the lowest index among equals. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

/**
 * The distribution that tokens are drawn from.
 * @param logits one row, `[V]`
 * @returns probabilities `[V]` that sum to 1; zero where top-k or top-p removed the token. One-hot at temperature 0.
 */
export function warpLogits(logits: ArrayLike<number>, options: SamplingOptions): Float64Array {
  const size = logits.length;
  const probabilities = new Float64Array(size);
  if (options.temperature === 0) {
    probabilities[argmax(logits)] = 1;
    return probabilities;
  }
  const threshold = options.topK > 0 && options.topK < size ? kthLargest(logits, options.topK) : -Infinity;
  let largest = -Infinity;
  for (let i = 0; i < size; i++) if (logits[i]! > largest) largest = logits[i]!;
  let sum = 0;
  for (let i = 0; i < size; i++) {
    if (logits[i]! < threshold) continue;
    const weight = Math.exp((logits[i]! - largest) / options.temperature);
    probabilities[i] = weight;
    sum += weight;
  }
  for (let i = 0; i < size; i++) probabilities[i]! /= sum;
  if (options.topP < 1) keepNucleus(probabilities, options.topP);
  return probabilities;
}

/** Zeroes what lies outside the nucleus and normalises again, in place. */
function keepNucleus(probabilities: Float64Array, topP: number): void {
  const size = probabilities.length;
  const removable = 1 - topP;
  // Tokens below removable/size cannot together reach `removable`: they all go, and need no sorting.
  const floor = removable / size;
  const candidates: number[] = [];
  let removed = 0;
  for (let i = 0; i < size; i++) {
    if (probabilities[i]! >= floor) candidates.push(i);
    else removed += probabilities[i]!;
  }
  for (let i = 0; i < size; i++) if (probabilities[i]! < floor) probabilities[i] = 0;
  // From the least likely up: a token goes while the mass up to and with it is at most `removable`; the last one stays.
  candidates.sort((a, b) => probabilities[a]! - probabilities[b]! || b - a);
  for (let rank = 0; rank < candidates.length - 1; rank++) {
    removed += probabilities[candidates[rank]!]!;
    if (removed > removable) break;
    probabilities[candidates[rank]!] = 0;
  }
  let sum = 0;
  for (const index of candidates) sum += probabilities[index]!;
  for (const index of candidates) probabilities[index]! /= sum;
}

/** The k-th largest value, by keeping the k best in a small heap. */
function kthLargest(values: ArrayLike<number>, k: number): number {
  const heap = new Float64Array(k).fill(-Infinity);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value <= heap[0]!) continue;
    let node = 0;
    for (;;) {
      let child = 2 * node + 1;
      if (child >= k) break;
      if (child + 1 < k && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= value) break;
      heap[node] = heap[child]!;
      node = child;
    }
    heap[node] = value;
  }
  return heap[0]!;
}

/** The token at which the cumulative weight passes `uniform` (in [0, 1)) of the whole; weights need not sum to 1. */
export function drawToken(weights: ArrayLike<number>, uniform: number): number {
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sum += weights[i]!;
  if (!(sum > 0)) throw new Error(`cannot draw from ${weights.length} weights whose sum is ${sum}`);
  const target = uniform * sum;
  let cumulative = 0;
  let last = 0;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i]! <= 0) continue;
    cumulative += weights[i]!;
    last = i;
    if (target < cumulative) return i;
  }
  return last; // rounding left the target at the very end
}

/**
 * One uniform number per text position, the same however often and in whatever order positions are asked for.
 * Target-only decoding and verification by matching share it, so at equal seeds they sample the very same text.
 */
export class PositionUniforms {
  readonly #random: Random;
  readonly #values: number[] = [];

  constructor(seed: number, ...labels: (string | number)[]) {
    this.#random = Random.fork(seed, ...labels, 'target');
  }

  at(index: number): number {
    while (this.#values.length <= index) this.#values.push(this.#random.next());
    return this.#values[index]!;
  }
}
