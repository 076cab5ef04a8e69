"""Adapters from the command line and through a queen: --lora, and "lora" of POST /v1/workers."""
import array
import json
import os
import random
import shutil
import struct
import sys

from _rbee import HOME, MODELS, ROOT, Queen, done, holds, ok, rbee, same

sys.path.insert(0, f"{ROOT}/tools/goldens")
import gguf  # noqa: E402

FAMILY = f"{ROOT}/tests/golden/families/llama-gqa8"
ADAPTER = f"{HOME}/adapter.gguf"
random.seed(3)


def noise(n):
    return array.array("f", [random.uniform(-0.5, 0.5) for _ in range(n)])


def perplexity(*args):
    r = rbee("eval", "base", "--tokens", f"{FAMILY}/tokens.txt", "--json", *args)
    return json.loads(r.out)["perplexity"] if r.code == 0 else r


shutil.copy(f"{FAMILY}/model.gguf", f"{MODELS}/base.gguf")
gguf.write(ADAPTER, {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 6.0},
           [("blk.0.attn_q.weight.lora_a", (32, 3), 0, noise(96)), ("blk.0.attn_q.weight.lora_b", (3, 32), 0, noise(96))])

plain, adapted = perplexity(), perplexity("--lora", ADAPTER)
ok(abs(adapted / plain - 1) > 0.01, "an adapter changes the perplexity", plain, adapted)
same(perplexity("--lora", f"{ADAPTER}=1"), adapted, "a scale of 1 is the default")
ok(abs(perplexity("--lora", f"{ADAPTER}=0.25,{ADAPTER}=0.75") / adapted - 1) < 1e-4, "two of them, by a comma, add up")
ok(abs(perplexity("--lora", f"{ADAPTER}=0.5", "--lora", f"{ADAPTER}=-0.5") / plain - 1) < 1e-4, "two of them, repeated, may cancel out")
r = rbee("eval", "base", "--tokens", f"{FAMILY}/tokens.txt", "--lora", f"{MODELS}/base.gguf")
same(r.code, 64, "a model is no adapter")
holds(r.err, "no LoRA adapter", "and the message says so")

PEFT = f"{HOME}/peft"
os.mkdir(PEFT)
with open(f"{PEFT}/adapter_config.json", "w") as f:
    json.dump({"peft_type": "LORA", "r": 3, "lora_alpha": 6, "bias": "none", "target_modules": ["v_proj"]}, f)
a, b = noise(96), noise(12)
names = [f"base_model.model.model.layers.0.self_attn.v_proj.lora_{x}.weight" for x in "AB"]
head = json.dumps({names[0]: {"dtype": "F32", "shape": [3, 32], "data_offsets": [0, 384]},
                   names[1]: {"dtype": "F32", "shape": [4, 3], "data_offsets": [384, 432]}}).encode()
with open(f"{PEFT}/adapter_model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(head)) + head + a.tobytes() + b.tobytes())
gguf.write(ADAPTER, {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 6.0},
           [("blk.0.attn_v.weight.lora_a", (32, 3), 0, a), ("blk.0.attn_v.weight.lora_b", (3, 4), 0, b)])
same(perplexity("--lora", f"{PEFT}=0.5"), perplexity("--lora", f"{ADAPTER}=0.5"), "a directory of PEFT does what the same adapter does as GGUF")
with Queen() as q:
    r = q.post("/v1/workers", {"model": "base", "lora": "/nonexistent.gguf"}, timeout=30)
    ok(r.status == 404 and "/nonexistent.gguf" in r.error["message"], "a missing adapter is an error of the load", r)
    r = q.post("/v1/workers", {"model": "base", "lora": f"{ADAPTER}=2"}, timeout=30)
    same(r.status, 200, "a worker with an adapter loads")
    r = q.post("/v1/completions", {"model": "base", "prompt": [5, 6, 7], "max_tokens": 3, "temperature": 0})
    same(r.status, 200, "and answers")
done()
