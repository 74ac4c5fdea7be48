// The progress of a long job on a terminal: one line that is rewritten, or plain lines now and then where nobody watches.
// A reader that goes away (a closed pipe, a lost terminal) silences it and does no other harm. Times are monotonic, so a
// clock that is set does not disturb the estimate.
import type { Writable } from 'node:stream';

/** What a progress line shows. */
export interface ProgressState {
  /** Units done, of `total`. */
  done: number;
  total: number;
  /** Shown in this order, such as `loss 3.214`. */
  figures: readonly string[];
}

export interface ProgressOptions {
  /** What the job is called, at the line's start. */
  label: string;
  stream?: Writable & { isTTY?: boolean; columns?: number };
  /** Milliseconds between lines: on a terminal, and elsewhere. */
  everyMs?: { terminal: number; plain: number };
  /** Monotonic clock in milliseconds. */
  now?: () => number;
}

export interface Progress {
  /** Shows the state, unless it has shown another just before. */
  update(state: ProgressState): void;
  /** Prints a line that stays. */
  say(message: string): void;
  /** Shows the last state and ends the line. */
  finish(): void;
}

/** Makes a progress line on standard error (default), or a silent one where `stream` is null. */
export function createProgress(options: ProgressOptions): Progress {
  const stream = options.stream ?? process.stderr;
  const now = options.now ?? (() => performance.now());
  const terminal = stream.isTTY === true;
  const everyMs = (options.everyMs ?? { terminal: 200, plain: 10_000 })[terminal ? 'terminal' : 'plain'];
  const started = now();
  // What is left is judged by the pace since the first update: what came before it was preparation.
  let first: { done: number; at: number } | undefined;
  let last: ProgressState | undefined;
  let shownAt = -Infinity;
  let shown: ProgressState | undefined;
  let gone = false;
  const write = (text: string) => {
    if (!gone) stream.write(text);
  };
  stream.on('error', () => {
    gone = true;
  });

  const show = (state: ProgressState) => {
    const time = now();
    const doneHere = first === undefined ? 0 : state.done - first.done;
    const leftMs = doneHere > 0 && state.done < state.total ? ((time - first!.at) / doneHere) * (state.total - state.done) : undefined;
    const times = [formatDuration(time - started), ...(leftMs === undefined ? [] : [`${formatDuration(leftMs)} left`])].join(', ');
    const text = [`${options.label} ${state.done}/${state.total}`, ...state.figures, times].join('  ');
    write(terminal ? `\r\x1b[K${text.slice(0, Math.max(20, (stream.columns ?? 120) - 1))}` : `${text}\n`);
    shownAt = time;
    shown = state;
  };

  return {
    update(state) {
      first ??= { done: state.done, at: now() };
      last = state;
      if (now() - shownAt >= everyMs) show(state);
    },
    say(message) {
      write(terminal ? `\r\x1b[K${message}\n` : `${message}\n`);
      if (terminal && last !== undefined) shownAt = -Infinity;
    },
    finish() {
      if (last !== undefined && last !== shown) show(last);
      if (terminal && shown !== undefined) write('\n');
    },
  };
}

/** A duration as people say it: `42 s`, `3:05`, `2:10:00`, `3 d 4 h`. */
export function formatDuration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const two = (value: number) => String(value).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
}
