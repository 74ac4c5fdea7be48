// Talks to a measuring process: one line of JSON asks, one line answers. The process may be ours or Python's.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface Worker<Ready, Answer> {
  pid: number;
  ready: Ready;
  ask(request: object): Promise<Answer>;
  /** Ends the process and waits until its memory is given back. */
  stop(): Promise<void>;
}

/** Starts a process and waits for its first line. Throws with the end of what it wrote to standard error where it dies. */
export async function startWorker<Ready, Answer>(command: string, args: readonly string[]): Promise<Worker<Ready, Answer>> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (text: Buffer) => (complaint = (complaint + text.toString()).slice(-2000)));
  const ended = new Promise<void>((resolve) => {
    child.on('close', () => resolve());
    child.on('error', (error) => {
      complaint = error.message;
      resolve();
    });
  });
  child.stdin.on('error', () => undefined); // told by `next`
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async <T>(): Promise<T> => {
    for (;;) {
      const { value, done } = await lines.next();
      if (done) {
        await ended;
        throw new Error(`${command} ${args.join(' ')} ended before it answered:\n${complaint}`);
      }
      if (value.startsWith('{')) return JSON.parse(value) as T;
    }
  };
  const ready = await next<Ready>();
  return {
    pid: child.pid!,
    ready,
    ask: (request) => {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      return next<Answer>();
    },
    stop: async () => {
      child.stdin.end();
      await ended;
    },
  };
}

/** Starts one of the benchmark's own processes, by its file's name. */
export function startOwn<Ready, Answer>(file: string, args: readonly string[]): Promise<Worker<Ready, Answer>> {
  return startWorker(process.execPath, [fileURLToPath(new URL(file, import.meta.url)), ...args]);
}
