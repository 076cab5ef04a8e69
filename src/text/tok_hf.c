/* tok_hf: a vocabulary out of Hugging Face's tokenizer.json.
 *
 * The file is parsed into a tree that lives only while it is read; spellings are kept as views of
 * the file where nothing was escaped in them. The kinds BPE, Unigram and WordPiece are read,
 * WordLevel is refused. What rewrites and cuts the text is read by tok_hf_rules.c. Of
 * tokenizer_config.json and special_tokens_map.json the special tokens count and whether they are
 * added; the chat template is the caller's.
 *
 * Invariant: an id that a file names grows the vocabulary up to LIMIT_VOCAB and no further.
 *
 * It leaves out truncation, padding, pairs of texts and dropout.
 *
 * Source: huggingface/tokenizers, the serialised form of each part.
 */
#include "text/tok_hf.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "text/tok_int.h"

#define SHOWN(s) (int)((s).n < 64 ? (s).n : 64), (s).p

str tok_hf_keep(const struct tok_hf *h, str s)
{
    uintptr_t p = (uintptr_t)s.p, from = (uintptr_t)h->bytes.p;
    if (!s.n) return S("");
    if (from && p >= from && p - from <= h->bytes.n && s.n <= h->bytes.n - (p - from)) return s;
    return arena_str(h->arena, s);
}

int32_t tok_hf_find(const struct tok_spec *s, str text)
{
    for (uint32_t id = 0; id < s->n && text.n; id++)
        if (str_eq(s->text[id], text)) return (int32_t)id;
    return -1;
}

/* ---- the list of tokens ---- */

enum err tok_hf_room(struct tok_hf *h, int64_t id, uint32_t *cap)
{
    struct tok_spec *s = h->s;
    if (id < 0 || id >= LIMIT_VOCAB)
        return ERR_FAIL(h->e, FORMAT, "token id %lld, the limit is %u", (long long)id, LIMIT_VOCAB);
    if ((uint64_t)id < s->n) return ERR_OK;
    if ((uint64_t)id >= *cap) {
        uint32_t want = (uint32_t)id + 1 + (*cap ? 1024 : 0);
        str *text = ARENA_NEW(h->arena, str, want);
        uint8_t *attr = ARENA_NEW(h->arena, uint8_t, want);
        float *score = ARENA_NEW(h->arena, float, want);
        if (!text || !attr || !score) return ERR_FAIL(h->e, NOMEM, "no memory for %u tokens", want);
        if (s->n) {
            memcpy(text, s->text, s->n * sizeof *text);
            memcpy(attr, s->attr, s->n * sizeof *attr);
            if (s->score) memcpy(score, s->score, s->n * sizeof *score);
        }
        s->text = text;
        s->attr = attr;
        s->score = score;
        *cap = want;
    }
    for (uint32_t i = s->n; i <= (uint32_t)id; i++) {
        ((str *)(uintptr_t)s->text)[i] = S("");
        s->attr[i] = TOK_UNUSED;
    }
    s->n = (uint32_t)id + 1;
    return ERR_OK;
}

static enum err set_token(struct tok_hf *h, int64_t id, str text, unsigned attr, uint32_t *cap)
{
    enum err rc = tok_hf_room(h, id, cap);
    if (rc != ERR_OK) return rc;
    text = tok_hf_keep(h, text);
    if (!text.p)
        return ERR_FAIL(h->e, NOMEM, "no memory for the spelling of token %lld", (long long)id);
    ((str *)(uintptr_t)h->s->text)[id] = text;
    h->s->attr[id] = (uint8_t)attr;
    return ERR_OK;
}

/* {"spelling": id, ...} */
static enum err read_map(struct tok_hf *h, const struct json *vocab, uint32_t *cap)
{
    int64_t most = -1;
    for (size_t i = 0; i < vocab->n; i++) {
        if (vocab->items[i].type != JSON_INT)
            return ERR_FAIL(h->e, FORMAT, "model.vocab: the id of \"%.*s\" is no integer",
                            SHOWN(vocab->items[i].key));
        if (vocab->items[i].i > most) most = vocab->items[i].i;
    }
    enum err rc = most >= 0 ? tok_hf_room(h, most, cap)
                            : ERR_FAIL(h->e, FORMAT, "model.vocab is empty: no vocabulary");
    for (size_t i = 0; i < vocab->n && rc == ERR_OK; i++)
        rc = set_token(h, vocab->items[i].i, vocab->items[i].key, TOK_NORMAL, cap);
    return rc;
}

/* [["spelling", score], ...] */
static enum err read_scored(struct tok_hf *h, const struct json *vocab, uint32_t *cap)
{
    enum err rc = vocab->n ? tok_hf_room(h, (int64_t)vocab->n - 1, cap)
                           : ERR_FAIL(h->e, FORMAT, "model.vocab is empty: no vocabulary");
    for (size_t i = 0; i < vocab->n && rc == ERR_OK; i++) {
        const struct json *v = &vocab->items[i];
        if (v->type != JSON_ARR || v->n != 2 || v->items[0].type != JSON_STR ||
            !json_is_num(&v->items[1]))
            return ERR_FAIL(h->e, FORMAT, "model.vocab[%zu] is no [spelling, score]", i);
        rc = set_token(h, (int64_t)i, v->items[0].s, TOK_NORMAL, cap);
        if (rc == ERR_OK) ((float *)(uintptr_t)h->s->score)[i] = (float)json_num(&v->items[1], 0);
    }
    return rc;
}

static enum err added_token(struct tok_hf *h, const struct json *v, int64_t id, uint32_t *cap)
{
    str text = json_str(json_get(v, "content"), S(""));
    if (v->type != JSON_OBJ || !text.n)
        return ERR_FAIL(h->e, FORMAT, "added token %lld has no content", (long long)id);
    unsigned attr = json_bool(json_get(v, "special"), false) ? TOK_CONTROL : TOK_USER;
    if (json_bool(json_get(v, "lstrip"), false)) attr |= TOK_ATTR_LSTRIP;
    if (json_bool(json_get(v, "rstrip"), false)) attr |= TOK_ATTR_RSTRIP;
    if (json_bool(json_get(v, "single_word"), false)) attr |= TOK_ATTR_WORD;
    return set_token(h, id, text, attr, cap);
}

enum err tok_hf_added(struct tok_hf *h, const struct json *list, uint32_t *cap)
{
    enum err rc = ERR_OK;
    if (!list || list->type == JSON_NULL) return ERR_OK;
    if (list->type != JSON_ARR && list->type != JSON_OBJ)
        return ERR_FAIL(h->e, FORMAT, "the added tokens are %s, not a list",
                        json_type_name(list->type));
    for (size_t i = 0; i < list->n && rc == ERR_OK; i++) {
        const struct json *v = &list->items[i];
        int64_t id = json_int(json_get(v, "id"), -1);
        if (list->type == JSON_OBJ && !str_int(v->key, &id)) id = -1;
        rc = added_token(h, v, id, cap);
    }
    return rc;
}

/* ---- merges ---- */

static enum err read_merges(struct tok_hf *h, const struct json *list)
{
    struct tok_spec *s = h->s;
    if (!list || list->type != JSON_ARR)
        return ERR_FAIL(h->e, FORMAT, "model.merges is no list: BPE needs it");
    if (list->n > LIMIT_VOCAB)
        return ERR_FAIL(h->e, LIMIT, "model.merges has %zu entries, the limit is %u", list->n,
                        LIMIT_VOCAB);
    bool pairs = list->n && list->items[0].type == JSON_ARR;
    str *merge = ARENA_NEW(h->arena, str, list->n * (pairs ? 2 : 1) + 1);
    if (!merge) return ERR_FAIL(h->e, NOMEM, "no memory for %zu merges", list->n);
    for (size_t i = 0; i < list->n; i++) {
        const struct json *v = &list->items[i];
        bool good = pairs ? v->type == JSON_ARR && v->n == 2 && v->items[0].type == JSON_STR &&
                                v->items[1].type == JSON_STR
                          : v->type == JSON_STR && v->s.n && str_find(v->s, S(" "), 1) != SIZE_MAX;
        if (!good) return ERR_FAIL(h->e, FORMAT, "model.merges[%zu] is no pair of tokens", i);
        for (size_t k = 0; k < (pairs ? 2u : 1u); k++) {
            str part = tok_hf_keep(h, pairs ? v->items[k].s : v->s);
            if (!part.p) return ERR_FAIL(h->e, NOMEM, "no memory for %zu merges", list->n);
            merge[pairs ? 2 * i + k : i] = part;
        }
    }
    s->merge = merge;
    s->n_merges = list->n;
    s->merge_pairs = pairs;
    return ERR_OK;
}

/* ---- the model ---- */

static void mark_unknown(struct tok_spec *s)
{
    if (s->unk >= 0 && tok_attr_kind(s->attr[s->unk]) == TOK_NORMAL) s->attr[s->unk] = TOK_UNKNOWN;
}

static enum err read_unk(struct tok_hf *h, const struct json *model)
{
    str unk = json_str(json_get(model, "unk_token"), S(""));
    if (!unk.n) return ERR_OK;
    h->s->unk = tok_hf_find(h->s, unk);
    if (h->s->unk < 0)
        return ERR_FAIL(h->e, FORMAT, "model.unk_token \"%.*s\" is not in the vocabulary",
                        SHOWN(unk));
    return ERR_OK;
}

static enum err read_bpe(struct tok_hf *h, const struct json *model, uint32_t *cap)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const struct json *vocab = json_get(model, "vocab");
    for (size_t i = 0; i < 2; i++)
        if (json_str(json_get(model, affixes[i]), S("")).n)
            return ERR_FAIL(h->e, UNSUPPORTED, "model.%s: BPE with it is not supported",
                            affixes[i]);
    if (!vocab || vocab->type != JSON_OBJ)
        return ERR_FAIL(h->e, FORMAT, "model.vocab is no object: no vocabulary");
    h->s->algo = TOK_BPE;
    enum err rc = read_map(h, vocab, cap);
    if (rc == ERR_OK) rc = read_merges(h, json_get(model, "merges"));
    h->s->pre.ignore_merges = json_bool(json_get(model, "ignore_merges"), false);
    h->s->fuse_unk = json_bool(json_get(model, "fuse_unk"), false);
    h->s->byte_fallback = json_bool(json_get(model, "byte_fallback"), false);
    return rc;
}

static enum err read_unigram(struct tok_hf *h, const struct json *model, uint32_t *cap)
{
    const struct json *vocab = json_get(model, "vocab");
    if (!vocab || vocab->type != JSON_ARR)
        return ERR_FAIL(h->e, FORMAT, "model.vocab is no list: no vocabulary");
    h->s->algo = TOK_UGM;
    enum err rc = read_scored(h, vocab, cap);
    if (rc != ERR_OK) return rc;
    int64_t unk = json_int(json_get(model, "unk_id"), -1);
    if (unk >= (int64_t)h->s->n)
        return ERR_FAIL(h->e, FORMAT, "model.unk_id is %lld, the vocabulary has %u tokens",
                        (long long)unk, h->s->n);
    h->s->unk = unk < 0 ? -1 : (int32_t)unk;
    h->s->fuse_unk = true;
    h->s->byte_fallback = json_bool(json_get(model, "byte_fallback"), false);
    return ERR_OK;
}

static enum err read_wordpiece(struct tok_hf *h, const struct json *model, uint32_t *cap)
{
    const struct json *vocab = json_get(model, "vocab");
    if (!vocab || vocab->type != JSON_OBJ)
        return ERR_FAIL(h->e, FORMAT, "model.vocab is no object: no vocabulary");
    h->s->algo = TOK_WPM;
    h->s->word_next =
        tok_hf_keep(h, json_str(json_get(model, "continuing_subword_prefix"), S("##")));
    int64_t most = json_int(json_get(model, "max_input_chars_per_word"), 100);
    h->s->word_max = most > 0 && most < UINT32_MAX ? (uint32_t)most : 0;
    if (!h->s->word_next.p) return ERR_FAIL(h->e, NOMEM, "no memory for a tokenizer");
    return read_map(h, vocab, cap);
}

/* Old files do not say what they are. */
static str model_type(const struct json *model)
{
    str type = json_str(json_get(model, "type"), S(""));
    if (type.n) return type;
    if (json_get(model, "merges")) return S("BPE");
    const struct json *vocab = json_get(model, "vocab");
    if (vocab && vocab->type == JSON_ARR) return S("Unigram");
    return json_get(model, "max_input_chars_per_word") ? S("WordPiece") : S("WordLevel");
}

static enum err read_model(struct tok_hf *h, const struct json *root, uint32_t *cap)
{
    const struct json *model = json_get(root, "model");
    if (!model || model->type != JSON_OBJ)
        return ERR_FAIL(h->e, FORMAT, "tokenizer.json has no model");
    str type = model_type(model);
    enum err rc;
    if (str_eqc(type, "BPE"))
        rc = read_bpe(h, model, cap);
    else if (str_eqc(type, "Unigram"))
        rc = read_unigram(h, model, cap);
    else if (str_eqc(type, "WordPiece"))
        rc = read_wordpiece(h, model, cap);
    else
        return ERR_FAIL(h->e, UNSUPPORTED, "tokenizer model \"%.*s\" is not supported",
                        SHOWN(type));
    if (rc == ERR_OK) rc = tok_hf_added(h, json_get(root, "added_tokens"), cap);
    if (rc == ERR_OK) rc = read_unk(h, model);
    return rc;
}

/* ---- what is put around a text ---- */

static enum err around(struct tok_hf *h, const struct json *id, bool after)
{
    struct tok_spec *s = h->s;
    int64_t i = json_int(id, -1);
    uint32_t *n = after ? &s->n_tail : &s->n_head;
    if (i < 0 || i >= (int64_t)s->n)
        return ERR_FAIL(h->e, FORMAT, "post_processor: a token id that is not in the vocabulary");
    if (*n == TOK_AROUND_MAX)
        return ERR_FAIL(h->e, UNSUPPORTED, "post_processor: more than %d tokens on one side",
                        TOK_AROUND_MAX);
    (after ? s->tail : s->head)[(*n)++] = (int32_t)i;
    return ERR_OK;
}

static enum err read_template(struct tok_hf *h, const struct json *v)
{
    const struct json *single = json_get(v, "single"), *table = json_get(v, "special_tokens");
    bool after = false;
    if (!single || single->type != JSON_ARR)
        return ERR_FAIL(h->e, FORMAT, "post_processor: TemplateProcessing without \"single\"");
    h->s->n_head = h->s->n_tail = 0;
    for (size_t i = 0; i < single->n; i++) {
        const struct json *token = json_get(&single->items[i], "SpecialToken");
        if (!token) {
            after = true;
            continue;
        }
        str name = json_str(json_get(token, "id"), S(""));
        const struct json *ids = NULL;
        for (size_t k = 0; table && table->type == JSON_OBJ && k < table->n; k++)
            if (str_eq(table->items[k].key, name)) ids = json_get(&table->items[k], "ids");
        if (!ids || ids->type != JSON_ARR)
            return ERR_FAIL(h->e, FORMAT, "post_processor: \"%.*s\" is not in special_tokens",
                            SHOWN(name));
        for (size_t k = 0; k < ids->n; k++) {
            enum err rc = around(h, &ids->items[k], after);
            if (rc != ERR_OK) return rc;
        }
    }
    return ERR_OK;
}

static enum err read_post(struct tok_hf *h, const struct json *v)
{
    str type = json_str(json_get(v, "type"), S(""));
    if (str_eqc(type, "TemplateProcessing")) return read_template(h, v);
    if (str_eqc(type, "ByteLevel")) return ERR_OK; /* offsets only */
    if (!str_eqc(type, "BertProcessing") && !str_eqc(type, "RobertaProcessing"))
        return ERR_FAIL(h->e, UNSUPPORTED, "post_processor \"%.*s\" is not supported", SHOWN(type));
    const struct json *cls = json_get(v, "cls"), *sep = json_get(v, "sep");
    if (!cls || cls->type != JSON_ARR || cls->n != 2 || !sep || sep->type != JSON_ARR ||
        sep->n != 2)
        return ERR_FAIL(h->e, FORMAT, "post_processor: %.*s without cls and sep", SHOWN(type));
    h->s->n_head = h->s->n_tail = 0;
    enum err rc = around(h, &cls->items[1], false);
    return rc == ERR_OK ? around(h, &sep->items[1], true) : rc;
}

/* ---- tokenizer_config.json, special_tokens_map.json ---- */

/* "text" or {"content": "text"} */
static str token_text(const struct json *v)
{
    if (v && v->type == JSON_OBJ) v = json_get(v, "content");
    return json_str(v, S(""));
}

static void set_special(struct tok_hf *h, const struct json *v, int32_t *id)
{
    int32_t found = tok_hf_find(h->s, token_text(v));
    if (found < 0) return;
    *id = found;
    if (tok_attr_kind(h->s->attr[found]) == TOK_NORMAL)
        h->s->attr[found] = (uint8_t)((h->s->attr[found] & ~(unsigned)TOK_ATTR_KIND) | TOK_CONTROL);
}

/* Makes `id` the first of head or the last of tail, or takes it out. */
static void put_around(int32_t *list, uint32_t *n, int32_t id, bool want, bool front)
{
    uint32_t at = 0;
    while (at < *n && list[at] != id)
        at++;
    bool has = at < *n;
    if (id < 0 || has == want) return;
    if (!want) {
        memmove(list + at, list + at + 1, (*n - at - 1) * sizeof *list);
        (*n)--;
    } else if (*n < TOK_AROUND_MAX) {
        if (front) memmove(list + 1, list, *n * sizeof *list);
        list[front ? 0 : *n] = id;
        (*n)++;
    }
}

static enum err read_config(struct tok_hf *h, str text, bool whole, uint32_t *cap)
{
    const struct json *root;
    if (!text.n) return ERR_OK;
    enum err rc = json_parse(&h->tree, text, &root, h->e);
    if (rc != ERR_OK) return rc;
    if (whole) rc = tok_hf_added(h, json_get(root, "added_tokens_decoder"), cap);
    if (rc != ERR_OK) return rc;
    set_special(h, json_get(root, "bos_token"), &h->s->bos);
    set_special(h, json_get(root, "eos_token"), &h->s->eos);
    if (h->s->unk < 0) set_special(h, json_get(root, "unk_token"), &h->s->unk);
    const struct json *bos = json_get(root, "add_bos_token"),
                      *eos = json_get(root, "add_eos_token");
    struct tok_spec *s = h->s;
    if (bos && bos->type == JSON_BOOL) put_around(s->head, &s->n_head, s->bos, bos->b, true);
    if (eos && eos->type == JSON_BOOL) put_around(s->tail, &s->n_tail, s->eos, eos->b, false);
    return ERR_OK;
}

enum err tok_hf_config(struct tok_hf *h, str config, str special, uint32_t *cap)
{
    enum err rc = read_config(h, special, false, cap);
    if (rc == ERR_OK) rc = read_config(h, config, true, cap);
    mark_unknown(h->s);
    return rc;
}

/* ---- the whole ---- */

static void mark_bytes(struct tok_spec *s)
{
    for (uint32_t id = 0; id < s->n; id++)
        if (tok_attr_kind(s->attr[id]) == TOK_NORMAL && tok_byte_of(s->text[id]) >= 0)
            s->attr[id] = TOK_BYTE;
}

static enum err read_all(struct tok_hf *h, str json, str config, str special)
{
    const struct json *root;
    uint32_t cap = 0;
    enum err rc = json_parse(&h->tree, json, &root, h->e);
    if (rc == ERR_OK) rc = read_model(h, root, &cap);
    if (rc == ERR_OK) rc = tok_hf_rules(h, root);
    if (rc == ERR_OK)
        rc = tok_hf_each(h, json_get(root, "post_processor"), "processors", read_post);
    if (rc != ERR_OK) return rc;
    h->s->pre.name = "tokenizer.json";
    h->s->pre.raw = !h->byte_level;
    if (h->s->byte_fallback && !h->byte_level) mark_bytes(h->s);
    return tok_hf_config(h, config, special, &cap);
}

enum err tok_spec_from_json(struct tok_spec *s, struct arena *a, str json, str config, str special,
                            struct err_info *e)
{
    struct tok_hf h = {.s = s, .arena = a, .bytes = json, .e = e};
    s->bos = s->eos = s->unk = -1;
    arena_init(&h.tree, LIMIT_TOK_ARENA);
    enum err rc = read_all(&h, json, config, special);
    arena_fini(&h.tree);
    return rc;
}
