/* proto: request bodies good and bad, all faults at once, replies and chunks that parse back. */
#include "proto/openai.h"

#include <math.h>

#include "tap.h"

static struct arena arena;

static enum err parse(struct openai_req *r, enum openai_kind kind, const char *text,
                      struct err_info *e)
{
    const struct json *body;
    enum err code;

    arena_clear(&arena);
    if ((code = json_parse(&arena, str_c(text), &body, e))) return code;
    return openai_parse(r, kind, body, &arena, e);
}

#define CHAT(rest) "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]" rest "}"
#define TEXT(rest) "{\"model\":\"m\",\"prompt\":\"x\"" rest "}"

static void test_good(void)
{
    static const struct {
        enum openai_kind kind;
        const char *body;
    } cases[] = {
        {OPENAI_CHAT, CHAT("")},
        {OPENAI_CHAT,
         CHAT(",\"temperature\":0,\"top_p\":1,\"max_tokens\":1,\"n\":128,\"seed\":4294967295")},
        {OPENAI_CHAT,
         CHAT(",\"temperature\":null,\"stop\":null,\"n\":null,\"stream\":null,\"tools\":null,"
              "\"stream_options\":null,\"logprobs\":null,\"max_completion_tokens\":null,"
              "\"response_format\":null,\"logit_bias\":null,\"keep_alive\":null")},
        {OPENAI_CHAT, CHAT(",\"response_format\":{\"type\":\"text\"},\"user\":\"u\",\"metadata\":{}"
                           ",\"store\":false")},
        {OPENAI_CHAT, CHAT(",\"max_tokens\":5.0")},
        {OPENAI_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"content\":null,"
                      "\"tool_calls\":[]},"
                      "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{"
                      "\"type\":\"text\",\"text\":\"b\"}]}]}"},
        {OPENAI_COMPLETION, TEXT("")},
        {OPENAI_COMPLETION, TEXT(",\"logprobs\":0,\"echo\":true,\"parse_special\":true")},
        {OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"\"}"},
        {OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[1,2,3]}"},
        {OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[\"a\",[1,2]],\"n\":64}"},
    };
    struct openai_req r;
    struct err_info e;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        e.text[0] = 0;
        ok(parse(&r, cases[i].kind, cases[i].body, &e) == ERR_OK, "good: %.70s %s", cases[i].body,
           e.text);
    }
}

static void test_bad(void)
{
    static const struct {
        enum openai_kind kind;
        const char *body, *says;
    } cases[] = {
        {OPENAI_CHAT, "[]", "object"},
        {OPENAI_CHAT, "null", "object"},
        {OPENAI_CHAT, "{}", "'model'"},
        {OPENAI_CHAT, "{\"model\":\"m\"}", "'messages'"},
        {OPENAI_CHAT, "{\"model\":\"\",\"messages\":[]}", "'model'"},
        {OPENAI_CHAT, "{\"model\":5}", "'model'"},
        {OPENAI_CHAT, "{\"model\":\"m\",\"messages\":[]}", "empty"},
        {OPENAI_CHAT, "{\"model\":\"m\",\"messages\":{}}", "'messages'"},
        {OPENAI_CHAT, "{\"model\":\"m\",\"messages\":[5]}", "messages[0]"},
        {OPENAI_CHAT,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"\"}]}",
         "messages[1]"},
        {OPENAI_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":5}]}",
         "messages[0].content"},
        {OPENAI_CHAT,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}"
         "]}",
         "vision"},
        {OPENAI_CHAT,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
         "\"text\":5}]}]}",
         "content[0]"},
        {OPENAI_CHAT, CHAT(",\"temperature\":-0.001"), "'temperature' must be between 0 and 100"},
        {OPENAI_CHAT, CHAT(",\"temperature\":\"1\""), "'temperature' must be a number"},
        {OPENAI_CHAT, CHAT(",\"max_tokens\":0.5"), "'max_tokens' must be a whole number"},
        {OPENAI_CHAT, CHAT(",\"max_completion_tokens\":-2"), "'max_completion_tokens'"},
        {OPENAI_CHAT, CHAT(",\"seed\":4294967296"), "'seed'"},
        {OPENAI_CHAT, CHAT(",\"top_k\":99999999999999999999"), "'top_k'"},
        {OPENAI_CHAT, CHAT(",\"ignore_eos\":1"), "'ignore_eos'"},
        {OPENAI_CHAT, CHAT(",\"n\":0"), "'n'"},
        {OPENAI_CHAT, CHAT(",\"n\":129"), "'n'"},
        {OPENAI_CHAT, CHAT(",\"n\":1.5"), "'n'"},
        {OPENAI_CHAT, CHAT(",\"stream\":1"), "'stream'"},
        {OPENAI_CHAT, CHAT(",\"stream_options\":true"), "'stream_options'"},
        {OPENAI_CHAT, CHAT(",\"logprobs\":3"), "'logprobs'"},
        {OPENAI_CHAT, CHAT(",\"logprobs\":true,\"top_logprobs\":21"), "'top_logprobs'"},
        {OPENAI_CHAT, CHAT(",\"top_logprobs\":2"), "'logprobs'"},
        {OPENAI_CHAT, CHAT(",\"stop\":5"), "'stop'"},
        {OPENAI_CHAT, CHAT(",\"stop\":[\"a\",\"\"]"), "'stop'"},
        {OPENAI_CHAT, CHAT(",\"stop\":[null]"), "'stop'"},
        {OPENAI_CHAT, CHAT(",\"tools\":{}"), "'tools'"},
        {OPENAI_CHAT, CHAT(",\"keep_alive\":\"soon\""), "'keep_alive'"},
        {OPENAI_CHAT, CHAT(",\"response_format\":{\"type\":\"json_schema\"}"), "json_schema"},
        {OPENAI_CHAT, CHAT(",\"chat_template_kwargs\":[]"), "'chat_template_kwargs'"},
        {OPENAI_CHAT, CHAT(",\"frob\":1,\"strict\":true"), "'frob'"},
        {OPENAI_CHAT, CHAT(",\"logit_bias\":{},\"strict\":true"), "'logit_bias'"},
        {OPENAI_COMPLETION, "{\"model\":\"m\"}", "'prompt'"},
        {OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[]}", "'prompt'"},
        {OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":5}", "'prompt'"},
        {OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[1,\"a\"]}", "'prompt'"},
        {OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[[]]}", "'prompt'"},
        {OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[-1]}", "'prompt'"},
        {OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[2147483648]}", "'prompt'"},
        {OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[\"a\",\"b\"],\"n\":65}", "128"},
        {OPENAI_COMPLETION, TEXT(",\"logprobs\":21"), "'logprobs'"},
        {OPENAI_COMPLETION, TEXT(",\"echo\":true,\"stream\":true"), "'echo'"},
    };
    struct openai_req r;
    struct err_info e;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum err code = parse(&r, cases[i].kind, cases[i].body, &e);

        if (!ok(code == ERR_INVALID && strstr(e.text, cases[i].says), "bad: %.90s", cases[i].body))
            printf("#   %d %s\n", code, code ? e.text : "accepted");
    }
}

static void test_many(void)
{
    struct openai_req r;
    struct err_info e;
    char body[20000];
    size_t n;

    ok(parse(&r, OPENAI_CHAT,
             CHAT(",\"temperature\":-1,\"top_p\":3,\"n\":0,\"stop\":\"\",\"stream\":5"),
             &e) == ERR_INVALID &&
           strstr(e.text, "'temperature'") && strstr(e.text, "'top_p'") && strstr(e.text, "'n'") &&
           strstr(e.text, "'stop'") && strstr(e.text, "'stream'"),
       "all faults of a body come together: %s", e.text);
    n = (size_t)snprintf(body, sizeof body, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}]");
    for (int i = 0; i < 500; i++)
        n += (size_t)snprintf(body + n, sizeof body - n, ",\"unknown%d\":1", i);
    snprintf(body + n, sizeof body - n, "}");
    ok(parse(&r, OPENAI_CHAT, body, &e) == ERR_OK && r.ignored.n < 1000,
       "500 unknown fields are named as far as they fit");
    snprintf(body + n, sizeof body - n, ",\"strict\":true}");
    ok(parse(&r, OPENAI_CHAT, body, &e) == ERR_INVALID && strlen(e.text) < sizeof e.text,
       "and refused in strict mode");
    n = (size_t)snprintf(body, sizeof body, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}],");
    snprintf(body + n, sizeof body - n, "\"%01000d\":1,\"strict\":true}", 7);
    ok(parse(&r, OPENAI_CHAT, body, &e) == ERR_INVALID,
       "so is a field whose name is too long to repeat: %s", e.text);
    ok(parse(&r, OPENAI_CHAT,
             CHAT(",\"frob\":1,\"logit_bias\":{\"1\":2},\"user\":\"u\",\"mirostat\":null,"
                  "\"prompt\":\"p\""),
             &e) == ERR_OK,
       "what has no effect is served");
    is_str(r.ignored, S("frob, logit_bias, prompt"), "and named, but not what is harmless or null");
}

static void test_values(void)
{
    struct openai_req r;
    struct err_info e;

    ok(parse(
           &r, OPENAI_CHAT,
           CHAT(",\"n\":3,\"stream\":true,\"stream_options\":{\"include_usage\":true},\"stop\":["
                "\"a\",\"b\"],"
                "\"max_tokens\":7,\"top_k\":5,\"min_p\":0.25,\"logprobs\":true,\"top_logprobs\":4,"
                "\"repetition_penalty\":1.5,\"keep_alive\":\"2m\",\"ignore_eos\":true"),
           &e) == ERR_OK,
       "a body with everything");
    ok(r.n == 3 && r.stream && r.include_usage && r.n_stops == 2 && str_eqc(r.stops[1], "b"),
       "switches and stops");
    ok(r.params.max_tokens == 7 && r.params.top_k == 5 && fabs(r.params.min_p - 0.25) < 1e-12 &&
           fabs(r.params.repeat_penalty - 1.5) < 1e-12 && r.params.ignore_eos && r.logprobs &&
           r.params.top_logprobs == 4,
       "parameters, by alias too");
    ok(r.has_keep_alive && r.keep_alive_ms == 120000 && r.n_prompts == 1 && r.messages,
       "keep_alive and messages");
    ok(parse(&r, OPENAI_CHAT, CHAT(""), &e) == ERR_OK && r.n == 1 && !r.stream &&
           r.params.max_tokens == -1 && !r.has_keep_alive,
       "defaults of chat");
    ok(parse(&r, OPENAI_COMPLETION,
             "{\"model\":\"m\",\"prompt\":[\"a\",[7,8]],\"logprobs\":2,\"stop\":\"x\"}",
             &e) == ERR_OK &&
           r.n_prompts == 2 && str_eqc(r.prompts[0].text, "a") && r.prompts[1].n_ids == 2 &&
           r.prompts[1].ids[1] == 8 && r.logprobs && r.params.top_logprobs == 2 && r.n_stops == 1 &&
           r.params.max_tokens == 16,
       "prompts of both kinds and the older logprobs");
    ok(parse(
           &r, OPENAI_CHAT,
           "{\"model\":\"a\",\"model\":\"b\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
           &e) != ERR_OK ||
           str_eqc(r.model, "b") || str_eqc(r.model, "a"),
       "a key twice is refused or one of them counts");
}

static void test_keep_alive(void)
{
    static const struct {
        const char *json;
        bool good;
        int64_t ms;
    } cases[] = {
        {"0", true, 0},
        {"300", true, 300000},
        {"1.5", true, 1500},
        {"-1", true, OPENAI_KEEP_FOREVER},
        {"\"5m\"", true, 300000},
        {"\"2h\"", true, 7200000},
        {"\"10s\"", true, 10000},
        {"\"250ms\"", true, 250},
        {"\"30\"", true, 30000},
        {"\"-1\"", true, OPENAI_KEEP_FOREVER},
        {"\"-1m\"", true, OPENAI_KEEP_FOREVER},
        {"\"0\"", true, 0},
        {"\"\"", false, 0},
        {"\"m\"", false, 0},
        {"\"5x\"", false, 0},
        {"\"5 m\"", false, 0},
        {"true", false, 0},
        {"{}", false, 0},
        {"1e300", false, 0},
        {"\"nan\"", false, 0},
    };
    const struct json *v;
    struct err_info e;
    int64_t ms;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool good = false;

        arena_clear(&arena);
        ms = 0;
        if (json_parse(&arena, str_c(cases[i].json), &v, &e) == ERR_OK)
            good = openai_keep_alive(v, &ms);
        if (!ok(good == cases[i].good && (!good || ms == cases[i].ms), "keep_alive %s",
                cases[i].json))
            printf("#   %d %lld\n", good, (long long)ms);
    }
}

/* ---- replies: what is written is JSON, and says what it should ---- */

static const struct json *back(const buf *b)
{
    const struct json *v;
    struct err_info e;

    if (json_parse(&arena, buf_view(b), &v, &e) == ERR_OK) return v;
    printf("#   %s in %.*s\n", e.text, (int)b->n, b->p);
    return NULL;
}

static const struct json *first_choice(const struct json *v)
{
    const struct json *list = json_get(v, "choices");

    return list && list->n ? &list->items[0] : NULL;
}

static void test_replies(enum openai_kind kind)
{
    struct openai_head h = {.kind = kind, .id = S("id-1"), .model = S("a \"model\""), .created = 5};
    struct openai_usage u = {.prompt_tokens = 10,
                             .cached_tokens = 4,
                             .completion_tokens = 3,
                             .prefill_ms = 2,
                             .decode_ms = 4};
    struct openai_logprobs lp;
    struct openai_top top[2] = {{S("\xff"), -0.5f}, {S("b"), -INFINITY}};
    struct openai_choice c[2] = {{.text = S("tab\t\"q\" \xf0\x9f\x98\x80 \x01"), .finish = "stop"},
                                 {.text = S(""), .finish = "length"}};
    const struct json *v, *x;
    buf b;

    buf_init(&b, MIB(1));
    openai_logprobs_init(&lp, kind);
    openai_logprobs_add(&lp, S("a"), -0.25f, top, 2);
    openai_logprobs_add(&lp, S("bc"), -INFINITY, NULL, 0);
    c[0].logprobs = &lp;
    openai_reply(&b, &h, c, 2, &u, S("frob"));
    v = back(&b);
    ok(v && json_get(v, "choices")->n == 2 &&
           str_eqc(json_str(json_get(v, "model"), S("")), "a \"model\""),
       "a reply is JSON");
    x = first_choice(v);
    ok(str_eq(json_str(kind == OPENAI_CHAT ? json_get(json_get(x, "message"), "content")
                                           : json_get(x, "text"),
                       S("")),
              c[0].text),
       "its text comes back whole");
    ok(json_int(json_get(json_get(v, "usage"), "total_tokens"), 0) == 13 &&
           json_int(
               json_get(json_get(json_get(v, "usage"), "prompt_tokens_details"), "cached_tokens"),
               0) == 4,
       "usage adds up");
    ok(fabs(json_num(json_get(json_get(v, "timings"), "prompt_per_second"), 0) - 3000) < 1e-6 &&
           fabs(json_num(json_get(json_get(v, "timings"), "predicted_per_second"), 0) - 500) < 1e-6,
       "timings count what was computed");
    is_str(json_str(json_get(v, "ignored_parameters"), S("")), S("frob"),
           "ignored parameters are named");
    x = json_get(json_get(x, "logprobs"), kind == OPENAI_CHAT ? "content" : "token_logprobs");
    ok(x && x->n == 2, "logprobs of two tokens");
    if (x && kind == OPENAI_CHAT)
        ok(json_int(&json_get(&json_get(&x->items[0], "top_logprobs")->items[0], "bytes")->items[0],
                    0) == 255 &&
               json_num(json_get(&x->items[1], "logprob"), 0) == -9999.0,
           "bytes that are no text survive, minus infinity has a number");

    buf_clear(&b);
    openai_chunk(&b, &h, 1, true, &(struct openai_choice){.text = S("x")});
    x = first_choice(v = back(&b));
    ok(x && json_int(json_get(x, "index"), 0) == 1 &&
           json_get(x, "finish_reason")->type == JSON_NULL,
       "a chunk");
    if (kind == OPENAI_CHAT)
        is_str(json_str(json_get(json_get(x, "delta"), "role"), S("")), S("assistant"),
               "the first one names the role");
    buf_clear(&b);
    openai_chunk(&b, &h, 0, false, &(struct openai_choice){.text = S(""), .finish = "stop"});
    x = first_choice(back(&b));
    ok(x && str_eqc(json_str(json_get(x, "finish_reason"), S("")), "stop"),
       "the last one the reason");
    if (kind == OPENAI_CHAT) ok(json_get(x, "delta")->n == 0, "with an empty delta");
    buf_clear(&b);
    openai_chunk_usage(&b, &h, &u);
    v = back(&b);
    ok(v && json_get(v, "choices")->n == 0 && json_get(v, "usage") && json_get(v, "timings"),
       "the usage chunk has no choices");
    openai_logprobs_clear(&lp);
    openai_logprobs_add(&lp, S("d"), -1, NULL, 0);
    if (kind == OPENAI_COMPLETION)
        is_str(buf_view(&lp.offsets), S("3"), "text offsets go on after a clear");
    openai_logprobs_fini(&lp);
    buf_fini(&b);
}

static void test_errors(void)
{
    const struct json *v;
    bool good = true;
    buf b;

    buf_init(&b, KIB(64));
    for (int code = 1; code < ERR_COUNT; code++) {
        buf_clear(&b);
        jsonw_error(&b, (enum err)code, "a \"text\"\nwith lines");
        v = json_get(back(&b), "error");
        good = good && v && json_get(v, "param") && json_str(json_get(v, "type"), S("")).n &&
               str_eqc(json_str(json_get(v, "code"), S("")), err_name((enum err)code));
    }
    ok(good, "every error code makes an error object with message, type, param and code");
    buf_fini(&b);
}

int main(void)
{
    arena_init(&arena, MIB(64));
    test_good();
    test_bad();
    test_many();
    test_values();
    test_keep_alive();
    test_replies(OPENAI_CHAT);
    test_replies(OPENAI_COMPLETION);
    test_errors();
    arena_fini(&arena);
    return tap_end();
}
