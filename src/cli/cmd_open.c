/* cmd_open: `rbee open`: what an rbee:// link asks for, judged and said before anything is done.
 *
 * A link comes from a page that anybody may have written, so it decides nothing: it is read whole
 * or refused (model/link), its worker must exist, the model is judged by its header as `rbee fit`
 * and `rbee pull` judge it, and what would come to the disk is shown. Only then, after a yes, `rbee
 * pull` is given the file that was shown. A link can name no other hub, no folder and no option.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "cli/cli.h"
#include "cli/human.h"
#include "cli/machines.h"
#include "cli/table.h"
#include "model/link.h"
#include "store/precheck.h"

struct open_opts {
    const char *link;
    struct machines_conf how;
    bool yes, dry_run, json;
};

static const struct opt rows[] = {
    {"yes", 'y', OPT_BOOL, offsetof(struct open_opts, yes), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "install without asking"},
    {"dry-run", 0, OPT_BOOL, offsetof(struct open_opts, dry_run), NULL, NULL, NULL, 0, 0, NULL,
     NULL, "say what would be installed, ask and install nothing"},
    {"json", 0, OPT_BOOL, offsetof(struct open_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print as JSON; asks nothing, and installs only with --yes"},
    MACHINES_OPTS(struct open_opts, how),
    {0},
};

static const struct opt_pos pos[] = {
    {"URL", offsetof(struct open_opts, link), true, false,
     "rbee://model?id=ORG/REPO or rbee://install/model?id=ORG/REPO&worker=WORKER"},
    {0},
};

static const struct opt_spec spec = {
    .opts = rows,
    .pos = pos,
    .command = "rbee open",
    .summary = "Opens an rbee:// link: says what it asks for, and installs it after a yes.",
    .details =
        "rbee://model only shows a model. rbee://install/model shows what would be fetched, how "
        "much "
        "memory it needs and whether it runs here, and asks. An id may name a quantisation or a "
        "file "
        "too (ORG/REPO:Q4_K_M). A link that is not one of the two forms, or whose model or worker "
        "cannot run here, changes nothing.",
    .examples = "rbee open 'rbee://model?id=Qwen/Qwen3-8B-GGUF'\n"
                "rbee open 'rbee://install/model?id=Qwen/Qwen3-8B-GGUF:Q4_K_M&worker=cpu'\n"
                "rbee open --yes 'rbee://install/model?id=ggml-org/gemma-3-4b-it-GGUF'",
};

struct opening {
    struct open_opts o;
    struct arena a;
    struct link link;
    struct store store;
    struct remote_conf hub;
    struct machines here_is;
    const struct machine_device *on; /* the one that is meant */
    struct verdict_ask ask;
    struct precheck check;
    struct verdict verdict;
    bool here;      /* every file lies in the store with its size */
    bool installed; /* by this command */
    str name;       /* what `rbee pull` and `rbee run` call it */
};

/* ---- looking ---- */

/* A hub that asks for patience should not look like one that hangs. */
static void on_note(const struct download_progress *p, void *owner)
{
    (void)owner;
    if (p->note) fprintf(stderr, "%s\n", p->note);
}

static bool is_worker(const struct machine_device *d, str name)
{
    return !name.n || str_eq(d->worker, name) || str_eq(d->backend, name) || str_eq(d->id, name);
}

/* A link may not decide that a worker should be there. */
static enum err find_worker(struct opening *x, struct err_info *e)
{
    const struct machine *m;
    char list[256] = "";
    size_t used = 0;
    enum err code = machines_get(&x->here_is, &x->a,
                                 &(struct machines_ask){.threads = (uint32_t)x->o.how.threads}, e);

    if (code) return code;
    m = &x->here_is.machine[0];
    for (size_t i = 0; i < m->n; i++) {
        const struct machine_device *d = &m->devices[i];

        if (is_worker(d, x->link.worker)) {
            x->on = d;
            return ERR_OK;
        }
        if (used + 100 < sizeof list)
            used +=
                (size_t)snprintf(list + used, sizeof list - used, "%s%.*s (%.*s)", used ? ", " : "",
                                 STR(str_sub(d->worker, 0, 60)), STR(str_sub(d->backend, 0, 20)));
    }
    return ERR_FAIL(e, NOTFOUND,
                    "the link asks for the worker '%.*s', which is not here; here is: %s",
                    STR(x->link.worker), list);
}

static bool is_here(const struct opening *x)
{
    char path[STORE_PATH_MAX];
    struct stat st;

    for (size_t i = 0; i < x->check.pick.n; i++) {
        const struct pick_file *f = &x->check.repo.files[x->check.pick.files[i]];
        int n = snprintf(path, sizeof path, "%s/%.*s/%.*s", x->store.own, STR(x->check.repo.id),
                         STR(f->path));

        if (n <= 0 || n >= (int)sizeof path || stat(path, &st) || !S_ISREG(st.st_mode) ||
            (uint64_t)st.st_size != f->bytes)
            return false;
    }
    return true;
}

static enum err judge(struct opening *x, struct err_info *e)
{
    const struct pick_name name = {.id = x->link.id, .want = x->link.want};
    enum err code;

    x->hub.net.progress = on_note;
    x->ask = machines_verdict_ask(&x->o.how);
    if ((code = precheck_open(&x->check, &x->a, &x->hub, &name, e)) ||
        (code = precheck_choose(&x->check, x->link.want, x->on, &x->ask, &x->verdict, e)))
        return code;
    x->here = is_here(x);
    x->name = precheck_name(&x->check);
    return x->name.p ? ERR_OK : ERR_FAIL(e, NOMEM, "no memory for the name of the model");
}

static bool runs(const struct opening *x)
{
    return precheck_runs(&x->verdict, &x->ask);
}

/* ---- saying ---- */

static void say_file(struct opening *x, const struct table_look *l, buf *out)
{
    str path = table_clean(&x->a, x->check.repo.files[x->check.pick.main].path);
    char size[24];

    if (x->check.pick.folder)
        path = arena_printf(&x->a, "%zu files: %s", x->check.pick.n, x->check.pick.why);
    else
        path = arena_printf(&x->a, "%.*s%s, %s", STR(path),
                            x->check.pick.n > 1 ? " and its other parts" : "", x->check.pick.why);
    table_fact(l, "file", TABLE_PLAIN, path, out);
    table_fact(l, "size", TABLE_PLAIN,
               arena_printf(&x->a,
                            x->here ? "%s, here already, in %s" : "%s, to be fetched into %s",
                            cli_bytes(x->check.pick.bytes, size), x->store.own),
               out);
}

static void say_memory(struct opening *x, const struct table_look *l, buf *out)
{
    const struct verdict *v = &x->verdict;
    char total[24], weights[24], kv[24], compute[24], have[24], ctx[HUMAN_TEXT];

    if (!v->memory_known) return;
    cli_bytes(v->memory.total, total);
    cli_bytes(v->memory.weights, weights);
    cli_bytes(x->on->device.memory, have);
    if (!v->cache_known)
        table_fact(l, "memory", TABLE_PLAIN,
                   arena_printf(&x->a, "%s for its weights; %s available", total, have), out);
    else
        table_fact(l, "memory", TABLE_PLAIN,
                   arena_printf(
                       &x->a,
                       "%s: weights %s, cache %s for %u sequences of %s positions, work %s; "
                       "%s available",
                       total, weights, cli_bytes(v->memory.kv, kv), v->n_slots,
                       human_positions(v->n_ctx, ctx), cli_bytes(v->memory.compute, compute), have),
                   out);
}

static void say_lines(const struct table_look *l, const char *label, enum table_tone tone,
                      const struct verdict_lines *lines, struct arena *a, buf *out)
{
    for (uint32_t i = 0; i < lines->n; i++)
        table_fact(l, label, tone, table_clean(a, lines->line[i]), out);
}

static void say_verdict(struct opening *x, const struct table_look *l, buf *out)
{
    const struct verdict *v = &x->verdict;
    char rate[HUMAN_TEXT];
    str word = !v->compatible ? S("does not run here")
               : !runs(x)     ? S("too large for this machine")
               : v->fits      ? S("runs here")
                              : S("runs here, with less than a worker takes by itself");

    if (runs(x) && v->decode > 0)
        word =
            arena_printf(&x->a, "%.*s, about %s tokens/s", STR(word), human_rate(v->decode, rate));
    table_fact(l, "verdict", runs(x) ? TABLE_GOOD : TABLE_BAD, word, out);
    say_lines(l, "because", TABLE_PLAIN, &v->reasons, &x->a, out);
    if (v->compatible)
        table_fact(l, "sure", TABLE_PLAIN,
                   arena_printf(&x->a, "%s: %.*s", verdict_confidence_name(v->confidence),
                                STR(v->evidence)),
                   out);
    say_lines(l, "note", TABLE_WARN, &v->warnings, &x->a, out);
    say_lines(l, "instead", TABLE_PLAIN, &v->recommendations, &x->a, out);
}

static void say(struct opening *x)
{
    const struct verdict *v = &x->verdict;
    struct table_look l;
    buf out = {.cap = MIB(1)};
    str model = x->check.repo.id;

    table_look_of(&l, 1);
    if (v->arch.n || v->quant.n)
        model = arena_printf(&x->a, "%.*s (%.*s%s%.*s)", STR(x->check.repo.id),
                             STR(table_clean(&x->a, v->arch)), v->arch.n && v->quant.n ? ", " : "",
                             STR(table_clean(&x->a, v->quant)));
    table_fact(&l, "model", TABLE_HEAD, model, &out);
    say_file(x, &l, &out);
    table_fact(&l, "worker", TABLE_PLAIN, x->on->worker, &out);
    say_memory(x, &l, &out);
    say_verdict(x, &l, &out);
    fwrite(out.p, 1, out.n, stdout);
    fflush(stdout);
    buf_fini(&out);
}

static void say_json(const struct opening *x)
{
    buf out = {.cap = LIMIT_HTTP_REPLY}, link = {.cap = 4 * LIMIT_LINK};
    struct jsonw w;

    link_write(&x->link, &link);
    jsonw_init(&w, &out);
    jsonw_obj(&w);
    jsonw_kstr(&w, "link", buf_view(&link));
    jsonw_kc(&w, "action", link_action_name(x->link.action));
    precheck_write(&x->check, &w);
    jsonw_kstr(&w, "worker", x->on->worker);
    jsonw_kstr(&w, "machine", x->on->device.name);
    jsonw_kint(&w, "available", (int64_t)x->on->device.memory);
    jsonw_kbool(&w, "runs", runs(x));
    jsonw_key(&w, "verdict");
    verdict_write(&x->verdict, &w);
    jsonw_kbool(&w, "here", x->here || x->installed);
    jsonw_kbool(&w, "installed", x->installed);
    jsonw_end(&w, '}');
    buf_ch(&out, '\n');
    fwrite(out.p, 1, out.n, stdout);
    buf_fini(&link);
    buf_fini(&out);
}

/* ---- doing ---- */

/* Why was said above; in JSON it is in the verdict. */
static enum err refuse(const struct opening *x, struct err_info *e)
{
    const char *what = x->link.action == LINK_INSTALL ? "nothing was installed: " : "";
    unsigned long long bytes = x->verdict.short_by;
    enum err code = x->check.remote.refused ? x->check.remote.refused : ERR_UNSUPPORTED;

    if (x->verdict.compatible)
        return ERR_FAIL(e, NOMEM, "%s%.*s is %llu bytes too large for this machine", what,
                        STR(x->name), bytes);
    return err_fail(e, code, __FILE__, __LINE__, "%s%.*s does not run here", what, STR(x->name));
}

/* False: no, in whatever form. */
static bool answered_yes(void)
{
    char line[64] = "";

    fputs("Install it? [y/N] ", stdout);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) {
        putchar('\n');
        return false;
    }
    line[strcspn(line, "\r\n")] = 0;
    return str_ieq(str_trim(str_c(line)), S("y")) || str_ieq(str_trim(str_c(line)), S("yes"));
}

static enum err ask(const struct opening *x, struct err_info *e)
{
    if (x->o.yes) return ERR_OK;
    if (!isatty(0) || !isatty(1))
        return ERR_FAIL(e, INVALID,
                        "nothing was installed: there is no terminal to ask on; `rbee open --yes` "
                        "installs without asking");
    return answered_yes() ? ERR_OK : ERR_FAIL(e, CANCELLED, "nothing was installed");
}

/* As it was judged, and without saying again what was shown. */
static enum err pull(struct opening *x, struct err_info *e)
{
    const struct machines_conf *how = &x->o.how;
    char command[] = "pull", quiet[] = "--quiet", dashes[] = "--";
    char context[48], slots[48], threads[48], kv[48];
    char *argv[] = {command, quiet, context, slots, threads, kv, dashes, NULL, NULL};
    enum err code;

    snprintf(context, sizeof context, "--context=%lld", (long long)how->context);
    snprintf(slots, sizeof slots, "--slots=%lld", (long long)how->slots);
    snprintf(threads, sizeof threads, "--threads=%lld", (long long)how->threads);
    snprintf(kv, sizeof kv, "--kv-type=%s", how->kv_type);
    argv[7] = (char *)(uintptr_t)x->name.p;
    fflush(stdout);
    if ((code = cmd_pull.run(&cmd_pull, 8, argv, e))) return code;
    x->installed = true;
    if (!x->o.json) printf("Installed and checked. Use it: rbee run %.*s\n", STR(x->name));
    return ERR_OK;
}

static enum err install(struct opening *x, struct err_info *e)
{
    enum err code;

    if (!runs(x)) return refuse(x, e);
    if (x->o.dry_run || (x->o.json && !x->o.yes)) return ERR_OK;
    if (x->here) {
        if (!x->o.json) printf("It is here. Use it: rbee run %.*s\n", STR(x->name));
        return ERR_OK;
    }
    if ((code = ask(x, e))) return code;
    return pull(x, e);
}

static enum err open_link(struct opening *x, struct err_info *e)
{
    enum err code;

    if ((code = link_parse(&x->link, &x->a, str_c(x->o.link), e)) ||
        (code = store_init(&x->store, e)) || (code = remote_conf_init(&x->hub, &x->store, e)) ||
        (code = find_worker(x, e)) || (code = judge(x, e)))
        return code;
    if (!x->o.json) say(x);
    if (x->link.action == LINK_INSTALL)
        code = install(x, e);
    else if (!runs(x))
        code = refuse(x, e);
    else if (!x->o.json)
        printf(x->here ? "Use it: rbee run %.*s\n" : "Fetch it: rbee pull %.*s\n", STR(x->name));
    if (x->o.json) say_json(x);
    return code;
}

static enum err run(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    static struct opening x;
    bool help;
    enum err code;

    if ((code = cli_parse(cmd, argc, argv, &x.o, &help, e)) || help) return code;
    arena_init(&x.a, GIB(2));
    code = open_link(&x, e);
    precheck_close(&x.check);
    arena_fini(&x.a);
    return code;
}

const struct cli_cmd cmd_open = {
    .name = "open",
    .group = "Find models",
    .summary = "open an rbee:// link: judge what it asks for, then install it",
    .spec = &spec,
    .run = run,
};
