/* embed: pooling. See embed.h. */
#include "engine/embed.h"

#include <math.h>
#include <string.h>

enum gen_rows embed_rows(enum meta_pooling pooling, bool causal)
{
    switch (pooling) {
    case POOLING_CLS: return GEN_ROWS_FIRST;
    case POOLING_LAST: return GEN_ROWS_LAST;
    case POOLING_RANK: return causal ? GEN_ROWS_LAST : GEN_ROWS_FIRST;
    default: return GEN_ROWS_ALL;
    }
}

void embed_row(struct embed *m, uint32_t pos, const float *row)
{
    if (m->pooling == POOLING_NONE) {
        memcpy(m->out + (size_t)pos * m->width, row, m->width * sizeof *row);
    } else if (m->pooling != POOLING_MEAN) {
        memcpy(m->out, row, m->width * sizeof *row);
    } else {
        if (pos == 0) memset(m->sum, 0, m->width * sizeof *m->sum);
        for (uint32_t c = 0; c < m->width; c++)
            m->sum[c] += (double)row[c];
    }
}

void embed_end(struct embed *m, uint32_t n_tok)
{
    if (m->pooling != POOLING_MEAN) return;
    for (uint32_t c = 0; c < m->width; c++)
        m->out[c] = (float)(m->sum[c] / n_tok);
}

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

double embed_score(const float *labels, uint32_t n)
{
    double sum = 0;
    if (n == 1) return 1 / (1 + exp(-(double)labels[0]));
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)labels[i] - (double)labels[0]);
    return 1 / sum;
}
