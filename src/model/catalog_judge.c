/* catalog_judge: every set of every row on every machine, by judge_set(), kept in columns.
 *
 * What a machine says of a set is kept as two bits (it runs, it fits): with the bytes of its
 * weights that is all that filters ask. Of a row the best set on the best machine is kept. Rows of
 * a page are judged again in full, so nothing else is. Where a worker refuses a repository as a
 * whole, its sets are not asked, as in verdict_hub().
 */
#include <string.h>

#include "base/mem.h"
#include "model/catalog_int.h"

/* ---- room ---- */

void catalog_verdicts_fini(struct catalog_verdicts *v)
{
    mem_free(v->runs);
    mem_free(v->fits);
    mem_free(v->weights);
    mem_free(v->why);
    mem_free(v->row_runs);
    mem_free(v->row_fits);
    mem_free(v->row_machine);
    mem_free(v->cell);
    *v = (struct catalog_verdicts){0};
}

static bool room(struct catalog_verdicts *v, size_t rows, size_t sets, size_t machines)
{
    size_t cells;
    if (v->runs && sets <= v->size_sets && rows <= v->size_rows && rows * machines <= v->size_cells)
        return true;
    size_t n = sets + sets / 8 + 64, r = rows + rows / 8 + 64;
    catalog_verdicts_fini(v);
    v->size_sets = n;
    v->size_rows = r;
    v->runs = mem_array(n, sizeof *v->runs);
    v->fits = mem_array(n, sizeof *v->fits);
    v->weights = mem_array(n, sizeof *v->weights);
    v->why = mem_array(n, sizeof *v->why);
    v->row_runs = mem_array(r, sizeof *v->row_runs);
    v->row_fits = mem_array(r, sizeof *v->row_fits);
    v->row_machine = mem_array(r, sizeof *v->row_machine);
    if (mem_mul(r, machines, &cells)) v->cell = mem_array(cells, sizeof *v->cell);
    v->size_cells = cells;
    if (v->runs && v->fits && v->weights && v->why && v->row_runs && v->row_fits &&
        v->row_machine && v->cell)
        return true;
    catalog_verdicts_fini(v);
    return false;
}

/* ---- judging ---- */

void catalog_judge_set(const struct catalog *c, const struct verdict_ask *ask, size_t row,
                       size_t set, size_t machine, struct judge_out *o)
{
    const struct catalog_device *d = &c->device[machine];
    const struct judge_model *m = &c->model[row];
    struct judge_beside beside;
    judge_beside(&beside, m, &d->device, ask);
    judge_set_with(o, m, NULL, &beside, d->caps, &d->device, ask);
    if (o->compatible && catalog_has_files(c, row))
        judge_set_with(o, m, &c->judge[set], &beside, d->caps, &d->device, ask);
}

bool catalog_beats(const struct judge_out *a, const struct judge_out *b)
{
    if (a->compatible != b->compatible) return a->compatible;
    if (a->fits != b->fits) return a->fits;
    if (a->fits) return a->decode > b->decode;
    return a->compatible ? a->short_by < b->short_by : a->why > b->why;
}

static void take(struct catalog_verdicts *v, size_t set, uint64_t machine,
                 const struct judge_out *o)
{
    if (o->compatible) {
        v->runs[set] |= machine;
        v->weights[set] = o->memory.weights;
    } else if (o->why > v->why[set]) {
        v->why[set] = (uint8_t)o->why;
    }
    if (o->fits) v->fits[set] |= machine;
}

/* One machine: all sets, and the best of them. */
static size_t judge_sets(const struct catalog *c, struct catalog_verdicts *v, size_t row,
                         unsigned machine, struct judge_out *best)
{
    const struct catalog_hot *h = &c->hot[row];
    const struct catalog_device *d = &c->device[machine];
    const struct judge_model *m = &c->model[row];
    size_t at = h->first_set, end = at + h->n_sets;
    struct judge_beside beside;
    judge_beside(&beside, m, &d->device, &v->ask);
    v->cell[row * c->n_devices + machine].beside = beside.need.total;
    judge_fit(best, m, NULL, &beside, d->caps, &d->device, &v->ask);
    bool files = best->compatible && catalog_has_files(c, row);
    for (size_t i = at; i < end; i++) {
        struct judge_out one;
        if (!files) {
            take(v, i, (uint64_t)1 << machine, best);
            continue;
        }
        judge_fit(&one, m, &c->judge[i], &beside, d->caps, &d->device, &v->ask);
        take(v, i, (uint64_t)1 << machine, &one);
        if (i != h->first_set && !judge_better(&one, best)) continue;
        *best = one;
        at = i;
    }
    judge_speed(best, m, files ? &c->judge[at] : NULL, &d->device, &v->ask);
    return at;
}

static void judge_row(const struct catalog *c, struct catalog_verdicts *v, size_t row)
{
    struct judge_out best = {0}, one;
    uint64_t runs = 0, fits = 0;
    for (unsigned machine = 0; machine < c->n_devices; machine++) {
        struct catalog_cell *cell = &v->cell[row * c->n_devices + machine];
        cell->set = (uint32_t)judge_sets(c, v, row, machine, &one);
        cell->decode = one.decode;
        cell->why = (uint8_t)one.why;
        runs |= (uint64_t)one.compatible << machine;
        fits |= (uint64_t)one.fits << machine;
        if (machine && !catalog_beats(&one, &best)) continue;
        best = one;
        v->row_machine[row] = (uint8_t)machine;
    }
    v->row_runs[row] = runs;
    v->row_fits[row] = fits;
}

static void judge_all(const struct catalog *c, struct catalog_verdicts *v)
{
    memset(v->runs, 0, c->n_sets * sizeof *v->runs);
    memset(v->fits, 0, c->n_sets * sizeof *v->fits);
    memset(v->why, 0, c->n_sets);
    for (size_t i = 0; i < c->n_sets; i++)
        v->weights[i] = c->judge[i].bytes;
    for (size_t row = 0; row < c->n; row++)
        judge_row(c, v, row);
}

/* ---- configurations ---- */

static bool same_ask(const struct verdict_ask *a, const struct verdict_ask *b)
{
    return a->n_ctx == b->n_ctx && a->n_slots == b->n_slots && a->ktype == b->ktype &&
           a->vtype == b->vtype;
}

enum err catalog_verdicts_for(struct catalog *c, const struct verdict_ask *ask,
                              const struct catalog_verdicts **out, struct err_info *e)
{
    struct catalog_verdicts *v = NULL, *oldest = &c->verdicts[0];
    *out = NULL;
    if (!c->n_devices) return ERR_OK;
    for (int i = 0; i < LIMIT_INDEX_ASKS; i++) {
        struct catalog_verdicts *k = &c->verdicts[i];
        if (k->revision && same_ask(&k->ask, ask)) v = k;
        if (k->used < oldest->used) oldest = k;
    }
    if (!v) v = oldest;
    if (v->revision != c->revision || !same_ask(&v->ask, ask)) {
        v->revision = 0;
        if (!room(v, c->n, c->n_sets, c->n_devices))
            return ERR_FAIL(e, NOMEM, "no memory for verdicts on %zu sets", c->n_sets);
        v->ask = *ask;
        judge_all(c, v);
        v->revision = c->revision;
    }
    v->used = ++c->clock;
    *out = v;
    return ERR_OK;
}

enum err catalog_judge(struct catalog *c, const struct catalog_device *d, size_t n,
                       const struct verdict_ask *ask, struct err_info *e)
{
    const struct catalog_verdicts *v;
    if (n > LIMIT_INDEX_DEVICES)
        return ERR_FAIL(e, LIMIT,
                        "a catalogue is judged for at most %d machines, and these are %zu",
                        LIMIT_INDEX_DEVICES, n);
    arena_clear(&c->names);
    c->n_devices = 0;
    c->revision++;
    c->ask = *ask;
    for (size_t i = 0; i < n; i++) {
        c->device[i] = d[i];
        c->device[i].device.name = arena_str(&c->names, d[i].device.name);
        c->device[i].backend = arena_str(&c->names, d[i].backend);
        if (!c->device[i].device.name.p || !c->device[i].backend.p)
            return ERR_FAIL(e, NOMEM, "no memory for the names of %zu machines", n);
    }
    c->n_devices = n;
    return catalog_verdicts_for(c, ask, &v, e);
}
