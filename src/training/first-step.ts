// The check at the start of a run: its first step by the recorded graph and operation by operation, compared. It guards against
// rewrites of the graph that change its meaning (DESIGN 6 has such a case) at the cost of one slow step.
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import { UserError } from '../errors.js';
import { roundsFactors } from '../tensorflow/device.js';
import { createEagerExecutor, type Executor, type Program, type TypedInput } from '../tensorflow/graph.js';
import { tf } from '../tensorflow/ops.js';

/** Largest difference, relative to the eager value's size; where factors are rounded, what differs in its last digit may be rounded apart. */
const tolerance = { exact: 2e-3, rounded: 2e-2 };

/**
 * Runs `name` eagerly on the variables as they are in `executor`, then in `executor`, and compares outputs and the `compared` variables (those
 * that depend on gradients linearly: a weight's first AdamW update does not). Returns the executor's outputs; its variables
 * are those of one step. Throws `UserError` where the two disagree.
 */
export function verifyFirstStep(
  executor: Executor,
  program: Program,
  name: string,
  inputs: Record<string, TypedInput>,
  compared: readonly string[],
): ReturnType<Executor['run']> {
  const most = roundsFactors() ? tolerance.rounded : tolerance.exact;
  const current = Object.fromEntries(Object.keys(program.variables).map((variable) => [variable, executor.read(variable)]));
  const eager = createEagerExecutor({ variables: current, functions: { [name]: program.functions[name]! } });
  tf.dispose(current);
  try {
    const expected = eager.run(name, inputs);
    const found = executor.run(name, inputs);
    const problems: string[] = [];
    tf.tidy(() => {
      for (const [output, value] of Object.entries(expected)) {
        const difference = relativeDifference(value, found[output]!);
        if (!(difference <= most)) problems.push(`output ${output} differs by ${difference.toExponential(1)}`);
      }
      for (const variable of compared) {
        const difference = relativeDifference(eager.read(variable), executor.read(variable));
        if (!(difference <= most)) problems.push(`${variable} differs by ${difference.toExponential(1)}`);
      }
    });
    tf.dispose(expected);
    if (problems.length > 0) {
      tf.dispose(found);
      throw new UserError(
        `the recorded graph of ${name} does not compute what its operations compute one by one:\n  - ${problems.slice(0, 8).join('\n  - ')}\n` +
          'This is a fault of draftalign or of TensorFlow\'s graph rewrites, not of your settings: please report it, and train with --eager meanwhile.',
      );
    }
    return found;
  } finally {
    eager.dispose();
  }
}

/** ‖a - b‖ / ‖a‖ over all elements; 0 where both are 0, or the same ones are not finite. */
function relativeDifference(a: Tensor, b: Tensor): number {
  const expected = a.dataSync() as Float32Array;
  const found = b.dataSync() as Float32Array;
  let difference = 0;
  let size = 0;
  for (let i = 0; i < expected.length; i++) {
    if (Object.is(expected[i], found[i]) || expected[i] === found[i]) {
      if (Number.isFinite(expected[i])) size += expected[i]! ** 2;
      continue;
    }
    difference += (expected[i]! - found[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / Math.max(size, 1e-12));
}
