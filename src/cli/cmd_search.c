/* cmd_search: `rbee search`: models of the catalogue that run on one's machines.
 *
 * The flags are the fields of a query (model/catalog.def); the query is checked here by the code
 * that the queen checks it with, so that a wrong one starts nothing, and is sent in its canonical
 * form. The queen holds the index and judges it for the machines of her hives; one that does not
 * run is started, as for `rbee run`.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/os.h"
#include "cli/answer.h"
#include "cli/catalog_view.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "model/catalog.h"

#define ROWS_MAX   (CATALOG_FIELDS + 8)
#define SOON_NS    ((uint64_t)4 * 1000000000u)
#define MEASURE_NS ((uint64_t)12 * 1000000000u)
#define SAY_NS     ((uint64_t)700 * 1000000u)
#define POLL_NS    200000000

struct search_opts {
    struct client client;
    struct opt_list words, several[CATALOG_FIELDS];
    const char *one[CATALOG_FIELDS];
    bool on[CATALOG_FIELDS], facets, json;
};

/* ---- flags ---- */

static struct opt rows[ROWS_MAX];
static char flags[CATALOG_FIELDS][32], args[CATALOG_FIELDS][32], help[CATALOG_FIELDS][160];

static const struct opt fixed[] = {
    {"facets", 0, OPT_BOOL, offsetof(struct search_opts, facets), NULL, NULL, NULL, 0, 0, NULL,
     NULL, "print how many models there are of each kind, and no models"},
    {"json", 0, OPT_BOOL, offsetof(struct search_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print as JSON"},
    CLIENT_OPTS(struct search_opts, client),
};

/* Switches that are off unless they are given, or on; one that filters when it is off as well takes
 * a word. */
static bool is_switch(enum catalog_field f)
{
    return f == CATALOG_ALL || f == CATALOG_FITS;
}

static struct opt row_of(enum catalog_field f)
{
    const struct catalog_field_info *i = catalog_field(f);
    struct opt o = {.flag = flags[f],
                    .letter = f == CATALOG_ALL     ? 'a'
                              : f == CATALOG_LIMIT ? 'n'
                                                   : 0,
                    .arg = args[f],
                    .help = help[f]};
    const char *text = i->help;

    snprintf(flags[f], sizeof flags[f], "%s", i->name);
    for (char *c = flags[f]; *c; c++)
        if (*c == '_') *c = '-';
    snprintf(args[f], sizeof args[f], "%s", i->value);
    if (strstr(args[f], ",...")) *strstr(args[f], ",...") = 0; /* help says it of all lists */
    if (is_switch(f) && strncmp(text, "true: ", 6) == 0) text += 6;
    if (is_switch(f) && strncmp(text, "false: ", 7) == 0) text = "only what fits into memory";
    snprintf(help[f], sizeof help[f], "%s", text);
    if (is_switch(f)) {
        o.type = OPT_BOOL;
        o.at = offsetof(struct search_opts, on) + f * sizeof(bool);
        o.arg = NULL;
        o.dflt = f == CATALOG_FITS ? "true" : NULL;
    } else if (i->several) {
        o.type = OPT_LIST;
        o.at = offsetof(struct search_opts, several) + f * sizeof(struct opt_list);
    } else {
        o.type = OPT_STR;
        o.at = offsetof(struct search_opts, one) + f * sizeof(const char *);
    }
    return o;
}

static void prepare(void)
{
    size_t n = 0;

    for (int f = 0; f < CATALOG_FIELDS; f++)
        if (f != CATALOG_Q) rows[n++] = row_of((enum catalog_field)f);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        rows[n++] = fixed[i];
    rows[n] = (struct opt){0};
}

static const struct opt_pos pos[] = {
    {"WORDS", offsetof(struct search_opts, words), false, true,
     "words of the model's name, its author's or its base model's"},
    {0},
};

static const struct opt_spec spec = {
    .opts = rows,
    .pos = pos,
    .command = "rbee search",
    .summary = "Finds models that run on your machines, before anything is fetched.",
    .details =
        "Without a word or a filter it lists the models that most people fetch. What cannot run, "
        "or "
        "does not fit into the memory of one of your machines, is left out and counted with its "
        "reasons; --all and --no-fits show it. Several values of a filter, given with commas or by "
        "repeating it, are alternatives; capabilities must all be there. `rbee catalog sync` "
        "brings "
        "the catalogue up to date.",
    .examples = "rbee search qwen coder --size 4-9B\n"
                "rbee search --capability tools,vision --sort speed --ctx 16k --slots 4\n"
                "rbee search --max-memory 8GiB --licence apache-2.0,mit --json\n"
                "rbee search gemma --facets",
};

/* ---- the query ---- */

static enum err add(struct catalog_query *q, struct arena *a, enum catalog_field f,
                    const char *text, struct err_info *e)
{
    return catalog_query_set(q, a, str_c(catalog_field(f)->name), str_c(text), e);
}

static enum err read_flags(const struct search_opts *o, struct catalog_query *q, struct arena *a,
                           struct err_info *e)
{
    buf words = {.cap = LIMIT_INDEX_QUERY};
    enum err code = ERR_OK;

    for (int i = 0; i < o->words.n; i++)
        buf_printf(&words, "%s%s", i ? " " : "", o->words.v[i]);
    if (words.failed)
        code = ERR_FAIL(e, LIMIT, "the words are longer than %zu bytes", words.cap);
    else if (words.n)
        code = catalog_query_set(q, a, S("q"), arena_str(a, buf_view(&words)), e);
    buf_fini(&words);
    for (int i = 0; i < CATALOG_FIELDS && !code; i++) {
        enum catalog_field f = (enum catalog_field)i;

        for (int k = 0; k < o->several[i].n && !code; k++)
            code = add(q, a, f, o->several[i].v[k], e);
        if (!code && o->one[i]) code = add(q, a, f, o->one[i], e);
    }
    if (!code && o->on[CATALOG_ALL]) code = add(q, a, CATALOG_ALL, "true", e);
    if (!code && !o->on[CATALOG_FITS]) code = add(q, a, CATALOG_FITS, "false", e);
    return code;
}

/* ---- asking ---- */

struct search {
    struct search_opts o;
    struct arena a;
    struct table_look look;
    buf query, out;
};

static enum err ask(struct search *s, const char *path, str query, const struct json **v,
                    struct err_info *e)
{
    str target = arena_printf(&s->a, "%s%s%.*s", path, query.n ? "?" : "", STR(query));

    if (!target.p) return ERR_FAIL(e, NOMEM, "no memory for the query");
    return client_json(&s->o.client, &s->a, "GET", target.p, S(""), v, e);
}

static enum err show(struct search *s, const struct json *v, struct err_info *e)
{
    struct jsonw w;

    if (s->o.json) {
        jsonw_init(&w, &s->out);
        jsonw_value(&w, v);
        buf_ch(&s->out, '\n');
    } else if (s->o.facets) {
        catalog_view_facets(v, &s->look, &s->a, &s->out);
    } else {
        catalog_view_page(v, &s->look, &s->a, &s->out);
    }
    if (s->out.failed) return ERR_FAIL(e, LIMIT, "the answer is too long to be shown");
    fwrite(s->out.p, 1, s->out.n, stdout);
    return ERR_OK;
}

/* ---- machines that do not know yet how fast they are ---- */

/* A queen that was just started knows it in a moment, or, the first time on a machine, in some
 * seconds; an order by speed is none without. */
static uint64_t patience_ns(const struct search *s, const struct catalog_query *q)
{
    if (s->o.facets) return 0;
    return catalog_query_sort(q) == CATALOG_BY_SPEED ? MEASURE_NS
           : s->o.client.started_pid                 ? SOON_NS
                                                     : 0;
}

static enum err wait_measured(struct search *s, uint64_t patience, const struct json **v,
                              struct err_info *e)
{
    uint64_t begin = os_now_ns(), now = begin;
    const struct json *now_said = *v;
    bool said = false;
    enum err code;

    while (answer_unmeasured(now_said) && now - begin < patience) {
        if (!said && isatty(2) && now - begin > SAY_NS) {
            fputs("Measuring how fast the machine is, once...", stderr);
            said = true;
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
        if ((code = ask(s, "/v1/catalog/models", S("limit=1"), &now_said, e))) return code;
        now = os_now_ns();
    }
    if (said) fputs("\r\033[K", stderr);
    if (now == begin) return ERR_OK;
    return ask(s, "/v1/catalog/models", buf_view(&s->query), v, e);
}

/* ---- a catalogue without models ---- */

static bool is_empty(const struct json *v)
{
    const struct json *models = json_get(json_get(v, "index"), "models");

    return models && json_is_num(models) && json_int(models, 0) == 0;
}

/* False: no, or nobody is there to say so. */
static bool wants_sync(const struct search *s)
{
    char line[64] = "";

    if (s->o.json || !isatty(0) || !isatty(1) || !client_is_local(&s->o.client)) return false;
    fputs(
        "The catalogue of models is empty. Fetch what the Hub says of its most downloaded models, "
        "no weights? [y/N] ",
        stdout);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return false;
    return line[0] == 'y' || line[0] == 'Y';
}

static enum err fill(struct search *s, const char *path, const struct json **v, struct err_info *e)
{
    char command[] = "catalog", action[] = "sync", *argv[] = {command, action, NULL};
    enum err code;

    if (!is_empty(*v)) return ERR_OK;
    if (!wants_sync(s))
        return ERR_FAIL(e, NOTFOUND,
                        "the catalogue of models is empty: `rbee catalog sync` fetches the Hub's, "
                        "`rbee catalog import FILE` reads a snapshot");
    if ((code = cmd_catalog.run(&cmd_catalog, 2, argv, e))) return code;
    return ask(s, path, buf_view(&s->query), v, e);
}

static enum err search(struct search *s, struct err_info *e)
{
    const char *path = s->o.facets ? "/v1/catalog/facets" : "/v1/catalog/models";
    struct catalog_query q = {0};
    const struct json *v;
    enum err code, empty;

    if ((code = read_flags(&s->o, &q, &s->a, e))) return code;
    catalog_query_write(&q, &s->query);
    if (s->query.failed) return ERR_FAIL(e, LIMIT, "the query is too long");
    client_catch_interrupt();
    if ((code = client_ensure(&s->o.client, e))) return code;
    if ((code = ask(s, path, buf_view(&s->query), &v, e))) {
        client_undo(&s->o.client);
        return code;
    }
    if ((code = wait_measured(s, patience_ns(s, &q), &v, e))) return code;
    empty = fill(s, path, &v, e);
    if (empty && !s->o.json) return empty;
    code = show(s, v, empty ? NULL : e);
    return empty ? empty : code;
}

static enum err run(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    static struct search s;
    bool help_asked;
    enum err code;

    if ((code = cli_parse(cmd, argc, argv, &s.o, &help_asked, e)) || help_asked) return code;
    table_look_of(&s.look, 1);
    s.query.cap = LIMIT_INDEX_QUERY;
    s.out.cap = LIMIT_HTTP_REPLY;
    arena_init(&s.a, LIMIT_REQ_ARENA);
    code = search(&s, e);
    buf_fini(&s.query);
    buf_fini(&s.out);
    arena_fini(&s.a);
    return code;
}

const struct cli_cmd cmd_search = {
    .name = "search",
    .group = "Find models",
    .summary = "find models of the Hub that run on your machines",
    .spec = &spec,
    .prepare = prepare,
    .run = run,
};
