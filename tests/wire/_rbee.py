"""What the wire tests share: TAP, models, and starting, asking and stopping the real programs.

A test imports this module, calls ok() and skip(), and ends with done(). Everything runs in a temporary
home of its own (tests/run gives one; without it one is made), on free ports, and whatever was started
is ended by its pid. RBEE_BIN names the folder of the executables, RBEE_ROOT the source tree.
"""
import atexit
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.environ.get("RBEE_ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("RBEE_BIN") or f"{ROOT}/build/release/bin"
RBEE = f"{BIN}/rbee"
WORKER = f"{BIN}/llm-worker-rbee-cpu"
DATA = os.environ.get("RBEE_TEST_DATA") or f"{ROOT}/../shared/data"
SLOW = float(os.environ.get("RBEE_TEST_SLOW", "1"))  # stretches time limits, for sanitizers
LIMIT = 540

# ---- TAP ----

_n = _bad = 0


def ok(good, name, *more):
    global _n, _bad
    _n += 1
    print(f"{'ok' if good else 'not ok'} {_n} - {name}")
    if not good:
        _bad += 1
        for m in more:
            for line in str(m)[:2000].splitlines() or [""]:
                print(f"#   {line}")
    sys.stdout.flush()
    return bool(good)


def same(got, want, name):
    return ok(got == want, name, f"got  {got!r}", f"want {want!r}")


def holds(text, part, name):
    return ok(part in text, name, f"no {part!r} in {text!r}")


def skip(why):
    global _n
    _n += 1
    print(f"ok {_n} # SKIP {why}", flush=True)


def done():
    print(f"1..{_n}", flush=True)
    sys.exit(1 if _bad else 0)


# ---- home, models ----

_own_home = None
if not os.environ.get("HOME", "").startswith(tempfile.gettempdir()) or "RBEE_BIN" not in os.environ:
    _own_home = tempfile.mkdtemp(prefix="rbee-wire-")
HOME = _own_home or os.environ["HOME"]
MODELS = f"{HOME}/models"
os.makedirs(MODELS, exist_ok=True)


def env(**more):
    e = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "RBEE_"))}
    e.update(HOME=HOME, RBEE_MODELS=MODELS, TMPDIR=HOME, RBEE_THREADS="2", NO_PROXY="*")
    e.update(more)
    return {k: v for k, v in e.items() if v is not None}


def make_model(name, shape="tiny-llama", dtype="q8_0", seed=1):
    """A random model of a tiny shape, as MODELS/name.gguf; its path."""
    path = f"{MODELS}/{name}.gguf"
    if not os.path.exists(path):
        subprocess.run([f"{BIN}/../tools/mkmodel", shape, dtype, path, "--seed", str(seed)], check=True)
    return path


def shipped():
    """The path of the model that ships, or None."""
    path = f"{ROOT}/models/rbee-tiny.gguf"
    return path if os.path.exists(path) else None


def text_model():
    """The name of a model that can chat: the shipped one where it is there."""
    path = shipped()
    if not path:
        make_model("tiny")
        return "tiny"
    copy = f"{MODELS}/text.gguf"
    if not os.path.exists(copy):
        shutil.copy(path, copy)
    return "text"


# ---- processes ----

_started = []


@atexit.register
def _end_all():
    for p in _started:
        if p.poll() is None:
            p.kill()
            p.wait()
    for pid in processes():  # what a command started in the background
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if _own_home:
        shutil.rmtree(_own_home, ignore_errors=True)


def _too_late(*_):
    print(f"# the test did not end within {LIMIT} s", flush=True)
    sys.exit(1)


signal.signal(signal.SIGALRM, _too_late)
signal.alarm(LIMIT)


def start(args, **kw):
    kw.setdefault("env", env())
    kw.setdefault("stdin", subprocess.DEVNULL)
    p = subprocess.Popen(args, **kw)
    _started.append(p)
    return p


class Result:
    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def __repr__(self):
        return f"exit {self.code} after {self.seconds:.2f} s\nstdout: {self.out!r}\nstderr: {self.err!r}"


def rbee(*args, timeout=60, stdin=None, env_=None, binary=False, exe=None):
    """Runs `rbee ARGS` to its end."""
    t = time.monotonic()
    p = start([exe or RBEE, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env_ or env(),
              stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL)
    try:
        out, err = p.communicate(stdin.encode() if isinstance(stdin, str) else stdin, timeout * SLOW)
        code = p.returncode
    except subprocess.TimeoutExpired:
        p.kill()
        out, err = p.communicate()
        code = "time limit"
    if not binary:
        out = out.decode("utf-8", "replace")
    return Result(code, out, err.decode("utf-8", "replace"), time.monotonic() - t)


def wait_for(what, seconds=10, step=0.02):
    """The first true value of what(), or its last one when the time is over."""
    end = time.monotonic() + seconds * SLOW
    while True:
        v = what()
        if v or time.monotonic() > end:
            return v
        time.sleep(step)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes():
    """pid -> command line of every rbee process that belongs to this test's home."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                cmd = f.read().split(b"\0")
            if not cmd or os.path.basename(cmd[0]) not in (b"rbee", b"llm-worker-rbee-cpu"):
                continue
            with open(f"/proc/{pid}/environ", "rb") as f:
                mine = f"HOME={HOME}".encode() in f.read().split(b"\0")
        except OSError:
            continue
        if mine and alive(int(pid)):
            found[int(pid)] = b" ".join(cmd).decode("utf-8", "replace").strip()
    return found


def all_gone(seconds=5):
    wait_for(lambda: not processes(), seconds)
    return not processes()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- HTTP ----

class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return {}

    @property
    def error(self):
        e = self.json
        return e.get("error", {}) if isinstance(e, dict) else {}

    def __repr__(self):
        return f"status {self.status} {dict(self.headers)} {self.body[:800]!r}"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Stream:
    """A streamed reply: iterate over the events' data; comments are collected."""

    def __init__(self, conn, reply):
        self.conn, self.reply, self.status = conn, reply, reply.status
        self.headers = reply.headers
        self.comments, self.ended = [], False

    def lines(self):
        while True:
            line = self.reply.readline()
            if not line:
                self.ended = True
                return
            yield line.rstrip(b"\r\n")

    def __iter__(self):
        for line in self.lines():
            if line.startswith(b":"):
                self.comments.append(line)
            elif line.startswith(b"data: "):
                data = line[6:].decode()
                yield data if data == "[DONE]" else json.loads(data)

    def close(self):
        self.conn.close()


class Http:
    """A peer at a port or a unix socket."""

    def __init__(self, port=None, unix=None, token=None, host="127.0.0.1"):
        self.port, self.unix, self.token, self.host = port, unix, token, host

    def connection(self, timeout=60):
        if self.unix:
            return UnixConnection(self.unix, timeout * SLOW)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout * SLOW)

    def _send(self, method, path, body, headers, timeout):
        c = self.connection(timeout)
        h = dict(headers or {})
        if self.token:
            h.setdefault("Authorization", f"Bearer {self.token}")
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            h.setdefault("Content-Type", "application/json")
        c.request(method, path, body, h)
        return c, c.getresponse()

    def ask(self, method, path, body=None, headers=None, timeout=60):
        c, r = self._send(method, path, body, headers, timeout)
        data = r.read()
        c.close()
        return Reply(r.status, r.headers, data)

    def get(self, path, **kw):
        return self.ask("GET", path, **kw)

    def post(self, path, body, **kw):
        return self.ask("POST", path, body, **kw)

    def stream(self, path, body, timeout=60, headers=None):
        return Stream(*self._send("POST", path, dict(body, stream=True), headers, timeout))

    def raw(self, data, timeout=5, half_close=False):
        """Sends bytes as they are; everything that comes back until the end or the time limit."""
        if self.unix:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(timeout)
            s.connect(self.unix)
        else:
            s = socket.create_connection((self.host, self.port), timeout=timeout)
        got = b""
        try:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            while True:
                piece = s.recv(65536)
                if not piece:
                    break
                got += piece
        except OSError:
            pass
        s.close()
        return got


class Queen(Http):
    """`rbee queen` on a free port with its hive and workers."""

    def __init__(self, *args, token=None, env_=None, host="127.0.0.1"):
        self.log = open(f"{HOME}/queen-{time.monotonic_ns()}.log", "w+b")
        self.process = start([RBEE, "queen", "--port", "0", *args], stdout=subprocess.PIPE, stderr=self.log,
                             env=env_ or env())
        line = self.process.stdout.readline()
        if not line.strip():
            raise RuntimeError(f"the queen did not start: {self.errors()}")
        super().__init__(json.loads(line)["port"], token=token, host=host)
        if not wait_for(self.healthy, 15):
            raise RuntimeError(f"the queen is not healthy: {self.errors()}")

    def errors(self):
        self.log.flush()
        with open(self.log.name, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def healthy(self):
        try:
            return self.get("/health", timeout=5).status == 200
        except OSError:
            return False

    def status(self):
        return self.get("/v1/workers").json

    def workers(self):
        return self.status().get("workers", [])

    def worker(self):
        w = self.workers()
        return w[0] if w else None

    def worker_http(self):
        """The worker itself, behind queen and hive."""
        with open(f"/proc/{self.worker()['pid']}/cmdline", "rb") as f:
            args = f.read().decode().split("\0")
        return Http(unix=args[args.index("--listen") + 1].removeprefix("unix:"))

    def hive_pid(self):
        for pid, cmd in processes().items():
            if " hive " in cmd + " " and parent_of(pid) == self.process.pid:
                return pid
        return None

    def hive_http(self):
        with open(f"/proc/{self.hive_pid()}/cmdline", "rb") as f:
            args = f.read().decode().split("\0")
        return Http(unix=args[args.index("--listen") + 1].removeprefix("unix:"))

    def active(self):
        """Requests inside the worker's engine, by the worker's own account."""
        return self.worker_http().get("/v1/info").json["active"]

    def stop(self, sig=signal.SIGTERM, seconds=10):
        """Ends it; the exit code, or None when it had to be killed."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            self.process.wait(seconds * SLOW)
            code = self.process.returncode
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = None
        self.process.stdout.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return int(f.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def in_threads(n, fn):
    """[fn(0), ... fn(n-1)], each in its own thread; an exception is its result."""
    out = [None] * n

    def one(i):
        try:
            out[i] = fn(i)
        except Exception as e:  # noqa: BLE001 - shown by the test
            out[i] = e

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return out
