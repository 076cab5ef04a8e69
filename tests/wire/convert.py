#!/usr/bin/env python3
"""Hugging Face directories from the command line: shown, run, converted, quantised; and what a quantised file costs.

The directory is made here from a golden file of the tree; where the shared data
is there, a directory and the GGUF file with the same weights must write the same text.
"""
import array
import json
import os
import struct

from _rbee import DATA, HOME, ROOT, done, holds, ok, rbee, same, shipped, skip

DIR = f"{HOME}/family"
OWN = f"{ROOT}/tests/golden/families/orion"
NAMES = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
GLOBALS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


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


def write_dir():
    keys, tensors = read_gguf(f"{OWN}/model.gguf")
    number = {k.split(".", 1)[1]: v for k, v in keys.items() if k.startswith("orion.")}
    header, body = {}, b""
    for name, (dims, raw) in tensors.items():
        stem, suffix = name.rsplit(".", 1)
        if name.startswith("blk."):
            _, layer, stem = stem.split(".")
            full = f"model.layers.{layer}.{NAMES[stem]}.{suffix}"
        else:
            full = f"{GLOBALS[stem]}.{suffix}"
        header[full] = {"dtype": "F32", "shape": dims[::-1], "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    config = {"architectures": ["OrionForCausalLM"], "vocab_size": number["vocab_size"],
              "hidden_size": number["embedding_length"], "num_hidden_layers": number["block_count"],
              "num_attention_heads": number["attention.head_count"],
              "num_key_value_heads": number["attention.head_count_kv"],
              "max_position_embeddings": number["context_length"], "intermediate_size": number["feed_forward_length"],
              "rope_theta": number["rope.freq_base"], "rms_norm_eps": number["attention.layer_norm_epsilon"],
              "tie_word_embeddings": False}
    vocab = {chr(0x100 + i): i for i in range(number["vocab_size"])}
    os.makedirs(DIR)
    packed = json.dumps(header).encode()
    with open(f"{DIR}/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(packed)) + packed + body)
    for name, value in (("config.json", config), ("tokenizer.json", {
            "model": {"type": "BPE", "vocab": vocab, "merges": []}, "added_tokens": [],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}})):
        with open(f"{DIR}/{name}", "w", encoding="utf-8") as f:
            json.dump(value, f)


def logits(model, *more):
    out = f"{HOME}/logits.f32"
    r = rbee("eval", model, "--tokens", f"{OWN}/tokens.txt", "--logits", out, "--kv-type", "f32", *more)
    same(r.code, 0, f"eval {os.path.basename(model)} {' '.join(more)}")
    with open(out, "rb") as f:
        return array.array("f", f.read())


def distance(got, want):
    if len(got) != len(want):
        return float("inf")
    return sum((a - b) ** 2 for a, b in zip(got, want)) / sum(b * b for b in want)


def directory():
    with open(f"{OWN}/logits.f32", "rb") as f:
        want = array.array("f", f.read())
    r = rbee("show", DIR)
    holds(r.out, "SafeTensors", "show says what it is")
    holds(r.out, "orion", "and which architecture")
    same(json.loads(rbee("show", DIR, "--json").out)["format"], "safetensors", "as JSON, too")
    ok(distance(logits(DIR), want) <= 1e-10, "a directory computes what llama.cpp computes")
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


write_dir()
directory()
quantised()
same_text()
done()
