/* openai: writing replies, stream chunks and errors. See openai.h. */
#include "proto/openai.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *object, *chunk;
} names[] = {
    [OPENAI_CHAT] = {"chat.completion", "chat.completion.chunk"},
    [OPENAI_COMPLETION] = {"text_completion", "text_completion"},
};

static void head(struct jsonw *w, const struct openai_head *h, bool chunk)
{
    jsonw_obj(w);
    jsonw_kstr(w, "id", h->id);
    jsonw_kc(w, "object", chunk ? names[h->kind].chunk : names[h->kind].object);
    jsonw_kint(w, "created", h->created);
    jsonw_kstr(w, "model", h->model);
}

static void list(struct jsonw *w, const char *key, const buf *b)
{
    jsonw_key(w, key);
    jsonw_arr(w);
    if (b->n) jsonw_raw(w, buf_view(b));
    jsonw_end(w, ']');
}

static void logprobs(struct jsonw *w, const struct openai_choice *c)
{
    const struct openai_logprobs *lp = c->logprobs;

    jsonw_key(w, "logprobs");
    if (!lp) {
        jsonw_null(w);
        return;
    }
    jsonw_obj(w);
    if (lp->kind == OPENAI_CHAT) {
        list(w, "content", &lp->list);
        jsonw_key(w, "refusal");
        jsonw_null(w);
    } else {
        list(w, "tokens", &lp->list);
        list(w, "token_logprobs", &lp->values);
        list(w, "top_logprobs", &lp->tops);
        list(w, "text_offset", &lp->offsets);
    }
    jsonw_end(w, '}');
}

static void usage(struct jsonw *w, const struct openai_usage *u)
{
    jsonw_key(w, "usage");
    jsonw_obj(w);
    jsonw_kint(w, "prompt_tokens", u->prompt_tokens);
    jsonw_kint(w, "completion_tokens", u->completion_tokens);
    jsonw_kint(w, "total_tokens", (int64_t)u->prompt_tokens + u->completion_tokens);
    jsonw_key(w, "prompt_tokens_details");
    jsonw_obj(w);
    jsonw_kint(w, "cached_tokens", u->cached_tokens);
    jsonw_end(w, '}');
    jsonw_end(w, '}');
}

static double rate(double n, double ms)
{
    return ms > 0 ? round(n * 1e6 / ms) / 1e3 : 0;
}

static void timings(struct jsonw *w, const struct openai_usage *u)
{
    uint32_t fresh = u->prompt_tokens - u->cached_tokens;
    /* The first token comes out of the prefill step: decoding made the others. */
    uint32_t decoded = u->completion_tokens > 0 ? u->completion_tokens - 1 : 0;

    jsonw_key(w, "timings");
    jsonw_obj(w);
    jsonw_knum(w, "queue_ms", u->queue_ms);
    jsonw_kint(w, "prompt_n", fresh);
    jsonw_knum(w, "prompt_ms", u->prefill_ms);
    jsonw_knum(w, "prompt_per_second", rate(fresh, u->prefill_ms));
    jsonw_kint(w, "predicted_n", u->completion_tokens);
    jsonw_knum(w, "predicted_ms", u->decode_ms);
    jsonw_knum(w, "predicted_per_second", rate(decoded, u->decode_ms));
    jsonw_end(w, '}');
}

void openai_chunk(buf *out, const struct openai_head *h, int index, bool first,
                  const struct openai_choice *c)
{
    struct jsonw w;

    jsonw_init(&w, out);
    head(&w, h, true);
    jsonw_key(&w, "choices");
    jsonw_arr(&w);
    jsonw_obj(&w);
    jsonw_kint(&w, "index", index);
    if (h->kind == OPENAI_CHAT) {
        jsonw_key(&w, "delta");
        jsonw_obj(&w);
        if (first) jsonw_kc(&w, "role", "assistant");
        if (c->text.n || first) jsonw_kstr(&w, "content", c->text);
        jsonw_end(&w, '}');
    } else {
        jsonw_kstr(&w, "text", c->text);
    }
    logprobs(&w, c);
    jsonw_kc(&w, "finish_reason", c->finish);
    jsonw_end(&w, '}');
    jsonw_end(&w, ']');
    jsonw_end(&w, '}');
}

void openai_chunk_usage(buf *out, const struct openai_head *h, const struct openai_usage *u)
{
    struct jsonw w;

    jsonw_init(&w, out);
    head(&w, h, true);
    jsonw_key(&w, "choices");
    jsonw_arr(&w);
    jsonw_end(&w, ']');
    usage(&w, u);
    timings(&w, u);
    jsonw_end(&w, '}');
}

void openai_reply(buf *out, const struct openai_head *h, const struct openai_choice *choices, int n,
                  const struct openai_usage *u, str ignored)
{
    struct jsonw w;

    jsonw_init(&w, out);
    head(&w, h, false);
    jsonw_key(&w, "choices");
    jsonw_arr(&w);
    for (int i = 0; i < n; i++) {
        const struct openai_choice *c = &choices[i];

        jsonw_obj(&w);
        jsonw_kint(&w, "index", i);
        if (h->kind == OPENAI_CHAT) {
            jsonw_key(&w, "message");
            jsonw_obj(&w);
            jsonw_kc(&w, "role", "assistant");
            jsonw_kstr(&w, "content", c->text);
            jsonw_key(&w, "refusal");
            jsonw_null(&w);
            jsonw_end(&w, '}');
        } else {
            jsonw_kstr(&w, "text", c->text);
        }
        logprobs(&w, c);
        jsonw_kc(&w, "finish_reason", c->finish);
        jsonw_end(&w, '}');
    }
    jsonw_end(&w, ']');
    usage(&w, u);
    timings(&w, u);
    if (ignored.n) jsonw_kstr(&w, "ignored_parameters", ignored);
    jsonw_end(&w, '}');
}

/* ---- logprobs ---- */

void openai_logprobs_init(struct openai_logprobs *lp, enum openai_kind kind)
{
    *lp = (struct openai_logprobs){.kind = kind};
    buf_init(&lp->list, LIMIT_HTTP_REPLY);
    buf_init(&lp->values, LIMIT_HTTP_REPLY);
    buf_init(&lp->tops, LIMIT_HTTP_REPLY);
    buf_init(&lp->offsets, LIMIT_HTTP_REPLY);
}

void openai_logprobs_fini(struct openai_logprobs *lp)
{
    buf_fini(&lp->list);
    buf_fini(&lp->values);
    buf_fini(&lp->tops);
    buf_fini(&lp->offsets);
}

void openai_logprobs_clear(struct openai_logprobs *lp)
{
    buf_clear(&lp->list);
    buf_clear(&lp->values);
    buf_clear(&lp->tops);
    buf_clear(&lp->offsets);
}

/* A probability of zero is minus infinity, which JSON cannot say; OpenAI writes -9999. */
static double log_of(float logprob)
{
    return isfinite(logprob) ? (double)logprob : -9999.0;
}

static struct jsonw element(buf *b)
{
    struct jsonw w;

    if (b->n) buf_ch(b, ',');
    jsonw_init(&w, b);
    return w;
}

static void token_members(struct jsonw *w, str token, float logprob)
{
    jsonw_kstr(w, "token", token);
    jsonw_knum(w, "logprob", log_of(logprob));
    jsonw_key(w, "bytes");
    jsonw_arr(w);
    for (size_t i = 0; i < token.n; i++)
        jsonw_int(w, (uint8_t)token.p[i]);
    jsonw_end(w, ']');
}

static void add_chat(struct openai_logprobs *lp, str token, float logprob,
                     const struct openai_top *top, size_t n_top)
{
    struct jsonw w = element(&lp->list);

    jsonw_obj(&w);
    token_members(&w, token, logprob);
    jsonw_key(&w, "top_logprobs");
    jsonw_arr(&w);
    for (size_t i = 0; i < n_top; i++) {
        jsonw_obj(&w);
        token_members(&w, top[i].token, top[i].logprob);
        jsonw_end(&w, '}');
    }
    jsonw_end(&w, ']');
    jsonw_end(&w, '}');
}

void openai_logprobs_add(struct openai_logprobs *lp, str token, float logprob,
                         const struct openai_top *top, size_t n_top)
{
    struct jsonw w;

    if (lp->kind == OPENAI_CHAT) {
        add_chat(lp, token, logprob, top, n_top);
        return;
    }
    w = element(&lp->list);
    jsonw_str(&w, token);
    w = element(&lp->values);
    jsonw_num(&w, log_of(logprob));
    w = element(&lp->offsets);
    jsonw_uint(&w, lp->offset);
    lp->offset += token.n;
    w = element(&lp->tops);
    jsonw_obj(&w);
    for (size_t i = 0; i < n_top; i++) {
        jsonw_keystr(&w, top[i].token);
        jsonw_num(&w, log_of(top[i].logprob));
    }
    jsonw_end(&w, '}');
}
