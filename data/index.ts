// `draftalign/data`: what training and evaluation read.
export { anchorCandidates, labelBlocks, sampleAnchors } from './anchors.js';
export * from './arrow-cache.js';
export { defaultBuckets, planEpoch, readBatch, type Batch, type BatchOptions, type BatchPlan, type EpochOptions, type RowSource } from './batches.js';
export { compileChatTemplate, TemplateError, type ChatTemplate, type TemplateOptions } from './chat-template.js';
export { parseConversation, rowDomain, RowProblem, toMessages, type Conversation, type Message } from './conversations.js';
export { parseInput, prepareTokens, type PrepareInput, type PrepareOptions, type PrepareProblem, type PrepareReport } from './prepare.js';
export { readPrompts, type PromptOptions, type PromptProblem, type PromptRow } from './prompts.js';
export { loadTokenizer, type AddedToken, type SpecialIds, type Tokenizer } from './tokenizer.js';
