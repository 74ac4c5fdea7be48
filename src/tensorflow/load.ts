// Loads native TensorFlow, once per process.
import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import * as util from 'node:util';
import type * as TensorFlow from '@tensorflow/tfjs-node-gpu';

export interface LoadOptions {
  /** Threads of one operation and across operations; default: TensorFlow's own choice (all cores). */
  threads?: number;
}

let loaded: Promise<typeof TensorFlow> | undefined;

/** Loads TensorFlow (setting it up first where it is missing) and returns tfjs with its native backend. */
export function loadTensorflow(options: LoadOptions = {}): Promise<typeof TensorFlow> {
  loaded ??= load(options);
  return loaded;
}

async function load(options: LoadOptions): Promise<typeof TensorFlow> {
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '3';
  if (options.threads !== undefined) {
    process.env['TF_NUM_INTRAOP_THREADS'] = String(options.threads);
    process.env['OMP_NUM_THREADS'] = String(options.threads);
  }
  const requireHere = createRequire(import.meta.url);
  const requireFromNode = createRequire(requireHere.resolve('@tensorflow/tfjs-node-gpu/package.json'));
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  const addon = join(cache, 'draftalign/tensorflow/cpu-2.21.0-tfjs-4.22.0/lib/napi-v8/tfjs_binding.node');
  if (!existsSync(addon)) throw new Error(`no TensorFlow at ${addon}`);
  // tfjs-node asks node-pre-gyp where its addon lies; ours lies in the per-user cache.
  const locator = requireFromNode.resolve('@mapbox/node-pre-gyp');
  requireFromNode.cache[locator] = { id: locator, filename: locator, loaded: true, exports: { find: () => addon } } as unknown as NodeJS.Module;
  const legacy = createRequire(import.meta.url)('node:util') as typeof util & { isNullOrUndefined?: (value: unknown) => boolean };
  legacy.isNullOrUndefined ??= (value) => value === null || value === undefined;
  return requireHere('@tensorflow/tfjs-node-gpu') as typeof TensorFlow;
}
