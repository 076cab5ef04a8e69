/* verdict_lines: the sentences that both kinds of verdict say. See verdict_int.h. */
#include <stdarg.h>
#include <stdio.h>

#include "model/verdict_int.h"

#define LINE_BYTES 400

void verdict_say(struct verdict_lines *l, struct arena *a, const char *fmt, ...)
{
    char line[LINE_BYTES];
    va_list ap;
    if (l->n == VERDICT_LINES) return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    str s = arena_str(a, str_c(line));
    if (s.p) l->line[l->n++] = s;
}

struct amount {
    char text[24];
};

static struct amount amount(uint64_t n)
{
    struct amount a;
    bool large = n >= (uint64_t)1 << 30;
    snprintf(a.text, sizeof a.text, "%.2f %s", (double)n / (large ? 0x1p30 : 0x1p20),
             large ? "GiB" : "MiB");
    return a;
}

void verdict_short(struct verdict *v, struct arena *a, const struct verdict_device *d)
{
    struct amount have = amount(d->memory), need = amount(v->memory.total);
    v->fits = false;
    v->why = JUDGE_MEMORY;
    v->short_by = v->memory.total - d->memory;
    REFUSE(v, a, "%.*s has %s for it and %s are needed: %llu bytes short", NAME(d->name), have.text,
           need.text, (unsigned long long)v->short_by);
}

/* The cache in blocks of 8 bits. */
static bool small_cache(const struct verdict *v, const struct memory_conf *conf,
                        const struct caps *c, const struct verdict_device *d)
{
    uint32_t unit = dtype_info(DTYPE_Q8_0)->elems;
    struct memory_conf small = *conf;
    if (!c->kv[DTYPE_Q8_0] || v->shape.k_unit % unit || v->shape.v_unit % unit ||
        conf->ktype == DTYPE_Q4_0 || conf->vtype == DTYPE_Q4_0)
        return false;
    small.ktype = small.vtype = DTYPE_Q8_0;
    return memory_need_of(&v->shape, &small, v->memory.weights).total <= d->memory;
}

bool verdict_shrink(struct verdict *v, struct arena *a, const struct memory_conf *conf,
                    const struct caps *c, const struct verdict_device *d)
{
    struct memory_conf less = *conf;
    bool fits = memory_shrink_of(&v->shape, &less, v->memory.weights, d->memory);
    if (fits) {
        v->fit_ctx = less.n_ctx;
        v->fit_slots = less.n_slots;
        ADVISE(v, a, "a context of %u with %u slot%s fits", less.n_ctx, less.n_slots,
               less.n_slots == 1 ? "" : "s");
    }
    if (!small_cache(v, conf, c, d)) return fits;
    v->fit_kv = DTYPE_Q8_0;
    ADVISE(v, a, "a KV cache of type q8_0 fits");
    return true;
}

/* ---- several devices ---- */

static bool runs(const struct verdict *v)
{
    return v->compatible && v->fits;
}

size_t verdict_best(const struct verdict *v, size_t n)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++)
        if (runs(&v[i]) && (best == n || v[i].decode > v[best].decode)) best = i;
    return best;
}

void verdict_elsewhere(struct verdict *v, size_t n, struct arena *a, const struct verdict_device *d)
{
    size_t best = verdict_best(v, n);
    for (size_t i = 0; best < n && i < n; i++)
        if (v[i].why == JUDGE_MEMORY) ADVISE(&v[i], a, "it runs on %.*s", NAME(d[best].name));
}
