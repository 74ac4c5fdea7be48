// Tasks about numbers and small algorithms: recursion, primes, conversions, thresholds with labels.
import { exampleNumbers, python, type Task, type TaskMaker } from './code.js';

const numeric: TaskMaker = (w) => {
  const n = w.prefer(['n', 'number', 'num', 'x']);
  const e = w.between(3, 12);
  const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
  const prime = (value: number): boolean => value > 1 && Array.from({ length: value }, (_, i) => i).slice(2).every((d) => value % d !== 0);
  const factorial = (value: number): number => (value <= 1 ? 1 : value * factorial(value - 1));
  const [a, b] = [w.between(4, 60), w.between(4, 60)];
  const big = w.between(100, 9999);
  const p: [string, string][] = [[n, 'int']];
  const r = w.prefer(['result', 'answer', 'total']);
  const tasks: (() => Task)[] = [
    () => ({ name: w.prefer(['factorial', 'fact']), parameters: p, returns: 'int', does: `computes the factorial of ${w.prefer(['a number', `${n}`])}`, docstring: `Return the factorial of ${n}.`, body: ['return'] }),
    () => ({ name: w.prefer(['fibonacci', 'fib']), parameters: p, returns: 'int', does: `returns the ${w.prefer([`${n}-th`, 'nth'])} Fibonacci number`, docstring: 'Return the Fibonacci number.', body: w.chance(0.5) ? ['a, b = 0, 1', `for ${w.prefer(['_', 'i'])} in range(${n}):`, '    a, b = b, a + b', 'return a'] : [`if ${n} < 2:`, `    return ${n}`, 'previous, current = 0, 1', `for i in range(2, ${n} + 1):`, '    previous, current = current, previous + current', 'return current'], example: { args: String(e), result: String(Array.from({ length: e }).reduce<[number, number]>(([x, y]) => [y, x + y], [0, 1])[0]) } }),
    () => ({ name: w.prefer(['gcd', 'greatest_common_divisor']), parameters: [['a', 'int'], ['b', 'int']], returns: 'int', does: 'computes the greatest common divisor of two numbers', docstring: 'Return the greatest common divisor.', body: w.chance(0.6) ? ['while b:', '    a, b = b, a % b', 'return a'] : ['while b != 0:', '    rest = a % b', '    a = b', '    b = rest', 'return a'], example: { args: `${a}, ${b}`, result: String(gcd(a, b)) } }),
    () => ({ name: w.prefer(['is_prime', 'prime']), parameters: p, returns: 'bool', does: `checks ${w.prefer(['whether', 'if'])} a number is prime`, docstring: `Return True if ${n} is prime.`, body: [`if ${n} < 2:`, '    return False', ...(w.chance(0.5) ? [`for d in range(2, int(${n} ** 0.5) + 1):`, `    if ${n} % d == 0:`, '        return False'] : ['d = 2', `while d * d <= ${n}:`, `    if ${n} % d == 0:`, '        return False', '    d += 1']), 'return True'], example: { args: String(a), result: python(prime(a)) } }),
    () => ({ name: w.prefer(['digit_sum', 'sum_digits', 'sum_of_digits']), parameters: p, returns: 'int', does: `${w.prefer(['computes', 'returns'])} the sum of the digits of a number`, docstring: 'Return the sum of the digits.', body: w.chance(0.5) ? [`return sum(int(d) for d in str(${n}))`] : [`${r} = 0`, `while ${n} > 0:`, `    ${r} += ${n} % 10`, `    ${n} //= 10`, `return ${r}`], example: { args: String(big), result: String([...String(big)].reduce((sum, d) => sum + Number(d), 0)) } }),
    () => ({ name: w.prefer(['divisors', 'find_divisors', 'factors']), parameters: p, returns: 'list[int]', does: `${w.prefer(['returns', 'finds'])} all divisors of a number`, docstring: `Return all divisors of ${n}.`, body: w.chance(0.5) ? [`return [d for d in range(1, ${n} + 1) if ${n} % d == 0]`] : [`${r} = []`, `for d in range(1, ${n} + 1):`, `    if ${n} % d == 0:`, `        ${r}.append(d)`, `return ${r}`], example: { args: String(a), result: python(Array.from({ length: a }, (_, i) => i + 1).filter((d) => a % d === 0)) } }),
    () => ({ name: w.prefer(['primes_up_to', 'list_primes']), parameters: [['limit', 'int']], returns: 'list[int]', does: 'returns all prime numbers up to a limit', docstring: 'Return all primes up to the limit.', body: ['primes = []', 'for candidate in range(2, limit + 1):', '    if all(candidate % p != 0 for p in primes):', '        primes.append(candidate)', 'return primes'], example: { args: String(e * 2), result: python(Array.from({ length: e * 2 + 1 }, (_, i) => i).filter(prime)) } }),
    () => ({ name: w.prefer(['power', 'raise_to_power']), parameters: [['base', 'int'], ['exponent', 'int']], returns: 'int', does: 'raises a number to a power with a loop', docstring: 'Return base to the power of exponent.', body: [`${r} = 1`, `for ${w.prefer(['_', 'i'])} in range(exponent):`, `    ${r} *= base`, `return ${r}`], example: { args: `${w.between(2, 2)}, ${e}`, result: String(2 ** e) } }),
    () => ({ name: w.prefer(['collatz', 'collatz_steps', 'count_steps']), parameters: p, returns: 'int', does: 'counts the Collatz steps until a number becomes 1', docstring: 'Count the steps until the number is 1.', body: ['steps = 0', `while ${n} != 1:`, `    if ${n} % 2 == 0:`, `        ${n} //= 2`, '    else:', `        ${n} = 3 * ${n} + 1`, '    steps += 1', 'return steps'] }),
    () => ({ name: w.prefer(['clamp', 'limit', 'bounded']), parameters: [[n, 'int'], ['low', 'int'], ['high', 'int']], returns: 'int', does: `limits a number to the range from low to high`, docstring: 'Limit the number to a range.', body: w.chance(0.5) ? [`return max(low, min(${n}, high))`] : [`if ${n} < low:`, '    return low', `if ${n} > high:`, '    return high', `return ${n}`], example: { args: `${a}, 10, 40`, result: String(Math.max(10, Math.min(a, 40))) } }),
    () => ({ name: w.prefer(['is_leap_year', 'leap_year']), parameters: [['year', 'int']], returns: 'bool', does: 'checks whether a year is a leap year', docstring: 'Return True in a leap year.', body: w.chance(0.5) ? ['return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)'] : ['if year % 400 == 0:', '    return True', 'if year % 100 == 0:', '    return False', 'return year % 4 == 0'], example: { args: String(1900 + a), result: python((1900 + a) % 4 === 0) } }),
    () => ({ name: w.prefer(['countdown', 'count_down']), parameters: [['start', 'int']], returns: 'list[int]', does: 'returns a list that counts down from a number to 1', docstring: 'Count down to 1.', body: w.chance(0.5) ? ['return list(range(start, 0, -1))'] : [`${r} = []`, 'while start > 0:', `    ${r}.append(start)`, '    start -= 1', `return ${r}`], example: { args: String(e), result: python(Array.from({ length: e }, (_, i) => e - i)) } }),
  ];
  const task = w.pick(tasks)();
  if (task.body[0] === 'return') {
    task.body = w.chance(0.5) ? [`if ${n} <= 1:`, '    return 1', `return ${n} * ${task.name}(${n} - 1)`] : [`${r} = 1`, `for i in range(2, ${n} + 1):`, `    ${r} *= i`, `return ${r}`];
    task.example = { args: String(e), result: String(factorial(e)) };
  }
  return task;
};

const units: readonly (readonly [string, string, string])[] = [
  ['kilometers', 'miles', '* 0.62'], ['hours', 'minutes', '* 60'], ['days', 'hours', '* 24'], ['meters', 'centimeters', '* 100'], ['kilograms', 'grams', '* 1000'], ['celsius', 'fahrenheit', '* 9 / 5 + 32'],
  ['feet', 'inches', '* 12'], ['weeks', 'days', '* 7'], ['liters', 'milliliters', '* 1000'], ['dollars', 'cents', '* 100'], ['minutes', 'seconds', '* 60'], ['years', 'months', '* 12'], ['dozens', 'pieces', '* 12'],
];

const conversion: TaskMaker = (w) => {
  const [from, to, rule] = w.pick(units);
  const value = w.between(2, 30);
  const named = w.chance(0.4);
  const factor = Number(rule.slice(2));
  const words = { from, to };
  return {
    name: w.prefer([`${from}_to_${to}`, `convert_${from}`, `to_${to}`]), parameters: [[from, 'float']], returns: 'float', does: w.fill('converts $from «to|into» $to', words), docstring: w.fill('Convert $from to $to.', words),
    body: named ? [`${to} = ${from} ${rule}`, `return ${to}`] : [`return ${from} ${rule}`],
    example: Number.isInteger(factor) ? { args: String(value), result: String(value * factor) } : undefined,
  };
};

const scales: readonly (readonly [string, string, string, readonly string[]])[] = [
  ['grade', 'score', 'a letter grade for a score', ['A', 'B', 'C', 'D', 'F']], ['ticket_price', 'age', 'the kind of ticket for an age', ['senior', 'adult', 'youth', 'child']],
  ['describe_temperature', 'degrees', 'a word for a temperature', ['hot', 'warm', 'mild', 'cold']], ['size_label', 'width', 'a size label for a width', ['large', 'medium', 'small']],
  ['speed_level', 'speed', 'a level for a speed', ['fast', 'normal', 'slow']], ['risk', 'points', 'the risk for a number of points', ['high', 'medium', 'low', 'none']],
  ['wind_name', 'speed', 'a name for the wind at a speed', ['storm', 'breeze', 'calm']], ['shipping', 'weight', 'the shipping class for a weight', ['freight', 'parcel', 'letter']],
];

const thresholds: TaskMaker = (w) => {
  const [name, x, what, labels] = w.pick(scales);
  let bound = w.between(6, 9) * 10;
  const body: string[] = [];
  const bounds: number[] = [];
  const chained = w.chance(0.6);
  labels.slice(0, -1).forEach((label, i) => {
    body.push(`${i > 0 && chained ? 'elif' : 'if'} ${x} >= ${bound}:`, `    return "${label}"`);
    bounds.push(bound);
    bound -= w.pick([5, 10, 15, 20]);
  });
  const last = labels[labels.length - 1]!;
  if (chained && w.chance(0.5)) body.push('else:', `    return "${last}"`);
  else body.push(`return "${last}"`);
  const value = w.between(1, 99);
  const found = bounds.findIndex((limit) => value >= limit);
  return { name, parameters: [[x, 'int']], returns: 'str', does: `returns ${what}`, docstring: `Return ${what}.`, body, example: { args: String(value), result: python(found < 0 ? last : labels[found]) } };
};

const fizz: TaskMaker = (w) => {
  const [a, b] = w.sample([2, 3, 4, 5, 6, 7], 2) as [number, number];
  const [x, y] = w.sample(['Fizz', 'Buzz', 'Foo', 'Bar', 'Ping', 'Pong', 'Tick', 'Tock'], 2) as [string, string];
  return {
    name: w.prefer(['fizz_buzz', 'label_numbers', 'number_words']), parameters: [['n', 'int']], returns: 'list[str]',
    does: `returns the numbers from 1 to n, but "${x}" for multiples of ${a} and "${y}" for multiples of ${b}`, docstring: `Replace multiples of ${a} and ${b} by words.`,
    body: ['result = []', 'for i in range(1, n + 1):', `    if i % ${a} == 0 and i % ${b} == 0:`, `        result.append("${x}${y}")`, `    elif i % ${a} == 0:`, `        result.append("${x}")`, `    elif i % ${b} == 0:`, `        result.append("${y}")`, '    else:', '        result.append(str(i))', 'return result'],
  };
};

const sorting: TaskMaker = (w) => {
  const list = w.prefer(['numbers', 'values', 'items', 'data']);
  const sample = exampleNumbers(w, 1, 30, w.between(3, 5));
  const sorted = [...sample].sort((a, b) => a - b);
  const target = w.pick(sorted);
  const kind = w.between(0, 3);
  if (kind === 0) return { name: 'bubble_sort', parameters: [[list, 'list']], returns: 'list', does: 'sorts a list with bubble sort', docstring: 'Sort the list with bubble sort.', body: [`n = len(${list})`, 'for i in range(n):', '    for j in range(n - 1 - i):', `        if ${list}[j] > ${list}[j + 1]:`, `            ${list}[j], ${list}[j + 1] = ${list}[j + 1], ${list}[j]`, `return ${list}`], example: { args: python(sample), result: python(sorted) } };
  if (kind === 1) return { name: 'insertion_sort', parameters: [[list, 'list']], returns: 'list', does: 'sorts a list with insertion sort', docstring: 'Sort the list with insertion sort.', body: [`for i in range(1, len(${list})):`, `    current = ${list}[i]`, '    j = i - 1', `    while j >= 0 and ${list}[j] > current:`, `        ${list}[j + 1] = ${list}[j]`, '        j -= 1', `    ${list}[j + 1] = current`, `return ${list}`], example: { args: python(sample), result: python(sorted) } };
  const distinct = [...new Set(sorted)];
  if (kind === 2) return { name: 'binary_search', parameters: [[list, 'list'], ['target', 'int']], returns: 'int', does: `finds the position of a ${w.prefer(['number', 'value', 'target'])} in a sorted list with binary search`, docstring: 'Return the index of the target, or -1.', body: ['low = 0', `high = len(${list}) - 1`, 'while low <= high:', '    middle = (low + high) // 2', `    if ${list}[middle] == target:`, '        return middle', `    if ${list}[middle] < target:`, '        low = middle + 1', '    else:', '        high = middle - 1', 'return -1'], example: { args: `${python(distinct)}, ${target}`, result: String(distinct.indexOf(target)) } };
  return { name: w.prefer(['find_index', 'index_of', 'position']), parameters: [[list, 'list'], ['target', 'int']], returns: 'int', does: `returns the index of a ${w.prefer(['value', 'target'])} in a list, or -1`, docstring: 'Return the index of the target, or -1.', body: [`for i, value in enumerate(${list}):`, '    if value == target:', '        return i', 'return -1'], example: { args: `${python(distinct)}, ${target}`, result: String(distinct.indexOf(target)) } };
};

export const algorithmTasks: readonly TaskMaker[] = [numeric, numeric, numeric, conversion, thresholds, thresholds, fizz, sorting];
