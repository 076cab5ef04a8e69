"""Variants: every architecture of the shared golden data with other sizes, heads, scales and optional tensors, and the rows of
families.py again from other seeds with longer prompts. They stay out of the tree: what passes only the models in it is not right yet.
"""
import draw
import families
from families import LN, RMS, VOCAB, ENCODER, MAMBA2, NO_ATTENTION, biases, head, heads, moe

rows = {}
STRONG = ((r"(attn_output|ffn_down|ffn_down_exps)\.weight", draw.matrix(4)),)


def row(name, arch, keys, **more):
    families.row(name, arch, keys, table=rows, **more)


QKV = biases(attn_q=32, attn_k=16, attn_v=16)
# ---- llama and what shares its layout ---------------------------------------------------------------------------------------------
row("v-llama", "llama", {"embedding_length": 48, "block_count": 3, "feed_forward_length": 40, **heads(6, 3)}, extra=head(48))
row("v-llama-tied", "llama", {"embedding_length": 40, **heads(5, 1), "rope.freq_base": 250000.0, "attention.layer_norm_rms_epsilon": 1e-6})
row("v-llama-linear", "llama", {"rope.scaling.type": "linear", "rope.scaling.factor": 2.5, **heads(2, 2, 16)}, extra=head())
row("v-llama-yarn", "llama", {"rope.scaling.type": "yarn", "rope.scaling.factor": 6.0, "rope.scaling.original_context_length": 32,
    "rope.scaling.yarn_beta_fast": 16.0, "rope.scaling.yarn_beta_slow": 2.0, **heads(2, 1, 16)}, extra=head())
row("v-llama-yarn-attn", "llama", {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64,
    "rope.scaling.attn_factor": 1.3}, extra=head())
row("v-llama3", "llama", {**heads(4, 4, 16), "rope.freq_base": 500000.0}, extra={"rope_freqs.weight": (8,)})
row("v-llama-bias", "llama", {}, extra={**QKV, **biases(attn_output=32, ffn_gate=20, ffn_up=20, ffn_down=32), **head()})
row("v-mistral", "llama", {**heads(3, 1, 20), "embedding_length": 36}, extra=head(36))
row("v-mixtral", "llama", {"expert_count": 8, "expert_used_count": 3, "feed_forward_length": 12},
    extra={"blk.*.ffn_gate_exps.weight": (32, 12, 8), **head()})
row("v-mixtral-top1", "llama", {"expert_count": 3, "expert_used_count": 1, "feed_forward_length": 16},
    extra={"blk.*.ffn_gate_exps.weight": (32, 16, 3)})
row("v-qwen2", "qwen2", {"embedding_length": 48, **heads(6, 2), "block_count": 3, "attention.layer_norm_rms_epsilon": 1e-6},
    extra=biases(attn_q=48, attn_k=16, attn_v=16))
row("v-qwen2-yarn", "qwen2", {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 128,
    "rope.freq_base": 1000000.0}, extra={**QKV, **head()})
row("v-qwen3", "qwen3", {**heads(4, 1, 12), "attention.layer_norm_rms_epsilon": 1e-6}, extra=head())
row("v-qwen3-embedding", "qwen3", {**heads(2, 2, 12), "pooling_type": 3}, kind="embed")
row("v-qwen2moe", "qwen2moe", {**moe(6, 4, 10, shared_feed_forward_length=20)}, extra={**QKV, **head()})
row("v-qwen3moe", "qwen3moe", {**heads(4, 2, 8), **moe(5, 3, 10)}, extra=head())
row("v-olmoe", "olmoe", {**heads(4, 4), "expert_count": 6, "expert_used_count": 3, "feed_forward_length": 10}, extra=head())
row("v-internlm2", "internlm2", {"embedding_length": 40, **heads(5, 5)})
row("v-baichuan", "baichuan", {"embedding_length": 24, **heads(3, 3)})
row("v-baichuan-7b", "baichuan", {"block_count": 32, "embedding_length": 8, "feed_forward_length": 8, **heads(1, 1)}, emb=0.6,
    init=families.QUIET)
row("v-exaone", "exaone", {**heads(8, 2)}, extra={"rope_freqs.weight": (2,)})
row("v-smollm3", "smollm3", {"block_count": 5, **heads(4, 1), "embedding_length": 24, "feed_forward_length": 16})
row("v-minicpm", "minicpm", {"embedding_scale": 7.0, "residual_scale": 0.4, "logit_scale": 0.7}, emb=0.1, init=STRONG, extra=head(32))
row("v-minicpm-default", "minicpm", {"embedding_length": 24, **heads(3, 3), "block_count": 3}, emb=0.1, init=STRONG, extra=head(24))
row("v-minicpm3", "minicpm3", {**heads(3, 3), "attention.q_lora_rank": 14, "attention.kv_lora_rank": 12, "attention.key_length": 14,
    "attention.value_length": 10, "rope.dimension_count": 6, "embedding_length": 24},
    extra={"rope_factors_long.weight": (3,), "rope_factors_short.weight": (3,)})
row("v-granite", "granite", {"attention.scale": 0.3, "embedding_scale": 3.0, "residual_scale": 0.8, "logit_scale": 2.0}, extra=head())
row("v-granitemoe", "granitemoe", {"attention.scale": 0.5, "embedding_scale": 2.0, "residual_scale": 0.7, "logit_scale": 1.5,
    "expert_count": 5, "expert_used_count": 3, "feed_forward_length": 12}, extra={"blk.*.ffn_gate_exps.weight": (32, 12, 5), **head()})
row("v-deepseek", "deepseek", {"leading_dense_block_count": 1, "block_count": 3, **moe(5, 3, 8, shared_count=1, weights_scale=1.0)},
    extra=head())
MLA = {"attention.head_count_kv": 1, "leading_dense_block_count": 1, "attention.kv_lora_rank": 12, "attention.key_length": 18,
       "attention.value_length": 12, "attention.key_length_mla": 14, "attention.value_length_mla": 10, "rope.dimension_count": 6}
row("v-deepseek2-lite", "deepseek2", {**MLA, "attention.q_lora_rank": 0,
    **moe(6, 2, 8, gating_func=1, weights_scale=1.0, shared_count=1)}, extra=head())
row("v-deepseek2-scaled", "deepseek2", {**MLA, "attention.q_lora_rank": 10, "block_count": 3, "leading_dense_block_count": 2,
    **moe(6, 3, 8, gating_func=1, weights_scale=3.0, shared_count=2)})
row("v-deepseek3", "deepseek2", {**MLA, "attention.q_lora_rank": 10, **moe(12, 4, 8, gating_func=2, weights_norm=True, weights_scale=2.2,
    shared_count=1, group_count=3, group_used_count=2), "rope.scaling.type": "yarn", "rope.scaling.factor": 8.0,
    "rope.scaling.original_context_length": 64, "rope.scaling.yarn_log_multiplier": 0.1}, extra={"blk.{1}.exp_probs_b.bias": (12,)})
row("v-deepseek2-old", "deepseek2", {**heads(3, 3), "embedding_length": 24, "leading_dense_block_count": 1, "attention.q_lora_rank": 10,
    "attention.kv_lora_rank": 12, "attention.key_length": 14, "attention.value_length": 10, "rope.dimension_count": 6,
    **moe(4, 2, 8, gating_func=1, weights_scale=1.5, shared_count=1)})
# ---- phi, gemma ---------------------------------------------------------------------------------------------------------------
row("v-phi2", "phi2", {"embedding_length": 36, **heads(3, 3), "rope.dimension_count": 6, "feed_forward_length": 48}, norm=LN, gelu=True)
row("v-phi3", "phi3", {**heads(4, 4), "attention.sliding_window": 6, "rope.dimension_count": 8},
    extra={"blk.*.attn_qkv.weight": (32, 96)})
LONGROPE = {**heads(2, 1), "rope.dimension_count": 16, "attention.sliding_window": 0, "rope.scaling.attn_factor": 1.19}
FACTORS = {"blk.*.attn_qkv.weight": (32, 64), "rope_factors_long.weight": (8,), "rope_factors_short.weight": (8,)}
row("v-phi3-long", "phi3", {**LONGROPE, "rope.scaling.original_context_length": 128}, extra={**FACTORS, **head()})
row("v-phi3-short", "phi3", {**LONGROPE, "rope.scaling.original_context_length": 4096, "context_length": 8192}, extra=FACTORS)
row("v-gemma", "gemma", {**heads(2, 2, 20), "attention.layer_norm_rms_epsilon": 1e-6}, gelu=True, emb=0.3, init=STRONG)
row("v-gemma2", "gemma2", {**heads(3, 3, 12), "embedding_length": 24, "block_count": 3, "attention.sliding_window": 5,
    "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0}, gelu=True, emb=0.4, init=families.LOUD)
row("v-gemma3", "gemma3", {**heads(2, 1, 8), "embedding_length": 16, "block_count": 8, "attention.sliding_window": 4,
    "rope.freq_base": 100000.0, "rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, gelu=True, emb=0.4, init=families.LOUD)
row("v-gemma3-pattern", "gemma3", {**heads(4, 2, 8), "block_count": 4, "attention.sliding_window": 6,
    "attention.sliding_window_pattern": 2, "rope.freq_base_swa": 5000.0, "final_logit_softcapping": 20.0}, gelu=True, emb=0.4,
    init=families.LOUD)
row("v-gemma3n-shared", "gemma3n", {**families.GEMMA3N, "block_count": 23, "attention.sliding_window_pattern": 5,
    "attention.shared_kv_layers": 3, "activation_sparsity_scale": [1.6448533535003662] * 10 + [0.0] * 13}, gelu=True, emb=0.4,
    init=((r"post_.*norm", draw.normal(0.3, 0.05)), (r"altup_(predict|correct)_coef", draw.normal(0, 0.05))),
    q8=("per_layer_token_embd.weight",))
# ---- layer norms, gelu, alibi -------------------------------------------------------------------------------------------------------
row("v-falcon-7b", "falcon", {"embedding_length": 40, **heads(5, 1), "feed_forward_length": 60}, norm=LN, gelu=True)
row("v-falcon-40b", "falcon", {**heads(8, 4), "feed_forward_length": 40}, norm=LN, gelu=True,
    extra={"blk.*.attn_norm_2.weight": (32,), "blk.*.attn_norm_2.bias": (32,), **head()})
row("v-starcoder2", "starcoder2", {**heads(4, 1)}, norm=LN, gelu=True,
    extra={**biases(attn_q=32, attn_k=8, attn_v=8), **head()})
row("v-starcoder", "starcoder", {**heads(2, 1), "context_length": 80}, norm=LN, gelu=True, extra=head())
row("v-gpt2", "gpt2", {"embedding_length": 36, **heads(3, 3), "context_length": 80, "feed_forward_length": 30}, norm=LN, gelu=True,
    extra=head(36))
row("v-bloom", "bloom", {"embedding_length": 24, **heads(6, 6), "block_count": 3}, norm=LN, gelu=True, extra=head(24))
row("v-bloom-3", "bloom", {"embedding_length": 24, **heads(3, 3)}, norm=LN, gelu=True, init=STRONG)
row("v-mpt", "mpt", {**heads(8, 8), "attention.max_alibi_bias": 4.0}, norm=LN, gelu=True, extra=head())
row("v-mpt-positions", "mpt", {"attention.max_alibi_bias": 0.0, **heads(4, 4), "context_length": 80}, norm=LN, gelu=True,
    extra={"position_embd.weight": (32, 80)})
row("v-nemotron", "nemotron", {"embedding_length": 40, **heads(5, 1), "rope.dimension_count": 4}, norm=LN,
    extra={**biases(attn_q=40, attn_k=8, attn_v=8, attn_output=40, ffn_up=20, ffn_down=40)})
row("v-gptneox", "gptneox", {**heads(4, 4), "rope.dimension_count": 8, "use_parallel_residual": True}, norm=LN, gelu=True)
row("v-gptneox-seq", "gptneox", {"embedding_length": 24, **heads(3, 3), "rope.dimension_count": 2, "use_parallel_residual": False},
    norm=LN, gelu=True)
row("v-stablelm", "stablelm", {**heads(4, 2), "rope.dimension_count": 2}, norm=LN,
    extra={**QKV, "blk.*.ffn_norm.weight": (32,), "blk.*.ffn_norm.bias": (32,)})
row("v-stablelm2-12b", "stablelm", {**heads(4, 2), "rope.dimension_count": 4}, norm=LN,
    extra={"blk.*.attn_q_norm.weight": (8, 4), "blk.*.attn_k_norm.weight": (8, 2)})
row("v-olmo", "olmo", {"attention.clamp_kqv": 1.2, **heads(4, 1)}, norm=LN)
row("v-olmo2", "olmo2", {**heads(4, 2), "block_count": 3}, extra=head())
row("v-olmo3-yarn", "olmo2", {**heads(4, 4), "block_count": 4, "embedding_length": 24, **heads(3, 3), "attention.sliding_window": 6,
    "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64})
row("v-command-r", "command-r", {"logit_scale": 0.4, **heads(2, 2)}, norm=LN, init=STRONG)
row("v-cohere2", "cohere2", {"logit_scale": 0.3, "block_count": 5, "embedding_length": 24, **heads(3, 1), "attention.sliding_window": 5},
    norm=LN)
# ---- glm, gpt-oss ---------------------------------------------------------------------------------------------------------------------
row("v-chatglm", "chatglm", {**heads(4, 2), "rope.dimension_count": 4}, extra={"blk.*.attn_qkv.weight": (32, 64), **biases(attn_qkv=64)})
row("v-glm4", "glm4", {**heads(4, 1), "rope.dimension_count": 4}, extra={**biases(attn_q=32, attn_k=8, attn_v=8), **head()})
row("v-gpt-oss", "gpt-oss", {"block_count": 3, **heads(6, 2, 12), **moe(6, 3, 10), "attention.sliding_window": 7, "rope.scaling.type":
    "yarn", "rope.scaling.factor": 16.0, "rope.scaling.original_context_length": 64}, n=40,
    extra=biases(attn_q=72, attn_k=24, attn_v=24))
# ---- recurrent --------------------------------------------------------------------------------------------------------------------
row("v-mamba", "mamba", {**NO_ATTENTION, "feed_forward_length": 0, "ssm.conv_kernel": 4, "ssm.inner_size": 80, "ssm.state_size": 5,
    "ssm.time_step_rank": 3, "embedding_length": 40}, extra=head(40))
row("v-mamba2", "mamba2", {**NO_ATTENTION, **MAMBA2, "feed_forward_length": 0, "ssm.conv_kernel": 3, "ssm.time_step_rank": 4,
    "ssm.state_size": 6, "ssm.group_count": 1}, extra=head())
row("v-mamba2-4-groups", "mamba2", {**NO_ATTENTION, **MAMBA2, "feed_forward_length": 0, "ssm.inner_size": 64, "embedding_length": 16,
    "ssm.time_step_rank": 8, "ssm.group_count": 4})
row("v-jamba", "jamba", {**heads(4, [0, 0, 1, 0]), "block_count": 4, "ssm.conv_kernel": 3, "ssm.inner_size": 48, "ssm.state_size": 6,
    "ssm.time_step_rank": 5, "embedding_length": 24, "expert_count": 3, "expert_used_count": 2, "feed_forward_length": 16,
    "rope.freq_base": None}, extra={"blk.{1,3}.ffn_gate_inp.weight": (24, 3)})
HYBRID = {**heads(4, [0, 1, 0]), **MAMBA2, "block_count": 3, "ssm.group_count": 1, "attention.scale": 0.4, "embedding_scale": 2.0,
          "residual_scale": 0.7, "logit_scale": 1.3}
CONV = {"blk.{0,2}.ssm_conv1d.bias": (80,)}
row("v-granitehybrid", "granitehybrid", {**HYBRID, "rope.scaling.finetuned": False}, extra=CONV)
row("v-granitehybrid-rope", "granitehybrid", {**HYBRID, "rope.scaling.finetuned": True, "ssm.time_step_rank": 4}, extra={**CONV, **head()})
row("v-granitehybrid-moe", "granitehybrid", {**HYBRID, "rope.scaling.finetuned": False, "expert_count": 4, "expert_used_count": 2,
    "feed_forward_length": 12, "expert_shared_feed_forward_length": 16}, extra={**CONV, "blk.*.ffn_gate_exps.weight": (32, 12, 4)})
row("v-rwkv6", "rwkv6", {**families.RWKV6, "feed_forward_length": 24, "wkv.head_size": 8, "rescale_every_n_layers": 0, "block_count": 3,
    "embedding_length": 24}, norm=LN, extra={"blk.*.time_mix_lerp_fused.weight": (24, 1, 1, 5)})
row("v-rwkv7", "rwkv7", {**NO_ATTENTION, "embedding_length": 64, "wkv.head_size": 64, "feed_forward_length": 24, "token_shift_count": 2,
    "attention.decay_lora_rank": 6, "attention.iclr_lora_rank": 5, "attention.value_residual_mix_lora_rank": 4,
    "attention.gate_lora_rank": 7, "block_count": 3}, norm=LN)
# ---- encoders -------------------------------------------------------------------------------------------------------------------
row("v-bert", "bert", {**ENCODER, "context_length": 48, "block_count": 3}, norm=LN, kind="embed", gelu=True, vocab="bert",
    extra=families.BERT_BIAS)
row("v-nomic-bert", "nomic-bert", {**ENCODER, **heads(2, 2), "rope.freq_base": 1000.0, "attention.layer_norm_epsilon": 1e-12}, norm=LN,
    kind="embed", vocab="bert", extra={"blk.*.attn_qkv.weight": (32, 96), "token_types.weight": (32, 2)})
row("v-modern-bert-cls", "modern-bert", {**ENCODER, **heads(2, 2), "block_count": 5, "embedding_length": 24, "pooling_type": 2,
    "attention.sliding_window": 6, "rope.freq_base": 80000.0}, norm=LN, kind="embed", gelu=True)

for name, old in list(families.rows.items()):
    rows["w-" + name] = dict(old, name="w-" + name, n=old["n"] + 9 if old["keys"]["context_length"] > 100 else old["n"], tree=True)
