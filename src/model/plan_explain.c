/* plan_explain: prints a plan for people.
 *
 * One line a step: number, layer, op, registers, weight with type and shape, and what the op means;
 * further weights of a fused op follow on lines of their own. A layer that equals an earlier one in
 * all but its number is not printed again unless asked for: runs of such layers become one line.
 * Below come the rotation, the registers and the memory.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/plan_int.h"

/* "h <- x", "q, k, v <- h", "x <- x, d" */
static void operands(const struct plan_step *s, char *out, size_t size)
{
    const enum plan_reg to[] = {s->dst, s->dst2, s->dst3};
    const enum plan_reg from[] = {s->src, s->src2, s->src3, s->src4, s->src5, s->src6};
    uint32_t own = plan_reads(s);
    size_t n = 0, i;
    const char *sep = "";

    out[0] = 0;
    for (i = 0; i < sizeof to / sizeof *to; i++) {
        if (to[i] == REG_NONE) continue;
        n += (size_t)snprintf(out + n, size - n, "%s%s", sep, plan_reg_name(to[i]));
        sep = ", ";
    }
    if (n == 0) n += (size_t)snprintf(out + n, size - n, "cache");
    sep = " <- ";
    if (s->op == OP_LINEAR_ADD) {
        n += (size_t)snprintf(out + n, size - n, "%s%s", sep, plan_reg_name(s->dst));
        sep = ", ";
    }
    for (i = 0; i < sizeof from / sizeof *from; i++) {
        if (from[i] == REG_NONE || !(own & 1u << from[i])) continue;
        n += (size_t)snprintf(out + n, size - n, "%s%s", sep, plan_reg_name(from[i]));
        sep = ", ";
    }
    ASSERT(n < size);
}

static void attention(const struct plan_step *s, buf *out)
{
    buf_printf(out, "; %u heads of %u, scale %g", s->n_head, s->head_dim, (double)s->scale);
    if (s->u.attn.all) buf_c(out, ", both ways");
    if (s->u.attn.window) buf_printf(out, ", window %u", s->u.attn.window);
    if (s->u.attn.softcap > 0) buf_printf(out, ", soft-cap %g", (double)s->u.attn.softcap);
    if (s->u.attn.alibi > 0) buf_printf(out, ", ALiBi %g", (double)s->u.attn.alibi);
}

static void route(const struct plan_step *s, buf *out)
{
    static const char *const names[] = {[GATING_SOFTMAX] = "softmax",
                                        [GATING_SIGMOID] = "sigmoid",
                                        [GATING_SOFTMAX_CHOSEN] = "softmax of the chosen"};

    buf_printf(out, "; %u of %u, %s", s->u.route.n_used, s->n_src, names[s->u.route.gating]);
    if (s->u.route.norm) buf_c(out, ", summing to 1");
    if (s->scale != 1.0f) buf_printf(out, ", times %g", (double)s->scale);
    if (s->u.route.n_group)
        buf_printf(out, ", from %u of %u groups", s->u.route.n_group_used, s->u.route.n_group);
}

/* The numbers of a step that its op's meaning speaks of. */
static void numbers(const struct plan *p, const struct plan_step *s, buf *out)
{
    switch (s->op) {
    case OP_EMBED:
    case OP_ADD:
    case OP_DELTA:
        if (s->scale != 1.0f) buf_printf(out, "; scale %g", (double)s->scale);
        break;
    case OP_SCALE:
    case OP_SOFTCAP:
    case OP_CLAMP: buf_printf(out, "; scale %g", (double)s->scale); break;
    case OP_ROWADD: buf_c(out, s->u.rowadd.by_pos ? "; of the position" : "; row 0"); break;
    case OP_RMSNORM:
    case OP_LAYERNORM:
    case OP_L2NORM:
        buf_printf(out, "; eps %g", (double)s->eps);
        if (s->group != s->n) buf_printf(out, ", group %u", s->group);
        break;
    case OP_ROPE:
        buf_printf(out, "; %u heads of %u", s->n_head, s->head_dim);
        if (s->u.rope.first) buf_printf(out, " from column %u", s->u.rope.first);
        if (p->n_ropes > 1) buf_printf(out, ", table %u", s->index);
        break;
    case OP_KVPUT:
    case OP_WKV6:
    case OP_WKV7:
    case OP_SCAN_HEADS:
    case OP_HEADSUM: buf_printf(out, "; %u heads of %u", s->n_head, s->head_dim); break;
    case OP_ATTN: attention(s, out); break;
    case OP_ROUTE: route(s, out); break;
    case OP_COLS: buf_printf(out, "; %u pieces of %u", s->n_head, s->group); break;
    case OP_ACT:
    case OP_GLU:
    case OP_LINEAR_GLU: buf_printf(out, "; act %s", plan_act_name(s->act)); break;
    default: break;
    }
}

static void weight(const struct plan *p, int w, int b, buf *out)
{
    char shape[48] = "", name[80] = "";

    if (w != PLAN_NO_TENSOR) {
        const struct plan_tensor *t = &p->tensors[w];

        snprintf(shape, sizeof shape, "%" PRIu64 " x %" PRIu64, t->cols, t->rows);
        snprintf(name, sizeof name, "%.*s%s%s", (int)t->name.n, t->name.p, t->first ? " part" : "",
                 b != PLAN_NO_TENSOR ? " + bias" : "");
        buf_printf(out, "%-30s %-6s %-15s", name, dtype_info(t->dtype)->name, shape);
    } else {
        buf_printf(out, "%-30s %-6s %-15s", "", "", "");
    }
}

static void print_step(const struct plan *p, uint32_t i, buf *out)
{
    const struct plan_step *s = &p->steps[i];
    const int w[2] = {s->w2, s->w3}, b[2] = {s->b2, s->b3};
    char layer[12] = "-", regs[96];

    if (s->layer >= 0) snprintf(layer, sizeof layer, "%d", s->layer);
    operands(s, regs, sizeof regs);
    buf_printf(out, "%5u %5s  %-11s %-14s ", i, layer, plan_op_name(s->op), regs);
    weight(p, s->w, s->b, out);
    buf_printf(out, " %s", plan_op_meaning(s->op));
    numbers(p, s, out);
    buf_ch(out, '\n');
    for (int k = 0; k < 2; k++) {
        if (w[k] == PLAN_NO_TENSOR) continue;
        buf_printf(out, "%5s %5s  %-11s %-14s ", "", "", "", "");
        weight(p, w[k], b[k], out);
        while (out->n && out->p[out->n - 1] == ' ') {
            out->n--;
            out->p[out->n] = 0;
        }
        buf_ch(out, '\n');
    }
}

/* ---- folding ---- */

static bool same_tensor(const struct plan *p, int a, int b)
{
    const struct plan_tensor *x, *y;

    if (a == PLAN_NO_TENSOR || b == PLAN_NO_TENSOR) return a == b;
    x = &p->tensors[a];
    y = &p->tensors[b];
    return x->dtype == y->dtype && x->rows == y->rows && x->cols == y->cols;
}

static bool same_step(const struct plan *p, const struct plan_step *a, const struct plan_step *b)
{
    return a->op == b->op && plan_reads(a) == plan_reads(b) && plan_writes(a) == plan_writes(b) &&
           a->n_head == b->n_head && a->group == b->group && a->act == b->act &&
           a->scale == b->scale && a->eps == b->eps && a->n == b->n &&
           (a->op != OP_ATTN || !memcmp(&a->u.attn, &b->u.attn, sizeof a->u.attn)) &&
           (a->op != OP_ROPE || a->index == b->index) && same_tensor(p, a->w, b->w) &&
           same_tensor(p, a->w2, b->w2) && same_tensor(p, a->w3, b->w3) &&
           same_tensor(p, a->b, b->b) && same_tensor(p, a->b2, b->b2) &&
           same_tensor(p, a->b3, b->b3);
}

/* Index after the last step of the layer that begins at i. */
static uint32_t layer_end(const struct plan *p, uint32_t i)
{
    int layer = p->steps[i].layer;

    while (i < p->n_steps && p->steps[i].layer == layer)
        i++;
    return i;
}

static bool same_layer(const struct plan *p, uint32_t a, uint32_t b)
{
    uint32_t n = layer_end(p, a) - a;

    if (layer_end(p, b) - b != n) return false;
    for (uint32_t i = 0; i < n; i++)
        if (!same_step(p, &p->steps[a + i], &p->steps[b + i])) return false;
    return true;
}

/* The first layer, before the one at i, that equals it; i when there is none. */
static uint32_t twin(const struct plan *p, uint32_t i)
{
    uint32_t k = 0;

    while (k < i && (p->steps[k].layer < 0 || !same_layer(p, k, i)))
        k = layer_end(p, k);
    return k;
}

static void print_fold(const struct plan *p, uint32_t from, uint32_t to, uint32_t as, buf *out)
{
    int a = p->steps[from].layer, b = p->steps[to - 1].layer;

    if (a == b)
        buf_printf(out, "        layer %d as layer %d\n", a, p->steps[as].layer);
    else
        buf_printf(out, "        layers %d to %d as layer %d\n", a, b, p->steps[as].layer);
}

static void print_steps(const struct plan *p, bool full, buf *out)
{
    uint32_t end, as, next;

    for (uint32_t i = 0; i < p->n_steps; i = end) {
        end = layer_end(p, i);
        as = full || p->steps[i].layer < 0 ? i : twin(p, i);
        if (as == i) {
            for (uint32_t k = i; k < end; k++)
                print_step(p, k, out);
            continue;
        }
        for (next = end; next < p->n_steps && p->steps[next].layer >= 0 && twin(p, next) == as;
             next = end)
            end = layer_end(p, next);
        print_fold(p, i, end, as, out);
    }
}

/* ---- what stands below ---- */

static void bytes(buf *out, uint64_t n)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    size_t u = 0;

    for (; v >= 1024 && u + 1 < sizeof units / sizeof *units; u++)
        v /= 1024;
    buf_printf(out, u ? "%.2f %s" : "%.0f %s", v, units[u]);
}

static void print_rope(const struct plan *p, const struct plan_rope *r, buf *out)
{
    const struct meta *m = p->meta;
    bool local = r != p->ropes;

    buf_printf(out, "rope       %u of %u columns of a head, base %g", r->n_rot, m->head_dim,
               (double)(local && m->rope_base_swa != 0.0f ? m->rope_base_swa : m->rope_base));
    if (local)
        buf_c(out, " where there is a window");
    else
        buf_printf(out, ", scaling %s", meta_rope_name(m->rope_scaling));
    if (!local && m->rope_factor != 1.0f)
        buf_printf(out, " by %g from %u", (double)m->rope_factor, m->rope_orig_ctx);
    if (r->freq_long) buf_printf(out, ", another table beyond %u positions", p->rope_long_from);
    buf_printf(out, ", length %g, pairs %s\n", (double)r->mscale,
               r->pairs ? "(2i, 2i + 1)" : "(i, i + n/2)");
}

static void print_registers(const struct plan *p, buf *out)
{
    uint64_t columns = 0;

    buf_c(out, "registers ");
    for (int r = 0; r < REG_COUNT; r++) {
        if (!p->width[r]) continue;
        buf_printf(out, " %s[%u]", plan_reg_name((enum plan_reg)r), p->width[r]);
        columns += p->width[r];
    }
    buf_c(out, "\nmemory     weights ");
    bytes(out, p->meta->weight_bytes);
    buf_c(out, ", cache ");
    bytes(out, plan_kv_bytes_per_pos(p, DTYPE_F16, DTYPE_F16));
    buf_c(out, " a position (f16)");
    if (p->n_states) {
        buf_c(out, ", states ");
        bytes(out, plan_state_floats(p) * sizeof(float));
        buf_c(out, " a sequence");
    }
    buf_c(out, ", registers ");
    bytes(out, columns * sizeof(float));
    buf_c(out, " a row\n");
}

void plan_explain(const struct plan *p, bool full, buf *out)
{
    const struct meta *m = p->meta;

    buf_printf(out, "%s, %u layers, %" PRIu64 " parameters, %.*s: %u steps, %u tensors\n",
               m->family->name, m->n_layer, m->n_params, STR(m->file_type), p->n_steps,
               p->n_tensors);
    buf_printf(out, "%5s %5s  %-11s %-14s %-30s %-6s %-15s %s\n", "step", "layer", "op",
               "registers", "weight", "type", "columns x rows", "meaning");
    print_steps(p, full, out);
    for (uint32_t i = 0; i < p->n_ropes; i++)
        print_rope(p, &p->ropes[i], out);
    print_registers(p, out);
}
