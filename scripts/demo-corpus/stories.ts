// Short stories: a hero, a want, trouble, attempts, help and an ending that follows from the plot. The story keeps its names,
// pronouns, objects and places; sentences, details and order vary, so that it is the least predictable of the domains.
import * as words from './story-words.js';
import { endings, helpScenes, openings, plots, promptForms, sights, tries } from './story-scenes.js';
import { withArticle, type Message, type Slots, type Writer } from './writer.js';

/** One conversation: a request for a story, and the story. */
export function writeStory(writer: Writer): Message[] {
  const slots = drawStory(writer);
  const plot = writer.pick(plots);
  const fill = (template: string): string => writer.fill(template, slots);
  const theme = fill(plot.theme);
  const prompt = writer.fill(writer.prefer(promptForms), { ...slots, theme, trait: writer.pick(words.characterTraits) });
  const opening = [fill(writer.pick(openings)), fill(writer.pick(plot.want))];
  if (writer.chance(0.4)) opening.splice(1, 0, fill(writer.pick(sights)));
  const middle = [fill(writer.pick(plot.trouble))];
  if (writer.chance(0.6)) middle.push(fill(writer.pick(tries)));
  if (writer.chance(0.35)) middle.push(fill(writer.pick(sights)));
  const help = [fill(writer.pick(helpScenes)), fill(writer.pick(plot.help))];
  const end = [fill(writer.pick(plot.resolution))];
  if (writer.chance(0.8)) end.push(fill(writer.pick(endings)));
  const paragraphs = writer.chance(0.5)
    ? [[...opening, ...middle].join(' '), [...help, ...end].join(' ')]
    : writer.chance(0.5)
      ? [opening.join(' '), middle.join(' '), [...help, ...end].join(' ')]
      : [[...opening, ...middle, ...help, ...end].join(' ')];
  const title = writer.chance(0.15) ? `${fill('The $nature $kind«| and the $object»').replace(/\b(?!and|the)[a-z]/g, (letter) => letter.toUpperCase())}\n\n` : '';
  return [
    { role: 'user', content: prompt },
    { role: 'assistant', content: title + paragraphs.join('\n\n') },
  ];
}

/** Draws everything that stays the same throughout one story. */
function drawStory(w: Writer): Slots {
  const [name, friend] = w.sample(words.storyNames, 2) as [string, string];
  const kind = w.chance(0.6) ? w.pick(words.animals) : w.pick(words.trades);
  const fixed = { girl: true, princess: true, 'young queen': true, boy: false, prince: false, 'young king': false, knight: false, wizard: false } as Record<string, boolean>;
  const female = fixed[kind] ?? w.chance(0.5);
  const nature = w.pick(words.natures.filter((nature) => !kind.startsWith('young') || nature !== 'young'));
  const look = w.pick(words.looks);
  const object = w.pick(words.objects);
  const [feeling, feeling2] = w.sample(words.feelings, 2) as [string, string];
  const [food, food2] = w.sample(words.foods, 2) as [string, string];
  const helper = w.pick(words.animals.filter((animal) => animal !== kind));
  const friendFemale = w.chance(0.5);
  const weather = w.pick(words.weathers);
  return {
    name, friend, kind, nature, look, object, feeling, feeling2, food, food2, helper, weather,
    he: female ? 'she' : 'he', him: female ? 'her' : 'him', his: female ? 'her' : 'his',
    she: friendFemale ? 'she' : 'he', her: friendFemale ? 'her' : 'his', herself: friendFemale ? 'her' : 'him',
    aKind: withArticle(`${nature} ${kind}`), aObject: withArticle(`${look} ${object}`), aHelper: withArticle(helper), bareKind: withArticle(kind),
    bareObject: withArticle(object), aWeather: withArticle(weather),
    place: w.pick(words.places), goal: w.pick(words.goals), spot: w.pick(words.spots), spot2: w.pick(words.spots), skill: w.pick(words.skills),
    time: w.pick(words.times), joy: w.pick(words.joys), sound: w.pick(words.sounds), lesson: w.pick(words.lessons),
    said: w.prefer(words.speech), replied: w.prefer(words.speech), helperNature: w.pick(words.natures),
    number: w.pick(['two', 'three', 'four', 'five', 'seven', 'ten']),
    ordinal: w.pick(['third', 'fifth', 'tenth', 'seventh', 'hundredth']),
    himself: female ? 'herself' : 'himself',
  };
}
