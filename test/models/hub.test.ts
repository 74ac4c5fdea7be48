// Hugging Face ids, against a server of the test's own: what is fetched, where it is put, the token, offline mode, and what is said when
// a model cannot be had.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { afterEach, beforeEach } from 'node:test';
import { hubCacheFolder, resolveDatasetFile, resolveModelFolder } from '../../src/models/hub.js';

const commit = '0123456789abcdef0123456789abcdef01234567';
const files: Record<string, string> = {
  'config.json': '{"model_type": "llama"}',
  'tokenizer.json': '{}',
  'model.safetensors': 'weights',
  'pytorch_model.bin': 'pickled',
  'modeling_own.py': 'import os',
};
const names = ['HF_ENDPOINT', 'HF_TOKEN', 'HF_HOME', 'HF_HUB_CACHE', 'HF_HUB_OFFLINE'];

let server: Server;
let requests: { path: string; authorization?: string }[];
let saved: Record<string, string | undefined>;

beforeEach(async () => {
  saved = Object.fromEntries(names.map((name) => [name, process.env[name]]));
  for (const name of names) Reflect.deleteProperty(process.env, name);
  requests = [];
  server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  process.env['HF_ENDPOINT'] = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  process.env['HF_HOME'] = mkdtempSync(join(tmpdir(), 'draftalign-hub-'));
});

afterEach(async () => {
  for (const name of names) {
    if (saved[name] === undefined) Reflect.deleteProperty(process.env, name);
    else process.env[name] = saved[name];
  }
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

/** The few calls of the hub's interface that a download makes. */
async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = decodeURIComponent(new URL(request.url!, 'http://localhost').pathname);
  const { authorization } = request.headers;
  requests.push({ path, ...(authorization !== undefined && { authorization }) });
  let body = '';
  for await (const chunk of request) body += String(chunk);
  const json = (status: number, value: unknown): void => void response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(value));
  if (path.includes('org/gated') && authorization !== 'Bearer hf_right') return json(401, { error: 'Access to model org/gated is restricted' });
  if (path.includes('org/absent')) return json(404, { error: 'Repository not found' });
  const described = (name: string) => ({ type: 'file', path: name, size: files[name]!.length, oid: createHash('sha1').update(files[name]!).digest('hex'), lastCommit: { id: commit, title: 'files', date: '2026-01-01T00:00:00Z' } });
  if (/^\/api\/models\/org\/\w+\/revision\/(main|v1)$/.test(path)) return json(200, { _id: '1', id: 'org/model', sha: commit, likes: 0, downloads: 0, private: false, gated: false, lastModified: '2026-01-01T00:00:00Z' });
  if (path.endsWith(`/tree/${commit}`)) return json(200, Object.keys(files).map(described));
  if (path.endsWith(`/paths-info/${commit}`)) return json(200, (JSON.parse(body) as { paths: string[] }).paths.map(described));
  if (path === '/api/datasets/org/questions/revision/main') return json(200, { _id: '1', id: 'org/questions', sha: commit, likes: 0, downloads: 0, private: false, gated: false, lastModified: '2026-01-01T00:00:00Z' });
  const name = path.split('/').at(-1)!;
  if (path.includes(`/resolve/${commit}/`) && name in files) {
    const content = Buffer.from(files[name]!);
    const first = request.headers.range === 'bytes=0-0';
    response.writeHead(first ? 206 : 200, { ETag: `"${described(name).oid}"`, ...(first && { 'Content-Range': `bytes 0-0/${content.length}` }), 'Content-Length': first ? 1 : content.length });
    response.end(first ? content.subarray(0, 1) : content);
    return;
  }
  json(404, { error: `nothing at ${path}` });
}

test('an id is downloaded into the shared cache: what a model needs, no code, no pickles; a second time nothing is fetched but the revision', async () => {
  const said: string[] = [];
  const folder = await resolveModelFolder('org/model', (line) => said.push(line));
  assert.equal(folder, join(process.env['HF_HOME']!, 'hub/models--org--model/snapshots', commit));
  assert.deepEqual(readdirSync(folder).sort(), ['config.json', 'model.safetensors', 'tokenizer.json']);
  assert.equal(readFileSync(join(folder, 'model.safetensors'), 'utf8'), 'weights');
  assert.equal(said.length, 3);
  requests = [];
  assert.equal(await resolveModelFolder('org/model@v1', (line) => said.push(line)), folder);
  assert.equal(said.length, 3);
  assert.ok(!requests.some(({ path }) => path.includes('/resolve/')), JSON.stringify(requests));
});

test('HF_HUB_CACHE names the folder, and HF_TOKEN goes with every request', async () => {
  process.env['HF_HUB_CACHE'] = mkdtempSync(join(tmpdir(), 'draftalign-hub-cache-'));
  process.env['HF_TOKEN'] = 'hf_right';
  const folder = await resolveModelFolder('org/gated', () => undefined);
  assert.ok(folder.startsWith(join(hubCacheFolder(), 'models--org--gated')));
  assert.ok(requests.length > 3 && requests.every(({ authorization }) => authorization === 'Bearer hf_right'));
});

test('offline, the copy in the cache is used without asking, and its absence is said', async () => {
  const folder = await resolveModelFolder('org/model', () => undefined);
  process.env['HF_HUB_OFFLINE'] = '1';
  requests = [];
  assert.equal(await resolveModelFolder('org/model'), folder);
  await assert.rejects(resolveModelFolder('org/other'), /org\/other is not in the Hugging Face cache .*HF_HUB_OFFLINE/);
  assert.equal(requests.length, 0);
});

test('where the hub does not answer, a cached copy is used and that is said', async () => {
  const folder = await resolveModelFolder('org/model', () => undefined);
  process.env['HF_ENDPOINT'] = 'http://127.0.0.1:1';
  const said: string[] = [];
  assert.equal(await resolveModelFolder('org/model', (line) => said.push(line)), folder);
  assert.match(said[0]!, /does not answer .*using the copy in the cache/);
});

test('a model that cannot be had is told with the reason and the next step', async () => {
  await assert.rejects(resolveModelFolder('org/gated', () => undefined), /HTTP 401[\s\S]*gated: accept its terms on its page, and set HF_TOKEN/);
  await assert.rejects(resolveModelFolder('org/absent', () => undefined), /HTTP 404[\s\S]*Is the id right/);
  await assert.rejects(resolveModelFolder('no such folder', () => undefined), /neither a folder nor a Hugging Face id/);
});

test('of a dataset one file is downloaded, into its own place in the cache, and found there offline; nothing goes to standard output', async () => {
  const printed: unknown[] = [];
  const { debug } = console;
  console.debug = (...values: unknown[]) => printed.push(values);
  const file = await resolveDatasetFile('org/questions', /^tok.*\.json$/, () => undefined).finally(() => (console.debug = debug));
  assert.equal(file, join(process.env['HF_HOME']!, 'hub/datasets--org--questions/snapshots', commit, 'tokenizer.json'));
  assert.deepEqual(readdirSync(join(file, '..')), ['tokenizer.json']);
  assert.deepEqual(printed, []);
  await assert.rejects(resolveDatasetFile('org/questions', /^none$/, () => undefined), /org\/questions holds no file like \^none\$: it has config\.json/);
  process.env['HF_HUB_OFFLINE'] = '1';
  assert.equal(await resolveDatasetFile('org/questions', /^tok.*\.json$/), file);
  await assert.rejects(resolveDatasetFile('org/other', /x/), /the dataset org\/other is not in the Hugging Face cache/);
});
