/* hub_arch: which family a repository is of, from the words that the Hub has for it.
 *
 * The best word is the one in a GGUF file, which hub.c takes as it stands; then a class, a model
 * type, the tag that the Hub makes of it, a tag that somebody wrote; the name of the repository is
 * the last resort. Which words name a family is asked of the tables of families and classes;
 * nothing is listed here.
 */
#include <string.h>

#include "base/limits.h"
#include "model/family.h"
#include "model/hf_class.h"
#include "model/hub_int.h"

/* ---- words ---- */

static bool between(char c)
{
    return c == '-' || c == '_' || c == '.' || c == ' ';
}

/* Does character i count: separators do not, nor does the v of a version. */
static bool counts(str s, size_t i)
{
    bool version =
        (s.p[i] == 'v' || s.p[i] == 'V') && i + 1 < s.n && s.p[i + 1] >= '0' && s.p[i + 1] <= '9';
    return !between(s.p[i]) && !version;
}

/* Two words but for case, '-', '_', '.', ' ' and the v of a version. */
static bool same_word(str a, str b)
{
    size_t i = 0, k = 0;
    for (;;) {
        while (i < a.n && !counts(a, i))
            i++;
        while (k < b.n && !counts(b, k))
            k++;
        if (i == a.n || k == b.n) return i == a.n && k == b.n;
        if (!str_ieq(str_sub(a, i++, 1), str_sub(b, k++, 1))) return false;
    }
}

/* "Qwen2" of "Qwen2ForCausalLM". */
static str stem_of(str cls)
{
    static const char *const ends[] = {"For", "LMHeadModel", "Model"};
    for (size_t i = 0; i < 3; i++) {
        size_t at = str_find(cls, str_c(ends[i]), 1);
        if (at == SIZE_MAX) continue;
        cls = str_sub(cls, 0, at);
        break;
    }
    return str_ends(cls, S("V1")) ? str_sub(cls, 0, cls.n - 2) : cls;
}

/* The first letter, small. Words that differ in it differ, and most do. */
static char initial(const char *p)
{
    return *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
}

static const struct family *family_of_row(str word, str stem, char first)
{
    size_t n;
    const struct family *all = family_all(&n);
    for (size_t i = 0; i < n; i++)
        if (all[i].name[0] == first && str_eqc(word, all[i].name)) return &all[i];
    for (size_t i = 0; i < n; i++) {
        str name;
        if (all[i].name[0] != first) continue;
        name = str_c(all[i].name);
        if (same_word(word, name) || same_word(stem, name)) return &all[i];
    }
    return NULL;
}

static const struct family *family_of_class(str word, char first)
{
    const char *classes, *gguf;
    for (size_t i = 0; (classes = hf_classes(i, &gguf)); i++)
        for (const char *p = classes, *end; p; p = end ? end + 1 : NULL) {
            end = strchr(p, ' ');
            if (initial(p) != first) continue;
            str cls = {p, end ? (size_t)(end - p) : strlen(p)};
            if (str_eq(cls, word) || same_word(stem_of(cls), word)) return family_find(str_c(gguf));
        }
    return NULL;
}

const struct family *hub_family(str word)
{
    const struct family *f;
    if (!word.n) return NULL;
    if (str_ends(word, S("_text"))) word.n -= 5;
    char first = initial(word.p);
    f = family_of_row(word, stem_of(word), first);
    return f ? f : family_of_class(word, first);
}

void hub_take_arch(struct hub_model *m, str word)
{
    const char *gguf = hf_arch_of(word);
    if (!word.n || m->family || m->arch_of_file) return;
    const struct family *f = gguf ? family_find(str_c(gguf)) : hub_family(word);
    if (gguf) m->hf_loads = true;
    if (f) m->family = f;
    if (f || !m->arch.n) m->arch = word;
}

/* Whether SafeTensors of the family are read, when only the family is known. */
bool hub_class_loads(const struct family *f)
{
    const char *gguf;
    for (size_t i = 0; hf_classes(i, &gguf); i++)
        if (str_eqc(str_c(gguf), f->name)) return true;
    return false;
}

/* ---- tags ---- */

static bool is_one_of(str t, const char *const *words)
{
    for (size_t i = 0; words[i]; i++)
        if (str_eqc(t, words[i])) return true;
    return false;
}

enum task { NO_TASK, OF_TEXT, OF_OTHERS };

/* Tasks of the Hub: those that give text or vectors of text, and the others. */
static enum task task_kind(str t)
{
    static const char *const text[] = {
        "text-generation",     "text2text-generation", "conversational",
        "feature-extraction",  "sentence-similarity",  "image-text-to-text",
        "text-classification", "token-classification", "question-answering",
        "fill-mask",           "translation",          "summarization",
        "text-ranking",        "any-to-any",           NULL};
    static const char *const others[] = {"text-to-image",
                                         "image-to-image",
                                         "text-to-video",
                                         "image-to-video",
                                         "video-to-video",
                                         "text-to-speech",
                                         "text-to-audio",
                                         "audio-to-audio",
                                         "automatic-speech-recognition",
                                         "voice-activity-detection",
                                         "audio-classification",
                                         "video-classification",
                                         "image-classification",
                                         "zero-shot-image-classification",
                                         "image-segmentation",
                                         "mask-generation",
                                         "image-to-text",
                                         "object-detection",
                                         "depth-estimation",
                                         "keypoint-detection",
                                         "image-feature-extraction",
                                         "unconditional-image-generation",
                                         "text-to-3d",
                                         "image-to-3d",
                                         "robotics",
                                         "reinforcement-learning",
                                         "time-series-forecasting",
                                         "tabular-classification",
                                         "tabular-regression",
                                         NULL};
    return is_one_of(t, text) ? OF_TEXT : is_one_of(t, others) ? OF_OTHERS : NO_TASK;
}

void hub_task_by_tags(struct hub_model *m, const struct json *tags, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        str t = tags->items[i].s;
        if (!m->task.n && task_kind(t) != NO_TASK) m->task = t;
        if (!m->library.n && str_eqc(t, "diffusers")) m->library = t;
    }
}

bool hub_other_task(const struct hub_model *m)
{
    return task_kind(m->task) == OF_OTHERS || str_eqc(m->library, "diffusers");
}

/* The tag that the Hub itself makes of model_type: of repositories for transformers the first one
 * behind what they are stored as, unless that is a task. */
static str type_tag(const struct json *tags, size_t n)
{
    static const char *const stored[] = {"transformers", "pytorch", "tf",          "jax",
                                         "safetensors",  "rust",    "onnx",        "openvino",
                                         "coreml",       "tflite",  "tensorboard", "custom_code",
                                         "mlx",          "peft",    "joblib",      NULL};
    size_t i = 0;
    while (i < n && is_one_of(tags->items[i].s, stored))
        i++;
    bool type = i < n && i && str_eqc(tags->items[0].s, "transformers") && tags->items[i].s.n > 2 &&
                task_kind(tags->items[i].s) == NO_TASK;
    return type ? str_sub(tags->items[i].s, 0, LIMIT_HUB_STR) : (str){0};
}

/* A tag is the weakest word on the architecture: people write names of families there, too. */
void hub_arch_by_tags(struct hub_model *m, const struct json *tags, size_t n)
{
    if (m->arch.n) return;
    str type = m->formats & 1u << FILENAME_GGUF ? (str){0} : type_tag(tags, n);
    if (type.n) {
        hub_take_arch(m, type);
        return;
    }
    for (size_t i = 0; i < n && !m->arch.n; i++) {
        str t = tags->items[i].s;
        bool word = t.n > 2 && t.n < 40 && !memchr(t.p, ':', t.n); /* "dataset:x" is none */
        if (word && hub_family(t)) hub_take_arch(m, t);
    }
}

/* ---- names ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* May a word end before character i: at a separator, or before digits. */
static bool word_ends(str s, size_t i)
{
    return i == s.n || between(s.p[i]) || (is_digit(s.p[i]) && !is_digit(s.p[i - 1]));
}

/* A version behind a word that names no family together with it: families keep their name for a
 * while, and from the fourth on it mostly is another one. ".5" is none. */
static bool later_version(str rest)
{
    size_t i = rest.n && between(rest.p[0]) && rest.p[0] != '.' ? 1 : 0;
    if (i + 1 < rest.n && (rest.p[i] == 'v' || rest.p[i] == 'V')) i++;
    return i < rest.n && rest.p[i] > '3' && is_digit(rest.p[i]) &&
           (i + 1 == rest.n || between(rest.p[i + 1]));
}

/* "Qwen3.6": of the rows that are a word and a digit, the last that is not later. */
static const struct family *minor_of(const struct family *f, str rest)
{
    char name[24];
    size_t n = strlen(f->name);
    if (rest.n < 2 || rest.p[0] != '.' || !is_digit(rest.p[1]) || n + 2 > sizeof name) return f;
    if (rest.n > 2 && !between(rest.p[2])) return f;
    memcpy(name, f->name, n);
    name[n + 1] = 0;
    for (char c = rest.p[1]; c > '0'; c--) {
        name[n] = c;
        if (family_find(str_c(name))) return family_find(str_c(name));
    }
    return f;
}

/* The longest word at i that is a family's. */
static const struct family *family_at(str name, size_t i, str *word)
{
    const struct family *found = NULL;
    for (size_t end = i + 2; end <= name.n && end <= i + 24; end++) {
        str w = str_sub(name, i, end - i), rest = str_sub(name, end, name.n);
        const struct family *f;
        if (!word_ends(name, end) || between(w.p[w.n - 1]) || !(f = hub_family(w))) continue;
        found = later_version(rest) ? NULL : minor_of(f, rest);
        *word = w;
    }
    return found;
}

/* "8B" or "1.5B", whole. */
static bool is_size(str s)
{
    size_t i = 0;
    while (i < s.n && (is_digit(s.p[i]) || (i && s.p[i] == '.')))
        i++;
    return i && i + 1 == s.n && (s.p[i] == 'B' || s.p[i] == 'b' || s.p[i] == 'M' || s.p[i] == 'm');
}

/* One of the next words is a size: what stands before it is the model, and no teacher of it. */
static bool size_follows(str rest)
{
    for (int i = 0; i < 4 && rest.n; i++) {
        size_t n = 0;
        while (n < rest.n && rest.p[n] != '-' && rest.p[n] != '_' && rest.p[n] != ' ')
            n++;
        if (is_size(str_sub(rest, 0, n))) return true;
        rest = str_sub(rest, n + 1, rest.n);
    }
    return false;
}

/* The first word of a name that is a family's, rather one with a size behind it. */
static const struct family *family_in(str name, str *word)
{
    const struct family *found = NULL;
    for (size_t i = 0; i < name.n; i++) {
        const struct family *f;
        str w;
        if (between(name.p[i]) || (i && !between(name.p[i - 1])) || !(f = family_at(name, i, &w)))
            continue;
        bool sized = size_follows(str_sub(name, i + w.n, name.n));
        if (found && !sized) continue;
        found = f;
        *word = w;
        if (sized) break;
    }
    return found;
}

/* The last resort. Of a distillation the student counts, known or not. */
static const struct family *family_of_name(str name, str *word)
{
    size_t at = str_find(name, S("Distill-"), 0);
    str student = at == SIZE_MAX ? (str){0} : str_sub(name, at + 8, name.n);
    const struct family *f = family_in(student, word);
    return f || size_follows(student) ? f : family_in(name, word);
}

/* "A3B" in a name: the family's mixtures have a row of their own. */
static const struct family *mixture_of(struct arena *a, const struct family *f)
{
    str name = f ? arena_printf(a, "%smoe", f->name) : (str){0};
    const struct family *moe = name.n ? family_find(name) : NULL;
    return moe ? moe : f;
}

void hub_arch_by_name(struct hub_model *m, struct arena *a, const struct filename *id)
{
    str own, first = str_cut(m->id, '/', &own), word = {0};
    if (m->arch.n || !(m->formats & 1u << FILENAME_GGUF)) return;
    m->family = family_of_name(own.p ? own : first, &word);
    if (id->params_active) m->family = mixture_of(a, m->family);
    if (m->family) m->arch = word;
    m->arch_by_name = m->family != NULL;
}
