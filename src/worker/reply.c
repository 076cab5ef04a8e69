/* reply: see reply.h. */
#include "worker/reply.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "worker/reply_vectors.h"

struct choice {
    struct gen_job job;
    struct reply *rp;
    int index;
    bool begun; /* the role was sent */
    bool done;
    enum gen_finish finish;
    buf text; /* whole text when not streamed; unsent text when streamed */
    struct openai_logprobs logprobs;
};

struct reply {
    struct reply_model *m;
    struct reply *next, **prev;
    struct http_req *http; /* NULL once the client has gone or the reply has ended */
    struct arena arena;
    struct openai_head head;
    struct openai_req req; /* without its trees: strings and arrays copied to `arena` */
    struct openai_usage usage;
    struct choice *choices;
    int n_choices, n_done;
    uint64_t said_ns; /* when the client last got a byte */
    bool failed;
};

static const char *const finish_names[] = {
    [GEN_STOP] = "stop",
    [GEN_LENGTH] = "length",
    [GEN_CANCELLED] = "stop",
    [GEN_ERROR] = "error",
};

static void reply_free(struct reply *rp)
{
    for (int i = 0; i < rp->n_choices; i++) {
        buf_fini(&rp->choices[i].text);
        openai_logprobs_fini(&rp->choices[i].logprobs);
    }
    if ((*rp->prev = rp->next)) rp->next->prev = rp->prev;
    rp->m->n_live--;
    arena_fini(&rp->arena);
    mem_free(rp);
}

static void cancel(struct reply *rp)
{
    for (int i = 0; i < rp->n_choices; i++)
        atomic_store(&rp->choices[i].job.cancel, true);
}

static void on_gone(struct http_req *r)
{
    struct reply *rp = r->owner;

    rp->http = NULL;
    log_ev(LOG_JOB_CANCELLED, "id", rp->head.id.p);
    cancel(rp);
}

void reply_cancel_all(struct reply_model *m)
{
    for (struct reply *rp = m->live; rp; rp = rp->next)
        cancel(rp);
    reply_vectors_cancel_all(m);
}

void reply_tick(struct reply_model *m)
{
    uint64_t now = os_now_ns();

    for (struct reply *rp = m->live; rp; rp = rp->next) {
        if (!rp->http || !rp->req.stream || now - rp->said_ns < REPLY_SILENCE_NS) continue;
        rp->said_ns = now;
        if (!http_begun(rp->http)) http_sse_begin(rp->http);
        http_sse_comment(rp->http, S("working"));
    }
}

/* ---- from the engine ---- */

static void piece(const struct tok *t, int32_t id, buf *out)
{
    buf_clear(out);
    tok_piece(t, id, true, out);
}

static void add_logprobs(struct choice *c, const struct gen_event *ev)
{
    const struct tok *t = engine_tok(host_engine(c->rp->m->host));
    struct openai_top top[LIMIT_TOP_LOGPROBS];
    buf texts[LIMIT_TOP_LOGPROBS], own;

    ASSERT(ev->n_top <= LIMIT_TOP_LOGPROBS);
    buf_init(&own, LIMIT_STOP_LEN);
    piece(t, ev->id, &own);
    for (uint32_t i = 0; i < ev->n_top; i++) {
        buf_init(&texts[i], LIMIT_STOP_LEN);
        piece(t, ev->top[i].id, &texts[i]);
        top[i] = (struct openai_top){buf_view(&texts[i]), ev->top[i].logprob};
    }
    openai_logprobs_add(&c->logprobs, buf_view(&own), ev->logprob, top, ev->n_top);
    for (uint32_t i = 0; i < ev->n_top; i++)
        buf_fini(&texts[i]);
    buf_fini(&own);
}

static void send_piece(struct choice *c, const char *finish)
{
    struct reply *rp = c->rp;
    struct openai_choice oc = {.text = buf_view(&c->text), .finish = finish};
    buf b;

    if (rp->req.logprobs) oc.logprobs = &c->logprobs;
    buf_init(&b, LIMIT_SSE_EVENT);
    openai_chunk(&b, &rp->head, c->index, !c->begun, &oc);
    if (!http_begun(rp->http)) http_sse_begin(rp->http);
    http_sse_data(rp->http, buf_view(&b));
    buf_fini(&b);
    c->begun = true;
    rp->said_ns = os_now_ns();
    buf_clear(&c->text);
    openai_logprobs_clear(&c->logprobs);
}

static void add_usage(struct reply *rp, const struct choice *c)
{
    const struct gen_usage *u = &c->job.usage;

    if (c->index % rp->req.n == 0) { /* the n choices of a prompt share it: count it once */
        rp->usage.prompt_tokens += u->prompt_tokens;
        rp->usage.cached_tokens += u->cached_tokens;
    }
    rp->usage.completion_tokens += u->completion_tokens;
    if ((double)u->queue_ns / 1e6 > rp->usage.queue_ms)
        rp->usage.queue_ms = (double)u->queue_ns / 1e6;
    rp->usage.prefill_ms += (double)u->prefill_ns / 1e6;
    rp->usage.decode_ms += (double)u->decode_ns / 1e6;
}

static void finish_stream(struct reply *rp)
{
    buf b;

    if (rp->req.include_usage) {
        buf_init(&b, LIMIT_SSE_EVENT);
        openai_chunk_usage(&b, &rp->head, &rp->usage);
        http_sse_data(rp->http, buf_view(&b));
        buf_fini(&b);
    }
    http_sse_data(rp->http, S("[DONE]"));
    http_end(rp->http);
}

static void finish_whole(struct reply *rp)
{
    struct openai_choice *oc = ARENA_NEW(&rp->arena, struct openai_choice, (size_t)rp->n_choices);
    buf b;

    if (!oc) {
        http_error(rp->http, ERR_NOMEM, "no memory for the reply");
        return;
    }
    for (int i = 0; i < rp->n_choices; i++) {
        struct choice *c = &rp->choices[i];

        oc[i] =
            (struct openai_choice){.text = buf_view(&c->text), .finish = finish_names[c->finish]};
        if (rp->req.logprobs) oc[i].logprobs = &c->logprobs;
    }
    buf_init(&b, LIMIT_HTTP_REPLY);
    openai_reply(&b, &rp->head, oc, rp->n_choices, &rp->usage, rp->req.ignored);
    if (b.failed)
        http_error(rp->http, ERR_LIMIT, "the reply is larger than %zu bytes", LIMIT_HTTP_REPLY);
    else
        http_reply(rp->http, 200, "application/json", buf_view(&b));
    buf_fini(&b);
}

/* A job failed: the client gets the error instead of a reply, or as the terminal event of a stream.
 */
static void fail(struct reply *rp, enum err code, const char *text)
{
    buf b;

    if (!rp->http || rp->failed) return;
    rp->failed = true;
    cancel(rp);
    log_ev(LOG_JOB_FAILED, "id", rp->head.id.p, "error", err_name(code), "text", text);
    if (!http_begun(rp->http)) {
        http_error(rp->http, code, "%s", text);
    } else {
        buf_init(&b, LIMIT_SSE_EVENT);
        jsonw_error(&b, code, text);
        http_sse_data(rp->http, buf_view(&b));
        buf_fini(&b);
        http_end(rp->http);
    }
    rp->http = NULL;
}

static void choice_done(struct choice *c, const struct gen_event *ev)
{
    struct reply *rp = c->rp;

    c->done = true;
    c->finish = ev->finish;
    add_usage(rp, c);
    rp->n_done++;
    if (ev->finish == GEN_ERROR) fail(rp, ev->error, ev->message ? ev->message : "");
    if (ev->finish == GEN_CANCELLED) fail(rp, ERR_CANCELLED, "the request was cancelled");
    if (rp->http && rp->req.stream) send_piece(c, finish_names[ev->finish]);
    if (rp->n_done < rp->n_choices) return;
    if (rp->http) {
        (rp->req.stream ? finish_stream : finish_whole)(rp);
        rp->http = NULL;
        log_ev(LOG_JOB_DONE, "id", rp->head.id.p);
    }
    reply_free(rp);
}

void reply_on_msg(const struct chan_msg *msg, void *owner)
{
    struct choice *c = msg->job->owner;
    const struct gen_event *ev = &msg->ev;

    (void)owner;
    if (msg->job->vector) {
        reply_vectors_on_msg(msg);
        return;
    }
    buf_str(&c->text, ev->text);
    if (c->text.failed) fail(c->rp, ERR_LIMIT, "the reply is larger than this worker sends");
    if (ev->type == GEN_DONE) {
        choice_done(c, ev);
        return;
    }
    if (!c->rp->http) return;
    if (c->rp->req.logprobs) add_logprobs(c, ev);
    if (c->rp->req.stream && (c->text.n || !c->begun)) send_piece(c, NULL);
}

/* ---- from the client ---- */

/* Strings outlive the HTTP request's arena: copy those that are needed later. */
static bool keep(struct reply *rp, const struct openai_req *q)
{
    str *stops = q->n_stops ? ARENA_NEW(&rp->arena, str, q->n_stops) : NULL;

    rp->req = *q;
    rp->req.messages = rp->req.tools = rp->req.template_kwargs = NULL;
    rp->req.prompts = NULL;
    rp->req.ignored = arena_str(&rp->arena, q->ignored);
    if (q->n_stops && !stops) return false;
    for (size_t i = 0; i < q->n_stops; i++) {
        stops[i] = arena_str(&rp->arena, q->stops[i]);
        if (!stops[i].p) return false;
    }
    rp->req.stops = stops;
    return true;
}

static enum err make_prompt(struct reply *rp, const struct openai_req *q, size_t at, int32_t **ids,
                            size_t *n, struct err_info *e)
{
    const struct tok *t = engine_tok(host_engine(rp->m->host));
    const struct openai_prompt *p;

    if (q->kind == OPENAI_CHAT) {
        struct chat_input in = {.messages = q->messages,
                                .tools = q->tools,
                                .extra = q->template_kwargs,
                                .add_generation_prompt = true,
                                .now = os_unix_time()};

        return chat_encode(rp->m->chat, t, &rp->arena, &in, ids, n, e);
    }
    p = &q->prompts[at];
    if (!p->ids) {
        unsigned flags = TOK_ADD_SPECIAL | (q->raw_special ? TOK_PARSE_SPECIAL : 0u);

        return tok_encode(t, &rp->arena, p->text, flags, ids, n, e);
    }
    if (!(*ids = ARENA_NEW(&rp->arena, int32_t, p->n_ids)))
        return ERR_FAIL(e, LIMIT, "the prompt is too long");
    memcpy(*ids, p->ids, p->n_ids * sizeof **ids);
    *n = p->n_ids;
    return ERR_OK;
}

static enum err make_choice(struct reply *rp, int index, const int32_t *ids, size_t n,
                            const struct openai_req *q, struct err_info *e)
{
    struct choice *c = &rp->choices[index];
    uint32_t n_ctx = engine_n_ctx(host_engine(rp->m->host));

    if (n == 0) return ERR_FAIL(e, INVALID, "the prompt is empty");
    if (n > n_ctx)
        return ERR_FAIL(e, CONTEXT, "the prompt has %zu tokens, this worker's context has %u", n,
                        n_ctx);
    c->rp = rp;
    c->index = index;
    buf_init(&c->text, LIMIT_HTTP_REPLY / 4);
    openai_logprobs_init(&c->logprobs, q->kind);
    if (q->echo && q->prompts && !q->prompts[index / q->n].ids)
        buf_str(&c->text, q->prompts[index / q->n].text);
    c->job = (struct gen_job){
        .prompt = ids,
        .n_prompt = (uint32_t)n,
        .params = q->params,
        .stops = rp->req.stops,
        .n_stops = rp->req.n_stops,
        .want_logprobs = q->logprobs,
        .strip_first = q->kind == OPENAI_CHAT,
        .owner = c,
    };
    /* Choices of one request differ: the seed counts up. */
    if (q->params.seed >= 0) c->job.params.seed = (q->params.seed + index % q->n) & 0xffffffff;
    return ERR_OK;
}

static enum err make_choices(struct reply *rp, const struct openai_req *q, struct err_info *e)
{
    int n = (int)q->n_prompts * q->n;
    enum err code;

    rp->choices = ARENA_NEW(&rp->arena, struct choice, (size_t)n);
    if (!rp->choices || !keep(rp, q)) return ERR_FAIL(e, NOMEM, "no memory for the request");
    for (size_t p = 0; p < q->n_prompts; p++) {
        int32_t *ids;
        size_t n_ids;

        if ((code = make_prompt(rp, q, p, &ids, &n_ids, e))) return code;
        for (int k = 0; k < q->n; k++) {
            if ((code = make_choice(rp, rp->n_choices, ids, n_ids, q, e))) return code;
            rp->n_choices++;
        }
    }
    return ERR_OK;
}

static struct reply *reply_new(struct reply_model *m, struct http_req *r, enum openai_kind kind,
                               str model)
{
    struct reply *rp = mem_alloc(sizeof *rp);
    uint64_t noise = 0;

    if (!rp) return NULL;
    arena_init(&rp->arena, LIMIT_REQ_ARENA);
    rp->m = m;
    rp->http = r;
    rp->said_ns = os_now_ns();
    if (os_random(&noise, sizeof noise, NULL)) noise = os_now_ns();
    rp->head = (struct openai_head){
        .kind = kind,
        .id = arena_printf(&rp->arena, "%s-%016llx", kind == OPENAI_CHAT ? "chatcmpl" : "cmpl",
                           (unsigned long long)noise),
        .model = arena_str(&rp->arena, model),
        .created = os_unix_time(),
    };
    rp->next = m->live;
    rp->prev = &m->live;
    if (m->live) m->live->prev = &rp->next;
    m->live = rp;
    m->n_live++;
    return rp;
}

/* Hands the jobs over. Those that do not fit in the queue make the whole request fail: the ones
 * already inside are cancelled and end on their own. */
static void submit(struct reply *rp)
{
    struct err_info e;
    int n = rp->n_choices;

    for (int i = 0; i < n; i++) {
        if (!host_submit(rp->m->host, &rp->choices[i].job, &e)) continue;
        rp->n_choices = i; /* the others were never jobs */
        for (int k = i; k < n; k++) {
            buf_fini(&rp->choices[k].text);
            openai_logprobs_fini(&rp->choices[k].logprobs);
        }
        http_set_header(rp->http, "Retry-After", "1");
        fail(rp, e.code, e.text);
        if (i == 0) reply_free(rp);
        return;
    }
}

void reply_start(struct reply_model *m, struct http_req *r, enum openai_kind kind)
{
    struct err_info e;
    const struct json *body;
    struct openai_req q;
    struct reply *rp;

    if (json_parse(r->arena, r->body, &body, &e)) {
        http_error(r, ERR_INVALID, "the body is not JSON: %s", e.text);
        return;
    }
    if (openai_parse(&q, kind, body, r->arena, &e)) {
        http_error_info(r, &e);
        return;
    }
    if (!(rp = reply_new(m, r, kind, q.model))) {
        http_error(r, ERR_NOMEM, "no memory for the request");
        return;
    }
    if (make_choices(rp, &q, &e)) {
        http_error_info(r, &e);
        reply_free(rp);
        return;
    }
    r->owner = rp;
    r->gone = on_gone;
    if (q.ignored.n) http_set_header(r, "X-Rbee-Ignored", rp->req.ignored.p);
    submit(rp);
}
