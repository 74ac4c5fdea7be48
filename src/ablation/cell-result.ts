// What one cell found: every decoded text with its rounds' accepted lengths, figures by domain, a few texts to read. It is written once
// and never changed; the study's figures are made from these files alone.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { SlotAcceptance } from '../decoding/acceptance.js';
import { formatDocument } from '../decoding/evaluation-json.js';
import type { EvaluationResult, TextResult } from '../decoding/evaluation.js';
import { UserError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import type { ValidationFigures } from '../training/validation.js';

/** A decoded text as a study keeps it. */
export interface CellText {
  id: string;
  turn: number;
  /** Of every round. */
  acceptedLengths: number[];
}

/** Figures of one prompt set. */
export interface CellSet {
  name: string;
  rounds: number;
  acceptedLength: number;
  correctDrafts: number;
  wastedDrafts: number;
  slots: SlotAcceptance[];
  /** `histogram[n]` rounds committed n tokens. */
  histogram: number[];
  texts: CellText[];
}

/** A text with its drafts, as pieces of text. */
export interface CellExample {
  set: string;
  id: string;
  prompt: string;
  /** The target's first token, which no round drafted. */
  first: string;
  rounds: { drafted: string[]; accepted: number; next: string }[];
}

/** `cells/<id>.json`. */
export interface CellResult {
  format: 'draftalign-study-cell';
  version: 1;
  id: string;
  /** Hash of what decides the result; another key means another setting. */
  key: string;
  seed: number;
  steps: number;
  blockSize: number;
  training: { run: string; loss: number | null; validation: Pick<ValidationFigures['acceptance'], 'acceptedLength' | 'waste'> | null };
  parameters: number;
  finishedAt: string;
  seconds: { training: number; decoding: number };
  sets: CellSet[];
  examples: CellExample[];
}

/** The sets of an evaluation as a cell keeps them. */
export function cellSets(result: EvaluationResult): CellSet[] {
  return result.sets.map(({ name, totals }) => ({
    name,
    rounds: totals.rounds,
    acceptedLength: totals.acceptedLength,
    correctDrafts: totals.correctDrafts,
    wastedDrafts: totals.wastedDrafts,
    slots: totals.slots,
    histogram: totals.histogram,
    texts: result.texts.filter((text) => text.set === name).map(({ id, turn, acceptedLengths }) => ({ id, turn, acceptedLengths })),
  }));
}

/** A text taken apart into its rounds. `decode` turns token ids into text. */
export function cellExample(text: TextResult, decode: (ids: number[]) => string): CellExample {
  const committed = [...text.outputIds];
  const piece = (before: readonly number[], ids: readonly number[]): string[] => {
    // Pieces come from growing texts, since a tokenizer writes a token differently at a text's start.
    const start = before.slice(-8);
    return ids.map((_, i) => decode([...start, ...ids.slice(0, i + 1)]).slice(decode([...start, ...ids.slice(0, i)]).length));
  };
  let position = 1;
  const rounds: CellExample['rounds'] = [];
  text.acceptedLengths.forEach((accepted, round) => {
    const before = [...text.promptIds, ...committed.slice(0, position)];
    const taken = committed.slice(position, position + accepted);
    if (taken.length === 0) return;
    const next = taken.length === accepted ? taken.at(-1) : undefined;
    const acceptedDrafts = Math.min(accepted - 1, taken.length);
    rounds.push({
      drafted: piece(before, text.draftedIds[round]!),
      accepted: acceptedDrafts,
      next: next === undefined ? '' : piece([...before, ...taken.slice(0, acceptedDrafts)], [next])[0]!,
    });
    position += accepted;
  });
  return { set: text.set, id: text.id, prompt: decode(text.promptIds), first: piece(text.promptIds, committed.slice(0, 1))[0] ?? '', rounds };
}

/** Writes a cell's file, whole or not at all. */
export async function writeCell(path: string, cell: CellResult): Promise<void> {
  await writeFileAtomic(path, `${formatDocument(cell)}\n`);
}

/** Reads a cell's file; undefined where there is none. Throws `UserError` where it is not one, or of a version that this program does not know. */
export async function readCell(path: string): Promise<CellResult | undefined> {
  if (!existsSync(path)) return undefined;
  let cell: CellResult;
  try {
    cell = JSON.parse(await readFile(path, 'utf8')) as CellResult;
  } catch (error) {
    throw new UserError(`${path} is no JSON (${(error as Error).message}); delete it, and the study makes it again.`);
  }
  if (cell.format !== 'draftalign-study-cell' || cell.version !== 1) throw new UserError(`${path} has format ${String(cell.format)}, version ${String(cell.version)}; expected draftalign-study-cell, version 1.`);
  return cell;
}
