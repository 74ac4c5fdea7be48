// Errors that are the user's to mend: shown as a message without a stack, with exit code 1.

const longestLine = 2000;
const mostLines = 100;

/** An error whose message alone tells the user what was found, what was expected and what to do next. */
export class UserError extends Error {
  override readonly name = 'UserError';

  constructor(message: string) {
    const lines = message.split('\n');
    const shown = lines.slice(0, mostLines).map(shorten);
    super((lines.length > mostLines ? [...shown, `… and ${lines.length - mostLines} lines more`] : shown).join('\n'));
  }
}

/** What a damaged file holds where a word was expected may be megabytes; the beginning and the end of such a line tell enough. */
function shorten(line: string): string {
  if (line.length <= longestLine) return line;
  return `${line.slice(0, longestLine / 2)} … (${line.length} characters) … ${line.slice(-longestLine / 2)}`;
}

const remedies: Record<string, string> = {
  ENOSPC: 'the disk is full. What was finished before is whole; make room and run the command again (train: with --resume)',
  EDQUOT: 'the disk quota is used up. What was finished before is whole; make room and run the command again (train: with --resume)',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EROFS: 'the file system is read-only',
  ENOENT: 'there is no such file or folder',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EISDIR: 'it is a folder; a file was expected',
  EEXIST: 'it is there already',
  EMFILE: 'too many files are open; raise the limit with `ulimit -n`',
  ENAMETOOLONG: 'the name is too long',
  ELOOP: 'the link points to itself',
};

/** An error as the command line shows it: the message of the user's mistakes and of what the system refuses, the stack of all others. */
export function explain(error: Error): string {
  if (error instanceof UserError) return `draftalign: ${error.message}`;
  const { code, syscall, path } = error as NodeJS.ErrnoException;
  const remedy = code === undefined || syscall === undefined ? undefined : remedies[code];
  if (remedy !== undefined) return `draftalign: ${path === undefined ? '' : `${path}: `}${remedy} (${code}, ${syscall}).`;
  return error.stack ?? String(error);
}
