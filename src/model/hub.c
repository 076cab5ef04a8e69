/* hub: fields one by one, each by the reader of its type; then files, sets, and what follows from
 * all of it. See hub.h.
 *
 * The architecture comes from the first of: gguf.architecture, config.architectures,
 * config.model_type, the tags. Which words name a family is asked of the family table; nothing is
 * listed here. Left out: what a repository's README says in prose.
 */
#include "model/hub.h"

#include <string.h>

#include "base/limits.h"
#include "model/family.h"
#include "model/hub_int.h"

struct reader {
    struct hub_model *m;
    struct arena *a;
    const struct json *v;
    struct err_info *e;
};

/* ---- fields by type ---- */

static const struct json *field(const struct json *v, const char *key)
{
    const struct json *x = json_get(v, key);
    return x && x->type != JSON_NULL ? x : NULL;
}

static enum err wrong(struct reader *r, const char *key, const struct json *x, const char *want)
{
    return ERR_FAIL(r->e, FORMAT, "a reply of the Hub: the field '%s' is %s and not %s", key,
                    json_type_name(x->type), want);
}

/* At most cap bytes of s, cut between characters. */
static str capped(str s, size_t cap)
{
    if (s.n <= cap) return s;
    while (cap && ((unsigned char)s.p[cap] & 0xc0) == 0x80)
        cap--;
    return str_sub(s, 0, cap);
}

static enum err get_str(struct reader *r, const struct json *v, const char *key, str *out)
{
    const struct json *x = field(v, key);
    if (!x) return ERR_OK;
    if (x->type != JSON_STR) return wrong(r, key, x, "a string");
    *out = capped(x->s, LIMIT_HUB_STR);
    return ERR_OK;
}

/* An integer of at least 0. */
static enum err get_u64(struct reader *r, const struct json *v, const char *key, uint64_t *out)
{
    const struct json *x = field(v, key);
    if (!x) return ERR_OK;
    if (x->type == JSON_UINT) {
        *out = x->u;
        return ERR_OK;
    }
    int64_t i = json_int(x, -1);
    if (i < 0) return wrong(r, key, x, "a whole number of at least 0");
    *out = (uint64_t)i;
    return ERR_OK;
}

static enum err get_bool(struct reader *r, const char *key, bool *out)
{
    const struct json *x = field(r->v, key);
    if (!x) return ERR_OK;
    if (x->type != JSON_BOOL) return wrong(r, key, x, "true or false");
    *out = x->b;
    return ERR_OK;
}

static enum err get_of(struct reader *r, const struct json *v, const char *key, enum json_type type,
                       const struct json **out)
{
    const struct json *x = field(v, key);
    *out = x;
    if (!x || x->type == type) return ERR_OK;
    return wrong(r, key, x, type == JSON_ARR ? "a list" : "an object");
}

/* The string or the first string of a list that people wrote. */
static str loose(const struct json *v, const char *key)
{
    const struct json *x = field(v, key);
    if (x && x->type == JSON_ARR && x->n) x = &x->items[0];
    return x && x->type == JSON_STR ? capped(x->s, LIMIT_HUB_STR) : (str){0};
}

/* ---- times ---- */

static bool two(str s, size_t at, int64_t most, int64_t *out)
{
    return str_int(str_sub(s, at, 2), out) && *out >= 0 && *out <= most;
}

/* "2025-05-21T15:38:00.000Z" as seconds since 1970; days by the civil calendar. */
static bool seconds_of(str s, int64_t *out)
{
    int64_t y, mo, d, h, mi, sec;
    if (s.n < 20 || s.p[4] != '-' || s.p[7] != '-' || s.p[10] != 'T' || s.p[13] != ':' ||
        s.p[16] != ':' || s.p[s.n - 1] != 'Z' || !str_int(str_sub(s, 0, 4), &y) || y < 1970 ||
        !two(s, 5, 12, &mo) || !two(s, 8, 31, &d) || !two(s, 11, 23, &h) || !two(s, 14, 59, &mi) ||
        !two(s, 17, 60, &sec) || mo < 1 || d < 1)
        return false;
    /* Years begin in March, so that the leap day ends one. */
    int64_t year = mo > 2 ? y : y - 1, month = mo > 2 ? mo - 3 : mo + 9;
    int64_t days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + d - 1;
    *out = ((days - 719468) * 24 + h) * 3600 + mi * 60 + sec;
    return true;
}

static enum err get_time(struct reader *r, const char *key, int64_t *out)
{
    const struct json *x = field(r->v, key);
    if (!x) return ERR_OK;
    if (x->type != JSON_STR || !seconds_of(x->s, out)) return wrong(r, key, x, "a time in UTC");
    return ERR_OK;
}

/* ---- tags ---- */

/* ISO 639-1. */
static bool is_language(str t)
{
    static const char codes[] =
        "aaabaeafakamanarasavayazbabebgbhbibmbnbobrbscacechcocrcscucvcydadedvdzeeeleneoeseteufafffi"
        "fjfofrfygagdglgngugvhahehihohrhthuhyhziaidieigiiikioisitiujajvkakgkikjkkklkmknkokrkskukvkw"
        "kylalblglilnloltlulvmgmhmimkmlmnmrmsmtmynanbndnengnlnnnonrnvnyocojomorospapiplpsptqurmrnro"
        "rurwsascsdsesgsiskslsmsnsosqsrssstsusvswtatetgthtitktltntotrtstttwtyugukuruzvevivowawoxhyi"
        "yozazhzu";
    for (size_t i = 0; t.n == 2 && i + 1 < sizeof codes - 1; i += 2)
        if (!memcmp(codes + i, t.p, 2)) return true;
    return false;
}

static void tag_words(struct hub_model *m, str t)
{
    static const struct {
        const char *tag;
        unsigned can;
    } words[] = {
        {"conversational", HUB_CHAT},
        {"function-calling", HUB_TOOLS},
        {"tool-use", HUB_TOOLS},
        {"tools", HUB_TOOLS},
        {"reasoning", HUB_REASONING},
        {"thinking", HUB_REASONING},
        {"image-text-to-text", HUB_VISION},
        {"sentence-transformers", HUB_EMBEDDING},
        {"feature-extraction", HUB_EMBEDDING},
        {"sentence-similarity", HUB_EMBEDDING},
        {"text-ranking", HUB_RERANK},
        {"reranker", HUB_RERANK},
        {"cross-encoder", HUB_RERANK},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_ieq(t, str_c(words[i].tag))) m->can |= words[i].can;
}

static void one_tag(struct hub_model *m, str t)
{
    str rest, key = str_cut(t, ':', &rest);
    if (str_eq(key, S("license")) && rest.p && !m->licence.n) {
        m->licence = rest;
    } else if (str_eq(key, S("base_model")) && rest.p) {
        str second, how = str_cut(rest, ':', &second);
        if (!m->base_model.n) m->base_model = second.p ? second : how;
    } else if (!rest.p) {
        enum filename_format f = filename_format_from(t);
        if (f) m->formats |= 1u << f;
        tag_words(m, t);
    }
}

static enum err tags(struct reader *r)
{
    const struct json *x, *card = json_get(r->v, "cardData"), *lang = field(card, "language");
    struct hub_model *m = r->m;
    enum err err = get_of(r, r->v, "tags", JSON_ARR, &x);
    size_t n = x && !err ? x->n : 0, n_lang = lang && lang->type == JSON_ARR ? lang->n : 0;
    if (err) return err;
    if (n > LIMIT_HUB_TAGS || n_lang > LIMIT_HUB_TAGS)
        return ERR_FAIL(r->e, LIMIT, "a reply of the Hub has more than %d tags", LIMIT_HUB_TAGS);
    str *languages = ARENA_NEW(r->a, str, n + n_lang + 1);
    if (!languages) return ERR_FAIL(r->e, NOMEM, "no memory for a list of tags");
    for (size_t i = 0; i < n; i++) {
        if (x->items[i].type != JSON_STR) return wrong(r, "tags", &x->items[i], "a string");
        str t = capped(x->items[i].s, LIMIT_HUB_STR);
        one_tag(m, t);
        if (!n_lang && is_language(t)) languages[m->n_languages++] = t;
    }
    for (size_t i = 0; i < n_lang; i++)
        if (lang->items[i].type == JSON_STR)
            languages[m->n_languages++] = capped(lang->items[i].s, LIMIT_HUB_STR);
    m->languages = languages;
    hub_task_by_tags(m, x, n);
    hub_arch_by_tags(m, x, n);
    return ERR_OK;
}

/* ---- what the models themselves say ---- */

static enum err take_template(struct reader *r, const struct json *v)
{
    const struct json *x = field(v, "chat_template");
    str s = {0};
    if (!x) return ERR_OK;
    if (x->type == JSON_STR)
        s = x->s;
    else if (x->type == JSON_ARR && x->n) /* several, by name: the first is the default */
        s = json_str(json_get(&x->items[0], "template"), s);
    else
        return wrong(r, "chat_template", x, "a string or a list");
    if (!s.n || s.n > LIMIT_TEMPLATE) return ERR_OK;
    r->m->chat_template = s;
    r->m->can |= HUB_CHAT;
    if (str_find(s, S("tools"), 0) != SIZE_MAX) r->m->can |= HUB_TOOLS;
    if (str_find(s, S("<think>"), 0) != SIZE_MAX ||
        str_find(s, S("enable_thinking"), 0) != SIZE_MAX)
        r->m->can |= HUB_REASONING;
    return ERR_OK;
}

static enum err gguf_part(struct reader *r)
{
    const struct json *g;
    uint64_t context = 0, total = 0;
    str arch = {0};
    enum err err;
    if ((err = get_of(r, r->v, "gguf", JSON_OBJ, &g)) || !g) return err;
    if ((err = get_u64(r, g, "total", &total)) || (err = get_str(r, g, "architecture", &arch)) ||
        (err = get_u64(r, g, "context_length", &context)) || (err = take_template(r, g)))
        return err;
    /* The word of the file itself, which the loader looks up as it stands. */
    r->m->arch = arch;
    r->m->family = family_find(arch);
    r->m->arch_of_file = arch.n != 0;
    r->m->formats |= 1u << FILENAME_GGUF;
    if (context <= LIMIT_MODEL_CONTEXT) r->m->context = (uint32_t)context;
    if (total) {
        r->m->params = total;
        r->m->params_from = HUB_BY_API;
    }
    return ERR_OK;
}

static enum err safetensors_part(struct reader *r)
{
    const struct json *s, *p;
    uint64_t total = 0, sum = 0;
    enum err err;
    if ((err = get_of(r, r->v, "safetensors", JSON_OBJ, &s)) || !s) return err;
    if ((err = get_u64(r, s, "total", &total)) || (err = get_of(r, s, "parameters", JSON_OBJ, &p)))
        return err;
    r->m->formats |= 1u << FILENAME_SAFETENSORS;
    if (p && p->n && p->n <= LIMIT_HUB_TAGS) {
        struct hub_dtype *d = ARENA_NEW(r->a, struct hub_dtype, p->n);
        if (!d) return ERR_FAIL(r->e, NOMEM, "no memory for %zu types", p->n);
        for (size_t i = 0; i < p->n; i++) {
            int64_t n = json_int(&p->items[i], -1);
            if (n < 0) return wrong(r, "parameters", &p->items[i], "a whole number of at least 0");
            d[i] = (struct hub_dtype){capped(p->items[i].key, LIMIT_HUB_STR), (uint64_t)n};
            sum += (uint64_t)n;
        }
        r->m->dtypes = d;
        r->m->n_dtypes = p->n;
    }
    if (!total) total = sum;
    if (total && r->m->params_from != HUB_BY_API) {
        r->m->params = total;
        r->m->params_from = HUB_BY_API;
    }
    return ERR_OK;
}

static enum err config_part(struct reader *r)
{
    static const char *const lengths[] = {"max_position_embeddings", "n_positions",
                                          "max_sequence_length", "seq_length"};
    const struct json *c, *classes, *tok;
    str type = {0};
    enum err err;
    if ((err = get_of(r, r->v, "config", JSON_OBJ, &c)) || !c) return err;
    if ((err = get_of(r, c, "architectures", JSON_ARR, &classes)) ||
        (err = get_str(r, c, "model_type", &type)) ||
        (err = get_of(r, c, "tokenizer_config", JSON_OBJ, &tok)) || (err = take_template(r, tok)))
        return err;
    if (classes && classes->n) {
        if (classes->items[0].type != JSON_STR)
            return wrong(r, "architectures", &classes->items[0], "a string");
        hub_take_arch(r->m, capped(classes->items[0].s, LIMIT_HUB_STR));
    }
    hub_take_arch(r->m, type);
    for (size_t i = 0; !r->m->context && i < sizeof lengths / sizeof *lengths; i++) {
        int64_t n = json_int(json_get(c, lengths[i]), 0);
        if (n > 0 && n <= LIMIT_MODEL_CONTEXT) r->m->context = (uint32_t)n;
    }
    return ERR_OK;
}

/* ---- files ---- */

static bool has_set(enum filename_kind k)
{
    return k == FILENAME_WEIGHTS || k == FILENAME_PROJECTOR || k == FILENAME_ADAPTER ||
           k == FILENAME_IMATRIX || k == FILENAME_PIECE;
}

/* Shards of a model differ from each other in nothing but their number; single files are sets of
 * their own, even where two formats have one name. */
static bool same_set(const struct hub_set *s, const struct hub_file *f)
{
    return f->name.n_shards && s->n_expected == f->name.n_shards && s->format == f->name.format &&
           s->kind == f->name.kind && str_eq(s->name, f->name.set);
}

static uint32_t set_of(struct hub_set *sets, size_t *n, const struct hub_file *f, uint32_t at)
{
    /* Shards follow each other in the reply, so the last sets are looked at first. */
    for (size_t i = *n; i-- > 0;)
        if (same_set(&sets[i], f)) return (uint32_t)i;
    sets[*n] = (struct hub_set){.name = f->name.set,
                                .format = f->name.format,
                                .kind = f->name.kind,
                                .quant = f->name.quant,
                                .dtype = f->name.dtype,
                                .centibits = f->name.centibits,
                                .first = at,
                                .n_expected = f->name.n_shards ? f->name.n_shards : 1};
    return (uint32_t)(*n)++;
}

static enum err one_file(struct reader *r, const struct json *x, struct hub_file *f)
{
    const struct json *lfs;
    enum err err;
    *f = (struct hub_file){.set = UINT32_MAX};
    if (x->type == JSON_STR)
        f->path = capped(x->s, LIMIT_HUB_STR);
    else if (x->type != JSON_OBJ)
        return wrong(r, "siblings", x, "an object");
    if ((err = get_str(r, x, "path", &f->path)) || (err = get_str(r, x, "rfilename", &f->path)) ||
        (err = get_u64(r, x, "size", &f->bytes)) || (err = get_of(r, x, "lfs", JSON_OBJ, &lfs)))
        return err;
    if (lfs && ((err = get_u64(r, lfs, "size", &f->bytes)) ||
                (err = get_str(r, lfs, "sha256", &f->sha256))))
        return err;
    if (!f->path.n) return ERR_FAIL(r->e, FORMAT, "a reply of the Hub has a file without a name");
    filename_parse(&f->name, f->path);
    return ERR_OK;
}

/* Sizes of the sets; one unknown size makes that of its set unknown. */
static void sum_sets(struct hub_model *m, struct hub_set *sets)
{
    for (size_t i = 0; i < m->n_files; i++) {
        const struct hub_file *f = &m->files[i];
        if (f->set == UINT32_MAX) continue;
        struct hub_set *s = &sets[f->set];
        bool known = f->bytes && (s->n_files == 0 || s->bytes);
        if (!known || __builtin_add_overflow(s->bytes, f->bytes, &s->bytes)) s->bytes = 0;
        s->n_files++;
    }
}

/* SafeTensors in folders beside those of the repository itself are parts of it (a dense layer, an
 * encoder), and "consolidated" ones are the same weights under other names. */
static void set_parts_apart(struct hub_model *m, struct hub_set *sets)
{
    bool own = false;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < m->n_sets; i++) {
            struct hub_set *s = &sets[i];
            bool part =
                str_find(s->name, S("/"), 0) != SIZE_MAX || str_starts(s->name, S("consolidated"));
            if (s->format != FILENAME_SAFETENSORS || s->kind != FILENAME_WEIGHTS) continue;
            own = own || !part;
            if (pass && own && part) s->kind = FILENAME_OTHER;
        }
}

static enum err files(struct reader *r)
{
    struct hub_model *m = r->m;
    const struct json *x;
    struct hub_file *f;
    struct hub_set *sets;
    enum err err = get_of(r, r->v, "siblings", JSON_ARR, &x);
    if (err || !x) return err;
    m->files_said = true;
    m->formats = 0; /* the files know better than the tags */
    if (x->n > LIMIT_HUB_FILES)
        return ERR_FAIL(r->e, LIMIT, "a reply of the Hub has %zu files; at most %d are read", x->n,
                        LIMIT_HUB_FILES);
    f = ARENA_NEW(r->a, struct hub_file, x->n + 1);
    sets = ARENA_NEW(r->a, struct hub_set, x->n + 1);
    if (!f || !sets) return ERR_FAIL(r->e, NOMEM, "no memory for a list of %zu files", x->n);
    m->files = f;
    m->sets = sets;
    for (size_t i = 0; i < x->n; i++) {
        if ((err = one_file(r, &x->items[i], &f[i]))) return err;
        m->n_files++;
        if (!has_set(f[i].name.kind) || !f[i].name.format) continue;
        f[i].set = set_of(sets, &m->n_sets, &f[i], (uint32_t)i);
        if (f[i].name.kind == FILENAME_WEIGHTS) m->formats |= 1u << f[i].name.format;
        if (f[i].name.kind == FILENAME_PROJECTOR) m->can |= HUB_VISION;
    }
    sum_sets(m, sets);
    set_parts_apart(m, sets);
    return ERR_OK;
}

/* ---- the whole ---- */

static enum err flags(struct reader *r)
{
    const struct json *g = field(r->v, "gated");
    if (g && g->type != JSON_BOOL && g->type != JSON_STR)
        return wrong(r, "gated", g, "true, false or a word");
    r->m->gated = g && (g->type == JSON_BOOL ? g->b : g->s.n > 0);
    enum err err = get_bool(r, "private", &r->m->is_private);
    return err ? err : get_bool(r, "disabled", &r->m->disabled);
}

static enum err numbers(struct reader *r)
{
    const struct json *t = field(r->v, "trendingScore");
    struct hub_model *m = r->m;
    enum err err;
    if (t && !json_is_num(t)) return wrong(r, "trendingScore", t, "a number");
    m->trending = json_num(t, 0);
    if ((err = get_u64(r, r->v, "downloads", &m->downloads)) ||
        (err = get_u64(r, r->v, "likes", &m->likes)) ||
        (err = get_u64(r, r->v, "usedStorage", &m->bytes)) ||
        (err = get_time(r, "createdAt", &m->created)))
        return err;
    return get_time(r, "lastModified", &m->updated);
}

static enum err words(struct reader *r)
{
    struct hub_model *m = r->m;
    const struct json *card = json_get(r->v, "cardData");
    enum err err;
    if ((err = get_str(r, r->v, "id", &m->id)) ||
        (!m->id.n && (err = get_str(r, r->v, "modelId", &m->id))) ||
        (err = get_str(r, r->v, "author", &m->author)) ||
        (err = get_str(r, r->v, "sha", &m->sha)) ||
        (err = get_str(r, r->v, "pipeline_tag", &m->task)) ||
        (err = get_str(r, r->v, "library_name", &m->library)))
        return err;
    if (!m->id.n) return ERR_FAIL(r->e, FORMAT, "a reply of the Hub has no field 'id'");
    if (!m->author.n) {
        str rest, author = str_cut(m->id, '/', &rest);
        if (rest.p) m->author = author;
    }
    m->licence = loose(card, "license");
    m->base_model = loose(card, "base_model");
    tag_words(m, m->task);
    return ERR_OK;
}

enum err hub_parse(struct hub_model *m, struct arena *a, const struct json *v, struct err_info *e)
{
    struct reader r = {m, a, v, e};
    struct filename id;
    enum err err;
    *m = (struct hub_model){0};
    if (v->type != JSON_OBJ)
        return ERR_FAIL(e, FORMAT, "a reply of the Hub is %s and not an object",
                        json_type_name(v->type));
    if ((err = words(&r)) || (err = numbers(&r)) || (err = flags(&r)) || (err = gguf_part(&r)) ||
        (err = safetensors_part(&r)) || (err = config_part(&r)) || (err = tags(&r)) ||
        (err = files(&r)))
        return err;
    filename_parse(&id, m->id);
    hub_pack(m, v, &id);
    m->other_task = hub_other_task(m);
    if (m->params_from == HUB_NOT_SAID && id.params) {
        m->params = id.params;
        m->params_from = HUB_BY_NAME;
    }
    m->params_active = id.params_active;
    hub_arch_by_name(m, a, &id);
    if (m->family && !m->hf_loads) m->hf_loads = hub_class_loads(m->family);
    return ERR_OK;
}

/* ---- out ---- */

static void write_can(const struct hub_model *m, struct jsonw *w)
{
    static const char *const names[] = {"chat",   "tools",     "reasoning",
                                        "vision", "embedding", "rerank"};
    jsonw_key(w, "capabilities");
    jsonw_arr(w);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (m->can & 1u << i) jsonw_c(w, names[i]);
    jsonw_end(w, ']');
    jsonw_key(w, "formats");
    jsonw_arr(w);
    for (int i = 1; i < FILENAME_FORMATS; i++)
        if (m->formats & 1u << i) jsonw_c(w, filename_format_name((enum filename_format)i));
    jsonw_end(w, ']');
    jsonw_kstrs(w, "languages", m->languages, m->n_languages);
}

static void write_sets(const struct hub_model *m, struct jsonw *w)
{
    jsonw_key(w, "sets");
    jsonw_arr(w);
    for (size_t i = 0; i < m->n_sets; i++) {
        const struct hub_set *s = &m->sets[i];
        jsonw_obj(w);
        jsonw_kstr(w, "name", s->name);
        jsonw_kc(w, "format", filename_format_name(s->format));
        jsonw_kc(w, "kind", filename_kind_name(s->kind));
        jsonw_kc(w, "quantization", s->quant);
        jsonw_kint(w, "files", s->n_files);
        jsonw_kint(w, "expected", s->n_expected);
        jsonw_kuint(w, "bytes", s->bytes);
        jsonw_end(w, '}');
    }
    jsonw_end(w, ']');
}

void hub_write(const struct hub_model *m, struct jsonw *w)
{
    static const char *const from[] = {"none", "name", "api"};
    jsonw_obj(w);
    jsonw_kstr(w, "id", m->id);
    jsonw_kstr(w, "author", m->author);
    jsonw_kint(w, "created", m->created);
    jsonw_kint(w, "updated", m->updated);
    jsonw_kuint(w, "downloads", m->downloads);
    jsonw_kuint(w, "likes", m->likes);
    jsonw_kbool(w, "gated", m->gated);
    jsonw_kbool(w, "private", m->is_private);
    jsonw_kbool(w, "disabled", m->disabled);
    jsonw_kstr(w, "task", m->task);
    jsonw_kstr(w, "library", m->library);
    jsonw_kstr(w, "licence", m->licence);
    jsonw_kstr(w, "base_model", m->base_model);
    jsonw_kstr(w, "architecture", m->arch);
    jsonw_kc(w, "family", m->family ? m->family->name : NULL);
    jsonw_kuint(w, "parameters", m->params);
    jsonw_kuint(w, "parameters_active", m->params_active);
    jsonw_kc(w, "parameters_from", from[m->params_from]);
    jsonw_kint(w, "context", m->context);
    jsonw_kuint(w, "bytes", m->bytes);
    write_can(m, w);
    write_sets(m, w);
    jsonw_end(w, '}');
}
