/* openai: the bodies of /v1/chat/completions and /v1/completions, in both directions.
 *
 * openai_parse() turns a request body into a struct and checks every field; all faults of a request
 * are reported in one sentence list. Fields that are recognised but have no effect, and fields
 * nobody knows, are listed in `ignored`, so that a reply can say so; in strict mode they are
 * faults. The writers make replies and stream chunks; they know nothing of sockets. Generation
 * parameters come from params.def. Source: OpenAI's API reference (openapi document, version 2.3).
 */
#ifndef PROTO_OPENAI_H
#define PROTO_OPENAI_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/limits.h"
#include "proto/params.h"

enum openai_kind { OPENAI_CHAT, OPENAI_COMPLETION };

#define OPENAI_CHOICES_MAX  128 /* n times prompts */
#define OPENAI_KEEP_FOREVER INT64_MAX

struct openai_prompt {
    str text;           /* or, when ids is not NULL */
    const int32_t *ids; /* token ids given as such */
    size_t n_ids;
};

struct openai_req {
    enum openai_kind kind;
    str model;
    const struct json *messages, *tools, *template_kwargs; /* chat; borrowed from the tree */
    const struct openai_prompt *prompts;                   /* completion */
    size_t n_prompts;
    struct params params;
    const str *stops;
    size_t n_stops;
    int n; /* choices of each prompt */
    bool stream, include_usage, logprobs, echo, strict;
    bool raw_special; /* completion: control tokens in the prompt are parsed ("parse_special") */
    bool has_keep_alive;
    int64_t keep_alive_ms;
    str ignored; /* "logit_bias, foo"; empty: none */
};

/* `body` is the parsed tree; strings and arrays of *r are views into it or live in `a`. */
MUST_CHECK enum err openai_parse(struct openai_req *r, enum openai_kind kind,
                                 const struct json *body, struct arena *a, struct err_info *e);
/* keep_alive as Ollama writes it: seconds as a number, "5m", "-1" for ever, 0 at once. */
bool openai_keep_alive(const struct json *v, int64_t *ms);

/* ---- replies ---- */
struct openai_head { /* the same in every chunk of a reply */
    enum openai_kind kind;
    str id; /* "chatcmpl-..." */
    str model;
    int64_t created;
};

struct openai_usage {
    uint32_t prompt_tokens, cached_tokens, completion_tokens;
    double queue_ms, prefill_ms, decode_ms;
};

/* Log-probabilities of the tokens of one choice, kept as JSON elements joined by commas. Chat has
 * one list of objects; the older API has four parallel lists. */
struct openai_logprobs {
    enum openai_kind kind;
    buf list;                  /* chat: objects; completion: tokens */
    buf values, tops, offsets; /* completion */
    size_t offset;             /* completion: bytes of text so far */
};

struct openai_top {
    str token;
    float logprob;
};

void openai_logprobs_init(struct openai_logprobs *lp, enum openai_kind kind);
void openai_logprobs_fini(struct openai_logprobs *lp);
void openai_logprobs_clear(struct openai_logprobs *lp); /* keeps the offset */
void openai_logprobs_add(struct openai_logprobs *lp, str token, float logprob,
                         const struct openai_top *top, size_t n_top);

struct openai_choice {
    str text;
    const struct openai_logprobs *logprobs; /* NULL: none asked */
    const char *finish;                     /* "stop", "length"; NULL: it goes on */
};

/* One streamed piece: `text` may be empty; finish NULL while it goes on. `first` adds the role. */
void openai_chunk(buf *out, const struct openai_head *h, int index, bool first,
                  const struct openai_choice *c);
/* The chunk after the last: no choices, usage and timings. */
void openai_chunk_usage(buf *out, const struct openai_head *h, const struct openai_usage *u);
void openai_reply(buf *out, const struct openai_head *h, const struct openai_choice *choices, int n,
                  const struct openai_usage *u, str ignored);

#endif
