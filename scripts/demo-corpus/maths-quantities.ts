// Word problems about rates, lengths, time, money earned and shares: one short function a kind.
import type { ProblemMaker } from './maths.js';

const wages: ProblemMaker = (w, hero) => {
  const [job, act] = w.pick([['babysitter', 'looks after children'], ['gardener', 'mows lawns'], ['painter', 'paints houses'], ['driver', 'delivers parcels'], ['tutor', 'teaches maths'], ['baker', 'bakes bread'], ['cleaner', 'washes windows'], ['farmer', 'picks berries']] as const);
  const [pay, hours, days] = [w.between(8, 25), w.between(2, 9), w.between(2, 6)];
  const slots = { ...hero, job, act, pay, hours, days, week: hours * days, earned: pay * hours * days };
  let question = w.fill('$name «works as «a|a part-time» $job|is a $job|$act» and «earns|is paid|makes» $pay dollars «an hour|per hour|for every hour». «This week|Last week|In one week» $he «works|worked» $hours hours a day «for|on» $days days.', slots);
  const steps = w.chance(0.5)
    ? [w.fill('«$name works|In total $he works|The hours add up to» $hours * $days = $week hours.', slots), w.fill('«For that $he earns|The pay is|$He earns» $week * $pay = $earned dollars.', slots)]
    : [w.fill('«In one day $he earns|Each day brings|A day pays» $hours * $pay = $daily dollars.', { ...slots, daily: hours * pay }), w.fill('«In $days days that is|Over $days days $he earns|For all days that makes» $daily * $days = $earned dollars.', { ...slots, daily: hours * pay })];
  let answer = slots.earned;
  if (w.chance(0.5)) {
    const other = w.between(10, 60);
    const bonus = w.chance(0.5) || other >= answer;
    question += ' ' + w.fill(bonus ? '$He also «gets|receives» «a bonus of|a tip of» $other dollars.' : '$He «spends|pays» $other dollars «on|for» «food|the bus|new tools|a gift|lunch».', { ...hero, other });
    const next = bonus ? answer + other : answer - other;
    steps.push(w.fill(bonus ? '«With the extra money|Adding the extra $other|Together», $he has $answer + $other = $next dollars.' : '«After paying|Taking away $other|Without the cost», $he has $answer - $other = $next dollars.', { ...hero, other, answer, next }));
    answer = next;
    question += ' ' + w.fill('How much money does $he have «in the end|now|after that»?', { ...hero });
  } else question += ' ' + w.fill('How «much|many dollars» does $he earn «in all|in total|»?', { ...hero });
  return { question, steps, answer: `${answer} dollars` };
};

const savings: ProblemMaker = (w, hero) => {
  const [rate, weeks] = [w.between(3, 20), w.between(3, 15)];
  const saved = w.chance(0.6) ? w.between(5, 50) : 0;
  const goal = rate * weeks + saved;
  const slots = { ...hero, rate, weeks, saved, goal, need: rate * weeks, unit: w.pick(['week', 'day', 'month']), thing: w.pick(['bike', 'guitar', 'camera', 'tent', 'telescope', 'skateboard', 'drum', 'pair of boots', 'watch', 'game']) };
  const question = w.fill(`$name «wants to buy|is saving for|dreams of» a $thing that costs $goal dollars. ${saved > 0 ? '$He «already has|has saved» $saved dollars «|so far» and' : '$He'} «saves|puts away|earns» $rate dollars «every|each|a» $unit. «How many $units does $he need?|After how many $units can $he buy it?|How many $units will it take?»`, { ...slots, units: `${slots.unit}s` });
  const steps: string[] = [];
  if (saved > 0) steps.push(w.fill('«$name still needs|The missing amount is|What is missing is» $goal - $saved = $need dollars.', slots));
  else steps.push(w.fill('«$name needs $goal dollars.|The goal is $goal dollars.»', slots));
  steps.push(w.fill('«At $rate dollars a $unit that takes|So it takes|Dividing by $rate gives» $need / $rate = $weeks «$unit|$units».', { ...slots, units: `${slots.unit}s` }).replace(new RegExp(`${slots.unit}\\.$`), `${slots.unit}s.`));
  return { question, steps, answer: `${weeks} ${slots.unit}s` };
};

const travel: ProblemMaker = (w, hero, other) => {
  const [means, low, high] = w.pick([['car', 40, 70], ['bus', 25, 50], ['train', 50, 90], ['bike', 8, 15], ['boat', 10, 25], ['truck', 35, 60]] as const);
  const [a, h, b, g] = [w.between(low, high), w.between(2, 5), w.between(low, high), w.between(1, 4)];
  const slots = { ...hero, means, a, h, b, g, first: a * h, second: b * g, total: a * h + b * g, friend: other.name };
  const hours = g === 1 ? 'hour' : 'hours';
  if (w.chance(0.5)) {
    return {
      question: w.fill(`$name «travels|goes|rides» by $means «for $h hours at $a miles per hour|at $a miles per hour for $h hours» and then «for $g ${hours} at $b miles per hour|at $b miles per hour for $g ${hours}». How «far does $he go in total|many miles does $name travel|long is the whole trip in miles»?`, slots),
      steps: [
        w.fill('«The first part is|In the first part $he goes|First $he covers» $a * $h = $first miles.', slots),
        w.fill('«The second part is|Then $he covers|After that $he goes» $b * $g = $second miles.', slots),
        w.fill('«In total that is|The whole trip is|Together that makes» $first + $second = $total miles.', slots),
      ],
      answer: `${slots.total} miles`,
    };
  }
  const distance = a * h;
  const stop = w.between(1, 3);
  return {
    question: w.fill(`A $means «goes|drives|moves» $a miles «per|an» hour. $name «has to go|must travel|wants to go» $first miles «to see $friend|to the sea|to a wedding|to the next city» and «rests|stops|waits» $stop ${stop === 1 ? 'hour' : 'hours'} on the way. How many hours does the trip take?`, { ...slots, stop }),
    steps: [
      w.fill('«The driving time is|Moving takes|Without the stop it takes» $distance / $a = $h hours.', { ...slots, distance }),
      w.fill(`«With the stop that is|Adding the rest gives|Together that makes» $h + $stop = ${h + stop} hours.`, { ...slots, stop }),
    ],
    answer: `${h + stop} hours`,
  };
};

const area: ProblemMaker = (w, hero) => {
  const [long, wide, cost] = [w.between(4, 30), w.between(3, 20), w.between(2, 9)];
  const slots = { ...hero, long, wide, cost, place: w.pick(['garden', 'field', 'room', 'yard', 'pool', 'playground', 'park', 'stage']), area: long * wide, sum: long + wide, around: 2 * (long + wide) };
  const start = w.fill("«$name has|There is|$name plans|$name measures» a rectangular $place that is $long «meters|metres» long and $wide metres wide.", slots).replace('meters', 'metres');
  if (w.chance(0.5)) {
    return {
      question: `${start} ${w.fill('«Covering|Paving|Painting» one square metre costs $cost dollars. «How much does it cost to cover it all?|What does the whole $place cost?»', slots)}`,
      steps: [w.fill('«The area is|The $place has an area of|First, the area is» $long * $wide = $area square metres.', slots), w.fill(`«The cost is|So it costs|At $cost dollars each that is» $area * $cost = ${slots.area * cost} dollars.`, slots)],
      answer: `${slots.area * cost} dollars`,
    };
  }
  return {
    question: `${start} ${w.fill('«A fence goes all around it.|$name wants to put a fence around it.|$name walks once around it.» How many metres «is that|of fence are needed|long is the way around»?', slots)}`,
    steps: [w.fill('«One long and one short side make|Half the way around is|The two sides together are» $long + $wide = $sum metres.', slots), w.fill('«The way around is|The perimeter is|Twice that is» 2 * $sum = $around metres.', slots)],
    answer: `${slots.around} metres`,
  };
};

const rows: ProblemMaker = (w, hero) => {
  const [n, per] = [w.between(4, 20), w.between(5, 25)];
  const total = n * per;
  const gone = w.between(3, Math.min(60, total - 3));
  const [place, row, thing, state] = w.pick([
    ['theatre', 'rows', 'seats', 'are empty'], ['orchard', 'rows', 'trees', 'were cut down'], ['library', 'shelves', 'books', 'are on loan'],
    ['school', 'classes', 'pupils', 'are away'], ['garage', 'floors', 'cars', 'drive away'], ['bakery', 'trays', 'rolls', 'are sold'],
    ['garden', 'beds', 'tulips', 'are picked'], ['hotel', 'floors', 'rooms', 'are free'], ['farm', 'pens', 'sheep', 'are sold'],
  ] as const);
  const slots = { ...hero, n, per, total, gone, place, row, thing, state, left: total - gone };
  return {
    question: w.fill('«A|$name visits a|In town there is a|$name owns a» $place «has|with» $n $row «with|of» $per $thing «each|in each». $gone of «the|these» $thing $state. How many $thing are «left|not among those|still there»?', slots).replace(/(visits a|there is a|owns a) (\w+) has/, '$1 $2 with').replace(/^A (\w+) with/, 'A $1 has'),
    steps: [w.fill('«There are|In total there are|At first there are» $n * $per = $total $thing.', slots), w.fill('«Without those|Then|Taking away $gone», $total - $gone = $left $thing «remain|are left».', slots)],
    answer: `${total - gone} ${thing}`,
  };
};

const share: ProblemMaker = (w, hero) => {
  const d = w.between(2, 6);
  const total = d * w.between(4, 20);
  const part = total / d;
  const [thing, a, b] = w.pick([['balloons', 'red', 'blue'], ['cats', 'black', 'white'], ['pupils', 'girls', 'boys'], ['flowers', 'yellow', 'pink'], ['buttons', 'round', 'square'], ['cars', 'new', 'old'], ['fish', 'small', 'large'], ['sweets', 'sour', 'sweet']] as const);
  const name = d === 2 ? 'half' : `1/${d}`;
  const slots = { ...hero, total, d, part, thing, a, b, name, rest: total - part };
  const question = w.fill('«There are|$name0 counts|$name0 sees|In a box there are» $total $thing. «$name of them are|Of these, $name are|$name of the $thing are» $a and the «rest|others» are $b.', { ...slots, name0: hero.name });
  const steps = [w.fill('«The $a ones are|There are|$Name of $total is» $total / $d = $part $a $thing.', slots).replace(/(is \d+ \/ \d+ = \d+) .*\.$/, '$1.')];
  steps.push(w.fill('«The rest is|So there are|That leaves» $total - $part = $rest $b ones.', slots));
  return { question: `${question} ${w.fill('How many «$thing are $b|$b ones are there|are $b»?', slots)}`, steps, answer: String(total - part) };
};

const average: ProblemMaker = (w, hero) => {
  const n = w.between(3, 4);
  const mean = w.between(6, 40);
  const values = Array.from({ length: n - 1 }, () => mean + w.between(-5, 5));
  const last = mean * n - values.reduce((x, y) => x + y, 0);
  if (last < 1) return average(w, hero, hero);
  values.push(last);
  const what = w.pick(['points in each game', 'pages on each day', 'miles on each run', 'fish on each trip', 'emails on each day', 'laps on each visit']);
  const slots = { ...hero, n, list: `${values.slice(0, -1).join(', ')} and ${last}`, sum: mean * n, mean, plus: values.join(' + '), what: what.split(' ')[0]!, each: what };
  return {
    question: w.fill('$name «counts|writes down|keeps track of» $his $each: $list. What is the «average|mean» «number of $what|»?', slots).replace(' ?', '?'),
    steps: [w.fill('«The sum is|Adding them up gives|Together that is» $plus = $sum.', slots), w.fill('«There are $n numbers, so the average is|Divided by $n that is|The mean is» $sum / $n = $mean.', slots)],
    answer: String(mean),
  };
};

const packing: ProblemMaker = (w, hero) => {
  const [size, full] = [w.between(3, 12), w.between(3, 12)];
  const left = w.between(1, size - 1);
  const total = size * full + left;
  const [thing, box] = w.pick([['eggs', 'boxes'], ['bottles', 'crates'], ['books', 'parcels'], ['rolls', 'bags'], ['plates', 'stacks'], ['photos', 'albums'], ['pupils', 'vans'], ['apples', 'baskets']] as const);
  const slots = { ...hero, size, full, left, total, thing, box, filled: size * full };
  return {
    question: w.fill('$name «packs|puts|sorts» $total $thing into $box «of $size|with room for $size each|that hold $size each». How many «full $box are there, and how many $thing are left over|$box are full and what is left over»?', slots),
    steps: [w.fill('«$full $box hold|The largest number that fits is|We can fill $full $box:» $full * $size = $filled $thing.', slots).replace(': ', ': '), w.fill('«Left over are|The rest is|That leaves» $total - $filled = $left.', slots)],
    answer: `${full} full ${box} and ${left} left over`,
  };
};

const ages: ProblemMaker = (w, hero, other) => {
  const [young, k, years] = [w.between(4, 14), w.between(2, 4), w.between(2, 10)];
  const old = young * k;
  const slots = { ...hero, other: other.name, young, k, years, old, times: k === 2 ? 'twice' : k === 3 ? 'three times' : 'four times' };
  return {
    question: w.fill(`$name is $young years old. $other is $times as old «|as $name». «How old will $other be in $years years?|In $years years, how old will $other be?|What will $other's age be $years years from now?»`, slots),
    steps: [w.fill('«Today $other is|$other is now|Now $other is» $k * $young = $old «years old|».', slots).replace(' .', '.'), w.fill(`«In $years years that is|$years years later $other is|Then the age is» $old + $years = ${old + years}.`, slots)],
    answer: String(old + years),
  };
};

const recipe: ProblemMaker = (w, hero) => {
  const [serves, k] = [w.between(2, 6), w.between(2, 5)];
  const [food, a, b] = w.pick([['soup', 'carrots', 'onions'], ['pancakes', 'eggs', 'cups of milk'], ['salad', 'tomatoes', 'peppers'], ['cake', 'eggs', 'cups of flour'], ['stew', 'potatoes', 'beans'], ['pie', 'apples', 'spoons of sugar'], ['pasta', 'tomatoes', 'cloves of garlic']] as const);
  const [x, y] = [w.between(2, 9), w.between(2, 9)];
  const slots = { ...hero, food, a, b, x, y, serves, k, people: serves * k, ax: x * k, by: y * k };
  return {
    question: w.fill('$name «cooks|makes|prepares» $food. «For|To serve» $serves people $he «needs|takes|uses» $x $a and $y $b. «How many $a and $b together|How much of both in total» does $he need for $people people?', slots),
    steps: [w.fill('«The recipe is made|$people people is|That is» $people / $serves = $k times «as many|the recipe».', slots), w.fill('«$He needs|That takes» $x * $k = $ax $a and $y * $k = $by $b.', slots), w.fill(`«Together that is|In total|That makes» $ax + $by = ${x * k + y * k}.`, slots)],
    answer: String(x * k + y * k),
  };
};

const reading: ProblemMaker = (w, hero) => {
  const [a, d, b, e] = [w.between(5, 30), w.between(2, 6), w.between(5, 30), w.between(2, 6)];
  const total = a * d + b * e + w.between(5, 120);
  const [verb, unit, whole] = w.pick([['reads', 'pages', 'book'], ['writes', 'words', 'poem'], ['learns', 'verses', 'song'], ['paints', 'metres', 'fence'], ['plants', 'seeds', 'field'], ['lays', 'bricks', 'wall'], ['walks', 'miles', 'trail']] as const);
  const slots = { ...hero, a, d, b, e, total, verb, unit, whole, first: a * d, second: b * e, sum: a * d + b * e, rest: total - a * d - b * e };
  return {
    question: w.fill('«The|A» $whole has $total $unit. $name $verb $a $unit a day for $d days «and then|, then» $b $unit a day for $e days. How many $unit are «left|still to do|missing»?', slots).replace(' ,', ','),
    steps: [w.fill('«In the first $d days that is|First come|The first part is» $a * $d = $first $unit.', slots), w.fill('«Then come|In the next $e days that is|The second part is» $b * $e = $second $unit.', slots), w.fill('«Together|Both parts make|So far that is» $first + $second = $sum «$unit|».', slots).replace(' .', '.'), w.fill('«That leaves|What is left is|Still missing are» $total - $sum = $rest $unit.', slots)],
    answer: `${slots.rest} ${unit}`,
  };
};

const clock: ProblemMaker = (w, hero) => {
  const [h, m] = [w.between(1, 9), 5 * w.between(0, 11)];
  const [a, b] = [5 * w.between(2, 11), 5 * w.between(2, 11)];
  const total = a + b;
  const end = h * 60 + m + total;
  const time = (minutes: number): string => `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}`;
  const [first, second] = w.pick([['cooks', 'eats'], ['cleans the kitchen', 'walks the dog'], ['does homework', 'plays the piano'], ['runs', 'stretches'], ['draws', 'reads'], ['waters the plants', 'rakes the leaves']] as const);
  return {
    question: w.fill('$name starts at $t. $He $first for $a minutes and «then|after that» $second for $b minutes. «What time is it then?|When is $he done?|At what time does $he finish?»', { ...hero, t: time(h * 60 + m), a, b, first, second }),
    steps: [w.fill('«Together that is|In total it takes|The time adds up to» $a + $b = $total minutes.', { a, b, total }), w.fill(`${total >= 60 ? `«That is|$total minutes are» 1 hour and ${total - 60} minutes` : '«That is less than an hour|It is $total minutes»'}.`, { total }), w.fill('«Counting from|Starting at|After» $t «we get to|it is|that gives» $u.', { t: time(h * 60 + m), u: time(end) })],
    answer: time(end),
  };
};

export const quantityProblems: readonly ProblemMaker[] = [wages, savings, travel, area, rows, share, average, packing, ages, recipe, reading, clock];
