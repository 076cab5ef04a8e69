#!/usr/bin/env python3
"""What is not a model: every wrong path gets a clear error, the exit code from err.def, and leaves nothing running."""
import json
import os
import pwd
import struct

from _rbee import (DATA, HOME, MODELS, Queen, RBEE, all_gone, done, env, free_port, holds, make_model, ok, processes,
                   rbee, same, skip)

BAD = f"{HOME}/bad"
os.makedirs(BAD)
good = make_model("tiny")
with open(good, "rb") as f:
    whole = f.read()


def put(name, data):
    path = f"{BAD}/{name}"
    with open(path, "wb") as f:
        f.write(data)
    return path


def gguf(*pairs, tensors=0, version=3):
    """A header of string and integer keys."""
    def s(x):
        return struct.pack("<Q", len(x)) + x.encode()
    out = b"GGUF" + struct.pack("<IQQ", version, tensors, len(pairs))
    for k, v in pairs:
        out += s(k) + (struct.pack("<I", 8) + s(v) if isinstance(v, str) else struct.pack("<II", 4, v))
    return out


header = json.dumps({"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
os.makedirs(f"{BAD}/folder.gguf")
os.symlink(f"{BAD}/loop.gguf", f"{BAD}/loop.gguf")
os.mkfifo(f"{BAD}/fifo.gguf")

# name, path, exit code, what the message must hold
CASES = [
    ("no such file", f"{BAD}/none.gguf", 66, "none.gguf"),
    ("no such name", "no-such-model", 66, "no-such-model"),
    ("an empty name", "", 66, "no model"),
    ("zero bytes", put("zero.gguf", b""), 65, "zero.gguf"),
    ("three bytes", put("three.gguf", b"GGU"), 65, "three.gguf"),
    ("cut in the header", put("cut-head.gguf", whole[:300]), 65, "cut-head.gguf"),
    ("cut in the tensors", put("cut-data.gguf", whole[:len(whole) // 2]), 65, "cut-data.gguf"),
    ("last byte missing", put("cut-last.gguf", whole[:-1]), 65, "cut-last.gguf"),
    ("a text file", put("text.gguf", b"Once upon a time there was a model.\n" * 50), 65, "text.gguf"),
    ("a text file without the suffix", put("notes.txt", b"hello"), 65, "notes.txt"),
    ("a safetensors file", put("model.safetensors", struct.pack("<Q", len(header)) + header + bytes(8)), 65,
     "model.safetensors"),
    ("a safetensors file named gguf", put("st.gguf", struct.pack("<Q", len(header)) + header + bytes(8)), 65,
     "st.gguf"),
    ("an ELF file", put("elf.gguf", open(RBEE, "rb").read(100000)), 65, "elf.gguf"),
    ("zeros", put("zeros.gguf", bytes(1 << 20)), 65, "zeros.gguf"),
    ("a directory", f"{BAD}/folder.gguf", 65, "folder.gguf"),
    ("a directory without the suffix", BAD, 65, "bad"),
    ("a symbolic link to itself", f"{BAD}/loop.gguf", None, "loop.gguf"),
    ("a FIFO", f"{BAD}/fifo.gguf", 65, "fifo.gguf"),
    ("a device", "/dev/null", None, "null"),
    ("version 99", put("v99.gguf", gguf(("general.architecture", "llama"), version=99)), None, "99"),
    ("an unknown architecture", put("arch.gguf", gguf(("general.architecture", "hal9000"))), 69, "hal9000"),
    ("no architecture", put("noarch.gguf", gguf(("general.name", "x"))), None, "general.architecture"),
    ("no tensors", put("empty.gguf", gguf(("general.architecture", "llama"))), None, "empty.gguf"),
]


def one(what, path, code, text):
    r = rbee("run", path, "hello", "--raw", "--port", str(free_port()), timeout=30)
    good_code = r.code == code if code is not None else isinstance(r.code, int) and 64 <= r.code <= 78
    ok(good_code and r.out == "" and text in r.err and r.err.startswith("rbee: ") and r.seconds < 5,
       f"{what}: exit {r.code}, {r.err.strip()[:150].replace(HOME, '~')}", f"want exit {code} and {text!r}", r)


def unreadable():
    path = put("secret.gguf", whole)
    os.chmod(path, 0)
    if os.geteuid() != 0:
        one("an unreadable file", path, 77, "secret.gguf")
        return
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        skip("running as root, and there is no user nobody")
        return
    import subprocess
    for d in (HOME, BAD):
        os.chmod(d, 0o755)
    home = f"{HOME}/nobody"
    os.makedirs(home)
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    try:
        probe = subprocess.run([RBEE, "version"], user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[],
                               capture_output=True, cwd="/", env=env(HOME=home)).returncode
    except PermissionError:  # this checkout lies in a folder of root's own
        probe = -1
    if probe != 0:
        skip("running as root, and nobody cannot reach the programs")
        return
    p = subprocess.run([RBEE, "run", path, "hello", "--raw", "--port", str(free_port())], user=nobody.pw_uid,
                       group=nobody.pw_gid, extra_groups=[], capture_output=True, text=True, cwd="/", timeout=30,
                       env=env(HOME=home))
    ok(p.returncode == 77 and "secret.gguf" in p.stderr, "an unreadable file: exit 77", p)


def hostile():
    folder = f"{DATA}/hostile"
    if not os.path.isdir(folder):
        skip("no shared test data")
        return
    bad = []
    names = sorted(f for f in os.listdir(folder) if f.endswith(".gguf") and "valid" not in f)
    for name in names:
        r = rbee("show", f"{folder}/{name}", timeout=30)
        if not (isinstance(r.code, int) and 64 <= r.code <= 78 and name in r.err and r.out == ""):
            bad.append((name, r))
    ok(not bad, f"{len(names)} hostile files are refused by name", bad)


def through_queen():
    """The same through HTTP, where the hive and the worker meet the file first."""
    with Queen() as q:
        for what, path, code, text in CASES:
            if path == "":
                continue
            r = q.post("/v1/completions", {"model": path, "prompt": "x", "max_tokens": 2}, timeout=30)
            ok(r.status in (400, 403, 404, 422, 500) and r.error.get("message") and r.status != 200,
               f"over HTTP, {what}: {r.status} {r.error.get('code')}", r)
        same(q.workers(), [], "no worker stays")
        r = q.post("/v1/completions", {"model": "tiny", "prompt": "x", "max_tokens": 2})
        same(r.status, 200, "and a good model works after all of them")
        same(q.get("/v1/models").status, 200, "the list of models stands")


def bad_store():
    """Broken files among the models: listed with their problem, and not offered."""
    put("x", b"")
    os.rename(f"{BAD}/x", f"{MODELS}/broken.gguf")
    r = rbee("ls")
    ok(r.code == 0 and "broken" in r.out and "cannot run" in r.out, "rbee ls lists a broken file with its problem", r)
    listed = {m["name"]: m for m in json.loads(rbee("ls", "--json").out)}
    ok(not listed["broken"]["runnable"] and listed["broken"]["problem"] and listed["tiny"]["runnable"],
       "and so does --json", listed)
    with Queen() as q:
        ids = [m["id"] for m in q.get("/v1/models").json["data"]]
        ok("tiny" in ids and "broken" not in ids, "/v1/models offers what runs", ids)
        same(q.get("/v1/models/broken").status, 422, "asked for by name it says why it does not run")


for case in CASES:
    one(*case)
unreadable()
ok(not processes(), "nothing is left running after all of these", processes())
hostile()
through_queen()
bad_store()
ok(all_gone(3), "nothing is left running", processes())
done()
