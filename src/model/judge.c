/* judge: see judge.h. Each function answers JUDGE_RUNS or the reason. */
#include "model/judge.h"

#include <string.h>

#include "model/family.h"
#include "model/speed.h"
#include "model/verdict.h"

/* ---- from the Hub's words ---- */

/* As the Hub or the name says; else by the size of a file and the bits of its quantisation. */
static uint64_t params_of(const struct hub_model *m)
{
    if (m->params) return m->params;
    for (size_t i = 0; i < m->n_sets; i++) {
        const struct hub_set *s = &m->sets[i];
        if (s->kind == FILENAME_WEIGHTS && s->centibits && s->bytes && s->bytes < UINT64_MAX / 800)
            return s->bytes * 800 / s->centibits;
    }
    return m->params_active;
}

void judge_model_from(struct judge_model *j, const struct hub_model *m)
{
    *j = (struct judge_model){.family = (int16_t)family_row(m->family),
                              .arch_said = m->arch.n != 0,
                              .hf_loads = m->hf_loads,
                              .disabled = m->disabled,
                              .foreign_quant = m->foreign_quant,
                              .scaled = m->scaled,
                              .other_task = m->other_task,
                              .gated = m->gated,
                              .vision = (m->can & HUB_VISION) != 0,
                              .files_said = m->files_said,
                              .formats = m->formats,
                              .context = m->context,
                              .params = m->params,
                              .params_active = m->params_active};
    for (size_t i = 0; i < m->n_sets && !j->pieces; i++)
        j->pieces = m->sets[i].kind == FILENAME_PIECE;
    struct memory_facts f = {m->family, params_of(m), m->context};
    if (m->shape)
        j->shape = *m->shape;
    else
        memory_shape_estimate(&j->shape, &f);
}

void judge_set_from(struct judge_set *j, const struct hub_set *s)
{
    *j = (struct judge_set){
        .format = (uint8_t)s->format,
        .kind = (uint8_t)s->kind,
        .dtype = (uint8_t)s->dtype,
        .foreign_quant = s->dtype == DTYPE_COUNT && s->quant && strchr(s->quant, '_'),
        .whole = s->n_files == s->n_expected,
        .centibits = (uint16_t)(s->centibits < UINT16_MAX ? s->centibits : UINT16_MAX),
        .bytes = s->loaded};
}

/* ---- the rule ---- */

static enum judge_why format_runs(const struct judge_model *m, const struct judge_set *s,
                                  const struct caps *c)
{
    if (m->disabled) return JUDGE_DISABLED;
    if (s && s->kind != FILENAME_WEIGHTS) return JUDGE_NO_MODEL;
    if (s) return c->formats & 1u << s->format ? JUDGE_RUNS : JUDGE_FORMAT;
    if (m->formats & c->formats) return JUDGE_RUNS;
    if (m->formats) return JUDGE_FORMAT;
    if (m->pieces) return JUDGE_PIECES;
    return m->files_said ? JUDGE_NO_WEIGHTS : JUDGE_NO_FORMAT;
}

static enum filename_format format_of(const struct judge_model *m, const struct judge_set *s,
                                      const struct caps *c)
{
    uint32_t runs = m->formats & c->formats;
    return s                                   ? (enum filename_format)s->format
           : runs & 1u << FILENAME_GGUF        ? FILENAME_GGUF
           : runs & 1u << FILENAME_SAFETENSORS ? FILENAME_SAFETENSORS
                                               : FILENAME_NONE;
}

static enum judge_why weights_run(const struct judge_model *m, const struct judge_set *s,
                                  const struct caps *c, enum filename_format f)
{
    if (m->family < 0)
        return m->arch_said ? JUDGE_FAMILY : m->other_task ? JUDGE_TASK : JUDGE_NO_ARCH;
    if (!caps_row(c, (size_t)m->family)) return JUDGE_FAMILY;
    if (f == FILENAME_SAFETENSORS && !m->hf_loads) return JUDGE_HF_CLASS;
    if (m->foreign_quant && f == FILENAME_SAFETENSORS) return JUDGE_FOREIGN_QUANT;
    if (!s) return JUDGE_RUNS;
    if (s->foreign_quant) return JUDGE_FOREIGN_QUANT;
    if (s->dtype < DTYPE_COUNT && !c->dtype[s->dtype]) return JUDGE_DTYPE;
    return s->whole ? JUDGE_RUNS : JUDGE_SHARDS;
}

static bool cache_type(const struct caps *c, enum dtype t, uint32_t unit)
{
    uint32_t elems = dtype_info(t)->elems;
    return c->kv[t] && (elems == 1 || unit % elems == 0); /* a division for each set would show */
}

static enum judge_why asked_runs(const struct judge_model *m, const struct caps *c,
                                 const struct verdict_ask *ask)
{
    if (ask->n_ctx > c->max_ctx) return JUDGE_CONTEXT;
    if (ask->n_slots > c->max_slots) return JUDGE_SLOTS;
    if (!cache_type(c, ask->ktype, m->shape.k_unit) || !cache_type(c, ask->vtype, m->shape.v_unit))
        return JUDGE_KV_TYPE;
    return JUDGE_RUNS;
}

/* ---- memory and speed ---- */

/* Weights by their files, else by parameters and bits. */
static uint64_t weights_of(const struct judge_model *m, const struct judge_set *s,
                           enum filename_format f)
{
    if (s && s->bytes) return s->bytes;
    uint32_t bits = s && s->centibits           ? s->centibits
                    : f != FILENAME_SAFETENSORS ? 0
                    : m->scaled                 ? 3200
                                                : 1600;
    return bits && m->params < UINT64_MAX / 4000 ? m->params * bits / 800 : 0;
}

void judge_beside(struct judge_beside *b, const struct judge_model *m,
                  const struct verdict_device *d, const struct verdict_ask *ask)
{
    *b = (struct judge_beside){.conf = {.n_ctx = ask->n_ctx,
                                        .n_slots = ask->n_slots,
                                        .n_threads = d->threads ? d->threads : 1,
                                        .ktype = ask->ktype,
                                        .vtype = ask->vtype}};
    if (m->shape.source == MEMORY_NONE) return;
    memory_fill_of(&b->conf, &m->shape);
    b->need = memory_need_of(&m->shape, &b->conf, 0);
}

static uint64_t sum(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_add_overflow(a, b, &r) ? UINT64_MAX : r;
}

static void weigh(struct judge_out *o, const struct judge_model *m, uint64_t bytes,
                  const struct judge_beside *b)
{
    o->memory = b->need;
    o->memory.weights = bytes;
    o->memory.total = sum(bytes, b->need.total);
    o->memory_known = true;
    o->cache_known = m->shape.source != MEMORY_NONE;
    o->cache_estimated = m->shape.source == MEMORY_ESTIMATE;
    o->n_ctx = b->conf.n_ctx;
    o->n_slots = b->conf.n_slots;
}

void judge_speed(struct judge_out *o, const struct judge_model *m, const struct judge_set *s,
                 const struct verdict_device *d, const struct verdict_ask *ask)
{
    const struct speed_device on = {d->rates, d->bandwidth, d->compute};
    const struct speed_ask at = {o->n_ctx, ask->ktype, ask->vtype};
    if (!o->compatible || !o->memory_known) return;
    double read = (double)o->memory.weights;
    if (m->params_active && m->params > m->params_active)
        read *= (double)m->params_active / (double)m->params;
    struct speed v =
        speed_of_sizes(read, s ? (enum dtype)s->dtype : DTYPE_COUNT, &m->shape, &at, &on);
    o->decode = (float)v.decode;
    o->prefill = (float)v.prefill;
}

/* ---- the whole ---- */

void judge_fit(struct judge_out *o, const struct judge_model *m, const struct judge_set *s,
               const struct judge_beside *b, const struct caps *c, const struct verdict_device *d,
               const struct verdict_ask *ask)
{
    enum filename_format f = format_of(m, s, c);
    *o = (struct judge_out){.format = (uint8_t)f, .n_ctx = ask->n_ctx, .n_slots = ask->n_slots};
    if ((o->why = format_runs(m, s, c)) || (o->why = weights_run(m, s, c, f)) ||
        (o->why = asked_runs(m, c, ask)))
        return;
    o->compatible = o->fits = true;
    o->distance = filename_distance(s ? s->centibits : 0);
    uint64_t bytes = weights_of(m, s, f);
    if (!bytes) return;
    weigh(o, m, bytes, b);
    if (!d->memory || o->memory.total <= d->memory) return;
    o->fits = false;
    o->why = JUDGE_MEMORY;
    o->short_by = o->memory.total - d->memory;
}

void judge_set_with(struct judge_out *o, const struct judge_model *m, const struct judge_set *s,
                    const struct judge_beside *b, const struct caps *c,
                    const struct verdict_device *d, const struct verdict_ask *ask)
{
    judge_fit(o, m, s, b, c, d, ask);
    judge_speed(o, m, s, d, ask);
}

void judge_set(struct judge_out *o, const struct judge_model *m, const struct judge_set *s,
               const struct caps *c, const struct verdict_device *d, const struct verdict_ask *ask)
{
    struct judge_beside b;
    judge_beside(&b, m, d, ask);
    judge_set_with(o, m, s, &b, c, d, ask);
}

bool judge_better(const struct judge_out *a, const struct judge_out *b)
{
    if (a->compatible != b->compatible) return a->compatible;
    if (a->fits != b->fits) return a->fits;
    if (!a->fits) return a->memory.weights < b->memory.weights;
    if (a->distance != b->distance) return a->distance < b->distance;
    return a->memory.weights > b->memory.weights;
}

/* ---- words ---- */

static const struct {
    const char *name, *text, *brief;
} whys[] = {
#define JUDGE(NAME, name, text, brief) {name, text, brief},
#include "model/judge.def"
#undef JUDGE
};

const char *judge_why_name(enum judge_why why)
{
    return whys[why].name;
}

const char *judge_why_text(enum judge_why why)
{
    return whys[why].text;
}

const char *judge_why_brief(enum judge_why why)
{
    return whys[why].brief;
}

enum judge_why judge_why_from(str name)
{
    int why = 0;

    while (why < JUDGE_WHYS && !str_eqc(name, whys[why].name))
        why++;
    return (enum judge_why)why;
}
