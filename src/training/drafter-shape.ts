// The drafter's shape from the config and the target: what the config leaves open is the target's.
import type { Config } from '../config/load.js';
import { UserError } from '../errors.js';
import { defaultTaps, type DrafterConfig } from '../models/drafter-config.js';
import type { TargetConfig } from '../models/target-config.js';

/**
 * Fills in the drafter's shape. `cacheTaps` are those that a cache was captured with: they stand where the config says `auto`.
 * Throws `UserError` where the shape is impossible, or does not fit the cache.
 */
export function drafterShape(config: Config, target: TargetConfig, maskTokenId: number, cacheTaps?: readonly number[] | null): DrafterConfig {
  const { drafter } = config;
  const taps = resolveTaps(drafter.taps, target.numLayers, cacheTaps);
  const heads = drafter.heads ?? target.numHeads;
  const keyValueHeads = drafter.keyValueHeads ?? (heads % target.numKeyValueHeads === 0 ? target.numKeyValueHeads : heads);
  if (heads % keyValueHeads !== 0) throw new UserError(`drafter.keyValueHeads is ${keyValueHeads}; it must divide the ${heads} heads.`);
  if (maskTokenId >= target.vocabSize) throw new UserError(`drafter.maskTokenId is ${maskTokenId}; the target's vocabulary ends at ${target.vocabSize - 1}.`);
  const ending = [...target.eosTokenIds, target.padTokenId].filter((id) => id !== undefined);
  if (ending.includes(maskTokenId)) throw new UserError(`drafter.maskTokenId is ${maskTokenId}, an end or padding token of the target; choose one that the target never emits.`);
  return {
    blockSize: drafter.blockSize,
    maskTokenId,
    targetLayerIds: taps,
    numTargetLayers: target.numLayers,
    hiddenSize: target.hiddenSize,
    intermediateSize: drafter.intermediateSize ?? target.intermediateSize,
    numHiddenLayers: drafter.layers,
    numAttentionHeads: heads,
    numKeyValueHeads: keyValueHeads,
    headDim: drafter.headDim ?? target.headDim,
    rmsNormEps: target.rmsNormEps,
    rope: target.rope,
    vocabSize: target.vocabSize,
    maxPositionEmbeddings: target.maxPositions,
    attentionBias: false,
  };
}

/** Tapped layers: those of the cache where the config leaves them open. Throws `UserError` where they are out of range or not the cache's. */
export function resolveTaps(taps: Config['drafter']['taps'], layers: number, cacheTaps?: readonly number[] | null): number[] {
  if (taps === 'auto' && cacheTaps) return [...cacheTaps];
  const chosen = Array.isArray(taps) ? taps : defaultTaps(taps === 'auto' ? Math.min(5, Math.max(1, layers - 3)) : taps, layers);
  const outside = chosen.filter((tap) => tap >= layers);
  if (outside.length > 0) throw new UserError(`drafter.taps names layer ${outside.join(', ')}, but the target's layers are 0 to ${layers - 1}.`);
  if (cacheTaps && cacheTaps.join() !== chosen.join()) {
    throw new UserError(`drafter.taps is [${chosen.join(', ')}], but the cache was captured with [${cacheTaps.join(', ')}]. Capture again, or set drafter.taps to auto.`);
  }
  return chosen;
}
