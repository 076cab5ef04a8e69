/* test_vectors: bodies of /v1/embeddings and /v1/rerank, read and written.
 */
#include "proto/vectors.h"

#include "tap.h"

static struct arena a;
static struct err_info e;

static enum err parse(struct vectors_req *r, enum vectors_kind kind, const char *text)
{
    const struct json *body;
    e.text[0] = 0;
    if (json_parse(&a, str_c(text), &body, &e) != ERR_OK) return ERR_FORMAT;
    return vectors_parse(r, kind, body, &a, &e);
}

static void refused(enum vectors_kind kind, const char *text, const char *word)
{
    struct vectors_req r;
    enum err err = parse(&r, kind, text);
    ok(err == ERR_INVALID && strstr(e.text, word), "%s: %s", text, e.text);
}

static void test_read(void)
{
    struct vectors_req r;
    ok(parse(&r, VECTORS_EMBED, "{\"model\":\"m\",\"input\":\"x\"}") == ERR_OK && r.n_inputs == 1 &&
           str_eqc(r.inputs[0].text, "x") && r.normalise && !r.base64 && r.dimensions == 0 &&
           !r.has_pooling,
       "one text, and what is not said");
    ok(parse(&r, VECTORS_EMBED, "{\"model\":\"m\",\"input\":[\"x\",\"y\"]}") == ERR_OK &&
           r.n_inputs == 2 && str_eqc(r.inputs[1].text, "y"),
       "two texts");
    ok(parse(&r, VECTORS_EMBED, "{\"model\":\"m\",\"input\":[7,8,9]}") == ERR_OK &&
           r.n_inputs == 1 && r.inputs[0].n_ids == 3 && r.inputs[0].ids[2] == 9,
       "ids are one text");
    ok(parse(&r, VECTORS_EMBED, "{\"model\":\"m\",\"input\":[[7],\"z\",[8,9]]}") == ERR_OK &&
           r.n_inputs == 3 && r.inputs[2].n_ids == 2 && str_eqc(r.inputs[1].text, "z"),
       "texts and ids together");
    ok(parse(&r, VECTORS_EMBED,
             "{\"model\":\"m\",\"input\":\"x\",\"encoding_format\":\"base64\",\"dimensions\":8,"
             "\"normalize\":false,\"pooling\":\"cls\",\"user\":\"u\",\"query\":\"q\",\"foo\":1}") ==
               ERR_OK &&
           r.base64 && r.dimensions == 8 && !r.normalise && r.has_pooling &&
           r.pooling == POOLING_CLS,
       "all fields");
    is_str(r.ignored, S("query, foo"), "others are named");
    ok(parse(&r, VECTORS_RERANK,
             "{\"model\":\"m\",\"query\":\"q\",\"documents\":[\"a\",{\"text\":\"b\"}],\"top_n\":1,"
             "\"return_documents\":true,\"raw_scores\":true}") == ERR_OK &&
           r.n_inputs == 2 && str_eqc(r.inputs[1].text, "b") && str_eqc(r.query, "q") &&
           r.top_n == 1 && r.with_documents && r.raw_scores,
       "a rerank");
    refused(VECTORS_EMBED, "[]", "object");
    refused(VECTORS_EMBED, "{\"model\":\"m\"}", "'input' is missing");
    refused(VECTORS_EMBED, "{\"input\":\"x\"}", "'model' is missing");
    refused(VECTORS_EMBED, "{\"model\":\"m\",\"input\":\"\"}", "not empty");
    refused(VECTORS_EMBED, "{\"model\":\"m\",\"input\":[]}", "2048");
    refused(VECTORS_EMBED, "{\"model\":\"m\",\"input\":[\"a\",5.5]}", "token ids");
    refused(VECTORS_EMBED, "{\"model\":\"m\",\"input\":[-1]}", "token ids");
    refused(VECTORS_EMBED, "{\"model\":\"m\",\"input\":\"x\",\"encoding_format\":\"int8\"}",
            "base64");
    refused(VECTORS_EMBED, "{\"model\":\"m\",\"input\":\"x\",\"dimensions\":0}", "dimensions");
    refused(VECTORS_EMBED, "{\"model\":\"m\",\"input\":\"x\",\"pooling\":\"rank\"}", "pooling");
    refused(VECTORS_RERANK, "{\"model\":\"m\",\"documents\":[\"a\"]}", "query");
    refused(VECTORS_RERANK, "{\"model\":\"m\",\"query\":\"q\"}", "documents");
    refused(VECTORS_RERANK, "{\"model\":\"m\",\"query\":\"q\",\"documents\":[1]}", "documents[0]");
    refused(VECTORS_RERANK, "{\"model\":\"m\",\"query\":\"q\",\"documents\":[\"a\"],\"top_n\":0}",
            "top_n");
}

static void test_write(void)
{
    static const float rows[] = {1, -0.1f, 0.33333334f, 9, 1e-20f, 16777216, 0.5f, 9};
    struct vectors_req r;
    buf b = {.cap = 1 << 16};
    ASSERT(parse(&r, VECTORS_EMBED, "{\"model\":\"m\",\"input\":[\"x\",\"y\"]}") == ERR_OK);
    vectors_reply(&b, &r, S("m"), rows, 4, 3, 5);
    is_str(
        buf_view(&b),
        S("{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[1,"
          "-0.1,0.33333334]},{\"object\":\"embedding\",\"index\":1,\"embedding\":[1e-20,"
          "16777216,0.5]}],\"model\":\"m\",\"usage\":{\"prompt_tokens\":5,\"total_tokens\":5}}"),
        "vectors, each number as short as it can be");
    buf_clear(&b);
    r.base64 = true;
    r.n_inputs = 1;
    for (uint32_t n = 1; n <= 3; n++) {
        /* 1.0f is 00 00 80 3f, -0.1f cd cc cc bd, 0.33333334f ab aa aa 3e */
        static const char *const want[] = {"AACAPw==", "AACAP83MzL0=", "AACAP83MzL2rqqo+"};
        char part[64];
        buf_clear(&b);
        vectors_reply(&b, &r, S("m"), rows, 4, n, 1);
        snprintf(part, sizeof part, "\"embedding\":\"%s\"", want[n - 1]);
        ok(str_find(buf_view(&b), str_c(part), 0) != SIZE_MAX, "base64 of %u values", n);
    }
    struct vectors_rank ranks[] = {{0, 0.25}, {1, 0.5}, {2, 0.25}, {3, 0.75}};
    vectors_sort(ranks, 4);
    ok(ranks[0].index == 3 && ranks[1].index == 1 && ranks[2].index == 0 && ranks[3].index == 2,
       "the best first, equal ones in their order");
    ASSERT(parse(&r, VECTORS_RERANK,
                 "{\"model\":\"m\",\"query\":\"q\",\"documents\":[\"a\",\"b\",\"c\",\"d\"],"
                 "\"top_n\":2,\"return_documents\":true}") == ERR_OK);
    buf_clear(&b);
    vectors_rerank_reply(&b, &r, S("m"), ranks, 9);
    is_str(
        buf_view(&b),
        S("{\"object\":\"list\",\"model\":\"m\",\"results\":[{\"index\":3,\"relevance_score\":"
          "0.75,\"document\":{\"text\":\"d\"}},{\"index\":1,\"relevance_score\":0.5,\"document\":"
          "{\"text\":\"b\"}}],\"usage\":{\"prompt_tokens\":9,\"total_tokens\":9}}"),
        "the best two, with their texts");
    buf_fini(&b);
}

int main(void)
{
    arena_init(&a, 1 << 20);
    test_read();
    test_write();
    arena_fini(&a);
    return tap_end();
}
