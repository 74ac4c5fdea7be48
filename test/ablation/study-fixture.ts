// A study with figures, made without training: cells whose rounds follow a rule, so that what comes out is known beforehand.
import type { CellResult } from '../../src/ablation/cell-result.js';
import { parseStudy, type Study } from '../../src/ablation/study-config.js';
import { studyDocument, type StudyDocument } from '../../src/ablation/study-document.js';
import { planStudy } from '../../src/ablation/study-plan.js';

/** A study file's value with `changes` at its top level. */
export function studyValue(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    title: 'A study of <nothing> & "all"',
    base: { target: '/models/none', data: { cache: '/cache' }, drafter: { blockSize: 8, layers: 1 }, training: { steps: 400 } },
    objectives: { uniform: 'uniform', paper: 'paper', 'first error alone': 'first-error-alone', best: 'kl-dpace' },
    seeds: [1, 2, 3],
    budgets: [0.125, 0.5, 1],
    roles: { baseline: 'uniform', stack: 'paper', alone: ['first error alone'], challenger: 'best' },
    decoding: { prompts: { maths: '/maths.jsonl', stories: '/stories.jsonl' }, resamples: 200 },
    ...changes,
  };
}

const slots = 7;

/** Accepted lengths that each objective has on every prompt, before prompts and seeds add their own. */
const strength: Record<string, number> = { uniform: 2, 'first-error-alone': 2, paper: 3, best: 4 };

/** The study's document where `finished` cells are there (default: all). Every prompt has ten rounds. */
export function exampleDocument(study: Study = parseStudy(studyValue()), finished: (id: string) => boolean = () => true): StudyDocument {
  const plan = planStudy(study);
  const cells = new Map<string, CellResult>();
  for (const cell of plan.cells.filter(({ id }) => finished(id))) cells.set(cell.id, exampleCell(cell.id, cell.key, cell.training.seed, cell.training.steps));
  return studyDocument(study, plan, cells, {
    draftalignVersion: '0.0.0',
    target: { name: 'none', weightFingerprint: 'f'.repeat(64) },
    machine: { cpu: 'a processor', cores: 2 },
  });
}

function exampleCell(id: string, key: string, seed: number, steps: number): CellResult {
  const base = strength[id.split('.')[0]!] ?? 2;
  const sets = ['maths', 'stories'].map((name, domain) => {
    // Half of the prompts are easier; the longer budget accepts one more.
    const texts = Array.from({ length: 6 }, (_, prompt) => ({
      id: `${name}-${prompt}`,
      turn: 0,
      acceptedLengths: Array.from({ length: 10 }, (_, round) => base + (steps === 400 ? 1 : 0) + (prompt % 2) + (round === seed ? 1 : 0) - domain),
    }));
    const rounds = texts.flatMap(({ acceptedLengths }) => acceptedLengths);
    const histogram = Array.from({ length: slots + 2 }, (_, length) => rounds.filter((accepted) => accepted === length).length);
    const accepted = rounds.reduce((sum, length) => sum + length - 1, 0);
    return {
      name,
      rounds: rounds.length,
      acceptedLength: 1 + accepted / rounds.length,
      correctDrafts: accepted + 20 - base,
      wastedDrafts: 20 - base,
      slots: Array.from({ length: slots }, (_, index) => ({
        slot: index + 1,
        offered: rounds.length,
        survival: rounds.filter((length) => length > index + 1).length / rounds.length,
        conditionalAccuracy: null,
        accuracy: null,
      })),
      histogram,
      texts,
    };
  });
  return {
    format: 'draftalign-study-cell',
    version: 1,
    id,
    key,
    seed,
    steps,
    blockSize: slots + 1,
    training: { run: id, loss: 1, validation: null },
    parameters: 1000,
    finishedAt: '2026-01-01T00:00:00.000Z',
    seconds: { training: 10, decoding: 2 },
    sets,
    examples: ['maths', 'stories'].map((set) => ({
      set,
      id: `${set}-0`,
      prompt: 'What is <b>1 + 1</b>?',
      first: ' It',
      rounds: [{ drafted: [' is', ' 2', '?'], accepted: 2, next: '.' }],
    })),
  };
}
