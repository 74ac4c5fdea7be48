// Decoding of a study's drafters: target, prompts and recorded steps are loaded once, and every drafter of one shape takes the last one's place.
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readPrompts } from '../../data/prompts.js';
import { loadTokenizer, type Tokenizer } from '../../data/tokenizer.js';
import { evaluateAcceptance, type EvaluationResult } from '../decoding/evaluation.js';
import { createModelSteps, type ModelSteps } from '../decoding/model-steps.js';
import { encodePromptSet, type EvaluationPrompt, type PromptSet } from '../decoding/prompt-encoding.js';
import { UserError } from '../errors.js';
import { loadDrafter, type LoadedDrafter } from '../models/drafter-checkpoint.js';
import type { DrafterConfig } from '../models/drafter-config.js';
import { resolveModelFolder } from '../models/hub.js';
import { loadTarget, type Target } from '../models/target-checkpoint.js';
import type { Study } from './study-config.js';

/** What decodes a study's drafters. */
export class StudyDecoder {
  #recorded: { key: string; steps: ModelSteps; drafter: LoadedDrafter } | undefined;

  private constructor(
    readonly target: Target,
    readonly tokenizer: Tokenizer | undefined,
    readonly promptSets: readonly PromptSet[],
    private readonly decoding: Study['decoding'],
    private readonly stopTokens: number[],
  ) {}

  /** Loads target and prompts. Throws `UserError` where a file is missing or no prompt of it can be decoded. */
  static async open(study: Study): Promise<StudyDecoder> {
    const folder = await resolveModelFolder(study.variants[0]!.config.target);
    const tokenizer = existsSync(join(folder, 'tokenizer.json')) ? await loadTokenizer(folder) : undefined;
    const { prompts, limit, promptTokens, maxNewTokens } = study.decoding;
    const target = await loadTarget(folder);
    try {
      const most = target.config.maxPositions - maxNewTokens - study.variants[0]!.config.drafter.blockSize;
      const sets: PromptSet[] = [];
      for (const [domain, file] of Object.entries(prompts)) {
        const rows = await readPrompts(file, { limit });
        const set = encodePromptSet(domain, rows, tokenizer, { source: basename(file), vocabSize: target.config.vocabSize });
        const cut = promptTokens !== null && tokenizer?.hasChatTemplate !== true ? promptTokens : Infinity;
        const kept = set.prompts.map((prompt) => cutPrompt(prompt, cut)).filter((prompt) => prompt.encode([]).length <= most);
        if (kept.length === 0) throw new UserError(`${file}: every prompt is longer than the ${most} tokens that the target's positions leave. Set decoding.promptTokens, or name shorter ones.`);
        sets.push({ ...set, prompts: kept });
      }
      const stopTokens = [...new Set([...target.config.eosTokenIds, ...(tokenizer?.specialIds.stop ?? [])])];
      return new StudyDecoder(target, tokenizer, sets, study.decoding, stopTokens);
    } catch (error) {
      target.dispose();
      throw error;
    }
  }

  /** Decodes all prompts greedily with a drafter. */
  async decode(drafterFolder: string, blockSize: number): Promise<{ result: EvaluationResult; parameters: number }> {
    const drafter = await loadDrafter(drafterFolder, this.target.config);
    const steps = this.#stepsFor(drafter, blockSize);
    const { maxNewTokens } = this.decoding;
    const result = await evaluateAcceptance({
      steps,
      promptSets: this.promptSets,
      options: { maxNewTokens, stopTokens: this.stopTokens, targetAlone: false, resamples: 0 },
    });
    return { result, parameters: Object.values(drafter.weights).reduce((sum, weight) => sum + weight.size, 0) };
  }

  dispose(): void {
    this.#forget();
    this.target.dispose();
  }

  #stepsFor(drafter: LoadedDrafter, blockSize: number): ModelSteps {
    const key = JSON.stringify([shapeOf(drafter.config), blockSize]);
    if (this.#recorded?.key === key) {
      this.#recorded.steps.replaceDrafter(drafter.weights);
      this.#recorded.drafter.dispose();
      this.#recorded.drafter = drafter;
      return this.#recorded.steps;
    }
    this.#forget();
    const longest = Math.max(...this.promptSets.flatMap(({ prompts }) => prompts.map((prompt) => prompt.encode([]).length)));
    const steps = createModelSteps({ target: this.target, drafter, blockSize, capacity: longest + this.decoding.maxNewTokens + blockSize });
    this.#recorded = { key, steps, drafter };
    return steps;
  }

  #forget(): void {
    this.#recorded?.steps.dispose();
    this.#recorded?.drafter.dispose();
    this.#recorded = undefined;
  }
}

/** A drafter's shape without what it says of its making. */
function shapeOf(config: DrafterConfig): unknown {
  return Object.fromEntries(Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The prompt's first tokens, as one text to go on with. */
function cutPrompt(prompt: EvaluationPrompt, most: number): EvaluationPrompt {
  if (most === Infinity) return prompt;
  const ids = prompt.encode([]).slice(0, most);
  return { id: prompt.id, turns: 1, encode: () => ids };
}
