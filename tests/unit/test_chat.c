/* test_chat: prompts from messages, and what becomes a control token in them. */
#include "tap.h"
#include "vocab.h"

#include "base/json.h"
#include "base/limits.h"
#include "text/chat.h"

static struct arena arena;
static struct err_info err;

static const struct json *parse(const char *text)
{
    const struct json *v = NULL;

    if (json_parse(&arena, str_c(text), &v, &err)) printf("# %s\n", err.text);
    return v;
}

static void rendered(const char *source, const struct chat_input *in, const char *want,
                     const char *what)
{
    buf out = {.cap = MIB(1)};
    struct chat *c;
    enum err e = chat_open(&c, str_c(source), S("<s>"), S("</s>"), &err);

    if (!e) e = chat_render(c, &arena, in, &out, &err);
    is_str(e ? str_c(err.text) : buf_view(&out), str_c(want), what);
    chat_close(c);
    buf_fini(&out);
}

static void test_render(void)
{
    struct chat_input in = {.messages = parse("[{\"role\":\"user\",\"content\":\"Hi\"}]"),
                            .add_generation_prompt = true,
                            .now = 1721952000};
    struct chat *c;

    rendered("", &in, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
             "ChatML by default");
    in.add_generation_prompt = false;
    rendered("  \n", &in, "<|im_start|>user\nHi<|im_end|>\n", "no generation prompt");
    ok(chat_open(&c, S(""), S(""), S(""), &err) == ERR_OK && chat_is_default(c), "is the default");
    chat_close(c);
    ok(chat_open(&c, S("x"), S(""), S(""), &err) == ERR_OK && !chat_is_default(c),
       "has a template");
    chat_close(c);
    ok(chat_open(&c, S("{% if"), S(""), S(""), &err) == ERR_FORMAT && !c, "a broken one: %s",
       err.text);

    rendered("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ tools is none }}"
             "{{ strftime_now('%Y') }}{{ enable_thinking }}",
             &in, "<s>Hi</s>True2024", "variables");
    in.extra = parse("{\"enable_thinking\":false,\"messages\":[]}");
    in.tools = parse("[{\"type\":\"function\"}]");
    rendered("{{ messages|length }}{{ tools[0].type }}{{ enable_thinking }}", &in, "1functionFalse",
             "extra values do not replace the messages");

    in.messages = parse("[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                        "{\"type\":\"text\",\"text\":\"b\"}]},{\"content\":null},"
                        "{\"content\":[{\"type\":\"image\"},{\"type\":\"text\",\"text\":\"c\"}]}]");
    rendered("{% for m in messages %}{{ m.content is string }}{{ m.content }};{% endfor %}", &in,
             "Truea\nb;FalseNone;False[{'type': 'image'}, {'type': 'text', 'text': 'c'}];",
             "text parts");
    rendered("{{ raise_exception('roles must alternate') }}", &in, "roles must alternate",
             "refusal");
    in.messages = parse("{}");
    rendered("", &in, "messages must be an array of {role, content}", "no array");
    in.messages = parse("[1]");
    rendered("", &in, "messages[0] is not an object", "no object");
}

static void encoded(const struct tok *t, const char *source, const char *messages, const char *want,
                    const char *what)
{
    struct chat_input in = {.messages = parse(messages), .add_generation_prompt = true};
    char bos[64];
    buf text = {.cap = MIB(1)};
    struct chat *c;
    int32_t *ids = NULL;
    size_t n = 0;

    snprintf(bos, sizeof bos, "%.*s", STR(tok_text(t, tok_bos(t))));
    enum err e = chat_open(&c, str_c(source), str_c(bos), S(""), &err);
    if (!e) e = chat_encode(c, t, &arena, &in, &ids, &n, &err);
    for (size_t i = 0; i < n; i++) {
        str s = tok_text(t, ids[i]);

        if (i) buf_ch(&text, ' ');
        if (tok_kind(t, ids[i]) == TOK_CONTROL)
            buf_printf(&text, "[%.*s]", STR(s));
        else
            buf_str(&text, s);
    }
    is_str(e ? str_c(err.text) : buf_view(&text), str_c(want), what);
    chat_close(c);
    buf_fini(&text);
}

static void test_bpe(void)
{
    struct vocab v;

    vocab_init(&v);
    vocab_bool(&v, "tokenizer.ggml.add_bos_token", true);
    vocab_bpe(&v, S("gpt-2"));
    if (!ok(vocab_open(&v, &err) == ERR_OK, "a BPE vocabulary opens")) printf("# %s\n", err.text);
    if (v.tok) {
        static const char t[] = "{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}";

        encoded(v.tok, t, "[{\"content\":\"hello world\"}]", "[<|bos|>] hello Ġworld [<|eot_id|>]",
                "BOS is added, the template's token is one");
        encoded(v.tok, "{{ bos_token }}hello<|eot_id|>", "[]", "[<|bos|>] hello [<|eot_id|>]",
                "BOS is not doubled");
        encoded(v.tok, t, "[{\"content\":\"<|eot_id|>\"}]",
                "[<|bos|>] < | e o t _ i d | > [<|eot_id|>]", "the user's token is text");
        encoded(v.tok, t, "[{\"content\":\"<|bos|>\"}]", "[<|bos|>] < | b o s | > [<|eot_id|>]",
                "the user's BOS neither");
        encoded(v.tok, "he{{ messages[0].content }}ld", "[{\"content\":\"llo wor\"}]",
                "[<|bos|>] hello Ġworld", "words merge across the border of template and content");
        encoded(v.tok, "<|{{ messages[0].content }}|>", "[{\"content\":\"eot_id\"}]",
                "[<|bos|>] < | e o t _ i d | >", "no token from two halves");
        encoded(v.tok, "<|eot_id|>{{ messages[0].content|trim|upper|lower }}<|eot_id|>",
                "[{\"content\":\" <|EOT_ID|> \"}]",
                "[<|bos|>] [<|eot_id|>] < | e o t _ i d | > [<|eot_id|>]", "nor through filters");
        encoded(v.tok, "{{ messages|tojson }}", "[{\"a\":\"<|eot_id|>\"}]",
                "[<|bos|>] [ { \" a \" : Ġ \" < | e o t _ i d | > \" } ]", "nor through tojson");
        encoded(v.tok, "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% endfor %}",
                "[{\"role\":\"eot_id\"}]", "[<|bos|>] < | e o t _ i d | >", "nor by a role");
        encoded(v.tok, "", "[]", "[<|bos|>] < | i m _ s t a r t | > a s s i s t a n t Ċ",
                "ChatML without its tokens");
    }
    vocab_fini(&v);
}

static void test_spm(void)
{
    struct vocab v;

    vocab_init(&v);
    vocab_spm(&v);
    if (!ok(vocab_open(&v, &err) == ERR_OK, "an SPM vocabulary opens")) printf("# %s\n", err.text);
    if (v.tok) {
        encoded(v.tok, "{{ bos_token }}{{ messages[0].content }}<|im_end|> the<|im_end|>",
                "[{\"content\":\"hello world</s>\"}]",
                "[<s>] \xE2\x96\x81hello \xE2\x96\x81world <0x3C> <0x2F> s <0x3E> [<|im_end|>] "
                "\xE2\x96\x81\xE2\x96\x81 the [<|im_end|>]",
                "stretches between control tokens");
        encoded(
            v.tok, "", "[{\"role\":\"user\",\"content\":\"<|im_end|>\"}]",
            "[<s>] \xE2\x96\x81 <0x3C> <0x7C> i <0x6D> <0x5F> s t a r t <0x7C> <0x3E> <0x75> s e r "
            "<0x0A> "
            "<0x3C> <0x7C> i <0x6D> <0x5F> e n d <0x7C> <0x3E> [<|im_end|>] \xE2\x96\x81 <0x0A> "
            "<0x3C> <0x7C> i <0x6D> <0x5F> s t a r t <0x7C> <0x3E> a s s i s t a n t <0x0A>",
            "only the template's <|im_end|> is one");
    }
    vocab_fini(&v);
}

int main(void)
{
    arena_init(&arena, MIB(64));
    test_render();
    test_bpe();
    test_spm();
    arena_fini(&arena);
    return tap_end();
}
