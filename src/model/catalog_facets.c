/* catalog_facets: counts of values, each facet without its own filter. See catalog_find.c.
 *
 * A set passes the filters on format, on quantisation and on machines; for the facet of one of them
 * that one is left out. What a row adds to a facet of sets is collected as bits over its sets, so
 * that it counts once for a value however many of its sets have it.
 */
#include <string.h>

#include "model/catalog_int.h"

#define QUANT_WORDS ((UINT8_MAX + 1) / 64)

struct tally {
    struct catalog_filter f;
    uint64_t *words[CATALOG_DICTS]; /* [code] */
    uint64_t can[8], gated[2], size[16], context[16], format[FILENAME_FORMATS];
    uint64_t machine[LIMIT_INDEX_DEVICES], backend[LIMIT_INDEX_DEVICES];
    /* The first machine of the same name, and of the same back end. */
    uint8_t machine_of[LIMIT_INDEX_DEVICES], backend_of[LIMIT_INDEX_DEVICES];
};

/* What the sets of one row have, with the filter of that facet left out. */
struct values {
    bool any; /* a set that passes all filters */
    unsigned formats;
    uint64_t quants[QUANT_WORDS], machines, backends;
};

static bool shown(const struct catalog_filter *f, size_t set, uint64_t machines)
{
    return catalog_shows(f, f->v && (f->v->runs[set] & machines),
                         f->v && (f->v->fits[set] & machines));
}

/* The machines that speak for a set: those it fits on, with fits=false also those it runs on. */
static uint64_t speakers(const struct catalog_filter *f, size_t set)
{
    if (!f->v) return 0;
    return f->too_large && !f->all ? f->v->runs[set] : f->v->fits[set];
}

/* Without filters on sets: whether a set counts is one mask. */
static void gather_all(const struct catalog_filter *f, size_t row, struct values *v)
{
    const struct catalog_hot *h = &f->c->hot[row];
    const uint64_t *does = f->v ? (f->too_large && !f->all ? f->v->runs : f->v->fits) : NULL;
    uint64_t machines = 0;
    for (size_t i = h->first_set; i < (size_t)h->first_set + h->n_sets; i++) {
        uint8_t q = f->c->key[i].quant;
        if (does) machines |= does[i];
        if (does && !f->all && !(does[i] & f->machines)) continue;
        v->any = true;
        v->formats |= catalog_set_formats(f->c, row, i);
        v->quants[q / 64] |= (uint64_t)1 << (q % 64);
    }
    v->machines = machines & f->on_backend;
    v->backends = machines & f->on_machine;
}

static void gather(const struct catalog_filter *f, size_t row, struct values *v)
{
    const struct catalog_hot *h = &f->c->hot[row];
    for (size_t i = h->first_set; i < (size_t)h->first_set + h->n_sets; i++) {
        uint64_t within = catalog_set_within(f, row, i);
        bool format = catalog_set_format(f, row, i), quant = catalog_set_quant(f, i);
        uint8_t q = f->c->key[i].quant;
        if (!within || (!format && !quant)) continue;
        if (format && quant) {
            uint64_t bits = speakers(f, i) & within;
            v->machines |= bits & f->on_backend;
            v->backends |= bits & f->on_machine;
        }
        if (f->machines) within &= f->machines;
        if (!within || !shown(f, i, within & f->machines)) continue;
        v->any |= format && quant;
        if (quant) v->formats |= catalog_set_formats(f->c, row, i);
        if (format) v->quants[q / 64] |= (uint64_t)1 << (q % 64);
    }
}

static void add_bits(uint64_t *count, uint64_t bits)
{
    for (; bits; bits &= bits - 1)
        count[__builtin_ctzll(bits)]++;
}

static uint64_t firsts(uint64_t machines, const uint8_t *first)
{
    uint64_t bits = 0;
    for (; machines; machines &= machines - 1)
        bits |= (uint64_t)1 << first[__builtin_ctzll(machines)];
    return bits;
}

static void add_sets(struct tally *t, const struct values *v)
{
    add_bits(t->format, v->formats);
    for (int i = 0; i < QUANT_WORDS; i++)
        add_bits(t->words[CATALOG_D_QUANT] + (size_t)i * 64, v->quants[i]);
    add_bits(t->machine, firsts(v->machines, t->machine_of));
    add_bits(t->backend, firsts(v->backends, t->backend_of));
}

/* The facets of rows that are bits of `which`. */
static void add_row(struct tally *t, size_t row, uint32_t which)
{
    const struct catalog *c = t->f.c;
    const struct catalog_hot *h = &c->hot[row];
    for (int i = 0; i < CATALOG_D_LANGUAGE; i++)
        if (which >> i & 1) t->words[i][h->word[i]]++;
    if (which >> CATALOG_D_LANGUAGE & 1)
        for (uint32_t i = 0; i < h->n_languages; i++)
            t->words[CATALOG_D_LANGUAGE][c->language[h->first_language + i]]++;
    if (which >> CATALOG_F_CAPABILITY & 1) add_bits(t->can, h->can);
    if (which >> CATALOG_F_GATED & 1) t->gated[h->gated]++;
    if (which >> CATALOG_F_SIZE & 1) t->size[h->size]++;
    if (which >> CATALOG_F_CONTEXT & 1) t->context[h->context]++;
}

static void pass(struct tally *t)
{
    const struct catalog *c = t->f.c;
    for (size_t row = 0; row < c->n; row++) {
        uint32_t fails = catalog_row_fails(&t->f, row);
        struct values v = {0};
        if (fails == CATALOG_FAILS) continue;
        if (fails && !t->f.by_set)
            v.any = catalog_look(&t->f, row).seen == CATALOG_SHOWN;
        else if (t->f.by_set)
            gather(&t->f, row, &v);
        else
            gather_all(&t->f, row, &v);
        if (v.any) add_row(t, row, fails ? fails : UINT32_MAX);
        if (!fails) add_sets(t, &v);
    }
}

/* ---- values in their order ---- */

struct list {
    struct catalog_count *v;
    size_t n, cap, more;
};

/* Most frequent first; of the same count by name. Beyond the cap the last falls out, but for those
 * that the query names, which a person has to see to take them back. */
static void insert(struct list *l, const struct catalog_count *one)
{
    size_t at = l->n;
    if (l->n == l->cap) {
        size_t last = l->n;
        while (last && l->v[last - 1].chosen)
            last--;
        const struct catalog_count *least = last ? &l->v[last - 1] : NULL;
        bool in = one->chosen ||
                  (least && (one->count > least->count || (one->count == least->count &&
                                                           str_cmp(one->value, least->value) < 0)));
        l->more++;
        if (!in || !last) return;
        memmove(&l->v[last - 1], &l->v[last], (l->n - last) * sizeof *l->v);
        at = --l->n;
    }
    while (at && (l->v[at - 1].count < one->count || (l->v[at - 1].count == one->count &&
                                                      str_cmp(l->v[at - 1].value, one->value) > 0)))
        at--;
    memmove(&l->v[at + 1], &l->v[at], (l->n - at) * sizeof *l->v);
    l->v[at] = *one;
    l->n++;
}

static bool chosen(const struct tally *t, enum catalog_field field, str value)
{
    const struct catalog_list *l = &t->f.q->list[field];
    for (size_t i = 0; i < l->n; i++)
        if (str_ieq(l->v[i], value)) return true;
    return false;
}

static void most_frequent(struct tally *t, enum catalog_field field, str value, uint64_t count,
                          struct list *l)
{
    struct catalog_count one = {value, count, chosen(t, field, value)};
    if (value.n && (count || one.chosen)) insert(l, &one);
}

/* All values of a range are there, those of no row too: a person sees the scale. */
static void in_order(struct tally *t, enum catalog_field field, str value, uint64_t count,
                     struct list *l)
{
    l->v[l->n++] = (struct catalog_count){value, count, chosen(t, field, value)};
}

static void of_words(struct tally *t, enum catalog_field field, enum catalog_words d,
                     struct list *l)
{
    const struct catalog_dict *dict = &t->f.c->dict[d];
    for (uint32_t code = 1; code < dict->n && (d != CATALOG_D_QUANT || code <= UINT8_MAX); code++)
        if (t->words[d][code] || t->f.q->list[field].n)
            most_frequent(t, field, catalog_dict_word(dict, code), t->words[d][code], l);
}

static void of_machines(struct tally *t, enum catalog_field field, struct list *l)
{
    const struct catalog *c = t->f.c;
    for (size_t i = 0; i < c->n_devices; i++) {
        if (field == CATALOG_MACHINE && t->machine_of[i] == i)
            in_order(t, field, c->device[i].device.name, t->machine[i], l);
        else if (field == CATALOG_BACKEND && t->backend_of[i] == i)
            in_order(t, field, c->device[i].backend, t->backend[i], l);
    }
}

static void of_gated(struct tally *t, struct list *l)
{
    bool given = t->f.q->given >> CATALOG_GATED & 1;
    for (uint64_t yes = 0; yes < 2; yes++)
        l->v[l->n++] = (struct catalog_count){yes ? S("true") : S("false"), t->gated[yes],
                                              given && t->f.q->number[CATALOG_GATED] == yes};
}

static void of_field(struct tally *t, enum catalog_field field, struct list *l)
{
    const char *name;
    switch (field) {
    case CATALOG_ARCHITECTURE: of_words(t, field, CATALOG_D_ARCHITECTURE, l); break;
    case CATALOG_FAMILY: of_words(t, field, CATALOG_D_FAMILY, l); break;
    case CATALOG_AUTHOR: of_words(t, field, CATALOG_D_AUTHOR, l); break;
    case CATALOG_LICENCE: of_words(t, field, CATALOG_D_LICENCE, l); break;
    case CATALOG_TASK: of_words(t, field, CATALOG_D_TASK, l); break;
    case CATALOG_LANGUAGE: of_words(t, field, CATALOG_D_LANGUAGE, l); break;
    case CATALOG_QUANT: of_words(t, field, CATALOG_D_QUANT, l); break;
    case CATALOG_CAPABILITY:
        for (unsigned i = 0; (name = catalog_can_name(i)); i++)
            in_order(t, field, str_c(name), t->can[i], l);
        break;
    case CATALOG_SIZE:
        for (unsigned i = 0; (name = catalog_bucket_name(CATALOG_K_SIZES, i)); i++)
            in_order(t, field, str_c(name), t->size[i], l);
        break;
    case CATALOG_CONTEXT:
        for (unsigned i = 0; (name = catalog_bucket_name(CATALOG_K_CONTEXTS, i)); i++)
            in_order(t, field, str_c(name), t->context[i], l);
        break;
    case CATALOG_FORMAT:
        for (int i = 1; i < FILENAME_FORMATS; i++)
            most_frequent(t, field, str_c(filename_format_name((enum filename_format)i)),
                          t->format[i], l);
        break;
    case CATALOG_GATED: of_gated(t, l); break;
    default: of_machines(t, field, l);
    }
}

enum err catalog_facets(struct catalog *c, const struct catalog_query *q, struct arena *a,
                        struct catalog_facets *out, struct err_info *e)
{
    struct catalog_facet *facet = ARENA_NEW(a, struct catalog_facet, CATALOG_FIELDS);
    struct tally *t = ARENA_NEW(a, struct tally, 1);
    enum err err;
    *out = (struct catalog_facets){0};
    if (!facet || !t) return ERR_FAIL(e, NOMEM, "no memory for facets");
    if ((err = catalog_filter_init(&t->f, c, q, a, e))) return err;
    for (int i = 0; i < CATALOG_DICTS; i++) {
        size_t n = i == CATALOG_D_QUANT ? UINT8_MAX + 1 : c->dict[i].n;
        t->words[i] = ARENA_NEW(a, uint64_t, n);
        if (!t->words[i]) return ERR_FAIL(e, NOMEM, "no memory for facets");
    }
    for (size_t i = 0; i < c->n_devices; i++) {
        size_t k = 0;
        while (!str_ieq(c->device[k].backend, c->device[i].backend))
            k++;
        t->backend_of[i] = (uint8_t)k;
        for (k = 0; !str_ieq(c->device[k].device.name, c->device[i].device.name);)
            k++;
        t->machine_of[i] = (uint8_t)k;
    }
    pass(t);
    out->v = facet;
    for (int i = 0; i < CATALOG_FIELDS; i++) {
        struct list l = {.cap = LIMIT_INDEX_FACET};
        if (!catalog_field((enum catalog_field)i)->facet) continue;
        l.v = ARENA_NEW(a, struct catalog_count, l.cap + LIMIT_INDEX_DEVICES);
        if (!l.v) return ERR_FAIL(e, NOMEM, "no memory for facets");
        of_field(t, (enum catalog_field)i, &l);
        facet[out->n++] = (struct catalog_facet){(enum catalog_field)i, l.v, l.n, l.more};
    }
    return ERR_OK;
}
