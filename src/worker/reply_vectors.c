/* reply_vectors: see reply_vectors.h.
 *
 * Every text is a job of its own, so that the engine batches them with those of other requests. The
 * first fault ends the request; jobs that are still inside are cancelled and waited for.
 */
#include "worker/reply_vectors.h"

#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/embed.h"
#include "model/gguf.h"

struct vectors_reply {
    struct reply_model *m;
    struct vectors_reply *next, **prev;
    struct http_req *http;  /* NULL once the client has gone or the reply has ended */
    struct arena arena;     /* ids, jobs and rows: what the engine sees */
    struct vectors_req req; /* views into the request's arena: valid while `http` is there */
    struct gen_job *jobs;
    float *rows; /* [n_jobs][n] */
    uint32_t n;  /* values of a row */
    size_t n_jobs, n_done;
};

static const struct engine *engine_of(const struct vectors_reply *rp)
{
    return host_engine(rp->m->host);
}

static void reply_free(struct vectors_reply *rp)
{
    if ((*rp->prev = rp->next)) rp->next->prev = rp->prev;
    arena_fini(&rp->arena);
    mem_free(rp);
}

static void cancel(struct vectors_reply *rp)
{
    for (size_t i = 0; i < rp->n_jobs; i++)
        atomic_store(&rp->jobs[i].cancel, true);
}

void reply_vectors_cancel_all(struct reply_model *m)
{
    for (struct vectors_reply *rp = m->vectors; rp; rp = rp->next)
        cancel(rp);
}

static void on_gone(struct http_req *r)
{
    struct vectors_reply *rp = r->owner;

    rp->http = NULL;
    cancel(rp);
}

/* The client gets the error instead of a reply; the jobs are waited for. */
static void fail(struct vectors_reply *rp, enum err code, const char *text)
{
    struct http_req *r = rp->http;

    if (!r) return;
    rp->http = NULL;
    r->gone = NULL;
    cancel(rp);
    http_error(r, code, "%s", text);
}

/* ---- texts to ids ---- */

static enum err append(struct vectors_reply *rp, buf *ids, str text, unsigned flags,
                       struct err_info *e)
{
    int32_t *more;
    size_t n;
    enum err code = tok_encode(engine_tok(engine_of(rp)), &rp->arena, text, flags, &more, &n, e);

    if (!code) buf_put(ids, more, n * sizeof *more);
    return code;
}

/* A template of the model's file: "{query}" and "{document}" stand for the texts. Control tokens
 * are those of the template alone, whatever the texts spell. */
static enum err fill_template(struct vectors_reply *rp, str form, const str text[2], buf *ids,
                              struct err_info *e)
{
    static const char *const names[2] = {"{query}", "{document}"};
    const struct tok *t = engine_tok(engine_of(rp));
    buf run = {.cap = LIMIT_HTTP_BODY};
    enum err code = ERR_OK;

    for (size_t i = 0; i < form.n && !code;) {
        str rest = str_sub(form, i, form.n), control = {0};
        size_t end = str_find(rest, S(">"), 0), skip = 1;
        int32_t id = -1;

        if (rest.p[0] == '<' && end != SIZE_MAX) control = str_sub(rest, 0, end + 1);
        if (control.n) id = tok_find(t, control);
        if (id >= 0 && tok_kind(t, id) == TOK_CONTROL) {
            code = append(rp, ids, buf_view(&run), 0, e);
            buf_clear(&run);
            buf_put(ids, &id, sizeof id);
            skip = control.n;
        } else if (str_starts(rest, str_c(names[0])) || str_starts(rest, str_c(names[1]))) {
            int which = str_starts(rest, str_c(names[1]));

            buf_str(&run, text[which]);
            skip = strlen(names[which]);
        } else {
            buf_ch(&run, rest.p[0]);
        }
        i += skip;
    }
    if (!code) code = append(rp, ids, buf_view(&run), 0, e);
    if (!code && run.failed) code = ERR_FAIL(e, LIMIT, "the texts are too long");
    buf_fini(&run);
    return code;
}

/* Query and document as the model was trained to read them: by a template in its file, else one
 * after the other, each with the special tokens that end a text, between them one more separator
 * where the file asks for it. */
static enum err encode_pair(struct vectors_reply *rp, const str text[2], buf *ids,
                            struct err_info *e)
{
    const struct gguf *g = engine_gguf(engine_of(rp));
    const struct tok *t = engine_tok(engine_of(rp));
    uint32_t sep = UINT32_MAX;
    bool add_sep = false;
    int32_t *second, bos;
    str form = {0};
    size_t n;
    enum err code;

    if ((code = gguf_get_str(g, "tokenizer.chat_template.rerank", &form, e)) ||
        (code = gguf_get_bool(g, "tokenizer.ggml.add_sep_token", &add_sep, e)) ||
        (code = gguf_get_u32(g, "tokenizer.ggml.seperator_token_id", &sep, e)))
        return code;
    if (form.n) return fill_template(rp, form, text, ids, e);
    if ((code = append(rp, ids, text[0], TOK_ADD_SPECIAL, e)) ||
        (code = tok_encode(t, &rp->arena, text[1], TOK_ADD_SPECIAL, &second, &n, e)))
        return code;
    /* A WordPiece text ends with its separator anyway. */
    if (add_sep && sep < tok_count(t) && strcmp(tok_model_name(t), "bert") != 0)
        buf_put(ids, &sep, sizeof sep);
    bos = ids->n ? ((const int32_t *)(const void *)ids->p)[0] : -1;
    if (n && second[0] == bos && tok_kind(t, bos) == TOK_CONTROL) { /* one beginning for both */
        second++;
        n--;
    }
    buf_put(ids, second, n * sizeof *second);
    return ERR_OK;
}

static enum err encode(struct vectors_reply *rp, size_t i, buf *ids, struct err_info *e)
{
    const struct openai_prompt *p = &rp->req.inputs[i];
    const str pair[2] = {rp->req.query, p->text};

    if (rp->req.kind == VECTORS_RERANK) return encode_pair(rp, pair, ids, e);
    if (!p->ids) return append(rp, ids, p->text, TOK_ADD_SPECIAL, e);
    buf_put(ids, p->ids, p->n_ids * sizeof *p->ids);
    return ERR_OK;
}

/* ---- jobs ---- */

static enum err make_job(struct vectors_reply *rp, size_t i, struct err_info *e)
{
    uint32_t most = engine_n_prompt(engine_of(rp));
    buf ids = {.cap = (size_t)LIMIT_MODEL_CONTEXT * sizeof(int32_t)};
    struct gen_job *job = &rp->jobs[i];
    enum err code = encode(rp, i, &ids, e);
    size_t n = ids.n / sizeof(int32_t);
    int32_t *own = NULL;

    if (!code && ids.failed) code = ERR_FAIL(e, LIMIT, "text %zu is too long", i);
    if (!code && n == 0) code = ERR_FAIL(e, INVALID, "text %zu has no tokens", i);
    if (!code && n > most)
        code = ERR_FAIL(e, CONTEXT, "text %zu has %zu tokens, this worker reads %u of a text", i, n,
                        most);
    if (!code && !(own = ARENA_NEW(&rp->arena, int32_t, n)))
        code = ERR_FAIL(e, LIMIT, "the texts of this request are too long together");
    if (!code) {
        memcpy(own, ids.p, n * sizeof *own);
        *job = (struct gen_job){.prompt = own,
                                .n_prompt = (uint32_t)n,
                                .vector = rp->rows + i * rp->n,
                                .pooling = engine_pooling(engine_of(rp)),
                                .owner = rp};
        if (rp->req.has_pooling) job->pooling = rp->req.pooling;
    }
    buf_fini(&ids);
    return code;
}

/* Whether this model does what is asked for, in words for whoever asked. */
static enum err check_model(const struct vectors_reply *rp, struct err_info *e)
{
    enum engine_want want = engine_want(engine_of(rp));

    if (rp->req.kind == VECTORS_RERANK && want != ENGINE_SCORES)
        return ERR_FAIL(e, INVALID,
                        "'%s' has no classifier head: /v1/rerank needs a reranking model",
                        rp->m->name);
    if (rp->req.kind == VECTORS_EMBED && want != ENGINE_HIDDEN)
        return ERR_FAIL(e, INVALID, "'%s' %s: /v1/embeddings needs an embedding model", rp->m->name,
                        want == ENGINE_SCORES ? "ranks texts" : "generates text");
    if (rp->req.dimensions > rp->n)
        return ERR_FAIL(e, INVALID, "'dimensions' is %u; the vectors of '%s' have %u",
                        rp->req.dimensions, rp->m->name, rp->n);
    return ERR_OK;
}

static enum err make_jobs(struct vectors_reply *rp, struct err_info *e)
{
    size_t n = rp->req.n_inputs;
    enum err code;

    rp->n = engine_vector(engine_of(rp));
    if ((code = check_model(rp, e))) return code;
    rp->jobs = ARENA_NEW(&rp->arena, struct gen_job, n);
    rp->rows = ARENA_NEW(&rp->arena, float, n * rp->n);
    if (!rp->jobs || !rp->rows)
        return ERR_FAIL(e, LIMIT, "%zu vectors of %u values are too much for one request", n,
                        rp->n);
    for (size_t i = 0; i < n; i++)
        if ((code = make_job(rp, i, e))) return code;
    return ERR_OK;
}

/* Those that do not fit in the queue make the whole request fail. */
static void submit(struct vectors_reply *rp)
{
    size_t n = rp->req.n_inputs;
    struct err_info e;

    for (rp->n_jobs = 0; rp->n_jobs < n; rp->n_jobs++) {
        if (!host_submit(rp->m->host, &rp->jobs[rp->n_jobs], &e)) continue;
        http_set_header(rp->http, "Retry-After", "1");
        fail(rp, e.code, e.text);
        if (rp->n_jobs == 0) reply_free(rp);
        return;
    }
}

void reply_vectors_start(struct reply_model *m, struct http_req *r, enum vectors_kind kind)
{
    struct vectors_reply *rp;
    const struct json *body;
    struct err_info e;

    if (json_parse(r->arena, r->body, &body, &e)) {
        http_error(r, ERR_INVALID, "the body is not JSON: %s", e.text);
        return;
    }
    if (!(rp = mem_alloc(sizeof *rp))) {
        http_error(r, ERR_NOMEM, "no memory for the request");
        return;
    }
    arena_init(&rp->arena, LIMIT_REQ_ARENA);
    rp->m = m;
    rp->http = r;
    rp->prev = &m->vectors;
    if ((rp->next = m->vectors)) rp->next->prev = &rp->next;
    m->vectors = rp;
    if (vectors_parse(&rp->req, kind, body, r->arena, &e) || make_jobs(rp, &e)) {
        http_error_info(r, &e);
        reply_free(rp);
        return;
    }
    r->owner = rp;
    r->gone = on_gone;
    if (rp->req.ignored.n) http_set_header(r, "X-Rbee-Ignored", rp->req.ignored.p);
    submit(rp);
}

/* ---- from the engine ---- */

static uint64_t tokens_of(const struct vectors_reply *rp)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < rp->n_jobs; i++)
        sum += rp->jobs[i].n_prompt;
    return sum;
}

static bool all_finite(const struct vectors_reply *rp)
{
    for (size_t i = 0; i < rp->n_jobs * rp->n; i++)
        if (!isfinite(rp->rows[i])) return false;
    return true;
}

static void write_vectors(struct vectors_reply *rp, buf *b)
{
    uint32_t n = rp->req.dimensions ? rp->req.dimensions : rp->n;

    for (size_t i = 0; rp->req.normalise && i < rp->n_jobs; i++)
        embed_normalise(rp->rows + i * rp->n, n);
    vectors_reply(b, &rp->req, str_c(rp->m->name), rp->rows, rp->n, n, tokens_of(rp));
}

static void write_ranks(struct vectors_reply *rp, buf *b)
{
    struct vectors_rank *ranks = ARENA_NEW(&rp->arena, struct vectors_rank, rp->n_jobs);

    b->failed |= !ranks;
    for (size_t i = 0; ranks && i < rp->n_jobs; i++) {
        const float *labels = rp->rows + i * rp->n;

        ranks[i].index = i;
        ranks[i].score = rp->req.raw_scores ? (double)labels[0] : embed_score(labels, rp->n);
    }
    if (ranks) vectors_sort(ranks, rp->n_jobs);
    if (ranks) vectors_rerank_reply(b, &rp->req, str_c(rp->m->name), ranks, tokens_of(rp));
}

static void finish(struct vectors_reply *rp)
{
    struct http_req *r = rp->http;
    buf b;

    if (!all_finite(rp)) {
        fail(rp, ERR_INTERNAL, "the model computed no finite values");
        return;
    }
    buf_init(&b, LIMIT_HTTP_REPLY);
    (rp->req.kind == VECTORS_EMBED ? write_vectors : write_ranks)(rp, &b);
    if (b.failed) {
        fail(rp, ERR_LIMIT, "the reply is too large; ask for fewer texts at a time");
    } else {
        rp->http = NULL;
        r->gone = NULL;
        http_reply(r, 200, "application/json", buf_view(&b));
    }
    buf_fini(&b);
}

void reply_vectors_on_msg(const struct chan_msg *msg)
{
    struct vectors_reply *rp = msg->job->owner;
    const struct gen_event *ev = &msg->ev;

    if (ev->type != GEN_DONE) return;
    if (ev->finish == GEN_ERROR) fail(rp, ev->error, ev->message ? ev->message : "");
    if (ev->finish == GEN_CANCELLED) fail(rp, ERR_CANCELLED, "the request was cancelled");
    if (++rp->n_done < rp->n_jobs) return;
    if (rp->http) finish(rp);
    reply_free(rp);
}
