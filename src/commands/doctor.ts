// `draftalign doctor`: what this machine offers, what is missing and how to mend it. It sets nothing up and changes nothing.
import { readFileSync, existsSync } from 'node:fs';
import { cpus, freemem, homedir } from 'node:os';
import { join } from 'node:path';
import type { CommandModule } from 'yargs';
import { availableMemory } from '../memory.js';
import { packageRoot } from '../package-root.js';
import { cacheFolder, findInstallation, hasNvidiaDriver, wantedVariant } from '../tensorflow/installation.js';
import { describeKernels } from '../tensorflow/kernels.js';
import { loadTensorflow } from '../tensorflow/load.js';
import { runProgram } from '../tensorflow/run-program.js';
import { missingForWheel } from '../tensorflow/wheel.js';

/** One line of the report. `remedy` stands where something is missing. */
export interface Finding {
  name: string;
  value: string;
  ok: boolean;
  remedy?: string;
}

export const doctorCommand: CommandModule<object, { json: boolean; threads?: number }> = {
  command: 'doctor',
  describe: 'Check Node, TensorFlow, devices, memory and caches; exit code 1 with the remedy where something is missing',
  builder: (yargs) =>
    yargs
      .option('json', { type: 'boolean', default: false, describe: 'Print JSON instead of lines' })
      .option('threads', { type: 'number', describe: 'Threads for the matmul figure (default: all cores)' }),
  handler: async ({ json, threads }) => {
    const findings = await examine(threads);
    if (json) console.log(JSON.stringify(findings, null, 2));
    else for (const line of describe(findings)) console.log(line);
    if (findings.some((finding) => !finding.ok)) process.exitCode = 1;
  },
};

/** Looks at everything; a missing TensorFlow is a finding, not an error. */
export async function examine(threads?: number): Promise<Finding[]> {
  return [nodeFinding(), ...(await tensorflowFindings(threads)), ...memoryFindings(), ...cacheFindings()];
}

function describe(findings: Finding[]): string[] {
  const width = Math.max(...findings.map((finding) => finding.name.length));
  return findings.flatMap((finding) => {
    const line = `${finding.ok ? 'ok     ' : 'MISSING'} ${finding.name.padEnd(width)}  ${finding.value}`;
    return finding.remedy === undefined ? [line] : [line, `${' '.repeat(8 + width)}  → ${finding.remedy}`];
  });
}

function nodeFinding(): Finding {
  const range = (JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { engines: { node: string } }).engines.node;
  const [major, minor] = process.versions.node.split('.').map(Number) as [number, number];
  const ok = major > 20 || (major === 20 && minor >= 19);
  return { name: 'Node.js', value: `${process.versions.node} (needs ${range}; run with 20, 22 and 24)`, ok, remedy: ok ? undefined : 'install Node 20.19 or newer' };
}

async function tensorflowFindings(threads?: number): Promise<Finding[]> {
  const variant = wantedVariant();
  const installation = findInstallation(variant);
  if (installation === undefined) {
    const missing = await missingForWheel();
    const remedy =
      missing.length === 0
        ? 'run `draftalign setup` (other commands do it at first use)'
        : `first: ${missing.join('; ')} (on Debian or Ubuntu: \`apt-get install python3-pip g++\`); then run \`draftalign setup\``;
    return [{ name: 'TensorFlow', value: `not set up yet (variant ${variant})`, ok: false, remedy }];
  }
  let tensorflow;
  try {
    tensorflow = await loadTensorflow({ threads });
  } catch (error) {
    return [{ name: 'TensorFlow', value: (error as Error).message, ok: false, remedy: `delete ${installation.folder} and run \`draftalign setup\`` }];
  }
  const binding = (tensorflow.backend() as unknown as { binding: { TF_Version: string; isUsingGpuDevice(): boolean } }).binding;
  const onGpu = binding.isUsingGpuDevice();
  const expectsGpu = hasNvidiaDriver() && variant === 'cuda';
  return [
    { name: 'TensorFlow', value: `${binding.TF_Version}, ${installation.source}`, ok: true },
    { name: 'its folder', value: installation.folder, ok: true },
    {
      name: 'device',
      value: onGpu ? `GPU: ${await gpuNames()}` : `CPU: ${cpus()[0]?.model.trim() ?? 'unknown'}, ${cpus().length} cores`,
      ok: onGpu || !expectsGpu,
      remedy: onGpu || !expectsGpu ? undefined : 'an NVIDIA driver is loaded, but TensorFlow does not use it: check `nvidia-smi`, CUDA_VISIBLE_DEVICES, and that the driver is new enough for CUDA 12',
    },
    ...(onGpu ? [] : [{ name: 'kernels', value: describeKernels(), ok: true }]),
    { name: 'threads', value: `${threads ?? process.env['TF_NUM_INTRAOP_THREADS'] ?? cpus().length}`, ok: true },
    { name: 'matmul', value: `${matmulRate(tensorflow).toFixed(0)} GFLOP/s (float32, 2048³, best of 5)`, ok: true },
  ];
}

async function gpuNames(): Promise<string> {
  try {
    return (await runProgram('nvidia-smi', ['--query-gpu=name,memory.total', '--format=csv,noheader'])).trim().replaceAll('\n', '; ');
  } catch {
    return 'nvidia-smi does not tell its name';
  }
}

/** Best rate of a float32 matrix product, in GFLOP/s. */
export function matmulRate(tf: Awaited<ReturnType<typeof loadTensorflow>>, size = 2048, tries = 5): number {
  return tf.tidy(() => {
    const a = tf.randomUniform([size, size]);
    const b = tf.randomUniform([size, size]);
    let best = 0;
    for (let i = 0; i <= tries; i++) {
      const start = performance.now();
      const product = tf.matMul(a, b);
      // A small read waits for the product without copying it.
      tf.slice(product, [0, 0], [1, 1]).dataSync();
      const ms = performance.now() - start;
      if (i > 0) best = Math.max(best, (2 * size ** 3) / ms / 1e6);
      product.dispose();
    }
    return best;
  });
}

function memoryFindings(): Finding[] {
  const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(1);
  return [{ name: 'memory', value: `${gib(availableMemory())} GiB, ${gib(freemem())} GiB free`, ok: true }];
}

function cacheFindings(): Finding[] {
  const hub = process.env['HF_HUB_CACHE'] ?? join(process.env['HF_HOME'] ?? join(homedir(), '.cache', 'huggingface'), 'hub');
  const state = (folder: string): string => `${folder}${existsSync(folder) ? '' : ' (not there yet)'}`;
  return [
    { name: 'cache', value: state(cacheFolder()), ok: true },
    { name: 'Hugging Face cache', value: state(hub), ok: true },
  ];
}
