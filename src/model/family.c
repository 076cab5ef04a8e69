/* family: the table of model families. See family.h for what a row may state. */
#include "model/family.h"

/* clang-format off */
#define LLAMA_HF "LlamaForCausalLM MistralForCausalLM MixtralForCausalLM LLaMAForCausalLM YiForCausalLM AquilaForCausalLM InternLM3ForCausalLM"

static const struct family rows[] = {
    /* name             Hugging Face architectures                       norm        block           act            rope         experts        window  habits */
    {"llama",           LLAMA_HF,                                        NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_PAIRS,  EXPERTS_SOFTMAX_1, 0, FAMILY_NO_WINDOW},
    {"qwen2",           "Qwen2ForCausalLM",                              NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NO_WINDOW},
    {"qwen3",           "Qwen3ForCausalLM Qwen3Model",                   NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NO_WINDOW},
    {"phi2",            "PhiForCausalLM",                                NORM_LAYER, BLOCK_PARALLEL, FFN_GELU,      ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"phi3",            "Phi3ForCausalLM",                               NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NO_WINDOW},
    {"gemma",           "GemmaForCausalLM",                              NORM_RMS,   BLOCK_SERIAL,   FFN_GELU,      ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_EMBED_SQRT},
    {"gemma2",          "Gemma2ForCausalLM",                             NORM_RMS,   BLOCK_SERIAL,   FFN_GELU,      ROPE_HALVES, EXPERTS_NONE,      2, FAMILY_EMBED_SQRT | FAMILY_SCALE_EMBD_HEAD},
    {"gemma3",          "Gemma3ForCausalLM Gemma3TextModel",             NORM_RMS,   BLOCK_SERIAL,   FFN_GELU,      ROPE_HALVES, EXPERTS_NONE,      6, FAMILY_EMBED_SQRT | FAMILY_SCALE_EMBD_HEAD | FAMILY_SWA_PLAIN_ROPE},
    {"gemma3n",         "Gemma3nForCausalLM Gemma3nForConditionalGeneration", NORM_RMS, BLOCK_SERIAL, FFN_GELU,    ROPE_HALVES, EXPERTS_NONE,      5, FAMILY_EMBED_SQRT | FAMILY_SWA_PLAIN_ROPE | FAMILY_V_NORM},
    {"gemma4",          "Gemma4ForCausalLM Gemma4ForConditionalGeneration", NORM_RMS, BLOCK_SERIAL, FFN_GELU,      ROPE_HALVES, EXPERTS_SOFTMAX_1, 6, FAMILY_EMBED_SQRT | FAMILY_SWA_PLAIN_ROPE | FAMILY_V_NORM},
    {"qwen2moe",        "Qwen2MoeForCausalLM",                           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SOFTMAX,   0, FAMILY_NO_WINDOW},
    {"qwen3moe",        "Qwen3MoeForCausalLM",                           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SOFTMAX_1, 0, FAMILY_NO_WINDOW},
    {"deepseek",        "DeepseekForCausalLM",                           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_PAIRS,  EXPERTS_SOFTMAX,   0, 0},
    {"deepseek2",       "DeepseekV2ForCausalLM DeepseekV3ForCausalLM KimiK2ForCausalLM", NORM_RMS, BLOCK_SERIAL, FFN_SILU, ROPE_PAIRS, EXPERTS_SOFTMAX, 0, FAMILY_YARN_LOG_TENTH},
    {"falcon",          "FalconForCausalLM RWForCausalLM",               NORM_LAYER, BLOCK_PARALLEL, FFN_GELU,      ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_FALCON_NORMS},
    {"starcoder2",      "Starcoder2ForCausalLM",                         NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,      ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NO_WINDOW},
    {"granite",         "GraniteForCausalLM",                            NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_PAIRS,  EXPERTS_NONE,      0, FAMILY_LOGIT_DIVIDE},
    {"granitemoe",      "GraniteMoeForCausalLM GraniteMoeSharedForCausalLM", NORM_RMS, BLOCK_SERIAL, FFN_SILU,      ROPE_PAIRS,  EXPERTS_SOFTMAX_1, 0, FAMILY_LOGIT_DIVIDE},
    {"olmo",            "OlmoForCausalLM OLMoForCausalLM",               NORM_LAYER, BLOCK_SERIAL,   FFN_SILU,      ROPE_PAIRS,  EXPERTS_NONE,      0, FAMILY_NORM_BARE},
    {"olmo2",           "Olmo2ForCausalLM Olmo3ForCausalLM",             NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      4, FAMILY_SWA_PLAIN_ROPE},
    {"olmoe",           "OlmoeForCausalLM",                              NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SOFTMAX,   0, 0},
    {"stablelm",        "StableLmForCausalLM StableLMEpochForCausalLM",  NORM_LAYER, BLOCK_BY_NORM,  FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"command-r",       "CohereForCausalLM",                             NORM_LAYER, BLOCK_PARALLEL, FFN_SILU,      ROPE_PAIRS,  EXPERTS_NONE,      0, 0},
    {"cohere2",         "Cohere2ForCausalLM",                            NORM_LAYER, BLOCK_PARALLEL, FFN_SILU,      ROPE_PAIRS,  EXPERTS_NONE,      4, FAMILY_ROPE_LOCAL},
    {"internlm2",       "InternLM2ForCausalLM",                          NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_PAIRS,  EXPERTS_NONE,      0, 0},
    {"gpt-oss",         "GptOssForCausalLM",                             NORM_RMS,   BLOCK_SERIAL,   FFN_SWIGLU_CLAMPED, ROPE_HALVES, EXPERTS_CHOSEN, 2, FAMILY_NORM2_FFN},
    {"glm4",            "Glm4ForCausalLM",                               NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_PAIRS,  EXPERTS_NONE,      0, 0},
    {"glm4moe",         "Glm4MoeForCausalLM",                            NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SIGMOID_1, 0, FAMILY_NORM2_FFN},
    {"exaone",          "ExaoneForCausalLM",                             NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"exaone4",         "Exaone4ForCausalLM",                            NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      4, FAMILY_ROPE_LOCAL},
    {"nemotron",        "NemotronForCausalLM",                           NORM_LAYER, BLOCK_SERIAL,   FFN_RELU_SQR,  ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"smollm3",         "SmolLM3ForCausalLM",                            NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_PAIRS,  EXPERTS_NONE,      0, FAMILY_NOPE_4TH},
    {"minicpm",         "MiniCPMForCausalLM",                            NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_PAIRS,  EXPERTS_NONE,      0, FAMILY_MINICPM | FAMILY_LOGIT_DIVIDE},
    {"minicpm3",        "MiniCPM3ForCausalLM",                           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_MINICPM3},
    {"gpt2",            "GPT2LMHeadModel",                               NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,      ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"gptneox",         "GPTNeoXForCausalLM",                            NORM_LAYER, BLOCK_BY_KEY,   FFN_GELU,      ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"mpt",             "MPTForCausalLM MptForCausalLM",                 NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,      ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"bloom",           "BloomForCausalLM BloomModel",                   NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,      ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"starcoder",       "GPTBigCodeForCausalLM",                         NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,      ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"baichuan",        "BaichuanForCausalLM BaiChuanForCausalLM",       NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_PAIRS,  EXPERTS_NONE,      0, FAMILY_BAICHUAN},
    {"chatglm",         "ChatGLMModel ChatGLMForConditionalGeneration GlmForCausalLM", NORM_RMS, BLOCK_SERIAL, FFN_SILU, ROPE_PAIRS, EXPERTS_NONE,     0, 0},
    {"mamba",           "MambaForCausalLM FalconMambaForCausalLM",       NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"mamba2",          "Mamba2ForCausalLM",                             NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"rwkv6",           "Rwkv6ForCausalLM",                              NORM_LAYER, BLOCK_SERIAL,   FFN_RELU_SQR,  ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"rwkv7",           "Rwkv7ForCausalLM RWKV7ForCausalLM",             NORM_LAYER, BLOCK_SERIAL,   FFN_RELU_SQR,  ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"jamba",           "JambaForCausalLM",                              NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_NO,     EXPERTS_SOFTMAX,   0, 0},
    {"granitehybrid",   "GraniteMoeHybridForCausalLM BambaForCausalLM",  NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_PAIRS,  EXPERTS_SOFTMAX_1, 0, FAMILY_LOGIT_DIVIDE | FAMILY_ROPE_FINETUNED},
    {"qwen3next",       "Qwen3NextForCausalLM",                          NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SOFTMAX_1, 0, FAMILY_NORM2_FFN | FAMILY_GATED_Q},
    {"qwen35",          "Qwen3_5ForCausalLM",                            NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NORM2_FFN | FAMILY_GATED_Q | FAMILY_DELTA_TILED},
    {"qwen35moe",       "Qwen3_5MoeForCausalLM",                         NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SOFTMAX_1, 0, FAMILY_NORM2_FFN | FAMILY_GATED_Q | FAMILY_DELTA_TILED},
    {"lfm2",            "Lfm2ForCausalLM",                               NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NORM_IN_EMBD},
    {"lfm2moe",         "Lfm2MoeForCausalLM",                            NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SIGMOID_1, 0, FAMILY_NORM_IN_EMBD},
    {"qwen2vl",         "Qwen2VLForConditionalGeneration Qwen2_5_VLForConditionalGeneration", NORM_RMS, BLOCK_SERIAL, FFN_SILU, ROPE_HALVES, EXPERTS_NONE, 0, FAMILY_NO_WINDOW},
    {"qwen3vl",         "Qwen3VLForConditionalGeneration",               NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"qwen3vlmoe",      "Qwen3VLMoeForConditionalGeneration",            NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SOFTMAX_1, 0, 0},
    {"arcee",           "ArceeForCausalLM",                              NORM_RMS,   BLOCK_SERIAL,   FFN_RELU_SQR,  ROPE_PAIRS,  EXPERTS_NONE,      0, 0},
    {"xverse",          "XverseForCausalLM",                             NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_PAIRS,  EXPERTS_NONE,      0, 0},
    {"orion",           "OrionForCausalLM",                              NORM_LAYER, BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"refact",          "GPTRefactForCausalLM",                          NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"seed_oss",        "SeedOssForCausalLM",                            NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NORM2_FFN},
    {"ernie4_5",        "Ernie4_5_ForCausalLM Ernie4_5ForCausalLM",      NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_PAIRS,  EXPERTS_NONE,      0, 0},
    {"ernie4_5-moe",    "Ernie4_5_MoeForCausalLM",                       NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_PAIRS,  EXPERTS_SOFTMAX_1, 0, 0},
    {"dots1",           "Dots1ForCausalLM",                              NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SIGMOID_1, 0, FAMILY_NO_WINDOW},
    {"bailingmoe2",     "BailingMoeV2ForCausalLM",                       NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SIGMOID_1, 0, 0},
    {"hunyuan-dense",   "HunYuanDenseV1ForCausalLM",                     NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_NORM_AFTER_ROPE},
    {"hunyuan-moe",     "HunYuanMoEV1ForCausalLM",                       NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SOFTMAX_1, 0, FAMILY_NORM_AFTER_ROPE},
    {"minimax-m2",      "MiniMaxM2ForCausalLM",                          NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SIGMOID_1, 0, 0},
    {"openelm",         "OpenELMForCausalLM",                            NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"dbrx",            "DbrxForCausalLM",                               NORM_LAYER, BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SOFTMAX_1, 0, FAMILY_OUT_NORM_FFN},
    {"afmoe",           "AfmoeForCausalLM",                              NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_SIGMOID_1, 4, FAMILY_EMBED_SQRT | FAMILY_NOPE_4TH},
    {"falcon-h1",       "FalconH1ForCausalLM",                           NORM_RMS,   BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, 0},
    {"nemotron_h",      "NemotronHForCausalLM",                          NORM_RMS,   BLOCK_SERIAL,   FFN_RELU_SQR,  ROPE_NO,     EXPERTS_NONE,      0, 0},
    {"nemotron_h_moe",  "",                                              NORM_RMS,   BLOCK_SERIAL,   FFN_RELU_SQR,  ROPE_NO,     EXPERTS_SIGMOID_1, 0, 0},
    {"bert",            "BertModel BertForMaskedLM BertForSequenceClassification XLMRobertaModel RobertaModel XLMRobertaForSequenceClassification", NORM_LAYER, BLOCK_SERIAL, FFN_GELU, ROPE_NO, EXPERTS_NONE, 0, FAMILY_BERT},
    {"nomic-bert",      "NomicBertModel",                                NORM_LAYER, BLOCK_SERIAL,   FFN_SILU,      ROPE_HALVES, EXPERTS_NONE,      0, FAMILY_BERT},
    {"nomic-bert-moe",  "NomicBertMoeModel",                             NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,      ROPE_HALVES, EXPERTS_SOFTMAX,   0, FAMILY_BERT},
    {"jina-bert-v2",    "JinaBertModel JinaBertForMaskedLM",             NORM_LAYER, BLOCK_SERIAL,   FFN_GELU,      ROPE_NO,     EXPERTS_NONE,      0, FAMILY_BERT},
    {"modern-bert",     "ModernBertModel ModernBertForMaskedLM ModernBertForSequenceClassification", NORM_LAYER, BLOCK_SERIAL, FFN_GELU, ROPE_HALVES, EXPERTS_NONE, 3, FAMILY_NOT_CAUSAL | FAMILY_SWA_FIRST | FAMILY_FIRST_BARE},
    {"gemma-embedding", "Gemma3TextModelEmbedding",                      NORM_RMS,   BLOCK_SERIAL,   FFN_GELU,      ROPE_HALVES, EXPERTS_NONE,      6, FAMILY_EMBED_SQRT | FAMILY_SWA_PLAIN_ROPE | FAMILY_NOT_CAUSAL},
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

const struct family *family_find(str arch)
{
    for (size_t i = 0; i < N_ROWS; i++)
        if (str_eqc(arch, rows[i].name)) return &rows[i];
    return NULL;
}

const struct family *family_find_hf(str cls)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        str rest = str_c(rows[i].hf);

        while (rest.n)
            if (str_eq(str_cut(rest, ' ', &rest), cls)) return &rows[i];
    }
    return NULL;
}
