// The benchmark's shapes and the arithmetic that a training step of such a shape needs. Only products of matrices are counted, and of attention
// only what the mask lets through: a block reads the context before its anchor and its own slots.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.js';

/** One case of `bench-cases.json`. */
export interface BenchCase {
  /** D. */
  width: number;
  layers: number;
  heads: number;
  headDim: number;
  keyValueHeads: number;
  mlp: number;
  /** S, positions of a sequence. */
  context: number;
  /** N, blocks a sequence. */
  anchors: number;
  /** K. */
  blockSize: number;
  /** V. */
  vocabulary: number;
  /** B, sequences. */
  batch: number;
  /** T, tapped layers of the target. */
  taps: number;
}

export const caseNames = ['demo', 'medium', 'vocab'] as const;

/** The shapes of a case, by name. */
export function readCase(name: string): BenchCase {
  const cases = JSON.parse(readFileSync(join(packageRoot(), 'scripts/bench-cases.json'), 'utf8')) as Record<string, BenchCase>;
  const found = cases[name];
  if (found === undefined) throw new Error(`there is no case ${name}; there are ${Object.keys(cases).join(', ')}`);
  return found;
}

/** Floating-point operations of one training step (forward, backward; a multiply and an add are two) with these anchors. */
export function stepOperations(shape: BenchCase, anchors: ArrayLike<number>): number {
  const { width, layers, heads, headDim, keyValueHeads, mlp, context, blockSize, vocabulary, batch, taps } = shape;
  const blocks = anchors.length;
  const slots = blockSize - 1;
  const queryWidth = heads * headDim;
  const keyWidth = keyValueHeads * headDim;
  let seen = 0;
  for (let i = 0; i < blocks; i++) seen += anchors[i]! + blockSize;
  // Features take no gradient, so `fc` has one product backwards; the others have two.
  let products = 2 * (batch * context * taps * width * width);
  for (let layer = 0; layer < layers; layer++) {
    // Slot 0 is not predicted: the last layer has no query for it. The first projects the anchors and, once for all other slots, the mask token.
    const queryRows = blocks * (layer === layers - 1 ? slots : blockSize);
    const [projectedQueries, projectedKeys] = layer === 0 ? [blocks + 1, blocks + 1] : [queryRows, blocks * blockSize];
    const rows = width * ((batch * context + projectedKeys) * 2 * keyWidth + projectedQueries * queryWidth + queryRows * (queryWidth + 3 * mlp));
    const attention = 2 * (queryRows / blocks) * seen * queryWidth;
    products += 3 * (rows + attention);
  }
  // The head is frozen: logits, and the gradient of what it read.
  products += 2 * (blocks * slots * width * vocabulary);
  return 2 * products;
}
