// Grade-school word problems with worked steps. The numbers are drawn first and every step is computed from them, so the
// arithmetic is right by construction; wording, order and the number of steps vary.
import { countables, friends, goods, people, type Person } from './lexicon.js';
import { quantityProblems } from './maths-quantities.js';
import { capitalize, joinWords, type Message, type Writer } from './writer.js';

/** A problem as its generator gives it: the steps are full sentences. */
export interface Problem {
  question: string;
  steps: string[];
  answer: string;
}

export type ProblemMaker = (writer: Writer, hero: Person, other: Person) => Problem;

/** One conversation: a word problem and its worked solution. */
export function writeMaths(writer: Writer): Message[] {
  const [hero, other] = writer.sample(people, 2) as [Person, Person];
  const problem = writer.pick(makers)(writer, hero, other);
  const ask = writer.fill('«|||Solve this problem: |Please help me with this: |Work this out step by step: |Can you solve this? »');
  const lead = writer.fill("«|Let's work through it step by step.|Let's solve this.|We can do this step by step.|Let me think.»");
  const end = writer.fill(`«The answer is $answer.|So the answer is $answer.|Answer: $answer.|Therefore, the answer is $answer.»`, { answer: problem.answer });
  const lines = writer.chance(0.75);
  const numbered = lines && writer.chance(0.25);
  const steps = problem.steps.map((step, i) => (numbered ? `${i + 1}. ${capitalize(step)}` : capitalize(step)));
  const body = lines ? [lead, ...steps, end].filter((line) => line !== '').join('\n') : [lead, ...steps, end].join(' ').trim();
  return [
    { role: 'user', content: `${ask}${ask === '' ? '' : ' '}${problem.question.replace(/(^|[.?] )([a-z])/g, (_, before: string, letter: string) => before + letter.toUpperCase())}` },
    { role: 'assistant', content: body },
  ];
}

const collection: ProblemMaker = (w, hero, other) => {
  const [one, things, pack] = w.pick(countables);
  const start = w.between(5, 60);
  const slots = { ...hero, friend: other.name, one, things, start, pack, kin: w.pick(friends), day: w.pick(weekdays) };
  const say = (text: string, more: Record<string, string | number> = {}): string => w.fill(text, { ...slots, ...more });
  const question = [say('$name «has|had|starts with|owns|keeps» $start $things «|in a box|at home|on a shelf|in a drawer|in a bag».')];
  const steps = [say('«$name starts with $start $things.|At first, $name has $start $things.|To begin with, there are $start $things.|We start from $start $things.»')];
  let have = start;
  const count = w.between(2, 4);
  for (let i = 0; i < count; i++) {
    const kind = w.between(0, 5);
    const n = w.between(2, Math.max(3, Math.min(40, have - 1)));
    if (kind === 0) {
      question.push(say('«|Then |Later, |The next day, |On $day, »$he «buys|finds|collects|gets|receives» $n more «|from $friend|at the market|at a fair|from $his $kin».', { n }));
      steps.push(say('«Adding $n more|After getting $n more|With $n more|Then $he gets $n more, so», $he has $have + $n = $next $things.', { n, have, next: have + n }).replace('so,', 'so'));
      have += n;
    } else if (kind === 1 && have > n) {
      question.push(say('«|Then |Later, |After that, |On $day, »$he «gives $n to $friend|loses $n «on the way home|in the park|»|sells $n «at a stall|»|gives $n of them to $his $kin|uses $n for a project».', { n }));
      steps.push(say('«That leaves|After that there are|Taking away $n leaves|Then $he has» $have - $n = $next «$things|$things left|left».', { n, have, next: have - n }));
      have -= n;
    } else if (kind === 2 && have <= 60) {
      question.push(say('«|Then |After a week, »$his $kin «gives $him as many again|doubles that number».'));
      steps.push(say('«Doubling that gives|Twice as many is|Now $he has» 2 * $have = $next $things.', { have, next: have * 2 }));
      have *= 2;
    } else if (kind === 3) {
      const k = w.between(2, 6);
      const m = w.between(3, 12);
      question.push(say('«|Then |Next, |On $day, »$he «buys|gets|is given|wins» $k $packs with $m $things «each|in each|in every $pack».', { k, m, packs: plural(pack) }));
      steps.push(say('«The $packs hold|$k $packs of $m make|The new $packs bring» $k * $m = $p $things.', { k, m, p: k * m, packs: plural(pack) }));
      steps.push(say('«Together with the others that is|So now $he has|That makes» $have + $p = $next $things.', { have, p: k * m, next: have + k * m }));
      have += k * m;
    } else if (kind === 4 && have % 2 === 0 && have > 6) {
      question.push(say('«|Then |After lunch, |On $day, »$he «gives half of them to $friend|puts away half of them|shares half of them with $his $kin».'));
      steps.push(say('«Half of $have is|Giving away half leaves» $have / 2 = $next.', { have, next: have / 2 }));
      have /= 2;
    } else {
      const add = w.between(3, 20);
      question.push(say('«|Then |A week later, »«$friend|$his $kin» «gives $him|brings $him|sends $him» «another $add|$add more|$add extra ones».', { add }));
      steps.push(say('«Now $he has|That makes|With those, $he has» $have + $add = $next $things.', { add, have, next: have + add }));
      have += add;
    }
  }
  const divisors = [2, 3, 4, 5, 6].filter((k) => have % k === 0 && have / k > 1);
  if (divisors.length > 0 && w.chance(0.3)) {
    const k = w.pick(divisors);
    question.push(say('$He «shares|splits|divides» «them all|all of them|what is left» equally among $k «friends|children|people|classmates». How many $things does each «one|person» get?', { k }));
    steps.push(say('«Each one gets|Shared among $k, that is|Everyone receives» $have / $k = $next $things.', { k, have, next: have / k }));
    return { question: question.join(' '), steps, answer: String(have / k) };
  }
  question.push(say('How many $things does $name have «now|in the end|left|at the end|after all this»?'));
  return { question: question.join(' '), steps, answer: String(have) };
};

const shopping: ProblemMaker = (w, hero) => {
  const items = w.sample(goods, w.between(2, 3)).map(([one, many, low, high]) => ({ one, many, n: w.between(1, 6), price: w.between(low, high) }));
  const label = (item: { one: string; many: string; n: number }): string => `${item.n} ${item.n === 1 ? item.one : item.many}`;
  const list = items.map((item) => (item.n === 1 ? w.fill('one $one «for $$|that costs $$|at $$»', { one: item.one }).replace('$$', `$${item.price}`) : ''));
  const parts = items.map((item, i) => list[i] || `${label(item)} ${w.fill('«at|for|costing»')} $${item.price} ${w.fill('«each|apiece»')}`);
  const place = w.fill('«|at the market|in a shop|at the store|online|at a sale»');
  let question = w.fill('$name «buys|orders|picks out|wants to buy»', { ...hero }) + ` ${joinWords(parts)}${place === '' ? '' : ` ${place}`}.`;
  const steps = items.map((item) =>
    item.n === 1
      ? w.fill('The $one «costs|is» ', { one: item.one }) + ` $${item.price}.`
      : w.fill('«The $many cost|$n $many cost|For the $many $he pays|$n times $price is» ', { ...hero, many: item.many, n: item.n, price: item.price }) + ` ${item.n} * ${item.price} = $${item.n * item.price}.`,
  );
  let total = items.reduce((sum, item) => sum + item.n * item.price, 0);
  steps.push(w.fill('«The total is|Together that is|In all that comes to|Altogether $he pays» ', { ...hero }) + ` ${items.map((item) => item.n * item.price).join(' + ')} = $${total}.`);
  if (total % 10 === 0 && w.chance(0.7)) {
    const percent = w.pick([10, 20, 50]);
    question += ` ${w.fill('«There is a $p% discount on everything.|A coupon takes $p% off the total.|Today the shop gives $p% off.»', { p: percent })}`;
    steps.push(`${w.fill('«The discount is|$p% of $total is|The coupon saves»', { p: percent, total })} ${total} * ${percent} / 100 = $${(total * percent) / 100}.`);
    steps.push(`${w.fill('«The new total is|After the discount $he pays|That leaves»', { ...hero })} ${total} - ${(total * percent) / 100} = $${total - (total * percent) / 100}.`);
    total -= (total * percent) / 100;
  }
  if (w.chance(0.5)) {
    const paid = [10, 20, 50, 100, 200, 300, 500, 1000].find((bill) => bill > total) ?? total;
    question += ` ${w.fill('$He «pays with|hands over|gives the clerk|has»', { ...hero })} $${paid}. ${w.fill('«How much change does $he get?|How much money is left?|How much does $he have left afterwards?»', { ...hero })}`;
    steps.push(`${w.fill('«The change is|$He gets back|What is left is|That leaves»', { ...hero })} ${paid} - ${total} = $${paid - total}.`);
    return { question, steps, answer: `$${paid - total}` };
  }
  question += ` ${w.fill('«How much does $he pay «in total|»?|What is the total cost?|How much money does $name spend?|What does it all cost?»', { ...hero })}`;
  return { question, steps, answer: `$${total}` };
};

const comparison: ProblemMaker = (w, hero, other) => {
  const [, things] = w.pick(countables);
  const third = w.pick(people.filter((person) => person.name !== hero.name && person.name !== other.name));
  const base = w.between(4, 30);
  const k = w.between(2, 5);
  const second = base * k;
  const verb = w.pick([['has', 'have'], ['collects', 'collect'], ['picks', 'pick'], ['sells', 'sell'], ['counts', 'count'], ['makes', 'make']] as const);
  const more = w.chance(0.5) || second < 8;
  const d = w.between(2, Math.max(3, Math.min(25, second - 2)));
  const last = more ? second + d : second - d;
  const slots = { verb: verb[0], verbs: verb[1], a: hero.name, b: other.name, c: third.name, things, base, k, d, second, last, word: more ? 'more' : 'fewer', sign: more ? '+' : '-', times: k === 2 ? 'twice' : `${k} times` };
  const question = w.fill('$a $verb $base $things. $b $verb $times as many «|as $a». $c $verb $d $word «than $b|$things than $b».', slots);
  const steps = [
    w.fill('«$b $verb|Since $b $verb $times as many, that is|First, $b $verb» $k * $base = $second $things.', slots),
    w.fill('«$c $verb|Then $c $verb|$c $verb $d $word, which is» $second $sign $d = $last $things.', slots),
  ];
  const ask = w.between(0, 2);
  if (ask === 0) return { question: `${question} ${w.fill('How many $things does $c $base0?', { ...slots, base0: verb[1] })}`, steps, answer: String(last) };
  if (ask === 1) {
    const sum = base + second + last;
    steps.push(w.fill('«Together they $verbs|In total that is|The three of them $verbs|Adding up gives» $base + $second + $last = $sum $things.', { ...slots, sum }));
    return { question: `${question} ${w.fill('How many $things do «they|the three of them|all three» $verbs «in total|together|altogether»?', slots)}`, steps, answer: String(sum) };
  }
  const gap = last - base;
  if (gap <= 0) return comparison(w, hero, other);
  steps.push(w.fill('«The difference is|Compared with $a, that is|So the gap is» $last - $base = $gap.', { ...slots, gap }));
  return { question: `${question} ${w.fill('How many more $things does $c «$verbs» than $a?', slots)}`, steps, answer: String(gap) };
};

const weekdays = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'] as const;

export function plural(noun: string): string {
  if (/(?:x|s|ch|sh)$/.test(noun)) return `${noun}es`;
  return `${noun}s`;
}

const makers: readonly ProblemMaker[] = [collection, collection, collection, shopping, shopping, comparison, comparison, ...quantityProblems];
