// The target of a drafter that is exported: found by the run or by name, loaded only where something will be decoded.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { loadTokenizer } from '../../data/tokenizer.js';
import { UserError } from '../errors.js';
import { resolveModelFolder } from '../models/hub.js';
import { loadTarget, type Target } from '../models/target.js';
import { readTargetConfig, type TargetConfig } from '../models/target-config.js';
import type { DrafterSource } from '../training/drafter-source.js';

/** What an export knows of the target. With `loaded`, it can also be run. */
export interface ExportTarget {
  /** Hugging Face id, or the folder's own name. */
  name: string;
  /** Hugging Face id or absolute folder: what another program on this machine would load. */
  location: string;
  config: TargetConfig;
  architecture: string;
  weightFingerprint: string | null;
  tokenizerFingerprint: string | null;
  loaded?: Target;
  dispose(): void;
}

const architectures = { llama: 'LlamaForCausalLM', qwen2: 'Qwen2ForCausalLM', qwen3: 'Qwen3ForCausalLM' } as const;

/** The target that the source or its run names, or the note that our own checkpoints carry. */
export async function nameOfTarget(source: DrafterSource): Promise<string | undefined> {
  if (source.run !== undefined) return source.run.config.target;
  if (source.target !== undefined) return source.target;
  const text = await readFile(join(source.drafterFolder, 'config.json'), 'utf8').catch(() => '{}');
  let name: unknown;
  try {
    name = (JSON.parse(text) as { draftalign?: { target?: unknown } | null } | null)?.draftalign?.target;
  } catch {
    // Loading the drafter tells what is wrong with the file.
  }
  return typeof name === 'string' ? name : undefined;
}

/** Opens the target by folder or id; with `load`, its weights too. `asked`: the user named it. Undefined, with a word to `say`, without a name. */
export async function openTarget(name: string | undefined, load: boolean, asked: boolean, say: (line: string) => void): Promise<ExportTarget | undefined> {
  if (name === undefined) {
    say('the target is not known (--target names it): the drafter is not checked against it, and nothing is decoded');
    return undefined;
  }
  let folder: string;
  try {
    folder = await resolveModelFolder(name, say);
  } catch (error) {
    if (asked || !(error instanceof UserError)) throw error;
    throw new UserError(`the target that the drafter was trained for cannot be had: ${error.message}\nSay where it is by --target; with --no-verify, a folder with its config.json is enough.`);
  }
  const loaded = load ? await loadTarget(folder) : undefined;
  const config = loaded?.config ?? (await readTargetConfig(folder));
  const isId = /^[\w.-]+\/[\w.-]+(@[\w.-]+)?$/.test(name) && resolve(folder) !== resolve(name);
  return {
    // A folder's path says nothing elsewhere; a Hugging Face id does.
    name: isId ? name : basename(resolve(folder)),
    location: isId ? name : resolve(folder),
    config,
    architecture: architectures[config.architecture],
    weightFingerprint: loaded?.weightFingerprint ?? null,
    tokenizerFingerprint: await fingerprintTokenizer(folder),
    loaded,
    dispose: () => loaded?.dispose(),
  };
}

async function fingerprintTokenizer(folder: string): Promise<string | null> {
  if (!existsSync(join(folder, 'tokenizer.json'))) return null;
  return (await loadTokenizer(folder)).fingerprint;
}
