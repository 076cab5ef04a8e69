/* caps: the reader of --capabilities. See caps.h. */
#include "model/caps.h"

#include <string.h>

#include "base/limits.h"

struct reader {
    struct caps *c;
    struct arena *a;
    const struct json *v;
    struct err_info *e;
};

static enum err need(struct reader *r, const struct json *v, const char *key, enum json_type type,
                     const struct json **out)
{
    *out = json_get(v, key);
    if (*out && (*out)->type == type) return ERR_OK;
    return ERR_FAIL(r->e, FORMAT, "the capabilities of a worker: '%s' is %s and not %s", key,
                    *out ? json_type_name((*out)->type) : "missing",
                    type == JSON_ARR   ? "a list"
                    : type == JSON_OBJ ? "an object"
                                       : "a string");
}

static str first_of(const struct json *list)
{
    return list && list->type == JSON_ARR && list->n ? json_str(&list->items[0], S("")) : S("");
}

/* A row for each family, none of them run. */
static int16_t *rows_of(struct reader *r)
{
    size_t n;
    (void)family_all(&n);
    int16_t *rows = ARENA_NEW(r->a, int16_t, n);
    for (size_t i = 0; rows && i < n; i++)
        rows[i] = -1;
    r->c->rows = rows;
    r->c->n_rows = rows ? n : 0;
    return rows;
}

static enum err families(struct reader *r)
{
    const struct json *list, *name;
    enum err err = need(r, r->v, "families", JSON_ARR, &list);
    if (err) return err;
    struct caps_family *f = ARENA_NEW(r->a, struct caps_family, list->n + 1);
    int16_t *rows = rows_of(r);
    if (!f || !rows) return ERR_FAIL(r->e, NOMEM, "no memory for %zu families", list->n);
    r->c->families = f;
    for (size_t i = 0; i < list->n; i++) {
        const struct json *x = &list->items[i], *proven = json_get(x, "proven");
        if ((err = need(r, x, "name", JSON_STR, &name))) return err;
        const struct family *row = family_find(name->s);
        /* Twice is a fault of the list, and once is enough. */
        if (!row || rows[family_row(row)] >= 0) continue;
        rows[family_row(row)] = (int16_t)r->c->n_families;
        f[r->c->n_families++] = (struct caps_family){row, first_of(json_get(proven, "gguf")),
                                                     first_of(json_get(proven, "safetensors"))};
    }
    return ERR_OK;
}

static enum op op_from(str name)
{
    for (int i = 0; i < OP_COUNT; i++)
        if (str_eqc(name, plan_op_name((enum op)i))) return (enum op)i;
    return OP_COUNT;
}

static enum err types(struct reader *r, const struct json *v, const char *key, bool *out)
{
    const struct json *list;
    enum err err = need(r, v, key, JSON_ARR, &list);
    for (size_t i = 0; !err && i < list->n; i++) {
        enum dtype t = dtype_from_name(json_str(&list->items[i], S("")));
        if (t != DTYPE_COUNT) out[t] = true;
    }
    return err;
}

static enum err backend(struct reader *r, const char *want)
{
    const struct json *list, *ops, *be = NULL;
    enum err err = need(r, r->v, "backends", JSON_ARR, &list);
    if (err) return err;
    for (size_t i = 0; !be && i < list->n; i++) {
        str name = json_str(json_get(&list->items[i], "name"), S(""));
        if (!want || str_eqc(name, want)) be = &list->items[i];
    }
    if (!be)
        return ERR_FAIL(r->e, FORMAT, "the capabilities of a worker name no back end%s%s",
                        want ? " " : "", want ? want : "");
    r->c->backend = json_str(json_get(be, "name"), S(""));
    if ((err = need(r, be, "ops", JSON_ARR, &ops)) || (err = types(r, be, "dtypes", r->c->dtype)) ||
        (err = types(r, be, "kv_types", r->c->kv)))
        return err;
    for (size_t i = 0; i < ops->n; i++) {
        enum op op = op_from(json_str(&ops->items[i], S("")));
        if (op != OP_COUNT) r->c->op[op] = true;
    }
    return ERR_OK;
}

/* Proofs of types, tokenizers, limits: absent ones prove and limit nothing. */
static enum err rest(struct reader *r)
{
    const struct json *p = json_get(r->v, "proven_dtypes"), *t = json_get(r->v, "tokenizers");
    const struct json *limits = json_get(r->v, "limits");
    for (size_t i = 0; p && p->type == JSON_OBJ && i < p->n; i++) {
        enum dtype d = dtype_from_name(p->items[i].key);
        if (d != DTYPE_COUNT) r->c->proof[d] = first_of(&p->items[i]);
    }
    if (t && t->type == JSON_ARR) {
        str *all = ARENA_NEW(r->a, str, t->n + 1);
        if (!all) return ERR_FAIL(r->e, NOMEM, "no memory for %zu tokenizers", t->n);
        for (size_t i = 0; i < t->n; i++)
            all[i] = json_str(&t->items[i], S(""));
        r->c->tokenizers = all;
        r->c->n_tokenizers = t->n;
    }
    int64_t ctx = json_int(json_get(limits, "context"), 0);
    int64_t slots = json_int(json_get(limits, "slots"), 0);
    r->c->max_ctx = ctx > 0 && ctx <= LIMIT_MODEL_CONTEXT ? (uint32_t)ctx : LIMIT_MODEL_CONTEXT;
    r->c->max_slots = slots > 0 && slots <= LIMIT_SLOTS ? (uint32_t)slots : LIMIT_SLOTS;
    return ERR_OK;
}

enum err caps_parse(struct caps *c, struct arena *a, const struct json *v, const char *want,
                    struct err_info *e)
{
    struct reader r = {c, a, v, e};
    const struct json *formats, *id;
    enum err err;
    *c = (struct caps){0};
    if ((err = need(&r, v, "id", JSON_STR, &id)) ||
        (err = need(&r, v, "formats", JSON_ARR, &formats)) || (err = families(&r)) ||
        (err = backend(&r, want)))
        return err;
    c->id = id->s;
    c->version = json_str(json_get(v, "version"), S(""));
    for (size_t i = 0; i < formats->n; i++) {
        enum filename_format f = filename_format_from(json_str(&formats->items[i], S("")));
        if (f) c->formats |= 1u << f;
    }
    return rest(&r);
}

bool caps_has(const struct caps *c, enum op op, enum dtype w)
{
    if ((unsigned)op >= OP_COUNT || !c->op[op]) return false;
    switch (plan_op_weights(op)) {
    case PLAN_W_NONE: return true;
    case PLAN_W_MAT: return (unsigned)w < DTYPE_COUNT && c->dtype[w];
    case PLAN_W_VEC:
    case PLAN_W_ROWS: return (unsigned)w < DTYPE_COUNT && dtype_info(w)->dequant != NULL;
    }
    return false;
}

const struct caps_family *caps_family(const struct caps *c, const struct family *f)
{
    return f ? caps_row(c, (size_t)family_row(f)) : NULL;
}

const struct caps_family *caps_row(const struct caps *c, size_t row)
{
    int i = row < c->n_rows ? c->rows[row] : -1;
    return i >= 0 && (size_t)i < c->n_families ? &c->families[i] : NULL;
}
