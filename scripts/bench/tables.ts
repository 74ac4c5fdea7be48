// The benchmark's figures as Markdown tables.
import type { CaseFigures, StepFigures } from './step-bench.js';

/** A Markdown table. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** `12.3`, `123`, or `n/a`. */
export function figure(value: number | null | undefined, digits = 0): string {
  return value === null || value === undefined || Number.isNaN(value) ? 'n/a' : value.toFixed(digits);
}

export function mebibytes(bytes: number | null): string {
  return figure(bytes === null ? null : bytes / 2 ** 20);
}

/** All ways of all cases. */
export function stepTable(cases: readonly CaseFigures[]): string {
  const head = ['case', 'way', 'ms/step', 'fastest', 'CPU ms/step', 'blocks/s', 'calls/step', 'GFLOP/s', 'matmul GFLOP/s', 'share of matmul', 'memory MiB', 'first step s'];
  const rows = cases.flatMap(({ name, ways }) =>
    ways.map(({ way, msPerStep, fastestMs, cpuMsPerStep, memoryBytes, own }) => [
      name,
      way,
      figure(msPerStep),
      figure(fastestMs),
      figure(cpuMsPerStep),
      figure(own?.blocksPerSecond),
      figure(own?.callsPerStep),
      figure(own?.gigaflops),
      figure(own?.matmulGigaflops),
      figure(own?.shareOfMatmul, 2),
      mebibytes(memoryBytes),
      figure(own && (own.recordMs + own.firstStepMs) / 1000, 1),
    ]),
  );
  return table(head, rows);
}

/** Ours over PyTorch's. */
export function ratioTable(cases: readonly CaseFigures[]): string {
  const rows = cases.flatMap(({ name, ways }) => {
    const torch = ways.find(({ way }) => way === 'torch');
    if (torch === undefined) return [];
    const ratio = (ours: StepFigures, value: (figures: StepFigures) => number | null): string => {
      const [a, b] = [value(ours), value(torch)];
      return figure(a === null || b === null ? null : a / b, 2);
    };
    return ways
      .filter((ours) => ours !== torch)
      .map((ours) => [name, ours.way, ratio(ours, ({ msPerStep }) => msPerStep), ratio(ours, ({ fastestMs }) => fastestMs), ratio(ours, ({ cpuMsPerStep }) => cpuMsPerStep), ratio(ours, ({ memoryBytes }) => memoryBytes)]);
  });
  return table(['case', 'way', 'ms/step', 'fastest', 'CPU ms/step', 'memory'], rows);
}
