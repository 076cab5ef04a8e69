/* shelf_model: the answer on one model: what it is, each of its sets of weights on each machine,
 * and its files, those that people look for apart from the rest.
 *
 * Where the header of a set was read, all sets are judged as `rbee fit` judges them
 * (store/precheck.h); else by what the Hub says, with the memory that an earlier header told of,
 * which the database keeps. What is hidden in lists is hidden here: 404, with the reasons.
 */
#include <string.h>

#include "queen/shelf_int.h"

struct page {
    struct shelf *s;
    const struct shelf_ask *ask;
    struct arena *a;
    struct err_info *e;
    struct modeldb_row row;
    struct hub_model m;
    struct verdict_ask conf;
    struct verdict *v; /* [set][device]; one row, by names, where there are no sets to judge */
    size_t best;       /* index into v */
    bool by_set, runs, compatible;
    struct precheck pre[SHELF_HEADERS]; /* the headers that are at hand, for this request */
    size_t n_pre;
};

/* ---- verdicts ---- */

/* Of the set itself, else of the repository, else of any other set of it. */
static const struct memory_shape *shape_of(const struct modeldb_row *row, str set)
{
    for (size_t i = 0; i < row->n_shapes; i++)
        if (str_eq(row->shapes[i].set, set)) return &row->shapes[i].shape;
    return row->n_shapes ? &row->shapes[0].shape : NULL;
}

static bool judged(const struct hub_set *set)
{
    return set->kind != FILENAME_PROJECTOR && set->kind != FILENAME_IMATRIX;
}

/* As `rbee fit` judges: by the set's own header, by that of a sibling, by what the Hub says. */
static void judge_one(struct page *p, struct verdict *v, size_t set, size_t device)
{
    const struct catalog_device *d = &p->s->devices[device];
    const struct precheck_for f = {d->caps, &d->device, &p->conf};
    size_t k = 0;

    if (set < p->m.n_sets && p->n_pre) {
        while (k < p->n_pre && !precheck_is_picked(&p->pre[k], set))
            k++;
        precheck_judge_set(&p->pre[k < p->n_pre ? k : 0], set, &f, v);
        return;
    }
    p->m.shape = shape_of(&p->row, set < p->m.n_sets ? p->m.sets[set].name : S(""));
    verdict_hub(v, p->a, &p->m, set, d->caps, &d->device, &p->conf);
}

/* Borrows the headers; what they are asked for goes into this request's arena. */
static void take_headers(struct page *p)
{
    const struct shelf_header *h[SHELF_HEADERS];

    p->n_pre = shelf_headers_of(p->s, &p->m, h);
    for (size_t i = 0; i < p->n_pre; i++) {
        p->pre[i] = h[i]->pre;
        p->pre[i].a = p->a;
        p->pre[i].hub = p->m;
        p->pre[i].n_known = 0;
    }
}

/* Is the set's own header at hand? */
static bool has_header(const struct page *p, size_t set)
{
    for (size_t i = 0; i < p->n_pre; i++)
        if (precheck_is_picked(&p->pre[i], set)) return true;
    return false;
}

/* What judge_better() compares of them. */
static struct judge_out out_of(const struct page *p, size_t i)
{
    const struct verdict *v = &p->v[i];
    struct judge_set set = {0};

    if (p->by_set) judge_set_from(&set, &p->m.sets[i / p->s->n_devices]);
    /* Not the weights that a header tells: other sets go by the size of their files. */
    return (struct judge_out){.compatible = v->compatible,
                              .fits = v->fits,
                              .distance = filename_distance(set.centibits),
                              .memory = {.weights = set.bytes ? set.bytes : v->memory.weights}};
}

/* As search, pull and fit choose; of the same set the faster machine. */
static bool better(const struct page *p, size_t i, size_t than)
{
    struct judge_out a = out_of(p, i), b = out_of(p, than);

    if (judge_better(&a, &b)) return true;
    return i / p->s->n_devices == than / p->s->n_devices && !judge_better(&b, &a) &&
           p->v[i].decode > p->v[than].decode;
}

/* All machines for one set. */
static void judge_row(struct page *p, size_t set, bool *any)
{
    size_t n = p->s->n_devices;
    struct verdict *v = p->v + (p->by_set ? set : 0) * n;
    struct verdict_device *d = ARENA_NEW(p->a, struct verdict_device, n);

    for (size_t k = 0; k < n; k++) {
        judge_one(p, &v[k], set, k);
        if (d) d[k] = p->s->devices[k].device;
        p->runs = p->runs || (v[k].compatible && v[k].fits);
        p->compatible = p->compatible || v[k].compatible;
        if (!*any || better(p, (size_t)(&v[k] - p->v), p->best)) p->best = (size_t)(&v[k] - p->v);
        *any = true;
    }
    if (d) verdict_elsewhere(v, n, p->a, d);
}

static enum err judge_all(struct page *p)
{
    size_t n = (p->m.n_sets + 1) * (p->s->n_devices + 1);
    bool any = false;

    if (!(p->v = ARENA_NEW(p->a, struct verdict, n)))
        return ERR_FAIL(p->e, NOMEM, "no memory for %zu verdicts", n);
    for (size_t i = 0; i < p->m.n_sets; i++)
        p->by_set = p->by_set || judged(&p->m.sets[i]);
    for (size_t i = 0; i < p->m.n_sets; i++)
        if (judged(&p->m.sets[i])) judge_row(p, i, &any);
    if (!p->by_set) judge_row(p, SIZE_MAX, &any);
    return ERR_OK;
}

/* ---- writing ---- */

static void write_verdicts(const struct page *p, size_t set, struct jsonw *w)
{
    const struct verdict *v = p->v + (p->by_set ? set : 0) * p->s->n_devices;

    jsonw_key(w, "verdicts");
    jsonw_arr(w);
    for (size_t k = 0; k < p->s->n_devices; k++) {
        if (set < p->m.n_sets && !judged(&p->m.sets[set])) break;
        jsonw_obj(w);
        jsonw_kstr(w, "machine", p->s->devices[k].device.name);
        jsonw_kstr(w, "device", p->s->of[k]->id);
        jsonw_kstr(w, "backend", p->s->devices[k].backend);
        jsonw_key(w, "verdict");
        verdict_write(&v[k], w);
        jsonw_end(w, '}');
    }
    jsonw_end(w, ']');
}

static void write_set(const struct page *p, size_t i, struct jsonw *w)
{
    const struct hub_set *s = &p->m.sets[i];

    jsonw_obj(w);
    jsonw_kstr(w, "name", s->name);
    jsonw_kc(w, "format", filename_format_name(s->format));
    jsonw_kc(w, "kind", filename_kind_name(s->kind));
    jsonw_kc(w, "quantization", s->quant);
    jsonw_key(w, "bytes");
    if (s->bytes)
        jsonw_uint(w, s->bytes);
    else
        jsonw_null(w);
    jsonw_kbool(w, "whole", s->n_files == s->n_expected);
    jsonw_key(w, "files");
    jsonw_arr(w);
    for (size_t k = 0; k < p->m.n_files; k++)
        if (p->m.files[k].set == i) jsonw_str(w, p->m.files[k].path);
    jsonw_end(w, ']');
    write_verdicts(p, i, w);
    jsonw_end(w, '}');
}

static bool is_shown(const struct hub_file *f)
{
    switch (f->name.kind) {
    case FILENAME_WEIGHTS:
    case FILENAME_PROJECTOR:
    case FILENAME_ADAPTER:
        return f->name.format == FILENAME_GGUF || f->name.format == FILENAME_SAFETENSORS;
    case FILENAME_CONFIG:
    case FILENAME_TOKENIZER:
    case FILENAME_TEMPLATE:
    case FILENAME_CARD:
    case FILENAME_LICENCE: return true;
    default: return false;
    }
}

static void write_files(const struct page *p, bool shown, struct jsonw *w)
{
    jsonw_arr(w);
    for (size_t i = 0; i < p->m.n_files; i++) {
        const struct hub_file *f = &p->m.files[i];

        if (is_shown(f) != shown) continue;
        jsonw_obj(w);
        jsonw_kstr(w, "path", f->path);
        jsonw_kc(w, "kind", filename_kind_name(f->name.kind));
        jsonw_key(w, "bytes");
        if (f->bytes)
            jsonw_uint(w, f->bytes);
        else
            jsonw_null(w);
        jsonw_key(w, "set");
        if (f->set < p->m.n_sets)
            jsonw_str(w, p->m.sets[f->set].name);
        else
            jsonw_null(w);
        jsonw_end(w, '}');
    }
    jsonw_end(w, ']');
}

static void write_rests_on(const struct page *p, enum shelf_missing missing, struct jsonw *w)
{
    size_t headers = 0;

    for (size_t i = 0; i < p->m.n_sets; i++)
        headers += has_header(p, i);
    jsonw_key(w, "rests_on");
    jsonw_obj(w);
    jsonw_kc(w, "facts", p->row.detailed ? "detail" : "list");
    jsonw_kint(w, "stored", p->row.stored);
    jsonw_kint(w, "headers", (int64_t)headers);
    jsonw_kint(w, "shapes", (int64_t)p->row.n_shapes);
    jsonw_kbool(w, "complete", missing == SHELF_NOTHING);
    jsonw_kbool(w, "pending", p->ask->pending && missing != SHELF_NOTHING);
    jsonw_key(w, "problem");
    if (p->ask->problem.n)
        jsonw_str(w, p->ask->problem);
    else
        jsonw_null(w);
    jsonw_end(w, '}');
}

static size_t best_set(const struct page *p)
{
    return p->s->n_devices ? p->best / p->s->n_devices : 0;
}

static void write_model(const struct page *p, enum shelf_missing missing, struct jsonw *w)
{
    jsonw_obj(w);
    jsonw_key(w, "model");
    hub_write(&p->m, w);
    jsonw_key(w, "runs");
    if (p->s->n_devices)
        jsonw_bool(w, p->runs);
    else
        jsonw_null(w);
    jsonw_key(w, "best"); /* the set that suits these machines best, run or not */
    if (p->s->n_devices && p->by_set)
        jsonw_str(w, p->m.sets[best_set(p)].name);
    else
        jsonw_null(w);
    if (!p->by_set) write_verdicts(p, SIZE_MAX, w);
    jsonw_key(w, "sets");
    jsonw_arr(w);
    for (size_t i = 0; i < p->m.n_sets; i++)
        write_set(p, i, w);
    jsonw_end(w, ']');
    jsonw_key(w, "files");
    jsonw_obj(w);
    jsonw_key(w, "shown");
    write_files(p, true, w);
    jsonw_key(w, "more");
    write_files(p, false, w);
    jsonw_end(w, '}');
    write_rests_on(p, missing, w);
    shelf_write_machines(p->s, w);
    jsonw_end(w, '}');
}

/* An error object as all others are, with the reasons beside the message. */
static void write_refusal(const struct page *p, struct jsonw *w)
{
    const struct verdict *v = &p->v[p->best];
    str why = v->reasons.n ? v->reasons.line[0] : str_c(judge_why_text(v->why));
    str text = arena_printf(p->a, "'%.*s' is not run here: %.*s", STR(p->m.id), STR(why));

    jsonw_obj(w);
    jsonw_key(w, "error");
    jsonw_obj(w);
    jsonw_kstr(w, "message", text);
    jsonw_kc(w, "type", err_type(ERR_NOMODEL));
    jsonw_kc(w, "param", NULL);
    jsonw_kc(w, "code", err_name(ERR_NOMODEL));
    jsonw_kstr(w, "model", p->m.id);
    jsonw_kc(w, "why", judge_why_name(v->why));
    jsonw_kstrs(w, "reasons", v->reasons.line, v->reasons.n);
    jsonw_kstrs(w, "recommendations", v->recommendations.line, v->recommendations.n);
    jsonw_kc(w, "show", "add all=1 to see it all the same");
    jsonw_end(w, '}');
    jsonw_end(w, '}');
}

/* ---- the whole ---- */

static enum err read_row(struct page *p)
{
    const struct json *v;
    enum err err;

    if (!p->s->db) return ERR_FAIL(p->e, NOMODEL, "the catalogue is empty");
    if ((err = modeldb_get(p->s->db, p->ask->id, p->a, &p->row, p->e))) {
        if (err == ERR_NOTFOUND) p->e->code = ERR_NOMODEL;
        return p->e->code;
    }
    if ((err = json_parse(p->a, p->row.entry, &v, p->e))) return err;
    return hub_parse(&p->m, p->a, v, p->e);
}

/* The set that is asked for by its name, its quantisation or a file of it. */
static enum err find_set(const struct page *p, size_t *out)
{
    str want = p->ask->set;

    *out = best_set(p);
    if (!want.n) return ERR_OK;
    for (size_t i = 0; i < p->m.n_sets; i++) {
        const struct hub_set *s = &p->m.sets[i];

        *out = i;
        if (str_eq(s->name, want) || (s->quant && str_ieq(str_c(s->quant), want))) return ERR_OK;
    }
    for (size_t i = 0; i < p->m.n_files; i++) {
        *out = p->m.files[i].set;
        if (*out < p->m.n_sets && str_eq(p->m.files[i].path, want)) return ERR_OK;
    }
    return ERR_FAIL(p->e, NOTFOUND, "'%.*s' has no weights '%.*s'", STR(p->m.id),
                    STR(str_sub(want, 0, 100)));
}

/* A header is worth fetching for what may run; where nothing says what the model is, it decides. */
static enum err what_is_missing(const struct page *p, struct shelf_answer *x)
{
    size_t set;
    enum err err = find_set(p, &set);
    const struct verdict *v;
    bool may_run;

    if (err) return err;
    if (!p->row.detailed) x->missing = SHELF_DETAIL;
    if (x->missing || !p->by_set || !p->m.sha.n) return ERR_OK;
    v = &p->v[set * p->s->n_devices];
    x->decides = p->s->n_devices && v->why == JUDGE_NO_ARCH;
    may_run = !p->s->n_devices || v->compatible || x->decides;
    if (may_run && p->m.sets[set].n_files == p->m.sets[set].n_expected && !has_header(p, set)) {
        x->missing = SHELF_HEADER;
        x->set = p->m.sets[set].name;
    }
    return ERR_OK;
}

static bool truth(const struct catalog_query *q, enum catalog_field f, bool dflt)
{
    return q->given & (uint64_t)1 << f ? q->number[f] != 0 : dflt;
}

enum err shelf_model(struct shelf *s, const struct shelf_ask *ask, struct arena *a,
                     struct shelf_answer *x, buf *out, struct err_info *e)
{
    struct page p = {.s = s, .ask = ask, .a = a, .e = e};
    bool hidden;
    struct jsonw w;
    enum err err;

    *x = (struct shelf_answer){.status = 200};
    p.conf = catalog_query_ask(ask->q, &s->ask);
    if ((err = read_row(&p))) {
        if (err == ERR_NOMODEL) x->missing = SHELF_ROW;
        return err;
    }
    take_headers(&p);
    if ((err = judge_all(&p)) || (err = what_is_missing(&p, x))) return err;
    hidden = s->n_devices && !p.runs && !truth(ask->q, CATALOG_ALL, false) &&
             !(p.compatible && !truth(ask->q, CATALOG_FITS, true));
    if (hidden) x->status = err_http(ERR_NOMODEL);
    jsonw_init(&w, out);
    if (hidden)
        write_refusal(&p, &w);
    else
        write_model(&p, x->missing, &w);
    return out->failed ? ERR_FAIL(e, LIMIT, "the answer on '%.*s' is too large", STR(p.m.id))
                       : ERR_OK;
}
