/* test_jinja: the template machine against texts that Jinja2 3.1.6, set up as transformers does,
 * gives; its marks, its caps and its messages; real templates where the shared data is. */
#include "tap.h"

#include "base/json.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "text/jinja.h"

#define NOW 1721952000 /* 2024-07-26 */

static struct arena arena;
static struct err_info err;
static buf out = {.cap = LIMIT_TEMPLATE_OUT}, marks = {.cap = LIMIT_TEMPLATE_OUT};

static const struct json *parse(str text)
{
    const struct json *v = NULL;

    if (json_parse(&arena, text, &v, &err)) {
        printf("# %s\n", err.text);
        return NULL;
    }
    return v;
}

/* Renders with the members of an object as variables, all untrusted but *_token. */
static enum err render_with(str source, const struct json *ctx, const struct jinja_var *more,
                            size_t n_more)
{
    struct jinja_var vars[32];
    struct jinja_input in = {.vars = vars, .now = NOW};
    struct jinja *t;
    enum err e = jinja_compile(&t, source, &err);

    buf_clear(&out);
    buf_clear(&marks);
    if (e) return e;
    for (size_t i = 0; ctx && i < ctx->n && in.n < 24; i++) {
        const struct json *v = &ctx->items[i];

        vars[in.n++] = (struct jinja_var){.name = (char *)arena_str(&arena, v->key).p,
                                          .value = v,
                                          .untrusted = !str_ends(v->key, S("_token"))};
    }
    for (size_t i = 0; i < n_more; i++)
        vars[in.n++] = more[i];
    e = jinja_render(t, &arena, &in, &out, &marks, &err);
    jinja_free(t);
    return e;
}

static enum err render(const char *source, const char *ctx)
{
    return render_with(str_c(source), ctx ? parse(str_c(ctx)) : NULL, NULL, 0);
}

/* ---- hand-written cases ---- */

struct jcase {
    const char *source, *context, *want;
};

static const struct jcase cases[] = {
#include "jinja_cases.h"
};

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum err e = render(cases[i].source, cases[i].context);

        if (!is_str(e ? str_c(err.text) : buf_view(&out), str_c(cases[i].want), "case"))
            printf("#   source %s\n", cases[i].source);
        arena_clear(&arena);
    }
}

/* ---- shared data ---- */

static const struct json *load(const char *rel)
{
    const char *path = tap_data(rel);
    char *p;
    size_t n;
    str text;

    if (!path || map_read_file(path, MIB(4), &p, &n, &err)) return NULL;
    text = arena_str(&arena, (str){p, n});
    mem_free(p);
    return text.p ? parse(text) : NULL;
}

static void test_rendered(const char *file)
{
    const struct json *list = load(file);

    if (!list) {
        skip("no rendered templates here");
        return;
    }
    for (size_t i = 0; i < list->n; i++) {
        const struct json *c = &list->items[i];
        str name = json_str(json_get(c, "name"), S("?"));
        enum err e =
            render_with(json_str(json_get(c, "template"), S("")), json_get(c, "context"), NULL, 0);

        is_str(e ? str_c(err.text) : buf_view(&out), json_str(json_get(c, "expected"), S("")),
               (char *)arena_str(&arena, name).p);
    }
    arena_clear(&arena);
}

static void test_models(void)
{
    const struct json *list = load("templates/rendered_models.json");
    char rel[300];

    if (!list) {
        skip("no rendered models here");
        return;
    }
    for (size_t i = 0; i < list->n; i++) {
        const struct json *c = &list->items[i], *ctx, *gen = json_get(c, "add_generation_prompt");
        str name = json_str(json_get(c, "template_file"), S("")), text;
        struct jinja_var more[] = {
            {.name = "bos_token", .text = json_str(json_get(c, "bos_token"), S(""))},
            {.name = "eos_token", .text = json_str(json_get(c, "eos_token"), S(""))},
            {.name = "add_generation_prompt", .value = gen},
        };
        char *p;
        size_t n;
        enum err e;

        snprintf(rel, sizeof rel, "templates/contexts/%.*s.json",
                 STR(json_str(json_get(c, "context_name"), S(""))));
        ctx = load(rel);
        snprintf(rel, sizeof rel, "templates/%.*s", STR(name));
        if (!ctx || !tap_data(rel) || map_read_file(tap_data(rel), MIB(1), &p, &n, &err)) {
            ok(false, "%s cannot be read", rel);
            continue;
        }
        text = arena_str(&arena, (str){p, n});
        mem_free(p);
        e = render_with(text, ctx, more, 3);
        is_str(e ? str_c(err.text) : buf_view(&out), json_str(json_get(c, "expected"), S("")), rel);
    }
    arena_clear(&arena);
}

/* ---- marks ---- */

/* Marked bytes as they are, others as '.'. */
static void marked(const char *source, const char *ctx, const char *want)
{
    char shown[512];
    size_t n;

    if (render(source, ctx)) {
        ok(false, "%s: %s", source, err.text);
        return;
    }
    n = out.n < sizeof shown ? out.n : sizeof shown;
    for (size_t i = 0; i < n; i++)
        shown[i] = marks.p[i] ? out.p[i] : '.';
    is_str(((str){shown, n}), str_c(want), source);
    ok(marks.n == out.n, "a mark a byte");
    arena_clear(&arena);
}

static void test_marks(void)
{
    const char *c = "{\"u\":\" abc \",\"l\":[\"x\",\"y\"],\"d\":{\"k\":\"v\\n\"}}";

    marked("<{{ u }}>", c, ". abc .");
    marked("{{ '[' + u|trim + ']' }}", c, ".abc.");
    marked("{{ ('<' ~ u ~ '>') | upper }}", c, ". ABC .");
    marked("{{ ('<' ~ u ~ '>').strip('<> ') }}", c, "abc");
    marked("{{ ('<' ~ u ~ '>')[1:4] }}", c, " ab");
    marked("{{ u.replace('b', '##') }}", c, " a..c ");
    marked("{{ 'b=%s;' % u }}", c, ".. abc .");
    marked("{{ l|join('-') }}", c, "x.y");
    marked("{{ d|tojson }}", c, "..k....v\\n..");
    marked("{{ l }}", c, "..x....y..");
    marked("{% set b %}<{{ u }}>{% endset %}{{ b }}", c, ". abc .");
    marked("{% macro f(x) %}({{ x }}){% endmacro %}{{ f(u) }}", c, ". abc .");
    marked("{% set ns = namespace(s='') %}{% for x in l %}{% set ns.s = ns.s + '<' + x %}{% endfor "
           "%}{{ ns.s }}",
           c, ".x.y");
    marked("{{ (u.split('b'))[0] ~ u|length }}", c, " a.");
    marked("plain {{ 'text' }}", c, "..........");
}

/* ---- caps and messages ---- */

static void fails(const char *source, enum err code, const char *part)
{
    enum err e = render(source, "{\"s\":\"text\",\"l\":[1,2],\"d\":{\"a\":1}}");

    if (!ok(e == code && strstr(err.text, part), "%s", part))
        printf("#   %d: %s\n", (int)e, err.text);
    arena_clear(&arena);
}

static void test_failures(void)
{
    fails("a\n{% for %}", ERR_FORMAT, "line 2: a name to assign to was expected");
    fails("{% if x %}\n\n", ERR_FORMAT, "the tag 'if' of line 1 is not closed");
    fails("{{ 1 + }}", ERR_FORMAT, "an expression was expected");
    fails("{{ 'abc }}", ERR_FORMAT, "a string is not closed");
    fails("{# x", ERR_FORMAT, "is not closed by #}");
    fails("{% raw %} {% end", ERR_FORMAT, "is not closed by {% endraw %}");
    fails("{{ (1] }}", ERR_FORMAT, "a closing bracket fits none");
    fails("{% unheard of %}", ERR_FORMAT, "unknown tag 'unheard'");
    fails("{% break %}", ERR_FORMAT, "need a loop");
    fails("{{ f(a=1, 2) }}", ERR_FORMAT, "a positional argument follows");
    fails("\xFF", ERR_FORMAT, "not valid UTF-8");
    fails("{{ 1 }}\n{{ x.y }}", ERR_INVALID, "line 2: 'x' is undefined");
    fails("{{ d.b.c }}", ERR_INVALID, "'dict object' has no attribute 'b'");
    fails("{{ s + 1 }}", ERR_INVALID, "can only concatenate str (not \"int\") to str");
    fails("{{ 1 / 0 }}", ERR_INVALID, "division by zero");
    fails("{{ 2 ** 64 }}", ERR_INVALID, "beyond 64 bits");
    fails("{{ l|unheard }}", ERR_INVALID, "no filter named 'unheard'");
    fails("{{ l is unheard }}", ERR_INVALID, "no test named 'unheard'");
    fails("{{ l.append(3) }}", ERR_INVALID, "may not change a list");
    fails("{{ raise_exception('no system role') }}", ERR_INVALID, "no system role");
    fails("{{ s() }}", ERR_INVALID, "not callable");
    fails("{% set a, b = [1] %}", ERR_INVALID, "1 values for 2 names");
    fails("{{ undefined_thing() }}", ERR_INVALID, "'undefined_thing' is undefined");
    fails("{{ {}[[]] = 1 }}", ERR_FORMAT, "the end of the tag was expected, not '='");
    fails("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", ERR_LIMIT, "levels deep");
    fails("{{ 'x' * 100000000 }}", ERR_LIMIT, "");
    fails("{{ range(100001) }}", ERR_LIMIT, "range()");
    fails("{% set ns = namespace(a=1) %}{% set ns.a = ns %}{{ ns }}", ERR_LIMIT,
          "nested too deeply");
    ok(strcmp(err.text, "") != 0, "a message is there");

    buf deep = {.cap = MIB(1)};
    struct jinja *t;
    buf_c(&deep, "{{ ");
    for (int i = 0; i < 100000; i++)
        buf_ch(&deep, '(');
    ok(jinja_compile(&t, buf_view(&deep), &err) == ERR_FORMAT, "100,000 brackets: %s", err.text);
    buf_clear(&deep);
    for (int i = 0; i < 5000; i++)
        buf_c(&deep, "{% if a %}");
    ok(jinja_compile(&t, buf_view(&deep), &err) == ERR_FORMAT, "5,000 open tags: %s", err.text);
    buf_clear(&deep);
    buf_c(&deep, "{{ 1");
    for (int i = 0; i < 100000; i++)
        buf_c(&deep, "+1");
    buf_c(&deep, " }}");
    ok(render_with(buf_view(&deep), NULL, NULL, 0) == ERR_LIMIT, "100,000 operators: %s", err.text);
    buf_clear(&deep);
    buf_c(&deep, "{% for a in range(100000) %}{{ a");
    for (int i = 0; i < 100; i++)
        buf_c(&deep, "*0");
    buf_c(&deep, " }}{% endfor %}");
    ok(render_with(buf_view(&deep), NULL, NULL, 0) == ERR_LIMIT && strstr(err.text, "steps"), "%s",
       err.text);
    buf_fini(&deep);
}

static void test_growth(void)
{
    /* 20,000 appends of 50 bytes: 1 MB, which copying each time would make 10 GB. */
    enum err e =
        render("{% set ns = namespace(s='') %}{% for i in range(20000) %}{% set ns.s = ns.s + u %}"
               "{% endfor %}{{ ns.s|length }}",
               "{\"u\":\"01234567890123456789012345678901234567890123456789\"}");

    is_str(e ? str_c(err.text) : buf_view(&out), S("1000000"), "a string grown in a loop");
    arena_clear(&arena);
}

int main(void)
{
    arena_init(&arena, MIB(256));
    test_cases();
    test_marks();
    test_failures();
    test_growth();
    test_rendered("templates/rendered_syntax.json");
    test_rendered("templates/rendered_templates.json");
    test_models();
    arena_fini(&arena);
    buf_fini(&out);
    buf_fini(&marks);
    return tap_end();
}
