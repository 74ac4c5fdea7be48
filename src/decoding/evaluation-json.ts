// The document that `draftalign evaluate --json` writes: versioned, and described field by field in docs/evaluate-json.md.
// Change a field's meaning or remove one: raise the version. Add one: keep it, and document it there.
import type { EvaluationResult, EvaluationTotals, Mismatch, TextResult } from './evaluation.js';

export const evaluationFormat = 'draftalign-evaluation';
export const evaluationVersion = 1;

/** What was run: everything that one needs to run it again. */
export interface EvaluationContext {
  draftalignVersion: string;
  target: { name: string; folder: string; weightFingerprint?: string };
  drafter: { folder: string; blockSize: number; targetLayerIds: number[] };
  settings: {
    blockSize: number;
    treeNodes: number;
    maxNewTokens: number;
    maxPromptTokens: number | null;
    limit: number | null;
    temperature: number;
    topK: number;
    topP: number;
    verifier: 'match' | 'sample';
    seed: number;
    stopTokenIds: number[];
    promptFormat: 'auto' | 'chat' | 'raw';
    checked: boolean;
    executor: 'graph' | 'eager';
    threads: number | null;
  };
}

export interface EvaluationDocument extends EvaluationContext {
  format: typeof evaluationFormat;
  version: number;
  finishedAt: string;
  totals: EvaluationTotals;
  sets: { name: string; source?: string; skipped: { id: string; reason: string }[]; totals: EvaluationTotals }[];
  prompts: (TextResult & { acceptedLength: number })[];
  mismatches: Mismatch[] | null;
}

/** Puts the document together. */
export function evaluationDocument(result: EvaluationResult, context: EvaluationContext, finishedAt = new Date()): EvaluationDocument {
  return {
    format: evaluationFormat,
    version: evaluationVersion,
    finishedAt: finishedAt.toISOString(),
    ...context,
    totals: result.totals,
    sets: result.sets,
    prompts: result.texts.map((text) => ({
      ...text,
      acceptedLength: text.acceptedLengths.length > 0 ? text.acceptedLengths.reduce((a, b) => a + b, 0) / text.acceptedLengths.length : 0,
    })),
    mismatches: result.mismatches,
  };
}

/** JSON with one line for every array of plain values, so that a person can read it and a diff shows what changed. */
export function formatDocument(value: unknown, indent = ''): string {
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.every((item) => item === null || typeof item !== 'object' || (Array.isArray(item) && item.every((each) => typeof each === 'number')))) {
      return JSON.stringify(value);
    }
    return `[\n${value.map((item) => inner + formatDocument(item, inner)).join(',\n')}\n${indent}]`;
  }
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    if (entries.length === 0) return '{}';
    return `{\n${entries.map(([key, item]) => `${inner}${JSON.stringify(key)}: ${formatDocument(item, inner)}`).join(',\n')}\n${indent}}`;
  }
  return JSON.stringify(value);
}
