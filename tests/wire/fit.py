#!/usr/bin/env python3
"""rbee fit: what it says of models is what happens when they run; one line a model, JSON, exit codes, nothing started."""
import json
import shutil

from _rbee import HOME, MODELS, ROOT, done, env, holds, make_model, ok, processes, rbee, same

TINY = make_model("tiny")
GOLDEN = f"{ROOT}/tests/golden/families"
GB = ["--bandwidth", "20"]


def verdict(*args):
    r = rbee("fit", *args, *GB, "--json")
    return r, json.loads(r.out)[0]["verdict"]


r, v = verdict("tiny")
ok(r.code == 0 and v["compatible"] and v["fits"] and v["confidence"] in ("high", "medium"), "a model here runs", r)
m = v["memory"]
ok(m["total"] == m["weights"] + m["kv"] + m["compute"] and m["weights"] > 0, "what it needs adds up", m)
ok(v["decode_tokens_per_s"] > 0 and v["reasons"] == [], "how fast, and no reason against it", v)
r = rbee("fit", "tiny", *GB)
ok(r.code == 0 and r.out.count("\n") == 2 and not r.err, "one line, below a heading", r)
for part in ("tiny", "this machine", "runs", "header"):
    holds(r.out, part, f"it holds '{part}'")
same(rbee("fit", TINY, *GB).out.splitlines()[1].split()[2:4], r.out.splitlines()[1].split()[2:4], "by its path as by its name")

r, small = verdict("tiny", "--context", "64", "--slots", "1")
ok(small["memory"]["kv"] < m["kv"] and small["context"] == 64 and small["slots"] == 1, "less context and fewer slots need less", small)
r, wide = verdict("tiny", "--context", "64", "--slots", "1", "--kv-type", "f32")
same(wide["memory"]["kv"], 2 * small["memory"]["kv"], "an f32 cache is twice an f16 one")

total = m["total"]
r, v = verdict("tiny", "--memory", str(total))
ok(r.code == 0 and v["fits"], "exactly enough memory is enough", r)
r, v = verdict("tiny", "--memory", str(total - 1))
ok(r.code == 71 and v["compatible"] and not v["fits"] and v["short_by"] == 1, "a byte less is not: 71", r)
ok(0 < v["fitting"]["slots"] < v["slots"], "and fewer slots fit", v)
r = rbee("fit", "tiny", *GB, "--memory", str(total - 1))
ok("too large" in r.out and "1 bytes short" in r.err and "fits" in r.out, "said in words too", r)

gemma = f"{GOLDEN}/gemma4/model.gguf"
r = rbee("fit", "tiny", gemma, *GB)
ok(r.code == 0 and r.out.count("\n") == 3, "two models, two lines", r)
bad = f"{MODELS}/bad.gguf"
with open(bad, "wb") as f:
    f.write(b"no model at all")
r = rbee("fit", "tiny", bad, *GB)
ok(r.code == 65 and r.out.count("\n") == 3 and "bad.gguf" in r.err, "what is no model is a line, and 65", r)
r = rbee("fit", *GB)
ok(r.code == 0 and " tiny " in f" {r.out.replace(chr(10), ' ')}" and r.out.count("\n") >= 2, "without a name: all models here", r)
with open(gemma, "rb") as f:
    data = f.read().replace(b"gemma4", b"gemma9")
other = f"{HOME}/other.gguf"
with open(other, "wb") as f:
    f.write(data)
r, v = verdict(other)
ids = f"{HOME}/ids"
with open(ids, "w") as f:
    f.write("1 2 3")
run = rbee("eval", other, "--tokens", ids)
ok(r.code == 69 and not v["compatible"] and v["confidence"] == "none" and "gemma9" in v["reasons"][0],
   "a family that nobody runs: 69, by its name", r)
same(run.code, r.code, "and to run it ends with the same code")
r, v = verdict("tiny", "--kv-type", "q4_0")
ok(v["compatible"] or "q4_0" in v["reasons"][0], "a cache of a type that its heads do not allow is refused by name", v)
for args, part in ((["nosuch"], "nosuch"), (["tiny", "--context", "-1"], "context"), (["tiny", "--kv-type", "q9"], "kv-type")):
    r = rbee("fit", *args)
    ok(r.code in (64, 66) and part in r.err and not r.out, f"rbee fit {' '.join(args)}: {r.err.strip()[:80]}", r)
r = rbee("fit", "tiny", *GB, env_=env(RBEE_WORKER=shutil.which("false") or "/bin/false"))
ok(r.code == 69 and "false" in r.err and not r.out, "a worker that says nothing is named", r)
ok(not processes(), "nothing was started, nothing is left", processes())
done()
