"""The catalogue over HTTP: lists, facets, one model, what is asked of the Hub for it, and what goes wrong."""
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse

from _hub import Hub
from _rbee import DATA, HOME, ROOT, SLOW, Queen, done, env, holds, in_threads, make_model, ok, rbee, same, skip, wait_for

STATE = f"{HOME}/.local/share/rbee"
DB = f"{STATE}/catalog.db"


def read(path):
    with open(path, "rb") as f:
        return f.read()


def forget():
    """As a new user: no catalogue, no headers that were read before."""
    for name in os.listdir(STATE) if os.path.isdir(STATE) else []:
        if name.startswith("catalog.db"):
            os.remove(f"{STATE}/{name}")
    shutil.rmtree(f"{STATE}/hub", ignore_errors=True)


def entry(name, files, **more):
    """An entry of the Hub that has sizes and no files behind them."""
    return {"_id": name, "id": name, "modelId": name, "author": name.split("/")[0], "sha": "ab" * 20, "private": False,
            "gated": False, "disabled": False, "downloads": 10, "likes": 1, "lastModified": "2025-03-01T00:00:00.000Z",
            "createdAt": "2024-03-01T00:00:00.000Z", "tags": ["gguf"], "pipeline_tag": "text-generation",
            "siblings": [{"rfilename": n, "size": s, "blobId": "0" * 40,
                          **({"lfs": {"sha256": "cd" * 32, "size": s}} if s > 1000 else {})} for n, s in files.items()],
            **more}


hub = Hub()
tiny = read(make_model("tiny"))
hub.repos["acme/Tiny-GGUF"] = {"tiny-Q8_0.gguf": tiny, "README.md": b"# Tiny", "config.json": b"{}", "LICENSE": b"MIT",
                               ".gitattributes": b"x", "trainer_state.json": b"{}", "optimizer.pt": b"o" * 20}
hub.more["acme/Tiny-GGUF"] = {"gguf": {"architecture": "llama", "total": 300000, "context_length": 256},
                              "cardData": {"license": "mit"}, "pipeline_tag": "text-generation", "downloads": 77}
hub.repos["acme/Broken-GGUF"] = {"broken-Q4_0.gguf": b"GGUF" + b"\xff" * 5000}
hub.more["acme/Broken-GGUF"] = {"gguf": {"architecture": "llama", "total": 300000, "context_length": 256}}
hub.repos["acme/Old"] = {"pytorch_model.bin": b"P" * 4000, "config.json": b'{"architectures":["LlamaForCausalLM"]}'}
hub.more["acme/Old"] = {"config": {"architectures": ["LlamaForCausalLM"]}, "tags": ["pytorch"]}
hub.repos["acme/Bare"] = {"README.md": b"nothing yet"}
hub.entries.append(entry("acme/Giant-405B-GGUF", {"giant-Q4_K_M.gguf": 250_000_000_000, "giant-Q8_0.gguf": 430_000_000_000},
                         gguf={"architecture": "llama", "total": 405_000_000_000, "context_length": 131072}))
ENV = env(RBEE_HUB_URL=hub.url)


def model(q, name, query="", **kw):
    return q.get(f"/v1/catalog/models/{name}{'?' + query if query else ''}", **kw)


def whole(q, name, query=""):
    """The answer once everything that can be known is."""
    def one():
        r = model(q, name, query)
        return r if r.status != 200 or r.json["rests_on"]["complete"] or r.json["rests_on"]["problem"] else None
    return wait_for(one, 15, 0.1) or model(q, name, query)


def asked(part):
    return [p for p, *_ in hub.seen["hub"] + hub.seen["cdn"] if part in p]


def empty(q):
    r = q.get("/v1/catalog/models")
    ok(r.status == 200 and r.json["models"] == [] and r.json["total"] == 0, "no catalogue: an empty one", r)
    holds(r.json["hint"], "rbee catalog sync", "and what to do")
    ok(not os.path.exists(DB), "looking makes no file")
    r = q.get("/v1/catalog/facets")
    ok(r.status == 200 and "architecture" in r.json["facets"], "facets of nothing", r)
    r = model(q, "acme/nope")
    ok(r.status == 404 and r.error["code"] == "model_not_found", "a model that the Hub does not have", r)
    for bad in ("nope", "a/b/c", "..%2f..", "acme/%00", "acme/..", "%2e%2e/x"):
        ok(model(q, bad).status in (400, 404), f"{bad} is no model")


def lazily(q):
    r = model(q, "acme/Tiny-GGUF")
    ok(r.status == 200 and r.json["rests_on"]["facts"] == "detail", "a model that was not in the catalogue is asked for", r)
    r = whole(q, "acme/Tiny-GGUF").json
    v = r["sets"][0]["verdicts"][0]["verdict"]
    ok(r["runs"] and v["compatible"] and v["fits"] and v["confidence"] in ("high", "medium"),
       "then judged by its header", v)
    ok(r["rests_on"] | {"stored": 0} == {"facts": "detail", "stored": 0, "headers": 1, "shapes": 1, "complete": True,
                                         "pending": False, "problem": None}, "and the answer says so", r["rests_on"])
    same(r["sets"][0]["files"], ["tiny-Q8_0.gguf"], "a set names its files")
    same(r["best"], r["sets"][0]["name"], "the best set")
    same(sorted(f["path"] for f in r["files"]["shown"]), ["LICENSE", "README.md", "config.json", "tiny-Q8_0.gguf"],
         "files that people look for")
    same(sorted(f["path"] for f in r["files"]["more"]), [".gitattributes", "optimizer.pt", "trainer_state.json"], "the rest")
    same(r["sets"][0]["verdicts"][0]["machine"], q.get("/v1/hives?measure=no").json["hives"][0]["name"], "by machine")
    n = len(hub.seen["hub"] + hub.seen["cdn"])
    same(model(q, "acme/tiny-gguf").status, 200, "ids are found whatever their case")
    same(model(q, "acme%2FTiny-GGUF").status, 200, "or with an encoded slash")
    same(len(hub.seen["hub"] + hub.seen["cdn"]), n, "what is known is not asked for again")
    r = q.get("/v1/catalog/models").json
    same([m["id"] for m in r["models"]], ["acme/Tiny-GGUF"], "the list has it at once")
    ok(r["models"][0]["verdict"]["fits"] and not r["models"][0]["verdict"]["memory"]["estimated"],
       "with the memory that its header tells", r["models"][0]["verdict"])
    same(model(q, "acme/Tiny-GGUF", "set=Q8_0").status, 200, "a set by its quantisation")
    same(model(q, "acme/Tiny-GGUF", "set=tiny-Q8_0.gguf").status, 200, "or by a file")
    same(model(q, "acme/Tiny-GGUF", "set=Q4_K_M").status, 404, "one that is not there")
    big = model(q, "acme/Tiny-GGUF", "ctx=128&slots=2").json["sets"][0]["verdicts"][0]["verdict"]
    ok(big["context"] == 128 and big["slots"] == 2 and big["memory"]["kv"] < v["memory"]["kv"], "at a context of one's own", big)


def siblings(q):
    """The header of one quantisation tells of the others; the same words as `rbee fit` has."""
    hub.repos["acme/Two-GGUF"] = {"two-Q8_0.gguf": tiny, "two-F16.gguf": read(make_model("tiny-f16", dtype="f16"))}
    hub.more["acme/Two-GGUF"] = hub.more["acme/Tiny-GGUF"]

    def verdicts(query=""):
        r = whole(q, "acme/Two-GGUF", query).json
        return r, {s["quantization"]: s["verdicts"][0]["verdict"] for s in r["sets"]}

    r, v = verdicts()
    same(r["rests_on"]["headers"], 1, "of two sets the header of the best was read")
    same(r["best"], "two-Q8_0", "the nearest to Q4_K_M, as search, fit and pull have it")
    ok(v["Q8_0"]["confidence"] == "high" and v["F16"]["confidence"] == "low", "which is sure of that one", v)
    ok(v["F16"]["memory"]["kv"] == v["Q8_0"]["memory"]["kv"] and not v["F16"]["memory"]["estimated"],
       "and knows the cache of the other", v["F16"])
    same(q.get("/v1/catalog/models?q=two").json["models"][0]["verdict"]["memory"]["kv"], v["F16"]["memory"]["kv"],
         "so does the list")
    hub.repos["acme/Twin-GGUF"] = {f"{n}-Q8_0.gguf": tiny for n in "abc"}
    r = whole(q, "acme/Twin-GGUF").json
    again = whole(q, "acme/Twin-GGUF").json
    ok(r["best"] == again["best"] == "a-Q8_0" and again["rests_on"]["headers"] == 1,
       "of equal sets the first, also when its header was read", again)
    r, v = verdicts("set=F16")
    same((r["rests_on"]["headers"], v["F16"]["confidence"]), (2, "high"), "the other one's on demand")
    fit = rbee("fit", "acme/Two-GGUF", "--json", env_=ENV)
    f = next(x["verdict"] for x in json.loads(fit.out) if (x["verdict"]["quantization"] or "").upper() == "Q8_0")
    same({k: f[k] for k in ("compatible", "fits", "confidence", "evidence", "why", "warnings", "memory", "context")},
         {k: v["Q8_0"][k] for k in ("compatible", "fits", "confidence", "evidence", "why", "warnings", "memory", "context")},
         "rbee fit says the same")


def refusals(q):
    for name, why, part in (("acme/Old", "format", "PyTorch"), ("acme/Bare", "no_weights", "weights"),
                            ("acme/Giant-405B-GGUF", "memory", "short")):
        r = model(q, name)
        ok(r.status == 404 and r.error["why"] == why and r.error["reasons"] and r.error["code"] == "model_not_found",
           f"{name} is hidden, and says why", r)
        ok(any(part.lower() in x.lower() for x in r.error["reasons"]), f"in words: {r.error.get('reasons')}")
        r = model(q, name, "all=1&wait=0")
        ok(r.status == 200 and r.json["runs"] is False, "and is shown on demand, with its verdict", r)
    same(model(q, "acme/Giant-405B-GGUF", "fits=false&wait=0").status, 200, "what is only too large is shown with fits=false")
    same(model(q, "acme/Old", "fits=false&wait=0").status, 404, "what no worker runs is not")
    r = model(q, "acme/Broken-GGUF", "wait=20")
    ok(r.status == 404 and r.error["why"] == "header" and r.error["reasons"][0],
       "a file whose header is none is refused once that was read", r)
    r = q.get("/v1/catalog/models").json
    same({x["reason"]: x["count"] for x in r["hidden"]["reasons"]}.keys() >= {"format", "no_weights", "memory"}, True,
         "lists count what is hidden, and why")
    ids = {m["id"]: m["verdict"]["why"] for m in q.get("/v1/catalog/models?all=1").json["models"]}
    ok(ids["acme/Old"] == "format" and ids["acme/Tiny-GGUF"] == "runs", "all=1 shows each with its reason", ids)


def folder(q):
    path = f"{DATA}/golden/llama/hf"
    if not os.path.isdir(path):
        skip("no shared data: a folder of SafeTensors")
        return
    hub.repos["acme/Folder"] = {n: read(f"{path}/{n}") for n in os.listdir(path)}
    r = whole(q, "acme/Folder").json
    v = r["sets"][0]["verdicts"][0]["verdict"]
    ok(v["compatible"] and v["format"] == "safetensors" and v["confidence"] in ("high", "medium"),
       "SafeTensors, by config.json and the headers of the shards", r)


def sizeless(q):
    """A Hub that does not say how large files are is not asked over and over."""
    hub.entries.append(entry("acme/Sizeless-GGUF", {}, gguf={"architecture": "llama", "total": 10 ** 9, "context_length": 4096},
                             siblings=[{"rfilename": "x-Q4_0.gguf"}]))
    r = whole(q, "acme/Sizeless-GGUF").json
    ok(r["runs"] and r["sets"][0]["verdicts"][0]["verdict"]["memory"]["total"] > 5 * 10 ** 8, "judged by parameters and bits", r)
    holds(r["rests_on"]["problem"], "how large", "and says what is not known")
    n = len(asked("acme/Sizeless-GGUF"))
    model(q, "acme/Sizeless-GGUF")
    same(len(asked("acme/Sizeless-GGUF")), n, "the Hub is not asked again")


def queries(q):
    for query in ("sort=beauty", "limit=0", "colour=red", "min_params=many", "cursor=xyz", "q=%ff", "q=%zz", "limit=2&limit=3",
                  "machine=nowhere"):
        r = q.get(f"/v1/catalog/models?{query}")
        ok(r.status == 400 and r.error["message"], f"{query} is refused: {r.error.get('message')}", r)
    for query in ("wait=soon", "wait=31", "wait=-1", "colour=red"):
        same(model(q, "acme/Tiny-GGUF", query).status, 400, f"{query} is refused")
    same(q.get("/v1/catalog/facets?sort=beauty").status, 400, "facets are as strict")
    r = q.get("/v1/catalog/models?q=tiny&architecture=llama&licence=mit").json
    same((r["total"], r["query"]), (1, "q=tiny&architecture=llama&licence=mit"), "a filter, and its canonical form")
    same(q.get("/v1/catalog/models?q=giant").json["total"], 0, "hidden ones do not match")
    f = q.get("/v1/catalog/facets?q=tiny").json["facets"]
    same({v["value"]: v["count"] for v in f["architecture"]["values"]}, {"llama": 1}, "facets are counted")
    ok(q.get("/v1/catalog/models?ctx=16k&slots=4").status == 200, "another configuration")


def bounded(q):
    """A slow Hub: answers come in time, and say that more is coming; nobody else waits."""
    hub.repos["acme/Slow-GGUF"] = dict(hub.repos["acme/Tiny-GGUF"])
    hub.more["acme/Slow-GGUF"] = hub.more["acme/Tiny-GGUF"]
    hub.faults.api_rate = 300
    t = time.monotonic()
    worst = [0]
    over = threading.Event()

    def watch():
        while not over.is_set():
            s = time.monotonic()
            q.get("/v1/catalog/models?q=tiny")
            worst[0] = max(worst[0], time.monotonic() - s)

    w = threading.Thread(target=watch)
    w.start()
    r = model(q, "acme/Slow-GGUF", "wait=1")
    took = time.monotonic() - t
    over.set()
    w.join()
    ok(r.status == 404 and took < 3 + SLOW, f"a model that is being fetched: an answer in {took:.1f} s", r)
    ok(worst[0] < SLOW, f"other questions took {worst[0]:.3f} s at most")
    hub.faults.clear()
    ok(wait_for(lambda: model(q, "acme/Slow-GGUF", "wait=0").status == 200, 20, 0.2), "it goes on, and is there later")


def together(q):
    hub.repos["acme/Many-GGUF"] = dict(hub.repos["acme/Tiny-GGUF"])
    hub.more["acme/Many-GGUF"] = hub.more["acme/Tiny-GGUF"]
    hub.faults.api_rate = 4000

    def one(i):
        if i % 4:
            return model(q, "acme/Many-GGUF").status
        c = q.connection(5)  # these go away
        c.request("GET", "/v1/catalog/models/acme/Many-GGUF")
        time.sleep(0.1)
        c.close()
        return 200

    same(in_threads(16, one), [200] * 16, "many want the same model, some go away")
    hub.faults.clear()
    same(len(asked("/api/models/acme/Many-GGUF")), 1, "the Hub was asked once")
    same(q.get("/health").status, 200, "the queen is well")


def no_hub(q):
    hub.repos["acme/Later-GGUF"] = dict(hub.repos["acme/Tiny-GGUF"])
    hub.faults.api_status = [(503, None)] * 50
    r = model(q, "acme/Later-GGUF", "wait=30")
    ok(r.status == 503 and r.error["code"] == "unavailable", "a Hub that is down is no proof that there is no model", r)
    hub.faults.clear()
    t = time.monotonic()
    same(model(q, "acme/Later-GGUF").status, 503, "it is not asked again at once")
    ok(time.monotonic() - t < SLOW, "so that is quick")


def foreign(q):
    n = len(hub.seen["hub"])
    for site in ("cross-site", "same-site"):
        r = model(q, "acme/Unasked", headers={"Sec-Fetch-Site": site})
        ok(r.status == 404, f"a page of another site ({site}) gets what is known", r)
    same(model(q, "acme/Unasked", headers={"Origin": "https://evil.example"}).status, 403, "or nothing at all")
    same(len(hub.seen["hub"]), n, "and makes nobody ask the Hub")
    same(q.get("/v1/catalog/models", headers={"Host": "evil.example"}).status, 403, "a name that is not ours")


def changes(q):
    """The file changes under the queen."""
    hub.entries.append(entry("late/New-7B-GGUF", {"new-Q4_K_M.gguf": 4_000_000_000}, downloads=10 ** 9,
                             gguf={"architecture": "qwen2", "total": 7_000_000_000, "context_length": 32768}))
    model(q, "late/New-7B-GGUF", "all=1&wait=5")
    r = q.get("/v1/catalog/models?all=1").json
    same(r["models"][0]["id"], "late/New-7B-GGUF", "a new row is there with the next question")
    os.rename(DB, f"{DB}.away")
    for ending in ("-wal", "-shm"):
        if os.path.exists(DB + ending):
            os.rename(DB + ending, f"{DB}.away{ending}")
    same(q.get("/v1/catalog/models?all=1").json["total"], 0, "the file is taken away: empty")
    with open(DB, "wb") as f:
        f.write(b"this is no database" * 100)
    r = q.get("/v1/catalog/models")
    ok(r.status >= 422 and "catalog.db" in r.error["message"], "a file that is none: an error that names it", r)
    same(q.get("/health").status, 200, "and the queen goes on")
    os.remove(DB)
    os.rename(f"{DB}.away", DB)
    for ending in ("-wal", "-shm"):
        if os.path.exists(f"{DB}.away{ending}"):
            os.rename(f"{DB}.away{ending}", DB + ending)
    same(q.get("/v1/catalog/models?all=1").json["total"], r_total(q), "put back: as before")


def r_total(q):
    return q.get("/v1/catalog/models?all=1&limit=1").json["index"]["models"]


def many(q):
    """Thousands of models, synchronised while the queen answers."""
    made = subprocess.run([f"{ROOT}/tools/hub-fixture", "4000"], capture_output=True, check=True).stdout
    hub.entries += json.loads(made)
    worst, stop, seen = [0], threading.Event(), set()

    def watch():
        while not stop.is_set():
            s = time.monotonic()
            ok_ = q.get("/health").status == 200
            worst[0] = max(worst[0], time.monotonic() - s if ok_ else 99)
            seen.add(q.get("/v1/catalog/models?limit=1").json["index"]["models"])
            time.sleep(0.02)

    w = threading.Thread(target=watch)
    w.start()
    r = rbee("catalog", "sync", "--pace", "0s", env_=ENV, timeout=120)
    stop.set()
    w.join()
    ok(r.code == 0, "rbee catalog sync beside the queen", r)
    ok(len(seen) > 1, f"pages show up as they come: {sorted(seen)}")
    ok(worst[0] < SLOW, f"/health took {worst[0]:.3f} s at most")
    first = q.get("/v1/catalog/models?limit=100").json
    ids, page = [m["id"] for m in first["models"]], first
    while page["next"] and len(ids) < 700:
        page = q.get(f"/v1/catalog/models?limit=100&cursor={urllib.parse.quote(page['next'])}").json
        ids += [m["id"] for m in page["models"]]
    ok(len(ids) == len(set(ids)) == min(700, first["total"]), "pages neither repeat nor skip", len(ids), first["total"])
    ok(all(m["verdict"]["fits"] for m in first["models"]), "all of them run here")
    fits = q.get("/v1/catalog/models?ctx=32k&slots=16&limit=1").json["total"]
    ok(fits < first["total"], "fewer at a longer context", fits, first["total"])
    took = []
    for query in ("q=qwen", "sort=speed", "all=1", "format=gguf&size=4-9B", "ctx=8k&slots=4"):
        s = time.monotonic()
        same(q.get(f"/v1/catalog/models?{query}").status, 200, query)
        took.append(time.monotonic() - s)
    ok(max(took) < SLOW, f"a question took {max(took) * 1000:.0f} ms at most")


def token():
    with Queen("--token", "secret", env_=ENV) as q:
        n = len(hub.seen["hub"])
        for origin, asks in ((f"http://evil127.0.0.1:{q.port}", False), ("null", False), (f"http://127.0.0.1:{q.port}", True)):
            model(q, "acme/Nowhere", headers={"Authorization": "Bearer secret", "Origin": origin})
            ok((len(hub.seen["hub"]) > n) == asks, f"a page of {origin} {'makes' if asks else 'does not make'} us ask the Hub")
        for path in ("models", "models/acme/Tiny-GGUF", "facets"):
            same(q.get(f"/v1/catalog/{path}").status, 401, f"{path} needs the token")
        same(q.get("/v1/catalog/models", headers={"Authorization": "Bearer secret"}).status, 200, "and is open with it")


def stops(q):
    """A queen that is told to stop while she asks a Hub that hangs."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen()
    with Queen(env_=env(RBEE_HUB_URL=f"http://127.0.0.1:{s.getsockname()[1]}")) as other:
        c = other.connection(5)
        c.request("GET", "/v1/catalog/models/acme/Hangs")
        time.sleep(0.5)
        t = time.monotonic()
        code = other.stop()
        ok(code == 0 and time.monotonic() - t < 5 * SLOW, f"stopped in {time.monotonic() - t:.1f} s", code)
        c.close()
    s.close()


forget()
with Queen(env_=ENV) as queen:
    empty(queen)
    lazily(queen)
    siblings(queen)
    refusals(queen)
    folder(queen)
    sizeless(queen)
    queries(queen)
    bounded(queen)
    together(queen)
    no_hub(queen)
    foreign(queen)
    changes(queen)
    many(queen)
    stops(queen)
token()
hub.close()
done()
