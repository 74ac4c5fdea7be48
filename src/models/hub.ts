// A model by folder or by Hugging Face id. An id is downloaded by @huggingface/hub into the cache that every Hugging Face
// library shares, honouring HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE. Only what a model needs
// is fetched: config, tokenizer, chat template and safetensors. Code in a repository is never fetched nor run.
import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { downloadFileToCacheDir, HubApiError, listFiles, modelInfo } from '@huggingface/hub';
import { UserError } from '../errors.js';
import { packageRoot } from '../package-root.js';

const needed = /^(config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|chat_template\.(jinja|json)|model\.safetensors|model\.safetensors\.index\.json|model-\d+-of-\d+\.safetensors)$/;
const idPattern = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/;

/** Whether a name is written as the hub's ids are: `org/name`. */
export function isHubId(name: string): boolean {
  return idPattern.test(name);
}

/** The Hugging Face cache: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub. */
export function hubCacheFolder(): string {
  return process.env['HF_HUB_CACHE'] ?? join(process.env['HF_HOME'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'huggingface'), 'hub');
}

/**
 * The folder of a model: `demo` is the target that comes with draftalign, a folder stands for itself, `org/name` (or
 * `org/name@revision`) is downloaded where it is not in the cache yet.
 * @throws UserError where it is neither, or cannot be had; the message says which and what to do.
 */
export async function resolveModelFolder(model: string, log: (line: string) => void = (line) => console.error(line)): Promise<string> {
  if (await isFolder(model)) return model;
  if (model === 'demo') return join(packageRoot(), 'data', 'demo-target');
  const [id, revision = 'main'] = model.split('@') as [string, string?];
  if (!isHubId(id)) throw new UserError(`${model} is neither a folder nor a Hugging Face id (org/name).`);
  const cached = await findCached(id, revision);
  if (isOffline()) {
    if (cached !== undefined) return cached;
    throw new UserError(`${model} is not in the Hugging Face cache (${hubCacheFolder()}), and HF_HUB_OFFLINE forbids a download.`);
  }
  try {
    return await download(id, revision, log);
  } catch (error) {
    if (cached !== undefined) {
      log(`${model}: the hub does not answer (${describeHubError(error)}); using the copy in the cache, ${cached}`);
      return cached;
    }
    throw new UserError(`${model} is no folder here, and cannot be downloaded from ${hubEndpoint()}: ${describeHubError(error)}${advice(error)}`);
  }
}

async function download(id: string, revision: string, log: (line: string) => void): Promise<string> {
  const repo = { type: 'model', name: id } as const;
  const access = { hubUrl: hubEndpoint(), accessToken: process.env['HF_TOKEN'] };
  const { sha } = await modelInfo({ name: id, revision, additionalFields: ['sha'], ...access });
  const files: string[] = [];
  for await (const file of listFiles({ repo, revision: sha, recursive: false, ...access })) if (file.type === 'file' && needed.test(file.path)) files.push(file.path);
  if (!files.includes('config.json')) throw new UserError(`${id} holds no config.json: it is no Transformers model.`);
  // A repository may carry both a single file and shards; the single one is what is read.
  const wanted = files.includes('model.safetensors') ? files.filter((file) => !/^model-\d|index\.json$/.test(file)) : files;
  let folder = '';
  for (const path of wanted.sort()) {
    const known = join(snapshotFolder(id, sha), path);
    if (!existsSync(known)) log(`downloading ${id}/${path}`);
    const file = await downloadFileToCacheDir({ repo, path, revision: sha, cacheDir: hubCacheFolder(), ...access });
    folder = file.slice(0, -path.length - 1);
  }
  return folder;
}

function repositoryFolder(id: string): string {
  return join(hubCacheFolder(), `models--${id.replace('/', '--')}`);
}

function snapshotFolder(id: string, commit: string): string {
  return join(repositoryFolder(id), 'snapshots', commit);
}

async function findCached(id: string, revision: string): Promise<string | undefined> {
  const commit = /^[0-9a-f]{40}$/.test(revision) ? revision : (await readFile(join(repositoryFolder(id), 'refs', revision), 'utf8').catch(() => '')).trim();
  const commits = commit !== '' ? [commit] : await readdir(join(repositoryFolder(id), 'snapshots')).catch(() => []);
  // Without a name for it, one snapshot alone is unambiguous.
  if (commits.length !== 1) return undefined;
  const folder = snapshotFolder(id, commits[0]!);
  return existsSync(join(folder, 'config.json')) ? folder : undefined;
}

/** HF_ENDPOINT, else the Hugging Face hub. */
export function hubEndpoint(): string {
  return (process.env['HF_ENDPOINT'] ?? 'https://huggingface.co').replace(/\/$/, '');
}

function isOffline(): boolean {
  return /^(1|true|yes|on)$/i.test(process.env['HF_HUB_OFFLINE'] ?? '');
}

/** What a request to the hub failed for, in a line. */
export function describeHubError(error: unknown): string {
  if (error instanceof HubApiError) return `HTTP ${error.statusCode} ${error.message}`.trim();
  const cause = (error as { cause?: Error }).cause;
  return cause === undefined ? (error as Error).message : `${(error as Error).message} (${cause.message})`;
}

function advice(error: unknown): string {
  if (!(error instanceof HubApiError)) return '';
  if (error.statusCode === 401 || error.statusCode === 403) return '\nIt is private or gated: accept its terms on its page, and set HF_TOKEN.';
  return error.statusCode === 404 ? '\nIs the id right? It is written org/name.' : '';
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then((found) => found.isDirectory(), () => false);
}
