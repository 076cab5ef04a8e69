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
    v->short_by = v->memory.total - d->memory;
    REFUSE(v, a, "%.*s has %s for it and %s are needed: %llu bytes short", NAME(d->name), have.text,
           need.text, (unsigned long long)v->short_by);
}

bool verdict_shrink(struct verdict *v, struct arena *a, const struct memory_shape *s,
                    struct memory_conf *c, const struct verdict_device *d)
{
    if (!memory_shrink_of(s, c, v->memory.weights, d->memory)) return false;
    v->fit_ctx = c->n_ctx;
    v->fit_slots = c->n_slots;
    ADVISE(v, a, "a context of %u with %u slot%s fits", c->n_ctx, c->n_slots,
           c->n_slots == 1 ? "" : "s");
    return true;
}
