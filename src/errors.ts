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
