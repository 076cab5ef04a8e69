/* modeldb_entry: an entry of the Hub as it is kept: shortened, merged with what was known.
 *
 * Members that are not in the table below are kept when they are short plain values and dropped
 * when they are lists or objects. Of a chat template, often most of an entry, stays a remark with
 * the words in it that tell what a model can; hub_parse() draws the same from that.
 */
#include <stdio.h>

#include "base/limits.h"
#include "model/hub.h"
#include "store/modeldb_int.h"

#define LIST_MOST   64 /* values of a list inside config and its like */
#define OBJECT_MOST 64
#define DEPTH_MOST  4

enum keep { PLAIN, DROP, TAGS, FILES, NESTED, CARD };

static enum keep how(str key)
{
    static const struct {
        const char *key;
        enum keep keep;
    } rows[] = {
        {"id", DROP},
        /* stands first */ {"_id", DROP},
        {"modelId", DROP},
        {"xetEnabled", DROP},
        {"gitalyUid", DROP},
        {"tags", TAGS},
        {"siblings", FILES},
        {"gguf", NESTED},
        {"safetensors", NESTED},
        {"config", NESTED},
        {"cardData", CARD},
        {"downloadsAllTime", DROP},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_eqc(key, rows[i].key)) return rows[i].keep;
    return PLAIN;
}

/* ---- values ---- */

static bool plain(const struct json *v)
{
    return v->type != JSON_ARR && v->type != JSON_OBJ && v->type != JSON_NULL &&
           (v->type != JSON_STR || v->s.n <= LIMIT_HUB_STR);
}

static void key_value(struct jsonw *w, const struct json *v)
{
    jsonw_keystr(w, v->key);
    jsonw_value(w, v);
}

/* A Jinja comment; its words are those that hub_parse() looks for. */
static void template(struct jsonw *w, const struct json *v)
{
    str text = json_str(v, S(""));
    char mark[96];

    if (v->type == JSON_ARR && v->n) text = json_str(json_get(&v->items[0], "template"), text);
    if (!text.n || text.n > LIMIT_TEMPLATE) return;
    snprintf(mark, sizeof mark, "{#- left out:%s%s%s -#}",
             str_find(text, S("tools"), 0) != SIZE_MAX ? " tools" : "",
             str_find(text, S("<think>"), 0) != SIZE_MAX ? " <think>" : "",
             str_find(text, S("enable_thinking"), 0) != SIZE_MAX ? " enable_thinking" : "");
    jsonw_keystr(w, v->key);
    jsonw_c(w, mark);
}

static void nested(struct jsonw *w, const struct json *v, int depth);

static void member(struct jsonw *w, const struct json *v, int depth)
{
    if (str_eq(v->key, S("chat_template")))
        template(w, v);
    else if (plain(v))
        key_value(w, v);
    else if (v->type == JSON_OBJ && v->n <= OBJECT_MOST && depth < DEPTH_MOST) {
        jsonw_keystr(w, v->key);
        nested(w, v, depth + 1);
    } else if (v->type == JSON_ARR && v->n <= LIST_MOST) {
        jsonw_keystr(w, v->key);
        jsonw_arr(w);
        for (size_t i = 0; i < v->n; i++)
            if (plain(&v->items[i])) jsonw_value(w, &v->items[i]);
        jsonw_end(w, ']');
    }
}

static void nested(struct jsonw *w, const struct json *v, int depth)
{
    jsonw_obj(w);
    for (size_t i = 0; i < v->n; i++)
        member(w, &v->items[i], depth);
    jsonw_end(w, '}');
}

/* People write anything there. */
static void card(struct jsonw *w, const struct json *v)
{
    static const char *const keys[] = {"license",  "license_name", "license_link", "base_model",
                                       "language", "pipeline_tag", "library_name"};

    jsonw_obj(w);
    for (size_t i = 0; i < v->n; i++)
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            if (str_eqc(v->items[i].key, keys[k])) member(w, &v->items[i], DEPTH_MOST);
    jsonw_end(w, '}');
}

/* Those that say nothing of the model itself are most of them. */
static void tags(struct jsonw *w, const struct json *v)
{
    static const char *const drop[] = {"arxiv:", "dataset:", "doi:", "region:", "deploy:"};

    jsonw_arr(w);
    for (size_t i = 0; i < v->n; i++) {
        str t = json_str(&v->items[i], S(""));
        bool good = t.n > 0 && t.n <= LIMIT_HUB_STR;

        for (size_t k = 0; k < sizeof drop / sizeof *drop; k++)
            good = good && !str_starts(t, str_c(drop[k]));
        if (good) jsonw_str(w, t);
    }
    jsonw_end(w, ']');
}

static int64_t size_of(const struct json *file)
{
    int64_t n = json_int(json_get(json_get(file, "lfs"), "size"), -1);

    return n >= 0 ? n : json_int(json_get(file, "size"), -1);
}

static void files(struct jsonw *w, const struct json *v)
{
    jsonw_arr(w);
    for (size_t i = 0; i < v->n; i++) {
        const struct json *f = &v->items[i];
        str sha = json_str(json_get(json_get(f, "lfs"), "sha256"), S(""));

        jsonw_obj(w);
        jsonw_kstr(w, "rfilename", json_str(json_get(f, "rfilename"), S("")));
        if (size_of(f) >= 0) jsonw_kint(w, "size", size_of(f));
        if (sha.n == 64) {
            jsonw_key(w, "lfs");
            jsonw_obj(w);
            jsonw_kstr(w, "sha256", sha);
            jsonw_end(w, '}');
        }
        jsonw_end(w, '}');
    }
    jsonw_end(w, ']');
}

static void top(struct jsonw *w, const struct json *v)
{
    switch (how(v->key)) {
    case DROP: return;
    case PLAIN:
        if (plain(v)) key_value(w, v);
        return;
    case TAGS:
    case FILES:
        if (v->type != JSON_ARR) return;
        jsonw_keystr(w, v->key);
        (how(v->key) == TAGS ? tags : files)(w, v);
        return;
    case NESTED:
    case CARD:
        if (v->type != JSON_OBJ) return;
        jsonw_keystr(w, v->key);
        if (how(v->key) == CARD)
            card(w, v);
        else
            nested(w, v, 1);
        return;
    }
}

/* ---- entries ---- */

static bool has_sizes(const struct json *files_)
{
    for (size_t i = 0; files_ && files_->type == JSON_ARR && i < files_->n; i++)
        if (size_of(&files_->items[i]) >= 0) return true;
    return false;
}

enum err modeldb_entry_of(struct modeldb_entry *x, struct arena *a, const struct json *v,
                          struct err_info *e)
{
    struct hub_model m;
    enum err err = hub_parse(&m, a, v, e);

    *x = (struct modeldb_entry){0};
    if (err) return err;
    *x = (struct modeldb_entry){.v = v,
                                .id = m.id,
                                .sha = m.sha,
                                .modified = m.updated,
                                .downloads = m.downloads,
                                .detailed = has_sizes(json_get(v, "siblings"))};
    return ERR_OK;
}

bool modeldb_entry_same_commit(const struct modeldb_entry *a, const struct modeldb_entry *b)
{
    if (a->sha.n && b->sha.n) return str_eq(a->sha, b->sha);
    return !a->modified || !b->modified || a->modified == b->modified;
}

static bool has(const struct json *v, str key)
{
    for (size_t i = 0; i < v->n; i++)
        if (str_eq(v->items[i].key, key)) return true;
    return false;
}

void modeldb_entry_write(const struct modeldb_entry *x, const struct modeldb_entry *old, buf *out)
{
    bool old_files = old && old->detailed && !x->detailed;
    struct jsonw w;

    jsonw_init(&w, out);
    jsonw_obj(&w);
    jsonw_kstr(&w, "id", x->id);
    for (size_t i = 0; i < x->v->n; i++) {
        const struct json *m = &x->v->items[i];

        if (!old_files || !str_eq(m->key, S("siblings"))) top(&w, m);
    }
    for (size_t i = 0; old && i < old->v->n; i++) {
        const struct json *m = &old->v->items[i];

        if (!has(x->v, m->key) || (old_files && str_eq(m->key, S("siblings")))) top(&w, m);
    }
    jsonw_end(&w, '}');
}
