#!/usr/bin/env python3
"""The life of queen, hive and workers: crashes, orphans, unloading, stopping, ports, several queens."""
import os
import signal
import socket
import time

from _rbee import (HOME, Http, Queen, RBEE, SLOW, all_gone, alive, done, env, free_port, holds, in_threads, make_model,
                   ok, processes, rbee, same, start, wait_for)

make_model("tiny")
make_model("other", "tiny-qwen3", "q4_0", seed=2)
LONG = {"model": "tiny", "prompt": "hello", "max_tokens": 100000, "temperature": 0, "ignore_eos": True}
SHORT = dict(LONG, max_tokens=4)


def works(q, name, model="tiny"):
    r = q.post("/v1/completions", dict(SHORT, model=model))
    return ok(r.status == 200 and r.json["usage"]["completion_tokens"] == 4, name, r)


def kill9_worker_in_stream():
    with Queen("--ctx", "65536") as q:
        s = q.stream("/v1/completions", LONG)
        events = iter(s)
        first = next(events)
        holds(first, "choices", "a stream begins")
        pid = q.worker()["pid"]
        os.kill(pid, signal.SIGKILL)
        t = time.monotonic()
        rest = list(events)
        took = time.monotonic() - t
        ok(took < 3 * SLOW, "kill -9 of the worker ends the stream within 3 s", f"{took:.2f} s")
        last = rest[-1] if rest else None
        ok(isinstance(last, dict) and last.get("error", {}).get("code") == "worker_crashed",
           "the last event is an error that names the crash", last)
        ok("[DONE]" not in rest, "a cut stream does not say that it is complete")
        works(q, "the next request works")
        ok(q.worker()["pid"] != pid, "by a new worker")

        # Whole replies: nobody saw a byte, so the request is tried again.
        answers = []

        def ask(_):
            answers.append(q.post("/v1/completions", dict(LONG, max_tokens=3000), timeout=120))

        def kill(_):
            wait_for(lambda: q.active() > 0, 10)
            os.kill(q.worker()["pid"], signal.SIGKILL)

        in_threads(2, lambda i: (ask, kill)[i](i))
        same([a.status for a in answers], [200], "a whole reply survives kill -9 of its worker: it is made again")


def kill9_many_streams():
    with Queen("--ctx", "65536") as q:
        works(q, "warm")
        streams = [iter(q.stream("/v1/completions", LONG)) for _ in range(12)]
        for s in streams:
            next(s)
        os.kill(q.worker()["pid"], signal.SIGKILL)
        ends = in_threads(12, lambda i: list(streams[i])[-1])
        same([isinstance(e, dict) and e.get("error", {}).get("code") for e in ends], ["worker_crashed"] * 12,
             "twelve streams of one worker all end with the error event")
        again = in_threads(12, lambda i: q.post("/v1/completions", SHORT).status)
        same(again, [200] * 12, "twelve requests at once after the crash all work")
        same(len(q.workers()), 1, "on one new worker")


def kill9_hive():
    with Queen("--ctx", "65536") as q:
        works(q, "a request works before the hive dies")
        s = iter(q.stream("/v1/completions", LONG))
        next(s)
        hive, worker = q.hive_pid(), q.worker()["pid"]
        os.kill(hive, signal.SIGKILL)
        t = time.monotonic()
        rest = list(s)
        ok(time.monotonic() - t < 3 * SLOW and isinstance(rest[-1], dict) and "error" in rest[-1],
           "kill -9 of the hive ends its streams with an error event within 3 s", rest[-1:])
        works(q, "the next request waits for the new hive and works")
        ok(wait_for(lambda: not alive(worker), 3), "the worker died with its hive")
        ok(q.hive_pid() not in (None, hive), "the queen has started a new hive")
        os.kill(q.hive_pid(), signal.SIGKILL)
        wait_for(lambda: not q.healthy(), 3)
        ok(wait_for(q.healthy, 10), "health comes back by itself")


def kill9_queen():
    q = Queen()
    works(q, "a request works before the queen dies")
    started = processes()
    same(len(started), 3, "queen, hive and worker run")
    q.process.kill()
    ok(all_gone(5), "kill -9 of the queen ends hive and worker", processes())
    q.stop()


def stops_clean(sig):
    q = Queen("--ctx", "65536")
    s = iter(q.stream("/v1/completions", LONG))
    next(s)
    t = time.monotonic()
    code = q.stop(sig)
    ok(code == 0 and time.monotonic() - t < 5 * SLOW, f"signal {sig} ends a busy queen with exit code 0", code)
    ok(all_gone(3), "and everything below it", processes())
    sockets = [f for _, _, fs in os.walk(f"{HOME}/.local") for f in fs if f.endswith(".sock")]
    same(sockets, [], "no socket file stays")


def unloading():
    with Queen("--keep-alive", "1s") as q:
        works(q, "a model loads")
        ok(wait_for(lambda: not q.workers(), 5), "an idle model unloads after its keep-alive", q.workers())
        works(q, "and loads again")
        q.post("/v1/completions", dict(SHORT, keep_alive="1h"))
        time.sleep(2.5)
        same(len(q.workers()), 1, "keep_alive of a request prolongs")
        q.post("/v1/completions", dict(SHORT, keep_alive=0))
        ok(wait_for(lambda: not q.workers(), 2), "keep_alive 0 unloads at once")
        q.post("/v1/completions", dict(SHORT, keep_alive=-1))
        time.sleep(2.5)
        same([w["expires_in_ms"] for w in q.workers()], [None], "keep_alive -1 keeps")
        r = q.post("/v1/completions", dict(SHORT, keep_alive="soon"))
        ok(r.status == 400 and "keep_alive" in r.error["message"], "a keep_alive that is no time is refused", r)
        works(q, "a second model loads beside it", "other")
        same(sorted(w["model"] for w in q.workers()), ["other", "tiny"], "both are listed")
        for w in q.workers():
            r = q.ask("DELETE", f"/v1/workers/{w['id']}")
            ok(r.status == 200 and not alive(w["pid"]), "DELETE of a worker returns when its process has gone", r)
        same(q.ask("DELETE", "/v1/workers/99").status, 404, "DELETE of no worker is 404")
        works(q, "and a request after it loads the model again")


def unload_under_load():
    with Queen("--ctx", "65536") as q:
        s = iter(q.stream("/v1/completions", LONG))
        next(s)
        wid = q.worker()["id"]
        same(q.ask("DELETE", f"/v1/workers/{wid}").status, 200, "a busy worker can be stopped")
        rest = list(s)
        ok(isinstance(rest[-1], dict) and "error" in rest[-1], "its stream ends with an error event", rest[-1:])
        codes = in_threads(8, lambda i: q.post("/v1/completions", dict(SHORT, keep_alive=0)).status)
        same(codes, [200] * 8, "requests that unload the model behind them do not hurt each other")


def several():
    with Queen() as a, Queen() as b:
        works(a, "one queen works")
        works(b, "so does a second one on another port")
        ok(a.worker()["pid"] != b.worker()["pid"], "each with its own worker")
        r = rbee("queen", "--port", str(a.port))
        same(r.code, 75, "a third one on a port in use ends with the code for it")
        ok(str(a.port) in r.err and "in use" in r.err, "and says so", r)
        ok(r.seconds < 3 * SLOW, "at once")
        r = rbee("serve", "--port", str(a.port))
        ok(r.code == 75 and "in use" in r.err and r.seconds < 5 * SLOW, "rbee serve says so too", r)
        works(a, "the first one is not disturbed")
    ok(all_gone(3), "both end with all they started", processes())
    with socket.socket() as busy:  # something else than rbee has the port
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        r = rbee("run", "tiny", "x", "--raw", "--port", str(port), timeout=40)
        ok(r.code in (69, 75) and "in use" in r.err, "rbee run names a port that something else has", r)
    ok(all_gone(3), "and leaves nothing running", processes())


def two_at_once():
    port = str(free_port())
    rs = in_threads(4, lambda i: rbee("run", "tiny", "x", "--raw", "--max-tokens", "2", "--port", port))
    same([r.code for r in rs], [0] * 4, "four `rbee run` at once share the queen that one of them starts")
    same(sum(" queen " in c for c in processes().values()), 1, "there is one queen")
    r = rbee("ps", "--json", "--port", port)
    holds(r.out, '"tiny"', "rbee ps lists the model")
    r = rbee("stop", "tiny", "--port", port)
    same((r.code, r.out), (0, "Unloaded 1 model.\n"), "rbee stop MODEL unloads it")
    same(rbee("stop", "tiny", "--port", port).code, 66, "a second time there is nothing to stop")
    r = rbee("stop", "--queen", "--port", port)
    same(r.code, 0, "rbee stop --queen ends the queen")
    ok(all_gone(1), "and returns when it is gone", processes())
    same(rbee("stop", "--queen", "--port", port).code, 69, "without a queen it says so")


def foreign_pages():
    with Queen() as q:
        r = q.post("/v1/shutdown", "", headers={"Origin": "http://evil.example"})
        same(r.status, 403, "a page of another site cannot end the queen")
        ok(q.healthy(), "it still runs")
        r = q.get("/v1/models", headers={"Host": "evil.example"})
        ok(r.status in (400, 403, 421), "a Host that is not this machine is refused (DNS rebinding)", r)
        same(q.get("/v1/models", headers={"Host": f"localhost:{q.port}"}).status, 200, "localhost is let in")


def tokens():
    r = rbee("queen", "--host", "0.0.0.0", "--port", "0")
    ok(r.code == 77 or r.code == 64, "off loopback without a token the queen refuses to start", r)
    holds(r.err, "token", "and says what it needs")
    with Queen("--host", "0.0.0.0", "--token", "s3cret", token="s3cret") as q:
        works(q, "with the token a request works")
        for bad in (None, "", "s3cre", "s3cret2", "S3CRET"):
            r = Http(q.port, token=bad).get("/v1/models")
            ok(r.status == 401 and r.error["code"] == "invalid_api_key", f"token {bad!r} is 401", r)
        same(Http(q.port).get("/v1/models", headers={"X-Api-Key": "s3cret"}).status, 200, "X-Api-Key works too")
        same(Http(q.port).get("/health").status, 200, "health needs none")
        for path in (f"{HOME}/models/tiny.gguf", "./tiny.gguf", "../models/tiny.gguf", "x/../../models/tiny.gguf",
                     "models/tiny.gguf"):
            r = q.post("/v1/completions", dict(SHORT, model=path))
            ok(r.status == 404, f"off loopback the path {path.replace(HOME, '~')} names no model", r)
            same(q.post("/v1/workers", {"model": path}).status, 404, "nor for loading")
        r = rbee("ps", "--port", str(q.port), "--token", "wrong")
        same(r.code, 77, "the command line with a wrong token ends with the code for it")


for sig in (signal.SIGTERM, signal.SIGINT):
    stops_clean(sig)
kill9_worker_in_stream()
kill9_many_streams()
kill9_hive()
kill9_queen()
unloading()
unload_under_load()
several()
two_at_once()
foreign_pages()
tokens()
done()
