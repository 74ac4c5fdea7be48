// Sets native TensorFlow up, once per user: what is there already → the Python wheel's libraries and an addon compiled
// against them → the npm package's own installer → an error that says what to install.
// Work happens in a staging folder that is renamed into place, under a lock, so an interruption leaves nothing half-made
// and two commands at once make one installation.
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UserError } from '../errors.js';
import { acquireLock, LockHeldError } from '../lock.js';
import { addonPath, bindingPackage, findInstallation, installationFolder, tensorflowVersion, wantedVariant } from './installation.js';
import type { Installation, Variant } from './installation.js';
import { runProgram } from './run-program.js';
import { installFromWheel, missingForWheel } from './wheel.js';

/** Receives one line of progress. */
export type Log = (line: string) => void;

/**
 * Returns this machine's native TensorFlow, setting it up first where it is missing.
 * @throws UserError where no route works; the message says what each one lacked.
 */
export async function ensureTensorflow(log: Log = (line) => console.error(line)): Promise<Installation> {
  const variant = wantedVariant();
  const found = findInstallation(variant);
  if (found) return found;
  const folder = installationFolder(variant);
  const release = await waitForLock(`${folder}.lock`, log);
  try {
    return findInstallation(variant) ?? (await install(variant, folder, log));
  } finally {
    await release();
  }
}

async function waitForLock(path: string, log: Log): Promise<() => Promise<void>> {
  for (let told = false; ; told = true) {
    try {
      return await acquireLock(path);
    } catch (error) {
      if (!(error instanceof LockHeldError)) throw error;
      if (!told) log(`Another process (${error.holder.pid} on ${error.holder.host}) is setting TensorFlow up; waiting for it. If it is gone, delete ${path}.`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

async function install(variant: Variant, folder: string, log: Log): Promise<Installation> {
  await removeAbandonedStaging(folder);
  const reasons: string[] = [];
  const missing = await missingForWheel();
  if (missing.length === 0) {
    try {
      await installWheel(variant, folder, log);
      return findInstallation(variant)!;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      reasons.push(`Python wheel: ${error.message}`);
    }
  } else {
    reasons.push(`Python wheel: ${missing.join('; ')}`);
  }
  log("  this route does not work here; trying the npm package's own installer");
  try {
    await runOwnInstaller();
    const installed = findInstallation(variant);
    if (installed) return installed;
    reasons.push("npm package's own installer: it ended without error but left no addon");
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    reasons.push(`npm package's own installer: ${error.message}`);
  }
  throw new UserError(
    `TensorFlow could not be set up. What was tried:\n  - ${reasons.join('\n  - ').replaceAll('\n', '\n    ')}\n` +
      'What helps: Linux on x86-64 with python3, pip and g++ (on Debian or Ubuntu: `apt-get install python3-pip g++`), ' +
      'and a Python package index that pip reaches (see `pip config list`). Then run `draftalign setup`.',
  );
}

async function installWheel(variant: Variant, folder: string, log: Log): Promise<void> {
  const staging = `${folder}.staging-${process.pid}`;
  const started = Date.now();
  const size = variant === 'cpu' ? 'a download of 274 MB, 0.9 GB on disk' : 'a download of about 3 GB, 6 GB on disk, CUDA 12 libraries included';
  log(`Setting up TensorFlow ${tensorflowVersion} (${variant}; ${size}), once, in ${folder}. About a minute with a fast connection.`);
  await mkdir(staging, { recursive: true });
  const stop = removeOnSignals(staging);
  try {
    await installFromWheel(variant, staging, log);
    await rename(staging, folder);
  } finally {
    stop();
    await rm(staging, { recursive: true, force: true });
  }
  log(`TensorFlow is set up (${((Date.now() - started) / 1000).toFixed(0)} s). It stays there across \`npm ci\`.`);
}

/** Interrupted by Ctrl-C or a closed terminal: leave nothing behind, then end as the signal would have. */
function removeOnSignals(staging: string): () => void {
  const signals: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  const onSignal = (signal: NodeJS.Signals): void => {
    stop();
    void rm(staging, { recursive: true, force: true }).finally(() => process.kill(process.pid, signal));
  };
  const stop = (): void => {
    for (const signal of signals) process.off(signal, onSignal);
  };
  for (const signal of signals) process.on(signal, onSignal);
  return stop;
}

/** A killed set-up could not clean up after itself; whoever holds the lock now does it. */
async function removeAbandonedStaging(folder: string): Promise<void> {
  const parent = dirname(folder);
  await mkdir(parent, { recursive: true });
  for (const name of await readdir(parent)) {
    if (join(parent, name).startsWith(`${folder}.staging-`)) await rm(join(parent, name), { recursive: true, force: true });
  }
}

async function runOwnInstaller(): Promise<void> {
  const folder = bindingPackage();
  const script = join(folder, 'scripts', 'install.js');
  if (!existsSync(script)) throw new UserError(`${script} is missing`);
  try {
    await runProgram(process.execPath, [script, 'gpu', 'download'], { folder, timeoutMs: 900_000 });
  } catch (error) {
    // What it leaves half-made would pass for an installation the next time.
    await rm(join(folder, addonPath), { force: true });
    await rm(join(folder, 'deps'), { recursive: true, force: true });
    throw error;
  }
}
