/* bench_tok: how fast vocabularies open and text becomes tokens.
 *
 *   bench_tok [TEXT [TOKENIZER...]]
 *
 * A tokenizer is a GGUF or a Hugging Face folder; without arguments those of the shared data and
 * its novel. Prints for each the size of the vocabulary, milliseconds to open it, milliseconds
 * until the first text is through (BPE builds its table of merges then), and megabytes of text a
 * second, the best of several runs in CPU time of this thread.
 */
#include <sys/stat.h>
#include <time.h>

#include "tap.h"

#include "base/map.h"
#include "base/mem.h"
#include "text/tok.h"

#define RUNS 7

static double now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* Milliseconds of one call; negative when it failed. */
static double encode_ms(const struct tok *t, str text, size_t *n)
{
    struct arena a;
    struct err_info e;
    int32_t *ids;
    arena_init(&a, (size_t)1 << 30);
    double from = now_ms();
    bool good = tok_encode(t, &a, text, 0, &ids, n, &e) == ERR_OK;
    double ms = now_ms() - from;
    arena_fini(&a);
    return good ? ms : -1;
}

static void bench(const char *path, str text)
{
    struct stat st;
    struct gguf g;
    struct tok *t = NULL;
    struct err_info e = {.text = "not there"};
    if (stat(path, &st) != 0) return;
    bool folder = S_ISDIR(st.st_mode);
    if (!folder && gguf_open(&g, path, &e) != ERR_OK) {
        printf("%s: %s\n", path, e.text);
        return;
    }
    double open = 1e9, best = 1e9;
    for (int i = 0; i < 3; i++) {
        tok_close(t);
        t = NULL;
        double from = now_ms();
        if ((folder ? tok_open_dir(&t, path, &e) : tok_open(&t, &g, &e)) != ERR_OK) break;
        if (now_ms() - from < open) open = now_ms() - from;
    }
    if (t) {
        size_t n = 0;
        double first = encode_ms(t, S("Hello world"), &n);
        for (int i = 0; i < RUNS; i++) {
            double ms = encode_ms(t, text, &n);
            if (ms >= 0 && ms < best) best = ms;
        }
        const char *name = strrchr(path, '/');
        printf("%-28s %-5s %7u tokens  open %6.1f ms  first %6.1f ms  %6.1f MB/s  %zu ids\n",
               name ? name + 1 : path, tok_model_name(t), tok_count(t), open, first,
               (double)text.n / 1e3 / best, n);
        tok_close(t);
    } else {
        printf("%s: %s\n", path, e.text);
    }
    if (!folder) gguf_close(&g);
}

int main(int argc, char **argv)
{
    static const char *const all[] = {"tokenizers/ggml-vocab-gpt-2.gguf",
                                      "tokenizers/ggml-vocab-falcon.gguf",
                                      "tokenizers/ggml-vocab-llama-spm.gguf",
                                      "tokenizers/ggml-vocab-phi-3.gguf",
                                      "tokenizers/llama2",
                                      "tokenizers/qwen2",
                                      "golden/bert/model.gguf",
                                      "golden/rwkv6/model.gguf"};
    const char *file = argc > 1 ? argv[1] : tap_data("text/war-and-peace-400k.txt");
    struct err_info e = {.text = "no shared test data: name a text"};
    char *p;
    size_t n;
    if (!file || map_read_file(file, (size_t)1 << 30, &p, &n, &e) != ERR_OK) {
        fprintf(stderr, "bench_tok: %s\n", e.text);
        return 66;
    }
    for (int i = 2; i < argc; i++)
        bench(argv[i], (str){p, n});
    for (size_t i = 0; argc < 3 && i < sizeof all / sizeof all[0]; i++) {
        const char *path = tap_data(all[i]);
        if (path) bench(path, (str){p, n});
    }
    mem_free(p);
    return 0;
}
