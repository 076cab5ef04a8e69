/* catalog_view: see catalog_view.h. */
#include "cli/catalog_view.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "cli/answer.h"
#include "cli/human.h"
#include "model/catalog.h"

#define WIDE        110 /* columns from which names have more room */
#define NARROW      80
#define FACET_SHOWN 12 /* values on a terminal; a pipe gets all */

/* ---- columns ---- */

enum column {
    C_MODEL,
    C_PARAMS,
    C_QUANT,
    C_SIZE,
    C_MEMORY,
    C_SPEED,
    C_CONTEXT,
    C_MACHINE,
    C_DOWNLOADS,
    C_LIKES,
    C_UPDATED,
    C_CREATED,
    C_FORMAT,
    C_CAN,
    C_LICENCE,
    C_VERDICT,
    COLUMNS
};
_Static_assert(COLUMNS <= TABLE_COLS_MAX, "columns of a table");

/* What is left out first has the highest number: who chooses a model asks whether it runs, how fast
 * and in how much memory before anything else. */
static const struct table_col columns[COLUMNS] = {
    [C_MODEL] = {"MODEL", false, TABLE_CUT_END, 42, 0},
    [C_PARAMS] = {"PARAMS", true, TABLE_NO_CUT, 0, 4},
    [C_QUANT] = {"QUANT", false, TABLE_CUT_END, 6, 2},
    [C_SIZE] = {"SIZE", true, TABLE_NO_CUT, 0, 3},
    [C_MEMORY] = {"MEMORY", true, TABLE_NO_CUT, 0, 1},
    [C_SPEED] = {"TOK/S", true, TABLE_NO_CUT, 0, 1},
    [C_CONTEXT] = {"CONTEXT", true, TABLE_NO_CUT, 0, 6},
    [C_MACHINE] = {"MACHINE", false, TABLE_CUT_END, 8, 2},
    [C_DOWNLOADS] = {"DOWNLOADS", true, TABLE_NO_CUT, 0, 5},
    [C_LIKES] = {"LIKES", true, TABLE_NO_CUT, 0, 9},
    [C_UPDATED] = {"UPDATED", false, TABLE_NO_CUT, 0, 7},
    [C_CREATED] = {"CREATED", false, TABLE_NO_CUT, 0, 12},
    [C_FORMAT] = {"FORMAT", false, TABLE_NO_CUT, 0, 11},
    [C_CAN] = {"CAN", false, TABLE_CUT_END, 10, 8},
    [C_LICENCE] = {"LICENCE", false, TABLE_CUT_END, 10, 10},
    [C_VERDICT] = {"VERDICT", false, TABLE_CUT_END, 24, 0},
};

/* What the rows are sorted by, as the query says it. */
static str sort_of(const struct json *page)
{
    str rest = answer_text(page, "query"), value;

    while (rest.n) {
        str name = str_cut(str_cut(rest, '&', &rest), '=', &value);

        if (str_eqc(name, "sort")) return value;
    }
    return str_c(catalog_sort_name(CATALOG_BY_DOWNLOADS));
}

/* The column that the rows are sorted by stays, whatever it costs. */
static void choose_columns(struct table_col out[COLUMNS], str sort, int width)
{
    static const enum column shown[CATALOG_SORTS] = {
        [CATALOG_BY_DOWNLOADS] = C_DOWNLOADS, [CATALOG_BY_LIKES] = C_LIKES,
        [CATALOG_BY_UPDATED] = C_UPDATED,     [CATALOG_BY_CREATED] = C_CREATED,
        [CATALOG_BY_SIZE] = C_SIZE,           [CATALOG_BY_PARAMS] = C_PARAMS,
        [CATALOG_BY_SPEED] = C_SPEED};

    memcpy(out, columns, sizeof columns);
    if (width >= WIDE) out[C_MODEL].min = 48;
    if (width < NARROW) out[C_MODEL].min = 26;
    if (width < NARROW) out[C_VERDICT].min = 12;
    for (int i = 0; i < CATALOG_SORTS; i++)
        if (i != CATALOG_BY_DOWNLOADS && str_eqc(sort, catalog_sort_name((enum catalog_sort)i)))
            out[shown[i]].drop = 0;
}

/* ---- a row ---- */

struct view {
    struct table t;
    bool many;      /* machines */
    bool all_run;   /* then nothing says so */
    bool estimated; /* something is */
    bool slow;      /* a machine does not know yet how fast it is */
};

static void put_params(struct view *v, const struct json *m)
{
    uint64_t all = answer_count(m, "parameters"), active = answer_count(m, "parameters_active");
    char a[HUMAN_TEXT], b[HUMAN_TEXT];

    if (!all)
        table_put(&v->t, TABLE_PLAIN, S(""));
    else if (active && active != all)
        table_printf(&v->t, TABLE_PLAIN, "%s/%s", human_params(all, a), human_params(active, b));
    else
        table_printf(&v->t, TABLE_PLAIN, "%s", human_params(all, a));
}

static void put_memory(struct view *v, const struct json *verdict)
{
    const struct json *memory = json_get(verdict, "memory");
    bool estimated = answer_is(memory, "estimated");

    v->estimated |= estimated && answer_count(memory, "total");
    answer_bytes(&v->t, estimated, answer_count(memory, "total"));
}

static void put_number(struct view *v, uint64_t n, const char *(*say)(uint64_t, char *))
{
    char text[HUMAN_TEXT];

    table_put(&v->t, TABLE_PLAIN, n ? arena_str(v->t.a, str_c(say(n, text))) : S(""));
}

static void put_day(struct view *v, uint64_t when)
{
    char text[HUMAN_TEXT];

    table_put(&v->t, TABLE_DIM,
              when ? arena_str(v->t.a, str_c(human_day((int64_t)when, text))) : S(""));
}

static void put_words(struct view *v, const struct json *m, const char *key)
{
    const struct json *items;
    size_t n = answer_items(m, key, &items);
    buf b = {.cap = 1024};

    for (size_t i = 0; i < n; i++) {
        if (i) buf_ch(&b, ' ');
        buf_str(&b, json_str(&items[i], S("")));
    }
    table_put(&v->t, TABLE_DIM, n ? arena_str(v->t.a, buf_view(&b)) : S(""));
    buf_fini(&b);
}

/* A format of it that we do not read. */
static str other_format(const struct json *m)
{
    const struct json *items;
    size_t n = answer_items(m, "formats", &items);

    for (size_t i = 0; i < n; i++) {
        str name = json_str(&items[i], S(""));

        if (!str_eqc(name, "gguf") && !str_eqc(name, "safetensors")) return name;
    }
    return S("");
}

static void put_verdict(struct view *v, const struct json *m)
{
    const struct json *verdict = json_get(m, "verdict");

    if (v->all_run || !verdict || verdict->type != JSON_OBJ)
        table_put(&v->t, TABLE_PLAIN, S(""));
    else
        answer_verdict(&v->t, verdict, answer_text(m, "architecture"), other_format(m));
}

static void put_model(struct view *v, const struct json *m)
{
    const struct json *verdict = json_get(m, "verdict"), *set = json_get(m, "set");
    bool guess = answer_is(set, "estimated");

    table_put(&v->t, TABLE_HEAD, answer_text(m, "id"));
    put_params(v, m);
    table_put(&v->t, TABLE_PLAIN, answer_text(set, "quantization"));
    answer_bytes(&v->t, guess, answer_count(set, "bytes"));
    v->estimated |= guess;
    put_memory(v, verdict);
    answer_speed(&v->t, verdict);
    put_number(v, answer_count(m, "context"), human_positions);
    table_put(&v->t, TABLE_PLAIN,
              v->many && answer_runs(verdict) ? answer_text(verdict, "machine") : S(""));
    put_number(v, answer_count(m, "downloads"), human_count);
    put_number(v, answer_count(m, "likes"), human_count);
    put_day(v, answer_count(m, "updated"));
    put_day(v, answer_count(m, "created"));
    table_put(&v->t, TABLE_DIM, answer_text(set, "format"));
    put_words(v, m, "capabilities");
    table_put(&v->t, TABLE_DIM, answer_text(m, "licence"));
    put_verdict(v, m);
}

/* ---- a page ---- */

static void look_through(struct view *v, const struct json *page)
{
    const struct json *models;
    size_t n = answer_items(page, "models", &models);
    str first = {0};

    v->slow = n && answer_unmeasured(page);
    v->all_run = true;
    for (size_t i = 0; i < n; i++) {
        const struct json *verdict = json_get(&models[i], "verdict");
        str machine = answer_text(verdict, "machine");

        v->all_run &= answer_runs(verdict);
        if (!first.p) first = machine;
        v->many |= !str_eq(first, machine);
    }
}

static void say_total(const struct json *page, size_t n, const struct table_look *l,
                      struct arena *a, buf *out)
{
    char shown[HUMAN_GROUPED], all[HUMAN_GROUPED];
    uint64_t total = answer_count(page, "total");
    str text;

    if (total > n)
        text = arena_printf(
            a,
            "%s of %s models, by %.*s; --limit shows more of them, --help lists the "
            "filters.",
            human_grouped(n, shown), human_grouped(total, all), STR(table_clean(a, sort_of(page))));
    else
        text = arena_printf(a, "%s model%s.", human_grouped(n, shown), n == 1 ? "" : "s");
    table_text(l, 0, 0, text, out);
}

static void say_hidden(const struct json *page, const struct table_look *l, struct arena *a,
                       buf *out)
{
    static const struct table_col cols[] = {{"", true, TABLE_NO_CUT, 0, 0},
                                            {"", false, TABLE_CUT_END, 30, 0}};
    const struct json *hidden = json_get(page, "hidden"), *reasons;
    size_t n = answer_items(hidden, "reasons", &reasons);
    uint64_t count = answer_count(hidden, "count");
    struct table t;
    char number[HUMAN_GROUPED];

    if (!count) return;
    if (n == 1) {
        table_text(l, 0, 2,
                   arena_printf(a, "%s hidden because %.*s; --all shows them.",
                                human_grouped(count, number),
                                STR(answer_text(&reasons[0], "text"))),
                   out);
        return;
    }
    table_init(&t, a, cols, 2);
    for (size_t i = 0; i < n; i++) {
        table_printf(&t, TABLE_PLAIN, "%s",
                     human_grouped(answer_count(&reasons[i], "count"), number));
        table_put(&t, TABLE_DIM, answer_text(&reasons[i], "text"));
    }
    table_text(
        l, 0, 2,
        arena_printf(a, "%s hidden because (--all shows them):", human_grouped(count, number)),
        out);
    table_write(&t, l, 2, out);
}

void catalog_view_page(const struct json *page, const struct table_look *l, struct arena *a,
                       buf *out)
{
    struct table_col cols[COLUMNS];
    const struct json *models;
    size_t n = answer_items(page, "models", &models);
    struct view v = {0};
    uint32_t shown = 0;

    choose_columns(cols, sort_of(page), l->width);
    look_through(&v, page);
    table_init(&v.t, a, cols, COLUMNS);
    for (size_t i = 0; i < n; i++)
        put_model(&v, &models[i]);
    if (n) {
        shown = table_write(&v.t, l, 0, out);
        buf_ch(out, '\n');
        say_total(page, n, l, a, out);
    } else if (answer_count(json_get(page, "hidden"), "count")) {
        buf_c(out, "No model that matches runs here.\n");
    } else {
        buf_c(out, "No model matches.\n");
    }
    if (v.estimated && (shown >> C_MEMORY & 1 || shown >> C_SIZE & 1))
        table_text(l, 0, 2,
                   S("~ is an estimate by the number of parameters; `rbee fit MODEL` reads the "
                     "file's header."),
                   out);
    if (answer_unjudged(page))
        table_text(
            l, 0, 2,
            S("No worker answers on any machine: nothing is judged, and all models are shown. "
              "`rbee fit` says why."),
            out);
    if (v.slow)
        table_text(l, 0, 2, S("Speeds are still being measured; ask again in a moment."), out);
    say_hidden(page, l, a, out);
}

/* ---- facets ---- */

/* One "llama 812", after a comma or at the beginning; values stay with their counts. */
static void put_item(const struct table_look *l, int indent, enum table_tone tone, str item,
                     int *at, buf *out)
{
    int width = table_columns(item);

    if (*at > indent) {
        buf_ch(out, ',');
        if (l->width && *at + 3 + width > l->width) {
            buf_printf(out, "\n%*s", indent, "");
            *at = indent;
        } else {
            buf_ch(out, ' ');
            *at += 2;
        }
    }
    table_tone(l, tone, item, out);
    *at += width;
}

static void put_values(const struct json *facet, const struct table_look *l, int indent,
                       struct arena *a, buf *out)
{
    const struct json *values;
    size_t n = answer_items(facet, "values", &values), left = 0;
    char count[HUMAN_GROUPED];
    int at = indent;

    for (size_t i = 0; i < n; i++) {
        bool chosen = answer_is(&values[i], "chosen");
        uint64_t many = answer_count(&values[i], "count");

        left += many && !chosen && l->width && i >= FACET_SHOWN;
        if (!chosen && (!many || (l->width && i >= FACET_SHOWN))) continue;
        put_item(l, indent, chosen ? TABLE_GOOD : TABLE_PLAIN,
                 arena_printf(a, "%.*s %s", STR(table_clean(a, answer_text(&values[i], "value"))),
                              human_grouped(many, count)),
                 &at, out);
    }
    if (left + answer_count(facet, "more"))
        put_item(
            l, indent, TABLE_DIM,
            arena_printf(a, "%s more", human_grouped(left + answer_count(facet, "more"), count)),
            &at, out);
    buf_ch(out, '\n');
}

void catalog_view_facets(const struct json *facets, const struct table_look *l, struct arena *a,
                         buf *out)
{
    size_t n;
    bool any = false;
    int widest = 0;

    facets = json_get(facets, "facets");
    n = facets && facets->type == JSON_OBJ ? facets->n : 0;
    for (size_t i = 0; i < n; i++)
        if ((int)facets->items[i].key.n > widest) widest = (int)facets->items[i].key.n;
    for (size_t i = 0; i < n; i++) {
        const struct json *f = &facets->items[i], *values;

        if (!answer_items(f, "values", &values)) continue;
        table_tone(l, TABLE_HEAD, table_clean(a, f->key), out);
        buf_printf(out, "%*s", widest + 2 - table_columns(f->key), "");
        put_values(f, l, widest + 2, a, out);
        any = true;
    }
    if (!any) buf_c(out, "No model matches.\n");
}
