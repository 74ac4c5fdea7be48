import assert from 'node:assert/strict';
import test from 'node:test';
import { mkdtemp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dependenciesText } from '../scripts/write-dependencies.js';
import { packageRoot } from '../src/package-root.js';

test('docs/dependencies.md is what the lock file says', async () => {
  assert.equal(await readFile(join(packageRoot(), 'docs/dependencies.md'), 'utf8'), dependenciesText(), 'run `npm run dependencies`');
});

test('the lock file names packages and hashes, and no address to download them from', async () => {
  const text = await readFile(join(packageRoot(), 'package-lock.json'), 'utf8');
  assert.doesNotMatch(text, /"resolved"|https?:\/\/registry/);
});

test('with tar lifted, the installer of the TensorFlow package still unpacks what it downloads', async () => {
  const require = createRequire(import.meta.url);
  const ofTensorflow = createRequire(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
  const tar = ofTensorflow('tar') as { c(options: object, files: string[]): Promise<void> };
  const { downloadAndUnpackResource } = ofTensorflow('./scripts/resources.js') as { downloadAndUnpackResource(uri: string, folder: string, done: () => void): Promise<void> };
  const folder = await mkdtemp(join(tmpdir(), 'draftalign-tar-'));
  const proxies = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'].map((name): [string, string | undefined] => [name, process.env[name]]);
  for (const [name] of proxies) Reflect.deleteProperty(process.env, name);
  try {
    await mkdir(join(folder, 'lib'));
    await mkdir(join(folder, 'out'));
    await writeFile(join(folder, 'lib/library.so'), 'a library');
    await tar.c({ gzip: true, cwd: folder, file: join(folder, 'library.tar.gz') }, ['lib']);
    const archive = await readFile(join(folder, 'library.tar.gz'));
    const server = createServer((_, response) => response.writeHead(200, { 'content-length': archive.length }).end(archive)).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise<void>((resolve, reject) => void downloadAndUnpackResource(`http://127.0.0.1:${port}/library.tar.gz`, join(folder, 'out'), resolve).catch(reject));
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    assert.equal(await readFile(join(folder, 'out/lib/library.so'), 'utf8'), 'a library');
  } finally {
    for (const [name, value] of proxies) if (value !== undefined) process.env[name] = value;
    await rm(folder, { recursive: true });
  }
});
