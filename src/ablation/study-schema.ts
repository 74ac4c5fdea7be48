// The one definition of a study's config: a base run, what varies, what is decoded. Types, defaults, checks and the editor's JSON
// Schema (configs/study-schema.json) come from here.
import { z } from 'zod';
import { lossesSchema } from '../config/losses.js';
import type { SchemaNode } from '../config/problems.js';
import { configSchema } from '../config/schema.js';

const count = (description: string) => z.int().min(1).describe(description);
const seedList = z.array(z.int().min(0)).min(1);
const shareList = z.array(z.number().gt(0).max(1)).min(1);

const rolesSchema = z
  .strictObject({
    baseline: z.string().default('uniform').describe('The objective that lifts are measured from.'),
    stack: z.string().nullable().default(null).describe('The published stack of losses, to be compared with the baseline.'),
    alone: z.array(z.string()).default([]).describe('Objectives with one loss alone, expected not to fall below the baseline.'),
    challenger: z.string().nullable().default(null).describe('The objective that should beat the stack.'),
  })
  .describe('Which objectives the study\'s statements are about.');

const sweepSchema = z
  .strictObject({
    name: z.string().min(1).describe('What the sweep is called in the report.'),
    objective: z.string().describe('The objective that it starts from.'),
    set: z
      .string()
      .min(1)
      .describe('What varies: a place in the run config, such as losses.0.gamma, training.anchorsPerSequence or data.topLogProbs; or decoding.blockSize.'),
    values: z.union([z.array(z.unknown()).min(1), z.record(z.string(), z.unknown())]).describe('The values, or labels with their values.'),
    seeds: seedList.nullable().default(null).describe('Null: the study\'s.'),
    budgets: shareList.nullable().default(null).describe('Null: the largest of the study.'),
  })
  .describe('One setting varied, all else equal.');

const decodingSchema = z
  .strictObject({
    prompts: z.record(z.string().min(1), z.string().min(1)).describe('Files of held-out prompts by domain, as `draftalign evaluate` reads them.'),
    limit: count('Prompts of a file to decode, from its start.').default(16),
    promptTokens: count('Prompts without a chat template are cut to their first tokens; null: whole.').nullable().default(null),
    maxNewTokens: count('New tokens a prompt at most.').default(64),
    blockSize: z.int().min(2).nullable().default(null).describe('K at inference; null: as trained.'),
    resamples: z.int().min(100).default(2000).describe('Bootstrap resamples behind every interval.'),
  })
  .describe('The real decoding that every trained drafter goes through.');

export const studySchema = z
  .strictObject({
    title: z.string().min(1).default('Ablation of objectives').describe('The report\'s heading.'),
    base: configSchema.describe('The run that all runs are but for what varies; training.steps is the whole budget.'),
    objectives: z.record(z.string().min(1), lossesSchema).describe('What is compared: names of your own, each with an objective as in a run config.'),
    seeds: seedList.default([1, 2, 3]).describe('Each decides initial weights, order and anchors; all objectives see the same.'),
    budgets: shareList.default([0.125, 0.5, 1]).describe('Shares of base.training.steps; each is trained by itself, with its own schedule.'),
    roles: rolesSchema.prefault({}),
    sweeps: z.array(sweepSchema).default([]),
    decoding: decodingSchema,
    folder: z.string().min(1).nullable().default(null).describe('The study folder; null: `studies/` and the config file\'s name. `--out` goes before it.'),
  })
  .describe('A draftalign study: one run varied in its objective, seed and length.');

export type ParsedStudy = z.output<typeof studySchema>;

/** The schema of a study file, for editors and error messages. */
export function studyJsonSchema(): SchemaNode & Record<string, unknown> {
  return { ...(z.toJSONSchema(studySchema, { io: 'input' }) as SchemaNode & Record<string, unknown>), title: 'draftalign study' };
}
