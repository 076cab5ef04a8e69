/* openai: reading request bodies. See openai.h.
 *
 * A table lists every field that is not a generation parameter with the function that reads it;
 * parameters are looked up in params.def's table, the rest in params_known.def. Faults are
 * collected and reported together.
 */
#include "proto/openai.h"

#include <math.h>
#include <string.h>

struct reading {
    struct openai_req *r;
    struct arena *a;
    buf faults, ignored;
    bool no_memory;
};

#define FAULTS_MAX ((size_t)400)

static void fault(struct reading *rd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void fault(struct reading *rd, const char *fmt, ...)
{
    va_list ap;

    if (rd->faults.n) buf_c(&rd->faults, "; ");
    va_start(ap, fmt);
    buf_vprintf(&rd->faults, fmt, ap);
    va_end(ap);
}

static void ignore(struct reading *rd, str name, const char *why)
{
    if (rd->r->strict) {
        fault(rd, "'%.*s': %s", STR(name), why);
        return;
    }
    if (rd->ignored.n) buf_c(&rd->ignored, ", ");
    buf_str(&rd->ignored, str_sub(name, 0, 64));
}

/* ---- fields ---- */

typedef void field_fn(struct reading *rd, const struct json *v);

static bool want(struct reading *rd, const struct json *v, enum json_type type)
{
    if (v->type == type) return true;
    fault(rd, "'%.*s' must be %s, not %s", STR(v->key), json_type_name(type),
          json_type_name(v->type));
    return false;
}

static void read_model(struct reading *rd, const struct json *v)
{
    if (!want(rd, v, JSON_STR)) return;
    if (v->s.n == 0 || v->s.n > 4096)
        fault(rd, "'model' must have 1 to 4096 bytes");
    else
        rd->r->model = v->s;
}

/* content: text, null (an assistant turn with tool calls) or parts, of which only text can be read.
 */
static bool check_content(struct reading *rd, const struct json *c, size_t at)
{
    if (!c || c->type == JSON_NULL || c->type == JSON_STR) return true;
    if (c->type != JSON_ARR) {
        fault(rd, "messages[%zu].content must be a string or an array of parts", at);
        return false;
    }
    for (size_t i = 0; i < c->n; i++) {
        str type = json_str(json_get(&c->items[i], "type"), S(""));

        if (!str_eqc(type, "text") || !json_get(&c->items[i], "text") ||
            json_get(&c->items[i], "text")->type != JSON_STR) {
            fault(rd, "messages[%zu].content[%zu]: only parts of type \"text\" can be read here%s",
                  at, i, str_starts(type, S("image")) ? ", this worker has no vision" : "");
            return false;
        }
    }
    return true;
}

static void read_messages(struct reading *rd, const struct json *v)
{
    if (rd->r->kind != OPENAI_CHAT) {
        ignore(rd, S("messages"), "belongs to /v1/chat/completions");
        return;
    }
    if (!want(rd, v, JSON_ARR)) return;
    if (v->n == 0) {
        fault(rd, "'messages' is empty");
        return;
    }
    for (size_t i = 0; i < v->n; i++) {
        const struct json *role = json_get(&v->items[i], "role");

        if (v->items[i].type != JSON_OBJ || !role || role->type != JSON_STR || role->s.n == 0) {
            fault(rd, "messages[%zu] must be an object with a role", i);
            return;
        }
        if (!check_content(rd, json_get(&v->items[i], "content"), i)) return;
    }
    rd->r->messages = v;
}

static bool is_ids(const struct json *v)
{
    if (v->type != JSON_ARR || v->n == 0) return false;
    for (size_t i = 0; i < v->n; i++) {
        if (v->items[i].type != JSON_INT || v->items[i].i < 0 || v->items[i].i > INT32_MAX)
            return false;
    }
    return true;
}

static bool read_one_prompt(struct reading *rd, const struct json *v, struct openai_prompt *p)
{
    if (v->type == JSON_STR) {
        p->text = v->s;
        return true;
    }
    if (is_ids(v)) {
        int32_t *ids = ARENA_NEW(rd->a, int32_t, v->n);

        if (!ids) {
            rd->no_memory = true;
            return false;
        }
        for (size_t i = 0; i < v->n; i++)
            ids[i] = (int32_t)v->items[i].i;
        p->ids = ids;
        p->n_ids = v->n;
        return true;
    }
    fault(rd, "'prompt' must be text, token ids, or an array of those");
    return false;
}

static void read_prompt(struct reading *rd, const struct json *v)
{
    struct openai_prompt *p;
    bool many = v->type == JSON_ARR && !is_ids(v);
    size_t n = many ? v->n : 1;

    if (rd->r->kind != OPENAI_COMPLETION) {
        ignore(rd, S("prompt"), "belongs to /v1/completions");
        return;
    }
    if (n == 0 || n > OPENAI_CHOICES_MAX) {
        fault(rd, "'prompt' must hold 1 to %d prompts", OPENAI_CHOICES_MAX);
        return;
    }
    if (!(p = ARENA_NEW(rd->a, struct openai_prompt, n))) {
        rd->no_memory = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (!read_one_prompt(rd, many ? &v->items[i] : v, &p[i])) return;
    }
    rd->r->prompts = p;
    rd->r->n_prompts = n;
}

static void read_stop(struct reading *rd, const struct json *v)
{
    size_t n = v->type == JSON_ARR ? v->n : 1;
    str *stops;

    if (v->type == JSON_NULL || n == 0) return;
    if (n > LIMIT_STOP_STRINGS) {
        fault(rd, "'stop' has %zu strings, at most %d are allowed", n, LIMIT_STOP_STRINGS);
        return;
    }
    if (!(stops = ARENA_NEW(rd->a, str, n))) {
        rd->no_memory = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const struct json *s = v->type == JSON_ARR ? &v->items[i] : v;

        if (s->type != JSON_STR || s->s.n == 0 || s->s.n > LIMIT_STOP_LEN) {
            fault(rd, "'stop' must be strings of 1 to %zu bytes", LIMIT_STOP_LEN);
            return;
        }
        stops[i] = s->s;
    }
    rd->r->stops = stops;
    rd->r->n_stops = n;
}

static void read_stream(struct reading *rd, const struct json *v)
{
    if (v->type != JSON_NULL && want(rd, v, JSON_BOOL)) rd->r->stream = v->b;
}

static void read_stream_options(struct reading *rd, const struct json *v)
{
    if (v->type != JSON_NULL && want(rd, v, JSON_OBJ))
        rd->r->include_usage = json_bool(json_get(v, "include_usage"), false);
}

static void read_n(struct reading *rd, const struct json *v)
{
    if (v->type == JSON_NULL) return;
    if (v->type != JSON_INT || v->i < 1 || v->i > OPENAI_CHOICES_MAX)
        fault(rd, "'n' must be 1 to %d", OPENAI_CHOICES_MAX);
    else
        rd->r->n = (int)v->i;
}

/* A switch in chat, a count in completions. */
static void read_logprobs(struct reading *rd, const struct json *v)
{
    if (v->type == JSON_NULL) return;
    if (rd->r->kind == OPENAI_CHAT || v->type == JSON_BOOL) {
        if (want(rd, v, JSON_BOOL)) rd->r->logprobs = v->b;
        return;
    }
    if (v->type != JSON_INT || v->i < 0 || v->i > LIMIT_TOP_LOGPROBS) {
        fault(rd, "'logprobs' must be 0 to %d", LIMIT_TOP_LOGPROBS);
        return;
    }
    rd->r->logprobs = true;
    rd->r->params.top_logprobs = v->i;
}

static void read_tools(struct reading *rd, const struct json *v)
{
    if (v->type == JSON_NULL) return;
    if (want(rd, v, JSON_ARR) && v->n) rd->r->tools = v;
}

static void read_kwargs(struct reading *rd, const struct json *v)
{
    if (v->type == JSON_NULL) return;
    if (want(rd, v, JSON_OBJ)) rd->r->template_kwargs = v;
}

static void read_keep_alive(struct reading *rd, const struct json *v)
{
    if (v->type == JSON_NULL) return;
    if (openai_keep_alive(v, &rd->r->keep_alive_ms))
        rd->r->has_keep_alive = true;
    else
        fault(rd, "'keep_alive' must be seconds or a time such as \"5m\"; -1 keeps for ever");
}

static void read_strict(struct reading *rd, const struct json *v)
{
    (void)rd, (void)v; /* read before the others, see openai_parse() */
}

static void read_echo(struct reading *rd, const struct json *v)
{
    if (v->type != JSON_NULL && want(rd, v, JSON_BOOL)) rd->r->echo = v->b;
}

static void read_parse_special(struct reading *rd, const struct json *v)
{
    if (want(rd, v, JSON_BOOL)) rd->r->raw_special = v->b;
}

static void read_response_format(struct reading *rd, const struct json *v)
{
    str type = json_str(json_get(v, "type"), S("text"));

    if (v->type == JSON_NULL || str_eqc(type, "text")) return;
    fault(rd, "'response_format' of type \"%.*s\" is not something this worker can enforce",
          STR(str_sub(type, 0, 40)));
}

static void read_nothing(struct reading *rd, const struct json *v)
{
    (void)rd, (void)v; /* metadata for the provider: no effect on what is generated */
}

static const struct field {
    const char *name;
    field_fn *read;
} fields[] = {
    {"model", read_model},
    {"messages", read_messages},
    {"prompt", read_prompt},
    {"stop", read_stop},
    {"stream", read_stream},
    {"stream_options", read_stream_options},
    {"n", read_n},
    {"logprobs", read_logprobs},
    {"tools", read_tools},
    {"chat_template_kwargs", read_kwargs},
    {"keep_alive", read_keep_alive},
    {"ttl", read_keep_alive},
    {"strict", read_strict},
    {"echo", read_echo},
    {"parse_special", read_parse_special},
    {"response_format", read_response_format},
    {"user", read_nothing},
    {"metadata", read_nothing},
    {"store", read_nothing},
    {"service_tier", read_nothing},
    {"safety_identifier", read_nothing},
    {"prompt_cache_key", read_nothing},
};

static const struct {
    const char *name, *why;
} known[] = {
#define KNOWN(name, why) {name, why},
#include "proto/params_known.def"
#undef KNOWN
};

static void read_param(struct reading *rd, const struct params_row *row, const struct json *v)
{
    char *at = (char *)&rd->r->params + row->at;
    double d;

    if (v->type == JSON_NULL) return;
    if (row->type == PARAMS_BOOL) {
        if (want(rd, v, JSON_BOOL)) memcpy(at, &v->b, sizeof v->b);
        return;
    }
    if (!json_is_num(v)) {
        fault(rd, "'%.*s' must be a number", STR(v->key));
        return;
    }
    d = json_num(v, 0);
    if (row->type == PARAMS_INT && d != floor(d)) {
        fault(rd, "'%.*s' must be a whole number", STR(v->key));
        return;
    }
    if (!(d >= row->min && d <= row->max)) {
        fault(rd, "'%.*s' must be between %g and %g", STR(v->key), row->min, row->max);
        return;
    }
    if (row->type == PARAMS_INT) {
        params_INT i = json_int(v, 0);

        memcpy(at, &i, sizeof i);
    } else {
        memcpy(at, &d, sizeof d);
    }
}

static void read_member(struct reading *rd, const struct json *v)
{
    const struct params_row *row;

    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (str_eqc(v->key, fields[i].name)) {
            fields[i].read(rd, v);
            return;
        }
    }
    if ((row = params_find(v->key.p, v->key.n))) {
        read_param(rd, row, v);
        return;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (str_eqc(v->key, known[i].name)) {
            if (v->type != JSON_NULL) ignore(rd, v->key, known[i].why);
            return;
        }
    }
    ignore(rd, v->key, "nobody knows this field");
}

static void check_whole(struct reading *rd)
{
    struct openai_req *r = rd->r;

    if (r->model.n == 0 && rd->faults.n == 0) fault(rd, "'model' is missing");
    if (r->kind == OPENAI_CHAT && !r->messages && rd->faults.n == 0)
        fault(rd, "'messages' is missing");
    if (r->kind == OPENAI_COMPLETION && !r->prompts && rd->faults.n == 0)
        fault(rd, "'prompt' is missing");
    if (r->n_prompts * (size_t)r->n > OPENAI_CHOICES_MAX)
        fault(rd, "prompts times 'n' must be at most %d", OPENAI_CHOICES_MAX);
    if (r->kind == OPENAI_CHAT && r->params.top_logprobs > 0 && !r->logprobs)
        fault(rd, "'top_logprobs' needs 'logprobs': true");
    if (r->echo && r->stream) fault(rd, "'echo' cannot be streamed");
}

enum err openai_parse(struct openai_req *r, enum openai_kind kind, const struct json *body,
                      struct arena *a, struct err_info *e)
{
    struct reading rd = {.r = r, .a = a};
    enum err code = ERR_OK;

    *r = (struct openai_req){.kind = kind, .n = 1};
    params_default(&r->params);
    if (kind == OPENAI_COMPLETION) r->params.max_tokens = 16; /* the API's own default */
    if (body->type != JSON_OBJ)
        return ERR_FAIL(e, INVALID, "the body must be a JSON object, not %s",
                        json_type_name(body->type));
    r->strict = json_bool(json_get(body, "strict"), false);
    buf_init(&rd.faults, FAULTS_MAX);
    buf_init(&rd.ignored, FAULTS_MAX);
    /* At once, so that what fails later is too long, not without memory. */
    rd.no_memory = !buf_reserve(&rd.faults, FAULTS_MAX) || !buf_reserve(&rd.ignored, FAULTS_MAX);
    for (size_t i = 0; i < body->n; i++)
        read_member(&rd, &body->items[i]);
    if (kind == OPENAI_CHAT) r->n_prompts = 1;
    check_whole(&rd);
    r->ignored = arena_str(a, buf_view(&rd.ignored));
    if (rd.no_memory || !r->ignored.p)
        code = ERR_FAIL(e, NOMEM, "no memory to read the request");
    else if (rd.faults.failed && !rd.faults.n)
        code = ERR_FAIL(e, INVALID, "a field is wrong, and its name is too long to repeat");
    else if (rd.faults.n)
        code = ERR_FAIL(e, INVALID, "%.*s%s", STR(buf_view(&rd.faults)),
                        rd.faults.failed ? "; and more" : "");
    buf_fini(&rd.faults);
    buf_fini(&rd.ignored);
    return code;
}

bool openai_keep_alive(const struct json *v, int64_t *ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"ms", 1}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}, {"", 1e3}};
    double d;

    if (json_is_num(v)) {
        d = json_num(v, 0) * 1e3;
    } else if (v->type == JSON_STR) {
        size_t i = 0;

        for (;; i++) {
            str u = str_c(units[i].unit);

            if (i + 1 == sizeof units / sizeof units[0] || (u.n && str_ends(v->s, u))) {
                if (!str_num(str_sub(v->s, 0, v->s.n - u.n), &d)) return false;
                d *= units[i].ms;
                break;
            }
        }
    } else {
        return false;
    }
    if (d < 0)
        *ms = OPENAI_KEEP_FOREVER;
    else if (d > 1e15)
        return false;
    else
        *ms = (int64_t)d;
    return true;
}
