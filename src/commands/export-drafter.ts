// The export itself: the drafter is written beside its final name, read back, compared with the one in memory, described (model card,
// draftalign.json), and only then put in place. What fails leaves nothing behind and an earlier export as it was.
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { compareDrafters } from '../decoding/drafter-comparison.js';
import type { EvaluationDocument } from '../decoding/evaluation-json.js';
import { UserError } from '../errors.js';
import { isAlive, sha256File, syncFolder, writeFileAtomic } from '../files.js';
import { loadDrafter, saveDrafter, type LoadedDrafter } from '../models/drafter-checkpoint.js';
import { packageRoot } from '../package-root.js';
import { describeDrafter, describeEvaluation, describeTraining, exportFormat, exportVersion, type ExportRecord, type ExportVerification } from '../reports/export-record.js';
import { formatModelCard } from '../reports/model-card.js';
import { findDrafter, type DrafterSource } from '../training/drafter-source.js';
import { nameOfTarget, openTarget, type ExportTarget } from './export-target.js';

const dtypes = { bfloat16: 'BF16', float16: 'F16', float32: 'F32' } as const;

/** Options of an export; see the command. */
export interface ExportOptions {
  source: string;
  out: string;
  checkpoint?: 'best' | 'last';
  format?: 'dflash' | 'speculators';
  dtype?: keyof typeof dtypes;
  target?: string;
  evaluation?: string;
  verify?: boolean;
  say?: (line: string) => void;
}

/**
 * Exports a drafter; TensorFlow must be loaded. Returns what `draftalign.json` holds.
 * @throws UserError where the drafter does not fit its target, `out` holds something else, or what was written differs from the drafter in memory
 */
export async function exportDrafter(options: ExportOptions): Promise<ExportRecord> {
  const { format = 'dflash', dtype = 'bfloat16', verify = true, say = () => undefined } = options;
  const out = resolve(options.out);
  await tidyExports(out);
  await refuseForeignFolder(out);
  const source = await findDrafter(options.source, options.checkpoint);
  const target = await openTarget(options.target ?? (await nameOfTarget(source)), verify, options.target !== undefined, say);
  const drafter = await loadDrafter(source.drafterFolder, target?.config);
  for (const note of drafter.notes) say(note);
  refuseUnsortedTaps(drafter);
  const evaluation = options.evaluation === undefined ? null : await readEvaluation(options.evaluation, target, say);
  const temporary = join(dirname(out), `.${basename(out)}.export-${process.pid}`);
  try {
    await rm(temporary, { recursive: true, force: true });
    await mkdir(dirname(out), { recursive: true });
    await saveDrafter(temporary, drafter.config, drafter.weights, {
      dtype: dtypes[dtype],
      format,
      verifier: { nameOrPath: target?.location ?? null, architectures: target === undefined ? [] : [target.architecture] },
      bosTokenId: target?.config.bosTokenId,
      eosTokenId: target === undefined || target.config.eosTokenIds.length === 0 ? undefined : target.config.eosTokenIds.length === 1 ? target.config.eosTokenIds[0] : target.config.eosTokenIds,
    });
    const verification = verify ? await verifyExport(temporary, drafter, dtypes[dtype], target, say) : null;
    const record: ExportRecord = {
      format: exportFormat,
      version: exportVersion,
      createdAt: new Date().toISOString(),
      ...(await describeProgram()),
      drafter: describeDrafter(drafter.config, format, dtype),
      target: { name: target?.name ?? null, architecture: target?.architecture ?? null, weightFingerprint: target?.weightFingerprint ?? null },
      tokenizer: { fingerprint: target?.tokenizerFingerprint ?? null },
      source: { weightFingerprint: drafter.weightFingerprint, checkpoint: source.checkpoint?.name ?? null, step: source.checkpoint?.step ?? null },
      training: source.run === undefined ? null : describeTraining(source.run.config),
      validation: validationOf(source),
      evaluation,
      verification,
      files: {},
    };
    for (const name of ['config.json', 'model.safetensors']) {
      const path = join(temporary, name);
      record.files[name] = { bytes: (await stat(path)).size, sha256: await sha256File(path) };
    }
    await writeFileAtomic(join(temporary, 'README.md'), formatModelCard(record, basename(out)));
    await writeFileAtomic(join(temporary, 'draftalign.json'), `${JSON.stringify(record, null, 2)}\n`);
    await putInPlace(temporary, out);
    return record;
  } finally {
    await rm(temporary, { recursive: true, force: true });
    drafter.dispose();
    target?.dispose();
  }
}

/** Engines gather the tapped layers' outputs in the order of layers, whatever the order in the config. */
function refuseUnsortedTaps({ config }: LoadedDrafter): void {
  const { targetLayerIds: taps } = config;
  if (taps.every((tap, i) => i === 0 || tap > taps[i - 1]!)) return;
  throw new UserError(`the drafter reads target layers in the order ${taps.join(', ')}; vLLM and llama.cpp hand them over in ascending order. Train with drafter.taps in ascending order.`);
}

async function readEvaluation(path: string, target: ExportTarget | undefined, say: (line: string) => void): Promise<NonNullable<ExportRecord['evaluation']>> {
  let document: EvaluationDocument;
  try {
    document = JSON.parse(await readFile(path, 'utf8')) as EvaluationDocument;
  } catch (error) {
    throw new UserError(`${path} cannot be read as the JSON of \`draftalign evaluate --json\`: ${(error as Error).message}`);
  }
  if (document.format !== 'draftalign-evaluation') throw new UserError(`${path} is not the JSON of \`draftalign evaluate --json\`: \`format\` is ${JSON.stringify(document.format)}.`);
  const measured = document.target.weightFingerprint;
  if (measured !== undefined && target?.weightFingerprint != null && measured !== target.weightFingerprint) {
    throw new UserError(`${path} was measured with another target: its weights' fingerprint is ${measured}, this target's ${target.weightFingerprint}.`);
  }
  if (document.totals.identical === false) say(`${path}: decoded texts differed from the target's own; its figures should not be trusted`);
  return describeEvaluation(document);
}

function validationOf(source: DrafterSource): ExportRecord['validation'] {
  const score = source.checkpoint?.state['score'];
  return typeof score === 'number' ? { acceptedLength: score } : null;
}

async function verifyExport(folder: string, drafter: LoadedDrafter, dtype: 'BF16' | 'F16' | 'F32', target: ExportTarget | undefined, say: (line: string) => void): Promise<ExportVerification> {
  say('reading it back and comparing');
  const written = await loadDrafter(folder, target?.config);
  try {
    const { verification, problems } = compareDrafters(drafter, written, dtype, target?.loaded);
    if (problems.length > 0) throw new UserError(`what was written is not the drafter in memory; nothing was exported:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
    return verification;
  } finally {
    written.dispose();
  }
}

async function describeProgram(): Promise<{ draftalignVersion: string; commit: string | null }> {
  const root = packageRoot();
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  return { draftalignVersion: version, commit: await readCommit(join(root, '.git')) };
}

/** The checked-out commit, read from the files of a git folder; null where there is none. */
async function readCommit(git: string): Promise<string | null> {
  const head = await readFile(join(git, 'HEAD'), 'utf8').catch(() => undefined);
  if (head === undefined) return null;
  const reference = /^ref: (.+)$/m.exec(head)?.[1];
  if (reference === undefined) return head.trim();
  const loose = await readFile(join(git, reference), 'utf8').catch(() => undefined);
  if (loose !== undefined) return loose.trim();
  const packed = await readFile(join(git, 'packed-refs'), 'utf8').catch(() => '');
  return packed.split('\n').find((line) => line.endsWith(` ${reference}`))?.split(' ')[0] ?? null;
}

/**
 * Clears away what a killed export left beside `out`. One killed between its two last renames left the earlier export under
 * another name: it gets its own name back.
 */
async function tidyExports(out: string): Promise<void> {
  const folder = dirname(out);
  const prefix = `.${basename(out)}.export-`;
  for (const name of await readdir(folder).catch(() => [])) {
    // saveDrafter writes beside the folder that it is given: one more dot in front, one more ending.
    const bare = name.startsWith(`.${prefix}`) ? name.slice(1) : name;
    const [, pid, ending] = (bare.startsWith(prefix) && /^(\d+)(.*)$/.exec(bare.slice(prefix.length))) || [];
    if (pid === undefined || isAlive(Number(pid))) continue;
    if (ending === '.old' && !existsSync(out)) await rename(join(folder, name), out);
    else await rm(join(folder, name), { recursive: true, force: true });
  }
}

/** `out` may be missing, empty or an earlier export. */
async function refuseForeignFolder(out: string): Promise<void> {
  if (!existsSync(out)) return;
  const names = await readdir(out).catch(() => {
    throw new UserError(`${out} is a file; --out names a folder.`);
  });
  if (names.length > 0 && !names.includes('draftalign.json')) throw new UserError(`${out} holds other files (${names.slice(0, 3).join(', ')}); name a new folder, or empty it.`);
}

/** Takes the place of an earlier export, whose other files (a licence, images) move along. */
async function putInPlace(temporary: string, out: string): Promise<void> {
  if (!existsSync(out)) {
    await rename(temporary, out);
  } else {
    const old = `${temporary}.old`;
    await rename(out, old);
    for (const name of await readdir(old)) if (!existsSync(join(temporary, name))) await rename(join(old, name), join(temporary, name));
    await rename(temporary, out);
    await rm(old, { recursive: true, force: true });
  }
  await syncFolder(dirname(out));
}
