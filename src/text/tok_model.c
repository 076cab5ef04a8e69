/* tok_model: a vocabulary out of SentencePiece's tokenizer.model.
 *
 * The file is one protocol buffer message. A strict reader walks its fields twice: once to count
 * the pieces, once to take them; fields that are not needed are stepped over by their wire type.
 * Pieces stay views of the file. BPE becomes TOK_SPM (neighbours join by score), Unigram TOK_UGM;
 * the kinds "word" and "char" are refused.
 *
 * Invariant: no field reaches past the message that holds it.
 *
 * Source: google/sentencepiece, sentencepiece_model.proto, for field numbers and defaults.
 */
#include "text/tok_hf.h"
#include "text/tok_int.h"

#include <string.h>

#include "base/limits.h"

/* ---- protocol buffers ---- */

struct field {
    uint32_t number;
    uint32_t wire;
    uint64_t value; /* wire types 0, 1 and 5 */
    str bytes;      /* wire type 2 */
};

static bool varint(str *s, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 10 && i < s->n; i++) {
        uint8_t b = (uint8_t)s->p[i];
        if (i == 9 && b > 1) return false;
        v |= (uint64_t)(b & 0x7F) << (7 * i);
        if (b & 0x80) continue;
        *s = str_sub(*s, i + 1, SIZE_MAX);
        *out = v;
        return true;
    }
    return false;
}

static bool fixed(str *s, size_t n, uint64_t *out)
{
    if (s->n < n) return false;
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out |= (uint64_t)(uint8_t)s->p[i] << (8 * i);
    *s = str_sub(*s, n, SIZE_MAX);
    return true;
}

/* Takes one field off the front of *s, which is not empty. */
static bool next_field(str *s, struct field *f)
{
    uint64_t key, n;
    if (!varint(s, &key) || key >> 3 == 0 || key >> 3 > 0x1FFFFFFF) return false;
    *f = (struct field){.number = (uint32_t)(key >> 3), .wire = (uint32_t)(key & 7)};
    switch (f->wire) {
    case 0: return varint(s, &f->value);
    case 1: return fixed(s, 8, &f->value);
    case 5: return fixed(s, 4, &f->value);
    case 2:
        if (!varint(s, &n) || n > s->n) return false;
        f->bytes = str_sub(*s, 0, (size_t)n);
        *s = str_sub(*s, (size_t)n, SIZE_MAX);
        return true;
    default: return false; /* groups: no file has them */
    }
}

static enum err broken(struct err_info *e, const char *what)
{
    return ERR_FAIL(e, FORMAT, "tokenizer.model: %s is no valid protocol buffer message", what);
}

/* ---- the messages ---- */

enum { UNIGRAM = 1, BPE = 2 };

struct model {
    uint64_t kind;
    bool byte_fallback, suffix;
    int64_t unk, bos, eos;
    str charsmap, name;
    bool prefix, merge, escape;
};

static enum err read_trainer(struct model *m, str s, struct err_info *e)
{
    struct field f;
    while (s.n) {
        if (!next_field(&s, &f)) return broken(e, "trainer_spec");
        if (f.wire) continue;
        switch (f.number) {
        case 3: m->kind = f.value; break;
        case 24: m->suffix = f.value != 0; break;
        case 35: m->byte_fallback = f.value != 0; break;
        case 40: m->unk = (int32_t)(uint32_t)f.value; break;
        case 41: m->bos = (int32_t)(uint32_t)f.value; break;
        case 42: m->eos = (int32_t)(uint32_t)f.value; break;
        default: break;
        }
    }
    return ERR_OK;
}

static enum err read_normalizer(struct model *m, str s, struct err_info *e)
{
    struct field f;
    while (s.n) {
        if (!next_field(&s, &f)) return broken(e, "normalizer_spec");
        if (f.number == 1 && f.wire == 2) m->name = f.bytes;
        if (f.number == 2 && f.wire == 2) m->charsmap = f.bytes;
        if (f.wire) continue;
        if (f.number == 3) m->prefix = f.value != 0;
        if (f.number == 4) m->merge = f.value != 0;
        if (f.number == 5) m->escape = f.value != 0;
    }
    return ERR_OK;
}

static enum err read_piece(struct tok_spec *s, uint32_t id, str m, struct err_info *e)
{
    static const uint8_t kinds[] = {TOK_NORMAL, TOK_NORMAL, TOK_UNKNOWN, TOK_CONTROL,
                                    TOK_USER,   TOK_UNUSED, TOK_BYTE};
    struct field f;
    uint64_t type = 1;
    while (m.n) {
        if (!next_field(&m, &f)) return broken(e, "a piece");
        if (f.number == 1 && f.wire == 2) ((str *)(uintptr_t)s->text)[id] = f.bytes;
        if (f.number == 2 && f.wire == 5) {
            uint32_t bits = (uint32_t)f.value;
            memcpy((float *)(uintptr_t)&s->score[id], &bits, sizeof bits);
        }
        if (f.number == 3 && f.wire == 0) type = f.value;
    }
    if (type >= sizeof kinds)
        return ERR_FAIL(e, FORMAT, "tokenizer.model: piece %u is of unknown type %llu", id,
                        (unsigned long long)type);
    s->attr[id] = kinds[type];
    return ERR_OK;
}

static enum err count_pieces(str s, uint32_t *n, struct err_info *e)
{
    struct field f;
    *n = 0;
    while (s.n) {
        if (!next_field(&s, &f)) return broken(e, "the file");
        if (f.number != 1 || f.wire != 2) continue;
        if (*n == LIMIT_VOCAB)
            return ERR_FAIL(e, LIMIT, "tokenizer.model has more than %u pieces", LIMIT_VOCAB);
        (*n)++;
    }
    return *n ? ERR_OK : ERR_FAIL(e, FORMAT, "tokenizer.model holds no pieces");
}

static enum err read_parts(struct tok_hf *h, struct model *m, str s, uint32_t *cap)
{
    struct field f;
    uint32_t n, id = 0;
    enum err rc = count_pieces(s, &n, h->e);
    if (rc == ERR_OK) rc = tok_hf_room(h, (int64_t)n - 1, cap);
    while (s.n && rc == ERR_OK) {
        if (!next_field(&s, &f)) return broken(h->e, "the file");
        if (f.wire != 2) continue;
        if (f.number == 1) rc = read_piece(h->s, id++, f.bytes, h->e);
        if (f.number == 2) rc = read_trainer(m, f.bytes, h->e);
        if (f.number == 3) rc = read_normalizer(m, f.bytes, h->e);
    }
    return rc;
}

/* ---- the spec ---- */

static int32_t id_of(const struct tok_spec *s, int64_t id)
{
    return id >= 0 && id < (int64_t)s->n ? (int32_t)id : -1;
}

static void set_rules(struct tok_spec *s, const struct model *m)
{
    unsigned flags =
        (m->merge ? (unsigned)TOK_SPACES_MERGE : 0) | (m->escape ? (unsigned)TOK_SPACES_ESCAPE : 0);
    if (m->prefix) flags |= m->suffix ? TOK_SPACES_SUFFIX : TOK_SPACES_PREFIX;
    s->strips_space = m->prefix && !m->suffix;
    if (s->algo == TOK_SPM && !m->charsmap.n && !m->merge && m->escape && !m->suffix) {
        s->add_space = m->prefix; /* the plain way */
        return;
    }
    if (m->charsmap.n)
        s->norm[s->n_norm++] = (struct tok_norm){.op = TOK_NORM_CHARSMAP, .from = m->charsmap};
    s->norm[s->n_norm++] = (struct tok_norm){.op = TOK_NORM_SPACES, .flags = flags};
}

/* As the tokenizer classes of transformers do it unless the configuration says otherwise. */
static void set_around(struct tok_spec *s)
{
    if (s->algo == TOK_SPM && s->bos >= 0) s->head[s->n_head++] = s->bos;
    if (s->algo == TOK_UGM && s->eos >= 0) s->tail[s->n_tail++] = s->eos;
}

enum err tok_spec_from_model(struct tok_spec *s, struct arena *a, str model, str config,
                             struct err_info *e)
{
    struct tok_hf h = {.s = s, .arena = a, .bytes = model, .e = e};
    struct model m = {
        .kind = UNIGRAM, .bos = 1, .eos = 2, .prefix = true, .merge = true, .escape = true};
    uint32_t cap = 0;
    arena_init(&h.tree, LIMIT_TOK_ARENA);
    enum err rc = read_parts(&h, &m, model, &cap);
    if (rc == ERR_OK && m.kind != UNIGRAM && m.kind != BPE)
        rc = ERR_FAIL(e, UNSUPPORTED, "tokenizer.model is of type %llu, neither Unigram nor BPE",
                      (unsigned long long)m.kind);
    if (rc == ERR_OK) {
        s->algo = m.kind == BPE ? TOK_SPM : TOK_UGM;
        s->bos = id_of(s, m.bos);
        s->eos = id_of(s, m.eos);
        s->unk = id_of(s, m.unk);
        s->byte_fallback = m.byte_fallback;
        s->fuse_unk = true;
        set_rules(s, &m);
        set_around(s);
        rc = tok_hf_config(&h, config, (str){NULL, 0}, &cap);
    }
    arena_fini(&h.tree);
    return rc;
}
