// What is shipped: data/demo-target and data/demo-prompts are what the scripts make, fit together, and the model has learned.
import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { readPrompts } from '../../data/prompts.js';
import { loadTokenizer } from '../../data/tokenizer.js';
import { chatText, specialIds, vocabSize } from '../../scripts/demo-corpus/chat-tokenizer.js';
import { domains, writeConversation } from '../../scripts/demo-corpus/index.js';
import { demoTargetConfig } from '../../scripts/demo-corpus/model-config.js';
import { packStep, packUnseen, rowLength } from '../../scripts/demo-corpus/packing.js';
import { trainingQuestions } from '../../scripts/demo-corpus/prompts.js';
import { languageModelLoss, rowTensors } from '../../scripts/demo-corpus/training-step.js';
import { packageRoot } from '../../src/package-root.js';
import { loadTarget } from '../../src/models/target-checkpoint.js';
import { loadTensorflow } from '../../src/tensorflow/load.js';
import { tf } from '../../src/tensorflow/ops.js';

const folder = join(packageRoot(), 'data/demo-target');
const prompts = join(packageRoot(), 'data/demo-prompts');

test('the chat template writes what the target was trained on, and ids come back as text', async () => {
  const tokenizer = await loadTokenizer(folder);
  assert.equal(tokenizer.size, vocabSize);
  for (const domain of domains) {
    const messages = writeConversation(domain, 'validation', 3);
    assert.equal(tokenizer.applyChatTemplate(messages), chatText(messages));
    const asked = tokenizer.applyChatTemplate(messages.slice(0, 1), { addGenerationPrompt: true });
    assert.ok(chatText(messages).startsWith(asked));
    const ids = tokenizer.encode(chatText(messages), { addSpecialTokens: false });
    assert.equal(ids[0], specialIds.start);
    assert.equal(tokenizer.decode(ids, { skipSpecialTokens: false }), chatText(messages));
  }
});

test('training rows hold whole conversations, their labels are the next tokens, and padding weighs nothing', async () => {
  const tokenizer = await loadTokenizer(folder);
  const rows = packStep((text) => tokenizer.encode(text, { addSpecialTokens: false }), 5);
  let used = 0;
  for (let row = 0; row < rows.count; row++) {
    const ids = [...rows.inputs.subarray(row * rowLength, (row + 1) * rowLength)];
    const length = ids.findLastIndex((id) => id !== specialIds.pad) + 1;
    used += length;
    assert.equal(ids[0], specialIds.start);
    assert.equal(ids.filter((id) => id === specialIds.start).length, ids.filter((id) => id === specialIds.end).length);
    for (let i = 0; i < rowLength; i++) {
      const at = row * rowLength + i;
      if (rows.lossWeights[at]! > 0) assert.equal(rows.labels[at], ids[i + 1]);
      if (i >= length - 1) assert.equal(rows.lossWeights[at], 0);
    }
  }
  assert.ok(used > 0.85 * rows.inputs.length, `only ${used} of ${rows.inputs.length} places are used`);
});

test('held-out prompts: at least 60 a domain, none twice, none in a training text or in the drafter set', async () => {
  const seen = trainingQuestions(3000);
  const training = await readPrompts(join(prompts, 'train.jsonl'));
  for (const row of training) seen.add(row.messages![0]!.content as string);
  assert.ok(training.length >= 3000);
  for (const domain of domains) {
    const rows = await readPrompts(join(prompts, `${domain}.jsonl`));
    assert.ok(rows.length >= 60);
    for (const row of rows) {
      assert.equal(row.domain, domain);
      const question = row.messages![0]!.content as string;
      assert.ok(!seen.has(question), question);
      seen.add(question);
    }
  }
});

test('the shipped target is small, has the shape its script states, and predicts unseen text of every domain', async () => {
  await loadTensorflow();
  assert.ok((await stat(join(folder, 'model.safetensors'))).size < 12e6);
  const target = await loadTarget(folder);
  const tokenizer = await loadTokenizer(folder);
  assert.deepEqual(target.config, { ...demoTargetConfig, bosTokenId: undefined });
  const held = packUnseen((text) => tokenizer.encode(text, { addSpecialTokens: false }), 2, trainingQuestions(1000));
  for (const domain of domains) {
    const [loss] = tf.tidy(() => languageModelLoss(target.config, target.weights, rowTensors(held[domain])).dataSync());
    assert.ok(loss! < 1.2, `${domain}: ${loss} nats a token`);
  }
  target.dispose();
});
