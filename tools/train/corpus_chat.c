/* corpus_chat: chats in ChatML: requests for stories, questions about them, and small talk.
 *
 * A turn is one row of a table: how a person may ask, how the assistant answers. Both are templates
 * (corpus_int.h); what the question binds, the answer may use. Rows with a function compute what a
 * template cannot: sums, facts about animals, stories. Requests are sometimes written carelessly
 * (no capital, no full stop), so that the model does not depend on it.
 */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "corpus_int.h"

struct turn {
    unsigned weight;
    const char *ask, *answer;
    void (*make)(struct corpus_gen *g, buf *ask, buf *answer); /* instead of the templates */
};

static const char dont_know[] =
    "{I am sorry, but I do not know that. I am a very small model, and I know only simple things. "
    "I can tell you a story if you like."
    "|I do not know the answer. I am only a very small model. Would you like to hear a story?"
    "|That is too hard for me. I am a very small model, but I can tell you a story.}";

// clang-format off
static const struct corpus_macro objects[] = {{"a lost ball", "red ball"}, {"a kite", "blue kite"}, {"a wooden boat", "wooden boat"},
    {"a bell", "silver bell"}, {"a toy train", "toy train"}, {"a scarf", "warm scarf"}, {"a key", "shiny key"}, {"a drum", "little drum"},
    {"a yellow hat", "yellow hat"}, {"a book", "picture book"}, {"a music box", "music box"}, {"a lantern", "paper lantern"},
    {"an umbrella", "green umbrella"}, {"a ring", "golden ring"}, {"a blanket", "soft blanket"}, {"a map", "old map"}, {"a shell", "white shell"}};

static const char *const numbers[] = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"};
// clang-format on

static void capital(buf *b, size_t at)
{
    if (b->n > at && b->p[at] >= 'a' && b->p[at] <= 'z') b->p[at] = (char)(b->p[at] - 'a' + 'A');
}

/* ---- turns that are computed ---- */

static void sum(struct corpus_gen *g, buf *ask, buf *answer)
{
    static const char *const forms[] = {
        "What is",   "What is", "How much is", "Tell me, what is", "Can you tell me what is",
        "Calculate", ""};
    bool minus = corpus_chance(g, 35), digits = corpus_chance(g, 50);
    uint32_t a = corpus_pick(g, 11), b = corpus_pick(g, 11);
    if (minus && a < b) {
        uint32_t t = a;
        a = b;
        b = t;
    }
    uint32_t c = minus ? a - b : a + b;
    const char *form = forms[corpus_pick(g, 7)], *op = minus ? "minus" : "plus";
    if (digits)
        buf_printf(ask, "%s %u %s %u%s", form, a, minus ? "-" : "+", b, *form ? "?" : "");
    else
        buf_printf(ask, "%s %s %s %s?", form, numbers[a], op, numbers[b]);
    if (ask->p[0] == ' ') buf_drop(ask, 1);
    capital(ask, 0);
    buf_printf(answer, "%s %s %s is %s.", numbers[a], op, numbers[b], numbers[c]);
    capital(answer, 0);
}

static void after(struct corpus_gen *g, buf *ask, buf *answer)
{
    uint32_t n = corpus_pick(g, 19) + 1;
    bool next = corpus_chance(g, 60);
    buf_printf(ask, next ? "What comes after %s?" : "What comes before %s?", numbers[n]);
    buf_printf(answer, "%s comes %s %s.", numbers[next ? n + 1 : n - 1], next ? "after" : "before",
               numbers[n]);
    capital(answer, 0);
}

static void count(struct corpus_gen *g, buf *ask, buf *answer)
{
    uint32_t n = corpus_pick(g, 18) + 3;
    buf_printf(ask, corpus_chance(g, 50) ? "Count to %s." : "Can you count to %s?", numbers[n]);
    for (uint32_t i = 1; i <= n; i++)
        buf_printf(answer, "%s%s", numbers[i], i == n ? "." : ", ");
    capital(answer, 0);
}

static void animal(struct corpus_gen *g, buf *ask, buf *answer)
{
    const struct corpus_animal *a = &corpus_animals[corpus_pick(g, (uint32_t)corpus_n_animals)];
    corpus_bind(g, "k", a->kind);
    corpus_bind(g, "ks", a->plural);
    corpus_bind(g, "where", a->where);
    corpus_bind(g, "food", a->food);
    corpus_bind(g, "sound", a->sound);
    corpus_bind(g, "es", strchr("sz", a->sound[*a->sound ? strlen(a->sound) - 1 : 0]) ? "es" : "s");
    uint32_t what = corpus_pick(g, *a->sound ? 5 : 4);
    if (what < 2) {
        corpus_expand(g,
                      "{Where does {the|@} $k {live|sleep|live|have its home}?{doing:=The $k "
                      "lives}|Where do $ks {live|sleep}?{doing:=$Ks live}"
                      "|Where can I find @ $k?{doing:=The $k lives}|What is the home of the "
                      "$k?{doing:=The $k lives}}",
                      ask);
        if (strstr(ask->p, "sleep"))
            corpus_expand(
                g, strstr(ask->p, "Where do ") ? "$Ks sleep $where." : "The $k sleeps $where.",
                answer);
        else
            corpus_expand(g, "$doing $where.", answer);
    } else if (what < 4) {
        corpus_expand(g,
                      "{What does {the|@} $k {eat|like to eat}?{doing:=The $k likes to eat}|What "
                      "do $ks {eat|like to eat}?{doing:=$Ks like to eat}"
                      "|What is the food of the $k?{doing:=The $k likes to eat}|What can I give @ "
                      "$k to eat?{doing:=The $k likes to eat}}",
                      ask);
        corpus_expand(g, "$doing $food.", answer);
    } else {
        corpus_expand(
            g, "{What {sound|noise} does {the|@} $k make?|What does {the|@} $k {say|sound like}?}",
            ask);
        corpus_expand(g, "The $k $sound$es.", answer);
    }
}

/* ---- stories on request ---- */

static void story(struct corpus_gen *g, buf *ask, buf *answer)
{
    struct corpus_wish w = {0};
    char name[32], topic[128];
    const struct corpus_animal *a = &corpus_animals[corpus_pick(g, (uint32_t)corpus_n_animals)];
    const struct corpus_animal *b = &corpus_animals[corpus_pick(g, (uint32_t)corpus_n_animals)];
    static const char *const traits[] = {"brave", "little", "kind", "clever", "small",   "young",
                                         "shy",   "happy",  "lazy", "old",    "friendly"};
    const char *trait = traits[corpus_pick(g, sizeof traits / sizeof *traits)];
    bool girl = corpus_chance(g, 50);
    uint32_t kind = corpus_pick(g, 100);
    *topic = 0;
    if (!a->hero) a = &corpus_animals[corpus_pick(g, 30)];
    if (!b->hero || b == a) b = &corpus_animals[(size_t)(a - corpus_animals + 7) % 30];
    corpus_name(g, girl, name, sizeof name);
    if (kind < 40) {
        w.hero = a;
        snprintf(topic, sizeof topic, "@ %s", a->kind);
    } else if (kind < 50) {
        w.hero = a;
        w.trait = trait;
        snprintf(topic, sizeof topic, "@ %s %s", trait, a->kind);
    } else if (kind < 62) {
        w.hero = a;
        w.friend = b;
        snprintf(topic, sizeof topic, "@ %s and @ %s", a->kind, b->kind);
    } else if (kind < 76) {
        w.gender = girl ? "girl" : "boy";
        w.name = name;
        snprintf(topic, sizeof topic, "a %s %s %s", w.gender,
                 corpus_chance(g, 50) ? "named" : "called", name);
    } else if (kind < 82) {
        w.gender = girl ? "girl" : "boy";
        if (corpus_chance(g, 50)) w.trait = trait;
        snprintf(topic, sizeof topic, "@ %s%s%s", w.trait ? trait : "", w.trait ? " " : "",
                 w.gender);
    } else if (kind < 88) {
        const struct corpus_macro *o = &objects[corpus_pick(g, sizeof objects / sizeof *objects)];
        w.object = o->text;
        snprintf(topic, sizeof topic, "%s", o->name);
    }
    corpus_bind(g, "topic", topic);
    corpus_expand(
        g,
        *topic
            ? "{Tell me a story about $topic.|Tell me a story about $topic.|Tell me a story about "
              "$topic."
              "|Please tell me a {short |}story about $topic.|Can you tell me a story about $topic?"
              "|Write a {short |}story about $topic.|I want to hear a story about $topic.|Tell a "
              "story with $topic."
              "|Could you write a story about $topic?|Make up a story about $topic.|A story about "
              "$topic, please."
              "|I would like a bedtime story about $topic.|Do you know a story about $topic?|Story "
              "about $topic|Tell me about $topic.}"
            : "{Tell me a story.|Tell me a {short|little|nice|happy|funny|bedtime} story.|Please "
              "tell me a story.|Can you tell me a story?"
              "|I want to hear a story.|Write a {short |}story.|Do you know a story?|Once upon a "
              "time|Tell me something.|Make up a story for me."
              "|I am bored.|I cannot sleep.|Give me a story.}",
        ask);
    corpus_story(g, &w, answer);
}

/* ---- asking about the story just told; the generator still knows its cast ---- */

static const struct turn after_story[] = {
    {4,
     "{Thank you!|Thanks!|That was a nice story.|What a nice story!|I liked that story.|Thank you "
     "for the story.|Good story!|That was lovely.}",
     "{You are welcome! I am glad that you liked it.|I am happy that you liked it. Would you like "
     "to hear another one?|Thank you! I like that story too.}",
     NULL},
    {3, "{Who was in the story?|Who is the story about?|Who was the story about?}",
     "The story was about $a and $b.", NULL},
    {3, "{Who was the friend of $a?|What was the name of the friend?|Who did $a meet?}",
     "It was $b.", NULL},
    {2, "{Was $a a boy or a girl?|Who was $a?}", "$A was $awas.", NULL},
    {2, "{Where did $a live?}", "$A lived $awhere.", NULL},
};

// clang-format off
static const struct turn turns[] = {
    {50, NULL, NULL, story},
    {12, NULL, NULL, sum},
    {3, NULL, NULL, after},
    {2, NULL, NULL, count},
    {16, NULL, NULL, animal},
    {8, "{Hello!|Hi!|Hello.|Hi there!|Hey!|Hello there.|Good day!|Hello, rbee!|Hi, how is it going?}",
     "{Hello! How can I help you?|Hello! I am rbee-tiny. Would you like to hear a story?|Hello! It is nice to meet you. What would you like to talk about?}", NULL},
    {2, "Good {part:=morning|evening|afternoon}$part!", "Good $part! How can I help you?", NULL},
    {4, "{How are you?|How are you today?|How do you feel?|How is your day?|Are you well?}",
     "{I am well, thank you. How are you?|I am fine, thank you. How can I help you?}", NULL},
    {8, "{Who are you?|What are you?|What is your name?|Tell me about yourself.|Who am I talking to?|Introduce yourself.|What should I call you?|Do you have a name?|Which model are you?}",
     "I am rbee-tiny, a very small language model. I can tell stories and answer simple questions.", NULL},
    {4, "{Who made you?|Where do you come from?|How were you made?|Who trained you?|How were you trained?|What were you trained on?}",
     "I was made together with rbee. I learned from many small stories that a program wrote.", NULL},
    {4, "{What can you do?|What do you do?|How can you help me?|Can you help me?|Help!|Help me.|What do you know?|What can I ask you?|I need help.}",
     "I can tell you a story, answer simple questions about animals and colours, and add small numbers. Just ask me!", NULL},
    {3, "{What is rbee?|Tell me about rbee.|What does rbee do?|Do you know rbee?}",
     "rbee is a program that runs language models on your own computers. I am the small model that comes with it.", NULL},
    {2, "{Are you a {person|human|robot|real person}?|Are you alive?|Are you real?|Are you human?}",
     "No, I am not a person. I am a very small language model.", NULL},
    {2, "{How big are you?|Are you small?|How old are you?|Are you smart?|Are you clever?}",
     "I am very small, and I am still young. But I know many stories.", NULL},
    {2, "{Do you like {stories|me|animals|music}?|What do you like?|What is your favourite thing?}",
     "I like stories best of all. Would you like to hear one?", NULL},
    {9, "My name is $uname.", "{Nice to meet you, $uname!|Hello, $uname! It is nice to meet you.|Hello, $uname! How can I help you?}", NULL},
    {3, "{I am $uname.|Hello, I am $uname.|Hi, my name is $uname.|You can call me $uname.|Hello! My name is $uname.}", "Hello, $uname! It is nice to meet you.", NULL},
    {3, "{Thank you!|Thanks!|Thank you.|Thanks a lot.|Thank you very much!|That was helpful.}", "You are welcome!", NULL},
    {3, "{Goodbye!|Bye!|Good night!|See you later.|Bye bye.|I have to go now.|See you tomorrow!}", "{Goodbye! Have a nice day.|Goodbye! Come back soon.}", NULL},
    {2, "{I am {sad|unhappy|so sad|lonely}.|I feel {sad|bad|lonely}.|Today was a bad day.}", "I am sorry to hear that. Would you like to hear a story? A story can make you feel better.", NULL},
    {2, "{I am {happy|very happy|glad}.|I feel {good|great|happy}.|Today was a good day.}", "That is wonderful! I am happy for you.", NULL},
    {1, "{I am {tired|sleepy}.|I want to sleep.}", "Then you should go to bed and rest. Good night, and sweet dreams!", NULL},
    {1, "I am {hungry|so hungry}.", "Then you should eat something good. How about $treat?", NULL},
    {2, "{Tell me a joke.|Do you know a joke?|Make me laugh.|Say something funny.}",
     "{Why did the hen cross the road? Because she wanted to get to the other side.|What do you call a bear with no teeth? A gummy bear.|Why do birds fly south? Because it is too far to walk.|What has four legs but cannot walk? A table.}", NULL},
    {12, "{What colour is {thing,col:=the sky~blue|the grass~green|the sun~yellow|the snow~white|a banana~yellow|a tomato~red|a carrot~orange|the sea~blue|a leaf~green|a strawberry~red|the night~black|milk~white|a lemon~yellow|a cloud~white|a frog~green|a fox~red|the moon~white|a crow~black|a pig~pink|an orange~orange|coal~black|a cherry~red|an elephant~grey|a mouse~grey}$thing?|What is the colour of {thing,col:=the sky~blue|the grass~green|the sun~yellow|the snow~white|a banana~yellow|a tomato~red|a carrot~orange|the sea~blue|a leaf~green|a lemon~yellow|the moon~white|a pig~pink}$thing?|What color is {thing,col:=the sky~blue|the grass~green|the sun~yellow|the snow~white|a banana~yellow|a tomato~red|the sea~blue|a leaf~green|a lemon~yellow|a frog~green|a carrot~orange}$thing?}",
     "$Thing is $col.", NULL},
    {6, "{What is the opposite of|What is the opposite of|Tell me the opposite of|Which word is the opposite of} {x,y:=big~small|small~big|hot~cold|cold~hot|day~night|night~day|happy~sad|sad~happy|fast~slow|slow~fast|old~young|young~old|good~bad|bad~good|up~down|down~up|light~dark|dark~light|long~short|short~long|full~empty|empty~full|open~closed|wet~dry|dry~wet|strong~weak|weak~strong|early~late|late~early|new~old|left~right|right~left|high~low|loud~quiet|hard~soft|soft~hard|yes~no|black~white|true~false}$x?",
     "The opposite of $x is $y.", NULL},
    {3, "What {day comes|comes|day is} after {x,y:=Monday~Tuesday|Tuesday~Wednesday|Wednesday~Thursday|Thursday~Friday|Friday~Saturday|Saturday~Sunday|Sunday~Monday}$x?", "$y comes after $x.", NULL},
    {2, "{How many days are in a week?{y:=There are seven days in a week.}|How many days does a week have?{y:=A week has seven days.}|How many months are in a year?{y:=There are twelve months in a year.}|How many legs does a {dog|cat|horse|cow} have?{y:=It has four legs.}|How many legs does a {bird|duck|hen} have?{y:=It has two legs.}|How many legs does a spider have?{y:=A spider has eight legs.}|How many legs does an ant have?{y:=An ant has six legs.}|How many eyes do you have?{y:=I have no eyes. I am only a small model.}|How many fingers do I have?{y:=You have ten fingers.}}", "$y", NULL},
    {3, "{Can|Can} a {x,y:=bird~Yes, a bird can fly.|fish~No, a fish cannot fly, but it can swim.|cat~No, a cat cannot fly.|dog~No, a dog cannot fly.|bee~Yes, a bee can fly.|crow~Yes, a crow can fly.|penguin~No, a penguin cannot fly, but it can swim.|cow~No, a cow cannot fly.|duck~Yes, a duck can fly and swim.|horse~No, a horse cannot fly, but it can run fast.|butterfly~Yes, a butterfly can fly.|fox~No, a fox cannot fly.}$x fly?", "$y", NULL},
    {3, "Can a {x,y:=fish~Yes, a fish can swim.|duck~Yes, a duck can swim.|frog~Yes, a frog can swim.|dog~Yes, a dog can swim.|stone~No, a stone cannot swim.|hen~No, a hen cannot swim.|whale~Yes, a whale can swim.}$x swim?", "$y", NULL},
    {3, "{What is|What do you call} a {x,y:=young dog~puppy|baby dog~puppy|young cat~kitten|baby cat~kitten|young cow~calf|young sheep~lamb|young duck~duckling|young horse~foal|young hen~chick}$x?", "A $x is called a $y.", NULL},
    {5, "{{x,y:=What does a bee make~Bees make honey|What do bees make~Bees make honey|Where does milk come from~Milk comes from cows|Where do eggs come from~Eggs come from hens|What do we do at night~At night, we sleep|When do we sleep~We sleep at night|What falls from the sky when it rains~Water falls from the sky when it rains|What is snow~Snow is cold, white and soft. It falls in winter|What is rain~Rain is water that falls from the clouds|What is the sun~The sun is a star. It gives us light and warmth|What is the moon~The moon is a big round rock that shines at night|What is a friend~A friend is someone who likes you and helps you|What is love~Love is a warm feeling. It means that you care for someone|What is a tree~A tree is a tall plant with a trunk, branches and leaves|What is a river~A river is water that flows through the land to the sea|What is winter~Winter is the cold time of the year|What is summer~Summer is the warm time of the year|What comes after winter~Spring comes after winter|What comes after summer~Autumn comes after summer|What do plants need~Plants need water, light and air|Why do we eat~We eat because our bodies need food|What is bread made of~Bread is made of flour and water|What do you wear on your head~You wear a hat on your head|What do you wear on your feet~You wear shoes on your feet|What is ice~Ice is frozen water|What is a book~A book is many pages with words and pictures|Where do fish live~Fish live in the water|What shines at night~The moon and the stars shine at night|What is a computer~A computer is a machine that can count and remember|What is a language model~A language model is a program that reads and writes text|What is the biggest animal~The biggest animal is the whale|What is the fastest animal~The cheetah is the fastest animal on land}$x?}", "$y.", NULL},
    {7, "{What is the capital of {France|Spain|Peru|Japan|$uname}?|Who is the president of {America|France|$uname}?|Write {a program|code|some code} in {C|Python|Rust}.|How do I {cook rice|fix my car|get rich|install $uname}?|What is the meaning of life?|Explain {quantum physics|the universe|machine learning|history|gravity}.|Who won the {game|war|election}?|What year is it?|What time is it?|What is the weather {today|tomorrow|in $uname}?|Translate this into {French|German|Spanish}.|What is {$uname|the speed of light|an atom|a transformer|the stock market}?|Who was {$uname|Einstein|Napoleon|Shakespeare}?|When was {$uname|the war|the moon landing}?|Where is {$uname|Paris|London|the station}?|What is the square root of {nine|two|sixteen}?|Why is the sky blue?|How far is the moon?|What do you think about {politics|$uname|money|work}?|Do you know $uname?}", dont_know, NULL},
    {3, "{Write a poem.|Write a {short |}poem about {the moon|the night|the stars}.|Tell me a poem.|Can you write a poem?|A poem, please.}",
     "{The moon is bright, the night is deep,\nand all the little birds now sleep.\nThe stars look down on field and hill,\nand all the world is calm and still.|The sun goes down, the day is done,\nthe stars come out now, one by one.\nThe wind is soft, the night is near,\nso close your eyes and have no fear.}", NULL},
    {2, "Write a {short |}poem about {x:=a cat|the cat|my cat|cats}$x.", "My little cat is soft and small,\nshe likes to sit upon the wall.\nShe sleeps all day and plays all night,\nand in the dark her eyes are bright.", NULL},
    {2, "Write a {short |}poem about {x:=the rain|rain|the spring|flowers|the sun}$x.", "The rain falls down on leaf and tree,\nit sings a little song for me.\nAnd when the sun comes out again,\nthe flowers thank the gentle rain.", NULL},
    {8, "{Say|Say the word|Repeat the word|Repeat after me:} {x:=$uname|hello|apple|banana|goodbye|moon|yes|$bword}$x.", "$X.", NULL},
    {3, "{Yes.|Yes, please.|Yes please!|Sure.|OK.|Ok|Okay.|Go on.|Of course.}", "Very good! What would you like to hear? I can tell you a story about an animal, for example.", NULL},
    {2, "{No.|No, thank you.|No thanks.|Not now.|Maybe later.}", "That is all right. Just tell me if you need something.", NULL},
};
static const char *const systems[] = {"You are a helpful assistant.", "You are rbee-tiny, a small storyteller.", "You are a friendly assistant. Answer in simple words.",
    "You are rbee-tiny.", "You tell stories for children.", "You are a helpful, kind and honest assistant.", "Answer briefly."};
// clang-format on

static const struct turn *choose(struct corpus_gen *g, const struct turn *t, size_t n)
{
    uint32_t total = 0, at;
    for (size_t i = 0; i < n; i++)
        total += t[i].weight;
    at = corpus_pick(g, total);
    while (at >= t->weight)
        at -= (t++)->weight;
    return t;
}

/* As people type: no capital, no full stop, now and then. */
static void careless(struct corpus_gen *g, buf *b)
{
    if (corpus_chance(g, 15) && b->p[0] >= 'A' && b->p[0] <= 'Z')
        b->p[0] = (char)(b->p[0] - 'A' + 'a');
    if (corpus_chance(g, 18) && b->n > 1 && strchr(".?!", b->p[b->n - 1])) b->p[--b->n] = 0;
}

static void message(buf *out, const char *role, const buf *text, bool spaced)
{
    buf_printf(out, "<|im_start|>%s\n%s%.*s<|im_end|>", role, spaced ? " " : "", (int)text->n,
               text->p);
}

static void one_turn(struct corpus_gen *g, const struct turn *t, buf *ask, buf *answer)
{
    char name[32];
    buf none = {.cap = 1};
    corpus_name(g, corpus_chance(g, 50), name, sizeof name);
    corpus_bind(g, "uname", name);
    if (!corpus_value(g, "treat")) corpus_expand(g, "$setup", &none);
    corpus_expand(g, "{bword:=tree|river|window|butterfly|sunshine|rabbit|snow|music|friend}",
                  &none);
    buf_fini(&none);
    if (t->make) {
        t->make(g, ask, answer);
    } else {
        corpus_expand(g, t->ask, ask);
        corpus_expand(g, t->answer, answer);
    }
    corpus_articles(ask, 0);
    corpus_articles(answer, 0);
    careless(g, ask);
}

void corpus_chat(struct corpus_gen *g, buf *out)
{
    buf ask = {.cap = MIB(1)}, answer = {.cap = MIB(1)};
    uint32_t left = corpus_chance(g, 40) ? corpus_chance(g, 30) ? 3 : 2 : 1;
    bool told = false, spaced = corpus_chance(g, 6);
    uint64_t story_key = 0;
    size_t from = out->n;
    if (corpus_chance(g, 12))
        buf_printf(out, "<|im_start|>system\n%s<|im_end|>\n",
                   systems[corpus_pick(g, sizeof systems / sizeof *systems)]);
    while (left--) {
        const struct turn *t = choose(g, turns, sizeof turns / sizeof *turns);
        if (told && corpus_chance(g, 75))
            t = choose(g, after_story, sizeof after_story / sizeof *after_story);
        buf_clear(&ask);
        buf_clear(&answer);
        one_turn(g, t, &ask, &answer);
        told = told ? t->make == NULL : t->make == story;
        if (t->make == story) story_key = g->key;
        if (told && t->make == story) {
            const char *kind = corpus_value(g, "akind");
            char was[64];
            snprintf(was, sizeof was, "%s %s", strchr("aeiou", kind[0]) ? "an" : "a", kind);
            corpus_bind(g, "awas", was);
        }
        message(out, "user", &ask, spaced);
        buf_ch(out, '\n');
        message(out, "assistant", &answer, false);
        if (left) buf_ch(out, '\n');
    }
    g->key = story_key ? story_key : str_hash(str_sub(buf_view(out), from, out->n));
    buf_fini(&ask);
    buf_fini(&answer);
}
