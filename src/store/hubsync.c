/* hubsync: the walks. See hubsync.h.
 *
 * A walk is a chain of stages, each a sorting of the list: its name is kept with the address of the
 * next page. Entries that cannot be read are counted and passed over: one author's odd field must
 * not keep a catalogue from its end.
 */
#include "store/hubsync.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/os.h"
#include "model/hub.h"
#include "store/hubsync_int.h"

#define PAGE         500 /* models; ten times that is an answer that servers give up on */
#define DAY          86400
#define WHOLE_DAYS   7
#define RESUME_DAYS  7
#define OVERLAP_S    900 /* clocks differ, and lists are behind what they list */
#define RECENT_LEAST 4   /* pages of a recent walk before it may give way to a whole one */
#define PAGES_MOST   20000
#define TREE_CAP     GIB(2)

/* ---- stages ---- */

enum stage_id { WHOLE, WHOLE_ALL, WHOLE_TREND, RECENT, RECENT_TREND, STAGES };

static const struct stage {
    const char *name, *sort;
    bool whole;
} stages[STAGES] = {
    [WHOLE] = {"whole", "downloads", true},
    /* All of them: an order that does not move while it is gone through. */
    [WHOLE_ALL] = {"whole all", "createdAt", true},
    [WHOLE_TREND] = {"whole trending", "trendingScore", true},
    [RECENT] = {"recent", "lastModified", false},
    [RECENT_TREND] = {"recent trending", "trendingScore", false},
};

static int stage_of(str name)
{
    for (int i = 0; i < STAGES; i++)
        if (str_eqc(name, stages[i].name)) return i;
    return -1;
}

struct sync {
    struct modeldb *db;
    const struct hubsync_conf *c;
    struct hubsync_done *done;
    struct hubsync_http http;
    struct hubsync_answer answer;
    struct arena a, tree; /* of the run, of a page */
    buf page;
    const struct json *list; /* the page */
    struct modeldb_sync state;
    int stage;
    bool short_fields; /* the hub refused expand[] */
    bool other_hub;    /* than the one whose list is here */
    uint64_t before;   /* models of the list when the run began */
    uint32_t pages;    /* of this stage */
    uint64_t began_ns;
};

/* ---- addresses ---- */

static enum err first_page(struct sync *s, char out[DOWNLOAD_URL_MAX], struct err_info *e)
{
    static const char *const fields[] = {
        "author",        "createdAt", "lastModified", "downloads",    "likes",
        "trendingScore", "gated",     "private",      "disabled",     "tags",
        "siblings",      "sha",       "pipeline_tag", "library_name", "usedStorage",
    };
    bool gguf = strcmp(s->c->list, "gguf") == 0;
    buf url = {.cap = DOWNLOAD_URL_MAX - 1};
    enum err err = ERR_OK;

    buf_printf(&url, "%s/api/models?filter=%s&sort=%s&direction=-1&limit=%d", s->c->http->endpoint,
               s->c->list, stages[s->stage].sort, PAGE);
    for (size_t i = 0; !s->short_fields && i < sizeof fields / sizeof *fields; i++)
        buf_printf(&url, "&expand%%5B%%5D=%s", fields[i]);
    /* What the files themselves say; config.json of GGUF repositories is mostly absent. */
    buf_c(&url, s->short_fields ? "&full=true&config=true"
                : gguf          ? "&expand%5B%5D=gguf"
                                : "&expand%5B%5D=safetensors&expand%5B%5D=config");
    if (url.failed)
        err = ERR_FAIL(e, NOMEM, "no memory for the address of the hub's list");
    else
        snprintf(out, DOWNLOAD_URL_MAX, "%s", url.p);
    buf_fini(&url);
    return err;
}

/* ---- a page ---- */

static void report(struct sync *s, const char *note)
{
    double seconds = (double)(os_now_ns() - s->began_ns) / 1e9;
    struct hubsync_progress p = {.list = s->c->list,
                                 .whole = stages[s->stage].whole,
                                 .seen = s->state.seen,
                                 .want = stages[s->stage].whole ? s->c->want : 0,
                                 .bytes = s->done->bytes,
                                 .rate = seconds > 0 ? (double)s->done->seen / seconds : 0,
                                 .note = note};

    s->c->progress(&p, s->c->owner);
}

static void on_note(void *owner, const char *text)
{
    report(owner, text);
}

/* The body as a list; the tree stays for take_page(). */
static enum err read_page(void *owner, str body, struct err_info *e)
{
    struct sync *s = owner;
    struct err_info why;
    enum err err;

    arena_clear(&s->tree);
    s->list = NULL;
    if ((err = json_parse(&s->tree, body, &s->list, &why)))
        return err_fail(e, err, why.file, why.line, "the hub's list of models: %s", why.text);
    if (s->list->type == JSON_ARR) return ERR_OK;
    return ERR_FAIL(e, FORMAT, "the hub's list of models is %s and not a list",
                    json_type_name(s->list->type));
}

static void note_bad(struct sync *s, const struct json *v, const struct err_info *e)
{
    str id = json_str(json_get(v, "id"), S("an entry without a name"));
    struct err_info line; /* an error keeps no control characters */

    if (s->stage == WHOLE_TREND || s->stage == RECENT_TREND) return; /* it was met before */
    if (s->done->bad++) return;
    (void)err_fail(&line, e->code, e->file, e->line, "%.*s: %.100s", STR(str_sub(id, 0, 80)),
                   e->text);
    snprintf(s->done->why, sizeof s->done->why, "%.199s", line.text);
}

/* What a recent walk has enough of: everything at and behind it is older than the last walk. */
static bool is_old(const struct sync *s, int64_t updated)
{
    return s->stage == RECENT && updated && updated < s->state.mark;
}

static enum err take_entry(struct sync *s, const struct json *v, struct hub_model *m,
                           struct err_info *e)
{
    struct modeldb_put put = {.v = v, .scope = s->c->list, .pass = s->state.pass};
    enum modeldb_change change;
    struct err_info why;
    enum err err;

    if (hub_parse(m, &s->tree, v, &why)) {
        note_bad(s, v, &why);
        return ERR_OK;
    }
    /* Of what changed, a catalogue of the most downloaded takes what is among them. */
    put.only_there = s->stage == RECENT && s->c->want && m->downloads < s->state.least;
    err = modeldb_put_as(s->db, &put, &change, &why);
    if (err == ERR_FORMAT || err == ERR_INVALID || err == ERR_LIMIT) {
        note_bad(s, v, &why);
        return ERR_OK;
    }
    if (err) {
        *e = why;
        return err;
    }
    s->done->added += change == MODELDB_ADDED;
    s->done->changed += change == MODELDB_CHANGED;
    return ERR_OK;
}

/* *enough: the stage is at its end. */
static enum err take_entries(struct sync *s, bool *enough, struct err_info *e)
{
    const struct json *list = s->list;
    struct hub_model m = {0};
    enum err err = ERR_OK;

    *enough = list->n == 0 || s->stage == WHOLE_TREND || s->stage == RECENT_TREND;
    for (size_t i = 0; i < list->n && !err; i++) {
        if (s->stage == WHOLE && s->state.seen >= s->c->want) break;
        m = (struct hub_model){0};
        err = take_entry(s, &list->items[i], &m, e);
        s->state.seen += s->stage != WHOLE_TREND && s->stage != RECENT_TREND;
        s->done->seen++;
        if (s->stage == WHOLE && m.id.n) s->state.least = m.downloads;
        if (is_old(s, m.updated)) *enough = true;
    }
    if (s->stage == WHOLE && s->state.seen >= s->c->want) *enough = true;
    return err;
}

/* Somebody else's walk on the same list moves the same state. */
static enum err still_ours(struct sync *s, struct err_info *e)
{
    struct modeldb_sync now;
    enum err err = modeldb_sync_get(s->db, s->state.scope, &s->tree, &now, e);

    if (err || (now.pass == s->state.pass && str_eq(now.next, s->state.next) &&
                str_eq(now.kind, s->state.kind)))
        return err;
    return ERR_FAIL(e, EXISTS, "another process synchronises the list '%s'; let it end",
                    s->c->list);
}

/* ---- from stage to stage ---- */

static enum err go_to(struct sync *s, int stage, struct err_info *e)
{
    char url[DOWNLOAD_URL_MAX];
    enum err err;

    s->stage = stage;
    s->pages = 0;
    if ((err = first_page(s, url, e))) return err;
    s->state.kind = str_c(stages[stage].name);
    s->state.next = arena_str(&s->a, str_c(url));
    return s->state.next.p ? ERR_OK : ERR_FAIL(e, NOMEM, "no memory for an address");
}

static enum err begin_walk(struct sync *s, bool whole, struct err_info *e)
{
    s->state.seen = 0;
    s->state.started = os_unix_time();
    s->state.mark_next = 0;
    s->state.endpoint = str_c(s->c->http->endpoint);
    if (whole) {
        s->state.pass++;
        s->state.want = s->c->want;
        s->state.least = 0;
    }
    s->done->whole = whole;
    return go_to(s, !whole ? RECENT : s->c->want ? WHOLE : WHOLE_ALL, e);
}

/* A list that broke off or came empty must not empty the catalogue. */
static bool too_short(const struct sync *s)
{
    bool enough = s->c->want && s->state.seen >= s->c->want;

    return !enough && !s->other_hub && s->state.seen < s->before / 2;
}

static enum err end_walk(struct sync *s, struct err_info *e)
{
    int64_t now = os_unix_time();
    uint64_t removed;
    enum err err = ERR_OK;

    s->state.next = s->state.kind = S("");
    s->state.mark = s->state.mark_next;
    s->state.updated = now;
    if (!stages[s->stage].whole) return ERR_OK;
    if (too_short(s)) {
        char text[200];

        snprintf(text, sizeof text,
                 "the hub lists %llu models where there were %llu: none is taken out",
                 (unsigned long long)s->state.seen, (unsigned long long)s->before);
        report(s, text);
        return ERR_OK;
    }
    s->state.whole = now;
    err = modeldb_sync_sweep(s->db, s->state.scope, s->state.pass, &removed, e);
    if (!err) s->done->removed += removed;
    return err;
}

/* A recent walk that costs as much as a whole one. */
static bool too_long(const struct sync *s)
{
    uint64_t most = s->c->want ? s->c->want / PAGE / 2 : PAGES_MOST / 10;

    return s->stage == RECENT && s->pages >= (most > RECENT_LEAST ? most : RECENT_LEAST);
}

static enum err next_page(struct sync *s, bool enough, struct err_info *e)
{
    if (too_long(s) && !enough) {
        report(s, "much has changed: the list is gone through from its start");
        return begin_walk(s, true, e);
    }
    if (!enough && s->answer.next[0] && s->pages < PAGES_MOST &&
        !str_eqc(s->state.next, s->answer.next)) {
        s->state.next = arena_str(&s->a, str_c(s->answer.next));
        return s->state.next.p ? ERR_OK : ERR_FAIL(e, NOMEM, "no memory for an address");
    }
    if (s->stage == WHOLE && s->state.seen < s->c->want) s->state.least = 0; /* that was all */
    if (s->stage == WHOLE) return go_to(s, WHOLE_TREND, e);
    if (s->stage == RECENT) return go_to(s, RECENT_TREND, e);
    return end_walk(s, e);
}

/* A page, what it changes and where it leads, as one. */
static enum err take_page(struct sync *s, struct err_info *e)
{
    struct modeldb_sync before = s->state;
    struct hubsync_done was = *s->done;
    int stage = s->stage;
    bool enough;
    enum err err;

    if (!s->state.mark_next)
        s->state.mark_next = (s->answer.date ? s->answer.date : os_unix_time()) - OVERLAP_S;
    if ((err = modeldb_begin(s->db, e))) return err;
    s->pages++;
    before.mark_next = s->state.mark_next;
    if ((err = still_ours(s, e)) || (err = take_entries(s, &enough, e)) ||
        (err = next_page(s, enough, e)) || (err = modeldb_sync_put(s->db, &s->state, e)) ||
        (err = modeldb_commit(s->db, e))) {
        modeldb_rollback(s->db);
        s->state = before;
        s->stage = stage;
        *s->done = was;
    }
    return err;
}

/* ---- the run ---- */

/* The hub does not know the place where we were, or a field that we ask for. */
static enum err refused(struct sync *s, bool first, enum err err, struct err_info *e)
{
    if (s->answer.status != 400 || !first || s->short_fields) return err;
    if (s->done->resumed) {
        s->done->resumed = false;
        report(s, "the hub does not know where the list was left: it is begun again");
    } else {
        s->short_fields = true;
    }
    if ((err = begin_walk(s, true, e))) return err;
    return modeldb_sync_put(s->db, &s->state, e);
}

static enum err walk(struct sync *s, struct err_info *e)
{
    bool first = true;
    enum err err = ERR_OK;

    while (!err && s->state.next.n) {
        err = hubsync_http_get(&s->http, s->state.next.p, read_page, &s->page, &s->answer, e);
        s->done->requests++;
        s->done->bytes += s->answer.bytes;
        if (err) {
            if ((err = refused(s, first, err, e))) return err;
            continue;
        }
        first = false;
        err = take_page(s, e);
        if (!err) report(s, NULL);
    }
    return err;
}

/* Goes on where the last run ended, or chooses the walk. */
static enum err choose(struct sync *s, struct err_info *e)
{
    const struct modeldb_sync *x = &s->state;
    int64_t now = os_unix_time();
    bool same = str_eqc(x->endpoint, s->c->http->endpoint) && x->want == s->c->want;
    int stage = stage_of(x->kind);
    enum err err;

    s->stage = stage >= 0 ? stage : WHOLE;
    s->other_hub = x->endpoint.n && !str_eqc(x->endpoint, s->c->http->endpoint);
    if (same && stage >= 0 && x->next.n && now - x->started < RESUME_DAYS * DAY &&
        (stages[stage].whole || !s->c->whole)) {
        s->done->resumed = true;
        s->done->whole = stages[stage].whole;
        return ERR_OK;
    }
    err = begin_walk(s, !same || s->c->whole || !x->whole || now - x->whole > WHOLE_DAYS * DAY, e);
    return err ? err : modeldb_sync_put(s->db, &s->state, e);
}

static enum err count_before(struct sync *s, struct err_info *e)
{
    struct modeldb_status st;
    enum err err = modeldb_status(s->db, &s->a, &st, e);

    for (size_t i = 0; !err && i < st.n_scopes; i++)
        if (str_eqc(st.scopes[i].scope, s->c->list)) s->before = st.scopes[i].models;
    return err;
}

enum err hubsync_run(struct modeldb *db, const struct hubsync_conf *c, struct hubsync_done *done,
                     struct err_info *e)
{
    struct sync s = {.db = db, .c = c, .done = done, .began_ns = os_now_ns()};
    enum err err;

    *done = (struct hubsync_done){0};
    arena_init(&s.a, MIB(256));
    arena_init(&s.tree, TREE_CAP);
    buf_init(&s.page, LIMIT_CATALOG_PAGE);
    s.http =
        (struct hubsync_http){.conf = c->http, .note = on_note, .owner = &s, .pace_ms = c->pace_ms};
    err = modeldb_sync_get(db, str_c(c->list), &s.a, &s.state, e);
    if (!err) err = count_before(&s, e);
    if (!err) err = choose(&s, e);
    if (!err) err = walk(&s, e);
    hubsync_http_fini(&s.http);
    buf_fini(&s.page);
    arena_fini(&s.tree);
    arena_fini(&s.a);
    return err;
}
