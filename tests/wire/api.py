#!/usr/bin/env python3
"""The OpenAI endpoints through queen, hive and worker: replies, streams, parameters, errors, metrics."""
import json
import math
import re
import time

from _rbee import Queen, done, holds, in_threads, make_model, ok, same, shipped, skip, text_model, wait_for
from _schema import faults, schemas

MODEL = text_model()
make_model("tiny")
SCHEMAS = schemas()
HELLO = [{"role": "user", "content": "Tell me a story about a fox."}]
CHAT = {"model": MODEL, "messages": HELLO, "max_tokens": 12, "temperature": 0, "ignore_eos": True}
TEXT = {"model": "tiny", "prompt": "Once upon a time", "max_tokens": 12, "temperature": 0, "ignore_eos": True}

REQUIRED = {
    "CreateChatCompletionResponse": ("id", "object", "created", "model", "choices", "usage"),
    "CreateChatCompletionStreamResponse": ("id", "object", "created", "model", "choices"),
    "CreateCompletionResponse": ("id", "object", "created", "model", "choices"),
    "ListModelsResponse": ("object", "data"),
    "Model": ("id", "object", "created", "owned_by"),
}


def fits(v, schema, name):
    bad = [f"lacks {k}" for k in REQUIRED[schema] if not isinstance(v, dict) or k not in v]
    if SCHEMAS:
        bad += faults(SCHEMAS, SCHEMAS[schema], v)
    return ok(not bad, f"{name} is a {schema}", *bad[:8], v)


def deltas(events, index=0):
    return "".join(c["delta"].get("content") or "" for e in events if e != "[DONE]" for c in e["choices"]
                   if c["index"] == index)


def replies(q):
    r = q.post("/v1/chat/completions", CHAT)
    same(r.status, 200, "chat answers")
    fits(r.json, "CreateChatCompletionResponse", "a chat reply")
    c = r.json["choices"][0]
    same((c["index"], c["finish_reason"], c["message"]["role"]), (0, "length", "assistant"), "its choice is complete")
    u = r.json["usage"]
    ok(u["completion_tokens"] == 12 and u["total_tokens"] == u["prompt_tokens"] + 12, "usage adds up", u)
    ok(re.fullmatch(r"chatcmpl-[0-9a-f]{16}", r.json["id"]) and abs(r.json["created"] - time.time()) < 60,
       "id and time are sensible", r.json["id"], r.json["created"])
    t = r.json["timings"]
    ok(t["predicted_n"] == 12 and t["prompt_per_second"] > 0 and t["predicted_per_second"] > 0, "timings are there", t)
    whole = c["message"]["content"]

    events = list(q.stream("/v1/chat/completions", dict(CHAT, stream_options={"include_usage": True})))
    same(events[-1], "[DONE]", "a stream ends with [DONE]")
    bad = [e for e in events[:-1] if SCHEMAS and faults(SCHEMAS, SCHEMAS["CreateChatCompletionStreamResponse"], e)]
    ok(not bad, "every chunk is a CreateChatCompletionStreamResponse", bad[:1],
       faults(SCHEMAS, SCHEMAS["CreateChatCompletionStreamResponse"], bad[0]) if bad else "")
    same(deltas(events), whole, "the pieces of a stream are the whole reply")
    same(events[0]["choices"][0]["delta"]["role"], "assistant", "the first chunk names the role")
    same([e["choices"][0]["finish_reason"] for e in events[:-2]][-1], "length", "the last piece has the reason")
    last = events[-2]
    ok(last["choices"] == [] and last["usage"]["completion_tokens"] == 12 and "timings" in last,
       "usage and timings come in a last chunk without choices", last)
    same(len({e["id"] for e in events[:-1]}), 1, "all chunks have one id")
    events = list(q.stream("/v1/chat/completions", CHAT))
    ok(not any("usage" in e and e["usage"] for e in events[:-1]), "without stream_options there is no usage chunk")

    r = q.post("/v1/completions", TEXT)
    fits(r.json, "CreateCompletionResponse", "a completion")
    events = list(q.stream("/v1/completions", TEXT))
    same("".join(e["choices"][0]["text"] for e in events[:-1]), r.json["choices"][0]["text"],
         "its stream is the same text")
    s = q.stream("/v1/completions", TEXT)
    ok(s.headers["Content-Type"].startswith("text/event-stream") and "no-cache" in s.headers["Cache-Control"],
       "streams are text/event-stream and not cached", dict(s.headers))
    list(s)
    r = q.post("/v1/completions", {"model": "tiny", "prompt": "x", "ignore_eos": True})
    same(r.json["usage"]["completion_tokens"], 16, "completions make 16 tokens unless told otherwise")


def choices(q):
    r = q.post("/v1/chat/completions", dict(CHAT, n=4, temperature=1, seed=7))
    texts = [c["message"]["content"] for c in r.json["choices"]]
    same([c["index"] for c in r.json["choices"]], [0, 1, 2, 3], "n = 4 gives four choices")
    ok(len(set(texts)) > 1, "that differ", texts)
    again = q.post("/v1/chat/completions", dict(CHAT, n=4, temperature=1, seed=7))
    same([c["message"]["content"] for c in again.json["choices"]], texts, "and are the same with the same seed")
    u = r.json["usage"]
    same(u["completion_tokens"], 48, "usage counts all choices' tokens")
    events = list(q.stream("/v1/chat/completions", dict(CHAT, n=4, temperature=1, seed=7)))
    same([deltas(events, i) for i in range(4)], texts, "streamed, the choices are the same")
    same(sorted(e["choices"][0]["index"] for e in events[:-1] if e["choices"][0]["finish_reason"]), [0, 1, 2, 3],
         "each ends once")
    r = q.post("/v1/completions", dict(TEXT, prompt=["Once", "The dog", [1, 60, 61]], n=2))
    same([c["index"] for c in r.json["choices"]], list(range(6)), "three prompts times n = 2 are six choices")
    a = q.post("/v1/completions", dict(TEXT, prompt="The dog")).json["choices"][0]["text"]
    same(r.json["choices"][2]["text"], a, "each is what its prompt alone gives")


def logprobs(q):
    r = q.post("/v1/chat/completions", dict(CHAT, logprobs=True, top_logprobs=3, max_tokens=5))
    lp = r.json["choices"][0]["logprobs"]["content"]
    same(len(lp), 5, "logprobs of every token")
    ok(all(len(x["top_logprobs"]) == 3 and math.isclose(x["logprob"], x["top_logprobs"][0]["logprob"], abs_tol=1e-4)
           and x["logprob"] <= 0 for x in lp), "greedy takes the likeliest of the three", lp[0])
    same(b"".join(bytes(x["bytes"]) for x in lp).decode("utf-8", "replace").strip(),
         r.json["choices"][0]["message"]["content"].strip(), "their bytes are the text")
    fits(r.json, "CreateChatCompletionResponse", "a reply with logprobs")
    events = list(q.stream("/v1/chat/completions", dict(CHAT, logprobs=True, top_logprobs=1, max_tokens=5)))
    n = sum(len(c["logprobs"]["content"]) for e in events[:-1] for c in e["choices"] if c["logprobs"])
    same(n, 5, "streamed, none is lost")
    r = q.post("/v1/completions", dict(TEXT, logprobs=2, max_tokens=4))
    lp = r.json["choices"][0]["logprobs"]
    same([len(lp[k]) for k in ("tokens", "token_logprobs", "top_logprobs", "text_offset")], [4] * 4,
         "the older API has four lists")
    fits(r.json, "CreateCompletionResponse", "a completion with logprobs")


def stops(q):
    whole = q.post("/v1/completions", dict(TEXT, max_tokens=60)).json["choices"][0]["text"]
    at = next((i for i in range(6, len(whole) - 2) if whole.find(whole[i:i + 2]) == i and whole[i:i + 2].isascii()), 0)
    if not at:
        skip("the model's text holds no pair of letters to stop at")
        return
    r = q.post("/v1/completions", dict(TEXT, max_tokens=60, stop=["@@never@@", whole[at:at + 2]]))
    c = r.json["choices"][0]
    same((c["text"], c["finish_reason"]), (whole[:at], "stop"), "a stop string ends the text before it")
    events = list(q.stream("/v1/completions", dict(TEXT, max_tokens=60, stop=whole[at:at + 2])))
    same("".join(e["choices"][0]["text"] for e in events[:-1]), whole[:at], "streamed, no part of it comes out")
    ok(r.json["usage"]["completion_tokens"] < 60, "and generation stops there", r.json["usage"])


def errors(q):
    def refused(body, status, code, part, name, path="/v1/chat/completions"):
        r = q.post(path, body)
        e = r.error
        ok(r.status == status and e.get("code") == code and part in e.get("message", "") and
           e.get("type") and "param" in e, f"{name}: {status} {code}", r)

    refused(dict(CHAT, model="nope"), 404, "model_not_found", "nope", "a model that is not here")
    refused("{\"model\": ", 400, "invalid_request", "JSON", "broken JSON")
    refused("", 400, "invalid_request", "JSON", "an empty body")
    refused("[]", 400, "invalid_request", "", "a body that is no object")
    refused(json.dumps(CHAT).encode() + b"\xff", 400, "invalid_request", "JSON", "a byte that is no UTF-8")
    refused("[" * 100000, 400, "invalid_request", "JSON", "100,000 open brackets")
    refused({"messages": HELLO}, 400, "invalid_request", "model", "no model")
    refused({"model": MODEL}, 400, "invalid_request", "messages", "no messages")
    refused(dict(CHAT, messages=[]), 400, "invalid_request", "messages", "no message")
    refused(dict(CHAT, messages="hi"), 400, "invalid_request", "messages", "messages that are text")
    refused(dict(CHAT, messages=[{"content": "x"}]), 400, "invalid_request", "role", "a message without a role")
    refused(dict(CHAT, temperature="hot"), 400, "invalid_request", "temperature", "a temperature that is text")
    refused(dict(CHAT, top_p=2), 400, "invalid_request", "top_p", "top_p out of range")
    refused(dict(CHAT, n=0), 400, "invalid_request", "'n'", "n = 0")
    refused(dict(CHAT, n=1000), 400, "invalid_request", "'n'", "n = 1000")
    refused(dict(CHAT, max_tokens=1.5), 400, "invalid_request", "max_tokens", "half a token")
    refused(dict(CHAT, stop=[""]), 400, "invalid_request", "stop", "an empty stop string")
    refused(dict(CHAT, top_logprobs=3), 400, "invalid_request", "logprobs", "top_logprobs without logprobs")
    refused(dict(CHAT, response_format={"type": "json_object"}), 400, "invalid_request", "response_format",
            "a response_format that is not enforced")
    refused(dict(TEXT, prompt="x " * 3000), 400, "context_length_exceeded", "context", "a prompt longer than the context",
            "/v1/completions")
    refused(dict(TEXT, prompt=[1, 99999]), 400, "invalid_request", "99999", "a token id beyond the vocabulary",
            "/v1/completions")
    refused(dict(TEXT, prompt=[]), 400, "invalid_request", "prompt", "no prompt", "/v1/completions")
    r = q.post("/v1/chat/completions", dict(CHAT, temperature=-1, top_p=9, n="x", stop=[1]))
    ok(r.status == 400 and all(f"'{k}'" in r.error["message"] for k in ("temperature", "top_p", "n", "stop")),
       "all faults of a request come in one reply", r)
    r = q.post("/v1/chat/completions", dict(CHAT, logit_bias={"5": 1}, frobnicate=1))
    ok(r.status == 200 and r.headers["X-Rbee-Ignored"] == "logit_bias, frobnicate" and
       r.json["ignored_parameters"] == "logit_bias, frobnicate", "ignored parameters are named", r)
    refused(dict(CHAT, frobnicate=1, strict=True), 400, "invalid_request", "frobnicate", "in strict mode they are refused")
    same(q.get("/v1/chat/completions").status, 405, "GET of a POST endpoint is 405")
    same(q.get("/v1/nothing").status, 404, "an unknown path is 404")
    big = b'{"model":"tiny","prompt":"' + b"x" * (33 << 20) + b'"}'
    try:
        r = q.post("/v1/completions", big)
        ok(r.status == 413 and r.error["code"] == "limit_exceeded", "a body over 32 MiB is 413", r)
    except OSError as e:
        ok(False, "a body over 32 MiB is 413", e)
    r = q.post("/v1/completions", TEXT)
    same(r.status, 200, "after all of these a good request works")


def parallel(q):
    alone = [q.post("/v1/completions", dict(TEXT, prompt=f"Number {i}", max_tokens=24)).json["choices"][0]["text"]
             for i in range(32)]

    def one(i):
        e = list(q.stream("/v1/completions", dict(TEXT, prompt=f"Number {i}", max_tokens=24)))
        return "".join(x["choices"][0]["text"] for x in e[:-1])

    together = in_threads(32, one)
    n = sum(a == b for a, b in zip(alone, together))
    # Random weights have near ties, which the shape of a batch may decide.
    ok(n >= 26, "32 streams at once give what each gives alone but for near ties", n, [x for x in zip(alone, together) if x[0] != x[1]][:2])
    ok(wait_for(lambda: q.active() == 0, 3), "no slot stays taken")
    info = q.worker_http().get("/v1/info").json
    ok(info["kv_blocks_used"] == 0, "no KV block stays taken", info)


def lists(q):
    r = q.get("/v1/models")
    fits(r.json, "ListModelsResponse", "the list of models")
    fits(q.get("/v1/models/tiny").json, "Model", "one model")
    same(q.get("/v1/models/nope").status, 404, "no such model is 404")
    m = q.get("/metrics")
    ok(m.headers["Content-Type"].startswith("text/plain") and b"rbee_queen_requests_total" in m.body, "metrics", m)
    values = [x for x in m.body.decode().splitlines() if x and not x.startswith("#")]
    ok(all(re.fullmatch(r"rbee_queen_[a-z_]+ [0-9.e+-]+", x) for x in values), "every line of them is a number", values)
    m = q.worker_http().get("/metrics").body.decode()
    holds(m, "rbee_worker_jobs_done_total", "the worker has its own")
    same(q.get("/health").json["status"], "ok", "health")
    r = q.ask("HEAD", "/v1/models")
    same((r.status, r.body), (200, b""), "HEAD has no body")


with Queen() as queen:
    if not SCHEMAS:
        skip("OpenAI's API description or PyYAML is not here: required fields only")
    replies(queen)
    choices(queen)
    logprobs(queen)
    stops(queen)
    errors(queen)
    parallel(queen)
    lists(queen)
done()
