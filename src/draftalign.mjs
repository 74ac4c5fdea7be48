#!/usr/bin/env node
// The command itself: what is compiled in dist/. In a clone where nothing is compiled yet it compiles first. Plain JavaScript, so that the file that npm links
// to is always there (npx remembers for good that it was not).
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const cli = new URL('../dist/src/cli.js', import.meta.url);
if (!existsSync(cli)) {
  console.error('draftalign is compiled, once: npm run build');
  const { status } = spawnSync('npm', ['run', '--silent', 'build'], { cwd: fileURLToPath(new URL('..', import.meta.url)), stdio: ['ignore', 2, 2] });
  if (status !== 0) {
    console.error('It could not be compiled. Are its packages there (npm ci)?');
    process.exit(1);
  }
}
await import(cli.href);
