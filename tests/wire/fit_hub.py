#!/usr/bin/env python3
"""rbee fit of repositories: one line a file and machine from one header, the same words as pull and as the file itself."""
import http.server
import json
import os
import shutil
import subprocess
import threading

from _hub import TOKEN, Hub, llama_folder, llama_gguf, split
from _rbee import HOME, MODELS, RBEE, SLOW, WORKER, all_gone, done, env, free_port, holds, make_model, ok, rbee, same, skip, start, wait_for
from _tty import on_tty

OWN = f"{HOME}/pulled"
GB = ["--bandwidth", "20"]
hub = Hub()


def settings(**more):
    given = dict(RBEE_MODELS=OWN, RBEE_HUB_URL=hub.url, HF_TOKEN=None, HF_HOME=None, HF_TOKEN_PATH=None, HF_ENDPOINT=None,
                 RBEE_PORT=PORT)
    given.update(more)
    return env(**given)


PORT = str(free_port())


def read(path):
    with open(path, "rb") as f:
        return f.read()


def fit(*args, **more):
    r = rbee("fit", *args, "--json", env_=settings(**more))
    try:
        return r, json.loads(r.out)
    except ValueError:
        return r, []


def near(a, b, part):
    return abs(a - b) <= part * max(a, b)


def quants(rows):
    return [x["file"] for x in rows]


tiny = {q: read(make_model(f"tiny-{q}", dtype=q)) for q in ("q4_0", "q8_0", "f16")}
hub.repos["acme/Tiny-GGUF"] = {"README.md": b"# x", "tiny-F16.gguf": tiny["f16"], "tiny-Q4_0.gguf": tiny["q4_0"],
                               "sub/tiny-Q8_0.gguf": tiny["q8_0"], "mmproj-tiny-F16.gguf": b"GGUF"}
one, two = split(tiny["q4_0"])
hub.repos["acme/Split-GGUF"] = {"t-Q4_0-00001-of-00002.gguf": one, "t-Q4_0-00002-of-00002.gguf": two}
hub.repos["acme/Mistral-7B-GGUF"] = {f"m-{q}.gguf": llama_gguf(q) for q in ("Q4_0", "Q8_0", "F16")}
hub.repos["acme/Huge-GGUF"] = {f"h-{q}.gguf": llama_gguf(q, 120, 16384, 53248, 128) for q in ("Q4_0", "Q8_0")}
hub.repos["acme/Strange-GGUF"] = {f"s-{q}.gguf": tiny[q].replace(b"llama", b"mrtan") for q in ("q4_0", "q8_0")}
hub.repos["acme/Llama-ST"] = {"README.md": b"x", **llama_folder()}
hub.repos["acme/Pickle"] = {"config.json": b"{}", "pytorch_model.bin": b"x" * 100}
hub.repos["acme/Config-only"] = {"config.json": b"{}", "README.md": b"x"}
hub.repos["acme/Climber-GGUF"] = {"../../evil-Q4_0.gguf": tiny["q4_0"], "/etc/x-Q4_0.gguf": tiny["q4_0"]}
hub.repos["acme/Foreign-GGUF"] = {"f-IQ4_KS.gguf": tiny["q4_0"], "f-Q8_0.gguf": tiny["q8_0"]}
for name in hub.repos:
    if name.endswith("GGUF"):
        hub.more[name] = {"gguf": {"total": 1000000, "architecture": "llama", "context_length": 512}}

# ---- all files of a repository ----
r, rows = fit("acme/Tiny-GGUF", *GB)
same(quants(rows), ["tiny-Q4_0.gguf", "sub/tiny-Q8_0.gguf", "tiny-F16.gguf"], "every file of weights, the small ones first")
ok(r.code == 0 and all(x["verdict"]["compatible"] and x["verdict"]["fits"] for x in rows), "they run", r)
same({x["machine"] for x in rows}, {"this machine"}, "on this machine")
same([x["verdict"]["confidence"] for x in rows], ["high", "low", "low"], "one by its header, the others by their sizes")
heads = [p for p, _, _ in hub.seen["cdn"]]
ok(len(heads) == 1 and "Q4_0" in heads[0] and hub.sent[0] <= 1 << 20, "of which one was read, of the file that pull would take", heads)
ok(not os.path.exists(OWN), "nothing lies in the store")
hub.clear()
r2, again = fit("acme/Tiny-GGUF", *GB)
words = lambda all: [{k: v for k, v in x.items() if k != "available"} for x in all]
ok(words(again) == words(rows) and not hub.seen["cdn"], "a second look reads nothing more and says the same", r2, hub.seen["cdn"])
for i, q in ((0, "q4_0"), (1, "q8_0"), (2, "f16")):
    path = f"{MODELS}/tiny-{q}.gguf"
    local = fit(path, *GB)[1][0]["verdict"]
    if i == 0:
        same({k: v for k, v in rows[0]["verdict"].items() if k != "warnings"}, {k: v for k, v in local.items() if k != "warnings"},
             "what its header says is what the file itself says")
    m, n = rows[i]["verdict"]["memory"], local["memory"]
    ok(m["kv"] == n["kv"] and near(m["compute"], n["compute"], .1) and near(m["weights"], n["weights"], .03),
       f"{q}: memory by a sibling's header, as by its own", m, n)
r, one_row = fit("acme/Tiny-GGUF:q8_0", *GB)
ok(len(one_row) == 1 and one_row[0]["verdict"]["confidence"] == "high", "a quantisation that is asked for, by its own header", r)
r, one_row = fit("hf.co/acme/Tiny-GGUF:tiny-F16.gguf", *GB)
same(quants(one_row), ["tiny-F16.gguf"], "a file, spelt as on the Hub")
r, parts = fit("acme/Split-GGUF", *GB)
ok(len(parts) == 1 and parts[0]["verdict"]["fits"] and parts[0]["bytes"] == len(one) + len(two), "the parts of a split model are one", r)
r, folder = fit("acme/Llama-ST", *GB)
ok(r.code == 0 and folder[0]["verdict"]["format"] == "safetensors" and folder[0]["verdict"]["confidence"] in ("high", "medium"),
   "SafeTensors by their headers", r)

r = rbee("pull", "acme/Llama-ST", env_=settings())
here = fit(f"{OWN}/acme/Llama-ST", *GB)[1]
same(here and here[0]["verdict"], folder[0]["verdict"], "which say what the folder itself says, once it is here")
shutil.rmtree(OWN, ignore_errors=True)

hub.repos["acme/Many-ST"] = {n: b for n, b in llama_folder().items() if not n.endswith(".safetensors")}
for i in range(70):
    hub.repos["acme/Many-ST"][f"model.safetensors-{i + 1:05d}-of-00070.safetensors"] = b"x" * 3000
hub.clear()
r, many = fit("acme/Many-ST", *GB)
ok(r.code == 0 and many[0]["verdict"]["confidence"] == "low" and "config.json" in many[0]["verdict"]["evidence"],
   "of very many shards config.json has to do", r)
ok(not any(".safetensors-" in p for p, _, _ in hub.seen["cdn"]), "none of them was read", hub.seen["cdn"])
same(many[0]["verdict"]["memory"]["kv"], folder[0]["verdict"]["memory"]["kv"], "and the cache is as exact")

# ---- memory ----
r, rows = fit("acme/Mistral-7B-GGUF", *GB, "--memory", "8GiB")
same([x["verdict"]["fits"] for x in rows], [True, False, False], "which files fit into 8 GiB")
ok(r.code == 0, "one that fits is enough", r)
need = rows[1]["verdict"]["memory"]["total"]
same(rows[1]["verdict"]["short_by"], need - (8 << 30), "by how much the others do not")
ok("m-Q4_0" in rows[1]["verdict"]["fitting"]["file"], "and which of the repository does", rows[1])
r, asked = fit("acme/Mistral-7B-GGUF:Q4_0", *GB, "--context", "32768", "--slots", "1")
r, less = fit("acme/Mistral-7B-GGUF:Q4_0", *GB, "--context", "32768", "--slots", "1", "--kv-type", "q8_0")
ok(asked[0]["verdict"]["memory"]["kv"] == 32768 * 131072, "the cache of a long context to the byte", asked[0])
ok(near(less[0]["verdict"]["memory"]["kv"], 32768 * 131072 * 34 / 64, .001), "and with q8_0", less[0])
r, rows = fit("acme/Huge-GGUF", *GB, "--memory", "16GiB")
ok(r.code == 71 and "short" in r.err and not any(x["verdict"]["fits"] for x in rows), "a model that fits nowhere: 71, and how much is short", r)
pull = rbee("pull", "acme/Huge-GGUF", env_=settings())
ok(pull.code == 71 and "short" in pull.err and "larger" not in pull.err, "and pull refuses it before a byte", pull)
ok(not os.path.exists(OWN), "of which nothing lies in the store")
pull = rbee("pull", "acme/Mistral-7B-GGUF", "--dry-run", "--context", "32768", "--slots", "256", env_=settings())
ok(pull.code in (0, 71), "pull takes the same questions", pull)

# ---- refusals ----
r, rows = fit("acme/Strange-GGUF", *GB)
ok(r.code == 69 and "mrtan" in r.err and len(rows) == 2 and all("mrtan" in x["verdict"]["reasons"][0] for x in rows),
   "what the header refuses holds for its siblings, whatever the Hub calls them", r)
r, rows = fit("acme/Pickle", *GB)
ok(r.code == 69 and "pytorch" in r.err, "another format by its name", r)
r, rows = fit("acme/Config-only", *GB)
ok(r.code == 69 and "no weights" in r.err, "no weights", r)
r, rows = fit("acme/Climber-GGUF", *GB)
ok(r.code == 69 and "evil" not in r.out, "names that climb are no files", r)
r, rows = fit("acme/Foreign-GGUF", *GB)
same([x["verdict"]["compatible"] for x in rows], [False, True], "a quantisation of another program is not one that pull would take")
ok(r.code == 0 and "IQ4_KS" in rows[0]["verdict"]["reasons"][0], "and it is named", rows)
r, rows = fit("acme/Tiny-GGUF:Q2_K", *GB)
ok(r.code == 66 and "Q8_0" in r.err and not rows, "a quantisation that is not there: those that are", r)
r, rows = fit("acme/Nothing", *GB)
ok(r.code == 77 and "acme/Nothing" in r.err and not r.out, "a repository that is not there", r)

# ---- gated, unreachable ----
hub.faults.gated = True
r, rows = fit("acme/Mistral-7B-GGUF:Q4_0", *GB, HF_TOKEN=TOKEN, XDG_DATA_HOME=f"{HOME}/other")
ok(r.code == 0 and rows[0]["verdict"]["confidence"] == "high", "a gated one with a token", r)
r, rows = fit("acme/Mistral-7B-GGUF", *GB, XDG_DATA_HOME=f"{HOME}/third")
ok(r.code == 0 and len(rows) == 3 and {x["verdict"]["confidence"] for x in rows} == {"low"} and "HF_TOKEN" in r.err,
   "and without one: by what the Hub says, which is said", r)
hub.clear()
r = rbee("pull", "acme/Tiny-GGUF:Q8_0", env_=settings())
ok(r.code == 0, "one is fetched", r)
r, rows = fit("acme/Tiny-GGUF:Q8_0", *GB, RBEE_HUB_URL="http://127.0.0.1:9")
ok(r.code == 0 and rows[0].get("path", "").endswith("tiny-Q8_0.gguf"), "what is here is judged from here", r)
r, rows = fit("acme/Tiny-GGUF", *GB, RBEE_HUB_URL="http://127.0.0.1:9")
ok(r.code == 0 and len(rows) == 1 and "judging what is here" in r.err, "also when the Hub cannot be reached", r)
r, rows = fit("acme/Tiny-GGUF", *GB)
same(len(rows), 3, "otherwise the repository is meant")
r, rows = fit("acme/Split-GGUF", "acme/Llama-ST", f"{MODELS}/tiny-f16.gguf", *GB)
same(len(rows), 3, "several at once")


# ---- to look at ----
def screen(width, *args):
    env_ = settings(TERM="xterm", NO_COLOR="1")
    return on_tty([RBEE, "fit", *args], env_, width, apart=("stdin", "stderr"), patience=30 * SLOW, start=start).text.replace("\r", "")


for width in (80, 100, 120):
    t = screen(width, "acme/Mistral-7B-GGUF", *GB, "--memory", "8GiB")
    ok(max(map(len, t.splitlines())) <= width, f"nothing is wider than {width} columns", t)
    for part in ("m-Q4_0.gguf", "m-F16.gguf", "runs", "too large", "short", "rbee pull acme/Mistral-7B-GGUF:Q4_0"):
        holds(t, part, f"{width}: '{part}'")

# The choice is by all that a model takes: Q4_K_M's weights are 7.2 GiB, its cache for one sequence another half.
hub.repos["acme/Pair-GGUF"] = {"p-Q4_K_M.gguf": llama_gguf("Q8_0"), "p-Q3_K_M.gguf": llama_gguf("Q4_0")}
hub.more["acme/Pair-GGUF"] = {"gguf": {"total": 7241732096, "architecture": "llama"}}
t = screen(100, "acme/Pair-GGUF", *GB, "--memory", "7.5GiB")
ok("pull acme/Pair-GGUF:Q3_K_M" in t and "Q4_K_M would not" in t, "weights that fit without their cache are not taken", t)
t = screen(100, "acme/Pair-GGUF", *GB, "--memory", "8GiB")
ok("pull acme/Pair-GGUF:Q4_K_M (the usual choice of 2 there; 1 slot of 4096 fits)" in t, "with room for one sequence they are", t)
t = screen(100, "acme/Pair-GGUF", *GB, "--memory", "8GiB", "--context", "16384", "--slots", "1")
ok("pull acme/Pair-GGUF:Q3_K_M" in t, "unless a longer one is asked for", t)

# ---- machines of a queen ----
CAPS = json.loads(subprocess.run([WORKER, "--capabilities"], capture_output=True, check=True).stdout)


def machine(name, gib, state="ready"):
    return {"id": name, "state": state, "name": name, "os": "linux", "arch": "x86_64", "cpu": "x", "workers": [CAPS], "devices": [
        {"id": "cpu", "backend": "cpu", "worker": CAPS["id"], "memory_total": gib << 30, "memory_available": gib << 30,
         "threads": 8, "rates": {"threads": 8, "bandwidth": gib * 1e10, "step": 1e-6, "decode": {}, "prefill": {}, "quiet": 1}}]}


class Queen(http.server.BaseHTTPRequestHandler):
    hives = [machine("attic", 8), machine("cellar", 64), machine("gone", 512, "lost")]

    def log_message(self, *a):
        pass

    def do_GET(self):
        body = {"status": "ok"} if self.path == "/health" else {"hives": self.hives}
        body = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


fake = http.server.ThreadingHTTPServer(("127.0.0.1", int(PORT)), Queen)
threading.Thread(target=fake.serve_forever, daemon=True).start()
r, rows = fit("acme/Mistral-7B-GGUF")
same([(x["file"], x["machine"], x["verdict"]["fits"]) for x in rows],
     [(f"m-{q}.gguf", m, fits) for q, a in (("Q4_0", True), ("Q8_0", False), ("F16", False)) for m, fits in (("attic", a), ("cellar", True))],
     "one line for each file and each machine that is there")
ok(r.code == 0 and any("cellar" in x for x in rows[2]["verdict"]["recommendations"]), "where memory is short, the machine that has it", rows[2])
ok(rows[1]["verdict"]["decode_tokens_per_s"] > rows[0]["verdict"]["decode_tokens_per_s"], "each with its own speed", rows[:2])
r, rows = fit(f"{MODELS}/tiny-q4_0.gguf")
same([x["machine"] for x in rows], ["attic", "cellar"], "of a file here as well")
t = screen(100, "acme/Mistral-7B-GGUF")
ok("attic" in t and "cellar" in t and max(map(len, t.splitlines())) <= 100, "the table names them", t)
r, rows = fit("acme/Huge-GGUF:Q4_0")
ok(r.code == 71 and "cellar" in r.err, "what fits nowhere ends with the machine that came nearest", r)
Queen.hives = [machine("gone", 512, "lost")]
r, rows = fit("acme/Tiny-GGUF")
same({x["machine"] for x in rows}, {"this machine"}, "without a machine that is there: this one")
fake.shutdown()
fake.server_close()

queen = start([RBEE, "queen", "--port", PORT, "--log-level", "error"], env=settings(), stdout=subprocess.DEVNULL)
ok(wait_for(lambda: rbee("ps", env_=settings()).code == 0, 20), "a queen")


def hers():
    r, rows = fit("acme/Tiny-GGUF")
    known = rows and rows[0]["machine"] != "this machine" and (SLOW > 1 or rows[0]["verdict"]["decode_tokens_per_s"])
    return (r, rows) if known else None


r, rows = wait_for(hers, 60, 1) or fit("acme/Tiny-GGUF")
same({x["machine"] for x in rows}, {os.uname().nodename}, "her machines by their names")
ok(r.code == 0 and rows[0]["device"] == "cpu" and rows[0]["worker"] == "llm-worker-rbee-cpu", "device and worker", rows)
if SLOW > 1:
    skip("a worker below a sanitizer does not measure itself in time")
else:
    ok(rows[0]["verdict"]["decode_tokens_per_s"] and rows[0]["verdict"]["confidence"] == "high", "with speeds as they were measured", rows[0])
r, rows = fit("acme/Tiny-GGUF", "--here")
same({x["machine"] for x in rows}, {"this machine"}, "or this machine alone")
r, rows = fit("acme/Tiny-GGUF", "--memory", "1MiB")
ok(r.code == 71 and {x["machine"] for x in rows} == {"this machine"}, "or one that is supposed", r)
queen.terminate()
queen.wait(20 * SLOW)
ok(all_gone(), "nothing is left")
done()
