/* hf_arch: which GGUF architecture a class of config.json is, one row each.
 *
 * A row states what config.json does not: the GGUF name, names of tensors that differ from the
 * common ones (hf_rules.c), keys that only this family has (hf_keys.c), a few facts as flags, and
 * what transformers' class takes for members that are absent. To add a family whose tensors are
 * named like Llama's: one row.
 */
#include <string.h>

#include "model/hf_int.h"

/* clang-format off */
static const struct hf_arch rows[] = {
    {"LlamaForCausalLM LLaMAForCausalLM InternLMForCausalLM YiForCausalLM AquilaForCausalLM", "llama", HF_HALVES,
     NULL, NULL, NULL},
    {"LlavaForConditionalGeneration", "llama", HF_HALVES, NULL, NULL,
     "{\"hidden_size\": 4096, \"intermediate_size\": 11008, \"num_hidden_layers\": 32, \"num_attention_heads\": 32,"
     " \"max_position_embeddings\": 2048, \"vocab_size\": 32000}"},
    {"MistralForCausalLM", "llama", HF_HALVES, NULL, NULL,
     "{\"num_key_value_heads\": 8}"},
    {"MixtralForCausalLM", "llama", HF_HALVES, NULL, hf_keys_moe,
     "{\"rope_theta\": 1000000, \"num_key_value_heads\": 8, \"num_local_experts\": 8, \"num_experts_per_tok\": 2}"},
    {"Mistral3ForConditionalGeneration Ministral3ForCausalLM", "llama", HF_HALVES, NULL, hf_keys_mistral3, NULL},
    {"Qwen2ForCausalLM", "qwen2", 0, NULL, NULL, NULL},
    {"Qwen2MoeForCausalLM", "qwen2moe", 0, NULL, hf_keys_moe, NULL},
    {"Qwen3ForCausalLM Qwen3Model", "qwen3", 0, NULL, NULL, "{\"head_dim\": 128}"},
    {"Qwen3MoeForCausalLM", "qwen3moe", 0, NULL, hf_keys_qwen3moe, NULL},
    {"PhiForCausalLM", "phi2", HF_LAYER_NORM, NULL, NULL, "{\"partial_rotary_factor\": 0.5}"},
    {"Phi3ForCausalLM", "phi3", 0, NULL, hf_keys_phi3, NULL},
    {"GemmaForCausalLM", "gemma", HF_NORM_PLUS_1 | HF_TIED, NULL, NULL, "{\"head_dim\": 256}"},
    {"Gemma2ForCausalLM", "gemma2", HF_NORM_PLUS_1 | HF_TIED, hf_rules_gemma2, hf_keys_gemma2,
     "{\"head_dim\": 256, \"query_pre_attn_scalar\": 256, \"sliding_window\": 4096}"},
    {"Gemma3ForCausalLM Gemma3ForConditionalGeneration", "gemma3", HF_NORM_PLUS_1 | HF_TIED, hf_rules_gemma2,
     hf_keys_gemma3,
     "{\"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"head_dim\": 256, \"vocab_size\": 262208,"
     " \"max_position_embeddings\": 131072, \"rope_theta\": 1000000, \"rope_local_base_freq\": 10000,"
     " \"sliding_window\": 4096, \"query_pre_attn_scalar\": 256}"},
    {"DeepseekForCausalLM", "deepseek", HF_HALVES, NULL, hf_keys_deepseek, NULL},
    {"DeepseekV2ForCausalLM", "deepseek2", 0, hf_rules_deepseek2, hf_keys_deepseek2,
     "{\"scoring_func\": \"softmax\", \"topk_method\": \"greedy\"}"},
    {"DeepseekV3ForCausalLM KimiK2ForCausalLM", "deepseek2", 0, hf_rules_deepseek2, hf_keys_deepseek2,
     "{\"scoring_func\": \"sigmoid\", \"topk_method\": \"noaux_tc\", \"norm_topk_prob\": true}"},
    {"FalconForCausalLM RWForCausalLM", "falcon", HF_LAYER_NORM | HF_TIED, hf_rules_falcon, hf_keys_falcon,
     "{\"max_position_embeddings\": 2048}"},
    {"Starcoder2ForCausalLM", "starcoder2", HF_LAYER_NORM | HF_TIED, NULL, NULL, NULL},
    {"GraniteForCausalLM", "granite", HF_HALVES, NULL, hf_keys_granite, NULL},
    {"GraniteMoeForCausalLM GraniteMoeSharedForCausalLM", "granitemoe", HF_HALVES, hf_rules_granitemoe,
     hf_keys_granite, NULL},
    {"OlmoForCausalLM", "olmo", HF_HALVES | HF_LAYER_NORM, NULL, hf_keys_olmo, NULL},
    {"Olmo2ForCausalLM Olmo3ForCausalLM", "olmo2", 0, hf_rules_gemma2, hf_keys_olmo2, NULL},
    {"OlmoeForCausalLM", "olmoe", 0, NULL, hf_keys_moe, NULL},
    {"StableLmForCausalLM StableLMEpochForCausalLM", "stablelm", HF_LAYER_NORM, hf_rules_stablelm,
     hf_keys_parallel, "{\"partial_rotary_factor\": 0.25, \"use_parallel_residual\": false}"},
    {"CohereForCausalLM", "command-r", HF_LAYER_NORM | HF_TIED, NULL, hf_keys_cohere, "{\"logit_scale\": 0.0625}"},
    {"Cohere2ForCausalLM", "cohere2", HF_LAYER_NORM | HF_TIED, NULL, hf_keys_cohere2,
     "{\"logit_scale\": 0.0625, \"sliding_window\": 4096}"},
    {"InternLM2ForCausalLM", "internlm2", HF_HALVES, hf_rules_internlm2, NULL, NULL},
    {"GptOssForCausalLM", "gpt-oss", 0, hf_rules_gpt_oss, hf_keys_gpt_oss, "{\"rope_theta\": 150000}"},
    {"Glm4ForCausalLM", "glm4", 0, hf_rules_glm4, NULL, "{\"partial_rotary_factor\": 0.5}"},
    {"GlmForCausalLM ChatGLMModel ChatGLMForConditionalGeneration", "chatglm", 0, NULL, hf_keys_chatglm,
     "{\"partial_rotary_factor\": 0.5}"},
    {"Glm4MoeForCausalLM", "glm4moe", 0, hf_rules_glm4moe, hf_keys_glm4moe,
     "{\"partial_rotary_factor\": 0.5, \"norm_topk_prob\": true}"},
    {"ExaoneForCausalLM", "exaone", 0, hf_rules_exaone, NULL, NULL},
    {"Exaone4ForCausalLM", "exaone4", 0, hf_rules_gemma2, hf_keys_exaone4, NULL},
    {"NemotronForCausalLM", "nemotron", HF_LAYER_NORM | HF_NORM_PLUS_1, NULL, NULL,
     "{\"partial_rotary_factor\": 0.5}"},
    {"ArceeForCausalLM", "arcee", HF_HALVES, NULL, NULL, NULL},
    {"OrionForCausalLM", "orion", HF_LAYER_NORM, NULL, NULL, NULL},
    {"SeedOssForCausalLM", "seed_oss", 0, hf_rules_glm4moe, NULL, NULL},
    {"Ernie4_5ForCausalLM Ernie4_5_ForCausalLM", "ernie4_5", HF_TIED, NULL, NULL, NULL},
    {"Lfm2ForCausalLM", "lfm2", HF_TIED, hf_rules_lfm2, hf_keys_lfm2, "{\"rope_theta\": 1000000}"},
    {"SmolLM3ForCausalLM", "smollm3", HF_HALVES | HF_TIED, NULL, hf_keys_smollm3, "{\"rope_theta\": 2000000}"},
    {"MiniCPMForCausalLM", "minicpm", HF_HALVES, NULL, hf_keys_minicpm, NULL},
    {"MiniCPM3ForCausalLM", "minicpm3", 0, NULL, hf_keys_minicpm3, NULL},
    {"GPT2LMHeadModel", "gpt2", HF_LAYER_NORM | HF_NO_ROPE | HF_TIED, hf_rules_gpt2, NULL, NULL},
    {"GPTBigCodeForCausalLM", "starcoder", HF_LAYER_NORM | HF_NO_ROPE | HF_TIED, hf_rules_starcoder,
     hf_keys_starcoder, NULL},
    {"GPTNeoXForCausalLM", "gptneox", HF_LAYER_NORM, hf_rules_gptneox, hf_keys_parallel,
     "{\"rotary_pct\": 0.25, \"use_parallel_residual\": true}"},
    {"MPTForCausalLM MptForCausalLM", "mpt", HF_LAYER_NORM | HF_NO_ROPE | HF_TIED, NULL, hf_keys_mpt, NULL},
    {"BloomForCausalLM BloomModel", "bloom", HF_LAYER_NORM | HF_NO_ROPE | HF_TIED, hf_rules_bloom, NULL,
     "{\"seq_length\": 2048}"},
    {"BaichuanForCausalLM BaiChuanForCausalLM", "baichuan", HF_HALVES, hf_rules_baichuan, NULL, NULL},
    {"MambaForCausalLM MambaLMHeadModel FalconMambaForCausalLM", "mamba", HF_NO_ROPE | HF_TIED, hf_rules_mamba, hf_keys_mamba, NULL},
    {"Mamba2ForCausalLM", "mamba2", HF_NO_ROPE, hf_rules_mamba2, hf_keys_mamba2, NULL},
    {"JambaForCausalLM", "jamba", HF_NO_ROPE, hf_rules_jamba, hf_keys_jamba, NULL},
    {"GraniteMoeHybridForCausalLM", "granitehybrid", HF_HALVES, hf_rules_hybrid, hf_keys_hybrid, NULL},
    {"BertModel BertForMaskedLM BertForSequenceClassification", "bert", HF_LAYER_NORM | HF_NO_ROPE, hf_rules_bert,
     hf_keys_bert, "{\"layer_norm_eps\": 1e-12}"},
    {"NomicBertModel", "nomic-bert", HF_LAYER_NORM, hf_rules_nomic, hf_keys_bert, NULL},
};
/* clang-format on */

const struct hf_arch *hf_arch_find(str class_name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        str rest = str_c(rows[i].classes);

        while (rest.n)
            if (str_eq(str_cut(rest, ' ', &rest), class_name)) return &rows[i];
    }
    return NULL;
}

const struct hf_arch *hf_arch_of_gguf(str gguf)
{
    if (str_eqc(gguf, "mistral3")) gguf = S("llama"); /* a name that hf_keys_mistral3 chooses */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_eqc(gguf, rows[i].gguf)) return &rows[i];
    return NULL;
}

const char *hf_arch_of(str class_name)
{
    const struct hf_arch *a = hf_arch_find(class_name);

    return a ? a->gguf : NULL;
}

const char *hf_classes(size_t i, const char **gguf)
{
    if (i >= sizeof rows / sizeof *rows) return NULL;
    *gguf = rows[i].gguf;
    return rows[i].classes;
}

void hf_arch_names(buf *out)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (i == 0 || strcmp(rows[i - 1].gguf, rows[i].gguf) != 0)
            buf_printf(out, "%s%s", i ? ", " : "", rows[i].gguf);
}
