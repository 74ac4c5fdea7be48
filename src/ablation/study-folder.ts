// The folder of a study:
//   study.yaml  study.json  log.txt  cells/<cell>.json  runs/<training>/{config.yaml, metrics.jsonl, log.txt, events/, drafter/}  cache-<key>/
// A training is finished when its folder holds `drafter/`; its checkpoints are gone then.
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { runPaths } from '../training/run-folder.js';
import { drafterFolders } from '../training/checkpoints.js';

/** Paths of a study's parts. */
export function studyPaths(folder: string) {
  return {
    config: join(folder, 'study.yaml'),
    document: join(folder, 'study.json'),
    log: join(folder, 'log.txt'),
    cell: (id: string) => join(folder, 'cells', `${id}.json`),
    cellLock: (id: string) => join(folder, 'cells', `.${id}.lock`),
    run: (name: string) => join(folder, 'runs', name),
    cache: (key: string) => join(folder, `cache-${key}`),
  };
}

/** Where a finished training's drafter lies. */
export function drafterOf(runFolder: string): string {
  return join(runFolder, 'drafter');
}

/** Whether a training is finished and kept. */
export function isKept(runFolder: string): boolean {
  return existsSync(join(drafterOf(runFolder), 'config.json'));
}

/** Keeps a finished training's last drafter and lets go of its checkpoints. */
export async function keepDrafter(runFolder: string): Promise<void> {
  const { checkpoints } = runPaths(runFolder);
  const { last } = await drafterFolders(checkpoints);
  await rename(last, drafterOf(runFolder));
  await rm(checkpoints, { recursive: true });
}
