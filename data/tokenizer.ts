// A target's tokenizer: tokenizer.json and tokenizer_config.json as Transformers writes them, with the chat template from
// wherever the folder keeps it. Everything is read from JSON; nothing in a model folder is run but the template, in its cage.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { UserError } from '../src/errors.js';
import { compileChatTemplate, TimeLimitError, withinTime, type TemplateOptions } from './chat-template.js';

/** An added token, such as `<|im_end|>`. */
export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
}

/** Ids of the tokens with a role. */
export interface SpecialIds {
  bos?: number;
  eos?: number;
  pad?: number;
  unk?: number;
  /** Tokens that end an answer: eos, and what config.json and generation_config.json add to it. */
  stop: number[];
}

/** A loaded tokenizer. */
export interface Tokenizer {
  /** Text to ids. Special tokens (such as a leading `<s>`) are added unless told otherwise; leave them out after a chat template. */
  encode(text: string, options?: { addSpecialTokens?: boolean }): number[];
  /** Ids to text; special tokens are kept unless told otherwise. */
  decode(ids: ArrayLike<number>, options?: { skipSpecialTokens?: boolean }): string;
  /** Renders messages; throws UserError where there is no chat template, `TemplateError` where it refuses them. */
  applyChatTemplate(messages: readonly { role: string; content: string }[], options?: TemplateOptions): string;
  readonly hasChatTemplate: boolean;
  /** SHA-256 of tokenizer.json and the chat template. */
  readonly fingerprint: string;
  readonly specialIds: SpecialIds;
  readonly addedTokens: readonly AddedToken[];
  /** One more than the highest id. */
  readonly size: number;
  /** The folder it was read from. */
  readonly folder: string;
}

type Json = Record<string, unknown>;

const MOST_ID = 2 ** 24;
/** Each step may double a text (ByteLevel does, beyond ASCII), so that many in a row grow without measure; published tokenizers have up to six. */
const MOST_STEPS = 16;
const MOST_FILE_BYTES = 512 * 2 ** 20;

/**
 * Loads the tokenizer of a model folder.
 * @throws UserError naming file and field where something is missing or malformed
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const path = join(folder, 'tokenizer.json');
  const bytes = await readOptional(path);
  if (bytes === undefined) {
    throw new UserError(`${folder}: has no tokenizer.json, so its text cannot be tokenized. Save it with \`AutoTokenizer.from_pretrained(…, use_fast=True).save_pretrained(folder)\`, or work with token ids`);
  }
  const definition = parseObject(bytes, path);
  const size = checkDefinition(definition, path);
  const configPath = join(folder, 'tokenizer_config.json');
  const config = await readObject(configPath);
  const special = specialTokens({ ...(await readObject(join(folder, 'special_tokens_map.json'))), ...config }, configPath);
  const tokenizer = construct(definition, config, path);
  const addedTokens = (definition['added_tokens'] as AddedToken[]).map(({ id, content, special: isSpecial }) => ({ id, content, special: isSpecial === true }));
  const found = await findTemplate(folder, config, configPath);
  const template = found && compileChatTemplate(found.source, special, found.where);
  const idOf = (name: string): number | undefined => (special[name] === undefined ? undefined : tokenizer.token_to_id(special[name]));
  const eos = idOf('eos_token');
  const specialIds: SpecialIds = { bos: idOf('bos_token'), eos, pad: idOf('pad_token'), unk: idOf('unk_token'), stop: await readStopIds(folder, eos) };
  return {
    encode: (text, options) => bounded(path, text.length, () => tokenizer.encode(text, { add_special_tokens: options?.addSpecialTokens ?? true }).ids),
    decode: (ids, options) =>
      ids.length === 0
        ? ''
        : bounded(path, ids.length, () => tokenizer.decode(Array.from(ids), { skip_special_tokens: options?.skipSpecialTokens ?? false, clean_up_tokenization_spaces: false })),
    applyChatTemplate(messages, options) {
      if (template === undefined) throw new UserError(`${folder}: has no chat template (in tokenizer_config.json, chat_template.jinja or chat_template.json); use raw prompts`);
      return template.render(messages, options);
    },
    hasChatTemplate: template !== undefined,
    fingerprint: createHash('sha256').update(bytes).update('\0').update(found?.source ?? '').digest('hex'),
    specialIds,
    addedTokens,
    size,
    folder,
  };
}

/** Patterns come with the file, and one that backtracks without end would hold the program for ever. The limit is far above what honest ones take. */
function bounded<T>(path: string, length: number, work: () => T): T {
  try {
    return withinTime(work, 2000 + Math.ceil(length / 20));
  } catch (error) {
    if (error instanceof UserError) throw error;
    const reason = error instanceof TimeLimitError ? `${error.message} on a text of ${length} characters; its patterns backtrack without end` : (error as Error).message;
    throw new UserError(`${path}: cannot be used: ${reason}`);
  }
}

function construct(definition: Json, config: Json, path: string): HuggingFaceTokenizer {
  try {
    const tokenizer = withinTime(() => new HuggingFaceTokenizer(definition, config), 60_000);
    boundGrowth(tokenizer);
    // A first use finds broken parts now and not in the middle of a long preparation.
    withinTime(() => tokenizer.decode([...tokenizer.encode('The quick brown fox, 12 × 3.\n\tüber').ids, 0], { clean_up_tokenization_spaces: false }), 5000);
    return tokenizer;
  } catch (error) {
    throw new UserError(`${path}: cannot be used: ${(error as Error).message}. It is damaged, or uses a part that @huggingface/tokenizers does not know`);
  }
}

/** Replacing one letter by two, thirty times over, would fill memory; real normalizers give at most eighteen characters for one (NFKC). */
function boundGrowth(tokenizer: HuggingFaceTokenizer): void {
  const normalize = tokenizer.normalizer as unknown as ((text: string) => string) | null;
  if (normalize === null) return;
  const measured = (text: string): string => {
    const normal = normalize(text);
    if (normal.length > 32 * text.length + 4096) throw new Error(`its normalizer makes ${normal.length} characters of ${text.length}`);
    return normal;
  };
  tokenizer.normalizer = measured as unknown as HuggingFaceTokenizer['normalizer'];
}

/** Checks what the tokenizer library takes for granted; returns one more than the highest id. */
function checkDefinition(definition: Json, path: string): number {
  const wrong = (field: string, found: unknown, expected: string): UserError =>
    new UserError(`${path}: ${field} is ${JSON.stringify(found)?.slice(0, 80) ?? 'missing'}; expected ${expected}`);
  const model = definition['model'];
  if (!isObject(model)) throw wrong('model', model, 'an object');
  let size = 0;
  const checkId = (field: string, id: unknown): void => {
    if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) >= MOST_ID) throw wrong(field, id, `a token id below ${MOST_ID}`);
    size = Math.max(size, (id as number) + 1);
  };
  const { vocab, merges } = model;
  if (Array.isArray(vocab)) {
    if (vocab.length > MOST_ID) throw wrong('model.vocab', vocab.length, `at most ${MOST_ID} entries`);
    for (const [i, entry] of vocab.entries()) {
      if (!Array.isArray(entry) || typeof entry[0] !== 'string' || typeof entry[1] !== 'number') throw wrong(`model.vocab[${i}]`, entry, '[token, score]');
    }
    size = vocab.length;
  } else if (isObject(vocab)) {
    for (const [token, id] of Object.entries(vocab)) checkId(`model.vocab[${JSON.stringify(token)}]`, id);
  } else throw wrong('model.vocab', vocab, 'an object of token to id, or a list of [token, score]');
  if (size === 0) throw wrong('model.vocab', vocab, 'at least one token');
  if (merges !== undefined) {
    if (!Array.isArray(merges)) throw wrong('model.merges', merges, 'a list');
    for (const [i, merge] of merges.entries()) {
      const isPair = Array.isArray(merge) && merge.length === 2 && merge.every((side) => typeof side === 'string');
      if (!isPair && !(typeof merge === 'string' && merge.includes(' '))) throw wrong(`model.merges[${i}]`, merge, '"left right" or ["left", "right"]');
    }
  }
  definition['added_tokens'] ??= [];
  const added = definition['added_tokens'];
  if (!Array.isArray(added)) throw wrong('added_tokens', added, 'a list');
  for (const [i, token] of added.entries()) {
    if (!isObject(token) || typeof token['content'] !== 'string' || token['content'] === '') throw wrong(`added_tokens[${i}]`, token, 'an object with id and content');
    checkId(`added_tokens[${i}].id`, token['id']);
  }
  for (const part of ['normalizer', 'pre_tokenizer', 'post_processor', 'decoder']) {
    definition[part] ??= null;
    if (definition[part] !== null && !isObject(definition[part])) throw wrong(part, definition[part], 'an object or null');
    const steps = countSteps(definition[part]);
    if (steps > MOST_STEPS) throw wrong(part, `a sequence of ${steps} steps`, `at most ${MOST_STEPS}`);
  }
  return size;
}

/** Steps of a normalizer, pre-tokenizer, … with all its inner sequences: everything with a type. */
function countSteps(part: unknown): number {
  let steps = 0;
  // A list and not a recursion: a file may nest as deeply as it likes.
  const waiting = [part];
  while (waiting.length > 0) {
    const next = waiting.pop();
    if (next === null || typeof next !== 'object') continue;
    if (Object.hasOwn(next, 'type')) steps++;
    for (const inner of Object.values(next)) waiting.push(inner);
  }
  return steps;
}

const SPECIAL_NAMES = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

function specialTokens(config: Json, path: string): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const name of SPECIAL_NAMES) {
    const value = config[name] ?? undefined;
    if (value === undefined) continue;
    const content = isObject(value) ? value['content'] : value;
    if (typeof content !== 'string') throw new UserError(`${path}: ${name} is ${JSON.stringify(value)}; expected text or an object with content`);
    tokens[name] = content;
  }
  return tokens;
}

/** The chat template and where it stands: chat_template.jinja, then chat_template.json, then tokenizer_config.json. */
async function findTemplate(folder: string, config: Json, configPath: string): Promise<{ source: string; where: string } | undefined> {
  const jinja = join(folder, 'chat_template.jinja');
  const source = await readOptional(jinja);
  if (source !== undefined) return { source: source.toString('utf8'), where: jinja };
  const json = join(folder, 'chat_template.json');
  const separate = (await readObject(json))['chat_template'] ?? undefined;
  const where = separate === undefined ? configPath : json;
  const template = separate ?? config['chat_template'] ?? undefined;
  if (template === undefined || typeof template === 'string') return template === undefined ? undefined : { source: template, where };
  // Several named templates: "default" is the one for plain conversations.
  const named = Array.isArray(template) ? template.find((entry: unknown) => isObject(entry) && entry['name'] === 'default') : isObject(template) ? { template: template['default'] } : undefined;
  const chosen = isObject(named) ? named['template'] : undefined;
  if (typeof chosen !== 'string') throw new UserError(`${where}: chat_template is neither text nor a list with an entry named "default"`);
  return { source: chosen, where };
}

/** Ids that end an answer, from the tokenizer and the model's two configs. */
async function readStopIds(folder: string, eos: number | undefined): Promise<number[]> {
  const stop = new Set<number>(eos === undefined ? [] : [eos]);
  for (const name of ['config.json', 'generation_config.json']) {
    const value = (await readObject(join(folder, name)))['eos_token_id'];
    for (const id of Array.isArray(value) ? value : [value]) if (Number.isSafeInteger(id) && id >= 0) stop.add(id as number);
  }
  return [...stop];
}

async function readObject(path: string): Promise<Json> {
  const bytes = await readOptional(path);
  return bytes === undefined ? {} : parseObject(bytes, path);
}

function parseObject(bytes: Buffer, path: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new UserError(`${path}: is not JSON (${(error as Error).message})`);
  }
  if (!isObject(value)) throw new UserError(`${path}: holds ${Array.isArray(value) ? 'a list' : JSON.stringify(value)?.slice(0, 40)}; expected an object`);
  return value;
}

async function readOptional(path: string): Promise<Buffer | undefined> {
  try {
    const bytes = await readFile(path);
    if (bytes.byteLength > MOST_FILE_BYTES) throw new UserError(`${path}: ${bytes.byteLength} bytes are more than a tokenizer needs`);
    return bytes;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    if (error instanceof UserError) throw error;
    throw new UserError(`${path}: cannot be read (${code ?? (error as Error).message})`);
  }
}

function isObject(value: unknown): value is Json {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
