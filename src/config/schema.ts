// The one definition of a run's config: types, defaults, checks, the editor's JSON Schema and the README's reference all
// come from here. Every object is strict, so a misspelt key is an error and never a silent default.
import { z } from 'zod';
import { lossesSchema } from './losses.js';

const path = (description: string) => z.string().min(1).describe(description);
const count = (description: string) => z.int().min(1).describe(description);

const dataSchema = z
  .strictObject({
    cache: path('Folder of an Arrow cache made by `draftalign capture`.').nullable().default(null),
    tokens: path('Token sequences made by `draftalign prepare`; captured first, or read by online capture.').nullable().default(null),
    prompts: z
      .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
      .nullable()
      .default(null)
      .describe('Files of conversations, prompts or plain text, each `file` or `domain=file`; prepared and captured first.'),
    promptTokens: count('Plain text: tokens at the start of each sequence that are prompt, for capture.generate.').default(1),
    maxLength: z.int().min(8).default(2048).describe('Tokens of a sequence at most; longer ones are cut.'),
    maxRows: count('Sequences to take from `prompts` or `tokens` at most; null takes all.').nullable().default(null),
    validationRows: z
      .int()
      .min(0)
      .nullable()
      .default(null)
      .describe('Sequences held out for validation, drawn by `training.seed`; null: a twentieth of the rows, 64 at most.'),
    topLogProbs: count('Log-probabilities a position that terms that distil read, the largest first; null: all that the cache holds.').nullable().default(null),
    buckets: z
      .array(z.int().min(8))
      .min(1)
      .nullable()
      .default(null)
      .describe('Padded sequence lengths; each is recorded as graphs of its own. Null: up to four, chosen so that the rows are padded least.'),
  })
  .describe('What is trained on: one of cache, tokens and prompts.');

const generateSchema = z
  .strictObject({
    maxNewTokens: count('Tokens to generate a row at most.').default(512),
    temperature: z.number().min(0).default(0).describe('0 is greedy.'),
    topP: z.number().gt(0).max(1).default(1).describe('Nucleus sampling; 1 keeps all tokens.'),
    seed: z.int().min(0).default(0).describe('Decides what is drawn, row by row.'),
  })
  .describe('Let the target write the responses; drafters trained on the target\'s own text are accepted longer.');

const captureSchema = z
  .strictObject({
    mode: z
      .enum(['cached', 'online'])
      .default('cached')
      .describe('cached: features are computed once and stored. online: the target runs inside the training step and nothing is stored.'),
    folder: path('Where the cache is written; null: `cache` in the run folder.').nullable().default(null),
    generate: generateSchema.nullable().default(null),
    topLogProbs: z
      .int()
      .min(0)
      .max(1024)
      .default(32)
      .describe('Log-probabilities of the target stored a position, the largest first, for terms that distil; 0 stores none.'),
    batchSize: count('Sequences in one forward pass of the target.').default(8),
  })
  .describe('How the target\'s features are made.');

const drafterSchema = z
  .strictObject({
    blockSize: z.int().min(2).max(256).default(16).describe('Slots of a block, K: one anchor and K-1 predicted tokens.'),
    layers: count('Decoder layers of the drafter.').default(2),
    taps: z
      .union([z.literal('auto'), z.int().min(1), z.array(z.int().min(0)).min(1)])
      .default('auto')
      .describe('Target layers that feed the drafter: a list, how many to spread evenly, or auto (5, fewer for shallow targets).'),
    intermediateSize: count('Width of the MLP; null: the target\'s.').nullable().default(null),
    heads: count('Attention heads; null: the target\'s.').nullable().default(null),
    keyValueHeads: count('Key-value heads; null: the target\'s.').nullable().default(null),
    headDim: z.int().min(2).multipleOf(2).nullable().default(null).describe('Dimensions of one head; null: the target\'s. Engines want 32 or more.'),
    maskTokenId: z
      .int()
      .min(0)
      .nullable()
      .default(null)
      .describe('The token that stands for a masked slot, one that the target cannot emit; null: found in the tokenizer.'),
    initFrom: path('Folder of a drafter whose weights the run starts from; its shape is taken over.').nullable().default(null),
  })
  .describe('The drafter\'s shape. Its width is the target\'s.');

const optimizerSchema = z
  .strictObject({
    learningRate: z.number().gt(0).max(1).default(1e-3).describe('Peak learning rate of AdamW.'),
    betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]).default([0.9, 0.999]).describe('Decay rates of the two moments.'),
    epsilon: z.number().gt(0).default(1e-8).describe('Added to the root of the second moment.'),
    weightDecay: z.number().min(0).default(0.01).describe('Decoupled; matrices only, never norms.'),
    maxGradientNorm: z.number().gt(0).nullable().default(1).describe('Clips the norm over all gradients; null does not clip.'),
    schedule: z.enum(['cosine', 'linear', 'constant']).default('cosine').describe('How the learning rate falls after the warm-up.'),
    warmup: z.number().min(0).max(1).default(0.04).describe('Linear warm-up as a share of all steps.'),
    finalShare: z.number().min(0).max(1).default(0).describe('Learning rate at the last step as a share of the peak.'),
  })
  .describe('AdamW and its learning rate.');

const trainingSchema = z
  .strictObject({
    steps: count('Updates of the weights; null: from `epochs`.').nullable().default(null),
    epochs: z.number().gt(0).nullable().default(null).describe('Passes over the data, where `steps` is null; 3 when neither is given.'),
    batchSize: count('Sequences a batch.').default(8),
    accumulate: count('Batches whose gradients are averaged into one update.').default(1),
    anchorsPerSequence: count('Blocks drawn anew from every sequence each time it is seen, N.').default(32),
    seed: z.int().min(0).default(0).describe('Decides initial weights, order, anchors and the held-out rows.'),
    eager: z.boolean().default(false).describe('Run every operation by itself instead of one recorded graph: slower, for checking.'),
    verifyFirstStep: z.boolean().default(true).describe('Run the first step eagerly and recorded, and compare.'),
    maxSkippedSteps: count('Updates in a row that may be skipped for numbers that are not finite before the run stops.').default(5),
    threads: count('Threads of TensorFlow; null: all cores.').nullable().default(null),
    tf32: z.boolean().default(false).describe('On a GPU, round the factors of float32 products to TensorFloat-32 (10 bits): faster for large drafters.'),
    xla: z.boolean().default(false).describe('Compile the recorded graphs by XLA: most of a minute before the first step, then faster ones on a GPU (slower on a CPU).'),
  })
  .describe('Length, batches and seed of the run.');

const evaluationSchema = z
  .strictObject({
    everySteps: count('Steps between validations; null: ten in a run.').nullable().default(null),
    batchSize: count('Sequences validated at once.').default(8),
  })
  .describe('Validation on the held-out rows.');

const outputSchema = z
  .strictObject({
    folder: path('The run folder; null: `runs/` and the config file\'s name. `--run` goes before it.').nullable().default(null),
    checkpointEverySteps: count('Steps between checkpoints; null: as validations.').nullable().default(null),
    logEverySteps: count('Steps between lines of `metrics.jsonl`.').default(10),
    tensorboard: z.boolean().default(true).describe('Write TensorBoard events.'),
  })
  .describe('What the run leaves behind.');

/** A run. What is left out takes its default; `resolveConfig` fills in what depends on other values. */
export const configSchema = z
  .strictObject({
    target: z
      .string()
      .min(1)
      .describe('The verifier: a Transformers folder, a Hugging Face id (org/name), or `demo`, the one that comes with draftalign.'),
    data: dataSchema.prefault({}),
    capture: captureSchema.prefault({}),
    drafter: drafterSchema.prefault({}),
    losses: lossesSchema,
    optimizer: optimizerSchema.prefault({}),
    training: trainingSchema.prefault({}),
    evaluation: evaluationSchema.prefault({}),
    output: outputSchema.prefault({}),
  })
  .describe('A draftalign training run.');

/** A config as a file may state it. */
export type ConfigInput = z.input<typeof configSchema>;
/** A config with every default in place; `losses` may still be the name of an objective. */
export type ParsedConfig = z.output<typeof configSchema>;
