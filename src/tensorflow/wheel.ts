// TensorFlow's libraries out of its Python wheel, and the Node addon compiled against them.
// The wheel's own Python version does not matter: only its C++ libraries and headers are taken.
// Layout of an installation: deps/lib/libtensorflow*.so*, deps/nvidia/… (CUDA; the libraries look for it relative to
// themselves), lib/napi-v8/tfjs_binding.node.
import { createRequire } from 'node:module';
import { mkdir, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UserError } from '../errors.js';
import { addonPath, bindingPackage, tensorflowVersion } from './installation.js';
import type { Variant } from './installation.js';
import { runProgram } from './run-program.js';
import type { Log } from './setup.js';

const python = process.env['PYTHON'] ?? 'python3';
/** The C++ compiler. */
export const compiler = process.env['CXX'] ?? 'g++';

/** What this machine lacks for the wheel route; empty where it can be tried. */
export async function missingForWheel(): Promise<string[]> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return [`it needs Linux on x86-64, and this is ${process.platform} on ${process.arch}`];
  const missing: string[] = [];
  await runProgram(python, ['-m', 'pip', '--version']).catch(() => missing.push(`${python} with pip is missing`));
  await runProgram(compiler, ['--version']).catch(() => missing.push(`the C++ compiler ${compiler} is missing`));
  return missing;
}

/** Downloads, unpacks and compiles into `folder`. Throws UserError where a step fails. */
export async function installFromWheel(variant: Variant, folder: string, log: Log): Promise<void> {
  const downloads = join(folder, 'downloads');
  const unpacked = join(folder, 'unpacked');
  await mkdir(downloads, { recursive: true });
  await timed(log, `  downloading the wheel with ${python} -m pip`, () => download([`${variant === 'cpu' ? 'tensorflow-cpu' : 'tensorflow'}==${tensorflowVersion}`], downloads));
  await timed(log, '  unpacking its libraries and headers', async () => {
    await unpack(downloads, unpacked, ['tensorflow/libtensorflow_cc.so.2', 'tensorflow/libtensorflow_framework.so.2', 'tensorflow/include/', '.dist-info/METADATA']);
    await mkdir(join(folder, 'deps', 'lib'), { recursive: true });
    await rename(join(unpacked, 'tensorflow', 'include'), join(folder, 'deps', 'include'));
    for (const name of ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2']) {
      await rename(join(unpacked, 'tensorflow', name), join(folder, 'deps', 'lib', name));
    }
    await symlink('libtensorflow_cc.so.2', join(folder, 'deps', 'lib', 'libtensorflow.so'));
    await symlink('libtensorflow_framework.so.2', join(folder, 'deps', 'lib', 'libtensorflow_framework.so'));
  });
  if (variant === 'cuda') {
    const requirements = await cudaRequirements(unpacked);
    await timed(log, `  downloading and unpacking CUDA 12 (${requirements.length} packages)`, async () => {
      await rm(downloads, { recursive: true });
      await mkdir(downloads);
      await download(requirements, downloads);
      await unpack(downloads, join(folder, 'deps'), ['nvidia/']);
      await linkUnsearched(join(folder, 'deps', 'nvidia'));
    });
  }
  await timed(log, `  compiling the Node addon with ${compiler}`, () => compileAddon(folder));
  for (const name of ['downloads', 'unpacked', join('deps', 'include')]) await rm(join(folder, name), { recursive: true, force: true });
}

function download(requirements: string[], folder: string): Promise<string> {
  // pip takes a platform tag literally, and the packages carry several: every glibc from 2.17 to the one that TensorFlow asks for.
  const platforms = ['manylinux2014_x86_64', ...Array.from({ length: 11 }, (_, i) => `manylinux_2_${17 + i}_x86_64`)];
  const platform = ['--python-version', '3.11', '--implementation', 'cp', ...platforms.flatMap((tag) => ['--platform', tag])];
  return runProgram(python, ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--disable-pip-version-check', '--quiet', ...platform, '--dest', folder, ...requirements]);
}

/** Unpacks the members of all wheels in `from` whose names hold one of `wanted`. A wheel is a zip file; Python, which pip needs anyway, reads it. */
function unpack(from: string, to: string, wanted: string[]): Promise<string> {
  const program = [
    'import sys, glob, zipfile',
    'source, target, wanted = sys.argv[1], sys.argv[2], sys.argv[3:]',
    'for path in glob.glob(source + "/*.whl"):',
    '    with zipfile.ZipFile(path) as wheel:',
    '        wheel.extractall(target, [name for name in wheel.namelist() if any(part in name for part in wanted)])',
  ].join('\n');
  return runProgram(python, ['-c', program, from, to, ...wanted]);
}

/** The wheel's `and-cuda` extra: names and version ranges of NVIDIA's packages. */
async function cudaRequirements(unpacked: string): Promise<string[]> {
  const information = (await readdir(unpacked)).find((name) => name.endsWith('.dist-info'));
  const metadata = information === undefined ? '' : await readFile(join(unpacked, information, 'METADATA'), 'utf8');
  const requirements = [...metadata.matchAll(/^Requires-Dist: (nvidia-[^;\n]+); extra == ["']and-cuda["']/gm)].map((match) => match[1]!.trim());
  if (requirements.length === 0) throw new UserError(`the TensorFlow ${tensorflowVersion} wheel names no CUDA packages in its metadata (extra "and-cuda")`);
  return requirements;
}

/**
 * TensorFlow opens each CUDA library from one that searches the packages' folders, all but cuSOLVER's (by its RUNPATH), and uses no GPU where it
 * misses one. A link in a folder that is searched finds it: the libraries look for one another relative to where they were found.
 */
async function linkUnsearched(nvidia: string): Promise<void> {
  for (const name of await readdir(join(nvidia, 'cusolver', 'lib'))) {
    if (name.includes('.so')) await symlink(join('..', '..', 'cusolver', 'lib', name), join(nvidia, 'cusparse', 'lib', name));
  }
}

/** Folder of Node-API's headers. */
export function nodeHeaders(): string {
  return join(dirname(createRequire(import.meta.url).resolve('node-api-headers/package.json')), 'include');
}

/** Two source files of the npm package, Node-API only: one addon serves every Node version. */
async function compileAddon(folder: string): Promise<void> {
  const sources = join(bindingPackage(), 'binding');
  await mkdir(dirname(join(folder, addonPath)), { recursive: true });
  await runProgram(compiler, [
    ...['-shared', '-fPIC', '-O2', '-std=c++17', '-w', '-DNAPI_VERSION=8', '-DBUILDING_NODE_EXTENSION'],
    ...[`-I${nodeHeaders()}`, `-I${join(folder, 'deps', 'include')}`],
    ...[join(sources, 'tfjs_backend.cc'), join(sources, 'tfjs_binding.cc')],
    ...[`-L${join(folder, 'deps', 'lib')}`, '-ltensorflow', '-ltensorflow_framework', '-Wl,-rpath,$ORIGIN/../../deps/lib'],
    ...['-o', join(folder, addonPath)],
  ]);
}

async function timed<T>(log: Log, what: string, work: () => Promise<T>): Promise<T> {
  const started = Date.now();
  const result = await work();
  log(`${what}: ${((Date.now() - started) / 1000).toFixed(0)} s`);
  return result;
}
