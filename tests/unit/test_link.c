/* link: rbee:// addresses, the two forms and everything that is neither. */
#include "model/link.h"

#include "base/limits.h"
#include "tap.h"

struct good {
    const char *text;
    enum link_action action;
    const char *id, *want, *worker;
    const char *written; /* NULL: as it is */
};

static const struct good goods[] = {
    {"rbee://model?id=Qwen/Qwen3-8B-GGUF", LINK_MODEL, "Qwen/Qwen3-8B-GGUF", "", "", NULL},
    {"rbee://install/model?id=o/r&worker=cpu", LINK_INSTALL, "o/r", "", "cpu", NULL},
    {"rbee://install/model?id=o/r", LINK_INSTALL, "o/r", "", "", NULL},
    {"rbee://install/model?worker=llm-worker-rbee-cpu&id=o/r", LINK_INSTALL, "o/r", "",
     "llm-worker-rbee-cpu", "rbee://install/model?id=o/r&worker=llm-worker-rbee-cpu"},
    {"rbee://model?id=o/r:Q4_K_M", LINK_MODEL, "o/r", "Q4_K_M", "", NULL},
    {"rbee://model?id=o/r:sub/x-Q8_0.gguf", LINK_MODEL, "o/r", "sub/x-Q8_0.gguf", "", NULL},
    /* percent-encoded as programs do it, and once */
    {"rbee://model?id=o%2Fr%3AQ4_K_M", LINK_MODEL, "o/r", "Q4_K_M", "",
     "rbee://model?id=o/r:Q4_K_M"},
    {"rbee://model?id=o%2fr", LINK_MODEL, "o/r", "", "", "rbee://model?id=o/r"},
    {"rbee://model?id=%6f/r", LINK_MODEL, "o/r", "", "", "rbee://model?id=o/r"},
    {"rbee://model?id=o/r:a%20b%2B.gguf", LINK_MODEL, "o/r", "a b+.gguf", "", NULL},
    {"rbee://model?id=o/r:100%2525.gguf", LINK_MODEL, "o/r", "100%25.gguf", "", NULL},
    {"rbee://model?id=o/r:%C3%A4.gguf", LINK_MODEL, "o/r", "\303\244.gguf", "", NULL},
    {"rbee://model?id=o/r:a:b.gguf", LINK_MODEL, "o/r", "a:b.gguf", "", NULL},
    /* what browsers and desktops make of it */
    {"RBEE://model?id=o/r", LINK_MODEL, "o/r", "", "", "rbee://model?id=o/r"},
    {"rbee://model/?id=o/r", LINK_MODEL, "o/r", "", "", "rbee://model?id=o/r"},
    {"rbee://install/model/?id=o/r", LINK_INSTALL, "o/r", "", "", "rbee://install/model?id=o/r"},
};

static void test_good(void)
{
    for (size_t i = 0; i < sizeof goods / sizeof *goods; i++) {
        const struct good *g = &goods[i];
        struct err_info e = {0};
        struct arena a;
        struct link l;
        buf b = {.cap = LIMIT_LINK};
        bool same;

        arena_init(&a, LIMIT_LINK * 2);
        same = link_parse(&l, &a, str_c(g->text), &e) == ERR_OK && l.action == g->action &&
               str_eqc(l.id, g->id) && str_eqc(l.want, g->want) && str_eqc(l.worker, g->worker);
        if (same) link_write(&l, &b);
        same = same && str_eqc(buf_view(&b), g->written ? g->written : g->text);
        if (!ok(same, "%s", g->text))
            printf("#   %s; %.*s, %.*s, %.*s, written %.*s\n", e.text, STR(l.id), STR(l.want),
                   STR(l.worker), STR(buf_view(&b)));
        buf_fini(&b);
        arena_fini(&a);
    }
}

struct bad {
    const char *text, *says;
};

static const struct bad bads[] = {
    /* no link of ours */
    {"", "is no link of rbee"},
    {"rbee", "is no link of rbee"},
    {"rbee:", "is no link of rbee"},
    {"rbee:model?id=o/r", "is no link of rbee"},
    {"rbee:/model?id=o/r", "is no link of rbee"},
    {" rbee://model?id=o/r", "is no link of rbee"},
    {"xrbee://model?id=o/r", "is no link of rbee"},
    {"https://huggingface.co/o/r", "'https://huggingface.co/o/r' is no link of rbee"},
    {"ollama://o/r", "is no link of rbee"},
    {"file:///etc/passwd", "is no link of rbee"},
    {"javascript:alert(1)", "is no link of rbee"},
    {"o/r", "rbee://install/model?id=ORG/REPO"},
    /* of ours, and not one of the forms */
    {"rbee://", "asks for ''"},
    {"rbee:///model?id=o/r", "asks for '/model'"},
    {"rbee://model//?id=o/r", "asks for 'model//'"},
    {"rbee://models?id=o/r", "asks for 'models'"},
    {"rbee://Model?id=o/r", "asks for 'Model'"},
    {"rbee://marketplace", "asks for 'marketplace'"},
    {"rbee://install?id=o/r", "asks for 'install'"},
    {"rbee://install/model/o/r?worker=cpu", "asks for 'install/model/o/r'"},
    {"rbee://install/model/../run?id=o/r", "does not do"},
    {"rbee://mo%64el?id=o/r", "asks for 'mo%64el'"},
    {"rbee://user@model?id=o/r", "asks for 'user@model'"},
    {"rbee://model:80?id=o/r", "asks for 'model:80'"},
    {"rbee://model?id=o/r#x", "'#'"},
    /* fields */
    {"rbee://model", "no id="},
    {"rbee://model?", "''"},
    {"rbee://model?id", "'id' where a field"},
    {"rbee://model?id=", "'id' is empty"},
    {"rbee://model?id=o/r&", "''"},
    {"rbee://model?&id=o/r", "''"},
    {"rbee://model?id=o/r;worker=cpu", "0x3D"},
    {"rbee://model?id=o/r&id=o/r", "'id' twice"},
    {"rbee://model?id=o/r&id=a/b", "'id' twice"},
    {"rbee://model?ID=o/r", "field 'ID'"},
    {"rbee://model?i%64=o/r", "field 'i%64'"},
    {"rbee://model?id=o/r&worker=cpu", "field 'worker', which rbee://model does not have"},
    {"rbee://install/model?id=o/r&force=1", "field 'force'"},
    {"rbee://install/model?worker=cpu", "no id="},
    {"rbee://install/model?id=o/r&worker=", "'worker' is empty"},
    {"rbee://install/model?id=o/r&worker=cpu&worker=cuda", "'worker' twice"},
    {"rbee://install/model?id=o/r&worker=../sh", "no name of a worker"},
    {"rbee://install/model?id=o/r&worker=-x", "no name of a worker"},
    {"rbee://install/model?id=o/r&worker=%2Fbin%2Fsh", "no name of a worker"},
    {"rbee://install/model?id=o/r&worker=CPU", "no name of a worker"},
    /* bytes */
    {"rbee://model?id=o/r+x", "0x2B, which must be written %2B"},
    {"rbee://model?id=o/r x", "0x20, which must be written %20"},
    {"rbee://model?id=o/r\n", "0x0A"},
    {"rbee://model?id=o=r", "0x3D"},
    {"rbee://model?id=o/\303\244", "0xC3"},
    {"rbee://model?id=o/r%", "a wrong percent-encoding"},
    {"rbee://model?id=o/r%2", "a wrong percent-encoding"},
    {"rbee://model?id=o/r%zz", "a wrong percent-encoding"},
    {"rbee://model?id=o/r%00", "a control character"},
    {"rbee://model?id=o/r%0d%0aHost", "a control character"},
    {"rbee://model?id=o/r%1b%5b2J", "a control character"},
    {"rbee://model?id=o/r%C3", "not UTF-8"},
    {"rbee://model?id=o/r:%ED%A0%80.gguf", "not UTF-8"},
    /* names that may not become paths */
    {"rbee://model?id=r", "names no repository"},
    {"rbee://model?id=/r", "names no repository"},
    {"rbee://model?id=o/", "names no repository"},
    {"rbee://model?id=a/b/c", "names no repository"},
    {"rbee://model?id=../r", "names no repository"},
    {"rbee://model?id=o/..", "names no repository"},
    {"rbee://model?id=o%2F..%2Fr", "names no repository"},
    {"rbee://model?id=o%252Fr", "names no repository"},
    {"rbee://model?id=-o/r", "names no repository"},
    {"rbee://model?id=o/.r", "names no repository"},
    {"rbee://model?id=o/r@main", "names no repository"},
    {"rbee://model?id=o/r:", "names no repository"},
    {"rbee://model?id=o/r:../x", "names no repository"},
    {"rbee://model?id=o/r:/etc/passwd", "names no repository"},
    {"rbee://model?id=o/r:a%5Cb", "names no repository"},
    {"rbee://model?id=https://huggingface.co/o/r", "names no repository"},
};

static void test_bad(void)
{
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        struct err_info e = {0};
        struct arena a;
        struct link l;
        enum err code;

        arena_init(&a, LIMIT_LINK * 2);
        code = link_parse(&l, &a, str_c(bads[i].text), &e);
        if (!ok(code == ERR_INVALID && strstr(e.text, bads[i].says), "refused: %s", bads[i].says))
            printf("#   %s: %d, %s\n", bads[i].text, code, e.text);
        arena_fini(&a);
    }
}

static void test_long(void)
{
    static char text[LIMIT_LINK + 2];
    struct err_info e;
    struct arena a;
    struct link l;

    arena_init(&a, LIMIT_LINK * 2);
    memset(text, 'a', sizeof text - 1);
    ok(link_parse(&l, &a, str_c(text), &e) == ERR_INVALID && strstr(e.text, "bytes long"),
       "one byte too long");
    memcpy(text, "rbee://model?id=o/", 18);
    text[LIMIT_LINK] = 0;
    ok(link_parse(&l, &a, str_c(text), &e) == ERR_INVALID && strstr(e.text, "no repository"),
       "as long as may be, and no name");
    arena_fini(&a);
    arena_init(&a, 4);
    ok(link_parse(&l, &a, S("rbee://model?id=o%2Fr%3AQ4"), &e) == ERR_INVALID &&
           strstr(e.text, "memory"),
       "no memory is an error");
    arena_fini(&a);
    is_str(str_c(link_action_name(LINK_INSTALL)), S("install/model"),
           "what a link asks for, as a word");
}

int main(void)
{
    test_good();
    test_bad();
    test_long();
    return tap_end();
}
