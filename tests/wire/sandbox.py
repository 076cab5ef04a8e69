#!/usr/bin/env python3
"""The sandbox that a model is opened in first: its option, and a system that does not allow it."""
import ctypes
import os
import platform
import struct
import sys

from _rbee import HOME, Queen, WORKER, all_gone, done, env, holds, make_model, ok, rbee, same, skip, start

MODEL = make_model("tiny")
IDS = f"{HOME}/ids"
CALLS = {"x86_64": (317, 157), "aarch64": (277, 167)}  # seccomp, prctl
EPERM = 0x00050001  # SECCOMP_RET_ERRNO, errno 1

with open(IDS, "w") as f:
    f.write("1 2 3 4 5")


def run_eval(*args, **more):
    return rbee("eval", MODEL, "--tokens", IDS, *args, exe=WORKER, env_=env(**more))


def deny_filters():
    """From here on this process and its children cannot install a filter of system calls: False if that fails."""
    def op(code, k, jt=0, jf=0):
        return struct.pack("HBBI", code, jt, jf, k)
    if sys.platform != "linux" or platform.machine() not in CALLS:
        return False
    seccomp, prctl = CALLS[platform.machine()]
    program = b"".join([
        op(0x20, 0),               # the call's number
        op(0x15, seccomp, 3, 0),   # seccomp()
        op(0x15, prctl, 0, 3),
        op(0x20, 16),              # its first argument
        op(0x15, 22, 0, 1),        # PR_SET_SECCOMP
        op(0x06, EPERM),
        op(0x06, 0x7fff0000),      # anything else is allowed
    ])
    code = ctypes.create_string_buffer(program)
    fprog = ctypes.create_string_buffer(struct.pack("H6xP", len(program) // 8, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, fprog, 0, 0) == 0


def ask(q):
    return q.post("/v1/completions", {"model": "tiny", "prompt": "hello", "max_tokens": 2})


for mode in ("auto", "off"):
    r = run_eval("--sandbox", mode)
    if "ThreadSanitizer" in r.err:
        skip("this build has no sandbox")
        done()
    ok(r.code == 0 and "perplexity" in r.out and not r.err, f"--sandbox {mode}: a model runs", r)
r = run_eval("--sandbox", "maybe")
ok(r.code == 64 and "auto, require, off" in r.err.replace("'", ""), "an unknown mode is refused with the known ones", r)

if not deny_filters():
    skip("this system cannot take the filter away")
    done()

r = run_eval()
ok(r.code == 0 and "perplexity" in r.out and "sandbox" in r.err, "without filters a model runs, with a warning", r)
for r in (run_eval("--sandbox", "require"), run_eval(RBEE_SANDBOX="require")):
    ok(r.code == 69 and r.out == "" and "require" in r.err and MODEL in r.err, "unless one is required", r)
r = run_eval("--sandbox", "off")
ok(r.code == 0 and not r.err, "without a sandbox there is no warning", r)

with Queen(env_=env(RBEE_SANDBOX="require")) as q:
    r = ask(q)
    same((r.status, r.error.get("code")), (422, "unsupported"), "over HTTP: 422 where a sandbox is required")
    holds(r.error.get("message", ""), "sandbox", f"and the reason: {r.error.get('message', '')[:200]}".replace(HOME, "~"))
    same(q.get("/health").status, 200, "the queen goes on")

os.makedirs(f"{HOME}/.config/rbee", exist_ok=True)
with open(f"{HOME}/.config/rbee/rbee.conf", "w") as f:
    f.write("sandbox = require\n")
with Queen() as q:
    same(ask(q).status, 422, "the same by the configuration file")
with Queen("--sandbox", "auto") as q:
    same(ask(q).status, 200, "which a flag overrides")
os.unlink(f"{HOME}/.config/rbee/rbee.conf")
ok(all_gone(), "nothing is left running")
done()
