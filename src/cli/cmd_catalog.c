/* cmd_catalog: `rbee catalog`: the catalogue of models that search and the queen read.
 *
 * What to fetch and what to print is decided here; the walks through the Hub's lists are
 * store/hubsync, files store/snapshot.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/os.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/human.h"
#include "store/hubapi.h"
#include "store/hubsync.h"
#include "store/snapshot.h"

struct catalog_opts {
    const char *action, *file, *list;
    int64_t limit, retries, stall_ms, pace_ms;
    bool all, full, replace, json;
};

static const struct opt rows[] = {
    {"limit", 'n', OPT_INT, offsetof(struct catalog_opts, limit), "N", NULL, NULL, 1, 1e9, NULL,
     NULL, "sync: the N most downloaded of each list; default: as last time, at first 20000"},
    {"all", 'a', OPT_BOOL, offsetof(struct catalog_opts, all), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "sync: all models of the lists"},
    {"list", 'l', OPT_ENUM, offsetof(struct catalog_opts, list), "LIST", "both",
     "both|gguf|safetensors", 0, 0, NULL, NULL, "sync: which list"},
    {"full", 0, OPT_BOOL, offsetof(struct catalog_opts, full), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "sync: go through the whole list, not only what changed since last time"},
    {"replace", 0, OPT_BOOL, offsetof(struct catalog_opts, replace), NULL, NULL, NULL, 0, 0, NULL,
     NULL, "import: what the file does not hold leaves the catalogue"},
    {"retries", 0, OPT_INT, offsetof(struct catalog_opts, retries), "N", "8", NULL, 0, 1000,
     "RBEE_PULL_RETRIES", "pull_retries", "sync: failures in a row before it gives up"},
    {"stall", 0, OPT_TIME, offsetof(struct catalog_opts, stall_ms), "TIME", "30s", NULL, 1000,
     3600000, "RBEE_PULL_STALL", "pull_stall", "sync: ask again after so long without a byte"},
    {"pace", 0, OPT_TIME, offsetof(struct catalog_opts, pace_ms), "TIME", "250ms", NULL, 0, 3600000,
     "RBEE_CATALOG_PACE", "catalog_pace", "sync: at least so long between two requests"},
    {"json", 0, OPT_BOOL, offsetof(struct catalog_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print as JSON"},
    {0},
};

static const struct opt_pos pos[] = {
    {"ACTION", offsetof(struct catalog_opts, action), true, false,
     "sync, status, import, export or check"},
    {"FILE", offsetof(struct catalog_opts, file), false, false,
     "import, export: the file, - for standard input or output"},
    {0},
};

static const struct opt_spec spec = {
    .opts = rows,
    .pos = pos,
    .command = "rbee catalog",
    .summary = "The catalogue of models that search works on.",
    .details =
        "sync fetches what the Hugging Face Hub says of its most downloaded models, no weights: "
        "at first 20,000 GGUF and 20,000 SafeTensors repositories, later what changed. It may be "
        "interrupted at any time and goes on from there. export writes the catalogue to one file, "
        "import takes such a file, or a reply of the Hub's API, on a machine without a network.",
    .examples = "rbee catalog sync\n"
                "rbee catalog sync --limit 50000 --list gguf\n"
                "rbee catalog export models.jsonl\n"
                "rbee catalog import models.jsonl",
};

/* ---- words ---- */

static const char *ago(int64_t then, char out[48])
{
    static const struct {
        const char *name;
        int64_t seconds;
    } units[] = {{"day", 86400}, {"hour", 3600}, {"minute", 60}};
    int64_t s = os_unix_time() - then;

    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        long long n = s / units[i].seconds;

        if (n < 1) continue;
        snprintf(out, 48, "%lld %s%s ago", n, units[i].name, n > 1 ? "s" : "");
        return out;
    }
    return "just now";
}

/* ---- sync ---- */

struct show {
    atomic_bool *interrupted;
    bool terminal, drawn;
    uint64_t told; /* models that the last plain line spoke of */
};

static bool on_stop(void *owner)
{
    struct show *s = owner;

    return atomic_load(s->interrupted);
}

static void on_bytes(const struct download_progress *p, void *owner)
{
    (void)p, (void)owner;
}

static void end_line(struct show *s)
{
    if (s->drawn) fputs("\r\033[K", stderr);
    s->drawn = false;
}

static void on_progress(const struct hubsync_progress *p, void *owner)
{
    struct show *s = owner;
    char seen[HUMAN_GROUPED], want[HUMAN_GROUPED], rate[HUMAN_GROUPED], bytes[24], line[160];
    int n;

    if (p->note) {
        end_line(s);
        fprintf(stderr, "%s: %s\n", p->list, p->note);
        return;
    }
    if (!s->terminal && p->seen >= s->told && p->seen < s->told + 5000) return;
    s->told = p->seen;
    n = snprintf(line, sizeof line, "%s: %s", p->list, human_grouped(p->seen, seen));
    if (p->want)
        n += snprintf(line + n, sizeof line - (size_t)n, " of %s", human_grouped(p->want, want));
    snprintf(line + n, sizeof line - (size_t)n, " models%s, %s a second, %s",
             p->whole ? "" : " that changed", human_grouped((uint64_t)p->rate, rate),
             cli_bytes(p->bytes, bytes));
    fprintf(stderr, s->terminal ? "\r\033[K%s" : "%s\n", line);
    fflush(stderr);
    s->drawn = s->terminal;
}

static void say_done(const char *list, const struct hubsync_done *d)
{
    char seen[HUMAN_GROUPED], added[HUMAN_GROUPED], changed[HUMAN_GROUPED], removed[HUMAN_GROUPED],
        bad[HUMAN_GROUPED];

    printf("%s: %s seen, %s new, %s changed, %s gone%s\n", list, human_grouped(d->seen, seen),
           human_grouped(d->added, added), human_grouped(d->changed, changed),
           human_grouped(d->removed, removed), d->resumed ? " (from where it was left)" : "");
    if (d->bad)
        printf("%s: %s could not be read and were left out; the first: %s\n", list,
               human_grouped(d->bad, bad), d->why);
    fflush(stdout);
}

static void write_done(struct jsonw *w, const char *list, const struct hubsync_done *d,
                       enum err err)
{
    jsonw_obj(w);
    jsonw_kc(w, "list", list);
    jsonw_kbool(w, "whole", d->whole);
    jsonw_kbool(w, "resumed", d->resumed);
    jsonw_kbool(w, "complete", !err);
    jsonw_kint(w, "seen", (int64_t)d->seen);
    jsonw_kint(w, "added", (int64_t)d->added);
    jsonw_kint(w, "changed", (int64_t)d->changed);
    jsonw_kint(w, "removed", (int64_t)d->removed);
    jsonw_kint(w, "unreadable", (int64_t)d->bad);
    jsonw_kint(w, "requests", (int64_t)d->requests);
    jsonw_kint(w, "bytes", (int64_t)d->bytes);
    jsonw_end(w, '}');
}

/* Models of the list that are wanted, as last time unless this time it is said. */
static enum err wanted(struct modeldb *db, const struct catalog_opts *o, const char *list,
                       uint64_t *out, struct err_info *e)
{
    struct modeldb_sync last;
    struct arena a;
    enum err err;

    *out = o->all ? 0 : o->limit ? (uint64_t)o->limit : HUBSYNC_WANT;
    if (o->all || o->limit) return ERR_OK;
    arena_init(&a, MIB(1));
    err = modeldb_sync_get(db, str_c(list), &a, &last, e);
    if (!err && last.started) *out = last.want;
    arena_fini(&a);
    return err;
}

static enum err sync_list(struct modeldb *db, const struct catalog_opts *o,
                          const struct download_conf *http, const char *list, struct jsonw *w,
                          struct err_info *e)
{
    struct show *s = http->owner;
    struct hubsync_conf c = {.http = http,
                             .list = list,
                             .whole = o->full,
                             .pace_ms = (uint32_t)o->pace_ms,
                             .progress = on_progress,
                             .owner = s};
    struct hubsync_done done = {0};
    enum err err = wanted(db, o, list, &c.want, e);

    if (err) return err;
    s->told = UINT64_MAX;
    err = hubsync_run(db, &c, &done, e);
    end_line(s);
    if (o->json)
        write_done(w, list, &done, err);
    else if (!err || done.seen)
        say_done(list, &done);
    return err;
}

static enum err sync_lists(struct modeldb *db, const struct catalog_opts *o,
                           const struct download_conf *http, struct jsonw *w, struct err_info *e)
{
    static const char *const lists[] = {"gguf", "safetensors"};
    enum err err = ERR_OK;

    for (size_t i = 0; i < sizeof lists / sizeof *lists && !err; i++)
        if (strcmp(o->list, "both") == 0 || strcmp(o->list, lists[i]) == 0)
            err = sync_list(db, o, http, lists[i], w, e);
    return err;
}

static enum err run_sync(struct modeldb *db, const struct catalog_opts *o, struct arena *a,
                         struct err_info *e)
{
    char endpoint[1024], token[LIMIT_PULL_TOKEN], models[HUMAN_GROUPED], bytes[24];
    struct show show = {.interrupted = client_catch_interrupt(), .terminal = isatty(2)};
    struct download_conf http = {.endpoint = endpoint,
                                 .n_streams = 1,
                                 .retries = (uint32_t)o->retries,
                                 .stall_ms = (uint32_t)o->stall_ms,
                                 .stop = on_stop,
                                 .progress = on_bytes,
                                 .owner = &show};
    struct modeldb_status st;
    struct err_info second;
    buf out = {.cap = MIB(1)};
    struct jsonw w;
    enum err err;

    if ((err = hubapi_endpoint(endpoint, e)) || (err = download_init(e))) return err;
    if (hubapi_token(token)) http.token = token;
    jsonw_init(&w, &out);
    jsonw_obj(&w);
    jsonw_key(&w, "lists");
    jsonw_arr(&w);
    err = sync_lists(db, o, &http, &w, e);
    jsonw_end(&w, ']');
    if (!modeldb_status(db, a, &st, err ? &second : e)) {
        jsonw_key(&w, "models");
        jsonw_uint(&w, st.models);
        jsonw_key(&w, "revision");
        jsonw_uint(&w, st.revision);
        if (!o->json && (!err || st.models))
            printf("The catalogue has %s models (%s).\n", human_grouped(st.models, models),
                   cli_bytes(st.bytes, bytes));
    }
    jsonw_end(&w, '}');
    if (o->json) printf("%.*s\n", STR(buf_view(&out)));
    buf_fini(&out);
    return err;
}

/* ---- status ---- */

static void write_scope(struct jsonw *w, const struct modeldb_sync *s)
{
    const struct {
        const char *name;
        uint64_t v;
    } numbers[] = {
        {"models", s->models},
        {"wanted", s->want},
        {"started", (uint64_t)s->started},
        {"whole", (uint64_t)s->whole},
        {"updated", (uint64_t)s->updated},
        {"seen", s->next.n ? s->seen : 0},
    };

    jsonw_obj(w);
    jsonw_kstr(w, "list", s->scope);
    jsonw_kstr(w, "endpoint", s->endpoint);
    jsonw_kbool(w, "unfinished", s->next.n > 0);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        jsonw_kint(w, numbers[i].name, (int64_t)numbers[i].v);
    jsonw_end(w, '}');
}

static void print_status_json(const struct modeldb_status *st)
{
    buf out = {.cap = MIB(1)};
    struct jsonw w;

    jsonw_init(&w, &out);
    jsonw_obj(&w);
    jsonw_kc(&w, "path", st->path);
    jsonw_kint(&w, "models", (int64_t)st->models);
    jsonw_kint(&w, "detailed", (int64_t)st->detailed);
    jsonw_kint(&w, "shapes", (int64_t)st->shapes);
    jsonw_kint(&w, "revision", (int64_t)st->revision);
    jsonw_kint(&w, "bytes", (int64_t)st->bytes);
    jsonw_key(&w, "lists");
    jsonw_arr(&w);
    for (size_t i = 0; i < st->n_scopes; i++)
        write_scope(&w, &st->scopes[i]);
    jsonw_end(&w, ']');
    jsonw_end(&w, '}');
    printf("%.*s\n", STR(buf_view(&out)));
    buf_fini(&out);
}

static void print_scope(const struct modeldb_sync *s)
{
    char models[HUMAN_GROUPED], want[HUMAN_GROUPED], seen[HUMAN_GROUPED], when[48], whole[48];

    printf("%-12.*s %s models", STR(s->scope), human_grouped(s->models, models));
    if (!s->started) {
        printf("%s\n", str_eqc(s->scope, MODELDB_ASKED) ? ", looked at one by one" : "");
        return;
    }
    if (s->want)
        printf(", of the %s most downloaded", human_grouped(s->want, want));
    else
        printf(", of all");
    if (s->updated) printf("; changes of %s", ago(s->updated, when));
    if (s->whole) printf(", all of %s", ago(s->whole, whole));
    putchar('\n');
    if (s->next.n)
        printf("%-12s not at its end: %s seen since %s; `rbee catalog sync` goes on\n", "",
               human_grouped(s->seen, seen), ago(s->started, when));
}

static enum err run_status(struct modeldb *db, const struct catalog_opts *o, struct arena *a,
                           struct err_info *e)
{
    char models[HUMAN_GROUPED], detailed[HUMAN_GROUPED], shapes[HUMAN_GROUPED], bytes[24];
    struct modeldb_status st;
    enum err err = modeldb_status(db, a, &st, e);

    if (err) return err;
    if (o->json) {
        print_status_json(&st);
        return ERR_OK;
    }
    printf("%-12s %s, %s\n", "catalogue", st.path, cli_bytes(st.bytes, bytes));
    printf("%-12s %s, of which %s with the sizes of their files; %s headers read\n", "models",
           human_grouped(st.models, models), human_grouped(st.detailed, detailed),
           human_grouped(st.shapes, shapes));
    for (size_t i = 0; i < st.n_scopes; i++)
        print_scope(&st.scopes[i]);
    if (!st.models) printf("It is empty: fill it with `rbee catalog sync`.\n");
    return ERR_OK;
}

/* ---- files ---- */

static enum err need_file(const struct catalog_opts *o, struct err_info *e)
{
    if (o->file) return ERR_OK;
    return ERR_FAIL(e, INVALID, "rbee catalog %s needs a FILE, or - for standard %s", o->action,
                    strcmp(o->action, "import") == 0 ? "input" : "output");
}

static enum err run_import(struct modeldb *db, const struct catalog_opts *o, struct arena *a,
                           struct err_info *e)
{
    struct show show = {.interrupted = client_catch_interrupt()};
    struct snapshot_conf c = {.replace = o->replace, .stop = on_stop, .owner = &show};
    char models[HUMAN_GROUPED], added[HUMAN_GROUPED], changed[HUMAN_GROUPED],
        removed[HUMAN_GROUPED], older[HUMAN_GROUPED], bad[HUMAN_GROUPED];
    struct snapshot_done d;
    enum err err;

    (void)a;
    if ((err = need_file(o, e)) || (err = snapshot_import(db, o->file, &c, &d, e))) return err;
    if (o->json) {
        printf("{\"models\":%llu,\"added\":%llu,\"changed\":%llu,\"removed\":%llu,\"older\":%llu,"
               "\"unreadable\":%llu}\n",
               (unsigned long long)d.models, (unsigned long long)d.added,
               (unsigned long long)d.changed, (unsigned long long)d.removed,
               (unsigned long long)d.older, (unsigned long long)d.bad);
        return ERR_OK;
    }
    printf("%s models: %s new, %s changed, %s gone", human_grouped(d.models, models),
           human_grouped(d.added, added), human_grouped(d.changed, changed),
           human_grouped(d.removed, removed));
    if (d.older) printf(", %s older than here", human_grouped(d.older, older));
    putchar('\n');
    if (d.bad)
        printf("%s could not be read and were left out; the first: %s\n", human_grouped(d.bad, bad),
               d.why);
    return ERR_OK;
}

static enum err run_export(struct modeldb *db, const struct catalog_opts *o, struct arena *a,
                           struct err_info *e)
{
    char models[HUMAN_GROUPED];
    uint64_t n = 0;
    enum err err;

    (void)a;
    if ((err = need_file(o, e)) || (err = snapshot_export(db, o->file, &n, e))) return err;
    if (strcmp(o->file, "-") == 0) return ERR_OK;
    if (o->json)
        printf("{\"models\":%llu}\n", (unsigned long long)n);
    else
        printf("%s models in %s\n", human_grouped(n, models), o->file);
    return ERR_OK;
}

static enum err run_check(struct modeldb *db, const struct catalog_opts *o, struct arena *a,
                          struct err_info *e)
{
    enum err err = modeldb_check(db, e);

    (void)a;
    if (!err) printf(o->json ? "{\"sound\":true}\n" : "The catalogue is sound.\n");
    return err;
}

static const struct {
    const char *name;
    enum err (*run)(struct modeldb *db, const struct catalog_opts *o, struct arena *a,
                    struct err_info *e);
    bool file;
} actions[] = {
    {"sync", run_sync, false},    {"status", run_status, false}, {"import", run_import, true},
    {"export", run_export, true}, {"check", run_check, false},
};

static enum err run(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    struct catalog_opts o;
    struct modeldb *db;
    struct arena a;
    size_t i = 0, n = sizeof actions / sizeof *actions;
    bool help;
    enum err err;

    if ((err = cli_parse(cmd, argc, argv, &o, &help, e)) || help) return err;
    while (i < n && strcmp(actions[i].name, o.action) != 0)
        i++;
    if (i == n)
        return ERR_FAIL(e, INVALID,
                        "rbee catalog does not know '%s': sync, status, import, export or check",
                        o.action);
    if (o.file && !actions[i].file)
        return ERR_FAIL(e, INVALID, "rbee catalog %s takes no file, but there is '%s'", o.action,
                        o.file);
    if (o.all && o.limit) return ERR_FAIL(e, INVALID, "--all and --limit do not go together");
    if ((err = modeldb_open(&db, NULL, e))) return err;
    arena_init(&a, MIB(16));
    err = actions[i].run(db, &o, &a, e);
    arena_fini(&a);
    modeldb_close(db);
    return err;
}

const struct cli_cmd cmd_catalog = {
    .name = "catalog",
    .group = "Find models",
    .summary = "the catalogue of models: fetch, copy, look at it",
    .spec = &spec,
    .run = run,
};
