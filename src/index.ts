// `draftalign`: the pipeline as a library. TensorFlow is loaded by `loadTensorflow` before anything else is called.
export { UserError } from './errors.js';
export { loadTensorflow, type LoadOptions } from './tensorflow/load.js';
export { loadConfig, parseConfig, type Config } from './config/load.js';
export { train, type TrainOptions, type TrainProgress, type TrainResult } from './training/trainer.js';
export { evaluateDrafter, type EvaluateOptions } from './commands/evaluate-drafter.js';
export type { EvaluationDocument } from './decoding/evaluation-json.js';
export { exportDrafter, type ExportOptions } from './commands/export-drafter.js';
export type { ExportRecord } from './reports/export-record.js';
export { loadTarget, targetForward, type Target } from './models/target.js';
export { loadDrafter, type LoadedDrafter } from './models/drafter-checkpoint.js';
export { createModelSteps, type ModelSteps, type ModelStepsOptions } from './decoding/model-steps.js';
export { decodeSpeculative, decodeTarget, type Decoded, type SpeculativeOptions } from './decoding/decode.js';
