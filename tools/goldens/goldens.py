#!/usr/bin/env python3
"""Makes tiny models of many families with the answers llama.cpp gives for them: tests/golden/families.

    goldens.py LIBRARY_FOLDER OUT [NAME...]      writes OUT/NAME/ for the rows of families.py (or the named ones), and OUT/index.txt
    goldens.py LIBRARY_FOLDER OUT --variants     writes variants of the rows with other sizes and seeds (variants.py)
    goldens.py LIBRARY_FOLDER --compare DIR      recomputes the answers in DIR, e.g. with --cpu LIBRARY, and prints the differences

LIBRARY_FOLDER holds libllama, libggml and a CPU back end (--cpu, default the plain x86-64 one, which rounds as the C source does).
Developers run it, its output is checked in; nothing else in the project needs it or the library. No package beyond Python's own.

How one model is made: the row's keys go into a file without tensors; libllama names the tensors it wants for them; the row adds
optional ones; draw.py fills them; the head is scaled so that logits deviate by about two. Seeds are tried until the greedy
continuation has clear margins and one-by-one decoding agrees with the batch, so that a right engine cannot fail by rounding.
"""
import argparse
import array
import math
import os
import re
import sys
import tempfile

import draw
import families
import forward
import gguf
import llama

GREEDY = 16
SEEDS = 120
MARGIN = {False: 0.03, True: 0.08}
TABLE_LIMIT = 5e-7
LETTERS = [chr(c) for c in range(33, 127)]
SPECIAL = {"gpt2": 3, "bert": 5}
POOL_RANK = 4
RANK = [(r"(time|channel)_mix_lerp_[a-z]\b", 3), (r"ssm_norm\.weight", 2)]  # trailing ones that real files keep


def tokenizer(kind, n):
    """Keys of a complete, minimal vocabulary of n tokens. Ids below SPECIAL[kind] are control tokens."""
    k, special = "tokenizer.ggml.", SPECIAL[kind]
    keys = {k + "model": kind}
    if kind == "gpt2":
        words = ["<|pad|>", "<|bos|>", "<|eos|>", "\u0120", "\u010a"] + [w for w in LETTERS if w.islower() or w.isdigit()]
        words += [".", ",", "ab", "abc", "\u0120a"]
        words += [w for w in LETTERS if w not in words]
        keys.update({k + "pre": "gpt-2", k + "tokens": words[:n], k + "token_type": [3] * special + [1] * (n - special),
                     k + "merges": ["a b", "ab c", "\u0120 a"], k + "bos_token_id": 1, k + "eos_token_id": 2,
                     k + "padding_token_id": 0, k + "add_bos_token": False, k + "add_eos_token": False})
    else:
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + ["\u2581" + c for c in "abcdefghijklmnopqrstuvwxyz"]
        words += list("abcdefghijklmnopqrstuvwxyz0123456789.,:;-+")
        keys.update({k + "tokens": words[:n], k + "token_type": [3, 2, 3, 3, 3] + [1] * (n - 5), k + "bos_token_id": 2,
                     k + "eos_token_id": 3, k + "unknown_token_id": 1, k + "seperator_token_id": 3, k + "padding_token_id": 0,
                     k + "cls_token_id": 2, k + "mask_token_id": 4, k + "token_type_count": 2})
    return keys


def file_keys(row):
    keys = {"general.architecture": row["arch"], "general.name": "golden", row["arch"] + ".vocab_size": families.VOCAB}
    keys.update({k[1:] if k[0] == "=" else row["arch"] + "." + k: v for k, v in row["keys"].items()})
    keys.update(tokenizer(row["vocab"], families.VOCAB))
    if row["kind"] != "logits":
        keys["tokenizer.ggml.token_type_count"] = 2
    return keys


def wanted(library, row, keys, scratch):
    """Names and shapes of all tensors: the row's optional ones and what the library insists on beside them."""
    extra = {}
    for name, shape in row["extra"].items():
        found = re.match(r"blk\.(\*|\{[0-9,]+\})\.(.*)", name)
        if not found:
            extra[name] = shape
            continue
        layers = range(row["keys"]["block_count"]) if found[1] == "*" else map(int, found[1][1:-1].split(","))
        extra.update({"blk.%d.%s" % (i, found[2]): shape for i in layers})
    gguf.write(scratch, keys, [])
    shapes = dict(library.tensors(scratch, extra))
    lost = set(extra) - set(shapes)
    if lost:
        raise RuntimeError("libllama has no use for " + " ".join(sorted(lost)))
    for name, shape in shapes.items():
        rank = next((r for pattern, r in RANK if re.search(pattern, name)), 0)
        shapes[name] = tuple(shape) + (1,) * (rank - len(shape))
    return shapes


def deviation(rows):
    flat = [x for r in rows for x in r]
    mean = sum(flat) / len(flat)
    return math.sqrt(sum((x - mean) ** 2 for x in flat) / len(flat))


def prompt(row, seed):
    r = draw.random.Random("prompt/%s/%d" % (row["name"], seed))
    low = SPECIAL[row["vocab"]]
    ids = [r.randrange(low, families.VOCAB) for _ in range(row["n"])]
    if row["vocab"] == "bert":
        ids[0], ids[-1] = 2, 3
    return ids


def continuation(model, ids, low):
    """(ids, smallest margin, largest difference to the batch) of the greedy continuation, one id at a time; margin 0 if it is poor."""
    rows = model.logits(ids)
    out, margin = [], 1e9
    last = rows[-1]
    at = len(ids)
    for _ in range(GREEDY):
        order = sorted(range(len(last)), key=last.__getitem__)
        margin = min(margin, last[order[-1]] - last[order[-2]])
        out.append(order[-1])
        last = model.logits([order[-1]], at)[0]
        at += 1
    model.clear()
    whole = model.logits(ids + out)
    step = max(abs(a - b) for a, b in zip(whole[-1], last))
    model.clear()
    if min(out) < low or len(set(out)) < 4 or step > 1e-4:
        margin = 0
    return rows, out, margin, step


def scaled(tensors, factor):
    names = [t[0] for t in tensors]
    head = "output.weight" if "output.weight" in names else "token_embd.weight"
    return [(n, s, k, array.array("f", [x * factor for x in d]) if n == head else d) for n, s, k, d in tensors]


def draw_all(row, shapes, seed):
    width = row["keys"]["embedding_length"]
    emb = row["emb"] or (1.0 if "output.weight" in shapes or row["kind"] != "logits" else 0.5)
    kind_of = lambda name: gguf.TYPE_Q8_0 if name in row["q8"] else gguf.TYPE_F32
    stored = lambda n, data: gguf.as_q8_0(data) if n in row["q8"] else data
    return [(n, s, kind_of(n), stored(n, draw.tensor(n, s, seed, width, emb, row["init"]))) for n, s in shapes.items()]


def save(folder, keys, tensors, files):
    os.makedirs(folder, exist_ok=True)
    size = gguf.write(os.path.join(folder, "model.gguf"), keys, tensors)
    for name, data in files.items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data if isinstance(data, bytes) else (" ".join(map(str, data)) + "\n").encode())
    return size


def raw(rows):
    return b"".join(r.tobytes() for r in rows)


def nmse(want, got):
    return sum((a - b) ** 2 for a, b in zip(want, got)) / sum(a * a for a in want)


def second_opinion(row, tensors, ids, name, data):
    """For a GELU model: ({exact-NAME: the answer without the library's table}, how far the table takes the library from it).

    With the table the forward pass must be the library's answer; if it is far off, one of the two is wrong. A little off means that
    some value lies between two entries and the model amplifies it: the distance is infinite then, so that another seed is taken.
    """
    if not row["gelu"] or row["arch"] not in forward.FORWARD:
        return {}, 0.0
    rows, pool = forward.run(row, tensors, ids, True)
    got = pool if name == "pooled.f32" else [x for r in rows for x in r]
    if nmse(data, got) > 1e-5:
        raise RuntimeError("%s: the forward pass differs by %.1e" % (name, nmse(data, got)))
    if nmse(data, got) > 3e-9:
        return {}, math.inf
    rows, pool = forward.run(row, tensors, ids, False)
    got = array.array("f", pool if name == "pooled.f32" else [x for r in rows for x in r])
    return {"exact-" + name: got.tobytes()}, nmse(got, data)


def make_decoder(library, row, shapes, keys, out, first):
    scratch = out + ".tmp"
    best = None
    for seed in range(first, first + SEEDS):
        tensors = draw_all(row, shapes, seed)
        ids = prompt(row, seed)
        for _ in range(2):
            gguf.write(scratch, keys, tensors)
            model = llama.Model(library, scratch)
            dev = deviation(model.logits(ids))
            model.close()
            if not dev > 0 or dev == math.inf:
                raise RuntimeError("%s: logits deviate by %r" % (row["name"], dev))
            tensors = scaled(tensors, 2 / dev)
        gguf.write(scratch, keys, tensors)
        model = llama.Model(library, scratch)
        rows, greedy, margin, step = continuation(model, ids, SPECIAL[row["vocab"]])
        model.close()
        if margin < MARGIN[row["gelu"]] and best and margin <= best[3]:
            continue
        exact, off = second_opinion(row, tensors, ids, "logits.f32", [x for r in rows for x in r])
        if off > TABLE_LIMIT:
            continue
        best = (tensors, ids, rows, margin, greedy, seed, step, exact, off)
        if margin >= MARGIN[row["gelu"]]:
            break
    os.remove(scratch)
    tensors, ids, rows, margin, greedy, seed, step, exact, off = best
    files = {"tokens.txt": ids, "logits.f32": raw(rows), "greedy.txt": greedy, **exact}
    note = "seed %d, greedy margin %.4f, step %.1e, deviation %.2f" % (seed, margin, step, deviation(rows))
    return save(out, keys, tensors, files), note + (", table %.1e" % off if exact else "")


def encoded(library, row, shapes, path, ids):
    """{file name: floats} of one encoder."""
    def of(pooling, take):
        model = llama.Model(library, path, pooling)
        data = take(model)
        model.close()
        return data

    if row["kind"] == "rank":
        return {"pooled.f32": of(POOL_RANK, lambda m: m.pooled(ids, library.lib.llama_model_n_cls_out(m.m)))}
    files = {"pooled.f32": of(row["keys"]["pooling_type"], lambda m: m.pooled(ids, m.embd))}
    if not any(name.startswith("dense_") for name in shapes):  # without pooling the library applies these to every row
        files["embeddings.f32"] = of(0, lambda m: array.array("f", raw(m.embeddings(ids))))
    return files


def make_encoder(library, row, shapes, keys, out, first):
    for seed in range(first, first + SEEDS):
        tensors, ids = draw_all(row, shapes, seed), prompt(row, seed)
        size = save(out, keys, tensors, {"tokens.txt": ids})
        files = encoded(library, row, shapes, os.path.join(out, "model.gguf"), ids)
        if any(x != x for x in files["pooled.f32"]) or not any(files["pooled.f32"]):
            raise RuntimeError("%s: no embedding" % row["name"])
        note, exact, worst = "seed %d" % seed, {}, 0.0
        for name, data in files.items():
            more, off = second_opinion(row, tensors, ids, name, data)
            exact.update(more)
            worst = max(worst, off)
            note += ", %s table %.1e" % (name, off) if more else ""
        if worst <= TABLE_LIMIT:
            break
    save(out, keys, tensors, {**{name: data.tobytes() for name, data in files.items()}, **exact})
    return size, note


def make(library, row, out, seed):
    keys = file_keys(row)
    with tempfile.NamedTemporaryFile(suffix=".gguf") as scratch:
        shapes = wanted(library, row, keys, scratch.name)
    maker = make_decoder if row["kind"] == "logits" else make_encoder
    size, note = maker(library, row, shapes, keys, os.path.join(out, row["name"]), seed)
    print("%-24s %7d bytes  %s" % (row["name"], size, note), flush=True)
    with open(os.path.join(out, row["name"], "made.txt"), "w") as f:
        f.write("%s; %d bytes; %s\n" % (row["arch"], size, note))


def apart(library, row, out, seed):
    """make() in a process of its own, because libllama ends the process over a model it does not like. Returns 1 if that failed."""
    pid = os.fork()
    if pid:
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status):
            print("%-24s FAILED: signal %d" % (row["name"], os.WTERMSIG(status)), flush=True)
        return int(status != 0)
    library.log.clear()
    try:
        make(library, row, out, seed)
    except RuntimeError as e:
        print("%-24s FAILED: %s" % (row["name"], str(e).replace("\n", " | ")), flush=True)
        os._exit(1)
    os._exit(0)


def index(out, table):
    """out/index.txt: each model there with the class of tolerance that its activation allows."""
    made = [name for name in table if os.path.exists(os.path.join(out, name, "model.gguf"))]
    with open(os.path.join(out, "index.txt"), "w") as f:
        f.writelines("%s %s\n" % (name, "gelu" if table[name]["gelu"] else "exact") for name in sorted(made))


def compare(library, folder):
    """Largest difference and NMSE between the stored answers of folder/* and this library's."""
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name, "model.gguf")
        if not os.path.exists(path):
            continue
        ids = list(map(int, open(os.path.join(folder, name, "tokens.txt")).read().split()))
        if os.path.exists(os.path.join(folder, name, "logits.f32")):
            want = gguf.floats(os.path.join(folder, name, "logits.f32"))
            model = llama.Model(library, path)
            got = array.array("f", raw(model.logits(ids)))
        else:
            want = gguf.floats(os.path.join(folder, name, "pooled.f32"))
            model = llama.Model(library, path)
            got = model.pooled(ids, len(want))
        model.close()
        worst = max(abs(a - b) for a, b in zip(want, got))
        nmse = sum((a - b) ** 2 for a, b in zip(want, got)) / sum(a * a for a in want)
        print("%-28s max %.2e  nmse %.1e" % (name, worst, nmse), flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("library")
    p.add_argument("out")
    p.add_argument("names", nargs="*")
    p.add_argument("--cpu", default="libggml-cpu-x64.so")
    p.add_argument("--compare", action="store_true")
    p.add_argument("--variants", action="store_true")
    p.add_argument("--all", action="store_true", help="rows that the tree has no room for, too")
    a = p.parse_intermixed_args()
    library = llama.Library(a.library, a.cpu)
    if a.compare:
        return compare(library, a.out)
    table, seed = families.rows, 1
    if a.variants:
        import variants
        table, seed = variants.rows, 1001
    os.makedirs(a.out, exist_ok=True)
    names = a.names or [name for name in table if table[name]["tree"] or a.all]
    failed = sum(apart(library, table[name], a.out, seed) for name in names)
    index(a.out, table)
    return failed


if __name__ == "__main__":
    sys.exit(main())
