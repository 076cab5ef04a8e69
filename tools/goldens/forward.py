"""Second opinion: forward passes in float64, written from the formulas, for the families whose GELU libllama rounds.

libllama takes tanh-GELU from a table indexed by F16. run(..., tabled=True) imitates that table and must give libllama's answer to
rounding; run(..., tabled=False) then is the exact answer, which an engine that computes its GELU is held to. Plain lists and loops:
the models are tiny. x is one token's residual stream, xs all of them; shapes are in GGUF order.
"""
import math
import struct


def half(x):
    return struct.unpack("<e", struct.pack("<e", x))[0]


def gelu(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def tabled_gelu(x):
    return 0.0 if x <= -10 else x if x >= 10 else half(gelu(half(x)))


def add(a, b):
    return [x + y for x, y in zip(a, b)]


def mul(a, b):
    return [x * y for x, y in zip(a, b)]


def scale(a, c):
    return [x * c for x in a]


def length(a):
    return math.sqrt(sum(x * x for x in a))


def softmax(a):
    top = max(a)
    e = [math.exp(x - top) for x in a]
    return scale(e, 1 / sum(e))


def split(x, n):
    return [x[i:i + n] for i in range(0, len(x), n)]


def rope(x, pos, base, divisors=None):
    """Rotates halves: element i with element i + n/2."""
    n, y = len(x) // 2, x[:]
    for i in range(n):
        angle = pos * base ** (-i / n) / (divisors[i] if divisors else 1)
        c, s = math.cos(angle), math.sin(angle)
        y[i], y[i + n] = x[i] * c - x[i + n] * s, x[i] * s + x[i + n] * c
    return y


def attend(q, k, v, scaling, seen, slopes=None, cap=0.0):
    """q[token][head], k and v[token][kv head]; seen(i, j) says whether token i sees token j. Returns a row per token, heads joined."""
    rows, group = [], len(q[0]) // len(k[0])
    for i in range(len(q)):
        row = []
        for h, query in enumerate(q[i]):
            js = [j for j in range(len(k)) if seen(i, j)]
            scores = [scaling * sum(mul(query, k[j][h // group])) for j in js]
            if cap:
                scores = [cap * math.tanh(s / cap) for s in scores]
            if slopes:
                scores = [s - slopes[h] * abs(i - j) for s, j in zip(scores, js)]
            p = softmax(scores)
            row += [sum(w * v[j][h // group][n] for w, j in zip(p, js)) for n in range(len(v[0][0]))]
        rows.append(row)
    return rows


def alibi(heads, bias):
    """Slopes per head; a head count that is no power of two takes every other slope of the next one for the rest."""
    whole = 1 << int(math.log2(heads))
    return [2 ** (-bias * (h + 1) / whole) if h < whole else 2 ** (-bias / 2 * (2 * (h - whole) + 1) / whole) for h in range(heads)]


class Model:
    def __init__(self, arch, keys, tensors, tabled):
        self.arch, self.keys, self.act = arch, keys, tabled_gelu if tabled else gelu
        self.shape = {name: shape for name, shape, _, _ in tensors}
        self.data = {name: list(data) for name, _, _, data in tensors}
        self.eps = keys.get("attention.layer_norm_rms_epsilon", keys.get("attention.layer_norm_epsilon"))

    def has(self, name):
        return name + ".weight" in self.data

    def w(self, name):
        return self.data[name + ".weight"]

    def rows(self, name, ids):
        width = self.shape[name + ".weight"][0]
        return [self.w(name)[i * width:(i + 1) * width] for i in ids]

    def linear(self, name, x, expert=0):
        inputs, outputs = (list(self.shape[name + ".weight"]) + [1])[:2]
        w, at = self.w(name), expert * inputs * outputs
        y = [sum(w[at + r * inputs + i] * x[i] for i in range(inputs)) for r in range(outputs)]
        bias = self.data.get(name + ".bias")
        return add(y, bias) if bias else y

    def rms(self, x, name=None):
        y = scale(x, 1 / math.sqrt(sum(a * a for a in x) / len(x) + self.eps))
        return mul(y, self.w(name)) if name else y

    def norm(self, x, name):
        """Layer norm with the bias that may be there."""
        x = [a - sum(x) / len(x) for a in x]
        y = mul(scale(x, 1 / math.sqrt(sum(a * a for a in x) / len(x) + self.eps)), self.w(name))
        return add(y, self.data[name + ".bias"]) if name + ".bias" in self.data else y

    def gated(self, p, x):
        return self.linear(p + "ffn_down", mul(map(self.act, self.linear(p + "ffn_gate", x)), self.linear(p + "ffn_up", x)))

    def halves(self, p, x):
        """A feed-forward whose ffn_up holds gate and up, one after the other."""
        u = self.linear(p + "ffn_up", x)
        n = len(u) // 2
        return self.linear(p + "ffn_down", mul(map(self.act, u[:n]), u[n:]))

    def plain(self, p, x):
        return self.linear(p + "ffn_down", [self.act(a) for a in self.linear(p + "ffn_up", x)])

    def experts(self, p, x, logits, normed):
        probs = softmax(logits)
        chosen = sorted(range(len(probs)), key=lambda e: -probs[e])[:self.keys["expert_used_count"]]
        total = sum(probs[e] for e in chosen) if normed else 1
        y = [0.0] * len(x)
        for e in chosen:
            if self.has(p + "ffn_gate_up_exps"):
                u = self.linear(p + "ffn_gate_up_exps", x, e)
                u = mul(map(self.act, u[:len(u) // 2]), u[len(u) // 2:])
            else:
                u = [self.act(a) for a in self.linear(p + "ffn_up_exps", x, e)]
            own = self.data.get(p + "ffn_down_exps.scale")
            y = add(y, scale(self.linear(p + "ffn_down_exps", u, e), probs[e] / total * (own[e] if own else 1)))
        return y

    def logits(self, xs, norm):
        head = "output" if self.has("output") else "token_embd"
        rows = [self.linear(head, norm(x, "output_norm")) for x in xs]
        cap = self.keys.get("final_logit_softcapping")
        return [[cap * math.tanh(a / cap) for a in row] for row in rows] if cap else rows


# ---- gemma ------------------------------------------------------------------------------------------------------------------------

def gemma_heads(m, p, name, xs, d, place):
    """Normed, rotated heads of every token; place(x, position) rotates."""
    named = p + name + "_norm"
    return [[place(m.rms(a, named if m.has(named) else None) if m.has(named) else a, t) for a in split(m.linear(p + name, x), d)]
            for t, x in enumerate(xs)]


def gemma(m, ids):
    """gemma 1-3 and the embedding model, whose window is symmetric and which has no head."""
    k, d, encoder = m.keys, m.keys["attention.key_length"], m.arch == "gemma-embedding"
    window = k.get("attention.sliding_window", 0)
    period = {"gemma": 1, "gemma2": 2}.get(m.arch, k.get("attention.sliding_window_pattern", 6))
    xs = [scale(x, math.sqrt(len(x))) for x in m.rows("token_embd", ids)]
    for layer in range(k["block_count"]):
        p = "blk.%d." % layer
        full = layer % period == period - 1
        if m.arch in ("gemma", "gemma2"):
            base, stretch = k["rope.freq_base"], 1
        else:
            base = k["rope.freq_base"] if full else k.get("rope.freq_base_swa", 10000.0)
            stretch = k.get("rope.scaling.factor", 1) if full else 1
        place = lambda a, t: rope(a, t / stretch, base)
        near = (lambda i, j: abs(i - j) <= window // 2) if encoder else (lambda i, j: i - j < window)
        seen = lambda i, j: (encoder or j <= i) and (full or near(i, j))
        hs = [m.rms(x, p + "attn_norm") for x in xs]
        v = [split(m.linear(p + "attn_v", h), d) for h in hs]
        out = attend(gemma_heads(m, p, "attn_q", hs, d, place), gemma_heads(m, p, "attn_k", hs, d, place), v, 1 / math.sqrt(d), seen,
                     cap=k.get("attn_logit_softcapping", 0.0))
        post = lambda y, name: m.rms(y, p + name) if m.has(p + name) else y
        xs = [add(x, post(m.linear(p + "attn_output", o), "post_attention_norm")) for x, o in zip(xs, out)]
        xs = [add(x, post(m.gated(p, m.rms(x, p + "ffn_norm")), "post_ffw_norm")) for x in xs]
    return [m.rms(x, "output_norm") for x in xs] if encoder else m.logits(xs, m.rms)


def per_layer_inputs(m, ids, xs, n):
    """One vector of n per token and layer: the token's own and a projection of its embedding."""
    out = []
    for x, own in zip(xs, m.rows("per_layer_token_embd", ids)):
        q = split(scale(m.linear("per_layer_model_proj", x), 1 / math.sqrt(len(x))), n)
        q = [m.rms(a, "per_layer_proj_norm") for a in q]
        out.append([scale(add(a, scale(b, math.sqrt(n))), math.sqrt(0.5)) for a, b in zip(q, split(own, n))])
    return out


def per_layer_branch(m, p, x, vector):
    y = m.linear(p + "proj", mul(map(m.act, m.linear(p + "inp_gate", x)), vector))
    return m.rms(y, p + "post_norm")


def shared_attention(m, p, hs, d, place, seen, cache, layer, source):
    """Attention with scale one and unweighted norms of v; a layer whose source is another one uses that one's keys and values."""
    if source == layer:
        k = [split(m.linear(p + "attn_k", h), d) for h in hs]
        v = [split(m.linear(p + "attn_v", h), d) for h in hs] if m.has(p + "attn_v") else k
        cache[layer] = ([[place(m.rms(a, p + "attn_k_norm"), t) for a in row] for t, row in enumerate(k)],
                        [[m.rms(a) for a in row] for row in v])
    out = attend(gemma_heads(m, p, "attn_q", hs, d, place), *cache[source], 1.0, seen)
    return [m.rms(m.linear(p + "attn_output", o), p + "post_attention_norm") for o in out]


def gemma3n(m, ids):
    k, d, window = m.keys, m.keys["attention.key_length"], m.keys["attention.sliding_window"]
    width, streams, owners, sparse = k["embedding_length"], 4, 20, 10
    period = k["attention.sliding_window_pattern"]
    xs = [scale(x, math.sqrt(width)) for x in m.rows("token_embd", ids)]
    inputs = per_layer_inputs(m, ids, xs, k["embedding_length_per_layer_input"])
    alike = lambda y, x: scale(y, length(x) / length(y))
    stacks = [[x] + [alike(m.linear("altup_proj", x, i), x) for i in range(streams - 1)] for x in xs]
    cache = {}
    for layer in range(k["block_count"]):
        p = "blk.%d." % layer
        full = layer % period == period - 1
        base = k["rope.freq_base"] if full else k["rope.freq_base_swa"]
        place = lambda a, t: rope(a, t, base)
        route = lambda a: [math.tanh(z) for z in m.linear(p + "altup_router", scale(m.rms(a, p + "altup_router_norm"), 1 / width))]
        predicted = []
        for s in stacks:
            c = m.linear(p + "altup_predict_coef", route(s[0]))
            predicted.append([[s[i][n] + sum(c[i * streams + j] * s[j][n] for j in range(streams)) for n in range(width)]
                              for i in range(streams)])
        hs = [m.rms(s[0], p + "attn_norm") for s in predicted]
        source = layer if layer < owners else owners - 1 if full else owners - 2
        attention = shared_attention(m, p, hs, d, place, lambda i, j: j <= i and (full or i - j < window), cache, layer, source)
        stacks = []
        for t, (s, h, a) in enumerate(zip(predicted, hs, attention)):
            laurel = add(h, m.rms(m.linear(p + "laurel_r", m.linear(p + "laurel_l", h)), p + "laurel_post_norm"))
            x = scale(add(add(a, s[0]), laurel), math.sqrt(0.5))
            f = m.rms(x, p + "ffn_norm")
            gate = m.linear(p + "ffn_gate", f)
            if layer < sparse:
                mean = sum(gate) / len(gate)
                cut = mean + 1.6448533535003662 * math.sqrt(sum((g - mean) ** 2 for g in gate) / (len(gate) - 1))
                gate = [max(0.0, g - cut) for g in gate]
            y = m.linear(p + "ffn_down", mul(map(m.act, gate), m.linear(p + "ffn_up", f)))
            x = add(x, m.rms(y, p + "post_ffw_norm"))
            news = add(x, scale(s[0], -1))
            c = m.linear(p + "altup_correct_coef", route(x))
            s = [add(s[i], scale(news, c[i] + 1)) for i in range(streams)]
            e = per_layer_branch(m, p, mul(s[0], m.w(p + "altup_correct_scale")), inputs[t][layer])
            stacks.append(s[:1] + [add(a, e) for a in s[1:]])
    merged = []
    for s in stacks:
        x = s[0]
        for i in range(streams - 1):
            x = add(x, alike(m.linear("altup_unembd_proj", s[i + 1], i), s[0]))
        merged.append(scale(x, 1 / streams))
    return m.logits(merged, m.rms)


def gemma4(m, ids):
    k, window, width = m.keys, m.keys["attention.sliding_window"], m.keys["embedding_length"]
    xs = [scale(x, math.sqrt(width)) for x in m.rows("token_embd", ids)]
    n = k["embedding_length_per_layer_input"]
    inputs = per_layer_inputs(m, ids, xs, n) if n else None
    owners, cache = k["block_count"] - k["attention.shared_kv_layers"], {}
    for layer in range(k["block_count"]):
        p, near = "blk.%d." % layer, k["attention.sliding_window_pattern"][layer]
        d = k["attention.key_length_swa" if near else "attention.key_length"]
        base = k["rope.freq_base_swa" if near else "rope.freq_base"]
        place = lambda a, t: rope(a, t, base, None if near else m.w("rope_freqs"))
        hs = [m.rms(x, p + "attn_norm") for x in xs]
        source = layer if layer < owners else owners - 2 if near else owners - 1
        out = shared_attention(m, p, hs, d, place, lambda i, j: j <= i and (not near or i - j < window), cache, layer, source)
        xs = [add(x, o) for x, o in zip(xs, out)]
        for t, x in enumerate(xs):
            y = m.gated(p, m.rms(x, p + "ffn_norm"))
            if m.has(p + "ffn_gate_inp"):
                r = mul(scale(m.rms(x), 1 / math.sqrt(width)), m.data[p + "ffn_gate_inp.scale"])
                z = m.experts(p, m.rms(x, p + "pre_ffw_norm_2"), m.linear(p + "ffn_gate_inp", r), True)
                y = add(m.rms(y, p + "post_ffw_norm_1"), m.rms(z, p + "post_ffw_norm_2"))
            x = add(x, m.rms(y, p + "post_ffw_norm"))
            if inputs:
                x = add(x, per_layer_branch(m, p, x, inputs[t][layer]))
            xs[t] = scale(x, m.w(p + "layer_output_scale")[0])
    return m.logits(xs, m.rms)


# ---- encoders, mpt ----------------------------------------------------------------------------------------------------------------

def fused(m, p, hs, width, kv):
    """q, k, v rows of every token, from one tensor or from three."""
    if not m.has(p + "attn_qkv"):
        return [[m.linear(p + "attn_" + name, h) for h in hs] for name in "qkv"]
    rows = [m.linear(p + "attn_qkv", h) for h in hs]
    return [r[:width] for r in rows], [r[width:width + kv] for r in rows], [r[width + kv:] for r in rows]


def bert(m, ids):
    k, width, heads = m.keys, m.keys["embedding_length"], m.keys["attention.head_count"]
    d, jina = width // heads, m.arch == "jina-bert-v2"
    xs = m.rows("token_embd", ids)
    if m.has("token_types"):
        xs = [add(x, m.w("token_types")[:width]) for x in xs]
    if m.has("position_embd"):
        xs = [add(x, y) for x, y in zip(xs, m.rows("position_embd", range(len(ids))))]
    xs = [m.norm(x, "token_embd_norm") for x in xs]
    place = (lambda a, t: rope(a, t, k["rope.freq_base"])) if m.arch in ("nomic-bert-moe", "jina-bert-v3") else (lambda a, t: a)
    for layer in range(k["block_count"]):
        p = "blk.%d." % layer
        q, key, v = fused(m, p, xs, width, width)
        if m.has(p + "attn_q_norm"):
            q, key = [m.norm(a, p + "attn_q_norm") for a in q], [m.norm(a, p + "attn_k_norm") for a in key]
        cut = lambda rows: [[place(a, t) for a in split(row, d)] for t, row in enumerate(rows)]
        out = attend(cut(q), cut(key), [split(a, d) for a in v], 1 / math.sqrt(d), lambda i, j: True, alibi(heads, 8) if jina else None)
        for t, (x, o) in enumerate(zip(xs, out)):
            a = m.norm(add(m.linear(p + "attn_output", o), x), p + "attn_output_norm")
            if m.has(p + "attn_norm_2"):
                a = m.norm(add(a, x), p + "attn_norm_2")
            if m.has(p + "ffn_gate_inp"):
                f = m.experts(p, a, m.linear(p + "ffn_gate_inp", a), False)
            else:
                f = (m.gated if m.has(p + "ffn_gate") else m.halves if jina else m.plain)(p, a)
            xs[t] = m.norm(add(f, a), p + "layer_output_norm")
    return xs


def modern_bert(m, ids):
    k, width, d = m.keys, m.keys["embedding_length"], m.keys["embedding_length"] // m.keys["attention.head_count"]
    xs = [m.norm(x, "token_embd_norm") for x in m.rows("token_embd", ids)]
    for layer in range(k["block_count"]):
        p, full = "blk.%d." % layer, layer % 3 == 0
        base = k["rope.freq_base"] if full else k.get("rope.freq_base_swa", 10000.0)
        hs = [m.norm(x, p + "attn_norm") if m.has(p + "attn_norm") else x for x in xs]
        q, key, v = fused(m, p, hs, width, width)
        cut = lambda rows: [[rope(a, t, base) for a in split(row, d)] for t, row in enumerate(rows)]
        out = attend(cut(q), cut(key), [split(a, d) for a in v], 1 / math.sqrt(d),
                     lambda i, j: full or abs(i - j) <= k["attention.sliding_window"] // 2)
        xs = [add(x, m.linear(p + "attn_output", o)) for x, o in zip(xs, out)]
        xs = [add(x, m.halves(p, m.norm(x, p + "ffn_norm"))) for x in xs]
    return [m.norm(x, "output_norm") for x in xs]


def mpt(m, ids):
    k, width, heads = m.keys, m.keys["embedding_length"], m.keys["attention.head_count"]
    d, bias, clamp = width // heads, k["attention.max_alibi_bias"], k.get("attention.clamp_kqv", math.inf)
    xs = m.rows("token_embd", ids)
    if m.has("position_embd"):
        xs = [add(x, y) for x, y in zip(xs, m.rows("position_embd", range(len(ids))))]
    for layer in range(k["block_count"]):
        p = "blk.%d." % layer
        parts = fused(m, p, [m.norm(x, p + "attn_norm") for x in xs], width, width)
        q, key, v = ([split([max(-clamp, min(clamp, a)) for a in row], d) for row in part] for part in parts)
        out = attend(q, key, v, 1 / math.sqrt(d), lambda i, j: j <= i, alibi(heads, bias) if bias else None)
        xs = [add(x, m.linear(p + "attn_output", o)) for x, o in zip(xs, out)]
        xs = [add(x, m.plain(p, m.norm(x, p + "ffn_norm"))) for x in xs]
    return m.logits(xs, m.norm)


def pooled(m, xs):
    """The pooled row of an encoder, or the score of a ranker."""
    kind = m.keys["pooling_type"]
    x = [sum(c) / len(xs) for c in zip(*xs)] if kind == 1 else xs[-1] if kind == 3 else xs[0]
    if kind == 4:
        x = [math.tanh(a) for a in m.linear("cls", x)] if m.has("cls") else x
        return m.linear("cls.output", x)
    for name in ("dense_2", "dense_3"):
        x = m.linear(name, x) if m.has(name) else x
    return x


FORWARD = {"gemma": gemma, "gemma2": gemma, "gemma3": gemma, "gemma-embedding": gemma, "gemma3n": gemma3n, "gemma4": gemma4,
           "bert": bert, "jina-bert-v2": bert, "jina-bert-v3": bert, "nomic-bert-moe": bert, "modern-bert": modern_bert, "mpt": mpt}


def run(row, tensors, ids, tabled):
    """(rows, pooled row or None) of one model: logits, or hidden states of an encoder."""
    m = Model(row["arch"], row["keys"], tensors, tabled)
    rows = FORWARD[row["arch"]](m, ids)
    return rows, None if row["kind"] == "logits" else pooled(m, rows)
