// The word lists that several generators share: people with their pronouns, things to count, places.
// Everything here was written for this corpus.

export interface Person {
  name: string;
  he: string;
  him: string;
  his: string;
}

const women = `Ada Amina Anna Beth Carla Chloe Clara Dana Daisy Elena Ella Emma Eva Fiona Grace Hana Ines Iris Ivy Jada Julia Kate
  Lara Leila Lena Lily Lucy Maria Maya Mei Mia Mina Nadia Nina Nora Olga Priya Rosa Ruth Sara Sofia Tara Tina Vera Wendy Zoe`.split(/\s+/);
const men = `Adam Ahmed Alex Arun Ben Bruno Carl Carlos Dan David Eli Emil Felix Finn George Hugo Ian Ivan Jack James Jonas Karim
  Kofi Leo Liam Luca Marco Max Milo Nico Noah Omar Oscar Owen Pablo Paul Pedro Ravi Sam Simon Theo Tom Victor Will Yusuf Zack`.split(/\s+/);

export const people: readonly Person[] = [
  ...women.map((name) => ({ name, he: 'she', him: 'her', his: 'her' })),
  ...men.map((name) => ({ name, he: 'he', him: 'him', his: 'his' })),
];

/** Things one can own and count: singular, plural, what they come in. */
export const countables: readonly (readonly [string, string, string])[] = [
  ['apple', 'apples', 'bag'], ['marble', 'marbles', 'jar'], ['sticker', 'stickers', 'sheet'], ['pencil', 'pencils', 'box'],
  ['book', 'books', 'box'], ['card', 'cards', 'pack'], ['coin', 'coins', 'roll'], ['cookie', 'cookies', 'tray'],
  ['egg', 'eggs', 'carton'], ['flower', 'flowers', 'bunch'], ['orange', 'oranges', 'crate'], ['balloon', 'balloons', 'packet'],
  ['button', 'buttons', 'tin'], ['candle', 'candles', 'box'], ['shell', 'shells', 'bucket'], ['stamp', 'stamps', 'sheet'],
  ['toy car', 'toy cars', 'set'], ['bead', 'beads', 'string'], ['muffin', 'muffins', 'tray'], ['peach', 'peaches', 'basket'],
  ['photo', 'photos', 'album'], ['crayon', 'crayons', 'box'], ['lemon', 'lemons', 'net'], ['notebook', 'notebooks', 'stack'],
  ['brick', 'bricks', 'pallet'], ['ribbon', 'ribbons', 'spool'], ['potato', 'potatoes', 'sack'], ['ticket', 'tickets', 'book'],
  ['battery', 'batteries', 'pack'], ['magnet', 'magnets', 'set'], ['carrot', 'carrots', 'bundle'], ['sandwich', 'sandwiches', 'platter'],
];

/** Things in a shop, with a usual price range in dollars. */
export const goods: readonly (readonly [string, string, number, number])[] = [
  ['pen', 'pens', 1, 4], ['notebook', 'notebooks', 2, 7], ['shirt', 'shirts', 8, 25], ['hat', 'hats', 6, 20], ['mug', 'mugs', 3, 12],
  ['sandwich', 'sandwiches', 3, 9], ['ticket', 'tickets', 5, 18], ['plant', 'plants', 4, 15], ['lamp', 'lamps', 12, 45],
  ['ball', 'balls', 3, 14], ['puzzle', 'puzzles', 6, 20], ['scarf', 'scarves', 7, 22], ['cake', 'cakes', 9, 30], ['toy train', 'toy trains', 10, 35],
  ['bottle of juice', 'bottles of juice', 2, 5], ['loaf of bread', 'loaves of bread', 2, 6], ['bag of rice', 'bags of rice', 4, 12],
  ['pair of socks', 'pairs of socks', 2, 8], ['paint set', 'paint sets', 8, 24], ['kite', 'kites', 5, 16], ['chair', 'chairs', 15, 60],
  ['jar of honey', 'jars of honey', 4, 11], ['box of tea', 'boxes of tea', 3, 9], ['umbrella', 'umbrellas', 8, 21],
];

export const friends = ['friend', 'sister', 'brother', 'cousin', 'neighbour', 'teacher', 'classmate', 'aunt', 'uncle', 'grandmother', 'grandfather'] as const;
