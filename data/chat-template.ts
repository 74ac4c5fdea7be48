// Chat templates: Jinja programs that come with a tokenizer, rendered as Transformers does. They are programs from
// elsewhere, so they run within bounds of size and time and see only what is handed to them.
import { createContext, runInContext } from 'node:vm';
import { Environment, parse, tokenize } from '@huggingface/jinja';
import { UserError } from '../src/errors.js';
import { BoundedInterpreter, TemplateLimitError } from './template-limits.js';

export interface TemplateOptions {
  /** Ends the text where the assistant's next answer begins. */
  addGenerationPrompt?: boolean;
  /** Further variables, such as `enable_thinking`. */
  variables?: Record<string, unknown>;
}

/** A compiled chat template. */
export interface ChatTemplate {
  /**
   * Throws `TemplateError` where the template refuses the messages (`raise_exception`) or fails; `UserError` where it takes more
   * time or memory than a template for such messages can need.
   */
  render(messages: readonly { role: string; content: string }[], options?: TemplateOptions): string;
}

/** Thrown where a template does not take a conversation; the message is the template's own. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
}

const MOST_TEMPLATE_BYTES = 2 ** 20;
/** The last resort: what a template may do is counted (template-limits.ts), which a busy machine does not change. */
const RENDER_MS = 3000;
/** Messages of more characters than this may be to blame themselves where a limit is reached. */
const LONG_MESSAGES = 2 ** 20;

/**
 * Compiles a template. `specialTokens` are the variables `bos_token`, `eos_token` and so on; `where` names the file in errors.
 * Gives what Transformers gives: `messages`, `add_generation_prompt`, `tools` and `documents` (none), `raise_exception`,
 * `strftime_now`, `tojson`, trimmed blocks and the `generation` tag.
 */
export function compileChatTemplate(source: string, specialTokens: Record<string, string>, where: string): ChatTemplate {
  if (source.length > MOST_TEMPLATE_BYTES) throw new UserError(`${where}: the chat template has ${source.length} characters; at most ${MOST_TEMPLATE_BYTES} are read`);
  let program: ReturnType<typeof parse>;
  try {
    program = withinTime(() => parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true })), 1000);
  } catch (error) {
    throw new UserError(`${where}: the chat template is not valid Jinja: ${(error as Error).message}`);
  }
  return {
    render(messages, options = {}) {
      const variables = {
        ...GLOBALS,
        ...specialTokens,
        tools: null,
        documents: null,
        ...options.variables,
        messages: [...messages],
        add_generation_prompt: options.addGenerationPrompt ?? false,
      };
      try {
        return withinTime(() => {
          const environment = new Environment();
          for (const [name, value] of Object.entries(variables)) environment.set(name, value);
          return (new BoundedInterpreter(environment).run(program) as { value: string }).value;
        }, RENDER_MS);
      } catch (error) {
        const { message } = error as Error;
        const endless = error instanceof TemplateLimitError || error instanceof TimeLimitError;
        if (!endless || messages.reduce((sum, { content }) => sum + content.length, 0) > LONG_MESSAGES) throw new TemplateError(message);
        throw new UserError(`${where}: the chat template cannot be used: ${message}`);
      }
    },
  };
}

// What Transformers puts into every template. The library's own set of globals differs where it matters: its `range` has no
// bound, and its `strftime_now` speaks the machine's language.
const GLOBALS: Record<string, unknown> = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  range,
  raise_exception: (message: string) => {
    throw new Error(message);
  },
  strftime_now: (format: string) => strftime(new Date(), format),
};

const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

/** Python's `strftime` in the C locale, as far as chat templates use it; unknown directives stay as they are. */
export function strftime(date: Date, format: string): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const directives: Record<string, () => string> = {
    Y: () => String(date.getFullYear()),
    y: () => two(date.getFullYear() % 100),
    m: () => two(date.getMonth() + 1),
    B: () => MONTHS[date.getMonth()]!,
    b: () => MONTHS[date.getMonth()]!.slice(0, 3),
    d: () => two(date.getDate()),
    A: () => DAYS[date.getDay()]!,
    a: () => DAYS[date.getDay()]!.slice(0, 3),
    H: () => two(date.getHours()),
    I: () => two(date.getHours() % 12 || 12),
    p: () => (date.getHours() < 12 ? 'AM' : 'PM'),
    M: () => two(date.getMinutes()),
    S: () => two(date.getSeconds()),
    F: () => strftime(date, '%Y-%m-%d'),
    T: () => strftime(date, '%H:%M:%S'),
    '%': () => '%',
  };
  return format.replace(/%(.)/g, (whole, letter: string) => directives[letter]?.() ?? whole);
}

// The interpreter's own `range` would fill memory for a huge count before any time limit strikes.
function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  if (step === 0) throw new Error('range() step must not be zero');
  const count = Math.max(0, Math.ceil((to - from) / step));
  if (count > 2e4) throw new TemplateLimitError(`range() of ${count} numbers is more than a chat template needs`);
  return Array.from({ length: count }, (_, i) => from + i * step);
}

const context = createContext(Object.assign(Object.create(null) as object, { work: undefined as (() => unknown) | undefined }));

/** Thrown by `withinTime`. */
export class TimeLimitError extends Error {
  override readonly name = 'TimeLimitError';
}

/** Runs a function and ends it after `ms` milliseconds, however busy it is. */
export function withinTime<T>(work: () => T, ms: number): T {
  let result: T | undefined;
  let failure: { error: unknown } | undefined;
  const holder = context as { work: unknown };
  holder.work = (): void => {
    try {
      result = work();
    } catch (error) {
      failure = { error };
    }
  };
  try {
    runInContext('work()', context, { timeout: ms });
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT' ? new TimeLimitError(`it ran for more than ${ms} ms`) : error;
  } finally {
    holder.work = undefined;
  }
  if (failure !== undefined) throw failure.error;
  return result as T;
}
