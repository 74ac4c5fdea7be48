// Push against a hub of our own on this machine: it speaks the parts of the hub's protocol that an upload needs, and keeps what it gets.
import test, { before } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportDrafter } from '../../src/commands/export-drafter.js';
import { loadDrafter, saveDrafter } from '../../src/models/drafter-checkpoint.js';
import { initDrafterWeights } from '../../src/models/drafter-init.js';
import { uploadDrafter } from '../../src/models/hub-upload.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';

before(async () => {
  await loadTensorflow();
});

const temporaryFolder = () => mkdtempSync(join(tmpdir(), 'draftalign-push-'));

async function exportSomething(): Promise<string> {
  const config = { blockSize: 4, maskTokenId: 3, targetLayerIds: [1, 2], numTargetLayers: 5, hiddenSize: 12, intermediateSize: 20, numHiddenLayers: 2, numAttentionHeads: 6, numKeyValueHeads: 2, headDim: 4, rmsNormEps: 1e-6, rope: { type: 'default' as const, theta: 50000 }, vocabSize: 30, maxPositionEmbeddings: 128, attentionBias: false };
  const [source, out] = [join(temporaryFolder(), 'drafter'), join(temporaryFolder(), 'my-drafter')];
  const weights = initDrafterWeights(config, 1);
  await saveDrafter(source, config, weights, { dtype: 'F32' });
  tf.dispose(weights);
  await exportDrafter({ source, out });
  return out;
}

/** What arrived at the hub. */
interface Received {
  repositories: { name: string; private: boolean }[];
  commits: { branch: string; title: string; files: Map<string, Buffer> }[];
}

const token = 'hf_test';

/** Runs `body` with HF_ENDPOINT and HF_TOKEN set to a hub that serves until it returns. */
async function withHub(body: (received: Received) => Promise<void>): Promise<void> {
  const received: Received = { repositories: [], commits: [] };
  const large = new Map<string, Buffer>();
  let origin = '';
  /** Status and JSON of the answer. */
  async function answer(request: IncomingMessage): Promise<[number, unknown]> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const content = Buffer.concat(chunks);
    const path = decodeURIComponent(request.url!);
    const upload = /^\/upload\/([0-9a-f]{64})$/.exec(path)?.[1];
    if (request.method === 'PUT' && upload !== undefined) {
      assert.equal(createHash('sha256').update(content).digest('hex'), upload, 'the weights arrive as announced');
      large.set(upload, content);
      return [200, {}];
    }
    if (request.headers.authorization !== `Bearer ${token}`) return [401, { error: 'Invalid credentials' }];
    if (path === '/api/repos/create') {
      const { name, organization, visibility } = JSON.parse(content.toString()) as { name: string; organization: string; visibility?: string };
      if (organization !== 'me') return [403, { error: `no rights over ${organization}` }];
      if (received.repositories.some((known) => known.name === name)) return [409, { error: 'You already created this model repo' }];
      received.repositories.push({ name, private: visibility === 'private' });
      return [200, { url: `${origin}/me/${name}` }];
    }
    if (path.startsWith('/api/models/me/my-drafter/preupload/')) {
      const { files } = JSON.parse(content.toString()) as { files: { path: string }[] };
      return [200, { files: files.map((file) => ({ path: file.path, uploadMode: file.path.endsWith('.safetensors') ? 'lfs' : 'regular' })) }];
    }
    if (path === '/me/my-drafter.git/info/lfs/objects/batch') {
      const { objects } = JSON.parse(content.toString()) as { objects: { oid: string; size: number }[] };
      return [200, { transfer: 'basic', objects: objects.map(({ oid, size }) => ({ oid, size, actions: large.has(oid) ? {} : { upload: { href: `${origin}/upload/${oid}` } } })) }];
    }
    const branch = /^\/api\/models\/me\/my-drafter\/commit\/(\w+)$/.exec(path)?.[1];
    if (branch !== undefined) {
      const lines = content.toString().split('\n').map((line) => JSON.parse(line) as { key: string; value: Record<string, string> });
      const files = new Map(lines.filter(({ key }) => key !== 'header').map(({ key, value }) => [value['path']!, key === 'lfsFile' ? large.get(value['oid']!)! : Buffer.from(value['content']!, 'base64')]));
      received.commits.push({ branch, title: lines[0]!.value['summary']!, files });
      return [200, { success: true, commitOid: 'a'.repeat(40), commitUrl: `${origin}/me/my-drafter/commit/${'a'.repeat(40)}`, hookOutput: '' }];
    }
    return [404, { error: `no ${path}` }];
  }
  const server = createServer((request, response) => {
    answer(request).then(
      ([status, json]) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json)),
      (error: Error) => response.writeHead(500).end(error.message),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const saved = { HF_ENDPOINT: process.env['HF_ENDPOINT'], HF_TOKEN: process.env['HF_TOKEN'] };
  Object.assign(process.env, { HF_ENDPOINT: `${origin}/`, HF_TOKEN: token });
  try {
    await body(received);
  } finally {
    for (const [name, value] of Object.entries(saved)) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

test('an exported folder arrives whole, byte for byte, in one commit, and loads again', async () => {
  const folder = await exportSomething();
  writeFileSync(join(folder, 'LICENSE'), 'mine');
  writeFileSync(join(folder, '.DS_Store'), 'not for others');
  await withHub(async (received) => {
    const { url, files } = await uploadDrafter({ folder, repository: 'me/my-drafter', private: true });
    assert.match(url, /\/me\/my-drafter\/commit\/a{40}$/);
    assert.deepEqual(files, ['LICENSE', 'README.md', 'config.json', 'draftalign.json', 'model.safetensors']);
    assert.deepEqual(received.repositories, [{ name: 'my-drafter', private: true }]);
    const [commit] = received.commits;
    assert.equal(commit!.title, 'Upload my-drafter by draftalign');
    assert.deepEqual([...commit!.files.keys()].sort(), files);
    const copy = temporaryFolder();
    for (const [name, content] of commit!.files) {
      assert.deepEqual(content, readFileSync(join(folder, name)), name);
      writeFileSync(join(copy, name), content);
    }
    (await loadDrafter(copy)).dispose();

    // Once more, to another branch: the repository is there, and so are the weights.
    await uploadDrafter({ folder, repository: 'me/my-drafter', branch: 'next', message: 'Again' });
    assert.deepEqual(received.commits.map(({ branch, title }) => [branch, title]), [['main', 'Upload my-drafter by draftalign'], ['next', 'Again']]);
    assert.equal(received.repositories.length, 1);
  });
});

test('weights changed after their export are refused before anything is sent', async () => {
  const folder = await exportSomething();
  await withHub(async (received) => {
    writeFileSync(join(folder, 'config.json'), `${readFileSync(join(folder, 'config.json'), 'utf8')}\n`);
    await assert.rejects(uploadDrafter({ folder, repository: 'me/my-drafter' }), /config\.json is not the file that was exported[^]*Export it again/);
    const other = temporaryFolder();
    writeFileSync(join(other, 'config.json'), '{}');
    await assert.rejects(uploadDrafter({ folder: other, repository: 'me/my-drafter' }), /no exported drafter/);
    assert.deepEqual(received, { repositories: [], commits: [] });
  });
  assert.ok(readdirSync(folder).includes('model.safetensors'));
});

test('a missing or refused token, a foreign name and an id that is none are told apart', async () => {
  const folder = await exportSomething();
  await withHub(async (received) => {
    await assert.rejects(uploadDrafter({ folder, repository: 'my-drafter' }), /not a Hugging Face id/);
    await assert.rejects(uploadDrafter({ folder, repository: 'them/my-drafter' }), /HTTP 403[^]*May the token in HF_TOKEN write/);
    process.env['HF_TOKEN'] = 'hf_other';
    await assert.rejects(uploadDrafter({ folder, repository: 'me/my-drafter' }), /HTTP 401/);
    process.env['HF_TOKEN'] = 'secret';
    await assert.rejects(uploadDrafter({ folder, repository: 'me/my-drafter' }), /must hold a token/);
    delete process.env['HF_TOKEN'];
    await assert.rejects(uploadDrafter({ folder, repository: 'me/my-drafter' }), /HF_TOKEN is not set/);
    assert.deepEqual(received, { repositories: [], commits: [] });
  });
});
