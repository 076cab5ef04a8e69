/* metadata: see metadata.h. The facts become a reply with one file, so that the judge has one way
 * in. Numbers of parameters are read as they are in names of models: "7B", "8x7B", 270M. */
#include "metadata.h"

#include "base/limits.h"
#include "model/filename.h"

struct facts {
    str id, architecture, quant;
    enum filename_format format;
    uint64_t params, bytes, context;
};

static const struct json *either(const struct json *v, const char *snake, const char *camel)
{
    const struct json *x = json_get(v, snake);
    if (!x && camel) x = json_get(v, camel);
    return x && x->type != JSON_NULL ? x : NULL;
}

bool metadata_is(const struct json *v)
{
    const struct json *x = either(v, "architecture", NULL);
    return x && x->type == JSON_STR;
}

static enum err get_str(const struct json *v, const char *key, str *out, struct err_info *e)
{
    const struct json *x = either(v, key, NULL);
    if (!x) return ERR_OK;
    if (x->type != JSON_STR || x->s.n > LIMIT_HUB_STR)
        return ERR_FAIL(e, INVALID, "'%s' of a model is no short string", key);
    *out = x->s;
    return ERR_OK;
}

static enum err get_count(const struct json *v, const char *snake, const char *camel, uint64_t *out,
                          struct err_info *e)
{
    const struct json *x = either(v, snake, camel);
    int64_t n = json_int(x, x ? -1 : 0);
    if (n < 0) return ERR_FAIL(e, INVALID, "'%s' of a model is no whole number", snake);
    *out = (uint64_t)n;
    return ERR_OK;
}

/* 7000000000 or "7B"; what is not understood is not known. */
static enum err get_params(const struct json *v, uint64_t *out, struct err_info *e)
{
    const struct json *x = either(v, "parameters", NULL);
    struct filename f;
    if (!x || x->type != JSON_STR) return get_count(v, "parameters", NULL, out, e);
    filename_parse(&f, x->s);
    *out = f.params;
    return ERR_OK;
}

static enum err read_facts(struct facts *f, const struct json *v, struct err_info *e)
{
    str format = {0};
    enum err err;
    *f = (struct facts){.id = S("model")};
    if ((err = get_str(v, "id", &f->id, e)) ||
        (err = get_str(v, "architecture", &f->architecture, e)) ||
        (err = get_str(v, "format", &format, e)) ||
        (err = get_str(v, "quantization", &f->quant, e)) || (err = get_params(v, &f->params, e)) ||
        (err = get_count(v, "size_bytes", "sizeBytes", &f->bytes, e)) ||
        (err = get_count(v, "max_context_length", "maxContextLength", &f->context, e)))
        return err;
    f->format = filename_format_from(format);
    if (format.n && f->format == FILENAME_NONE)
        return ERR_FAIL(e, INVALID, "'format' of a model is '%.*s', which is none that is known",
                        STR(str_sub(format, 0, 40)));
    if (!f->quant.n) return ERR_OK;
    const char *quant = filename_quant_from(f->quant);
    if (!quant)
        return ERR_FAIL(e, INVALID,
                        "'quantization' of a model is '%.*s', which is none that is known",
                        STR(str_sub(f->quant, 0, 40)));
    f->quant = str_c(quant);
    return ERR_OK;
}

/* Names of models that people say where a file says its architecture. */
static str gguf_name(str said)
{
    static const struct {
        const char *said, *gguf;
    } same[] = {
        {"llama2", "llama"},   {"llama3", "llama"},   {"llama3.1", "llama"},
        {"llama3.2", "llama"}, {"llama3.3", "llama"}, {"qwen2.5", "qwen2"},
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (str_ieq(said, str_c(same[i].said))) return str_c(same[i].gguf);
    return said;
}

static void write_known(struct jsonw *w, const char *key, uint64_t n)
{
    if (!n) return;
    jsonw_key(w, key);
    jsonw_uint(w, n);
}

static void write_gguf(struct jsonw *w, const struct facts *f)
{
    jsonw_key(w, "gguf");
    jsonw_obj(w);
    jsonw_kstr(w, "architecture", gguf_name(f->architecture));
    write_known(w, "total", f->params);
    write_known(w, "context_length", f->context);
    jsonw_end(w, '}');
}

static void write_config(struct jsonw *w, const struct facts *f)
{
    jsonw_key(w, "config");
    jsonw_obj(w);
    jsonw_kstr(w, "model_type", gguf_name(f->architecture));
    write_known(w, "max_position_embeddings", f->context);
    jsonw_end(w, '}');
    if (f->format != FILENAME_SAFETENSORS) return;
    jsonw_key(w, "safetensors");
    jsonw_obj(w);
    write_known(w, "total", f->params);
    if (f->params && f->quant.n) {
        jsonw_key(w, "parameters");
        jsonw_obj(w);
        jsonw_key(w, f->quant.p);
        jsonw_uint(w, f->params);
        jsonw_end(w, '}');
    }
    jsonw_end(w, '}');
}

/* Its name says the quantisation; of SafeTensors the types do. */
static void write_file(struct jsonw *w, struct arena *a, const struct facts *f)
{
    static const char *const ends[FILENAME_FORMATS] = {
        [FILENAME_GGUF] = ".gguf",     [FILENAME_SAFETENSORS] = ".safetensors",
        [FILENAME_PYTORCH] = ".bin",   [FILENAME_ONNX] = ".onnx",
        [FILENAME_TFLITE] = ".tflite", [FILENAME_TENSORFLOW] = ".h5",
        [FILENAME_FLAX] = ".msgpack",
    };
    bool says = f->quant.n && f->format == FILENAME_GGUF;
    const char *end = ends[f->format];
    if (!end) return;
    jsonw_key(w, "siblings");
    jsonw_arr(w);
    jsonw_obj(w);
    jsonw_kstr(w, "rfilename",
               arena_printf(a, "%s%s%s", says ? "model-" : "model", says ? f->quant.p : "", end));
    write_known(w, "size", f->bytes);
    jsonw_end(w, '}');
    jsonw_end(w, ']');
}

enum err metadata_as_reply(const struct json **out, struct arena *a, const struct json *v,
                           struct err_info *e)
{
    struct facts f;
    struct jsonw w;
    buf b = {.cap = KIB(64)};
    enum err err = read_facts(&f, v, e);
    if (err) return err;
    jsonw_init(&w, &b);
    jsonw_obj(&w);
    jsonw_kstr(&w, "id", f.id);
    jsonw_key(&w, "tags");
    jsonw_arr(&w);
    if (f.format) jsonw_c(&w, filename_format_name(f.format));
    jsonw_end(&w, ']');
    if (f.format == FILENAME_GGUF)
        write_gguf(&w, &f);
    else
        write_config(&w, &f);
    write_file(&w, a, &f);
    jsonw_end(&w, '}');
    str text = b.failed ? (str){0} : arena_str(a, buf_view(&b));
    buf_fini(&b);
    if (!text.p) return ERR_FAIL(e, NOMEM, "no memory for a model");
    return json_parse(a, text, out, e);
}
