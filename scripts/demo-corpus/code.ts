// Small Python programs: a request, a function with a docstring, and often an example with its result. Names, constants and
// style vary; every program compiles, and every printed result is what Python prints (a test runs them).
import { algorithmTasks } from './code-algorithms.js';
import { recordTasks } from './code-records.js';
import { listTasks } from './code-lists.js';
import { textTasks } from './code-text.js';
import type { Message, Writer } from './writer.js';

/** A programming task: what is asked, and the lines of the function without its docstring. */
export interface Task {
  /** Name of the function, as the body may call it. */
  name: string;
  /** Parameters with, where known, their types: `['numbers', 'list[int]']`. */
  parameters: [string, string?][];
  returns?: string;
  /** Completes "a Python function that …", third person, no full stop. */
  does: string;
  /** The docstring, imperative, with a full stop. */
  docstring: string;
  body: string[];
  /** Arguments as Python source and the value's representation. */
  example?: { args: string; result: string };
}

export type TaskMaker = (writer: Writer) => Task;

const makers: readonly TaskMaker[] = [...listTasks, ...textTasks, ...recordTasks, ...recordTasks, ...algorithmTasks];

/** One conversation: a programming request and its answer with a fenced block of Python. */
export function writeCode(writer: Writer): Message[] {
  const task = writer.pick(makers)(writer);
  const typed = writer.chance(0.4);
  const parameters = task.parameters.map(([name, type]) => (typed && type !== undefined ? `${name}: ${type}` : name)).join(', ');
  const arrow = typed && task.returns !== undefined ? ` -> ${task.returns}` : '';
  const documented = writer.chance(0.75);
  const lines = [`def ${task.name}(${parameters})${arrow}:`];
  if (documented) lines.push(`    """${task.docstring}"""`);
  lines.push(...task.body.map((line) => (line === '' ? '' : `    ${line}`)));
  const example = task.example;
  const shape = writer.between(0, 4);
  if (example !== undefined && shape === 0) lines.push('', '', `print(${task.name}(${example.args}))  # ${example.result}`);
  if (example !== undefined && shape === 1) lines.push('', '', `assert ${task.name}(${example.args}) == ${example.result}`);
  const ask = writer.prefer(requests);
  const lead = writer.fill('«||Here is «a|the|one possible» function:|Here is a function that $does:|Sure! Here it is:|You can write it like this:»', { does: task.does });
  const tail =
    example !== undefined && shape >= 3
      ? writer.fill('«For example|For instance», `$call` «returns|gives» `$result`.', { call: `${task.name}(${example.args})`, result: example.result })
      : shape === 2
        ? writer.fill('«This function $does.|The function $does.|It $does.|»', { does: task.does })
        : '';
  const content = [lead, ['```python', ...lines, '```'].join('\n'), tail].filter((part) => part !== '').join('\n\n');
  return [
    { role: 'user', content: writer.fill(ask, { does: task.does, name: task.name, parameters: task.parameters.map(([name]) => name).join(', ') }) },
    { role: 'assistant', content },
  ];
}

const requests = [
  'Write a Python function that $does.',
  'Write a «|small |short |simple »function «|called `$name` |named `$name` »that $does.',
  '«Please write|Can you write|I need» a Python function `$name($parameters)` that $does.',
  'How «do|can» I write a function in Python that $does«?|? Please show an example.»',
  'Implement `$name` in Python. It «|takes `$parameters` and |should be a function that »$does.',
  'Give me «|some »Python code «for|with» a function that $does.',
];

/** Python's representation of lists and strings in examples. */
export function python(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(python).join(', ')}]`;
  if (typeof value === 'string') return `"${value}"`;
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (value === null) return 'None';
  return String(value);
}

/** A list of small numbers for an example. */
export function exampleNumbers(writer: Writer, low = 1, high = 20, count = writer.between(3, 6)): number[] {
  return Array.from({ length: count }, () => writer.between(low, high));
}
