// The evaluation itself: models, prompts and steps are put together, decoded, and summed up as the JSON document.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeSpeculative, decodeTarget, type Verifier } from '../decoding/decode.js';
import { evaluateAcceptance, type EvaluationProgress, type Mismatch } from '../decoding/evaluation.js';
import { evaluationDocument, formatDocument, type EvaluationDocument } from '../decoding/evaluation-json.js';
import { simulateModels } from '../decoding/model-simulation.js';
import { createModelSteps } from '../decoding/model-steps.js';
import type { PromptSet } from '../decoding/prompt-encoding.js';
import { greedySampling, type SamplingOptions } from '../decoding/sampling.js';
import type { DecodingSteps } from '../decoding/steps.js';
import { UserError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import { packageRoot } from '../package-root.js';
import { loadDecodingModels, roomForPrompts, type DecodingModels } from './decoding-models.js';
import { readPromptSets, type NamedPrompts } from './prompt-sets.js';

export interface EvaluateOptions {
  /** Run folder, checkpoint, drafter folder, or `demo`. */
  drafter: string;
  target?: string;
  checkpoint?: 'best' | 'last';
  sets: readonly NamedPrompts[];
  limit?: number;
  maxPromptTokens?: number;
  maxNewTokens: number;
  sampling?: SamplingOptions;
  verifier?: Verifier;
  treeNodes?: number;
  blockSize?: number;
  seed?: number;
  check?: boolean;
  targetAlone?: boolean;
  promptFormat?: 'auto' | 'chat' | 'raw';
  ignoreEos?: boolean;
  /** File to write the document to. */
  json?: string;
  /** For the record; TensorFlow's own setting is fixed when it is loaded. */
  threads?: number;
  eager?: boolean;
  say?: (line: string) => void;
  onProgress?: (progress: EvaluationProgress) => void;
}

/**
 * Evaluates a drafter; TensorFlow must be loaded.
 * @throws UserError where models, prompts or options do not fit together
 */
export async function evaluateDrafter(options: EvaluateOptions): Promise<EvaluationDocument> {
  const { say = () => undefined, limit, treeNodes = 0, promptFormat = 'auto', check = false, targetAlone = true, eager = false } = options;
  checkCounts(options);
  const models = await loadDecodingModels(options, say);
  try {
    const { target, drafter, tokenizer } = models;
    const room = roomForPrompts(target, options.maxNewTokens);
    const longest = Math.min(options.maxPromptTokens ?? Infinity, room);
    const promptSets = await readPromptSets(options.sets, { tokenizer, vocabSize: target.config.vocabSize, limit, maxPromptTokens: longest, format: promptFormat });
    const promptCapacity = longestPrompt(promptSets, options.maxNewTokens, longest);
    const blockSize = options.blockSize ?? drafter.config.blockSize;
    const widest = Math.max(blockSize, treeNodes + 1);
    const steps = createModelSteps({ target, drafter, capacity: promptCapacity + options.maxNewTokens + widest, blockSize, treeNodes, eager });
    try {
      const stopTokens = options.ignoreEos === true ? [] : models.stopTokens;
      warmUp(steps, promptSets[0]!.prompts[0]!.encode([]), options);
      const result = await evaluateAcceptance({
        steps,
        promptSets,
        options: { ...evaluationOptions(options), maxPromptTokens: promptCapacity, stopTokens, targetAlone },
        ...(check && { simulate: (text, span, stops) => simulateModels({ target, drafter, blockSize }, text, span, stops) }),
        ...(options.onProgress && { onProgress: options.onProgress }),
      });
      const document = evaluationDocument(result, contextOf(options, models, { blockSize, stopTokens, executor: steps.kind }));
      if (options.json !== undefined) await writeFileAtomic(options.json, `${formatDocument(document)}\n`);
      return document;
    } finally {
      steps.dispose();
    }
  } finally {
    models.dispose();
  }
}

/** What `--check` and the comparison with the target alone found, in words; at most ten lines. */
export function describeMismatches(mismatches: readonly Mismatch[]): string {
  const lines = mismatches.slice(0, 10).map(({ set, id, turn, kind, detail }) => `  ${set}, prompt ${id}${turn > 0 ? `, turn ${turn + 1}` : ''}: ${kind === 'output' ? 'another text' : 'other rounds'}: ${detail}`);
  const more = mismatches.length > 10 ? `\n  and ${mismatches.length - 10} more` : '';
  return `${mismatches.length} ${mismatches.length === 1 ? 'difference was' : 'differences were'} found:\n${lines.join('\n')}${more}`;
}

function checkCounts({ limit, maxPromptTokens, treeNodes = 0 }: EvaluateOptions): void {
  const refuse = (name: string, value: number | undefined, least: number): void => {
    if (value !== undefined && (!Number.isInteger(value) || value < least)) throw new UserError(`--${name} is ${value}; it must be a whole number from ${least}.`);
  };
  refuse('limit', limit, 1);
  refuse('max-prompt-tokens', maxPromptTokens, 1);
  refuse('tree-nodes', treeNodes, 0);
}

/** The first call of a recorded function takes a second more, which would be counted against one text. */
function warmUp(steps: DecodingSteps, promptIds: Int32Array, options: EvaluateOptions): void {
  const few = { maxNewTokens: Math.min(3, options.maxNewTokens), ...(options.sampling && { sampling: options.sampling }) };
  decodeSpeculative(steps, promptIds, { ...few, ...(options.verifier && { verifier: options.verifier }), treeNodes: options.treeNodes ?? 0 });
  if (options.targetAlone !== false || options.check === true) decodeTarget(steps, promptIds, few);
}

function evaluationOptions({ maxNewTokens, sampling, verifier, treeNodes, seed }: EvaluateOptions) {
  return { maxNewTokens, ...(sampling && { sampling }), ...(verifier && { verifier }), ...(treeNodes !== undefined && { treeNodes }), ...(seed !== undefined && { seed }) };
}

/** Room for prompts: exact for single turns; later turns hold the answers that come before them. */
function longestPrompt(sets: readonly PromptSet[], maxNewTokens: number, most: number): number {
  let longest = 1;
  for (const { prompts } of sets) {
    for (const prompt of prompts) {
      const answers = Array.from({ length: prompt.turns - 1 }, (): number[] => []);
      // Answers change their length a little when they are decoded and read again.
      longest = Math.max(longest, prompt.encode([]).length, prompt.encode(answers).length + Math.ceil(1.1 * answers.length * maxNewTokens));
    }
  }
  return Math.min(longest, most);
}

function contextOf(options: EvaluateOptions, models: DecodingModels, { blockSize, stopTokens, executor }: { blockSize: number; stopTokens: number[]; executor: 'graph' | 'eager' }) {
  const { target, drafter } = models;
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
  const sampling = options.sampling ?? greedySampling;
  return {
    draftalignVersion: version,
    target: { name: models.targetName, folder: target.folder, weightFingerprint: target.weightFingerprint },
    drafter: { folder: drafter.folder, blockSize: drafter.config.blockSize, targetLayerIds: drafter.config.targetLayerIds },
    settings: {
      blockSize,
      treeNodes: options.treeNodes ?? 0,
      maxNewTokens: options.maxNewTokens,
      maxPromptTokens: options.maxPromptTokens ?? null,
      limit: options.limit ?? null,
      ...sampling,
      verifier: options.verifier ?? 'match',
      seed: options.seed ?? 0,
      stopTokenIds: stopTokens,
      promptFormat: options.promptFormat ?? 'auto',
      checked: options.check ?? false,
      executor,
      threads: options.threads ?? null,
    },
  };
}
