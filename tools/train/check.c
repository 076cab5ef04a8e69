/* check: does the gradient tell the truth?
 *
 * For each matrix and norm, the loss is taken a step up and a step down along the gradient's own
 * direction; half the difference over the step must be the gradient's length. A wrong term anywhere
 * in the backward pass shows in its group or in those before it.
 */
#include "check.h"

#include <math.h>

#include "base/mem.h"
#include "lm.h"
#include "rng.h"

enum { BATCH = 2, WINDOW = 72, VOCAB = 40 };

struct check {
    struct lm m;
    struct lm_acts *acts;
    int32_t ids[BATCH * WINDOW], target[BATCH * WINDOW], from[BATCH * WINDOW];
    struct lm_batch batch;
};

static double moved(struct check *c, struct lm_slot s, const float *keep, double step)
{
    for (size_t i = 0; i < s.rows * s.cols; i++)
        c->m.w[s.at + i] = keep[i] + (float)(step * (double)c->m.grad[s.at + i]);
    return lm_loss(&c->m, c->acts, &c->batch, false);
}

static bool group(struct check *c, struct lm_slot s, const char *name, FILE *out)
{
    size_t n = s.rows * s.cols;
    float *keep = mem_need(n * sizeof *keep);
    double square = 0;
    for (size_t i = 0; i < n; i++) {
        keep[i] = c->m.w[s.at + i];
        square += (double)c->m.grad[s.at + i] * (double)c->m.grad[s.at + i];
    }
    double length = sqrt(square), step = 0.02 / length;
    double slope = (moved(c, s, keep, step) - moved(c, s, keep, -step)) / 0.04;
    for (size_t i = 0; i < n; i++)
        c->m.w[s.at + i] = keep[i];
    mem_free(keep);
    double off = fabs(slope - length) / length;
    if (out)
        fprintf(out, "%-10s gradient %.6f  differences %.6f  off by %.4f %%\n", name, length, slope,
                off * 100);
    return off < 0.005;
}

bool check_gradient(FILE *out)
{
    static const char *const names[LM_PARTS] = {"norm1", "q",    "k",  "v",   "o",
                                                "norm2", "gate", "up", "down"};
    struct lm_shape shape = {.vocab = VOCAB,
                             .embd = 32,
                             .layers = 2,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_dim = 8,
                             .ff = 48};
    struct check *c = mem_need(sizeof *c);
    struct team *team = team_new(2);
    struct rng r = rng_from(3);
    lm_init(&c->m, shape, 7, true);
    for (size_t i = 0; i < c->m.n_weights; i++)
        c->m.w[i] += (float)rng_unit(&r) * 0.4f - 0.2f;
    for (size_t i = 0; i < BATCH * WINDOW; i++) {
        c->ids[i] = (int32_t)rng_below(&r, VOCAB);
        c->from[i] = i % WINDOW < 30 ? 0 : 30; /* two documents in a window */
        c->target[i] = i % 9 ? (int32_t)rng_below(&r, VOCAB) : -1;
    }
    c->batch = (struct lm_batch){c->ids, c->target, c->from};
    c->acts = lm_acts_new(&c->m, BATCH, WINDOW, team);
    lm_loss(&c->m, c->acts, &c->batch, true);
    bool good = group(c, c->m.embd, "embedding", out);
    for (size_t l = 0; l < shape.layers; l++)
        for (int p = 0; p < LM_PARTS; p++)
            good &= group(c, c->m.layer[l][p], names[p], out);
    good &= group(c, c->m.norm, "last norm", out);
    lm_acts_free(c->acts);
    lm_fini(&c->m);
    team_free(team);
    mem_free(c);
    return good;
}
