// The demo target's shape: a small Qwen3 with attention heads of 32, the smallest that serving engines' kernels take.
import type { TargetConfig } from '../../src/models/target-config.js';
import { specialIds, vocabSize } from './chat-tokenizer.js';

export const demoTargetConfig: TargetConfig = {
  architecture: 'qwen3',
  vocabSize,
  hiddenSize: 192,
  intermediateSize: 512,
  numLayers: 6,
  numHeads: 6,
  numKeyValueHeads: 2,
  headDim: 32,
  rmsNormEps: 1e-6,
  rope: { type: 'default', theta: 10000 },
  maxPositions: 1024,
  tieWordEmbeddings: true,
  attentionBias: false,
  outputBias: false,
  mlpBias: false,
  qkNorm: true,
  eosTokenIds: [specialIds.end],
  padTokenId: specialIds.pad,
};
