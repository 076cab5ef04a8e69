/* tok_ids: what the tests of tokenizers compare: ids as text, and llama.cpp's vocabulary cases. */
#ifndef TESTS_TOK_IDS_H
#define TESTS_TOK_IDS_H

#include "tap.h"

#include "base/map.h"
#include "base/mem.h"
#include "text/tok.h"

/* Ids as decimal numbers with a space between, or the error, in the arena. */
__attribute__((unused)) static str tok_ids(const struct tok *t, struct arena *a, str text,
                                           unsigned flags)
{
    int32_t *ids;
    size_t n;
    struct err_info e;
    buf b;
    if (tok_encode(t, a, text, flags, &ids, &n, &e) != ERR_OK) return arena_str(a, str_c(e.text));
    buf_init(&b, (size_t)64 << 20);
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, i ? " %d" : "%d", ids[i]);
    str s = arena_str(a, buf_view(&b));
    buf_fini(&b);
    return s;
}

/* The texts of tokenizers/ggml-vocab-NAME.gguf.inp against the ids of its .out. */
__attribute__((unused)) static void tok_vocab_cases(const struct tok *t, struct arena *a,
                                                    const char *name)
{
    char path[256];
    const char *p;
    struct err_info e;
    char *inp = NULL, *out = NULL;
    size_t n_inp, n_out, bad = 0, n = 0;
    snprintf(path, sizeof path, "tokenizers/ggml-vocab-%s.gguf.inp", name);
    p = tap_data(path);
    if (!p || map_read_file(p, 1 << 20, &inp, &n_inp, &e) != ERR_OK) return;
    snprintf(path, sizeof path, "tokenizers/ggml-vocab-%s.gguf.out", name);
    p = tap_data(path);
    if (p && map_read_file(p, 1 << 20, &out, &n_out, &e) == ERR_OK) {
        str rest = {inp, n_inp}, lines = {out, n_out}, mark = S("\n__ggml_vocab_test__\n");
        while (rest.p) {
            size_t at = str_find(rest, mark, 0);
            str text = str_sub(rest, 0, at), want = str_trim(str_cut(lines, '\n', &lines));
            rest = at == SIZE_MAX ? (str){NULL, 0} : str_sub(rest, at + mark.n, SIZE_MAX);
            str got = tok_ids(t, a, text, 0);
            n++;
            if (str_eq(got, want)) continue;
            bad++;
            printf("# %s case %zu \"%.*s\"\n#  got %.*s\n# want %.*s\n", name, n, STR(text),
                   STR(got), STR(want));
        }
    }
    ok(n >= 46 && bad == 0, "%s: %zu cases, %zu differ", name, n, bad);
    mem_free(inp);
    mem_free(out);
}

#endif
