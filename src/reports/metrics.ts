// `metrics.jsonl`: one JSON object a line, each with its `step`. A resumed run cuts the file back to its checkpoint's step
// first, so the file has no gap, no double line and no half line whatever killed the run.
import { closeSync, existsSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { writeFileAtomic } from '../files.js';

/** One line: the step it belongs to, what kind of line it is, and its numbers. */
export interface MetricsLine {
  /** Updates done when the line was written. */
  step: number;
  kind: 'train' | 'validation' | 'event';
  [name: string]: unknown;
}

export interface MetricsWriter {
  /** Appends a line; it is with the operating system when this returns. */
  write(line: MetricsLine): void;
  /** Forces all lines to the disk. */
  flush(): void;
  close(): void;
}

/** Opens `path` for appending after dropping every line of a step above `keepUpToStep` (and a half-written one). */
export async function openMetrics(path: string, keepUpToStep: number): Promise<MetricsWriter> {
  if (existsSync(path)) {
    const kept = readMetrics(path).filter((line) => line.step <= keepUpToStep);
    await writeFileAtomic(path, kept.map((line) => `${JSON.stringify(line)}\n`).join(''));
  }
  const descriptor = openSync(path, 'a');
  return {
    write(line) {
      const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
      let offset = 0;
      while (offset < bytes.length) offset += writeSync(descriptor, bytes, offset);
    },
    flush: () => fsyncSync(descriptor),
    close() {
      fsyncSync(descriptor);
      closeSync(descriptor);
    },
  };
}

/** All whole lines of a metrics file; a half-written last one is left out. */
export function readMetrics(path: string): MetricsLine[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .flatMap((line) => {
      try {
        const value = JSON.parse(line) as MetricsLine;
        return typeof value.step === 'number' ? [value] : [];
      } catch {
        return [];
      }
    });
}

/** Cuts an open file to `bytes`; for writers that keep their own framing. */
export function truncateFile(path: string, bytes: number): void {
  const descriptor = openSync(path, 'r+');
  try {
    ftruncateSync(descriptor, bytes);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
