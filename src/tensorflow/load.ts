// Loads native TensorFlow, once per process, setting it up at the first use on a machine.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type * as TensorFlow from '@tensorflow/tfjs-node-gpu';
import { UserError } from '../errors.js';
import { onGpu } from './device.js';
import type { Installation } from './installation.js';
import { loadKernels } from './kernels.js';
import { ensureTensorflow } from './setup.js';
import type { Log } from './setup.js';

export interface LoadOptions {
  /** Threads that one operation may use, and operations that may run side by side; default: all cores. */
  threads?: number;
  /** The work comes in two halves that wait for nothing of each other, as training steps do: two threads run one half each in place of sharing every operation. */
  halves?: boolean;
  /** Compile recorded graphs with XLA. Seconds more at the first step, less time at each later one. */
  xla?: boolean;
  /** Let a GPU round the factors of float32 products to the 10 bits of TensorFloat-32: faster, less exact. Default: exact. */
  tf32?: boolean;
  /** Where set-up tells its progress; default: standard error. */
  log?: Log;
}

interface Loaded {
  tensorflow: typeof TensorFlow;
  installation: Installation;
  options: LoadOptions;
}

let loading: Promise<Loaded> | undefined;

/**
 * Loads TensorFlow (setting it up first where it is missing) and returns tfjs with its native backend, the one that
 * all of draftalign computes with. Later calls return the same; threads and XLA are fixed by the first.
 * @throws UserError where TensorFlow cannot be set up or its library does not load.
 */
export async function loadTensorflow(options: LoadOptions = {}): Promise<typeof TensorFlow> {
  return (await loadWithInstallation(options)).tensorflow;
}

/** As `loadTensorflow`, and says which installation it was. */
export async function loadWithInstallation(options: LoadOptions = {}): Promise<Loaded> {
  loading ??= load(options);
  try {
    return await loading;
  } catch (error) {
    loading = undefined;
    throw error;
  }
}

async function load(options: LoadOptions): Promise<Loaded> {
  const installation = await ensureTensorflow(options.log);
  setEnvironment(options, installation);
  defineIsNullOrUndefined();
  const requireHere = createRequire(import.meta.url);
  // tfjs-node asks node-pre-gyp where its addon lies; ours lies in the per-user cache, so we answer in its place.
  const requireFromBinding = createRequire(requireHere.resolve('@tensorflow/tfjs-node-gpu/package.json'));
  const locator = requireFromBinding.resolve('@mapbox/node-pre-gyp');
  requireFromBinding.cache[locator] = { id: locator, filename: locator, loaded: true, exports: { find: () => installation.addon } } as unknown as NodeJS.Module;
  let tensorflow;
  try {
    tensorflow = requireHere('@tensorflow/tfjs-node-gpu') as typeof TensorFlow;
  } catch (error) {
    throw new UserError(
      `TensorFlow's library does not load: ${(error as Error).message}\n` + `It lies in ${installation.folder}. Delete that folder and run \`draftalign setup\` to make it anew.`,
    );
  }
  if (!onGpu()) await loadKernels(installation, options.log ?? ((line) => console.error(line)));
  return { tensorflow, installation, options };
}

/** TensorFlow reads these when its library is loaded. What the user has set stays. */
function setEnvironment(options: LoadOptions, installation: Installation): void {
  const set = (name: string, value: string): void => {
    process.env[name] ??= value;
  };
  set('TF_CPP_MIN_LOG_LEVEL', '2');
  const threads = options.threads ?? (process.env['TF_NUM_INTRAOP_THREADS'] === undefined ? availableParallelism() : undefined);
  if (threads !== undefined) {
    process.env['TF_NUM_INTRAOP_THREADS'] = String(options.halves === true && threads === 2 ? 1 : threads);
    process.env['TF_NUM_INTEROP_THREADS'] = String(threads);
  }
  if (options.xla === true) {
    const flags = process.env['TF_XLA_FLAGS'];
    process.env['TF_XLA_FLAGS'] = `${flags === undefined ? '' : `${flags} `}--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit`;
  }
  // TensorFlow would take all of a GPU's memory at its first use, and a second process would find none.
  if (installation.variant !== 'cpu') set('TF_FORCE_GPU_ALLOW_GROWTH', 'true');
  // NVIDIA's own switch, above what TensorFlow asks of its libraries (which is to round).
  if (options.tf32 !== true) set('NVIDIA_TF32_OVERRIDE', '0');
  // XLA on a GPU compiles with CUDA's own tools; where they came with the wheel, this says where.
  const cudaTools = join(installation.folder, 'deps', 'nvidia', 'cuda_nvcc');
  if (installation.variant === 'cuda' && existsSync(cudaTools)) set('XLA_FLAGS', `--xla_gpu_cuda_data_dir=${cudaTools}`);
}

/** tfjs-node calls `util.isNullOrUndefined`, which Node 23 removed. */
function defineIsNullOrUndefined(): void {
  const util = createRequire(import.meta.url)('node:util') as { isNullOrUndefined?: (value: unknown) => boolean };
  util.isNullOrUndefined ??= (value) => value === null || value === undefined;
}
