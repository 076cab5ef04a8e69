"""The table of model families: what each tiny model's file says, and which optional tensors it has.

row(name, arch, keys, ...) adds one model. keys are GGUF keys without their architecture prefix ("=key" has none), laid over DEFAULT;
None removes a key.
The tensors that libllama insists on for these keys are asked from it (llama.Library.tensors); `extra` names the optional ones, with
"*" for every layer and {1,3} for some. `kind` is what is recorded: logits; embed (a row per token and the pooled row); rank (one score).
`gelu` marks models whose GELU libllama takes from an F16 table, which widens the tolerance. `init` overrides how tensors whose name
matches are drawn (see draw.py). `q8` names tensors stored as Q8_0, only for tables looked up by row,
where that costs no exactness. `emb` is the deviation of the embeddings, `n` the prompt's length. Rows with
tree=False are made on request only: the tree has room for one model of each kind, not for all.
"""

import draw

DEFAULT = {
    "context_length": 512, "embedding_length": 32, "block_count": 2, "feed_forward_length": 20,
    "attention.head_count": 4, "attention.head_count_kv": 2, "rope.freq_base": 10000.0,
}
RMS = {"attention.layer_norm_rms_epsilon": 1e-5}
LN = {"attention.layer_norm_epsilon": 1e-5}
VOCAB = 64
# Branches that outweigh large embeddings which are the head too; without it such a model only repeats its last token.
LOUD = ((r"post_.*norm", draw.normal(3, 0.5)),)
# Branches that keep rounding from growing through dozens of layers.
QUIET = ((r"(attn_output|ffn_down)\.weight", draw.matrix(0.5)),)
rows = {}


def row(name, arch, keys, norm=RMS, extra=(), kind="logits", gelu=False, vocab="gpt2", init=(), q8=(), n=24, emb=None, tree=True,
        table=rows):
    all_keys = dict(DEFAULT)
    all_keys.update(norm)
    all_keys.update(keys)
    table[name] = dict(name=name, arch=arch, keys={k: v for k, v in all_keys.items() if v is not None}, extra=dict(extra), kind=kind,
                      gelu=gelu, vocab=vocab, init=init, q8=q8, n=n, emb=emb, tree=tree)


def heads(h, kv, d=None):
    keys = {"attention.head_count": h, "attention.head_count_kv": kv}
    if d:
        keys.update({"attention.key_length": d, "attention.value_length": d, "rope.dimension_count": d})
    return keys


def moe(x, used, ff=16, **more):
    keys = {"expert_count": x, "expert_used_count": used, "expert_feed_forward_length": ff}
    keys.update({"expert_" + k: v for k, v in more.items()})
    return keys


def biases(**rows_of):
    """Biases of a layer's tensors: biases(attn_q=32, attn_k=16); "layers" picks some."""
    where = rows_of.pop("layers", "*")
    return {"blk.%s.%s.bias" % (where, name): (n,) for name, n in rows_of.items()}


def head(width=32):
    return {"output.weight": (width, VOCAB)}


DELTA = {"ssm.conv_kernel": 4, "ssm.inner_size": 32, "ssm.state_size": 8, "ssm.time_step_rank": 4, "ssm.group_count": 2,
         "full_attention_interval": 2}

# ---- gemma 3n, 4, embedding -------------------------------------------------------------------------------------------------------
GEMMA3N = {**heads(2, 1, 8), "embedding_length": 8, "feed_forward_length": 16, "attention.sliding_window": 6,
           "attention.sliding_window_pattern": 2, "rope.freq_base": 1000000.0, "rope.freq_base_swa": 10000.0,
           "embedding_length_per_layer_input": 256, "final_logit_softcapping": 30.0, "attention.layer_norm_rms_epsilon": 1e-6,
           "altup.active_idx": 0, "altup.num_inputs": 4, "attention.shared_kv_layers": 0,
           "activation_sparsity_scale": [1.6448533535003662, 1.6448533535003662]}
row("gemma3n", "gemma3n", GEMMA3N, gelu=True, q8=("per_layer_token_embd.weight",), emb=0.4)
row("gemma-embedding", "gemma-embedding", {**heads(2, 1, 8), "feed_forward_length": 24, "block_count": 3,
    "attention.sliding_window": 8, "attention.sliding_window_pattern": 3, "pooling_type": 1, "rope.freq_base": 1000000.0},
    kind="embed", gelu=True, emb=0.3)
row("gemma-embedding-dense", "gemma-embedding", {**heads(2, 2, 16), "feed_forward_length": 16, "attention.sliding_window": 6,
    "attention.sliding_window_pattern": 2, "pooling_type": 1, "rope.freq_base": 1000000.0, "rope.freq_base_swa": 5000.0,
    "dense_2_feat_in": 32, "dense_2_feat_out": 40, "dense_3_feat_in": 40, "dense_3_feat_out": 32},
    kind="embed", gelu=True, emb=0.3, extra={"dense_2.weight": (32, 40), "dense_3.weight": (40, 32)})
GEMMA4 = {"attention.key_length": 16, "attention.value_length": 16, "attention.key_length_swa": 8, "attention.value_length_swa": 8,
          "rope.dimension_count": 16, "rope.dimension_count_swa": 8, "rope.freq_base": 1000000.0, "rope.freq_base_swa": 10000.0,
          "attention.sliding_window": 6, "final_logit_softcapping": 30.0, "attention.head_count": 2, "attention.head_count_kv": 1,
          "feed_forward_length": 16, "attention.layer_norm_rms_epsilon": 1e-6}
row("gemma4", "gemma4", {**GEMMA4, "block_count": 4, "attention.sliding_window_pattern": [True, False, True, False],
    "attention.shared_kv_layers": 2, "embedding_length_per_layer_input": 8}, gelu=True, emb=0.4, init=LOUD,
    extra={"blk.*.layer_output_scale.weight": (1,), "blk.{0}.attn_v.weight": (32, 8)})
row("gemma4-moe", "gemma4", {**GEMMA4, **moe(4, 2, 8), "attention.head_count_kv": [2, 1], "attention.shared_kv_layers": 0,
    "attention.sliding_window_pattern": [True, False], "embedding_length_per_layer_input": 0}, gelu=True, emb=0.4, init=LOUD,
    extra={"blk.*.layer_output_scale.weight": (1,), "blk.{0}.attn_v.weight": (32, 16), "blk.*.ffn_gate_inp.weight": (32, 4),
           "blk.*.ffn_gate_inp.scale": (32,), "blk.*.pre_ffw_norm_2.weight": (32,), "blk.*.post_ffw_norm_1.weight": (32,),
           "blk.*.post_ffw_norm_2.weight": (32,), "blk.*.ffn_gate_up_exps.weight": (32, 16, 4),
           "blk.*.ffn_down_exps.weight": (8, 32, 4), "blk.*.ffn_down_exps.scale": (4,)})
# ---- gated delta nets -------------------------------------------------------------------------------------------------------------
DELTA = {"ssm.conv_kernel": 4, "ssm.inner_size": 32, "ssm.state_size": 8, "ssm.time_step_rank": 4, "ssm.group_count": 2,
         "full_attention_interval": 2}
DELTA_IN = {"blk.{0}.attn_qkv.weight": (32, 64), "blk.{0}.attn_gate.weight": (32, 32)}
MROPE = {"rope.dimension_count": 8, "rope.dimension_sections": [2, 1, 1, 0]}
row("qwen3next", "qwen3next", {**heads(2, 1, 8), **DELTA, **moe(4, 2, 8, shared_feed_forward_length=16), "rope.dimension_count": 4},
    extra=DELTA_IN)
row("qwen35", "qwen35", {**heads(2, 1, 16), **DELTA, **MROPE, "feed_forward_length": 24}, extra=DELTA_IN)
row("qwen35moe", "qwen35moe", {**heads(2, 1, 8), **DELTA, **MROPE, **moe(4, 2, 8, shared_feed_forward_length=16)}, extra=DELTA_IN)
# ---- short convolutions -----------------------------------------------------------------------------------------------------------
row("lfm2", "lfm2", {**heads(4, [0, 2, 0]), "block_count": 3, "feed_forward_length": 16, "shortconv.l_cache": 3})
row("lfm2moe", "lfm2moe", {**heads(4, [0, 2, 0]), "block_count": 3, "feed_forward_length": 16, "shortconv.l_cache": 4,
    "leading_dense_block_count": 1, **moe(4, 2, 8, gating_func=2)})
# ---- encoders ---------------------------------------------------------------------------------------------------------------------
ENCODER = {**heads(4, 4), "attention.causal": False, "pooling_type": 1}
BERT_BIAS = {**biases(attn_q=32, attn_k=32, attn_v=32, attn_output=32, ffn_up=20, ffn_down=32), "token_types.weight": (32, 2)}
row("modern-bert", "modern-bert", {**ENCODER, **heads(3, 3), "embedding_length": 24, "block_count": 4, "feed_forward_length": 24,
    "attention.sliding_window": 8, "rope.freq_base": 160000.0, "rope.freq_base_swa": 10000.0}, norm=LN, kind="embed", gelu=True)
row("jina-bert-v2", "jina-bert-v2", ENCODER, norm=LN, kind="embed", gelu=True,
    extra={**biases(attn_q=32, attn_k=32, attn_v=32), "blk.*.ffn_gate.weight": (32, 20)})
row("jina-bert-v2-code", "jina-bert-v2", {**ENCODER, "pooling_type": 1}, norm=LN, kind="embed", gelu=True,
    extra={"blk.*.attn_q_norm.weight": (32,), "blk.*.attn_k_norm.weight": (32,), "blk.*.attn_norm_2.weight": (32,),
           "blk.*.ffn_up.weight": (32, 40), **biases(attn_q=32, attn_k=32, attn_v=32, attn_q_norm=32, attn_k_norm=32, attn_norm_2=32)})
row("nomic-bert-moe", "nomic-bert-moe", {**ENCODER, "moe_every_n_layers": 2, "expert_count": 4, "expert_used_count": 2,
    "pooling_type": 2}, norm=LN, kind="embed", gelu=True, vocab="bert",
    extra={**biases(attn_qkv=96, attn_output=32), **biases(ffn_up=20, ffn_down=32, layers="{0}"), "token_types.weight": (32, 2),
           "blk.*.attn_qkv.weight": (32, 96)})
row("bert-rank", "bert", {**ENCODER, "pooling_type": 4, "context_length": 64}, norm=LN, kind="rank", gelu=True, vocab="bert",
    extra={**BERT_BIAS, "cls.weight": (32, 32), "cls.bias": (32,), "cls.output.weight": (32, 1), "cls.output.bias": (1,)})
row("bert-cls", "bert", {**ENCODER, **heads(2, 2), "pooling_type": 2, "context_length": 64, "attention.layer_norm_epsilon": 1e-12},
    norm=LN, kind="embed", gelu=True, vocab="bert", extra=BERT_BIAS, tree=False)
row("bert-rank-plain", "bert", {**ENCODER, **heads(2, 2), "pooling_type": 4, "context_length": 48}, norm=LN, kind="rank", gelu=True,
    vocab="bert", extra={**BERT_BIAS, "cls.output.weight": (32, 1), "cls.output.bias": (1,)}, tree=False)
row("qwen3-rank", "qwen3", {**heads(4, 2, 8), "pooling_type": 4, "classifier.output_labels": ["yes", "no"]}, kind="rank",
    extra={"cls.output.weight": (32, 2)})
row("jina-bert-v3", "jina-bert-v3", ENCODER, norm=LN, kind="embed", gelu=True, vocab="bert", tree=False,
    extra={**biases(attn_qkv=96, attn_output=32, ffn_up=20, ffn_down=32), "token_types.weight": (32, 2), "blk.*.attn_qkv.weight": (32, 96)})
row("neo-bert", "neo-bert", ENCODER, kind="embed", vocab="bert", tree=False)
row("eurobert", "eurobert", {**ENCODER, **heads(4, 2)}, kind="embed")
# ---- newer decoders ---------------------------------------------------------------------------------------------------------------
row("llama4", "llama4", {"block_count": 4, "embedding_length": 24, "feed_forward_length": 16, **moe(4, 1, 8),
    "interleave_moe_layer_step": 2, **heads(2, 1), "attention.sliding_window": 8}, tree=False)
row("llama-gqa8", "llama", {**heads(8, 1), "rope.freq_base": 500000.0}, extra={"rope_freqs.weight": (2,)})
row("llama-wide-heads", "llama", {**heads(3, 1, 12), "embedding_length": 28}, extra=head(28), tree=False)
row("mixtral-yarn", "llama", {"expert_count": 5, "expert_used_count": 2, "feed_forward_length": 10, "rope.scaling.type": "yarn",
    "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 64},
    extra={**head(), "blk.*.ffn_gate_exps.weight": (32, 10, 5)})
# libllama takes phimoe's norms, layer norms with a bias in the original, for RMS norms with a bias: not for the tree.
row("phimoe", "phimoe", {**moe(4, 2, 12), "feed_forward_length": 12}, extra=biases(attn_q=32, attn_k=16, attn_v=16), tree=False)
row("exaone4", "exaone4", {"block_count": 3, "feed_forward_length": 16, "attention.layer_norm_rms_epsilon": 1e-6})
row("glm4moe", "glm4moe", {**heads(4, 2, 8), **moe(4, 2, 16, gating_func=2, shared_count=1, weights_norm=True, weights_scale=1.5),
    "rope.dimension_count": 4, "leading_dense_block_count": 1},
    extra={**biases(attn_q=32, attn_k=16, attn_v=16), "blk.*.attn_q_norm.weight": (8,), "blk.*.attn_k_norm.weight": (8,)})
row("dots1", "dots1", {**heads(4, 4), **moe(4, 2, 12, gating_func=2, shared_count=1, weights_norm=True, weights_scale=2.5),
    "feed_forward_length": 16, "leading_dense_block_count": 1}, extra={"blk.{1}.exp_probs_b.bias": (4,)})
row("ernie4_5", "ernie4_5", {}, extra=biases(attn_q=32, attn_k=16, attn_v=16))
row("ernie4_5-moe", "ernie4_5-moe", {**moe(4, 2, 12, shared_feed_forward_length=16, shared_count=1), "interleave_moe_layer_step": 1,
    "leading_dense_block_count": 1}, extra={"blk.{1}.ffn_gate_exps.weight": (32, 12, 4), "blk.{1}.exp_probs_b.bias": (4,)})
row("hunyuan-dense", "hunyuan-dense", {})
row("hunyuan-moe", "hunyuan-moe", {**moe(4, 2, 12, shared_feed_forward_length=16), "feed_forward_length": 12})
row("seed_oss", "seed_oss", {**heads(4, 2, 12), "feed_forward_length": 24}, extra=biases(attn_q=48, attn_k=24, attn_v=24))
row("smallthinker", "smallthinker", {**heads(2, 1, 8), "block_count": 5, "embedding_length": 24, **moe(4, 2, 8, gating_func=2),
    "feed_forward_length": 8, "attention.sliding_window": 8}, tree=False)
row("bailingmoe2", "bailingmoe2", {**moe(8, 3, 8, gating_func=2, shared_count=1, weights_norm=True, weights_scale=2.5, group_count=4,
    group_used_count=2), "expert_shared_feed_forward_length": 8, "leading_dense_block_count": 1},
    extra={"blk.{1}.exp_probs_b.bias": (8,)})
MAMBA2 = {"ssm.conv_kernel": 4, "ssm.inner_size": 64, "ssm.state_size": 8, "ssm.time_step_rank": 8, "ssm.group_count": 2}
row("nemotron_h", "nemotron_h", {**heads(4, [0, 2, 0], 8), **MAMBA2, "block_count": 3, "feed_forward_length": [0, 0, 32]},
    norm={**RMS, **LN}, extra={**head(), "blk.{0}.ssm_conv1d.bias": (96,)})
row("nemotron_h_moe", "nemotron_h_moe", {**heads(4, [0, 2, 0], 8), **MAMBA2, "block_count": 3, "feed_forward_length": [0, 0, 12],
    **moe(4, 2, 12, shared_feed_forward_length=16, shared_count=1, weights_norm=True, weights_scale=2.0)}, norm={**RMS, **LN},
    extra={"blk.{0}.ssm_conv1d.bias": (96,), "blk.{2}.exp_probs_b.bias": (4,)})
row("falcon-h1", "falcon-h1", {**MAMBA2, "ssm.inner_size": 32, "ssm.time_step_rank": 4, "ssm.group_count": 1},
    extra={"blk.*.ssm_norm.weight": (32, 1), "blk.*.ssm_conv1d.bias": (48,)})
row("plamo2", "plamo2", {**heads([4, 4], [0, 2], 8), "embedding_length": 24, **MAMBA2, "ssm.inner_size": 32, "ssm.time_step_rank": 4,
    "ssm.group_count": 0, "feed_forward_length": 24}, init=LOUD, tree=False)
row("minimax-m2", "minimax-m2", {**moe(4, 2, 12, gating_func=2), "feed_forward_length": 12, "rope.dimension_count": 4})
# libllama 0.5.0 forgets to read qwen2vl's epsilon; with this one it does not matter.
row("qwen2vl", "qwen2vl", {**MROPE, "attention.layer_norm_rms_epsilon": 1e-12}, extra=biases(attn_q=32, attn_k=16, attn_v=16))
row("qwen3vl", "qwen3vl", {**heads(4, 2, 8), **MROPE})
row("qwen3vlmoe", "qwen3vlmoe", {**heads(4, 2, 8), **MROPE, **moe(4, 2, 12)})
row("afmoe", "afmoe", {**heads(4, 2, 8), "block_count": 2, **moe(4, 2, 12, gating_func=2, shared_count=1, weights_scale=1.8,
    weights_norm=True), "leading_dense_block_count": 1, "feed_forward_length": 16, "attention.sliding_window": 8,
    "attention.sliding_window_pattern": 2}, extra={"blk.{1}.exp_probs_b.bias": (4,)}, init=LOUD)
row("apertus", "apertus", {**heads(4, 2, 8), "=xielu.alpha_n": [0.8, 0.6], "=xielu.alpha_p": [0.9, 0.7], "=xielu.beta": [0.5, 0.5],
    "=xielu.eps": [1e-6, 1e-6]}, extra={}, tree=False)
row("arcee", "arcee", {})
# ---- older decoders ---------------------------------------------------------------------------------------------------------------
row("starcoder-mha", "starcoder", {**heads(4, 4), "context_length": 96}, norm=LN, gelu=True, tree=False)
row("baichuan-13b", "baichuan", {"block_count": 40, "embedding_length": 8, "feed_forward_length": 8, **heads(2, 2)}, emb=0.6,
    init=QUIET)
row("refact", "refact", {**heads(4, 1)})
row("dbrx", "dbrx", {"expert_count": 4, "expert_used_count": 2, "attention.clamp_kqv": 1.5, "feed_forward_length": 12}, norm=LN)
row("grok", "grok", {"expert_count": 4, "expert_used_count": 2, "feed_forward_length": 12}, gelu=True, emb=0.015,
    extra={**head(), "blk.*.ffn_gate_exps.weight": (32, 12, 4)}, tree=False)
row("arctic", "arctic", {"embedding_length": 24, **heads(3, 1), "feed_forward_length": 24, "expert_count": 4, "expert_used_count": 2},
    tree=False)
row("openelm", "openelm", {**heads([2, 4], [1, 2], 8), "feed_forward_length": [16, 32]})
row("orion", "orion", {}, norm=LN)
row("xverse", "xverse", {**heads(4, 4)})
row("codeshell", "codeshell", {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0}, norm=LN, gelu=True,
    extra={"token_embd.weight": (32, VOCAB), "blk.*.attn_qkv.weight": (32, 64), **biases(attn_qkv=64)}, tree=False)
row("internlm2-bias", "internlm2", {**heads(4, 1)}, extra=biases(attn_q=32, attn_k=8, attn_v=8), tree=False)
row("deepseek2-groups", "deepseek2", {"attention.head_count_kv": 1, "leading_dense_block_count": 1, "attention.q_lora_rank": 12,
    "attention.kv_lora_rank": 16, "attention.key_length": 20, "attention.value_length": 16, "attention.key_length_mla": 12,
    "attention.value_length_mla": 8, "rope.dimension_count": 4,
    **moe(8, 2, 8, gating_func=2, weights_norm=True, weights_scale=1.7, group_count=4, group_used_count=1, shared_count=1)},
    extra={"blk.{1}.exp_probs_b.bias": (8,)})
NO_ATTENTION = {"attention.head_count": 0, "attention.head_count_kv": None, "rope.freq_base": None}
row("mamba2-groups", "mamba2", {**NO_ATTENTION, **MAMBA2, "feed_forward_length": 0})
row("mamba-norms", "mamba", {**NO_ATTENTION, "feed_forward_length": 0, "ssm.conv_kernel": 3, "ssm.inner_size": 48,
    "ssm.state_size": 6, "ssm.time_step_rank": 5, "ssm.dt_b_c_rms": True, "embedding_length": 24})
RWKV6 = {**NO_ATTENTION, "wkv.head_size": 16, "time_mix_extra_dim": 4, "time_decay_extra_dim": 6, "token_shift_count": 2}
row("rwkv6-rescaled", "rwkv6", {**RWKV6, "feed_forward_length": 24, "rescale_every_n_layers": 1}, norm=LN,
    extra={"blk.*.time_mix_lerp_fused.weight": (32, 1, 1, 5)})
row("gpt-oss-long", "gpt-oss", {**heads(4, 2, 8), **moe(4, 2, 16), "attention.sliding_window": 4, "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 128, "feed_forward_length": 16}, n=30,
    extra=biases(attn_q=32, attn_k=16, attn_v=16))
row("mpt-6-heads", "mpt", {"embedding_length": 24, **heads(6, 6), "attention.max_alibi_bias": 8.0, "attention.clamp_kqv": 1.0}, norm=LN,
    gelu=True, extra={**biases(attn_norm=24, attn_qkv=72, attn_output=24, ffn_norm=24, ffn_up=20, ffn_down=24), "output_norm.bias": (24,)})
row("falcon-6-heads", "falcon", {"embedding_length": 24, **heads(6, 1), "feed_forward_length": 48}, norm=LN, gelu=True, tree=False)
