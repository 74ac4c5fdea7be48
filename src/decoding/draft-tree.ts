// A tree of drafts from one drafter pass. The slots of a block are predicted independently of one another, so a path's
// probability is the product of its slots' probabilities, and the best n nodes can be listed exactly, best first.

/** Candidates of every slot: J rows of `width` tokens, most likely first. */
export interface SlotCandidates {
  width: number;
  /** `[J * width]` */
  tokens: ArrayLike<number>;
  /** Natural logarithms of the slots' probabilities, `[J * width]`. */
  logProbs: ArrayLike<number>;
}

/** Drafts as a tree. Node 0 is the anchor; a parent stands before its children. */
export interface DraftTree {
  /** `[n+1]` */
  tokens: Int32Array;
  /** `[n+1]`, -1 for the anchor. */
  parents: Int32Array;
  /** Slots below the anchor, `[n+1]`: the position of node `i` is `anchor + depths[i]`. */
  depths: Int32Array;
  /** Sum of log-probabilities along the path, `[n+1]`; 0 for the anchor. */
  logProbs: Float64Array;
}

interface Proposal {
  logProb: number;
  parent: number;
  depth: number;
  rank: number;
}

/**
 * The `count` nodes with the largest product of slot probabilities, fewer where the block has no more.
 * A node's product is at most its parent's, so what is chosen is always connected. Equal products: the shallower first,
 * then the more likely at its own slot.
 * @param anchorToken the committed token at slot 0
 * @throws RangeError when `width < count` may hide a node (a slot needs as many candidates as there are nodes, or the whole vocabulary)
 */
export function buildDraftTree(anchorToken: number, candidates: SlotCandidates, count: number, vocabSize = Infinity): DraftTree {
  const { width, tokens, logProbs } = candidates;
  if (width < Math.min(count, vocabSize)) {
    throw new RangeError(`a tree of ${count} nodes needs ${Math.min(count, vocabSize)} candidates a slot, got ${width}`);
  }
  const slots = Math.floor(tokens.length / Math.max(width, 1));
  const tree = { tokens: [anchorToken], parents: [-1], depths: [0], logProbs: [0] };
  const heap: Proposal[] = [];
  const propose = (parent: number, depth: number, rank: number): void => {
    if (depth > slots || rank >= width) return;
    const logProb = tree.logProbs[parent]! + logProbs[(depth - 1) * width + rank]!;
    if (logProb > -Infinity) push(heap, { logProb, parent, depth, rank });
  };
  propose(0, 1, 0);
  while (tree.tokens.length <= count && heap.length > 0) {
    const { logProb, parent, depth, rank } = pop(heap);
    const node = tree.tokens.length;
    tree.tokens.push(tokens[(depth - 1) * width + rank]!);
    tree.parents.push(parent);
    tree.depths.push(depth);
    tree.logProbs.push(logProb);
    propose(node, depth + 1, 0);
    propose(parent, depth, rank + 1);
  }
  return {
    tokens: Int32Array.from(tree.tokens),
    parents: Int32Array.from(tree.parents),
    depths: Int32Array.from(tree.depths),
    logProbs: Float64Array.from(tree.logProbs),
  };
}

/** `[size * size]`, 1 where row node may see column node: itself and its ancestors. Rows past the tree see only themselves. */
export function treeMask(parents: ArrayLike<number>, size: number): Float32Array {
  const mask = new Float32Array(size * size);
  for (let node = 0; node < size; node++) {
    const parent = node < parents.length ? parents[node]! : -1;
    if (parent >= 0) mask.copyWithin(node * size, parent * size, parent * size + size);
    mask[node * size + node] = 1;
  }
  return mask;
}

function before(a: Proposal, b: Proposal): boolean {
  return a.logProb !== b.logProb ? a.logProb > b.logProb : a.depth !== b.depth ? a.depth < b.depth : a.rank < b.rank;
}

function push(heap: Proposal[], item: Proposal): void {
  let node = heap.length;
  heap.push(item);
  while (node > 0) {
    const parent = (node - 1) >> 1;
    if (!before(item, heap[parent]!)) break;
    heap[node] = heap[parent]!;
    node = parent;
  }
  heap[node] = item;
}

function pop(heap: Proposal[]): Proposal {
  const top = heap[0]!;
  const item = heap.pop()!;
  if (heap.length === 0) return top;
  let node = 0;
  for (;;) {
    let child = 2 * node + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
    if (!before(heap[child]!, item)) break;
    heap[node] = heap[child]!;
    node = child;
  }
  heap[node] = item;
  return top;
}
