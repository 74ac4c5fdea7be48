// A model by folder or by Hugging Face id. An id is downloaded by @huggingface/hub into the cache that every Hugging Face
// library shares, honouring HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE. Only what a model needs
// is fetched: config, tokenizer, chat template and safetensors; of a dataset, the one file. Code in a repository is never fetched nor run.
import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { datasetInfo, downloadFileToCacheDir, HubApiError, listFiles, modelInfo } from '@huggingface/hub';
import { UserError } from '../errors.js';
import { packageRoot } from '../package-root.js';

const modelFile = /^(config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|chat_template\.(jinja|json)|model\.safetensors|model\.safetensors\.index\.json|model-\d+-of-\d+\.safetensors)$/;
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
export async function resolveModelFolder(model: string, log: Log = toStandardError): Promise<string> {
  if (await isFolder(model)) return model;
  if (model === 'demo') return join(packageRoot(), 'data', 'demo-target');
  const [id, revision = 'main'] = model.split('@') as [string, string?];
  if (!isHubId(id)) throw new UserError(`${model} is neither a folder nor a Hugging Face id (org/name).`);
  return resolveSnapshot({ type: 'model', id, revision, asked: model, choose: (files) => chooseModelFiles(id, files), isComplete: (folder) => existsSync(join(folder, 'config.json')) }, log);
}

/**
 * One file of a dataset repository, the first whose path matches `pattern`, downloaded where it is not in the cache yet.
 * @throws UserError where there is none, or it cannot be had.
 */
export async function resolveDatasetFile(id: string, pattern: RegExp, log: Log = toStandardError): Promise<string> {
  const find = (files: readonly string[]): string | undefined => [...files].sort().find((file) => pattern.test(file));
  const filesOf = async (folder: string): Promise<string[]> => readdir(folder, { recursive: true }).catch(() => []);
  const folder = await resolveSnapshot(
    {
      type: 'dataset',
      id,
      revision: 'main',
      asked: `the dataset ${id}`,
      choose: (files) => {
        const found = find(files);
        if (found === undefined) throw new UserError(`the dataset ${id} holds no file like ${pattern.source}: it has ${files.slice(0, 8).join(', ')}`);
        return [found];
      },
      isComplete: async (snapshot) => find(await filesOf(snapshot)) !== undefined,
    },
    log,
  );
  return join(folder, find(await filesOf(folder))!);
}

type Log = (line: string) => void;
const toStandardError: Log = (line) => console.error(line);

interface Wanted {
  type: 'model' | 'dataset';
  id: string;
  revision: string;
  /** What messages call it. */
  asked: string;
  /** Chooses among the repository's files. Throws UserError where what is needed is missing. */
  choose(files: readonly string[]): string[];
  /** Whether a snapshot in the cache holds what is needed. */
  isComplete(folder: string): boolean | Promise<boolean>;
}

async function resolveSnapshot(wanted: Wanted, log: Log): Promise<string> {
  const { asked } = wanted;
  const cached = await findCached(wanted);
  if (isOffline()) {
    if (cached !== undefined) return cached;
    throw new UserError(`${asked} is not in the Hugging Face cache (${hubCacheFolder()}), and HF_HUB_OFFLINE forbids a download.`);
  }
  try {
    return await download(wanted, log);
  } catch (error) {
    if (error instanceof UserError) throw error;
    if (cached !== undefined) {
      log(`${asked}: the hub does not answer (${describeHubError(error)}); using the copy in the cache, ${cached}`);
      return cached;
    }
    const notHere = wanted.type === 'model' ? `${asked} is no folder here, and` : asked;
    throw new UserError(`${notHere} cannot be downloaded from ${hubEndpoint()}: ${describeHubError(error)}${advice(error)}`);
  }
}

function chooseModelFiles(id: string, files: readonly string[]): string[] {
  const needed = files.filter((file) => modelFile.test(file));
  if (!needed.includes('config.json')) throw new UserError(`${id} holds no config.json: it is no Transformers model.`);
  // A repository may carry both a single file and shards; the single one is what is read.
  return needed.includes('model.safetensors') ? needed.filter((file) => !/^model-\d|index\.json$/.test(file)) : needed;
}

async function download({ type, id, revision, choose }: Wanted, log: Log): Promise<string> {
  const repo = { type, name: id } as const;
  const access = { hubUrl: hubEndpoint(), accessToken: process.env['HF_TOKEN'] };
  const asked = { name: id, revision, ...access };
  const { sha } = type === 'model' ? await modelInfo({ ...asked, additionalFields: ['sha'] }) : await datasetInfo({ ...asked, additionalFields: ['sha'] });
  const files: string[] = [];
  for await (const file of listFiles({ repo, revision: sha, recursive: type === 'dataset', ...access })) if (file.type === 'file') files.push(file.path);
  let folder = '';
  for (const path of choose(files).sort()) {
    const known = join(snapshotFolder(type, id, sha), path);
    if (!existsSync(known)) log(`downloading ${id}/${path}`);
    const file = await withoutDebugLines(() => downloadFileToCacheDir({ repo, path, revision: sha, cacheDir: hubCacheFolder(), ...access }));
    folder = file.slice(0, -path.length - 1);
  }
  return folder;
}

/** The hub's library tells of downloads by console.debug, which Node prints where a command's own output goes. */
async function withoutDebugLines<T>(body: () => Promise<T>): Promise<T> {
  const { debug } = console;
  console.debug = () => undefined;
  try {
    return await body();
  } finally {
    console.debug = debug;
  }
}

function repositoryFolder(type: Wanted['type'], id: string): string {
  return join(hubCacheFolder(), `${type}s--${id.replace('/', '--')}`);
}

function snapshotFolder(type: Wanted['type'], id: string, commit: string): string {
  return join(repositoryFolder(type, id), 'snapshots', commit);
}

async function findCached({ type, id, revision, isComplete }: Wanted): Promise<string | undefined> {
  const repository = repositoryFolder(type, id);
  const commit = /^[0-9a-f]{40}$/.test(revision) ? revision : (await readFile(join(repository, 'refs', revision), 'utf8').catch(() => '')).trim();
  const commits = commit !== '' ? [commit] : await readdir(join(repository, 'snapshots')).catch(() => []);
  // Without a name for it, one snapshot alone is unambiguous.
  if (commits.length !== 1) return undefined;
  const folder = snapshotFolder(type, id, commits[0]!);
  return (await isComplete(folder)) ? folder : undefined;
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
