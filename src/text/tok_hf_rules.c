/* tok_hf_rules: the steps of a tokenizer.json that rewrite and cut text.
 *
 * Normalizers become steps of tok_norm.c, pre-tokenizers stages of tok_scan.c or patterns of
 * tok_split.c, or steps where they rewrite (Metaspace, a leading space). Of the decoders only two
 * facts are read, since decoding follows from the kind: whether the vocabulary is byte-level, and
 * whether the first space is taken off. What is unknown is refused by name.
 *
 * Steps after ByteLevel see bytes here, not their spelling as letters, which makes a difference to
 * Digits only; other classes of characters behind ByteLevel are refused.
 */
#include "text/tok_hf.h"

#include <string.h>

#include "text/tok_int.h"
#include "text/tok_scan.h"

#define SHOWN(s) (int)((s).n < 64 ? (s).n : 64), (s).p
#define NEST_MAX 8

static str type_of(const struct json *v)
{
    return json_str(json_get(v, "type"), S(""));
}

enum err tok_hf_each(struct tok_hf *h, const struct json *step, const char *list,
                     enum err (*f)(struct tok_hf *, const struct json *))
{
    struct {
        const struct json *items;
        size_t n, at;
    } stack[NEST_MAX];
    size_t depth = 0;
    if (!step || step->type == JSON_NULL) return ERR_OK;
    stack[depth].items = step;
    stack[depth].n = 1;
    stack[depth++].at = 0;
    while (depth) {
        if (stack[depth - 1].at == stack[depth - 1].n) {
            depth--;
            continue;
        }
        const struct json *v = &stack[depth - 1].items[stack[depth - 1].at++];
        if (!str_eqc(type_of(v), "Sequence")) {
            enum err rc = f(h, v);
            if (rc != ERR_OK) return rc;
            continue;
        }
        const struct json *inner = json_get(v, list);
        if (!inner || inner->type != JSON_ARR)
            return ERR_FAIL(h->e, FORMAT, "a Sequence without \"%s\"", list);
        if (depth == NEST_MAX)
            return ERR_FAIL(h->e, LIMIT, "%s: more than %d Sequences in one another", list,
                            NEST_MAX);
        stack[depth].items = inner->items;
        stack[depth].n = inner->n;
        stack[depth++].at = 0;
    }
    return ERR_OK;
}

static enum err add_norm(struct tok_hf *h, struct tok_norm step)
{
    if (h->s->n_norm == TOK_NORMS_MAX)
        return ERR_FAIL(h->e, LIMIT, "more than %d normalizers", TOK_NORMS_MAX);
    h->s->norm[h->s->n_norm++] = step;
    return ERR_OK;
}

static enum err add_stage(struct tok_hf *h, struct tok_stage stage)
{
    struct tok_pre *p = &h->s->pre;
    size_t n = 0;
    while (n < TOK_STAGES_MAX && (p->stage[n].scan || p->stage[n].split))
        n++;
    /* One is left for tok_build(). */
    if (n + 1 >= TOK_STAGES_MAX)
        return ERR_FAIL(h->e, LIMIT, "more than %d pre-tokenizers", TOK_STAGES_MAX - 1);
    p->stage[n] = stage;
    return ERR_OK;
}

static bool has_stage(const struct tok_hf *h)
{
    return h->s->pre.stage[0].scan || h->s->pre.stage[0].split;
}

/* A string member, kept. */
static enum err text_of(struct tok_hf *h, const struct json *v, const char *key, str *out)
{
    const struct json *x = json_get(v, key);
    if (!x || x->type != JSON_STR)
        return ERR_FAIL(h->e, FORMAT, "%.*s: \"%s\" is missing", SHOWN(type_of(v)), key);
    *out = tok_hf_keep(h, x->s);
    return out->p ? ERR_OK : ERR_FAIL(h->e, NOMEM, "no memory for a tokenizer");
}

/* {"String": text} or {"Regex": pattern}, or either as it is. */
static enum err pattern_of(struct tok_hf *h, const struct json *v, str *out, bool *regex)
{
    const struct json *p = json_get(v, "pattern"), *text = json_get(p, "String");
    *regex = !text && json_get(p, "Regex");
    if (*regex) text = json_get(p, "Regex");
    if (p && p->type == JSON_STR) text = p;
    if (!text || text->type != JSON_STR)
        return ERR_FAIL(h->e, FORMAT, "%.*s: \"pattern\" is missing", SHOWN(type_of(v)));
    *out = tok_hf_keep(h, text->s);
    return out->p ? ERR_OK : ERR_FAIL(h->e, NOMEM, "no memory for a pattern");
}

/* ---- normalizers ---- */

static enum err read_replace(struct tok_hf *h, const struct json *v)
{
    struct tok_norm step = {.op = TOK_NORM_REPLACE};
    bool regex = false;
    enum err rc = text_of(h, v, "content", &step.to);
    if (rc == ERR_OK) rc = pattern_of(h, v, &step.from, &regex);
    if (rc == ERR_OK && regex)
        rc = tok_split_new(&step.split, h->arena, step.from, TOK_SPLIT_ISOLATED, false, h->e);
    return rc == ERR_OK ? add_norm(h, step) : rc;
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = c ? strchr(digits, c) : NULL;
    return p ? (int)(p - digits) : -1;
}

str tok_hf_base64(struct arena *a, str s)
{
    char *p = arena_alloc(a, s.n / 4 * 3 + 3, 1);
    size_t n = 0;
    uint32_t bits = 0, have = 0;
    while (s.n && s.p[s.n - 1] == '=')
        s.n--;
    for (size_t i = 0; p && i < s.n; i++) {
        int digit = base64_digit(s.p[i]);
        if (digit < 0) return (str){NULL, 0};
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have >= 8) p[n++] = (char)(bits >> (have -= 8));
    }
    return (str){p, n};
}

static enum err read_charsmap(struct tok_hf *h, const struct json *v)
{
    const struct json *text = json_get(v, "precompiled_charsmap");
    if (!text || text->type == JSON_NULL || (text->type == JSON_STR && !text->s.n)) return ERR_OK;
    struct tok_norm step = {.op = TOK_NORM_CHARSMAP, .flags = 1};
    if (text->type == JSON_STR) step.from = tok_hf_base64(h->arena, text->s);
    if (!step.from.p) return ERR_FAIL(h->e, FORMAT, "Precompiled: the map is no base64");
    return add_norm(h, step);
}

static bool flag(const struct json *v, const char *key, bool dflt)
{
    return json_bool(json_get(v, key), dflt);
}

static enum err read_bert(struct tok_hf *h, const struct json *v)
{
    bool lower = flag(v, "lowercase", true);
    unsigned flags = 0;
    if (flag(v, "clean_text", true)) flags |= TOK_BERT_CLEAN;
    if (flag(v, "handle_chinese_chars", true)) flags |= TOK_BERT_HAN;
    if (flag(v, "strip_accents", lower)) flags |= TOK_BERT_ACCENTS;
    if (lower) flags |= TOK_BERT_LOWER;
    return add_norm(h, (struct tok_norm){.op = TOK_NORM_BERT, .flags = flags});
}

static enum err read_normalizer(struct tok_hf *h, const struct json *v)
{
    static const struct {
        const char *name;
        enum tok_norm_op op;
    } simple[] = {{"NFC", TOK_NORM_NFC},         {"NFD", TOK_NORM_NFD},
                  {"NFKC", TOK_NORM_NFKC},       {"NFKD", TOK_NORM_NFKD},
                  {"Lowercase", TOK_NORM_LOWER}, {"StripAccents", TOK_NORM_STRIP_MARKS},
                  {"Nmt", TOK_NORM_NMT}};
    str type = type_of(v);
    for (size_t i = 0; i < sizeof simple / sizeof simple[0]; i++)
        if (str_eqc(type, simple[i].name))
            return add_norm(h, (struct tok_norm){.op = simple[i].op});
    if (str_eqc(type, "Replace")) return read_replace(h, v);
    if (str_eqc(type, "BertNormalizer")) return read_bert(h, v);
    if (str_eqc(type, "Precompiled")) return read_charsmap(h, v);
    if (str_eqc(type, "ByteLevel")) {
        h->byte_level = true;
        return ERR_OK;
    }
    if (str_eqc(type, "Prepend")) {
        struct tok_norm step = {.op = TOK_NORM_PREPEND};
        enum err rc = text_of(h, v, "prepend", &step.to);
        return rc == ERR_OK ? add_norm(h, step) : rc;
    }
    if (str_eqc(type, "Strip")) {
        unsigned sides =
            (flag(v, "strip_left", true) ? 1u : 0) | (flag(v, "strip_right", true) ? 2u : 0);
        return add_norm(h, (struct tok_norm){.op = TOK_NORM_STRIP, .flags = sides});
    }
    return ERR_FAIL(h->e, UNSUPPORTED, "normalizer \"%.*s\" is not supported", SHOWN(type));
}

/* ---- pre-tokenizers ---- */

static enum err behaviour(struct tok_hf *h, const struct json *v, enum tok_split_how *out)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    str s = json_str(json_get(v, "behavior"), S("Isolated"));
    for (size_t i = 0; i < 5; i++)
        if (str_ieq(s, str_c(names[i]))) {
            *out = (enum tok_split_how)i;
            return ERR_OK;
        }
    return ERR_FAIL(h->e, UNSUPPORTED, "%.*s: behavior \"%.*s\" is not supported",
                    SHOWN(type_of(v)), SHOWN(s));
}

static enum err add_regex(struct tok_hf *h, str regex, enum tok_split_how how, bool invert)
{
    struct tok_stage stage = {0};
    enum err rc = tok_split_new(&stage.split, h->arena, regex, how, invert, h->e);
    return rc == ERR_OK ? add_stage(h, stage) : rc;
}

static enum err read_split(struct tok_hf *h, const struct json *v)
{
    enum tok_split_how how;
    struct tok_stage stage = {0};
    str text;
    bool regex, invert = flag(v, "invert", false);
    enum err rc = behaviour(h, v, &how);
    if (rc == ERR_OK) rc = pattern_of(h, v, &text, &regex);
    if (rc != ERR_OK) return rc;
    /* What is between the matches of these patterns is dropped or kept alike: nothing is. */
    bool plain = how == TOK_SPLIT_ISOLATED || (how == TOK_SPLIT_REMOVED && invert);
    if (regex && plain && tok_pre_pattern(text, &stage)) return add_stage(h, stage);
    if (regex) return add_regex(h, text, how, invert);
    rc = tok_split_literal(&stage.split, h->arena, text, how, invert, h->e);
    return rc == ERR_OK ? add_stage(h, stage) : rc;
}

static enum err read_metaspace(struct tok_hf *h, const struct json *v)
{
    str to = json_str(json_get(v, "replacement"), S(TOK_SPACE));
    str scheme = json_str(json_get(v, "prepend_scheme"),
                          flag(v, "add_prefix_space", true) ? S("always") : S("never"));
    if (!str_eq(to, S(TOK_SPACE)))
        return ERR_FAIL(h->e, UNSUPPORTED, "Metaspace: replacement \"%.*s\" is not supported",
                        SHOWN(to));
    unsigned flags = str_eqc(scheme, "always")  ? TOK_PREFIX_ALWAYS
                     : str_eqc(scheme, "first") ? TOK_PREFIX_FIRST
                                                : 0u;
    if (!flags && !str_eqc(scheme, "never"))
        return ERR_FAIL(h->e, UNSUPPORTED, "Metaspace: prepend_scheme \"%.*s\" is not supported",
                        SHOWN(scheme));
    struct tok_norm step = {TOK_NORM_METASPACE, flags, S(" "), S(TOK_SPACE), NULL};
    if (has_stage(h) && flags) { /* each of the words before would get a prefix */
        struct tok_stage *one = h->s->pre.stage;
        bool words = one[0].scan == tok_scan_blanks && !one[0].arg && !one[1].scan && !one[1].split;
        if (!words || flags != TOK_PREFIX_ALWAYS)
            return ERR_FAIL(h->e, UNSUPPORTED,
                            "Metaspace with a prefix after another pre_tokenizer");
        one[0] = (struct tok_stage){0};
        step = (struct tok_norm){.op = TOK_NORM_WORDS};
    }
    enum err rc = add_norm(h, step);
    if (rc != ERR_OK || !flag(v, "split", true)) return rc;
    return add_stage(h, (struct tok_stage){.scan = tok_scan_metaspace});
}

static enum err read_byte_level(struct tok_hf *h, const struct json *v)
{
    h->byte_level = true;
    if (flag(v, "add_prefix_space", true)) {
        if (has_stage(h))
            return ERR_FAIL(h->e, UNSUPPORTED,
                            "ByteLevel with add_prefix_space after another pre-tokenizer");
        struct tok_norm step = {TOK_NORM_METASPACE, TOK_PREFIX_ALWAYS, S(" "), S(" "), NULL};
        enum err rc = add_norm(h, step);
        if (rc != ERR_OK) return rc;
    }
    if (!flag(v, "use_regex", true)) return ERR_OK;
    return add_stage(h, (struct tok_stage){.scan = tok_scan_gpt2});
}

static enum err read_punctuation(struct tok_hf *h, const struct json *v)
{
    enum tok_split_how how;
    enum err rc = behaviour(h, v, &how);
    if (rc != ERR_OK) return rc;
    unsigned most = how == TOK_SPLIT_ISOLATED ? TOK_AT_MOST(1) : 0;
    if (how == TOK_SPLIT_ISOLATED || how == TOK_SPLIT_CONTIGUOUS)
        return add_stage(h, (struct tok_stage){.scan = tok_scan_set, .arg = TOK_SET_MARKS | most});
    return add_regex(h, S("[\\p{P}$+<=>^`|~]"), how, false);
}

#define WORDY "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}"

/* What is the same over bytes and over their spelling. */
static bool ascii_only(const struct json *v)
{
    const struct json *p = json_get(v, "pattern");
    str s = json_str(json_get(p, "Regex"), json_str(json_get(p, "String"), S("\\")));
    bool set = str_starts(s, S("[0-9]"));
    for (size_t i = 0; i < s.n && !set; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9'))) return false;
    return set ? str_find(s, S("^"), 0) == SIZE_MAX && str_find(s, S("\\"), 0) == SIZE_MAX : true;
}

static enum err read_pre_tokenizer(struct tok_hf *h, const struct json *v)
{
    str type = type_of(v);
    if (h->byte_level && !str_eqc(type, "Digits") && !(str_eqc(type, "Split") && ascii_only(v)))
        return ERR_FAIL(h->e, UNSUPPORTED,
                        "pre_tokenizer \"%.*s\" after ByteLevel is not supported", SHOWN(type));
    if (str_eqc(type, "ByteLevel")) return read_byte_level(h, v);
    if (str_eqc(type, "Split")) return read_split(h, v);
    if (str_eqc(type, "Metaspace")) return read_metaspace(h, v);
    if (str_eqc(type, "Punctuation")) return read_punctuation(h, v);
    if (str_eqc(type, "Digits")) {
        unsigned most = flag(v, "individual_digits", false) ? TOK_AT_MOST(1) : 0;
        if (h->byte_level)
            return add_stage(h, (struct tok_stage){.scan = tok_scan_spelled, .arg = most != 0});
        return add_stage(h, (struct tok_stage){.scan = tok_scan_set, .arg = TOK_SET_NUMBER | most});
    }
    if (str_eqc(type, "WhitespaceSplit"))
        return add_stage(h, (struct tok_stage){.scan = tok_scan_blanks});
    if (str_eqc(type, "BertPreTokenizer"))
        return add_stage(h, (struct tok_stage){.scan = tok_scan_blanks, .arg = 1});
    if (str_eqc(type, "Whitespace"))
        return add_regex(h, S("[" WORDY "]+|[^" WORDY "\\s]+"), TOK_SPLIT_REMOVED, true);
    if (str_eqc(type, "CharDelimiterSplit")) {
        struct tok_stage stage = {0};
        str text;
        enum err rc = text_of(h, v, "delimiter", &text);
        if (rc == ERR_OK)
            rc = tok_split_literal(&stage.split, h->arena, text, TOK_SPLIT_REMOVED, false, h->e);
        return rc == ERR_OK ? add_stage(h, stage) : rc;
    }
    return ERR_FAIL(h->e, UNSUPPORTED, "pre_tokenizer \"%.*s\" is not supported", SHOWN(type));
}

/* ---- decoders ---- */

static enum err read_decoder(struct tok_hf *h, const struct json *v)
{
    static const char *const others[] = {"ByteLevel", "ByteFallback", "Fuse",
                                         "Replace",   "CTC",          "BPEDecoder"};
    str type = type_of(v);
    if (str_eqc(type, "Metaspace")) {
        str scheme = json_str(json_get(v, "prepend_scheme"), S("always"));
        if (flag(v, "add_prefix_space", true) && !str_eqc(scheme, "never"))
            h->s->strips_space = true;
        return ERR_OK;
    }
    if (str_eqc(type, "Strip")) {
        bool space = str_eq(json_str(json_get(v, "content"), S(" ")), S(" "));
        if (space && json_int(json_get(v, "start"), 0) > 0) h->s->strips_space = true;
        return ERR_OK;
    }
    if (str_eqc(type, "WordPiece")) {
        h->s->strips_space = true;
        return ERR_OK;
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (str_eqc(type, others[i])) return ERR_OK;
    return ERR_FAIL(h->e, UNSUPPORTED, "decoder \"%.*s\" is not supported", SHOWN(type));
}

/* ---- the whole ---- */

enum err tok_hf_rules(struct tok_hf *h, const struct json *root)
{
    enum err rc = tok_hf_each(h, json_get(root, "normalizer"), "normalizers", read_normalizer);
    if (rc == ERR_OK)
        rc = tok_hf_each(h, json_get(root, "pre_tokenizer"), "pretokenizers", read_pre_tokenizer);
    if (rc == ERR_OK) rc = tok_hf_each(h, json_get(root, "decoder"), "decoders", read_decoder);
    return rc;
}
