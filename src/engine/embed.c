/* embed: pooling, and what follows it. See embed.h. */
#include "engine/embed.h"

#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

/* ---- life cycle ---- */

static enum err add_dense(struct embed *m, const struct gguf_tensor *t, struct err_info *e)
{
    if (t->dim[0] != m->n || t->dim[1] == 0 || t->dim[1] > LIMIT_MODEL_DIM || t->dim[2] > 1 ||
        t->dim[3] > 1 || !t->data)
        return ERR_FAIL(e, FORMAT, "tensor %.*s takes %llu values and the vector before it has %u",
                        STR(t->name), (unsigned long long)t->dim[0], m->n);
    if (!dtype_info(t->dtype)->dequant)
        return ERR_FAIL(e, UNSUPPORTED, "tensor %.*s is of type %s, which cannot be read",
                        STR(t->name), dtype_info(t->dtype)->name);
    m->dense[m->n_dense++] = t;
    m->n = (uint32_t)t->dim[1];
    if (m->most < m->n) m->most = m->n;
    return ERR_OK;
}

enum err embed_init(struct embed *m, const struct gguf *g, uint32_t width, struct err_info *e)
{
    static const char *const names[EMBED_DENSE] = {"dense_2.weight", "dense_3.weight"};
    *m = (struct embed){.width = width, .n = width, .most = width};
    for (int i = 0; i < EMBED_DENSE; i++) {
        const struct gguf_tensor *t = gguf_tensor(g, str_c(names[i]));
        enum err err = t ? add_dense(m, t, e) : ERR_OK;
        if (err) return err;
    }
    m->scratch = mem_array(3 * (size_t)m->most, sizeof *m->scratch);
    if (!m->scratch) return ERR_FAIL(e, NOMEM, "no memory for vectors of %u values", m->most);
    return ERR_OK;
}

void embed_fini(struct embed *m)
{
    mem_free(m->scratch);
    m->scratch = NULL;
}

/* ---- pooling ---- */

enum gen_rows embed_rows(enum meta_pooling pooling, bool causal)
{
    switch (pooling) {
    case POOLING_CLS: return GEN_ROWS_FIRST;
    case POOLING_LAST: return GEN_ROWS_LAST;
    case POOLING_RANK: return causal ? GEN_ROWS_LAST : GEN_ROWS_FIRST;
    default: return GEN_ROWS_ALL;
    }
}

void embed_row(const struct embed *m, struct embed_text *t, uint32_t pos, const float *row)
{
    if (t->pooling == POOLING_NONE) {
        memcpy(t->out + (size_t)pos * m->width, row, m->width * sizeof *row);
        return;
    }
    bool more = t->pooling == POOLING_MEAN && pos > 0;
    for (uint32_t c = 0; c < m->width; c++)
        t->sum[c] = (double)row[c] + (more ? t->sum[c] : 0);
}

/* y = w x */
static void multiply(const struct gguf_tensor *w, const float *x, float *row, float *y)
{
    size_t cols = (size_t)w->dim[0];
    uint64_t bytes = w->bytes / w->dim[1];
    for (uint64_t r = 0; r < w->dim[1]; r++) {
        double sum = 0;
        dtype_dequant(w->dtype, w->data + r * bytes, row, cols);
        for (size_t c = 0; c < cols; c++)
            sum += (double)row[c] * (double)x[c];
        y[r] = (float)sum;
    }
}

void embed_end(const struct embed *m, struct embed_text *t, uint32_t n_tok)
{
    float *x = m->scratch, *y = x + m->most, *row = y + m->most;
    if (t->pooling == POOLING_NONE) return;
    for (uint32_t c = 0; c < m->width; c++)
        x[c] = (float)(t->pooling == POOLING_MEAN ? t->sum[c] / n_tok : t->sum[c]);
    for (uint32_t i = 0; i < m->n_dense; i++) {
        multiply(m->dense[i], x, row, y);
        memcpy(x, y, (size_t)m->dense[i]->dim[1] * sizeof *x);
    }
    memcpy(t->out, x, m->n * sizeof *x);
}

/* ---- what becomes of a vector ---- */

void embed_normalise(float *v, uint32_t n)
{
    double sum = 0;
    for (uint32_t c = 0; c < n; c++)
        sum += (double)v[c] * (double)v[c];
    if (!(sum > 0)) return;
    double by = 1 / sqrt(sum);
    for (uint32_t c = 0; c < n; c++)
        v[c] = (float)((double)v[c] * by);
}

void embed_shares(float *labels, uint32_t n)
{
    double sum = 0, top = -INFINITY;
    for (uint32_t i = 0; i < n; i++)
        top = (double)labels[i] > top ? (double)labels[i] : top;
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)labels[i] - top);
    for (uint32_t i = 0; i < n; i++)
        labels[i] = (float)(exp((double)labels[i] - top) / sum);
}

double embed_score(const float *labels, uint32_t n)
{
    double sum = 0;
    if (n == 1) return 1 / (1 + exp(-(double)labels[0]));
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)labels[i] - (double)labels[0]);
    return 1 / sum;
}
