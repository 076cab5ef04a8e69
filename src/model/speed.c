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
    r->quiet = positive(json_get(v, "quiet"));
    read_types(r->decode, json_get(v, "decode"));
    read_types(r->prefill, json_get(v, "prefill"));
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

void speed_rates_write(const struct speed_rates *r, struct jsonw *w)
{
    jsonw_obj(w);
    jsonw_kint(w, "threads", r->threads);
    write_rate(w, "bandwidth", r->bandwidth);
    jsonw_knum(w, "step", r->step);
    write_types(w, "decode", r->decode);
    write_types(w, "prefill", r->prefill);
    jsonw_knum(w, "quiet", r->quiet);
    jsonw_end(w, '}');
}
