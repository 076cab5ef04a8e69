/* family: the table of model families. See family.h for what a row may state. */
#include "model/family.h"

/* clang-format off */
static const struct family rows[] = {
    /* name             norm        block           act                 rope         experts            window  habits */
    {"llama",           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_SOFTMAX_1, 0, FAMILY_NO_WINDOW},
    {"qwen2",           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NO_WINDOW},
    {"qwen3",           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NO_WINDOW},
    {"phi2",            NORM_LAYER, BLOCK_PARALLEL, FFN_GELU,           ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"phi3",            NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NO_WINDOW},
    {"gemma",           NORM_RMS,   BLOCK_SERIAL,   FFN_GELU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_EMBED_SQRT},
    {"gemma2",          NORM_RMS,   BLOCK_SERIAL,   FFN_GELU,           ROPE_HALVES, EXPERTS_NONE,      2, FAMILY_EMBED_SQRT | FAMILY_SCALE_EMBD_HEAD},
    {"gemma3",          NORM_RMS,   BLOCK_SERIAL,   FFN_GELU,           ROPE_HALVES, EXPERTS_NONE,      6, FAMILY_EMBED_SQRT | FAMILY_SCALE_EMBD_HEAD | FAMILY_SWA_PLAIN_ROPE},
    {"gemma3n",         NORM_RMS,   BLOCK_SERIAL,   FFN_GELU,           ROPE_HALVES, EXPERTS_NONE,      5, FAMILY_EMBED_SQRT | FAMILY_SWA_PLAIN_ROPE | FAMILY_V_NORM},
    {"gemma4",          NORM_RMS,   BLOCK_SERIAL,   FFN_GELU,           ROPE_HALVES, EXPERTS_SOFTMAX_1, 6, FAMILY_EMBED_SQRT | FAMILY_SWA_PLAIN_ROPE | FAMILY_V_NORM},
    {"qwen2moe",        NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SOFTMAX,   0, FAMILY_NO_WINDOW},
    {"qwen3moe",        NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SOFTMAX_1, 0, FAMILY_NO_WINDOW},
    {"deepseek",        NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_SOFTMAX,   0, 0},
    {"deepseek2",       NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_SOFTMAX,   0, FAMILY_YARN_LOG_TENTH},
    {"falcon",          NORM_LAYER, BLOCK_PARALLEL, FFN_GELU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_FALCON_NORMS},
    {"starcoder2",      NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NO_WINDOW},
    {"granite",         NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_NONE,      0, FAMILY_LOGIT_DIVIDE},
    {"granitemoe",      NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_SOFTMAX_1, 0, FAMILY_LOGIT_DIVIDE},
    {"olmo",            NORM_LAYER, BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_NONE,      0, FAMILY_NORM_BARE},
    {"olmo2",           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      4, FAMILY_SWA_PLAIN_ROPE},
    {"olmoe",           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SOFTMAX,   0, 0},
    {"stablelm",        NORM_LAYER, BLOCK_BY_NORM,  FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"command-r",       NORM_LAYER, BLOCK_PARALLEL, FFN_SILU,           ROPE_PAIRS,  EXPERTS_NONE,      0, 0},
    {"cohere2",         NORM_LAYER, BLOCK_PARALLEL, FFN_SILU,           ROPE_PAIRS,  EXPERTS_NONE,      4, FAMILY_ROPE_LOCAL},
    {"internlm2",       NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_NONE,      0, 0},
    {"gpt-oss",         NORM_RMS,   BLOCK_SERIAL,   FFN_SWIGLU_CLAMPED, ROPE_HALVES, EXPERTS_CHOSEN,    2, FAMILY_NORM2_FFN},
    {"glm4",            NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_NONE,      0, 0},
    {"glm4moe",         NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SIGMOID_1, 0, FAMILY_NORM2_FFN},
    {"exaone",          NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"exaone4",         NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      4, FAMILY_ROPE_LOCAL},
    {"nemotron",        NORM_LAYER, BLOCK_SERIAL,   FFN_RELU_SQR,       ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"smollm3",         NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_NONE,      0, FAMILY_NOPE_4TH},
    {"minicpm",         NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_NONE,      0, FAMILY_MINICPM | FAMILY_LOGIT_DIVIDE},
    {"minicpm3",        NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_MINICPM3},
    {"gpt2",            NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,           ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"gptneox",         NORM_LAYER, BLOCK_BY_KEY,   FFN_GELU,           ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"mpt",             NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,           ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"bloom",           NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,           ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"starcoder",       NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,           ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"baichuan",        NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_NONE,      0, FAMILY_BAICHUAN},
    {"chatglm",         NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_NONE,      0, 0},
    {"mamba",           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"mamba2",          NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"rwkv6",           NORM_LAYER, BLOCK_SERIAL,   FFN_RELU_SQR,       ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"rwkv7",           NORM_LAYER, BLOCK_SERIAL,   FFN_RELU_SQR,       ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"jamba",           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_NO,     EXPERTS_SOFTMAX,   0, 0},
    {"granitehybrid",   NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_SOFTMAX_1, 0, FAMILY_LOGIT_DIVIDE | FAMILY_ROPE_FINETUNED},
    {"qwen3next",       NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SOFTMAX_1, 0, FAMILY_NORM2_FFN | FAMILY_GATED_Q},
    {"qwen35",          NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NORM2_FFN | FAMILY_GATED_Q | FAMILY_DELTA_TILED},
    {"qwen35moe",       NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SOFTMAX_1, 0, FAMILY_NORM2_FFN | FAMILY_GATED_Q | FAMILY_DELTA_TILED},
    {"lfm2",            NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NORM_IN_EMBD},
    {"lfm2moe",         NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SIGMOID_1, 0, FAMILY_NORM_IN_EMBD},
    {"qwen2vl",         NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NO_WINDOW},
    {"qwen3vl",         NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"qwen3vlmoe",      NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SOFTMAX_1, 0, 0},
    {"arcee",           NORM_RMS,   BLOCK_SERIAL,   FFN_RELU_SQR,       ROPE_PAIRS,  EXPERTS_NONE,      0, 0},
    {"xverse",          NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_NONE,      0, 0},
    {"orion",           NORM_LAYER, BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"refact",          NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"seed_oss",        NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NORM2_FFN},
    {"ernie4_5",        NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_NONE,      0, 0},
    {"ernie4_5-moe",    NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_PAIRS,  EXPERTS_SOFTMAX_1, 0, 0},
    {"dots1",           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SIGMOID_1, 0, FAMILY_NO_WINDOW},
    {"bailingmoe2",     NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SIGMOID_1, 0, 0},
    {"hunyuan-dense",   NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NORM_AFTER_ROPE},
    {"hunyuan-moe",     NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SOFTMAX_1, 0, FAMILY_NORM_AFTER_ROPE},
    {"minimax-m2",      NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SIGMOID_1, 0, 0},
    {"openelm",         NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"dbrx",            NORM_LAYER, BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SOFTMAX_1, 0, FAMILY_OUT_NORM_FFN},
    {"afmoe",           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_SIGMOID_1, 4, FAMILY_EMBED_SQRT | FAMILY_NOPE_4TH},
    {"falcon-h1",       NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"nemotron_h",      NORM_RMS,   BLOCK_SERIAL,   FFN_RELU_SQR,       ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"nemotron_h_moe",  NORM_RMS,   BLOCK_SERIAL,   FFN_RELU_SQR,       ROPE_NO,     EXPERTS_SIGMOID_1, 0, 0},
    {"bert",            NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,           ROPE_NO,     EXPERTS_NONE,      0, FAMILY_BERT},
    {"nomic-bert",      NORM_LAYER, BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_BERT},
    {"nomic-bert-moe",  NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,           ROPE_HALVES, EXPERTS_SOFTMAX,   0, FAMILY_BERT},
    {"jina-bert-v2",    NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,           ROPE_NO,     EXPERTS_NONE,      0, FAMILY_BERT},
    {"modern-bert",     NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,           ROPE_HALVES, EXPERTS_NONE,      3, FAMILY_NOT_CAUSAL | FAMILY_SWA_FIRST | FAMILY_FIRST_BARE},
    {"eurobert",        NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,           ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NOT_CAUSAL},
    {"gemma-embedding", NORM_RMS,   BLOCK_SERIAL,   FFN_GELU,           ROPE_HALVES, EXPERTS_NONE,      6, FAMILY_EMBED_SQRT | FAMILY_SWA_PLAIN_ROPE | FAMILY_NOT_CAUSAL},
};
/* clang-format on */

enum { SHARED, OWN };
enum { GGUF, BOTH };

static const struct family_proof proofs[] = {
#define PROVEN(family, golden, where, formats) {family, golden, where == OWN, formats == BOTH},
#include "model/proven.def"
};

static const struct dtype_proof dtype_proofs[] = {
#define PROVEN_DTYPE(type, golden) {type, golden},
#include "model/proven.def"
};

const struct dtype_proof *family_dtype_proofs(size_t *n)
{
    *n = sizeof dtype_proofs / sizeof *dtype_proofs;
    return dtype_proofs;
}

const struct family_proof *family_proofs(size_t *n)
{
    *n = sizeof proofs / sizeof *proofs;
    return proofs;
}

enum { N_ROWS = sizeof rows / sizeof *rows };

const struct family *family_all(size_t *n)
{
    *n = N_ROWS;
    return rows;
}

int family_row(const struct family *f)
{
    return f ? (int)(f - rows) : -1;
}

const struct family *family_find(str arch)
{
    for (size_t i = 0; i < N_ROWS; i++)
        if (str_eqc(arch, rows[i].name)) return &rows[i];
    return NULL;
}
