/* cmd_list: `rbee ls`, `ps` and `stop`: what is here, what runs, and ending it. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/human.h"
#include "cli/table.h"
#include "store/store.h"

/* ---- ls ---- */

struct list_opts {
    struct client client;
    bool json;
};

static const struct opt ls_rows[] = {
    {"json", 0, OPT_BOOL, offsetof(struct list_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print as JSON"},
    {0},
};

static const struct opt_spec ls_spec = {
    .opts = ls_rows, .command = "rbee ls", .summary = "Lists the models on this machine."};

static void ls_json(const struct store_model *m, size_t n, buf *out)
{
    struct jsonw w;

    jsonw_init(&w, out);
    jsonw_arr(&w);
    for (size_t i = 0; i < n; i++) {
        jsonw_obj(&w);
        jsonw_kstr(&w, "name", m[i].name);
        jsonw_kstr(&w, "path", m[i].path);
        jsonw_kint(&w, "bytes", (int64_t)m[i].bytes);
        jsonw_kint(&w, "modified", m[i].modified);
        jsonw_kbool(&w, "runnable", m[i].runnable);
        jsonw_kstr(&w, "architecture", m[i].architecture);
        jsonw_kstr(&w, "quantization", m[i].quantization);
        jsonw_kint(&w, "parameters", (int64_t)m[i].n_params);
        jsonw_kint(&w, "context", m[i].n_ctx);
        jsonw_kstr(&w, "problem", m[i].problem);
        jsonw_end(&w, '}');
    }
    jsonw_end(&w, ']');
    buf_ch(out, '\n');
}

static const struct table_col ls_cols[] = {
    {"NAME", false, TABLE_CUT_MIDDLE, 32, 0}, {"SIZE", true, TABLE_NO_CUT, 0, 0},
    {"ARCH", false, TABLE_CUT_END, 8, 3},     {"QUANT", false, TABLE_CUT_END, 8, 1},
    {"PARAMS", true, TABLE_NO_CUT, 0, 2},     {"CONTEXT", true, TABLE_NO_CUT, 0, 4},
    {"MODIFIED", false, TABLE_NO_CUT, 0, 5},  {"", false, TABLE_CUT_END, 24, 0},
};

static void ls_row(struct table *t, const struct store_model *m)
{
    time_t when = (time_t)m->modified;
    char size[24], text[HUMAN_TEXT], day[16];
    struct tm tm;

    strftime(day, sizeof day, "%Y-%m-%d", localtime_r(&when, &tm));
    table_put(t, TABLE_HEAD, m->name);
    table_printf(t, TABLE_PLAIN, "%s", cli_bytes(m->bytes, size));
    table_put(t, TABLE_PLAIN, m->architecture);
    table_put(t, TABLE_PLAIN, m->quantization);
    table_printf(t, TABLE_PLAIN, "%s", m->n_params ? human_params(m->n_params, text) : "");
    table_printf(t, TABLE_PLAIN, "%s", m->n_ctx ? human_positions(m->n_ctx, text) : "");
    table_printf(t, TABLE_DIM, "%s", day);
    if (m->runnable)
        table_put(t, TABLE_PLAIN, S(""));
    else
        table_printf(t, TABLE_BAD, "cannot run: %.*s", STR(m->problem));
}

static void ls_text(const struct store *st, const struct store_model *m, size_t n, struct arena *a,
                    buf *out)
{
    struct table_look look;
    struct table t;

    table_look_of(&look, 1);
    if (n == 0) {
        table_text(
            &look, 0, 0,
            arena_printf(a,
                         "No models here. `rbee pull ORG/REPO` fetches one into %s; files "
                         "put there are found too. `rbee search` finds models that run here.",
                         st->own),
            out);
        return;
    }
    table_init(&t, a, ls_cols, sizeof ls_cols / sizeof *ls_cols);
    for (size_t i = 0; i < n; i++)
        ls_row(&t, &m[i]);
    table_write(&t, &look, 0, out);
}

static enum err run_ls(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    static struct store st;
    struct list_opts o = {0};
    struct store_model *m;
    struct arena a;
    buf out = {.cap = LIMIT_HTTP_REPLY};
    size_t n;
    bool help;
    enum err code;

    if ((code = cli_parse(cmd, argc, argv, &o, &help, e)) || help) return code;
    if ((code = store_init(&st, e))) return code;
    arena_init(&a, LIMIT_STORE_ARENA);
    if (!(code = store_list(&st, &a, &m, &n, e))) {
        if (o.json)
            ls_json(m, n, &out);
        else
            ls_text(&st, m, n, &a, &out);
        fwrite(out.p, 1, out.n, stdout);
    }
    buf_fini(&out);
    arena_fini(&a);
    return code;
}

const struct cli_cmd cmd_ls = {
    .name = "ls",
    .alias = "list",
    .group = "Look at models",
    .summary = "list the models on this machine",
    .spec = &ls_spec,
    .run = run_ls,
};

/* ---- ps ---- */

static const struct opt ps_rows[] = {
    {"json", 0, OPT_BOOL, offsetof(struct list_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print as JSON"},
    CLIENT_OPTS(struct list_opts, client),
    {0},
};

static const struct opt_spec ps_spec = {
    .opts = ps_rows, .command = "rbee ps", .summary = "Lists the models that are loaded."};

static const struct table_col ps_cols[] = {
    {"MODEL", false, TABLE_CUT_MIDDLE, 20, 0}, {"STATE", false, TABLE_NO_CUT, 0, 0},
    {"PID", true, TABLE_NO_CUT, 0, 2},         {"MEMORY", true, TABLE_NO_CUT, 0, 0},
    {"ACTIVE", true, TABLE_NO_CUT, 0, 0},      {"TOKENS", true, TABLE_NO_CUT, 0, 1},
    {"UNLOADS IN", false, TABLE_NO_CUT, 0, 0},
};

static void ps_row(struct table *t, const struct json *w)
{
    const struct json *info = json_get(w, "info"), *expires = json_get(w, "expires_in_ms");
    char mem[24], until[32] = "in use";

    if (expires && json_is_num(expires))
        snprintf(until, sizeof until, "%llds", (long long)(json_int(expires, 0) / 1000));
    else if (json_int(json_get(w, "inflight"), 0) == 0)
        snprintf(until, sizeof until, "never");
    table_put(t, TABLE_HEAD, json_str(json_get(w, "model"), S("?")));
    table_put(t, TABLE_PLAIN, json_str(json_get(w, "state"), S("?")));
    table_printf(t, TABLE_PLAIN, "%lld", (long long)json_int(json_get(w, "pid"), 0));
    table_printf(t, TABLE_PLAIN, "%s",
                 cli_bytes((uint64_t)json_int(json_get(info, "rss_bytes"), 0), mem));
    table_printf(t, TABLE_PLAIN, "%lld/%lld", (long long)json_int(json_get(info, "active"), 0),
                 (long long)json_int(json_get(info, "slots"), 0));
    table_printf(t, TABLE_PLAIN, "%lld",
                 (long long)json_int(json_get(info, "completion_tokens"), 0));
    table_printf(t, TABLE_PLAIN, "%s", until);
}

static void ps_text(const struct json *list, struct arena *a, buf *out)
{
    struct table_look look;
    struct table t;

    table_look_of(&look, 1);
    table_init(&t, a, ps_cols, sizeof ps_cols / sizeof *ps_cols);
    for (size_t i = 0; i < list->n; i++)
        ps_row(&t, &list->items[i]);
    table_write(&t, &look, 0, out);
}

static enum err run_ps(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    struct list_opts o = {0};
    const struct json *v = NULL, *list = NULL;
    struct jsonw w;
    struct arena a;
    buf out = {.cap = LIMIT_HTTP_REPLY};
    bool help, up;
    enum err code;

    if ((code = cli_parse(cmd, argc, argv, &o, &help, e)) || help) return code;
    arena_init(&a, LIMIT_REQ_ARENA);
    up = client_alive(&o.client);
    if (up) code = client_json(&o.client, &a, "GET", "/v1/workers", S(""), &v, e);
    if (!code && o.json) {
        jsonw_init(&w, &out);
        if (v)
            jsonw_value(&w, v);
        else
            buf_c(&out, "{\"workers\":[]}");
        puts(out.p);
    } else if (!code) {
        list = json_get(v, "workers");
        if (!up) {
            printf("No queen answers at %s:%lld: nothing is loaded.\n", o.client.host,
                   (long long)o.client.port);
        } else if (!list || list->n == 0) {
            puts("Nothing is loaded.");
        } else {
            ps_text(list, &a, &out);
            fwrite(out.p, 1, out.n, stdout);
        }
    }
    buf_fini(&out);
    arena_fini(&a);
    return code;
}

const struct cli_cmd cmd_ps = {
    .name = "ps",
    .group = "Use models",
    .summary = "list the models that are loaded",
    .spec = &ps_spec,
    .run = run_ps,
};

/* ---- stop ---- */

struct stop_opts {
    struct client client;
    const char *model;
    bool all, queen, json;
};

static const struct opt stop_rows[] = {
    {"all", 'a', OPT_BOOL, offsetof(struct stop_opts, all), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "unload every model"},
    {"queen", 0, OPT_BOOL, offsetof(struct stop_opts, queen), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "end the queen on this machine, and with it everything it runs"},
    {"json", 0, OPT_BOOL, offsetof(struct stop_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print what was stopped as JSON"},
    CLIENT_OPTS(struct stop_opts, client),
    {0},
};

static const struct opt_pos stop_pos[] = {
    {"MODEL", offsetof(struct stop_opts, model), false, false, "model to unload"},
    {0},
};

static const struct opt_spec stop_spec = {
    .opts = stop_rows,
    .pos = stop_pos,
    .command = "rbee stop",
    .summary = "Unloads a model; returns when its memory is free.",
    .examples = "rbee stop rbee-tiny\nrbee stop --all\nrbee stop --queen",
};

static bool matches(const struct stop_opts *o, const struct json *w, const char *path)
{
    if (o->all) return true;
    return str_eqc(json_str(json_get(w, "model"), S("")), o->model) ||
           str_eqc(json_str(json_get(w, "path"), S("")), path);
}

static enum err stop_workers(const struct stop_opts *o, struct arena *a, int *n, struct err_info *e)
{
    static struct store st;
    const struct json *v, *list, *reply;
    char path[STORE_PATH_MAX] = "", target[64];
    enum err code;

    if (o->model && store_init(&st, e) == ERR_OK && store_resolve(&st, str_c(o->model), path, e))
        path[0] = 0;
    if ((code = client_json(&o->client, a, "GET", "/v1/workers", S(""), &v, e))) return code;
    list = json_get(v, "workers");
    for (size_t i = 0; list && i < list->n; i++) {
        if (!matches(o, &list->items[i], path)) continue;
        snprintf(target, sizeof target, "/v1/workers/%lld",
                 (long long)json_int(json_get(&list->items[i], "id"), 0));
        if ((code = client_json(&o->client, a, "DELETE", target, S(""), &reply, e))) return code;
        ++*n;
    }
    if (*n == 0 && o->model)
        return ERR_FAIL(e, NOTFOUND, "'%s' is not loaded; `rbee ps` lists what is", o->model);
    return ERR_OK;
}

static enum err wait_gone(const struct client *c, struct err_info *e)
{
    const struct timespec nap = {.tv_nsec = 20000000};

    for (int i = 0; i < 750; i++) {
        if (!client_alive(c)) return ERR_OK;
        nanosleep(&nap, NULL);
    }
    return ERR_FAIL(e, TIMEOUT, "the queen was told to end and still answers after 15 s");
}

static enum err run_stop(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    struct stop_opts o = {0};
    const struct json *v;
    struct arena a;
    int n = 0;
    bool help;
    enum err code;

    if ((code = cli_parse(cmd, argc, argv, &o, &help, e)) || help) return code;
    if (!o.model && !o.all && !o.queen)
        return ERR_FAIL(e, INVALID, "name a model, or give --all or --queen");
    if (!client_alive(&o.client))
        return ERR_FAIL(e, UNAVAILABLE, "no queen answers at %s:%lld: nothing is loaded",
                        o.client.host, (long long)o.client.port);
    arena_init(&a, LIMIT_REQ_ARENA);
    if (o.queen && !(code = client_json(&o.client, &a, "POST", "/v1/shutdown", S(""), &v, e)))
        code = wait_gone(&o.client, e);
    else if (!o.queen)
        code = stop_workers(&o, &a, &n, e);
    if (!code && o.json)
        printf("{\"stopped\":%d,\"queen\":%s}\n", n, o.queen ? "true" : "false");
    else if (!code)
        printf(o.queen ? "The queen has ended.\n" : "Unloaded %d model%s.\n", n, n == 1 ? "" : "s");
    arena_fini(&a);
    return code;
}

const struct cli_cmd cmd_stop = {
    .name = "stop",
    .group = "Use models",
    .summary = "unload a model, or end the queen",
    .spec = &stop_spec,
    .run = run_stop,
};
