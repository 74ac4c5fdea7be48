// The sentences of the stories, plot by plot. $he/$him/$his is the hero, $she/$her/$herself the friend.

export interface Plot {
  /** What a request may say the story is about. */
  theme: string;
  want: string[];
  trouble: string[];
  help: string[];
  resolution: string[];
}

export const promptForms = [
  'Tell me a «short |little |»story about $aKind «|named $name|called $name».',
  'Write a «short |bedtime |»story «about|in which there is» $aKind and $aObject.',
  'Can you tell me a story about $theme?',
  'Write a «short |»story about $aKind who «learns about|discovers» $trait.',
  'I would like a «short |»story that «happens|is set» $place.',
  'Please write a story «with|about» $bareKind «named $name|called $name» and «a friend named $friend|$aHelper».',
  'Make up a story about $theme. «The hero is|It should have» $aKind.',
  'Tell «me|my children|us» a «bedtime |»story about $trait.',
  'Write a story that begins on $aWeather $time. «Use a $kind.|It should be about $theme.|»',
];

export const openings = [
  'Once upon a time«,|» there «was|lived» $aKind «named|called» $name «who lived $place|».',
  'There was once $aKind called $name. $He lived $place «with $his family|all alone|and had few friends|with an old $helper».',
  '$Place, «far away from any town|where the wind never slept|long ago|not far from here», «there lived $aKind named $name|lived $aKind named $name».',
  '$name was $aKind who «loved to eat $food|was always «$feeling|busy|dreaming»|never went far from home|lived $place».',
  'One $weather $time, $aKind named $name «woke up early|looked out of the window|set out «$goal|alone»|was sitting $spot».',
  'Everyone «knew|liked|had heard of» $name, the $nature $kind who lived $place. «$He was known for $his $look $object.|Every $time $he ate $food for breakfast.|»',
  'It was $aWeather $time, and $name the $kind was «$feeling|not tired at all|on $his way $goal|looking for $food».',
  'Long ago, when «the moon was young|the hills were higher|animals could talk», $aKind named $name lived $place.',
];

export const sights = [
  'The «sky|sun|moon|wind|river|path|air» was «pale|quiet|bright|cold|full of birds|as soft as wool» and «everything smelled of $food|nobody was about|the leaves were turning red|the grass was wet».',
  'It was a $weather $time, and «the clouds hung low|birds were singing|a thin mist lay over the fields|snow lay on the roofs|bees hummed in the flowers».',
  '$He «often|sometimes|always» «sat $spot and watched the clouds|walked $goal before breakfast|sang to the $helper next door|thought about the stars».',
  'From far away came $sound. «$name listened.|It made $him shiver.|Nobody else heard it.|»',
  'A $helper «flew|ran|hurried|wandered» past and «did not stop|looked at $him|laughed|dropped a leaf|asked for $food».',
  '$His pockets were full of «$food|string and buttons|small stones|old letters», «as always|and $he was humming|which made $him feel rich».',
];

export const tries = [
  'First $he «looked|searched» $spot, but «there was nothing|found only a spider|it was too dark to see». Then $he «looked|tried» $spot2, «and that was no better|but no one was there|and still there was nothing».',
  '$He tried once, $he tried twice, «$he tried $number times|and then $he tried again», but «it was no use|nothing changed|it only got worse|every time something went wrong».',
  '«"I can do this alone," $he said,|"It must be easy," $he thought,» but «it was not easy at all|soon $he was very tired|$his legs were shaking|the $time was almost over».',
  '$He asked «a passing $helper|the baker|an old woman at the well|the stars», but «there was no answer|nobody could help|they only shook their heads».',
  'For $number days $name «walked|waited|worked|thought about it», and «each day $he felt more $feeling2|$he hardly ate|it rained and rained».',
  '$name «sat down|hid|lay down» $spot and felt $feeling. «A tear ran down $his nose.|$He did not know what to do.|"What now?" $he whispered.|The $time seemed very long.»',
];

export const helpScenes = [
  'Just then $aHelper «came by|appeared|landed beside $him|stuck its head out of the grass». "Why are you so $feeling?" «it asked|asked the $helper».',
  'Then $he met $friend, «a $helperNature $helper|a $helper with a $look $object|who was on $her way $goal». "«You look $feeling|What is the matter|Can I help you|Where are you going»," $said $friend.'.replace('"«You look $feeling|What is the matter|Can I help you|Where are you going»,"', '«"You look $feeling,"|"What is the matter?"|"Can I help you?"|"Where are you going?"»'),
  '«On the way|The next $time|Near the path» $he «met|found|saw» a $helper «called $friend|whose name was $friend» that was eating $food. «$name told $friend everything.|"Sit down with me," $said $friend.|At first neither of them spoke.»',
  'Suddenly $he heard $sound. It was $friend, $his «old friend|neighbour|cousin|best friend», «who had followed $him|who had been worried|carrying a basket of $food».',
  '«At last|In the end|After a while|That night» $name went to see $friend, the $helperNature $helper who lived «nearby|$place|down the road». «$friend listened and nodded.|$friend made soup and listened.|"I have been waiting for you," $said $friend.»',
  '"«Do not cry|Do not give up|Wait|Listen to me»," said a voice. It was $friend the $helper, «who sat $spot2|who had seen everything|with a mouth full of $food».',
];

export const endings = [
  'From that day on, «$name and $friend were the best of friends|they met every $time|$name was never $feeling again|$he always kept $his $object close|the door was always open for friends».',
  '«$name learned that|And so $name understood that|That $time $he knew that|"Remember," $said $friend, "» $lesson."'.replace('$lesson."', '$lesson.'),
  'That night they ate $food and $food2 «by the fire|under the stars|until they were full», and «everyone was $joy|$name felt $joy|they slept well|nobody was $feeling any more».',
  '$name «smiled|laughed|went home» and felt $joy. «The stars came out one by one.|The $weather $time was over.|Even the $helper was singing.|Home had never looked so good.»',
  'And if you ever come $goal, you «may see them there|can still hear them laugh|will find the $object hanging there|might be given some $food».',
  '"«Thank you|I will never forget this|You are a true friend|What a $time»," $said $name. «And $he meant it.|$friend only smiled.|They walked home together.|»',
];

export const plots: Plot[] = [
  {
    theme: '«a lost $object|somebody who loses $bareObject|a $kind that looks for $bareObject»',
    want: ['$He had $aObject that $he «loved more than anything|had been given by $his «grandmother|father|mother|old teacher»|took everywhere|polished every $time».', '$His greatest treasure was $aObject. «$He kept it $spot.|It had belonged to $his «grandmother|uncle|mother».|Nobody else was allowed to touch it.»'],
    trouble: ['But one $time the $object was gone. «$name looked everywhere.|$He could not believe it.|$His heart began to beat fast.»', 'One $time, «on the way home|while $he was playing|during a storm», $he lost the $object. «"Oh no!" cried $name.|$name felt $feeling.|It was nowhere to be seen.»', 'Then a strong wind «came|blew» and «carried the $object away|took the $object out of $his hands». $name ran after it, but «it was too fast|it flew over the trees|soon $he could not see it».'],
    help: ['"I saw «something $look|your $object» $spot," $said $friend. "«Come with me|Follow me|Let us look together|It is not far»."', '"When did you last have it?" asked $friend. $name thought hard. "«When I was $spot2|Before I went $goal|When I was eating $food»," $he said.', '$friend «sniffed the air|looked at the tracks in the mud|climbed a tall tree» and pointed. "Something is shining over there," $she said.'],
    resolution: ['Together they went $goal, and there, $spot, «lay|was» the $look $object. $name «jumped for joy|held it tight|could hardly speak|laughed out loud».', 'They looked «until dark|under every leaf|for a long time» and «at last|finally» found the $object $spot. «It was a bit dirty, but it was whole.|A family of mice was sleeping in it.|It had never looked so $look.»', 'A small $helper had found the $object and «kept it safe|was using it as a bed|did not know whose it was». «$name let the little one keep it.|It gave the $object back.|"You can share it with me," said $name.»'],
  },
  {
    theme: '«a $kind who wants to learn to $skill|learning to $skill|a $kind that cannot $skill»',
    want: ['More than anything, $name wanted to $skill. «But nobody had ever shown $him how.|All the others could do it.|$He dreamed of it every night.»', '«All $his friends could $skill, but $name could not.|"One day I will $skill," $he told everyone.|Every $time $he watched the others $skill and felt $feeling.»'],
    trouble: ['When $he tried to $skill, «$he fell over|the others laughed|it went terribly wrong|$he broke a $look $object». «$name ran away and hid $spot.|"I will never learn it," $he said.|$His cheeks grew hot.»', '$He tried all $time, but $he could not $skill. «"You are too small," said a $helper.|"Why am I so slow?" $he asked.|$He went home feeling $feeling.»'],
    help: ['"I could not $skill either when I was young," said $friend. "«I practised every day|Somebody helped me|I fell down $number times|You only need time»."', '"Nobody learns to $skill in one day," $said $friend. "Let us «begin with something small|try together|practise every $time|start again, slowly»."', '$friend showed $him «how to begin|a small trick|what to do with $his feet|how to breathe slowly». "«Again|Once more|Do not hurry|Try it now»," $she said.'],
    resolution: ['Day after day $name practised. «On the $ordinal day|One $weather $time|When spring came», $he could $skill «all by $himself|better than anyone|at last». Everyone «clapped|cheered|came to watch».', '«Slowly|Little by little|After many tries», $name learned to $skill. «It was not perfect, but it was $his own.|$friend clapped loudly.|$He wanted to show everybody.»', 'In the end $name did «learn to $skill|it», and $he «taught a small $helper the same|was so $joy that $he could not sleep|did it all the way home».'],
  },
  {
    theme: '«a quarrel between two friends|two friends who stop talking|friends who fight over $bareObject»',
    want: ['$name and $his best friend «did everything together|shared everything they had|played $place every $time». «They even had one $look $object between them.|They ate $food from one plate.|»', '$He had one good friend, and together they «built a house of sticks|looked after $aObject|had a secret place $spot».'],
    trouble: ['But one $time they both wanted the $object. «"It is mine!" cried $name. "No, it is mine!"|They pulled until it broke.|They shouted at each other.» «After that they did not speak.|$name went home $feeling.|The game was over.»', 'One $time $name said something unkind about «the other\'s singing|$his friend\'s $look hat|the other\'s cooking». «There was a long silence.|His friend walked away.|Neither of them laughed any more.»'.replace('His friend', 'The friend')],
    help: ['"«Being right is lonely|A friend is worth more than $bareObject|Somebody has to be first», " $said $friend.'.replace(', " $said', '," $said'), '"Have you said that you are sorry?" asked $friend. $name «looked at $his feet|shook $his head|was quiet for a long time». "«No|Not yet|I do not know how»," $he said.', '"Take $him0 some $food," $said $friend. "It is easier to talk when you «eat|share a meal|are not hungry»."'.replace('$him0', 'your friend')],
    resolution: ['So $name went $goal and «knocked at the door|called out|brought some $food». "I am sorry," $he said. "«So am I|I missed you|Let us start again|Come in»," «came the answer|said the other».', 'They met halfway, $spot, each with «a basket of $food|a gift|tears in the eyes». «Both began to speak at once, and then they laughed.|"I was wrong," they both said.|They hugged for a long time.»'],
  },
  {
    theme: '«being afraid of the dark|a $kind who is afraid|a $kind and $sound in the night»',
    want: ['«But $name had a secret: $he was afraid of «the dark|deep water|thunder|the big dogs|high places».|There was one thing that $name feared: «the dark|thunder|strangers|the cave behind the hill».»', 'At night $he «slept with a candle|hid under $his blanket|could not close $his eyes», because $he was «afraid|sure that something lived $spot».'],
    trouble: ['One $time $he heard $sound «outside|near the door|coming from the dark». «$name held $his breath.|"Who is there?" $he whispered.|$His heart beat like a drum.»', 'Then «a storm came up|the lights went out|night fell while $he was still on the road», and $name was «all alone|far from home|too $feeling to move».'],
    help: ['"I am afraid too, sometimes," $said $friend. "Then I «sing|count to ten|hold my $look $object|think of $food»."', '"Take my hand," $said $friend. "«We will look together|The dark is only the day with its eyes shut|Two are braver than one»."', '$friend lit a candle, and «the shadows became small|the monster turned out to be a coat|they saw a $look $object».'],
    resolution: ['And what was it? Only a «tiny|wet|lost|hungry» $helper «that wanted to come in|looking for its mother|with a thorn in its foot». $name «laughed at $himself|gave it some $food|wrapped it in a blanket».', '$name took a deep breath and «opened the door|stepped into the dark|walked $goal». «Nothing bad happened.|The stars were very bright.|With every step $he felt more brave.»'],
  },
  {
    theme: '«helping a stranger|a $kind who helps a hurt $helper|a hungry $helper»',
    want: ['$name was on $his way $goal «with a basket of $food|to buy $food|to sell $aObject|to visit $his «aunt|grandmother|cousin»».', 'That $time $he had «only a little $food left|just $number coins|one last piece of bread», and $he was «saving it|looking forward to it|very hungry».'],
    trouble: ['$Spot $he found $aHelper «with a broken wing|caught in a net|that shivered with cold|that had not eaten for $number days». "Please help me," it «whispered|begged|said».', 'On the way somebody was crying. It was a «small|thin|wet|very old» $helper that «had lost its way|had fallen into a hole|could not get home». «Others had walked past.|It looked $feeling.|Nobody had stopped.»'],
    help: ['$name thought for a moment. «Then $he gave it all $his $food.|"I will help you," $he said.|$He took off $his coat and put it around the $helper.|$He was late, but $he stayed.»', '"«You need it more than I do|Do not worry|We will find a way»," said $name, and «$he carried it home|sat down beside it|began to dig|pulled with all $his strength».'],
    resolution: ['Many days later, $name «fell into the river|was lost in the snow|could not pay the miller|was in trouble $himself». And who came? The $helper, «with all its family|and it had not forgotten|strong and well».', 'In the morning the $helper was gone, but $spot lay $aObject. «It was a gift.|"For a kind heart," said a note.|$name kept it for ever.»'],
  },
  {
    theme: '«building something together|a $kind who builds a «boat|bridge|house|tower»|a village and a great storm»',
    want: ['$name wanted to build «a boat that could cross the sea|a bridge over the river|a house of $number rooms|a tower as high as the clouds». «Everybody laughed.|$He drew plans on old paper.|$He began with $number boards and some rope.»', 'The old bridge «was falling down|had been washed away|was too small», and $name «had an idea|wanted to build a new one|could not reach the other side».'],
    trouble: ['But the «wood was too heavy|nails were too short|wind was too strong|ground was too soft», and «everything fell down|the roof came off|the first one sank|it leaned to one side». «$name kicked a stone.|$He felt $feeling.|"It is impossible," $he said.»', 'Then came $aWeather $time, and «the river rose|the storm broke everything|the snow lay as high as the door». «All $his work was gone.|Only one board was left.|$name wanted to give up.»'],
    help: ['"You are building alone," $said $friend. "«Ask the others|I have a saw|My family is strong|Many hands make it light»."', '$friend «looked at it for a long time|walked around it $number times|measured it with a string». "Make it «wider|lower|round|lighter»," $she said.'],
    resolution: ['So they all came: «the baker with $food, the crows with ropes|the moles dug, the birds carried|old and young, with hammers and songs». «By evening it stood.|In $number days it was done.|It was not straight, but it was strong.»', 'They worked «all night|until the moon came up|side by side», and when the sun rose «it stood there, $look and tall|it was finished|everyone could cross». $name was $joy.'],
  },
  {
    theme: '«a race|a contest in the village|a $kind who wants to win»',
    want: ['Every year there was a «race|singing contest|cooking contest|boat race» $place, and this year $name wanted to win. «The prize was $aObject.|$He had practised all winter.|Nobody believed in $him.»', '"I will win the $look $object," $said $name, for the next day was the «great race|contest|fair». «$He hardly slept.|All the animals would be there.|»'],
    trouble: ['The «drum sounded|race began|bell rang» and «everyone ran|$name was first|$he was soon in front». But then $he «saw a small $helper fall|stepped on a thorn|took the wrong path|heard somebody cry».', 'But $friend, a $helperNature $helper, was «faster|better|stronger» than $him. «$name thought about cheating.|$name felt $feeling.|"It is not fair," $he muttered.»'],
    help: ['$name could «go on and win|run on», or stop and help. «$He stopped.|$He looked at the finish, and then $he turned around.|It was not easy to choose.»', '"«Run with me|Let us go on together|The prize is only a thing»," $said $friend, and «held out a hand|smiled|waited».'],
    resolution: ['$He came in last, but «everyone cheered for $him|the judges gave $him a special prize|$he had made a friend». «"You won something better," said the judge.|$name did not mind at all.|They shared the cake.»', 'In the end they crossed the line together, and the $object «was cut in two|hung half the year in each house|was given to the smallest one». «How they laughed!|Nobody had ever seen that before.|»'],
  },
  {
    theme: '«a secret door|a strange map|a $kind who finds $aObject»',
    want: ['One $time, $spot, $name found $aObject. «There was writing on it.|It was warm, as if it were alive.|It was humming softly.|A map was hidden inside.»', '$He had always wondered what was «behind the green door|at the end of the tunnel|on the other side of the lake|inside the old tower». «Nobody would tell $him.|One $time $he went to find out.»'],
    trouble: ['The way led $goal, and «soon the path was gone|it grew darker and darker|a wall of thorns stood before $him». «"Should I go back?" $he asked.|$name felt $feeling.|Somewhere there was $sound.»', 'At the gate stood a «huge|sleepy|stern» guard. "Only those who «answer my riddle|can $skill|bring me $food» may pass," it «said|growled|sang». «$name did not know what to do.|That was bad news.»'],
    help: ['"The answer is simple," whispered $friend. "«It is a shadow|It is the wind|It is your own name|It is tomorrow|It is the sea»."', '"I know this place," $said $friend. "«Step only on the white stones|Follow the water|Close your eyes and listen|Knock $number times»."'],
    resolution: ['Behind it was «a garden full of light|a room with a thousand books|a lake that shone like silver|a table laid with $food». «"So this is the secret," said $name.|They stayed until evening.|They promised to tell nobody.»', 'And there it was: no gold, only «an old $helper who told wonderful stories|a small tree with $look leaves|a letter for $name|a window from which you could see the whole world». «$name was $joy.|It was better than gold.|»'],
  },
];
