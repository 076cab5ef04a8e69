/* test_hostile: model files that were made to do harm, each refused by a sentence, none by a crash.
 *
 * A small Llama of two layers with a vocabulary of 34 tokens is written by hand, whole or with one
 * fault out of a table; what the container can get wrong by itself is in test_gguf. Then the whole
 * file is cut at every byte, each byte of its header is changed, and each place of the header is
 * overwritten with numbers that break arithmetic. Whatever still opens is used: plan, listing,
 * tokenizer, chat template; a part of it runs.
 */
#include "tap.h"

#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "compute/ref/ref.h"
#include "engine/load.h"
#include "text/chat.h"

enum { LAYERS = 2, EMBD = 32, HEADS = 4, HEADS_KV = 2, FF = 64, VOCAB = 34, EXPERTS = 4 };

/* ---- one fault ---- */

enum way {
    NONE,
    LACKS,   /* without it */
    TWICE,   /* it occurs twice */
    IS,      /* a u32 key: this value; a tensor: this type */
    IS_I32,  /* the key is an i32 of this value */
    IS_U64,  /* the key is a u64 */
    IS_F32,  /* the key is a float */
    IS_TEXT, /* the key is a string */
    IS_LIST, /* the key is a list of so many u32, all of them 7 */
    SHORTER, /* the list ends one early */
    ITEM,    /* one entry of the list is this */
    ROWS,    /* the tensor has so many rows */
    COLS,
    DIMS, /* it has so many dimensions */
    AT,   /* its offset */
};

struct fault {
    const char *what;
    const char *name; /* of the key or the tensor */
    enum way op;
    double v;
    const char *text;
    const char *words; /* that the refusal must hold; NULL: the name */
    bool experts;      /* in a mixture of experts */
};

/* ---- writing ---- */

struct craft {
    const struct fault *f;
    buf kv, dir, file;
    uint64_t n_kv, n_tensors, data;
    bool used; /* the fault found its place */
};

static void put(buf *b, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        buf_ch(b, (char)(v >> (8 * i)));
}

static void put_text(buf *b, str s)
{
    put(b, s.n, 8);
    buf_str(b, s);
}

static void put_f32(buf *b, float v)
{
    uint32_t u;

    memcpy(&u, &v, sizeof u);
    put(b, u, 4);
}

static void begin_key(struct craft *c, const char *name, enum gguf_type t)
{
    put_text(&c->kv, str_c(name));
    put(&c->kv, t, 4);
    c->n_kv++;
}

static bool hit(struct craft *c, const char *name)
{
    bool yes = c->f && c->f->name && !strcmp(c->f->name, name);

    c->used = c->used || yes;
    return yes;
}

/* True when the fault took the place of the key. */
static bool spoilt(struct craft *c, const char *name)
{
    const struct fault *f = c->f;

    if (!hit(c, name)) return false;
    switch (f->op) {
    case LACKS: return true;
    case TWICE:
        begin_key(c, name, GGUF_U32);
        put(&c->kv, 1, 4);
        return false;
    case IS:
        begin_key(c, name, GGUF_U32);
        put(&c->kv, (uint64_t)f->v, 4);
        return true;
    case IS_I32:
        begin_key(c, name, GGUF_I32);
        put(&c->kv, (uint64_t)(int64_t)f->v, 4);
        return true;
    case IS_U64:
        begin_key(c, name, GGUF_U64);
        put(&c->kv, (uint64_t)f->v, 8);
        return true;
    case IS_F32:
        begin_key(c, name, GGUF_F32);
        put_f32(&c->kv, (float)f->v);
        return true;
    case IS_TEXT:
        begin_key(c, name, GGUF_STR);
        put_text(&c->kv, str_c(f->text));
        return true;
    case IS_LIST:
        begin_key(c, name, GGUF_ARR);
        put(&c->kv, GGUF_U32, 4);
        put(&c->kv, (uint64_t)f->v, 8);
        for (int i = 0; i < (int)f->v; i++)
            put(&c->kv, 7, 4);
        return true;
    default: return false;
    }
}

static void key_u32(struct craft *c, const char *name, uint32_t v)
{
    if (spoilt(c, name)) return;
    begin_key(c, name, GGUF_U32);
    put(&c->kv, v, 4);
}

static void key_f32(struct craft *c, const char *name, float v)
{
    if (spoilt(c, name)) return;
    begin_key(c, name, GGUF_F32);
    put_f32(&c->kv, v);
}

static void key_text(struct craft *c, const char *name, str s)
{
    if (spoilt(c, name)) return;
    begin_key(c, name, GGUF_STR);
    put_text(&c->kv, s);
}

static void begin_list(struct craft *c, const char *name, enum gguf_type elem, uint64_t n)
{
    begin_key(c, name, GGUF_ARR);
    put(&c->kv, elem, 4);
    put(&c->kv, n - (hit(c, name) && c->f->op == SHORTER), 8);
}

static void tensor(struct craft *c, const char *name, uint64_t cols, uint64_t rows, uint64_t slabs)
{
    const struct fault *f = hit(c, name) ? c->f : &(struct fault){0};
    uint64_t dim[5] = {cols, rows, slabs, 1, 1}, offset = c->data;
    uint32_t n_dims = slabs ? 3 : rows ? 2 : 1, type = 0;

    if (f->op == LACKS) return;
    if (f->op == ROWS) dim[1] = (uint64_t)f->v;
    if (f->op == COLS) dim[0] = (uint64_t)f->v;
    if (f->op == DIMS) n_dims = (uint32_t)f->v;
    if (f->op == IS) type = (uint32_t)f->v;
    if (f->op == AT) offset = (uint64_t)f->v;
    for (int i = 0; i <= (f->op == TWICE); i++) {
        uint64_t n = 4;

        put_text(&c->dir, str_c(name));
        put(&c->dir, n_dims, 4);
        for (uint32_t k = 0; k < n_dims; k++) {
            if (k > 0 && dim[k] == 0) dim[k] = f->op == ROWS || f->op == COLS ? 0 : 1;
            put(&c->dir, dim[k], 8);
            n *= dim[k];
        }
        put(&c->dir, type, 4);
        put(&c->dir, offset, 8);
        c->n_tensors++;
        if (n > 1 << 20) n = 32; /* an absurd size is not written */
        c->data += (n + 31) & ~(uint64_t)31;
        offset = c->data;
    }
}

static void vocabulary(struct craft *c)
{
    static const char words[] = "abcdefghijklmnopqrstuvwxyz";
    uint64_t less = hit(c, "tokenizer.ggml.tokens") && c->f->op == SHORTER;
    bool bad_byte = hit(c, "byte") && c->f->op == IS_TEXT;

    key_text(c, "tokenizer.ggml.model", S("llama"));
    if (!spoilt(c, "tokenizer.ggml.tokens")) {
        begin_list(c, "tokenizer.ggml.tokens", GGUF_STR, VOCAB);
        put_text(&c->kv, S("<unk>"));
        put_text(&c->kv, S("<s>"));
        put_text(&c->kv, S("</s>"));
        put_text(&c->kv, S("\xE2\x96\x81"));
        for (size_t i = 0; i < 26; i++)
            put_text(&c->kv, (str){words + i, 1});
        put_text(&c->kv, bad_byte ? str_c(c->f->text) : S("<0x0A>"));
        put_text(&c->kv, S("<0x21>"));
        put_text(&c->kv, S("he"));
        if (!less) put_text(&c->kv, S("<|end|>"));
    }
    if (!spoilt(c, "tokenizer.ggml.token_type")) {
        bool odd = hit(c, "tokenizer.ggml.token_type") && c->f->op == ITEM;

        begin_list(c, "tokenizer.ggml.token_type", GGUF_I32, VOCAB);
        for (int i = 0; i < VOCAB - (hit(c, "tokenizer.ggml.token_type") && c->f->op == SHORTER);
             i++)
            put(&c->kv,
                i == 5 && odd        ? (uint64_t)(int64_t)c->f->v
                : i == 0             ? 2
                : i < 3 || i == 33   ? 3
                : i == 30 || i == 31 ? 6
                                     : 1,
                4);
    }
    if (!spoilt(c, "tokenizer.ggml.scores")) {
        bool odd = hit(c, "tokenizer.ggml.scores") && c->f->op == ITEM;

        begin_list(c, "tokenizer.ggml.scores", GGUF_F32, VOCAB);
        for (int i = 0; i < VOCAB - (hit(c, "tokenizer.ggml.scores") && c->f->op == SHORTER); i++)
            put_f32(&c->kv, odd && i > 3 ? (float)c->f->v : (float)-i);
    }
    key_u32(c, "tokenizer.ggml.bos_token_id", 1);
    key_u32(c, "tokenizer.ggml.eos_token_id", 2);
    key_u32(c, "tokenizer.ggml.unknown_token_id", 0);
    key_u32(c, "tokenizer.ggml.padding_token_id", 0);
    key_u32(c, "tokenizer.ggml.eot_token_id", 33);
    key_text(c, "tokenizer.chat_template",
             S("{% for m in messages %}{{ m.role ~ m.content }}{% endfor %}"));
}

static void layer(struct craft *c, int i)
{
    static const struct {
        const char *name;
        uint32_t cols, rows, experts; /* experts: 0 never, 1 dense only, 2 one slab an expert */
    } parts[] = {
        {"attn_norm.weight", EMBD, 0, 0},
        {"attn_q.weight", EMBD, EMBD, 0},
        {"attn_k.weight", EMBD, EMBD / HEADS * HEADS_KV, 0},
        {"attn_v.weight", EMBD, EMBD / HEADS * HEADS_KV, 0},
        {"attn_output.weight", EMBD, EMBD, 0},
        {"ffn_norm.weight", EMBD, 0, 0},
        {"ffn_gate.weight", EMBD, FF, 1},
        {"ffn_up.weight", EMBD, FF, 1},
        {"ffn_down.weight", FF, EMBD, 1},
        {"ffn_gate_inp.weight", EMBD, EXPERTS, 3},
        {"ffn_gate_exps.weight", EMBD, FF, 2},
        {"ffn_up_exps.weight", EMBD, FF, 2},
        {"ffn_down_exps.weight", FF, EMBD, 2},
    };
    bool experts = c->f && c->f->experts;
    char name[64];

    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        uint32_t x = parts[k].experts;

        if (experts ? x == 1 : x > 1) continue;
        snprintf(name, sizeof name, "blk.%d.%s", i, parts[k].name);
        tensor(c, name, parts[k].cols, parts[k].rows, x == 2 ? EXPERTS : 0);
    }
}

static void craft_fini(struct craft *c)
{
    buf_fini(&c->kv);
    buf_fini(&c->dir);
    buf_fini(&c->file);
}

/* The whole file. */
static void craft_file(struct craft *c, const struct fault *f)
{
    *c = (struct craft){.f = f, .kv.cap = MIB(64), .dir.cap = MIB(4), .file.cap = MIB(64)};
    key_text(c, "general.architecture", S("llama"));
    key_u32(c, "general.alignment", 32);
    key_u32(c, "llama.context_length", 128);
    key_u32(c, "llama.block_count", LAYERS);
    key_u32(c, "llama.embedding_length", EMBD);
    key_u32(c, "llama.feed_forward_length", FF);
    key_u32(c, "llama.attention.head_count", HEADS);
    key_u32(c, "llama.attention.head_count_kv", HEADS_KV);
    key_f32(c, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    key_u32(c, "llama.rope.dimension_count", EMBD / HEADS);
    key_f32(c, "llama.rope.freq_base", 10000);
    key_u32(c, "llama.attention.key_length", EMBD / HEADS);
    key_u32(c, "llama.attention.value_length", EMBD / HEADS);
    if (f && f->experts) {
        key_u32(c, "llama.expert_count", EXPERTS);
        key_u32(c, "llama.expert_used_count", 2);
    }
    if (f && !strcmp(f->name, "llama.rope.scaling.factor")) spoilt(c, f->name);
    vocabulary(c);
    tensor(c, "token_embd.weight", EMBD, VOCAB, 0);
    tensor(c, "output_norm.weight", EMBD, 0, 0);
    tensor(c, "output.weight", EMBD, VOCAB, 0);
    for (int i = 0; i < LAYERS; i++)
        layer(c, i);
    buf_c(&c->file, "GGUF");
    put(&c->file, 3, 4);
    put(&c->file, c->n_tensors, 8);
    put(&c->file, c->n_kv, 8);
    buf_str(&c->file, buf_view(&c->kv));
    buf_str(&c->file, buf_view(&c->dir));
    while (c->file.n % 32)
        buf_ch(&c->file, 0);
    for (uint64_t i = 0; i < c->data; i++)
        buf_ch(&c->file, 0);
}

/* ---- opening ---- */

static struct err_info e;
static char path[64];

static enum err open_bytes(const buf *b, struct err_info *why)
{
    static const struct engine_conf conf = {.backend = &cpu_backend, .n_threads = 1};
    FILE *f = fopen(path, "wb");
    struct load l;
    enum err code;

    if (!f || fwrite(b->p, 1, b->n, f) != b->n || fclose(f)) {
        printf("# cannot write %s\n", path);
        return ERR_IO;
    }
    code = load_check(&l, path, &conf, why);
    if (!code) {
        struct chat *chat;

        code = chat_open(&chat, l.meta.chat_template, S("<s>"), S("</s>"), why);
        if (!code) chat_close(chat);
        load_close(&l);
    }
    return code;
}

/* Parses, compiles, prints, tokenises: whatever the bytes allow. In memory of exactly their size,
 * so that a sanitizer sees a read past the end. */
static enum err use_bytes(const uint8_t *p, size_t n)
{
    struct arena a;
    struct gguf g;
    struct meta m;
    struct plan plan;
    struct plan_source src;
    struct tok *t;
    struct chat *chat;
    int32_t *ids;
    size_t n_ids;
    buf out = {.cap = MIB(4)};
    enum err code;

    arena_init(&a, MIB(64));
    code = gguf_parse(&g, &a, p, n, n, NULL, &e);
    if (!code) {
        src = gguf_source(&g);
        code = meta_from_gguf(&m, &a, &g, &e);
        if (!code && !(code = plan_build(&plan, &a, &m, &src,
                                         &(struct plan_conf){.want = plan_want_of(&m)}, &e)))
            plan_explain(&plan, true, &out);
        if (!code) {
            enum err r = chat_open(&chat, m.chat_template, S("<s>"), S("</s>"), &e);

            if (!r) chat_close(chat);
        }
        if (tok_open(&t, &g, &e) == ERR_OK) {
            if (!tok_encode(t, &a, S("hello <|end|>\n!"), TOK_ADD_SPECIAL | TOK_PARSE_SPECIAL, &ids,
                            &n_ids, &e))
                tok_decode(t, ids, n_ids, true, &out);
            tok_close(t);
        }
    }
    buf_fini(&out);
    arena_fini(&a);
    return code;
}

/* ---- the table ---- */

static const struct fault faults[] = {
    {"no architecture", "general.architecture", LACKS, 0, NULL, NULL, false},
    {"an architecture that is a path", "general.architecture", IS_TEXT, 0, "../../../../etc/passwd",
     "architecture", false},
    {"an architecture that is a number", "general.architecture", IS, 7, NULL, NULL, false},
    {"a key twice", "llama.context_length", TWICE, 0, NULL, NULL, false},
    {"an alignment of 0", "general.alignment", IS, 0, NULL, NULL, false},
    {"an alignment of 33", "general.alignment", IS, 33, NULL, NULL, false},
    {"an alignment of 2^31", "general.alignment", IS, 2147483648.0, NULL, NULL, false},
    {"an alignment of 2 MiB", "general.alignment", IS, 2097152, NULL, NULL, false},
    /* counts */
    {"0 layers", "llama.block_count", IS, 0, NULL, NULL, false},
    {"2^32 - 1 layers", "llama.block_count", IS, 4294967295.0, NULL, NULL, false},
    {"2^31 layers", "llama.block_count", IS, 2147483648.0, NULL, NULL, false},
    {"1,000 layers of two", "llama.block_count", IS, 1000, NULL, "blk.2", false},
    {"three layers of two", "llama.block_count", IS, 3, NULL, "blk.2", false},
    {"one layer of two", "llama.block_count", IS, 1, NULL, "blk.1", false},
    {"-2 layers", "llama.block_count", IS_I32, -2, NULL, NULL, false},
    {"2^40 layers", "llama.block_count", IS_U64, 1099511627776.0, NULL, NULL, false},
    {"layers as text", "llama.block_count", IS_TEXT, 0, "2", NULL, false},
    {"layers as a fraction", "llama.block_count", IS_F32, 2.5, NULL, NULL, false},
    {"no layer count", "llama.block_count", LACKS, 0, NULL, NULL, false},
    {"0 heads", "llama.attention.head_count", IS, 0, NULL, "no key heads", false},
    {"2^32 - 1 heads", "llama.attention.head_count", IS, 4294967295.0, NULL, NULL, false},
    {"5 heads", "llama.attention.head_count", IS, 5, NULL, "", false},
    {"8 heads of four", "llama.attention.head_count", IS, 8, NULL, "", false},
    {"-4 heads", "llama.attention.head_count", IS_I32, -4, NULL, NULL, false},
    {"a list of 3 head counts for 2 layers", "llama.attention.head_count", IS_LIST, 3, NULL, "",
     false},
    {"2^16 head counts", "llama.attention.head_count", IS_LIST, 65536, NULL, "", false},
    {"0 key heads", "llama.attention.head_count_kv", IS, 0, NULL, "", false},
    {"more key heads than heads", "llama.attention.head_count_kv", IS, 8, NULL, "", false},
    {"3 key heads", "llama.attention.head_count_kv", IS, 3, NULL, "", false},
    {"2^32 - 1 key heads", "llama.attention.head_count_kv", IS, 4294967295.0, NULL, NULL, false},
    {"an embedding of 0", "llama.embedding_length", IS, 0, NULL, NULL, false},
    {"an embedding of 64 for 32", "llama.embedding_length", IS, 64, NULL, "", false},
    {"an embedding of 2^32 - 1", "llama.embedding_length", IS, 4294967295.0, NULL, NULL, false},
    {"a feed-forward of 0", "llama.feed_forward_length", IS, 0, NULL, "", false},
    {"a feed-forward of 96 for 64", "llama.feed_forward_length", IS, 96, NULL, "ffn_", false},
    {"a feed-forward of 2^31", "llama.feed_forward_length", IS, 2147483648.0, NULL, NULL, false},
    {"a context of 0", "llama.context_length", IS, 0, NULL, NULL, false},
    {"a context of 2^32 - 1", "llama.context_length", IS, 4294967295.0, NULL, NULL, false},
    {"keys of 0 columns", "llama.attention.key_length", IS, 0, NULL, "", false},
    {"keys of 2^31 columns", "llama.attention.key_length", IS, 2147483648.0, NULL, "", false},
    {"keys of 16 columns for 8", "llama.attention.key_length", IS, 16, NULL, "", false},
    {"values of 2^32 - 1 columns", "llama.attention.value_length", IS, 4294967295.0, NULL, "",
     false},
    {"an odd rotation", "llama.rope.dimension_count", IS, 7, NULL, NULL, false},
    {"a rotation wider than a head", "llama.rope.dimension_count", IS, 64, NULL, NULL, false},
    {"a rotation of 2^32 - 2", "llama.rope.dimension_count", IS, 4294967294.0, NULL, NULL, false},
    {"a base of 0", "llama.rope.freq_base", IS_F32, 0, NULL, NULL, false},
    {"a base of -1", "llama.rope.freq_base", IS_F32, -1, NULL, NULL, false},
    {"a base that is no number", "llama.rope.freq_base", IS_F32, (double)NAN, NULL, NULL, false},
    {"an endless base", "llama.rope.freq_base", IS_F32, (double)INFINITY, NULL, NULL, false},
    {"a scaling factor that is no number", "llama.rope.scaling.factor", IS_F32, (double)NAN, NULL,
     NULL, false},
    {"a scaling factor of -4", "llama.rope.scaling.factor", IS_F32, -4, NULL, NULL, false},
    {"an epsilon that is no number", "llama.attention.layer_norm_rms_epsilon", IS_F32, (double)NAN,
     NULL, NULL, false},
    {"an epsilon of -1", "llama.attention.layer_norm_rms_epsilon", IS_F32, -1, NULL, NULL, false},
    {"an epsilon as text", "llama.attention.layer_norm_rms_epsilon", IS_TEXT, 0, "1e-5", NULL,
     false},
    /* tensors */
    {"no embedding", "token_embd.weight", LACKS, 0, NULL, NULL, false},
    {"an embedding of fewer rows than tokens", "token_embd.weight", ROWS, 33, NULL, NULL, false},
    {"an embedding of other columns", "token_embd.weight", COLS, 64, NULL, NULL, false},
    {"an embedding of 0 rows", "token_embd.weight", ROWS, 0, NULL, NULL, false},
    {"an embedding of 2^40 rows", "token_embd.weight", ROWS, 1099511627776.0, NULL, NULL, false},
    {"a norm twice as long", "output_norm.weight", COLS, 64, NULL, NULL, false},
    {"a norm in Q4_0", "output_norm.weight", IS, 2, NULL, NULL, false},
    {"no norm", "output_norm.weight", LACKS, 0, NULL, NULL, false},
    {"a head of other rows", "output.weight", ROWS, 35, NULL, NULL, false},
    {"no query weights", "blk.1.attn_q.weight", LACKS, 0, NULL, NULL, false},
    {"query weights of other rows", "blk.1.attn_q.weight", ROWS, 16, NULL, NULL, false},
    {"key weights of other rows", "blk.0.attn_k.weight", ROWS, 17, NULL, NULL, false},
    {"value weights of other columns", "blk.0.attn_v.weight", COLS, 16, NULL, NULL, false},
    {"output weights of other columns", "blk.0.attn_output.weight", COLS, 16, NULL, NULL, false},
    {"down weights of other columns", "blk.0.ffn_down.weight", COLS, 96, NULL, NULL, false},
    {"gate weights of other rows", "blk.1.ffn_gate.weight", ROWS, 32, NULL, NULL, false},
    {"a tensor twice", "blk.0.ffn_up.weight", TWICE, 0, NULL, NULL, false},
    {"no dimensions", "blk.0.ffn_up.weight", DIMS, 0, NULL, NULL, false},
    {"five dimensions", "blk.0.ffn_up.weight", DIMS, 5, NULL, NULL, false},
    {"one dimension for two", "blk.0.ffn_up.weight", DIMS, 1, NULL, NULL, false},
    {"a type that was removed", "blk.0.ffn_up.weight", IS, 4, NULL, NULL, false},
    {"type 2^32 - 1", "blk.0.ffn_up.weight", IS, 4294967295.0, NULL, NULL, false},
    {"whole numbers for weights", "blk.0.ffn_up.weight", IS, 26, NULL, NULL, false},
    {"an offset past the end", "blk.0.ffn_up.weight", AT, 1048576, NULL, NULL, false},
    {"an offset that is not aligned", "blk.0.ffn_up.weight", AT, 4, NULL, NULL, false},
    {"an offset that wraps", "blk.0.ffn_up.weight", AT, 18446744073709549568.0, NULL, NULL, false},
    {"an offset in another tensor", "blk.0.ffn_up.weight", AT, 64, NULL, "overlap", false},
    /* experts */
    {"2^32 - 1 experts", "llama.expert_count", IS, 4294967295.0, NULL, NULL, true},
    {"2^31 experts", "llama.expert_count", IS, 2147483648.0, NULL, NULL, true},
    {"5 experts of four", "llama.expert_count", IS, 5, NULL, "ffn_gate_inp", true},
    {"no expert count", "llama.expert_count", LACKS, 0, NULL, "", true},
    {"-4 experts", "llama.expert_count", IS_I32, -4, NULL, NULL, true},
    {"experts as text", "llama.expert_count", IS_TEXT, 0, "4", NULL, true},
    {"0 experts used", "llama.expert_used_count", IS, 0, NULL, "expert", true},
    {"5 experts used of four", "llama.expert_used_count", IS, 5, NULL, "expert", true},
    {"2^32 - 1 experts used", "llama.expert_used_count", IS, 4294967295.0, NULL, "expert", true},
    {"a router of other rows", "blk.0.ffn_gate_inp.weight", ROWS, 3, NULL, NULL, true},
    {"no router", "blk.0.ffn_gate_inp.weight", LACKS, 0, NULL, "blk.0.ffn_", true},
    {"experts of other columns", "blk.1.ffn_down_exps.weight", COLS, 32, NULL, "", true},
    {"experts of other rows", "blk.1.ffn_gate_exps.weight", ROWS, 32, NULL, "", true},
    {"experts in one matrix", "blk.1.ffn_up_exps.weight", DIMS, 2, NULL, NULL, true},
    {"no experts of one kind", "blk.0.ffn_up_exps.weight", LACKS, 0, NULL, NULL, true},
    /* vocabulary */
    {"no tokens", "tokenizer.ggml.tokens", LACKS, 0, NULL, NULL, false},
    {"tokens that are numbers", "tokenizer.ggml.tokens", IS_LIST, 34, NULL, NULL, false},
    {"tokens that are one text", "tokenizer.ggml.tokens", IS_TEXT, 0, "abc", NULL, false},
    {"no tokenizer", "tokenizer.ggml.model", LACKS, 0, NULL, NULL, false},
    {"an unknown tokenizer", "tokenizer.ggml.model", IS_TEXT, 0, "x", NULL, false},
    {"a tokenizer that is a number", "tokenizer.ggml.model", IS, 1, NULL, NULL, false},
    {"fewer types than tokens", "tokenizer.ggml.token_type", SHORTER, 0, NULL, NULL, false},
    {"types as text", "tokenizer.ggml.token_type", IS_TEXT, 0, "1", NULL, false},
    {"fewer scores than tokens", "tokenizer.ggml.scores", SHORTER, 0, NULL, NULL, false},
    {"scores as a number", "tokenizer.ggml.scores", IS, 0, NULL, NULL, false},
    {"BOS outside the vocabulary", "tokenizer.ggml.bos_token_id", IS, 34, NULL, NULL, false},
    {"EOS outside the vocabulary", "tokenizer.ggml.eos_token_id", IS, 4294967294.0, NULL, NULL,
     false},
    {"the unknown token outside the vocabulary", "tokenizer.ggml.unknown_token_id", IS, 1000, NULL,
     NULL, false},
    {"the end of a turn outside the vocabulary", "tokenizer.ggml.eot_token_id", IS, 99, NULL, NULL,
     false},
    {"BOS as text", "tokenizer.ggml.bos_token_id", IS_TEXT, 0, "1", NULL, false},
    {"the byte token <0x-1>", "byte", IS_TEXT, 0, "<0x-1>", "<0x-1>", false},
    {"the byte token <0x100>", "byte", IS_TEXT, 0, "<0x100>", "<0x100>", false},
    {"the byte token <0xZZ>", "byte", IS_TEXT, 0, "<0xZZ>", "<0xZZ>", false},
    {"the byte token <0x1>", "byte", IS_TEXT, 0, "<0x1>", "<0x1>", false},
    {"the byte token <0x 1>", "byte", IS_TEXT, 0, "<0x 1>", "<0x 1>", false},
    {"the byte token a", "byte", IS_TEXT, 0, "zz", "zz", false},
    /* the chat template */
    {"a template as a number", "tokenizer.chat_template", IS, 1, NULL, NULL, false},
    {"a template that ends early", "tokenizer.chat_template", IS_TEXT, 0, "{% for x in y %}", "",
     false},
};

static void test_faults(void)
{
    struct craft c;

    craft_file(&c, NULL);
    if (!ok(open_bytes(&c.file, &e) == ERR_OK, "the model itself opens (%zu bytes)", c.file.n))
        printf("#   %s\n", e.text);
    craft_fini(&c);
    craft_file(&c, &(struct fault){.name = "", .experts = true});
    if (!ok(open_bytes(&c.file, &e) == ERR_OK, "and so does one with experts"))
        printf("#   %s\n", e.text);
    craft_fini(&c);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        const struct fault *f = &faults[i];
        const char *words = f->words ? f->words : f->name;
        enum err code;

        craft_file(&c, f);
        memset(&e, 0, sizeof e);
        code = open_bytes(&c.file, &e);
        if (!ok(c.used && (code == ERR_FORMAT || code == ERR_UNSUPPORTED || code == ERR_LIMIT) &&
                    strstr(e.text, words),
                "refused: %s", f->what))
            printf("#   %s: %s\n", err_name(code), code ? e.text : "it opens");
        craft_fini(&c);
    }
}

/* Odd, but not wrong enough to be refused: it must do no harm. */
static void test_oddities(void)
{
    static const struct fault odd[] = {
        {"scores that are no numbers", "tokenizer.ggml.scores", ITEM, (double)NAN, NULL, NULL,
         false},
        {"endless scores", "tokenizer.ggml.scores", ITEM, (double)INFINITY, NULL, NULL, false},
        {"a token of type -1", "tokenizer.ggml.token_type", ITEM, -1, NULL, NULL, false},
        {"a token of type 2^31 - 1", "tokenizer.ggml.token_type", ITEM, 2147483647.0, NULL, NULL,
         false},
    };
    struct craft c;

    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        craft_file(&c, &odd[i]);
        use_bytes((const uint8_t *)c.file.p, c.file.n);
        ok(c.used, "%s do no harm", odd[i].what);
        craft_fini(&c);
    }
}

static void test_templates(void)
{
    static const struct {
        const char *what, *unit, *close;
        size_t n;
    } deep[] = {
        {"a template of 2 MB", "x", "", (size_t)2 << 20},
        {"100,000 brackets", "{{ ((((((((((", "", 10000},
        {"50,000 lists", "[", "", 50000},
        {"50,000 conditions", "{% if x %}", "", 50000},
        {"50,000 filters", "|upper", "", 50000},
        {"50,000 negations", "not ", "", 50000},
        {"a chain of 100,000 sums", "1+", "", 100000},
        {"50,000 macros in one another", "{% macro m() %}", "", 50000},
    };

    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++) {
        struct fault f = {.what = deep[i].what, .name = "tokenizer.chat_template", .op = IS_TEXT};
        buf text = {.cap = MIB(8)};
        struct craft c;
        enum err code;

        buf_c(&text, "{{ ");
        for (size_t k = 0; k < deep[i].n; k++)
            buf_c(&text, deep[i].unit);
        f.text = text.p;
        craft_file(&c, &f);
        code = open_bytes(&c.file, &e);
        if (!ok(code == ERR_FORMAT || code == ERR_LIMIT || code == ERR_INVALID ||
                    code == ERR_UNSUPPORTED,
                "refused: %s", deep[i].what))
            printf("#   %s: %s\n", err_name(code), code ? e.text : "it opens");
        craft_fini(&c);
        buf_fini(&text);
    }
}

/* ---- every byte ---- */

static void test_cuts(void)
{
    struct craft c;
    size_t opened = 0;
    uint8_t *p;

    craft_file(&c, NULL);
    for (size_t n = 0; n < c.file.n; n += n < c.file.n - c.data ? 1 : 97) {
        p = mem_need(n + !n);
        memcpy(p, c.file.p, n);
        opened += use_bytes(p, n) == ERR_OK;
        mem_free(p);
    }
    is_int(opened, 0, "cut short at any byte of the header, the file is refused");
    craft_fini(&c);
}

static void test_flips(void)
{
    static const uint64_t numbers[] = {0,
                                       1,
                                       0x7fffffff,
                                       0x80000000u,
                                       0xffffffffu,
                                       (uint64_t)1 << 32,
                                       (uint64_t)1 << 61,
                                       INT64_MAX,
                                       (uint64_t)1 << 63,
                                       UINT64_MAX};
    struct craft c;
    size_t head, tried = 0, opened = 0;
    uint8_t *p;

    craft_file(&c, NULL);
    head = c.file.n - c.data;
    p = mem_need(c.file.n);
    memcpy(p, c.file.p, c.file.n);
    for (size_t at = 0; at < head; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            p[at] = (uint8_t)((uint8_t)c.file.p[at] ^ 1u << bit);
            opened += use_bytes(p, c.file.n) == ERR_OK;
            tried++;
        }
        memcpy(p + at, c.file.p + at, 1);
    }
    ok(tried > 0, "each bit of the header turned: %zu files, %zu still open", tried, opened);
    tried = opened = 0;
    for (size_t at = 0; at + 8 <= head; at++) {
        for (size_t k = 0; k < 2 * sizeof numbers / sizeof *numbers; k++) {
            size_t width = k % 2 ? 8 : 4;

            memcpy(p + at, &numbers[k / 2], width);
            opened += use_bytes(p, c.file.n) == ERR_OK;
            tried++;
            memcpy(p + at, c.file.p + at, width);
        }
    }
    ok(tried > 0, "each place of the header as a large number: %zu files, %zu still open", tried,
       opened);
    mem_free(p);
    craft_fini(&c);
}

/* ---- running what opens ---- */

static void no_row(uint32_t i, const float *logits, void *owner)
{
    (void)i, (void)logits;
    ++*(int *)owner;
}

static void on_event(struct gen_job *job, const struct gen_event *ev)
{
    if (ev->type == GEN_DONE) *(bool *)job->owner = true;
}

/* Opens, computes, and samples a few tokens each way. What comes out means nothing; it has to end.
 * False when the engine did not open. */
static bool run_file(const struct backend *be)
{
    const struct engine_conf conf = {
        .backend = be, .n_threads = 1, .n_ctx = 32, .n_slots = 1, .max_batch = 8, .kv_budget = 1};
    int32_t ids[4] = {1, 4, 5, 6};
    struct engine *en;
    int rows = 0;

    if (engine_open(&en, path, &conf, &e)) return false;
    for (int i = 0; i < 4; i++)
        if ((uint32_t)ids[i] >= engine_meta(en)->n_vocab) ids[i] = 0;
    (void)!engine_eval(en, ids, 4, no_row, &rows, &e);
    for (int temperature = 0; temperature < 2; temperature++) {
        bool done = false;
        struct gen_job job = {.prompt = ids, .n_prompt = 4, .on_event = on_event, .owner = &done};

        params_default(&job.params);
        job.params.max_tokens = 3;
        job.params.temperature = temperature;
        if (engine_submit(en, &job, &e)) continue;
        while (engine_step(en)) {
        }
        if (!done) printf("# a job did not end\n");
    }
    engine_close(en);
    return true;
}

static bool write_file(const uint8_t *p, size_t n)
{
    FILE *f = fopen(path, "wb");

    return f && fwrite(p, 1, n, f) == n && fclose(f) == 0;
}

static void test_runs(void)
{
    static const struct backend *const backends[] = {&cpu_backend, &ref_backend};
    struct craft c;
    size_t head, tried = 0, ran = 0;
    uint8_t *p;

    craft_file(&c, NULL);
    head = c.file.n - c.data;
    p = mem_need(c.file.n);
    memcpy(p, c.file.p, c.file.n);
    for (size_t at = 24; at < head; at++) {
        p[at] = (uint8_t)((uint8_t)c.file.p[at] ^ 1u << at % 7);
        if (use_bytes(p, c.file.n) == ERR_OK && write_file(p, c.file.n)) {
            tried++;
            ran += run_file(backends[at % 2]);
        }
        memcpy(p + at, c.file.p + at, 1);
    }
    ok(ran > 0 && ran <= tried, "of %zu headers with a bit turned that still compile %zu run",
       tried, ran);
    for (size_t i = 0; i < 4; i++) {
        const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f};

        for (size_t at = head; at + 4 <= c.file.n; at += 4)
            memcpy(p + at, &odd[i], 4);
        ok(write_file(p, c.file.n) && run_file(backends[0]) && run_file(backends[1]),
           "weights that are all %g run to an end", (double)odd[i]);
    }
    mem_free(p);
    craft_fini(&c);
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/test_hostile.%d.gguf", (int)getpid());
    test_faults();
    test_oddities();
    test_templates();
    test_cuts();
    test_flips();
    test_runs();
    unlink(path);
    return tap_end();
}
