// Runs a parsed chat template with counted bounds: so many expressions, so many characters and entries. Counts, unlike a clock,
// end the same template at the same place on every machine; and doubling a list thirty times would fill memory before any clock strikes.
import { Interpreter } from '@huggingface/jinja';

// The package's declarations cannot be followed by Node's module resolution; this is what is used of them.
interface Statement {
  type: string;
  property?: Statement;
  iterable?: Statement;
  lhs?: Statement;
}
interface Value {
  value: unknown;
}
const LibraryInterpreter = Interpreter as unknown as new (environment: unknown) => {
  run(program: unknown): Value;
  evaluate(statement: Statement | undefined, environment: unknown): Value;
};

/** Turns of loops count as one each. */
const MOST_EVALUATIONS = 2e5;
/** Of one value, all that it holds included. */
const MOST_CHARACTERS = 2 ** 24;
const MOST_ENTRIES = 2e4;
/** Of all values that a rendering makes. */
const MOST_ALTOGETHER = 2 ** 26;

/** Thrown where a template asks for more than any chat template needs. */
export class TemplateLimitError extends Error {
  override readonly name = 'TemplateLimitError';
}

/** Expressions whose value is made anew; the others hand on one that is there already. */
const MAKERS = new Set(['BinaryExpression', 'FilterExpression', 'FilterStatement', 'CallExpression', 'CallStatement', 'ArrayLiteral', 'TupleLiteral', 'ObjectLiteral', 'For', 'If', 'Program']);

/** The library's interpreter, counting. Throws `TemplateLimitError` out of `run`. */
export class BoundedInterpreter extends LibraryInterpreter {
  #evaluations = 0;
  #altogether = 0;
  /** Lists that loops go over: a turn costs time even where its body is empty. */
  readonly #loopedOver = new WeakSet<Statement>();
  readonly #sizes = new WeakMap<object, number>();

  override evaluate(statement: Statement | undefined, environment: unknown): Value {
    this.#count(1);
    if (statement === undefined) return super.evaluate(statement, environment);
    // `for x in list if test`: the list stands in a SelectExpression.
    if (statement.type === 'For') this.#loopedOver.add(statement.iterable?.type === 'SelectExpression' ? statement.iterable.lhs! : statement.iterable!);
    const value = super.evaluate(statement, environment);
    if (MAKERS.has(statement.type) || isSlice(statement)) this.#check(value);
    if (this.#loopedOver.has(statement) && Array.isArray(value.value)) this.#count(value.value.length);
    return value;
  }

  #count(evaluations: number): void {
    this.#evaluations += evaluations;
    if (this.#evaluations > MOST_EVALUATIONS) throw new TemplateLimitError(`it evaluates more than ${MOST_EVALUATIONS} expressions`);
  }

  #check(value: Value): void {
    const size = this.#sizeOf(value);
    if (size > MOST_CHARACTERS) throw new TemplateLimitError(`it makes a value of more than ${MOST_CHARACTERS} characters`);
    const inner: unknown = value.value;
    const own = Array.isArray(inner) ? inner.length : inner instanceof Map ? inner.size : size;
    if (Array.isArray(inner) && own > MOST_ENTRIES) throw new TemplateLimitError(`it makes a list of more than ${MOST_ENTRIES} entries`);
    this.#altogether += own;
    if (this.#altogether > MOST_ALTOGETHER) throw new TemplateLimitError(`it makes values of more than ${MOST_ALTOGETHER} characters and entries altogether`);
  }

  /** Characters and entries, those of inner values included: so a list of a list, twice each, thirty times over, is seen for what printing it takes. */
  #sizeOf(value: Value): number {
    const inner: unknown = value.value;
    if (typeof inner === 'string') return inner.length;
    if (inner === null || typeof inner !== 'object') return 1;
    const known = this.#sizes.get(value);
    if (known !== undefined) return known;
    // Counted as nothing while it is being counted: a namespace may hold itself.
    this.#sizes.set(value, 0);
    let size = 1;
    if (Array.isArray(inner)) for (const entry of inner as Value[]) size += this.#sizeOf(entry);
    else if (inner instanceof Map) for (const [key, entry] of inner as Map<string, Value>) size += key.length + this.#sizeOf(entry);
    this.#sizes.set(value, size);
    return size;
  }
}

function isSlice(statement: Statement): boolean {
  return statement.type === 'MemberExpression' && statement.property?.type === 'SliceExpression';
}
