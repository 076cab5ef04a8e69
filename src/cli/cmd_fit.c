/* cmd_fit: `rbee fit`: whether models run on the machines that are there, before anything is
 * started or fetched.
 *
 * The judge is model/verdict. What workers can run, the memory that is available and the rates that
 * their kernels were measured at come from the hives of the queen where one runs, else from this
 * machine's worker (store/machine). A model is a file here, or a repository of the Hub, of which a
 * header is read by range (store/precheck). One line a file and machine.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "cli/cli.h"
#include "cli/human.h"
#include "cli/machines.h"
#include "cli/table.h"
#include "model/judge.h"
#include "model/repo.h"
#include "model/source.h"
#include "store/precheck.h"

#define SENTENCES_MAX 4 /* below a table */

struct fit_opts {
    struct opt_list models;
    struct machines_conf how;
    int64_t memory;
    double bandwidth;
    bool json, here;
    struct client queen;
};

static const struct opt fit_rows[] = {
    MACHINES_OPTS(struct fit_opts, how),
    {"here", 0, OPT_BOOL, offsetof(struct fit_opts, here), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "judge for this machine only, also when a queen knows others"},
    {"memory", 'm', OPT_SIZE, offsetof(struct fit_opts, memory), "BYTES", NULL, NULL, 1, 1e15, NULL,
     NULL, "judge for a machine with so much; default: what is available"},
    {"bandwidth", 0, OPT_NUM, offsetof(struct fit_opts, bandwidth), "GB/S", NULL, NULL, 0.001, 1e6,
     NULL, NULL, "memory read a second; default: as the worker was measured"},
    {"json", 0, OPT_BOOL, offsetof(struct fit_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print as JSON"},
    CLIENT_OPTS(struct fit_opts, queen),
    {0},
};

static const struct opt_pos fit_pos[] = {
    {"MODEL", offsetof(struct fit_opts, models), false, true,
     "a name of a model here, a .gguf file or directory, or ORG/REPO, ORG/REPO:QUANT, "
     "ORG/REPO:FILE of the Hub; none: all models here"},
    {0},
};

static const struct opt_spec fit_spec = {
    .opts = fit_rows,
    .pos = fit_pos,
    .command = "rbee fit",
    .summary = "Says whether models run, on which machine, how fast, and why not.",
    .details = "\"high\" means that golden models of the family and of the type of the weights "
               "passed with this version, \"medium\" that every kernel exists, \"low\" that only "
               "names and sizes are known. Tokens a second are those of one sequence, half of its "
               "context filled. Of a repository on the Hub the header of one file is read, nothing "
               "is fetched. When a queen runs, all machines of her hives are judged. A model that "
               "runs nowhere ends the command with the exit code that running it would.",
    .examples = "rbee fit rbee-tiny\n"
                "rbee fit Qwen3-8B-Q4_K_M.gguf --context 16384 --slots 4\n"
                "rbee fit Qwen/Qwen3-8B-GGUF\n"
                "rbee fit Qwen/Qwen3-8B-GGUF:Q8_0 --memory 12GiB",
};

/* ---- lines ---- */

struct line {
    struct line *next;
    str model;      /* as it was asked for, or what `rbee pull` calls it */
    str file, path; /* of a repository; of this machine */
    uint64_t bytes; /* 0: not known */
    str machine;
    const struct machine_device *on;
    struct verdict v;
};

struct fit {
    struct fit_opts o;
    struct store st;
    struct machines machines;
    struct verdict_ask ask;
    struct remote_conf hub;
    bool hub_ready;
    struct arena arena;
    struct arena scratch; /* of the model at hand: its header, its plans */
    struct line *first, **last;
    size_t n_lines;
    str heading, best; /* of a repository */
    enum err failed;   /* of the first model that runs nowhere */
    struct err_info why;
};

static str machine_name(struct fit *f, const struct machine *m, const struct machine_device *d)
{
    return m->n > 1 ? arena_printf(&f->arena, "%.*s %.*s", STR(m->name), STR(d->id)) : m->name;
}

/* What a verdict says, out of the arena of the model. */
static void keep_verdict(struct fit *f, struct verdict *v)
{
    struct verdict_lines *const lines[] = {&v->reasons, &v->warnings, &v->recommendations};
    str *const words[] = {&v->evidence, &v->arch, &v->quant, &v->fit_set};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        *words[i] = arena_str(&f->arena, *words[i]);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        for (uint32_t k = 0; k < lines[i]->n; k++)
            lines[i]->line[k] = arena_str(&f->arena, lines[i]->line[k]);
}

static bool runs(const struct verdict *v)
{
    return v->compatible && v->fits;
}

static const char *word(const struct verdict *v)
{
    return !v->compatible ? "no" : v->fits ? "runs" : "too large";
}

/* The first no of a model that runs nowhere decides how the command ends; of several lines the one
 * that came nearest. */
static void keep_failure(struct fit *f, struct line *from, str name, enum err code)
{
    struct line *near = from;

    for (struct line *l = from; l; l = l->next) {
        if (runs(&l->v)) return;
        if (l->v.compatible && (!near->v.compatible || l->v.short_by < near->v.short_by)) near = l;
    }
    if (f->failed || !near) return;
    if (!code) code = near->v.compatible ? ERR_NOMEM : ERR_UNSUPPORTED;
    f->failed =
        err_fail(&f->why, code, __FILE__, __LINE__, "%.*s: %.*s", STR(str_sub(name, 0, 300)),
                 STR(near->v.reasons.n ? near->v.reasons.line[0] : S("it does not run")));
}

/* ---- on all machines ---- */

/* What is judged: a file here, or a set of a repository. */
struct subject {
    str model, file, path;
    uint64_t bytes;
    const struct gguf *g; /* of a file here */
    const char *broken;   /* or why it is none */
    struct precheck *repo;
    size_t set; /* of the repository; too large: it has none */
};

static void judge_one(struct fit *f, const struct subject *s, const struct machine_device *d,
                      struct verdict *v)
{
    struct precheck_for who = {&d->caps, &d->device, &f->ask};

    if (s->g)
        verdict_header(v, &f->scratch, s->g, who.caps, who.device, who.ask);
    else if (s->broken)
        *v = (struct verdict){.why = JUDGE_HEADER,
                              .fit_kv = DTYPE_COUNT,
                              .reasons = {.line = {str_c(s->broken)}, .n = 1}};
    else if (s->set < s->repo->hub.n_sets)
        precheck_judge_set(s->repo, s->set, &who, v);
    else
        verdict_hub(v, &f->scratch, &s->repo->hub, SIZE_MAX, who.caps, who.device, who.ask);
}

static enum err add_line(struct fit *f, const struct subject *s, const struct machine *m,
                         const struct machine_device *d, struct verdict *v, struct err_info *e)
{
    struct line *l = f->n_lines < LIMIT_FIT_LINES ? ARENA_NEW(&f->arena, struct line, 1) : NULL;

    if (!l) return ERR_FAIL(e, LIMIT, "more than %d lines: name fewer models", LIMIT_FIT_LINES);
    keep_verdict(f, v);
    *l = (struct line){.model = arena_str(&f->arena, s->model),
                       .file = arena_str(&f->arena, s->file),
                       .path = arena_str(&f->arena, s->path),
                       .bytes = s->bytes,
                       .machine = machine_name(f, m, d),
                       .on = d,
                       .v = *v};
    *f->last = l;
    f->last = &l->next;
    f->n_lines++;
    return ERR_OK;
}

/* A machine that has too little memory is told which one has enough. */
static enum err judge_everywhere(struct fit *f, const struct subject *s, struct err_info *e)
{
    size_t n = f->machines.n_devices, at = 0;
    struct verdict *v = ARENA_NEW(&f->scratch, struct verdict, n + 1);
    struct verdict_device *all = ARENA_NEW(&f->scratch, struct verdict_device, n + 1);
    enum err code = ERR_OK;

    if (!v || !all) return ERR_FAIL(e, NOMEM, "no memory for the verdicts on %zu machines", n);
    for (size_t i = 0; i < f->machines.n; i++)
        for (size_t k = 0; k < f->machines.machine[i].n; k++, at++) {
            all[at] = f->machines.machine[i].devices[k].device;
            judge_one(f, s, &f->machines.machine[i].devices[k], &v[at]);
        }
    if (n > 1) verdict_elsewhere(v, n, &f->scratch, all);
    at = 0;
    for (size_t i = 0; i < f->machines.n; i++)
        for (size_t k = 0; k < f->machines.machine[i].n && !code; k++, at++)
            code = add_line(f, s, &f->machines.machine[i], &f->machines.machine[i].devices[k],
                            &v[at], e);
    return code;
}

/* ---- a model that is here ---- */

/* A file that cannot even be opened is a line as well. */
static enum err one_model(struct fit *f, const char *path, struct err_info *e)
{
    struct subject s = {.model = store_name_of(&f->st, str_c(path)), .path = str_c(path)};
    struct line **from = f->last;
    struct err_info why = {0};
    struct gguf g;
    enum err code = source_open(&g, path, &why), broken = code;

    if (broken) {
        broken = store_blame(path, &why);
        s.broken = why.text;
    } else {
        s.g = &g;
        s.bytes = g.file_bytes;
    }
    code = judge_everywhere(f, &s, e);
    if (!broken) gguf_close(&g);
    arena_clear(&f->scratch);
    if (code) return code;
    if (broken && !f->failed) {
        f->failed = broken;
        f->why = why;
    }
    keep_failure(f, *from, s.path, ERR_OK);
    return ERR_OK;
}

/* ---- a repository ---- */

/* The machine that can hold most: the choice among the files is for it. */
static const struct machine_device *largest(const struct fit *f)
{
    const struct machine_device *best = NULL;

    for (size_t i = 0; i < f->machines.n; i++)
        for (size_t k = 0; k < f->machines.machine[i].n; k++) {
            const struct machine_device *d = &f->machines.machine[i].devices[k];

            if (!best || d->device.memory > best->device.memory) best = d;
        }
    return best;
}

static str set_file(struct fit *f, const struct hub_model *m, const struct hub_set *s)
{
    str path = m->files[s->first].path;

    if (s->n_files < 2) return path;
    return arena_printf(&f->scratch, "%.*s (%u parts)", STR(path), s->n_files);
}

static const struct hub_model *sorting;

static int by_size(const void *a, const void *b)
{
    const struct hub_set *x = &sorting->sets[*(const size_t *)a],
                         *y = &sorting->sets[*(const size_t *)b];

    if (x->format != y->format) return x->format < y->format ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return str_cmp(x->name, y->name);
}

static bool is_wanted(const struct precheck *p, size_t set, bool only_picked)
{
    const struct hub_set *s = &p->hub.sets[set];

    if (only_picked) return precheck_is_picked(p, set);
    return s->kind == FILENAME_WEIGHTS && repo_path_ok(p->hub.files[s->first].path);
}

/* Its weights, small ones first. */
static enum err all_sets(struct fit *f, struct precheck *p, bool only_picked, struct err_info *e)
{
    size_t *order = ARENA_NEW(&f->scratch, size_t, p->hub.n_sets + 1), n = 0;
    struct subject s = {.model = p->repo.id, .repo = p, .set = SIZE_MAX};
    enum err code = ERR_OK;

    if (!order) return ERR_FAIL(e, NOMEM, "no memory for %zu files", p->hub.n_sets);
    for (size_t i = 0; i < p->hub.n_sets; i++)
        if (is_wanted(p, i, only_picked)) order[n++] = i;
    sorting = &p->hub;
    if (n) qsort(order, n, sizeof *order, by_size);
    for (size_t i = 0; i < n && !code; i++) {
        s.set = order[i];
        s.file = set_file(f, &p->hub, &p->hub.sets[s.set]);
        s.bytes = p->hub.sets[s.set].bytes;
        code = judge_everywhere(f, &s, e);
    }
    if (n) return code;
    if (p->hub.n_sets && !p->repo.n_files) s.broken = "none of its files can be fetched";
    return judge_everywhere(f, &s, e);
}

/* The architecture as the header has it, where one was read. */
static void describe(struct fit *f, const struct precheck *p, const struct line *l)
{
    const struct hub_model *m = &p->hub;
    str arch = l && l->v.compatible ? l->v.arch : m->arch;
    char params[HUMAN_TEXT] = "", ctx[HUMAN_TEXT] = "";

    if (m->params) human_params(m->params, params);
    if (m->context) human_positions(m->context, ctx);
    f->heading =
        arena_printf(&f->arena, "%.*s%s%.*s%s%s%s%s%s%.*s%s", STR(m->id), arch.n ? ", " : "",
                     STR(arch), *params ? ", " : "", params, *ctx ? ", context " : "", ctx,
                     m->licence.n ? ", " : "", STR(m->licence), m->gated ? ", gated" : "");
}

static str smaller(struct fit *f, const struct verdict *v)
{
    bool one = v->fit_slots == 1;
    return arena_printf(&f->arena, "%u slot%s of %u fit%s", v->fit_slots, one ? "" : "s",
                        v->fit_ctx, one ? "s" : "");
}

static void recommend(struct fit *f, const struct precheck *p)
{
    const struct machine_device *d = largest(f);
    struct precheck_for who = {&d->caps, &d->device, &f->ask};
    struct verdict v;
    str name = precheck_name(p);

    precheck_judge(p, &who, &v);
    if (!precheck_runs(&v, &f->ask)) return;
    f->best = v.fits ? arena_printf(&f->arena, "Best: rbee pull %.*s (%s)", STR(name), p->pick.why)
                     : arena_printf(&f->arena, "Best: rbee pull %.*s (%s; %.*s)", STR(name),
                                    p->pick.why, STR(smaller(f, &v)));
}

/* Also where no header may be read: then by what the Hub says. */
static enum err look_at(struct fit *f, struct precheck *p, const struct pick_name *name,
                        struct err_info *e)
{
    const struct machine_device *d = largest(f);
    struct precheck_for who = {&d->caps, &d->device, &f->ask};
    struct line **from = f->last;
    enum err code = precheck_pick(p, name->want, &who, e), refused = ERR_OK;

    if (code && code != ERR_UNSUPPORTED && code != ERR_AUTH && code != ERR_ACCESS) return code;
    if (code && name->want.n) return code;
    if (code && code != ERR_UNSUPPORTED)
        fprintf(stderr, "rbee: %s; judged by what the Hub says\n", e->text);
    if (!code) refused = p->remote.refused;
    if (all_sets(f, p, name->want.n != 0, e)) return e->code;
    describe(f, p, *from);
    if (!code && !f->o.json) recommend(f, p);
    keep_failure(f, *from, p->repo.id, refused);
    return ERR_OK;
}

static void on_note(const struct download_progress *p, void *owner)
{
    (void)owner;
    if (p->note) fprintf(stderr, "rbee: %s\n", p->note);
}

static enum err one_repo(struct fit *f, const struct pick_name *name, struct err_info *e)
{
    struct precheck p = {0};
    enum err code = ERR_OK;

    if (!f->hub_ready) {
        if ((code = remote_conf_init(&f->hub, &f->st, e))) return code;
        f->hub.net.retries = 1; /* somebody waits */
        f->hub.net.progress = isatty(2) ? on_note : NULL;
        f->hub_ready = true;
    }
    code = precheck_open(&p, &f->scratch, &f->hub, name, e);
    if (!code) code = look_at(f, &p, name, e);
    precheck_close(&p);
    arena_clear(&f->scratch);
    return code;
}

/* ---- which is meant ---- */

/* "ORG/REPO" is the whole repository, though a file of it may be here; everything else that is here
 * is judged by its own bytes. */
static enum err one_name(struct fit *f, const char *text, struct err_info *e)
{
    char path[STORE_PATH_MAX];
    struct err_info local = {0}, why = {0};
    struct pick_name name;
    enum err here, code;

    here = store_resolve(&f->st, str_c(text), path, &local);
    if (pick_name(str_c(text), &name, &why) || access(text, F_OK) == 0 || (!here && name.want.n)) {
        if (!here) return one_model(f, path, e);
        *e = local;
        return here;
    }
    code = one_repo(f, &name, e);
    if (!code || here) return code;
    fprintf(stderr, "rbee: %s; judging what is here\n", e->text);
    return one_model(f, path, e);
}

static enum err all_models(struct fit *f, struct err_info *e)
{
    struct store_model *m;
    struct arena a;
    size_t n;
    enum err code;

    arena_init(&a, LIMIT_STORE_ARENA);
    code = store_list(&f->st, &a, &m, &n, e);
    for (size_t i = 0; !code && i < n; i++)
        code = one_model(f, m[i].path.p, e);
    arena_fini(&a);
    f->failed = ERR_OK; /* nobody asked for a certain one */
    return code;
}

/* ---- what is printed ---- */

enum { COL_MACHINE = 2, COL_WHY = 7 };

static const struct table_col cols[] = {
    {"MODEL", false, TABLE_CUT_MIDDLE, 18, 0}, {"SIZE", true, TABLE_NO_CUT, 0, 4},
    {"MACHINE", false, TABLE_CUT_END, 12, 5},  {"VERDICT", false, TABLE_NO_CUT, 0, 0},
    {"SURE", false, TABLE_NO_CUT, 0, 6},       {"MEMORY", true, TABLE_NO_CUT, 0, 0},
    {"TOK/S", true, TABLE_NO_CUT, 0, 0},       {"WHY", false, TABLE_CUT_END, 34, 0},
};

/* In a pipe all of it; beside other columns of a terminal the shortest that says it. */
static str why_of(struct fit *f, const struct verdict *v, bool full)
{
    str why = v->reasons.n ? v->reasons.line[0] : v->evidence, advice = S("");
    char less[24];

    if (!full && v->compatible && !v->fits) {
        cli_bytes(v->short_by, less);
        if (v->fit_slots)
            return arena_printf(&f->arena, "%s short; %.*s", less, STR(smaller(f, v)));
        return arena_printf(&f->arena, "%s short", less);
    }
    if (v->recommendations.n)
        advice = v->recommendations.line[0];
    else if (v->warnings.n && runs(v))
        advice = v->warnings.line[0];
    if (!full && runs(v)) return S(""); /* said once, below */
    return full && advice.n ? arena_printf(&f->arena, "%.*s; %.*s", STR(why), STR(advice)) : why;
}

/* `again`: the same model on a further machine, which somebody who looks sees at once. */
static void put_line(struct fit *f, struct table *t, const struct line *l, bool full, bool again)
{
    const struct verdict *v = &l->v;
    char text[24];

    table_put(t, TABLE_PLAIN, again ? S("") : l->file.n ? l->file : l->model);
    table_put(t, TABLE_DIM,
              again      ? S("")
              : l->bytes ? arena_str(&f->arena, str_c(cli_bytes(l->bytes, text)))
                         : S("-"));
    table_put(t, TABLE_PLAIN, l->machine);
    table_put(t, runs(v) ? TABLE_GOOD : v->compatible ? TABLE_WARN : TABLE_BAD, str_c(word(v)));
    table_put(t, TABLE_DIM, str_c(verdict_confidence_name(v->confidence)));
    table_put(t, TABLE_PLAIN,
              v->memory_known ? arena_str(&f->arena, str_c(cli_bytes(v->memory.total, text)))
                              : S("-"));
    table_put(t, TABLE_PLAIN,
              v->decode > 0 ? arena_str(&f->arena, str_c(human_rate(v->decode, text))) : S("-"));
    table_put(t, v->compatible && v->fits ? TABLE_DIM : TABLE_PLAIN, why_of(f, v, full));
}

static void put_facts(const struct table_look *look, const char *label, enum table_tone tone,
                      const struct verdict_lines *lines, struct arena *a, buf *out)
{
    for (uint32_t i = 0; i < lines->n; i++)
        table_fact(look, i ? "" : label, tone, table_clean(a, lines->line[i]), out);
}

/* Of all lines each sentence once, a few of them. */
static void put_distinct(struct fit *f, const struct table_look *look, const char *label,
                         bool warnings, buf *out)
{
    str said[SENTENCES_MAX];
    size_t n = 0;

    for (const struct line *l = f->first; l; l = l->next) {
        const struct verdict_lines *lines = warnings ? &l->v.warnings : &l->v.reasons;

        if (warnings ? !runs(&l->v) : l->v.compatible) continue;
        for (uint32_t i = 0; i < lines->n && n < SENTENCES_MAX; i++) {
            size_t k = 0;

            while (k < n && !str_eq(said[k], lines->line[i]))
                k++;
            if (k < n) continue;
            table_fact(look, n ? "" : label, warnings ? TABLE_WARN : TABLE_PLAIN,
                       table_clean(&f->arena, lines->line[i]), out);
            said[n++] = lines->line[i];
        }
    }
}

/* A single verdict has room for all that there is to say. */
static void explain(struct fit *f, const struct table_look *look, buf *out)
{
    const struct verdict *v = &f->first->v;
    char total[24], weights[24], kv[24], compute[24], have[24];

    if (v->memory_known && v->cache_known)
        table_fact(look, "memory", TABLE_PLAIN,
                   arena_printf(&f->arena,
                                "%s: weights %s, cache %s for %u x %u positions, compute %s; %s "
                                "available",
                                cli_bytes(v->memory.total, total),
                                cli_bytes(v->memory.weights, weights), cli_bytes(v->memory.kv, kv),
                                v->n_slots, v->n_ctx, cli_bytes(v->memory.compute, compute),
                                cli_bytes(f->first->on->device.memory, have)),
                   out);
    put_facts(look, "because", TABLE_PLAIN, &v->reasons, &f->arena, out);
    put_facts(look, "note", TABLE_WARN, &v->warnings, &f->arena, out);
    put_facts(look, "instead", TABLE_PLAIN, &v->recommendations, &f->arena, out);
}

static void write_table(struct fit *f, buf *out)
{
    struct table_col col[sizeof cols / sizeof *cols];
    struct table_look look;
    struct table t;
    size_t at = 0;

    memcpy(col, cols, sizeof col);
    if (f->machines.n_devices > 1) {
        col[COL_MACHINE].drop = 0;
        col[COL_WHY].min = 14; /* "12.3 GiB short" */
    }
    table_look_of(&look, 1);
    table_init(&t, &f->arena, col, sizeof col / sizeof *col);
    for (const struct line *l = f->first; l; l = l->next, at++)
        put_line(f, &t, l, !look.width, look.width && at % f->machines.n_devices);
    if (look.width && f->heading.n && f->o.models.n == 1)
        table_text(&look, 0, 0, table_clean(&f->arena, f->heading), out);
    table_write(&t, &look, 0, out);
    if (look.width && f->n_lines == 1) {
        explain(f, &look, out);
    } else if (look.width) {
        put_distinct(f, &look, "because", false, out);
        put_distinct(f, &look, "note", true, out);
    }
    if (look.width && f->best.n && f->o.models.n == 1)
        table_text(&look, 0, 0, table_clean(&f->arena, f->best), out);
}

static void write_json(struct fit *f, buf *out)
{
    struct jsonw w;

    jsonw_init(&w, out);
    jsonw_arr(&w);
    for (const struct line *l = f->first; l; l = l->next) {
        jsonw_obj(&w);
        jsonw_kstr(&w, "model", l->model);
        if (l->file.n) jsonw_kstr(&w, "file", l->file);
        if (l->path.n) jsonw_kstr(&w, "path", l->path);
        jsonw_kint(&w, "bytes", (int64_t)l->bytes);
        jsonw_kstr(&w, "machine", l->machine);
        jsonw_kstr(&w, "device", l->on->id);
        jsonw_kint(&w, "available", (int64_t)l->on->device.memory);
        jsonw_kstr(&w, "worker", l->on->worker);
        jsonw_key(&w, "verdict");
        verdict_write(&l->v, &w);
        jsonw_end(&w, '}');
    }
    jsonw_end(&w, ']');
    buf_ch(out, '\n');
}

/* ---- the command ---- */

/* Measuring takes seconds, once for a worker: somebody who waits is told. */
static enum err find_machines(struct fit *f, struct err_info *e)
{
    bool assumed = f->o.memory || f->o.bandwidth > 0, known = true;
    struct machines_ask ask = {.queen = f->o.here || assumed ? NULL : &f->o.queen,
                               .threads = (uint32_t)f->o.how.threads};
    enum err code = machines_get(&f->machines, &f->arena, &ask, e);

    for (size_t i = 0; !code && i < f->machines.n; i++)
        for (size_t k = 0; k < f->machines.machine[i].n; k++)
            known = known && f->machines.machine[i].devices[k].measured;
    if (code || known || f->o.bandwidth > 0) return code;
    if (isatty(2)) fprintf(stderr, "Measuring how fast this machine is, once ...\n");
    ask.measure = true;
    return machines_get(&f->machines, &f->arena, &ask, e);
}

/* --memory and --bandwidth make another machine of this one. */
static void assume(struct fit *f)
{
    for (size_t i = 0; i < f->machines.n; i++)
        for (size_t k = 0; k < f->machines.machine[i].n; k++) {
            struct verdict_device *d = &f->machines.machine[i].devices[k].device;

            if (f->o.memory) d->memory = (uint64_t)f->o.memory;
            if (f->o.bandwidth > 0) {
                d->bandwidth = f->o.bandwidth * 1e9;
                d->rates = NULL;
            }
        }
}

static enum err judge_all(struct fit *f, struct err_info *e)
{
    enum err code;

    if ((code = store_init(&f->st, e)) || (code = find_machines(f, e))) return code;
    assume(f);
    f->ask = machines_verdict_ask(&f->o.how);
    if (!f->o.models.n) return all_models(f, e);
    for (int i = 0; !code && i < f->o.models.n; i++)
        code = one_name(f, f->o.models.v[i], e);
    return code;
}

static enum err run_fit(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    static struct fit f;
    buf out = {.cap = LIMIT_HTTP_REPLY};
    bool help;
    enum err code = cli_parse(cmd, argc, argv, &f.o, &help, e);

    if (code || help) return code;
    f.last = &f.first;
    arena_init(&f.arena, LIMIT_STORE_ARENA);
    arena_init(&f.scratch, LIMIT_FIT_ARENA);
    code = judge_all(&f, e);
    if (!code && f.o.json)
        write_json(&f, &out);
    else if (!code)
        write_table(&f, &out);
    if (!code && out.n) fwrite(out.p, 1, out.n, stdout);
    buf_fini(&out);
    arena_fini(&f.scratch);
    arena_fini(&f.arena);
    if (!code && f.failed) {
        *e = f.why;
        code = f.failed;
    }
    return code;
}

const struct cli_cmd cmd_fit = {
    .name = "fit",
    .group = "Look at models",
    .summary = "whether models run, on which machine, and how fast",
    .spec = &fit_spec,
    .run = run_fit,
};
