// Seeded text templates: what the corpus generators write with.
// A template holds alternatives «one|two|», which nest, and slots $name; $Name is the same slot with a capital. Earlier
// alternatives are likelier (weights 1/(rank + 1)), as words in real text are: a language model can then learn a preference
// at every choice, while the tail stays hard to guess.
import { Random } from '../../src/random.js';

export type Slots = Record<string, string | number>;

/** One turn of a conversation, in the form that chat templates take. */
export interface Message {
  role: 'user' | 'assistant';
  content: string;
}

/** Random choices and template expansion over one generator of random numbers. */
export class Writer {
  constructor(readonly random: Random) {}

  /** One entry, all equally likely. */
  pick<T>(list: readonly T[]): T {
    return list[this.random.int(list.length)]!;
  }

  /** One entry, earlier ones likelier. */
  prefer<T>(list: readonly T[]): T {
    let total = 0;
    for (let i = 0; i < list.length; i++) total += 1 / (i + 1);
    let left = this.random.next() * total;
    for (let i = 0; i < list.length; i++) {
      left -= 1 / (i + 1);
      if (left < 0) return list[i]!;
    }
    return list[0]!;
  }

  /** `count` different entries in random order. */
  sample<T>(list: readonly T[], count: number): T[] {
    const copy = [...list];
    this.random.shuffle(copy);
    return copy.slice(0, count);
  }

  chance(probability: number): boolean {
    return this.random.next() < probability;
  }

  /** A whole number, both ends included. */
  between(low: number, high: number): number {
    return low + this.random.int(high - low + 1);
  }

  /** Expands alternatives and slots until none is left. Throws on a slot that has no value. */
  fill(template: string, slots: Slots = {}): string {
    let text = template;
    for (let depth = 0; /«|\$[A-Za-z]/.test(text); depth++) {
      if (depth > 40) throw new Error(`template does not end: ${template}`);
      text = text.replace(/«([^«»]*)»/g, (_, alternatives: string) => this.prefer(alternatives.split('|')));
      if (text.includes('«')) continue;
      text = text.replace(/\$([A-Za-z]\w*)/g, (_, name: string) => {
        const lower = name[0]!.toLowerCase() + name.slice(1);
        const value = slots[name] ?? slots[lower];
        if (value === undefined) throw new Error(`template has no value for $${name}: ${template}`);
        return name === lower ? String(value) : capitalize(String(value));
      });
    }
    return text.replace(/ {2,}/g, ' ').replace(/ (?=[.,?!;](?:\s|$))/g, '').trim();
  }
}

export function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** "a lamp", "an owl". */
export function withArticle(noun: string): string {
  return `${/^(?:[aeio]|hones|un(?!i)|umb|ug)/.test(noun) ? 'an' : 'a'} ${noun}`;
}

/** "one, two and three". */
export function joinWords(words: readonly string[], last = 'and'): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} ${last} ${words[words.length - 1]!}`;
}
