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

void feed_windows(struct feed *f, size_t batch, size_t window, int32_t *ids, int32_t *target)
{
    for (size_t w = 0; w < batch; w++, ids += window, target += window) {
        buf_clear(&f->ids);
        while (f->ids.n / sizeof *ids < window + 1) {
            int32_t end = SPM_EOS;
            buf_clear(&f->text);
            corpus_document(f->next++, f->held_out, &f->text);
            spm_encode(f->spm, buf_view(&f->text), &f->ids);
            buf_put(&f->ids, &end, sizeof end);
        }
        memcpy(ids, f->ids.p, window * sizeof *ids);
        memcpy(target, f->ids.p + sizeof *ids, window * sizeof *target);
    }
}
