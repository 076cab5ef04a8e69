"""What machines and workers there are, over HTTP: hives, the catalogue of workers, the matrix."""
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import time

from _rbee import HOME, SLOW, WORKER, Queen, done, env, holds, in_threads, ok, same, skip, wait_for

CAPS = json.loads(subprocess.run([WORKER, "--capabilities"], capture_output=True, check=True).stdout)


def hives(q):
    h = q.get("/v1/hives?measure=no").json["hives"]
    same([(x["id"], x["state"]) for x in h], [("local", "ready")], "one hive, the embedded one")
    d = h[0]["devices"][0]
    ok(d["id"] == "cpu" and 0 < d["memory_available"] <= d["memory_total"] and d["worker"] == CAPS["id"],
       "its device, with memory and the worker for it", d)
    same(h[0]["workers"][0]["families"], CAPS["families"], "what the worker can do is what it says")
    d = wait_for(lambda: next((d for d in q.get("/v1/hives").json["hives"][0]["devices"] if d["rates"]), None), 40 / SLOW)
    if d or SLOW == 1:
        ok(d and d["rates"]["bandwidth"] > 1e8, "rates, once they are measured", d)
    else:
        skip("a worker with a sanitizer is not measured in time")
    same(q.get("/v1/hives?measure=later").status, 400, "a parameter that means nothing")


def workers(q):
    all_ = q.get("/workers").json["workers"]
    same([w["id"] for w in all_], ["llm-worker-rbee-cpu"], "only workers that exist are listed")
    w = q.get("/workers/llm-worker-rbee-cpu").json
    same(w, all_[0], "one of them is the same entry")
    same(w["supported_parameters"], CAPS["supported_parameters"], "parameters with min, max, default")
    same(sorted(w["supported_architectures"]), sorted(f["name"] for f in CAPS["families"]), "architectures")
    ok(w["pure_backend"] is True and w["supports_offloading"] is False, "pure, nothing offloaded")
    r = q.get("/workers/sd-worker-rbee-cpu")
    ok(r.status == 404 and r.error["code"] == "not_found", "a worker that does not exist", r)
    for query, n in (("worker_type=cpu", 1), ("workerType=cuda", 0), ("platform=linux", 1), ("platform=macos", 0),
                     ("architecture=x86_64", 1), ("min_context_length=32768", 1),
                     ("minContextLength=100000000", 0), ("model_architecture=Qwen3ForCausalLM", 1),
                     ("modelArchitecture=stable-diffusion", 0), ("model_format=gguf&model_architecture=llama", 1),
                     ("model_format=pytorch", 0), ("model%5Fformat=safe%74ensors", 1)):
        same(len(q.get(f"/workers?{query}").json["workers"]), n, f"{query}: {n}")
    for query in ("type=cpu", "min_context_length=8k", "platform=%zz", "platform=%00"):
        same(q.get(f"/workers?{query}").status, 400, f"{query} is refused")


def matrix(q):
    rows = q.get("/compatibility").json["rows"]
    ok(len(rows) > 3000 and all(r["worker"] == CAPS["id"] for r in rows), f"the matrix has {len(rows)} rows")
    text = q.get("/compatibility", headers={"Accept": "text/csv"})
    holds(text.headers["Content-Type"], "text/csv", "CSV by the Accept header")
    table = list(csv.DictReader(io.StringIO(text.body.decode())))
    same([(r["architecture"], r["format"], r["quantization"], r["confidence"]) for r in table],
         [(r["architecture"], r["format"], r["quantization"], r["confidence"]) for r in rows], "the same rows as CSV")
    same(q.get("/compatibility?format=csv").body, text.body, "CSV by the query")
    same(q.get("/compatibility", headers={"Accept": "text/csv;q=0.2, application/json"}).headers["Content-Type"],
         "application/json", "what the client likes better")
    one = q.get("/compatibility?model_architecture=llama&model_format=gguf&quantization=Q4_K_M").json["rows"]
    same([(r["compatible"], r["confidence"]) for r in one], [(True, "high")], "one cell")
    named = {r["format"] for r in q.get("/compatibility").json["rows"] if not r["compatible"]}
    ok({"gptq", "awq", "pytorch", "onnx", "mlx"} <= named, "formats that do not run are named", named)
    ok(all(r["compatible"] for r in q.get("/compatibility?compatible=true").json["rows"]), "only what runs")
    for query in ("format=xml", "arch=llama", "compatible=1"):
        same(q.get(f"/compatibility?{query}").status, 400, f"{query} is refused")


def locks():
    with Queen("--token", "secret") as q:
        for path in ("/workers", "/workers/x", "/compatibility", "/v1/hives"):
            same(q.get(path).status, 401, f"{path} needs the token")
        same(q.get("/workers", headers={"Authorization": "Bearer secret"}).status, 200, "and is open with it")
    with Queen() as q:
        same(q.get("/workers", headers={"Host": "evil.example"}).status, 403, "a name that is not ours")


def slow_hive():
    """A worker that takes its time: whoever waits blocks nobody, and may go away."""
    folder = f"{HOME}/slow"
    os.makedirs(folder, exist_ok=True)
    fake = f"{folder}/llm-worker-rbee-cpu"
    with open(fake, "w") as f:
        f.write(f'#!/bin/sh\ncase "$*" in *capabilities*) sleep 3;; esac\nexec {WORKER} "$@"\n')
    os.chmod(fake, 0o755)
    with Queen("--worker", fake, env_=env(XDG_DATA_HOME=f"{HOME}/slow-state")) as q:
        t = time.monotonic()
        first = []

        def ask(i):
            if i < 4:
                return q.get("/workers").status
            if i == 4:
                c, = [q.connection(1)]
                c.request("GET", "/v1/hives?measure=no")
                c.close()  # went away
                return 200
            time.sleep(0.3)
            first.append(time.monotonic())
            s = q.get("/health").status
            first.append(time.monotonic())
            return s

        same(in_threads(6, ask), [200] * 6, "several wait for a slow worker, one goes away")
        ok(first[1] - first[0] < 0.5, f"the queen answers meanwhile ({first[1] - first[0]:.3f} s)")
        ok(time.monotonic() - t > 2, "and they did wait")


def lost_hive(q):
    before = q.get("/workers").json
    os.kill(q.hive_pid(), signal.SIGSTOP)
    pid = q.hive_pid()
    ok(wait_for(lambda: q.get("/health").status == 503, 10), "a hive that hangs is lost")
    os.kill(pid, signal.SIGCONT)
    ok(wait_for(q.healthy, 10), "and found again")
    os.kill(pid, signal.SIGKILL)
    r = q.get("/v1/hives?measure=no", timeout=30)
    ok(r.status == 200 and r.json["hives"][0]["state"] == "ready", "who asks while it restarts gets the new one's answer", r)
    same(q.get("/workers", timeout=30).json, before, "workers after the restart")


with Queen() as queen:
    hives(queen)
    workers(queen)
    matrix(queen)
    lost_hive(queen)
locks()
slow_hive()
shutil.rmtree(f"{HOME}/slow", ignore_errors=True)
done()
