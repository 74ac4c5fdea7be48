// Errors that are the user's to mend: shown as a message without a stack, with exit code 1.

/** An error whose message alone tells the user what was found, what was expected and what to do next. */
export class UserError extends Error {
  override readonly name = 'UserError';
}
