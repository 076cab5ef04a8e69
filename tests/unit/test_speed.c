/* speed: rates and their JSON, and what a plan's steps add up to. */
#include "model/speed.h"

#include <math.h>

#include "base/limits.h"
#include "tap.h"

static struct arena arena;
static struct err_info err;

static bool near(double got, double want)
{
    return fabs(got - want) <= 1e-9 * fabs(want);
}

static enum err parse(struct speed_rates *r, const char *text)
{
    const struct json *v = NULL;
    enum err e = json_parse(&arena, str_c(text), &v, &err);
    return e ? e : speed_rates_parse(r, v, &err);
}

/* ---- JSON ---- */

static void test_json(void)
{
    struct speed_rates r, back;
    struct jsonw w;
    buf b = {.cap = MIB(1)};
    ok(parse(&r, "{\"threads\":4,\"bandwidth\":2.5e10,\"step\":2e-6,\"row\":5e-9,\"values\":3e9,"
                 "\"quiet\":0.5,"
                 "\"decode\":{\"q4_K\":5e10,\"f16\":1e10,\"q99\":1},\"prefill\":{\"q4_K\":3e11},"
                 "\"unpack\":{\"q4_K\":4e10},\"cache\":{\"f16\":8e9},\"attend\":{\"f16\":7e10}}") ==
           ERR_OK,
       "rates are read");
    ok(r.threads == 4 && near(r.bandwidth, 2.5e10) && near(r.step, 2e-6) && near(r.row, 5e-9) &&
           near(r.values, 3e9) && near(r.quiet, 0.5),
       "the plain ones");
    ok(near(r.decode[DTYPE_Q4_K], 5e10) && near(r.decode[DTYPE_F16], 1e10) &&
           near(r.prefill[DTYPE_Q4_K], 3e11) && near(r.unpack[DTYPE_Q4_K], 4e10) &&
           near(r.cache[DTYPE_F16], 8e9) && near(r.attend[DTYPE_F16], 7e10),
       "those of types, of unknown ones none");
    jsonw_init(&w, &b);
    speed_rates_write(&r, &w);
    ok(parse(&back, b.p) == ERR_OK && memcmp(&r, &back, sizeof r) == 0, "written and read back");
    ok(parse(&r, "{\"bandwidth\":-1,\"step\":\"x\",\"decode\":{\"f16\":-5},\"threads\":9999999}") ==
               ERR_OK &&
           !(r.bandwidth > 0) && !(r.step > 0) && !(r.decode[DTYPE_F16] > 0) && r.threads == 0,
       "nonsense counts as not measured");
    ok(parse(&r, "[1]") == ERR_FORMAT && parse(&r, "{}") == ERR_OK, "a list is no rates");
    buf_fini(&b);
}

/* ---- plans ---- */

/* Three products, of which one has experts, attention with 4 heads over 2, and the results. */
struct toy {
    struct plan p;
    struct plan_tensor t[3];
    struct plan_step s[5];
    struct plan_cache cache;
};

enum { ROWS = 512, COLS = 256, VOCAB = 1024, EXPERTS = 8, USED = 2 };

static struct plan_step step(enum op op, int w, uint32_t n)
{
    return (struct plan_step){.op = op,
                              .src = REG_H,
                              .dst = REG_G,
                              .w = w,
                              .w2 = PLAN_NO_TENSOR,
                              .w3 = PLAN_NO_TENSOR,
                              .n = n};
}

static void make(struct toy *y)
{
    *y = (struct toy){
        .t = {{.dtype = DTYPE_Q4_K, .rows = ROWS, .cols = COLS},
              {.dtype = DTYPE_Q4_K, .rows = EXPERTS * ROWS, .cols = COLS, .n_parts = EXPERTS},
              {.dtype = DTYPE_Q6_K, .rows = VOCAB, .cols = COLS}},
        .cache = {2, 64, 32}};
    y->s[0] = step(OP_LINEAR, 0, ROWS);
    y->s[1] = step(OP_EXPERT, 1, USED * ROWS);
    y->s[1].u.route.n_used = USED;
    y->s[2] = step(OP_ATTN, PLAN_NO_TENSOR, 4 * 32);
    y->s[2].n_head = 4;
    y->s[3] = step(OP_GATHER, PLAN_NO_TENSOR, COLS);
    y->s[3].dst = REG_O;
    y->s[4] = step(OP_LINEAR, 2, VOCAB);
    y->s[4].dst = REG_LOGITS;
    y->p = (struct plan){.steps = y->s,
                         .n_steps = 5,
                         .tensors = y->t,
                         .n_tensors = 3,
                         .caches = &y->cache,
                         .n_caches = 1,
                         .out = REG_LOGITS};
}

static const struct speed_ask ask = {1024, DTYPE_F16, DTYPE_Q8_0};

static struct speed_rates toy_rates(void)
{
    struct speed_rates r = {.bandwidth = 1e10, .step = 1e-6};
    r.decode[DTYPE_Q4_K] = 1e9;
    r.decode[DTYPE_Q6_K] = 5e8;
    r.prefill[DTYPE_Q4_K] = 1e11;
    r.unpack[DTYPE_Q4_K] = 2e9;
    r.cache[DTYPE_F16] = 4e8;
    r.cache[DTYPE_Q8_0] = 8e8;
    r.attend[DTYPE_F16] = 1e10;
    r.attend[DTYPE_Q8_0] = 2e10;
    return r;
}

static void test_plan(void)
{
    struct speed_rates r = toy_rates();
    struct speed_device d = {.rates = &r};
    struct toy y;
    make(&y);
    double one = ROWS * COLS, half = 512.5; /* keys that the row sees, its own included */
    double want = 4e-6 + one / 1e9 + USED * one / 1e9 + VOCAB * COLS / 5e8 + 2 * 64 * half / 4e8 +
                  2 * 32 * half / 8e8;
    struct speed s = speed_of_plan(&y.p, &ask, &d);
    ok(fabs(s.decode * want - 1) < 2e-3, "decode: weights, chosen experts, cache, steps: %g, %g",
       s.decode, 1 / want);
    double keys = 256.5;
    want = 3e-6 + one / 2e9 + 512 * one / 1e11 + EXPERTS * one / 2e9 + 512 * USED * one / 1e11 +
           VOCAB * COLS / 5e8 + 512 * 4 * (64 * keys / 1e10 + 32 * keys / 2e10);
    ok(fabs(s.prefill * want / 512 - 1) < 2e-3,
       "prefill: each matrix once, each row, results of one: %g, %g", s.prefill, 512 / want);
    y.s[2].u.attn.window = 16;
    struct speed windowed = speed_of_plan(&y.p, &ask, &d);
    ok(windowed.decode > s.decode && windowed.prefill > s.prefill, "a window is faster");
    make(&y);
    struct speed_ask longer = ask;
    longer.n_ctx *= 4;
    struct speed grown = speed_of_plan(&y.p, &longer, &d);
    ok(grown.decode < s.decode && near(grown.prefill, s.prefill),
       "a longer context decodes slower, and its prompt is as long");
    longer.n_ctx = 64;
    ok(speed_of_plan(&y.p, &longer, &d).prefill < s.prefill,
       "a short prompt makes less of what is done once for all rows");
    double before = 1 / s.decode, n_rows = ROWS + USED * ROWS + VOCAB;
    r.row = 1e-7;
    ok(fabs((1 / speed_of_plan(&y.p, &ask, &d).decode - before) / (n_rows * 1e-7) - 1) < 1e-6,
       "rows of matrices take their time");
    r.values = 1e6;
    ok(speed_of_plan(&y.p, &ask, &d).decode < s.decode, "choosing among results takes time");
}

static void test_unmeasured(void)
{
    struct speed_device d = {.bandwidth = 1e10};
    struct toy y;
    make(&y);
    struct speed s = speed_of_plan(&y.p, &ask, &d), twice;
    ok(s.decode > 0 && !(s.prefill > 0), "of bandwidth alone follows decode alone");
    d.bandwidth *= 2;
    twice = speed_of_plan(&y.p, &ask, &d);
    ok(twice.decode > s.decode && twice.decode <= 2 * s.decode, "at most in proportion");
    d = (struct speed_device){.compute = 1e12};
    s = speed_of_plan(&y.p, &ask, &d);
    ok(!(s.decode > 0) && s.prefill > 0, "of arithmetic alone prefill alone");
    d = (struct speed_device){0};
    s = speed_of_plan(&y.p, &ask, &d);
    ok(!(s.decode > 0) && !(s.prefill > 0), "of nothing nothing");
    struct speed_rates none = {0};
    d.rates = &none;
    s = speed_of_plan(&y.p, &ask, &d);
    ok(!(s.decode > 0) && !(s.prefill > 0), "nor of rates that were not measured");
    none.bandwidth = 1e10;
    s = speed_of_plan(&y.p, &ask, &d);
    ok(s.decode > 0 && isfinite(s.decode), "a type that was not measured is read at the bandwidth");
}

/* ---- sizes ---- */

static void test_sizes(void)
{
    struct speed_rates r = toy_rates();
    struct speed_device d = {.rates = &r};
    struct memory_shape m = {.source = MEMORY_HEADER, .k_cols = 1000, .v_cols = 500};
    double bytes = 144e6; /* 256 million weights of Q4_K, at 4.5 bits */
    double back = 512 * (1000 / 4e8 + 500 / 8e8);
    struct speed s = speed_of_sizes(bytes, DTYPE_Q4_K, &m, &ask, &d);
    ok(near(1 / s.decode, 256e6 / 1e9 + back), "weights and cache: %g", s.decode);
    ok(near(1 / s.prefill, 256e6 / 1e11 + 256e6 / 2e9 / 512), "prefill: %g", s.prefill);
    m.source = MEMORY_NONE;
    s = speed_of_sizes(bytes, DTYPE_Q4_K, &m, &ask, &d);
    ok(near(s.decode, 1e9 / 256e6), "a cache that is not known does not count");
    s = speed_of_sizes(bytes, DTYPE_COUNT, &m, &ask, &d);
    ok(near(s.decode, 1e10 / bytes) && !(s.prefill > 0), "without a type the bandwidth decides");
    d = (struct speed_device){.bandwidth = 1e10, .compute = 1e12};
    s = speed_of_sizes(bytes, DTYPE_Q4_K, &m, &ask, &d);
    ok(near(s.decode, 1e10 / bytes) && near(s.prefill, 0.5e12 / 256e6),
       "of two figures of the makers");
    ok(!(speed_of_sizes(0, DTYPE_Q4_K, &m, &ask, &d).decode > 0), "of no bytes nothing");
}

int main(void)
{
    arena_init(&arena, MIB(4));
    test_json();
    test_plan();
    test_unmeasured();
    test_sizes();
    arena_fini(&arena);
    return tap_end();
}
