// draftalign's own kernels for CPUs (kernels/*.cc): operations that TensorFlow would make in many passes over memory, made in one or two. They are
// compiled once a machine, beside TensorFlow, and registered with it; models and losses use them by fused-ops.ts where they are in force, and compute
// the same by plain operations where not: on a GPU, where many threads share an operation, and in an eager run, which is the reference.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { UserError } from '../errors.js';
import { packageRoot } from '../package-root.js';
import { onGpu, threadsPerOperation } from './device.js';
import type { Installation } from './installation.js';
import { runProgram } from './run-program.js';
import type { Log } from './setup.js';
import { compiler, nodeHeaders } from './wheel.js';

const flags = ['-shared', '-fPIC', '-O3', '-std=c++17', '-fopenmp-simd', '-DNAPI_VERSION=8'];

/** The kernels are single-threaded: from here on TensorFlow's threads win. */
const mostThreads = 2;

let loaded = false;
let plain = 0;

/** Whether the kernels are to be used by what is computed now. */
export function kernelsInForce(): boolean {
  return loaded && plain === 0 && !onGpu() && threadsPerOperation() <= mostThreads;
}

/** Runs `compute` (synchronous) with plain operations only. */
export function withPlainOperations<T>(compute: () => T): T {
  plain++;
  try {
    return compute();
  } finally {
    plain--;
  }
}

/**
 * Compiles the kernels where that has not been done, and registers them with the TensorFlow that is loaded. DRAFTALIGN_KERNELS=off
 * does without; so does, saying it by `log`, a machine that cannot have them.
 */
export async function loadKernels(installation: Installation, log: Log): Promise<void> {
  const wanted = process.env['DRAFTALIGN_KERNELS'] ?? '';
  if (!['', 'on', 'off'].includes(wanted)) throw new UserError(`the environment variable DRAFTALIGN_KERNELS is "${wanted}"; it may be "on" or "off".`);
  if (wanted === 'off' || loaded) return;
  const level = processorLevel();
  if (level === undefined) return log("Without draftalign's own kernels, which need an x86-64 processor with AVX2: steps take TensorFlow's operations one by one.");
  try {
    const file = await compiledKernels(installation, level, log);
    createRequire(import.meta.url)(file);
    loaded = true;
  } catch (error) {
    log(`Without draftalign's own kernels, which could not be made: ${(error as Error).message}\nSteps take TensorFlow's operations one by one, and are slower for it. DRAFTALIGN_KERNELS=off hides this.`);
  }
}

/** Whether the kernels are registered, in words. */
export function describeKernels(): string {
  if (!loaded) return 'none: TensorFlow\'s own operations only';
  return `registered${threadsPerOperation() <= mostThreads ? '' : `, not used with more than ${mostThreads} threads an operation`}`;
}

/** The kernels' addon for processors of `level`, compiled now where it is not there. Its name tells what it was made from. */
async function compiledKernels(installation: Installation, level: string, log: Log): Promise<string> {
  const folder = join(packageRoot(), 'src', 'tensorflow', 'kernels');
  const sources = readdirSync(folder).filter((name) => /\.(cc|h)$/.test(name)).sort();
  const hash = createHash('sha256').update(JSON.stringify([flags, level]));
  for (const source of sources) hash.update(readFileSync(join(folder, source)));
  const file = join(installation.folder, 'kernels', `draftalign-${hash.digest('hex').slice(0, 12)}-${level}.node`);
  if (existsSync(file)) return file;
  const started = Date.now();
  await mkdir(dirname(file), { recursive: true });
  const unfinished = `${file}.${process.pid}`;
  try {
    await runProgram(compiler, [
      ...flags,
      `-march=${level}`,
      `-I${nodeHeaders()}`,
      ...sources.filter((name) => name.endsWith('.cc')).map((name) => join(folder, name)),
      ...[`-L${join(installation.folder, 'deps', 'lib')}`, '-ltensorflow_framework', '-Wl,-rpath,$ORIGIN/../deps/lib'],
      ...['-o', unfinished],
    ]);
    await rename(unfinished, file);
  } finally {
    await rm(unfinished, { force: true });
  }
  log(`Compiled draftalign's kernels for this machine (${((Date.now() - started) / 1000).toFixed(0)} s, once).`);
  return file;
}

/** The level of the x86-64 architecture that this machine's processor has; undefined below the third, or where it is another architecture. */
function processorLevel(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  const has = new Set(/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.trim().split(' '));
  const hasAll = (names: string): boolean => names.split(' ').every((name) => has.has(name));
  if (!hasAll('avx2 bmi1 bmi2 f16c fma movbe')) return undefined;
  return hasAll('avx512f avx512bw avx512cd avx512dq avx512vl') ? 'x86-64-v4' : 'x86-64-v3';
}
