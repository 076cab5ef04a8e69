/* precheck: see precheck.h. */
#include "store/precheck.h"

#include <stdio.h>
#include <string.h>

#include "model/judge.h"

/* ---- the repository ---- */

static enum err about(const struct precheck *p, enum err code, struct err_info *e)
{
    char text[ERR_TEXT_MAX];

    snprintf(text, sizeof text, "%s", e->text);
    return err_fail(e, code, e->file, e->line, "%.*s: %s", STR(p->repo.id), text);
}

enum err precheck_open(struct precheck *p, struct arena *a, const struct remote_conf *c,
                       const struct pick_name *name, struct err_info *e)
{
    const struct json *v;
    enum err code;

    *p = (struct precheck){.conf = c, .a = a};
    if ((code = hubapi_list(&p->repo, a, &c->net, name, e))) return code;
    if ((code = json_parse(a, p->repo.text, &v, e)) || (code = hub_parse(&p->hub, a, v, e)))
        return about(p, code, e);
    return ERR_OK;
}

static void let_go(struct precheck *p)
{
    if (p->picked) remote_close(&p->remote);
    p->picked = false;
    p->n_known = 0;
}

void precheck_close(struct precheck *p)
{
    let_go(p);
}

/* ---- the choice ---- */

/* Sets that the worker does not run whatever the memory, one bit of bool each. */
static bool *foreign_sets(const struct precheck *p, const struct precheck_for *f)
{
    bool *no = ARENA_NEW(p->a, bool, p->hub.n_sets + 1), any = false;
    const struct verdict_device unlimited = {0};
    struct judge_model m;

    if (!no) return NULL;
    judge_model_from(&m, &p->hub);
    for (size_t i = 0; i < p->hub.n_sets; i++) {
        struct judge_set s;
        struct judge_out o;

        judge_set_from(&s, &p->hub.sets[i]);
        judge_set(&o, &m, &s, f->caps, &unlimited, f->ask);
        no[i] = !o.compatible;
        any = any || o.compatible;
    }
    return any ? no : NULL; /* then the reason is better than to find nothing */
}

/* The files that may be chosen: what the worker cannot run is passed over. Both lists are in the
 * order of the reply. */
static const struct pick_file *choices(const struct precheck *p, const struct precheck_for *f)
{
    const bool *no = f ? foreign_sets(p, f) : NULL;
    struct pick_file *files = no ? ARENA_NEW(p->a, struct pick_file, p->repo.n_files + 1) : NULL;
    size_t at = 0;

    if (!files) return p->repo.files;
    for (size_t i = 0; i < p->repo.n_files; i++) {
        files[i] = p->repo.files[i];
        while (at < p->hub.n_files && !str_eq(p->hub.files[at].path, files[i].path))
            at++;
        if (at == p->hub.n_files) return p->repo.files;
        if (p->hub.files[at].set < p->hub.n_sets && no[p->hub.files[at].set])
            files[i].name.kind = FILENAME_OTHER;
    }
    return files;
}

static enum err take(struct precheck *p, const struct pick *choice, struct err_info *e)
{
    enum err code;

    if (p->picked && p->pick.main == choice->main) {
        memcpy(p->pick.why, choice->why, sizeof p->pick.why);
        return ERR_OK;
    }
    let_go(p);
    p->pick = *choice;
    if ((code = remote_open(&p->remote, p->a, p->conf, &p->repo, &p->pick, e))) return code;
    p->picked = true;
    return ERR_OK;
}

/* What the machine has for weights when one sequence, or as many as were asked for, shall run: the
 * rest is for their cache and for computing. */
static uint64_t room_for_weights(const struct precheck *p, const struct precheck_for *f)
{
    struct memory_conf c = {.n_ctx = f->ask->n_ctx,
                            .n_slots = f->ask->n_slots ? f->ask->n_slots : 1,
                            .n_threads = f->device->threads ? f->device->threads : 1,
                            .ktype = f->ask->ktype,
                            .vtype = f->ask->vtype};
    struct verdict v;
    uint64_t beside;

    precheck_judge(p, f, &v);
    if (!f->device->memory || v.shape.source == MEMORY_NONE) return f->device->memory;
    memory_fill_of(&c, &v.shape);
    beside = memory_need_of(&v.shape, &c, 0).total;
    return beside < f->device->memory ? f->device->memory - beside : 1;
}

enum err precheck_pick(struct precheck *p, str want, const struct precheck_for *f,
                       struct err_info *e)
{
    const struct pick_file *files = want.n ? p->repo.files : choices(p, f);
    struct pick choice;
    enum err code = pick_files(files, p->repo.n_files, want, 0, &choice, p->a, e);

    if (code) return about(p, code, e);
    if ((code = take(p, &choice, e)) || want.n || !f || !f->device->memory || choice.folder)
        return code;
    code = pick_files(files, p->repo.n_files, want, room_for_weights(p, f), &choice, p->a, e);
    return code ? about(p, code, e) : take(p, &choice, e);
}

/* ---- the verdict ---- */

/* What the Hub says, with what a header of the repository says better. */
static struct hub_model better_words(const struct precheck *p, const struct verdict *own,
                                     enum filename_format format)
{
    struct hub_model m = p->hub;

    if (own->shape.source != MEMORY_NONE) m.shape = &own->shape;
    if (own->compatible) m.arch_by_name = false;
    if (own->compatible && format == FILENAME_GGUF && hub_family(own->arch)) {
        m.arch = own->arch;
        m.family = hub_family(own->arch);
    }
    return m;
}

static bool is_said(const struct verdict_lines *l, str line)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (str_eq(l->line[i], line)) return true;
    return false;
}

/* Gated, reads images elsewhere, which other file would fit: no header says so. */
static void add_facts(const struct precheck *p, const struct precheck_for *f, struct verdict *v)
{
    struct hub_model m = better_words(p, v, v->format);
    struct verdict said;
    size_t set = 0;

    while (set < m.n_sets && !precheck_is_picked(p, set))
        set++;
    if (set == m.n_sets) return;
    verdict_hub(&said, p->a, &m, set, f->caps, f->device, f->ask);
    for (uint32_t i = 0; i < said.warnings.n && v->warnings.n < VERDICT_LINES; i++)
        if (!is_said(&v->warnings, said.warnings.line[i]))
            v->warnings.line[v->warnings.n++] = said.warnings.line[i];
    if (v->why != JUDGE_MEMORY || said.why != JUDGE_MEMORY) return;
    v->recommendations = said.recommendations;
    v->fit_set = said.fit_set;
}

static uint64_t weight_bytes(const struct precheck *p)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < p->pick.n; i++) {
        const struct pick_file *f = &p->repo.files[p->pick.files[i]];

        if (f->name.kind == FILENAME_WEIGHTS) bytes += f->bytes;
    }
    return bytes;
}

/* What was read is no model, in the words of who read it. */
static void refused(const struct precheck *p, const struct precheck_for *f, struct verdict *v)
{
    *v = (struct verdict){.why = JUDGE_HEADER,
                          .fit_kv = DTYPE_COUNT,
                          .format = p->pick.folder ? FILENAME_SAFETENSORS : FILENAME_GGUF,
                          .evidence = S("header"),
                          .n_ctx = f->ask->n_ctx,
                          .n_slots = f->ask->n_slots};
    v->reasons.line[v->reasons.n++] = arena_str(p->a, str_c(p->remote.why));
}

static bool has_file(const struct precheck *p, const char *end)
{
    for (size_t i = 0; i < p->pick.n; i++)
        if (str_ends(p->repo.files[p->pick.files[i]].path, str_c(end))) return true;
    return false;
}

/* A folder's tokenizer lies beside its weights; these are what text/tok_dir reads. */
static void need_tokenizer(const struct precheck *p, struct verdict *v)
{
    if (has_file(p, "tokenizer.json") || has_file(p, "tokenizer.model") ||
        has_file(p, ".tiktoken") ||
        ((has_file(p, "vocab.json") || has_file(p, "encoder.json")) && has_file(p, "merges.txt")))
        return;
    v->compatible = v->fits = false;
    v->why = JUDGE_TOKENIZER;
    v->confidence = VERDICT_NONE;
    v->evidence = S("the list of files");
    v->reasons = (struct verdict_lines){
        .line = {S("the repository has no tokenizer that is read: tokenizer.json, tokenizer.model, "
                   "*.tiktoken, or vocab.json with merges.txt")},
        .n = 1};
}

void precheck_judge(const struct precheck *p, const struct precheck_for *f, struct verdict *v)
{
    const struct remote *r = &p->remote;

    v->compatible = true;
    if (r->headers)
        verdict_header(v, p->a, &r->g, f->caps, f->device, f->ask);
    else if (r->folder)
        verdict_config(v, p->a, &r->texts, weight_bytes(p), f->caps, f->device, f->ask);
    if (!r->opened && v->compatible) refused(p, f, v);
    if (v->compatible && p->pick.folder) need_tokenizer(p, v);
    if (v->compatible) add_facts(p, f, v);
}

bool precheck_runs(const struct verdict *v, const struct verdict_ask *ask)
{
    bool asked = ask->n_ctx || ask->n_slots;

    return v->compatible && (v->fits || (v->fit_slots && !asked));
}

enum err precheck_choose(struct precheck *p, str want, const struct machine_device *on,
                         const struct verdict_ask *ask, struct verdict *v, struct err_info *e)
{
    struct verdict_device now = on->device, all = on->device;
    struct precheck_for f = {&on->caps, &now, ask};
    enum err code = precheck_pick(p, want, &f, e);

    if (code) return code;
    precheck_judge(p, &f, v);
    if (!v->compatible || precheck_runs(v, ask)) return ERR_OK;
    if (on->memory_total > now.memory) all.memory = on->memory_total;
    f.device = &all;
    if ((code = precheck_pick(p, want, &f, e))) return code;
    precheck_judge(p, &f, v);
    return ERR_OK;
}

bool precheck_is_picked(const struct precheck *p, size_t set)
{
    const struct hub_set *s = &p->hub.sets[set];

    if (!p->picked || s->kind != FILENAME_WEIGHTS) return false;
    for (size_t i = 0; i < p->pick.n; i++)
        if (str_eq(p->repo.files[p->pick.files[i]].path, p->hub.files[s->first].path)) return true;
    return false;
}

/* A plan is compiled once for each machine, not for each file. */
static void judge_once(struct precheck *p, const struct precheck_for *f, struct verdict *v)
{
    struct precheck_known *k = p->known;

    for (size_t i = 0; i < p->n_known; i++, k++) {
        if (k->of.caps != f->caps || k->of.device != f->device || k->of.ask != f->ask) continue;
        *v = k->v;
        return;
    }
    precheck_judge(p, f, v);
    if (p->n_known < PRECHECK_KNOWN) p->known[p->n_known++] = (struct precheck_known){*f, *v};
}

/* Do all files of that format share the reason? Their layers, vocabulary and template are one. */
static bool is_shared(enum judge_why why)
{
    return why == JUDGE_FAMILY || why == JUDGE_HEADER || why == JUDGE_OP ||
           why == JUDGE_TOKENIZER || why == JUDGE_CONTEXT || why == JUDGE_SLOTS ||
           why == JUDGE_KV_TYPE;
}

/* The Hub's words on a set with what the header of another one says better. */
static void judge_sibling(struct precheck *p, size_t set, const struct precheck_for *f,
                          struct verdict *v)
{
    const struct hub_set *s = &p->hub.sets[set];
    struct hub_model m;
    struct verdict own;

    judge_once(p, f, &own);
    if (s->kind == FILENAME_WEIGHTS && s->format == own.format && p->remote.opened &&
        !own.compatible && is_shared(own.why)) {
        *v = own;
        v->quant = str_c(s->quant);
        return;
    }
    m = better_words(p, &own, s->format);
    verdict_hub(v, p->a, &m, set, f->caps, f->device, f->ask);
}

void precheck_judge_set(struct precheck *p, size_t set, const struct precheck_for *f,
                        struct verdict *v)
{
    if (precheck_is_picked(p, set))
        judge_once(p, f, v);
    else if (p->picked)
        judge_sibling(p, set, f, v);
    else
        verdict_hub(v, p->a, &p->hub, set, f->caps, f->device, f->ask);
}

/* ---- its name ---- */

str precheck_name(const struct precheck *p)
{
    const struct pick_file *f = &p->repo.files[p->pick.main];
    struct err_info ignored;
    struct pick other;
    str word = f->path;

    if (p->pick.folder) {
        word = S("safetensors");
        if (!pick_files(p->repo.files, p->repo.n_files, S(""), 0, &other, p->a, &ignored) &&
            other.folder)
            return p->repo.id;
    } else if (f->name.quant &&
               !pick_files(p->repo.files, p->repo.n_files, str_c(f->name.quant), 0, &other, p->a,
                           &ignored) &&
               other.main == p->pick.main) {
        word = str_c(f->name.quant);
    }
    return arena_printf(p->a, "%.*s:%.*s", STR(p->repo.id), STR(word));
}

void precheck_write(const struct precheck *p, struct jsonw *w)
{
    jsonw_kstr(w, "model", p->repo.id);
    jsonw_kstr(w, "commit", p->repo.commit);
    jsonw_kstr(w, "name", precheck_name(p));
    jsonw_kbool(w, "gated", p->repo.gated);
    jsonw_kint(w, "bytes", (int64_t)p->pick.bytes);
    jsonw_kc(w, "chosen_because", p->pick.why);
    jsonw_key(w, "files");
    jsonw_arr(w);
    for (size_t i = 0; i < p->pick.n; i++) {
        const struct pick_file *f = &p->repo.files[p->pick.files[i]];

        jsonw_obj(w);
        jsonw_kstr(w, "path", f->path);
        jsonw_kint(w, "bytes", (int64_t)f->bytes);
        jsonw_end(w, '}');
    }
    jsonw_end(w, ']');
}
