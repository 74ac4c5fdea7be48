// Where native TensorFlow lies on this machine: in a per-user cache that survives `npm ci`, or beside the npm package
// where its own installer has put it.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { UserError } from '../errors.js';

/** The TensorFlow release that the wheel route installs. */
export const tensorflowVersion = '2.21.0';

/** `cpu`: the small wheel. `cuda`: the wheel with CUDA 12 libraries beside it. */
export type Variant = 'cpu' | 'cuda';

/** A complete native TensorFlow. */
export interface Installation {
  /** The Node addon, `tfjs_binding.node`. */
  addon: string;
  folder: string;
  variant: Variant | 'package';
  /** Where it came from, in words, for `draftalign doctor`. */
  source: string;
}

const requireHere = createRequire(import.meta.url);

/** Folder of the npm package @tensorflow/tfjs-node-gpu. */
export function bindingPackage(): string {
  try {
    return dirname(requireHere.resolve('@tensorflow/tfjs-node-gpu/package.json'));
  } catch {
    throw new UserError('the npm package @tensorflow/tfjs-node-gpu is not installed: run `npm ci` in the project folder.');
  }
}

/** Folder for everything that draftalign keeps per user: DRAFTALIGN_CACHE, else XDG_CACHE_HOME/draftalign, else ~/.cache/draftalign. */
export function cacheFolder(): string {
  return process.env['DRAFTALIGN_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'draftalign');
}

/**
 * `cuda` where an NVIDIA driver is loaded, else `cpu`; the environment variable DRAFTALIGN_TENSORFLOW=cpu|cuda decides otherwise.
 * Throws where that variable holds something else.
 */
export function wantedVariant(): Variant {
  const wanted = process.env['DRAFTALIGN_TENSORFLOW'];
  if (wanted === 'cpu' || wanted === 'cuda') return wanted;
  if (wanted !== undefined && wanted !== '') throw new UserError(`the environment variable DRAFTALIGN_TENSORFLOW is "${wanted}"; it may be "cpu" or "cuda".`);
  return hasNvidiaDriver() ? 'cuda' : 'cpu';
}

/** Whether the NVIDIA kernel driver is loaded here. */
export function hasNvidiaDriver(): boolean {
  return existsSync('/proc/driver/nvidia/version') || existsSync('/dev/nvidiactl');
}

/** Where the wheel route puts a variant. The folder exists only once it is complete. */
export function installationFolder(variant: Variant): string {
  const bindingVersion = (JSON.parse(readFileSync(join(bindingPackage(), 'package.json'), 'utf8')) as { version: string }).version;
  return join(cacheFolder(), 'tensorflow', `${variant}-${tensorflowVersion}-tfjs-${bindingVersion}`);
}

/** The addon's place within an installation; it looks for its libraries in `../../deps/lib`. */
export const addonPath = join('lib', 'napi-v8', 'tfjs_binding.node');

/** What is there already: the per-user cache first, then what the package's own installer has left; undefined where neither is. */
export function findInstallation(variant: Variant = wantedVariant()): Installation | undefined {
  const folder = installationFolder(variant);
  if (existsSync(join(folder, addonPath))) {
    return { addon: join(folder, addonPath), folder, variant, source: `TensorFlow ${tensorflowVersion} from the Python wheel (${variant}), addon built here` };
  }
  const own = bindingPackage();
  if (existsSync(join(own, addonPath)) && existsSync(join(own, 'deps', 'lib'))) {
    return { addon: join(own, addonPath), folder: own, variant: 'package', source: "the npm package's own installer" };
  }
  return undefined;
}
