#!/usr/bin/env python3
"""Hostile and careless peers: malformed requests to all three daemons, slow clients, clients that vanish."""
import json
import os
import random
import socket
import time

from _rbee import Http, Queen, SLOW, alive, done, holds, in_threads, make_model, ok, same, wait_for

make_model("tiny")
SHORT = {"model": "tiny", "prompt": "hello", "max_tokens": 4, "temperature": 0, "ignore_eos": True}
LONG = dict(SHORT, max_tokens=100000)


def request(head, body=b""):
    return head.replace("\n", "\r\n").encode() + b"\r\n" + body


# name, bytes, statuses that are right; the connection must end afterwards
RAW = [
    ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n", (400,)),
    ("bare line feeds", b"GET /health HTTP/1.1\nHost: localhost\n\n", (400,)),
    ("no Host", request("GET /health HTTP/1.1\n"), (400,)),
    ("two Hosts", request("GET /health HTTP/1.1\nHost: localhost\nHost: localhost\n"), (400,)),
    ("length and chunks", request("POST /v1/completions HTTP/1.1\nHost: localhost\nContent-Length: 4\n"
                                  "Transfer-Encoding: chunked\n", b"0\r\n\r\n"), (400,)),
    ("two lengths", request("POST /v1/completions HTTP/1.1\nHost: localhost\nContent-Length: 4\nContent-Length: 5\n",
                            b"abcde"), (400,)),
    ("a negative length", request("POST /v1/completions HTTP/1.1\nHost: localhost\nContent-Length: -1\n"), (400,)),
    ("a length beyond 64 bits", request("POST /v1/completions HTTP/1.1\nHost: localhost\n"
                                        "Content-Length: 99999999999999999999999\n"), (400, 413)),
    ("a length beyond the cap", request("POST /v1/completions HTTP/1.1\nHost: localhost\nContent-Length: 99999999999\n"),
     (413,)),
    ("a folded header", request("GET /health HTTP/1.1\nHost: localhost\nX-A: b\n c\n"), (400,)),
    ("a header of 1 MB", request("GET /health HTTP/1.1\nHost: localhost\nX-A: " + "b" * (1 << 20) + "\n"), (400, 413, 431)),
    ("a thousand headers", request("GET /health HTTP/1.1\nHost: localhost\n" + "".join(f"X-{i}: 1\n" for i in range(1000))),
     (400, 413, 431)),
    ("a target of 100 kB", request("GET /" + "a" * 100000 + " HTTP/1.1\nHost: localhost\n"), (400, 414, 413, 431)),
    ("a NUL in the target", b"GET /hea\0lth HTTP/1.1\r\nHost: localhost\r\n\r\n", (400,)),
    ("a NUL in a header", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", (400,)),
    ("dots in the path", request("GET /v1/../../etc/passwd HTTP/1.1\nHost: localhost\n"), (400, 404)),
    ("encoded dots", request("GET /workers/1/%2e%2e/%2e%2e/etc HTTP/1.1\nHost: localhost\n"), (400, 404)),
    ("HTTP/3.7", request("GET /health HTTP/3.7\nHost: localhost\n"), (400, 505)),
    ("an unknown coding", request("POST /v1/completions HTTP/1.1\nHost: localhost\nTransfer-Encoding: gzip\n"), (400, 501)),
    ("broken chunks", request("POST /v1/completions HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n",
                              b"zz\r\nabc\r\n0\r\n\r\n"), (400,)),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    ("CONNECT", request("CONNECT example.org:443 HTTP/1.1\nHost: example.org:443\n"), (400, 403, 404, 405, 421, 501)),
]

BODIES = [
    b"", b"{", b"null", b"true", b"12", b'"x"', b"[]", b"{}", b"\x00", b"\xff\xfe{\x00}\x00", b"{" * 5000, b'{"a":' * 5000,
    b'{"model":1}', b'{"model":null}', b'{"model":[]}', b'{"model":"\\u0000"}', b'{"model":"tiny\\u0000x","prompt":"a"}',
    b'{"model":"' + b"a" * 100000 + b'"}', b'{"model":"../../etc/passwd"}', b'{"model":"/etc/passwd"}', b'{"model":"/dev/zero"}',
    b'{"model":"tiny","model":"other"}', b'{"model":"tiny","prompt":1e999}', b'{"model":"tiny","prompt":{"a":1}}',
    b'{"model":"tiny","prompt":[[]]}', b'{"model":"tiny","prompt":[-1]}', b'{"model":"tiny","prompt":[1e10]}',
    b'{"model":"tiny","prompt":[9223372036854775807]}', b'{"model":"tiny","prompt":"\\ud800"}',
    b'{"model":"tiny","prompt":"x","max_tokens":9223372036854775808}', b'{"model":"tiny","prompt":"x","max_tokens":-5}',
    b'{"model":"tiny","prompt":"x","n":1e308}', b'{"model":"tiny","prompt":"x","temperature":-0.1}',
    b'{"model":"tiny","prompt":"x","stop":' + json.dumps(["a"] * 1000).encode() + b"}",
    b'{"model":"tiny","prompt":"x","stop":"' + b"s" * 100000 + b'"}', b'{"model":"tiny","prompt":"x","keep_alive":{}}',
    b'{"model":"tiny","prompt":"x","seed":-2}', b'{"model":"tiny","prompt":"x","logprobs":21}',
    b'{"model":"tiny","messages":[[]]}', b'{"model":"tiny","messages":[{"role":"user","content":[{"type":"image_url"}]}]}',
    b'{"model":"tiny","messages":[{"role":5,"content":"x"}]}', b'{"model":"tiny","messages":[{"role":"user","content":5}]}',
    b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"tools":5}',
]


def malformed(who, http, path):
    bad = []
    for name, data, right in RAW:
        got = http.raw(data.replace(b"/v1/completions", path), 1 * SLOW)
        status = int(got.split(b" ")[1]) if got.startswith(b"HTTP/1.1 ") else 0
        if status not in right:
            bad.append(f"{name}: {status}, not {right}: {got[:200]}")
    ok(not bad, f"{who}: {len(RAW)} malformed requests are refused", *bad)


def bodies(who, http, paths):
    bad = []
    for path in paths:
        for body in BODIES:
            if path.endswith("/workers") and b'{"model":"tiny",' in body:
                continue  # a good one, as far as this path goes
            if b"u0000x" in body and who != "queen":
                continue  # a worker has one model, whatever it is called
            r = http.post(path, body, headers={"Content-Type": "application/json"}, timeout=20)
            if not (400 <= r.status < 500 and r.error.get("message") and r.error.get("code")):
                bad.append(f"{path} {body[:80]}: {r}")
    ok(not bad, f"{who}: {len(BODIES)} hostile bodies to {len(paths)} paths get an error object", *bad[:4])


def noise(who, http):
    """Good requests with random damage: whatever comes back, the daemon stays."""
    rng = random.Random(1)
    good = request("POST /v1/completions HTTP/1.1\nHost: localhost\nContent-Type: application/json\nConnection: close\n"
                   f"Content-Length: {len(json.dumps(SHORT))}\n", json.dumps(SHORT).encode())
    for _ in range(120):
        data = bytearray(good)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(data))
            what = rng.random()
            if what < 0.5:
                data[at] = rng.randrange(256)
            elif what < 0.8:
                del data[at:at + rng.randint(1, 20)]
            else:
                data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 30)))
        http.raw(bytes(data), 0.05, half_close=rng.random() < 0.5)
    ok(http.get("/health").status == 200, f"{who}: answers after 120 damaged requests")


def daemons():
    with Queen() as q:
        same(q.post("/v1/completions", SHORT).status, 200, "the model is loaded")
        hive, worker = q.hive_http(), q.worker_http()
        pids = (q.process.pid, q.hive_pid(), q.worker()["pid"])
        wid = q.worker()["id"]
        chat = ["/v1/completions", "/v1/chat/completions"]
        for who, http in (("queen", q), ("hive", hive), ("worker", worker)):
            malformed(who, http, b"/v1/workers" if who == "hive" else b"/v1/completions")
            noise(who, http)
        bodies("queen", q, chat + ["/v1/workers"])
        bodies("hive", hive, ["/v1/workers"] + [f"/workers/{wid}{p}" for p in chat])
        bodies("worker", worker, chat)
        for path in ("/workers/0/x", "/workers/-1/x", "/workers/99999999999/x", f"/workers/{wid}x/health",
                     f"/workers/{wid}/nothing", "/workers//health"):
            r = hive.get(path)
            ok(400 <= r.status < 500, f"hive: {path} is {r.status}", r)
        same(q.post("/v1/workers", {"model": "tiny", "ctx": "--help"}).status, 200, "options of a loaded model have no effect")
        ok(all(map(alive, pids)), "the same queen, hive and worker run after all of it", pids)
        ok(wait_for(lambda: q.active() == 0, 5), "no slot stays taken", q.active())
        same(q.post("/v1/completions", SHORT).status, 200, "and a good request works")
        q.ask("DELETE", f"/v1/workers/{wid}")
        for key, value in (("ctx", "--help"), ("slots", 999), ("threads", 10 ** 9), ("backend", "../sh"),
                           ("kv_type", "; reboot"), ("batch", 10 ** 18)):
            r = q.post("/v1/workers", {"model": "tiny", key: value})
            ok(400 <= r.status < 500 and r.error.get("message"), f"a worker with {key} = {value!r} is refused", r)
        same(q.workers(), [], "and none of them runs")


def vanishing():
    with Queen("--ctx", "65536") as q:
        # during the load: the first request for a model, given up at once
        for _ in range(5):
            s = socket.create_connection(("127.0.0.1", q.port))
            body = json.dumps(LONG).encode()
            s.sendall(request(f"POST /v1/completions HTTP/1.1\nHost: localhost\nContent-Length: {len(body)}\n", body))
            s.close()
        same(q.post("/v1/completions", SHORT).status, 200, "clients that vanish while a model loads hurt nobody")
        ok(wait_for(lambda: q.active() == 0, 5), "their jobs are cancelled", q.active())

        def one(i):
            s = q.stream("/v1/completions", dict(LONG, prompt=f"client {i}"))
            events = iter(s)
            for _ in range(i % 4):
                next(events)
            s.reply.close()
            s.close()

        in_threads(24, one)
        ok(wait_for(lambda: q.active() == 0, 5), "24 streams that are left: every slot is free again", q.active())
        info = q.worker_http().get("/v1/info").json
        ok(info["kv_blocks_used"] == 0 and info["waiting"] == 0, "and their memory too", info)
        same(q.post("/v1/completions", SHORT).status, 200, "a good request works")


def slow():
    with Queen("--ctx", "65536") as q:
        same(q.post("/v1/completions", SHORT).status, 200, "the model is loaded")
        # A reader that takes nothing: memory stays bounded, others are served.
        body = json.dumps(dict(LONG, stream=True, logprobs=20, max_tokens=60000)).encode()
        readers = []
        for _ in range(3):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", q.port))
            s.sendall(request(f"POST /v1/completions HTTP/1.1\nHost: localhost\nContent-Length: {len(body)}\n", body))
            readers.append(s)
        writers = []
        for _ in range(20):  # heads that never end
            s = socket.create_connection(("127.0.0.1", q.port))
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: local")
            writers.append(s)
        time.sleep(3)
        t = time.monotonic()
        same(q.post("/v1/completions", SHORT).status, 200, "slow readers and writers do not hold up a good request")
        ok(time.monotonic() - t < 3 * SLOW, "it is served at once", time.monotonic() - t)
        rss = [int(line.split()[1]) for pid in (q.process.pid, q.hive_pid()) for line in open(f"/proc/{pid}/status")
               if line.startswith("VmRSS")]
        ok(max(rss) < 64 * 1024 * SLOW, "queen and hive hold little for them", rss)
        got = readers[0].recv(1000)
        holds(got.decode(), "200 OK", "a slow reader gets its stream when it reads")
        for s in readers:
            s.close()
        ok(wait_for(lambda: q.active() == 0, 8), "when they leave, their jobs end", q.active())
        # A head has 10 s.
        ends = []
        for s in writers:
            s.settimeout(14 * SLOW)
            try:
                ends.append(s.recv(1000))
            except OSError as e:
                ends.append(e)
        ok(all(isinstance(e, bytes) and (e == b"" or b" 408 " in e) for e in ends), "heads that never end are cut off", ends[:2])


def silence():
    """A stream that waits for its turn is told every 10 s that somebody is there."""
    with Queen("--ctx", "65536", "--slots", "1") as q:
        same(q.post("/v1/completions", SHORT).status, 200, "the model is loaded")
        first = iter(q.stream("/v1/completions", LONG))
        next(first)
        t = time.monotonic()
        second = q.stream("/v1/completions", SHORT, timeout=30)
        line = next(second.lines())
        took = time.monotonic() - t
        if line.startswith(b"data"):
            ok(took < 10, "the queue was over before ten seconds were", took)
        else:
            ok(line.startswith(b":") and 9 < took < 14 * SLOW, "a silent stream gets a comment after 10 s", line, took)
        second.close()


daemons()
vanishing()
slow()
silence()
done()
