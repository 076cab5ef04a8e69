/* catalog_pick: which of the sets of a row that pass the filters it shows, and on which machine.
 *
 * As verdict_hub() and verdict_best() have it: each machine takes the best set for itself (of
 * those that fit the nearest to the usual quantisation), then the fastest machine wins. Whether a
 * row is shown at all follows from masks. The pick is made for rows of a page and for orders that
 * need it; the judge is asked again only where the filters leave a machine another set than the one
 * that was best when all were judged.
 */
#include "model/catalog_int.h"

/* *machines: those asked about on which it passes. */
static bool passes(const struct catalog_filter *f, size_t row, size_t set, uint64_t *machines)
{
    uint64_t within = catalog_set_within(f, row, set);
    *machines = within & f->machines;
    if (f->machines) within = *machines;
    return within && catalog_set_format(f, row, set) && catalog_set_quant(f, set);
}

static void look_at_sets(const struct catalog_filter *f, size_t row, struct catalog_look *k)
{
    const struct catalog_hot *h = &f->c->hot[row];
    uint64_t runs = 0, fits = 0, machines;
    k->seen = CATALOG_NO_SET;
    for (size_t i = h->first_set; i < (size_t)h->first_set + h->n_sets; i++) {
        if (!passes(f, row, i, &machines)) continue;
        if (k->seen == CATALOG_NO_SET) k->first = i;
        k->seen = CATALOG_HIDDEN;
        runs |= f->v ? f->v->runs[i] & machines : 0;
        fits |= f->v ? f->v->fits[i] & machines : 0;
    }
    k->runs = runs != 0;
    k->fits = fits != 0;
}

struct catalog_look catalog_look(const struct catalog_filter *f, size_t row)
{
    struct catalog_look k = {.seen = CATALOG_HIDDEN, .first = f->c->hot[row].first_set};
    if (f->by_set) {
        look_at_sets(f, row, &k);
    } else if (f->v) {
        k.runs = (f->v->row_runs[row] & f->machines) != 0;
        k.fits = (f->v->row_fits[row] & f->machines) != 0;
    }
    if (k.seen == CATALOG_HIDDEN && catalog_shows(f, k.runs, k.fits)) k.seen = CATALOG_SHOWN;
    return k;
}

/* judge_better() by columns, for two sets that are alike in whether they run and fit. */
static bool better(const struct catalog_filter *f, const struct catalog_look *k, size_t a, size_t b)
{
    const uint64_t *weights = f->v->weights;
    if (!k->fits) return k->runs && weights[a] < weights[b];
    uint32_t da = filename_distance(f->c->judge[a].centibits);
    uint32_t db = filename_distance(f->c->judge[b].centibits);
    return da != db ? da < db : weights[a] > weights[b];
}

/* For each machine its best set; returns which machines have one. */
static uint64_t sets_of(const struct catalog_filter *f, size_t row, const struct catalog_look *k,
                        size_t set[LIMIT_INDEX_DEVICES])
{
    const struct catalog_hot *h = &f->c->hot[row];
    uint64_t have = 0, machines;
    for (size_t i = h->first_set; i < (size_t)h->first_set + h->n_sets; i++) {
        if (!passes(f, row, i, &machines)) continue;
        if (k->runs) machines &= k->fits ? f->v->fits[i] : f->v->runs[i];
        for (; machines; machines &= machines - 1) {
            unsigned m = (unsigned)__builtin_ctzll(machines);
            if (!(have >> m & 1) || better(f, k, i, set[m])) set[m] = i;
            have |= (uint64_t)1 << m;
        }
    }
    return have;
}

/* What decides between machines, from what is kept where that is the same set. */
static void word_of(const struct catalog_filter *f, size_t row, size_t set, size_t m,
                    struct judge_out *o)
{
    const struct catalog_cell *cell = catalog_cell(f->c, f->v, row, m);
    if (cell->set != set) {
        catalog_judge_set(f->c, &f->v->ask, row, set, m, o);
        return;
    }
    *o = (struct judge_out){.why = (enum judge_why)cell->why,
                            .compatible = f->v->runs[set] >> m & 1,
                            .fits = f->v->fits[set] >> m & 1,
                            .decode = cell->decode};
    if (o->compatible && !o->fits)
        o->short_by = f->v->weights[set] + cell->beside - f->c->device[m].device.memory;
}

void catalog_pick(const struct catalog_filter *f, size_t row, const struct catalog_look *k,
                  struct catalog_pick *p)
{
    size_t set[LIMIT_INDEX_DEVICES];
    uint64_t have = f->machines;
    *p = (struct catalog_pick){.set = k->first, .machine = SIZE_MAX};
    if (!f->v) return;
    if (f->by_set)
        have = sets_of(f, row, k, set);
    else if (f->machines >> f->v->row_machine[row] & 1)
        have = (uint64_t)1 << f->v->row_machine[row];
    for (; have; have &= have - 1) {
        unsigned m = (unsigned)__builtin_ctzll(have);
        struct judge_out o;
        if (!f->by_set) set[m] = catalog_cell(f->c, f->v, row, m)->set;
        word_of(f, row, set[m], m, &o);
        if (p->machine != SIZE_MAX && !catalog_beats(&o, &p->out)) continue;
        p->set = set[m];
        p->machine = m;
        p->out = o;
    }
}

void catalog_pick_full(const struct catalog_filter *f, size_t row, const struct catalog_look *k,
                       struct catalog_pick *p)
{
    catalog_pick(f, row, k, p);
    if (p->machine != SIZE_MAX)
        catalog_judge_set(f->c, &f->v->ask, row, p->set, p->machine, &p->out);
}
