/* corpus_story: who lives in the stories, where, and what happens to them.
 *
 * A story is an opening that brings in the hero, one plot, and an ending. Plots are templates over
 * the hero ($a ...), a friend ($b ...), a thing ($obj) and a place ($place, $at, $to), so each of
 * them fits every cast. Names of variables: $a who, $aintro first mention, $aka "the little fox",
 * $avoc when spoken to, $ahe $ahim $ahis pronouns, $ahome where to go home to; $b likewise.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "corpus_int.h"

// clang-format off
const struct corpus_animal corpus_animals[] = {
    {"fox", "den", "in a den in the forest", "berries", "bark", "foxes", true},
    {"rabbit", "burrow", "in a burrow under the hill", "carrots", "squeak", "rabbits", true},
    {"bear", "cave", "in a cave on the mountain", "honey", "growl", "bears", true},
    {"mouse", "hole", "in a small hole in the wall", "cheese", "squeak", "mice", true},
    {"owl", "tree", "in a hollow tree", "mice", "hoot", "owls", true},
    {"cat", "house", "in a warm house", "fish", "meow", "cats", true},
    {"dog", "house", "in a house with a garden", "bones", "bark", "dogs", true},
    {"duck", "nest", "by the pond", "seeds", "quack", "ducks", true},
    {"frog", "pond", "in a green pond", "flies", "croak", "frogs", true},
    {"squirrel", "tree", "in a tall tree", "nuts", "chatter", "squirrels", true},
    {"hedgehog", "nest", "in a nest of dry leaves", "worms", "snuffle", "hedgehogs", true},
    {"bird", "nest", "in a nest in a tall tree", "seeds", "sing", "birds", true},
    {"deer", "glade", "in a quiet part of the forest", "grass", "call", "deer", true},
    {"wolf", "den", "in the mountains", "meat", "howl", "wolves", true},
    {"lion", "den", "on the wide plain", "meat", "roar", "lions", true},
    {"elephant", "camp", "by the great river", "leaves", "trumpet", "elephants", true},
    {"monkey", "tree", "in the jungle", "bananas", "chatter", "monkeys", true},
    {"turtle", "pond", "by the lake", "leaves", "hiss", "turtles", true},
    {"horse", "stable", "in a stable on the farm", "hay", "neigh", "horses", true},
    {"cow", "barn", "in a barn on the farm", "grass", "moo", "cows", true},
    {"pig", "barn", "in a pen on the farm", "corn", "grunt", "pigs", true},
    {"sheep", "field", "in a field on the farm", "grass", "bleat", "sheep", true},
    {"goat", "barn", "on a steep hill", "leaves", "bleat", "goats", true},
    {"hen", "barn", "in a henhouse on the farm", "corn", "cluck", "hens", true},
    {"donkey", "stable", "in an old stable", "hay", "bray", "donkeys", true},
    {"mole", "burrow", "in a tunnel under the ground", "worms", "squeak", "moles", true},
    {"badger", "den", "in a den under the hill", "worms", "growl", "badgers", true},
    {"crow", "nest", "in a nest at the top of a tree", "corn", "caw", "crows", true},
    {"penguin", "nest", "on the cold ice", "fish", "squawk", "penguins", true},
    {"dragon", "cave", "in a deep cave", "hot soup", "roar", "dragons", true},
    {"ant", "nest", "in a nest under the ground", "crumbs", "", "ants", true},
    {"bee", "hive", "in a hive", "honey", "buzz", "bees", true},
    {"fish", "", "in the water", "small plants", "", "fish", false},
    {"whale", "", "in the deep sea", "small fish", "sing", "whales", false},
    {"spider", "", "in a web", "flies", "", "spiders", false},
    {"snake", "", "in the tall grass", "mice", "hiss", "snakes", false},
};
const size_t corpus_n_animals = sizeof corpus_animals / sizeof *corpus_animals;

static const char *const girls[] = {
    "Lily", "Mia", "Anna", "Emma", "Sara", "Nora", "Ella", "Rosa", "Clara", "Ida", "Lucy", "Maya",
    "Zoe", "Amy", "Eva", "Lena", "Ruth", "Jane", "Kate", "Molly", "Alice", "Grace", "Hana", "Tara"};
static const char *const boys[] = {
    "Tom", "Ben", "Max", "Leo", "Sam", "Jack", "Tim", "Noah", "Finn", "Otto", "Paul", "Adam",
    "Oscar", "Peter", "Luke", "Hugo", "Ned", "Omar", "Ravi", "Theo", "Jim", "Bob", "Carl", "Dan"};
static const char *const pets_she[] = {
    "Daisy", "Poppy", "Ruby", "Hazel", "Luna", "Penny", "Willow", "Tilly", "Fern", "Olive", "Pip", "Bella"};
static const char *const pets_he[] = {
    "Rusty", "Bruno", "Milo", "Oliver", "Felix", "Toby", "Barney", "Chester", "Rufus", "Coco", "Teddy", "Gus"};
#define PICK(g, list) (list)[corpus_pick((g), sizeof(list) / sizeof *(list))]

const struct corpus_macro corpus_macros[] = {
    {"oneday", "{One|One|One fine|One sunny|One warm|One cool|One windy|One quiet} {morning|day|day|afternoon}"},
    {"setup",
     "{place,at,to:=the forest~in the forest~into the forest|the river~by the river~to the river"
     "|the meadow~in the meadow~to the meadow|the hill~on the hill~up the hill"
     "|the garden~in the garden~into the garden|the lake~by the lake~to the lake"
     "|the village~in the village~to the village|the old bridge~near the old bridge~to the old bridge"
     "|the beach~on the beach~to the beach|the farm~on the farm~to the farm"
     "|the park~in the park~to the park|the orchard~in the orchard~to the orchard}"
     "{obj:=red ball|blue kite|wooden boat|silver bell|toy train|warm scarf|shiny key|little drum"
     "|yellow hat|picture book|music box|glass marble|straw basket|paper lantern|green umbrella"
     "|golden ring|soft blanket|old map|white shell|toy horse}"
     "{weather:=sun was shining|wind was soft|sky was blue|birds were singing|air was fresh and cool}"
     "{hue:=red|blue|yellow|white|purple|orange}"
     "{treat:=apple pie|honey cake|vegetable soup|warm bread|berry jam|pumpkin soup|plum cake|sweet pancakes}"
     "{fruit:=apples|pears|plums|cherries|berries|nuts}"},
    {"said", "{said|said|said|answered|replied}"},
    {"glad", "{happy|glad|very happy|so happy|full of joy}"},
    {"sad", "{sad|very sad|upset|unhappy}"},
    {"smiled", "{smiled|laughed|nodded}"},
    {"soft", "{softly|gently|quietly|in a kind voice}"},
    {"looked", "{looked everywhere|searched everywhere|looked and looked}"},
    {"thanks", "{Thank you|Thank you so much|Thank you for helping me|You are so kind}"},
    {"friends", "{From that day on, $a and $b were best friends|After that, $a and $b played together every day"
     "|From then on, $a and $b were good friends|And so $a and $b became the best of friends}."},
    {"night", "{That night, $a slept very well|That evening, $a went home with a big smile"
     "|When the sun went down, $a went back to $ahis $ahome|That night, $a told $ahis mother all about it"
     "|When the stars came out, $a fell asleep with a smile}."},
    {"learned", "{$A had learned that|$A learned that day that|That day, $a learned that|And $a never forgot that|Now $a knew that}"},
    {"walk", "{went for a walk|went out to play|took a long walk|walked slowly}"},
    {"opening",
     "{Once upon a time, there was $aintro. $life|Once upon a time, there lived $aintro. $life"
     "|There once was $aintro. $life|Long ago, there was $aintro. $life"
     "|Once upon a time, $aintro lived $awhere. $hobby|Once there was $aintro who lived $awhere. $hobby"
     "|In a land far away, there lived $aintro. $life|Once upon a time, in a quiet land, there was $aintro. $life}"},
    {"life",
     "{$A lived $awhere. $hobby|$A lived $awhere with $ahis {mother|family|mother and father}. $hobby|$hobby"
     "|$Ahe lived $awhere and was {kind|friendly|good} to everyone.|$A was {small|little}, but $ahe had a big heart. $hobby}"},
    {"hobby",
     "{$Ahe loved to play $at.|Every day, $ahe liked to go $to.|$Ahe liked to sing in the morning."
     "|$Ahe loved to look at the clouds.|More than anything, $ahe loved $treat.|$Ahe was always ready to help."
     "|Every morning, $ahe woke up early and said hello to the sun.|$Ahe loved to hear stories at night."
     "|$Ahe liked to ask many questions.|$Ahe had many friends $at.}"},
    {"closing", "{$night|$night|$friends||}"},
    {NULL, NULL},
};

const char *const corpus_plots[] = {
/* lost thing */
"$Oneday, $a could not find $ahis $obj. $Ahe looked under the {bed|table|chair} and behind the door, but it was not there. "
"{$A felt $sad.|$A sat down and began to cry.} $B {heard|saw} $ahim and asked, \"{What is wrong|Why are you so sad}, $avoc?\" "
"\"I have lost my $obj,\" said $a. \"{Do not worry|Do not cry},\" $said $b. \"{I will help you find it|We will look for it together}.\" "
"They went $to and $looked. At last, $b saw something under {a big leaf|an old tree|a small bush|a wooden bench}. "
"\"{Look|Come here}!\" called $b. \"{I found it|Here it is}!\" It was the $obj. $A was $glad and gave $b a big hug. "
"\"$thanks, $bvoc,\" $ahe said. {From that day on, $a always kept the $obj in a safe place.|$learned a good friend is better than any $obj.} ",
/* sharing food */
"$Oneday, $a made some $treat. It smelled {wonderful|so good}. $Ahe wanted to eat all of it alone. "
"{Just then|At that moment}, $b came {to the door|along} and said, \"I am so hungry. I have not eaten all day.\" "
"$A looked at the $treat. {First|At first}, $ahe did not want to share. Then $ahe saw how {thin|tired|cold} $b was, and $ahe felt sorry. "
"\"{Please come in|Come and sit with me},\" said $a. \"There is enough for both of us.\" They ate together and told each other {funny|old|happy} stories. "
"\"{This is the best meal of my life|I have never eaten anything so good},\" said $b. {The next day|A week later}, $b came back with {a basket of $fruit|a bag full of $fruit}. "
"\"You shared with me,\" said $b, \"and now I want to share with you.\" $learned food tastes better when you share it. ",
/* river rescue */
"$Oneday, $a $walk by the river. {The water was fast and cold.|It had rained all night, and the water was high.} Suddenly, $ahe heard {a cry|a small voice}. "
"\"Help! {Help me|Please help me}!\" It was $bintro. $B had fallen into the water and was holding on to a {branch|stone|root}. "
"$A was {afraid|scared}, but $ahe did not run away. $Ahe found a long {stick|rope|branch} and held it out. \"{Hold on|Take it|Do not let go}!\" called $a. "
"$B took hold of it, and $a pulled {with all $ahis strength|as hard as $ahe could}. At last, $b was safe on the {grass|land}. "
"\"You saved my life,\" said $b. \"How can I thank you?\" \"{Be my friend|Just be my friend},\" $said $a. {They sat in the sun until they were dry.|They walked home together.} $learned you can be afraid and still be brave. ",
/* storm */
"One {evening|night}, a {big|great|dark} storm came. The wind blew and the rain fell hard. $A was safe and warm in $ahis $ahome. "
"Then there was a knock. \"Who is there?\" asked $a. \"Please let me in,\" said a small voice. \"My home is {full of water|broken}, and I have nowhere to go.\" "
"$A opened the door at once. There stood $bintro, wet and cold. \"{Come in|Come in quickly},\" $ahe said. \"You can stay here until the storm is over.\" "
"$A gave $b a {dry|warm|soft} blanket and a {cup|bowl} of hot {tea|milk|soup}. They listened to the rain and were not afraid, because they were together. "
"In the morning, the sun came out again. $A went with $b and helped $bhim to {build a new home|mend the roof|make everything dry again}. "
"\"You are a true friend,\" said $b. $learned even a small home is big enough for a friend. ",
/* a lie */
"$Oneday, $a was playing in the house with $b. Suddenly, $a {ran into the table|fell over} and broke {a pot|a cup|a plate}. $Ahe was afraid that $ahis mother would be angry. "
"\"Who did this?\" asked $ahis mother. \"{It was $b|$B did it},\" said $a. It was not true. "
"$B was {very sad|hurt} when $bhe heard it. \"Why did you say that?\" asked $b. \"I thought that you were my friend.\" $A felt {terrible|bad} and could not {eat|sleep|play}. "
"{At last|In the end}, $ahe went to $ahis mother and said, \"I am sorry. I broke it, and then I told a lie.\" "
"$Ahis mother took $ahim in her arms. \"{Thank you for telling me the truth|It was brave of you to tell the truth},\" she said. "
"Then $a went to $b and said, \"I am sorry. {Can you forgive me|Will you be my friend again}?\" \"Yes,\" said $b with a smile. $learned it is always better to tell the truth. ",
/* race */
"$Oneday, $a and $b had a race. \"I am much faster than you,\" said $b. \"You will never win.\" \"{We will see|I will try my best},\" $said $a. "
"They started {near the old tree|at the gate|by the bridge}. $B ran very fast and was soon far ahead. \"I have a lot of time,\" thought $b, and $bhe {sat down to rest|lay down under a tree}. Soon $bhe was fast asleep. "
"$A {was slow, but $ahe did not stop|went on, step by step}. $Ahe passed $b and {came nearer and nearer to the end|walked on and on}. "
"When $b woke up, it was too late. $A had won the race! $B was {surprised|ashamed} and said, \"{Well done|You were better than me}. I was too proud.\" "
"{$A smiled and shook $bhis hand.|\"Let us run together next time,\" said $a.} $learned you can do great things if you never give up. ",
/* seed */
"$Oneday, $a found a {small|tiny} seed $at. \"I will plant it,\" $ahe thought, \"and something {beautiful|wonderful} will grow.\" "
"$Ahe dug a hole, put the seed in it and gave it some water. Every day, $ahe went to look, but nothing {happened|was there}. "
"\"{Nothing will ever grow there|It is only a waste of time},\" said $b. $A was sad, but $ahe did not give up. $Ahe gave the seed water every morning and {sang to it|waited}. "
"Then, {one day|after two weeks|in the spring}, there was a little green leaf! It grew and grew, and soon there was a {tall|big} $hue flower. "
"\"{I was wrong|How beautiful it is},\" said $b. \"{How did you do it|What did you do}?\" \"I waited,\" $said $a, \"and I took care of it every day.\" $learned good things need time. ",
/* fear of the dark */
"There was only one thing that $a was afraid of: the dark. Every night, $ahe saw strange shapes {on the wall|in the shadows}. "
"One {night|evening}, $ahe heard a sound {outside|near the door}. \"Who is there?\" $ahe asked, and $ahis voice was very small. \"It is only me,\" $said $b. \"{I cannot sleep|I was looking at the stars}.\" "
"\"Are you not afraid of the dark?\" asked $a. \"No,\" said $b. \"Come with me, and I will show you something.\" "
"They went outside and looked up. The sky was full of {bright|shining|silver} stars, and the moon was {round and white|big and round}. \"{How beautiful|Oh}!\" said $a. \"I have never seen so many stars.\" "
"\"You can see them only in the dark,\" said $b $soft. After that, $a was not afraid any more. $learned the dark can be beautiful too. ",
/* sick friend */
"$Oneday, $a went to see $b, but $b did not come out to play. $Bhe was {ill|sick} and had to stay in bed. \"{My head hurts|I feel so weak},\" said $b. "
"$A wanted to help. $Ahe went home and made a big pot of {hot|warm} soup. Then $ahe picked some {$hue flowers|fresh $fruit} $at and carried everything back. "
"\"{Here is something for you|This will make you feel better},\" said $a. $B ate the soup and {smiled|felt warm again}. $A sat next to the bed and told $bhim {a funny story|stories} until $bhe fell asleep. "
"$A came back every day. {After three days|At the end of the week}, $b was well again. \"The soup was good,\" said $b, \"but the best thing was that you came.\" "
"$learned the best medicine is a kind friend. ",
/* found thing returned */
"$Oneday, $a was walking $at when $ahe found @ $obj. It was {beautiful|lovely|very pretty}, and $ahe wanted to keep it. \"{Nobody will know|Now it is mine},\" $ahe thought. "
"But on the way home, $ahe met $b. $B was {crying|looking for something} and said, \"I have lost my $obj. My grandmother gave it to me.\" "
"$A held the $obj behind $ahis back. {What should $ahe do?|$Ahe thought for a long time.} Then $ahe said, \"Is this your $obj? I found it $at.\" "
"{$Bhis eyes grew big and bright.|$B jumped for joy.} \"Yes, that is my $obj!\" $bhe {cried|said}. \"{Thank you for giving it back|You are very honest}.\" $A felt {warm inside|light and happy}. "
"{The next day|Later}, $b gave $ahim {a little present|a basket of $fruit}. $learned it is good to be honest. ",
/* new one in the village */
"$Oneday, {someone new|a stranger} came to live near $a. It was $bintro. Nobody {talked to|played with} $b, because $bhe was {shy and quiet|new and different}. "
"$B sat alone {under a tree|on a stone|by the path} and watched the others play. $A saw this and {thought|said to $ahimself}, \"{It must be hard to be alone|I would be sad if I were alone}.\" "
"So $ahe walked over and said, \"Hello! My name is $aname. Do you want to play with me?\" $B looked up and smiled. \"Yes, please,\" $bhe said. \"{My name is $bname|I would like that very much}.\" "
"They played with $ahis $obj all afternoon. {It turned out that $b knew many good games.|$B could tell very funny stories.} Soon all the others wanted to play too. "
"{$learned one kind word can change a whole day.|$learned a stranger can become a friend.} ",
/* kite in tree */
"$Oneday, $a was playing with $ahis $obj $at. The wind was strong, and suddenly the $obj {flew up into|was caught in} a tall tree. $A jumped, but $ahe could not reach it. "
"$Ahe {tried|wanted} to climb the tree, but the branches were too high. Then $b came by. \"Can I help you?\" asked $b. \"I cannot reach it either, but I have an idea.\" "
"{\"Climb on my back,\" said $b.|\"Stand on my back,\" said $b.} $A {climbed up carefully|was very careful}, stretched out $ahis arm and {took hold of|touched} the $obj. \"{I have it|I have got it}!\" $ahe called. "
"They both laughed, and then they played together until {it got dark|the evening}. $learned two friends can do what one cannot do alone. ",
/* treasure map */
"$Oneday, $a found an old map in {a box|a book|a drawer}. There was a red cross on it. \"{A treasure|This is a treasure map}!\" said $a. $Ahe showed it to $b, and they {set off|started} at once. "
"First, they had to cross the {river|old bridge}. Then they walked through the {dark forest|tall grass}, and at last they climbed {a hill|a rock}. They were {tired|hungry}, but they did not stop. "
"\"Here is the place,\" said $b. They began to dig, and soon they found a {wooden box|heavy box|small chest}. $A opened it {slowly|with care}. There was no gold in it. There was only a {letter|piece of paper}. "
"It said, \"The real treasure is the friend who came with you.\" $A looked at $b, and they both began to laugh. \"{It is true|The letter is right},\" said $a. {They ate some $fruit and walked home together.|They walked home hand in hand, singing a song.} ",
/* birthday */
"It was {the day of $ahis birthday|$ahis birthday}, and $a was very excited. $Ahe went to $b, but $b said, \"{I have no time today|I am very busy today}.\" $A went to the others, but they had no time either. "
"\"{Nobody remembers my birthday|Everyone has forgotten my birthday},\" thought $a, and $ahe walked home {slowly|alone}. A tear ran down $ahis face. "
"When $ahe opened the door, it was dark. Then there was a light, and everyone shouted, \"Happy birthday!\" All $ahis friends were there, and there was a big {cake|table full of food}. "
"\"We had no time because we were making this for you,\" said $b, and $bhe gave $ahim @ $obj. $A was so happy that $ahe {did not know what to say|began to dance}. It was the best birthday of all. ",
/* broken bridge / team work */
"$Oneday, {the wind had blown a tree onto the path|a big stone lay in the middle of the road}, and nobody could pass. $A pushed {and pulled|as hard as $ahe could}, but $ahe was not strong enough. "
"\"You will never move it,\" said $b. \"Maybe not alone,\" said $a, \"but we can do it together.\" So $b began to push too, but it {still did not move|was too heavy}. "
"Then more friends came, {big ones and small ones|one after the other}. \"One, two, three!\" called $a, and they all pushed at the same time. {Slowly, it began to move.|At last, it moved a little.} Then it rolled {away|down the hill}, and the way was free. "
"Everyone {cheered|was happy}. \"{We did it|We did it together}!\" said $b. $learned many small hands can do a big thing. ",
/* learning a skill */
"$A wanted to learn how to {skill,doing:=swim~swimming|sing~singing|dance~dancing|paint~painting|read~reading|bake~baking}$skill. $Ahe tried {once|all day}, but it did not go well. \"I will never learn it,\" $ahe said, and $ahe {sat down|threw $ahimself} on the grass. "
"$B had seen everything. \"{Nobody can do it at once|Everything is hard at the beginning},\" said $b. \"When I was small, I could not $skill at all. Come, I will show you.\" "
"So $b helped $ahim. {On the first day, it was hard.|They began with something easy.} {On the second day, it was a little better.|Every day, they worked for one hour.} After a week, $a could $skill {almost as well as|as well as} $b. "
"\"{Look at me|I can do it}!\" called $a, and $ahis face was {shining|bright}. \"I knew that you could,\" $said $b. $learned you have to try again and again. ",
/* lost in forest */
"$Oneday, $a saw a {lovely|bright} butterfly and ran after it, deeper and deeper into the forest. When $ahe looked around, $ahe did not know where $ahe was. All the trees looked the same. "
"\"{I am lost,|How will I get home?}\" said $a, and $ahe was afraid. {It was getting dark.|The shadows grew long.} Then $ahe saw $bintro on the path. \"{Are you lost|Why are you here all alone}?\" asked $b. \"Yes,\" said $a. \"I want to go home, but I do not know the way.\" "
"\"{Do not be afraid|Come with me},\" said $b. \"I know every {tree|path} in this forest.\" $B went ahead, and $a followed $bhim. They walked past a {stream|tall rock} and over a {hill|small bridge}. At last, they saw {a light|the $ahome}. "
"$Ahis mother came running. \"{There you are|I was so worried}!\" she said. $A thanked $b {with all $ahis heart|many times}. $learned it is better not to go too far alone. ",
/* greedy */
"$Oneday, $a found a tree full of {ripe|sweet} $fruit. \"These are all for me,\" $ahe said. $B came and asked, \"May I have {a few|some}?\" \"No,\" said $a. \"I found them first.\" $B went away {sadly|without a word}. "
"$A ate and ate until $ahis stomach hurt. $Ahe tried to carry the rest home, but the basket was too heavy. It {broke|fell over}, and all the $fruit rolled down the hill. $A began to cry. "
"$B heard $ahim and came back. $Bhe did not laugh. $Bhe bent down and helped $a to {gather everything|fill the basket again}. \"Why do you help me?\" asked $a. \"I was not nice to you.\" \"{Because you need help|Friends help each other},\" said $b. "
"$A was ashamed, and $ahe gave $b half of the $fruit. \"I am sorry,\" $ahe said. $learned sharing makes everyone happy. ",
/* wish on star */
"One night, $a saw a star fall from the sky. \"I must make a wish,\" $ahe {said|thought}. $Ahe closed $ahis eyes and wished for a {true|good} friend. "
"The next morning, there was a knock at the door. It was $bintro. \"{Good morning|Hello},\" said $b. \"I saw a star fall near here. {Did you see it too|Have you seen it}?\" \"Yes,\" $said $a. \"It was {very bright|beautiful}.\" "
"They went to look for the star. They {looked|searched} $at and behind the hill, but they did not find it. They talked and laughed all day, and they did not notice how late it was. "
"\"I am sorry that we did not find the star,\" said $b in the evening. $A smiled. \"I found something better,\" $ahe said. \"{I wished for a friend, and you came|My wish came true}.\" ",
/* winter */
"When winter came, snow fell on $place, and everything was white. $A had {enough food|a full basket of food} in $ahis $ahome, but $b had nothing. {All summer, $b had only sung and danced.|$B had not thought about the winter.} "
"One cold day, $b came to the door. \"I am cold and hungry,\" said $b. \"{Can you give me something to eat|May I come in}?\" \"What did you do in the summer?\" asked $a. \"I sang songs,\" said $b {softly|in a small voice}. "
"$A thought about it. Then $ahe smiled. \"Your songs made my work easy,\" said $a. \"Come in and sing for me, and we will share my food.\" So $b stayed {all winter|until the spring}, and every evening there was {music|a song} in the $ahome. "
"In the spring, $b helped $a with the work. $learned everyone has something to give. ",
/* the well of noise / strange sound */
"One night, $a heard a strange sound. \"{Boom, boom, boom|Tap, tap, tap|Whoo, whoo}!\" It came from $place. \"It must be a monster,\" thought $a. $Ahe could not sleep {at all|any more}. "
"In the morning, $ahe told $b about it. \"Let us go and look,\" said $b. \"{If we go together, we do not need to be afraid|Two are braver than one}.\" So they went $to, step by step. "
"There was the sound again! $A wanted to run away, but $b took $ahim by the hand. They looked behind a {big rock|bush|wall}, and what did they see? It was only @ $obj that moved in the wind. "
"$A began to laugh, and $b laughed too. \"So that was the monster!\" said $a. They took the $obj home with them. $learned many things are not as bad as they seem. ",
/* painting / gift for mother */
"{Tomorrow was|The next day was} the birthday of $ahis mother, but $a had no money for a present. \"What can I give her?\" $ahe asked $b. \"{Give her something that you made|Make something with your own hands},\" $said $b. "
"So $a took some {paper|wood} and {colours|paint} and began to work. $Ahe made a picture of {the sun|a flower|the $ahome} with $hue flowers around it. It was not perfect. {One flower was too big.|The sun was too small.} $A was afraid that $ahis mother would not like it. "
"In the morning, $ahe gave the picture to $ahis mother. She looked at it for a long time, and there were tears in her eyes. \"Do you not like it?\" asked $a. \"I love it,\" said $ahis mother. \"It is the most beautiful present, because you made it for me.\" "
"She put it on the wall where everyone could see it. $learned the best presents come from the heart. ",
/* small helper */
"$Oneday, $a caught $ahis foot under a heavy {stone|branch} $at. $Ahe pulled and pulled, but $ahe could not get free. $B came along. \"I can help you,\" said $b. "
"$A looked at $b and shook $ahis head. \"You are too small,\" $ahe said. \"You cannot help me.\" \"{Let me try|Wait and see},\" said $b. $B {dug a hole in the soft earth|pushed a strong stick under it}, little by little. "
"It took a long time, but at last $a was free. \"{I was wrong about you|You are small, but you are clever},\" said $a. \"I am sorry that I laughed at you.\" \"That is all right,\" said $b with a smile. "
"{After that, $a never laughed at anybody again.|From then on, $a listened to everyone, big or small.} $learned even the smallest friend can be a great help. ",
/* a quarrel over one thing */
"$Oneday, $a and $b found @ $obj $at. \"I saw it first,\" said $a. \"No, I saw it first,\" said $b. They {pulled and pulled|shouted at each other}, and soon they were both very angry. "
"An old {man|woman} who was sitting {on a bench|near them} heard the noise. \"{Why are you so angry|What is the matter}?\" asked the old {man|woman}. \"We both want the $obj,\" said $a. \"Then you must choose,\" was the answer. \"{What do you want more, the $obj or your friend?|You can have the $obj, or you can have a friend.}\" "
"$A looked at $b, and $b looked at $a. They were {ashamed|very quiet}. \"You can have it,\" said $a. \"No, you can have it,\" said $b. Then they both began to laugh. \"Let us {share it|play with it together},\" they said. "
"So $a had the $obj one day, and $b had it the next day. {They never shouted at each other again.|It was much more fun that way.} $learned a friend is worth more than a thing. ",
/* little bird fallen out of its nest */
"$Oneday, $a heard a small cry in the grass. It was a baby bird. It had fallen out of its nest and could not fly yet. \"{Poor little bird|You poor little thing},\" said $a. \"I will help you.\" "
"$A looked up and saw the nest, but it was {very high|high up in a tree}. $Ahe asked $b for help. \"{We need a ladder|There is a ladder near my house},\" said $b, and they {ran|went} to get it. "
"$B held the ladder, and $a climbed up {slowly|carefully} with the baby bird in $ahis hat. At last, the little bird was back in its nest. Its mother {sang a happy song|flew around them and sang}. "
"After that, the birds came every morning and sang for $a and $b. $learned a small kindness can bring a great joy. ",
/* fog and bell */
"One morning, a thick white fog lay over the {river|lake|village}. $A {wanted to visit|was on $ahis way to} a friend, but soon $ahe could not see the path any more. \"Hello!\" called $a. \"Is anybody there?\" "
"{Nobody answered.|There was no answer.} $A was {afraid|worried}, but $ahe stood still and listened. Then $ahe heard a {bell|song} far away. Ding, dong! $Ahe went a few steps and listened again. {The sound came nearer and nearer.|The sound was nearer now.} "
"It was $bintro who {rang|was ringing} the bell. \"I ring it when there is fog,\" $said $b, \"so that nobody gets lost.\" \"You have helped me very much,\" said $a. \"{Thank you|How kind you are}.\" "
"They waited together and drank {hot tea|warm milk} until the fog was gone. Then $b showed $a the way. $learned it helps to stop and listen. ",
/* a promise kept */
"$Oneday, $b said, \"I have to go away for a week. Can you take care of my {garden|flowers}?\" \"Yes,\" said $a. \"I promise.\" On the first day, $a gave the flowers water. On the second day too. "
"But on the third day, {the others were playing $at|it was very hot}, and $a forgot all about it. In the evening, $ahe lay in bed and remembered. \"Oh no,\" $ahe thought. \"I made a promise.\" "
"$Ahe got up, put on $ahis {coat|shoes} and went out into the {dark|night}. The flowers {let their heads hang|looked sad and tired}. $A gave them water, and in the morning they were {fresh|bright} again. "
"When $b came home, $bhe was $glad. \"My flowers have never been so beautiful,\" said $b. \"{I knew that you would keep your promise|I can trust you}.\" $A gave a smile, and $ahe told $bhim {everything|the whole story}. They both laughed. $learned a promise must be kept. ",
/* too much noise */
"$A had got a drum, and $ahe played it all day long. Boom, boom, boom! {The birds flew away.|The neighbours closed their windows.} \"Please stop,\" said $b. \"{I cannot sleep|My head hurts}.\" But $a only played louder. "
"The next day, nobody came to play with $a. $Ahe sat alone with $ahis drum and felt $sad. \"{Why does nobody like my music|Where are all my friends}?\" $ahe asked. "
"{At last|In the evening}, $ahe went to $b. \"I am sorry that I was so loud,\" said $a. \"Will you teach me to play softly?\" \"Of course,\" said $b. So $b played the {flute|guitar}, and $a played the drum, and it sounded {lovely|beautiful}. "
"Soon all their friends came back to listen, and some of them began to {dance|sing}. $learned music is best when you listen to each other. ",
/* snowman */
"One winter morning, everything was white with snow. $A ran outside and wanted to build a snowman. $Ahe made a big ball of snow, but it was too heavy to lift. \"{May I help you|Can I help}?\" asked $b. \"Yes, please,\" said $a. "
"Together they put one ball on top of the other. $A gave the snowman {a carrot for a nose|two stones for eyes}, and $b gave him {an old hat|a long scarf}. \"{He looks like my uncle|He looks very grand},\" said $b, and they both laughed. "
"But in the afternoon, the sun came out, and the snowman became smaller and smaller. $A was $sad. \"{Do not be sad|Do not cry},\" said $b. \"{The snow will come back, and then we will build a new one.|He was here for one day, and it was a good day.}\" "
"$A {nodded|smiled}. They went inside and drank hot milk. $learned a happy day stays with you, even when it is over. ",
/* the picnic */
"$Oneday, $a and $b wanted to have a picnic $at. $A brought $treat, and $b brought a basket of $fruit. {They were very hungry.|The $weather.} They put a blanket on the grass and sat down. "
"Suddenly, dark clouds came, and it began to rain. \"Oh no,\" said $a. \"Our picnic {is over|will be wet}!\" They {took everything|picked everything up} and ran under a big tree. The rain fell {all around them|harder and harder}. "
"\"I have an idea,\" said $b. \"We can have our picnic right here.\" So they sat under the tree, ate $treat and {listened to the rain|told each other funny stories}. When the rain stopped, there was a {beautiful|bright} rainbow in the sky. "
"\"{Without the rain, we would not have seen it|This was our best picnic},\" said $a. $learned a bad thing can turn into a good one. ",
/* the letter */
"$A had not seen $ahis grandmother for a long time. She lived far away, {behind the mountains|on the other side of the river}. \"I miss her,\" said $a. \"{Write her a letter,\" said|Why do you not write her a letter?\" asked} $b. \"But I do not know what to write,\" said $a. "
"\"{Tell her about your day|Just tell her what you feel},\" said $b. So $a took a piece of paper and wrote, \"Dear grandmother, today I played $at. The $weather. I think of you every day.\" $Ahe {drew @ $hue flower under it|put @ $hue flower into the letter}. "
"Many days passed. {Every morning, $a waited at the door.|$A thought that the letter was lost.} Then, {one morning|one evening|one day}, there was a knock. It was not a letter. It was $ahis grandmother! \"Your letter made me so happy,\" she said, \"that I had to come at once.\" "
"They {hugged each other|held each other} for a long time. $learned a few kind words can go a long way. ",
};
const size_t corpus_n_plots = sizeof corpus_plots / sizeof *corpus_plots;
// clang-format on

/* ---- casts ---- */

static const char *const traits[] = {"little", "little",   "kind",    "clever",   "small",  "young",
                                     "brave",  "friendly", "curious", "shy",      "happy",  "quiet",
                                     "gentle", "funny",    "good",    "cheerful", "playful"};

void corpus_name(struct corpus_gen *g, bool girl, char *out, size_t size)
{
    static const char *const head[] = {
        "Ma", "Lo", "Ti", "Ka", "Be", "Ri", "Sa",  "No",  "Fe", "Ju", "Da",  "Mi", "Pe", "Ze",
        "Ha", "Wi", "Bo", "Ne", "Xa", "Vi", "Cor", "Gre", "El", "Al", "Qui", "Or", "Yu", "Thi"};
    static const char *const mid[] = {"",   "",   "ra", "li",  "na", "ro",  "ve", "mi",
                                      "de", "si", "lo", "tha", "ne", "bri", "go", "ka"};
    static const char *const she[] = {"na", "la", "ra", "lia", "tta", "ndra", "sha", "nie", "ssa"};
    static const char *const he[] = {"n", "k", "ro", "do", "mon", "rt", "lan", "vin", "s", "bert"};
    if (corpus_chance(g, 93)) {
        snprintf(out, size, "%s", girl ? PICK(g, girls) : PICK(g, boys));
        return;
    }
    const char *a = PICK(g, head), *b = PICK(g, mid), *c = girl ? PICK(g, she) : PICK(g, he);
    snprintf(out, size, "%s%s%s", a, b, c);
}

struct role {
    const struct corpus_animal *animal; /* NULL: a child */
    bool girl, named;
    const char *name, *trait;
};

__attribute__((format(printf, 4, 5))) static void bind(struct corpus_gen *g, char who,
                                                       const char *what, const char *fmt, ...)
{
    char name[CORPUS_NAME_MAX], value[CORPUS_VALUE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    snprintf(name, sizeof name, "%c%s", who, what);
    corpus_bind(g, name, value);
}

static const char *article(const char *word)
{
    return strchr("aeiou", word[0]) ? "an" : "a";
}

static void cast(struct corpus_gen *g, char who, const struct role *r)
{
    const char *kind = r->animal ? r->animal->kind : r->girl ? "girl" : "boy";
    const char *called = corpus_chance(g, 70) ? "named" : "called";
    bind(g, who, "kind", "%s", kind);
    bind(g, who, "name", "%s", r->name);
    bind(g, who, "he", "%s", r->girl ? "she" : "he");
    bind(g, who, "him", "%s", r->girl ? "her" : "him");
    bind(g, who, "his", "%s", r->girl ? "her" : "his");
    bind(g, who, "himself", "%s", r->girl ? "herself" : "himself");
    bind(g, who, "home", "%s", r->animal ? r->animal->home : "house");
    if (r->animal)
        bind(g, who, "where", "%s", r->animal->where);
    else
        bind(g, who, "where", "in a %s house near %s", corpus_chance(g, 50) ? "small" : "little",
             corpus_value(g, "place"));
    if (r->named) {
        bind(g, who, "", "%s", r->name);
        bind(g, who, "voc", "%s", r->name);
        bind(g, who, "intro", "%s %s %s %s %s", article(r->trait), r->trait, kind, called, r->name);
        if (r->animal)
            bind(g, who, "first", "%s the %s", r->name, kind);
        else
            bind(g, who, "first", "%s friend %s", corpus_value(g, "ahis"), r->name);
    } else {
        const char *trait = corpus_chance(g, 50) ? "an old" : "a young";
        bind(g, who, "", "the %s", kind);
        bind(g, who, "voc", "%s %s", corpus_chance(g, 50) ? "dear" : "my dear", kind);
        bind(g, who, "intro", "%s %s %s", article(r->trait), r->trait, kind);
        bind(g, who, "first", "%s %s", trait, kind);
    }
}

static const struct corpus_animal *some_hero(struct corpus_gen *g,
                                             const struct corpus_animal * not )
{
    for (;;) {
        const struct corpus_animal *a = &corpus_animals[corpus_pick(g, (uint32_t)corpus_n_animals)];
        if (a->hero && a != not ) return a;
    }
}

/* Names of one cast must differ in their first letters too: a small model mixes up Tom and Tim. */
static void name_for(struct corpus_gen *g, const struct role *r, char *out, size_t size)
{
    if (!r->animal)
        corpus_name(g, r->girl, out, size);
    else
        snprintf(out, size, "%s", r->girl ? PICK(g, pets_she) : PICK(g, pets_he));
}

static bool is_mother(const struct corpus_animal *a)
{
    return strcmp(a->kind, "cow") == 0 || strcmp(a->kind, "hen") == 0;
}

static void cast_all(struct corpus_gen *g, const struct corpus_wish *w)
{
    char name_a[32], name_b[32];
    struct role a = {
        .animal = w->hero, .girl = corpus_chance(g, 50), .named = corpus_chance(g, 65)};
    if (w->gender) a.girl = strcmp(w->gender, "girl") == 0;
    if (a.animal && is_mother(a.animal)) a.girl = true;
    if (!a.animal || w->name) a.named = true;
    a.trait = w->trait ? w->trait : PICK(g, traits);
    if (w->name)
        snprintf(name_a, sizeof name_a, "%s", w->name);
    else
        name_for(g, &a, name_a, sizeof name_a);
    a.name = name_a;
    cast(g, 'a', &a);

    struct role b = {
        .animal = w->friend, .girl = corpus_chance(g, 50), .named = corpus_chance(g, 65)};
    if (!w->friend && (a.animal || corpus_chance(g, 40))) b.animal = some_hero(g, a.animal);
    if (!b.animal) b.named = true;
    if (b.animal && is_mother(b.animal)) b.girl = true;
    b.trait = PICK(g, traits);
    do
        name_for(g, &b, name_b, sizeof name_b);
    while (name_b[0] == name_a[0]);
    b.name = name_b;
    cast(g, 'b', &b);
}

/* The friend that a plot needs: one who can be called small, or one whose back can be climbed on.
 */
static const struct corpus_animal *fitting(struct corpus_gen *g, const char *plot,
                                           const struct corpus_animal * not )
{
    static const char *const small[] = {"mouse", "ant", "bee", "frog", "hedgehog", "mole", "bird"};
    static const char *const big[] = {"horse", "bear", "elephant", "donkey", "cow", "deer", "lion"};
    bool for_small = strstr(plot, "too small") != NULL;
    if (!for_small && !strstr(plot, "my back")) return NULL;
    for (;;) {
        const char *kind = for_small ? PICK(g, small) : PICK(g, big);
        const struct corpus_animal *a = corpus_animals;
        while (strcmp(a->kind, kind) != 0)
            a++;
        if (a != not ) return a;
    }
}

void corpus_story(struct corpus_gen *g, const struct corpus_wish *asked, buf *out)
{
    struct corpus_wish wish = *asked, *w = &wish;
    buf none = {.cap = 1};
    size_t plot = corpus_pick(g, (uint32_t)corpus_n_plots), from = out->n;
    char combination[256];
    while ((w->object && !strstr(corpus_plots[plot], "$obj")) ||
           (w->friend && fitting(g, corpus_plots[plot], w->hero)))
        plot = corpus_pick(g, (uint32_t)corpus_n_plots);
    if (!w->hero && !w->name && !w->gender && corpus_chance(g, 60)) w->hero = some_hero(g, NULL);
    if (!w->friend) w->friend = fitting(g, corpus_plots[plot], w->hero);
    g->n_vars = 0;
    corpus_expand(g, "$setup", &none);
    if (w->object) corpus_bind(g, "obj", w->object);
    cast_all(g, w);
    corpus_expand(g, "$opening ", out);
    if (corpus_chance(g, 30)) out->p[out->n - 1] = '\n';
    corpus_expand(g, corpus_plots[plot], out);
    corpus_expand(g, "$closing", out);
    while (out->n > from && out->p[out->n - 1] == ' ')
        out->p[--out->n] = 0;
    corpus_articles(out, from);
    int n = snprintf(combination, sizeof combination, "%zu %s %s %s", plot,
                     corpus_value(g, "akind"), corpus_value(g, "bkind"), corpus_value(g, "place"));
    g->key = str_hash((str){combination, (size_t)n});
    buf_fini(&none);
}
