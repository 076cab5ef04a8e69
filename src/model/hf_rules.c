/* hf_rules: tensor names of Hugging Face directories and of GGUF, as tables.
 *
 * A name is cut by hf_tensors.c into root, layer and rest; a row maps the rest. ".weight" and
 * ".bias" carry over unless the row spells the whole name out. "#" stands for a number: an expert
 * or a head. Rows of a family come first, then the common ones. In a family's table a leading '/'
 * marks names outside the layers. The names on the right are those of gguf-py (llama.cpp), those on
 * the left what transformers writes.
 */
#include <string.h>

#include "model/hf_int.h"

/* clang-format off */
static const struct hf_rule common_global[] = {
    {"embed_tokens", "token_embd", NULL},
    {"wte", "token_embd", NULL},
    {"embd.wte", "token_embd", NULL},
    {"word_embeddings", "token_embd", NULL},
    {"embedding.word_embeddings", "token_embd", NULL},
    {"embed_in", "token_embd", NULL},
    {"embeddings", "token_embd", NULL},
    {"tok_embeddings", "token_embd", NULL},
    {"wpe", "position_embd", NULL},
    {"word_embeddings_layernorm", "token_embd_norm", NULL},
    {"norm", "output_norm", NULL},
    {"norm_f", "output_norm", NULL},
    {"ln_f", "output_norm", NULL},
    {"lm_head.ln", "output_norm", NULL},
    {"final_layernorm", "output_norm", NULL},
    {"final_layer_norm", "output_norm", NULL},
    {"lm_head", "output", NULL},
    {"lm_head.linear", "output", NULL},
    {"embed_out", "output", NULL},
    {"output", "output", NULL},
    {"output_layer", "output", NULL},
    {"rotary_emb.inv_freq", NULL, NULL},
    {"rotary_pos_emb.inv_freq", NULL, NULL},
    {NULL, NULL, NULL},
};

static const struct hf_rule common_layer[] = {
    /* norms */
    {"input_layernorm", "attn_norm", NULL},
    {"ln_1", "attn_norm", NULL},
    {"ln", "attn_norm", NULL},
    {"norm_1", "attn_norm", NULL},
    {"attention_norm", "attn_norm", NULL},
    {"post_attention_layernorm", "ffn_norm", NULL},
    {"ln_2", "ffn_norm", NULL},
    {"norm_2", "ffn_norm", NULL},
    {"ffn_norm", "ffn_norm", NULL},
    /* attention */
    {"self_attn.q_proj", "attn_q", NULL},
    {"self_attn.k_proj", "attn_k", NULL},
    {"self_attn.v_proj", "attn_v", NULL},
    {"self_attn.o_proj", "attn_output", NULL},
    {"self_attn.out_proj", "attn_output", NULL},
    {"self_attn.dense", "attn_output", NULL},
    {"self_attn.q_norm", "attn_q_norm", NULL},
    {"self_attn.k_norm", "attn_k_norm", NULL},
    {"self_attn.qkv_proj", "attn_qkv", NULL},
    {"self_attention.query_key_value", "attn_qkv", NULL},
    {"self_attention.dense", "attn_output", NULL},
    {"attn.c_attn", "attn_qkv", NULL},
    {"attn.c_proj", "attn_output", NULL},
    {"attn.Wqkv", "attn_qkv", NULL},
    {"attn.out_proj", "attn_output", NULL},
    {"mixer.Wqkv", "attn_qkv", NULL},
    {"mixer.out_proj", "attn_output", NULL},
    {"self_attn.rotary_emb.inv_freq", NULL, NULL},
    {"self_attention.rotary_emb.inv_freq", NULL, NULL},
    {"attention.rotary_emb.inv_freq", NULL, NULL},
    {"attn.bias", NULL, NULL},
    {"attn.masked_bias", NULL, NULL},
    /* latent attention */
    {"self_attn.q_a_proj", "attn_q_a", NULL},
    {"self_attn.q_a_layernorm", "attn_q_a_norm", NULL},
    {"self_attn.q_b_proj", "attn_q_b", NULL},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa", NULL},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm", NULL},
    {"self_attn.kv_b_proj", "attn_kv_b", NULL},
    /* feed-forward */
    {"mlp.gate_proj", "ffn_gate", NULL},
    {"mlp.up_proj", "ffn_up", NULL},
    {"mlp.down_proj", "ffn_down", NULL},
    {"mlp.gate_up_proj", "ffn_up", NULL},
    {"mlp.c_fc", "ffn_up", NULL},
    {"mlp.c_proj", "ffn_down", NULL},
    {"mlp.fc1", "ffn_up", NULL},
    {"mlp.fc2", "ffn_down", NULL},
    {"mlp.dense_h_to_4h", "ffn_up", NULL},
    {"mlp.dense_4h_to_h", "ffn_down", NULL},
    {"ffn.up_proj", "ffn_up", NULL},
    {"ffn.down_proj", "ffn_down", NULL},
    /* experts */
    {"mlp.gate", "ffn_gate_inp", NULL},
    {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias", NULL},
    {"mlp.experts.#.gate_proj", "ffn_gate_exps", NULL},
    {"mlp.experts.#.up_proj", "ffn_up_exps", NULL},
    {"mlp.experts.#.down_proj", "ffn_down_exps", NULL},
    {"mlp.experts.gate_up_proj", "", hf_fix_gate_up_exps},
    {"mlp.experts.down_proj", "ffn_down_exps.weight", NULL},
    {"mlp.shared_expert.gate_proj", "ffn_gate_shexp", NULL},
    {"mlp.shared_expert.up_proj", "ffn_up_shexp", NULL},
    {"mlp.shared_expert.down_proj", "ffn_down_shexp", NULL},
    {"mlp.shared_expert_gate", "ffn_gate_inp_shexp", hf_fix_flat},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp", NULL},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp", NULL},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp", NULL},
    {"block_sparse_moe.gate", "ffn_gate_inp", NULL},
    {"block_sparse_moe.experts.#.w1", "ffn_gate_exps", NULL},
    {"block_sparse_moe.experts.#.w3", "ffn_up_exps", NULL},
    {"block_sparse_moe.experts.#.w2", "ffn_down_exps", NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_baichuan[] = {
    {"self_attn.W_pack", "", hf_fix_qkv_rows},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_bert[] = {
    {"/embeddings.word_embeddings", "token_embd", NULL},
    {"/embeddings.position_embeddings", "position_embd", hf_fix_f32},
    {"/embeddings.token_type_embeddings", "token_types", hf_fix_f32},
    {"/embeddings.LayerNorm", "token_embd_norm", NULL},
    {"/embeddings.position_ids", NULL, NULL},
    {"/pooler.dense", NULL, NULL},
    {"/cls.predictions.bias", NULL, NULL},
    {"/cls.predictions.transform.dense", NULL, NULL},
    {"/cls.predictions.transform.LayerNorm", NULL, NULL},
    {"/cls.predictions.decoder", NULL, NULL},
    {"/cls.seq_relationship", NULL, NULL},
    {"/classifier", "cls.output", NULL},
    {"/classifier.dense", "cls", NULL},
    {"/classifier.out_proj", "cls.output", NULL},
    {"attention.self.query", "attn_q", NULL},
    {"attention.self.key", "attn_k", NULL},
    {"attention.self.value", "attn_v", NULL},
    {"attention.output.dense", "attn_output", NULL},
    {"attention.output.LayerNorm", "attn_output_norm", NULL},
    {"intermediate.dense", "ffn_up", NULL},
    {"output.dense", "ffn_down", NULL},
    {"output.LayerNorm", "layer_output_norm", NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_bloom[] = {
    {"self_attention.query_key_value", "attn_qkv", hf_fix_qkv_heads},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_deepseek2[] = {
    {"self_attn.kv_b_proj", "", hf_fix_kv_b},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_exaone[] = {
    {"attn.attention.q_proj", "attn_q", NULL},
    {"attn.attention.k_proj", "attn_k", NULL},
    {"attn.attention.v_proj", "attn_v", NULL},
    {"attn.attention.out_proj", "attn_output", NULL},
    {"attn.attention.rotary.inv_freq", NULL, NULL},
    {"mlp.c_fc_0", "ffn_gate", NULL},
    {"mlp.c_fc_1", "ffn_up", NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_falcon[] = {
    {"self_attention.query_key_value", "attn_qkv", hf_fix_qkv_heads},
    {"ln_mlp", "attn_norm", NULL},
    {"ln_attn", "attn_norm_2", NULL},
    {NULL, NULL, NULL},
};

/* gemma2, gemma3, olmo2: norms before and behind a block */
const struct hf_rule hf_rules_gemma2[] = {
    {"post_attention_layernorm", "post_attention_norm", NULL},
    {"pre_feedforward_layernorm", "ffn_norm", NULL},
    {"post_feedforward_layernorm", "post_ffw_norm", NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_glm4[] = {
    {"post_self_attn_layernorm", "post_attention_norm", NULL},
    {"post_mlp_layernorm", "post_ffw_norm", NULL},
    {NULL, NULL, NULL},
};

/* glm4moe, seed_oss: one norm between attention and feed-forward, by another name in GGUF */
const struct hf_rule hf_rules_glm4moe[] = {
    {"post_attention_layernorm", "post_attention_norm", NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_lfm2[] = {
    {"/embedding_norm", "token_embd_norm", NULL},
    {"operator_norm", "attn_norm", NULL},
    {"self_attn.q_layernorm", "attn_q_norm", NULL},
    {"self_attn.k_layernorm", "attn_k_norm", NULL},
    {"conv.in_proj", "shortconv.in_proj", NULL},
    {"conv.out_proj", "shortconv.out_proj", NULL},
    {"conv.conv", "shortconv.conv", hf_fix_conv},
    {"feed_forward.w1", "ffn_gate", NULL},
    {"feed_forward.w2", "ffn_down", NULL},
    {"feed_forward.w3", "ffn_up", NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_gpt2[] = {
    {"attn.c_attn", "attn_qkv", hf_fix_transpose},
    {"attn.c_proj", "attn_output", hf_fix_transpose},
    {"mlp.c_fc", "ffn_up", hf_fix_transpose},
    {"mlp.c_proj", "ffn_down", hf_fix_transpose},
    {"/wpe", "position_embd", hf_fix_f32},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_gpt_oss[] = {
    {"post_attention_layernorm", "post_attention_norm", NULL},
    {"self_attn.sinks", "attn_sinks.weight", NULL},
    {"mlp.router", "ffn_gate_inp", NULL},
    {"mlp.experts.gate_up_proj", "", hf_fix_oss_gate_up},
    {"mlp.experts.gate_up_proj_blocks", "", hf_fix_oss_blocks},
    {"mlp.experts.gate_up_proj_scales", NULL, NULL},
    {"mlp.experts.gate_up_proj_bias", "", hf_fix_oss_gate_up_bias},
    {"mlp.experts.down_proj", "ffn_down_exps.weight", hf_fix_oss_down},
    {"mlp.experts.down_proj_blocks", "ffn_down_exps.weight", hf_fix_oss_blocks},
    {"mlp.experts.down_proj_scales", NULL, NULL},
    {"mlp.experts.down_proj_bias", "ffn_down_exps.bias", hf_fix_f32},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_gptneox[] = {
    {"attention.query_key_value", "attn_qkv", hf_fix_qkv_heads},
    {"attention.dense", "attn_output", NULL},
    {"attention.bias", NULL, NULL},
    {"attention.masked_bias", NULL, NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_granitemoe[] = {
    {"block_sparse_moe.router.layer", "ffn_gate_inp", NULL},
    {"block_sparse_moe.input_linear", "", hf_fix_gate_up_exps},
    {"block_sparse_moe.output_linear", "ffn_down_exps", NULL},
    {"shared_mlp.input_linear", "", hf_fix_gate_up},
    {"shared_mlp.output_linear", "ffn_down", hf_fix_gate_up},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_hybrid[] = {
    {"block_sparse_moe.router.layer", "ffn_gate_inp", NULL},
    {"block_sparse_moe.input_linear", "", hf_fix_gate_up_exps},
    {"block_sparse_moe.output_linear", "ffn_down_exps", NULL},
    {"shared_mlp.input_linear", "", hf_fix_gate_up},
    {"shared_mlp.output_linear", "ffn_down", hf_fix_gate_up},
    {"mamba.in_proj", "ssm_in", NULL},
    {"mamba.conv1d", "ssm_conv1d", hf_fix_conv},
    {"mamba.dt_bias", "ssm_dt.bias", NULL},
    {"mamba.A_log", "ssm_a", hf_fix_neg_exp},
    {"mamba.D", "ssm_d", hf_fix_column},
    {"mamba.norm", "ssm_norm", hf_fix_groups},
    {"mamba.out_proj", "ssm_out", NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_internlm2[] = {
    {"attention.wqkv", "", hf_fix_qkv_groups},
    {"attention.wo", "attn_output", NULL},
    {"feed_forward.w1", "ffn_gate", NULL},
    {"feed_forward.w2", "ffn_down", NULL},
    {"feed_forward.w3", "ffn_up", NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_jamba[] = {
    {"pre_ff_layernorm", "ffn_norm", NULL},
    {"mamba.in_proj", "ssm_in", NULL},
    {"mamba.conv1d", "ssm_conv1d", hf_fix_conv},
    {"mamba.x_proj", "ssm_x", NULL},
    {"mamba.dt_proj", "ssm_dt", NULL},
    {"mamba.dt_layernorm", "ssm_dt_norm", NULL},
    {"mamba.b_layernorm", "ssm_b_norm", NULL},
    {"mamba.c_layernorm", "ssm_c_norm", NULL},
    {"mamba.A_log", "ssm_a", hf_fix_neg_exp},
    {"mamba.D", "ssm_d", NULL},
    {"mamba.out_proj", "ssm_out", NULL},
    {"feed_forward.router", "ffn_gate_inp", NULL},
    {"feed_forward.gate_proj", "ffn_gate", NULL},
    {"feed_forward.up_proj", "ffn_up", NULL},
    {"feed_forward.down_proj", "ffn_down", NULL},
    {"feed_forward.experts.#.gate_proj", "ffn_gate_exps", NULL},
    {"feed_forward.experts.#.up_proj", "ffn_up_exps", NULL},
    {"feed_forward.experts.#.down_proj", "ffn_down_exps", NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_mamba[] = {
    {"norm", "attn_norm", NULL},
    {"mixer.in_proj", "ssm_in", NULL},
    {"mixer.conv1d", "ssm_conv1d", hf_fix_conv},
    {"mixer.x_proj", "ssm_x", NULL},
    {"mixer.dt_proj", "ssm_dt", NULL},
    {"mixer.A_log", "ssm_a", hf_fix_neg_exp},
    {"mixer.D", "ssm_d", NULL},
    {"mixer.out_proj", "ssm_out", NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_mamba2[] = {
    {"norm", "attn_norm", NULL},
    {"mixer.in_proj", "ssm_in", NULL},
    {"mixer.conv1d", "ssm_conv1d", hf_fix_conv},
    {"mixer.dt_bias", "ssm_dt.bias", NULL},
    {"mixer.A_log", "ssm_a", hf_fix_neg_exp},
    {"mixer.D", "ssm_d", hf_fix_column},
    {"mixer.norm", "ssm_norm", hf_fix_groups},
    {"mixer.out_proj", "ssm_out", NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_nomic[] = {
    {"/embeddings.word_embeddings", "token_embd", NULL},
    {"/embeddings.token_type_embeddings", "token_types", hf_fix_f32},
    {"/emb_ln", "token_embd_norm", NULL},
    {"norm1", "attn_output_norm", NULL},
    {"norm2", "layer_output_norm", NULL},
    {"mlp.fc11", "ffn_up", NULL},
    {"mlp.fc12", "ffn_gate", NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_stablelm[] = {
    {"self_attn.q_layernorm.norms.#", "attn_q_norm", NULL},
    {"self_attn.k_layernorm.norms.#", "attn_k_norm", NULL},
    {NULL, NULL, NULL},
};

const struct hf_rule hf_rules_starcoder[] = {
    {"/wpe", "position_embd", hf_fix_f32},
    {NULL, NULL, NULL},
};
/* clang-format on */

/* Of each row of hf_arch.def: what comes before the common ones; NULL: nothing. */
static const struct hf_rule *const rules_of[] = {
#define HF_ARCH(classes, gguf, flags, rules, keys, defaults) rules,
#include "model/hf_arch.def"
#undef HF_ARCH
};

/* What follows the row's name in this one; false when it is another name. */
static bool matches(const char *row, str name, str *suffix)
{
    static const struct {
        const char *hf, *gguf;
    } suffixes[] = {{"", ""},
                    {".weight", ".weight"},
                    {".bias", ".bias"},
                    {".gamma", ".weight"}, /* LayerNorms converted from TensorFlow */
                    {".beta", ".bias"}};
    size_t n = strlen(row);

    if (name.n < n || memcmp(name.p, row, n) != 0) return false;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if (!str_eqc(str_sub(name, n, name.n), suffixes[i].hf)) continue;
        *suffix = str_c(suffixes[i].gguf);
        return true;
    }
    return false;
}

const struct hf_rule *hf_rules_find(const struct hf_arch *arch, str name, bool in_layer,
                                    str *suffix)
{
    const struct hf_rule *r;

    for (r = rules_of[hf_arch_row(arch)]; r && r->hf; r++) {
        bool global = r->hf[0] == '/';

        if (global != in_layer && matches(r->hf + global, name, suffix)) return r;
    }
    for (r = in_layer ? common_layer : common_global; r->hf; r++)
        if (matches(r->hf, name, suffix)) return r;
    return NULL;
}
