// Set-up with a stand-in for pip and for the compiler: what is tested is the order, the lock and what an interruption leaves.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { packageRoot } from '../../src/package-root.js';

const supported = process.platform === 'linux' && process.arch === 'x64';

/** A `python3` whose `pip download` makes tiny wheels, slowly if asked, and a compiler that writes its output file. */
async function makeStandIns(folder: string, downloadSeconds: number): Promise<Record<string, string>> {
  const python = join(folder, 'python3');
  const compiler = join(folder, 'g++');
  const files = {
    'tensorflow/libtensorflow_cc.so.2': 'x',
    'tensorflow/libtensorflow_framework.so.2': 'x',
    'tensorflow/include/a.h': 'x',
    'tensorflow-1.dist-info/METADATA': "Requires-Dist: nvidia-cusolver-cu12>=1; extra == 'and-cuda'\n",
    'nvidia/cusolver/lib/libcusolver.so.11': 'solver',
    'nvidia/cusparse/lib/libcusparse.so.12': 'sparse',
  };
  const program = join(folder, 'make-wheel.py');
  await writeFile(program, `import json, sys, zipfile\nwith zipfile.ZipFile(sys.argv[1] + '/t.whl', 'w') as wheel:\n    for name, text in json.loads(${JSON.stringify(JSON.stringify(files))}).items():\n        wheel.writestr(name, text)\n`);
  await writeFile(
    python,
    `#!/bin/bash
if [ "$1 $2 $3" = "-m pip --version" ]; then echo pip; exit 0; fi
if [ "$1 $2 $3" = "-m pip download" ]; then
  echo download >> ${folder}/downloads.txt
  sleep ${downloadSeconds}
  while [ "$1" != "--dest" ]; do shift; done
  exec python3 ${program} "$2"
fi
exec /usr/bin/env -i PATH="$PATH" python3 "$@"
`,
  );
  await writeFile(compiler, `#!/bin/bash\nwhile [ $# -gt 0 ]; do if [ "$1" = "-o" ]; then echo addon > "$2"; fi; shift; done\n`);
  await chmod(python, 0o755);
  await chmod(compiler, 0o755);
  return { ...(process.env as Record<string, string>), PYTHON: python, CXX: compiler, DRAFTALIGN_CACHE: join(folder, 'cache'), DRAFTALIGN_TENSORFLOW: 'cpu' };
}

interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  output: string;
}

function startSetup(env: Record<string, string>): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [join(packageRoot(), 'dist/src/cli.js'), 'setup'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return { child, ended: new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal, output }))) };
}

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'draftalign-setup-'));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function waitForFile(path: string): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (await readFile(path).then(() => true, () => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${path} did not appear`);
}

const options = { skip: supported ? false : 'the wheel route needs Linux on x86-64' };

test('two set-ups at once make one installation, and a third finds it there', options, () =>
  inFolder(async (folder) => {
    const env = await makeStandIns(folder, 1);
    const ended = await Promise.all([startSetup(env).ended, startSetup(env).ended]);
    for (const { code, output } of ended) assert.equal(code, 0, output);
    assert.equal((await startSetup(env).ended).code, 0);
    assert.equal((await readFile(join(folder, 'downloads.txt'), 'utf8')).trim().split('\n').length, 1);
    const made = await readdir(join(folder, 'cache', 'tensorflow'));
    assert.equal(made.length, 1, made.join(', '));
  }));

test('Ctrl-C in the middle leaves nothing behind', options, () =>
  inFolder(async (folder) => {
    const env = await makeStandIns(folder, 30);
    const { child, ended } = startSetup(env);
    await waitForFile(join(folder, 'downloads.txt'));
    child.kill('SIGINT');
    const { code } = await ended;
    assert.notEqual(code, 0);
    const left = (await readdir(join(folder, 'cache', 'tensorflow'))).filter((name) => !name.endsWith('.lock'));
    assert.deepEqual(left, []);
  }));

test('after a killed set-up the next one starts afresh and succeeds', options, () =>
  inFolder(async (folder) => {
    const { child, ended } = startSetup(await makeStandIns(folder, 30));
    await waitForFile(join(folder, 'downloads.txt'));
    child.kill('SIGKILL');
    await ended;
    const next = await startSetup(await makeStandIns(folder, 0)).ended;
    assert.equal(next.code, 0, next.output);
    const made = await readdir(join(folder, 'cache', 'tensorflow'));
    assert.equal(made.length, 1, made.join(', '));
  }));

test('every CUDA library lies where TensorFlow searches for it', options, () =>
  inFolder(async (folder) => {
    const env = { ...(await makeStandIns(folder, 0)), DRAFTALIGN_TENSORFLOW: 'cuda' };
    const { code, output } = await startSetup(env).ended;
    assert.equal(code, 0, output);
    const [made] = await readdir(join(folder, 'cache', 'tensorflow'));
    // cuSOLVER's own folder is not searched, cuSPARSE's is.
    assert.equal(await readFile(join(folder, 'cache', 'tensorflow', made!, 'deps/nvidia/cusparse/lib/libcusolver.so.11'), 'utf8'), 'solver');
  }));
