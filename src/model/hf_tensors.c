/* hf_tensors: from the tensors of the files to the tensors of the model.
 *
 * A name is cut into root ("model.", "transformer." and the like, dropped), layer ("layers.12.")
 * and rest; a number inside the rest is the expert or head that the tensor is a part of. The tables
 * of hf_rules.c give the GGUF name and what has to be done. Entries are then sorted by layer, name
 * and part, so that the parts of one tensor stand together, and each tensor is added by its rule.
 *
 * Invariant: a tensor of the files ends up in the model, or its rule says that it is not needed, or
 * the directory is refused; nothing is left out in silence.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "model/convert.h"
#include "model/gguf_int.h"
#include "model/hf_int.h"

enum { NAME_MAX_BYTES = 64 }; /* of a GGUF tensor */

struct name {
    str rest; /* with '#' for a number */
    int32_t layer, part;
};

static bool drop(str *s, const char *prefix)
{
    if (!str_starts(*s, str_c(prefix))) return false;
    *s = str_sub(*s, strlen(prefix), s->n);
    return true;
}

static bool cut_root(str *s)
{
    static const char *const roots[] = {"model.",    "transformer.", "gpt_neox.",
                                        "backbone.", "bert.",        "language_model.",
                                        "encoder.",  "decoder.",     "text_model."};

    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++)
        if (drop(s, roots[i])) return true;
    return false;
}

/* "layers.12.rest" to 12 and the rest. */
static bool cut_layer(str *s, int32_t *layer)
{
    static const char *const kinds[] = {"layers.", "layer.", "h.", "blocks."};
    str t, rest;
    int64_t n;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        t = *s;
        if (!drop(&t, kinds[i]) || !str_int(str_cut(t, '.', &rest), &n)) continue;
        if (n < 0 || n > INT32_MAX || !rest.n) return false;
        *layer = (int32_t)n;
        *s = rest;
        return true;
    }
    return false;
}

/* Replaces the one number between dots by '#'. */
static enum err cut_part(struct hf *h, struct name *n)
{
    str rest = n->rest, word;
    char *out = arena_alloc(&h->tree, n->rest.n + 1, 1);
    size_t at = 0;
    int64_t v;

    if (!out) return ERR_FAIL(h->e, NOMEM, "no memory for tensor names");
    do {
        word = str_cut(rest, '.', &rest);
        if (at) out[at++] = '.';
        if (n->part < 0 && str_int(word, &v) && v >= 0 && v <= INT32_MAX) {
            n->part = (int32_t)v;
            out[at++] = '#';
            continue;
        }
        memcpy(out + at, word.p, word.n);
        at += word.n;
    } while (rest.p);
    n->rest = (str){out, at};
    return ERR_OK;
}

static enum err parse_name(struct hf *h, str name, struct name *n)
{
    *n = (struct name){.rest = name, .layer = -1, .part = -1};
    while (cut_root(&n->rest) && n->rest.n)
        ;
    (void)cut_layer(&n->rest, &n->layer);
    return cut_part(h, n);
}

/* ---- which are needed ---- */

/* Towers of a multimodal model, beside its language model. */
static bool of_other_tower(const struct hf *h, str name)
{
    static const char *const towers[] = {
        "vision_tower.",          "vision_model.", "visual.",         "audio_tower.",
        "embed_vision.",          "embed_audio.",  "vision_encoder.", "image_newline",
        "multi_modal_projector.", "mm_projector."};

    if (h->text == h->root) return false;
    (void)drop(&name, "model.");
    for (size_t i = 0; i < sizeof towers / sizeof *towers; i++)
        if (str_starts(name, str_c(towers[i]))) return true;
    return false;
}

static bool ignored(const struct hf *h, str name, const struct name *n)
{
    if (of_other_tower(h, name) || hf_fix_is_scale(h, name)) return true;
    if (h->tied && (str_eq(name, S("lm_head.weight")) || str_ends(name, S(".lm_head.weight"))))
        return true;
    /* Layers that predict further tokens, behind the model's own. */
    return n->layer >= 0 && (uint32_t)n->layer >= h->n_layer &&
           (h->skip_mtp || hf_get(h, "num_nextn_predict_layers"));
}

enum err hf_tensors_resolve(struct hf *h, const struct safetensors_tensor *t, struct hf_entry *x)
{
    str suffix = {0}, gguf;
    struct name n;
    enum err r = parse_name(h, t->name, &n);

    x->rule = NULL;
    if (r || ignored(h, t->name, &n)) return r;
    if (n.layer >= 0 && (uint32_t)n.layer >= h->n_layer)
        return ERR_FAIL(h->e, FORMAT,
                        "tensor '%.*s' belongs to layer %d, but config.json states %u layers",
                        HF_NAME(t->name), n.layer, h->n_layer);
    x->rule = hf_rules_find(h->arch, n.rest, n.layer >= 0, &suffix);
    if (!x->rule)
        return ERR_FAIL(h->e, UNSUPPORTED,
                        "tensor '%.*s' (%s) has no place in a model of architecture '%s' as this "
                        "version reads it; leaving it out would change the model",
                        HF_NAME(t->name), t->type->name, h->gguf_arch);
    if (!x->rule->gguf) {
        x->rule = NULL;
        return ERR_OK;
    }
    if (n.layer < 0)
        gguf = arena_printf(&h->g->arena, "%s%.*s", x->rule->gguf, STR(suffix));
    else
        gguf = arena_printf(&h->g->arena, "blk.%d.%s%.*s", n.layer, x->rule->gguf, STR(suffix));
    if (!gguf.p) return ERR_FAIL(h->e, NOMEM, "no memory for tensor names");
    x->t = t;
    x->name = gguf;
    x->layer = n.layer;
    x->part = n.part;
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (t->dim[i] == 0)
            return ERR_FAIL(h->e, FORMAT, "tensor '%.*s' has no elements", HF_NAME(t->name));
    return ERR_OK;
}

/* ---- the model's directory ---- */

enum err hf_tensors_add(struct hf *h, str name, enum dtype t, const uint64_t *dim, uint32_t n_dims,
                        const uint8_t *data)
{
    struct gguf_tensor *g = &h->g->tensors[h->g->n_tensors];
    uint64_t row;

    ASSERT(n_dims >= 1 && n_dims <= 4);
    if (h->g->n_tensors == h->max_tensors)
        return ERR_FAIL(h->e, FORMAT, "the model has more than %u tensors", LIMIT_GGUF_TENSORS);
    if (!name.n) return ERR_FAIL(h->e, NOMEM, "no memory for tensor names");
    if (name.n > NAME_MAX_BYTES)
        return ERR_FAIL(h->e, FORMAT, "tensor name '%.*s' is too long", HF_NAME(name));
    *g = (struct gguf_tensor){.n_dims = n_dims, .dtype = t, .data = data};
    g->name = arena_str(&h->g->arena, name);
    if (!g->name.p) return ERR_FAIL(h->e, NOMEM, "no memory for tensor names");
    for (uint32_t i = 0; i < 4; i++)
        g->dim[i] = i < n_dims ? dim[i] : 1;
    if (!dtype_row_bytes(t, g->dim[0], &row) || __builtin_mul_overflow(row, g->dim[1], &row) ||
        __builtin_mul_overflow(row, g->dim[2], &row) ||
        __builtin_mul_overflow(row, g->dim[3], &g->bytes))
        return ERR_FAIL(h->e, FORMAT, "tensor '%.*s' has rows of %llu, which %s cannot hold",
                        HF_NAME(name), (unsigned long long)dim[0], dtype_info(t)->name);
    h->g->n_tensors++;
    return ERR_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct hf_entry *x = a, *y = b;
    int c;

    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    if ((c = str_cmp(x->name, y->name))) return c;
    if (x->part != y->part) return x->part < y->part ? -1 : 1;
    return str_cmp(x->t->name, y->t->name);
}

/* Entries first..first+n-1 make one tensor. */
static enum err add_group(struct hf *h, const struct hf_entry *x, size_t n)
{
    hf_fix_fn *fix = x->rule->fix ? x->rule->fix : hf_fix_keep;

    if (x->part >= 0) return hf_fix_parts(h, x, n);
    /* Rules that name no tensor share the empty name: each adds its own. */
    for (size_t i = 0; i < n; i++) {
        enum err r;

        fix = x[i].rule->fix ? x[i].rule->fix : hf_fix_keep;
        if (n > 1 && x->rule->gguf[0])
            return ERR_FAIL(h->e, FORMAT, "tensors '%.*s' and '%.*s' are both '%.*s'",
                            HF_NAME(x[0].t->name), HF_NAME(x[1].t->name), HF_NAME(x->name));
        if ((r = fix(h, &x[i]))) return r;
    }
    return ERR_OK;
}

/* Quantises the matrices that were just added, and frees what was made only to get there. */
static enum err quantise_group(struct hf *h, uint64_t first, struct gguf_copy *mark)
{
    struct gguf_copy *made = gguf_copy_cut(h->g, mark);
    bool needed = false;
    enum err r = convert_in_place(h->g, first, h->mix, &h->model, h->n_threads, h->e);

    for (uint64_t i = first; i < h->g->n_tensors; i++)
        needed = needed || gguf_copy_holds(made, &h->g->tensors[i]);
    if (r || needed)
        gguf_copy_join(h->g, made);
    else
        gguf_copy_drop(h->g, made);
    return r;
}

/* What the choice of types asks for, before there are tensors to ask. */
static void learn_model(struct hf *h, const struct hf_entry *x, size_t n)
{
    h->model = (struct quant_model){
        .n_layer = h->n_layer, .n_gqa = h->n_head_kv ? h->n_head / h->n_head_kv : 1, .tied = true};
    for (size_t i = 0; i < n; i++)
        if (str_eqc(x[i].name, "output.weight")) h->model.tied = false;
    if (hf_read_u32(h, "num_experts|num_local_experts|n_routed_experts", &h->model.n_expert))
        h->model.n_expert = 0;
}

enum err hf_tensors(struct hf *h)
{
    struct hf_entry *x = ARENA_NEW(&h->tree, struct hf_entry, h->n_all);
    size_t n = 0, last;
    enum err r;

    h->max_tensors = 3 * h->n_all + 2; /* one can become three; RoPE adds two */
    if (h->max_tensors > LIMIT_GGUF_TENSORS) h->max_tensors = LIMIT_GGUF_TENSORS;
    h->g->tensors = ARENA_NEW(&h->g->arena, struct gguf_tensor, (size_t)h->max_tensors);
    if ((h->n_all && !x) || !h->g->tensors)
        return ERR_FAIL(h->e, NOMEM, "no memory for %zu tensors", h->n_all);
    for (size_t i = 0; i < h->n_all; i++) {
        if ((r = hf_tensors_resolve(h, h->all[i], &x[n]))) return r;
        n += x[n].rule != NULL;
    }
    if (n) qsort(x, n, sizeof *x, by_place);
    learn_model(h, x, n);
    for (size_t i = 0; i < n; i = last) {
        struct gguf_copy *mark = h->g->copies;
        uint64_t first = h->g->n_tensors;

        for (last = i + 1; last < n && str_eq(x[last].name, x[i].name); last++)
            ;
        if ((r = add_group(h, &x[i], last - i))) return r;
        if (h->mix && (r = quantise_group(h, first, mark))) return r;
    }
    if ((r = hf_rope_tensors(h))) return r;
    return gguf_index_tensors(h->g, &h->g->arena, h->e);
}
