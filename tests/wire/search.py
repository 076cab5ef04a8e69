#!/usr/bin/env python3
"""rbee search and rbee show ORG/REPO: what the catalogue says, as tables that fit the terminal and as JSON; reasons for what is hidden."""
import http.server
import json
import os
import re
import sys
import threading

from _hub import Hub
from _rbee import MODELS, RBEE, SLOW, all_gone, done, env, free_port, holds, make_model, ok, rbee, same, start, wait_for
from _tty import on_tty

PORT = str(free_port())
hub = Hub()
GIB = 1 << 30


def settings(**more):
    given = dict(RBEE_HUB_URL=hub.url, RBEE_PORT=PORT, HF_TOKEN=None, HF_HOME=None, HF_TOKEN_PATH=None, HF_ENDPOINT=None)
    given.update(more)
    return env(**given)


def run(*args, **more):
    return rbee(*args, env_=settings(**more), timeout=90)


def found(*args):
    r = run("search", *args, "--json")
    return r, json.loads(r.out or "{}")


def ids(v):
    return [m["id"] for m in v.get("models", [])]


def terminal(cols, *args, keys=b"", **more):
    """What a person sees on a terminal of so many columns; exit code and text."""
    given = dict(TERM="xterm", LANG="C.UTF-8", LC_ALL=None)
    given.update(more)
    shown = on_tty([RBEE, *args], settings(**given), cols, keys, patience=60 * SLOW, start=start)
    return shown.code, shown.text.replace("\r", "")


def entry(name, files, **more):
    siblings = [{"rfilename": n, "size": s} for n, s in files.items()]
    e = {"id": name, "modelId": name, "author": name.split("/")[0], "sha": "c0ffee" + "0" * 34, "gated": False, "private": False,
         "disabled": False, "downloads": 1, "likes": 0, "lastModified": "2025-01-01T00:00:00.000Z",
         "createdAt": "2024-01-01T00:00:00.000Z", "siblings": siblings, "tags": ["gguf"], "pipeline_tag": "text-generation"}
    return {**e, **more}


def gguf(arch, params, context):
    return {"architecture": arch, "total": params, "context_length": context}


def fill():
    with open(make_model("tiny-q8_0", dtype="q8_0"), "rb") as f:
        tiny = f.read()
    hub.repos["acme/Tiny-Llama-GGUF"] = {"README.md": b"# x", "config.json": b"{}", "tiny-Q8_0.gguf": tiny, "trainer_state.json": b"{}",
                                         "optimizer.pt": b"x" * 50}
    hub.more["acme/Tiny-Llama-GGUF"] = {"gguf": gguf("llama", 1500000, 512), "downloads": 500, "likes": 7, "tags": ["gguf", "conversational", "license:mit", "en"]}
    hub.entries += [
        entry("acme/Small-Qwen3-GGUF", {"small-Q4_K_M.gguf": GIB // 2, "small-Q8_0.gguf": GIB}, gguf=gguf("qwen3", 10 ** 9, 40960),
              downloads=12345, likes=40, tags=["gguf", "conversational", "license:apache-2.0", "en", "zh"]),
        entry("acme/Huge-Llama-GGUF", {"huge-Q4_K_M.gguf": 4096 * GIB}, gguf=gguf("llama", 7 * 10 ** 12, 131072), downloads=9000),
        entry("acme/Martian-GGUF", {"martian-Q4_K_M.gguf": GIB}, gguf=gguf("martian", 10 ** 9, 4096), downloads=800),
        entry("acme/Empty", {"README.md": 10}, tags=["gguf"], gguf=gguf("llama", 10 ** 9, 4096), downloads=600),
        entry("zeta/Evil\u202eName-GGUF", {"x-Q4_0.gguf": GIB}, gguf=gguf("llama", 10 ** 9, 4096)),
        entry("zeta/Odd-GGUF", {"od\x1b[2Jd\u202e-Q4_0.gguf": GIB // 4}, gguf=gguf("llama", 10 ** 9, 4096), downloads=2, gated="auto",
              tags=["gguf", "license:\x1b]0;owned\x07"]),
        entry("zeta/A-Name-That-Is-Much-Longer-Than-A-Terminal-Is-Wide-And-Goes-On-For-Quite-A-While-GGUF", {"long-Q4_0.gguf": GIB // 8},
              gguf=gguf("llama", 2 * 10 ** 8, 4096), downloads=3),
    ]


def empty():
    r = run("search", "llama")
    ok(r.code == 66 and "rbee catalog sync" in r.err and "import" in r.err and not r.out, "an empty catalogue says what to do", r)
    r = run("search", "llama", "--json")
    ok(r.code == 66 and json.loads(r.out)["models"] == [], "in JSON too", r)
    code, text = terminal(80, "search", "llama", keys=b"n\n")
    ok(code == 66 and "[y/N]" in text, "on a terminal it offers to fetch it", code, text)
    before = len(hub.seen["hub"])
    code, text = terminal(80, "search", "tiny", keys=b"y\n")
    ok(code == 0 and "acme/Tiny-Llama-GGUF" in text and len(hub.seen["hub"]) > before, "and does after a yes", code, text)


def wrong():
    for args, part in ((["--size", "huge"], "size"), (["--sort", "beauty"], "sort"), (["--min-params", "many"], "min_params"),
                       (["--capability", "cooking"], "capability"), (["--limit", "0"], "limit"), (["--created-after", "soon"], "created_after"),
                       (["--gated", "perhaps"], "gated"), (["--nosuch"], "nosuch"), (["--kv-type", "q9"], "kv_type")):
        r = rbee("search", *args, env_=settings(RBEE_PORT=str(free_port())))
        ok(r.code == 64 and part in r.err and not r.out, f"rbee search {' '.join(args)}: {r.err.strip()[:70]}", r)
    r = run("search", "--machine", "nosuch")
    ok(r.code == 64 and "nosuch" in r.err, "a machine that is not there", r)
    r = run("search", "--cursor", "garbage")
    ok(r.code == 64 and "cursor" in r.err, "a cursor that is none", r)


def filters():
    r, v = found()
    ok(r.code == 0 and ids(v)[:2] == ["acme/Small-Qwen3-GGUF", "acme/Tiny-Llama-GGUF"], "what runs here, the most downloaded first", r)
    hidden = {x["reason"]: x["count"] for x in v["hidden"]["reasons"]}
    ok(hidden.get("memory") == 1 and hidden.get("family", 0) + hidden.get("no_architecture", 0) >= 1 and v["hidden"]["count"] == sum(hidden.values()),
       "what is hidden, and why", v["hidden"])
    same(v["total"], len(v["models"]), "all of them are on the page")
    for args, want in ((["qwen3"], ["acme/Small-Qwen3-GGUF"]), (["--architecture", "qwen3"], ["acme/Small-Qwen3-GGUF"]),
                       (["acme", "small"], ["acme/Small-Qwen3-GGUF"]), (["--licence", "mit"], ["acme/Tiny-Llama-GGUF"]),
                       (["--licence", "mit,apache-2.0", "--sort", "downloads", "--order", "asc"], ["acme/Tiny-Llama-GGUF", "acme/Small-Qwen3-GGUF"]),
                       (["--licence", "mit", "--licence", "apache-2.0"], ["acme/Small-Qwen3-GGUF", "acme/Tiny-Llama-GGUF"]),
                       (["--language", "zh"], ["acme/Small-Qwen3-GGUF"]), (["--min-context", "32k"], ["acme/Small-Qwen3-GGUF"]),
                       (["--gated", "true"], ["zeta/Odd-GGUF"]), (["--min-params", "900M", "--author", "acme"], ["acme/Small-Qwen3-GGUF"]),
                       (["-n", "1"], ["acme/Small-Qwen3-GGUF"]), (["--quant", "q8_0", "--author", "acme", "--sort", "size"], None)):
        r, v = found(*args)
        got = ids(v)
        ok(r.code == 0 and (got == want if want else len(got) == 2), f"rbee search {' '.join(args)}", got)
    r, v = found("--no-fits")
    ok("acme/Huge-Llama-GGUF" in ids(v) and "acme/Martian-GGUF" not in ids(v), "--no-fits: also what is too large", ids(v))
    r, v = found("--all")
    ok({"acme/Huge-Llama-GGUF", "acme/Martian-GGUF", "acme/Empty"} <= set(ids(v)) and v["hidden"]["count"] == 0, "--all: everything", ids(v))
    r, one = found("-n", "1")
    r, two = found("-n", "1", "--cursor", one["next"])
    same(ids(two), ["acme/Tiny-Llama-GGUF"], "the next page, by the cursor")
    r, small = found("small", "--quant", "q8_0", "--ctx", "2k", "--slots", "1")
    r, large = found("small", "--quant", "q8_0", "--ctx", "32k", "--slots", "1")
    ok(large["models"][0]["verdict"]["memory"]["kv"] > small["models"][0]["verdict"]["memory"]["kv"] > 0, "more context needs more memory",
       small, large)


def tables():
    r = run("search")
    lines = r.out.splitlines()
    ok(r.code == 0 and lines[0].startswith("MODEL") and "acme/Small-Qwen3-GGUF" in lines[1] and "\033" not in r.out, "a table in a pipe", r)
    holds(r.out, "A-Name-That-Is-Much-Longer-Than-A-Terminal-Is-Wide-And-Goes-On-For-Quite-A-While-GGUF", "in which nothing is cut")
    for part in ("hidden because", "--all", "they do not fit into the memory of the machine", "1B", "40K", "12.3k", "apache-2.0"):
        holds(r.out, part, f"it holds '{part}'")
    ok("\x1b" not in r.out and "\u202e" not in r.out and "\x07" not in r.out, "and no orders to a terminal")
    column = [line.index("SIZE") + 4 for line in lines[:1]][0]
    ok(all(line[column - 1] != " " and line[column:column + 1] in (" ", "") for line in lines[1:3]), "numbers end where their heading does", r)
    for cols in (50, 80, 100, 120, 160):
        for args in (["search"], ["search", "--all"], ["search", "--facets"], ["show", "acme/Small-Qwen3-GGUF"], ["show", "zeta/Odd-GGUF"],
                     ["show", "acme/Huge-Llama-GGUF"]):
            code, text = terminal(cols, *args)
            plain = re.sub("\033\\[[0-9;]*m", "", text)
            widest = max(map(len, plain.splitlines() or [""]))
            ok(code == 0 and 0 < widest <= cols and "\x1b" not in plain and "\u202e" not in plain, f"rbee {' '.join(args)} in {cols} columns: {widest}", text)
    code, text = terminal(80, "search")
    ok("\033[" in text and "\u2026" in text, "colour on a terminal, and what is cut is marked", text)
    code, text = terminal(80, "search", NO_COLOR="1")
    ok("\033" not in text, "none with NO_COLOR", text)
    code, text = terminal(80, "search", TERM="dumb")
    ok("\033" not in text, "none where the terminal knows none", text)
    code, text = terminal(80, "search", LANG="C")
    ok(all(ord(c) < 128 for c in text), "ASCII where the locale is not UTF-8", text)
    r = run("search", "--all")
    for part in (" short", "architecture not run: martian", "runs"):
        holds(r.out, part, f"--all holds '{part}'")
    r = run("search", "no-such-model-anywhere")
    ok(r.code == 0 and "No model matches" in r.out, "nothing found is no error", r)
    r = run("search", "martian")
    ok(r.code == 0 and "runs here" in r.out and "hidden because" in r.out, "what matches and does not run is said", r)


def facets():
    r = run("search", "--facets", "--json")
    f = json.loads(r.out)["facets"]
    counts = {x["value"]: x["count"] for x in f["architecture"]["values"]}
    ok(counts.get("qwen3") == 1 and counts.get("llama", 0) >= 3, "counts of each architecture", counts)
    r = run("search", "--facets", "--licence", "mit")
    ok(r.code == 0 and re.search(r"^licence .*mit 1", r.out, re.M) and "apache-2.0 1" in r.out, "a facet is counted without its own filter", r)


def shows():
    r = run("show", "acme/Tiny-Llama-GGUF")
    ok(r.code == 0, "a repository of the Hub", r)
    for part in ("acme/Tiny-Llama-GGUF", "llama", "512 positions", "mit", "500 downloads", "tiny-Q8_0.gguf", "Q8_0", "runs", "config.json", "README.md",
                 "2 more files; --files lists them", "rbee pull acme/Tiny-Llama-GGUF"):
        holds(r.out, part, f"it holds '{part}'")
    ok("optimizer.pt" not in r.out, "files that nobody looks for stay away")
    r = run("show", "acme/Tiny-Llama-GGUF", "--files")
    ok("optimizer.pt" in r.out and "trainer_state.json" in r.out and "more files;" not in r.out, "until they are asked for", r)
    v = wait_for(lambda: (lambda x: x if x["rests_on"]["headers"] else None)(json.loads(run("show", "acme/Tiny-Llama-GGUF", "--json").out)), 20, 0.5)
    ok(v and v["runs"] and v["sets"][0]["verdicts"][0]["verdict"]["confidence"] == "high", "once its header was read, the verdict rests on it", v)
    r = run("show", "acme/Martian-GGUF")
    ok(r.code == 0 and "does not run" in r.out and "martian" in r.out and "because" in r.out, "one that does not run, with the reason", r)
    r = run("show", "acme/Huge-Llama-GGUF")
    ok(r.code == 0 and "too large" in r.out and "short" in r.out, "one that is too large, with the bytes", r)
    r = run("show", "acme/NoSuch")
    ok(r.code == 66 and "acme/NoSuch" in r.err, "one that is not there", r)
    r = run("show", "acme/Tiny-Llama-GGUF:Q2_K")
    ok(r.code == 66 and "Q2_K" in r.err, "a quantisation that is not there", r)
    r = run("show", "nosuch")
    ok(r.code == 66 and "rbee ls" in r.err, "what is no repository is looked for here alone", r)
    r = run("show", "nosuch", "--hub")
    ok(r.code == 64 and "ORG/REPO" in r.err, "unless the Hub's is asked for", r)
    r = run("show", "acme/Tiny-Llama-GGUF@v1", "--hub")
    ok(r.code == 64 and "@v1" in r.err, "an older revision is not what the catalogue has", r)
    r = run("pull", "acme/Tiny-Llama-GGUF")
    r = run("show", "acme/Tiny-Llama-GGUF", "--json")
    ok(r.code == 0 and json.loads(r.out)["path"].startswith(os.path.realpath(MODELS)), "what is here is shown from here", r)
    r = run("show", "acme/Tiny-Llama-GGUF", "--json", "--hub")
    ok(r.code == 0 and "files" in json.loads(r.out), "unless the Hub's is asked for", r)


class FakeQueen(http.server.BaseHTTPRequestHandler):
    """Answers whatever the test wants a queen to have said."""
    answer = {}

    def log_message(self, *a):
        pass

    def do_GET(self):
        body = json.dumps({"status": "ok"} if self.path == "/health" else self.answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def swarm():
    """Several machines, and answers of queens that are not ours."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeQueen)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = str(server.server_port)

    def verdict(gib, rate=None, short=0, why="runs"):
        return {"compatible": why in ("runs", "memory"), "fits": why == "runs", "confidence": "high", "evidence": "header", "why": why, "reasons": [],
                "warnings": [], "recommendations": [], "memory": {"total": gib * GIB, "weights": gib * GIB, "estimated": False},
                "short_by": short * GIB, "decode_tokens_per_s": rate}

    def one(name, gib, *verdicts):
        return {"name": name, "format": "gguf", "kind": "weights", "quantization": name[-6:], "bytes": gib * GIB, "whole": True, "files": [f"{name}.gguf"],
                "verdicts": [{"machine": f"box{i}", "device": "cpu", "backend": "cpu", "verdict": v} for i, v in enumerate(verdicts)]}

    def repo(n):
        small = [verdict(5, 10.5 + i) for i in range(n)]
        large = [verdict(40, 2.25) if i == 0 else verdict(40, None, 8, "memory") for i in range(n)]
        return {"model": {"id": "acme/Two-GGUF", "architecture": "llama"}, "runs": True, "best": "two-Q8_0_L",
                "sets": [one("two-Q8_0_L", 40, *large), one("two-Q4_K_M", 5, *small)], "files": {"shown": [], "more": []},
                "rests_on": {}, "machines": [{"machine": f"box{i}", "measured": True} for i in range(n)]}

    FakeQueen.answer = repo(3)
    r = run("show", "acme/Two-GGUF", RBEE_PORT=port)
    lines = [line.split() for line in r.out.splitlines()]
    ok(r.code == 0 and ["WEIGHTS", "QUANT", "SIZE", "MEMORY", "box0", "box1", "box2"] in lines, "a column for each machine", r)
    ok(any("10" in line and "12" in line for line in lines) and "8.0 GiB short" in r.out and "2.2 tok/s" in r.out, "with speed, or what is short", r)
    ok(r.out.index("two-Q4_K_M.gguf") < r.out.index("two-Q8_0_L.gguf"), "the smallest set first")
    r = run("show", "acme/Two-GGUF:Q4_K_M", RBEE_PORT=port)
    holds(r.out, "rbee pull acme/Two-GGUF:Q4_K_M\n", "asked about one set, that one is spoken of")
    FakeQueen.answer = repo(9)
    for cols in (50, 80, 160):
        code, text = terminal(cols, "show", "acme/Two-GGUF", RBEE_PORT=port, NO_COLOR="1")
        ok(code == 0 and "9 of 9 machines" in text and "1 of 9 machines" in text and max(map(len, text.splitlines())) <= cols,
           f"of many machines how many, in {cols} columns", text)
    models = [{"id": f"acme/M{i}", "set": {"bytes": GIB}, "verdict": dict(verdict(2, 5.0), machine=f"box{i}")} for i in range(2)]
    FakeQueen.answer = {"models": models, "total": 2, "query": "", "hidden": {}, "index": {"models": 2}}
    r = run("search", RBEE_PORT=port)
    ok(r.code == 0 and "MACHINE" in r.out and "box0" in r.out and "box1" in r.out, "the machine that each runs best on", r)
    FakeQueen.answer = {"models": [{"id": "acme/M0"}], "total": 1, "query": "", "hidden": {}, "index": {"models": 2}, "machines": []}
    holds(run("search", RBEE_PORT=port).out, "nothing is judged", "without a worker search says that nothing is judged")
    FakeQueen.answer = dict(repo(0), runs=False, sets=[one("two-Q8_0_L", 40, verdict(40, why="family"))], rests_on={"headers": 1},
                            machines=[{"machine": "box0", "measured": True}])
    out = run("show", "acme/Two-GGUF", RBEE_PORT=port).out
    ok("architecture not run" in out and "not run: llama" not in out, "a header says of which architecture it is, not the list", out)
    FakeQueen.answer = dict(repo(0), runs=None)
    holds(run("show", "acme/Two-GGUF", RBEE_PORT=port).out, "not judged", "and so does show")
    for strange in ({}, [], {"models": None}, {"models": [None, 1, "x", {"id": 5, "verdict": []}], "total": -1, "hidden": [], "query": 7},
                    {"models": [{"id": "a/b", "parameters": 1e300, "context": -5, "updated": 10 ** 18, "capabilities": [1, None], "set": "x",
                                 "verdict": {"why": "later", "memory": 3}}], "total": 10 ** 18, "index": {"models": "many"}},
                    {"facets": {"a": 1, "b": {"values": [{}, 3, {"value": "x", "count": 2 ** 63}]}}},
                    {"sets": [{"verdicts": [{}, 1], "files": [1, {}]}, 5], "machines": [1, 2], "files": {"shown": [{}], "more": 4}, "best": []}):
        FakeQueen.answer = strange
        for args in (["search"], ["search", "--facets"], ["show", "acme/Two-GGUF"]):
            r = run(*args, RBEE_PORT=port)
            ok(r.code == 0 and "\x1b" not in r.out, f"rbee {' '.join(args)} stands {json.dumps(strange)[:50]}", r)
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    fill()
    for part in (empty, wrong, filters, tables, facets, shows, swarm):
        if not sys.argv[1:] or part.__name__ in sys.argv[1:]:
            part()
    rbee("stop", "--queen", env_=settings())
    ok(all_gone(), "nothing is left running")
    done()
