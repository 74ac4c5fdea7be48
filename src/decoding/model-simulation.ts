// The rounds that greedy decoding would take over a known text, from two real models without any cache: the target reads the text
// once, the drafter drafts a block at every position, and the walk picks. On the target's own text these are the decoded rounds.
import type { Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { contextKeyValues, drafterBlocks, drafterContext, embedBlocks } from '../models/drafter.js';
import type { DrafterConfig } from '../models/drafter-config.js';
import { linear } from '../models/layers.js';
import { embeddingTable, lmHeadWeight, targetForward, type Target } from '../models/target.js';
import type { Weights } from '../models/weights.js';
import { tf } from '../tensorflow/ops.js';
import { bestColumns } from '../tensorflow/raw-ops.js';
import type { Round } from './acceptance.js';
import { simulateWalk, type WalkSpan } from './simulation.js';

/** Logits of this many bytes are in memory at once. */
const LOGIT_BYTES = 2 ** 26;

export interface SimulationModels {
  target: Target;
  drafter: { config: DrafterConfig; weights: Weights };
  /** K at inference; default the drafter's own. */
  blockSize?: number;
}

/** Walks over `tokens` (prompt and the target's answer) from `span.start`; see `simulateWalk`. */
export function simulateModels(models: SimulationModels, tokens: Int32Array, span: WalkSpan, stopTokens: ReadonlySet<number> = new Set()): Round[] {
  const blockSize = models.blockSize ?? models.drafter.config.blockSize;
  const slots = blockSize - 1;
  const end = Math.min(span.end, tokens.length);
  const drafts = draftBlocks(models, tokens, span.start, end, blockSize);
  return simulateWalk(tokens, { start: span.start, end }, (anchor) => drafts.subarray((anchor - span.start) * slots, (anchor - span.start + 1) * slots), stopTokens);
}

/** The best tokens of the blocks at every anchor from `start` to `end - 1`, `[end - start, J]`. */
function draftBlocks({ target, drafter }: SimulationModels, tokens: Int32Array, start: number, end: number, blockSize: number): Int32Array {
  const { config, weights } = drafter;
  const slots = blockSize - 1;
  const drafts = new Int32Array(Math.max(0, end - start) * slots);
  if (drafts.length === 0) return drafts;
  tf.tidy(() => {
    const ids = tf.tensor2d(tokens.subarray(0, end), [1, end], 'int32');
    const features = targetForward(target.config, target.weights, ids, { taps: config.targetLayerIds, logits: 'none' }).features!;
    const context = contextKeyValues(config, weights, drafterContext(config, weights, features));
    const head = lmHeadWeight(target.config, target.weights);
    const most = Math.max(1, Math.floor(LOGIT_BYTES / (4 * slots * target.config.vocabSize)));
    for (let first = start; first < end; first += most) {
      const count = Math.min(most, end - first);
      const best = tf.tidy(() => {
        const embeddings = embedBlocks(config, embeddingTable(target.weights), tf.tensor2d(tokens.subarray(first, first + count), [1, count], 'int32'));
        const anchors = tf.tensor2d(Int32Array.from({ length: count }, (_, i) => first + i), [1, count], 'int32');
        const hidden = drafterBlocks(config, weights, { context, embeddings, anchors, blockSize });
        return bestColumns(linear(tf.reshape(hidden, [count * slots, config.hiddenSize]), head) as Tensor2D).dataSync() as Int32Array;
      });
      drafts.set(best, (first - start) * slots);
    }
  });
  return drafts;
}
