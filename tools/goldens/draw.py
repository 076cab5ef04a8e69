"""Random weights, drawn so that every part of a model shows in its logits.

RULES is tried from the top; the first pattern found in a tensor's name decides. Matrices have a deviation of gain / sqrt(inputs), norms
lie around one and are never one, biases, sinks, gates and decays are large enough to matter and small enough not to drown the rest.
"""
import array
import math
import random
import re


def normal(mean, dev, floor=None):
    def f(r, n, inputs, width):
        v = [r.gauss(mean, dev) for _ in range(n)]
        return v if floor is None else [max(floor, x) for x in v]
    return f


def uniform(low, high):
    return lambda r, n, inputs, width: [r.uniform(low, high) for _ in range(n)]


def matrix(gain):
    return lambda r, n, inputs, width: [r.gauss(0, gain / math.sqrt(inputs)) for _ in range(n)]


def wide(low, high):
    """Scales that follow a division by sqrt(width): gemma 4's router."""
    return lambda r, n, inputs, width: [r.uniform(low, high) * math.sqrt(width) for _ in range(n)]


RULES = [
    (r"rope_f(reqs|actors)", uniform(1, 4)),
    (r"ssm_a$", uniform(-3, -0.2)),
    (r"ssm_d$", normal(1, 0.3)),
    (r"ssm_dt\.bias", uniform(-2, 0.5)),
    (r"(ssm_conv1d|shortconv\.conv)\.weight", normal(0, 0.5)),
    (r"attn_sinks", normal(0.5, 1)),
    (r"exp_probs_b", normal(0, 0.15)),
    (r"layer_output_scale", uniform(0.7, 1.2)),
    (r"ffn_gate_inp\.scale", wide(0.7, 1.5)),
    (r"ffn_down_exps\.scale", uniform(0.6, 1.4)),
    (r"altup_router\.weight", lambda r, n, inputs, width: [r.gauss(0, math.sqrt(width)) for _ in range(n)]),
    (r"altup_(predict|correct)_coef", normal(0, 0.3)),
    (r"altup_correct_scale", normal(1, 0.2, 0.3)),
    (r"(time|channel)_mix_lerp", uniform(0, 1)),
    (r"time_mix_decay\.weight", uniform(-3, 1)),
    (r"time_mix_w0", uniform(-3, 2)),
    (r"time_mix_[av]0", normal(0, 0.7)),
    (r"time_mix_k_[ka]", normal(1, 0.2, 0.3)),
    (r"time_mix_(r_k|first)", normal(0, 0.4)),
    (r"(norm(_\d|_exps)?|time_mix_ln)(\.weight)?$", normal(1, 0.2, 0.3)),
    (r"\.bias$", normal(0, 0.2)),
    (r"(token_types|position_embd|cls\.output)", normal(0, 0.5)),
    (r"attn_(q|k)\.weight", matrix(1.25)),
    (r"ffn_gate_inp\.weight", matrix(1.5)),
]


def tensor(name, shape, seed, width, emb, init=()):
    """Values of one tensor; they depend on its name and the seed only, so that adding a tensor does not change the others."""
    n = math.prod(shape)
    r = random.Random("%d/%s" % (seed, name))
    if name == "token_embd.weight":
        rule = normal(0, emb)
    else:
        rule = next((f for pattern, f in list(init) + RULES if re.search(pattern, name)), matrix(1.0))
    return array.array("f", rule(r, n, shape[0], width))
