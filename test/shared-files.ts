// Finds the test material that lies beside the project (../shared): real checkpoints and golden values.
// It is not part of the project, so tests that use it skip, saying so, where it is absent.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../src/package-root.js';

/** Absolute path of a file or folder of the test material, or undefined where it is absent. */
export function sharedPath(relative: string): string | undefined {
  const path = join(packageRoot(), '..', 'shared', relative);
  return existsSync(path) ? path : undefined;
}

/** Options for `test()` that skip it, with a message, where any of the files is absent. */
export function needsShared(...relative: string[]): { skip: string | false } {
  const missing = relative.filter((path) => sharedPath(path) === undefined);
  return { skip: missing.length > 0 ? `needs test material that is absent here: ${missing.join(', ')}` : false };
}
