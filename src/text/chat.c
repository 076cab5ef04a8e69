/* chat: from messages to a prompt.
 *
 * The template sees what transformers gives it: messages, tools, documents, add_generation_prompt,
 * bos_token, eos_token and the caller's extra values. Contents that are lists of text parts only
 * are joined with newlines first, because most templates know strings only.
 *
 * Tokenising must neither let a user's "<|im_end|>" become a control token nor cut the text where
 * template and contents meet, since words merge across that border. So control tokens are looked
 * for only in stretches the template wrote itself, and what lies between two of them is tokenised
 * as one plain text.
 *
 * Left out: turning a tool call's argument string into an object for templates that want one.
 */
#include "text/chat.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "text/jinja.h"

#define EXTRA_MAX 64 /* members of chat_template_kwargs that are looked at */

struct chat {
    struct jinja *t;
    struct arena arena;
    str bos, eos;
    bool is_default;
};

static const char chatml[] =
    "{% for message in messages %}"
    "{{ '<|im_start|>' ~ message.role ~ '\\n' ~ (message.content or '') ~ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/* Roles that templates spell control tokens with, as in "<|user|>". */
static const char *const roles[] = {"system",    "user",        "assistant", "tool",  "function",
                                    "developer", "observation", "ipython",   "model", NULL};

/* ---- life cycle ---- */

#define BOS_MAX KIB(16) /* bytes of BOS or EOS as text */

enum err chat_open(struct chat **out, str source, str bos, str eos, struct err_info *e)
{
    struct chat *c = mem_alloc(sizeof *c);
    enum err err;

    *out = NULL;
    if (!c) return ERR_FAIL(e, NOMEM, "no memory for the chat template");
    arena_init(&c->arena, KIB(64));
    c->is_default = str_trim(source).n == 0;
    c->bos = arena_str(&c->arena, bos);
    c->eos = arena_str(&c->arena, eos);
    if (bos.n > BOS_MAX || eos.n > BOS_MAX)
        err = ERR_FAIL(e, LIMIT, "the texts of BOS and EOS are longer than %zu bytes", BOS_MAX);
    else if (!c->bos.p || !c->eos.p)
        err = ERR_FAIL(e, NOMEM, "no memory for the chat template");
    else
        err = jinja_compile(&c->t, c->is_default ? S(chatml) : source, e);
    if (err)
        chat_close(c);
    else
        *out = c;
    return err;
}

void chat_close(struct chat *c)
{
    if (!c) return;
    jinja_free(c->t);
    arena_fini(&c->arena);
    mem_free(c);
}

bool chat_is_default(const struct chat *c)
{
    return c->is_default;
}

/* ---- contents ---- */

/* The text of a content that is a list of {type: "text", text: "..."}; .p is NULL for any other. */
static str flat_text(struct arena *a, const struct json *content)
{
    size_t n = 0;
    char *w, *p;

    if (!content || content->type != JSON_ARR || content->n == 0) return (str){0};
    for (size_t i = 0; i < content->n; i++) {
        const struct json *text = json_get(&content->items[i], "text");

        if (!str_eq(json_str(json_get(&content->items[i], "type"), S("")), S("text")))
            return (str){0};
        if (!text || text->type != JSON_STR) return (str){0};
        n += text->s.n + 1;
    }
    w = p = arena_alloc(a, n, 1);
    if (!p) return (str){0};
    for (size_t i = 0; i < content->n; i++) {
        str s = json_get(&content->items[i], "text")->s;

        if (i) *w++ = '\n';
        if (s.n) memcpy(w, s.p, s.n);
        w += s.n;
    }
    return (str){p, n - 1};
}

/* A copy of the messages whose contents of text parts are strings. */
static enum err flatten(struct arena *a, const struct json *messages, struct json *out,
                        struct err_info *e)
{
    struct json *list = ARENA_NEW(a, struct json, messages->n + 1);

    if (!list) return ERR_FAIL(e, NOMEM, "no memory for %zu messages", messages->n);
    for (size_t i = 0; i < messages->n; i++) {
        str text = flat_text(a, json_get(&messages->items[i], "content"));
        struct json *members;

        list[i] = messages->items[i];
        if (!text.p) continue;
        members = ARENA_NEW(a, struct json, list[i].n);
        if (!members) return ERR_FAIL(e, NOMEM, "no memory for %zu messages", messages->n);
        memcpy(members, list[i].items, list[i].n * sizeof *members);
        for (size_t k = 0; k < list[i].n; k++) {
            if (!str_eq(members[k].key, S("content"))) continue;
            members[k].type = JSON_STR;
            members[k].s = text;
        }
        list[i].items = members;
    }
    *out = *messages;
    out->items = list;
    return ERR_OK;
}

/* ---- render ---- */

static enum err render(const struct chat *c, struct arena *a, const struct chat_input *in, buf *out,
                       buf *marks, struct err_info *e)
{
    static const struct json none = {.type = JSON_NULL};
    struct json messages, generation = {.type = JSON_BOOL, .b = in->add_generation_prompt};
    struct jinja_var vars[EXTRA_MAX + 8];
    struct jinja_input ji = {.vars = vars, .now = in->now, .unmarked = roles};
    enum err err;

    if (!in->messages || in->messages->type != JSON_ARR)
        return ERR_FAIL(e, INVALID, "messages must be an array of {role, content}");
    for (size_t i = 0; i < in->messages->n; i++) {
        if (in->messages->items[i].type != JSON_OBJ)
            return ERR_FAIL(e, INVALID, "messages[%zu] is not an object", i);
    }
    err = flatten(a, in->messages, &messages, e);
    if (err) return err;

    vars[ji.n++] = (struct jinja_var){.name = "bos_token", .text = c->bos};
    vars[ji.n++] = (struct jinja_var){.name = "eos_token", .text = c->eos};
    vars[ji.n++] = (struct jinja_var){.name = "documents", .value = &none};
    if (in->extra && in->extra->type == JSON_OBJ && in->extra->n > EXTRA_MAX)
        return ERR_FAIL(e, LIMIT, "chat_template_kwargs has more than %d members", EXTRA_MAX);
    for (size_t i = 0; in->extra && in->extra->type == JSON_OBJ && i < in->extra->n; i++) {
        const struct json *v = &in->extra->items[i];
        str name = arena_str(a, v->key);

        if (!name.p) return ERR_FAIL(e, NOMEM, "no memory for chat_template_kwargs");
        vars[ji.n++] = (struct jinja_var){.name = name.p, .value = v, .untrusted = true};
    }
    vars[ji.n++] = (struct jinja_var){.name = "messages", .value = &messages, .untrusted = true};
    vars[ji.n++] = (struct jinja_var){
        .name = "tools", .value = in->tools ? in->tools : &none, .untrusted = true};
    vars[ji.n++] = (struct jinja_var){.name = "add_generation_prompt", .value = &generation};
    return jinja_render(c->t, a, &ji, out, marks, e);
}

enum err chat_render(const struct chat *c, struct arena *scratch, const struct chat_input *in,
                     buf *out, struct err_info *e)
{
    return render(c, scratch, in, out, NULL, e);
}

/* ---- tokenise ---- */

struct encoder {
    const struct tok *t;
    struct arena *a;
    str text;
    size_t done; /* text[0..done) is tokenised */
    buf ids;
    struct err_info *e;
};

static bool blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static enum err plain_to(struct encoder *x, size_t to)
{
    int32_t *ids;
    size_t n;
    enum err err;

    if (to <= x->done) return ERR_OK;
    err = tok_encode(x->t, x->a, str_sub(x->text, x->done, to - x->done), 0, &ids, &n, x->e);
    if (!err) buf_put(&x->ids, ids, n * sizeof *ids);
    x->done = to;
    return err;
}

/* A control token at text[at..at + n). Some vocabularies count the white space behind it as part of
 * it: then token and blanks together are one id. */
static enum err control_at(struct encoder *x, size_t at, size_t n, int32_t id)
{
    size_t end = at + n, blanks = 0, count;
    int32_t *ids;
    enum err err = plain_to(x, at);

    if (err) return err;
    buf_put(&x->ids, &id, sizeof id);
    x->done = end;
    while (end + blanks < x->text.n && blank(x->text.p[end + blanks]))
        blanks++;
    if (blanks == 0) return ERR_OK;
    err = tok_encode(x->t, x->a, str_sub(x->text, at, n + blanks), TOK_PARSE_SPECIAL, &ids, &count,
                     x->e);
    if (!err && count == 1) x->done += blanks;
    return err;
}

/* Finds the control tokens of text[from..to), which the template wrote. The tokenizer says which
 * they are and in which order; their spelling says where. */
static enum err template_run(struct encoder *x, size_t from, size_t to)
{
    str run = str_sub(x->text, from, to - from);
    int32_t *ids;
    size_t n, at = 0;
    enum err err = tok_encode(x->t, x->a, run, TOK_PARSE_SPECIAL, &ids, &n, x->e);

    for (size_t i = 0; i < n && !err; i++) {
        str spelled = tok_text(x->t, ids[i]);
        size_t hit = tok_kind(x->t, ids[i]) == TOK_CONTROL && spelled.n ? str_find(run, spelled, at)
                                                                        : SIZE_MAX;

        if (hit == SIZE_MAX) continue;
        err = control_at(x, from + hit, spelled.n, ids[i]);
        at = hit + spelled.n;
    }
    return err;
}

static enum err encode(struct encoder *x, const char *marks, int32_t **ids, size_t *n)
{
    size_t at = 0;
    int32_t bos = tok_bos(x->t), *out;
    enum err err = ERR_OK;

    while (at < x->text.n && !err) {
        const char *next = memchr(marks + at, !marks[at], x->text.n - at);
        size_t end = next ? (size_t)(next - marks) : x->text.n;

        if (!marks[at]) err = template_run(x, at, end);
        at = end;
    }
    if (!err) err = plain_to(x, x->text.n);
    if (err) return err;
    if (x->ids.no_memory) return ERR_FAIL(x->e, NOMEM, "no memory for the tokens of a prompt");
    if (x->ids.failed) return ERR_FAIL(x->e, LIMIT, "the prompt is too long");

    *n = x->ids.n / sizeof *out;
    out = ARENA_NEW(x->a, int32_t, *n + 1);
    if (!out) return ERR_FAIL(x->e, NOMEM, "no memory for %zu tokens", *n);
    if (*n) memcpy(out, x->ids.p, x->ids.n);
    if (tok_adds_bos(x->t) && bos >= 0 && (*n == 0 || out[0] != bos)) {
        memmove(out + 1, out, *n * sizeof *out);
        out[0] = bos;
        ++*n;
    }
    *ids = out;
    return ERR_OK;
}

enum err chat_encode(const struct chat *c, const struct tok *t, struct arena *a,
                     const struct chat_input *in, int32_t **ids, size_t *n, struct err_info *e)
{
    buf text = {.cap = LIMIT_TEMPLATE_OUT}, marks = {.cap = LIMIT_TEMPLATE_OUT};
    struct encoder x = {
        .t = t, .a = a, .e = e, .ids = {.cap = LIMIT_TEMPLATE_OUT * sizeof(int32_t)}};
    enum err err = render(c, a, in, &text, &marks, e);

    if (!err) {
        x.text = buf_view(&text);
        err = encode(&x, marks.p, ids, n);
    }
    buf_fini(&text);
    buf_fini(&marks);
    buf_fini(&x.ids);
    return err;
}
