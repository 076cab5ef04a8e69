"""What the verdict predicts, against what happens: memory and tokens a second of the CPU worker.

A case is a shape, a type of weights, a context, a number of slots and a type of cache. Its model is made with
random weights, judged (bench_fit), served by one worker, and asked: all slots at once are filled to the end of
their context, so that every block of the cache and every weight is touched; the peak of the resident set is then
what it took. Speeds are taken from one sequence that is half a context long, as the verdict states them. The
worker measures its kernels (--measure) right before, since a shared machine changes its pace by the minute.
"""
import http.client
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("RBEE_BUILD", f"{ROOT}/build/release")
WORKER = f"{BUILD}/bin/llm-worker-rbee-cpu"
MODELS = os.environ.get("RBEE_BENCH_MODELS", f"{ROOT}/build/bench")
MIB = 2**20
BOUND_MEMORY = 0.02, 64 * MIB  # whichever is more
BOUND_SPEED = 0.20

VOCAB = {"qwen2-0.5b": 151936, "llama-3.2-1b": 128256, "granite-1b-a400m": 49155, "qwen3-1.7b": 151936,
         "qwen3-4b": 151936, "llama-2-7b": 32000, "mistral-7b": 32000, "olmoe-1b-7b": 50304}
# shape, type, context, slots, cache
MEMORY = [
    ("qwen2-0.5b", "F16", 1024, 8, "f16"),
    ("qwen2-0.5b", "Q8_0", 4096, 16, "f16"),
    ("llama-3.2-1b", "Q4_K_M", 2048, 4, "f16"),
    ("llama-3.2-1b", "IQ4_XS", 4096, 1, "q8_0"),
    ("granite-1b-a400m", "MXFP4_MOE", 4096, 2, "f16"),
    ("qwen3-1.7b", "Q6_K", 2048, 2, "f32"),
    ("qwen3-1.7b", "Q2_K", 1024, 4, "q4_0"),
    ("qwen3-4b", "Q5_K_M", 1024, 2, "f16"),
    ("llama-2-7b", "Q4_K_M", 1024, 1, "f16"),
    ("olmoe-1b-7b", "MXFP4_MOE", 1024, 2, "f16"),
]
# shape, type, context: decode at half of it, prefill of as much
SPEED = [
    ("qwen2-0.5b", "F16", 1024),
    ("qwen2-0.5b", "Q8_0", 1024),
    ("llama-3.2-1b", "Q4_K_M", 1024),
    ("llama-3.2-1b", "IQ4_XS", 4096),
    ("granite-1b-a400m", "MXFP4_MOE", 1024),
    ("qwen3-1.7b", "Q6_K", 1024),
    ("qwen3-1.7b", "Q2_K", 1024),
    ("qwen3-4b", "Q5_K_M", 512),
    ("llama-2-7b", "Q4_K_M", 1024),
    ("olmoe-1b-7b", "MXFP4_MOE", 1024),
]


def model(shape, dtype):
    path = f"{MODELS}/{shape}-{dtype}.gguf"
    if not os.path.exists(path):
        os.makedirs(MODELS, exist_ok=True)
        subprocess.run([f"{BUILD}/tools/mkmodel", shape, dtype, path + ".part"], check=True, stdout=subprocess.DEVNULL)
        os.rename(path + ".part", path)
    with open(path, "rb") as f:  # into the page cache
        while f.read(1 << 24):
            pass
    return path


def ask_worker(*args):
    return json.loads(subprocess.run([WORKER, *args], check=True, capture_output=True, text=True).stdout)


def machine(threads, rates):
    """A description as a hive gives it, in a file."""
    caps = ask_worker("--capabilities")
    device = {"id": "cpu", "backend": caps["backends"][0]["name"], "worker": caps["id"], "memory_total": 2**50,
              "memory_available": 2**50, "threads": threads, "rates": rates}
    path = f"{MODELS}/machine.json"
    os.makedirs(MODELS, exist_ok=True)
    with open(path, "w") as f:
        json.dump({"name": "this machine", "os": "", "arch": "", "cpu": "", "devices": [device], "workers": [caps]}, f)
    return path


def verdict(path, described, ctx, slots, kv):
    out = subprocess.run([f"{BUILD}/bench/bench_fit", path, described, str(ctx), str(slots), kv], check=True,
                         capture_output=True, text=True).stdout
    v = json.loads(out)
    if not v["compatible"]:
        sys.exit(f"{path}: {v['reasons']}")
    return v


class Served:
    def __init__(self, path, ctx, slots, kv, threads):
        self.p = subprocess.Popen([WORKER, "serve", "--model", path, "--listen", "127.0.0.1:0", "--log-level", "error",
                                   "--ctx", str(ctx), "--slots", str(slots), "--kv-type", kv, "--threads",
                                   str(threads)], stdout=subprocess.PIPE, text=True)
        ready = json.loads(self.p.stdout.readline())
        if not ready.get("ready"):
            sys.exit(f"{path}: {ready}")
        self.port, self.info = ready["port"], ready["info"]

    def complete(self, ids, n):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3600)
        c.request("POST", "/v1/completions", json.dumps({"model": "m", "prompt": ids, "max_tokens": n, "temperature": 0,
                                                          "ignore_eos": True}), {"Content-Type": "application/json"})
        reply = json.loads(c.getresponse().read())
        c.close()
        if "timings" not in reply:
            sys.exit(f"no timings in {str(reply)[:500]}")
        return reply["timings"]

    def peak(self):
        with open(f"/proc/{self.p.pid}/status") as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1)) * 1024

    def close(self):
        self.p.send_signal(signal.SIGTERM)
        self.p.wait(30)


def fill(served, ctx, slots, vocab):
    """Every slot to the end of its context, all at the same time, and the whole vocabulary: rows of the embedding
    that no token names are not read."""
    failed = []
    every = [3 + i * (vocab - 3) // (slots * (ctx - 8)) for i in range(slots * (ctx - 8))]
    random.Random(1).shuffle(every)

    def one(k):
        ids = every[k * (ctx - 8):(k + 1) * (ctx - 8)]
        try:
            served.complete(ids, 8)
        except BaseException as x:
            failed.append(x)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(slots)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]


def memory(args, cases):
    described = machine(args.threads, None)
    print(f"memory of the worker, {args.threads} threads, all slots filled (MiB)")
    print(f"{'model':18} {'weights':10} {'context':>7} {'slots':>5} {'cache':5} {'predicted':>10} {'measured':>9} "
          f"{'off by':>8}  {'bound':>5}")
    worst = 0
    for shape, dtype, ctx, slots, kv in cases:
        path = model(shape, dtype)
        want = verdict(path, described, ctx, slots, kv)["memory"]["total"]
        w = Served(path, ctx, slots, kv, args.threads)
        fill(w, ctx, slots, VOCAB[shape])
        got = w.peak()
        w.close()
        bound = max(BOUND_MEMORY[0] * got, BOUND_MEMORY[1])
        worst = max(worst, abs(want - got) / bound)
        print(f"{shape:18} {dtype:10} {ctx:7} {slots:5} {kv:5} {want / MIB:10.1f} {got / MIB:9.1f} "
              f"{(want - got) / MIB:+8.1f}  {bound / MIB:5.0f}{'' if abs(want - got) <= bound else '  OUT'}", flush=True)
        if not args.keep:
            os.unlink(path)
    print(f"the furthest off is at {100 * worst:.0f} % of its bound")


def speed(args, cases):
    print(f"tokens a second, {args.threads} threads: one sequence, half a context long")
    print(f"{'model':18} {'weights':10} {'context':>7} {'decode':>8} {'measured':>9} {'ratio':>6} {'prefill':>9} "
          f"{'measured':>9} {'ratio':>6}")
    ratios = []
    for shape, dtype, ctx in cases:
        path = model(shape, dtype)
        w = Served(path, ctx, 1, "f16", args.threads)
        rng, gen = random.Random(1), args.gen
        ids = [rng.randrange(3, VOCAB[shape]) for _ in range(ctx)]
        w.complete(ids[:min(512, ctx - 10)], 8)  # what is not in memory yet comes in
        found = []
        for i in range(args.rounds):
            rates = ask_worker("--measure", f"--threads={args.threads}")
            v = verdict(path, machine(args.threads, rates), ctx, 1, "f16")
            rng.shuffle(ids)
            pre = w.complete(ids[:min(512, ctx - 2)], 1)
            rng.shuffle(ids)
            dec = w.complete(ids[:ctx // 2 - gen // 2], gen)
            found.append((v["decode_tokens_per_s"], dec["predicted_per_second"], v["prefill_tokens_per_s"],
                          pre["prompt_per_second"]))
        w.close()
        d, dm, p, pm = (statistics.median(x[k] for x in found) for k in range(4))
        rd = statistics.median(x[0] / x[1] for x in found)
        rp = statistics.median(x[2] / x[3] for x in found)
        ratios.append(rd)
        print(f"{shape:18} {dtype:10} {ctx:7} {d:8.1f} {dm:9.1f} {rd:6.2f} {p:9.1f} {pm:9.1f} {rp:6.2f}", flush=True)
        if not args.keep:
            os.unlink(path)
    out = sum(abs(r - 1) > BOUND_SPEED for r in ratios)
    print(f"decode within {100 * BOUND_SPEED:.0f} % in {len(ratios) - out} of {len(ratios)} cases")


def run(args):
    pick = [c for c in MEMORY if not args.cases or any(x in f"{c[0]}-{c[1]}" for x in args.cases.split(","))]
    if args.fit in ("memory", "both"):
        memory(args, pick)
        print()
    pick = [c for c in SPEED if not args.cases or any(x in f"{c[0]}-{c[1]}" for x in args.cases.split(","))]
    if args.fit in ("speed", "both"):
        speed(args, pick)
