/* test_train: the training tool does what its comments say: text by number, exact vocabulary,
 * a true gradient, a loss that falls, and the same bytes on one thread and on three.
 */
#include "check.h"
#include "corpus.h"
#include "feed.h"
#include "lm.h"
#include "ship.h"

#include <stdio.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tap.h"

enum { BATCH = 2, WINDOW = 128, VOCAB = 400, STEPS = 20 };

static uint64_t corpus_hash(bool held_out, uint64_t n, size_t *bytes)
{
    buf b = {.cap = MIB(16)};
    for (uint64_t i = 0; i < n; i++)
        corpus_document(i, held_out, &b);
    uint64_t h = str_hash(buf_view(&b));
    *bytes = b.n;
    buf_fini(&b);
    return h;
}

static void test_corpus(void)
{
    size_t n1, n2, n3;
    uint64_t a = corpus_hash(false, 500, &n1), b = corpus_hash(false, 500, &n2);
    uint64_t h = corpus_hash(true, 500, &n3);
    ok(a == b && n1 == n2, "the same numbers give the same documents");
    ok(a != h, "held-out documents are others");
    ok(n1 > 100000 && n3 > 50000, "documents have a proper length");

    buf t = {.cap = MIB(16)};
    for (uint64_t i = 0; i < 2000; i++)
        corpus_document(i, false, &t);
    bool clean = true;
    for (size_t i = 0; i < t.n; i++)
        if (strchr("{}$@~", t.p[i]) || (i && t.p[i] == ' ' && t.p[i - 1] == ' ')) clean = false;
    ok(clean, "no template sign and no double space is left in 2,000 documents");
    ok(str_find(buf_view(&t), S(" a o"), 0) == SIZE_MAX, "\"an\" before a vowel");
    buf_fini(&t);
}

static void learn(struct spm *s)
{
    buf t = {.cap = MIB(16)};
    for (uint64_t i = 0; i < 500; i++)
        corpus_document(i, false, &t);
    spm_train(s, buf_view(&t), VOCAB);
    buf_fini(&t);
}

static void test_vocabulary(const struct spm *s)
{
    static const char text[] = "<|im_start|>user\nTell me: na\xc3\xafve, 12 foxes?<|im_end|>";
    buf ids = {.cap = MIB(1)}, back = {.cap = MIB(1)};
    int32_t first[2];
    is_int(s->count, VOCAB, "the vocabulary has the size asked for");
    spm_encode(s, S(text), &ids);
    memcpy(first, ids.p, sizeof first);
    ok(first[0] == SPM_BOS && first[1] == SPM_IM_START, "<s>, then the control token");
    for (size_t i = 2; i < ids.n / sizeof(int32_t); i++) {
        int32_t id;
        memcpy(&id, ids.p + i * sizeof id, sizeof id);
        spm_decode(s, id, &back);
    }
    is_str(buf_view(&back), S(" user\nTell me: na\xc3\xafve, 12 foxes?<|im_end|>"),
           "ids give the text back, unknown letters as bytes");
    bool falling = true;
    for (size_t i = SPM_FIRST + 1; i < s->count; i++)
        if (s->piece[i].score >= s->piece[i - 1].score) falling = false;
    ok(falling, "scores fall with the rank of the merge");
    buf_fini(&ids);
    buf_fini(&back);
}

struct outcome {
    double first, last;
    uint64_t hash;
};

static struct outcome train_a_little(const struct spm *s, unsigned threads)
{
    static int32_t ids[BATCH * WINDOW], target[BATCH * WINDOW], from[BATCH * WINDOW];
    struct feed_rows rows = {ids, target, from};
    struct lm_batch batch = {ids, target, from};
    struct lm_shape shape = {.vocab = VOCAB,
                             .embd = 64,
                             .layers = 2,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_dim = 16,
                             .ff = 96};
    struct lm_adam adam = {
        .rate = 5e-3f, .beta1 = 0.9f, .beta2 = 0.98f, .eps = 1e-8f, .decay = 0.05f, .clip = 1.0f};
    struct outcome o = {0};
    struct team *team = team_new(threads);
    struct feed feed;
    struct lm m;
    lm_init(&m, shape, 1, true);
    struct lm_acts *acts = lm_acts_new(&m, BATCH, WINDOW, team);
    feed_init(&feed, s, false);
    for (int i = 0; i < STEPS; i++) {
        feed_windows(&feed, BATCH, WINDOW, rows);
        o.last = lm_loss(&m, acts, &batch, true);
        if (i == 0) o.first = o.last;
        lm_adam_step(&m, adam, team);
    }
    o.hash = str_hash((str){(const char *)m.w, m.n_weights * sizeof *m.w});
    feed_fini(&feed);
    lm_acts_free(acts);
    lm_fini(&m);
    team_free(team);
    return o;
}

static void test_run(void)
{
    struct lm_shape shape = {.vocab = VOCAB,
                             .embd = 64,
                             .layers = 2,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_dim = 16,
                             .ff = 96};
    int32_t ids[16], target[16];
    struct lm m;
    struct team *team = team_new(1);
    lm_init(&m, shape, 5, true);
    for (int i = 0; i < 16; i++) {
        ids[i] = (i * 37 + 5) % VOCAB;
        target[i] = i == 15 ? 7 : -1;
    }
    struct lm_acts *acts = lm_acts_new(&m, 1, 16, team);
    double batch = lm_loss(&m, acts, &(struct lm_batch){ids, target, NULL}, false), top = 0,
           sum = 0;
    struct lm_run *r = lm_run_new(&m, 16);
    const float *l = NULL;
    for (int i = 0; i < 16; i++)
        l = lm_run_step(&m, r, ids[i]);
    top = (double)l[7];
    for (size_t i = 0; i < VOCAB; i++)
        sum += exp((double)l[i] - top);
    ok(fabs(log(sum) - batch) < 1e-4, "running token by token gives the loss of the batch: %f %f",
       log(sum), batch);
    ok(!lm_run_step(&m, r, 1), "a full context refuses a further token");
    lm_run_free(r);
    lm_acts_free(acts);
    lm_fini(&m);
    team_free(team);
}

static void test_ship(const struct spm *s)
{
    struct lm_shape shape = {.vocab = VOCAB,
                             .embd = 64,
                             .layers = 2,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_dim = 16,
                             .ff = 96};
    char path[] = "/tmp/test_train_XXXXXX";
    struct spm *back = mem_need(sizeof *back);
    struct err_info e = {0};
    struct lm m, n = {0};
    uint32_t context = 0;
    int fd = mkstemp(path);
    lm_init(&m, shape, 9, false);
    ok(fd >= 0 && ship_write(path, &m, s, WINDOW, &e) == ERR_OK, "the model is written %s", e.text);
    ok(ship_read(path, &n, back, &context, &e) == ERR_OK, "and read back %s", e.text);
    is_int(context, WINDOW, "context length survives");
    ok(memcmp(s->piece, back->piece, sizeof *s->piece * s->count) == 0, "so does the vocabulary");
    double worst = n.w ? 0 : 1;
    for (size_t i = 0; n.w && i < m.n_weights; i++)
        worst = fmax(worst, fabs((double)m.w[i] - (double)n.w[i]));
    ok(worst < 1e-3, "weights survive within F16: %g", worst);
    if (fd >= 0) close(fd);
    unlink(path);
    lm_fini(&m);
    lm_fini(&n);
    mem_free(back);
}

int main(void)
{
    struct spm *s = mem_need(sizeof *s);
    test_corpus();
    learn(s);
    test_vocabulary(s);
    ok(check_gradient(NULL), "the gradient agrees with finite differences");
    test_run();
    test_ship(s);
    struct outcome one = train_a_little(s, 1), three = train_a_little(s, 3);
    ok(one.last < one.first - 1.0, "%d steps lower the loss from %.3f to %.3f", STEPS, one.first,
       one.last);
    ok(one.hash == three.hash, "one thread and three give the same weights");
    mem_free(s);
    return tap_end();
}
