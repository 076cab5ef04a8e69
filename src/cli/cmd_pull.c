/* cmd_pull: `rbee pull`: a model of the Hugging Face Hub into the store.
 *
 * In order: the list of files, the choice among them, the verdict from their headers, room on the
 * disk, then the files one after the other, the one that makes the model visible last. What to
 * print is decided here; what happens on the network and the disk, in store/download.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/os.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/human.h"
#include "cli/machines.h"
#include "store/precheck.h"
#include "store/store.h"

struct pull_opts {
    const char *model;
    bool force, dry_run, quiet, json;
    struct machines_conf how;
    int64_t connections, retries, stall_ms;
};

static const struct opt rows[] = {
    {"force", 'f', OPT_BOOL, offsetof(struct pull_opts, force), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "fetch also what cannot run here"},
    {"dry-run", 0, OPT_BOOL, offsetof(struct pull_opts, dry_run), NULL, NULL, NULL, 0, 0, NULL,
     NULL, "choose and judge, fetch no weights"},
    {"quiet", 'q', OPT_BOOL, offsetof(struct pull_opts, quiet), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print only progress, notes and errors"},
    {"json", 0, OPT_BOOL, offsetof(struct pull_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print what was chosen, judged and fetched as JSON in the end"},
    MACHINES_OPTS(struct pull_opts, how),
    {"connections", 0, OPT_INT, offsetof(struct pull_opts, connections), "N", "4", NULL, 1,
     LIMIT_PULL_STREAMS, "RBEE_PULL_CONNECTIONS", "pull_connections",
     "ranges of one file that come at once"},
    {"retries", 0, OPT_INT, offsetof(struct pull_opts, retries), "N", "8", NULL, 0, 1000,
     "RBEE_PULL_RETRIES", "pull_retries", "failures in a row before it gives up"},
    {"stall", 0, OPT_TIME, offsetof(struct pull_opts, stall_ms), "TIME", "30s", NULL, 1000, 3600000,
     "RBEE_PULL_STALL", "pull_stall", "begin a transfer anew after so long without a byte"},
    {0},
};

static const struct opt_pos pos[] = {
    {"MODEL", offsetof(struct pull_opts, model), true, false,
     "ORG/REPO, ORG/REPO:QUANT, ORG/REPO:FILE, or an address of the Hub"},
    {0},
};

static const struct opt_spec spec = {
    .opts = rows,
    .pos = pos,
    .command = "rbee pull",
    .summary = "Fetches a model from the Hugging Face Hub.",
    .details = "Without a QUANT or FILE it takes Q4_K_M, or the nearest to it that runs in this "
               "machine's memory. What cannot run here is refused before its weights are "
               "fetched. `rbee fit` says the same of every file. "
               "Interrupted, the same command goes on where it was. A token for gated models "
               "comes from HF_TOKEN or from the file that the Hub's own program keeps.",
    .examples = "rbee pull ggml-org/gemma-3-4b-it-GGUF\n"
                "rbee pull Qwen/Qwen3-8B-GGUF:Q8_0\n"
                "rbee pull hf.co/org/repo:folder/model-Q4_K_M.gguf",
};

/* ---- progress ---- */

struct show {
    atomic_bool *interrupted;
    bool terminal;
    char label[64];
    uint64_t before, all; /* bytes of the set: in files that are done, in all */
    int tenth;            /* last one that a line was printed for */
    bool drawn;
};

static bool on_stop(void *owner)
{
    struct show *s = owner;

    return atomic_load(s->interrupted);
}

static void time_left(double seconds, char out[32])
{
    long n = (long)seconds;

    if (seconds > 360000)
        snprintf(out, 32, "days left");
    else if (n >= 3600)
        snprintf(out, 32, "%ld h %02ld min left", n / 3600, n / 60 % 60);
    else if (n >= 60)
        snprintf(out, 32, "%ld min %02ld s left", n / 60, n % 60);
    else
        snprintf(out, 32, "%ld s left", n);
}

static void draw(struct show *s, const struct download_progress *p)
{
    char have[24], all[24], rate[24], left[32] = "", bar[24];
    uint64_t done = s->before + p->done;
    double part = s->all ? (double)done / (double)s->all : 1;
    size_t full = (size_t)(part * 20);

    memset(bar, ' ', sizeof bar);
    memset(bar, '=', full > 20 ? 20 : full);
    bar[20] = 0;
    if (p->rate > 0 && !p->checking) time_left((double)(s->all - done) / p->rate, left);
    fprintf(stderr, "\r\033[K%.24s [%s] %3.0f%% %s of %s", s->label, bar, 100 * part,
            cli_bytes(done, have), cli_bytes(s->all, all));
    if (p->checking)
        fprintf(stderr, ", checking");
    else if (p->rate > 0)
        fprintf(stderr, ", %s/s, %s", cli_bytes((uint64_t)p->rate, rate), left);
    fflush(stderr);
    s->drawn = true;
}

static void say(struct show *s, const struct download_progress *p)
{
    char have[24], all[24], rate[24], left[32] = "";
    uint64_t done = s->before + p->done;
    int tenth = s->all ? (int)((double)done / (double)s->all * 10) : 10;

    if (p->checking || tenth <= s->tenth) return;
    s->tenth = tenth;
    if (p->rate > 0) time_left((double)(s->all - done) / p->rate, left);
    fprintf(stderr, "%s: %d%%, %s of %s%s%s%s%s\n", s->label, tenth * 10, cli_bytes(done, have),
            cli_bytes(s->all, all), p->rate > 0 ? ", " : "",
            p->rate > 0 ? cli_bytes((uint64_t)p->rate, rate) : "", p->rate > 0 ? "/s, " : "", left);
}

static void on_progress(const struct download_progress *p, void *owner)
{
    struct show *s = owner;

    if (p->note) {
        fprintf(stderr, "%s%s\n", s->drawn ? "\r\033[K" : "", p->note);
        s->drawn = false;
    } else if (s->terminal) {
        draw(s, p);
    } else {
        say(s, p);
    }
}

static void end_bar(struct show *s)
{
    if (s->drawn) fputs("\r\033[K", stderr);
    s->drawn = false;
}

/* ---- steps ---- */

struct pull {
    struct pull_opts o;
    struct store store;
    struct arena a;
    struct remote_conf conf;
    struct pick_name name;
    struct machines here;
    const struct machine_device *on; /* NULL: its worker says nothing */
    struct verdict_ask ask;
    struct precheck check;
    struct verdict verdict;
    struct show show;
};

static enum err prepare(struct pull *p, struct err_info *e)
{
    enum err code;

    if ((code = pick_name(str_c(p->o.model), &p->name, e)) || (code = store_init(&p->store, e)) ||
        (code = remote_conf_init(&p->conf, &p->store, e)))
        return code;
    p->show = (struct show){.interrupted = client_catch_interrupt(), .terminal = isatty(2)};
    p->conf.net.n_streams = (uint32_t)p->o.connections;
    p->conf.net.retries = (uint32_t)p->o.retries;
    p->conf.net.stall_ms = (uint32_t)p->o.stall_ms;
    p->conf.net.stop = on_stop;
    p->conf.net.progress = on_progress;
    p->conf.net.owner = &p->show;
    p->ask = machines_verdict_ask(&p->o.how);
    return ERR_OK;
}

/* With --force also where there is no worker that could say what it runs. */
static enum err find_worker(struct pull *p, struct err_info *e)
{
    enum err code = machines_get(&p->here, &p->a,
                                 &(struct machines_ask){.threads = (uint32_t)p->o.how.threads}, e);

    if (!code) p->on = &p->here.machine[0].devices[0];
    if (code && !p->o.force) {
        char text[ERR_TEXT_MAX];

        snprintf(text, sizeof text, "%s", e->text);
        return err_fail(e, code, e->file, e->line,
                        "%s: nobody can say what runs here (--force fetches it anyway)", text);
    }
    return ERR_OK;
}

static void say_choice(struct pull *p)
{
    const struct precheck *c = &p->check;
    const struct pick_file *f = &c->repo.files[c->pick.main];
    char size[24];

    if (c->pick.folder)
        printf("%.*s, %s: %s\n", STR(c->repo.id), cli_bytes(c->pick.bytes, size), c->pick.why);
    else
        printf("%.*s: %.*s%s, %s: %s\n", STR(c->repo.id), STR(f->path),
               c->pick.n > 1 ? " and its other parts" : "", cli_bytes(c->pick.bytes, size),
               c->pick.why);
    fflush(stdout);
}

static enum err choose(struct pull *p, struct err_info *e)
{
    enum err code = precheck_open(&p->check, &p->a, &p->conf, &p->name, e);

    if (code) return code;
    if (p->on)
        code = precheck_choose(&p->check, p->name.want, p->on, &p->ask, &p->verdict, e);
    else
        code = precheck_pick(&p->check, p->name.want, NULL, e);
    if (!code && !p->o.quiet) say_choice(p);
    return code;
}

static void say_verdict(const struct pull *p)
{
    const struct verdict *v = &p->verdict;
    char total[24], weights[24], kv[24], rate[HUMAN_TEXT], speed[64] = "";

    if (v->decode > 0)
        snprintf(speed, sizeof speed, ", about %s tokens/s", human_rate(v->decode, rate));
    printf("It runs here: %.*s%s%s (sure: %s).\n", STR(v->arch),
           v->fits ? "" : ", with less than a worker takes by itself", speed,
           verdict_confidence_name(v->confidence));
    if (v->cache_known)
        printf("Memory: %s (%s of weights, %s of cache for %u sequences of %u).\n",
               cli_bytes(v->memory.total, total), cli_bytes(v->memory.weights, weights),
               cli_bytes(v->memory.kv, kv), v->n_slots, v->n_ctx);
    for (uint32_t i = 0; !v->fits && i < v->recommendations.n; i++)
        printf("Note: %.*s.\n", STR(v->recommendations.line[i]));
    if (p->on->device.memory && v->memory_known && v->memory.total > p->on->device.memory)
        printf("Note: %s of memory are available now.\n", cli_bytes(p->on->device.memory, total));
    for (uint32_t i = 0; i < v->warnings.n; i++)
        printf("Note: %.*s.\n", STR(v->warnings.line[i]));
}

static enum err judge(struct pull *p, struct err_info *e)
{
    const struct verdict *v = &p->verdict;
    const struct remote *r = &p->check.remote;
    str why = v->reasons.n ? v->reasons.line[0] : S("nobody says why");
    str advice = v->recommendations.n ? v->recommendations.line[0] : S("");
    enum err code = r->refused ? r->refused : v->compatible ? ERR_NOMEM : ERR_UNSUPPORTED;

    if (!p->on) return ERR_OK;
    if (precheck_runs(v, &p->ask)) {
        if (!p->o.quiet) say_verdict(p);
    } else if (!p->o.force) {
        return err_fail(e, code, __FILE__, __LINE__,
                        "%.*s cannot run here: %.*s%s%.*s (--force fetches it anyway)",
                        STR(p->check.repo.id), STR(why), advice.n ? "; " : "", STR(advice));
    } else if (!p->o.quiet) {
        printf("It cannot run here: %.*s\nFetching it anyway.\n", STR(why));
    }
    fflush(stdout);
    return ERR_OK;
}

static enum err job_of(struct pull *p, size_t i, struct download_job *job, struct err_info *e)
{
    const struct pick_file *f = &p->check.repo.files[p->check.pick.files[i]];
    char path[STORE_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%.*s/%.*s", p->store.own, STR(p->check.repo.id),
                     STR(f->path));

    if (n <= 0 || n >= STORE_PATH_MAX - 64)
        return ERR_FAIL(e, INVALID, "the path of the model folder is too long");
    *job = (struct download_job){
        .path = arena_str(&p->a, str_c(path)).p,
        .url = hubapi_url(&p->check.repo, &p->a, p->conf.endpoint, f->path),
        .bytes = f->bytes,
        .digest = f->digest,
    };
    return job->path && job->url ? ERR_OK : ERR_FAIL(e, NOMEM, "no memory for a file's names");
}

/* All files together, before the first of them. */
static enum err check_room(struct pull *p, struct err_info *e)
{
    struct download_job job;
    struct statvfs v;
    uint64_t need = 0, have;
    enum err code;

    if ((code = os_mkdirs(p->store.own, e))) return code;
    for (size_t i = 0; i < p->check.pick.n; i++) {
        if ((code = job_of(p, i, &job, e))) return code;
        need += download_missing(&job);
    }
    if (statvfs(p->store.own, &v) < 0) return err_errno(e, errno, "look at", p->store.own);
    have = (uint64_t)v.f_bavail * v.f_frsize;
    if (need <= have) return ERR_OK;
    return ERR_FAIL(e, NOSPACE,
                    "%s has %llu bytes free and %llu are needed: %llu short; make room or name a "
                    "folder on another disk with RBEE_MODELS",
                    p->store.own, (unsigned long long)have, (unsigned long long)need,
                    (unsigned long long)(need - have));
}

static enum err fetch_one(struct pull *p, size_t i, struct err_info *e)
{
    struct download_job job;
    char dir[STORE_PATH_MAX];
    char *slash;
    enum err code;

    if ((code = job_of(p, i, &job, e))) return code;
    snprintf(dir, sizeof dir, "%s", job.path);
    slash = strrchr(dir, '/');
    *slash = 0;
    snprintf(p->show.label, sizeof p->show.label, "%s", job.path + (slash - dir) + 1);
    if ((code = os_mkdirs(dir, e)) || (code = download_file(&p->conf.net, &job, e))) return code;
    p->show.before += job.bytes;
    return ERR_OK;
}

static enum err fetch_all(struct pull *p, struct err_info *e)
{
    enum err code = ERR_OK;

    p->show.all = p->check.pick.bytes;
    for (size_t i = 0; i < p->check.pick.n && !code; i++)
        code = fetch_one(p, i, e);
    end_bar(&p->show);
    if (code || p->o.quiet) return code;
    if (p->on && !precheck_runs(&p->verdict, &p->ask))
        printf("Here and checked; it does not run here.\n");
    else
        printf("Here and checked. Use it: rbee run %.*s\n", STR(precheck_name(&p->check)));
    return code;
}

static void say_json(const struct pull *p, bool fetched)
{
    buf out = {.cap = LIMIT_HTTP_REPLY};
    struct jsonw w;

    jsonw_init(&w, &out);
    jsonw_obj(&w);
    precheck_write(&p->check, &w);
    jsonw_kc(&w, "store", p->store.own);
    jsonw_key(&w, "verdict");
    if (p->on)
        verdict_write(&p->verdict, &w);
    else
        jsonw_null(&w);
    jsonw_kbool(&w, "fetched", fetched);
    jsonw_end(&w, '}');
    buf_ch(&out, '\n');
    fwrite(out.p, 1, out.n, stdout);
    buf_fini(&out);
}

static enum err pull(struct pull *p, struct err_info *e)
{
    enum err code;

    p->o.quiet |= p->o.json;
    if ((code = prepare(p, e)) || (code = find_worker(p, e)) || (code = choose(p, e))) return code;
    code = judge(p, e);
    if (!code) code = check_room(p, e);
    if (!code && !p->o.dry_run) code = fetch_all(p, e);
    if (p->o.json) say_json(p, !code && !p->o.dry_run);
    return code;
}

static enum err run(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    static struct pull p;
    bool help;
    enum err code;

    if ((code = cli_parse(cmd, argc, argv, &p.o, &help, e)) || help) return code;
    arena_init(&p.a, GIB(2));
    code = pull(&p, e);
    precheck_close(&p.check);
    arena_fini(&p.a);
    return code;
}

const struct cli_cmd cmd_pull = {
    .name = "pull",
    .group = "Find models",
    .summary = "fetch a model from the Hugging Face Hub",
    .spec = &spec,
    .run = run,
};
