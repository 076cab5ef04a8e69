"""Checks JSON against the schemas of OpenAI's API description, as far as they are used here.

The description is part of the shared test data and needs PyYAML to read: schemas() is None where either is
missing. Understood: $ref, type, nullable, enum, const, required, properties, items, anyOf, oneOf, allOf.
"""
import os

from _rbee import DATA

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def schemas():
    path = f"{DATA}/api/openai-openapi.yaml"
    try:
        import yaml
    except ImportError:
        return None
    if not os.path.exists(path):
        return None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with open(path, encoding="utf-8") as f:
        return yaml.load(f, loader)["components"]["schemas"]


def _is(v, kind):
    if kind in ("integer", "number"):
        return isinstance(v, int if kind == "integer" else (int, float)) and not isinstance(v, bool)
    return isinstance(v, TYPES[kind])


def faults(all_, s, v, at="$"):
    """What is wrong with v, as a list of sentences; empty when nothing is."""
    if "$ref" in s:
        return faults(all_, all_[s["$ref"].rsplit("/", 1)[1]], v, at)
    if v is None and s.get("nullable"):
        return []
    out = []
    for part in s.get("allOf", []):
        out += faults(all_, part, v, at)
    choices = s.get("anyOf") or s.get("oneOf")
    if choices:
        tried = [faults(all_, c, v, at) for c in choices]
        if all(tried):
            out += min(tried, key=len)
    if "const" in s and v != s["const"]:
        out.append(f"{at} is {v!r}, not {s['const']!r}")
    if "enum" in s and v not in s["enum"]:
        out.append(f"{at} is {v!r}, not one of {s['enum']}")
    kinds = s.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(v, k) for k in kinds):
        return out + [f"{at} is {type(v).__name__}, not {'/'.join(kinds)}"]
    if isinstance(v, dict):
        out += [f"{at} lacks {k}" for k in s.get("required", []) if k not in v]
        for k, sub in s.get("properties", {}).items():
            if k in v:
                out += faults(all_, sub, v[k], f"{at}.{k}")
    if isinstance(v, list) and "items" in s:
        for i, x in enumerate(v):
            out += faults(all_, s["items"], x, f"{at}[{i}]")
    return out
