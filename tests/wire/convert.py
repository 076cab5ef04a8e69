#!/usr/bin/env python3
"""Hugging Face directories from the command line: computed, shown, converted, quantised, run.

Directories are made here from golden files of the tree, under the names that transformers gives; they must compute the logits
that llama.cpp computed from the file. Where the shared data is there, a directory and the GGUF file with the same weights must
write the same text.
"""
import array
import json
import os
import struct

from _rbee import DATA, HOME, ROOT, done, holds, ok, rbee, same, shipped, skip

FAMILIES = f"{ROOT}/tests/golden/families"
DIR, OWN = f"{HOME}/orion", f"{FAMILIES}/orion"
LAYER = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
         "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm",
         "post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_gate_inp": "mlp.gate",
         "ffn_gate_shexp": "mlp.shared_experts.gate_proj", "ffn_up_shexp": "mlp.shared_experts.up_proj",
         "ffn_down_shexp": "mlp.shared_experts.down_proj"}
LFM2 = {"attn_norm": "operator_norm", "ffn_norm": "ffn_norm", "ffn_gate": "feed_forward.w1",
        "ffn_up": "feed_forward.w3", "ffn_down": "feed_forward.w2", "shortconv.conv": "conv.conv",
        "shortconv.in_proj": "conv.in_proj", "shortconv.out_proj": "conv.out_proj", "attn_output": "self_attn.out_proj",
        "attn_q_norm": "self_attn.q_layernorm", "attn_k_norm": "self_attn.k_layernorm"}
GLOBAL = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
          "token_embd_norm": "model.embedding_norm"}
# Architecture of the golden file, class of config.json, whether transformers rotates halves where GGUF rotates pairs.
CLASSES = [("orion", "OrionForCausalLM", False), ("arcee", "ArceeForCausalLM", True),
           ("seed_oss", "SeedOssForCausalLM", False), ("ernie4_5", "Ernie4_5ForCausalLM", False),
           ("exaone4", "Exaone4ForCausalLM", False), ("glm4moe", "Glm4MoeForCausalLM", False),
           ("lfm2", "Lfm2ForCausalLM", False)]


def read_gguf(path):
    """Keys that are numbers, and the F32 tensors, of a small file."""
    with open(path, "rb") as f:
        data = f.read()
    at = 4

    def take(fmt):
        nonlocal at
        value = struct.unpack_from("<" + fmt, data, at)
        at += struct.calcsize("<" + fmt)
        return value[0]

    def text():
        nonlocal at
        n = take("Q")
        at += n
        return data[at - n:at].decode()

    def value(t):
        if t == 8:
            return text()
        if t == 9:
            elem = take("I")
            return [value(elem) for _ in range(take("Q"))]
        return take({0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}[t])
    take("I")
    n_tensors, n_keys = take("Q"), take("Q")
    keys = {}
    for _ in range(n_keys):
        key = text()
        keys[key] = value(take("I"))
    tensors = {}
    for _ in range(n_tensors):
        name = text()
        dims = [take("Q") for _ in range(take("I"))]
        take("I")
        tensors[name] = dims, take("Q")
    base = (at + 31) // 32 * 32
    for name, (dims, offset) in tensors.items():
        n = 4
        for d in dims:
            n *= d
        tensors[name] = dims, data[base + offset:base + offset + n]
    return keys, tensors


def config_of(arch, name, keys, tensors):
    """config.json of that class, from the keys of the GGUF file."""
    number = {k.split(".", 1)[1]: v for k, v in keys.items() if k.startswith(f"{arch}.")}
    kv = number["attention.head_count_kv"]
    eps = number.get("attention.layer_norm_rms_epsilon") or number["attention.layer_norm_epsilon"]
    config = {"architectures": [name], "vocab_size": number["vocab_size"], "hidden_size": number["embedding_length"],
              "num_hidden_layers": number["block_count"], "num_attention_heads": number["attention.head_count"],
              "num_key_value_heads": max(kv) if isinstance(kv, list) else kv,
              "max_position_embeddings": number["context_length"], "intermediate_size": number["feed_forward_length"],
              "rope_theta": number["rope.freq_base"], "norm_eps" if arch == "lfm2" else "rms_norm_eps": eps,
              "tie_word_embeddings": "output.weight" not in tensors}
    if "attention.key_length" in number:
        config["head_dim"] = number["attention.key_length"]
    if arch == "glm4moe":
        config.update(n_routed_experts=number["expert_count"], num_experts_per_tok=number["expert_used_count"],
                      moe_intermediate_size=number["expert_feed_forward_length"],
                      n_shared_experts=number["expert_shared_count"],
                      first_k_dense_replace=number["leading_dense_block_count"],
                      routed_scaling_factor=number["expert_weights_scale"], norm_topk_prob=True)
    if arch == "lfm2":
        config.update(block_ff_dim=number["feed_forward_length"], block_auto_adjust_ff_dim=False,
                      conv_L_cache=number["shortconv.l_cache"], full_attn_idxs=[i for i, x in enumerate(kv) if x])
    return config


def halves(raw, rows, heads):
    """Rows of q or k as transformers has them, from rows with neighbouring pairs."""
    size, width = rows // heads, len(raw) // rows
    order = [h * size + j for h in range(heads) for half in (0, 1) for j in range(half, size, 2)]
    return b"".join(raw[i * width:(i + 1) * width] for i in order)


def hf_tensors(arch, turned, config, tensors):
    """Name, shape and bytes of each tensor of the directory."""
    for name, (dims, raw) in tensors.items():
        stem, suffix = name.rsplit(".", 1)
        shape = dims[::-1]
        if not name.startswith("blk."):
            if stem != "rope_freqs":
                yield f"{GLOBAL[stem]}.{suffix}", shape, raw
            continue
        _, layer, stem = stem.split(".", 2)
        layer = f"model.layers.{layer}"
        if stem == "exp_probs_b":
            yield f"{layer}.mlp.gate.e_score_correction_bias", shape, raw
        elif stem.endswith("_exps"):
            n = len(raw) // shape[0]
            for i in range(shape[0]):
                yield f"{layer}.mlp.experts.{i}.{stem[4:-5]}_proj.weight", shape[1:], raw[i * n:(i + 1) * n]
        else:
            if turned and stem in ("attn_q", "attn_k"):
                heads = config["num_attention_heads" if stem == "attn_q" else "num_key_value_heads"]
                raw = halves(raw, shape[0], heads)
            if stem == "shortconv.conv":
                shape = [shape[0], 1, shape[1]]
            yield f"{layer}.{(LFM2.get(stem) if arch == 'lfm2' else None) or LAYER[stem]}.{suffix}", shape, raw


def write_dir(arch, name, turned):
    path = f"{HOME}/{arch}"
    keys, tensors = read_gguf(f"{FAMILIES}/{arch}/model.gguf")
    config = config_of(arch, name, keys, tensors)
    header, body = {}, b""
    for full, shape, raw in hf_tensors(arch, turned, config, tensors):
        header[full] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    vocab = {chr(0x100 + i): i for i in range(config["vocab_size"])}
    os.makedirs(path)
    packed = json.dumps(header).encode()
    with open(f"{path}/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(packed)) + packed + body)
    for file, value in (("config.json", config), ("tokenizer.json", {
            "model": {"type": "BPE", "vocab": vocab, "merges": []}, "added_tokens": [],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}})):
        with open(f"{path}/{file}", "w", encoding="utf-8") as f:
            json.dump(value, f)
    return path


def logits(model, *more, own=OWN):
    out = f"{HOME}/logits.f32"
    r = rbee("eval", model, "--tokens", f"{own}/tokens.txt", "--logits", out, "--kv-type", "f32", *more)
    same(r.code, 0, " ".join(["eval", os.path.basename(model), *more]))
    with open(out, "rb") as f:
        return array.array("f", f.read())


def distance(got, want):
    if len(got) != len(want):
        return float("inf")
    return sum((a - b) ** 2 for a, b in zip(got, want)) / sum(b * b for b in want)


def expected(own):
    with open(f"{own}/logits.f32", "rb") as f:
        return array.array("f", f.read())


def classes():
    for arch, name, turned in CLASSES:
        d = distance(logits(write_dir(arch, name, turned), own=f"{FAMILIES}/{arch}"), expected(f"{FAMILIES}/{arch}"))
        ok(d <= 1e-10, f"{name} computes what llama.cpp computes", f"NMSE {d}")


def directory():
    want = expected(OWN)
    r = rbee("show", DIR)
    holds(r.out, "SafeTensors", "show says what it is")
    holds(r.out, "orion", "and which architecture")
    same(json.loads(rbee("show", DIR, "--json").out)["format"], "safetensors", "as JSON, too")
    ok(1e-9 < distance(logits(DIR, "--quantize", "q8_0"), want) < 1e-2, "quantised while it is loaded: nearly so")
    r = rbee("eval", DIR, "--tokens", f"{OWN}/tokens.txt", "--quantize", "q9")
    same(r.code, 64, "a type that is none is refused")
    out = f"{HOME}/family.gguf"
    r = rbee("convert", DIR, out)
    same(r.code, 0, "convert")
    holds(r.out, "tensors", "says what it wrote")
    ok(distance(logits(out), want) <= 1e-10, "the written file computes the same")
    r = rbee("convert", DIR, out)
    same(r.code, 64, "a file that exists is kept")
    holds(r.err, "--force", "and the message says how to replace it")
    same(rbee("convert", DIR, out, "--force", "--json").code, 0, "--force")
    r = rbee("convert", f"{HOME}/none", out)
    ok(r.code != 0, "a directory that is not there")
    ok(not [x for x in os.listdir(HOME) if "partial" in x], "nothing half-written is left")


def quantised():
    model, out, matrix = shipped(), f"{HOME}/q.gguf", f"{HOME}/tiny.imatrix"
    text = f"{HOME}/text"
    with open(text, "w") as f:
        f.write("Once upon a time there was a little hen who lived on a farm. " * 40)
    r = rbee("quantize", model, out, "q9_Z")
    same(r.code, 64, "an unknown type")
    holds(r.err, "Q4_K_M", "the message lists the mixes")
    same(rbee("quantize", model, out, "Q4_K_M").code, 0, "quantize")
    ok(os.path.getsize(out) < os.path.getsize(model) / 2, "a smaller file")
    same(rbee("imatrix", model, text, matrix).code, 0, "imatrix")
    same(rbee("quantize", model, out, "IQ3_S", "--imatrix", matrix, "--force").code, 0, "quantize with it")
    same(rbee("quantize", model, out, "IQ3_S", "--importance", text, "--force").code, 0, "or measured on the way")
    ok(not [x for x in os.listdir(HOME) if "imatrix-" in x], "which leaves no file behind")
    same(rbee("quantize", model, out, "IQ3_S", "--importance", text, "--imatrix", matrix).code, 64, "not both")


def same_text():
    if not os.path.isdir(f"{DATA}/golden"):
        return skip("no shared data: the same text from both forms")
    for name in ("llama", "qwen3", "mixtral", "gemma3", "deepseek3"):
        both = [f"{DATA}/golden/{name}/hf", f"{DATA}/golden/{name}/model.gguf"]
        texts = [rbee("run", p, "hello there", "--raw", "--temperature", "0", "--max-tokens", "24") for p in both]
        same(texts[0].code, 0, f"{name}: a directory runs")
        same(texts[0].out, texts[1].out, f"{name}: and writes what its GGUF file writes")
    rbee("stop", "--queen")


classes()
directory()
quantised()
same_text()
done()
