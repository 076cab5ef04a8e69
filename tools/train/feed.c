/* feed: windows of tokens for training and for measuring the loss. */
#include "feed.h"

#include <string.h>

#include "base/limits.h"
#include "corpus.h"

void feed_init(struct feed *f, const struct spm *s, bool held_out)
{
    *f = (struct feed){.spm = s, .held_out = held_out};
    buf_init(&f->text, MIB(1));
    buf_init(&f->ids, MIB(4));
}

void feed_fini(struct feed *f)
{
    buf_fini(&f->text);
    buf_fini(&f->ids);
}

static void one_window(struct feed *f, size_t window, struct feed_rows r)
{
    int32_t end = SPM_EOS, begin = 0;
    buf_clear(&f->ids);
    while (f->ids.n / sizeof end < window + 1) {
        buf_clear(&f->text);
        corpus_document(f->next++, f->held_out, &f->text);
        spm_encode(f->spm, buf_view(&f->text), &f->ids);
        buf_put(&f->ids, &end, sizeof end);
    }
    memcpy(r.ids, f->ids.p, window * sizeof end);
    memcpy(r.target, f->ids.p + sizeof end, window * sizeof end);
    for (size_t i = 0; i < window; i++) {
        if (r.ids[i] == SPM_BOS) begin = (int32_t)i;
        if (r.ids[i] == SPM_EOS) r.target[i] = -1; /* what begins next is no question of language */
        r.from[i] = begin;
    }
}

void feed_windows(struct feed *f, size_t batch, size_t window, struct feed_rows r)
{
    for (size_t w = 0; w < batch; w++) {
        one_window(f, window, r);
        r = (struct feed_rows){r.ids + window, r.target + window, r.from + window};
    }
}
