// Tasks over strings and words.
import { python, type TaskMaker } from './code.js';

const stringNames = ['text', 'string', 's', 'sentence', 'line', 'message'] as const;
const sampleWords = ['river', 'stone', 'apple', 'window', 'level', 'garden', 'noon', 'planet', 'kayak', 'summer', 'tiger', 'bottle', 'radar', 'orange', 'cloud'] as const;

const sets: readonly (readonly [string, string, string])[] = [
  ['vowels', '"aeiou"', 'vowels'], ['digits', '"0123456789"', 'digits'], ['spaces', '" "', 'spaces'], ['commas', '","', 'commas'], ['punctuation', '".,!?"', 'punctuation marks'], ['x_and_y', '"xy"', 'letters x and y'],
];

const countCharacters: TaskMaker = (w) => {
  const s = w.prefer(stringNames);
  const [tag, set, words] = w.pick(sets);
  const c = w.prefer(['char', 'c', 'letter', 'ch']);
  const sample = w.pick(sampleWords);
  const lower = tag === 'vowels' && w.chance(0.5) ? '.lower()' : '';
  const remove = w.chance(0.4);
  const hits = [...sample].filter((letter) => set.includes(letter));
  if (remove) {
    const loop = w.chance(0.5);
    return { name: w.prefer(['remove', 'strip', 'drop', 'without']) + `_${tag}`, parameters: [[s, 'str']], returns: 'str', does: `${w.prefer(['removes', 'deletes', 'drops'])} all ${words} from a string`, docstring: `Remove all ${words} from the string.`, body: loop ? ['result = ""', `for ${c} in ${s}:`, `    if ${c} not in ${set}:`, `        result += ${c}`, 'return result'] : [`return "".join(${c} for ${c} in ${s} if ${c} not in ${set})`], example: { args: python(sample), result: python([...sample].filter((letter) => !set.includes(letter)).join('')) } };
  }
  const body = w.between(0, 2) === 0 ? [`return sum(1 for ${c} in ${s}${lower} if ${c} in ${set})`] : [`count = 0`, `for ${c} in ${s}${lower}:`, `    if ${c} in ${set}:`, `        count += 1`, `return count`];
  return { name: w.prefer(['count', 'number_of']) + `_${tag}`, parameters: [[s, 'str']], returns: 'int', does: `${w.prefer(['counts', 'returns the number of'])} ${w.prefer(['the ', ''])}${words} in a string`.replace('number of the', 'number of'), docstring: `Count the ${words} in the string.`, body, example: { args: python(sample), result: String(hits.length) } };
};

const wordsOf: TaskMaker = (w) => {
  const s = w.prefer(['text', 'sentence', 'line', 'message']);
  const word = w.prefer(['word', 'w', 'part']);
  const n = w.between(3, 8);
  const sample = w.sample(sampleWords, 3);
  const args = python(sample.join(' '));
  const kind = w.between(0, 6);
  if (kind === 0) return { name: w.prefer(['longest_word', 'find_longest_word']), parameters: [[s, 'str']], returns: 'str', does: `${w.prefer(['finds', 'returns'])} the longest word in a ${w.prefer(['sentence', 'string', 'text'])}`, docstring: 'Return the longest word.', body: w.chance(0.4) ? [`return max(${s}.split(), key=len)`] : ['longest = ""', `for ${word} in ${s}.split():`, `    if len(${word}) > len(longest):`, `        longest = ${word}`, 'return longest'], example: { args, result: python(sample.reduce((a, b) => (b.length > a.length ? b : a))) } };
  if (kind === 1) return { name: w.prefer(['count_words', 'word_count', 'number_of_words']), parameters: [[s, 'str']], returns: 'int', does: `counts the words in a ${w.prefer(['sentence', 'string', 'text'])}`, docstring: 'Count the words.', body: w.chance(0.5) ? [`return len(${s}.split())`] : [`words = ${s}.split()`, 'return len(words)'], example: { args, result: '3' } };
  if (kind === 2) return { name: w.prefer(['long_words', 'words_longer_than', 'filter_words']), parameters: [[s, 'str']], returns: 'list[str]', does: `returns all words with more than ${n} letters`, docstring: `Return the words with more than ${n} letters.`, body: [`return [${word} for ${word} in ${s}.split() if len(${word}) > ${n}]`], example: { args, result: python(sample.filter((each) => each.length > n)) } };
  if (kind === 3) return { name: w.prefer(['reverse_words', 'flip_words']), parameters: [[s, 'str']], returns: 'str', does: `reverses the order of the words in a ${w.prefer(['sentence', 'string'])}`, docstring: 'Reverse the order of the words.', body: w.chance(0.5) ? [`return " ".join(reversed(${s}.split()))`] : [`words = ${s}.split()`, 'words.reverse()', 'return " ".join(words)'], example: { args, result: python([...sample].reverse().join(' ')) } };
  if (kind === 4) return { name: w.prefer(['capitalize_words', 'title_case']), parameters: [[s, 'str']], returns: 'str', does: `capitalizes ${w.prefer(['every', 'each'])} word in a ${w.prefer(['sentence', 'string'])}`, docstring: 'Capitalize every word.', body: [`return " ".join(${word}.capitalize() for ${word} in ${s}.split())`], example: { args, result: python(sample.map((each) => each[0]!.toUpperCase() + each.slice(1)).join(' ')) } };
  if (kind === 5) return { name: w.prefer(['word_frequencies', 'count_each_word', 'word_counts']), parameters: [[s, 'str']], returns: 'dict', does: `counts how often ${w.prefer(['each', 'every'])} word occurs in a ${w.prefer(['text', 'string'])}`, docstring: 'Count how often each word occurs.', body: w.chance(0.5) ? ['counts = {}', `for ${word} in ${s}.split():`, `    counts[${word}] = counts.get(${word}, 0) + 1`, 'return counts'] : ['counts = {}', `for ${word} in ${s}.lower().split():`, `    if ${word} not in counts:`, `        counts[${word}] = 0`, `    counts[${word}] += 1`, 'return counts'] };
  return { name: w.prefer(['initials', 'first_letters', 'acronym']), parameters: [[s, 'str']], returns: 'str', does: `returns the first letter of ${w.prefer(['each', 'every'])} word${w.chance(0.5) ? ' in upper case' : ''}`, docstring: 'Return the first letters of the words.', body: [`return "".join(${word}[0].upper() for ${word} in ${s}.split())`], example: { args, result: python(sample.map((each) => each[0]!.toUpperCase()).join('')) } };
};

const stringShapes: TaskMaker = (w) => {
  const s = w.prefer(stringNames);
  const c = w.prefer(['char', 'c', 'letter']);
  const sample = w.pick(sampleWords);
  const args = python(sample);
  const reverse = [...sample].reverse().join('');
  const n = w.between(2, 4);
  const kind = w.between(0, 6);
  if (kind === 0) return { name: w.prefer(['is_palindrome', 'palindrome', 'reads_both_ways']), parameters: [[s, 'str']], returns: 'bool', does: `checks ${w.prefer(['whether', 'if'])} a ${w.prefer(['string', 'word'])} is a palindrome`, docstring: 'Return True if the string is a palindrome.', body: w.chance(0.5) ? [`return ${s} == ${s}[::-1]`] : [`cleaned = ${s}.lower().replace(" ", "")`, 'return cleaned == cleaned[::-1]'], example: { args, result: python(sample === reverse) } };
  if (kind === 1) return { name: w.prefer(['reverse_string', 'reverse', 'backwards']), parameters: [[s, 'str']], returns: 'str', does: `reverses a ${w.prefer(['string', 'word'])}`, docstring: 'Reverse the string.', body: w.chance(0.5) ? [`return ${s}[::-1]`] : ['result = ""', `for ${c} in ${s}:`, `    result = ${c} + result`, 'return result'], example: { args, result: python(reverse) } };
  if (kind === 2) return { name: w.prefer(['repeat', 'repeat_text', 'times']), parameters: [[s, 'str'], ['n', 'int']], returns: 'str', does: `repeats a string n times${w.chance(0.5) ? ' with spaces between' : ''}`, docstring: 'Repeat the string n times.', body: [`return " ".join([${s}] * n)`], example: { args: `${args}, ${n}`, result: python(Array(n).fill(sample).join(' ')) } };
  if (kind === 3) return { name: w.prefer(['count_letter', 'count_char', 'occurrences']), parameters: [[s, 'str'], ['target', 'str']], returns: 'int', does: `counts how often a ${w.prefer(['letter', 'character'])} occurs in a string`, docstring: 'Count how often the letter occurs.', body: w.chance(0.5) ? [`return ${s}.count(target)`] : ['count = 0', `for ${c} in ${s}:`, `    if ${c} == target:`, '        count += 1', 'return count'], example: { args: `${args}, ${python(sample[1])}`, result: String([...sample].filter((letter) => letter === sample[1]).length) } };
  if (kind === 4) return { name: w.prefer(['is_anagram', 'are_anagrams', 'same_letters']), parameters: [['first', 'str'], ['second', 'str']], returns: 'bool', does: `checks ${w.prefer(['whether', 'if'])} two ${w.prefer(['words', 'strings'])} are anagrams`, docstring: 'Return True if the words are anagrams.', body: [`return sorted(first${w.chance(0.5) ? ')' : '.lower())'} == sorted(second)`.replace('.lower()) == sorted(second)', '.lower()) == sorted(second.lower())')], example: { args: `${args}, ${python(reverse)}`, result: 'True' } };
  if (kind === 5) return { name: w.prefer(['first_letters', 'shorten', 'prefix']), parameters: [[s, 'str'], ['n', 'int']], returns: 'str', does: `returns the first n ${w.prefer(['letters', 'characters'])} of a string`, docstring: 'Return the first n characters.', body: [`return ${s}[:n]`], example: { args: `${args}, ${n}`, result: python(sample.slice(0, n)) } };
  return { name: w.prefer(['letter_counts', 'char_frequencies', 'histogram']), parameters: [[s, 'str']], returns: 'dict', does: `counts how often ${w.prefer(['each', 'every'])} ${w.prefer(['letter', 'character'])} occurs`, docstring: 'Count how often each letter occurs.', body: ['counts = {}', `for ${c} in ${s}:`, ...(w.chance(0.5) ? [`    counts[${c}] = counts.get(${c}, 0) + 1`] : [`    if ${c} in counts:`, `        counts[${c}] += 1`, '    else:', `        counts[${c}] = 1`]), 'return counts'] };
};

export const textTasks: readonly TaskMaker[] = [countCharacters, countCharacters, wordsOf, wordsOf, stringShapes, stringShapes];
