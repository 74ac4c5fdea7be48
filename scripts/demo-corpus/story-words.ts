// Words of the story world: who lives in it, what they own and want, where they go.
// Everything here was written for this corpus.
const list = (text: string): string[] => text.split(',').map((word) => word.replace(/\s+/g, ' ').trim()).filter((word) => word !== '');

export const animals = list(`fox, rabbit, bear, mouse, owl, cat, dog, frog, turtle, squirrel, hedgehog, duck, goat, pony, crow, deer, otter, badger,
  lamb, goose, beaver, mole, lizard, snail, sparrow, puppy, kitten, donkey, swan, penguin, elephant, monkey, lion, tiger, wolf, crab`);
export const trades = list(`girl, boy, child, farmer, fisherman, baker, gardener, sailor, knight, princess, prince, shepherd, painter, tailor, miller,
  clockmaker, singer, juggler, carpenter, potter, young king, young queen, student, traveller, robot, wizard, giant, dragon`);
export const natures = list(`little, small, brave, shy, curious, clever, kind, lonely, cheerful, lazy, proud, gentle, quiet, stubborn, young, old, careful,
  hungry, honest, sleepy, restless, playful, nervous, patient, silly, dreamy, busy, poor, happy, grumpy`);
export const places = list(`in a forest, by the sea, in a small village, near a river, on a hill, at the edge of a wood, in a big city, on a farm, in a valley,
  by a lake, in a castle, on an island, under an oak tree, in a garden, high in the mountains, in a windmill, beside a bridge, near a swamp, in a tall
  tower, in a cottage, at the end of a long road, in a harbour town, behind a waterfall, in a field of wheat, on a boat, in a quiet street`);
export const goals = list(`to the market, to the river, into the forest, up the hill, down to the beach, to the old mill, across the bridge, to the next village,
  into the cave, through the meadow, to the lake, along the road, into the garden, to the castle, past the tall pines, over the fields, to the harbour,
  behind the barn, down the lane, into the valley`);
export const spots = list(`under a bush, behind a rock, in a hollow tree, on the roof, under the bridge, in the tall grass, at the bottom of a well, beside the
  path, in an old boot, between two stones, on a high branch, in the mud, inside a basket, near the fire, under the bed, in a nest, by the gate, at the
  edge of the water, behind the oven, in a pile of leaves`);
export const objects = list(`lantern, kite, key, drum, boat, hat, ring, map, bell, blanket, flute, basket, book, ball, coat, clock, mirror, spoon, crown, cup, scarf,
  feather, compass, painting, music box, wooden horse, ladder, umbrella, necklace, pair of boots, whistle, letter, candle, shell, stone, mitten, cart, quilt`);
export const looks = list(`red, golden, old, tiny, shiny, broken, blue, silver, wooden, strange, beautiful, heavy, green, dusty, round, warm, yellow, glass, torn, purple,
  magic, striped, rusty, soft, white, copper, painted, crooked, black, favourite`);
export const skills = list(`swim, fly, sing, dance, whistle, climb trees, bake bread, read, paint, play the flute, ride a horse, tell stories, build boats, juggle, skate,
  fish, sew, catch butterflies, row a boat, write poems, make soup, count the stars, tie knots, plant seeds, play the drum, run fast`);
export const foods = list(`apples, bread, honey, berries, cheese, soup, nuts, cake, carrots, pears, pancakes, corn, plums, jam, cookies, beans, fish, porridge,
  a pie, milk, cherries, mushrooms, potatoes, a sandwich`);
export const weathers = list(`sunny, cold, windy, rainy, foggy, warm, snowy, grey, bright, stormy, frosty, hot, misty, still`);
export const times = list(`morning, day, evening, night, afternoon, winter morning, spring day, autumn evening, summer day, market day`);
export const feelings = list(`sad, afraid, angry, tired, worried, lonely, ashamed, nervous, upset, confused, cold, hungry, jealous, lost`);
export const joys = list(`happy, proud, glad, relieved, grateful, surprised, calm, excited, warm, brave, delighted, full of joy`);
export const sounds = list(`a soft cry, a loud crack, a whisper, a splash, a strange song, a knock, a low growl, footsteps, a tiny voice, a bell, laughter, a rustle,
  a deep sigh, a drum, thunder, the flap of wings`);
export const lessons = list(`sharing makes everything better, it is brave to ask for help, small friends can do great things, being kind costs nothing,
  patience is stronger than anger, telling the truth is easier than hiding it, practice turns slow hands into clever ones, a home is made of friends,
  listening is the first step to helping, even the smallest light is welcome in the dark, nobody is too old to learn, every mistake can teach us something,
  the best treasure is a good friend, a promise should be kept, hurrying only makes the road longer, being different is not being wrong,
  there is always another way, good work needs time, courage grows when it is used, a gift is best when it is given freely`);
export const speech = list(`said, whispered, cried, laughed, answered, called, replied, sighed`);
export const storyNames = list(`Pip, Bramble, Tilly, Oren, Mara, Juno, Basil, Fern, Hazel, Otis, Wren, Rufus, Clover, Milo, Poppy, Sage, Toby, Luna, Barnaby, Maple,
  Nell, Quill, Rosie, Finn, Ivy, Jasper, Kit, Lotte, Moss, Nico, Olive, Perry, Ruby, Sunny, Teo, Una, Vera, Willow, Yara, Zeke, Ash, Biscuit, Cora, Dot,
  Ember, Flora, Gus, Hugo, Ines, Jola, Koko, Lars`);
export const characterTraits = list(`kindness, courage, friendship, honesty, patience, sharing, helping others, being brave, hope, trust, learning something new, saying sorry`);
