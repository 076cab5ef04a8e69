"""A hub on loopback for the wire tests: the Hugging Face Hub's API and files, and its faults.

    hub = Hub()
    hub.repos["acme/Tiny-GGUF"] = {"tiny-Q4_0.gguf": b"..."}   # files: listed, described and served
    hub.entries += [{"id": "acme/Other", "downloads": 5, ...}]  # repositories without files, for lists
    rbee(..., env_=env(RBEE_HUB_URL=hub.url))

As on the Hub: lists come in pages that name the next one in a Link header, with the fields that `expand[]` or
`full` asks for; a detail has sizes and hashes with ?blobs=true; files are redirected to a second origin, which
knows ranges. hub.faults has a switch for each thing that goes wrong; hub.seen has every request.
"""
import base64
import hashlib
import http.server
import json
import struct
import threading
import time
import urllib.parse

TOKEN = "hf_wire_test_token"
COMMIT = "c0ffee" + "0" * 34
# What a list has without expand[] and without full; the same as the captured replies.
LIST_FIELDS = ("_id", "id", "author", "likes", "trendingScore", "private", "downloads", "tags", "pipeline_tag",
               "library_name", "createdAt", "modelId")
FULL_FIELDS = LIST_FIELDS + ("sha", "lastModified", "gated", "disabled", "siblings")
PAGE_MOST = 1000


class Faults:
    def __init__(self):
        self.clear()

    def clear(self):
        # files
        self.truncate = 0      # answers that end early
        self.status = []       # (code, Retry-After or None) of the next answers of the CDN
        self.wrong_range = 0   # answers with another range than was asked for
        self.no_range = False  # the whole file, whatever was asked for
        self.longer = False    # more bytes than the range has
        self.flip = False      # other bytes
        self.stall = 0         # answers that stop in the middle
        self.rate = 0          # bytes a second of one answer, but that with a header
        self.redirect = None   # where files are redirected to instead
        self.gated = False
        # the API
        self.api_status = []   # (code, Retry-After or None) of its next answers
        self.api_truncate = 0  # answers whose connection ends early
        self.api_garbage = 0   # answers that are complete and half a JSON text
        self.api_stall = 0     # answers that stop in the middle
        self.api_rate = 0      # bytes a second
        self.api_partial = 0   # answers with status 206 and a range that nobody asked for
        self.api_redirect = None  # where it redirects to
        self.next = None       # what Link names instead: a function of the right address
        self.page = 0          # entries of a page, whatever was asked for
        self.quota = None      # value of the RateLimit header
        self.dead_after = None  # lists: pages before the API answers with 503 for ever


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub = None  # set by Hub
    who = ""

    def log_message(self, *a):
        pass

    def reply(self, code, body=b"", **headers):
        self.send_response(code)
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.hub.note(self.who, self.path, self.headers)
        try:
            self.get()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def later(self, fault, text):
        return self.reply(fault[0], text, **({"Retry_After": str(fault[1])} if fault[1] is not None else {}))

    def paced(self, body, rate):
        step = 65536 if not rate else max(1024, rate // 20)
        for i in range(0, len(body), step):
            part = body[i:i + step]
            self.wfile.write(part)
            if self.who == "cdn":
                self.hub.count(len(part))
            if rate:
                time.sleep(step / rate)

    def broken(self, body, truncate, stall, rate):
        """The body, or half of it and then nothing."""
        cut = len(body) // 2 if len(body) > 1000 and self.hub.take(truncate) else 0
        stop = len(body) // 2 if len(body) > 1000 and not cut and self.hub.take(stall) else 0
        self.paced(body[:cut or stop or len(body)], rate)
        if stop:
            time.sleep(4)
        if cut or stop:
            self.close_connection = True


class Api(Handler):
    who = "hub"

    def get(self):
        path, _, query = self.path.partition("?")
        if path.startswith("/api/models"):
            return self.api(path, urllib.parse.parse_qs(query, keep_blank_values=True))
        f = self.hub.faults
        if f.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.reply(403, b"gated")
        if f.redirect:
            return self.reply(302, Location=f.redirect)
        repo, _, rest = path[1:].partition("/resolve/")
        name = urllib.parse.unquote(rest.partition("/")[2])
        if name not in self.hub.repos.get(repo, {}):
            return self.reply(404)
        self.reply(302, Location=f"{self.hub.cdn_url}/{repo}/{urllib.parse.quote(name)}?signature=secret")

    def api(self, path, query):
        f = self.hub.faults
        fault = self.hub.take("api_status")
        if fault:
            return self.later(fault, b"busy")
        if f.api_redirect:
            return self.reply(302, Location=f.api_redirect)
        headers = {"Content_Type": "application/json"}
        if path == "/api/models":
            if f.dead_after is not None and f.dead_after <= 0:
                return self.later((503, None), b"dead")
            if f.dead_after is not None:
                f.dead_after -= 1
            rows, link = self.hub.page(query)
            if rows is None:
                return self.reply(400, b'{"error":"invalid cursor"}', **headers)
            if link:
                headers["Link"] = f'<{f.next(link) if f.next else link}>; rel="next"'
            body = json.dumps(rows).encode()
        else:
            repo = urllib.parse.unquote(path[len("/api/models/"):].split("/revision/")[0])
            detail = self.hub.detail(repo, query)
            if detail is None:
                return self.reply(401 if not self.headers.get("Authorization") else 404, b"{}")
            body = json.dumps(detail).encode()
        if f.quota:
            headers["RateLimit"] = f.quota
        if self.hub.take("api_garbage"):
            body = body[:len(body) // 2]
        if self.hub.take("api_partial"):
            return self.reply(206, body[10:], Content_Range=f"bytes 10-{len(body) - 1}/{len(body)}", **headers)
        self.send_response(200)
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.broken(body, "api_truncate", "api_stall", f.api_rate)


class Cdn(Handler):
    who = "cdn"

    def get(self):
        f = self.hub.faults
        repo, _, name = urllib.parse.unquote(self.path.split("?")[0])[1:].rpartition("/")
        while repo and repo not in self.hub.repos:
            repo, _, folder = repo.rpartition("/")
            name = f"{folder}/{name}"
        if name not in self.hub.repos.get(repo, {}):
            return self.reply(404)
        data = self.hub.repos[repo][name]
        fault = self.hub.take("status")
        if fault:
            return self.later(fault, b"later")
        lo, hi, code = 0, len(data), 200
        asked = self.headers.get("Range")
        if asked and not f.no_range:
            a, _, b = asked.removeprefix("bytes=").partition("-")
            lo, hi, code = int(a), min(int(b) + 1, len(data)), 206
            if self.hub.take("wrong_range"):
                lo = max(0, lo - 7) if lo else 7
        body = data[lo:hi]
        if f.flip:
            body = bytes(x ^ 1 for x in body[:1]) + body[1:]
        if f.longer:
            body += b"more than was asked for"
        self.send_response(code)
        if code == 206:
            self.send_header("Content-Range", f"bytes {lo}-{hi - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.broken(body, "truncate", "stall", 0 if asked == "bytes=0-1048575" else f.rate)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *a):
        pass


class Hub:
    def __init__(self):
        self.faults = Faults()
        self.repos = {}    # id -> {file name: bytes}
        self.entries = []  # dicts as the API has them, of repositories that are not in repos
        self.more = {}     # id -> fields that the entry of one in repos gets
        self.seen = {"hub": [], "cdn": []}   # (path, Authorization, Range)
        self.sent = [0]                      # bytes of files
        self.hashes = {}
        self.lock = threading.Lock()
        self.api, self.cdn = self._serve(Api), self._serve(Cdn)
        self.url = f"http://127.0.0.1:{self.api.server_port}"
        self.cdn_url = f"http://localhost:{self.cdn.server_port}"  # another origin

    def _serve(self, handler):
        s = Server(("127.0.0.1", 0), type(handler.__name__, (handler,), {"hub": self}))
        threading.Thread(target=s.serve_forever, daemon=True).start()
        return s

    def close(self):
        for s in (self.api, self.cdn):
            s.shutdown()
            s.server_close()

    def clear(self):
        """No faults, nothing seen."""
        self.faults.clear()
        for v in self.seen.values():
            v.clear()
        self.sent[0] = 0

    def take(self, name):
        """One of a counted fault, or of a list of them."""
        with self.lock:
            v = getattr(self.faults, name)
            if isinstance(v, list):
                return v.pop(0) if v else None
            if v:
                setattr(self.faults, name, v - 1)
            return v

    def note(self, who, path, headers):
        with self.lock:
            self.seen[who].append((path, headers.get("Authorization"), headers.get("Range")))

    def count(self, n):
        with self.lock:
            self.sent[0] += n

    # ---- what the API says ----

    def _sha256(self, data):
        if isinstance(data, Sparse):
            return data.digest
        if id(data) not in self.hashes:
            self.hashes[id(data)] = (data, hashlib.sha256(data).hexdigest())  # held, so that no other gets its id
        return self.hashes[id(data)][1]

    def _of_files(self, repo):
        tags = sorted({"gguf" if n.endswith(".gguf") else "safetensors" for n in self.repos[repo]
                       if n.endswith((".gguf", ".safetensors"))})
        siblings = []
        for name, data in self.repos[repo].items():
            f = {"rfilename": name, "size": len(data)}
            if name.endswith((".gguf", ".safetensors")):
                f["lfs"] = {"sha256": self._sha256(data), "size": len(data), "pointerSize": 135}
                f["blobId"] = "0" * 40
            else:
                f["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            siblings.append(f)
        return {"_id": hashlib.sha1(repo.encode()).hexdigest()[:24], "id": repo, "modelId": repo,
                "author": repo.split("/")[0], "sha": COMMIT, "gated": False, "private": False, "disabled": False,
                "downloads": 1, "likes": 0, "lastModified": "2025-01-01T00:00:00.000Z",
                "createdAt": "2024-01-01T00:00:00.000Z", "siblings": siblings, "tags": tags, **self.more.get(repo, {})}

    def _all(self):
        return [self._of_files(r) for r in self.repos] + self.entries

    @staticmethod
    def _without_blobs(entry):
        if "siblings" in entry:
            entry = dict(entry, siblings=[{"rfilename": f["rfilename"]} for f in entry["siblings"]])
        return entry

    def detail(self, repo, query):
        own = next((r for r in self.repos if r.lower() == repo.lower()), None)
        e = self._of_files(own) if own else next((x for x in self.entries if x["id"].lower() == repo.lower()), None)
        if e is None:
            return None
        expand = query.get("expand[]", []) + query.get("expand", [])
        if query.get("blobs", ["false"])[0] not in ("true", "1"):
            e = self._without_blobs(e)
        return {k: v for k, v in e.items() if not expand or k in expand or k in ("_id", "id")}

    def page(self, query):
        """The entries of a page, and the address of the next or None; None, None for a wrong cursor."""
        one = {k: v[-1] for k, v in query.items()}
        sort = {"trending": "trendingScore"}.get(one.get("sort", "trendingScore"), one.get("sort", "trendingScore"))
        filters = [t for v in query.get("filter", []) for t in v.split(",")]
        words = one.get("search", "").lower()
        rows = [e for e in self._all()
                if all(t in e.get("tags", []) for t in filters) and words in e["id"].lower()
                and one.get("author", e.get("author")) == e.get("author")]
        zero = "" if sort in ("lastModified", "createdAt") else 0
        rows.sort(key=lambda e: (e.get(sort) or zero, e["id"]), reverse=one.get("direction", "-1") == "-1")
        at = 0
        if "cursor" in one:  # opaque: the place behind an entry, also when that is gone
            try:
                value, last = json.loads(base64.urlsafe_b64decode(one["cursor"]))
            except ValueError:
                return None, None
            at = sum((e.get(sort) or zero, e["id"]) >= (value, last) for e in rows)
        n = min(int(one.get("limit", PAGE_MOST)), PAGE_MOST)
        n = self.faults.page or n
        part, rest = rows[at:at + n], rows[at + n:]
        expand = query.get("expand[]", []) + query.get("expand", [])
        fields = set(expand + ["_id", "id"]) if expand else set(FULL_FIELDS if one.get("full") in ("true", "1") else LIST_FIELDS)
        out = [{k: v for k, v in self._without_blobs(e).items() if k in fields} for e in part]
        if not rest or not part:
            return out, None
        place = json.dumps([part[-1].get(sort) or zero, part[-1]["id"]]).encode()
        again = [(k, v) for k, vs in query.items() if k != "cursor" for v in vs]
        again.append(("cursor", base64.urlsafe_b64encode(place).decode()))
        return out, f"{self.url}/api/models?{urllib.parse.urlencode(again)}"


# ---- files ----

def split(data):
    """A GGUF file as two: keys and the first half of the tensors, the other half."""
    at = [24]
    n_tensors, n_kv = struct.unpack_from("<QQ", data, 8)
    size = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def number(fmt):
        v = struct.unpack_from("<" + fmt, data, at[0])[0]
        at[0] += struct.calcsize(fmt)
        return v

    def value(kind):
        if kind == 8:
            n = number("Q")
            at[0] += n
        elif kind == 9:
            elem, n = number("I"), number("Q")
            for _ in range(n):
                value(elem)
        else:
            at[0] += size[kind]

    for _ in range(n_kv):
        value(8)
        value(number("I"))
    keys = data[24:at[0]]
    infos = []
    for _ in range(n_tensors):
        begin = at[0]
        value(8)
        dims = number("I")
        at[0] += 8 * dims + 4
        infos.append((data[begin:at[0]], number("Q")))
    base = (at[0] + 31) // 32 * 32
    ends = [off for _, off in infos[1:]] + [len(data) - base]

    def key(name, kind, raw):
        return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + raw

    def part(no, chosen, kv, n):
        kv += key(b"split.no", 2, struct.pack("<H", no)) + key(b"split.count", 2, struct.pack("<H", 2))
        kv += key(b"split.tensors.count", 5, struct.pack("<i", n_tensors))
        head, body = b"", b""
        for i in chosen:
            head += infos[i][0] + struct.pack("<Q", len(body))
            body += data[base + infos[i][1]:base + ends[i]]
        out = b"GGUF" + struct.pack("<IQQ", 3, len(chosen), n + 3) + kv + head
        return out + b"\0" * (-len(out) % 32) + body

    half = n_tensors // 2
    return part(0, range(half), keys, n_kv), part(1, range(half, n_tensors), b"", 0)


def safetensors(tensors, dtype="F16"):
    """A file of zeros: {name: shape}."""
    head, at = {}, 0
    for name, shape in tensors.items():
        n = 2
        for d in shape:
            n *= d
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def llama_shards(c):
    """The weights that a config.json of Llama asks for, in two files."""
    d, kv = c["hidden_size"], c["hidden_size"] // c["num_attention_heads"] * c["num_key_value_heads"]
    layer = {"self_attn.q_proj": [d, d], "self_attn.k_proj": [kv, d], "self_attn.v_proj": [kv, d], "self_attn.o_proj": [d, d],
             "mlp.gate_proj": [c["intermediate_size"], d], "mlp.up_proj": [c["intermediate_size"], d],
             "mlp.down_proj": [d, c["intermediate_size"]], "input_layernorm": [d], "post_attention_layernorm": [d]}
    ends = {"model.embed_tokens.weight": [c["vocab_size"], d], "model.norm.weight": [d], "lm_head.weight": [c["vocab_size"], d]}
    layers = {f"model.layers.{i}.{n}.weight": s for i in range(c["num_hidden_layers"]) for n, s in layer.items()}
    return safetensors(layers), safetensors(ends)


def llama_folder(**more):
    """A Hugging Face folder of a small Llama, all zeros: {file name: bytes}."""
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
              "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256,
              "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", **more}
    one, two = llama_shards(config)
    where = {n: f"model-0000{i}-of-00002.safetensors" for i, s in ((1, one), (2, two))
             for n in json.loads(s[8:8 + struct.unpack_from("<Q", s)[0]])}
    return {"config.json": json.dumps(config).encode(), "model-00001-of-00002.safetensors": one, "tokenizer.json": b"{}",
            "model-00002-of-00002.safetensors": two, "tokenizer_config.json": b"{}",
            "model.safetensors.index.json": json.dumps({"weight_map": where}).encode(), "tokenizer.model": b""}


class Sparse:
    """A file of which only the first bytes are held: the rest is zeros. For models of any size."""

    def __init__(self, head, size):
        self.head, self.size = head, size
        self.digest = hashlib.sha256(head + str(size).encode()).hexdigest()  # nobody downloads all of it

    def __len__(self):
        return self.size

    def __getitem__(self, span):
        lo, hi, _ = span.indices(self.size)
        part = self.head[lo:hi]
        return part + bytes(min(hi - lo, 64 << 20) - len(part))


# name in a file, id, weights of a block, bytes of it
QUANTS = {"Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34), "F16": (1, 1, 2), "F32": (0, 1, 4)}


def llama_gguf(quant, layers=32, width=4096, inner=14336, heads=32, kv_heads=8, vocab=32000, context=32768, arch="llama"):
    """A Llama of any shape as a GGUF file whose weights are zeros: Sparse."""
    def text(s):
        return struct.pack("<Q", len(s)) + s.encode()

    def kv(key, kind, raw):
        return text(key) + struct.pack("<I", kind) + raw

    def number(key, v):
        return kv(f"{arch}.{key}", 4, struct.pack("<I", v))

    keys = [kv("general.architecture", 8, text(arch)), number("block_count", layers), number("context_length", context),
            number("embedding_length", width), number("feed_forward_length", inner), number("attention.head_count", heads),
            number("attention.head_count_kv", kv_heads),
            kv(f"{arch}.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5)),
            kv("tokenizer.ggml.model", 8, text("llama")),
            kv("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, vocab) + b"".join(text(f"t{i}") for i in range(vocab))),
            kv("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, vocab) + bytes(4 * vocab)),
            kv("tokenizer.ggml.token_type", 9, struct.pack("<IQ", 5, vocab) + struct.pack("<i", 1) * vocab),
            kv("tokenizer.chat_template", 8, text("{{ messages[0].content }}"))]
    kv_width = width // heads * kv_heads
    tensors = [("token_embd", [width, vocab]), ("output_norm", [width]), ("output", [width, vocab])]
    for i in range(layers):
        tensors += [(f"blk.{i}.{n}", d) for n, d in (
            ("attn_norm", [width]), ("attn_q", [width, width]), ("attn_k", [width, kv_width]), ("attn_v", [width, kv_width]),
            ("attn_output", [width, width]), ("ffn_norm", [width]), ("ffn_gate", [width, inner]), ("ffn_up", [width, inner]),
            ("ffn_down", [inner, width]))]
    infos, at = b"", 0
    for name, dims in tensors:
        kind, block, size = QUANTS[quant if len(dims) > 1 else "F32"]
        n = 1
        for d in dims:
            n *= d
        infos += text(name + ".weight") + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        infos += struct.pack("<IQ", kind, at)
        at += n // block * size
        at += -at % 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + infos
    head += bytes(-len(head) % 32)
    return Sparse(head, len(head) + at)
