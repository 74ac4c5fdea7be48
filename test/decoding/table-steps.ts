// Models without tensors for the decoding loops: a target that hashes the end of its prefix, a drafter that is right by chance.
// They also check the loops' bookkeeping: what is committed, and at which positions.
import assert from 'node:assert/strict';
import { Random } from '../../src/random.js';
import { argmax } from '../../src/decoding/sampling.js';
import type { DecodingSteps, TargetRows } from '../../src/decoding/steps.js';

export const vocabSize = 6;

/** `skill`: how often a slot is drafted as the target would write it. */
export class TableSteps implements DecodingSteps {
  readonly vocabSize = vocabSize;
  context: number[] = [];
  #pending: { tokens: Int32Array; parents: Int32Array } | undefined;
  constructor(readonly blockSize: number, readonly seed: number, readonly skill: number) {}

  targetLogits(text: number[]): Float32Array {
    const random = Random.fork(this.seed, 'target', ...text.slice(-4));
    return Float32Array.from({ length: vocabSize }, () => 2 * random.normal());
  }

  draftLogits(text: number[], slot: number): Float32Array {
    const random = Random.fork(this.seed, 'drafter', slot, ...text);
    if (random.next() >= this.skill) return Float32Array.from({ length: vocabSize }, () => 2 * random.normal());
    const truth = [...text];
    for (let i = 1; i < slot; i++) truth.push(argmax(this.targetLogits(truth)));
    return this.targetLogits(truth);
  }

  #answer(texts: number[][], needLogits: boolean): TargetRows {
    const rows = texts.map((text) => this.targetLogits(text));
    return { best: Int32Array.from(rows, argmax), ...(needLogits && { logits: (row: number) => rows[row]! }) };
  }

  prefill(promptIds: Int32Array, _reserve: number, needLogits: boolean): TargetRows {
    this.context = [...promptIds];
    return this.#answer([this.context], needLogits);
  }

  draft(anchorToken: number, anchor: number, detail: string) {
    assert.equal(anchor, this.context.length, 'the context is every position before the anchor');
    const text = [...this.context, anchorToken];
    const rows = Array.from({ length: this.blockSize - 1 }, (_, j) => this.draftLogits(text, j + 1));
    const order = rows.map((row) => [...row.keys()].sort((a, b) => row[b]! - row[a]! || a - b));
    return {
      best: Int32Array.from(rows, argmax),
      ...(detail === 'logits' && { logits: (slot: number) => rows[slot]! }),
      ...(detail === 'candidates' && {
        candidates: {
          width: vocabSize,
          tokens: Int32Array.from(order.flat()),
          logProbs: Float32Array.from(order.flatMap((ids, slot) => {
            const sum = rows[slot]!.reduce((total, logit) => total + Math.exp(logit), 0);
            return ids.map((id) => rows[slot]![id]! - Math.log(sum));
          })),
        },
      }),
    };
  }

  verify(tokens: Int32Array, anchor: number, needLogits: boolean, tree?: { parents: Int32Array; depths: Int32Array }): TargetRows {
    assert.equal(anchor, this.context.length);
    const parents = tree?.parents ?? Int32Array.from(tokens, (_, i) => i - 1);
    this.#pending = { tokens, parents };
    const path = (row: number): number[] => (row < 0 ? this.context : [...path(parents[row]!), tokens[row]!]);
    return this.#answer(Array.from(tokens, (_, row) => path(row)), needLogits);
  }

  keep(rows: readonly number[]): void {
    rows.forEach((row, i) => assert.equal(this.#pending!.parents[row], i === 0 ? -1 : rows[i - 1]));
    this.context.push(...rows.map((row) => this.#pending!.tokens[row]!));
  }

  advance(token: number, position: number, needLogits: boolean): TargetRows {
    assert.equal(position, this.context.length);
    this.context.push(token);
    return this.#answer([this.context], needLogits);
  }
}
