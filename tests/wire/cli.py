#!/usr/bin/env python3
"""The command line: run, chat, serve, tokenize, eval, bench, ls, ps, show, explain, completion; exit codes, help, JSON."""
import json
import os
import pty
import resource
import select
import shutil
import signal
import struct
import subprocess
import time

from _rbee import (BIN, DATA, HOME, MODELS, Queen, RBEE, SLOW, WORKER, all_gone, alive, done, env, free_port, holds,
                   make_model, ok, processes, rbee, same, shipped, skip, start, text_model, wait_for)

TINY = make_model("tiny")
TEXT = text_model()
COMMANDS = ("run chat serve ps stop pull ls show fit explain tokenize eval bench queen hive version completion").split()


def helps():
    bad = []
    for args in [["--help"], ["-h"], ["help"]] + [[c, "--help"] for c in COMMANDS] + [["help", c] for c in COMMANDS]:
        r = rbee(*args)
        long = [x for x in r.out.splitlines() if len(x) > 80]
        if r.code != 0 or r.err or len(r.out) < 100 or long or (args[-1] == "--help" and "Usage" not in r.out):
            bad.append((args, long[:2], r))
    ok(not bad, "every command explains itself in 80 columns", *bad[:3])
    bad = []
    for c in COMMANDS:
        r = rbee(c, "--frobnicate")
        if r.code != 64 or "frobnicate" not in r.err or r.out:
            bad.append((c, r))
    ok(not bad, "an option that nobody knows ends every command with 64 and is named", *bad[:3])
    r = rbee("run", "tiny", "x", "--max-token", "3")
    ok(r.code == 64 and "--max-tokens" in r.err, "a misspelt option: the right one is suggested", r)
    r = rbee("rnu")
    ok(r.code == 64 and "'run'" in r.err, "a misspelt command too", r)
    for args, part in ((["run"], "MODEL"), (["run", "tiny", "x", "--temperature", "hot"], "temperature"),
                       (["run", "tiny", "x", "--temperature", "-1"], "temperature"),
                       (["run", "tiny", "x", "--port", "99999"], "port"), (["tokenize", "tiny"], "--text"),
                       (["eval", "tiny"], "--tokens"), (["completion", "csh"], "csh"), (["stop"], "--all")):
        r = rbee(*args)
        ok(r.code == 64 and part in r.err, f"rbee {' '.join(args)}: 64, {r.err.strip()[:90]}", r)
    r = rbee("version")
    ok(r.code == 0 and r.out.startswith("rbee "), "version", r)
    ok(json.loads(rbee("version", "--json").out).get("version"), "version --json")
    for shell in ("bash", "zsh", "fish"):
        r = rbee("completion", shell)
        ok(r.code == 0 and all(c in r.out for c in COMMANDS), f"completion {shell} knows every command")
        if shutil.which(shell) and shell != "fish":
            p = subprocess.run([shell, "-n"], input=r.out, capture_output=True, text=True)
            same(p.returncode, 0, f"and {shell} can read it")


def local():
    m = json.loads(rbee("ls", "--json").out)
    ok(any(x["name"] == "tiny" and x["architecture"] == "llama" and x["runnable"] for x in m), "ls --json", m)
    holds(rbee("ls").out, "tiny", "ls")
    s = json.loads(rbee("show", "tiny", "--json").out)
    same((s["architecture"], s["format"], s["path"]), ("llama", "gguf", os.path.realpath(TINY)), "show --json")
    holds(rbee("show", TINY, "--metadata").out, "tokenizer.ggml.model", "show --metadata lists the file's keys")
    p = json.loads(rbee("explain", "tiny", "--json").out)
    ok(p["architecture"] == "llama" and len(p["steps"]) > 10 and all("op" in x for x in p["steps"]), "explain --json")
    ok(len(rbee("explain", "tiny", "--full").out) > len(rbee("explain", "tiny").out), "explain --full prints more")
    s = rbee("ps", "--port", str(free_port()))
    ok(s.code == 0 and "nothing is loaded" in s.out, "ps without a queen", s)
    same(json.loads(rbee("ps", "--json", "--port", str(free_port())).out), {"workers": []}, "ps --json without a queen")
    ok(not processes(), "none of them starts anything", processes())


def tokens():
    r = rbee("tokenize", "tiny", "--text", "hello world")
    ids = r.out.split()
    ok(r.out.endswith("\n") and r.out.count("\n") == 1 and ids[0] == "1" and all(x.isdigit() for x in ids),
       "tokenize prints ids on one line, begun by BOS", r)
    same(rbee("tokenize", "tiny", "--text", "hello world", "--no-special").out.split(), ids[1:], "--no-special leaves it out")
    path = f"{HOME}/t.txt"
    with open(path, "w") as f:
        f.write("hello world")
    same(rbee("tokenize", "tiny", "--file", path).out.split(), ids, "--file is the same text")
    same(rbee("tokenize", "tiny", "--file", "-", stdin="hello world").out.split(), ids, "and so is standard input")
    j = json.loads(rbee("tokenize", "tiny", "--text", "hello world", "--json").out)
    same(([x["id"] for x in j], "".join(x["piece"] for x in j[1:])), ([int(x) for x in ids], " hello world"), "--json")
    plain = rbee("tokenize", "tiny", "--text", "a</s>").out.split()
    special = rbee("tokenize", "tiny", "--text", "a</s>", "--parse-special").out.split()
    ok("2" not in plain and special[-1] == "2", "</s> is text unless --parse-special", plain, special)
    same(rbee("tokenize", "tiny", "--text", "").out.strip(), "1", "an empty text is BOS alone")
    same(rbee("tokenize", "tiny", "--file", f"{HOME}/none").code, 66, "no such file")
    return ids


def evals(ids):
    path, out = f"{HOME}/ids", f"{HOME}/logits"
    with open(path, "w") as f:
        f.write(" ".join(ids))
    r = rbee("eval", "tiny", "--tokens", path, "--logits", out, "--threads", "2")
    with open(out, "rb") as f:
        data = f.read()
    same((r.code, len(data)), (0, len(ids) * 512 * 4), "eval --logits writes one row of n_vocab floats a token")
    r = rbee("eval", "tiny", "--tokens", path, "--logits", out + "2", "--backend", "ref", "--kv-type", "f32")
    with open(out + "2", "rb") as f:
        ref = f.read()
    same((r.code, len(ref)), (0, len(data)), "so does --backend ref --kv-type f32")
    a, b = (struct.unpack(f"<{len(data) // 4}f", x) for x in (data, ref))
    err = sum((x - y) ** 2 for x, y in zip(a, b)) / sum(y * y for y in b)
    ok(err < 1e-3, "cpu and ref agree", err)
    r = rbee("eval", "tiny", "--tokens", path)
    ok(r.code == 0 and "erplexity" in r.out, "without --logits it prints the perplexity", r)
    r = rbee("eval", "tiny", "--tokens", path, "--json")
    ok(r.code == 0 and json.loads(r.out).get("perplexity", 0) > 1, "also as --json", r)
    with open(path, "w") as f:
        f.write("1 2 99999")
    ok(rbee("eval", "tiny", "--tokens", path).code in (64, 65), "an id beyond the vocabulary is refused")
    with open(path, "w") as f:
        f.write("1 two 3")
    ok(rbee("eval", "tiny", "--tokens", path).code in (64, 65), "text in place of ids is refused")
    r = rbee("bench", "tiny", "-p", "32", "-n", "8", "-t", "2", "--json", timeout=120)
    b = json.loads(r.out) if r.code == 0 else {}
    ok(b.get("prefill_tokens_per_second", 0) > 0 and b.get("decode_tokens_per_second", 0) > 0 and
       b.get("read_bandwidth_bytes_per_second", 0) > 0, "bench --json", r)
    for cmd in ("eval", "bench"):
        ok(not processes(), f"{cmd} starts no daemon", processes())


def caps():
    p = subprocess.run([WORKER, "--capabilities"], capture_output=True, text=True)
    c = json.loads(p.stdout)
    ok(p.returncode == 0 and c, "the worker's --capabilities are JSON", p.stdout[:300])
    libs = subprocess.run(["nm", "-C", RBEE], capture_output=True, text=True).stdout
    if libs:
        ok("cpu_backend" not in libs and "ref_backend" not in libs, "rbee links no kernel")
    else:
        skip("nm is not here or the program is stripped")


def runs():
    port = str(free_port())
    args = ["--raw", "--temperature", "0", "--max-tokens", "16", "--ignore-eos", "--port", port]
    p = start([RBEE, "run", "tiny", "Once upon", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
              stderr=subprocess.PIPE, close_fds=True)
    out, err = p.communicate(timeout=30 * SLOW)
    first = out
    ok(p.returncode == 0 and out and err == b"" and not out.startswith(b"Once upon"),
       "run --raw prints the continuation alone and ends with 0", p.returncode, out, err)
    p = start(f"exec '{RBEE}' run tiny 'Once upon' {' '.join(args)} <&-", shell=True, stdout=subprocess.PIPE)
    same((p.communicate(timeout=30 * SLOW)[0], p.returncode), (first, 0), "with standard input closed too")
    same(rbee("run", "tiny", *args, stdin="Once upon", binary=True).out, first, "a prompt from standard input")
    same(rbee("run", "tiny", "Once", "upon", *args, binary=True).out, first, "words are joined by spaces")
    same(rbee("run", TINY, "Once upon", *args, binary=True).out, first, "the model by its path")
    p = subprocess.run([RBEE, "run", "./tiny.gguf", "Once upon", *args], cwd=MODELS, env=env(), capture_output=True)
    same(p.stdout, first, "and by a relative one")
    r = rbee("run", "tiny", "Once upon", *args, "--json")
    ok(r.code == 0 and json.loads(r.out)["usage"]["completion_tokens"] == 16, "--json prints the reply object", r)
    r = rbee("run", "tiny", "Once upon", *args, "--verbose")
    ok(r.code == 0 and "16 generated" in r.err, "--verbose prints counts to standard error", r)
    r = rbee("run", TEXT, "Tell me a story.", "--temperature", "0", "--max-tokens", "8", "--ignore-eos", "--port", port)
    ok(r.code == 0 and r.out.strip(), "without --raw it is a chat turn", r)
    r = rbee("chat", TEXT, "--temperature", "0", "--max-tokens", "8", "--port", port, stdin="Hello\n/clear\nHello\n/bye\n")
    lines = r.out.split("\n")
    ok(r.code == 0 and lines, "chat reads lines and ends with /bye", r)
    r = rbee("run", "tiny", "", *args)
    ok(r.code in (0, 64), "an empty prompt is BOS alone, or refused", r)
    r = rbee("run", "tiny", "x " * 2000, *args)
    ok(r.code == 65 and "context" in r.err, "a prompt longer than the context: 65", r)
    with open("/dev/full", "w") as full:
        p = subprocess.run([RBEE, "run", "tiny", "Once upon", *args], env=env(), stdout=full, stderr=subprocess.PIPE,
                           text=True, timeout=30)
    ok(p.returncode in (73, 74) and "standard output" in p.stderr, "standard output that is full is an error", p)
    r, w = os.pipe()
    os.close(r)
    p = start([RBEE, "run", "tiny", "Once upon", *args[:3], "--max-tokens", "100000", "--ignore-eos", "--port", port],
              stdout=w, stderr=subprocess.PIPE)
    os.close(w)
    err = p.communicate(timeout=30 * SLOW)[1]
    ok(p.returncode != 0, "a reader that has gone away ends it", p.returncode, err)
    r, w = os.pipe()
    os.close(r)
    p = start([RBEE, "explain", "tiny", "--full"], stdout=w, stderr=subprocess.PIPE)
    os.close(w)
    err = p.communicate(timeout=30 * SLOW)[1]
    ok(p.returncode == 0 and err == b"", "one that has read enough of a table is told no error", p.returncode, err)
    rbee("stop", "--queen", "--port", port)
    ok(all_gone(3), "stop --queen leaves nothing", processes())


def interrupted():
    with Queen("--ctx", "65536") as q:
        args = [RBEE, "run", "tiny", "Once", "--raw", "--temperature", "0", "--max-tokens", "60000", "--ignore-eos",
                "--port", str(q.port)]
        for sig, name in ((signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")):
            p = start(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            p.stdout.read(20)
            ok(q.active() == 1, "a run is under way")
            p.send_signal(sig)
            t = time.monotonic()
            code = p.wait(10)
            took = time.monotonic() - t
            same(code, 130, f"{name} ends rbee run with 130")
            ok(took < 1 * SLOW, "at once", took)
            ok(wait_for(lambda: q.active() == 0, 1), "and cancels the job, not just the client", q.active())
            p.stdout.close()
            p.stderr.close()
        ok(q.healthy(), "the queen goes on")


def serves():
    port = str(free_port())
    r = rbee("serve", TEXT, "--ask", "Tell me a story about a fox.", "--temperature", "0", "--max-tokens", "8", "--port", port)
    ok(r.code == 0 and "loaded" in r.out and "curl " in r.out and f":{port}/v1" in r.out and "Ctrl-C" not in r.out,
       "serve --ask without a terminal prints answer, address and a curl line, and ends", r)
    ok(all_gone(3), "and leaves nothing running", processes())
    line = next(x for x in r.out.splitlines() if "-d '" in x)
    body = json.loads(line[line.index("-d '") + 4:line.rindex("'")])
    ok(body["model"] and body["messages"], "the curl line's body is JSON", line)
    p = start([RBEE, "serve", "tiny", "--port", port], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen = ""
    while "Ctrl-C" not in seen:
        x = p.stdout.readline()
        if not x:
            break
        seen += x
    same(len(processes()), 4, "serve runs queen, hive and worker until Ctrl-C")
    p.send_signal(signal.SIGINT)
    same(p.wait(10 * SLOW), 0, "which ends it with 0")
    ok(all_gone(3), "and everything it started", processes())
    p = start([RBEE, "serve", "tiny", "--port", port], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while "Ctrl-C" not in (p.stdout.readline() or "Ctrl-C"):
        pass
    p.kill()
    ok(all_gone(5), "kill -9 of serve ends queen, hive and worker", processes())
    r = rbee("serve", "nope", "--port", port)
    ok(r.code == 66 and "nope" in r.err and not processes(), "serve with a wrong model: 66, nothing stays", r, processes())
    r = rbee("serve", "--host", "0.0.0.0", "--port", port)
    ok(r.code in (64, 77) and "token" in r.err and not processes(), "serve off loopback without a token is refused", r)


def terminal():
    """On a terminal, `rbee run MODEL` without a prompt is a chat."""
    port = str(free_port())
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(RBEE, [RBEE, "run", TEXT, "--temperature", "0", "--max-tokens", "8", "--port", port], env(TERM="dumb"))
    seen = b""

    def until(what, seconds=20):
        nonlocal seen
        end = time.monotonic() + seconds * SLOW
        while what not in seen and time.monotonic() < end:
            if select.select([fd], [], [], 0.2)[0]:
                try:
                    seen += os.read(fd, 4096)
                except OSError:
                    return what in seen
        return what in seen

    ok(until(b">>> "), "a prompt appears", seen)
    seen = b""
    os.write(fd, b"Hello\n")
    ok(until(b">>> ") and len(seen) > 12, "an answer, then the next prompt", seen)
    os.write(fd, b"/bye\n")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(fd)
    same(code, 0, "/bye ends it")
    same(rbee("stop", "--queen", "--port", port).code, 0, "and the queen it started can be stopped")


def full_disk():
    """A state folder that cannot be written, by a file size limit in place of a full disk."""
    if SLOW > 1:
        skip("sanitizers do not run under a file size limit")
        return

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    port = str(free_port())
    e = env(HOME=f"{HOME}/full", RBEE_MODELS=MODELS)
    os.makedirs(f"{HOME}/full")
    p = subprocess.run([RBEE, "run", "tiny", "x", "--raw", "--max-tokens", "2", "--port", port], env=e, preexec_fn=limit,
                       capture_output=True, text=True, timeout=60)
    ok(p.returncode == 0 or (p.returncode in (73, 74) and p.stderr.startswith("rbee: ")),
       f"a log that cannot grow: exit {p.returncode} {p.stderr.strip()[:100]}", p)
    rbee("stop", "--queen", "--port", port, env_=e)
    if os.geteuid() != 0:
        os.chmod(f"{HOME}/full", 0o500)
    with open(f"{HOME}/notdir", "w"):
        pass
    r = rbee("run", "tiny", "x", "--raw", "--port", port, env_=env(XDG_DATA_HOME=f"{HOME}/notdir"))
    ok(r.code in (66, 73, 74, 77) and "notdir" in r.err, "a state folder that cannot be made is named", r)
    r = rbee("run", "tiny", "x", "--raw", "--port", port, env_=env(HOME="relative", XDG_DATA_HOME=None))
    ok(r.code == 64 and "HOME" in r.err, "no home: 64", r)
    for at in (f"{HOME}/tmpfs",):
        os.makedirs(at, exist_ok=True)
        m = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,nr_inodes=40", "rbee-test", at], capture_output=True)
        if m.returncode:
            skip("no tmpfs can be mounted here")
            continue
        try:
            with open(f"{at}/fill", "wb", buffering=0) as f:
                try:
                    while True:
                        f.write(b"x" * 4096)
                except OSError:
                    pass
            r = rbee("run", "tiny", "x", "--raw", "--max-tokens", "2", "--port", port, env_=env(XDG_DATA_HOME=at))
            ok(r.code in (0, 73), f"a full disk: exit {r.code} {r.err.strip()[:100]}", r)
            rbee("stop", "--queen", "--port", port, env_=env(XDG_DATA_HOME=at))
            all_gone(3)
        finally:
            subprocess.run(["umount", "-l", at], capture_output=True)


def greedy():
    """llama.cpp's greedy text of real models, through all the processes."""
    here = [f"{DATA}/models/stories260K-{t}.gguf" for t in ("F32", "F16")]
    if not all(map(os.path.exists, here)):
        skip("no shared test data")
        return
    port = str(free_port())
    for path in here:
        with open(path.replace(".gguf", ".greedy.txt"), encoding="utf-8") as f:
            want = f.read().strip()
        prompt = "Once upon a time"
        n = 256
        r = rbee("run", path, prompt, "--raw", "--temperature", "0", "--max-tokens", str(n), "--port", port, timeout=120)
        got = (prompt + r.out).strip()
        ok(r.code == 0 and (got == want or got.startswith(want)), f"{os.path.basename(path)}: greedy text as llama.cpp prints it",
           f"got  {got[:600]!r}", f"want {want[:600]!r}", r.err)
    rbee("stop", "--queen", "--port", port)


helps()
local()
evals(tokens())
caps()
runs()
interrupted()
serves()
terminal()
full_disk()
greedy()
ok(all_gone(5), "nothing is left running", processes())
done()
