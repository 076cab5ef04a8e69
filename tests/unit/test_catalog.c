/* The index of models against a slow oracle: rows, verdicts, filters, facets, orders and pages over
 * made-up catalogues. The oracle asks verdict_hub() about every set on every machine and reads the
 * models themselves; it shares no code with the index. */
#include <ctype.h>

#include "base/json.h"
#include "base/limits.h"
#include "catalogue.h"
#include "tap.h"

#define ROWS     260
#define MACHINES CATALOGUE_MACHINES
#define SETS     32

static struct arena arena;
static struct err_info err;
static struct catalog_device machines[MACHINES];
static struct hub_model models[ROWS];
static struct catalog *catalog;

/* ---- the oracle ---- */

struct word {
    bool compatible, fits, known;
    enum judge_why why;
    uint64_t weights, total, short_by;
    double decode;
};

/* [row][set][machine]; a model without sets has one, and `whole` is without looking at files. */
static struct word word[ROWS][SETS][MACHINES], whole[ROWS][MACHINES];
static uint64_t beside[ROWS][MACHINES]; /* bytes beside the weights */

static struct word ask_verdict(const struct hub_model *m, size_t set, int machine,
                               const struct verdict_ask *ask)
{
    struct arena a;
    struct verdict v;
    arena_init(&a, MIB(1));
    verdict_hub(&v, &a, m, set, machines[machine].caps, &machines[machine].device, ask);
    arena_fini(&a);
    return (struct word){v.compatible,     v.fits,         v.memory_known, v.why,
                         v.memory.weights, v.memory.total, v.short_by,     v.decode};
}

static size_t sets_of(const struct hub_model *m)
{
    return m->n_sets ? m->n_sets : 1;
}

static bool is_model(const struct hub_model *m, size_t set)
{
    return !m->n_sets || m->sets[set].kind == FILENAME_WEIGHTS;
}

static bool has_models(const struct hub_model *m)
{
    for (size_t s = 0; s < m->n_sets; s++)
        if (is_model(m, s)) return true;
    return false;
}

static void judge_oracle(const struct verdict_ask *ask)
{
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < MACHINES; k++) {
            struct hub_model bare = models[i];
            struct judge_model jm;
            struct judge_beside b;
            bare.n_sets = 0;
            whole[i][k] =
                ask_verdict(has_models(&models[i]) ? &bare : &models[i], SIZE_MAX, k, ask);
            judge_model_from(&jm, &models[i]);
            judge_beside(&b, &jm, &machines[k].device, ask);
            beside[i][k] = b.need.total;
            for (size_t s = 0; s < sets_of(&models[i]); s++)
                word[i][s][k] = models[i].n_sets && whole[i][k].compatible
                                    ? ask_verdict(&models[i], s, k, ask)
                                    : whole[i][k];
        }
}

/* A filter of a random query, with what it means. */
struct term {
    enum catalog_field f;
    const char *v[4];
    int n;
    uint64_t number;
};

struct query {
    struct term t[8];
    int n;
    bool all, too_large;
};

static bool same(str a, const char *b)
{
    if (a.n != strlen(b)) return false;
    for (size_t i = 0; i < a.n; i++)
        if (tolower((unsigned char)a.p[i]) != tolower((unsigned char)b[i])) return false;
    return true;
}

static bool one_of(const struct term *t, str s)
{
    for (int i = 0; i < t->n; i++)
        if (same(s, t->v[i])) return true;
    return false;
}

static bool holds(str where, const char *what)
{
    size_t n = strlen(what);
    for (size_t i = 0; i + n <= where.n; i++) {
        size_t k = 0;
        for (; k < n; k++) {
            int x = tolower((unsigned char)where.p[i + k]), y = tolower((unsigned char)what[k]);
            if ((x == '_' ? '-' : x) != (y == '_' ? '-' : y)) break;
        }
        if (k == n) return true;
    }
    return false;
}

static const char *size_name(uint64_t params)
{
    double b = (double)params / 1e9;
    return !params   ? "?"
           : b <= 1  ? "<=1B"
           : b <= 4  ? "1-4B"
           : b <= 9  ? "4-9B"
           : b <= 20 ? "9-20B"
           : b <= 70 ? "20-70B"
                     : ">70B";
}

static const char *context_name(uint32_t n)
{
    return !n ? "?" : n <= 8192 ? "<=8K" : n <= 32768 ? "8-32K" : n <= 131072 ? "32-128K" : ">128K";
}

static str family_name(const struct hub_model *m)
{
    static const char *const lines[][2] = {
        {"llama", "llama"},  {"qwen2", "qwen"},    {"qwen3", "qwen"},
        {"gemma2", "gemma"}, {"gemma3", "gemma"},  {"phi3", "phi"},
        {"mamba", "mamba"},  {"qwen3moe", "qwen"}, {"granite", "granite"},
        {"bert", "bert"},    {"olmo2", "olmo"},    {"whisper-like", "whisper-like"}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (same(m->arch, lines[i][0])) return str_c(lines[i][1]);
    return S("");
}

static bool can_all(const struct hub_model *m, const struct term *t)
{
    static const char *const names[] = {"chat",   "tools",     "reasoning",
                                        "vision", "embedding", "rerank"};
    for (int i = 0; i < t->n; i++)
        for (int k = 0; k < 6; k++)
            if (!strcmp(t->v[i], names[k]) && !(m->can >> k & 1)) return false;
    return true;
}

/* A row, by what is not said of sets and machines. */
static bool row_ok(const struct hub_model *m, const struct term *t)
{
    uint64_t n = t->number, active = m->params_active ? m->params_active : m->params;
    bool some = false;
    switch (t->f) {
    case CATALOG_Q:
        for (int i = 0; i < t->n; i++)
            if (!holds(m->id, t->v[i]) && !holds(m->author, t->v[i]) &&
                !holds(m->base_model, t->v[i]))
                return false;
        return true;
    case CATALOG_ARCHITECTURE: return one_of(t, m->arch);
    case CATALOG_FAMILY: return one_of(t, family_name(m));
    case CATALOG_BASE_MODEL: return one_of(t, m->base_model);
    case CATALOG_AUTHOR: return one_of(t, m->author);
    case CATALOG_LICENCE: return one_of(t, m->licence);
    case CATALOG_TASK: return one_of(t, m->task);
    case CATALOG_LANGUAGE:
        for (size_t i = 0; i < m->n_languages; i++)
            some = some || one_of(t, m->languages[i]);
        return some;
    case CATALOG_CAPABILITY: return can_all(m, t);
    case CATALOG_GATED: return m->gated == (n != 0);
    case CATALOG_SIZE: return one_of(t, str_c(size_name(m->params)));
    case CATALOG_CONTEXT: return one_of(t, str_c(context_name(m->context)));
    case CATALOG_MIN_PARAMS: return m->params && m->params >= n;
    case CATALOG_MAX_PARAMS: return m->params && m->params <= n;
    case CATALOG_MIN_ACTIVE: return active && active >= n;
    case CATALOG_MAX_ACTIVE: return active && active <= n;
    case CATALOG_MIN_CONTEXT: return m->context >= n;
    case CATALOG_CREATED_AFTER: return m->created && (uint64_t)m->created >= n;
    case CATALOG_CREATED_BEFORE: return m->created && (uint64_t)m->created < n;
    case CATALOG_UPDATED_AFTER: return m->updated && (uint64_t)m->updated >= n;
    case CATALOG_UPDATED_BEFORE: return m->updated && (uint64_t)m->updated < n;
    default: return true;
    }
}

static bool has_format(const struct hub_model *m, size_t s, const struct term *t)
{
    unsigned bits = m->n_sets && is_model(m, s) ? 1u << m->sets[s].format : m->formats;
    for (int f = 1; f < FILENAME_FORMATS; f++)
        if (bits >> f & 1 && one_of(t, str_c(filename_format_name((enum filename_format)f))))
            return true;
    return false;
}

/* Weights do not depend on the machine, but one that refuses does not say. */
static uint64_t weights_of(int row, size_t s)
{
    for (int k = 0; k < MACHINES; k++)
        if (word[row][s][k].compatible) return word[row][s][k].weights;
    return models[row].n_sets && is_model(&models[row], s) ? models[row].sets[s].loaded : 0;
}

static uint64_t bytes_of(int row, size_t s)
{
    uint64_t said = models[row].n_sets && is_model(&models[row], s) ? models[row].sets[s].bytes : 0;
    return said ? said : weights_of(row, s);
}

/* A set on a machine. */
static bool set_ok(int row, size_t s, int machine, const struct term *t)
{
    const struct hub_model *m = &models[row];
    uint64_t bytes = bytes_of(row, s);
    switch (t->f) {
    case CATALOG_FORMAT: return has_format(m, s, t);
    case CATALOG_QUANT:
        return m->n_sets && is_model(m, s) && m->sets[s].quant &&
               one_of(t, str_c(m->sets[s].quant));
    case CATALOG_MIN_BYTES: return bytes && bytes >= t->number;
    case CATALOG_MAX_BYTES: return bytes && bytes <= t->number;
    case CATALOG_MAX_MEMORY:
        return weights_of(row, s) && weights_of(row, s) + beside[row][machine] <= t->number;
    case CATALOG_MACHINE: return one_of(t, machines[machine].device.name);
    case CATALOG_BACKEND: return one_of(t, machines[machine].backend);
    default: return true;
    }
}

struct seen {
    bool match, shown, asked; /* asked: a machine is asked about */
    enum judge_why why;
    size_t set;
    int machine; /* -1: none */
};

static bool wins(const struct word *a, const struct word *b)
{
    if (a->compatible != b->compatible) return a->compatible;
    if (a->fits != b->fits) return a->fits;
    if (a->fits) return a->decode > b->decode;
    return a->compatible ? a->short_by < b->short_by : a->why > b->why;
}

/* Bits a weight from those of Q4_K_M. */
static double away(const struct hub_model *m, size_t s)
{
    uint32_t bits = s < m->n_sets ? m->sets[s].centibits : 0;
    return bits ? fabs(bits / 100.0 - 4.89) : 1e9;
}

/* Set s instead of set t, which is the best so far. */
static bool better(const struct hub_model *m, const struct word *a, size_t s, const struct word *b,
                   size_t t)
{
    if (a->compatible != b->compatible) return a->compatible;
    if (a->fits != b->fits) return a->fits;
    if (!a->fits) return a->weights < b->weights;
    double of = away(m, s), than = away(m, t);
    return fabs(of - than) > 1e-6 ? of < than : a->weights > b->weights;
}

static bool names_machine(const struct query *q, int machine)
{
    for (int i = 0; i < q->n; i++)
        if ((q->t[i].f == CATALOG_MACHINE || q->t[i].f == CATALOG_BACKEND) &&
            !set_ok(0, 0, machine, &q->t[i]))
            return false;
    return true;
}

static bool passes(const struct query *q, int row, size_t s, int machine)
{
    for (int i = 0; i < q->n; i++)
        if (q->t[i].f != CATALOG_MACHINE && q->t[i].f != CATALOG_BACKEND &&
            !set_ok(row, s, machine, &q->t[i]))
            return false;
    return true;
}

static struct seen look(const struct query *q, int row)
{
    const struct hub_model *m = &models[row];
    struct seen x = {.machine = -1};
    struct word best = {0};
    bool models_there = has_models(m), some = false;
    for (int k = 0; k < MACHINES; k++)
        some = some || names_machine(q, k);
    for (int i = 0; i < q->n; i++)
        if (!row_ok(m, &q->t[i])) return x;
    for (int k = 0; k < MACHINES; k++) {
        struct word mine = {0};
        size_t at = SIZE_MAX;
        for (size_t s = 0; s < sets_of(m); s++) {
            if ((models_there && !is_model(m, s)) || (!models_there && s)) continue;
            if (!passes(q, row, s, k) || (some && !names_machine(q, k))) continue;
            x.match = true;
            if (at != SIZE_MAX && !better(m, &word[row][s][k], s, &mine, at)) continue;
            mine = word[row][s][k];
            at = s;
        }
        if (at == SIZE_MAX || !names_machine(q, k)) continue;
        x.asked = true;
        if (x.machine >= 0 && !wins(&mine, &best)) continue;
        best = mine;
        x.machine = k;
        x.set = at;
    }
    x.why = best.why;
    x.shown = x.match && (q->all || (x.asked && (best.fits || (q->too_large && best.compatible))));
    return x;
}

static void total_of(const struct query *q, uint64_t *shown, uint64_t *hidden)
{
    *shown = *hidden = 0;
    for (int i = 0; i < ROWS; i++) {
        struct seen x = look(q, i);
        *shown += x.shown;
        *hidden += x.match && !x.shown && x.asked;
    }
}

/* ---- random queries ---- */

struct choice {
    enum catalog_field f;
    const char *v[8]; /* as the query says them */
};

static const struct choice choices[] = {
    {CATALOG_Q, {"qwen", "INSTRUCT", "_chat", "the", "7", "origin/llama", "v1", "zzz"}},
    {CATALOG_ARCHITECTURE, {"llama", "QWEN3", "bert", "whisper-like", "qwen3moe", "none"}},
    {CATALOG_FAMILY, {"qwen", "llama", "Gemma", "olmo"}},
    {CATALOG_BASE_MODEL, {"Origin/llama-8B", "origin/qwen2-7B"}},
    {CATALOG_AUTHOR, {"TheBloke", "unsloth", "google", "baai"}},
    {CATALOG_LICENCE, {"mit", "apache-2.0", "Other"}},
    {CATALOG_TASK, {"text-generation", "feature-extraction"}},
    {CATALOG_LANGUAGE, {"en", "de", "zh"}},
    {CATALOG_CAPABILITY, {"chat", "tools", "vision"}},
    {CATALOG_SIZE, {"<=1B", "1-4B", "4-9B", "20-70B", ">70B"}},
    {CATALOG_CONTEXT, {"<=8K", "8-32K", ">128K"}},
    {CATALOG_FORMAT, {"gguf", "safetensors", "mlx"}},
    {CATALOG_QUANT, {"Q4_K_M", "q8_0", "IQ2_M", "BF16"}},
    {CATALOG_MACHINE, {"attic", "tower", "cellar 2"}},
    {CATALOG_BACKEND, {"cpu", "CUDA", "metal"}},
};

static const struct {
    enum catalog_field f;
    const char *v;
    uint64_t n;
} numbers[] = {
    {CATALOG_GATED, "true", 1},
    {CATALOG_GATED, "0", 0},
    {CATALOG_MIN_PARAMS, "3B", 3000000000},
    {CATALOG_MAX_PARAMS, "8B", 8000000000},
    {CATALOG_MAX_PARAMS, "1.5b", 1500000000},
    {CATALOG_MIN_ACTIVE, "500M", 500000000},
    {CATALOG_MAX_ACTIVE, "4B", 4000000000},
    {CATALOG_MIN_CONTEXT, "32k", 32768},
    {CATALOG_CREATED_AFTER, "2022-01-01", 1640995200},
    {CATALOG_CREATED_BEFORE, "2024-02-29T12:00:00Z", 1709208000},
    {CATALOG_UPDATED_AFTER, "2023-06-30", 1688083200},
    {CATALOG_UPDATED_BEFORE, "2025-01-01", 1735689600},
    {CATALOG_MIN_BYTES, "500MB", 500000000},
    {CATALOG_MAX_BYTES, "8GiB", 8589934592},
    {CATALOG_MAX_MEMORY, "12G", 12884901888},
};

#define COUNT(x) (sizeof(x) / sizeof *(x))

static void encode(buf *out, const char *s, struct catalogue_rng *r)
{
    for (; *s; s++) {
        bool must = !isalnum((unsigned char)*s) && !strchr("-._", *s);
        if (*s == ' ' && catalogue_of_100(r, 50))
            buf_ch(out, '+');
        else if (must || catalogue_of_100(r, 4))
            buf_printf(out, "%%%02x", (unsigned)(unsigned char)*s);
        else
            buf_ch(out, *s);
    }
}

/* As somebody might type it: commas or repeated fields, this or that case. */
static void write_query(const struct query *q, buf *out, struct catalogue_rng *r)
{
    for (int i = 0; i < q->n; i++) {
        const struct term *t = &q->t[i];
        bool words = t->f == CATALOG_Q;
        for (int k = 0; k < t->n; k++) {
            if (k && (words || catalogue_of_100(r, 50))) {
                buf_c(out, words ? "+" : ",");
            } else {
                if (out->n) buf_ch(out, '&');
                buf_c(out, catalog_field(t->f)->name);
                buf_ch(out, '=');
            }
            encode(out, t->v[k], r);
        }
    }
    if (q->all) buf_c(out, out->n ? "&all=1" : "all=1");
    if (q->too_large) buf_c(out, out->n ? "&fits=false" : "fits=false");
}

static void random_query(struct query *q, struct catalogue_rng *r)
{
    uint64_t have = 0;
    int n = (int)catalogue_below(r, 4);
    *q = (struct query){.all = catalogue_of_100(r, 20), .too_large = catalogue_of_100(r, 20)};
    for (int tries = 0; q->n < n && tries < 20; tries++) {
        struct term t = {0};
        if (catalogue_of_100(r, 65)) {
            const struct choice *c = &choices[catalogue_below(r, COUNT(choices))];
            int many = 1 + (int)catalogue_below(r, 3);
            t.f = c->f;
            for (int i = 0; i < many && i < 8 && c->v[i]; i++)
                t.v[t.n++] = c->v[i];
            /* Another beginning now and then. */
            for (uint32_t s = catalogue_below(r, 4), i = s; c->v[s] && i == s; i++)
                t.v[0] = c->v[s];
        } else {
            size_t i = catalogue_below(r, COUNT(numbers));
            t = (struct term){numbers[i].f, {numbers[i].v}, 1, numbers[i].n};
        }
        if (have >> t.f & 1) continue;
        have |= (uint64_t)1 << t.f;
        q->t[q->n++] = t;
    }
}

/* ---- pages and orders against the oracle ---- */

static int ids_by_case(str a, str b)
{
    for (size_t i = 0; i < a.n && i < b.n; i++) {
        int d = tolower((unsigned char)a.p[i]) - tolower((unsigned char)b.p[i]);
        if (d) return d;
    }
    return a.n != b.n ? (a.n < b.n ? -1 : 1) : str_cmp(a, b);
}

struct sorted {
    int row;
    double key; /* 0: has none */
};

static enum catalog_sort sort_by;
static bool rising;

static int by_key(const void *x, const void *y)
{
    const struct sorted *a = x, *b = y;
    str ia = models[a->row].id, ib = models[b->row].id;
    if (sort_by == CATALOG_BY_NAME) return rising ? ids_by_case(ia, ib) : ids_by_case(ib, ia);
    if ((a->key == 0) != (b->key == 0)) return a->key == 0 ? 1 : -1;
    if (a->key != b->key) return (a->key < b->key) == rising ? -1 : 1;
    return ids_by_case(ia, ib);
}

static double key_of(int row, const struct seen *x)
{
    const struct hub_model *m = &models[row];
    const struct word *w = x->machine < 0 ? NULL : &word[row][x->set][x->machine];
    switch (sort_by) {
    case CATALOG_BY_TRENDING: return m->trending;
    case CATALOG_BY_DOWNLOADS: return (double)m->downloads;
    case CATALOG_BY_LIKES: return (double)m->likes;
    case CATALOG_BY_UPDATED: return (double)m->updated;
    case CATALOG_BY_CREATED: return (double)m->created;
    case CATALOG_BY_PARAMS: return (double)m->params;
    case CATALOG_BY_SPEED: return w && w->compatible ? w->decode : 0;
    case CATALOG_BY_SIZE: return (double)bytes_of(row, x->set);
    default: return 1;
    }
}

static size_t order_oracle(const struct query *q, struct sorted out[ROWS])
{
    size_t n = 0;
    for (int i = 0; i < ROWS; i++) {
        struct seen x = look(q, i);
        if (x.shown) out[n++] = (struct sorted){i, key_of(i, &x)};
    }
    qsort(out, n, sizeof *out, by_key);
    return n;
}

/* All pages one after the other; false with a line when something differs. */
static bool walk(const char *text, const struct query *q, size_t limit)
{
    struct sorted want[ROWS];
    size_t n = order_oracle(q, want), at = 0;
    uint64_t shown, hidden, reasons = 0;
    str cursor = {0};
    total_of(q, &shown, &hidden);
    for (;;) {
        struct catalog_query cq;
        struct catalog_page p;
        buf full = {.cap = KIB(64)};
        buf_printf(&full, "%s&limit=%zu&sort=%s&order=%s", text, limit, catalog_sort_name(sort_by),
                   rising ? "asc" : "desc");
        if (cursor.n) buf_printf(&full, "&cursor=%.*s", STR(cursor));
        str line = arena_str(&arena, buf_view(&full));
        buf_fini(&full);
        if (catalog_query_parse(&cq, &arena, line, &err) ||
            catalog_find(catalog, &cq, &arena, &p, &err)) {
            printf("# %.*s: %s\n", STR(line), err.text);
            return false;
        }
        if (p.total != shown || p.hidden != hidden || p.n > limit) {
            printf("# %.*s: %llu shown and %llu hidden, not %llu and %llu\n", STR(line),
                   (unsigned long long)p.total, (unsigned long long)p.hidden,
                   (unsigned long long)shown, (unsigned long long)hidden);
            return false;
        }
        for (size_t i = 0; i < p.n; i++, at++)
            if (at >= n || !str_eq(p.rows[i].id, models[want[at].row].id)) {
                printf("# %.*s: row %zu is %.*s and not %.*s\n", STR(line), at, STR(p.rows[i].id),
                       STR(at < n ? models[want[at].row].id : S("nothing")));
                return false;
            }
        for (size_t i = 0; i < p.n_reasons; i++)
            reasons += p.reasons[i].count;
        if (reasons != hidden) return false;
        reasons = 0;
        if (!p.next.n) break;
        cursor = p.next;
    }
    return at == n;
}

static void test_pages(void)
{
    struct catalogue_rng r = {5};
    size_t bad = 0, found = 0;
    for (int i = 0; i < 400; i++) {
        struct query q;
        buf text = {.cap = KIB(16)};
        random_query(&q, &r);
        write_query(&q, &text, &r);
        sort_by = (enum catalog_sort)(i % CATALOG_SORTS);
        rising = catalogue_of_100(&r, 50);
        uint64_t shown, hidden;
        total_of(&q, &shown, &hidden);
        found += shown != 0;
        bad += !walk(text.n ? text.p : "", &q, 1 + catalogue_below(&r, 60));
        buf_fini(&text);
    }
    is_int(bad, 0, "400 random queries in all orders, page by page, as the oracle has them");
    ok(found > 200, "most of them find something (%zu)", found);
}

static bool same_verdict(const struct catalog_row *row, int i, const struct seen *x)
{
    const struct hub_model *m = &models[i];
    struct word w = word[i][x->set][x->machine];
    str set = m->n_sets && is_model(m, x->set) ? m->sets[x->set].name : S("");
    bool good = row->judged && str_eq(row->machine, machines[x->machine].device.name) &&
                str_eq(row->set, set) && row->out.compatible == w.compatible &&
                row->out.fits == w.fits && row->out.why == w.why &&
                row->out.memory.total == w.total && row->out.short_by == w.short_by &&
                (double)row->out.decode == w.decode;
    if (!good)
        printf("# %.*s: '%.*s' on %.*s %s, not '%.*s' on %.*s %s\n", STR(m->id), STR(row->set),
               STR(row->machine), judge_why_name(row->out.why), STR(set),
               STR(machines[x->machine].device.name), judge_why_name(w.why));
    return good;
}

/* Every row against verdict_hub() on each machine, the best of which it must show. */
static void test_verdicts(const char *name)
{
    struct query none = {.all = true};
    size_t bad = 0, whys = 0;
    bool seen[JUDGE_WHYS] = {0};
    for (int i = 0; i < ROWS; i++) {
        struct catalog_row row;
        struct seen x = look(&none, i);
        if (catalog_get(catalog, NULL, models[i].id, &arena, &row, &err) ||
            !same_verdict(&row, i, &x)) {
            bad++;
            continue;
        }
        seen[row.out.why] = true;
    }
    for (int i = 0; i < JUDGE_WHYS; i++)
        whys += seen[i];
    is_int(bad, 0, name);
    ok(whys >= 8, "of %zu different reasons", whys);
}

static void test_hub(const struct verdict_ask *ask)
{
    size_t bad = 0;
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < MACHINES; k++) {
            struct catalog *one = catalog_new();
            struct catalog_row row;
            struct word w = ask_verdict(&models[i], SIZE_MAX, k, ask);
            bool good = one && !catalog_put(one, &models[i], NULL, &err) &&
                        !catalog_judge(one, &machines[k], 1, ask, &err) &&
                        !catalog_get(one, NULL, models[i].id, &arena, &row, &err) &&
                        row.out.compatible == w.compatible && row.out.fits == w.fits &&
                        row.out.why == w.why && row.out.memory.total == w.total &&
                        row.out.memory.weights == w.weights && (double)row.out.decode == w.decode;
            bad += !good;
            catalog_free(one);
        }
    is_int(bad, 0, "each row alone on each machine is what verdict_hub() says of the repository");
}

/* ---- facets against the oracle ---- */

/* The query with the one value in a facet instead of what it says there. */
static struct query with(const struct query *q, enum catalog_field f, const char *value)
{
    struct query x = {.all = q->all, .too_large = q->too_large};
    for (int i = 0; i < q->n; i++)
        if (q->t[i].f != f) x.t[x.n++] = q->t[i];
    x.t[x.n++] = (struct term){f, {value}, 1, !strcmp(value, "true")};
    return x;
}

static bool facet_ok(const struct query *q, const struct catalog_facet *f, const char *text)
{
    bool by_machine = f->field == CATALOG_MACHINE || f->field == CATALOG_BACKEND;
    for (size_t i = 0; i < f->n; i++) {
        str value = arena_str(&arena, f->v[i].value);
        struct query one = with(q, f->field, value.p);
        uint64_t shown, hidden;
        if (by_machine && q->all) {
            /* Everything is shown: what is counted is what fits. */
            one.all = one.too_large = false;
        }
        total_of(&one, &shown, &hidden);
        if (shown == f->v[i].count) continue;
        printf("# %s: %s=%s counts %llu and not %llu\n", text, catalog_field(f->field)->name,
               value.p, (unsigned long long)f->v[i].count, (unsigned long long)shown);
        return false;
    }
    return true;
}

/* Every value that a row has is counted, if it is counted at all. */
static bool complete(const struct query *q, const struct catalog_facet *f)
{
    for (int i = 0; i < ROWS && !f->more; i++) {
        str has = f->field == CATALOG_ARCHITECTURE ? models[i].arch
                  : f->field == CATALOG_AUTHOR     ? models[i].author
                  : f->field == CATALOG_LICENCE    ? models[i].licence
                                                   : S("");
        struct query one = has.n ? with(q, f->field, has.p) : *q;
        bool there = !has.n || !look(&one, i).shown;
        for (size_t k = 0; k < f->n && !there; k++)
            there = str_eq(f->v[k].value, has);
        if (!there) return false;
    }
    return true;
}

static void test_facets(void)
{
    struct catalogue_rng r = {99};
    size_t bad = 0, missing = 0, disorder = 0;
    for (int i = 0; i < 60; i++) {
        struct query q;
        struct catalog_query cq;
        struct catalog_facets f;
        buf text = {.cap = KIB(16)};
        random_query(&q, &r);
        write_query(&q, &text, &r);
        if (catalog_query_parse(&cq, &arena, buf_view(&text), &err) ||
            catalog_facets(catalog, &cq, &arena, &f, &err)) {
            printf("# %s\n", err.text);
            bad++;
        }
        for (size_t k = 0; k < f.n; k++) {
            bad += !facet_ok(&q, &f.v[k], text.n ? text.p : "");
            missing += !complete(&q, &f.v[k]);
            for (size_t v = 1; v < f.v[k].n && f.v[k].field == CATALOG_AUTHOR; v++)
                disorder += f.v[k].v[v].count > f.v[k].v[v - 1].count;
        }
        buf_fini(&text);
    }
    is_int(bad, 0, "each value of each facet counts what it would show, were it chosen alone");
    is_int(missing, 0, "no value is missing");
    is_int(disorder, 0, "the most frequent come first");
}

static void test_many_values(void)
{
    struct catalog_query q;
    struct catalog_facets f;
    const struct catalog_facet *authors = NULL;
    bool there = false;
    ok(!catalog_query_parse(&q, &arena, S("all=1&author=USER"), &err) &&
           !catalog_facets(catalog, &q, &arena, &f, &err),
       "facets of authors");
    str rare = {0};
    for (int i = 0; i < ROWS; i++)
        if (str_starts(models[i].author, S("user"))) rare = models[i].author;
    ok(!catalog_query_parse(&q, &arena, arena_printf(&arena, "all=1&author=%.*s", STR(rare)),
                            &err) &&
           !catalog_facets(catalog, &q, &arena, &f, &err),
       "and with a rare one chosen");
    for (size_t i = 0; i < f.n; i++)
        if (f.v[i].field == CATALOG_AUTHOR) authors = &f.v[i];
    for (size_t i = 0; authors && i < authors->n; i++)
        there = there || (str_eq(authors->v[i].value, rare) && authors->v[i].chosen);
    ok(there, "a chosen value is among them, however rare");
    ok(authors && authors->n == LIMIT_INDEX_FACET && authors->more > 0,
       "of many values the first are told, and how many more there are");
}

int main(void)
{
    const struct verdict_ask plain = {.ktype = DTYPE_F16, .vtype = DTYPE_F16};
    const struct verdict_ask other = {
        .n_ctx = 16384, .n_slots = 4, .ktype = DTYPE_Q8_0, .vtype = DTYPE_Q8_0};
    size_t refused = 0;
    arena_init(&arena, GIB(2));
    ok(catalogue_machines(machines, &arena), "three machines");
    catalog = catalog_new();
    for (uint32_t i = 0; i < ROWS; i++) {
        catalogue_model(&models[i], &arena, 11, i);
        refused += catalog_put(catalog, &models[i], NULL, &err) != 0;
    }
    ok(catalog && !refused && catalog_count(catalog) == ROWS, "a catalogue of %d", ROWS);
    ok(!catalog_judge(catalog, machines, MACHINES, &plain, &err), "judged for three machines");
    judge_oracle(&plain);
    test_hub(&plain);
    test_verdicts("the best set on the best machine of every row");
    test_pages();
    test_facets();
    test_many_values();
    ok(!catalog_judge(catalog, machines, MACHINES, &other, &err), "another configuration");
    judge_oracle(&other);
    test_hub(&other);
    test_verdicts("the verdicts with it");
    test_pages();
    catalog_free(catalog);
    arena_fini(&arena);
    return tap_end();
}
