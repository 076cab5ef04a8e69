/* run: the machine that executes a plan.
 *
 * A plan is a straight line: no branches, no loops, every register written before it is read. So
 * the machine is one loop over the steps with one indirect call each; all knowledge of a model is
 * in the plan, all knowledge of a device behind the calls.
 *
 * Left out: profiling and graph capture.
 */
#include "engine/run.h"

void run_plan(const struct backend *be, struct dev *d, const struct plan *p, const struct batch *b)
{
    be->begin(d, b);
    for (uint32_t i = 0; i < p->n_steps; i++)
        be->op[p->steps[i].op](d, &p->steps[i], b);
    be->end(d, b);
}

/* NULL for an operand that the step does not have. */
static const float *seen(const struct backend *be, struct dev *d, enum plan_reg r)
{
    return r < REG_COUNT ? be->reg(d, r) : NULL;
}

void run_plan_watched(const struct backend *be, struct dev *d, const struct plan *p,
                      const struct batch *b, const struct run_watch *w)
{
    uint32_t rows = b->n;
    be->begin(d, b);
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        w->see(w->owner, s, seen(be, d, s->src), seen(be, d, s->src2), rows);
        be->op[s->op](d, s, b);
        if (s->op == OP_GATHER) rows = b->n_out;
    }
    be->end(d, b);
}
