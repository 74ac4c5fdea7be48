// draftalign's own kernels for CPUs (kernels/*.cc): operations that TensorFlow would make in many passes over memory, made in one or two. They are
// compiled once a machine, beside TensorFlow, and registered with it; models and losses use them by fused-ops.ts where they are in force, and compute
// the same by plain operations where not: on a GPU, where many threads share an operation, and in an eager run, which is the reference.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { packageRoot } from '../package-root.js';
import { onGpu, threadsPerOperation } from './device.js';
import type { Installation } from './installation.js';
import { runProgram } from './run-program.js';
import type { Log } from './setup.js';
import { compiler, nodeHeaders } from './wheel.js';

/**
 * How the kernels are compiled, whatever the processor. With floating-point traps on its mind, GCC leaves every loop with an exponential scalar for AVX2. It
 * warns about its own intrinsics of AVX-512.
 */
export const kernelFlags = ['-shared', '-fPIC', '-fvisibility=hidden', '-O3', '-std=c++17', '-fopenmp-simd', '-fno-trapping-math', '-Wno-maybe-uninitialized', '-DNAPI_VERSION=8'];

/** The kernels are single-threaded: from here on TensorFlow's threads win. */
const mostThreads = 2;

let loaded: { level: string; products: boolean } | undefined;
let plain = 0;

/** Whether the kernels are to be used by what is computed now. */
export function kernelsInForce(): boolean {
  return loaded !== undefined && plain === 0 && !onGpu() && threadsPerOperation() <= mostThreads;
}

/** Whether these include float32 products by AMX. */
export function productsInForce(): boolean {
  return loaded?.products === true && kernelsInForce();
}

/**
 * Whether one kernel goes through a whole vocabulary. It has a thread to itself: without AMX, which makes up for that, it is used only where an operation has
 * no more than one anyway, as in training.
 */
export function vocabularyKernelInForce(): boolean {
  return kernelsInForce() && (loaded!.products || threadsPerOperation() === 1);
}

/** Whether products of a few rows are made by a kernel, which has a thread to itself too. */
export function thinProductsInForce(): boolean {
  return kernelsInForce() && threadsPerOperation() === 1;
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
 * The file of the kernels, compiled now where it is not there: for the best that the processor can do, or for what DRAFTALIGN_KERNELS names. Undefined with
 * DRAFTALIGN_KERNELS=off, and, saying why by `log`, on a machine that
 * cannot have them.
 */
export async function ensureKernels(installation: Installation, log: Log): Promise<string | undefined> {
  const wanted = process.env['DRAFTALIGN_KERNELS'] ?? '';
  const names = kernelLevels.map(({ name }) => name);
  if (!['', 'on', 'off', ...names].includes(wanted)) throw new UserError(`the environment variable DRAFTALIGN_KERNELS is "${wanted}"; it may be "on", "off", or one of ${names.join(', ')}.`);
  if (wanted === 'off') return undefined;
  const levels = processorLevels().filter(({ name }) => !names.includes(wanted) || name === wanted);
  if (names.includes(wanted) && levels.length === 0) throw new UserError(`the environment variable DRAFTALIGN_KERNELS asks for ${wanted}, which this machine cannot do.`);
  try {
    if (levels.length === 0) throw new Error('they need Linux on an x86-64 processor with AVX2');
    return await compiledKernels(installation, levels, log);
  } catch (error) {
    tellWithout(error, log);
    return undefined;
  }
}

/** Registers the kernels with the TensorFlow that is loaded, where this machine has them. */
export async function loadKernels(installation: Installation, log: Log): Promise<void> {
  const file = loaded ? undefined : await ensureKernels(installation, log);
  if (file === undefined) return;
  try {
    const { products } = createRequire(import.meta.url)(file) as { products: boolean };
    loaded = { level: kernelLevels.find(({ name }) => file.endsWith(`-${name}.node`))!.name, products };
  } catch (error) {
    tellWithout(error, log);
  }
}

function tellWithout(error: unknown, log: Log): void {
  log(`Without draftalign's own kernels: ${(error as Error).message}\nSteps take TensorFlow's operations one by one, and are slower for it. DRAFTALIGN_KERNELS=off hides this.`);
}

/** Whether the kernels are registered, in words. */
export function describeKernels(): string {
  if (!loaded) return 'none: TensorFlow\'s own operations only';
  return `registered, for ${loaded.level}${loaded.products ? ', float32 products by AMX' : ''}${threadsPerOperation() <= mostThreads ? '' : `, not used with more than ${mostThreads} threads an operation`}`;
}

/** The kernels' addon for the best of `levels` that the compiler knows, compiled now where it is not there. Its name tells what it was made from. */
async function compiledKernels(installation: Installation, levels: readonly Level[], log: Log): Promise<string> {
  const folder = join(packageRoot(), 'src', 'tensorflow', 'kernels');
  const sources = readdirSync(folder).filter((name) => /\.(cc|h)$/.test(name)).sort();
  const hash = createHash('sha256').update(JSON.stringify([kernelFlags, kernelLevels]));
  for (const source of sources) hash.update(readFileSync(join(folder, source)));
  const name = `draftalign-${hash.digest('hex').slice(0, 12)}`;
  const fileOf = (level: Level): string => join(installation.folder, 'kernels', `${name}-${level.name}.node`);
  const there = levels.map(fileOf).find((file) => existsSync(file));
  if (there !== undefined) return there;
  const started = Date.now();
  await mkdir(join(installation.folder, 'kernels'), { recursive: true });
  const compile = async (level: Level): Promise<string> => {
    const unfinished = `${fileOf(level)}.${process.pid}`;
    try {
      await runProgram(compiler, [
        ...kernelFlags,
        ...level.flags,
        `-I${nodeHeaders()}`,
        ...sources.filter((source) => source.endsWith('.cc')).map((source) => join(folder, source)),
        ...[`-L${join(installation.folder, 'deps', 'lib')}`, '-ltensorflow_framework', '-Wl,-rpath,$ORIGIN/../deps/lib'],
        ...['-o', unfinished],
      ]);
      await rename(unfinished, fileOf(level));
    } finally {
      await rm(unfinished, { force: true });
    }
    log(`Compiled draftalign's kernels for this machine (${level.name}, ${((Date.now() - started) / 1000).toFixed(0)} s, once).`);
    return fileOf(level);
  };
  let problem: unknown;
  for (const level of levels) {
    try {
      return await compile(level);
    } catch (error) {
      // A compiler older than the processor.
      problem = error;
    }
  }
  throw problem;
}

/** What processors can do, by the compiler's options for it and the names that Linux gives it. */
export interface Level {
  name: string;
  flags: readonly string[];
  needs: string;
}

const avx2 = 'avx2 bmi1 bmi2 f16c fma movbe';
const avx512 = `${avx2} avx512f avx512bw avx512cd avx512dq avx512vl`;
export const kernelLevels: readonly Level[] = [
  { name: 'amx', flags: ['-march=x86-64-v4', '-mamx-tile', '-mamx-bf16'], needs: `${avx512} amx_tile amx_bf16` },
  { name: 'avx512', flags: ['-march=x86-64-v4'], needs: avx512 },
  { name: 'avx2', flags: ['-march=x86-64-v3'], needs: avx2 },
];

/** What this machine's processor can do, best first; nothing where that is less than AVX2, or where it is another architecture. */
export function processorLevels(): Level[] {
  if (process.platform !== 'linux' || process.arch !== 'x64') return [];
  const has = new Set(/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.trim().split(' '));
  return kernelLevels.filter(({ needs }) => needs.split(' ').every((name) => has.has(name)));
}
