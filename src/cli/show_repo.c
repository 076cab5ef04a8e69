/* show_repo: see show_repo.h.
 *
 * The answer is that of /v1/catalog/models/{id} (docs/http.md); what does not run is shown too,
 * with the reasons. On one machine a file has a line with memory and speed; on several each machine
 * has a column, and on very many only their number is said.
 */
#include "cli/show_repo.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/url.h"
#include "cli/answer.h"
#include "cli/human.h"

#define MACHINE_COLUMNS 4
#define WAIT            "15" /* seconds for what the Hub has to be asked for */

struct page {
    const struct json *v, *model, *machines;
    size_t n_machines;
    str want; /* a quantisation or a file; empty: not said */
    struct table_look look;
    struct arena *a;
    buf *out;
};

/* ---- facts ---- */

static void fact(const struct page *p, const char *label, str text)
{
    table_fact(&p->look, label, TABLE_PLAIN, table_clean(p->a, text), p->out);
}

static void fact_list(const struct page *p, const char *label, const char *key)
{
    const struct json *items;
    size_t n = answer_items(p->model, key, &items);
    buf b = {.cap = KIB(64)};

    for (size_t i = 0; i < n; i++) {
        if (i) buf_c(&b, ", ");
        buf_str(&b, json_str(&items[i], S("")));
    }
    fact(p, label, buf_view(&b));
    buf_fini(&b);
}

static void fact_arch(const struct page *p)
{
    str arch = answer_text(p->model, "architecture"), family = answer_text(p->model, "family");
    uint64_t all = answer_count(p->model, "parameters"),
             used = answer_count(p->model, "parameters_active");
    char a[HUMAN_TEXT], b[HUMAN_TEXT];
    bool named = str_eqc(answer_text(p->model, "parameters_from"), "name");

    if (family.n && !str_eq(arch, family) && arch.n)
        fact(p, "architecture", arena_printf(p->a, "%.*s (as %.*s)", STR(arch), STR(family)));
    else
        fact(p, "architecture", arch.n ? arch : family);
    if (all && used && used != all)
        fact(p, "parameters",
             arena_printf(p->a, "%s, %s of them for each token", human_params(all, a),
                          human_params(used, b)));
    else if (all)
        fact(p, "parameters",
             arena_printf(p->a, "%s%s", human_params(all, a), named ? ", by the name" : ""));
    if (answer_count(p->model, "context"))
        fact(p, "context",
             arena_printf(p->a, "%s positions",
                          human_positions(answer_count(p->model, "context"), a)));
}

static void fact_use(const struct page *p)
{
    uint64_t created = answer_count(p->model, "created"),
             updated = answer_count(p->model, "updated");
    char a[HUMAN_TEXT], b[HUMAN_TEXT];

    if (answer_count(p->model, "downloads"))
        fact(p, "used",
             arena_printf(p->a, "%s downloads, %s likes",
                          human_count(answer_count(p->model, "downloads"), a),
                          human_count(answer_count(p->model, "likes"), b)));
    if (updated)
        fact(p, "updated",
             arena_printf(p->a, "%s%s%s", human_day((int64_t)updated, a),
                          created ? ", created " : "",
                          created ? human_day((int64_t)created, b) : ""));
    if (answer_is(p->model, "disabled"))
        table_fact(&p->look, "disabled", TABLE_BAD, S("the Hub does not give it out"), p->out);
}

static void facts(const struct page *p)
{
    table_tone(&p->look, TABLE_HEAD, table_clean(p->a, answer_text(p->model, "id")), p->out);
    buf_ch(p->out, '\n');
    fact_arch(p);
    fact(p, "task", answer_text(p->model, "task"));
    fact_list(p, "can", "capabilities");
    fact_list(p, "languages", "languages");
    fact(p, "licence", answer_text(p->model, "licence"));
    fact(p, "made from", answer_text(p->model, "base_model"));
    fact_use(p);
}

/* ---- weights ---- */

/* A set that is one file by the file's path, of several by what their names have in common. */
static void put_set(struct table *t, const struct json *set)
{
    const struct json *files;
    size_t n = answer_items(set, "files", &files);

    if (n == 1)
        table_put(t, TABLE_PLAIN, json_str(&files[0], S("")));
    else if (n)
        table_printf(t, TABLE_PLAIN, "%.*s, %zu files",
                     STR(str_sub(answer_text(set, "name"), 0, 900)), n);
    else
        table_put(t, TABLE_PLAIN, answer_text(set, "name"));
}

static void put_size(struct table *t, const struct json *set, const struct json *verdict)
{
    uint64_t bytes = answer_count(set, "bytes");

    if (bytes)
        answer_bytes(t, false, bytes);
    else
        answer_bytes(t, true, answer_count(json_get(verdict, "memory"), "weights"));
}

static void put_memory(struct table *t, const struct json *verdict)
{
    const struct json *memory = json_get(verdict, "memory");

    answer_bytes(t, answer_is(memory, "estimated"), answer_count(memory, "total"));
}

/* Of one machine among others. */
static void put_brief(struct table *t, const struct json *verdict)
{
    double rate = json_num(json_get(verdict, "decode_tokens_per_s"), 0);
    char text[HUMAN_TEXT];

    if (rate > 0 && answer_runs(verdict))
        table_printf(t, TABLE_GOOD, "%s tok/s", human_rate(rate, text));
    else
        answer_verdict(t, verdict, S(""), S(""));
}

static void put_machines(struct table *t, const struct json *verdicts, size_t n)
{
    size_t n_run = 0;

    for (size_t i = 0; i < n; i++)
        n_run += answer_runs(json_get(&verdicts[i], "verdict"));
    table_printf(t, n_run ? TABLE_GOOD : TABLE_BAD, "%zu of %zu machines", n_run, n);
}

/* The smallest first: who has little memory reads from the top. Sizes of files, else as judged. */
static uint64_t size_of(const struct json *set)
{
    const struct json *verdicts;
    uint64_t bytes = answer_count(set, "bytes");

    if (bytes || !answer_items(set, "verdicts", &verdicts)) return bytes;
    return answer_count(json_get(json_get(&verdicts[0], "verdict"), "memory"), "weights");
}

static size_t sorted_sets(const struct page *p, const struct json ***out)
{
    const struct json *sets, *verdicts, **v;
    size_t n = answer_items(p->v, "sets", &sets), kept = 0;

    *out = v = ARENA_NEW(p->a, const struct json *, n + 1);
    for (size_t i = 0; v && i < n; i++) {
        size_t at = kept;

        if (!answer_items(&sets[i], "verdicts", &verdicts)) continue;
        for (; at > 0 && size_of(v[at - 1]) > size_of(&sets[i]); at--)
            v[at] = v[at - 1];
        v[at] = &sets[i];
        kept++;
    }
    return kept;
}

static size_t weight_columns(const struct page *p, struct table_col *cols)
{
    static const struct table_col first[] = {{"WEIGHTS", false, TABLE_CUT_MIDDLE, 32, 0},
                                             {"QUANT", false, TABLE_NO_CUT, 0, 4},
                                             {"SIZE", true, TABLE_NO_CUT, 0, 3},
                                             {"MEMORY", true, TABLE_NO_CUT, 0, 2}};
    static const struct table_col one[] = {{"TOK/S", true, TABLE_NO_CUT, 0, 1},
                                           {"SURE", false, TABLE_NO_CUT, 0, 5},
                                           {"VERDICT", false, TABLE_CUT_END, 14, 0}};
    size_t n = sizeof first / sizeof *first;

    memcpy(cols, first, sizeof first);
    if (p->n_machines == 1) {
        memcpy(cols + n, one, sizeof one);
        return n + sizeof one / sizeof *one;
    }
    if (p->n_machines > MACHINE_COLUMNS) {
        cols[n] = (struct table_col){"RUNS ON", false, TABLE_NO_CUT, 0, 0};
        return n + 1;
    }
    for (size_t i = 0; i < p->n_machines; i++) {
        str name = arena_str(p->a, table_clean(p->a, answer_text(&p->machines[i], "machine")));

        cols[n++] = (struct table_col){name.p ? name.p : "?", false, TABLE_CUT_END, 12, 0};
    }
    return n;
}

/* What the list calls it; a header that was read may say otherwise, and stands above the table. */
static str arch_of(const struct page *p)
{
    return answer_count(json_get(p->v, "rests_on"), "headers")
               ? S("")
               : answer_text(p->model, "architecture");
}

static void weights(const struct page *p)
{
    struct table_col cols[TABLE_COLS_MAX];
    const struct json **set;
    size_t n_cols = weight_columns(p, cols), n = sorted_sets(p, &set);
    struct table t;

    if (!n) return;
    table_init(&t, p->a, cols, n_cols);
    for (size_t i = 0; i < n; i++) {
        const struct json *verdicts, *first;
        size_t n_verdicts = answer_items(set[i], "verdicts", &verdicts);

        first = json_get(&verdicts[0], "verdict");
        put_set(&t, set[i]);
        table_put(&t, TABLE_PLAIN, answer_text(set[i], "quantization"));
        put_size(&t, set[i], first);
        put_memory(&t, first);
        if (p->n_machines == 1) {
            answer_speed(&t, first);
            table_put(&t, TABLE_DIM, answer_runs(first) ? answer_text(first, "confidence") : S(""));
            answer_verdict(&t, first, arch_of(p), answer_text(set[i], "format"));
        } else if (p->n_machines > MACHINE_COLUMNS) {
            put_machines(&t, verdicts, n_verdicts);
        }
        for (size_t k = 0;
             p->n_machines > 1 && p->n_machines <= MACHINE_COLUMNS && k < p->n_machines; k++)
            put_brief(&t, k < n_verdicts ? json_get(&verdicts[k], "verdict") : NULL);
    }
    buf_ch(p->out, '\n');
    table_write(&t, &p->look, 0, p->out);
    if (answer_unmeasured(p->v))
        table_text(&p->look, 0, 0, S("Speeds are still being measured; ask again in a moment."),
                   p->out);
}

/* ---- the other files ---- */

static bool is_in_set(const struct page *p, const struct json *file)
{
    const struct json **set;
    size_t n = sorted_sets(p, &set);
    str name = answer_text(file, "set");

    for (size_t i = 0; i < n && name.n; i++)
        if (str_eq(name, answer_text(set[i], "name"))) return true;
    return false;
}

static void file_table(const struct page *p, const char *head, const char *which)
{
    const struct table_col cols[] = {{head, false, TABLE_CUT_MIDDLE, 32, 0},
                                     {"SIZE", true, TABLE_NO_CUT, 0, 0},
                                     {"KIND", false, TABLE_NO_CUT, 0, 1}};
    const struct json *files;
    size_t n = answer_items(json_get(p->v, "files"), which, &files);
    struct table t;

    table_init(&t, p->a, cols, 3);
    for (size_t i = 0; i < n; i++) {
        str kind = answer_text(&files[i], "kind");

        if (is_in_set(p, &files[i])) continue;
        table_put(&t, TABLE_PLAIN, answer_text(&files[i], "path"));
        answer_bytes(&t, false, answer_count(&files[i], "bytes"));
        table_put(&t, TABLE_DIM, str_eqc(kind, "other") ? S("") : kind);
    }
    if (!t.n_cells) return;
    buf_ch(p->out, '\n');
    table_write(&t, &p->look, 0, p->out);
}

static void other_files(const struct page *p, bool all)
{
    const struct json *more;
    size_t n = answer_items(json_get(p->v, "files"), "more", &more);
    char count[HUMAN_GROUPED];

    file_table(p, "BESIDE THEM", "shown");
    if (all)
        file_table(p, "MORE FILES", "more");
    else if (n)
        table_text(&p->look, 0, 0,
                   arena_printf(p->a, "%s more file%s; --files lists %s.", human_grouped(n, count),
                                n == 1 ? "" : "s", n == 1 ? "it" : "them"),
                   p->out);
}

/* ---- the verdict in words ---- */

/* Is this the set that was asked for by a quantisation, a file or its name? */
static bool is_wanted(const struct page *p, const struct json *set)
{
    const struct json *files;
    size_t n = answer_items(set, "files", &files);

    for (size_t i = 0; i < n; i++)
        if (str_eq(json_str(&files[i], S("")), p->want)) return true;
    return str_eq(answer_text(set, "name"), p->want) ||
           str_ieq(answer_text(set, "quantization"), p->want);
}

/* On the set that was asked for, else on the one that suits the machines best, or on the whole
 * where there are no sets. */
static const struct json *best_verdict(const struct page *p)
{
    const struct json *sets, *verdicts;
    size_t n = answer_items(p->v, "sets", &sets);
    str best = answer_text(p->v, "best");

    for (size_t i = 0; i < n; i++) {
        size_t n_verdicts = answer_items(&sets[i], "verdicts", &verdicts);

        if (!n_verdicts ||
            !(p->want.n ? is_wanted(p, &sets[i]) : str_eq(answer_text(&sets[i], "name"), best)))
            continue;
        for (size_t k = 0; k < n_verdicts; k++)
            if (answer_runs(json_get(&verdicts[k], "verdict")))
                return json_get(&verdicts[k], "verdict");
        return json_get(&verdicts[0], "verdict");
    }
    return answer_items(p->v, "verdicts", &verdicts) ? json_get(&verdicts[0], "verdict") : NULL;
}

static void lines(const struct page *p, const char *label, enum table_tone tone,
                  const struct json *verdict, const char *key)
{
    const struct json *items;
    size_t n = answer_items(verdict, key, &items);

    for (size_t i = 0; i < n; i++)
        table_fact(&p->look, label, tone, table_clean(p->a, json_str(&items[i], S(""))), p->out);
}

static void verdict_facts(const struct page *p)
{
    const struct json *verdict = best_verdict(p), *rests = json_get(p->v, "rests_on");
    bool good = p->want.n ? answer_runs(verdict) : answer_is(p->v, "runs");

    if (answer_unjudged(p->v))
        table_fact(&p->look, "verdict", TABLE_WARN,
                   S("not judged: no worker answers on any machine; `rbee fit` says why"), p->out);
    if (!verdict) return;
    buf_ch(p->out, '\n');
    table_fact(&p->look, "verdict", good ? TABLE_GOOD : TABLE_BAD,
               good                               ? S("runs")
               : answer_is(verdict, "compatible") ? S("too large")
                                                  : S("does not run"),
               p->out);
    if (!good) lines(p, "because", TABLE_PLAIN, verdict, "reasons");
    lines(p, "note", TABLE_WARN, verdict, "warnings");
    lines(p, "instead", TABLE_PLAIN, verdict, "recommendations");
    if (good)
        fact(p, "sure",
             arena_printf(p->a, "%.*s: %.*s", STR(answer_text(verdict, "confidence")),
                          STR(answer_text(verdict, "evidence"))));
    table_fact(&p->look, "incomplete", TABLE_WARN, table_clean(p->a, answer_text(rests, "problem")),
               p->out);
    if (good)
        fact(p, "fetch it",
             arena_printf(p->a, "rbee pull %.*s%s%.*s", STR(answer_text(p->model, "id")),
                          p->want.n ? ":" : "", STR(p->want)));
}

/* ---- asking ---- */

static void say(const struct show_repo *o, const struct json *v, struct arena *a, buf *out)
{
    struct page p = {
        .v = v, .model = json_get(v, "model"), .want = o->name.want, .a = a, .out = out};

    table_look_of(&p.look, 1);
    p.n_machines = answer_items(v, "machines", &p.machines);
    facts(&p);
    verdict_facts(&p);
    weights(&p);
    other_files(&p, o->all_files);
}

static enum err target(const struct show_repo *o, buf *out, struct err_info *e)
{
    if (o->name.revision.n)
        return ERR_FAIL(e, INVALID,
                        "the catalogue has repositories as they are now: leave '@%.*s' away",
                        STR(o->name.revision));
    buf_c(out, "/v1/catalog/models/");
    url_encode(out, o->name.id, "");
    buf_c(out, "?all=true&wait=" WAIT);
    if (o->name.want.n) buf_c(out, "&set=");
    url_encode(out, o->name.want, "");
    return ERR_OK;
}

static enum err ask(const struct show_repo *o, const char *path, struct arena *a, buf *out,
                    struct err_info *e)
{
    struct client client = o->client;
    const struct json *v;
    struct jsonw w;
    enum err code;

    client_catch_interrupt();
    if ((code = client_ensure(&client, e))) return code;
    if ((code = client_json(&client, a, "GET", path, S(""), &v, e))) {
        if (code != ERR_NOMODEL && code != ERR_NOTFOUND) client_undo(&client);
        return code;
    }
    jsonw_init(&w, out);
    if (o->json)
        jsonw_value(&w, v);
    else
        say(o, v, a, out);
    if (o->json) buf_ch(out, '\n');
    if (out->failed) return ERR_FAIL(e, LIMIT, "the answer is too long to be shown");
    fwrite(out->p, 1, out->n, stdout);
    return ERR_OK;
}

enum err show_repo(const struct show_repo *o, struct err_info *e)
{
    buf path = {.cap = LIMIT_HTTP_TARGET}, out = {.cap = LIMIT_HTTP_REPLY};
    struct arena a;
    enum err code;

    arena_init(&a, LIMIT_REQ_ARENA);
    code = target(o, &path, e);
    if (!code)
        code =
            path.failed ? ERR_FAIL(e, LIMIT, "the name is too long") : ask(o, path.p, &a, &out, e);
    arena_fini(&a);
    buf_fini(&path);
    buf_fini(&out);
    return code;
}
