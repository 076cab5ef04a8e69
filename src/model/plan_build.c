/* plan_build: the verbs a plan is written with.
 *
 * plan_emit() appends a step and keeps account of how many columns each register holds, so that the
 * blocks name registers only. Tensors are looked up by slot (slot.def) under the current layer;
 * their shapes are checked against what the step needs, and a tensor of a wrong shape ends the
 * build with its name. A part of a fused tensor is a tensor of its own that begins at a later row.
 *
 * Whether each register holds what its readers need is settled for the whole plan by plan_check().
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "model/plan_int.h"

static const char *const slot_names[SLOT_COUNT] = {
#define SLOT_GLOBAL(NAME, name) [SLOT_##NAME] = name,
#define SLOT_LAYER(NAME, name)  [SLOT_##NAME] = name,
#include "model/slot.def"
};

const char *plan_slot_name(enum slot s)
{
    return s < SLOT_COUNT ? slot_names[s] : "none";
}

const struct meta_layer *plan_layer(const struct builder *b)
{
    ASSERT(b->layer >= 0);
    return &b->m->layers[b->layer];
}

/* ---- tensors ---- */

struct name {
    char text[64];
};

/* "blk.3.attn_q.weight", or the bare name outside the layers. */
static struct name full_name(const struct builder *b, enum slot slot)
{
    struct name n;

    if (b->layer < 0)
        snprintf(n.text, sizeof n.text, "%s", slot_names[slot]);
    else
        snprintf(n.text, sizeof n.text, "blk.%d.%s", b->layer, slot_names[slot]);
    return n;
}

bool plan_peek(const struct builder *b, enum slot slot, struct plan_tensor *t)
{
    struct plan_tensor none;
    struct name n;

    if (slot == SLOT_NONE) return false;
    n = full_name(b, slot);
    return b->src->find(b->src->owner, str_c(n.text), t ? t : &none, NULL);
}

/* The next free entry of the tensor list. */
static enum err room(struct builder *b)
{
    if (b->p->n_tensors < b->max_tensors) return ERR_OK;
    return ERR_FAIL(b->e, LIMIT, "the model's plan needs more than %zu tensors", b->max_tensors);
}

enum err plan_find(struct builder *b, enum slot slot, uint64_t rows, uint64_t cols, int *out)
{
    struct plan_tensor *t;
    enum err r = room(b);

    *out = PLAN_NO_TENSOR;
    if (r || slot == SLOT_NONE) return r;
    t = &b->tensors[b->p->n_tensors];
    if (!plan_peek(b, slot, t)) return ERR_OK;
    if ((rows && t->rows != rows) || (cols && t->cols != cols))
        return ERR_FAIL(b->e, FORMAT,
                        "tensor '%s' is %llu x %llu, but the model's numbers need %llu x %llu",
                        full_name(b, slot).text, (unsigned long long)t->cols,
                        (unsigned long long)t->rows, (unsigned long long)(cols ? cols : t->cols),
                        (unsigned long long)(rows ? rows : t->rows));
    t->first = 0;
    *out = (int)b->p->n_tensors++;
    return ERR_OK;
}

static enum err missing(struct builder *b, enum slot slot)
{
    return ERR_FAIL(b->e, FORMAT, "the model lacks the tensor '%s'", full_name(b, slot).text);
}

enum err plan_need(struct builder *b, enum slot slot, uint64_t rows, uint64_t cols, int *out)
{
    enum err r = plan_find(b, slot, rows, cols, out);

    return r || *out != PLAN_NO_TENSOR ? r : missing(b, slot);
}

enum err plan_find_vec(struct builder *b, enum slot slot, uint64_t n, int *out)
{
    struct plan_tensor *t;
    enum err r = plan_find(b, slot, 0, 0, out);

    if (r || *out == PLAN_NO_TENSOR) return r;
    t = &b->tensors[*out];
    if (t->rows * t->cols != n)
        return ERR_FAIL(b->e, FORMAT, "tensor '%s' has %llu values, but %llu are needed",
                        full_name(b, slot).text, (unsigned long long)(t->rows * t->cols),
                        (unsigned long long)n);
    if (dtype_info(t->dtype)->elems != 1)
        return ERR_FAIL(b->e, UNSUPPORTED,
                        "tensor '%s' is %s; norms, biases and the like must be plain numbers",
                        full_name(b, slot).text, dtype_info(t->dtype)->name);
    return ERR_OK;
}

enum err plan_need_vec(struct builder *b, enum slot slot, uint64_t n, int *out)
{
    enum err r = plan_find_vec(b, slot, n, out);

    return r || *out != PLAN_NO_TENSOR ? r : missing(b, slot);
}

enum err plan_slice(struct builder *b, int of, uint64_t first, uint64_t rows, int *out)
{
    const struct plan_tensor *t = &b->tensors[of];
    struct plan_tensor *s;
    bool vector = t->rows == 1 && rows != 1;
    uint64_t have = vector ? t->cols : t->rows / t->n_parts;
    enum err r = room(b);

    if (r) return r;
    if (first > have || rows > have - first)
        return ERR_FAIL(b->e, FORMAT,
                        "tensor '%.*s' has %llu rows; the model's numbers need rows %llu to %llu",
                        STR(t->name), (unsigned long long)have, (unsigned long long)first,
                        (unsigned long long)(first + rows - 1));
    s = &b->tensors[b->p->n_tensors];
    *s = *t;
    s->first = t->first + first;
    if (vector)
        s->cols = rows;
    else
        s->rows = rows * t->n_parts;
    *out = (int)b->p->n_tensors++;
    return ERR_OK;
}

/* ---- steps ---- */

struct plan_step *plan_emit(struct builder *b, enum op op, enum plan_reg dst, uint32_t n,
                            enum plan_reg src)
{
    struct plan_step *s = &b->steps[b->p->n_steps];

    ASSERT(b->p->n_steps < b->max_steps);
    b->p->n_steps++;
    *s = (struct plan_step){.op = op, .layer = b->layer, .dst = dst, .src = src, .n = n};
    s->dst2 = s->dst3 = REG_NONE;
    s->src2 = s->src3 = s->src4 = s->src5 = s->src6 = REG_NONE;
    s->w = s->w2 = s->w3 = s->b = s->b2 = s->b3 = PLAN_NO_TENSOR;
    s->scale = 1.0f;
    if (src != REG_NONE) s->n_src = b->n[src];
    if (dst != REG_NONE) {
        b->n[dst] = n;
        if (b->p->width[dst] < n) b->p->width[dst] = n;
    }
    return s;
}

static enum slot bias_of(enum slot weight)
{
    /* slot.def lists a norm's bias right behind its weight */
    size_t n = strlen(slot_names[weight]);
    const char *next = weight + 1 < SLOT_COUNT ? slot_names[weight + 1] : "";
    size_t stem = n - strlen("weight");

    if (strncmp(next, slot_names[weight], stem) || strcmp(next + stem, "bias")) return SLOT_NONE;
    return (enum slot)(weight + 1);
}

/* A norm step over groups whose weight, if any, has n_weight values. */
static enum err norm_step(struct builder *b, enum slot slot, enum plan_reg dst, enum plan_reg src,
                          uint32_t group)
{
    bool layer_norm = b->m->family->norm == NORM_LAYER;
    struct plan_step *s = plan_emit(b, layer_norm ? OP_LAYERNORM : OP_RMSNORM, dst, b->n[src], src);
    struct plan_tensor t;
    uint64_t have;
    enum err r;

    s->eps = b->m->norm_eps;
    s->group = group;
    if (slot == SLOT_NONE || !plan_peek(b, slot, &t)) return ERR_OK;
    have = t.rows * t.cols;
    if (have != group && have != s->n)
        return ERR_FAIL(b->e, FORMAT, "tensor '%s' has %llu values; the rows it is for have %u",
                        full_name(b, slot).text, (unsigned long long)have, s->n);
    if ((r = plan_find_vec(b, slot, have, &s->w))) return r;
    return layer_norm ? plan_find_vec(b, bias_of(slot), have, &s->b) : ERR_OK;
}

enum err plan_norm(struct builder *b, enum slot slot, enum plan_reg dst, enum plan_reg src)
{
    bool bare = b->m->family->flags & FAMILY_NORM_BARE;
    struct plan_tensor t;

    if (!plan_peek(b, slot, &t))
        return bare ? norm_step(b, SLOT_NONE, dst, src, b->n[src]) : missing(b, slot);
    if (t.rows * t.cols != b->n[src])
        return ERR_FAIL(b->e, FORMAT,
                        "tensor '%s' is %llu x %llu, but the model's numbers need %u x 1",
                        full_name(b, slot).text, (unsigned long long)t.cols,
                        (unsigned long long)t.rows, b->n[src]);
    return norm_step(b, slot, dst, src, b->n[src]);
}

enum err plan_norm_groups(struct builder *b, enum slot slot, enum plan_reg r, uint32_t group)
{
    return norm_step(b, slot, r, r, group);
}

enum err plan_linear(struct builder *b, enum slot weight, enum slot bias, enum plan_reg dst,
                     enum plan_reg src, uint32_t n)
{
    struct plan_tensor t = {0};
    struct plan_step *s;
    enum err r;

    if (n == 0 && plan_peek(b, weight, &t)) {
        if (t.rows > LIMIT_MODEL_DIM)
            return ERR_FAIL(b->e, FORMAT, "tensor '%s' has %llu rows; %u is the limit",
                            full_name(b, weight).text, (unsigned long long)t.rows, LIMIT_MODEL_DIM);
        n = (uint32_t)t.rows;
    }
    s = plan_emit(b, OP_LINEAR, dst, n, src);
    if ((r = plan_need(b, weight, n, s->n_src, &s->w))) return r;
    return plan_find_vec(b, bias, n, &s->b);
}

enum err plan_linear_part(struct builder *b, enum slot weight, enum slot bias, enum plan_reg dst,
                          enum plan_reg src, uint64_t first, uint32_t n)
{
    struct plan_step *s = plan_emit(b, OP_LINEAR, dst, n, src);
    int whole, whole_bias;
    enum err r;

    if ((r = plan_need(b, weight, 0, s->n_src, &whole)) ||
        (r = plan_slice(b, whole, first, n, &s->w)) || (r = plan_find(b, bias, 1, 0, &whole_bias)))
        return r;
    return whole_bias == PLAN_NO_TENSOR ? ERR_OK : plan_slice(b, whole_bias, first, n, &s->b);
}

/* ---- element by element ---- */

void plan_add(struct builder *b, enum plan_reg to, enum plan_reg what, float scale)
{
    struct plan_step *s = plan_emit(b, OP_ADD, to, b->n[to], to);

    s->src2 = what;
    s->n_src2 = b->n[what];
    s->scale = scale;
}

void plan_act(struct builder *b, enum plan_act act, enum plan_reg dst, enum plan_reg src)
{
    plan_emit(b, OP_ACT, dst, b->n[src], src)->act = act;
}

void plan_glu(struct builder *b, enum plan_act act, enum plan_reg dst, enum plan_reg gate,
              enum plan_reg up)
{
    struct plan_step *s = plan_emit(b, OP_GLU, dst, b->n[gate], gate);

    s->src2 = up;
    s->n_src2 = b->n[up];
    s->act = act;
}

void plan_mul(struct builder *b, enum plan_reg dst, enum plan_reg src, enum plan_reg by)
{
    struct plan_step *s = plan_emit(b, OP_MUL, dst, b->n[src], src);

    s->src2 = by;
    s->n_src2 = b->n[by];
}

enum err plan_mul_vec(struct builder *b, enum slot slot, enum plan_reg dst, enum plan_reg src)
{
    struct plan_step *s = plan_emit(b, OP_MUL, dst, b->n[src], src);

    return plan_need_vec(b, slot, s->n, &s->w);
}

struct plan_step *plan_cols(struct builder *b, enum plan_reg dst, uint32_t n, enum plan_reg src,
                            uint32_t n_pieces, uint32_t cols)
{
    struct plan_step *s = plan_emit(b, OP_COLS, dst, n, src);

    s->n_head = n_pieces;
    s->group = cols;
    s->u.cols.from_stride = n_pieces > 1 ? s->n_src / n_pieces : 0;
    s->u.cols.to_stride = n_pieces > 1 ? n / n_pieces : 0;
    return s;
}

uint32_t plan_state(struct builder *b, uint64_t floats)
{
    ASSERT(b->p->n_states < (size_t)b->m->n_layer * PLAN_STATES_PER_LAYER);
    /* plan_check() finds that a state without room is too small */
    b->states[b->p->n_states] = floats <= UINT32_MAX ? (uint32_t)floats : 0;
    return b->p->n_states++;
}

enum plan_act plan_ffn_act(const struct builder *b)
{
    static const enum plan_act acts[] = {
        [FFN_SILU] = ACT_SILU,         [FFN_GELU] = ACT_GELU_TANH,
        [FFN_GELU_ERF] = ACT_GELU_ERF, [FFN_RELU] = ACT_RELU,
        [FFN_RELU_SQR] = ACT_RELU_SQR, [FFN_SWIGLU_CLAMPED] = ACT_SWIGLU_CLAMPED};

    return acts[b->m->act];
}
