"""The few functions of libllama that the goldens need, through ctypes.

Structures that the library hands out by value (model and context parameters) are opaque blocks here, larger than the real ones: they
are only ever returned into our storage and passed back as the last argument, so their true size does not matter. The fields that are
set sit at offsets which _check() compares with the library's own defaults before anything runs; a library with another layout is
refused, never misread. Runs are made as plain as the library allows: one thread, one batch, F32 cache, no flash attention.
"""
import array
import ctypes
import os
import re
import struct

OPAQUE = 512
N_CTX = 512
ERROR = 4


class Block(ctypes.Structure):
    _fields_ = [("b", ctypes.c_uint8 * OPAQUE)]


class Batch(ctypes.Structure):
    _fields_ = [("n", ctypes.c_int32), ("token", ctypes.c_void_p), ("embd", ctypes.c_void_p), ("pos", ctypes.c_void_p),
                ("n_seq", ctypes.c_void_p), ("seq", ctypes.c_void_p), ("out", ctypes.c_void_p)]


SET_DATA = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

# Context parameters: name -> (offset, format, the library's default).
CTX = {
    "n_ctx": (0, "I", 512), "n_batch": (4, "I", 2048), "n_ubatch": (8, "I", 512), "n_seq_max": (12, "I", 1),
    "n_threads": (28, "i", 4), "n_threads_batch": (32, "i", 4), "rope_scaling": (40, "i", -1), "pooling": (44, "i", -1),
    "attention": (48, "i", -1), "flash": (52, "i", -1),
}


def described(name, shape):
    """A struct ggml_tensor without data: extents and strides of floats at bytes 16 and 48, the name at byte 256."""
    raw = bytearray(OPAQUE)
    ne = list(shape) + [1] * (4 - len(shape))
    nb = [4]
    for n in ne[:3]:
        nb.append(nb[-1] * n)
    struct.pack_into("<4q4Q", raw, 16, *ne, *nb)
    raw[256:256 + len(name)] = name.encode()
    return Block.from_buffer_copy(bytes(raw))


class Library:
    """libllama with one CPU back end; log holds the library's last messages, for errors."""

    def __init__(self, folder, cpu="libggml-cpu-x64.so"):
        mode = ctypes.RTLD_GLOBAL
        pick = lambda stem: os.path.join(folder, sorted(f for f in os.listdir(folder) if f.startswith(stem) and ".so" in f)[0])
        self.base = ctypes.CDLL(os.path.join(folder, "libggml-base.so"), mode=mode)
        self.ggml = ctypes.CDLL(pick("libggml."), mode=mode)
        self.lib = ctypes.CDLL(pick("libllama."), mode=mode)
        self.ggml.ggml_backend_load.restype = ctypes.c_void_p
        if not self.ggml.ggml_backend_load(os.path.join(folder, cpu).encode()):
            raise SystemExit("no CPU back end " + cpu)
        self._types()
        self.log = []
        self._keep = LOG(self._note)
        self.lib.llama_log_set(self._keep, None)
        self.kv_types = self._check()

    def _note(self, level, line, user):
        if line and level == ERROR:
            self.log.append(line.decode("utf-8", "replace"))

    def _types(self):
        vp, lib = ctypes.c_void_p, self.lib
        for name, res, args in (
                ("llama_model_default_params", Block, []), ("llama_context_default_params", Block, []),
                ("llama_model_load_from_file", vp, [ctypes.c_char_p, Block]), ("llama_init_from_model", vp, [vp, Block]),
                ("llama_model_init_from_user", vp, [vp, SET_DATA, vp, Block]),
                ("llama_model_free", None, [vp]), ("llama_free", None, [vp]), ("llama_get_memory", vp, [vp]),
                ("llama_memory_clear", None, [vp, ctypes.c_bool]), ("llama_decode", ctypes.c_int32, [vp, Batch]),
                ("llama_get_logits_ith", vp, [vp, ctypes.c_int32]),
                ("llama_get_embeddings_ith", vp, [vp, ctypes.c_int32]), ("llama_get_embeddings_seq", vp, [vp, ctypes.c_int32]),
                ("llama_set_embeddings", None, [vp, ctypes.c_bool]), ("llama_model_n_embd_out", ctypes.c_int32, [vp]),
                ("llama_model_n_cls_out", ctypes.c_uint32, [vp]),
                ("llama_model_get_vocab", vp, [vp]), ("llama_vocab_n_tokens", ctypes.c_int32, [vp]),
                ("llama_log_set", None, [LOG, vp])):
            f = getattr(lib, name)
            f.restype, f.argtypes = res, args
        self.base.gguf_init_from_file.restype = vp
        self.base.gguf_init_from_file.argtypes = [ctypes.c_char_p, ctypes.c_uint64 * 2]
        self.base.gguf_add_tensor.restype, self.base.gguf_add_tensor.argtypes = None, [vp, vp]
        self.base.gguf_free.restype, self.base.gguf_free.argtypes = None, [vp]
        self.base.ggml_get_name.restype = ctypes.c_char_p
        self.base.ggml_get_name.argtypes = [vp]

    def _check(self):
        """Compares the defaults with CTX and returns the offset of type_k: the only place where two ones (F16) follow each other."""
        raw = bytes(self.lib.llama_context_default_params().b)
        for name, (at, fmt, want) in CTX.items():
            got = struct.unpack_from("<" + fmt, raw, at)[0]
            if got != want:
                raise SystemExit("libllama's context parameters have another layout: %s is %r, expected %r" % (name, got, want))
        found = [at for at in range(80, 160, 4) if struct.unpack_from("<2i", raw, at) == (1, 1)]
        if not found:
            raise SystemExit("libllama's context parameters have another layout: no cache types")
        return found[0]

    def why(self):
        return "".join(self.log[-8:])

    def tensors(self, path, extra):
        """What the library wants for a GGUF that has keys only, if the file also had `extra` {name: shape}: a list of (name, shape).

        The library builds a model from keys and asks a callback for the data of each tensor. It also wants the file to list as many
        tensors as it made, so the first, failing call tells how many nameless ones the list needs.
        """
        got = []

        def ask(t, user):
            ne = ctypes.cast(t + 16, ctypes.POINTER(ctypes.c_int64))
            shape = [ne[i] for i in range(4)]
            while len(shape) > 1 and shape[-1] == 1:
                shape.pop()
            name = self.base.ggml_get_name(t).decode()
            got.append((name, extra.get(name, tuple(shape))))

        call = SET_DATA(ask)
        missing = 0
        for attempt in (0, 1):
            gguf = self.base.gguf_init_from_file(path.encode(), (ctypes.c_uint64 * 2)(1, 0))
            if not gguf:
                raise RuntimeError("not a GGUF: " + path)
            for name, shape in list(extra.items()) + [("unused.%d" % i, (1,)) for i in range(missing)]:
                self.base.gguf_add_tensor(gguf, ctypes.byref(described(name, shape)))
            self.log.clear()
            model = self.lib.llama_model_init_from_user(gguf, call, None, self.lib.llama_model_default_params())
            self.base.gguf_free(gguf)
            if model:
                self.lib.llama_model_free(model)
                return got
            found = re.search("expected ([0-9]+), got ([0-9]+)", self.why())
            if attempt or not found:
                raise RuntimeError(self.why())
            missing = int(found.group(2)) - int(found.group(1))


class Model:
    """One model file with one context."""

    def __init__(self, library, path, pooling=None, n_ctx=N_CTX):
        self.l, lib = library, library.lib
        self.m = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not self.m:
            raise RuntimeError(path + ": " + library.why())
        params = lib.llama_context_default_params()
        raw = bytearray(bytes(params.b))
        values = {"n_ctx": n_ctx, "n_batch": n_ctx, "n_ubatch": n_ctx, "n_threads": 1, "n_threads_batch": 1, "flash": 0}
        if pooling is not None:
            values["pooling"] = pooling
        for name, v in values.items():
            struct.pack_into("<" + CTX[name][1], raw, CTX[name][0], v)
        struct.pack_into("<2i", raw, library.kv_types, 0, 0)
        block = Block.from_buffer_copy(bytes(raw))
        self.c = lib.llama_init_from_model(self.m, block)
        if not self.c:
            raise RuntimeError(path + ": " + library.why())
        self.vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.m))
        self.embd = lib.llama_model_n_embd_out(self.m)

    def close(self):
        self.l.lib.llama_free(self.c)
        self.l.lib.llama_model_free(self.m)

    def _run(self, ids, at):
        n = len(ids)
        token = (ctypes.c_int32 * n)(*ids)
        pos = (ctypes.c_int32 * n)(*range(at, at + n))
        n_seq = (ctypes.c_int32 * n)(*([1] * n))
        zero = (ctypes.c_int32 * 1)(0)
        seq = (ctypes.c_void_p * (n + 1))(*([ctypes.addressof(zero)] * n + [None]))
        out = (ctypes.c_int8 * n)(*([1] * n))
        ptr = lambda x: ctypes.cast(x, ctypes.c_void_p)
        if self.l.lib.llama_decode(self.c, Batch(n, ptr(token), None, ptr(pos), ptr(n_seq), ptr(seq), ptr(out))) != 0:
            raise RuntimeError("decode failed: " + self.l.why())

    def _row(self, p, n):
        if not p:
            raise RuntimeError("no output")
        return array.array("f", ctypes.string_at(p, 4 * n))

    def clear(self):
        memory = self.l.lib.llama_get_memory(self.c)
        if memory:
            self.l.lib.llama_memory_clear(memory, True)

    def logits(self, ids, at=0):
        """One row of vocab floats per id; the cache keeps the ids."""
        self._run(ids, at)
        return [self._row(self.l.lib.llama_get_logits_ith(self.c, i), self.vocab) for i in range(len(ids))]

    def embeddings(self, ids):
        self.l.lib.llama_set_embeddings(self.c, True)
        self._run(ids, 0)
        return [self._row(self.l.lib.llama_get_embeddings_ith(self.c, i), self.embd) for i in range(len(ids))]

    def pooled(self, ids, n):
        self.l.lib.llama_set_embeddings(self.c, True)
        self._run(ids, 0)
        return self._row(self.l.lib.llama_get_embeddings_seq(self.c, 0), n)
