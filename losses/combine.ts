// The objective: a weighted sum of terms, with what each contributes. It reads nothing back and decides nothing by a tensor's value, so
// a step that contains it can be recorded as a graph; schedules enter as scalar tensors.
import type { Scalar, Tensor, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { tf } from '../src/tensorflow/ops.js';
import type { BlockScores, LossTerm } from './block-scores.js';
import { isMoving, scheduleValue, type Schedule } from './schedule.js';
import type { Parameter } from './slot-weights.js';
import { differentiatedScores, lossDescriptions, lossFunctions, type ObjectiveTerm } from './terms.js';
import { divideOrZero } from './weighted-mean.js';

export interface CombineOptions {
  /** Share of the run that is done, 0 to 1: sets the scheduled values. */
  progress?: number;
  /** Scheduled values by the names that `scheduledValues` gives, as scalar float32 tensors or numbers; in place of `progress`. */
  scheduled?: Record<string, Parameter>;
  /**
   * Also report each term's share of the gradient: the Euclidean norm of the weighted term's gradient with respect to the score tensors
   * (`logProb`, `kl`, `overlap`, all `[M, J]`) over the sum of these norms. It costs next to nothing, since it stops short of the vocabulary.
   */
  gradientShares?: boolean;
}

/** Names of the terms, for metrics: their own, with `#2`, `#3`… where one comes again. */
export function termNames(terms: readonly ObjectiveTerm[]): string[] {
  const seen = new Map<string, number>();
  return terms.map((term) => {
    const name = term.name ?? term.term;
    const count = (seen.get(name) ?? 0) + 1;
    seen.set(name, count);
    return count === 1 ? name : `${name}#${count}`;
  });
}

/** The values at `progress` of all options that move, by `term.option` (such as `chain.weight`): the inputs of a recorded step. Constants are not among them. */
export function scheduledValues(terms: readonly ObjectiveTerm[], progress: number): Record<string, number> {
  const names = termNames(terms);
  const values: Record<string, number> = {};
  terms.forEach((term, index) => {
    for (const [option, value] of Object.entries(term)) {
      if (isMoving(value as Schedule)) values[`${names[index]!}.${option}`] = scheduleValue(value as Schedule, progress);
    }
  });
  return values;
}

/**
 * Σ weight·term. Metrics, by term name: `chain` the unweighted value, `chain.weight`, `chain.<its own metrics>` (denominators, expected accepted
 * drafts), and `chain.gradientShare` where asked for. Throws where a schedule has neither `progress` nor its value in `scheduled`, and
 * where a term needs a teacher that the scores lack.
 */
export function combine(scores: BlockScores, terms: readonly ObjectiveTerm[], options: CombineOptions = {}): LossTerm {
  if (terms.length === 0) throw new Error('the objective has no terms; give at least one, such as {term: "positionalWeighting"}');
  const names = termNames(terms);
  return tf.tidy(() => {
    const metrics: Record<string, Scalar> = {};
    const weighted = terms.map((term, index) => {
      const name = names[index]!;
      const { weight, compute } = resolve(term, name, options);
      const { loss, metrics: own } = compute(scores);
      metrics[name] = loss;
      metrics[`${name}.weight`] = typeof weight === 'number' ? tf.scalar(weight) : weight;
      for (const [metric, value] of Object.entries(own)) metrics[`${name}.${metric}`] = value;
      return { term, name, weight, compute, value: tf.mul(loss, weight) as Scalar };
    });
    if (options.gradientShares) {
      const norms = weighted.map(({ term, weight, compute }) => gradientNorm(scores, term, (s) => tf.mul(compute(s).loss, weight) as Scalar));
      const total = tf.addN(norms) as Scalar;
      weighted.forEach(({ name }, index) => {
        metrics[`${name}.gradientShare`] = divideOrZero(norms[index]!, total);
      });
    }
    return { loss: tf.addN(weighted.map(({ value }) => value)) as Scalar, metrics };
  });
}

/** A term's weight and its function with every option in place. */
function resolve(term: ObjectiveTerm, name: string, { progress, scheduled }: CombineOptions) {
  const { term: loss, name: _name, weight = lossDescriptions[loss].weight, ...given } = term;
  const valueOf = (option: string, value: unknown): unknown => {
    if (!isMoving(value as Schedule)) return value;
    const input = scheduled?.[`${name}.${option}`];
    if (input !== undefined) return input;
    if (progress === undefined) throw new Error(`${name}.${option} is a schedule: give combine \`progress\`, or its value as scheduled['${name}.${option}']`);
    return scheduleValue(value as Schedule, progress);
  };
  const settings = Object.fromEntries(Object.entries(given).map(([option, value]) => [option, valueOf(option, value)]));
  return {
    weight: valueOf('weight', weight) as Parameter,
    compute: (scores: BlockScores) => lossFunctions[loss](scores, settings as Record<string, never>),
  };
}

/** Norm of the gradient of `loss` with respect to the scores that the term differentiates. */
function gradientNorm(scores: BlockScores, term: ObjectiveTerm, loss: (scores: BlockScores) => Scalar): Scalar {
  const inputs = differentiatedScores([term]);
  const gradients = tf.grads((...tensors: Tensor[]) => {
    const replaced = Object.fromEntries(inputs.map((name, index) => [name, tensors[index] as Tensor2D]));
    return loss({ ...scores, ...replaced });
  })(inputs.map((name) => scores[name]!));
  return tf.sqrt(tf.addN(gradients.map((gradient) => tf.sum(tf.square(gradient))))) as Scalar;
}
