/* ask: see ask.h. */
#include "cli/ask.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "store/store.h"

#define MAXED 32 /* parameters */

static char flags[MAXED][40], defaults[MAXED][32];

static const struct opt fixed[] = {
    {"system", 0, OPT_STR, offsetof(struct ask_opts, system), "TEXT", NULL, NULL, 0, 0, NULL, NULL,
     "system message"},
    {"stop", 0, OPT_LIST, offsetof(struct ask_opts, stop), "TEXT", NULL, NULL, 0, 0, NULL, NULL,
     "stop before this text; may be given several times"},
    {"raw", 0, OPT_BOOL, offsetof(struct ask_opts, raw), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "continue the prompt as it is, without the chat template"},
    {"keep-alive", 0, OPT_STR, offsetof(struct ask_opts, keep_alive), "TIME", NULL, NULL, 0, 0,
     NULL, NULL, "keep the model loaded this long afterwards; -1: for ever"},
    {"json", 0, OPT_BOOL, offsetof(struct ask_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print the whole reply as JSON, not the text"},
    {"verbose", 'v', OPT_BOOL, offsetof(struct ask_opts, verbose), NULL, NULL, NULL, 0, 0, NULL,
     NULL, "print token counts and speeds afterwards"},
    CLIENT_OPTS(struct ask_opts, client),
};

static struct opt row_of(const struct params_row *p, size_t i, size_t at)
{
    static const enum opt_type types[] = {
        [PARAMS_INT] = OPT_INT, [PARAMS_NUM] = OPT_NUM, [PARAMS_BOOL] = OPT_BOOL};

    snprintf(flags[i], sizeof flags[i], "%s", p->name);
    for (char *c = flags[i]; *c; c++) {
        if (*c == '_') *c = '-';
    }
    snprintf(defaults[i], sizeof defaults[i], "%.10g", p->dflt);
    return (struct opt){.flag = flags[i],
                        .type = types[p->type],
                        .at = at + offsetof(struct ask_opts, params) + p->at,
                        .arg = p->type == PARAMS_BOOL ? NULL : "N",
                        .dflt = p->type == PARAMS_BOOL ? NULL : defaults[i],
                        .min = p->type == PARAMS_BOOL ? 0 : p->min,
                        .max = p->type == PARAMS_BOOL ? 0 : p->max,
                        .help = p->help};
}

void ask_rows(struct opt rows[ASK_ROWS_MAX], size_t at, const struct opt *own)
{
    size_t n_params, n = 0;
    const struct params_row *p = params_rows(&n_params);

    for (; own->flag; own++)
        rows[n++] = *own;
    for (size_t i = 0; i < n_params && i < MAXED && n < ASK_ROWS_MAX - 1; i++)
        rows[n++] = row_of(&p[i], i, at);
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0] && n < ASK_ROWS_MAX - 1; i++) {
        rows[n] = fixed[i];
        rows[n++].at += at;
    }
    rows[n] = (struct opt){0};
}

enum err ask_resolve(const struct client *c, const char *model, char *out, size_t size,
                     struct err_info *e)
{
    static struct store st;
    struct store_model m;
    struct arena a;
    char path[STORE_PATH_MAX];
    enum err code;

    if (!client_is_local(c)) {
        snprintf(out, size, "%s", model);
        return ERR_OK;
    }
    if ((code = store_init(&st, e)) || (code = store_resolve(&st, str_c(model), path, e)))
        return code;
    arena_init(&a, LIMIT_STORE_ARENA);
    code = store_inspect(&st, &a, path, &m, e);
    if (!code && !m.runnable)
        code = err_fail(e, m.problem_code, __FILE__, __LINE__, "%.*s", STR(m.problem));
    arena_fini(&a);
    snprintf(out, size, "%s", path);
    return code;
}

static void write_params(struct jsonw *w, const struct params *p)
{
    size_t n;
    const struct params_row *row = params_rows(&n);

    for (size_t i = 0; i < n; i++) {
        const char *at = (const char *)p + row[i].at;
        params_INT v_int;
        params_NUM v_num;
        params_BOOL v_bool;

        jsonw_key(w, row[i].name);
        switch (row[i].type) {
        case PARAMS_INT:
            memcpy(&v_int, at, sizeof v_int);
            jsonw_int(w, v_int);
            break;
        case PARAMS_NUM:
            memcpy(&v_num, at, sizeof v_num);
            jsonw_num(w, v_num);
            break;
        case PARAMS_BOOL:
            memcpy(&v_bool, at, sizeof v_bool);
            jsonw_bool(w, v_bool);
            break;
        }
    }
}

static void write_turns(struct jsonw *w, const struct ask_opts *o, const struct ask_turn *turns,
                        size_t n)
{
    jsonw_key(w, "messages");
    jsonw_arr(w);
    if (o->system) {
        jsonw_obj(w);
        jsonw_kc(w, "role", "system");
        jsonw_kc(w, "content", o->system);
        jsonw_end(w, '}');
    }
    for (size_t i = 0; i < n; i++) {
        jsonw_obj(w);
        jsonw_kc(w, "role", turns[i].role);
        jsonw_kstr(w, "content", turns[i].text);
        jsonw_end(w, '}');
    }
    jsonw_end(w, ']');
}

static void write_body(buf *b, const struct ask_opts *o, const char *model,
                       const struct ask_turn *turns, size_t n)
{
    struct jsonw w;

    jsonw_init(&w, b);
    jsonw_obj(&w);
    jsonw_kc(&w, "model", model);
    if (o->raw)
        jsonw_kstr(&w, "prompt", turns[0].text);
    else
        write_turns(&w, o, turns, n);
    jsonw_kbool(&w, "stream", !o->json);
    if (!o->json) {
        jsonw_key(&w, "stream_options");
        jsonw_raw(&w, S("{\"include_usage\":true}"));
    }
    write_params(&w, &o->params);
    if (o->params.top_logprobs > 0 && !o->raw) jsonw_kbool(&w, "logprobs", true);
    if (o->stop.n) {
        jsonw_key(&w, "stop");
        jsonw_arr(&w);
        for (int i = 0; i < o->stop.n; i++)
            jsonw_c(&w, o->stop.v[i]);
        jsonw_end(&w, ']');
    }
    if (o->keep_alive) jsonw_kc(&w, "keep_alive", o->keep_alive);
    jsonw_end(&w, '}');
}

struct printing {
    buf *reply;
    bool ends_line;
    int errnum; /* why standard output takes no more; 0: it does */
};

static bool on_text(void *owner, str text)
{
    struct printing *p = owner;

    errno = 0;
    if (fwrite(text.p, 1, text.n, stdout) < text.n || fflush(stdout))
        p->errnum = errno ? errno : EIO;
    p->ends_line = text.p[text.n - 1] == '\n';
    if (p->reply) buf_str(p->reply, text);
    return p->errnum == 0;
}

static void print_usage(str usage)
{
    struct arena a;
    const struct json *v, *u, *t;

    arena_init(&a, MIB(1));
    if (json_parse(&a, usage, &v, NULL) == ERR_OK) {
        u = json_get(v, "usage");
        t = json_get(v, "timings");
        fprintf(
            stderr, "%lld prompt tokens (%lld cached) at %.1f/s, %lld generated at %.1f/s\n",
            (long long)json_int(json_get(u, "prompt_tokens"), 0),
            (long long)json_int(json_get(json_get(u, "prompt_tokens_details"), "cached_tokens"), 0),
            json_num(json_get(t, "prompt_per_second"), 0),
            (long long)json_int(json_get(u, "completion_tokens"), 0),
            json_num(json_get(t, "predicted_per_second"), 0));
    }
    arena_fini(&a);
}

static enum err ask_json(const struct ask_opts *o, const char *target, str body, struct err_info *e)
{
    struct arena a;
    const struct json *v;
    struct jsonw w;
    buf out = {.cap = LIMIT_HTTP_REPLY};
    enum err code;

    arena_init(&a, LIMIT_REQ_ARENA);
    if (!(code = client_json(&o->client, &a, "POST", target, body, &v, e))) {
        jsonw_init(&w, &out);
        jsonw_value(&w, v);
        puts(out.p);
    }
    buf_fini(&out);
    arena_fini(&a);
    return code;
}

enum err ask_model(const struct ask_opts *o, const char *model, const struct ask_turn *turns,
                   size_t n, buf *reply, struct err_info *e)
{
    buf body = {.cap = LIMIT_HTTP_BODY}, usage = {.cap = MIB(1)};
    struct printing p = {.reply = reply, .ends_line = true};
    struct client_stream s = {.target = o->raw ? "/v1/completions" : "/v1/chat/completions",
                              .on_text = on_text,
                              .owner = &p,
                              .usage = &usage};
    enum err code;

    write_body(&body, o, model, turns, n);
    if (body.failed) {
        code = ERR_FAIL(e, LIMIT, "the prompt is larger than the %zu bytes a request may have",
                        LIMIT_HTTP_BODY);
    } else if (o->json) {
        code = ask_json(o, s.target, buf_view(&body), e);
    } else {
        s.body = buf_view(&body);
        code = client_stream(&o->client, &s, e);
        if (p.errnum)
            code = err_errno(e, p.errnum, "write", "standard output");
        else if (!p.ends_line || isatty(1))
            putchar('\n');
        fflush(stdout);
        if (!code && o->verbose && usage.n) print_usage(buf_view(&usage));
    }
    buf_fini(&body);
    buf_fini(&usage);
    return code;
}
