/* train: makes models/rbee-tiny.gguf from nothing, or shows what it learnt.
 *
 *   train OUT.gguf [--steps N] [--threads N]   generate text, train the vocabulary and the model
 *   train --sample MODEL.gguf PROMPT...        greedy text; --chat wraps PROMPT in the template
 *   train --check                              the gradient against finite differences
 *   train --corpus N | --held-out N            print N documents of a split
 *
 * The same command gives the same bytes whatever the machine and the number of threads: all text
 * comes from numbered seeds and all sums have a fixed order.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"
#include "check.h"
#include "corpus.h"
#include "feed.h"
#include "lm.h"
#include "ship.h"

enum {
    VOCAB = 1536,
    CONTEXT = 512,
    WINDOW = 384,
    BATCH = 3,
    STEPS = 2600,
    WARM_UP = 100,
    HELD_BATCHES = 16
};
enum { VOCAB_DOCUMENTS = 6000, REPORT = 50 };
static const struct lm_shape shape = {
    .vocab = VOCAB, .embd = 256, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 64, .ff = 512};
static const struct lm_adam adam = {
    .rate = 3e-3f, .beta1 = 0.9f, .beta2 = 0.98f, .eps = 1e-8f, .decay = 0.05f, .clip = 1.0f};

struct args {
    const char *out;
    size_t steps;
    unsigned threads;
};

static void learn_vocabulary(struct spm *s)
{
    buf text = {.cap = MIB(64)};
    for (uint64_t i = 0; i < VOCAB_DOCUMENTS; i++)
        corpus_document(i, false, &text);
    spm_train(s, buf_view(&text), VOCAB);
    buf_fini(&text);
}

/* Warm-up, then half a cosine down to a fiftieth. */
static float rate_at(size_t step, size_t steps)
{
    double warm = (double)(step + 1) / WARM_UP;
    double part = (double)step / (double)steps;
    double cosine = 0.02 + 0.98 * 0.5 * (1 + cos(part * 3.14159265358979));
    return (float)((double)adam.rate * (warm < 1 ? warm : 1) * cosine);
}

struct trainer {
    struct lm m;
    struct lm_acts *acts;
    struct feed train, held;
    struct team *team;
    int32_t ids[BATCH * WINDOW], target[BATCH * WINDOW], from[BATCH * WINDOW];
    struct feed_rows rows; /* of these three */
    struct lm_batch batch; /* likewise */
};

static double held_out_loss(struct trainer *t)
{
    double sum = 0;
    t->held.next = 0;
    for (int i = 0; i < HELD_BATCHES; i++) {
        feed_windows(&t->held, BATCH, WINDOW, t->rows);
        sum += lm_loss(&t->m, t->acts, &t->batch, false);
    }
    return sum / HELD_BATCHES;
}

static void run_steps(struct trainer *t, size_t steps)
{
    uint64_t start = os_now_ns();
    double mean = 0;
    for (size_t step = 0; step < steps; step++) {
        struct lm_adam opt = adam;
        opt.rate = rate_at(step, steps);
        feed_windows(&t->train, BATCH, WINDOW, t->rows);
        mean += lm_loss(&t->m, t->acts, &t->batch, true);
        double norm = lm_adam_step(&t->m, opt, t->team);
        if ((step + 1) % REPORT && step + 1 < steps) continue;
        size_t count = step % REPORT + 1;
        double s = (double)(os_now_ns() - start) / 1e9, done = (double)(step + 1);
        bool held = (step + 1) % (5 * REPORT) == 0 || step + 1 == steps;
        printf("step %4zu  loss %.4f  gradient %.3f  %5.0f tokens/s  %4.0f s, %4.0f s to go",
               step + 1, mean / (double)count, norm, done * BATCH * WINDOW / s, s,
               s / done * ((double)steps - done));
        if (held) printf("  held-out loss %.4f", held_out_loss(t));
        putchar('\n');
        fflush(stdout);
        mean = 0;
    }
    printf("%zu tokens in %.0f s on %u threads\n", steps * BATCH * WINDOW,
           (double)(os_now_ns() - start) / 1e9, team_threads(t->team));
}

static enum err make(const struct args *a, struct err_info *e)
{
    struct spm *s = mem_need(sizeof *s);
    struct trainer *t = mem_need(sizeof *t);
    learn_vocabulary(s);
    t->rows = (struct feed_rows){t->ids, t->target, t->from};
    t->batch = (struct lm_batch){t->ids, t->target, t->from};
    t->team = team_new(a->threads);
    lm_init(&t->m, shape, 1, true);
    t->acts = lm_acts_new(&t->m, BATCH, WINDOW, t->team);
    feed_init(&t->train, s, false);
    feed_init(&t->held, s, true);
    printf("%zu weights, %zu tokens of vocabulary, %zu steps of %d tokens\n", t->m.n_weights,
           s->count, a->steps, BATCH * WINDOW);
    run_steps(t, a->steps);
    printf("%llu documents seen\n", (unsigned long long)t->train.next);
    enum err r = ship_write(a->out, &t->m, s, CONTEXT, e);
    feed_fini(&t->train);
    feed_fini(&t->held);
    lm_acts_free(t->acts);
    lm_fini(&t->m);
    team_free(t->team);
    mem_free(t);
    mem_free(s);
    return r;
}

/* ---- looking at it ---- */

static void greedy(const struct lm *m, const struct spm *s, uint32_t context, str prompt)
{
    buf ids = {.cap = MIB(1)}, text = {.cap = MIB(1)};
    struct lm_run *r = lm_run_new(m, context);
    const float *logits = NULL;
    int32_t id = 0;
    spm_encode(s, prompt, &ids);
    for (size_t i = 0; i < ids.n / sizeof id; i++) {
        memcpy(&id, ids.p + i * sizeof id, sizeof id);
        logits = lm_run_step(m, r, id);
    }
    while (logits) {
        id = 0;
        for (size_t i = 1; i < m->s.vocab; i++)
            if (logits[i] > logits[id]) id = (int32_t)i;
        if (id == SPM_EOS || id == SPM_IM_END) break;
        spm_decode(s, id, &text);
        logits = lm_run_step(m, r, id);
    }
    printf("%.*s%s\n", STR(buf_view(&text)), logits ? "" : " [context full]");
    lm_run_free(r);
    buf_fini(&ids);
    buf_fini(&text);
}

static enum err sample(char **argv, int n, struct err_info *e)
{
    struct spm *s = mem_need(sizeof *s);
    struct lm m;
    uint32_t context;
    bool chat = false;
    enum err r = ship_read(argv[0], &m, s, &context, e);
    for (int i = 1; i < n && !r; i++) {
        if (strcmp(argv[i], "--chat") == 0) {
            chat = true;
            continue;
        }
        buf p = {.cap = MIB(1)};
        if (chat)
            buf_printf(&p, "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n", argv[i]);
        else
            buf_c(&p, argv[i]);
        printf("> %s\n", argv[i]);
        greedy(&m, s, context, buf_view(&p));
        buf_fini(&p);
    }
    if (!r) lm_fini(&m);
    mem_free(s);
    return r;
}

static void show_corpus(uint64_t n, bool held_out)
{
    for (uint64_t i = 0; i < n; i++) {
        buf b = {.cap = MIB(1)};
        corpus_document(i, held_out, &b);
        printf("%.*s\n\n", STR(buf_view(&b)));
        buf_fini(&b);
    }
}

static int usage(void)
{
    fputs("usage: train OUT.gguf [--steps N] [--threads N]\n"
          "       train --sample MODEL.gguf [--chat] PROMPT...\n"
          "       train --check | --corpus N | --held-out N\n",
          stderr);
    return 64;
}

int main(int argc, char **argv)
{
    struct args a = {.steps = STEPS, .threads = 2};
    struct err_info e = {0};
    enum err r;
    if (argc < 2) return usage();
    if (strcmp(argv[1], "--check") == 0) return check_gradient(stdout) ? 0 : 1;
    bool held_out = strcmp(argv[1], "--held-out") == 0;
    if ((held_out || strcmp(argv[1], "--corpus") == 0) && argc == 3) {
        show_corpus(strtoull(argv[2], NULL, 10), held_out);
        return 0;
    }
    if (strcmp(argv[1], "--sample") == 0 && argc > 3) {
        r = sample(argv + 2, argc - 2, &e);
    } else {
        if (argv[1][0] == '-' || argc % 2) return usage();
        a.out = argv[1];
        for (int i = 2; i + 1 < argc; i += 2) {
            unsigned long v = strtoul(argv[i + 1], NULL, 10);
            if (strcmp(argv[i], "--steps") == 0 && v > 0)
                a.steps = v;
            else if (strcmp(argv[i], "--threads") == 0 && v > 0)
                a.threads = (unsigned)v;
            else
                return usage();
        }
        r = make(&a, &e);
    }
    if (r) fprintf(stderr, "train: %s\n", e.text);
    return err_exit(r);
}
