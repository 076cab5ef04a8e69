#!/usr/bin/env python3
"""rbee pull against a hub that misbehaves: broken answers, redirections, full disks, kills at any moment.

The hub is that of _hub.py, which redirects files to a second origin as the Hub does to its CDN and has a switch
for each fault.
"""
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

from _hub import TOKEN, Hub, llama_folder, split
from _rbee import DATA, HOME, RBEE, SLOW, done, env, holds, make_model, ok, rbee, same, skip, start, wait_for
from _tty import on_tty

OWN = f"{HOME}/pulled"
HEADERS = f"{HOME}/.local/share/rbee/hub"


def read(path):
    with open(path, "rb") as f:
        return f.read()


def big_model(mib):
    """A GGUF file that runs, with bytes behind its tensors that make it as large as is wanted."""
    data = read(make_model("tiny"))
    return data + random.Random(mib).randbytes(mib << 20)


hub = Hub()
F, seen, sent, repos = hub.faults, hub.seen, hub.sent, hub.repos


def settings(**more):
    """Nothing of the caller's own Hub settings gets in."""
    given = dict(RBEE_MODELS=OWN, RBEE_HUB_URL=hub.url, HF_TOKEN=None, HF_HOME=None,
                 HF_TOKEN_PATH=None, HF_ENDPOINT=None)
    given.update(more)
    return env(**given)


def pull(*args, timeout=60, **more):
    return rbee("pull", *args, env_=settings(**more), timeout=timeout)


def fresh():
    hub.clear()
    shutil.rmtree(OWN, ignore_errors=True)


def left(below=OWN):
    """Every file in the store, hidden ones too."""
    return sorted(os.path.relpath(f"{d}/{f}", below) for d, _, fs in os.walk(below) for f in fs)


def arrived(repo, name):
    path = f"{OWN}/{repo}/{name}"
    return os.path.exists(path) and read(path) == repos[repo][name]


BIG = "acme/Big-GGUF"
BIGFILE = "big-Q4_K_M.gguf"


def choices():
    fresh()
    r = pull("acme/Tiny-GGUF")
    ok(r.code == 0 and arrived("acme/Tiny-GGUF", "tiny-Q4_K_M.gguf"), "without a word it takes Q4_K_M", r)
    holds(r.out, "the usual choice of 3", "and says why")
    same(left(), ["acme/Tiny-GGUF/tiny-Q4_K_M.gguf"], "nothing else lies there")
    r = pull("hf.co/acme/Tiny-GGUF:q8_0")
    ok(r.code == 0 and arrived("acme/Tiny-GGUF", "sub/tiny-Q8_0.gguf"), "a quantisation, spelt as people do", r)
    r = pull("https://huggingface.co/acme/Tiny-GGUF/blob/main/tiny-F16.gguf")
    ok(r.code == 0 and arrived("acme/Tiny-GGUF", "tiny-F16.gguf"), "the address of a file's page", r)
    r = pull("acme/Tiny-GGUF:Q2_K")
    ok(r.code == 66 and "Q8_0" in r.err and "Q4_K_M" in r.err, "a quantisation that is not there: those that are", r)
    r = pull("acme/Nothing:Q4_K_M")
    ok(r.code == 77 and "HF_TOKEN" in r.err, "a repository that is not there", r)
    for bad in ("tiny", "acme/../x", "acme/x:../y", "a/b/c", "acme/x:", "/etc/passwd", "acme/.x"):
        r = pull(bad)
        ok(r.code == 64 and "ORG/REPO" in r.err, f"'{bad}' names nothing", r)
    before = sent[0]
    r = pull("acme/Tiny-GGUF:Q8_0")
    ok(r.code == 0 and sent[0] - before <= 1 << 20, "what is here is checked, not fetched again", r, sent[0] - before)


def usable():
    m = json.loads(rbee("ls", "--json", env_=settings()).out)
    ok(any(x["name"] == "acme/Tiny-GGUF/tiny-Q4_K_M" and x["runnable"] for x in m), "rbee ls has it", m)
    for name, file in (("acme/Tiny-GGUF:Q4_K_M", "tiny-Q4_K_M.gguf"), ("acme/Tiny-GGUF:q8_0", "sub/tiny-Q8_0.gguf"),
                       ("acme/Tiny-GGUF", "tiny-Q4_K_M.gguf"), ("hf.co/acme/Tiny-GGUF:tiny-F16.gguf", "tiny-F16.gguf")):
        s = json.loads(rbee("show", name, "--json", env_=settings()).out or "{}")
        same(s.get("path"), os.path.realpath(f"{OWN}/acme/Tiny-GGUF/{file}"), f"{name} is found by that name")
    r = rbee("show", "acme/Tiny-GGUF:Q2_K", env_=settings())
    ok(r.code == 66 and "Q8_0" in r.err, "one that was not fetched is not", r)
    r = rbee("run", "acme/Tiny-GGUF:Q4_K_M", "once", "--raw", "--max-tokens", "4", env_=settings())
    ok(r.code == 0 and r.out.strip(), "rbee run ORG/REPO:QUANT answers", r)
    rbee("stop", "--queen", env_=settings())


def refusals():
    fresh()
    r = pull("acme/Strange-GGUF")
    ok(r.code == 69 and "mrtan" in r.err and "--force" in r.err, "an architecture nobody knows is refused by name", r)
    same(left(), [], "before a byte of it lies in the store")
    ok(sent[0] < (2 << 20) + 4096, f"or more than its header was fetched ({sent[0]} bytes)")
    r = pull("acme/Strange-GGUF", "--force")
    ok(r.code == 0 and arrived("acme/Strange-GGUF", "strange-Q4_K_M.gguf"), "--force keeps it", r)
    ok("does not run here" in r.out and "rbee run" not in r.out, "and does not say to run it", r)
    r = pull("acme/Pickle")
    ok(r.code == 69 and "pytorch" in r.err.lower(), "a repository of another format, by its name", r)
    r = pull("acme/Config-only")
    ok(r.code == 69 and "no weights" in r.err, "one without weights", r)
    r = pull("acme/Martian-ST")
    ok(r.code == 69 and "MartianForCausalLM" in r.err, "SafeTensors of an architecture nobody knows", r)
    ok(not any("safetensors" in p for p, _, _ in seen["cdn"]), "refused by config.json alone")
    fresh()
    r = pull("acme/Int8-ST")
    ok(r.code == 69 and "stored as I16" in r.err and "q_proj" in r.err, "SafeTensors of a type that is not read, by its tensor", r)
    r = pull("acme/Missing-ST")
    ok(r.code != 0 and "--force" in r.err and "blk.2." in r.err, "and without a tensor that the model needs", r)
    r = pull("acme/Garbage-ST")
    ok(r.code == 65 and "model-00002-of-00002.safetensors" in r.err, "and with a header that is none, by its file", r)
    r = pull("acme/Noindex-ST")
    ok(r.code == 69 and "index" in r.err, "and in parts that no index lists", r)
    r = pull("acme/Wordless-ST")
    ok(r.code == 69 and "tokenizer.json" in r.err, "and without a tokenizer", r)
    same(left(), [], "all before a byte lies in the store")
    r = pull("acme/Tiny-GGUF", "--context", "300000000000")
    ok(r.code == 64 and "context" in r.err, "a context that is none", r)
    F.clear()
    r = pull("acme/Climber-GGUF", "--dry-run")
    ok(r.code == 69 and "no weights" in r.err and not os.path.exists(f"{HOME}/evil.gguf"),
       "names that climb out of the store are no files", r)
    for url in ("http://example.com", "ftp://127.0.0.1", "https://user@huggingface.co", "nonsense"):
        r = rbee("pull", "acme/Tiny-GGUF", env_={**settings(), "RBEE_HUB_URL": url})
        ok(r.code == 64 and url in r.err, f"{url} is no hub", r)


def headers():
    """What was read of a header is kept, and nothing that is kept is believed."""
    fresh()
    shutil.rmtree(HEADERS, ignore_errors=True)
    asked = lambda: [r for p, _, r in seen["cdn"] if BIGFILE in p]
    r = pull(BIG, "--dry-run")
    ok(r.code == 0 and len(asked()) == 1 and sent[0] <= 1 << 20, "a header is read by range", r, asked())
    kept = left(HEADERS)
    ok(len(kept) == 1 and os.path.getsize(f"{HEADERS}/{kept[0]}") < 1 << 20, "and kept, without the weights behind it", kept)
    first = r.out
    r = pull(BIG, "--dry-run")
    ok(r.code == 0 and len(asked()) == 1 and r.out == first, "a second look reads nothing and says the same", r, asked())
    data = read(f"{HEADERS}/{kept[0]}")
    for what, bad in (("a byte of it", data[:-9] + b"\xff" + data[-8:]), ("its length", data[:200]), ("all of it", b"GGUF"), ("nothing left", b"")):
        with open(f"{HEADERS}/{kept[0]}", "wb") as f:
            f.write(bad)
        n = len(asked())
        r = pull(BIG, "--dry-run")
        ok(r.code == 0 and len(asked()) == n + 1 and r.out == first, f"damaged ({what}): read anew", r)
        same(read(f"{HEADERS}/{kept[0]}"), data, "and kept as before")
    repos[BIG], old = {BIGFILE: repos[BIG][BIGFILE] + b"more"}, repos[BIG]
    n = len(asked())
    r = pull(BIG, "--dry-run")
    ok(r.code == 0 and len(asked()) == n + 1, "of a file of another size nothing is believed", r)
    repos[BIG] = old
    n = len(asked())
    with open(f"{HOME}/no-folder", "w") as f:
        f.write("x")
    r = pull(BIG, "--dry-run", XDG_DATA_HOME=f"{HOME}/no-folder")
    ok(r.code == 0 and len(asked()) == n + 1, "without a place for the cache it works as well", r)
    F.rate = int((2 << 20) / SLOW)
    n = len(asked())
    p = start([RBEE, "pull", BIG], env=settings(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_for(lambda: any(f.endswith(".part.todo") for f in left()), 20)
    p.send_signal(signal.SIGINT)
    p.wait(20 * SLOW)
    F.clear()
    r = pull(BIG)
    ok(r.code == 0 and arrived(BIG, BIGFILE) and asked()[n:].count("bytes=0-1048575") <= 2,
       "interrupted, it goes on without reading the header again", r, asked()[n:])


def sets():
    fresh()
    r = pull("acme/Split-GGUF")
    names = [n for n in repos["acme/Split-GGUF"]]
    ok(r.code == 0 and all(arrived("acme/Split-GGUF", n) for n in names), "the parts of a split model come together", r)
    s = json.loads(rbee("show", "acme/Split-GGUF:Q4_0", "--json", env_=settings()).out or "{}")
    ok(s.get("runs"), "and run", s)
    r = pull("acme/Torn-GGUF")
    ok(r.code == 65 and "--force" in r.err, "a header that is none is refused", r)
    r = pull("acme/Llama-ST")
    want = [n for n in repos["acme/Llama-ST"] if n not in ("README.md", "pytorch_model.bin", ".gitattributes")]
    ok(r.code == 0 and all(arrived("acme/Llama-ST", n) for n in want), "a SafeTensors repository comes as a folder", r)
    same(sorted(os.listdir(f"{OWN}/acme/Llama-ST")), sorted(want), "with its tokenizer, without the rest")
    if "acme/Golden-ST" not in repos:
        return skip("no SafeTensors model in the shared data")
    r = pull("acme/Golden-ST")
    s = json.loads(rbee("show", "acme/Golden-ST", "--json", env_=settings()).out or "{}")
    ok(r.code == 0 and s.get("runs") and s.get("format") == "safetensors", "a real one runs from there", r, s)


def tokens():
    fresh()
    F.gated = True
    r = pull("acme/Tiny-GGUF")
    ok(r.code == 77 and "HF_TOKEN" in r.err, "a gated model without a token", r)
    r = pull("acme/Tiny-GGUF", HF_TOKEN=TOKEN)
    ok(r.code == 0, "and with one", r)
    os.makedirs(f"{HOME}/hf", exist_ok=True)
    with open(f"{HOME}/hf/token", "w") as f:
        f.write(TOKEN + "\n")
    r2 = rbee("pull", "acme/Tiny-GGUF:F16", env_={**settings(), "HF_HOME": f"{HOME}/hf"})
    ok(r2.code == 0, "the file of the Hub's own program serves as well", r2)
    ok(all(a is None for _, a, _ in seen["cdn"]) and len(seen["cdn"]) > 2, "another host never sees the token")
    ok(any(a == f"Bearer {TOKEN}" for _, a, _ in seen["hub"]), "the hub does")
    ok(TOKEN not in r.out + r.err + r2.out + r2.err, "nobody prints it")
    fresh()
    F.redirect = "http://192.0.2.1/x"
    r = pull("acme/Tiny-GGUF", HF_TOKEN=TOKEN)
    ok(r.code == 77 and "192.0.2.1" in r.err, "a redirection to any other host is refused", r)
    F.redirect = "file:///etc/passwd"
    r = pull("acme/Tiny-GGUF")
    ok(r.code == 77 and not left(), "and one to a file", r)


def faults():
    def case(name, *args, code=0, file=True, part=None, **set_):
        fresh()
        for k, v in set_.items():
            setattr(F, k, v)
        r = pull(BIG, *args)
        good = r.code == code and arrived(BIG, BIGFILE) == file and (part is None or part in r.err)
        ok(good, name, r, left())
        return r

    case("a download in ranges", "--connections", "8")
    ok(len({r for p, _, r in seen["cdn"] if BIGFILE in p}) > 8, "of which there are several", seen["cdn"])
    case("answers that end early", truncate=6)
    case("status 503, 500, 502", status=[(503, None), (500, None), (502, None)])
    r = case("429 with Retry-After", status=[(429, 2)])
    ok(r.seconds >= 2, f"waits as long as it is told ({r.seconds:.1f} s)")
    case("an answer of the API that breaks off", code=65, file=False, part=f"{BIG}: the hub's answer", api_garbage=1)
    r = case("429 of the API", api_status=[(429, 1), (503, None)])
    ok(r.seconds >= 1, "is waited for too")
    case("wrong ranges now and then", wrong_range=3)
    case("longer bodies than asked for", longer=True)
    case("transfers that stall", "--stall", "1s", stall=2)
    r = case("a hub that fails for ever", "--retries", "1", code=69, file=False, part="status 503", status=[(503, None)] * 99)
    same(left(), [], "leaves nothing, because nothing came")
    case("a server without ranges", "--retries", "1", "--force", code=69, file=False, no_range=True)
    r = case("other bytes: refused by their hash", "--force", code=65, file=False, part="hash", flip=True)
    same(left(), [], "and nothing wrong is left in the store")


def full_disk():
    fresh()
    before = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
    p = subprocess.run([RBEE, "pull", BIG], env=settings(), capture_output=True, text=True, preexec_fn=before, timeout=60)
    ok(p.returncode == 73 and "ulimit -f" in p.stderr, "a limit on the size of files is a clear error", p)
    mount = f"{HOME}/small"
    os.makedirs(mount, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", mount], capture_output=True).returncode:
        return skip("no tmpfs may be mounted here: a full disk is not tried")
    try:
        r = rbee("pull", BIG, env_={**settings(), "RBEE_MODELS": mount})
        ok(r.code == 73 and "short" in r.err and not left(mount), "a disk that is too small is seen before the first byte", r)
        F.rate = 512 << 10
        r2 = start([RBEE, "pull", "acme/Mid-GGUF"], env={**settings(), "RBEE_MODELS": mount}, stderr=subprocess.PIPE,
                   stdout=subprocess.DEVNULL)
        wait_for(lambda: any(f.endswith(".part") for f in left(mount)), 20)
        with open(f"{mount}/hog", "wb") as f:
            try:
                f.write(b"x" * (8 << 20))
                f.flush()
            except OSError:
                pass
        err = r2.communicate(timeout=60 * SLOW)[1].decode()
        ok(r2.returncode == 73 and "disk is full" in err, "one that fills up meanwhile", r2.returncode, err)
        os.unlink(f"{mount}/hog")
        F.clear()
        r = rbee("pull", "acme/Mid-GGUF", env_={**settings(), "RBEE_MODELS": mount})
        ok(r.code == 0 and read(f"{mount}/acme/Mid-GGUF/mid-Q4_K_M.gguf") == repos["acme/Mid-GGUF"]["mid-Q4_K_M.gguf"],
           "with room again it goes on to the end", r)
    finally:
        subprocess.run(["umount", mount], check=False)


def interrupted():
    fresh()
    F.rate = int((2 << 20) / SLOW)
    p = start([RBEE, "pull", BIG], env=settings(), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    time.sleep(1.5 * SLOW)
    other = pull(BIG)
    ok(other.code == 75 and "another process" in other.err, "a second pull of the same file steps back", other)
    p.send_signal(signal.SIGINT)
    err = p.communicate(timeout=20 * SLOW)[1].decode()
    ok(p.returncode == 130 and "goes on from here" in err, "Ctrl-C ends it and says what is kept", p.returncode, err)
    ok([f for f in left() if f.endswith(".part.todo")] and not arrived(BIG, BIGFILE), "a partial file and its journal lie there")
    ok(not any("Big" in m["name"] for m in json.loads(rbee("ls", "--json", env_=settings()).out)), "rbee ls does not show it")
    F.clear()
    before = sent[0]
    r = pull(BIG)
    ok(r.code == 0 and arrived(BIG, BIGFILE), "the same command goes on", r)
    ok(sent[0] - before < len(repos[BIG][BIGFILE]), "and fetches only what is missing, and the header", sent[0] - before)
    same(left(), [f"{BIG}/{BIGFILE}"], "no journal stays")
    # Another file under the same name: the old part is of no use and must not get into it.
    fresh()
    F.rate = int((4 << 20) / SLOW)
    p = start([RBEE, "pull", BIG], env=settings(), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    time.sleep(1.2 * SLOW)
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=20 * SLOW)
    F.clear()
    old = repos[BIG][BIGFILE]
    repos[BIG][BIGFILE] = old[:-5] + b"other"
    r = pull(BIG)
    ok(r.code == 0 and arrived(BIG, BIGFILE), "a file that changed on the hub is begun anew", r)
    repos[BIG][BIGFILE] = old


def missing(journal):
    """Bytes that a journal calls missing; all of them without one."""
    if not os.path.exists(journal):
        return len(repos[BIG][BIGFILE])
    lines = [x.split() for x in read(journal).decode().splitlines()]
    return sum(int(x[2]) - int(x[1]) for x in lines if x[0] == "todo")


def killed():
    """50 kills at random moments of one download, twice with a journal that was damaged."""
    fresh()
    rnd = random.Random(7)
    kills = rounds = steps = 0
    F.rate = int((384 << 10) / SLOW)
    journal = f"{OWN}/{BIG}/.{BIGFILE}.part.todo"
    last = missing(journal)
    while kills < 50 and rounds < 200:
        rounds += 1
        p = start([RBEE, "pull", BIG, "--connections", "2"], env=settings(), stderr=subprocess.DEVNULL,
                  stdout=subprocess.DEVNULL)
        try:
            p.wait(timeout=rnd.uniform(0.02, 2.5) * SLOW)
            if arrived(BIG, BIGFILE):
                os.unlink(f"{OWN}/{BIG}/{BIGFILE}")
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
            kills += 1
        if os.path.exists(f"{OWN}/{BIG}/{BIGFILE}"):
            return ok(False, "a file with its name that is not whole")
        steps += missing(journal) < last
        if kills in (17, 33) and os.path.exists(journal):
            with open(journal, "r+") as f:
                f.truncate(rnd.randrange(60))
        last = missing(journal) if kills not in (17, 33) else len(repos[BIG][BIGFILE])
    F.clear()
    r = pull(BIG)
    same(kills, 50, "killed fifty times")
    ok(steps >= 15, f"of which many were further than the one before ({steps})")
    ok(r.code == 0 and arrived(BIG, BIGFILE), "it ends with the right hash", r)
    same(left(), [f"{BIG}/{BIGFILE}"], "and with nothing beside it")
    for i in range(50):
        shutil.rmtree(OWN, ignore_errors=True)
        p = start([RBEE, "pull", "acme/Mid-GGUF"], env=settings(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            p.wait(timeout=rnd.uniform(0.01, 0.1) * SLOW)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
        path = f"{OWN}/acme/Mid-GGUF/mid-Q4_K_M.gguf"
        if os.path.exists(path) and read(path) != repos["acme/Mid-GGUF"]["mid-Q4_K_M.gguf"]:
            return ok(False, f"kill {i}: a file with its name that is not whole")
    r = pull("acme/Mid-GGUF")
    ok(r.code == 0 and arrived("acme/Mid-GGUF", "mid-Q4_K_M.gguf"), "whenever it is killed, a name means a whole file", r)


def terminal():
    fresh()
    F.rate = int((4 << 20) / SLOW)
    r = pull(BIG)
    ok(r.code == 0 and "\r" not in r.err and "%" in r.err, "plain lines where there is no terminal", r)
    fresh()
    F.rate = int((4 << 20) / SLOW)
    shown = on_tty([RBEE, "pull", BIG], settings(), apart=("stdin", "stdout"), patience=30 * SLOW, start=start)
    ok(shown.code == 0 and all(x in shown.text for x in ("\r", "iB/s", "left", "[=")), "a bar with rate and time left on a terminal", shown)


def fill():
    tiny, q8, f16 = (read(make_model(f"tiny-{t}", dtype=t)) for t in ("q4_0", "q8_0", "f16"))
    repos["acme/Tiny-GGUF"] = {".gitattributes": b"x", "README.md": b"# x", "tiny-Q4_K_M.gguf": tiny,
                               "sub/tiny-Q8_0.gguf": q8, "tiny-F16.gguf": f16, "mmproj-tiny-F16.gguf": b"GGUF"}
    repos[BIG] = {BIGFILE: big_model(12)}
    repos["acme/Mid-GGUF"] = {"mid-Q4_K_M.gguf": big_model(5)}
    repos["acme/Strange-GGUF"] = {"strange-Q4_K_M.gguf": big_model(9).replace(b"llama", b"mrtan")}
    one, two = split(tiny)
    repos["acme/Split-GGUF"] = {"tiny-Q4_0-00001-of-00002.gguf": one, "tiny-Q4_0-00002-of-00002.gguf": two}
    repos["acme/Torn-GGUF"] = {"tiny-Q4_0-00002-of-00002.gguf": two, "tiny-Q4_0-00001-of-00002.gguf": one[:40]}
    repos["acme/Llama-ST"] = {".gitattributes": b"x", "README.md": b"x", "pytorch_model.bin": b"x" * 999, **llama_folder()}
    for name, more in (("Int8", {}), ("Missing", {"num_hidden_layers": 3}), ("Garbage", {})):
        repos[f"acme/{name}-ST"] = llama_folder()
        if more:
            repos[f"acme/{name}-ST"]["config.json"] = llama_folder(**more)["config.json"]
    for name, files in (("Noindex", ["model.safetensors.index.json"]), ("Wordless", ["tokenizer.json", "tokenizer.model"])):
        repos[f"acme/{name}-ST"] = {n: b for n, b in llama_folder().items() if n not in files}
    int8, other = repos["acme/Int8-ST"], repos["acme/Garbage-ST"]
    int8["model-00001-of-00002.safetensors"] = int8["model-00001-of-00002.safetensors"].replace(b'"F16"', b'"I16"', 1)
    other["model-00002-of-00002.safetensors"] = b"no header at all" * 4000
    golden = f"{DATA}/golden/llama/hf"
    if os.path.isdir(golden):
        repos["acme/Golden-ST"] = {n: read(f"{golden}/{n}") for n in os.listdir(golden)}
    repos["acme/Pickle"] = {"config.json": b"{}", "pytorch_model.bin": b"x" * 100}
    repos["acme/Config-only"] = {"config.json": b"{}", "README.md": b"x"}
    repos["acme/Martian-ST"] = {"config.json": json.dumps({"architectures": ["MartianForCausalLM"]}).encode(),
                                "model.safetensors": b"x" * 100}
    repos["acme/Climber-GGUF"] = {"../../evil.gguf": tiny, "/etc/x.gguf": tiny, "a/../../b.gguf": tiny, ".hidden.gguf": tiny,
                                  "x\n.gguf": tiny}


if __name__ == "__main__":
    fill()
    for part in (choices, usable, refusals, headers, sets, tokens, faults, full_disk, interrupted, killed, terminal):
        if not sys.argv[1:] or part.__name__ in sys.argv[1:]:
            part()
    done()
