// What a decoding loop asks of the two models: a handful of steps, each one pass. The loops in decode.ts know nothing of
// tensors or caches; whoever provides these steps (model-steps.ts for real models, a table in tests) keeps both.

/** The target's answers after some rows of tokens. */
export interface TargetRows {
  /** Most likely next token after each row. */
  best: Int32Array;
  /** Logits `[V]` after one row; only where the pass was asked for them. */
  logits?(row: number): Float32Array;
}

/** The drafter's answers for slots 1..J. */
export interface DraftRows {
  /** Most likely token of each slot, `[J]`. */
  best: Int32Array;
  /** Logits `[V]` of slot `index + 1`; only where the pass was asked for them. */
  logits?(index: number): Float32Array;
  /** The most likely tokens of every slot, best first, `[J * width]`; only where the pass was asked for them. */
  candidates?: { width: number; tokens: Int32Array; logProbs: Float32Array };
}

/** What a drafter pass returns beside the best tokens. */
export type DraftDetail = 'best' | 'logits' | 'candidates';

/** The two models with their caches, one text at a time. Every method is one pass over new tokens only. */
export interface DecodingSteps {
  /** K: slot 0 and J = K-1 drafts. */
  readonly blockSize: number;
  readonly vocabSize: number;
  /** Starts a text: reads the prompt `[P]`, P >= 1, and answers after its last token (row 0). `reserve` more positions will be used. */
  prefill(promptIds: Int32Array, reserve: number, needLogits: boolean): TargetRows;
  /** Drafts slots 1..J behind the committed token at position `anchor`; the context is every committed position before it. */
  draft(anchorToken: number, anchor: number, detail: DraftDetail): DraftRows;
  /**
   * Reads rows whose first one is the committed token at position `anchor`, and answers after each. Without a tree the
   * rows follow one another. Nothing is committed until `keep`.
   */
  verify(tokens: Int32Array, anchor: number, needLogits: boolean, tree?: { parents: Int32Array; depths: Int32Array }): TargetRows;
  /** Commits rows of the last verification (0 first, along a path); the others are forgotten. */
  keep(rows: readonly number[]): void;
  /** Target alone: reads the committed token at `position` and answers after it. */
  advance(token: number, position: number, needLogits: boolean): TargetRows;
}
