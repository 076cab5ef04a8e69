/* memory_shape: shapes as JSON, for the catalogue and for what travels between processes. See
 * memory.h. */
#include "base/json.h"
#include "model/memory.h"

static const struct member {
    const char *key;
    size_t at; /* of a uint32_t */
} members[] = {
    {"context", offsetof(struct memory_shape, n_ctx_train)},
    {"learned", offsetof(struct memory_shape, n_ctx_learned)},
    {"k_columns", offsetof(struct memory_shape, k_cols)},
    {"v_columns", offsetof(struct memory_shape, v_cols)},
    {"k_head", offsetof(struct memory_shape, k_max)},
    {"v_head", offsetof(struct memory_shape, v_max)},
    {"k_unit", offsetof(struct memory_shape, k_unit)},
    {"v_unit", offsetof(struct memory_shape, v_unit)},
    {"states", offsetof(struct memory_shape, states)},
    {"vectors", offsetof(struct memory_shape, vectors)},
    {"row_columns", offsetof(struct memory_shape, row_cols)},
    {"rope_columns", offsetof(struct memory_shape, rope_cols)},
    {"glu_columns", offsetof(struct memory_shape, glu_cols)},
    {"result_columns", offsetof(struct memory_shape, result_cols)},
    {"out_columns", offsetof(struct memory_shape, out_cols)},
};

static const char *const sources[] = {"none", "estimate", "config", "header"};

static uint32_t *member(struct memory_shape *s, const struct member *m)
{
    return (uint32_t *)(void *)((char *)s + m->at);
}

const char *memory_source_name(enum memory_source s)
{
    return sources[s];
}

void memory_shape_write(const struct memory_shape *s, struct jsonw *w)
{
    struct memory_shape copy = *s;
    jsonw_obj(w);
    jsonw_kc(w, "source", sources[s->source]);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        jsonw_kint(w, members[i].key, *member(&copy, &members[i]));
    jsonw_key(w, "products");
    jsonw_arr(w);
    for (int i = 0; i < MEMORY_PRODUCTS && s->product[i].mult; i++) {
        jsonw_arr(w);
        jsonw_int(w, s->product[i].mult);
        jsonw_int(w, s->product[i].parts);
        jsonw_int(w, s->product[i].cols);
        jsonw_end(w, ']');
    }
    jsonw_end(w, ']');
    jsonw_kbool(w, "whole", s->whole);
    jsonw_kbool(w, "all_rows", s->all_rows);
    jsonw_end(w, '}');
}

static enum err read_u32(const struct json *v, const char *key, uint32_t *out, struct err_info *e)
{
    int64_t n = json_int(v, v ? -1 : 0);
    if (n < 0 || n > UINT32_MAX)
        return ERR_FAIL(e, FORMAT, "the shape of a model: '%s' is no number of 32 bits", key);
    *out = (uint32_t)n;
    return ERR_OK;
}

static enum err read_product(const struct json *v, struct memory_product *x, struct err_info *e)
{
    enum err err;
    if (v->type != JSON_ARR || v->n != 3)
        return ERR_FAIL(e, FORMAT, "the shape of a model: a product is no list of three numbers");
    if ((err = read_u32(&v->items[0], "products", &x->mult, e)) ||
        (err = read_u32(&v->items[1], "products", &x->parts, e)))
        return err;
    return read_u32(&v->items[2], "products", &x->cols, e);
}

enum err memory_shape_read(struct memory_shape *s, const struct json *v, struct err_info *e)
{
    str source = json_str(json_get(v, "source"), S("none"));
    const struct json *list = json_get(v, "products");
    enum err err = ERR_OK;
    *s = (struct memory_shape){0};
    if (!v || v->type != JSON_OBJ) return ERR_FAIL(e, FORMAT, "the shape of a model is no object");
    while (s->source <= MEMORY_HEADER && !str_eqc(source, sources[s->source]))
        s->source++;
    if (s->source > MEMORY_HEADER)
        return ERR_FAIL(e, FORMAT, "the shape of a model: its source '%.*s' is none",
                        (int)(source.n > 40 ? 40 : source.n), source.p);
    for (size_t i = 0; !err && i < sizeof members / sizeof *members; i++)
        err = read_u32(json_get(v, members[i].key), members[i].key, member(s, &members[i]), e);
    for (size_t i = 0; !err && list && list->type == JSON_ARR && i < list->n; i++)
        err = i < MEMORY_PRODUCTS
                  ? read_product(&list->items[i], &s->product[i], e)
                  : ERR_FAIL(e, FORMAT, "the shape of a model has too many products");
    s->whole = json_bool(json_get(v, "whole"), false);
    s->all_rows = json_bool(json_get(v, "all_rows"), false);
    return err;
}
