/* catalog_filter: a query made ready, and its tests of rows and of sets.
 *
 * Words of a query become bits over the codes of a dictionary once, so that a row costs a few loads
 * and ands. A filter that a facet counts is answered with a bit of its own, because facets ask for
 * rows that fail no other filter than theirs; every other filter fails a row for good.
 */
#include <string.h>

#include "model/catalog_int.h"

#define GIVEN(f) ((uint64_t)1 << (f))

static bool given(const struct catalog_filter *f, enum catalog_field field)
{
    return (f->q->given & GIVEN(field)) != 0;
}

/* ---- making ---- */

/* The codes of the values of a field; a value that no row has has no code. */
static enum err codes_of(struct catalog_filter *f, enum catalog_field field,
                         enum catalog_words words, struct arena *a, struct err_info *e)
{
    const struct catalog_list *l = &f->q->list[field];
    const struct catalog_dict *d = &f->c->dict[words];
    if (!given(f, field)) return ERR_OK;
    uint64_t *bit = ARENA_NEW(a, uint64_t, d->n / 64 + 1);
    if (!bit) return ERR_FAIL(e, NOMEM, "no memory for a query");
    for (uint32_t code = 1; code < d->n; code++)
        for (size_t i = 0; i < l->n; i++)
            if (str_ieq(catalog_dict_word(d, code), l->v[i]))
                bit[code / 64] |= (uint64_t)1 << (code % 64);
    f->codes[words].bit = bit;
    return ERR_OK;
}

static enum err words_of(struct catalog_filter *f, struct arena *a, struct err_info *e)
{
    const struct catalog_list *l = &f->q->list[CATALOG_Q];
    for (size_t i = 0; i < l->n; i++) {
        str s = l->v[i];
        char *p = arena_alloc(a, s.n, 1);
        if (!p) return ERR_FAIL(e, NOMEM, "no memory for a query");
        for (size_t k = 0; k < s.n; k++)
            p[k] = catalog_fold(s.p[k]);
        f->word[f->n_words] = (str){p, s.n};
        f->pairs |= catalog_pairs(f->word[f->n_words++]);
    }
    return ERR_OK;
}

static unsigned buckets_of(const struct catalog_filter *f, enum catalog_field field,
                           enum catalog_kind kind)
{
    const struct catalog_list *l = &f->q->list[field];
    unsigned bits = 0;
    const char *name;
    for (unsigned i = 0; (name = catalog_bucket_name(kind, i)); i++)
        for (size_t k = 0; k < l->n; k++)
            if (str_eqc(l->v[k], name)) bits |= 1u << i;
    return bits;
}

static unsigned cans_of(const struct catalog_filter *f)
{
    const struct catalog_list *l = &f->q->list[CATALOG_CAPABILITY];
    unsigned bits = 0;
    const char *name;
    for (unsigned i = 0; (name = catalog_can_name(i)); i++)
        for (size_t k = 0; k < l->n; k++)
            if (str_eqc(l->v[k], name)) bits |= 1u << i;
    return bits;
}

static enum err machines_of(struct catalog_filter *f, struct err_info *e)
{
    const struct catalog_list *m = &f->q->list[CATALOG_MACHINE];
    const struct catalog_list *b = &f->q->list[CATALOG_BACKEND];
    const struct catalog *c = f->c;
    uint64_t every = c->n_devices ? UINT64_MAX >> (64 - c->n_devices) : 0;
    for (size_t i = 0; i < m->n; i++) {
        uint64_t named = 0;
        for (size_t k = 0; k < c->n_devices; k++)
            if (str_ieq(c->device[k].device.name, m->v[i])) named |= (uint64_t)1 << k;
        if (!named)
            return ERR_FAIL(e, INVALID,
                            "there is no machine '%.*s'; the facet 'machine' lists them",
                            STR(str_sub(m->v[i], 0, 80)));
        f->on_machine |= named;
    }
    for (size_t i = 0; i < b->n; i++)
        for (size_t k = 0; k < c->n_devices; k++)
            if (str_ieq(c->device[k].backend, b->v[i])) f->on_backend |= (uint64_t)1 << k;
    if (!m->n) f->on_machine = every;
    if (!b->n) f->on_backend = every;
    f->machines = f->on_machine & f->on_backend;
    return ERR_OK;
}

enum err catalog_filter_init(struct catalog_filter *f, struct catalog *c,
                             const struct catalog_query *q, struct arena *a, struct err_info *e)
{
    static const struct {
        enum catalog_field field;
        enum catalog_words words;
    } texts[] = {{CATALOG_ARCHITECTURE, CATALOG_D_ARCHITECTURE}, {CATALOG_FAMILY, CATALOG_D_FAMILY},
                 {CATALOG_BASE_MODEL, CATALOG_D_BASE_MODEL},     {CATALOG_AUTHOR, CATALOG_D_AUTHOR},
                 {CATALOG_LICENCE, CATALOG_D_LICENCE},           {CATALOG_TASK, CATALOG_D_TASK},
                 {CATALOG_LANGUAGE, CATALOG_D_LANGUAGE},         {CATALOG_QUANT, CATALOG_D_QUANT}};
    struct verdict_ask ask = catalog_query_ask(q, &c->ask);
    enum err err;
    *f = (struct catalog_filter){.c = c, .q = q};
    if ((err = catalog_verdicts_for(c, &ask, &f->v, e))) return err;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if ((err = codes_of(f, texts[i].field, texts[i].words, a, e))) return err;
    if ((err = words_of(f, a, e)) || (err = machines_of(f, e))) return err;
    f->sizes = buckets_of(f, CATALOG_SIZE, CATALOG_K_SIZES);
    f->contexts = buckets_of(f, CATALOG_CONTEXT, CATALOG_K_CONTEXTS);
    f->cans = cans_of(f);
    for (size_t i = 0; i < q->list[CATALOG_FORMAT].n; i++)
        f->formats |= 1u << filename_format_from(q->list[CATALOG_FORMAT].v[i]);
    f->all = given(f, CATALOG_ALL) && q->number[CATALOG_ALL];
    f->by_bytes = given(f, CATALOG_MIN_BYTES) || given(f, CATALOG_MAX_BYTES);
    f->by_memory = given(f, CATALOG_MAX_MEMORY);
    f->by_set = f->by_bytes || f->by_memory || given(f, CATALOG_FORMAT) || given(f, CATALOG_QUANT);
    f->too_large = given(f, CATALOG_FITS) && !q->number[CATALOG_FITS];
    return ERR_OK;
}

/* ---- rows ---- */

static bool has_code(const struct catalog_codes *k, uint32_t code)
{
    return k->bit[code / 64] >> (code % 64) & 1;
}

static bool contains(str s, str word)
{
    const char *p = s.p, *end = s.p + s.n;
    while ((size_t)(end - p) >= word.n &&
           (p = memchr(p, word.p[0], (size_t)(end - p) - word.n + 1))) {
        if (!memcmp(p, word.p, word.n)) return true;
        p++;
    }
    return false;
}

static bool has_words(const struct catalog_filter *f, size_t row)
{
    str s = catalog_str(f->c, f->c->cold[row].search);
    for (size_t i = 0; i < f->n_words; i++)
        if (!contains(s, f->word[i])) return false;
    return true;
}

/* What is not said (0) is in no range. */
static bool in_range(const struct catalog_filter *f, enum catalog_field lo, enum catalog_field hi,
                     uint64_t n)
{
    if (given(f, lo) && (!n || n < f->q->number[lo])) return false;
    return !given(f, hi) || (n && n <= f->q->number[hi]);
}

/* From a day on, and before a day. */
static bool in_time(const struct catalog_filter *f, enum catalog_field lo, enum catalog_field hi,
                    int64_t t)
{
    if (given(f, lo) && (t <= 0 || (uint64_t)t < f->q->number[lo])) return false;
    return !given(f, hi) || (t > 0 && (uint64_t)t < f->q->number[hi]);
}

#define ROW_NUMBERS                                                                                \
    (GIVEN(CATALOG_MIN_PARAMS) | GIVEN(CATALOG_MAX_PARAMS) | GIVEN(CATALOG_MIN_ACTIVE) |           \
     GIVEN(CATALOG_MAX_ACTIVE) | GIVEN(CATALOG_MIN_CONTEXT) | GIVEN(CATALOG_CREATED_AFTER) |       \
     GIVEN(CATALOG_CREATED_BEFORE) | GIVEN(CATALOG_UPDATED_AFTER) | GIVEN(CATALOG_UPDATED_BEFORE))

static bool numbers(const struct catalog_filter *f, size_t row)
{
    const struct catalog_cold *d = &f->c->cold[row];
    const struct judge_model *m = &f->c->model[row];
    /* Of a model without experts all parameters are used. */
    uint64_t active = m->params_active ? m->params_active : m->params;
    return in_range(f, CATALOG_MIN_PARAMS, CATALOG_MAX_PARAMS, m->params) &&
           in_range(f, CATALOG_MIN_ACTIVE, CATALOG_MAX_ACTIVE, active) &&
           (!given(f, CATALOG_MIN_CONTEXT) || m->context >= f->q->number[CATALOG_MIN_CONTEXT]) &&
           in_time(f, CATALOG_CREATED_AFTER, CATALOG_CREATED_BEFORE, d->created) &&
           in_time(f, CATALOG_UPDATED_AFTER, CATALOG_UPDATED_BEFORE, d->updated);
}

static bool speaks(const struct catalog_filter *f, const struct catalog_hot *h)
{
    for (uint32_t i = 0; i < h->n_languages; i++)
        if (has_code(&f->codes[CATALOG_D_LANGUAGE], f->c->language[h->first_language + i]))
            return true;
    return false;
}

uint32_t catalog_row_fails(const struct catalog_filter *f, size_t row)
{
    const struct catalog_hot *h = &f->c->hot[row];
    uint32_t fails = 0;
    if ((h->pairs & f->pairs) != f->pairs) return CATALOG_FAILS;
    for (int i = 0; i < CATALOG_D_LANGUAGE; i++)
        if (f->codes[i].bit && !has_code(&f->codes[i], h->word[i])) fails |= 1u << i;
    /* The base model is the one dictionary that is no facet. */
    if (fails & 1u << CATALOG_D_BASE_MODEL) return CATALOG_FAILS;
    if (f->codes[CATALOG_D_LANGUAGE].bit && !speaks(f, h)) fails |= 1u << CATALOG_D_LANGUAGE;
    if ((h->can & f->cans) != f->cans) fails |= 1u << CATALOG_F_CAPABILITY;
    if (given(f, CATALOG_GATED) && h->gated != f->q->number[CATALOG_GATED])
        fails |= 1u << CATALOG_F_GATED;
    if (f->sizes && !(f->sizes >> h->size & 1)) fails |= 1u << CATALOG_F_SIZE;
    if (f->contexts && !(f->contexts >> h->context & 1)) fails |= 1u << CATALOG_F_CONTEXT;
    /* Beyond one facet nobody is interested. */
    if (fails & (fails - 1)) return CATALOG_FAILS;
    if ((f->q->given & ROW_NUMBERS) && !numbers(f, row)) return CATALOG_FAILS;
    return f->n_words && !has_words(f, row) ? CATALOG_FAILS : fails;
}

/* ---- sets ---- */

uint64_t catalog_set_bytes(const struct catalog_filter *f, size_t set)
{
    uint64_t bytes = f->c->set[set].bytes;
    return bytes || !f->v ? bytes : f->v->weights[set];
}

uint64_t catalog_set_limits(const struct catalog_filter *f, size_t row, size_t set)
{
    uint64_t within = 0, need;
    if (f->by_bytes &&
        !in_range(f, CATALOG_MIN_BYTES, CATALOG_MAX_BYTES, catalog_set_bytes(f, set)))
        return 0;
    if (!f->by_memory) return UINT64_MAX;
    if (!f->v || !f->v->weights[set]) return 0;
    for (size_t i = 0; i < f->c->n_devices; i++)
        if (!__builtin_add_overflow(f->v->weights[set], catalog_cell(f->c, f->v, row, i)->beside,
                                    &need) &&
            need <= f->q->number[CATALOG_MAX_MEMORY])
            within |= (uint64_t)1 << i;
    return within;
}
