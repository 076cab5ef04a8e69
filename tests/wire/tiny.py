"""The shipped model: its exact greedy text through all processes, and its perplexity in every type.

Expected values are in tests/golden/rbee-tiny (see the README there). RBEE_WRITE_GOLDEN=1 writes them anew.
"""
import json
import os

import _rbee as t

GOLDEN = f"{t.ROOT}/tests/golden/rbee-tiny"
MODEL = f"{t.ROOT}/models/rbee-tiny.gguf"
# Every type that can be written, then mixes.
TYPES = ["f32", "f16", "bf16", "q8_0", "q6_K", "q5_K", "q5_1", "q5_0", "q4_K", "q4_1", "q4_0", "iq4_xs", "iq4_nl",
         "q3_K", "q2_K", "mxfp4", "nvfp4", "iq3_s", "iq3_xxs", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s", "tq2_0",
         "tq1_0", "q2_0", "q1_0", "Q5_K_M", "Q4_K_M", "Q4_K_S", "Q3_K_M", "Q2_K_S", "IQ3_M"]
PROMPTS = [
    ("raw", "Once upon a time"),
    ("raw", "The old donkey was"),
    ("chat", "Tell me a story about a fox."),
    ("chat", "Who are you?"),
    ("chat", "What colour is the sky?"),
]
WRITE = os.environ.get("RBEE_WRITE_GOLDEN")


def golden(name):
    path = f"{GOLDEN}/{name}"
    return json.load(open(path, encoding="utf-8")) if os.path.exists(path) else {}


def write(name, value):
    with open(f"{GOLDEN}/{name}", "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1, ensure_ascii=False)
        f.write("\n")


def greedy():
    texts = {}
    for kind, prompt in PROMPTS:
        extra = ["--raw"] if kind == "raw" else []
        r = t.rbee("run", "rbee-tiny", prompt, "--temperature", "0", "--max-tokens", "200", *extra)
        t.same(r.code, 0, f"run {kind} '{prompt}' ends well")
        texts[f"{kind}: {prompt}"] = r.out.strip()
    if WRITE:
        write("greedy.json", texts)
    want = golden("greedy.json")
    for key, text in texts.items():
        t.same(text, want.get(key), f"greedy text of {key}")
    t.rbee("stop", "--queen")


def perplexity():
    home = os.environ["HOME"]
    ids = t.rbee("tokenize", MODEL, "--file", f"{GOLDEN}/heldout.txt", "--parse-special").out
    with open(f"{home}/heldout.ids", "w") as f:
        f.write(ids)
    found, want = {}, golden("perplexity.json")
    for dtype in TYPES:
        path = f"{home}/tiny-{dtype}.gguf"
        r = t.rbee("quantize", MODEL, path, dtype)
        t.same(r.code, 0, f"quantize to {dtype}")
        r = t.rbee("eval", path, "--tokens", f"{home}/heldout.ids", "--json")
        found[dtype] = round(json.loads(r.out)["perplexity"], 4) if r.code == 0 else None
        os.unlink(path)
        if not WRITE:
            # Instruction sets round sums differently; half a per cent is ten times what that costs.
            near = found[dtype] and abs(found[dtype] / want[dtype] - 1) < 0.005
            t.ok(near, f"perplexity in {dtype}", f"got {found[dtype]}, want {want[dtype]}")
    if WRITE:
        write("perplexity.json", found)
    t.ok(found["q8_0"] < found["f32"] * 1.02, "q8_0 costs less than 2 %")
    t.ok(found["q4_K"] < found["f32"] * 1.15, "q4_K costs less than 15 %")
    t.ok(found["q2_K"] > found["q4_K"] > found["q6_K"], "fewer bits cost more")
    t.ok(found["Q4_K_M"] < found["f32"] * 1.03, "Q4_K_M costs less than 3 %")


greedy()
perplexity()
t.done()
