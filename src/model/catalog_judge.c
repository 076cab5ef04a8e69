/* catalog_judge: every set of every row on every machine, by judge_set(), kept in columns.
 *
 * What a machine says of a set is two bits (it runs, it fits) and, from the machine that the set
 * does best on, its memory and speed: that is all that filters and sorts ask. The rows of a page
 * are judged again in full (catalog_find.c), so nothing else is kept. Where a worker refuses a
 * repository as a whole, its sets are not asked, as in verdict_hub().
 */
#include <string.h>

#include "base/mem.h"
#include "model/catalog_int.h"

void catalog_verdicts_fini(struct catalog_verdicts *v)
{
    mem_free(v->runs);
    mem_free(v->fits);
    mem_free(v->weights);
    mem_free(v->decode);
    mem_free(v->why);
    mem_free(v->best);
    *v = (struct catalog_verdicts){0};
}

static bool room(struct catalog_verdicts *v, size_t sets)
{
    if (sets <= v->size && v->runs) return true;
    size_t n = sets + sets / 8 + 64;
    catalog_verdicts_fini(v);
    v->runs = mem_array(n, sizeof *v->runs);
    v->fits = mem_array(n, sizeof *v->fits);
    v->weights = mem_array(n, sizeof *v->weights);
    v->decode = mem_array(n, sizeof *v->decode);
    v->why = mem_array(n, sizeof *v->why);
    v->best = mem_array(n, sizeof *v->best);
    v->size = n;
    if (v->runs && v->fits && v->weights && v->decode && v->why && v->best) return true;
    catalog_verdicts_fini(v);
    return false;
}

/* One machine's word on a set. The first that it fits on, or else runs on, is the best until a
 * faster one comes; of refusals the one that is asked for last, hence nearest to running. */
static void take(struct catalog_verdicts *v, size_t set, unsigned machine,
                 const struct judge_out *o)
{
    uint64_t bit = (uint64_t)1 << machine;
    bool first = o->fits ? !v->fits[set] : o->compatible && !v->runs[set];
    bool faster = (o->fits || !v->fits[set]) && o->compatible && o->decode > v->decode[set];
    if (!o->compatible) {
        if (!v->runs[set] && o->why > v->why[set]) v->why[set] = (uint8_t)o->why;
        return;
    }
    if (first || faster) {
        v->best[set] = (uint8_t)machine;
        v->decode[set] = o->decode;
        v->weights[set] = o->memory.weights;
    }
    v->runs[set] |= bit;
    if (o->fits) v->fits[set] |= bit;
    v->why[set] = v->fits[set] ? JUDGE_RUNS : (uint8_t)o->why;
}

static void judge_row(const struct catalog *c, struct catalog_verdicts *v, size_t row,
                      unsigned machine)
{
    const struct catalog_hot *h = &c->hot[row];
    const struct catalog_device *d = &c->device[machine];
    const struct judge_model *m = &c->model[row];
    struct judge_beside beside;
    struct judge_out whole, one;
    bool files = c->set[h->first_set].files_said;
    judge_beside(&beside, m, &d->device, &v->ask);
    judge_set_with(&whole, m, NULL, &beside, d->caps, &d->device, &v->ask);
    for (uint32_t i = 0; i < h->n_sets; i++) {
        size_t set = h->first_set + i;
        if (files && whole.compatible)
            judge_set_with(&one, m, &c->judge[set], &beside, d->caps, &d->device, &v->ask);
        take(v, set, machine, files && whole.compatible ? &one : &whole);
    }
}

static void judge_all(const struct catalog *c, struct catalog_verdicts *v)
{
    size_t n = c->n_sets;
    memset(v->runs, 0, n * sizeof *v->runs);
    memset(v->fits, 0, n * sizeof *v->fits);
    memset(v->decode, 0, n * sizeof *v->decode);
    memset(v->why, 0, n);
    memset(v->best, 0, n);
    for (size_t i = 0; i < n; i++)
        v->weights[i] = c->judge[i].bytes;
    for (size_t row = 0; row < c->n; row++)
        for (unsigned machine = 0; machine < c->n_devices; machine++)
            judge_row(c, v, row, machine);
}

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
        if (!room(v, c->n_sets))
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
