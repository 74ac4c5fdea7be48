// Tasks over lists of dictionaries and over single dictionaries: the part of the code domain with the widest vocabulary.
import { python, type Task, type TaskMaker } from './code.js';
import type { Writer } from './writer.js';

const entities: readonly (readonly [string, string, readonly string[], readonly string[]])[] = [
  // singular, plural, numeric fields, text fields
  ['order', 'orders', ['price', 'quantity', 'discount'], ['status', 'city', 'product']], ['student', 'students', ['grade', 'age', 'score'], ['name', 'school', 'subject']],
  ['book', 'books', ['pages', 'year', 'rating'], ['title', 'author', 'genre']], ['employee', 'employees', ['salary', 'age', 'hours'], ['name', 'department', 'role']],
  ['city', 'cities', ['population', 'area', 'height'], ['name', 'country', 'region']], ['movie', 'movies', ['rating', 'length', 'year'], ['title', 'director', 'genre']],
  ['player', 'players', ['points', 'level', 'wins'], ['name', 'team', 'position']], ['car', 'cars', ['speed', 'price', 'mileage'], ['model', 'color', 'maker']],
  ['task', 'tasks', ['priority', 'hours', 'cost'], ['title', 'owner', 'status']], ['product', 'products', ['price', 'stock', 'weight'], ['name', 'category', 'brand']],
  ['song', 'songs', ['seconds', 'plays', 'year'], ['title', 'artist', 'album']], ['flight', 'flights', ['distance', 'delay', 'seats'], ['origin', 'airline', 'gate']],
  ['animal', 'animals', ['weight', 'age', 'legs'], ['name', 'species', 'habitat']], ['user', 'users', ['age', 'visits', 'credit'], ['name', 'email', 'country']],
  ['room', 'rooms', ['floor', 'beds', 'price'], ['name', 'view', 'building']], ['message', 'messages', ['size', 'likes', 'time'], ['sender', 'topic', 'text']],
];
const textValues = ['open', 'red', 'north', 'alpha', 'new', 'blue', 'main', 'done', 'late', 'free'] as const;

function drawEntity(w: Writer): { one: string; many: string; number: string; text: string; x: string } {
  const [one, many, numbers, texts] = w.pick(entities);
  return { one, many, number: w.pick(numbers), text: w.pick(texts), x: w.chance(0.75) ? one : one[0]! };
}

const records: TaskMaker = (w) => {
  const { one, many, number, text, x } = drawEntity(w);
  const k = w.pick([2, 3, 5, 10, 18, 20, 50, 100]);
  const value = w.pick(textValues);
  const field = (name: string): string => `${x}["${name}"]`;
  const out = w.prefer(['result', 'output', 'found', 'selected']);
  const parameters: [string, string?][] = [[many, 'list[dict]']];
  const loop = w.chance(0.5);
  const bound = w.chance(0.3);
  const limit = bound ? w.prefer(['limit', 'threshold', 'minimum']) : String(k);
  const more: [string, string?][] = bound ? [[limit, 'int']] : [];
  const numbers = [w.between(1, 40), w.between(1, 40), w.between(1, 40)] as const;
  const rows = (key: string): string => `[${numbers.map((n) => `{"${key}": ${n}}`).join(', ')}]`;
  const tasks: (() => Task)[] = [
    () => ({ name: w.prefer([`total_${number}`, `sum_${number}`, `add_${number}`]), parameters, returns: 'int', does: w.prefer([`adds up the ${number} of all ${many}`, `returns the total ${number} of a list of ${many}`]), docstring: `Return the total ${number} of all ${many}.`, body: loop ? ['total = 0', `for ${x} in ${many}:`, `    total += ${field(number)}`, 'return total'] : [`return sum(${field(number)} for ${x} in ${many})`], example: w.chance(0.6) ? { args: rows(number), result: String(numbers[0] + numbers[1] + numbers[2]) } : undefined }),
    () => ({ name: w.prefer([`average_${number}`, `mean_${number}`]), parameters, returns: 'float', does: `computes the ${w.prefer(['average', 'mean'])} ${number} of a list of ${many}`, docstring: `Return the average ${number} of the ${many}.`, body: [...(w.chance(0.6) ? [`if not ${many}:`, '    return 0'] : []), `total = sum(${field(number)} for ${x} in ${many})`, `return total / len(${many})`] }),
    () => ({ name: w.prefer([`filter_by_${number}`, `${many}_above`, `select_${many}`]), parameters: [...parameters, ...more], returns: 'list[dict]', does: `${w.prefer(['returns', 'selects', 'finds'])} all ${many} with a ${number} of at least ${bound ? `a given ${limit}` : k}`, docstring: `Return the ${many} whose ${number} is at least ${bound ? `the ${limit}` : k}.`, body: loop ? [`${out} = []`, `for ${x} in ${many}:`, `    if ${field(number)} >= ${limit}:`, `        ${out}.append(${x})`, `return ${out}`] : [`return [${x} for ${x} in ${many} if ${field(number)} >= ${limit}]`] }),
    () => ({ name: w.prefer([`sort_by_${number}`, `${many}_by_${number}`, `order_by_${number}`]), parameters, returns: 'list[dict]', does: `sorts a list of ${many} by ${number}${w.chance(0.5) ? '' : ' in ascending order'}`, docstring: `Sort the ${many} by ${number}.`, body: [`return sorted(${many}, key=lambda ${x}: ${field(number)})`] }),
    () => ({ name: w.prefer([`top_${many}`, `best_${many}`, `first_${many}`]), parameters: [...parameters, ['n', 'int']], returns: 'list[dict]', does: `returns the n ${many} with the ${w.prefer(['highest', 'largest'])} ${number}`, docstring: `Return the n ${many} with the highest ${number}.`, body: [`ordered = sorted(${many}, key=lambda ${x}: ${field(number)}, reverse=True)`, 'return ordered[:n]'] }),
    () => ({ name: w.prefer([`group_by_${text}`, `${many}_by_${text}`]), parameters, returns: 'dict', does: `groups a list of ${many} by ${text}`, docstring: `Group the ${many} by ${text}.`, body: ['groups = {}', `for ${x} in ${many}:`, ...(w.chance(0.5) ? [`    key = ${field(text)}`, '    if key not in groups:', '        groups[key] = []', `    groups[key].append(${x})`] : [`    groups.setdefault(${field(text)}, []).append(${x})`]), 'return groups'] }),
    () => ({ name: w.prefer([`find_by_${text}`, `get_${one}`, `find_${one}`]), parameters: [...parameters, [text, 'str']], returns: 'dict', does: `${w.prefer(['finds', 'returns'])} the first ${one} with a given ${text}`, docstring: `Return the first ${one} with the given ${text}, or None.`, body: [`for ${x} in ${many}:`, `    if ${field(text)} == ${text}:`, `        return ${x}`, 'return None'] }),
    () => ({ name: w.prefer([`count_${value}`, `count_${many}`, `number_of_${many}`]), parameters, returns: 'int', does: `counts the ${many} whose ${text} is "${value}"`, docstring: `Count the ${many} whose ${text} is ${value}.`, body: loop ? ['count = 0', `for ${x} in ${many}:`, `    if ${field(text)} == "${value}":`, '        count += 1', 'return count'] : [`return sum(1 for ${x} in ${many} if ${field(text)} == "${value}")`] }),
    () => ({ name: w.prefer([`get_${text}s`, `list_${text}s`, `all_${text}s`]), parameters, returns: 'list[str]', does: `returns ${w.prefer(['a list with', 'a list of'])} the ${text} of ${w.prefer(['every', 'each'])} ${one}`, docstring: `Return the ${text} of every ${one}.`, body: loop ? [`${out} = []`, `for ${x} in ${many}:`, `    ${out}.append(${field(text)})`, `return ${out}`] : [`return [${field(text)} for ${x} in ${many}]`] }),
    () => ({ name: w.prefer([`increase_${number}`, `raise_${number}`, `add_to_${number}`]), parameters: [...parameters, ['amount', 'int']], does: `increases the ${number} of every ${one} by a given amount`, docstring: `Increase the ${number} of every ${one}.`, body: [`for ${x} in ${many}:`, `    ${field(number)} += amount`, `return ${many}`] }),
    () => ({ name: w.prefer([`total_by_${text}`, `${number}_by_${text}`, `${number}_per_${text}`]), parameters, returns: 'dict', does: `adds up the ${number} of the ${many} for ${w.prefer(['each', 'every'])} ${text}`, docstring: `Return the total ${number} for each ${text}.`, body: ['totals = {}', `for ${x} in ${many}:`, `    key = ${field(text)}`, `    totals[key] = totals.get(key, 0) + ${field(number)}`, 'return totals'] }),
    () => ({ name: w.prefer([`format_${one}`, `describe_${one}`, `show_${one}`]), parameters: [[one, 'dict']], returns: 'str', does: `returns a string with the ${text} and the ${number} of a ${one}`.replace('a animal', 'an animal').replace('a order', 'an order').replace('a employee', 'an employee'), docstring: `Describe the ${one} in one line.`, body: [w.prefer([`return f"{${one}['${text}']}: {${one}['${number}']}"`, `return f"{${one}['${text}']} ({${one}['${number}']})"`, `return f"${text}={${one}['${text}']}, ${number}={${one}['${number}']}"`])] }),
  ];
  return w.pick(tasks)();
};

const dictionaries: TaskMaker = (w) => {
  const d = w.prefer(['d', 'data', 'counts', 'mapping', 'table', 'prices']);
  const k = w.prefer(['key', 'k', 'name']);
  const v = w.prefer(['value', 'v', 'amount']);
  const n = w.between(1, 50);
  const keys = w.sample(textValues, 3);
  const numbers = w.sample([3, 8, 15, 21, 34, 42, 7, 12, 19, 27], 3);
  const source = `{${keys.map((key, i) => `"${key}": ${numbers[i]}`).join(', ')}}`;
  const tasks: (() => Task)[] = [
    () => ({ name: w.prefer(['invert', 'swap_keys', 'invert_dict']), parameters: [[d, 'dict']], returns: 'dict', does: 'swaps the keys and values of a dictionary', docstring: 'Swap keys and values.', body: w.chance(0.5) ? [`return {${v}: ${k} for ${k}, ${v} in ${d}.items()}`] : ['result = {}', `for ${k}, ${v} in ${d}.items():`, `    result[${v}] = ${k}`, 'return result'] }),
    () => ({ name: w.prefer(['best_key', 'key_of_max', 'highest']), parameters: [[d, 'dict']], returns: 'str', does: `returns the key with the ${w.prefer(['largest', 'highest'])} value`, docstring: 'Return the key with the largest value.', body: w.chance(0.5) ? [`return max(${d}, key=${d}.get)`] : ['best = None', `for ${k}, ${v} in ${d}.items():`, `    if best is None or ${v} > ${d}[best]:`, `        best = ${k}`, 'return best'], example: { args: source, result: python(keys[numbers.indexOf(Math.max(...numbers))]) } }),
    () => ({ name: w.prefer(['filter_values', 'large_values', 'keep_above']), parameters: [[d, 'dict']], returns: 'dict', does: `keeps only the entries of a dictionary with a value above ${n}`, docstring: `Keep the entries with a value above ${n}.`, body: [`return {${k}: ${v} for ${k}, ${v} in ${d}.items() if ${v} > ${n}}`] }),
    () => ({ name: w.prefer(['merge', 'merge_dicts', 'combine']), parameters: [['first', 'dict'], ['second', 'dict']], returns: 'dict', does: 'merges two dictionaries and adds the values of common keys', docstring: 'Merge two dictionaries.', body: ['result = dict(first)', `for ${k}, ${v} in second.items():`, `    result[${k}] = result.get(${k}, 0) + ${v}`, 'return result'] }),
    () => ({ name: w.prefer(['total', 'sum_values', 'total_value']), parameters: [[d, 'dict']], returns: 'int', does: 'adds up all values of a dictionary', docstring: 'Return the sum of all values.', body: w.chance(0.5) ? [`return sum(${d}.values())`] : ['total = 0', `for ${v} in ${d}.values():`, `    total += ${v}`, 'return total'], example: { args: source, result: String(numbers.reduce((a, b) => a + b, 0)) } }),
    () => ({ name: w.prefer(['sorted_keys', 'keys_by_value', 'ranking']), parameters: [[d, 'dict']], returns: 'list', does: 'returns the keys of a dictionary sorted by value', docstring: 'Return the keys sorted by value.', body: [`return sorted(${d}, key=lambda ${k}: ${d}[${k}])`], example: { args: source, result: python(keys.map((key, i) => [key, numbers[i]!] as const).sort((a, b) => a[1] - b[1]).map(([key]) => key)) } }),
  ];
  return w.pick(tasks)();
};

export const recordTasks: readonly TaskMaker[] = [records, records, records, records, dictionaries];
