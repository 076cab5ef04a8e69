/* catalog_find: pages and counts of facets.
 *
 * A page is one pass over all rows: each that passes the filters has its best set picked and is
 * shown or hidden; of the shown ones a heap keeps the first of the order behind the cursor. The
 * order is the sort key, then the id in lower case, then the id; ids are unique, so that it is
 * total, and a cursor is the key and the id of the last row of a page. What has no key comes last,
 * whatever the direction.
 *
 * Facets are one pass too: a row that fails no filter counts in all of them, a row that fails one
 * facet's own filter counts in that one.
 */
#include <string.h>

#include "base/mem.h"
#include "model/catalog_int.h"

#define GIVEN(f) ((uint64_t)1 << (f))
#define NO_KEY   UINT64_MAX

/* ---- why a row is hidden ---- */

static enum judge_why why_hidden(const struct catalog_filter *f, size_t row,
                                 const struct catalog_look *look)
{
    struct catalog_pick p;
    if (look->runs) return JUDGE_MEMORY;
    if (!f->by_set && f->machines >> f->v->row_machine[row] & 1)
        return (enum judge_why)catalog_cell(f->c, f->v, row, f->v->row_machine[row])->why;
    catalog_pick(f, row, look, &p);
    return p.out.why;
}

/* ---- order ---- */

struct entry {
    uint64_t key; /* smaller first */
    size_t row;
};

struct order {
    const struct catalog *c;
    enum catalog_sort by;
    bool ascending;
};

static int id_cmp(str a, str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    for (size_t i = 0; i < n; i++) {
        unsigned char x = (unsigned char)a.p[i], y = (unsigned char)b.p[i];
        if (x >= 'A' && x <= 'Z') x = (unsigned char)(x + 32);
        if (y >= 'A' && y <= 'Z') y = (unsigned char)(y + 32);
        if (x != y) return x < y ? -1 : 1;
    }
    return a.n != b.n ? (a.n < b.n ? -1 : 1) : str_cmp(a, b);
}

static int order_cmp(const struct order *o, uint64_t ka, str a, uint64_t kb, str b)
{
    if (ka != kb) return ka < kb ? -1 : 1;
    return o->by == CATALOG_BY_NAME && !o->ascending ? -id_cmp(a, b) : id_cmp(a, b);
}

static bool before(const struct order *o, const struct entry *a, const struct entry *b)
{
    if (a->key != b->key) return a->key < b->key;
    return order_cmp(o, 0, catalog_str(o->c, o->c->cold[a->row].id), 0,
                     catalog_str(o->c, o->c->cold[b->row].id)) < 0;
}

/* The heap's first entry is the last of the order. */
static void sink(const struct order *o, struct entry *heap, size_t n, size_t i)
{
    for (;;) {
        size_t k = 2 * i + 1;
        if (k >= n) return;
        if (k + 1 < n && before(o, &heap[k], &heap[k + 1])) k++;
        if (!before(o, &heap[i], &heap[k])) return;
        struct entry t = heap[i];
        heap[i] = heap[k];
        heap[k] = t;
        i = k;
    }
}

static void keep(const struct order *o, struct entry *heap, size_t *n, size_t cap,
                 const struct entry *one)
{
    if (*n < cap) {
        heap[(*n)++] = *one;
        if (*n == cap)
            for (size_t i = cap / 2 + 1; i-- > 0;)
                sink(o, heap, cap, i);
    } else if (before(o, one, &heap[0])) {
        heap[0] = *one;
        sink(o, heap, cap, 0);
    }
}

static void sort(const struct order *o, struct entry *heap, size_t n)
{
    for (size_t i = n / 2 + 1; i-- > 0;)
        sink(o, heap, n, i);
    for (size_t left = n; left > 1; left--) {
        struct entry t = heap[0];
        heap[0] = heap[left - 1];
        heap[left - 1] = t;
        sink(o, heap, left - 1, 0);
    }
}

/* The bits of a number of at least 0 are ordered as it is. */
static uint64_t bits_of(double d)
{
    uint64_t u;
    if (!(d > 0)) return 0;
    memcpy(&u, &d, sizeof u);
    return u;
}

/* Ids by their first bytes; the rest is compared where they are equal. */
static uint64_t name_key(str id)
{
    uint64_t key = 0;
    for (size_t i = 0; i < 7; i++) {
        char ch = i < id.n ? id.p[i] : 0;
        if (ch >= 'A' && ch <= 'Z') ch = (char)(ch + 32);
        key = key << 8 | (unsigned char)ch;
    }
    return key;
}

/* 0: the row has no such value. */
static uint64_t value_of(const struct catalog_filter *f, enum catalog_sort by, size_t row,
                         const struct catalog_look *look)
{
    const struct catalog_cold *d = &f->c->cold[row];
    struct catalog_pick p;
    switch (by) {
    case CATALOG_BY_TRENDING: return bits_of(d->trending);
    case CATALOG_BY_LIKES: return d->likes;
    case CATALOG_BY_UPDATED: return d->updated > 0 ? (uint64_t)d->updated : 0;
    case CATALOG_BY_CREATED: return d->created > 0 ? (uint64_t)d->created : 0;
    case CATALOG_BY_SIZE: catalog_pick(f, row, look, &p); return catalog_set_bytes(f, p.set);
    case CATALOG_BY_PARAMS: return f->c->model[row].params;
    case CATALOG_BY_SPEED: catalog_pick(f, row, look, &p); return bits_of((double)p.out.decode);
    case CATALOG_BY_NAME: return name_key(catalog_str(f->c, d->id)) + 1;
    default: return d->downloads;
    }
}

static uint64_t key_of(const struct catalog_filter *f, const struct order *o, size_t row,
                       const struct catalog_look *look)
{
    uint64_t v = value_of(f, o->by, row, look);
    if (!v) return NO_KEY;
    return o->ascending ? v - 1 : NO_KEY - v;
}

/* ---- cursors: "downloads-desc:KEY:ID", the key in hexadecimal ---- */

struct cursor {
    bool given;
    uint64_t key;
    str id;
};

static bool hex(str s, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        unsigned d = ch >= '0' && ch <= '9'   ? (unsigned)(ch - '0')
                     : ch >= 'a' && ch <= 'f' ? (unsigned)(ch - 'a') + 10
                                              : 16;
        if (d == 16) return false;
        *out = *out << 4 | d;
    }
    return s.n > 0 && s.n <= 16;
}

static const char *direction(const struct order *o)
{
    return o->ascending ? "asc" : "desc";
}

static enum err cursor_read(struct cursor *k, const struct order *o, str text, struct err_info *e)
{
    str rest, id, way, sort_way = str_cut(text, ':', &rest), key = str_cut(rest, ':', &id);
    str by = str_cut(sort_way, '-', &way);
    *k = (struct cursor){.given = text.n != 0, .id = id};
    if (!text.n) return ERR_OK;
    if (!id.n || !hex(key, &k->key))
        return ERR_FAIL(e, INVALID, "the query's field 'cursor' is none that a page gave");
    if (str_eqc(by, catalog_sort_name(o->by)) && str_eqc(way, direction(o))) return ERR_OK;
    return ERR_FAIL(e, INVALID,
                    "the query's field 'cursor' is of a page sorted by '%.*s', and this is "
                    "one by '%s-%s'",
                    STR(str_sub(sort_way, 0, 40)), catalog_sort_name(o->by), direction(o));
}

/* ---- rows as they are shown ---- */

static str word(const struct catalog *c, enum catalog_words d, uint32_t code)
{
    return catalog_dict_word(&c->dict[d], code);
}

static enum err row_lists(struct catalog_row *r, const struct catalog *c, size_t row,
                          struct arena *a, struct err_info *e)
{
    const struct catalog_hot *h = &c->hot[row];
    str *languages = ARENA_NEW(a, str, (size_t)h->n_languages + 1);
    str *quants = ARENA_NEW(a, str, (size_t)h->n_sets + 1);
    uint64_t seen[UINT8_MAX / 64 + 1] = {0};
    if (!languages || !quants) return ERR_FAIL(e, NOMEM, "no memory for a page");
    for (uint32_t i = 0; i < h->n_languages; i++)
        languages[r->n_languages++] =
            word(c, CATALOG_D_LANGUAGE, c->language[h->first_language + i]);
    for (uint32_t i = 0; i < h->n_sets; i++) {
        uint8_t q = c->key[h->first_set + i].quant;
        if (!q || seen[q / 64] >> (q % 64) & 1) continue;
        seen[q / 64] |= (uint64_t)1 << (q % 64);
        quants[r->n_quants++] = word(c, CATALOG_D_QUANT, q);
    }
    r->languages = languages;
    r->quants = quants;
    return ERR_OK;
}

static bool named(const str *names, size_t n, str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_ieq(names[i], name)) return true;
    return false;
}

/* The machines on which one of the sets that pass the filters fits; several devices of one machine
 * are one. */
static enum err row_machines(struct catalog_row *r, const struct catalog_filter *f, size_t row,
                             struct arena *a, struct err_info *e)
{
    const struct catalog *c = f->c;
    const struct catalog_hot *h = &c->hot[row];
    uint64_t fits = 0;
    for (size_t i = h->first_set; i < (size_t)h->first_set + h->n_sets; i++)
        if (catalog_set_format(f, row, i) && catalog_set_quant(f, i))
            fits |= f->v->fits[i] & catalog_set_within(f, row, i) & f->machines;
    str *names = ARENA_NEW(a, str, c->n_devices + 1);
    if (!names) return ERR_FAIL(e, NOMEM, "no memory for a page");
    for (size_t i = 0; i < c->n_devices; i++)
        if (fits >> i & 1 && !named(names, r->n_machines, c->device[i].device.name))
            names[r->n_machines++] = c->device[i].device.name;
    r->machines = names;
    return ERR_OK;
}

static enum err row_verdict(struct catalog_row *r, const struct catalog_filter *f, size_t row,
                            struct arena *a, struct err_info *e)
{
    const struct catalog *c = f->c;
    struct catalog_look look = catalog_look(f, row);
    struct catalog_pick p;
    catalog_pick_full(f, row, &look, &p);
    r->set = catalog_str(c, c->set[p.set].name);
    r->quant = word(c, CATALOG_D_QUANT, c->key[p.set].quant);
    r->format = (enum filename_format)c->key[p.set].format;
    r->set_bytes = catalog_set_bytes(f, p.set);
    r->set_estimated = r->set_bytes && !c->set[p.set].bytes;
    if (p.machine == SIZE_MAX) return ERR_OK;
    r->judged = true;
    r->out = p.out;
    if (r->out.format) r->format = (enum filename_format)r->out.format;
    r->machine = c->device[p.machine].device.name;
    r->backend = c->device[p.machine].backend;
    return row_machines(r, f, row, a, e);
}

static enum err row_fill(struct catalog_row *r, const struct catalog_filter *f, size_t row,
                         struct arena *a, struct err_info *e)
{
    const struct catalog *c = f->c;
    const struct catalog_hot *h = &c->hot[row];
    const struct catalog_cold *d = &c->cold[row];
    const struct judge_model *m = &c->model[row];
    *r = (struct catalog_row){
        .id = catalog_str(c, d->id),
        .author = word(c, CATALOG_D_AUTHOR, h->word[CATALOG_D_AUTHOR]),
        .base_model = word(c, CATALOG_D_BASE_MODEL, h->word[CATALOG_D_BASE_MODEL]),
        .licence = word(c, CATALOG_D_LICENCE, h->word[CATALOG_D_LICENCE]),
        .task = word(c, CATALOG_D_TASK, h->word[CATALOG_D_TASK]),
        .library = word(c, CATALOG_D_LIBRARY, d->library),
        .architecture = word(c, CATALOG_D_ARCHITECTURE, h->word[CATALOG_D_ARCHITECTURE]),
        .family = word(c, CATALOG_D_FAMILY, h->word[CATALOG_D_FAMILY]),
        .created = d->created,
        .updated = d->updated,
        .downloads = d->downloads,
        .likes = d->likes,
        .params = m->params,
        .params_active = m->params_active,
        .bytes = d->bytes,
        .trending = d->trending,
        .context = m->context,
        .n_sets = catalog_has_files(c, row) ? h->n_sets : 0,
        .can = h->can,
        .formats = d->formats,
        .gated = h->gated};
    enum err err = row_lists(r, c, row, a, e);
    return err ? err : row_verdict(r, f, row, a, e);
}

/* ---- a page ---- */

struct search {
    struct catalog_filter f;
    struct order o;
    struct cursor cursor;
    struct entry *heap;
    size_t n, cap;
    uint64_t hidden[JUDGE_WHYS];
};

static void pass(struct search *s, struct catalog_page *page)
{
    const struct catalog *c = s->f.c;
    for (size_t row = 0; row < c->n; row++) {
        if (catalog_row_fails(&s->f, row)) continue;
        struct catalog_look look = catalog_look(&s->f, row);
        if (look.seen == CATALOG_NO_SET) continue;
        if (look.seen == CATALOG_HIDDEN) {
            /* Where no machine is asked about, nobody says why. */
            if (!s->f.machines) continue;
            page->hidden++;
            s->hidden[why_hidden(&s->f, row, &look)]++;
            continue;
        }
        struct entry one = {key_of(&s->f, &s->o, row, &look), row};
        page->total++;
        if (s->cursor.given && order_cmp(&s->o, one.key, catalog_str(c, c->cold[row].id),
                                         s->cursor.key, s->cursor.id) <= 0)
            continue;
        keep(&s->o, s->heap, &s->n, s->cap, &one);
    }
}

static void reasons(const struct search *s, struct catalog_page *page)
{
    for (int why = 0; why < JUDGE_WHYS; why++) {
        size_t at = page->n_reasons;
        if (!s->hidden[why]) continue;
        for (; at && page->reasons[at - 1].count < s->hidden[why]; at--)
            page->reasons[at] = page->reasons[at - 1];
        page->reasons[at] = (struct catalog_reason){(enum judge_why)why, s->hidden[why]};
        page->n_reasons++;
    }
}

static enum err page_rows(struct search *s, struct arena *a, struct catalog_page *page,
                          struct err_info *e)
{
    size_t n = s->n < s->cap ? s->n : s->cap - 1;
    struct catalog_row *rows = ARENA_NEW(a, struct catalog_row, n + 1);
    enum err err = ERR_OK;
    if (!rows) return ERR_FAIL(e, NOMEM, "no memory for a page");
    sort(&s->o, s->heap, s->n);
    for (size_t i = 0; i < n && !err; i++)
        err = row_fill(&rows[i], &s->f, s->heap[i].row, a, e);
    page->rows = rows;
    page->n = n;
    if (err || s->n < s->cap) return err;
    page->next = arena_printf(a, "%s-%s:%llx:%.*s", catalog_sort_name(s->o.by), direction(&s->o),
                              (unsigned long long)s->heap[n - 1].key, STR(rows[n - 1].id));
    return page->next.p ? ERR_OK : ERR_FAIL(e, NOMEM, "no memory for a page");
}

enum err catalog_find(struct catalog *c, const struct catalog_query *q, struct arena *a,
                      struct catalog_page *page, struct err_info *e)
{
    struct search s = {.o = {c, catalog_query_sort(q), catalog_query_ascending(q)}};
    enum err err;
    *page = (struct catalog_page){0};
    if ((err = catalog_filter_init(&s.f, c, q, a, e)) ||
        (err = cursor_read(&s.cursor, &s.o, q->cursor, e)))
        return err;
    /* One more than a page, to know whether there is another. */
    s.cap = 1 + (q->given & GIVEN(CATALOG_LIMIT) ? (size_t)q->number[CATALOG_LIMIT]
                                                 : CATALOG_PAGE_ROWS);
    s.heap = ARENA_NEW(a, struct entry, s.cap);
    if (!s.heap) return ERR_FAIL(e, NOMEM, "no memory for a page");
    pass(&s, page);
    reasons(&s, page);
    return page_rows(&s, a, page, e);
}

enum err catalog_get(struct catalog *c, const struct catalog_query *q, str id, struct arena *a,
                     struct catalog_row *row, struct err_info *e)
{
    struct catalog_query asked = {0};
    struct catalog_filter f;
    size_t r = catalog_row_of(c, id);
    enum err err;
    if (r == SIZE_MAX)
        return ERR_FAIL(e, NOMODEL, "the catalogue has no model '%.*s'", STR(str_sub(id, 0, 200)));
    if (q) {
        asked = *q;
        asked.given &= GIVEN(CATALOG_CTX) | GIVEN(CATALOG_SLOTS) | GIVEN(CATALOG_KV_TYPE);
        memset(asked.list, 0, sizeof asked.list);
    }
    if ((err = catalog_filter_init(&f, c, &asked, a, e))) return err;
    return row_fill(row, &f, r, a, e);
}
