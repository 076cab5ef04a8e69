/* tok_ranks: byte-level vocabularies that come as plain lists.
 *
 * tiktoken's file has a line for each token, its bytes in base64 and its rank, which is its id; two
 * tokens join when their text together is a token, the lowest rank first. GPT-2's pair of files has
 * the ids in vocab.json and the merges in order, a line each, in merges.txt. Neither says how text
 * is cut into words, so the caller names the pre-tokenizer; special tokens come from
 * tokenizer_config.json.
 *
 * Sources: openai/tiktoken, openai/gpt-2.
 */
#include <string.h>

#include "base/limits.h"
#include "text/tok_hf.h"
#include "text/tok_int.h"

static enum err set_pre(struct tok_spec *s, str pre, struct err_info *e)
{
    const struct tok_pre *p = tok_pre_find(pre);
    if (!p)
        return ERR_FAIL(e, UNSUPPORTED, "unknown pre-tokenizer \"%.*s\"",
                        (int)(pre.n < 64 ? pre.n : 64), pre.p);
    s->pre = *p;
    s->algo = TOK_BPE;
    s->bos = s->eos = s->unk = -1;
    return ERR_OK;
}

static enum err read_line(struct tok_hf *h, str line, size_t number, uint32_t *cap)
{
    str rest, digits = str_cut(line, ' ', &rest);
    int64_t rank;
    if (!digits.n || !str_int(rest, &rank))
        return ERR_FAIL(h->e, FORMAT, "line %zu is no \"base64 rank\"", number);
    enum err rc = tok_hf_room(h, rank, cap);
    if (rc != ERR_OK) return rc;
    if (h->s->text[rank].n)
        return ERR_FAIL(h->e, FORMAT, "line %zu: rank %lld comes twice", number, (long long)rank);
    str bytes = tok_hf_base64(&h->tree, digits);
    if (!bytes.p || !bytes.n)
        return ERR_FAIL(h->e, FORMAT, "line %zu: the token is no base64", number);
    str text = tok_bpe_spell(h->arena, bytes);
    arena_clear(&h->tree);
    if (!text.p) return ERR_FAIL(h->e, NOMEM, "no memory for a token");
    ((str *)(uintptr_t)h->s->text)[rank] = text;
    h->s->attr[rank] = TOK_NORMAL;
    return ERR_OK;
}

static size_t count_lines(str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '\n';
    return n;
}

enum err tok_spec_from_ranks(struct tok_spec *s, struct arena *a, str ranks, str pre, str config,
                             struct err_info *e)
{
    struct tok_hf h = {.s = s, .arena = a, .e = e};
    uint32_t cap = 0;
    size_t number = 0, lines = count_lines(ranks);
    arena_init(&h.tree, LIMIT_TOK_ARENA);
    enum err rc = set_pre(s, pre, e);
    /* Room for all of them at once. */
    if (rc == ERR_OK && lines && lines < LIMIT_VOCAB)
        rc = tok_hf_room(&h, (int64_t)lines - 1, &cap);
    for (str rest = ranks; rest.n && rc == ERR_OK;) {
        str line = str_trim(str_cut(rest, '\n', &rest));
        number++;
        if (line.n) rc = read_line(&h, line, number, &cap);
    }
    if (rc == ERR_OK && !s->n) rc = ERR_FAIL(e, FORMAT, "a list of ranks without a line");
    s->by_rank = s->pre.ignore_merges = true;
    arena_clear(&h.tree);
    if (rc == ERR_OK) rc = tok_hf_config(&h, config, (str){NULL, 0}, &cap);
    arena_fini(&h.tree);
    return rc;
}

static enum err read_vocab(struct tok_hf *h, str vocab, uint32_t *cap)
{
    const struct json *root;
    enum err rc = json_parse(&h->tree, vocab, &root, h->e);
    if (rc != ERR_OK) return rc;
    if (root->type != JSON_OBJ || !root->n)
        return ERR_FAIL(h->e, FORMAT, "vocab.json is no object of tokens");
    int64_t most = -1;
    for (size_t i = 0; i < root->n; i++) {
        int64_t id = json_int(&root->items[i], -1);
        if (id < 0) return ERR_FAIL(h->e, FORMAT, "vocab.json: entry %zu has no id", i);
        if (id > most) most = id;
    }
    rc = tok_hf_room(h, most, cap);
    for (size_t i = 0; i < root->n && rc == ERR_OK; i++) {
        str text = tok_hf_keep(h, root->items[i].key);
        int64_t id = json_int(&root->items[i], -1);
        if (!text.p) return ERR_FAIL(h->e, NOMEM, "no memory for a token");
        ((str *)(uintptr_t)h->s->text)[id] = text;
        h->s->attr[id] = TOK_NORMAL;
    }
    return rc;
}

static enum err read_lines(struct tok_hf *h, str merges)
{
    size_t most = count_lines(merges) + 1;
    if (most > LIMIT_VOCAB)
        return ERR_FAIL(h->e, LIMIT, "merges.txt has %zu lines, the limit is %u", most,
                        LIMIT_VOCAB);
    str *merge = ARENA_NEW(h->arena, str, most);
    if (!merge) return ERR_FAIL(h->e, NOMEM, "no memory for %zu merges", most);
    size_t number = 0;
    for (str rest = merges; rest.n;) {
        str line = str_cut(rest, '\n', &rest);
        if (line.n && line.p[line.n - 1] == '\r') line.n--;
        number++;
        if (!line.n || (number == 1 && str_starts(line, S("#version")))) continue;
        if (str_find(line, S(" "), 1) == SIZE_MAX)
            return ERR_FAIL(h->e, FORMAT, "merges.txt, line %zu: no pair of tokens", number);
        merge[h->s->n_merges++] = line;
    }
    h->s->merge = merge;
    return ERR_OK;
}

enum err tok_spec_from_merges(struct tok_spec *s, struct arena *a, str vocab, str merges, str pre,
                              str config, struct err_info *e)
{
    struct tok_hf h = {.s = s, .arena = a, .bytes = vocab, .e = e};
    uint32_t cap = 0;
    arena_init(&h.tree, LIMIT_TOK_ARENA);
    enum err rc = set_pre(s, pre, e);
    if (rc == ERR_OK) rc = read_vocab(&h, vocab, &cap);
    if (rc == ERR_OK) rc = read_lines(&h, merges);
    if (rc == ERR_OK) rc = tok_hf_config(&h, config, (str){NULL, 0}, &cap);
    arena_fini(&h.tree);
    return rc;
}
