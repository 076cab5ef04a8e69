/* quant_mix: which matrix of a model gets which type.
 *
 * The mixes are those that llama.cpp's users know by name, with the choices they expect: the
 * matrices whose error costs most (the head, the values of attention, the way down of the
 * feed-forward block) get more bits, often in the first and the last eighth of the layers and in
 * every third between only. A mix is a base type and the rules it takes part in; the first rule
 * that fits a matrix decides. Special cases of single architectures (Falcon) are left out.
 */
#include "model/quant.h"

/* X(NAME, base type) */
#define MIXES(X)                                                                                   \
    X(Q4_0, Q4_0)                                                                                  \
    X(Q4_1, Q4_1)                                                                                  \
    X(Q5_0, Q5_0)                                                                                  \
    X(Q5_1, Q5_1)                                                                                  \
    X(Q2_K, Q2_K)                                                                                  \
    X(Q2_K_S, Q2_K)                                                                                \
    X(Q3_K_S, Q3_K)                                                                                \
    X(Q3_K_M, Q3_K)                                                                                \
    X(Q3_K_L, Q3_K)                                                                                \
    X(Q4_K_S, Q4_K)                                                                                \
    X(Q4_K_M, Q4_K)                                                                                \
    X(Q5_K_S, Q5_K)                                                                                \
    X(Q5_K_M, Q5_K)                                                                                \
    X(Q6_K, Q6_K)                                                                                  \
    X(IQ1_S, IQ1_S)                                                                                \
    X(IQ1_M, IQ1_M)                                                                                \
    X(IQ2_XXS, IQ2_XXS)                                                                            \
    X(IQ2_XS, IQ2_XS)                                                                              \
    X(IQ2_S, IQ2_XS)                                                                               \
    X(IQ2_M, IQ2_S)                                                                                \
    X(IQ3_XXS, IQ3_XXS)                                                                            \
    X(IQ3_XS, IQ3_S)                                                                               \
    X(IQ3_S, IQ3_S)                                                                                \
    X(IQ3_M, IQ3_S)                                                                                \
    X(IQ4_NL, IQ4_NL)                                                                              \
    X(IQ4_XS, IQ4_XS)                                                                              \
    X(TQ1_0, TQ1_0)                                                                                \
    X(TQ2_0, TQ2_0)                                                                                \
    X(Q1_0, Q1_0)                                                                                  \
    X(Q2_0, Q2_0)                                                                                  \
    X(MXFP4_MOE, MXFP4)

#define NUMBER(NAME, base) N_##NAME,
enum { MIXES(NUMBER) N_MIXES };
_Static_assert(N_MIXES <= 64, "a bit each");

/* What a matrix does, by its name. */
enum role { HEAD, EMBD, ATTN_V, ATTN_K, ATTN_Q, ATTN_OUT, FFN_DOWN, FFN_GATE, FFN_UP, OTHER };

static const struct {
    const char *part; /* of the name; the first that is found decides */
    enum role role;
} roles[] = {
    {"attn_qkv.weight", ATTN_V}, {"attn_kv_b.weight", ATTN_V}, {"attn_v.weight", ATTN_V},
    {"attn_k.weight", ATTN_K},   {"attn_q.weight", ATTN_Q},    {"attn_output.weight", ATTN_OUT},
    {"ffn_up", FFN_UP},          {"ffn_gate", FFN_GATE},       {"ffn_down", FFN_DOWN},
};

/* What may be so of a matrix and its model; a rule names all that must be. */
enum fact {
    ALWAYS = 0,
    MORE = 1,      /* first and last eighth of the layers, every third between */
    EIGHTH = 2,    /* first eighth */
    SIXTEENTH = 4, /* first sixteenth */
    MIDDLE = 8,    /* neither the first nor the last eighth */
    FIRST2 = 16,   /* layers */
    FIRST4 = 32,   /* layers */
    SHARED = 64,   /* four or more query heads share a key head */
    PARTED = 128,  /* SHARED, or four or more experts */
    EIGHT = 256,   /* experts */
    NOT_EIGHT = 512,
    BLIND = 1024,  /* no importance is known */
    KNOWN = 2048,  /* it is */
    EXPERT = 4096, /* the matrices of a layer's experts */
    GIANT = 8192,  /* 80 layers with eight query heads a key head */
};

struct rule {
    uint64_t mixes;
    int role; /* -1: any */
    int facts;
    enum dtype type;
};

#define M(x) ((uint64_t)1 << N_##x)
#define LOW  (M(IQ1_S) | M(IQ1_M) | M(IQ2_XXS) | M(IQ2_XS) | M(IQ2_S) | M(IQ2_M))
#define ALL  (~(uint64_t)0)
#define ANY  (-1)
#define T(x) DTYPE_##x

/* clang-format off */
static const struct rule rules[] = {
    {M(MXFP4_MOE), HEAD,      ALWAYS,         T(Q8_0)},
    {M(MXFP4_MOE), ANY,       EXPERT,         T(MXFP4)},
    {M(MXFP4_MOE), ANY,       ALWAYS,         T(Q8_0)},

    {LOW | M(IQ3_XXS),                      HEAD, ALWAYS, T(Q5_K)},
    {ALL,                                HEAD, ALWAYS, T(Q6_K)},
    {M(IQ1_S) | M(IQ1_M) | M(IQ2_XXS) | M(IQ2_XS),   EMBD, ALWAYS, T(Q2_K)},
    {M(IQ2_S) | M(IQ2_M) | M(IQ3_XXS),            EMBD, ALWAYS, T(IQ3_S)},
    {M(TQ1_0) | M(TQ2_0) | M(Q2_0),               EMBD, ALWAYS, T(Q4_K)},

    {LOW,                      ATTN_V, PARTED,         T(Q4_K)},
    {M(IQ2_S) | M(IQ2_M),            ATTN_V, ALWAYS,         T(IQ3_S)},
    {LOW,                      ATTN_V, ALWAYS,         T(Q2_K)},
    {ALL,                      ATTN_V, EIGHT,          T(Q8_0)},
    {M(Q4_K_M) | M(Q5_K_M),          ATTN_V, MORE,           T(Q6_K)},
    {M(Q2_K) | M(Q2_K_S) | M(Q3_K_S) | M(Q3_K_M) | M(Q4_K_S) | M(Q4_K_M) | M(IQ3_XXS) | M(IQ3_XS) | M(IQ3_S) | M(IQ3_M),
                               ATTN_V, GIANT,          T(Q5_K)},
    {M(Q2_K) | M(Q2_K_S) | M(IQ3_XXS) | M(IQ3_XS) | M(IQ3_S), ATTN_V, SHARED, T(Q4_K)},
    {M(Q2_K),                     ATTN_V, ALWAYS,         T(Q3_K)},
    {M(IQ3_XXS),                  ATTN_V, BLIND,          T(IQ3_S)},
    {M(IQ3_M),                    ATTN_V, ALWAYS,         T(Q4_K)},
    {M(Q3_K_M),                   ATTN_V, FIRST2,         T(Q5_K)},
    {M(Q3_K_M),                   ATTN_V, ALWAYS,         T(Q4_K)},
    {M(Q3_K_L),                   ATTN_V, ALWAYS,         T(Q5_K)},
    {M(IQ4_NL) | M(IQ4_XS),          ATTN_V, SHARED,         T(Q5_K)},
    {M(Q4_K_S),                   ATTN_V, FIRST4,         T(Q5_K)},

    {LOW,                      ATTN_K, EIGHT,          T(Q4_K)},
    {ALL,                      ATTN_K, EIGHT,          T(Q8_0)},
    {M(IQ3_XS),                   ATTN_K, ALWAYS,         T(IQ3_XXS)},
    {M(IQ3_XXS),                  ATTN_K, ALWAYS,         T(IQ2_S)},
    {M(IQ3_XS),                   ATTN_Q, ALWAYS,         T(IQ3_XXS)},
    {M(IQ3_XXS),                  ATTN_Q, ALWAYS,         T(IQ2_S)},

    {M(IQ2_S) | M(IQ2_M),            FFN_DOWN, EIGHTH,         T(IQ3_S)},
    {LOW,                      FFN_DOWN, EIGHTH,         T(Q2_K)},
    {M(Q2_K),                     FFN_DOWN, ALWAYS,         T(Q3_K)},
    {M(Q2_K_S),                   FFN_DOWN, EIGHTH,         T(Q4_K)},
    {M(IQ3_XXS),                  FFN_DOWN, BLIND | EIGHTH, T(Q4_K)},
    {M(IQ3_XXS),                  FFN_DOWN, BLIND,          T(Q3_K)},
    {M(Q3_K_M),                   FFN_DOWN, SIXTEENTH,      T(Q5_K)},
    {M(Q3_K_M),                   FFN_DOWN, ALWAYS,         T(Q4_K)},
    {M(IQ3_M),                    FFN_DOWN, EIGHTH,         T(Q4_K)},
    {M(IQ3_M),                    FFN_DOWN, EIGHT | MORE,   T(Q4_K)},
    {M(Q3_K_L),                   FFN_DOWN, ALWAYS,         T(Q5_K)},
    {M(Q4_K_M) | M(Q5_K_M),          FFN_DOWN, MORE,           T(Q6_K)},
    {M(IQ4_NL) | M(IQ4_XS),          FFN_DOWN, BLIND | EIGHTH, T(Q5_K)},
    {M(Q4_K_S),                   FFN_DOWN, EIGHTH,         T(Q5_K)},
    {M(Q4_0),                     FFN_DOWN, KNOWN | EIGHTH, T(Q4_1)},
    {M(Q5_0),                     FFN_DOWN, KNOWN | EIGHTH, T(Q5_1)},

    {LOW | M(Q2_K) | M(Q3_K_S) | M(Q3_K_M) | M(Q4_K_S) | M(Q4_K_M) | M(IQ3_XXS) | M(IQ3_XS) | M(IQ3_S) | M(IQ3_M) | M(IQ4_NL) | M(IQ4_XS),
                               ATTN_OUT, EIGHT,          T(Q5_K)},
    {M(IQ1_S) | M(IQ1_M),            ATTN_OUT, ALWAYS,         T(IQ2_XXS)},
    {M(IQ2_S) | M(IQ2_M) | M(IQ3_XXS),  ATTN_OUT, ALWAYS,         T(IQ3_S)},
    {M(Q2_K),                     ATTN_OUT, ALWAYS,         T(Q3_K)},
    {M(Q3_K_M) | M(IQ3_M),           ATTN_OUT, ALWAYS,         T(Q4_K)},
    {M(Q3_K_L),                   ATTN_OUT, NOT_EIGHT,      T(Q5_K)},

    {M(IQ3_XS),                   FFN_GATE, MIDDLE,         T(IQ3_XXS)},
    {M(IQ3_XS),                   FFN_UP,   MIDDLE,         T(IQ3_XXS)},
};

/* Where rows are no whole number of blocks. */
static const struct {
    enum dtype from, to;
} shorter[] = {
    {T(IQ1_S), T(IQ4_NL)},   {T(IQ1_M), T(IQ4_NL)},   {T(IQ2_XXS), T(IQ4_NL)}, {T(IQ2_XS), T(IQ4_NL)},
    {T(IQ2_S), T(IQ4_NL)},   {T(IQ3_XXS), T(IQ4_NL)}, {T(IQ3_S), T(IQ4_NL)},   {T(IQ4_XS), T(IQ4_NL)},
    {T(Q2_K), T(Q4_0)},      {T(Q3_K), T(Q4_0)},      {T(TQ1_0), T(Q4_0)},     {T(TQ2_0), T(Q4_0)},
    {T(Q1_0), T(Q4_0)},      {T(Q2_0), T(Q4_0)},      {T(NVFP4), T(MXFP4)},    {T(Q4_K), T(Q5_0)},
    {T(Q5_K), T(Q5_1)},
};

/* Matrices that are small, or whose error costs more than their bytes: parts of their names. */
static const char *const kept[] = {
    "_norm.weight", "ffn_gate_inp", "ffn_gate_tid2eid", "altup", "laurel", "per_layer_model_proj",
    "position_embd", "token_types", "ssm_conv1d", "shortconv.conv", "indexer.k_proj", "indexer.q_proj",
    "time_mix_first", "time_mix_w0", "time_mix_w1", "time_mix_w2", "time_mix_v0", "time_mix_v1",
    "time_mix_v2", "time_mix_a0", "time_mix_a1", "time_mix_a2", "time_mix_g1", "time_mix_g2",
    "time_mix_decay_w1", "time_mix_decay_w2", "time_mix_lerp", "attn_rel_b",
};
/* clang-format on */

#define NAMED(NAME, base) {#NAME, T(base), M(NAME)},
static const struct quant_mix mixes[] = {MIXES(NAMED)};

bool quant_mix_from(str name, struct quant_mix *mix)
{
    enum dtype t = dtype_from_name(name);

    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++) {
        if (!str_ieq(str_c(mixes[i].name), name)) continue;
        *mix = mixes[i];
        return true;
    }
    if (t == DTYPE_COUNT || !quant_has(t)) return false;
    *mix = (struct quant_mix){dtype_info(t)->name, t, 0};
    return true;
}

const char *quant_mix_name(size_t i)
{
    return i < sizeof mixes / sizeof *mixes ? mixes[i].name : NULL;
}

static bool has(str name, const char *part)
{
    return str_find(name, str_c(part), 0) != SIZE_MAX;
}

bool quant_mix_keeps(str tensor)
{
    if (!str_ends(tensor, S(".weight"))) return true;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (has(tensor, kept[i])) return true;
    return false;
}

static enum role role_of(str tensor, bool tied)
{
    if (str_eq(tensor, S("output.weight"))) return HEAD;
    if (str_eq(tensor, S("token_embd.weight"))) return tied ? HEAD : EMBD;
    if (str_eq(tensor, S("per_layer_token_embd.weight"))) return tied ? HEAD : EMBD;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (has(tensor, roles[i].part)) return roles[i].role;
    return OTHER;
}

static int layer_facts(str tensor, int64_t n)
{
    int64_t i, eighth = n / 8;
    bool last;
    str role;

    if (!str_starts(tensor, S("blk.")) ||
        !str_int(str_cut(str_sub(tensor, 4, tensor.n), '.', &role), &i))
        return 0;
    last = i >= 7 * n / 8;
    return (i < eighth || last || (i - eighth) % 3 == 2 ? MORE : 0) | (i < eighth ? EIGHTH : 0) |
           (i < n / 16 ? SIXTEENTH : 0) | (i >= eighth && !last ? MIDDLE : 0) |
           (i < 2 ? FIRST2 : 0) | (i < 4 ? FIRST4 : 0);
}

static int model_facts(const struct quant_model *m)
{
    bool shared = m->n_gqa >= 4;

    return (shared ? SHARED : 0) | (shared || m->n_expert >= 4 ? PARTED : 0) |
           (m->n_expert == 8 ? EIGHT : NOT_EIGHT) | (m->importance ? KNOWN : BLIND) |
           (m->n_layer == 80 && m->n_gqa == 8 ? GIANT : 0);
}

/* The type, or one for rows that are no whole number of its blocks. */
static enum dtype fitting(enum dtype t, bool head, uint64_t cols)
{
    enum dtype to = DTYPE_Q8_0;

    if (cols % dtype_info(t)->elems == 0) return t;
    for (size_t i = 0; i < sizeof shorter / sizeof *shorter && !head; i++)
        if (shorter[i].from == t) to = shorter[i].to;
    return cols % dtype_info(to)->elems == 0 ? to : DTYPE_F16;
}

enum dtype quant_mix_pick(const struct quant_mix *mix, str tensor, const struct quant_model *m,
                          uint64_t cols)
{
    enum role role = role_of(tensor, m->tied);
    int facts = layer_facts(tensor, m->n_layer) | model_facts(m);
    enum dtype t = mix->base;

    if (has(tensor, "_exps.")) facts |= EXPERT;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *r = &rules[i];

        if (!(r->mixes & mix->rules) || (r->role != ANY && r->role != (int)role)) continue;
        if (r->facts & ~facts) continue;
        t = r->type;
        break;
    }
    return fitting(t, role == HEAD, cols);
}
