/* ship: the trained model as a GGUF file, out and in again.
 *
 * model/gguf_write.h knows the container; here are the keys and names of a Llama model. Rotary
 * pairs are trained in GGUF's order (2i, 2i+1), so q and k rows are stored as they are. The head is
 * the embedding: no output.weight is written.
 */
#include "ship.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "model/dtype.h"
#include "model/gguf.h"
#include "model/gguf_write.h"

static const char *const part_names[LM_PARTS] = {"attn_norm", "attn_q",      "attn_k",
                                                 "attn_v",    "attn_output", "ffn_norm",
                                                 "ffn_gate",  "ffn_up",      "ffn_down"};

static const char chat_template[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ "
    "'<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% endif %}";

/* The mark that stands for a space in SentencePiece vocabularies (U+2581). */
#define SPACE_MARK "\xe2\x96\x81"

/* ---- writing ---- */

static void vocabulary(struct gguf_write *w, const struct spm *s)
{
    struct arena a;
    arena_init(&a, MIB(4));
    str *text = ARENA_NEW(&a, str, s->count);
    float *score = ARENA_NEW(&a, float, s->count);
    int32_t *type = ARENA_NEW(&a, int32_t, s->count);
    ASSERT(text && score && type); /* a few kilobytes */
    for (size_t i = 0; i < s->count; i++) {
        const struct spm_piece *p = &s->piece[i];
        buf t = {.cap = KIB(1)};
        for (uint32_t c = 0; c < p->n; c++)
            if (p->text[c] == ' ')
                buf_c(&t, SPACE_MARK);
            else
                buf_ch(&t, p->text[c]);
        text[i] = arena_str(&a, buf_view(&t));
        score[i] = p->score;
        type[i] = (int32_t)p->type;
        buf_fini(&t);
    }
    gguf_write_str(w, "tokenizer.ggml.model", S("llama"));
    gguf_write_str(w, "tokenizer.ggml.pre", S("default"));
    gguf_write_strs(w, "tokenizer.ggml.tokens", text, s->count);
    gguf_write_f32s(w, "tokenizer.ggml.scores", score, s->count);
    gguf_write_i32s(w, "tokenizer.ggml.token_type", type, s->count);
    gguf_write_u32(w, "tokenizer.ggml.unknown_token_id", SPM_UNK);
    gguf_write_u32(w, "tokenizer.ggml.bos_token_id", SPM_BOS);
    gguf_write_u32(w, "tokenizer.ggml.eos_token_id", SPM_EOS);
    gguf_write_u32(w, "tokenizer.ggml.eot_token_id", SPM_IM_END);
    gguf_write_bool(w, "tokenizer.ggml.add_bos_token", true);
    gguf_write_bool(w, "tokenizer.ggml.add_eos_token", false);
    gguf_write_bool(w, "tokenizer.ggml.add_space_prefix", true);
    gguf_write_str(w, "tokenizer.chat_template", S(chat_template));
    arena_fini(&a);
}

static void metadata(struct gguf_write *w, const struct lm *m, const struct spm *s,
                     uint32_t context)
{
    const str english = S("en");
    gguf_write_str(w, "general.architecture", S("llama"));
    gguf_write_str(w, "general.type", S("model"));
    gguf_write_str(w, "general.name", S("rbee-tiny"));
    gguf_write_str(w, "general.description",
                   S("A very small storyteller, trained from scratch on generated text."));
    gguf_write_str(w, "general.license", S("apache-2.0"));
    gguf_write_strs(w, "general.languages", &english, 1);
    gguf_write_u32(w, "general.file_type", 1); /* mostly F16 */
    gguf_write_u32(w, "llama.vocab_size", (uint32_t)m->s.vocab);
    gguf_write_u32(w, "llama.context_length", context);
    gguf_write_u32(w, "llama.embedding_length", (uint32_t)m->s.embd);
    gguf_write_u32(w, "llama.block_count", (uint32_t)m->s.layers);
    gguf_write_u32(w, "llama.feed_forward_length", (uint32_t)m->s.ff);
    gguf_write_u32(w, "llama.attention.head_count", (uint32_t)m->s.heads);
    gguf_write_u32(w, "llama.attention.head_count_kv", (uint32_t)m->s.kv_heads);
    gguf_write_f32(w, "llama.attention.layer_norm_rms_epsilon", LM_EPS);
    gguf_write_u32(w, "llama.rope.dimension_count", (uint32_t)m->s.head_dim);
    gguf_write_f32(w, "llama.rope.freq_base", LM_THETA);
    vocabulary(w, s);
}

enum { TENSORS_MAX = 2 + LM_LAYERS_MAX * LM_PARTS };

struct named {
    char name[48];
    struct lm_slot slot;
};

/* The tensors in file order; returns how many. */
static size_t tensors(const struct lm *m, struct named *out)
{
    size_t n = 0;
    out[n++] = (struct named){"token_embd.weight", m->embd};
    for (size_t l = 0; l < m->s.layers; l++)
        for (int p = 0; p < LM_PARTS; p++) {
            snprintf(out[n].name, sizeof out[n].name, "blk.%zu.%s.weight", l, part_names[p]);
            out[n++].slot = m->layer[l][p];
        }
    out[n++] = (struct named){"output_norm.weight", m->norm};
    return n;
}

static enum err write_tensor(struct gguf_write *w, const struct lm *m, struct lm_slot s,
                             struct err_info *e)
{
    enum err r = gguf_write_align(w, e);
    if (r) return r;
    if (s.rows == 1) return gguf_write_data(w, m->w + s.at, s.cols * sizeof(float), e);
    for (size_t row = 0; row < s.rows && !r; row++) {
        uint16_t half[1 << 12];
        ASSERT(s.cols <= sizeof half / sizeof *half);
        for (size_t c = 0; c < s.cols; c++)
            half[c] = dtype_f32_to_f16(m->w[s.at + row * s.cols + c]);
        r = gguf_write_data(w, half, s.cols * sizeof *half, e);
    }
    return r;
}

enum err ship_write(const char *path, const struct lm *m, const struct spm *s, uint32_t context,
                    struct err_info *e)
{
    struct named t[TENSORS_MAX];
    struct gguf_write w;
    size_t n = tensors(m, t);
    gguf_write_init(&w);
    metadata(&w, m, s, context);
    for (size_t i = 0; i < n; i++) {
        bool norm = t[i].slot.rows == 1;
        uint64_t dim[2] = {t[i].slot.cols, t[i].slot.rows};
        gguf_write_tensor(&w, str_c(t[i].name), norm ? DTYPE_F32 : DTYPE_F16, dim, norm ? 1 : 2);
    }
    enum err r = gguf_write_open(&w, path, e);
    for (size_t i = 0; i < n && !r; i++)
        r = write_tensor(&w, m, t[i].slot, e);
    if (!r) r = gguf_write_close(&w, e);
    gguf_write_fini(&w);
    return r;
}

/* ---- reading ---- */

static enum err read_tensor(const struct gguf *g, struct lm *m, const char *name, struct lm_slot s,
                            struct err_info *e)
{
    const struct gguf_tensor *t = gguf_tensor(g, str_c(name));
    if (!t) return ERR_FAIL(e, UNSUPPORTED, "tensor %s is missing", name);
    if (t->dim[0] != s.cols || t->dim[1] != s.rows ||
        (t->dtype != DTYPE_F16 && t->dtype != DTYPE_F32))
        return ERR_FAIL(e, UNSUPPORTED, "tensor %s: other shape or type than this tool writes",
                        name);
    dtype_dequant(t->dtype, t->data, m->w + s.at, s.rows * s.cols);
    return ERR_OK;
}

static enum err read_shape(const struct gguf *g, struct lm_shape *s, uint32_t *context,
                           struct err_info *e)
{
    uint32_t v[8] = {0};
    static const char *const keys[8] = {
        "llama.vocab_size",           "llama.embedding_length",        "llama.block_count",
        "llama.attention.head_count", "llama.attention.head_count_kv", "llama.rope.dimension_count",
        "llama.feed_forward_length",  "llama.context_length"};
    for (int i = 0; i < 8; i++) {
        enum err r = gguf_get_u32(g, keys[i], &v[i], e);
        if (r) return r;
        if (v[i] < 1 || v[i] > 1u << 16)
            return ERR_FAIL(e, UNSUPPORTED, "%s: not a model of this tool", keys[i]);
    }
    *s = (struct lm_shape){v[0], v[1], v[2], v[3], v[4], v[5], v[6]};
    *context = v[7];
    if (s->layers > LM_LAYERS_MAX || s->vocab > SPM_VOCAB_MAX || s->embd % 8 || s->head_dim % 8 ||
        s->heads % s->kv_heads)
        return ERR_FAIL(e, UNSUPPORTED, "the shape is not one of this tool");
    return ERR_OK;
}

static enum err read_vocabulary(const struct gguf *g, struct spm *s, size_t want,
                                struct err_info *e)
{
    const str *tokens;
    size_t n = 0;
    enum err r = gguf_get_strs(g, "tokenizer.ggml.tokens", &tokens, &n, e);
    const struct gguf_kv *scores = gguf_find(g, "tokenizer.ggml.scores");
    if (r) return r;
    if (n != want || !scores || scores->elem != GGUF_F32 || scores->count != n)
        return ERR_FAIL(e, UNSUPPORTED, "the vocabulary is not one of this tool");
    spm_init(s);
    for (size_t i = SPM_FIRST; i < n; i++) {
        buf t = {.cap = SPM_PIECE_MAX};
        float score;
        for (size_t c = 0; c < tokens[i].n; c++) {
            bool mark = str_starts(str_sub(tokens[i], c, 3), S(SPACE_MARK));
            buf_ch(&t, mark ? ' ' : tokens[i].p[c]);
            if (mark) c += 2;
        }
        memcpy(&score, scores->data + i * sizeof score, sizeof score);
        if (t.failed || t.n >= SPM_PIECE_MAX) {
            buf_fini(&t);
            return ERR_FAIL(e, UNSUPPORTED, "token %zu is longer than this tool writes", i);
        }
        spm_add(s, buf_view(&t), score, SPM_NORMAL);
        buf_fini(&t);
    }
    return ERR_OK;
}

enum err ship_read(const char *path, struct lm *m, struct spm *s, uint32_t *context,
                   struct err_info *e)
{
    struct gguf g;
    struct lm_shape shape;
    enum err r = gguf_open(&g, path, e);
    if (r) return r;
    *m = (struct lm){0};
    r = read_shape(&g, &shape, context, e);
    if (r) goto done;
    r = read_vocabulary(&g, s, shape.vocab, e);
    if (r) goto done;
    lm_init(m, shape, 0, false);
    struct named t[TENSORS_MAX];
    size_t n = tensors(m, t);
    for (size_t i = 0; i < n && !r; i++)
        r = read_tensor(&g, m, t[i].name, t[i].slot, e);
done:
    if (r) lm_fini(m);
    gguf_close(&g);
    return r;
}
