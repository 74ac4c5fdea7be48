// What an exported drafter says of itself in `draftalign.json`: the conventions an engine must share, where it comes from, how it
// was trained and measured, and what was checked when it was written. The model card is made from the same record.
import { basename } from 'node:path';
import type { Config } from '../config/load.js';
import type { EvaluationDocument } from '../decoding/evaluation-json.js';
import type { DrafterConfig } from '../models/drafter-config.js';
import { countDrafterParameters } from '../models/drafter-shapes.js';

export const exportFormat = 'draftalign-export';
export const exportVersion = 1;

/** Accepted lengths of one prompt set, decoded. */
export interface MeasuredSet {
  name: string;
  prompts: number;
  acceptedLength: number;
  interval: { low: number; high: number } | null;
  waste: number | null;
  speedup: number | null;
}

/** What comparing the written drafter with the one in memory gave. */
export interface ExportVerification {
  /** Greatest relative difference of outputs: of the written drafter to the one in memory rounded to the stored type, and to it unrounded. */
  outputDifference: { toRounded: number; toFloat32: number };
  /** Decoded on texts of the target; null where no target was known. */
  decoding: { texts: number; rounds: number; acceptedLength: number; acceptedLengthFloat32: number; roundsEqual: boolean } | null;
}

/** `draftalign.json`. */
export interface ExportRecord {
  format: typeof exportFormat;
  version: number;
  createdAt: string;
  draftalignVersion: string;
  /** Of draftalign's own source, where it runs from a checkout. */
  commit: string | null;
  drafter: {
    format: 'dflash' | 'speculators';
    dtype: string;
    parameters: number;
    blockSize: number;
    maskTokenId: number;
    targetLayerIds: number[];
    numTargetLayers: number;
    numHiddenLayers: number;
    labels: string;
    context: string;
    taps: string;
  };
  target: { name: string | null; architecture: string | null; weightFingerprint: string | null };
  tokenizer: { fingerprint: string | null };
  source: { weightFingerprint: string; checkpoint: string | null; step: number | null };
  /** The run's own config, paths shortened to names; null for drafters trained elsewhere. */
  training: Record<string, unknown> | null;
  /** Held-out accepted length that the run itself measured, simulated over known text. */
  validation: { acceptedLength: number } | null;
  /** Decoded by `draftalign evaluate`. */
  evaluation: { finishedAt: string; drafter: string; settings: Record<string, unknown>; total: MeasuredSet; sets: MeasuredSet[] } | null;
  verification: ExportVerification | null;
  files: Record<string, { bytes: number; sha256: string }>;
}

/** The drafter's own part of the record. */
export function describeDrafter(config: DrafterConfig, format: 'dflash' | 'speculators', dtype: string): ExportRecord['drafter'] {
  return {
    format,
    dtype,
    parameters: countDrafterParameters(config),
    blockSize: config.blockSize,
    maskTokenId: config.maskTokenId,
    targetLayerIds: config.targetLayerIds,
    numTargetLayers: config.numTargetLayers,
    numHiddenLayers: config.numHiddenLayers,
    labels: 'same position: slot k stands at anchor + k and predicts the token at anchor + k; slot 0 is the known token and predicts nothing',
    context: 'target features of all positions before the anchor, no others',
    taps: 'output of layer i, counted from 0, before the final norm; Transformers calls it hidden_states[i + 1]',
  };
}

/** What a run's config says about training, without the machine's paths. */
export function describeTraining(config: Config): Record<string, unknown> {
  const { data, capture, drafter, losses, optimizer, training } = config;
  return shortenPaths({ data, capture, drafter, losses, optimizer, training }) as Record<string, unknown>;
}

function shortenPaths(value: unknown): unknown {
  if (typeof value === 'string') return value.startsWith('/') || /^[A-Za-z]:\\/.test(value) ? basename(value) : value;
  if (Array.isArray(value)) return value.map(shortenPaths);
  if (value !== null && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, shortenPaths(item)]));
  return value;
}

/** The part of an evaluation that a record keeps. */
export function describeEvaluation(document: EvaluationDocument): NonNullable<ExportRecord['evaluation']> {
  const measured = (name: string, totals: EvaluationDocument['totals']): MeasuredSet => ({
    name,
    prompts: totals.prompts,
    acceptedLength: totals.acceptedLength,
    interval: totals.acceptedLengthInterval === null ? null : { low: totals.acceptedLengthInterval.low, high: totals.acceptedLengthInterval.high },
    waste: totals.waste,
    speedup: totals.speedup,
  });
  return {
    finishedAt: document.finishedAt,
    drafter: basename(document.drafter.folder),
    settings: { ...document.settings },
    total: measured('all', document.totals),
    sets: document.sets.map((set) => measured(set.name, set.totals)),
  };
}
