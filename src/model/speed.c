/* speed: see speed.h. */
#include "model/speed.h"

#include "base/limits.h"

/* ---- JSON ---- */

static double positive(const struct json *v)
{
    double x = json_num(v, 0);
    return x > 0 && x < 1e18 ? x : 0;
}

static void read_types(double *out, const struct json *v)
{
    for (size_t i = 0; v && v->type == JSON_OBJ && i < v->n; i++) {
        enum dtype t = dtype_from_name(v->items[i].key);
        if (t != DTYPE_COUNT) out[t] = positive(&v->items[i]);
    }
}

enum err speed_rates_parse(struct speed_rates *r, const struct json *v, struct err_info *e)
{
    *r = (struct speed_rates){0};
    if (!v || v->type != JSON_OBJ)
        return ERR_FAIL(e, FORMAT, "the rates of a device are %s and not an object",
                        v ? json_type_name(v->type) : "missing");
    int64_t threads = json_int(json_get(v, "threads"), 0);
    r->threads = threads > 0 && threads <= LIMIT_THREADS ? (uint32_t)threads : 0;
    r->bandwidth = positive(json_get(v, "bandwidth"));
    r->step = positive(json_get(v, "step"));
    r->row = positive(json_get(v, "row"));
    r->values = positive(json_get(v, "values"));
    r->quiet = positive(json_get(v, "quiet"));
    read_types(r->decode, json_get(v, "decode"));
    read_types(r->prefill, json_get(v, "prefill"));
    read_types(r->unpack, json_get(v, "unpack"));
    read_types(r->cache, json_get(v, "cache"));
    read_types(r->attend, json_get(v, "attend"));
    return ERR_OK;
}

/* To about four digits, which is more than a measurement is worth. */
static void write_rate(struct jsonw *w, const char *key, double v)
{
    double unit = 1;
    while (v / unit >= 1e4 && unit < 1e18)
        unit *= 10;
    jsonw_knum(w, key, unit > 1 ? (double)(int64_t)(v / unit + 0.5) * unit : v);
}

static void write_types(struct jsonw *w, const char *key, const double *rate)
{
    jsonw_key(w, key);
    jsonw_obj(w);
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (rate[t] > 0) write_rate(w, dtype_info((enum dtype)t)->name, rate[t]);
    jsonw_end(w, '}');
}

void speed_write(struct jsonw *w, const char *key, double v)
{
    jsonw_key(w, key);
    if (v > 0 && v < 1e12)
        jsonw_num(w, (double)(int64_t)(v * 100 + 0.5) / 100);
    else
        jsonw_null(w);
}

void speed_rates_write(const struct speed_rates *r, struct jsonw *w)
{
    jsonw_obj(w);
    jsonw_kint(w, "threads", r->threads);
    write_rate(w, "bandwidth", r->bandwidth);
    jsonw_knum(w, "step", r->step);
    jsonw_knum(w, "row", r->row);
    write_rate(w, "values", r->values);
    write_types(w, "decode", r->decode);
    write_types(w, "prefill", r->prefill);
    write_types(w, "unpack", r->unpack);
    write_types(w, "cache", r->cache);
    write_types(w, "attend", r->attend);
    jsonw_knum(w, "quiet", r->quiet);
    jsonw_end(w, '}');
}

/* ---- rates, or what stands for them ---- */

#define STEP_SECONDS 1e-6 /* of a product, where nothing was measured */
#define PROMPT       512u

static double weight_bytes(enum dtype t)
{
    const struct dtype_info *i = dtype_info(t);
    return (double)i->bytes / i->elems;
}

static double over(double work, double rate)
{
    return rate > 0 ? work / rate : 0;
}

static double decode_rate(const struct speed_device *d, enum dtype t)
{
    if (d->rates && d->rates->decode[t] > 0) return d->rates->decode[t];
    return (d->rates ? d->rates->bandwidth : d->bandwidth) / weight_bytes(t);
}

static double prefill_rate(const struct speed_device *d, enum dtype t)
{
    return d->rates ? d->rates->prefill[t] : d->compute / 2;
}

static double cache_rate(const struct speed_device *d, enum dtype t)
{
    return d->rates ? d->rates->cache[t] : d->bandwidth / weight_bytes(t);
}

static double attend_rate(const struct speed_device *d, enum dtype t)
{
    return d->rates ? d->rates->attend[t] : d->compute / 2;
}

static double step_seconds(const struct speed_device *d)
{
    return d->rates ? d->rates->step : STEP_SECONDS;
}

static bool knows_decode(const struct speed_device *d)
{
    return (d->rates ? d->rates->bandwidth : d->bandwidth) > 0;
}

static bool knows_prefill(const struct speed_device *d)
{
    return d->rates ? d->rates->bandwidth > 0 : d->compute > 0;
}

/* ---- the steps of a plan ---- */

struct walk {
    const struct plan *p;
    const struct speed_ask *ask;
    const struct speed_device *d;
    double rows; /* of the batch */
    double keys; /* that a row of it sees, on average */
};

/* Seconds of the product of one matrix, or of the chosen ones of many. */
static double matrix_seconds(const struct walk *w, const struct plan_step *s, int tensor)
{
    const struct plan_tensor *t = &w->p->tensors[tensor];
    double all = (double)t->rows * (double)t->cols, used = all, rows = w->rows;
    if (s->op == OP_EXPERT && t->n_parts) {
        double one = all / t->n_parts, pairs = rows * s->u.route.n_used;
        used = one * s->u.route.n_used;
        if (pairs < t->n_parts) all = one * pairs;
    }
    if (rows <= 1)
        return over(used, decode_rate(w->d, t->dtype)) +
               (w->d->rates ? used / (double)t->cols * w->d->rates->row : 0);
    double once = w->d->rates ? over(all, w->d->rates->unpack[t->dtype]) : 0;
    return once + over(used * rows, prefill_rate(w->d, t->dtype));
}

static double product_seconds(const struct walk *w, const struct plan_step *s)
{
    const int tensor[3] = {s->w, s->w2, s->w3};
    double sum = step_seconds(w->d);
    for (int k = 0; k < 3; k++)
        if (tensor[k] != PLAN_NO_TENSOR) sum += matrix_seconds(w, s, tensor[k]);
    return sum;
}

static double attention_seconds(const struct walk *w, const struct plan_step *s)
{
    const struct plan_cache *c = &w->p->caches[s->index];
    double window = s->u.attn.window ? s->u.attn.window : w->keys;
    double keys = window < w->keys ? window : w->keys;
    double k = (double)c->k_dim * keys, v = (double)c->v_dim * keys;
    if (w->rows <= 1)
        return step_seconds(w->d) + c->n_head * (over(k, cache_rate(w->d, w->ask->ktype)) +
                                                 over(v, cache_rate(w->d, w->ask->vtype)));
    return w->rows * s->n_head *
           (over(k, attend_rate(w->d, w->ask->ktype)) + over(v, attend_rate(w->d, w->ask->vtype)));
}

static bool has_state(enum op op)
{
    return op == OP_SCAN || op == OP_SCAN_HEADS || op == OP_WKV6 || op == OP_WKV7 ||
           op == OP_DELTA || op == OP_CONV;
}

static double step_cost(const struct walk *w, const struct plan_step *s)
{
    if (plan_op_weights(s->op) == PLAN_W_MAT) return product_seconds(w, s);
    if (s->op == OP_ATTN) return attention_seconds(w, s);
    double values = s->n;
    if (has_state(s->op)) values += w->p->states[s->index];
    return w->d->rates ? over(w->rows * values, w->d->rates->values) : 0;
}

static bool is_output(enum plan_reg r)
{
    return r == REG_O || r == REG_LOGITS;
}

/* Of one batch: `rows` positions after `before` others, the results of one of them wanted. */
static double batch_seconds(const struct walk *of, double rows, double before, bool results)
{
    struct walk w = *of;
    double sum = 0;
    bool gathered = false;
    w.keys = before + (w.p->whole ? rows : (rows + 1) / 2);
    for (uint32_t i = 0; i < w.p->n_steps; i++) {
        const struct plan_step *s = &w.p->steps[i];
        gathered = gathered || s->op == OP_GATHER || is_output(s->dst);
        if (gathered && !results) break;
        w.rows = gathered ? 1 : rows;
        sum += step_cost(&w, s);
    }
    /* Choosing a token reads the results once. */
    if (results && w.d->rates) sum += over(w.p->width[w.p->out], w.d->rates->values);
    return sum;
}

struct speed speed_of_plan(const struct plan *p, const struct speed_ask *ask,
                           const struct speed_device *d)
{
    struct walk w = {.p = p, .ask = ask, .d = d};
    struct speed s = {0};
    uint32_t prompt = ask->n_ctx && ask->n_ctx < PROMPT ? ask->n_ctx : PROMPT;
    double seconds = knows_decode(d) ? batch_seconds(&w, 1, ask->n_ctx / 2.0, true) : 0;
    s.decode = over(1, seconds);
    if (!knows_prefill(d)) return s;
    seconds = batch_seconds(&w, prompt, 0, true);
    s.prefill = over(prompt, seconds);
    return s;
}

/* ---- sizes ---- */

struct speed speed_of_sizes(double bytes, enum dtype t, const struct memory_shape *m,
                            const struct speed_ask *ask, const struct speed_device *d)
{
    struct speed s = {0};
    bool typed = (unsigned)t < DTYPE_COUNT;
    double seconds, back = ask->n_ctx / 2.0,
                    bandwidth = d->rates ? d->rates->bandwidth : d->bandwidth;
    if (bytes <= 0) return s;
    seconds = typed ? over(bytes / weight_bytes(t), decode_rate(d, t)) : over(bytes, bandwidth);
    if (m->source != MEMORY_NONE)
        seconds += over(m->k_cols * back, cache_rate(d, ask->ktype)) +
                   over(m->v_cols * back, cache_rate(d, ask->vtype));
    if (knows_decode(d)) s.decode = over(1, seconds);
    if (!typed || !knows_prefill(d)) return s;
    double weights = bytes / weight_bytes(t);
    seconds = over(weights, prefill_rate(d, t));
    if (d->rates) seconds += over(weights, d->rates->unpack[t]) / PROMPT;
    s.prefill = over(1, seconds);
    return s;
}
