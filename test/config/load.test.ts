import test from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { configJsonSchemaText } from '../../src/config/json-schema.js';
import { configReferenceText } from '../../src/config/reference.js';
import { formatConfig, loadConfig, parseConfig } from '../../src/config/load.js';
import { defaultGamma, namedObjectives } from '../../src/config/losses.js';
import { nearest } from '../../src/config/problems.js';
import { UserError } from '../../src/errors.js';
import { packageRoot } from '../../src/package-root.js';

async function inFolder(text: string, run: (file: string, folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'draftalign-config-'));
  try {
    const file = join(folder, 'small.yaml');
    await writeFile(file, text);
    await run(file, folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function messageOf(value: unknown, set: string[] = []): string {
  try {
    parseConfig(value, { set });
  } catch (error) {
    assert.ok(error instanceof UserError, String(error));
    return error.message;
  }
  return assert.fail('the config was accepted');
}

const small = { target: 'demo', data: { tokens: 'tokens.jsonl' } };

test('all problems of a config are told at once, each with its place, what was found and what is allowed', () => {
  const message = messageOf({
    target: '',
    data: { tokens: 'a', maxLength: 4 },
    drafter: { blockSize: 'x', taps: [1, -2], layrs: 3 },
    losses: [{ term: 'chain', weight: -1 }, { term: 'chian' }, { term: 'positionalWeighting', gama: 1, on: 'k1' }],
    optimizer: { schedule: 'cosin', warmup: 3 },
    trainning: {},
  });
  for (const expected of [
    /^the config has 12 problems:/,
    /target: found "" \(string\); allowed: text that is not empty/,
    /data\.maxLength: found 4 \(number\); allowed: a whole number at least 8/,
    /drafter\.blockSize: found "x" \(string\); allowed: a whole number at least 2 and at most 256/,
    /drafter\.taps\.1: found -2/,
    /drafter\.layrs: no such key; did you mean `layers`\?/,
    /losses\.0\.weight: found -1 .* allowed: a number at least 0, or a section with from, to, over/,
    /losses\.1\.term: .*chian.*did you mean `chain`\?/,
    /losses\.2\.gama: no such key; did you mean `gamma`\?/,
    /losses\.2\.on: .*one of crossEntropy, kl, totalVariation, blend.*did you mean `kl`\?/,
    /optimizer\.schedule: .*did you mean `cosine`\?/,
    /optimizer\.warmup: found 3 \(number\); allowed: a number at least 0 and at most 1/,
    /trainning: no such key; did you mean `training`\?/,
  ]) {
    assert.match(message, expected);
  }
});

test('an objective that is not known is answered with the names there are', () => {
  const message = messageOf({ ...small, losses: 'papr' });
  assert.match(message, /losses: found "papr".*one of uniform, weighting.*or a list of.*did you mean `paper`\?/);
});

test('values that contradict each other are refused', () => {
  assert.match(messageOf({ target: 'demo' }), /exactly one of cache, tokens and prompts.*none/);
  assert.match(messageOf({ target: 'demo', data: { tokens: 'a', cache: 'b' } }), /found cache and tokens \(null takes one out, as in --set data\.tokens=null\)/);
  assert.match(messageOf({ ...small, losses: 'kl', capture: { topLogProbs: 0 } }), /capture\.topLogProbs: found 0, but positionalWeighting needs/);
  assert.match(messageOf({ ...small, training: { steps: 3, epochs: 2 } }), /contradict/);
  assert.match(messageOf({ target: 'demo', data: { cache: 'a' }, capture: { mode: 'online' } }), /online capture reads token sequences/);
});

test('overrides are YAML, reach into lists and sections, and their mistakes are named as theirs', () => {
  const set = ['training.batchSize=4', 'drafter.taps=[0, 2]', 'losses=[{term: chain}]', 'losses.0.weight=2', 'data.validationRows=null'];
  const config = parseConfig(small, { set });
  assert.equal(config.training.batchSize, 4);
  assert.deepEqual(config.drafter.taps, [0, 2]);
  assert.deepEqual(config.losses, [{ term: 'chain', denominator: 'validSlots', weight: 2 }]);
  assert.match(messageOf(small, ['training.batchsize=4']), /training\.batchsize: no such key; did you mean `batchSize`\? \(from --set\)/);
  assert.match(messageOf(small, ['training']), /expected key=value/);
  assert.match(messageOf(small, ['a=[']), /not YAML/);
  assert.match(messageOf(small, ['__proto__.polluted=1']), /no such key/);
  assert.equal(({} as { polluted?: unknown }).polluted, undefined);
});

test('named objectives expand to their terms, γ following the block size', () => {
  for (const name of Object.keys(namedObjectives)) {
    assert.ok(parseConfig({ ...small, losses: name }).losses.length > 0);
  }
  assert.deepEqual(parseConfig({ ...small, losses: 'paper' }).losses, [
    { term: 'positionalWeighting', gamma: 10, on: 'crossEntropy', eta: 3, denominator: 'weights', weight: 1 },
    { term: 'firstErrorFocal', focusing: 0, on: 'crossEntropy', eta: 3, denominator: 'blocksWithError', weight: 0.3 },
    { term: 'chain', denominator: 'validSlots', weight: 40 },
  ]);
  assert.deepEqual(parseConfig(small).losses, parseConfig({ ...small, losses: 'best' }).losses, 'the default');
  assert.deepEqual([4, 8, 10, 16, 32].map(defaultGamma), [2, 4, 5, 10, 20]);
});

test('the resolved config reads back as itself', () => {
  const config = parseConfig({ ...small, losses: 'paper-warmed', drafter: { taps: 3 } });
  assert.deepEqual(parseConfig(parse(formatConfig(config))), config);
});

test('a file\'s paths start at its folder, those of overrides at the working folder; `demo` is the built-in target', async () => {
  await inFolder('target: ./model\ndata:\n  prompts: [a.jsonl, maths=c.jsonl, /b.jsonl]\n', async (file, folder) => {
    const config = await loadConfig(file, { set: ['capture.folder=cache'] });
    assert.equal(config.target, join(folder, 'model'));
    assert.deepEqual(config.data.prompts, [join(folder, 'a.jsonl'), `maths=${join(folder, 'c.jsonl')}`, '/b.jsonl']);
    assert.equal(config.capture.folder, join(process.cwd(), 'cache'));
    assert.equal(config.output.folder, join(process.cwd(), 'runs/small'));
  });
  assert.equal(parseConfig(small).target, join(packageRoot(), 'data/demo-target'));
  assert.equal(parseConfig({ ...small, target: 'org/model' }).target, 'org/model');
});

test('a file\'s problems come with their lines', async () => {
  await inFolder('target: demo\ndata:\n  tokens: a\n\ntraining:\n  steps: 0\n  bachSize: 2\n', async (file) => {
    await assert.rejects(loadConfig(file), (error: Error) => {
      assert.ok(error instanceof UserError);
      assert.match(error.message, /training\.steps: found 0 .* \(line 6\)/);
      assert.match(error.message, /training\.bachSize: .*`batchSize`\? \(line 7\)/);
      return true;
    });
  });
});

test('a file that is absent, not YAML, or an alias bomb is an error that names it', async () => {
  await assert.rejects(loadConfig('/nowhere.yaml'), /no config file at \/nowhere\.yaml/);
  await inFolder('a: [1\nb: 2\nb: 3', async (file) => assert.rejects(loadConfig(file), /is not valid YAML:[\s\S]*small\.yaml:\d+:/));
  const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]', ...'bcdefgh'.split('').map((name, i) => `${name}: &${name} [${Array(9).fill(`*${'abcdefg'[i]}`).join(', ')}]`)];
  await inFolder(bomb.join('\n'), async (file) => assert.rejects(loadConfig(file), UserError));
});

test('near misses are found whatever their case and joints', () => {
  assert.equal(nearest('batch_size', ['batchSize', 'steps']), 'batchSize');
  assert.equal(nearest('anchors_per_seqence', ['anchorsPerSequence']), 'anchorsPerSequence');
  assert.equal(nearest('zzz', ['batchSize', 'steps']), undefined);
});

test('configs/schema.json and docs/config.md are what the definition gives (npm run schema)', async () => {
  assert.equal(await readFile(join(packageRoot(), 'configs/schema.json'), 'utf8'), configJsonSchemaText());
  assert.equal(await readFile(join(packageRoot(), 'docs/config.md'), 'utf8'), configReferenceText());
});
