#!/usr/bin/env python3
"""rbee catalog against a hub that misbehaves: pages that break off, quotas, interruptions at any moment, files.

The models are made by tools/hub-fixture, so that a fresh clone has thousands of them; real replies of the Hub are
imported where the shared data is there.
"""
import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time

from _hub import TOKEN, Hub
from _rbee import DATA, HOME, RBEE, ROOT, SLOW, done, env, holds, ok, rbee, same, skip, start, wait_for
from _tty import on_tty

DB = f"{HOME}/.local/share/rbee/catalog.db"


def made(n, *args):
    out = subprocess.run([f"{ROOT}/tools/hub-fixture", str(n), "--lines", *args], capture_output=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


hub = Hub()
F = hub.faults
MODELS = made(2600)


def lists(name):
    return [e for e in hub.entries if name in e["tags"]]


def settings(**more):
    given = dict(RBEE_HUB_URL=hub.url, HF_TOKEN=None, HF_HOME=None, HF_TOKEN_PATH=None, HF_ENDPOINT=None, RBEE_CATALOG_PACE="0ms")
    given.update(more)
    return env(**given)


def catalog(*args, timeout=60, stdin=None, **more):
    return rbee("catalog", *args, env_=settings(**more), timeout=timeout, stdin=stdin)


def sync(*args, **more):
    """The result, and what it says of each list."""
    r = catalog("sync", "--json", *args, **more)
    try:
        r.lists = {x["list"]: x for x in json.loads(r.out)["lists"]}
    except ValueError:
        r.lists = {}
    return r


def fresh(keep=False):
    hub.clear()
    if not keep:
        shutil.rmtree(os.path.dirname(DB), ignore_errors=True)


def rows():
    """id -> (entry, revision), by SQLite's own program."""
    db = sqlite3.connect(DB)
    got = {i: (json.loads(e), r) for i, e, r in db.execute("SELECT id, entry, revision FROM model WHERE removed = 0")}
    db.close()
    return got


def asked():
    return [p for p, _, _ in hub.seen["hub"] if p.startswith("/api/models?")]


def first():
    fresh()
    hub.entries[:] = MODELS
    r = sync()
    want = {e["id"] for e in MODELS if "gguf" in e["tags"] or "safetensors" in e["tags"]}
    got = rows()
    ok(r.code == 0 and set(got) == want, f"every model of the two lists is there ({len(want)})", r, len(got))
    same(r.lists["gguf"]["added"], len(lists("gguf")), "and counted")
    ok(r.lists["gguf"]["whole"] and r.lists["gguf"]["complete"] and not r.lists["gguf"]["unreadable"], "as a whole walk", r)
    ok(all("limit=500" in p and "sort=" in p for p in asked()) and any("cursor=" in p for p in asked()), "in pages", asked()[:3])
    e = next(x for x in MODELS if "gguf" in x["tags"] and "chat_template" in x["gguf"])
    kept = got[e["id"]][0]
    ok(all(kept[k] == e[k] for k in ("downloads", "likes", "sha", "createdAt", "lastModified", "usedStorage")) and
       kept["gguf"]["architecture"] == e["gguf"]["architecture"] and len(kept["siblings"]) == len(e["siblings"]) and
       len(json.dumps(kept)) < len(json.dumps(e)), "an entry has what counts, and is shorter", kept)
    size = os.path.getsize(DB)
    ok(size / len(want) < 6000, f"{size / len(want):.0f} bytes a model")
    s = json.loads(catalog("status", "--json").out)
    ok(s["models"] == len(want) and {x["list"]: x["models"] for x in s["lists"]}["gguf"] == len(lists("gguf")), "status", s)
    r = catalog("status")
    ok(r.code == 0 and "20,000 most downloaded" in r.out and "just now" in r.out, "in words", r)
    ok(catalog("check").code == 0, "and it is sound")


def later():
    """What changed comes with few requests; what did not, does not become a revision."""
    fresh()
    hub.entries[:] = MODELS
    sync()
    before, revision = rows(), json.loads(catalog("status", "--json").out)["revision"]
    hub.clear()
    r = sync()
    ok(r.code == 0 and not r.lists["gguf"]["whole"] and not r.lists["gguf"]["changed"] and len(asked()) == 4,
       "nothing new: a page of changes and one of trends for each list", r, len(asked()))
    same(json.loads(catalog("status", "--json").out)["revision"], revision, "and no revision")
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    some = [dict(e, lastModified=now, downloads=e["downloads"] + 7, sha="f" * 40) for e in lists("gguf")[:3]]
    ids = {e["id"] for e in some}
    fresh_one = dict(lists("gguf")[5], id="new/Model-7B-GGUF", lastModified=now, createdAt=now, downloads=9, trendingScore=0)
    hub.entries[:] = some + [fresh_one] + [e for e in hub.entries if e["id"] not in ids]
    r = sync()
    got = rows()
    changed = {i for i in got if i in before and got[i] != before[i]}
    ok(r.code == 0 and changed == ids and r.lists["gguf"]["changed"] == 3, "three that changed", changed, r)
    ok("new/Model-7B-GGUF" in got and r.lists["gguf"]["added"] == 1, "and one that is new", r)
    gone = {e["id"] for e in lists("gguf")[10:15]}
    hub.entries[:] = [e for e in hub.entries if e["id"] not in gone]
    sync()
    ok(gone <= set(rows()), "what is gone from the hub is not seen in changes")
    r = sync("--full")
    ok(r.code == 0 and r.lists["gguf"]["removed"] == 5 and not gone & set(rows()), "a full walk takes it out", r)


def limits():
    fresh()
    hub.entries[:] = MODELS
    r = sync("--limit", "700", "--list", "gguf")
    top = sorted((-e["downloads"], e["id"]) for e in lists("gguf"))
    trends = sorted(lists("gguf"), key=lambda e: (-(e.get("trendingScore") or 0), e["id"]))
    got = set(rows())
    floor = -top[699][0]
    sure = {i for d, i in top if -d > floor}
    ok(r.code == 0 and sure <= got and 700 <= len(got) <= 1200, f"the most downloaded, and the trending ({len(got)})", r)
    ok(all(e["id"] in got for e in trends if (e.get("trendingScore") or 0) > (trends[500].get("trendingScore") or 0)), "these too")
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    hub.entries[:] = hub.entries + [dict(lists("gguf")[0], id="low/x-GGUF", downloads=floor - 1, lastModified=now, trendingScore=-5),
                                    dict(lists("gguf")[0], id="high/x-GGUF", downloads=floor + 1, lastModified=now, trendingScore=-5)]
    r = sync("--list", "gguf")
    got = rows()
    ok(r.code == 0 and not r.lists["gguf"]["whole"] and "high/x-GGUF" in got and "low/x-GGUF" not in got,
       "later on what is new must be as popular; the limit is remembered", r)
    r = sync("--limit", "300", "--list", "gguf")
    ok(r.code == 0 and r.lists["gguf"]["whole"] and len(rows()) <= 800, "another limit is another catalogue", r, len(rows()))
    r = sync("--all", "--list", "gguf")
    ok(r.code == 0 and len(rows()) == len(lists("gguf")) and any("sort=createdAt" in p for p in asked()), "--all is all", r)


def faults():
    def case(name, code=0, part="", count=None, args=(), **set_):
        fresh()
        hub.entries[:] = MODELS
        for k, v in set_.items():
            setattr(F, k, v)
        r = sync("--list", "gguf", *args)
        good = r.code == code and part in r.err
        if code == 0:
            good = good and len(rows()) == len(lists("gguf"))
        ok(good and (count is None or len(asked()) == count), name, r, len(asked()))
        return r

    r = case("429 with Retry-After", api_status=[(429, 2)])
    ok(r.seconds >= 2 and "429" in r.err, f"waits as long as it is told, and says so ({r.seconds:.1f} s)", r)
    case("status 503 and 500", api_status=[(503, None), (500, None)])
    case("status 502 and 408", api_status=[(502, None), (408, None)])
    case("pages whose connection ends early", api_truncate=2)
    case("pages that are half a JSON text", api_garbage=2)
    case("pages that stall", api_stall=2, args=("--stall", "1s"))
    case("answers to a range that nobody asked for", api_partial=2)
    r = case("a quota that is used up", quota='"api";r=0;t=1')
    ok(r.seconds >= 3 and r.err.count("quota") == 3, f"is waited for before the next page ({r.seconds:.1f} s)", r)
    case("a quota with room", quota='"api";r=450;t=299')
    case("slow pages", api_rate=3 << 20)
    r = case("a hub that does not know what is asked for (400)", api_status=[(400, None)])
    ok(any("full=true" in p for p in asked()), "is asked for all it has", asked()[:2])
    case("small pages, as a hub may choose", page=100)
    case("a hub that fails for ever", code=69, part="503", api_status=[(503, None)] * 99, args=("--retries", "1"))
    case("one that is half JSON for ever", code=65, part="list of models", api_garbage=99, args=("--retries", "1"))
    r = case("one that dies in the middle", code=69, part="503", dead_after=2, args=("--retries", "1"))
    ok(len(rows()) == 1000 and r.lists["gguf"]["added"] == 1000 and not r.lists["gguf"]["complete"], "leaves what came", r)
    hub.clear()
    r = sync("--list", "gguf")
    ok(r.code == 0 and r.lists["gguf"]["resumed"] and len(rows()) == len(lists("gguf")) and len(asked()) == 2,
       "and goes on there", r, len(asked()))
    case("a next page at another host is asked of this one", next=lambda u: u.replace(hub.url, "http://192.0.2.1:9"))
    # Its own address again and again would be a walk without end.
    fresh()
    hub.entries[:] = MODELS
    F.next = lambda u: f"{hub.url}{asked()[-1]}"
    r = sync("--list", "gguf")
    ok(r.code == 0 and len(asked()) < 5, "a page that names itself as the next ends the list", r, len(asked()))


def cut_lists():
    """A hub that suddenly lists next to nothing must not empty the catalogue."""
    fresh()
    hub.entries[:] = MODELS
    sync("--list", "gguf")
    n = len(rows())
    for name, entries in (("an empty list", []), ("a list of a few", MODELS[:300])):
        hub.entries[:] = entries
        r = sync("--list", "gguf", "--full")
        ok(r.code == 0 and len(rows()) == n and "none is taken out" in r.err, f"{name} takes nothing out, and is told", r)
    hub.entries[:] = MODELS[:2000]
    r = sync("--list", "gguf", "--full")
    ok(r.code == 0 and len(rows()) == len(lists("gguf")), "one that is shorter by a quarter is believed", r)


def odd_entries():
    fresh()
    hub.entries[:] = MODELS[:50] + [dict(MODELS[0], id="odd/number", likes="many", tags=["gguf"]),
                                    dict(MODELS[0], id="../../etc/passwd", tags=["gguf"]),
                                    dict(MODELS[0], id="odd/tags", tags=["gguf", 7]),
                                    dict(MODELS[0], id="odd/x\u001b[2J", tags=["gguf"])]
    r = sync("--list", "gguf")
    got = rows()
    ok(r.code == 0 and r.lists["gguf"]["unreadable"] == 4, "entries that cannot be read are left out", r)
    ok(not [i for i in got if i.startswith(("odd/", ".."))] and len(got) == len([e for e in MODELS[:50] if "gguf" in e["tags"]]),
       "and only they", len(got))
    fresh()
    r = catalog("sync", "--list", "gguf")
    ok(r.code == 0 and "could not be read" in r.out and "\x1b" not in r.out, "the first is named", r)


def tokens():
    fresh()
    hub.entries[:] = MODELS[:200]
    r = sync(HF_TOKEN=TOKEN)
    ok(r.code == 0 and all(a == f"Bearer {TOKEN}" for _, a, _ in hub.seen["hub"]), "the hub gets the token", r)
    fresh()
    F.api_redirect = hub.cdn_url + "/api/models"
    r = sync("--retries", "0", HF_TOKEN=TOKEN)
    ok(r.code != 0 and hub.seen["cdn"] and all(a is None for _, a, _ in hub.seen["cdn"]), "another origin does not", r, hub.seen["cdn"])
    fresh()
    F.api_redirect = "http://192.0.2.1/api/models"
    r = sync(HF_TOKEN=TOKEN)
    ok(r.code == 77 and "192.0.2.1" in r.err, "and a redirection to any other host is refused", r)
    ok(TOKEN not in r.out + r.err, "nobody prints it")
    r = sync(RBEE_HUB_URL="http://example.com")
    ok(r.code == 64 and "example.com" in r.err, "a hub without https is none", r)


def interrupted():
    fresh()
    hub.entries[:] = MODELS
    F.page, F.api_rate = 60, int(400000 / SLOW)
    p = start([RBEE, "catalog", "sync", "--list", "gguf"], env=settings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: len(asked()) > 4, 20)
    p.send_signal(signal.SIGINT)
    out, err = (x.decode() for x in p.communicate(timeout=20 * SLOW))
    ok(p.returncode == 130 and "goes on from here" in err and "new" in out, "Ctrl-C ends it and says what is kept", p.returncode, out, err)
    n = len(rows())
    ok(n >= 180, f"what came is there ({n})")
    s = catalog("status")
    ok("not at its end" in s.out, "status says that it is unfinished", s)
    pages = len(asked())
    F.api_rate = 0
    r = sync("--list", "gguf")
    ok(r.code == 0 and r.lists["gguf"]["resumed"] and len(rows()) == len(lists("gguf")), "the same command goes on", r)
    all_pages = -(-len(lists("gguf")) // 60) + 1
    ok(len(asked()) - pages <= all_pages - pages + 2, "and fetches no page twice but the last", len(asked()), pages, all_pages)


def killed():
    """Thirty kills at random moments of one walk."""
    fresh()
    hub.entries[:] = MODELS
    rnd = random.Random(5)
    kills = rounds = 0
    F.page = 60
    while kills < 30 and rounds < 120:
        rounds += 1
        F.api_rate = int(rnd.choice((250000, 500000, 4000000)) / SLOW)
        p = start([RBEE, "catalog", "sync", "--list", "gguf", *(["--full"] if rounds % 9 == 0 else [])], env=settings(),
                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            p.wait(timeout=rnd.uniform(0.01, 0.6) * SLOW)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
            kills += 1
    same(kills, 30, "killed thirty times")
    F.api_rate = 0
    r = sync("--list", "gguf", "--full")
    got = rows()
    ok(r.code == 0 and set(got) == {e["id"] for e in lists("gguf")}, "it ends with all of it", r, len(got))
    ok(catalog("check").code == 0, "and nothing is broken")


def together():
    fresh()
    hub.entries[:] = MODELS
    F.page, F.api_rate = 100, int(800000 / SLOW)
    two = [start([RBEE, "catalog", "sync", "--list", "gguf"], env=settings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
           for _ in range(2)]
    ends = [(p.communicate(timeout=60 * SLOW), p.returncode) for p in two]
    codes = sorted(c for _, c in ends)
    ok(codes in ([0, 75], [0, 0]) and len(rows()) == len(lists("gguf")), "two at once: one does it, the other steps back", ends)
    fresh()
    F.page, F.api_rate = 100, int(800000 / SLOW)
    two = [start([RBEE, "catalog", "sync", "--list", x], env=settings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
           for x in ("gguf", "safetensors")]
    ends = [(p.communicate(timeout=60 * SLOW), p.returncode) for p in two]
    ok(all(c == 0 for _, c in ends) and len(rows()) == len({e["id"] for x in ("gguf", "safetensors") for e in lists(x)}),
       "two lists at once both come", ends)


def strange_cursor():
    fresh()
    hub.entries[:] = MODELS
    F.dead_after = 2
    sync("--list", "gguf", "--retries", "0")
    hub.clear()
    db = sqlite3.connect(DB)
    db.execute("UPDATE sync SET next = ?", (f"{hub.url}/api/models?filter=gguf&sort=downloads&direction=-1&limit=500&cursor=xx",))
    db.commit()
    db.close()
    r = sync("--list", "gguf")
    ok(r.code == 0 and "begun again" in r.err and len(rows()) == len(lists("gguf")), "a place that the hub forgot: from the start", r)
    fresh(keep=True)
    other = Hub()
    other.entries[:] = MODELS[:100]
    r = sync("--list", "gguf", RBEE_HUB_URL=other.url)
    ok(r.code == 0 and r.lists["gguf"]["whole"] and len(rows()) == len([e for e in MODELS[:100] if "gguf" in e["tags"]]),
       "another hub is another catalogue", r)
    other.close()


def files():
    fresh()
    hub.entries[:] = MODELS
    sync()
    a, b, c = (f"{HOME}/{x}.jsonl" for x in "abc")
    r = catalog("export", a)
    n = len(rows())
    ok(r.code == 0 and f"{n:,} models" in r.out and not [f for f in os.listdir(HOME) if ".part" in f], "export", r)
    other = {"XDG_DATA_HOME": f"{HOME}/elsewhere"}
    r = catalog("import", a, **other)
    ok(r.code == 0 and f"{n:,} new" in r.out, "import on another machine", r)
    catalog("export", b, **other)
    lines = [sorted(open(x).read().splitlines()[1:-1]) for x in (a, b)]
    ok(lines[0] == lines[1], "is the same catalogue")
    r = catalog("export", "-", **other)
    ok(r.code == 0 and len(r.out.splitlines()) == n + 2, "to standard output", r.err)
    r = catalog("import", "-", stdin=r.out, XDG_DATA_HOME=f"{HOME}/third")
    ok(r.code == 0 and f"{n:,} new" in r.out, "and from standard input", r)
    fifo, got = f"{HOME}/fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: got.append(open(fifo).read()))
    reader.start()
    r = catalog("export", fifo)
    ok(stat.S_ISFIFO(os.stat(fifo).st_mode), "a pipe or a device is written to, not replaced", r)
    if not stat.S_ISFIFO(os.stat(fifo).st_mode):
        return
    reader.join()
    ok(r.code == 0 and len(got[0].splitlines()) == n + 2, "with all of it", r)
    text = open(a).read()
    open(c, "w").write(text[:len(text) // 2])
    r = catalog("import", c, XDG_DATA_HOME=f"{HOME}/fourth")
    ok(r.code == 65 and ("middle" in r.err or "cut off" in r.err), "half a file is refused", r)
    same(json.loads(catalog("status", "--json", XDG_DATA_HOME=f"{HOME}/fourth").out)["models"], 0, "and none of it is taken")
    open(c, "w").write(text.replace('"downloads":', '"downloads":1', 1))
    r = catalog("import", c, XDG_DATA_HOME=f"{HOME}/fourth")
    ok(r.code == 65 and "damaged" in r.err, "a changed one too", r)
    r = catalog("import", f"{HOME}/nothing")
    ok(r.code == 66, "one that is not there", r)
    r = catalog("export", f"{HOME}/no/folder/x")
    ok(r.code == 66 and "no/folder" in r.err, "a folder that is not there", r)
    open(c, "w").write(json.dumps(MODELS[:30]))
    r = catalog("import", "--replace", "--json", c)
    ok(r.code == 0 and json.loads(r.out)["models"] == 30 and len(rows()) == 30, "a reply of the hub's API, in place of what was there", r)
    for bad in (["import"], ["export"], ["status", "x"], ["nonsense"], ["sync", "--all", "--limit", "5"], []):
        r = catalog(*bad)
        ok(r.code == 64, f"'{' '.join(bad)}' is no command", r)


def real():
    fresh()
    folder = f"{DATA}/hub"
    if not os.path.isdir(folder):
        return skip("no real replies of the Hub in the shared data")
    for name, n in (("api_models_list.json", 6), ("api_model_gguf.json", 1), ("api_model_safetensors.json", 1), ("hub_list_tags.json", 100)):
        r = catalog("import", "--json", f"{folder}/{name}")
        ok(r.code == 0 and json.loads(r.out)["models"] == n, f"{name}: {n} models", r)
    everything = subprocess.run([f"{ROOT}/tools/hub-fixture", "1700", "--real", folder, "--sizes", "1", "--lines"], stdout=subprocess.PIPE)
    r = catalog("import", "--json", "-", stdin=everything.stdout.decode())
    got = json.loads(r.out or "{}")
    ok(r.code == 0 and got.get("models", 0) > 1500 and got["models"] + got["unreadable"] == 1700, "real repositories by the fixture", r)


def disks():
    fresh()
    hub.entries[:] = MODELS
    mount = f"{HOME}/small"
    os.makedirs(mount, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount], capture_output=True).returncode:
        skip("no tmpfs may be mounted here: a full disk is not tried")
    else:
        try:
            r = sync(XDG_DATA_HOME=mount)
            ok(r.code == 73 and "disk is full" in r.err, "a full disk is a clear error", r)
            r = catalog("status", XDG_DATA_HOME=mount)
            ok(r.code in (0, 73), "and the catalogue can still be read or says why not", r)
            subprocess.run(["mount", "-o", "remount,size=64m", mount], check=True)
            r = sync(XDG_DATA_HOME=mount)
            ok(r.code == 0 and r.lists["gguf"]["resumed"], "with room it goes on", r)
        finally:
            subprocess.run(["umount", mount], check=False)
    fresh()
    os.makedirs(os.path.dirname(DB), exist_ok=True)
    with open(DB, "wb") as f:
        f.write(b"no database " * 1000)
    for args in (["sync"], ["status"], ["import", "-"], ["export", "-"]):
        r = catalog(*args)
        ok(r.code == 65 and DB in r.err and "rbee catalog sync" in r.err, f"a broken file: {args[0]} says what to do", r)
    os.unlink(DB)
    sync("--list", "gguf")
    db = sqlite3.connect(DB)
    db.execute("UPDATE db_schema SET version = 99")
    db.commit()
    db.close()
    r = catalog("status")
    ok(r.code == 69 and "newer rbee" in r.err, "one of a newer version", r)
    fresh()
    sync("--list", "gguf")
    db = sqlite3.connect(DB, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    r = catalog("status")
    ok(r.code == 0, "a reader does not wait for a writer", r)
    began = time.monotonic()
    p = start([RBEE, "catalog", "sync", "--list", "gguf", "--full"], env=settings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    err = p.communicate(timeout=60 * SLOW)[1].decode()
    ok(p.returncode == 75 and "another process" in err and time.monotonic() - began > 8, "a writer waits, and then says so", p.returncode, err)
    db.execute("ROLLBACK")
    db.close()


def terminal():
    fresh()
    hub.entries[:] = MODELS
    r = catalog("sync", "--list", "gguf")
    ok(r.code == 0 and "\r" not in r.err and "500 of 20,000 models" in r.err, "plain lines where there is no terminal", r)
    fresh()
    F.page = 200
    shown = on_tty([RBEE, "catalog", "sync", "--list", "gguf"], settings(), apart=("stdin", "stdout"), patience=30 * SLOW, start=start)
    ok(shown.code == 0 and all(x in shown.text for x in ("\r", "a second", "of 20,000 models")), "progress on a terminal", shown)
    holds(shown.out, "new", "and what changed at the end")


def fixture():
    again = made(300, "--seed", "7", "--sizes", "30")
    ok(again == made(300, "--seed", "7", "--sizes", "30") and again != made(300, "--sizes", "30"), "the fixture is the same for a seed")
    ok(len({e["id"].lower() for e in MODELS}) == len(MODELS) == 2600, "and has as many repositories as are asked for")


if __name__ == "__main__":
    for part in (first, later, limits, faults, cut_lists, odd_entries, tokens, interrupted, killed, together, strange_cursor, files, real,
                 disks, terminal, fixture):
        if not sys.argv[1:] or part.__name__ in sys.argv[1:]:
            part()
    done()
