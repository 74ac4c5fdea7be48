// Tasks over lists of numbers: filter and reduce in several styles, transforms, and list shapes.
import { exampleNumbers, python, type TaskMaker } from './code.js';

const listNames = ['numbers', 'values', 'items', 'data', 'nums', 'scores', 'xs'] as const;
const itemNames: Record<string, readonly string[]> = {
  numbers: ['number', 'n', 'num', 'x'], values: ['value', 'v', 'x'], items: ['item', 'i', 'x'], data: ['value', 'x', 'd'], nums: ['num', 'n'],
  scores: ['score', 's'], xs: ['x'],
};

type Condition = { code: (x: string, k: number) => string; words: (k: number) => string; tag: string; test: (x: number, k: number) => boolean };
const conditions: readonly Condition[] = [
  { tag: 'even', code: (x) => `${x} % 2 == 0`, words: () => 'even', test: (x) => x % 2 === 0 },
  { tag: 'odd', code: (x) => `${x} % 2 == 1`, words: () => 'odd', test: (x) => x % 2 === 1 },
  { tag: 'large', code: (x, k) => `${x} > ${k}`, words: (k) => `greater than ${k}`, test: (x, k) => x > k },
  { tag: 'small', code: (x, k) => `${x} < ${k}`, words: (k) => `less than ${k}`, test: (x, k) => x < k },
  { tag: 'divisible', code: (x, k) => `${x} % ${k} == 0`, words: (k) => `divisible by ${k}`, test: (x, k) => x % k === 0 },
  { tag: 'positive', code: (x) => `${x} > 0`, words: () => 'positive', test: (x) => x > 0 },
  { tag: 'negative', code: (x) => `${x} < 0`, words: () => 'negative', test: (x) => x < 0 },
  { tag: 'not_equal', code: (x, k) => `${x} != ${k}`, words: (k) => `not equal to ${k}`, test: (x, k) => x !== k },
];

const filterReduce: TaskMaker = (w) => {
  const list = w.prefer(listNames);
  const x = w.prefer(itemNames[list]!);
  const condition = w.pick(conditions);
  const k = w.between(2, 12);
  const sample = exampleNumbers(w, condition.tag === 'negative' || condition.tag === 'positive' ? -9 : 1, 20);
  const kept = sample.filter((value) => condition.test(value, k));
  const test = condition.code(x, k);
  const kind = w.pick(['sum', 'count', 'filter', 'product', 'any', 'all'] as const);
  const total = w.prefer(['total', 'result', 'answer', 'acc']);
  const what = w.fill('«the|all» «numbers|values|elements» «in a list |of a list |»that are $words', { words: condition.words(k) }).replace('all', kind === 'filter' ? 'all' : 'the');
  const loop = w.chance(0.5);
  const naming = { list, x, tag: condition.tag };
  const parameters: [string, string][] = [[list, 'list[int]']];
  const args = python(sample);
  switch (kind) {
    case 'sum':
      return { name: w.fill('«sum_$tag|add_$tag|total_$tag|$tag_sum»'.replace(/\$tag/g, condition.tag), naming), parameters, returns: 'int', does: `${w.prefer(['returns the sum of', 'adds up', 'computes the sum of', 'sums'])} ${what}`, docstring: `Return the sum of ${what}.`, body: loop ? [`${total} = 0`, `for ${x} in ${list}:`, `    if ${test}:`, `        ${total} += ${x}`, `return ${total}`] : [`return sum(${x} for ${x} in ${list} if ${test})`], example: { args, result: String(kept.reduce((a, b) => a + b, 0)) } };
    case 'count':
      return { name: w.prefer(['count', 'number_of', 'how_many']) + `_${condition.tag}`, parameters, returns: 'int', does: `${w.prefer(['counts', 'returns the number of', 'finds the number of'])} ${what.replace(/^the |^all /, '')}`, docstring: `Count ${what}.`, body: loop ? ['count = 0', `for ${x} in ${list}:`, `    if ${test}:`, '        count += 1', 'return count'] : w.chance(0.5) ? [`return sum(1 for ${x} in ${list} if ${test})`] : [`return len([${x} for ${x} in ${list} if ${test}])`], example: { args, result: String(kept.length) } };
    case 'filter':
      return { name: w.prefer(['keep', 'filter', 'select', 'get', 'only']) + `_${condition.tag}`, parameters, returns: 'list[int]', does: `${w.prefer(['returns', 'keeps only', 'selects', 'collects'])} ${what}`, docstring: `Return ${what}.`, body: loop ? [`${total} = []`, `for ${x} in ${list}:`, `    if ${test}:`, `        ${total}.append(${x})`, `return ${total}`] : [`return [${x} for ${x} in ${list} if ${test}]`], example: { args, result: python(kept) } };
    case 'product':
      return { name: w.prefer(['product_of', 'multiply']) + `_${condition.tag}`, parameters, returns: 'int', does: `${w.prefer(['multiplies', 'returns the product of'])} ${what}`, docstring: `Return the product of ${what}.`, body: [`${total} = 1`, `for ${x} in ${list}:`, `    if ${test}:`, `        ${total} *= ${x}`, `return ${total}`], example: kept.length < 4 ? { args, result: String(kept.reduce((a, b) => a * b, 1)) } : undefined };
    case 'any':
      return { name: w.prefer(['has', 'any', 'contains']) + `_${condition.tag}`, parameters, returns: 'bool', does: `${w.prefer(['checks whether', 'returns True if', 'tests if'])} any number in a list is ${condition.words(k)}`, docstring: `Return True if any number is ${condition.words(k)}.`, body: loop ? [`for ${x} in ${list}:`, `    if ${test}:`, '        return True', 'return False'] : [`return any(${test} for ${x} in ${list})`], example: { args, result: python(kept.length > 0) } };
    default:
      return { name: w.prefer(['all', 'only']) + `_${condition.tag}`, parameters, returns: 'bool', does: `${w.prefer(['checks whether', 'returns True if', 'tests if'])} all numbers in a list are ${condition.words(k)}`, docstring: `Return True if all numbers are ${condition.words(k)}.`, body: loop ? [`for ${x} in ${list}:`, `    if not ${test}:`.replace('not', 'not ('), '        return False', 'return True'].map((line) => (line.includes('not (') ? line.replace(/:$/, '):') : line)) : [`return all(${test} for ${x} in ${list})`], example: { args, result: python(kept.length === sample.length) } };
  }
};

const transforms: readonly (readonly [string, string, string, (x: string, k: number) => string, (x: number, k: number) => number])[] = [
  ['double', 'doubles', 'Double', (x) => `${x} * 2`, (x) => x * 2], ['square', 'squares', 'Square', (x) => `${x} ** 2`, (x) => x * x],
  ['increase', 'adds $k to', 'Add $k to', (x, k) => `${x} + ${k}`, (x, k) => x + k], ['decrease', 'subtracts $k from', 'Subtract $k from', (x, k) => `${x} - ${k}`, (x, k) => x - k],
  ['scale', 'multiplies by $k', 'Multiply by $k', (x, k) => `${x} * ${k}`, (x, k) => x * k], ['negate', 'negates', 'Negate', (x) => `-${x}`, (x) => -x],
  ['halve', 'halves (rounding down)', 'Halve', (x) => `${x} // 2`, (x) => Math.floor(x / 2)], ['cap', 'limits to at most $k', 'Limit to at most $k', (x, k) => `min(${x}, ${k})`, (x, k) => Math.min(x, k)],
  ['raise_to', 'lifts to at least $k', 'Lift to at least $k', (x, k) => `max(${x}, ${k})`, (x, k) => Math.max(x, k)], ['remainder', 'takes modulo $k', 'Take modulo $k', (x, k) => `${x} % ${k}`, (x, k) => x % k],
];

const transform: TaskMaker = (w) => {
  const list = w.prefer(listNames);
  const x = w.prefer(itemNames[list]!);
  const [tag, does, doc, code, compute] = w.pick(transforms);
  const k = w.between(2, 15);
  const sample = exampleNumbers(w);
  const each = w.prefer(['every number in a list', 'each element of a list', 'all numbers in a list']);
  const style = w.between(0, 2);
  const out = w.prefer(['result', 'output', 'new_list']);
  return {
    name: `${tag}_${w.prefer(['all', 'list', 'each', 'values', 'numbers'])}`, parameters: [[list, 'list[int]']], returns: 'list[int]',
    does: w.fill(`${does} ${each}`, { k }), docstring: w.fill(`${doc} ${each}.`, { k }),
    body: style === 0 ? [`${out} = []`, `for ${x} in ${list}:`, `    ${out}.append(${code(x, k)})`, `return ${out}`] : style === 1 ? [`return [${code(x, k)} for ${x} in ${list}]`] : [`return list(map(lambda ${x}: ${code(x, k)}, ${list}))`],
    example: { args: python(sample), result: python(sample.map((value) => compute(value, k))) },
  };
};

const extreme: TaskMaker = (w) => {
  const list = w.prefer(listNames);
  const x = w.prefer(itemNames[list]!);
  const high = w.chance(0.5);
  const word = high ? w.prefer(['largest', 'maximum', 'biggest']) : w.prefer(['smallest', 'minimum', 'lowest']);
  const best = w.prefer(['best', word === 'largest' ? 'largest' : 'current', 'result']);
  const sample = exampleNumbers(w, 1, 50);
  const loop = w.chance(0.7);
  const empty = w.chance(0.4) ? [`if not ${list}:`, w.prefer(['    return None', '    raise ValueError("empty list")'])] : [];
  return {
    name: w.prefer(['find', 'get', 'list']) + `_${word}`, parameters: [[list, 'list[int]']], returns: 'int', does: `${w.prefer(['returns', 'finds'])} the ${word} ${w.prefer(['number', 'value', 'element'])} in a list`,
    docstring: `Return the ${word} value in the list.`,
    body: [...empty, ...(loop ? [`${best} = ${list}[0]`, `for ${x} in ${list}${w.chance(0.5) ? '[1:]' : ''}:`, `    if ${x} ${high ? '>' : '<'} ${best}:`, `        ${best} = ${x}`, `return ${best}`] : [`return ${high ? 'max' : 'min'}(${list})`])],
    example: { args: python(sample), result: String(high ? Math.max(...sample) : Math.min(...sample)) },
  };
};

const shapes: TaskMaker = (w) => {
  const list = w.prefer(listNames);
  const x = w.prefer(itemNames[list]!);
  const out = w.prefer(['result', 'output', 'out']);
  const sample = exampleNumbers(w, 1, 9, w.between(4, 6));
  const k = w.between(2, 3);
  const type: [string, string][] = [[list, 'list']];
  const kind = w.between(0, 8);
  if (kind === 0) return { name: w.prefer(['remove_duplicates', 'unique', 'distinct']), parameters: type, returns: 'list', does: 'removes duplicates from a list and keeps the order', docstring: 'Remove duplicates but keep the order.', body: ['seen = set()', `${out} = []`, `for ${x} in ${list}:`, `    if ${x} not in seen:`, `        seen.add(${x})`, `        ${out}.append(${x})`, `return ${out}`], example: { args: python(sample), result: python([...new Set(sample)]) } };
  if (kind === 1) return { name: w.prefer(['chunk', 'split_list', 'batches']), parameters: [[list, 'list'], ['size', 'int']], returns: 'list', does: `splits a list into ${w.prefer(['chunks', 'pieces', 'parts'])} of a given size`, docstring: 'Split the list into chunks.', body: w.chance(0.5) ? [`return [${list}[i:i + size] for i in range(0, len(${list}), size)]`] : [`${out} = []`, `for start in range(0, len(${list}), size):`, `    ${out}.append(${list}[start:start + size])`, `return ${out}`], example: { args: `${python(sample)}, ${k}`, result: python(Array.from({ length: Math.ceil(sample.length / k) }, (_, i) => sample.slice(i * k, i * k + k))) } };
  if (kind === 2) { let sum = 0; return { name: w.prefer(['running_total', 'cumulative_sum', 'prefix_sums']), parameters: type, returns: 'list', does: `returns the ${w.prefer(['running totals', 'cumulative sums'])} of a list`, docstring: 'Return the running totals.', body: ['total = 0', `${out} = []`, `for ${x} in ${list}:`, `    total += ${x}`, `    ${out}.append(total)`, `return ${out}`], example: { args: python(sample), result: python(sample.map((value) => (sum += value))) } }; }
  if (kind === 3) return { name: w.prefer(['rotate_left', 'rotate', 'shift']), parameters: [[list, 'list'], ['k', 'int']], returns: 'list', does: `rotates a list to the left by k ${w.prefer(['places', 'positions', 'steps'])}`, docstring: 'Rotate the list to the left.', body: [`if not ${list}:`, `    return ${list}`, `k = k % len(${list})`, `return ${list}[k:] + ${list}[:k]`], example: { args: `${python(sample)}, ${k}`, result: python([...sample.slice(k), ...sample.slice(0, k)]) } };
  if (kind === 4) return { name: w.prefer(['is_sorted', 'sorted_already', 'is_ascending']), parameters: type, returns: 'bool', does: `checks whether a list is sorted ${w.prefer(['in ascending order', 'from small to large'])}`, docstring: 'Return True if the list is sorted.', body: w.chance(0.5) ? [`for i in range(len(${list}) - 1):`, `    if ${list}[i] > ${list}[i + 1]:`, '        return False', 'return True'] : [`return all(a <= b for a, b in zip(${list}, ${list}[1:]))`], example: { args: python(sample), result: python(sample.every((value, i) => i === 0 || sample[i - 1]! <= value)) } };
  if (kind === 5) return { name: w.prefer(['flatten', 'flatten_list', 'join_lists']), parameters: [['lists', 'list[list]']], returns: 'list', does: `${w.prefer(['flattens', 'joins'])} a list of lists into one list`, docstring: 'Flatten a list of lists.', body: w.chance(0.5) ? [`return [${x} for inner in lists for ${x} in inner]`] : [`${out} = []`, 'for inner in lists:', `    ${out}.extend(inner)`, `return ${out}`], example: { args: python([sample.slice(0, 2), sample.slice(2)]), result: python(sample) } };
  if (kind === 6) return { name: w.prefer(['reverse_list', 'backwards', 'reversed_copy']), parameters: type, returns: 'list', does: `returns a list in reverse order`, docstring: 'Return the list in reverse order.', body: w.chance(0.5) ? [`return ${list}[::-1]`] : [`${out} = []`, `for i in range(len(${list}) - 1, -1, -1):`, `    ${out}.append(${list}[i])`, `return ${out}`], example: { args: python(sample), result: python([...sample].reverse()) } };
  if (kind === 7) return { name: w.prefer(['average', 'mean', 'mean_value']), parameters: [[list, 'list[float]']], returns: 'float', does: `computes the ${w.prefer(['average', 'mean'])} of a list${w.chance(0.5) ? ' and returns 0 for an empty list' : ' of numbers'}`, docstring: 'Return the average of the list.', body: [`if not ${list}:`, '    return 0', `return sum(${list}) / len(${list})`] };
  return { name: w.prefer(['common_elements', 'intersection', 'in_both']), parameters: [['first', 'list'], ['second', 'list']], returns: 'list', does: `returns the elements that ${w.prefer(['two lists have in common', 'occur in both lists'])}`, docstring: 'Return the elements in both lists.', body: w.chance(0.5) ? [`return [${x} for ${x} in first if ${x} in second]`] : ['lookup = set(second)', `${out} = []`, `for ${x} in first:`, `    if ${x} in lookup:`, `        ${out}.append(${x})`, `return ${out}`], example: { args: `${python(sample.slice(0, 4))}, ${python(sample.slice(2))}`, result: python(sample.slice(0, 4).filter((value) => sample.slice(2).includes(value))) } };
};

export const listTasks: readonly TaskMaker[] = [filterReduce, filterReduce, filterReduce, filterReduce, transform, transform, extreme, shapes, shapes, shapes, shapes];
