/* catalog_query: the fields of a query in and out, as text and as JSON. See catalog.h.
 *
 * All ways in end in one_value(), which knows the kinds; the table of fields is catalog.def. What
 * has one right spelling (formats, quantisations, ranges, capabilities, types) is kept in it, so
 * that the canonical form is a walk over the table.
 */
#include <string.h>

#include "base/url.h"
#include "base/utf8.h"
#include "model/catalog_int.h"

#define GIVEN(f) ((uint64_t)1 << (f))
_Static_assert(CATALOG_FIELDS <= 64, "fields are bits of a word");

static const struct catalog_field_info fields[CATALOG_FIELDS] = {
#define FIELD(NAME, name, KIND, facet, value, help)                                                \
    {name, CATALOG_K_##KIND, facet, CATALOG_K_##KIND <= CATALOG_K_CANS, value, help},
#include "model/catalog.def"
#undef FIELD
};

const struct catalog_field_info *catalog_field(enum catalog_field f)
{
    return &fields[f];
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

enum catalog_field catalog_field_from(str name)
{
    static const struct {
        const char *name;
        enum catalog_field f;
    } others[] = {
        {"license", CATALOG_LICENCE}, {"quantization", CATALOG_QUANT}, {"creator", CATALOG_AUTHOR}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (str_ieq(name, str_c(others[i].name))) return others[i].f;
    for (int f = 0; f < CATALOG_FIELDS; f++) {
        const char *w = fields[f].name;
        size_t i = 0;
        for (; *w && i < name.n; w++) {
            if (*w == '_' && (name.p[i] == '_' || name.p[i] == '-')) i++;
            if (*w == '_') continue;
            if (lower(name.p[i]) != *w) break;
            i++;
        }
        if (!*w && i == name.n) return (enum catalog_field)f;
    }
    return CATALOG_FIELDS;
}

/* ---- names ---- */

static const char *const sorts[CATALOG_SORTS] = {
    "trending", "downloads", "likes", "updated", "created", "size", "params", "speed", "name"};
static const char *const sizes[][2] = {{"<=1B", "tiny"},   {"1-4B", "small"}, {"4-9B", "medium"},
                                       {"9-20B", "large"}, {"20-70B", "xl"},  {">70B", "xxl"}};
static const char *const contexts[][2] = {
    {"<=8K", "short"}, {"8-32K", "medium"}, {"32-128K", "long"}, {">128K", "xlong"}};
static const char *const cans[] = {"chat", "tools", "reasoning", "vision", "embedding", "rerank"};

const char *catalog_sort_name(enum catalog_sort s)
{
    return sorts[s];
}

const char *catalog_bucket_name(enum catalog_kind kind, unsigned i)
{
    if (kind == CATALOG_K_SIZES) return i < CATALOG_SIZE_BUCKETS ? sizes[i][0] : NULL;
    return i < CATALOG_CONTEXT_BUCKETS ? contexts[i][0] : NULL;
}

const char *catalog_can_name(unsigned bit)
{
    return bit < sizeof cans / sizeof *cans ? cans[bit] : NULL;
}

unsigned catalog_size_bucket(uint64_t params)
{
    static const uint64_t most[] = {1, 4, 9, 20, 70};
    unsigned i = 0;
    if (!params) return CATALOG_NO_BUCKET;
    while (i < 5 && params > most[i] * 1000000000)
        i++;
    return i;
}

unsigned catalog_context_bucket(uint32_t context)
{
    static const uint32_t most[] = {8192, 32768, 131072};
    unsigned i = 0;
    if (!context) return CATALOG_NO_BUCKET;
    while (i < 3 && context > most[i])
        i++;
    return i;
}

static const char *of_pairs(const char *const (*table)[2], size_t n, str text)
{
    for (size_t i = 0; i < n; i++)
        if (str_ieq(text, str_c(table[i][0])) || str_ieq(text, str_c(table[i][1])))
            return table[i][0];
    return NULL;
}

/* The one spelling of a word that a kind knows; NULL: it does not know it. */
static const char *known_word(enum catalog_kind kind, str text)
{
    enum filename_format f;
    switch (kind) {
    case CATALOG_K_FORMATS:
        f = filename_format_from(text);
        return f ? filename_format_name(f) : NULL;
    case CATALOG_K_QUANTS: return filename_quant_from(text);
    case CATALOG_K_SIZES: return of_pairs(sizes, CATALOG_SIZE_BUCKETS, text);
    case CATALOG_K_CONTEXTS: return of_pairs(contexts, CATALOG_CONTEXT_BUCKETS, text);
    default:
        for (size_t i = 0; i < sizeof cans / sizeof *cans; i++)
            if (str_ieq(text, str_c(cans[i]))) return cans[i];
        return NULL;
    }
}

/* ---- numbers ---- */

struct unit {
    const char *name;
    uint64_t of;
};

#define K10 ((uint64_t)1000)
#define K2  ((uint64_t)1024)
static const struct unit params_units[] = {
    {"k", K10}, {"m", K10 *K10}, {"b", K10 *K10 *K10}, {"t", K10 *K10 *K10 *K10}, {"", 1}};
static const struct unit token_units[] = {{"k", K2}, {"m", K2 *K2}, {"", 1}};
static const struct unit byte_units[] = {
    {"kib", K2}, {"mib", K2 *K2},  {"gib", K2 *K2 *K2},   {"tib", K2 *K2 *K2 *K2},
    {"kb", K10}, {"mb", K10 *K10}, {"gb", K10 *K10 *K10}, {"tb", K10 *K10 *K10 *K10},
    {"k", K2},   {"m", K2 *K2},    {"g", K2 *K2 *K2},     {"t", K2 *K2 *K2 *K2},
    {"b", 1},    {"", 1}};
static const struct unit no_units[] = {{"", 1}};

static const struct unit *units_of(enum catalog_kind kind)
{
    switch (kind) {
    case CATALOG_K_PARAMS: return params_units;
    case CATALOG_K_TOKENS: return token_units;
    case CATALOG_K_BYTES: return byte_units;
    default: return no_units;
    }
}

/* Digits with at most one point among them and at most 9 places behind it, then a unit. */
static bool amount(str s, const struct unit *units, uint64_t *out)
{
    uint64_t n = 0, below = 1, more;
    bool point = false, digit = false;
    size_t i = 0;
    for (; i < s.n; i++) {
        char ch = s.p[i];
        if (ch == '.' && !point) {
            point = true;
            continue;
        }
        if (ch < '0' || ch > '9') break;
        if ((point && (below *= 10) > 1000000000) || n > (UINT64_MAX - 9) / 10) return false;
        n = n * 10 + (uint64_t)(ch - '0');
        digit = true;
    }
    str rest = str_trim(str_sub(s, i, s.n));
    for (const struct unit *u = units; digit; u++) {
        if (!str_ieq(rest, str_c(u->name))) {
            if (!*u->name) return false;
            continue;
        }
        /* Whole and rest apart, so that "1.5TB" does not overflow. */
        if (__builtin_mul_overflow(n / below, u->of, out)) return false;
        if (__builtin_mul_overflow(n % below, u->of, &more)) return false;
        return !__builtin_add_overflow(*out, more / below, out);
    }
    return false;
}

/* The shortest exact spelling. */
static void write_amount(buf *out, enum catalog_kind kind, uint64_t n)
{
    static const struct unit params[] = {
        {"T", K10 * K10 * K10 * K10}, {"B", K10 * K10 * K10}, {"M", K10 * K10}, {"", 1}};
    static const struct unit bytes[] = {{"TiB", K2 * K2 * K2 * K2},
                                        {"GiB", K2 * K2 * K2},
                                        {"TB", K10 * K10 * K10 * K10},
                                        {"GB", K10 * K10 * K10},
                                        {"MiB", K2 * K2},
                                        {"MB", K10 * K10},
                                        {"", 1}};
    const struct unit *u = kind == CATALOG_K_PARAMS  ? params
                           : kind == CATALOG_K_BYTES ? bytes
                                                     : no_units;
    char digits[24];
    size_t at = sizeof digits;
    while (*u->name && (n == 0 || n % u->of))
        u++;
    for (uint64_t left = n / u->of; left || at == sizeof digits; left /= 10)
        digits[--at] = (char)('0' + left % 10);
    buf_put(out, digits + at, sizeof digits - at);
    buf_c(out, u->name);
}

/* ---- times ---- */

/* Days since 1970 of a civil date; years begin in March, so that the leap day ends one. */
static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
    int64_t year = m > 2 ? y : y - 1, month = m > 2 ? m - 3 : m + 9;
    return year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + d - 1 - 719468;
}

static void date_of(int64_t days, int64_t *y, int64_t *m, int64_t *d)
{
    *y = 1970 + days / 366;
    while (days_of(*y + 1, 1, 1) <= days)
        ++*y;
    *m = 1;
    while (*m < 12 && days_of(*y, *m + 1, 1) <= days)
        ++*m;
    *d = days - days_of(*y, *m, 1) + 1;
}

/* Digits where the pattern has '0', else the pattern's own character. */
static bool as_pattern(str s, const char *pattern)
{
    if (s.n != strlen(pattern)) return false;
    for (size_t i = 0; i < s.n; i++)
        if (pattern[i] == '0' ? s.p[i] < '0' || s.p[i] > '9' : s.p[i] != pattern[i]) return false;
    return true;
}

static int64_t part(str s, size_t at, size_t n)
{
    int64_t v = 0;
    (void)str_int(str_sub(s, at, n), &v);
    return v;
}

static bool seconds_of(str s, uint64_t *out)
{
    bool day = as_pattern(s, "0000-00-00");
    if (!day && !as_pattern(s, "0000-00-00T00:00:00Z")) return false;
    int64_t y = part(s, 0, 4), m = part(s, 5, 2), d = part(s, 8, 2), t = 0;
    if (y < 1970 || m < 1 || m > 12 || d < 1 || d > 31) return false;
    int64_t next = m == 12 ? days_of(y + 1, 1, 1) : days_of(y, m + 1, 1);
    if (days_of(y, m, d) >= next) return false;
    if (!day) {
        if (part(s, 11, 2) > 23 || part(s, 14, 2) > 59 || part(s, 17, 2) > 59) return false;
        t = part(s, 11, 2) * 3600 + part(s, 14, 2) * 60 + part(s, 17, 2);
    }
    *out = (uint64_t)(days_of(y, m, d) * 86400 + t);
    return true;
}

static void write_time(buf *out, uint64_t seconds)
{
    int64_t y, m, d, t = (int64_t)(seconds % 86400);
    date_of((int64_t)(seconds / 86400), &y, &m, &d);
    buf_printf(out, "%04d-%02d-%02d", (int)y, (int)m, (int)d);
    if (t) buf_printf(out, "T%02d:%02d:%02dZ", (int)(t / 3600), (int)(t / 60 % 60), (int)(t % 60));
}

/* ---- one value ---- */

#define VALUE(s) (int)((s).n > 80 ? 80 : (s).n), (s).p

static enum err wrong(struct err_info *e, enum catalog_field f, str text)
{
    static const char *const want[] = {
        [CATALOG_K_FORMATS] = "gguf, safetensors, or another format's name",
        [CATALOG_K_QUANTS] = "a quantisation, such as Q4_K_M or BF16",
        [CATALOG_K_SIZES] = "<=1B, 1-4B, 4-9B, 9-20B, 20-70B or >70B",
        [CATALOG_K_CONTEXTS] = "<=8K, 8-32K, 32-128K or >128K",
        [CATALOG_K_CANS] = "chat, tools, reasoning, vision, embedding or rerank",
        [CATALOG_K_BOOL] = "true or false",
        [CATALOG_K_PARAMS] = "a number of parameters, such as 7B or 500M",
        [CATALOG_K_TOKENS] = "a number of tokens, such as 16384 or 16k",
        [CATALOG_K_BYTES] = "a number of bytes, such as 8GB or 8GiB",
        [CATALOG_K_TIME] = "a day as YYYY-MM-DD, or YYYY-MM-DDTHH:MM:SSZ",
        [CATALOG_K_COUNT] = "a whole number of at least 1",
        [CATALOG_K_KV] = "f32, f16, bf16, q8_0 or q4_0",
        [CATALOG_K_SORT] =
            "trending, downloads, likes, updated, created, size, params, speed or name",
        [CATALOG_K_ORDER] = "asc or desc",
    };
    return ERR_FAIL(e, INVALID, "the query's field '%s' is '%.*s' and not %s", fields[f].name,
                    VALUE(text), want[fields[f].kind]);
}

/* Inserted in order; words as they come. */
static enum err add_list(struct catalog_query *q, struct arena *a, enum catalog_field f, str text,
                         struct err_info *e)
{
    struct catalog_list *l = &q->list[f];
    enum catalog_kind kind = fields[f].kind;
    size_t most = kind == CATALOG_K_WORDS ? LIMIT_INDEX_WORDS : LIMIT_INDEX_VALUES, at = l->n;
    if (kind != CATALOG_K_WORDS) {
        for (at = 0; at < l->n && str_cmp(l->v[at], text) < 0; at++)
            ;
        if (at < l->n && str_eq(l->v[at], text)) return ERR_OK;
    }
    if (l->n == most)
        return ERR_FAIL(e, LIMIT, "the query's field '%s' has more than %zu values", fields[f].name,
                        most);
    str *v = l->v ? (str *)l->v : ARENA_NEW(a, str, most);
    str own = arena_str(a, text);
    if (!v || !own.p) return ERR_FAIL(e, NOMEM, "no memory for a query");
    memmove(v + at + 1, v + at, (l->n - at) * sizeof *v);
    v[at] = own;
    l->v = v;
    l->n++;
    q->given |= GIVEN(f);
    return ERR_OK;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static enum err add_words(struct catalog_query *q, struct arena *a, enum catalog_field f, str text,
                          struct err_info *e)
{
    enum err err = ERR_OK;
    /* Searches ignore case, so that one spelling is the canonical one. */
    char *low = arena_alloc(a, text.n, 1);
    if (!low) return ERR_FAIL(e, NOMEM, "no memory for a query");
    for (size_t i = 0; i < text.n; i++)
        low[i] = lower(text.p[i]);
    for (size_t i = 0, from = 0; i <= text.n && !err; i++) {
        if (i < text.n && !is_space(low[i])) continue;
        if (i > from) err = add_list(q, a, f, (str){low + from, i - from}, e);
        from = i + 1;
    }
    return err;
}

static bool truth(str text, uint64_t *out)
{
    static const char *const yes[] = {"true", "1", "yes"}, *const no[] = {"false", "0", "no"};
    for (int i = 0; i < 3; i++) {
        *out = str_ieq(text, str_c(yes[i]));
        if (*out || str_ieq(text, str_c(no[i]))) return true;
    }
    return false;
}

static bool number(enum catalog_kind kind, str text, uint64_t *out)
{
    bool ok = false;
    switch (kind) {
    case CATALOG_K_BOOL: return truth(text, out);
    case CATALOG_K_TIME: return seconds_of(text, out);
    case CATALOG_K_KV: {
        enum dtype t = dtype_from_name(text);
        *out = t;
        return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_Q8_0 ||
               t == DTYPE_Q4_0;
    }
    case CATALOG_K_SORT:
        for (uint64_t i = 0; i < CATALOG_SORTS && !ok; i++)
            if ((ok = str_ieq(text, str_c(sorts[i])))) *out = i;
        return ok;
    case CATALOG_K_ORDER: *out = str_ieq(text, S("asc")); return *out || str_ieq(text, S("desc"));
    case CATALOG_K_TOKENS:
    case CATALOG_K_COUNT:
        return amount(text, units_of(kind), out) && *out >= 1 && *out <= UINT32_MAX;
    default: return amount(text, units_of(kind), out);
    }
}

/* `text` is one value, neither encoded nor a list. */
static enum err one_value(struct catalog_query *q, struct arena *a, enum catalog_field f, str text,
                          struct err_info *e)
{
    enum catalog_kind kind = fields[f].kind;
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
            return ERR_FAIL(e, INVALID, "the query's field '%s' has a control character",
                            fields[f].name);
    if (kind == CATALOG_K_WORDS) return add_words(q, a, f, text, e);
    text = str_trim(text);
    if (!text.n) return ERR_OK;
    if (text.n > LIMIT_HUB_STR)
        return ERR_FAIL(e, LIMIT, "the query's field '%s' has a value of %zu bytes; at most %d",
                        fields[f].name, text.n, LIMIT_HUB_STR);
    if (fields[f].several) {
        if (kind != CATALOG_K_TEXTS) {
            const char *word = known_word(kind, text);
            if (!word) return wrong(e, f, text);
            text = str_c(word);
        }
        return add_list(q, a, f, text, e);
    }
    if (q->given & GIVEN(f))
        return ERR_FAIL(e, INVALID, "the query's field '%s' is given twice", fields[f].name);
    if (kind == CATALOG_K_CURSOR) {
        q->cursor = arena_str(a, text);
        if (!q->cursor.p) return ERR_FAIL(e, NOMEM, "no memory for a query");
    } else if (!number(kind, text, &q->number[f])) {
        return wrong(e, f, text);
    }
    if (f == CATALOG_LIMIT && q->number[f] > LIMIT_INDEX_PAGE)
        return ERR_FAIL(e, INVALID, "the query's field 'limit' is '%.*s' and not 1 to %d",
                        VALUE(text), LIMIT_INDEX_PAGE);
    q->given |= GIVEN(f);
    return ERR_OK;
}

/* ---- in ---- */

static enum err field_of(enum catalog_field *f, str name, struct err_info *e)
{
    static const char all[] = ""
#define FIELD(NAME, name, KIND, facet, value, help) " " name
#include "model/catalog.def"
#undef FIELD
        ;
    *f = catalog_field_from(name);
    if (*f != CATALOG_FIELDS) return ERR_OK;
    return ERR_FAIL(e, INVALID, "a query has no field '%.*s'; there are%s", VALUE(name), all);
}

/* Ranges whose ends are crossed find nothing, whatever the catalogue: a slip of the hand. */
static enum err check(const struct catalog_query *q, struct err_info *e)
{
    static const enum catalog_field ends[][2] = {{CATALOG_MIN_PARAMS, CATALOG_MAX_PARAMS},
                                                 {CATALOG_MIN_ACTIVE, CATALOG_MAX_ACTIVE},
                                                 {CATALOG_MIN_BYTES, CATALOG_MAX_BYTES},
                                                 {CATALOG_CREATED_AFTER, CATALOG_CREATED_BEFORE},
                                                 {CATALOG_UPDATED_AFTER, CATALOG_UPDATED_BEFORE}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        enum catalog_field lo = ends[i][0], hi = ends[i][1];
        if ((q->given & GIVEN(lo)) && (q->given & GIVEN(hi)) && q->number[lo] > q->number[hi])
            return ERR_FAIL(e, INVALID, "the query's field '%s' is beyond its field '%s'",
                            fields[lo].name, fields[hi].name);
    }
    return ERR_OK;
}

enum err catalog_query_set(struct catalog_query *q, struct arena *a, str name, str text,
                           struct err_info *e)
{
    enum catalog_field f;
    enum err err = field_of(&f, name, e);
    bool list = !err && fields[f].several && fields[f].kind != CATALOG_K_WORDS;
    if (!err && !utf8_valid(text))
        return ERR_FAIL(e, INVALID, "the query's field '%s' is not UTF-8", fields[f].name);
    while (!err && list && text.p) {
        str rest, one = str_cut(text, ',', &rest);
        err = one_value(q, a, f, one, e);
        text = rest;
    }
    if (!err && !list) err = one_value(q, a, f, text, e);
    return err ? err : check(q, e);
}

/* A form's '+' is a space. */
static enum err decode(str *out, struct arena *a, str raw, struct err_info *e)
{
    const char *why;
    if (raw.n && memchr(raw.p, '+', raw.n)) {
        char *p = arena_alloc(a, raw.n, 1);
        if (!p) return ERR_FAIL(e, NOMEM, "no memory for a query");
        for (size_t i = 0; i < raw.n; i++)
            p[i] = raw.p[i] == '+' ? ' ' : raw.p[i];
        raw.p = p;
    }
    why = url_decode(out, a, raw);
    if (why) return ERR_FAIL(e, INVALID, "the query '%.*s' has %s", VALUE(raw), why);
    return ERR_OK;
}

static enum err one_pair(struct catalog_query *q, struct arena *a, str pair, struct err_info *e)
{
    str raw, name, text, key = str_cut(pair, '=', &raw);
    enum catalog_field f;
    enum err err = decode(&name, a, key, e);
    if (err || (err = field_of(&f, name, e))) return err;
    bool list = fields[f].several && fields[f].kind != CATALOG_K_WORDS;
    /* Commas that separate are those that are not encoded. */
    while (!err && list && raw.p) {
        str rest, one = str_cut(raw, ',', &rest);
        if (!(err = decode(&text, a, one, e))) err = one_value(q, a, f, text, e);
        raw = rest;
    }
    if (err || list) return err;
    return (err = decode(&text, a, raw, e)) ? err : one_value(q, a, f, text, e);
}

enum err catalog_query_parse(struct catalog_query *q, struct arena *a, str text, struct err_info *e)
{
    enum err err = ERR_OK;
    *q = (struct catalog_query){0};
    while (!err && text.n) {
        str rest, pair = str_cut(text, '&', &rest);
        if (pair.n) err = one_pair(q, a, pair, e);
        text = rest;
    }
    return err ? err : check(q, e);
}

/* A value of JSON as the text of one value. */
static enum err json_value(struct catalog_query *q, struct arena *a, enum catalog_field f,
                           const struct json *v, struct err_info *e)
{
    str text;
    if (v->type == JSON_NULL) return ERR_OK;
    if (v->type == JSON_STR)
        text = v->s;
    else if (v->type == JSON_BOOL)
        text = v->b ? S("true") : S("false");
    else if (v->type == JSON_UINT || json_int(v, -1) >= 0)
        text = arena_printf(
            a, "%llu",
            (unsigned long long)(v->type == JSON_UINT ? v->u : (uint64_t)json_int(v, 0)));
    else
        return ERR_FAIL(e, INVALID, "the query's field '%s' is %s", fields[f].name,
                        json_type_name(v->type));
    return one_value(q, a, f, text, e);
}

enum err catalog_query_json(struct catalog_query *q, struct arena *a, const struct json *v,
                            struct err_info *e)
{
    enum err err = ERR_OK;
    *q = (struct catalog_query){0};
    if (v->type != JSON_OBJ)
        return ERR_FAIL(e, INVALID, "a query is %s and not an object", json_type_name(v->type));
    for (size_t i = 0; i < v->n && !err; i++) {
        const struct json *x = &v->items[i];
        enum catalog_field f;
        if ((err = field_of(&f, x->key, e))) return err;
        if (x->type != JSON_ARR) err = json_value(q, a, f, x, e);
        for (size_t k = 0; x->type == JSON_ARR && k < x->n && !err; k++)
            err = json_value(q, a, f, &x->items[k], e);
    }
    return err ? err : check(q, e);
}

/* ---- out ---- */

enum catalog_sort catalog_query_sort(const struct catalog_query *q)
{
    return q->given & GIVEN(CATALOG_SORT) ? (enum catalog_sort)q->number[CATALOG_SORT]
                                          : CATALOG_BY_DOWNLOADS;
}

static bool rises(enum catalog_sort s)
{
    return s == CATALOG_BY_SIZE || s == CATALOG_BY_NAME;
}

bool catalog_query_ascending(const struct catalog_query *q)
{
    return q->given & GIVEN(CATALOG_ORDER) ? q->number[CATALOG_ORDER] != 0
                                           : rises(catalog_query_sort(q));
}

struct verdict_ask catalog_query_ask(const struct catalog_query *q, const struct verdict_ask *base)
{
    struct verdict_ask ask = *base;
    if (q->given & GIVEN(CATALOG_CTX)) ask.n_ctx = (uint32_t)q->number[CATALOG_CTX];
    if (q->given & GIVEN(CATALOG_SLOTS)) ask.n_slots = (uint32_t)q->number[CATALOG_SLOTS];
    if (q->given & GIVEN(CATALOG_KV_TYPE))
        ask.ktype = ask.vtype = (enum dtype)q->number[CATALOG_KV_TYPE];
    return ask;
}

/* What the query says is what it would be without saying it. */
static bool is_default(const struct catalog_query *q, enum catalog_field f)
{
    switch (f) {
    case CATALOG_FITS: return q->number[f] == 1;
    case CATALOG_ALL: return q->number[f] == 0;
    case CATALOG_SORT: return q->number[f] == CATALOG_BY_DOWNLOADS;
    case CATALOG_ORDER: return (q->number[f] != 0) == rises(catalog_query_sort(q));
    case CATALOG_LIMIT: return q->number[f] == CATALOG_PAGE_ROWS;
    default: return false;
    }
}

static void write_number(const struct catalog_query *q, enum catalog_field f, buf *out)
{
    uint64_t n = q->number[f];
    switch (fields[f].kind) {
    case CATALOG_K_BOOL: buf_c(out, n ? "true" : "false"); break;
    case CATALOG_K_TIME: write_time(out, n); break;
    case CATALOG_K_KV: buf_c(out, dtype_info((enum dtype)n)->name); break;
    case CATALOG_K_SORT: buf_c(out, sorts[n]); break;
    case CATALOG_K_ORDER: buf_c(out, n ? "asc" : "desc"); break;
    default: write_amount(out, fields[f].kind, n);
    }
}

void catalog_query_write(const struct catalog_query *q, buf *out)
{
    const char *between = "";
    for (int i = 0; i < CATALOG_FIELDS; i++) {
        enum catalog_field f = (enum catalog_field)i;
        if (!(q->given & GIVEN(f)) || is_default(q, f)) continue;
        buf_c(out, between);
        buf_c(out, fields[f].name);
        buf_ch(out, '=');
        between = "&";
        for (size_t k = 0; k < q->list[f].n; k++) {
            if (k) buf_c(out, fields[f].kind == CATALOG_K_WORDS ? "%20" : ",");
            url_encode(out, q->list[f].v[k], "/:");
        }
        if (f == CATALOG_CURSOR)
            url_encode(out, q->cursor, "/:");
        else if (!fields[f].several)
            write_number(q, f, out);
    }
}
