// Cost against size: the recorded step's time as one size after the other doubles, and the exponent that each doubling shows.
import { readCase, type BenchCase } from './cases.js';
import { measureCase, type StepBenchOptions } from './step-bench.js';
import { figure, table } from './tables.js';

/** What doubles, with everything that goes with it. */
const sizes: Record<string, (shape: BenchCase, factor: number) => BenchCase> = {
  N: (shape, factor) => ({ ...shape, anchors: shape.anchors * factor }),
  S: (shape, factor) => ({ ...shape, context: shape.context * factor }),
  K: (shape, factor) => ({ ...shape, blockSize: shape.blockSize * factor }),
  V: (shape, factor) => ({ ...shape, vocabulary: shape.vocabulary * factor }),
  D: (shape, factor) => ({ ...shape, width: shape.width * factor, mlp: shape.mlp * factor, heads: shape.heads * factor, keyValueHeads: shape.keyValueHeads * factor }),
};

export interface ScalingRow {
  size: string;
  factor: number;
  operations: number;
  msPerStep: number;
  cpuMsPerStep: number;
  /** log2 of this row's cost over the row's with half the size. */
  exponents?: { ms: number; cpuMs: number; operations: number };
}

/** One row a size and factor: the case itself (factor 1), doubled, and doubled again. */
export async function measureScaling(name: string, options: StepBenchOptions): Promise<ScalingRow[]> {
  const base = readCase(name);
  const rows: ScalingRow[] = [];
  for (const [size, grow] of Object.entries(sizes)) {
    for (const factor of [1, 2, 4]) {
      const { operationsPerStep, ways } = await measureCase(name, grow(base, factor), ['graph'], options);
      const { msPerStep, cpuMsPerStep } = ways[0]!;
      const before = factor === 1 ? undefined : rows.at(-1);
      rows.push({
        size,
        factor,
        operations: operationsPerStep,
        msPerStep,
        cpuMsPerStep,
        ...(before && {
          exponents: { ms: Math.log2(msPerStep / before.msPerStep), cpuMs: Math.log2(cpuMsPerStep / before.cpuMsPerStep), operations: Math.log2(operationsPerStep / before.operations) },
        }),
      });
    }
  }
  return rows;
}

export function scalingTable(rows: readonly ScalingRow[]): string {
  return table(
    ['size', 'times', 'GFLOP', 'ms/step', 'CPU ms/step', 'exponent of ms', 'of CPU ms', 'of the arithmetic'],
    rows.map(({ size, factor, operations, msPerStep, cpuMsPerStep, exponents }) => [
      size,
      String(factor),
      figure(operations / 1e9, 1),
      figure(msPerStep),
      figure(cpuMsPerStep),
      figure(exponents?.ms, 2),
      figure(exponents?.cpuMs, 2),
      figure(exponents?.operations, 2),
    ]),
  );
}
