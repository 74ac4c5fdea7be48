// Uploads an exported drafter to the Hugging Face hub (or to HF_ENDPOINT) by @huggingface/hub: one commit with all files, weights by the
// hub's large-file protocol. What is uploaded is what the export recorded: a file changed since then is refused.
import { existsSync } from 'node:fs';
import { readFile, readdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createRepo, HubApiError, uploadFiles } from '@huggingface/hub';
import { UserError } from '../errors.js';
import { sha256File } from '../files.js';
import { describeHubError, hubEndpoint, isHubId } from './hub.js';

export interface UploadOptions {
  /** Folder that `draftalign export` wrote. */
  folder: string;
  /** `org/name`; made where it does not exist. */
  repository: string;
  /** For a repository that is made. */
  private?: boolean;
  branch?: string;
  message?: string;
  say?: (line: string) => void;
}

/**
 * Uploads every file of the folder (hidden ones aside) in one commit. Returns the commit's address.
 * @throws UserError where the folder is no export or was changed, there is no token, or the hub refuses
 */
export async function uploadDrafter(options: UploadOptions): Promise<{ url: string; files: string[] }> {
  const { repository, branch = 'main', say = () => undefined } = options;
  const folder = resolve(options.folder);
  if (!isHubId(repository)) throw new UserError(`${repository} is not a Hugging Face id (org/name).`);
  const accessToken = process.env['HF_TOKEN'];
  if (accessToken === undefined || accessToken === '') throw new UserError('HF_TOKEN is not set: an upload needs a token that may write. Make one on the hub, under settings.');
  const files = await exportedFiles(folder);
  const access = { hubUrl: hubEndpoint(), accessToken };
  const repo = { type: 'model', name: repository } as const;
  try {
    await createRepo({ repo, ...(options.private === true && { visibility: 'private' as const }), ...access }).then(
      () => say(`made ${repository}`),
      (error: unknown) => {
        // It is there already.
        if (!(error instanceof HubApiError && error.statusCode === 409)) throw error;
      },
    );
    say(`uploading ${files.length} files, ${((await totalBytes(folder, files)) / 2 ** 20).toFixed(1)} MiB, to ${repository}`);
    const commit = await uploadFiles({
      repo,
      branch,
      files: files.map((path) => ({ path, content: pathToFileURL(join(folder, path)) })),
      commitTitle: options.message ?? `Upload ${basename(folder)} by draftalign`,
      ...access,
    });
    if (commit === undefined) throw new Error('the hub made no commit');
    return { url: commit.commit.url, files };
  } catch (error) {
    throw new UserError(`${repository} could not be uploaded to ${hubEndpoint()}: ${describeHubError(error)}${advice(error)}`);
  }
}

/** Names of the folder's files, checked against what the export wrote down. */
async function exportedFiles(folder: string): Promise<string[]> {
  const recordFile = join(folder, 'draftalign.json');
  if (!existsSync(recordFile)) throw new UserError(`${folder} is no exported drafter: it has no draftalign.json. Write one by \`draftalign export RUN --out DIR\`.`);
  let recorded: Record<string, { sha256: string }>;
  try {
    recorded = (JSON.parse(await readFile(recordFile, 'utf8')) as { files: typeof recorded }).files;
  } catch (error) {
    throw new UserError(`${recordFile} cannot be read: ${(error as Error).message}`);
  }
  const problems: string[] = [];
  for (const [name, { sha256 }] of Object.entries(recorded)) {
    const path = join(folder, name);
    if (!existsSync(path)) problems.push(`${name} is missing`);
    else if ((await sha256File(path)) !== sha256) problems.push(`${name} is not the file that was exported and verified`);
  }
  if (problems.length > 0) throw new UserError(`${folder} was changed since it was exported:\n${problems.map((problem) => `  - ${problem}`).join('\n')}\nExport it again.`);
  const entries = await readdir(folder, { withFileTypes: true });
  return entries.filter((entry) => entry.isFile() && !entry.name.startsWith('.')).map((entry) => entry.name).sort();
}

async function totalBytes(folder: string, files: string[]): Promise<number> {
  const sizes = await Promise.all(files.map(async (name) => (await stat(join(folder, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function advice(error: unknown): string {
  if (error instanceof TypeError && /token/.test(error.message)) return '\nHF_TOKEN must hold a token of the hub.';
  if (!(error instanceof HubApiError) || (error.statusCode !== 401 && error.statusCode !== 403)) return '';
  return '\nMay the token in HF_TOKEN write to that name?';
}
