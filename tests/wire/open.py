#!/usr/bin/env python3
"""rbee open: a link says what it would do, asks, and does nothing else; foreign and malformed ones do nothing at all."""
import json
import os
import shutil
import sys

from _hub import Hub
from _rbee import HOME, RBEE, SLOW, done, env, holds, make_model, ok, processes, rbee, same, start
from _tty import on_tty

OWN = f"{HOME}/pulled"
hub = Hub()


def settings(**more):
    given = dict(RBEE_MODELS=OWN, RBEE_HUB_URL=hub.url, HF_TOKEN=None, HF_HOME=None, HF_TOKEN_PATH=None, HF_ENDPOINT=None)
    given.update(more)
    return env(**given)


def open_(url, *args, **more):
    return rbee("open", url, *args, env_=settings(**more))


def asked():
    return len(hub.seen["hub"]) + len(hub.seen["cdn"])


def left():
    return sorted(os.path.relpath(f"{d}/{f}", OWN) for d, _, fs in os.walk(OWN) for f in fs)


def fresh():
    hub.clear()
    shutil.rmtree(OWN, ignore_errors=True)


def terminal(url, keys, *args):
    """What a person at a terminal sees who answers with `keys`; exit code and text."""
    shown = on_tty([RBEE, "open", url, *args], settings(TERM="dumb"), keys=keys, patience=30 * SLOW, start=start)
    return shown.code, shown.text, shown.asked


def fill():
    def read(path):
        with open(path, "rb") as f:
            return f.read()

    tiny, q8 = read(make_model("tiny-q4_0", dtype="q4_0")), read(make_model("tiny-q8_0", dtype="q8_0"))
    hub.repos["acme/Tiny-GGUF"] = {"README.md": b"# x", "tiny-Q4_K_M.gguf": tiny, "sub/tiny-Q8_0.gguf": q8}
    hub.repos["acme/Strange-GGUF"] = {"strange-Q4_K_M.gguf": tiny.replace(b"llama", b"mrtan")}
    hub.repos["acme/Pickle"] = {"config.json": b"{}", "pytorch_model.bin": b"x" * 100}


def refused():
    fresh()
    for url, part in (("https://huggingface.co/acme/Tiny-GGUF", "no link of rbee"), ("acme/Tiny-GGUF", "no link of rbee"),
                      ("rbee://run/model?id=acme/Tiny-GGUF", "run/model"), ("rbee://marketplace", "marketplace"),
                      ("rbee://model", "id=ORG/REPO"), ("rbee://model?id=acme/Tiny-GGUF&worker=cpu", "worker"),
                      ("rbee://install/model?id=acme/Tiny-GGUF&hub=http://evil.example", "hub"),
                      ("rbee://install/model?id=acme/Tiny-GGUF&id=acme/Pickle", "twice"),
                      ("rbee://install/model?id=..%2F..%2Fetc", "names no repository"),
                      ("rbee://install/model?id=acme/Tiny-GGUF:..%2F..%2Fx.gguf", "names no repository"),
                      ("rbee://install/model?id=acme/Tiny-GGUF%00", "control character"),
                      ("rbee://install/model?id=acme/Tiny-GGUF%2", "percent"),
                      ("rbee://install/model?id=acme/Tiny-GGUF&worker=%2Fbin%2Fsh", "no name of a worker")):
        r = open_(url, "--yes")
        ok(r.code == 64 and part in r.err and not r.out, f"{url} is refused", r)
    r = open_("rbee://install/model?id=acme/Tiny-GGUF&worker=cuda", "--yes")
    ok(r.code == 66 and "cuda" in r.err and "llm-worker-rbee-cpu" in r.err, "a worker that is not here, and what is", r)
    same(asked(), 0, "for none of them anybody was asked")
    r = open_("rbee://install/model?id=acme/Pickle", "--yes")
    ok(r.code == 69 and "pytorch" in r.err, "a format that nobody reads", r)
    r = open_("rbee://install/model?id=acme/Nothing", "--yes")
    ok(r.code == 77 and "acme/Nothing" in r.err, "a repository that is not there", r)
    r = open_("rbee://install/model?id=acme/Strange-GGUF", "--yes")
    ok(r.code == 69 and "mrtan" in r.out and "nothing was installed" in r.err, "an architecture that nobody runs, by its name", r)
    r = open_("rbee://install/model?id=acme/Tiny-GGUF:Q2_K", "--yes")
    ok(r.code == 66 and "Q8_0" in r.err, "a quantisation that is not there, and those that are", r)
    same(left(), [], "nothing lies on the disk")


def shown():
    fresh()
    r = open_("rbee://model?id=acme%2FTiny-GGUF")
    ok(r.code == 0 and not r.err, "a model to look at", r)
    for part in ("acme/Tiny-GGUF", "llama", "tiny-Q4_K_M.gguf", "the usual choice of 2", "llm-worker-rbee-cpu", "runs here", "high",
                 "weights", OWN, "rbee pull acme/Tiny-GGUF:Q4_K_M"):
        holds(r.out, part, f"it says '{part}'")
    ok("\033" not in r.out and max(map(len, r.out.splitlines())) > 80, "plain in a pipe, and nothing is broken up")
    r = open_("rbee://model?id=acme/Tiny-GGUF:q8_0", "--json")
    v = json.loads(r.out)
    ok(v["action"] == "model" and v["files"] == [{"path": "sub/tiny-Q8_0.gguf", "bytes": v["bytes"]}] and v["runs"], "in JSON", v)
    ok(v["verdict"]["compatible"] and v["verdict"]["memory"]["total"] > v["bytes"] // 2 and not v["here"], "with the verdict", v)
    r = open_("rbee://model?id=acme/Tiny-GGUF", "--json", "--context", "64", "--slots", "2")
    same([json.loads(r.out)["verdict"][k] for k in ("context", "slots")], [64, 2], "judged as it shall run")
    r = open_("rbee://model?id=acme/Tiny-GGUF", "--json", RBEE_CTX="128")
    same(json.loads(r.out)["verdict"]["context"], 128, "or as the settings say that it will")
    r = open_("rbee://model?id=acme/Strange-GGUF", "--json")
    v = json.loads(r.out)
    ok(r.code == 69 and not v["runs"] and "mrtan" in v["verdict"]["reasons"][0], "that of one that does not run", v)
    same(left(), [], "and nothing lies on the disk")


def offline():
    fresh()
    for url in ("https://hub.invalid", "http://127.0.0.1:9"):
        r = open_("rbee://install/model?id=acme/Tiny-GGUF", "--yes", RBEE_HUB_URL=url)
        ok(r.code == 69 and url in r.err and "network" in r.err, f"{url} cannot be reached, and says so", r)


def asks():
    fresh()
    link = "rbee://install/model?id=acme/Tiny-GGUF&worker=cpu"
    r = open_(link)
    ok(r.code == 64 and "--yes" in r.err and "runs here" in r.out, "without a terminal it cannot ask, and says so", r)
    r = rbee("open", link, env_=settings(), stdin="y\n")
    ok(r.code == 64, "an answer in a pipe is none", r)
    r = open_(link, "--dry-run")
    ok(r.code == 0 and "runs here" in r.out, "--dry-run only says", r)
    r = open_(link, "--json")
    ok(r.code == 0 and not json.loads(r.out)["installed"], "--json alone too", r)
    for keys in (b"n\n", b"\n", b"yikes\n", b"\x04"):
        code, text, sent = terminal(link, keys)
        ok(code == 130 and sent and "nothing was installed" in text, f"{keys!r} is no", code, text)
    same(left(), [], "nothing lies on the disk")
    code, text, sent = terminal(link, b"y\n")
    ok(code == 0 and sent and left() == ["acme/Tiny-GGUF/tiny-Q4_K_M.gguf"], "y installs it", code, text)
    holds(text, "Use it: rbee run acme/Tiny-GGUF:Q4_K_M", "and it says how to use it")
    before = hub.sent[0]
    r = open_(link, "--yes")
    ok(r.code == 0 and "here already" in r.out and hub.sent[0] == before, "what is here is not fetched again", r)


def unasked():
    fresh()
    link = "rbee://install/model?id=acme%2FTiny-GGUF%3AQ8_0&worker=llm-worker-rbee-cpu"
    r = open_(link, "--yes", "--json")
    ok(r.code == 0 and json.loads(r.out)["installed"] and json.loads(r.out)["here"], "--yes --json: one object, and it is there", r)
    same(left(), ["acme/Tiny-GGUF/sub/tiny-Q8_0.gguf"], "the file that was named, and nothing else")
    s = json.loads(rbee("show", "acme/Tiny-GGUF:Q8_0", "--json", env_=settings()).out or "{}")
    ok(s.get("runs"), "it is a model of the store", s)
    code, text, sent = terminal("rbee://install/model?id=acme/Tiny-GGUF", b"n\n", "--yes")
    ok(code == 0 and not sent, "--yes asks nobody", text)


def pulled():
    """rbee pull --json tells the same of what it does."""
    fresh()
    r = rbee("pull", "acme/Tiny-GGUF", "--json", "--dry-run", env_=settings())
    v = json.loads(r.out)
    ok(r.code == 0 and v["name"] == "acme/Tiny-GGUF:Q4_K_M" and not v["fetched"] and v["verdict"]["compatible"], "pull --json --dry-run", r)
    r = rbee("pull", "acme/Tiny-GGUF", "--json", env_=settings())
    ok(r.code == 0 and json.loads(r.out)["fetched"] and left() == ["acme/Tiny-GGUF/tiny-Q4_K_M.gguf"], "pull --json", r)
    r = rbee("pull", "acme/Strange-GGUF", "--json", env_=settings())
    ok(r.code == 69 and not json.loads(r.out)["fetched"] and "mrtan" in r.out and "mrtan" in r.err, "what is refused, with the verdict", r)
    r = rbee("pull", "acme/Tiny-GGUF:Q8_0", "--quiet", env_=settings())
    ok(r.code == 0 and not r.out, "pull --quiet", r)


def widths():
    for cols in (60, 80, 120):
        shown = on_tty([RBEE, "open", "rbee://model?id=acme/Tiny-GGUF"], settings(TERM="xterm", NO_COLOR="1"), cols, apart=("stdin",),
                       patience=30 * SLOW, start=start)
        lines = shown.text.replace("\r", "").splitlines()
        ok(shown.code == 0 and lines and max(map(len, lines)) <= cols and "\033" not in shown.text,
           f"no line is wider than {cols} columns, and NO_COLOR is honoured", shown)


if __name__ == "__main__":
    fill()
    for part in (refused, shown, offline, asks, unasked, pulled, widths):
        if not sys.argv[1:] or part.__name__ in sys.argv[1:]:
            part()
    ok(not processes(), "nothing is left running", processes())
    done()
