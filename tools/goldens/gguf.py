"""A small GGUF v3 writer: keys and F32 tensors (Q8_0 for tensors that are only looked up by row), nothing else.

A key's GGUF type follows from the Python value: bool, int (uint32), float (float32), str, and lists of one of these. Negative integers
are int32, and so are token types, by the format. Tensor shapes are in GGUF order, the contiguous dimension first.
"""
import array
import struct

ALIGN = 32
U32, I32, F32, BOOL, STR, ARR = 4, 5, 6, 7, 8, 9
TYPE_F32, TYPE_Q8_0 = 0, 8


def text(s):
    raw = s if isinstance(s, bytes) else s.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def kind(v):
    if isinstance(v, bool):
        return BOOL
    if isinstance(v, int):
        return I32 if v < 0 else U32
    if isinstance(v, float):
        return F32
    return STR


def scalar(k, v):
    if k == STR:
        return text(v)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[k], v)


def value(name, v):
    if not isinstance(v, (list, tuple)):
        return struct.pack("<I", kind(v)) + scalar(kind(v), v)
    k = kind(v[0])
    if k == U32 and (any(x < 0 for x in v) or name.endswith("token_type")):
        k = I32
    return struct.pack("<IIQ", ARR, k, len(v)) + b"".join(scalar(k, x) for x in v)


def q8_blocks(data):
    """(scale, 32 integers) of each block of 32. The scale is rounded to F16 first."""
    for i in range(0, len(data), 32):
        block = data[i:i + 32]
        d = struct.unpack("<e", struct.pack("<e", max(abs(x) for x in block) / 127 or 1.0))[0]
        yield d, [max(-127, min(127, round(x / d))) for x in block]


def q8_0(data):
    return b"".join(struct.pack("<e32b", d, *q) for d, q in q8_blocks(data))


def as_q8_0(data):
    """The values that q8_0() will store for data."""
    return array.array("f", [d * x for d, q in q8_blocks(data) for x in q])


def write(path, keys, tensors):
    """keys: {name: value}; tensors: [(name, shape, type, array of floats)]. Returns the number of bytes."""
    head, blobs, at = [], [], 0
    for name, shape, kind_of, data in tensors:
        blob = data.tobytes() if kind_of == TYPE_F32 else q8_0(data)
        blob += bytes(-len(blob) % ALIGN)
        head.append(text(name) + struct.pack("<I", len(shape)) + struct.pack("<%dQ" % len(shape), *shape) + struct.pack("<IQ", kind_of, at))
        blobs.append(blob)
        at += len(blob)
    raw = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    raw += b"".join(text(k) + value(k, v) for k, v in keys.items()) + b"".join(head)
    raw += bytes(-len(raw) % ALIGN) if tensors else b""
    with open(path, "wb") as f:
        f.write(raw + b"".join(blobs))
    return len(raw) + at


def floats(path):
    a = array.array("f")
    with open(path, "rb") as f:
        a.frombytes(f.read())
    return a
