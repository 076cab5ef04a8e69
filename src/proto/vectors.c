/* vectors: reading and writing the bodies of /v1/embeddings and /v1/rerank. See vectors.h.
 *
 * A table lists the fields of both; a field of the other endpoint counts as unknown.
 */
#include "proto/vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reading {
    struct vectors_req *r;
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

/* ---- fields ---- */

static void read_text(struct reading *rd, const struct json *v, str *out)
{
    if (v->type != JSON_STR || v->s.n == 0)
        fault(rd, "'%.*s' must be a string that is not empty", STR(v->key));
    else
        *out = v->s;
}

static void read_bool(struct reading *rd, const struct json *v, bool *out)
{
    if (v->type == JSON_BOOL)
        *out = v->b;
    else if (v->type != JSON_NULL)
        fault(rd, "'%.*s' must be true or false", STR(v->key));
}

static void read_model(struct reading *rd, const struct json *v)
{
    read_text(rd, v, &rd->r->model);
    if (rd->r->model.n > 4096) fault(rd, "'model' has more than 4096 bytes");
}

static bool is_ids(const struct json *v)
{
    if (v->type != JSON_ARR || v->n == 0) return false;
    for (size_t i = 0; i < v->n; i++)
        if (v->items[i].type != JSON_INT || v->items[i].i < 0 || v->items[i].i > INT32_MAX)
            return false;
    return true;
}

/* False when it is neither a text nor ids. */
static bool read_input(struct reading *rd, const struct json *v, struct openai_prompt *p)
{
    int32_t *ids;

    if (v->type == JSON_STR && v->s.n > 0) {
        p->text = v->s;
        return true;
    }
    if (!is_ids(v)) return false;
    ids = ARENA_NEW(rd->a, int32_t, v->n);
    rd->no_memory |= !ids;
    for (size_t i = 0; ids && i < v->n; i++)
        ids[i] = (int32_t)v->items[i].i;
    p->ids = ids;
    p->n_ids = v->n;
    return true;
}

static struct openai_prompt *room(struct reading *rd, const struct json *v, size_t n)
{
    struct openai_prompt *p = NULL;

    if (n == 0 || n > VECTORS_INPUTS_MAX)
        fault(rd, "'%.*s' must hold 1 to %d texts", STR(v->key), VECTORS_INPUTS_MAX);
    else if (!(p = ARENA_NEW(rd->a, struct openai_prompt, n)))
        rd->no_memory = true;
    rd->r->inputs = p;
    rd->r->n_inputs = p ? n : 0;
    return p;
}

static void read_inputs(struct reading *rd, const struct json *v)
{
    bool many = v->type == JSON_ARR && !is_ids(v);
    size_t n = many ? v->n : 1;
    struct openai_prompt *p = room(rd, v, n);

    for (size_t i = 0; p && i < n; i++) {
        if (read_input(rd, many ? &v->items[i] : v, &p[i])) continue;
        fault(rd, "'input' must be a text that is not empty, token ids, or an array of those");
        return;
    }
}

/* Strings, or objects with a text. */
static void read_documents(struct reading *rd, const struct json *v)
{
    struct openai_prompt *p;

    if (v->type != JSON_ARR) {
        fault(rd, "'documents' must be an array of texts");
        return;
    }
    p = room(rd, v, v->n);
    for (size_t i = 0; p && i < v->n; i++) {
        const struct json *d = &v->items[i];

        if (d->type == JSON_OBJ && json_get(d, "text")) d = json_get(d, "text");
        if (d->type != JSON_STR) {
            fault(rd, "documents[%zu] must be a string or an object with a text", i);
            return;
        }
        p[i].text = d->s;
    }
}

static void read_format(struct reading *rd, const struct json *v)
{
    str s = json_str(v, S(""));

    if (str_eqc(s, "base64"))
        rd->r->base64 = true;
    else if (!str_eqc(s, "float") && v->type != JSON_NULL)
        fault(rd, "'encoding_format' must be \"float\" or \"base64\"");
}

static void read_dimensions(struct reading *rd, const struct json *v)
{
    if (v->type == JSON_NULL) return;
    if (v->type != JSON_INT || v->i < 1 || v->i > (int64_t)LIMIT_MODEL_DIM)
        fault(rd, "'dimensions' must be 1 to the size of the model's vectors");
    else
        rd->r->dimensions = (uint32_t)v->i;
}

static void read_normalise(struct reading *rd, const struct json *v)
{
    read_bool(rd, v, &rd->r->normalise);
}

static void read_pooling(struct reading *rd, const struct json *v)
{
    static const enum meta_pooling offered[] = {POOLING_MEAN, POOLING_CLS, POOLING_LAST};

    if (v->type == JSON_NULL) return;
    for (size_t i = 0; i < sizeof offered / sizeof *offered; i++) {
        if (!str_eqc(json_str(v, S("")), meta_pooling_name(offered[i]))) continue;
        rd->r->pooling = offered[i];
        rd->r->has_pooling = true;
        return;
    }
    fault(rd, "'pooling' must be \"mean\", \"cls\" or \"last\"");
}

static void read_query(struct reading *rd, const struct json *v)
{
    read_text(rd, v, &rd->r->query);
}

static void read_top_n(struct reading *rd, const struct json *v)
{
    if (v->type == JSON_NULL) return;
    if (v->type != JSON_INT || v->i < 1)
        fault(rd, "'top_n' must be a whole number from 1");
    else
        rd->r->top_n = v->i > VECTORS_INPUTS_MAX ? VECTORS_INPUTS_MAX : (size_t)v->i;
}

static void read_with_documents(struct reading *rd, const struct json *v)
{
    read_bool(rd, v, &rd->r->with_documents);
}

static void read_raw_scores(struct reading *rd, const struct json *v)
{
    read_bool(rd, v, &rd->r->raw_scores);
}

static void read_keep_alive(struct reading *rd, const struct json *v)
{
    int64_t ms; /* the queen passes it to the hive */

    if (v->type != JSON_NULL && !openai_keep_alive(v, &ms))
        fault(rd, "'keep_alive' must be seconds or a time such as \"5m\"; -1 keeps for ever");
}

static void read_nothing(struct reading *rd, const struct json *v)
{
    (void)rd, (void)v;
}

enum { EMBED = 1 << VECTORS_EMBED, RERANK = 1 << VECTORS_RERANK };

static const struct field {
    const char *name;
    unsigned of;
    void (*read)(struct reading *rd, const struct json *v);
} fields[] = {
    {"model", EMBED | RERANK, read_model},   {"input", EMBED, read_inputs},
    {"encoding_format", EMBED, read_format}, {"dimensions", EMBED, read_dimensions},
    {"normalize", EMBED, read_normalise},    {"pooling", EMBED, read_pooling},
    {"query", RERANK, read_query},           {"documents", RERANK, read_documents},
    {"top_n", RERANK, read_top_n},           {"return_documents", RERANK, read_with_documents},
    {"raw_scores", RERANK, read_raw_scores}, {"keep_alive", EMBED | RERANK, read_keep_alive},
    {"user", EMBED | RERANK, read_nothing},
};

static void read_member(struct reading *rd, const struct json *v)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (!(fields[i].of & (1u << rd->r->kind)) || !str_eqc(v->key, fields[i].name)) continue;
        fields[i].read(rd, v);
        return;
    }
    if (rd->ignored.n) buf_c(&rd->ignored, ", ");
    buf_str(&rd->ignored, str_sub(v->key, 0, 64));
}

static void check_whole(struct reading *rd)
{
    const struct vectors_req *r = rd->r;

    if (rd->faults.n) return;
    if (r->model.n == 0) fault(rd, "'model' is missing");
    if (r->kind == VECTORS_RERANK && r->query.n == 0) fault(rd, "'query' is missing");
    if (r->n_inputs == 0 && !rd->no_memory)
        fault(rd, r->kind == VECTORS_EMBED ? "'input' is missing" : "'documents' is missing");
}

enum err vectors_parse(struct vectors_req *r, enum vectors_kind kind, const struct json *body,
                       struct arena *a, struct err_info *e)
{
    struct reading rd = {.r = r, .a = a};
    enum err code = ERR_OK;

    *r = (struct vectors_req){.kind = kind, .normalise = true};
    if (body->type != JSON_OBJ) return ERR_FAIL(e, INVALID, "the body must be a JSON object");
    buf_init(&rd.faults, FAULTS_MAX);
    buf_init(&rd.ignored, KIB(4));
    for (size_t i = 0; i < body->n; i++)
        read_member(&rd, &body->items[i]);
    check_whole(&rd);
    r->ignored = arena_str(a, buf_view(&rd.ignored));
    if (rd.no_memory || !r->ignored.p)
        code = ERR_FAIL(e, NOMEM, "no memory to read the request");
    else if (rd.faults.n)
        code = ERR_FAIL(e, INVALID, "%.*s%s", STR(buf_view(&rd.faults)),
                        rd.faults.failed ? "; and more" : "");
    buf_fini(&rd.faults);
    buf_fini(&rd.ignored);
    return code;
}

/* ---- replies ---- */

/* The shortest decimal that reads back as the same float32. */
static void put_float(struct jsonw *w, float v)
{
    char text[32];
    int digits = 6, n;

    do
        n = snprintf(text, sizeof text, "%.*g", digits, (double)v);
    while (digits++ < 9 && strtof(text, NULL) != v);
    jsonw_raw(w, (str){text, (size_t)n});
}

/* Little-endian float32 in base64 (RFC 4648), as OpenAI sends them. */
static void put_base64(struct jsonw *w, const float *v, uint32_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = (const uint8_t *)v;
    size_t bytes = (size_t)n * sizeof *v;
    char out[4];
    buf b;

    buf_init(&b, (size_t)n * 6 + 8);
    buf_ch(&b, '"');
    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        uint32_t x = (uint32_t)p[i] << 16;

        if (left > 1) x |= (uint32_t)p[i + 1] << 8;
        if (left > 2) x |= p[i + 2];
        for (int k = 0; k < 4; k++)
            out[k] = digits[x >> (18 - 6 * k) & 63];
        if (left < 3) out[3] = '=';
        if (left < 2) out[2] = '=';
        buf_put(&b, out, sizeof out);
    }
    buf_ch(&b, '"');
    w->b->failed |= b.failed;
    jsonw_raw(w, buf_view(&b));
    buf_fini(&b);
}

static void put_vector(struct jsonw *w, const struct vectors_req *r, const float *v, uint32_t n)
{
    jsonw_key(w, "embedding");
    if (r->base64) {
        put_base64(w, v, n);
        return;
    }
    jsonw_arr(w);
    for (uint32_t i = 0; i < n; i++)
        put_float(w, v[i]);
    jsonw_end(w, ']');
}

static void put_usage(struct jsonw *w, uint64_t tokens)
{
    jsonw_key(w, "usage");
    jsonw_obj(w);
    jsonw_kint(w, "prompt_tokens", (int64_t)tokens);
    jsonw_kint(w, "total_tokens", (int64_t)tokens);
    jsonw_end(w, '}');
}

void vectors_reply(buf *out, const struct vectors_req *r, str model, const float *rows,
                   size_t stride, uint32_t n, uint64_t tokens)
{
    struct jsonw w;

    jsonw_init(&w, out);
    jsonw_obj(&w);
    jsonw_kc(&w, "object", "list");
    jsonw_key(&w, "data");
    jsonw_arr(&w);
    for (size_t i = 0; i < r->n_inputs; i++) {
        jsonw_obj(&w);
        jsonw_kc(&w, "object", "embedding");
        jsonw_kint(&w, "index", (int64_t)i);
        put_vector(&w, r, rows + i * stride, n);
        jsonw_end(&w, '}');
    }
    jsonw_end(&w, ']');
    jsonw_kstr(&w, "model", model);
    put_usage(&w, tokens);
    if (r->ignored.n) jsonw_kstr(&w, "ignored_parameters", r->ignored);
    jsonw_end(&w, '}');
}

static int by_score(const void *a, const void *b)
{
    const struct vectors_rank *x = a, *y = b;

    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

void vectors_sort(struct vectors_rank *ranks, size_t n)
{
    qsort(ranks, n, sizeof *ranks, by_score);
}

void vectors_rerank_reply(buf *out, const struct vectors_req *r, str model,
                          const struct vectors_rank *ranks, uint64_t tokens)
{
    size_t n = r->top_n && r->top_n < r->n_inputs ? r->top_n : r->n_inputs;
    struct jsonw w;

    jsonw_init(&w, out);
    jsonw_obj(&w);
    jsonw_kc(&w, "object", "list");
    jsonw_kstr(&w, "model", model);
    jsonw_key(&w, "results");
    jsonw_arr(&w);
    for (size_t i = 0; i < n; i++) {
        jsonw_obj(&w);
        jsonw_kint(&w, "index", (int64_t)ranks[i].index);
        jsonw_knum(&w, "relevance_score", ranks[i].score);
        if (r->with_documents) {
            jsonw_key(&w, "document");
            jsonw_obj(&w);
            jsonw_kstr(&w, "text", r->inputs[ranks[i].index].text);
            jsonw_end(&w, '}');
        }
        jsonw_end(&w, '}');
    }
    jsonw_end(&w, ']');
    put_usage(&w, tokens);
    if (r->ignored.n) jsonw_kstr(&w, "ignored_parameters", r->ignored);
    jsonw_end(&w, '}');
}
