/* catalog_pick: which of the sets of a row that pass the filters it shows, and on which machine.
 *
 * As verdict_hub() and verdict_best() have it: each machine takes the best set for itself (the
 * largest that fits), then the fastest machine wins. Whether a row is shown at all follows from
 * masks; the pick, which may ask the judge, is made only for rows of a page and for sorts that need
 * it. Rows under no filter on sets or machines were picked when they were judged.
 */
#include "model/catalog_int.h"

/* *machines: those asked about on which it passes. */
static bool passes(const struct catalog_filter *f, size_t set, uint64_t *machines)
{
    uint64_t within = catalog_set_within(f, set);
    *machines = within & f->machines;
    if (f->machines) within = *machines;
    return within && catalog_set_format(f, set) && catalog_set_quant(f, set);
}

struct catalog_look catalog_look(struct catalog_filter *f, size_t row)
{
    const struct catalog_hot *h = &f->c->hot[row];
    struct catalog_look k = {.seen = CATALOG_HIDDEN, .first = h->first_set};
    if (!f->by_set) {
        k.runs = f->v && f->v->row_runs[row];
        k.fits = f->v && f->v->row_fits[row];
    } else {
        uint64_t runs = 0, fits = 0, machines;
        bool any = false;
        catalog_row_begin(f, row);
        for (size_t i = h->first_set; i < (size_t)h->first_set + h->n_sets; i++) {
            if (!passes(f, i, &machines)) continue;
            if (!any) k.first = i;
            any = true;
            runs |= f->v ? f->v->runs[i] & machines : 0;
            fits |= f->v ? f->v->fits[i] & machines : 0;
        }
        if (!any) k.seen = CATALOG_NO_SET;
        k.runs = runs != 0;
        k.fits = fits != 0;
    }
    if (k.seen == CATALOG_HIDDEN && catalog_shows(f, k.runs, k.fits)) k.seen = CATALOG_SHOWN;
    return k;
}

/* For each machine its best set, as judge_better() by columns; returns which machines have one. */
static uint64_t sets_of(struct catalog_filter *f, size_t row, const struct catalog_look *k,
                        size_t set[LIMIT_INDEX_DEVICES])
{
    const struct catalog_hot *h = &f->c->hot[row];
    const uint64_t *weights = f->v->weights;
    uint64_t have = 0, machines;
    catalog_row_begin(f, row);
    for (size_t i = h->first_set; i < (size_t)h->first_set + h->n_sets; i++) {
        if (!passes(f, i, &machines)) continue;
        if (k->runs) machines &= k->fits ? f->v->fits[i] : f->v->runs[i];
        for (; machines; machines &= machines - 1) {
            unsigned m = (unsigned)__builtin_ctzll(machines);
            bool first = !(have >> m & 1);
            if (first || (k->fits   ? weights[i] > weights[set[m]]
                          : k->runs ? weights[i] < weights[set[m]]
                                    : false))
                set[m] = i;
            have |= (uint64_t)1 << m;
        }
    }
    return have;
}

void catalog_pick(struct catalog_filter *f, size_t row, const struct catalog_look *k,
                  struct catalog_pick *p)
{
    size_t set[LIMIT_INDEX_DEVICES];
    uint64_t have;
    *p = (struct catalog_pick){.set = k->first, .machine = SIZE_MAX};
    if (!f->v) return;
    if (!f->by_set) {
        p->set = f->v->row_set[row];
        p->machine = f->v->row_machine[row];
        catalog_judge_set(f->c, &f->v->ask, row, p->set, p->machine, &p->out);
        return;
    }
    have = sets_of(f, row, k, set);
    for (; have; have &= have - 1) {
        unsigned m = (unsigned)__builtin_ctzll(have);
        struct judge_out o;
        catalog_judge_set(f->c, &f->v->ask, row, set[m], m, &o);
        if (p->machine != SIZE_MAX && !catalog_beats(&o, &p->out)) continue;
        p->set = set[m];
        p->machine = m;
        p->out = o;
    }
}

uint64_t catalog_pick_bytes(struct catalog_filter *f, size_t row, const struct catalog_look *k)
{
    struct catalog_pick p;
    if (!f->v || (f->by_set && !k->runs)) return catalog_set_bytes(f, k->first);
    if (!f->by_set) return catalog_set_bytes(f, f->v->row_set[row]);
    catalog_pick(f, row, k, &p);
    return catalog_set_bytes(f, p.set);
}

float catalog_pick_speed(struct catalog_filter *f, size_t row, const struct catalog_look *k)
{
    struct catalog_pick p;
    if (!k->runs) return 0;
    if (!f->by_set) return f->v->row_decode[row];
    catalog_pick(f, row, k, &p);
    return p.out.decode;
}
