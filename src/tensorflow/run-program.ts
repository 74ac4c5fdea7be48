// Runs a program to its end and keeps its output for the error message.
import { spawn } from 'node:child_process';
import { UserError } from '../errors.js';

export interface RunOptions {
  folder?: string;
  /** After this many milliseconds the program is killed. */
  timeoutMs?: number;
}

/**
 * Runs `program` and returns its standard output.
 * @throws UserError with the command and the last lines of its output where it cannot be started, fails or takes too long.
 */
export function runProgram(program: string, args: string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: options.folder, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let tail = '';
    let timedOut = false;
    const timer =
      options.timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            timedOut = true;
            child.kill('SIGKILL');
          }, options.timeoutMs);
    const keep = (chunk: Buffer): void => {
      tail = (tail + chunk.toString('utf8')).slice(-4000);
    };
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString('utf8');
      keep(chunk);
    });
    child.stderr.on('data', keep);
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(new UserError(`\`${program}\` cannot be started: ${error.message}`));
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) return resolve(output);
      const how = timedOut ? `did not end within ${options.timeoutMs! / 1000} s` : signal ? `was ended by ${signal}` : `failed with exit code ${code}`;
      const command = [program, ...args].map((word) => (/\s/.test(word) ? JSON.stringify(word.length > 60 ? `${word.slice(0, 57)}…` : word) : word)).join(' ');
      reject(new UserError(`\`${command}\` ${how}:\n${tail.trim().split('\n').slice(-12).join('\n')}`));
    });
  });
}
