#!/usr/bin/env python3
"""GET /v1/machine of a hive: what the worker says of itself and was measured at, asked once and kept, never on the loop."""
import json
import os
import signal
import subprocess
import threading
import time

from _rbee import HOME, RBEE, SLOW, UnixConnection, WORKER, all_gone, done, env, ok, same, start, wait_for

SOCK = f"{HOME}/hive.sock"
LOG = f"{HOME}/asked"
FAKE = f"{HOME}/worker"
STATE = f"{HOME}/.local/share/rbee"
CAPS = subprocess.run([WORKER, "--capabilities"], capture_output=True, text=True, check=True).stdout
RATES = {"threads": 2, "bandwidth": 2e10, "step": 1e-6, "decode": {"q4_K": 4e10}, "prefill": {}, "quiet": 1}


def fake(caps="cat caps", measure="cat rates"):
    """A worker that says what it was asked and then does as told."""
    with open(FAKE + ".new", "w") as f:
        f.write(f"#!/bin/sh\ncd {HOME}\necho $1 >> {LOG}\ncase $1 in\n--capabilities) {caps};;\n--measure) {measure};;\nesac\n")
    os.chmod(FAKE + ".new", 0o755)
    os.rename(FAKE + ".new", FAKE)
    open(LOG, "w").close()


def asked():
    with open(LOG) as f:
        lines = f.read().split()
    return lines.count("--capabilities"), lines.count("--measure")


def get(query="", path="/v1/machine"):
    c = UnixConnection(SOCK, 60 * SLOW)
    c.request("GET", path + query)
    r = c.getresponse()
    body = r.read()
    c.close()
    return r.status, json.loads(body)


def hive(worker):
    p = start([RBEE, "hive", "--listen", f"unix:{SOCK}", "--worker", worker, "--log-level", "error"],
              env=env(RBEE_THREADS=None), stdout=subprocess.PIPE, text=True)
    p.stdout.readline()
    return p


def stop(p):
    t = time.monotonic()
    p.send_signal(signal.SIGTERM)
    p.wait(20 * SLOW)
    return time.monotonic() - t


with open(f"{HOME}/caps", "w") as f:
    f.write(CAPS)
with open(f"{HOME}/rates", "w") as f:
    json.dump(RATES, f)

# ---- the real worker ----
p = hive(WORKER)
status, m = get("?measure=no")
same(status, 200, "the machine is described")
d = m["devices"][0]
same([d["id"], d["backend"], d["worker"], d["rates"]], ["cpu", "cpu", "llm-worker-rbee-cpu", None],
     "its device, before anything was measured")
ok(0 < d["memory_available"] <= d["memory_total"] and d["threads"] >= 1, "memory and threads", d)
same([m["os"], m["arch"]], [os.uname().sysname.lower(), os.uname().machine], "system and processor")
same(m["workers"], [json.loads(CAPS)], "the worker's capabilities are its own words")
status, m = get()
rates = m["devices"][0]["rates"]
ok(status == 200 and rates["bandwidth"] > 1e8 and rates["threads"] == d["threads"], "and then what it was measured at", m["devices"])
be = json.loads(CAPS)["backends"][0]
ok(all(rates[k].get(t, 0) > 0 for k in ("decode", "prefill") for t in be["dtypes"]), "each type of weights", rates)
ok(all(rates[k].get(t, 0) > 0 for k in ("cache", "attend") for t in be["kv_types"]), "each type of cache", rates)
ok(0 < rates["quiet"] <= 1 and rates["step"] >= 0, "what a step costs, and how quiet it was", rates)
r = subprocess.run([WORKER, "--measure", "--threads=1"], capture_output=True, text=True)
ok(r.returncode == 0 and json.loads(r.stdout)["threads"] == 1, "the worker says it itself", r)
r = subprocess.run([WORKER, "--measure", "--threads=x"], capture_output=True, text=True)
ok(r.returncode == 64 and "threads" in r.stderr and not r.stdout, "a wrong option is refused", r)
stop(p)

# ---- asked once, kept ----
fake()
p = hive(FAKE)
same(get()[1]["devices"][0]["rates"], RATES, "rates as the worker gives them")
for _ in range(5):
    get()
    get("?measure=no")
same(asked(), (1, 1), "asked once")
get("?measure=again")
same(asked(), (1, 2), "again when told")
stop(p)
p = hive(FAKE)
same(get()[1]["devices"][0]["rates"], RATES, "kept over a restart")
same(asked(), (1, 2), "without asking")
fake(measure="cat rates; true")
get()
same(asked(), (1, 1), "another worker is asked again")
files = [f for f in os.listdir(STATE) if f.startswith("machine-") and f.endswith(".json")]
same(len(files), 2, "one file a worker")
for name in files:
    with open(f"{STATE}/{name}", "w") as f:
        f.write('{"key": [')
same(get()[1]["devices"][0]["rates"], RATES, "a broken file is made anew")
same(asked(), (2, 2), "by asking")

# ---- slow, failing ----
fake(measure="sleep 2; cat rates")
got = []
threads = [threading.Thread(target=lambda: got.append(get())) for _ in range(3)]
for t in threads:
    t.start()
time.sleep(0.5)
t = time.monotonic()
same(get(path="/health")[0], 200, "health answers while it is measured")
same(get("?measure=no")[1]["devices"][0]["rates"], None, "so does who does not wait")
ok(time.monotonic() - t < 1.2 * SLOW, "at once", time.monotonic() - t)
for t in threads:
    t.join()
same([g[1]["devices"][0]["rates"] for g in got], [RATES] * 3, "who waits gets it")
same(asked()[1], 1, "measured once for all")
fake(measure="echo no; exit 1")
status, m = get()
ok(status == 200 and m["devices"][0]["rates"] is None and m["workers"], "a worker that cannot measure is still described", m)
fake(caps="echo '{}'; exit 3")
status, m = get()
ok(status == 503 and m["error"]["code"] == "unavailable" and "--capabilities" in m["error"]["message"],
   "one that does not say what it can run is an error", m)
os.unlink(FAKE)
status, m = get()
ok(status >= 400 and FAKE in m["error"]["message"], "one that is not there as well", m)
fake(measure="exec sleep 30")
late = threading.Thread(target=lambda: got.append(None if get() else None), daemon=True)
threading.excepthook = lambda *_: None
late.start()
wait_for(lambda: asked()[1] == 1)
ok(stop(p) < 5 * SLOW, "a hive that ends does not wait for a measurement")
ok(all_gone(), "nothing is left running")
done()
