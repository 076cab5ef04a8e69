/* catalog: rows in and out, and the memory that they lie in. See catalog.h and catalog_int.h.
 *
 * Everything that a put may need is reserved before anything is changed, so that a put that fails
 * leaves the catalogue as it was (a dictionary may then hold a word that no row has). Offsets are
 * 32 bits wide; LIMIT_INDEX_TEXT keeps them so.
 */
#include <string.h>

#include "base/mem.h"
#include "model/catalog_int.h"
#include "model/family.h"

#define LINE_BYTES 64 /* of the name of a line of architectures */

/* Room for `need` items in an array that grows by half; false: no memory. */
static bool grow(void **p, size_t *size, size_t need, size_t item)
{
    size_t n = *size + *size / 2 + 64, bytes;
    if (need <= *size) return true;
    if (n < need) n = need;
    if (!mem_mul(n, item, &bytes)) return false;
    void *q = mem_resize(*p, bytes);
    if (!q) return false;
    *p = q;
    *size = n;
    return true;
}

/* ---- dictionaries ---- */

str catalog_dict_word(const struct catalog_dict *d, uint32_t code)
{
    if (code >= d->n) return S("");
    return (str){d->text + d->at[code], d->at[code + 1] - d->at[code]};
}

static char lower(char ch)
{
    return ch >= 'A' && ch <= 'Z' ? (char)(ch + ('a' - 'A')) : ch;
}

/* The slot of a word, or the free one where it would go. Words that differ in case are one, as they
 * are for filters; FNV-1a over lower case. */
static uint32_t *dict_slot(const struct catalog_dict *d, str word)
{
    uint32_t hash = 2166136261u;
    for (size_t k = 0; k < word.n; k++)
        hash = (hash ^ (unsigned char)lower(word.p[k])) * 16777619u;
    uint32_t i = (hash ^ hash >> 16) & (d->n_slots - 1);
    while (d->slot[i] && !str_ieq(catalog_dict_word(d, d->slot[i] - 1), word))
        i = (i + 1) & (d->n_slots - 1);
    return &d->slot[i];
}

static bool dict_rehash(struct catalog_dict *d)
{
    uint32_t n = d->n_slots ? d->n_slots * 2 : 64;
    uint32_t *slot = mem_array(n, sizeof *slot);
    if (!slot) return false;
    mem_free(d->slot);
    d->slot = slot;
    d->n_slots = n;
    for (uint32_t code = 0; code < d->n; code++)
        *dict_slot(d, catalog_dict_word(d, code)) = code + 1;
    return true;
}

static bool dict_room(struct catalog_dict *d, size_t bytes)
{
    size_t text = d->size_text, at = d->size;
    if ((d->n + 1) * 2 > d->n_slots && !dict_rehash(d)) return false;
    bool ok = d->n_text + bytes <= UINT32_MAX / 4 &&
              grow((void **)&d->text, &text, d->n_text + bytes + 1, 1);
    if (ok) d->size_text = (uint32_t)text;
    ok = ok && grow((void **)&d->at, &at, (size_t)d->n + 2, sizeof *d->at);
    if (ok) d->size = (uint32_t)at;
    return ok;
}

/* The code of a word, which is added where it is new. */
static bool dict_code(struct catalog_dict *d, str word, uint32_t *code)
{
    if (!d->n_slots && !dict_rehash(d)) return false;
    uint32_t *slot = dict_slot(d, word);
    if (!*slot) {
        if (!dict_room(d, word.n)) return false;
        slot = dict_slot(d, word);
        if (!d->n) d->at[0] = 0;
        if (word.n) memcpy(d->text + d->n_text, word.p, word.n);
        d->n_text += (uint32_t)word.n;
        d->at[++d->n] = d->n_text;
        *slot = d->n;
    }
    *code = *slot - 1;
    return true;
}

static void dict_fini(struct catalog_dict *d)
{
    mem_free(d->text);
    mem_free(d->at);
    mem_free(d->slot);
}

/* ---- ids ---- */

/* The slot of an id, or the free one where it would go; there is always a free one. */
static size_t id_slot(const struct catalog *c, str id)
{
    size_t i = (size_t)str_hash(id) & (c->n_slots - 1);
    while (c->slot[i] && !str_eq(catalog_str(c, c->cold[c->slot[i] - 1].id), id))
        i = (i + 1) & (c->n_slots - 1);
    return i;
}

size_t catalog_row_of(const struct catalog *c, str id)
{
    if (!c->n_slots) return SIZE_MAX;
    uint32_t row = c->slot[id_slot(c, id)];
    return row ? row - 1 : SIZE_MAX;
}

static bool id_room(struct catalog *c)
{
    if ((c->n + 1) * 2 <= c->n_slots) return true;
    size_t n = c->n_slots ? c->n_slots * 2 : 256;
    uint32_t *slot = mem_array(n, sizeof *slot);
    if (!slot) return false;
    mem_free(c->slot);
    c->slot = slot;
    c->n_slots = n;
    for (size_t r = 0; r < c->n; r++)
        c->slot[id_slot(c, catalog_str(c, c->cold[r].id))] = (uint32_t)r + 1;
    return true;
}

/* Frees a slot and moves up what probed past it. */
static void id_drop(struct catalog *c, size_t i)
{
    size_t mask = c->n_slots - 1, k = i;
    c->slot[i] = 0;
    while (c->slot[k = (k + 1) & mask]) {
        str id = catalog_str(c, c->cold[c->slot[k] - 1].id);
        size_t home = (size_t)str_hash(id) & mask;
        if (((k - home) & mask) < ((k - i) & mask)) continue;
        c->slot[i] = c->slot[k];
        c->slot[k] = 0;
        i = k;
    }
}

/* ---- what searches see ---- */

char catalog_fold(char ch)
{
    return ch == '_' ? '-' : lower(ch);
}

uint64_t catalog_pairs(str folded)
{
    uint64_t bits = 0;
    for (size_t i = 1; i < folded.n; i++) {
        uint32_t pair = (uint32_t)(unsigned char)folded.p[i - 1] << 8 | (unsigned char)folded.p[i];
        bits |= (uint64_t)1 << (pair * 2654435761u >> 26);
    }
    return bits;
}

/* The line of architectures that one belongs to, in lower case: the letters before the first digit,
 * without what only says how its layers are made, or that it is the name of a class. */
static str line_of(str arch, char out[LINE_BYTES])
{
    static const char *const classes[] = {"For", "LMHead", "Model"};
    static const char *const ends[] = {"moe", "hybrid", "vl", "-embedding", "-dense",
                                       "-v",  "-h",     "-m", "-"};
    size_t n = 0;
    while (n < arch.n && (arch.p[n] < '0' || arch.p[n] > '9'))
        n++;
    str line = str_sub(arch, 0, n);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        size_t at = str_find(line, str_c(classes[i]), 1);
        if (at != SIZE_MAX) line.n = at;
    }
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (str_ends(line, str_c(ends[i])) && line.n >= strlen(ends[i]) + 3)
            line.n -= strlen(ends[i]);
    if (line.n < 2) line = arch; /* "t5" */
    if (line.n > LINE_BYTES) line.n = LINE_BYTES;
    for (size_t i = 0; i < line.n; i++)
        out[i] = line.p[i] == '_' ? '-' : lower(line.p[i]);
    return (str){out, line.n};
}

/* ---- room ---- */

static enum err no_memory(const struct catalog *c, struct err_info *e)
{
    return ERR_FAIL(e, NOMEM, "no memory for a catalogue of more than %zu models", c->n);
}

static size_t weight_sets(const struct hub_model *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_sets; i++)
        n += m->sets[i].kind == FILENAME_WEIGHTS;
    return n;
}

static bool full(const struct catalog *c, size_t sets, size_t languages, size_t text)
{
    return c->n_sets + sets > LIMIT_INDEX_SETS || c->n_languages + languages > LIMIT_INDEX_SETS ||
           c->n_text + text > LIMIT_INDEX_TEXT;
}

static enum err room(struct catalog *c, size_t sets, size_t languages, size_t text,
                     struct err_info *e)
{
    size_t rows = c->size, judges = c->size_sets, keys = judges;
    if (full(c, sets, languages, text))
        return ERR_FAIL(e, LIMIT,
                        "a catalogue holds at most %u sets of files and %zu bytes of names",
                        LIMIT_INDEX_SETS, LIMIT_INDEX_TEXT);
    /* Arrays of one length keep one size, which is set when the last of them has grown. */
    size_t hot = rows, cold = rows;
    bool ok = id_room(c) && grow((void **)&c->hot, &hot, c->n + 1, sizeof *c->hot) &&
              grow((void **)&c->cold, &cold, c->n + 1, sizeof *c->cold) &&
              grow((void **)&c->model, &rows, c->n + 1, sizeof *c->model);
    if (ok) c->size = rows;
    ok = ok && grow((void **)&c->judge, &judges, c->n_sets + sets, sizeof *c->judge) &&
         grow((void **)&c->key, &keys, c->n_sets + sets, sizeof *c->key) &&
         grow((void **)&c->set, &c->size_sets, c->n_sets + sets, sizeof *c->set) &&
         grow((void **)&c->language, &c->size_languages, c->n_languages + languages,
              sizeof *c->language) &&
         grow((void **)&c->text, &c->size_text, c->n_text + text, 1);
    return ok ? ERR_OK : no_memory(c, e);
}

/* ---- rewriting without gaps ---- */

static struct catalog_text move_text(char *to, size_t *n, const struct catalog *c,
                                     struct catalog_text t)
{
    struct catalog_text moved = {(uint32_t)*n, t.n};
    if (t.n) memcpy(to + *n, c->text + t.at, t.n);
    *n += t.n;
    return moved;
}

static void move_row(struct catalog *c, size_t r, struct catalog *to)
{
    struct catalog_hot *h = &c->hot[r];
    c->cold[r].id = move_text(to->text, &to->n_text, c, c->cold[r].id);
    c->cold[r].search = move_text(to->text, &to->n_text, c, c->cold[r].search);
    for (uint32_t i = 0; i < h->n_sets; i++) {
        to->judge[to->n_sets + i] = c->judge[h->first_set + i];
        to->key[to->n_sets + i] = c->key[h->first_set + i];
        to->set[to->n_sets + i] = c->set[h->first_set + i];
        to->set[to->n_sets + i].name =
            move_text(to->text, &to->n_text, c, c->set[h->first_set + i].name);
    }
    if (h->n_languages)
        memcpy(to->language + to->n_languages, c->language + h->first_language,
               h->n_languages * sizeof *c->language);
    h->first_set = (uint32_t)to->n_sets;
    h->first_language = (uint32_t)to->n_languages;
    to->n_sets += h->n_sets;
    to->n_languages += h->n_languages;
}

/* Without memory for a second copy the gaps stay. */
static void compact(struct catalog *c)
{
    struct catalog to = {0};
    bool ok =
        grow((void **)&to.text, &to.size_text, c->live_text + 1, 1) &&
        grow((void **)&to.judge, &to.size_sets, c->live_sets + 1, sizeof *to.judge) &&
        grow((void **)&to.language, &to.size_languages, c->live_languages + 1, sizeof *to.language);
    if (ok) {
        to.set = mem_array(to.size_sets, sizeof *to.set);
        to.key = mem_array(to.size_sets, sizeof *to.key);
    }
    if (!ok || !to.set || !to.key) {
        mem_free(to.text);
        mem_free(to.set);
        mem_free(to.key);
        mem_free(to.judge);
        mem_free(to.language);
        return;
    }
    for (size_t r = 0; r < c->n; r++)
        move_row(c, r, &to);
    mem_free(c->text);
    mem_free(c->judge);
    mem_free(c->set);
    mem_free(c->key);
    mem_free(c->language);
    c->text = to.text;
    c->key = to.key;
    c->judge = to.judge;
    c->set = to.set;
    c->language = to.language;
    c->n_text = to.n_text;
    c->n_sets = to.n_sets;
    c->n_languages = to.n_languages;
    c->size_text = to.size_text;
    c->size_sets = to.size_sets;
    c->size_languages = to.size_languages;
}

static bool gaps(const struct catalog *c)
{
    return (c->n_text > 2 * c->live_text && c->n_text > MIB(1)) ||
           (c->n_sets > 2 * c->live_sets && c->n_sets > 4096) ||
           (c->n_languages > 2 * c->live_languages && c->n_languages > 4096);
}

/* ---- one row ---- */

struct codes {
    uint32_t word[CATALOG_D_LANGUAGE], library;
};

static bool codes_of(struct catalog *c, const struct hub_model *m, struct codes *k)
{
    str arch = m->family ? str_c(m->family->name) : m->arch;
    char line[LINE_BYTES];
    const str word[CATALOG_D_LANGUAGE] = {arch,      line_of(arch, line), m->base_model,
                                          m->author, m->licence,          m->task};
    uint32_t code;
    for (int i = 0; i < CATALOG_D_LANGUAGE; i++)
        if (!dict_code(&c->dict[i], word[i], &k->word[i])) return false;
    for (size_t i = 0; i < m->n_languages; i++)
        if (!dict_code(&c->dict[CATALOG_D_LANGUAGE], m->languages[i], &code)) return false;
    for (size_t i = 0; i < m->n_sets; i++)
        if (!dict_code(&c->dict[CATALOG_D_QUANT], str_c(m->sets[i].quant), &code)) return false;
    /* So that code 0 is the empty word, whatever came first. */
    return dict_code(&c->dict[CATALOG_D_LIBRARY], m->library, &k->library);
}

static struct catalog_text put_text(struct catalog *c, str s)
{
    struct catalog_text t = {(uint32_t)c->n_text, (uint32_t)s.n};
    if (s.n) memcpy(c->text + c->n_text, s.p, s.n);
    c->n_text += s.n;
    return t;
}

static struct catalog_text put_search(struct catalog *c, const struct hub_model *m)
{
    const str part[] = {m->id, str_starts(m->id, m->author) ? S("") : m->author, m->base_model};
    struct catalog_text t = {(uint32_t)c->n_text, 0};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        if (i) c->text[c->n_text++] = '\n';
        for (size_t k = 0; k < part[i].n; k++)
            c->text[c->n_text++] = catalog_fold(part[i].p[k]);
    }
    t.n = (uint32_t)(c->n_text - t.at);
    return t;
}

static void put_sets(struct catalog *c, const struct hub_model *m, struct catalog_hot *h)
{
    h->first_set = (uint32_t)c->n_sets;
    for (size_t i = 0; i < m->n_sets; i++) {
        const struct hub_set *s = &m->sets[i];
        uint32_t quant = 0;
        if (s->kind != FILENAME_WEIGHTS || !s->format) continue;
        /* The word is there: codes_of() added it. */
        if (!dict_code(&c->dict[CATALOG_D_QUANT], str_c(s->quant), &quant) || quant > UINT8_MAX)
            quant = 0;
        c->set[c->n_sets] = (struct catalog_set){put_text(c, s->name), s->bytes};
        c->key[c->n_sets] = (struct catalog_key){(uint8_t)quant, (uint8_t)s->format};
        judge_set_from(&c->judge[c->n_sets++], s);
    }
    if (c->n_sets == h->first_set) {
        c->set[c->n_sets] = (struct catalog_set){0};
        c->key[c->n_sets] = (struct catalog_key){0};
        c->judge[c->n_sets++] =
            (struct judge_set){.kind = FILENAME_WEIGHTS, .dtype = DTYPE_COUNT, .whole = true};
    }
    h->n_sets = (uint32_t)(c->n_sets - h->first_set);
}

static void put_languages(struct catalog *c, const struct hub_model *m, struct catalog_hot *h)
{
    h->first_language = (uint32_t)c->n_languages;
    for (size_t i = 0; i < m->n_languages && h->n_languages < UINT16_MAX; i++) {
        uint32_t code = 0;
        bool twice = false;
        if (!dict_code(&c->dict[CATALOG_D_LANGUAGE], m->languages[i], &code) || !code) continue;
        for (uint32_t k = 0; k < h->n_languages && !twice; k++)
            twice = c->language[h->first_language + k] == code;
        if (twice) continue;
        c->language[c->n_languages++] = code;
        h->n_languages++;
    }
}

static void fill(struct catalog *c, size_t r, const struct hub_model *m,
                 const struct memory_shape *shape, const struct codes *k)
{
    struct catalog_hot *h = &c->hot[r];
    struct catalog_cold *d = &c->cold[r];
    *h = (struct catalog_hot){.can = (uint8_t)m->can,
                              .gated = m->gated,
                              .size = (uint8_t)catalog_size_bucket(m->params),
                              .context = (uint8_t)catalog_context_bucket(m->context)};
    *d = (struct catalog_cold){.created = m->created,
                               .updated = m->updated,
                               .downloads = m->downloads,
                               .likes = m->likes,
                               .bytes = m->bytes,
                               .trending = m->trending,
                               .library = k->library,
                               .formats = m->formats};
    memcpy(h->word, k->word, sizeof h->word);
    d->id = put_text(c, m->id);
    d->search = put_search(c, m);
    h->pairs = catalog_pairs(catalog_str(c, d->search));
    put_sets(c, m, h);
    put_languages(c, m, h);
    judge_model_from(&c->model[r], m);
    if (shape) c->model[r].shape = *shape;
}

/* Counts what a row holds as live, or as gaps. */
static void account(struct catalog *c, size_t r, bool live)
{
    const struct catalog_hot *h = &c->hot[r];
    size_t text = c->cold[r].id.n + c->cold[r].search.n;
    for (uint32_t i = 0; i < h->n_sets; i++)
        text += c->set[h->first_set + i].name.n;
    c->live_text += live ? text : -text;
    c->live_sets += live ? h->n_sets : -(size_t)h->n_sets;
    c->live_languages += live ? h->n_languages : -(size_t)h->n_languages;
}

enum err catalog_put(struct catalog *c, const struct hub_model *m, const struct memory_shape *shape,
                     struct err_info *e)
{
    size_t text = 2 * m->id.n + m->author.n + m->base_model.n + 2, sets = weight_sets(m) + 1, r;
    struct codes k;
    enum err err;
    for (size_t i = 0; i < m->n_sets; i++)
        text += m->sets[i].name.n;
    if (!m->id.n) return ERR_FAIL(e, INVALID, "a model of a catalogue has no id");
    if (gaps(c) || (full(c, sets, m->n_languages, text) && c->n_text > c->live_text)) compact(c);
    if (catalog_row_of(c, m->id) == SIZE_MAX && c->n >= LIMIT_INDEX_ROWS)
        return ERR_FAIL(e, LIMIT, "a catalogue holds at most %u models", LIMIT_INDEX_ROWS);
    if ((err = room(c, sets, m->n_languages, text, e))) return err;
    if (!codes_of(c, m, &k)) return no_memory(c, e);
    size_t slot = id_slot(c, m->id);
    if (c->slot[slot]) {
        r = c->slot[slot] - 1;
        account(c, r, false);
    } else {
        r = c->n++;
        c->slot[slot] = (uint32_t)r + 1;
    }
    fill(c, r, m, shape, &k);
    account(c, r, true);
    c->revision++;
    return ERR_OK;
}

bool catalog_remove(struct catalog *c, str id)
{
    size_t r = catalog_row_of(c, id), last = c->n - 1;
    if (r == SIZE_MAX) return false;
    account(c, r, false);
    id_drop(c, id_slot(c, id));
    if (r != last) {
        c->slot[id_slot(c, catalog_str(c, c->cold[last].id))] = (uint32_t)r + 1;
        c->hot[r] = c->hot[last];
        c->cold[r] = c->cold[last];
        c->model[r] = c->model[last];
    }
    c->n--;
    c->revision++;
    return true;
}

/* ---- life cycle ---- */

struct catalog *catalog_new(void)
{
    struct catalog *c = mem_alloc(sizeof *c);
    bool ok = c != NULL;
    uint32_t code;
    for (int i = 0; ok && i < CATALOG_DICTS; i++)
        ok = dict_code(&c->dict[i], S(""), &code);
    if (!ok) {
        catalog_free(c);
        return NULL;
    }
    arena_init(&c->names, LIMIT_INDEX_NAMES);
    c->revision = 1;
    c->ask = (struct verdict_ask){.ktype = DTYPE_F16, .vtype = DTYPE_F16};
    return c;
}

void catalog_free(struct catalog *c)
{
    if (!c) return;
    for (int i = 0; i < CATALOG_DICTS; i++)
        dict_fini(&c->dict[i]);
    for (int i = 0; i < LIMIT_INDEX_ASKS; i++)
        catalog_verdicts_fini(&c->verdicts[i]);
    arena_fini(&c->names);
    mem_free(c->hot);
    mem_free(c->cold);
    mem_free(c->model);
    mem_free(c->slot);
    mem_free(c->set);
    mem_free(c->judge);
    mem_free(c->key);
    mem_free(c->language);
    mem_free(c->text);
    mem_free(c);
}

size_t catalog_count(const struct catalog *c)
{
    return c->n;
}

size_t catalog_sets(const struct catalog *c)
{
    return c->live_sets;
}
